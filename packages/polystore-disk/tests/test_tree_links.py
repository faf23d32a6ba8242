"""Links: a save writes through a link, and a delete or move acts on the link itself."""

import errno
import json
import os
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from polystore_core import atomic_update_json, file_lock
from polystore_core.errors import (
    BatchError,
    DirectoryNotEmptyError,
    InvalidOptionError,
    NotAFileError,
    NotFoundError,
    StorageError,
)
from polystore_core.files.pending import PendingFile
from polystore_disk.backend import DiskBackend
from polystore_testing.values import assert_same, image

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX")

Names = Callable[[], list[str]]


# ── saving through a link ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("target", ["g/b.npy", "{folder}/g/b.npy", "g/link.npy", "up/g/b.npy"])
def test_target_of_link_is_replaced(disk: DiskBackend, folder: Path, target: str) -> None:
    disk.save(image(1), "g/b.npy")
    (folder / "g/link.npy").symlink_to("b.npy")
    (folder / "up").symlink_to(".")
    text = target.format(folder=folder)
    (folder / "a.npy").symlink_to(text)
    disk.save(image(2), "a.npy")
    assert os.readlink(folder / "a.npy") == text
    assert_same(disk.load("g/b.npy"), image(2))


def test_save_makes_target_of_dangling_link(
    disk: DiskBackend, folder: Path, names: Names
) -> None:
    (folder / "a.npy").symlink_to("new/b.npy")
    disk.save(image(1), "a.npy")
    assert names() == ["a.npy", "new", "new/b.npy"]
    assert_same(disk.load("a.npy"), image(1))


@pytest.mark.parametrize("if_exists", ["error", "skip"])
def test_dangling_link_counts_as_existing(
    disk: DiskBackend, folder: Path, names: Names, if_exists: str
) -> None:
    (folder / "a.npy").symlink_to("new.npy")
    if if_exists == "skip":
        disk.save(image(), "a.npy", if_exists="skip")
    else:
        with pytest.raises(FileExistsError):
            disk.save(image(), "a.npy", if_exists="error")
    assert names() == ["a.npy"]


def test_link_to_folder_is_not_a_file(disk: DiskBackend, folder: Path, names: Names) -> None:
    disk.ensure_directory("f")
    (folder / "a.npy").symlink_to("f")
    for operation in (disk.load, lambda path: disk.save(image(), path)):
        with pytest.raises(NotAFileError):
            operation("a.npy")
    assert names() == ["a.npy", "f"]


def test_batch_writes_behind_links(disk: DiskBackend, folder: Path) -> None:
    disk.save(image(), "g/b.npy")
    (folder / "a.npy").symlink_to("g/b.npy")
    disk.save_batch([image(1), image(2)], ["a.npy", "c.npy"], durable=True)
    assert_same(disk.load("g/b.npy"), image(1))


# ── links in a circle ────────────────────────────────────────────────────────────────────


@pytest.fixture
def circles(disk: DiskBackend, folder: Path) -> DiskBackend:
    """Make links that lead nowhere, to themselves, to each other and to their own folder."""
    disk.save(image(), "f/a.npy")
    for name, target in {
        "nowhere.npy": "missing",
        "self.npy": "self.npy",
        "ping.npy": "pong.npy",
        "pong.npy": "ping.npy",
        "f/here": ".",
        "f/up": "..",
        "through": "f/a.npy/b",
    }.items():
        (folder / name).symlink_to(target)
    return disk


def test_listing_ends(circles: DiskBackend) -> None:
    links = ["nowhere.npy", "ping.npy", "pong.npy", "self.npy", "through"]
    assert circles.list_dir(".") == ["f", *links]
    assert circles.list_files(".", recursive=True) == ["f/a.npy", *links]
    assert circles.collect_dirs_and_files(".") == (
        ["f", "f/here", "f/up"],
        ["f/a.npy", *links],
    )
    assert circles.find_file_recursive(".", "b.npy") is None


@pytest.mark.parametrize("path", ["nowhere.npy", "self.npy", "ping.npy", "through"])
def test_circle_does_not_exist(circles: DiskBackend, path: str) -> None:
    assert not circles.exists(path)
    assert not circles.is_file(path)
    assert not circles.is_dir(path)
    assert circles.is_symlink(path)
    assert circles.info(path).kind == "symlink"
    circles.delete(path)
    assert not circles.is_symlink(path)


@pytest.mark.parametrize("path", ["self.npy", "ping.npy", "self.npy/a.npy"])
def test_circle_raises(circles: DiskBackend, path: str) -> None:
    for operation in (circles.load, circles.open, lambda path: circles.save(image(), path)):
        with pytest.raises(StorageError, match="form a loop") as caught:
            operation(path)
        assert caught.value.errno == errno.ELOOP


def test_long_detour_ends(circles: DiskBackend) -> None:
    assert_same(circles.load("f/" + "here/up/f/" * 9 + "a.npy"), image())
    with pytest.raises(StorageError, match="form a loop"):
        circles.load("f/" + "here/up/f/" * 50 + "a.npy")


# ── making links ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("source", "link"), [("a.npy", "a.npy"), ("a.npy", "here/a.npy"), ("link.npy", "a.npy")]
)
def test_link_never_replaces_its_source(
    disk: DiskBackend, folder: Path, source: str, link: str
) -> None:
    disk.save(image(1), "a.npy")
    disk.create_symlink("a.npy", "link.npy")
    (folder / "here").symlink_to(".")
    with pytest.raises(InvalidOptionError):
        disk.create_symlink(source, link, overwrite=True)
    assert_same(disk.load("a.npy"), image(1))


def test_link_leads_past_links(disk: DiskBackend) -> None:
    """A link made from a link leads to the file, so either of the two can be deleted."""
    disk.save(image(1), "a.npy")
    disk.create_symlink("a.npy", "b.npy")
    disk.create_symlink("b.npy", "c.npy")
    disk.create_symlink("c.npy", "b.npy", overwrite=True)
    disk.delete("c.npy")
    assert_same(disk.load("b.npy"), image(1))


def test_link_is_replaced_whole(disk: DiskBackend) -> None:
    """A reader always finds one of the two targets while another thread changes the link."""
    disk.save_batch([image(1), image(2)], ["a.npy", "b.npy"])
    disk.create_symlink("a.npy", "link.npy")
    stop = threading.Event()

    def switch_link() -> None:
        while not stop.is_set():
            for target in ("a.npy", "b.npy"):
                disk.create_symlink(target, "link.npy", overwrite=True)

    thread = threading.Thread(target=switch_link)
    thread.start()
    try:
        found = {int(disk.load("link.npy")[0, 0]) for _ in range(300)}
    finally:
        stop.set()
        thread.join()
    assert found <= {1000, 2000}


def test_link_never_replaces_folder(disk: DiskBackend) -> None:
    disk.save(image(), "a.npy")
    disk.ensure_directory("f")
    with pytest.raises(NotAFileError):
        disk.create_symlink("a.npy", "f", overwrite=True)
    assert disk.is_dir("f")


# ── deleting ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["link", "link/", "link/.", "./link//"])
@pytest.mark.parametrize("recursive", [False, True])
def test_delete_takes_only_link(
    disk: DiskBackend, folder: Path, path: str, recursive: bool
) -> None:
    disk.save(image(), "f/a.npy")
    (folder / "link").symlink_to("f")
    disk.delete(path, recursive=recursive)
    assert disk.list_files(".", recursive=True) == ["f/a.npy"]
    assert not disk.is_symlink("link")


def test_delete_stays_in_folder(disk: DiskBackend, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/a.npy").write_text("precious")
    disk.save(image(), "f/g/b.npy")
    (folder / "f/g/out").symlink_to(tmp_path / "precious")
    (folder / "f/file").symlink_to(tmp_path / "precious/a.npy")
    disk.delete("f", recursive=True)
    assert (tmp_path / "precious/a.npy").read_text() == "precious"
    assert disk.list_dir(".") == []


# ── owner and mode ───────────────────────────────────────────────────────────────────────


@pytest.fixture
def umask() -> Iterator[None]:
    old = os.umask(0o027)
    yield
    os.umask(old)


def test_new_file_obeys_umask(disk: DiskBackend, folder: Path, umask: None) -> None:
    disk.save(image(), "f/a.npy")
    disk.save(image(), "b.npy", if_exists="error")
    disk.copy("b.npy", "c.npy")
    for name in ("f/a.npy", "b.npy", "c.npy"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o640


@pytest.mark.parametrize("mode", [0o600, 0o444, 0o664, 0o4755])
def test_replaced_file_keeps_mode(disk: DiskBackend, folder: Path, mode: int) -> None:
    disk.save(image(1), "a.npy")
    (folder / "a.npy").chmod(mode)
    disk.save(image(2), "a.npy")
    disk.save_batch([image(3)], ["a.npy"], durable=True)
    assert stat.S_IMODE((folder / "a.npy").stat().st_mode) == mode


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="system: needs root")
def test_replaced_file_keeps_owner(disk: DiskBackend, folder: Path) -> None:
    disk.save(image(1), "a.npy")
    os.chown(folder / "a.npy", 1234, 4321)
    disk.save(image(2), "a.npy")
    found = (folder / "a.npy").stat()
    assert (found.st_uid, found.st_gid) == (1234, 4321)


# ── special files ────────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(20)
def test_pipe_does_not_hang(disk: DiskBackend, folder: Path, names: Names) -> None:
    os.mkfifo(folder / "pipe.npy")
    disk.ensure_directory("f")
    os.mkfifo(folder / "f/pipe.npy")
    for operation in (
        disk.load,
        disk.open,
        disk.info,
        lambda path: disk.load(path, region=0),
        lambda path: disk.copy(path, "copy.npy"),
        lambda path: disk.copy("f", "g"),
    ):
        with pytest.raises(StorageError):
            operation("pipe.npy")
    assert names() == ["f", "f/pipe.npy", "pipe.npy"]
    disk.delete("f/pipe.npy")


SPECIAL: dict[str, Callable[[DiskBackend, str], Any]] = {
    "save": lambda disk, path: disk.save(image(), path),
    "save durably": lambda disk, path: disk.save(image(), path, durable=True),
    "save in a batch": lambda disk, path: disk.save_batch([image()], [path]),
    "copy": lambda disk, path: disk.copy("a.npy", path),
    "convert": lambda disk, path: disk.copy("a.tif", path),
    "move": lambda disk, path: disk.move("a.npy", path),
    "link": lambda disk, path: disk.create_symlink("a.npy", path, overwrite=True),
}


@pytest.mark.parametrize("operation", SPECIAL)
@pytest.mark.parametrize("kind", ["a named pipe", "a socket", "a character device"])
@pytest.mark.parametrize("linked", [False, True])
def test_special_file_stays(
    disk: DiskBackend,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    kind: str,
    linked: bool,
) -> None:
    disk.save(image(), "a.npy")
    disk.save(image(), "a.tif")
    path = folder / "special.npy"
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        monkeypatch.chdir(folder)  # The path of a socket must be short.
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("special.npy")
    elif os.geteuid() != 0:
        pytest.skip("system: only root makes devices")
    else:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    if linked:
        (folder / "link.npy").symlink_to("special.npy")
    before = path.lstat()
    if linked and operation in ("move", "link"):
        # The operation replaces the link itself, as it replaces any link.
        SPECIAL[operation](disk, "link.npy")
    else:
        with pytest.raises((StorageError, BatchError), match=f"it is {kind}"):
            SPECIAL[operation](disk, "link.npy" if linked else "special.npy")
    assert path.lstat() == before


def test_lock_files_are_hidden(disk: DiskBackend, folder: Path, names: Names) -> None:
    disk.save(image(), "f/a.npy")
    atomic_update_json(folder / "f/meta.json", lambda _: {"x": 1})
    (folder / "f/.~ps-0123456789abcdef").write_text("left behind")
    assert len(names()) == 5
    assert disk.list_dir("f") == ["a.npy", "meta.json"]
    assert disk.list_files(".", recursive=True) == ["f/a.npy", "f/meta.json"]
    assert disk.collect_dirs_and_files(".") == (["f"], ["f/a.npy", "f/meta.json"])
    disk.copy("f", "g")
    assert sorted(os.listdir(folder / "g")) == ["a.npy", "meta.json"]
    disk.mirror_directory_with_symlinks("f", "m")
    assert sorted(os.listdir(folder / "m")) == ["a.npy", "meta.json"]


def test_lock_files_do_not_keep_folder(disk: DiskBackend, folder: Path, names: Names) -> None:
    atomic_update_json(folder / "f/meta.json", lambda _: {"x": 1})
    with pytest.raises(OSError, match="recursive=True"):
        disk.delete("f")
    disk.delete("f/meta.json")
    (folder / "f/.~ps-0123456789abcdef").mkdir()  # As a killed copy leaves it.
    (folder / "f/.~ps-fedcba9876543210").touch()
    disk.delete("f")
    assert names() == []


def test_writers_keep_their_folder(
    disk: DiskBackend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is being written is not removed on a file system without unnamed files."""
    # O_TMPFILE is now a flag that open() rejects with EISDIR.
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_RDWR, raising=False)
    disk.ensure_directory("f")
    pending = PendingFile(folder / "f/a.npy")
    try:
        pending.file.write(b"new")
        pending.seal()
        with pytest.raises(DirectoryNotEmptyError, match="another writer is saving into it"):
            disk.delete("f")
        pending.commit()
    finally:
        pending.discard()
    assert (folder / "f/a.npy").read_bytes() == b"new"


@pytest.mark.parametrize("recursive", [False, True])
def test_lock_in_use_is_kept(disk: DiskBackend, folder: Path, recursive: bool) -> None:
    """If a used lock file were deleted, the next updater would lock a new one.

    One of the two updates would then be lost.
    """
    meta = folder / "f/meta.json"
    disk.ensure_directory("f")
    inside, leave = threading.Event(), threading.Event()

    def update(document: dict[str, int]) -> dict[str, int]:
        inside.set()
        leave.wait()
        return document | {"first": 1}

    def delete() -> None:
        with suppress(DirectoryNotEmptyError):
            disk.delete("f", recursive=recursive)

    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(atomic_update_json, meta, update)]
        inside.wait()
        jobs.append(pool.submit(delete))
        if not recursive:
            jobs.pop().result()  # Refused at once.
        jobs.append(pool.submit(atomic_update_json, meta, lambda old: old | {"second": 2}))
        leave.set()
        for job in jobs:
            job.result()
    if not recursive:
        assert json.loads(meta.read_text()) == {"first": 1, "second": 2}
    elif meta.exists():  # A delete before or between the updates may remove the first one.
        assert json.loads(meta.read_text())["second"] == 2


def test_holder_may_delete(disk: DiskBackend, folder: Path, names: Names) -> None:
    with file_lock(folder / "f/meta.json"):
        disk.delete("f", recursive=True)
    assert names() == []


def test_missing_path_is_not_made(disk: DiskBackend) -> None:
    with pytest.raises(NotFoundError):
        disk.delete("a/b.npy", recursive=True)
    with pytest.raises(NotFoundError):
        disk.list_dir("a")


def test_names_in_folder_do_not_matter(disk: DiskBackend, folder: Path, names: Names) -> None:
    """Ensuring that a folder exists does not look at its content."""
    disk.ensure_directory("f")
    (folder / "f/_").symlink_to(folder.parent / "nowhere/at/all")
    disk.ensure_directory("f")
    assert names() == ["f", "f/_"]


@pytest.mark.parametrize("operation", ["copy", "move"])
def test_source_as_target_is_refused(disk: DiskBackend, folder: Path, operation: str) -> None:
    """A conversion through the link would store the value under a suffix of another format."""
    disk.save(image(), "a.npy")
    (folder / "link.tif").symlink_to("a.npy")
    with pytest.raises(InvalidOptionError, match="a path other than the source"):
        getattr(disk, operation)("a.npy", "link.tif")
    assert_same(disk.load("a.npy"), image())
