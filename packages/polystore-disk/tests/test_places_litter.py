"""Files that file browsers leave are not content, and do not prevent deleting a folder."""

import os
from pathlib import Path

import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import DirectoryNotEmptyError, InvalidOptionError
from polystore_disk.backend import DiskBackend
from polystore_testing.values import assert_same, image

LITTER = ["._a.npy", ".DS_Store", "Thumbs.db", "desktop.ini"]


@pytest.fixture
def plate(disk: DiskBackend, folder: Path) -> DiskBackend:
    for place in ("plate", "plate/A01"):
        disk.save(image(), f"{place}/a.npy")
        for name in LITTER:
            (folder / place / name).write_bytes(b"\0\5\x16\7")
    return disk


def test_litter_is_not_listed(plate: DiskBackend) -> None:
    files = ["plate/A01/a.npy", "plate/a.npy"]
    assert sorted(plate.list_dir("plate")) == ["A01", "a.npy"]
    assert plate.list_files("plate", recursive=True) == files
    assert plate.list_files("plate", recursive=True, pattern="*a.npy") == files
    assert plate.list_files("plate", suffixes=[".db", ".ini"]) == []
    assert plate.collect_dirs_and_files("plate") == (["plate/A01"], files)
    assert plate.find_file_recursive("plate", ".DS_Store") is None
    assert len(plate.load_batch(plate.list_files("plate", recursive=True))) == 2


def test_litter_is_not_copied(plate: DiskBackend, folder: Path) -> None:
    plate.copy("plate", "copy")
    assert sorted(os.listdir(folder / "copy")) == ["A01", "a.npy"]


@pytest.mark.parametrize("recursive", [False, True])
def test_folder_with_litter_is_deleted(
    plate: DiskBackend, folder: Path, recursive: bool
) -> None:
    with pytest.raises(DirectoryNotEmptyError):
        plate.delete("plate/A01")
    assert sorted(os.listdir(folder / "plate/A01")) == sorted(["a.npy", *LITTER])
    plate.delete("plate/A01/a.npy")
    plate.delete("plate/A01", recursive=recursive)
    assert not (folder / "plate/A01").exists()


def test_folder_is_not_litter(disk: DiskBackend, folder: Path) -> None:
    """Only files are litter. A folder with such a name may hold values, so it is listed."""
    disk.save(image(), "f/._g/a.npy")
    assert disk.list_files("f", recursive=True) == ["f/._g/a.npy"]
    with pytest.raises(DirectoryNotEmptyError):
        disk.delete("f")
    assert (folder / "f/._g/a.npy").exists()


def test_litter_can_be_deleted(plate: DiskBackend, folder: Path) -> None:
    plate.delete("plate/.DS_Store")
    assert not (folder / "plate/.DS_Store").exists()


# ── URLs and home folders ────────────────────────────────────────────────────────────────


def test_names_like_url_and_home(free: DiskBackend, folder: Path) -> None:
    """Folders that earlier versions made can be listed, loaded from and deleted."""
    for made in ("s3:/bucket", "~"):
        (folder / made).mkdir(parents=True)
        free.save(image(), f"./{made}/a.npy")
    found = free.list_files(".", recursive=True)
    assert sorted(found) == ["./s3:/bucket/a.npy", "./~/a.npy"]
    for path in found:
        assert_same(free.load(path), image())
    for name in ("s3:", "./~"):
        free.delete(name, recursive=True)
    assert free.list_dir(".") == []


def test_root_may_be_in_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TOML file may name a root in the home folder, although no shell expands the path."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "backends.toml").write_text('[backends.raw]\nbackend="disk"\nroot="~/data"\n')
    fm = FileManager(BackendRegistry.from_file(tmp_path / "backends.toml"))
    fm.save(image(), "a.npy", backend="raw")
    assert (tmp_path / "data/a.npy").exists()
    with pytest.raises(InvalidOptionError):
        fm.load("~/data/a.npy", backend="raw")


@pytest.mark.parametrize("root", ["s3://bucket/run", "file:///data"])
def test_url_as_root_is_refused(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    registry = BackendRegistry()
    registry.add("raw", "disk", root=root)
    with pytest.raises(InvalidOptionError, match="not a URL"):
        FileManager(registry).save(image(), "a.npy", backend="raw")
    assert os.listdir() == []


# ── folders ──────────────────────────────────────────────────────────────────────────────


def test_error_for_folder_has_advice(disk: DiskBackend) -> None:
    disk.ensure_directory("plate")
    disk.ensure_directory("run.zarr")
    for operation in (disk.load, disk.open, lambda path: disk.save(image(), path)):
        with pytest.raises(IsADirectoryError, match="list_files"):
            operation("plate")
        with pytest.raises(IsADirectoryError, match="backend='zarr'"):
            operation("run.zarr")
