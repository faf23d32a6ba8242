"""Flushes to the device: bytes of replaced files by default, everything with ``durable=True``."""

import errno
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from polystore_core.errors import DurabilityUnknownError, StorageError
from polystore_core.files import system
from polystore_core.files.pending import PendingFile
from polystore_disk.backend import DiskBackend
from polystore_testing.values import assert_same, image

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX")


class Flush(NamedTuple):
    inode: int
    is_dir: bool
    named: bool
    """Whether the file already had its name."""


@pytest.fixture
def flushes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Flush]:
    """Return the list to which every ``fsync`` of the test is added, in order."""
    recorded: list[Flush] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        found = os.fstat(descriptor)
        named = any(path.stat().st_ino == found.st_ino for path in folder.rglob("*.*"))
        recorded.append(Flush(found.st_ino, stat.S_ISDIR(found.st_mode), named))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    return recorded


def inode(path: Path) -> int:
    return path.stat().st_ino


def directories(flushes: list[Flush]) -> list[int]:
    return [flush.inode for flush in flushes if flush.is_dir]


def files(flushes: list[Flush]) -> list[int]:
    return [flush.inode for flush in flushes if not flush.is_dir]


def test_new_files_are_not_flushed(disk: DiskBackend, flushes: list[Flush]) -> None:
    disk.save(image(), "f/a.npy")
    disk.save(image(), "f/b.npy", if_exists="error")
    disk.save_batch([image()] * 40, [f"g/{n}.npy" for n in range(40)], threads=2)
    disk.copy("f", "h")
    disk.copy("f/a.npy", "f/c.npy")
    disk.move("f/a.npy", "f/d.npy")
    assert flushes == []


def test_false_flushes_nothing(folder: Path, disk: DiskBackend, flushes: list[Flush]) -> None:
    fast = DiskBackend(root=folder, durable=False)
    for _ in range(2):
        disk.save(image(), "a.npy", durable=False)
        fast.save(image(), "a.npy")
        fast.save_batch([image()] * 40, [f"{n}.npy" for n in range(40)])
        fast.copy("a.npy", "0.npy")
        fast.move("0.npy", "a.npy")
    assert flushes == []
    fast.close()


REPLACING: dict[str, Callable[[DiskBackend], None]] = {
    "save": lambda disk: disk.save(image(2), "a.npy"),
    "save in a batch": lambda disk: disk.save_batch([image(2)], ["a.npy"]),
    "save behind a link": lambda disk: disk.save(image(2), "link.npy"),
    "copy": lambda disk: disk.copy("b.npy", "a.npy"),
    "convert": lambda disk: disk.copy("b.tif", "a.npy"),
    "move": lambda disk: disk.move("b.npy", "a.npy"),
}


@pytest.mark.parametrize("operation", REPLACING)
def test_replacing_flushes_bytes(
    disk: DiskBackend, folder: Path, flushes: list[Flush], operation: str
) -> None:
    """Without this flush, a power cut can destroy both the old and the new value."""
    disk.save(image(1), "a.npy")
    disk.save_batch([image(2), image(2)], ["b.npy", "b.tif"])
    (folder / "link.npy").symlink_to("a.npy")
    REPLACING[operation](disk)
    assert_same(disk.load("a.npy"), image(2))
    assert flushes == [(inode(folder / "a.npy"), False, operation == "move")]


def test_batch_flushes_replaced_files(
    disk: DiskBackend, folder: Path, flushes: list[Flush]
) -> None:
    paths = [f"{n}.npy" for n in range(70)]
    disk.save_batch([image(1)] * 35, paths[::2])
    disk.save_batch([image(2)] * 70, paths)
    assert sorted(files(flushes)) == sorted(inode(folder / path) for path in paths[::2])
    assert not any(flush.named for flush in flushes)


def test_late_file_is_flushed_too(folder: Path, flushes: list[Flush]) -> None:
    """A file that appears after the new content is sealed is replaced like any other file."""
    pending = PendingFile(folder / "a.npy")
    try:
        pending.file.write(b"new")
        pending.seal()
        assert flushes == []
        (folder / "a.npy").write_bytes(b"old")
        pending.commit()
    finally:
        pending.discard()
    assert files(flushes) == [inode(folder / "a.npy")]


@pytest.mark.parametrize("convert", [False, True])
def test_moved_copy_is_flushed_before_source_is_deleted(
    disk: DiskBackend,
    folder: Path,
    flushes: list[Flush],
    convert: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A move that copies must not lose both files in a power cut."""
    disk.save(image(1), "a.npy")
    if not convert:
        rename = os.rename

        def other_device(source: Any, target: Any, **options: Any) -> None:
            if str(source).endswith("a.npy"):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            rename(source, target, **options)

        monkeypatch.setattr(os, "rename", other_device)
    target = "b.tif" if convert else "b.npy"
    disk.move("a.npy", target)
    assert files(flushes) == [inode(folder / target)]
    assert directories(flushes) == [inode(folder)]
    assert not disk.exists("a.npy")


def test_moved_folders_are_flushed_before_source_is_deleted(
    disk: DiskBackend, folder: Path, flushes: list[Flush], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names of empty folders and of links are flushed too."""
    disk.ensure_directory("f/g/h")
    (folder / "f/g/link").symlink_to("h")
    rename = os.rename

    def other_device(source: Any, target: Any, **options: Any) -> None:
        if str(source) == "f":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target, **options)

    monkeypatch.setattr(system, "_renameat2", None)  # Only os.rename remains.
    monkeypatch.setattr(os, "rename", other_device)
    disk.move("f", "m")
    made = {inode(folder / name) for name in ("m", "m/g", "m/g/h")}
    assert set(directories(flushes)) == {*made, inode(folder)}
    assert not disk.exists("f")


@pytest.mark.parametrize("if_exists", ["replace", "error"])
def test_file_before_name(
    disk: DiskBackend, folder: Path, flushes: list[Flush], if_exists: Any
) -> None:
    disk.save(image(), "a.npy", durable=True, if_exists=if_exists)
    content, name = flushes
    assert content == (inode(folder / "a.npy"), False, False)
    assert name[:2] == (inode(folder), True)


def test_replacing_flushes_both(disk: DiskBackend, folder: Path, flushes: list[Flush]) -> None:
    disk.save(image(1), "a.npy")
    disk.save(image(2), "a.npy", durable=True)
    assert [flush.inode for flush in flushes] == [inode(folder / "a.npy"), inode(folder)]


def test_new_folders_are_flushed(disk: DiskBackend, folder: Path, flushes: list[Flush]) -> None:
    """If a new folder loses its name in a power cut, the file in it is lost too."""
    disk.save(image(), "f/g/a.npy", durable=True)
    expected = {inode(folder), inode(folder / "f"), inode(folder / "f/g")}
    assert set(directories(flushes)) == expected
    assert directories(flushes)[-1] == inode(folder / "f/g")
    flushes.clear()
    disk.ensure_directory("x/y")
    assert flushes == []


def test_new_root_is_flushed(tmp_path: Path, folder: Path, flushes: list[Flush]) -> None:
    DiskBackend(root=folder / "new/root", durable=True).save(image(), "a.npy")
    expected = {inode(folder), inode(folder / "new"), inode(folder / "new/root")}
    assert set(directories(flushes)) == expected


def test_target_of_link_is_flushed(
    disk: DiskBackend, folder: Path, flushes: list[Flush]
) -> None:
    disk.save(image(1), "g/a.npy")
    (folder / "f").mkdir()
    (folder / "f/link.npy").symlink_to("../g/a.npy")
    disk.save(image(2), "f/link.npy", durable=True)
    assert directories(flushes) == [inode(folder / "g")]


@pytest.mark.parametrize("threads", [1, 4])
def test_batch_shares_flushes(
    disk: DiskBackend, folder: Path, flushes: list[Flush], threads: int
) -> None:
    for name in ("f", "g", "h"):
        (folder / name).mkdir()
    disk.save(image(), "h/target.npy")
    (folder / "f/link.npy").symlink_to("../h/target.npy")
    paths = [f"{'fg'[n % 2]}/{n}.npy" for n in range(28)] + ["f/link.npy"]
    disk.save_batch([image(n) for n in range(len(paths))], paths, durable=True, threads=threads)
    assert len(files(flushes)) == len(paths)
    assert sorted(directories(flushes)) == sorted(inode(folder / name) for name in "fgh")
    assert all(flush.is_dir for flush in flushes[len(paths) :])


def test_backend_may_be_durable(folder: Path, flushes: list[Flush]) -> None:
    disk = DiskBackend(root=folder, durable=True)
    disk.save(image(), "a.npy")
    assert len(flushes) == 2
    disk.save(image(), "b.npy", durable=False)
    assert len(flushes) == 2
    disk.copy("a.npy", "c.npy")
    assert len(flushes) == 4
    disk.save_batch([image()] * 3, ["d.npy", "e.npy", "f.npy"])
    assert len(flushes) == 8
    disk.close()


def test_copied_folder_is_flushed(folder: Path, flushes: list[Flush]) -> None:
    disk = DiskBackend(root=folder, durable=True)
    disk.save_batch([image(1), image(2)], ["f/a.npy", "f/g/b.npy"], durable=False)
    flushes.clear()
    disk.copy("f", "copy")
    assert set(files(flushes)) == {inode(folder / "copy/a.npy"), inode(folder / "copy/g/b.npy")}
    assert {inode(folder / "copy"), inode(folder / "copy/g")} <= set(directories(flushes))
    assert flushes[-1][:2] == (inode(folder), True)
    disk.close()


def fail_for(directory: bool, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def fail(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == directory:
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)


def test_unflushed_file_is_discarded(
    disk: DiskBackend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.save(image(1), "a.npy")
    fail_for(False, 5, monkeypatch)
    with pytest.raises(StorageError) as caught:
        disk.save(image(2), "a.npy", durable=True)
    assert caught.value.errno == 5
    assert not isinstance(caught.value, DurabilityUnknownError)
    assert_same(disk.load("a.npy"), image(1))
    assert os.listdir(folder) == ["a.npy"]


def test_unflushed_name_is_reported(disk: DiskBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.save(image(1), "f/a.npy")
    fail_for(True, 5, monkeypatch)
    for path in ("f/a.npy", "f/b.npy"):
        with pytest.raises(
            DurabilityUnknownError, match="the new version is in place"
        ) as caught:
            disk.save(image(2), path, durable=True)
        assert caught.value.path == path
        assert caught.value.errno == 5
        assert caught.value.backend == "store"
        assert_same(disk.load(path), image(2))


def test_unflushable_folder_is_accepted(
    disk: DiskBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some FUSE and SMB mounts cannot flush a directory."""
    fail_for(True, 22, monkeypatch)
    disk.save(image(2), "f/a.npy", durable=True)
    assert_same(disk.load("f/a.npy"), image(2))
