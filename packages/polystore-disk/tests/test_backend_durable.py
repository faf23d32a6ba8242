"""``durable=True`` flushes the file, then the names that lead to it; otherwise nothing does."""

import os
import stat
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from polystore.errors import DurabilityUnknownError, StorageError
from polystore_disk.backend import DiskBackend
from polystore_testing.values import assert_same, image

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX")


class Flush(NamedTuple):
    inode: int
    is_dir: bool
    named: bool
    """Whether the file had its name already."""


@pytest.fixture
def flushes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Flush]:
    """Every ``fsync`` of the test, in order."""
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


def test_nothing_flushes_unasked(disk: DiskBackend, flushes: list[Flush]) -> None:
    disk.save(image(), "f/a.npy")
    disk.save(image(), "f/a.npy")
    disk.save_batch([image()] * 40, [f"g/{n}.npy" for n in range(40)], threads=2)
    disk.copy("f", "h")
    disk.save(image(), "f/a.npy", durable=False)
    assert flushes == []


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
    """A folder whose own name is lost takes the file with it."""
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


def test_unflushed_file_is_no_version(
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


def test_unflushed_name_is_told(disk: DiskBackend, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_unflushable_folder_is_fine(disk: DiskBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some FUSE and SMB mounts know no flush of a directory."""
    fail_for(True, 22, monkeypatch)
    disk.save(image(2), "f/a.npy", durable=True)
    assert_same(disk.load("f/a.npy"), image(2))
