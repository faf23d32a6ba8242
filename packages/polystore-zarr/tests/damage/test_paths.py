"""Files, arrays and links in the place of a store, and unusual names."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import numpy as np
import pytest

from polystore_core.errors import (
    InvalidOptionError,
    NotADirectoryInPathError,
    NotAFileError,
    NotFoundError,
    PathOutsideRootError,
    StorageError,
)
from polystore_zarr.backend import ZarrBackend

from .stores import VALUE, make_backend, needs_posix, read_all_files

if TYPE_CHECKING:
    from pathlib import Path


def test_store_is_file(backend: ZarrBackend, root: Path) -> None:
    """The error names a file in the place of a store, and the file stays."""
    (root / "a.zarr").write_text("precious")
    (root / "b.ome.zarr").write_text("precious")
    for path in ("a.zarr", "a.zarr/a", "a.zarr/a/b", "b.ome.zarr", "b.ome.zarr/A/01/0"):
        for use in (
            lambda path: backend.save(VALUE, path),
            lambda path: backend.create(path, shape=(3,), dtype="u1", if_exists="replace"),
            backend.load,
            backend.open,
            backend.info,
            backend.ensure_directory,
        ):
            with pytest.raises(NotADirectoryInPathError, match="is a file"):
                use(path)
        assert not backend.exists(path)
    assert read_all_files(root) == {"a.zarr": b"precious", "b.ome.zarr": b"precious"}


def test_formats_do_not_mix(backend: ZarrBackend, root: Path) -> None:
    """Zarr 3 cannot be saved into a group of Zarr 2, or the other way round."""
    backend.save(VALUE, "two.zarr/g/a", zarr_format=2)
    backend.save(VALUE, "three.zarr/g/a")
    before = read_all_files(root)
    for path, options in (
        ("two.zarr/g/b", {"zarr_format": 3}),
        ("three.zarr/g/b", {"zarr_format": 2}),
    ):
        with pytest.raises(InvalidOptionError, match="is a group of Zarr"):
            backend.save(VALUE, path, **options)
    assert read_all_files(root) == before


def test_path_through_array(backend: ZarrBackend, root: Path) -> None:
    """A path below an array or a level of an image is refused."""
    backend.save(VALUE, "a.zarr/a", chunks=16)
    backend.save(VALUE, "i.ome.zarr", levels=1)
    before = read_all_files(root)
    for path in ("a.zarr/a/b", "a.zarr/a/c/0", "a.zarr/a/c", "i.ome.zarr/0/x"):
        with pytest.raises((NotADirectoryInPathError, NotAFileError, InvalidOptionError)):
            backend.save(VALUE, path)
        with pytest.raises((NotADirectoryInPathError, NotAFileError, NotFoundError)):
            backend.load(path)
    assert read_all_files(root) == before


@needs_posix
def test_links_within_store(backend: ZarrBackend, root: Path) -> None:
    """Links are followed. Saving replaces the target of a link, and the link stays."""
    backend.save(VALUE, "a.zarr/a", chunks=16)
    (root / "a.zarr/link").symlink_to("a")
    (root / "a.zarr/circle").symlink_to("circle")
    (root / "a.zarr/nowhere").symlink_to("nothing")
    (root / "a.zarr/up").symlink_to(".")
    np.testing.assert_array_equal(backend.load("a.zarr/link"), VALUE)
    backend.save(VALUE + 1, "a.zarr/link")
    np.testing.assert_array_equal(backend.load("a.zarr/link"), VALUE + 1)
    np.testing.assert_array_equal(backend.load("a.zarr/a"), VALUE + 1)
    assert (root / "a.zarr/link").is_symlink()
    with pytest.raises(StorageError):
        backend.load("a.zarr/circle")
    with pytest.raises(NotFoundError):
        backend.load("a.zarr/nowhere")
    assert {"a.zarr/a", "a.zarr/link"} <= set(backend.list_files("a.zarr", recursive=True))
    with pytest.raises(StorageError) as caught:
        backend.copy("a.zarr", "b.zarr")
    assert caught.value.errno == errno.ELOOP
    assert not (root / "b.zarr").exists()


@needs_posix
def test_links_out_of_root(backend: ZarrBackend, root: Path) -> None:
    """With a root, no link in a store leads out of the root."""
    outside = make_backend(root.parent)
    outside.save(VALUE, "secret.zarr/a", chunks=16)
    secret = read_all_files(root.parent / "secret.zarr")
    backend.save(VALUE + 1, "a.zarr/a", chunks=16)
    (root / "out.zarr").symlink_to(root.parent / "secret.zarr")
    (root / "a.zarr/out").symlink_to(root.parent / "secret.zarr/a")
    (root / "a.zarr/group").symlink_to(root.parent / "secret.zarr")
    for path in (
        "out.zarr/a",
        "a.zarr/out",
        "a.zarr/group/a",
        "out.zarr/new",
        "../secret.zarr/a",
    ):
        for use in (
            backend.load,
            backend.info,
            backend.open,
            lambda path: backend.save(VALUE, path),
            lambda path: backend.copy(path, "c.zarr/a"),
            lambda path: backend.copy("a.zarr/a", path),
        ):
            with pytest.raises(PathOutsideRootError):
                use(path)
    assert read_all_files(root.parent / "secret.zarr") == secret


NAMES = {
    "unicode": "Überlauf 日本 🔬",
    "decomposed": "U\u0308",
    "space": " a b ",
    "newline": "a\nb",
    "backslash": "a\\b",
    "quotes": "'\"`$(x)",
    "dots": "...",
    "long": "ä" * 127 + "x",
    "dash": "-rf",
    "percent": "%2e%2e",
}


@needs_posix
@pytest.mark.parametrize("name", NAMES)
def test_unusual_names_work(backend: ZarrBackend, root: Path, name: str) -> None:
    """An array, a store and an array of a folder may have any name that a file may have."""
    name = NAMES[name]
    store = f"{name[:100]}.zarr"
    for path in (f"a.zarr/{name}", f"{store}/{name}/a", f"folder/{name}"):
        backend.save(VALUE, path, chunks=16)
        np.testing.assert_array_equal(backend.load(path), VALUE)
        backend.save(VALUE + 1, path, chunks=16)
        np.testing.assert_array_equal(backend.load(path), VALUE + 1)
        backend.save(VALUE[:3, :3], path, region=(slice(3), slice(3)), unaligned="lock")
        np.testing.assert_array_equal(backend.load(path)[:3, :3], VALUE[:3, :3])
        assert backend.info(path).path == path
    assert backend.list_dir("a.zarr") == backend.list_dir("folder") == [name]
    assert store in backend.list_dir(".")
    backend.delete(f"a.zarr/{name}")
    assert backend.list_dir("a.zarr") == []


def test_impossible_names_are_refused(backend: ZarrBackend, root: Path) -> None:
    """An impossible name is refused, and nothing is written."""
    free = ZarrBackend()
    for path in ("a.zarr/../b", "a.zarr/x/../../b", "a.zarr/a\0b", "a.zarr/.."):
        with pytest.raises(InvalidOptionError):
            free.save(VALUE, f"{root}/{path}")
    for path in ("../b", "a.zarr/../../b", "/b", "a.zarr/a\0b", ""):
        with pytest.raises((InvalidOptionError, PathOutsideRootError)):
            backend.save(VALUE, path)
    for path in (f"a.zarr/{'x' * 256}", f"{'y' * 252}.zarr/a", f"f/{'z' * 256}"):
        with pytest.raises(StorageError) as caught:
            backend.save(VALUE, path)
        assert caught.value.errno == errno.ENAMETOOLONG
    reserved = ("a.zarr/zarr.json", "a.zarr/.zgroup/b", "f/.zattrs")
    for path in reserved:
        with pytest.raises(InvalidOptionError, match="a name that Zarr reserves"):
            backend.save(VALUE, path)
        if path.startswith("a.zarr"):
            with pytest.raises(InvalidOptionError, match="a name that Zarr reserves"):
                backend.ensure_directory(path)
        assert not backend.exists(path)
    with pytest.raises(InvalidOptionError):
        backend.save(VALUE, "a.zarr/.~ps-a")
    files = [p for p in root.rglob("*") if p.is_file() and p.suffix != ".lock"]
    assert {path.name for path in files} <= {"zarr.json"}
