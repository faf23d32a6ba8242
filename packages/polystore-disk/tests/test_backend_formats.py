"""Only the suffix of a path chooses the format."""

import os
from pathlib import Path
from typing import Any

import pytest

from polystore_core import FileManager
from polystore_core.errors import (
    DamagedDataError,
    NotFoundError,
    UnknownOptionError,
    UnsupportedDataError,
    UnsupportedFormatError,
)
from polystore_disk.backend import DiskBackend
from polystore_testing.values import assert_same, image

DATA = Path(__file__).parents[4] / "shared/data"


@pytest.mark.parametrize(
    ("path", "format"),
    [
        ("a.npy", "npy"),
        ("a.NPY", "npy"),
        ("a.Tif", "tiff"),
        ("a.TIFF", "tiff"),
        ("a.tar.npy", "npy"),
        ("a.ome.tif", "tiff"),
        ("a.npy.tif", "tiff"),
        ("2026.01.15 well A01.npy", "npy"),
        ("f.tif/a.npy", "npy"),
    ],
)
def test_suffix_chooses(disk: DiskBackend, path: str, format: str) -> None:
    disk.save(image(), path)
    assert disk.info(path).format == format
    assert_same(disk.load(path), image())


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a", "has no suffix, so polystore cannot choose a format"),
        ("f.npy/a", "has no suffix"),
        ("npy", "has no suffix"),
        ("a.", "has no suffix"),
        ("a.tfi", "ends in .tfi, but no installed format has that suffix; did you mean 'tif'?"),
        ("a.npy.gz", "ends in .gz, but no installed format has that suffix"),
        ("a.npy ", "ends in .npy "),
    ],
)
def test_unknown_suffix_raises(disk: DiskBackend, path: str, message: str) -> None:
    for operation in (disk.load, disk.open, lambda path: disk.save(image(), path)):
        with pytest.raises(UnsupportedFormatError) as caught:
            operation(path)
        assert message in str(caught.value)
        assert ".npy" in str(caught.value).partition("Known: ")[2]
    assert disk.list_dir(".") == []


def test_any_file_is_described(disk: DiskBackend, folder: Path) -> None:
    (folder / "a.dat").write_bytes(b"12345")
    info = disk.info("a.dat")
    assert (info.kind, info.size, info.format) == ("file", 5, None)
    assert info.modified is not None
    assert info.modified.timestamp() == pytest.approx((folder / "a.dat").stat().st_mtime)


def test_damage_error_names_all(disk: DiskBackend, folder: Path) -> None:
    (folder / "a.npy").write_bytes(b"\x93NUMPY")
    for operation in (disk.load, disk.open, disk.info):
        with pytest.raises(DamagedDataError, match=r"'a\.npy'") as caught:
            operation("a.npy")
        assert (caught.value.backend, caught.value.format) == ("store", "npy")


@pytest.mark.parametrize("suffix", ["npy", "npz", "tif", "json", "txt", "csv"])
def test_empty_file_is_damaged(disk: DiskBackend, folder: Path, suffix: str) -> None:
    (folder / f"a.{suffix}").touch()
    if suffix == "txt":
        assert disk.load("a.txt") == ""
    else:
        with pytest.raises(DamagedDataError):
            disk.load(f"a.{suffix}")


@pytest.mark.parametrize(
    ("operation", "option", "known"),
    [("save", "compresion", "compression"), ("load", "serie", "series")],
)
def test_option_belongs_to_format(
    disk: DiskBackend, operation: str, option: str, known: str
) -> None:
    disk.save(image(), "a.tif")
    arguments: tuple[Any, ...] = (image(), "a.tif") if operation == "save" else ("a.tif",)
    with pytest.raises(UnknownOptionError, match=f"'tiff'.*did you mean '{known}'"):
        getattr(disk, operation)(*arguments, **{option: 1})


def test_region_of_whole_formats(disk: DiskBackend) -> None:
    disk.save(image(shape=(6, 7)), "a.png")
    assert_same(disk.load("a.png", region=(slice(1, 3), 2)), image(shape=(6, 7))[1:3, 2])
    disk.save([1, 2], "a.json")
    with pytest.raises(UnsupportedDataError, match="region="):
        disk.load("a.json", region=0)


def test_real_images_load() -> None:
    """Every image of real microscopes loads with the values that tifffile reads."""
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    paths = sorted(path for path in DATA.rglob("*") if path.suffix.lower() in (".tif", ".tiff"))
    if not paths:
        pytest.skip(f"data: no images in {DATA}")
    manager = FileManager()
    found = manager.load_batch(paths, backend="disk")
    listed = manager.list_image_files(DATA, backend="disk", recursive=True)
    assert sorted(map(os.fspath, paths)) == sorted(listed)
    for path, value in zip(paths, found, strict=True):
        expected = tifffile.imread(path)
        assert value.dtype == expected.dtype
        assert_same(value.astype(expected.dtype), expected)


def test_missing_file_is_reported_before_damage(disk: DiskBackend) -> None:
    with pytest.raises(NotFoundError, match=r"'f/a\.npy' does not exist"):
        disk.load("f/a.npy")
