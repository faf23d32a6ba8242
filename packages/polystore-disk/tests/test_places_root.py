"""A path never leads out of the root, even while another process replaces folders by links."""

import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import BackendRegistry
from polystore_core.errors import (
    AlreadyExistsError,
    BatchError,
    InvalidOptionError,
    NotFoundError,
    PathOutsideRootError,
    StorageError,
)
from polystore_disk.backend import DiskBackend
from polystore_testing.values import assert_same, image

Operation = Callable[[DiskBackend, str], Any]

# Every operation with a path, for paths that lead outside.
READS: dict[str, Operation] = {
    "load": lambda disk, path: disk.load(path),
    "load_region": lambda disk, path: disk.load(path, region=0),
    "open": lambda disk, path: disk.open(path),
    "info": lambda disk, path: disk.info(path),
    "exists": lambda disk, path: disk.exists(path),
    "is_file": lambda disk, path: disk.is_file(path),
    "is_dir": lambda disk, path: disk.is_dir(path),
    "list_dir": lambda disk, path: disk.list_dir(path),
    "list_files": lambda disk, path: disk.list_files(path, recursive=True),
    "list_image_files": lambda disk, path: disk.list_image_files(path),
    "find": lambda disk, path: disk.find_file_recursive(path, "a.npy"),
    "collect": lambda disk, path: disk.collect_dirs_and_files(path),
    "copy_from": lambda disk, path: disk.copy(path, "stolen.npy"),
    "link_to": lambda disk, path: disk.create_symlink(path, "stolen.npy"),
    "mirror": lambda disk, path: disk.mirror_directory_with_symlinks(path, "stolen"),
}
WRITES: dict[str, Operation] = {
    "save": lambda disk, path: disk.save(image(9), path),
    "save_durably": lambda disk, path: disk.save(image(9), path, durable=True),
    "copy_to": lambda disk, path: disk.copy("inside.npy", path),
    "copy_folder_to": lambda disk, path: disk.copy("apart", path),
}
# These act on the name itself. If it is a link that leads out, they act on the link.
NAMES: dict[str, Operation] = {
    "is_symlink": lambda disk, path: disk.is_symlink(path),
    "ensure_directory": lambda disk, path: disk.ensure_directory(path),
    "delete": lambda disk, path: disk.delete(path),
    "delete_all": lambda disk, path: disk.delete_all(path),
    "move_from": lambda disk, path: disk.move(path, "stolen.npy"),
    "move_to": lambda disk, path: disk.move("inside.npy", path),
    "move_folder_to": lambda disk, path: disk.move("apart", path),
    "link_at": lambda disk, path: disk.create_symlink("inside.npy", path),
    "link_over": lambda disk, path: disk.create_symlink("inside.npy", path, overwrite=True),
    "mirror_to": lambda disk, path: disk.mirror_directory_with_symlinks("apart", path),
}
EVERYTHING = READS | WRITES | NAMES

FORMS = {
    "parent": "../outside/a.npy",
    "later parent": "inside/../../outside/a.npy",
    "dot and parent": "./../outside/a.npy",
    "absolute": "{outside}/a.npy",
    "absolute inside": "{root}/inside/a.npy",
    "through a link": "relative/a.npy",
    "through an absolute link": "absolute/a.npy",
    "through two links": "inside/chain/a.npy",
    "through a link to the root's parent": "above/outside/a.npy",
}
LINKS = {
    "relative.npy": "../outside/a.npy",
    "absolute.npy": "{outside}/a.npy",
    "new.npy": "../outside/new.npy",
    "chain.npy": "relative.npy",
    "dots.npy": "inside/../../outside/a.npy",
}


@pytest.fixture
def outside(tmp_path: Path, folder: Path, rooted: DiskBackend) -> Iterator[Path]:
    """Return a folder next to the root, with links to it in the root. It must not change."""
    outside = tmp_path / "outside"
    outside.mkdir()
    np.save(outside / "a.npy", image(1))
    for path in ("inside.npy", "inside/a.npy", "apart/a.npy"):
        rooted.save(image(2), path)
    for name, target in LINKS.items():
        (folder / name).symlink_to(target.format(outside=outside))
    (folder / "relative").symlink_to("../outside")
    (folder / "absolute").symlink_to(outside)
    (folder / "above").symlink_to("..")
    (folder / "inside/chain").symlink_to("../relative")
    before = snapshot(outside)
    yield outside
    assert snapshot(outside) == before


def snapshot(folder: Path) -> dict[str, tuple[bytes | str, int]]:
    def content(path: Path) -> bytes | str:
        return path.read_bytes() if path.is_file() else "folder"

    return {str(path): (content(path), path.stat().st_mtime_ns) for path in folder.rglob("*")}


# ── paths ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", EVERYTHING)
def test_path_stays_inside(rooted: DiskBackend, outside: Path, name: str, form: str) -> None:
    path = FORMS[form].format(outside=outside, root=rooted.root)
    with pytest.raises(PathOutsideRootError) as caught:
        EVERYTHING[name](rooted, path)
    assert caught.value.backend == "store"
    assert caught.value.root == rooted.root
    assert not (outside.parent / "folder/stolen.npy").is_symlink()


@pytest.mark.parametrize("name", ["list_dir", "is_dir", "ensure_directory", "delete_all"])
def test_parent_is_outside(rooted: DiskBackend, outside: Path, name: str) -> None:
    with pytest.raises(PathOutsideRootError):
        EVERYTHING[name](rooted, "..")


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("name", READS | WRITES)
def test_link_is_not_followed_out(
    rooted: DiskBackend, outside: Path, name: str, link: str
) -> None:
    # A folder is never copied to a name that exists, so the target of the link does not matter.
    error = AlreadyExistsError if name == "copy_folder_to" else PathOutsideRootError
    with pytest.raises(error):
        EVERYTHING[name](rooted, link)


@pytest.mark.parametrize("link", LINKS)
def test_link_itself_is_moved_and_deleted(
    rooted: DiskBackend, outside: Path, link: str
) -> None:
    assert rooted.is_symlink(link)
    rooted.move(link, "moved.npy")
    rooted.create_symlink("inside.npy", "moved.npy", overwrite=True)
    assert_same(rooted.load("moved.npy"), image(2))
    rooted.delete("moved.npy")


def test_link_to_folder_is_deleted(rooted: DiskBackend, outside: Path) -> None:
    for path in ("absolute", "relative/", "above/."):
        rooted.delete(path, recursive=True)
    assert not {"absolute", "relative", "above"} & set(rooted.list_dir("."))


def test_mirror_refuses_link_out(rooted: DiskBackend, folder: Path, outside: Path) -> None:
    """A mirror makes no link to a file that is itself a link out of the root."""
    rooted.save(image(1), "f/a.npy")
    (folder / "f/out.npy").symlink_to(outside / "a.npy")
    with pytest.raises(PathOutsideRootError, match=r"f/out\.npy"):
        rooted.mirror_directory_with_symlinks("f", "m")
    assert_same(rooted.load("m/a.npy"), image(1))
    assert rooted.list_dir("m") == ["a.npy"]


def test_links_out_are_listed(rooted: DiskBackend, outside: Path) -> None:
    assert set(LINKS) <= set(rooted.list_dir("."))
    found = {entry.name: entry for entry in rooted.scan(".")}
    assert found["absolute"] == ("absolute", False, True)
    listed = rooted.list_files(".", recursive=True)
    assert [path for path in listed if not rooted.is_symlink(path)] == [
        "apart/a.npy",
        "inside/a.npy",
        "inside.npy",
    ]


@pytest.mark.parametrize("path", ["", "a\0.npy", "\0", "x/\0/../../a.npy"])
@pytest.mark.parametrize("name", EVERYTHING)
def test_invalid_path_is_refused(
    rooted: DiskBackend, outside: Path, name: str, path: str
) -> None:
    with pytest.raises(InvalidOptionError):
        EVERYTHING[name](rooted, path)


# ── links inside the root ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "target",
    [
        "b/c.npy",
        "./b/../b/c.npy",
        "{root}/b/c.npy",
        "{root}/b/../b/c.npy",
        "b/up/b/c.npy",
        "b/rooted/c.npy",
        "../folder/b/c.npy",
    ],
)
def test_link_inside_is_followed(rooted: DiskBackend, folder: Path, target: str) -> None:
    rooted.save(image(1), "b/c.npy")
    (folder / "b/up").symlink_to("..")
    (folder / "b/rooted").symlink_to(folder / "b")
    (folder / "link.npy").symlink_to(target.format(root=folder))
    # The link ends inside the root, but its path leads through the outside.
    if target.startswith("../"):
        with pytest.raises(PathOutsideRootError):
            rooted.load("link.npy")
        return
    rooted.save(image(2), "link.npy")
    assert_same(rooted.load("b/c.npy"), image(2))
    assert (folder / "link.npy").is_symlink()


def test_link_becomes_a_folder(
    rooted: DiskBackend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder is a link when it is opened, and a real folder when the link is read."""
    rooted.save(image(1), "kept/a.npy")
    (folder / "sub").symlink_to("kept")
    readlink = os.readlink

    def swap(name: str, *, dir_fd: int | None = None) -> str:
        if name == "sub" and (folder / "sub").is_symlink():
            (folder / "sub").unlink()
            (folder / "kept").rename(folder / "sub")
        return readlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "readlink", swap)
    assert_same(rooted.load("sub/a.npy"), image(1))


def test_link_moves_with_root(rooted: DiskBackend, folder: Path) -> None:
    """A link is stored relative to its own folder, so the root can be moved."""
    rooted.save(image(1), "a/b/c.npy")
    rooted.create_symlink("a/b/c.npy", "x/link.npy")
    moved = folder.rename(folder.with_name("moved"))
    assert_same(DiskBackend(root=moved).load("x/link.npy"), image(1))


# ── the root itself ──────────────────────────────────────────────────────────────────────


def test_first_save_makes_root(tmp_path: Path) -> None:
    disk = DiskBackend(root=tmp_path / "new/root")
    assert not disk.exists("a.npy")
    with pytest.raises(NotFoundError):
        disk.list_dir(".")
    assert not (tmp_path / "new").exists()
    disk.save(image(), "a.npy")
    assert disk.list_dir(".") == ["a.npy"]


def test_deleted_root_is_made_again(rooted: DiskBackend, folder: Path) -> None:
    rooted.save(image(1), "a.npy")
    shutil.rmtree(folder)
    assert not rooted.exists("a.npy")
    with pytest.raises(NotFoundError):
        rooted.load("a.npy")
    rooted.save(image(2), "a.npy")
    assert_same(np.load(folder / "a.npy"), image(2))
    shutil.rmtree(folder)
    folder.mkdir()
    assert rooted.list_dir(".") == []


def test_file_as_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        DiskBackend(root=tmp_path / "file").save(image(), "a.npy")


def test_relative_root_is_made_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    disk = DiskBackend(root="folder")
    monkeypatch.chdir("/")
    disk.save(image(), "a.npy")
    assert (folder / "a.npy").exists()


def test_backend_pickles(rooted: DiskBackend) -> None:
    rooted.save(image(), "a.npy")
    copy = pickle.loads(pickle.dumps(rooted))
    rooted.close()
    assert copy.root == rooted.root
    assert_same(copy.load("a.npy"), image())


def test_two_roots_are_separate(rooted: DiskBackend, tmp_path: Path) -> None:
    registry = BackendRegistry()
    registry.add("other", "disk", root=str(tmp_path / "other"))
    with registry:
        other = registry["other"]
        assert isinstance(other, DiskBackend)
        other.save(image(1), "a.npy")
        assert not rooted.exists("a.npy")


# ── the attacker ─────────────────────────────────────────────────────────────────────────

ATTACKER = """
import ctypes, os, sys
os.chdir(sys.argv[1])
os.symlink(sys.argv[2], "link")
os.symlink(sys.argv[2] + "/secret.npy", "link.npy")
renameat2 = ctypes.CDLL(None).renameat2
here, exchange = -100, 2
print("swapping", flush=True)
while os.getppid() != 1:
    renameat2(here, b"sub", here, b"link", exchange)
    renameat2(here, b"a.npy", here, b"link.npy", exchange)
"""


@pytest.mark.faults
def test_attacker_gets_nothing(rooted: DiskBackend, folder: Path, tmp_path: Path) -> None:
    """Another process swaps a folder and a file for links to the outside during the operations."""
    outside = tmp_path / "outside"
    outside.mkdir()
    np.save(outside / "secret.npy", image(7))
    rooted.ensure_directory("sub")
    rooted.save(image(4), "a.npy")
    command = [sys.executable, "-c", ATTACKER, str(folder), str(outside)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as attacker:
        try:
            assert attacker.stdout is not None
            attacker.stdout.readline()
            done, refused = rob(rooted, seconds=2.5)
        finally:
            attacker.kill()
    assert os.listdir(outside) == ["secret.npy"]
    assert_same(np.load(outside / "secret.npy"), image(7))
    assert done
    assert refused, "no operation met the link, so nothing is proved"


def rob(disk: DiskBackend, *, seconds: float) -> tuple[int, int]:
    """Do everything that could do harm outside, and count the operations done and refused."""
    attempts: list[Callable[[], Any]] = [
        lambda: disk.save(image(1), "sub/f/a.npy"),
        lambda: disk.save(image(2), "sub/secret.npy", if_exists="error"),
        lambda: disk.copy("sub/f/a.npy", "sub/b.npy"),
        lambda: disk.copy("sub/f", "sub/g"),
        lambda: disk.move("sub/b.npy", "sub/c.npy"),
        lambda: disk.delete("sub/g", recursive=True),
        lambda: disk.delete("sub/secret.npy"),
        lambda: disk.save_batch([image(3)] * 4, [f"sub/{n}.npy" for n in range(4)]),
    ]
    counts = [0, 0]
    end = time.monotonic() + seconds
    while time.monotonic() < end or not all(counts):
        for attempt in attempts:
            try:
                attempt()
                counts[0] += 1
            except (PathOutsideRootError, StorageError, BatchError):
                counts[1] += 1
        for path, ours in (("sub/secret.npy", 2000), ("a.npy", 4000), ("a.npy", 4000)):
            with suppress(PathOutsideRootError, StorageError):
                assert disk.load(path)[0, 0] == ours
    return counts[0], counts[1]
