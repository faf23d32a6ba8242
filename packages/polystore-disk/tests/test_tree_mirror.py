"""Mirrors: the folders of a tree, with a link for every file."""

import sys
from pathlib import Path

import pytest

from polystore_core.errors import (
    AlreadyExistsError,
    InvalidOptionError,
    NotAFileError,
    NotFoundError,
)
from polystore_disk.backend import DiskBackend
from polystore_testing.values import assert_same, image

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX")


def test_mirror_never_replaces_its_source(disk: DiskBackend) -> None:
    disk.save(image(1), "f/a.npy")
    with pytest.raises(InvalidOptionError):
        disk.mirror_directory_with_symlinks("f", "f", overwrite=True)
    assert_same(disk.load("f/a.npy"), image(1))


def test_mirror_leads_to_every_file(disk: DiskBackend, folder: Path) -> None:
    """A link among the files is mirrored as a link to its target.

    Folders and odd names are kept.
    """
    paths = ["f/a.npy", "f/g/b.npy", "f/g/h/c 1.npy", "f/z.npy"]
    disk.save_batch([image(n) for n in range(4)], paths)
    disk.create_symlink("f/a.npy", "f/g/link.npy")
    (folder / "way").symlink_to("f")
    assert disk.mirror_directory_with_symlinks("way", "deep/m") == 5
    for n, path in enumerate(paths):
        link = f"deep/m{path[1:]}"
        assert disk.is_symlink(link)
        assert_same(disk.load(link), image(n))
    disk.delete("f/g/link.npy")  # The mirror links to the target, not to this link.
    assert_same(disk.load("deep/m/g/link.npy"), image(0))


def test_mirror_may_be_inside(disk: DiskBackend) -> None:
    disk.save_batch([image(1), image(2)], ["f/a.npy", "f/g/b.npy"])
    assert disk.mirror_directory_with_symlinks("f", "f/m") == 2
    assert disk.list_files("f/m", recursive=True) == ["f/m/a.npy", "f/m/g/b.npy"]


def test_mirror_is_updated(disk: DiskBackend) -> None:
    """With overwrite, the mirror replaces links and files."""
    disk.save_batch([image(1), image(2)], ["f/a.npy", "f/b.npy"])
    disk.mirror_directory_with_symlinks("f", "m")
    with pytest.raises(AlreadyExistsError, match=r"m/a\.npy"):
        disk.mirror_directory_with_symlinks("f", "m")
    disk.delete("m/b.npy")
    disk.save(image(9), "m/b.npy")
    disk.save(image(3), "f/c.npy")
    assert disk.mirror_directory_with_symlinks("f", "m", overwrite=True) == 3
    assert [int(disk.load(f"m/{name}.npy")[0, 0]) for name in "abc"] == [1000, 2000, 3000]
    assert disk.list_dir("m") == ["a.npy", "b.npy", "c.npy"]


def test_mirror_never_replaces_folder(disk: DiskBackend) -> None:
    disk.save_batch([image(1), image(2)], ["f/a.npy", "m/a.npy/b.npy"])
    with pytest.raises(NotAFileError, match=r"m/a\.npy"):
        disk.mirror_directory_with_symlinks("f", "m", overwrite=True)
    assert_same(disk.load("m/a.npy/b.npy"), image(2))


def test_mirror_never_replaces_files_behind_links(disk: DiskBackend, folder: Path) -> None:
    """If the target is the source by another name, each link would lead to itself."""
    disk.save(image(1), "f/g/a.npy")
    (folder / "m").mkdir()
    (folder / "m/g").symlink_to("../f/g")
    with pytest.raises(InvalidOptionError, match="other than the source"):
        disk.mirror_directory_with_symlinks("f", "m", overwrite=True)
    assert_same(disk.load("f/g/a.npy"), image(1))


def test_mirror_refuses_dangling_link(disk: DiskBackend, folder: Path) -> None:
    disk.save(image(1), "f/a.npy")
    (folder / "f/lost.npy").symlink_to("nowhere.npy")
    with pytest.raises(NotFoundError, match=r"f/lost\.npy"):
        disk.mirror_directory_with_symlinks("f", "m")
