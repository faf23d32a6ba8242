"""Zarr stores in one zip file are read like folders (RFC-9 of OME-NGFF, and older practice)."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from polystore_core.errors import (
    NotADirectoryInPathError,
    NotAFileError,
    NotFoundError,
    PathOutsideRootError,
    StorageError,
)
from polystore_zarr.backend import ZarrBackend

from .archives import (
    DEFLATED,
    NAMES,
    STORED,
    VALUE,
    find_hidden,
    zip_array,
    zip_folder,
    zip_group,
    zip_members,
)

if TYPE_CHECKING:
    from polystore_testing import Bound

same = np.testing.assert_array_equal


@pytest.mark.parametrize("compression", [STORED, DEFLATED])
@pytest.mark.parametrize("name", NAMES)
def test_array_is_read(store: Bound, name: str, compression: int) -> None:
    zip_array(name, compression=compression)
    before = Path(name).read_bytes()
    same(store.load(name), VALUE)
    same(store.load(name, region=np.s_[3:30, ::2]), VALUE[3:30, ::2])
    same(store.load_batch([name, name], threads=2)[1], VALUE)
    with store.open(name) as handle:
        assert (handle.shape, handle.chunks) == (VALUE.shape, (16, 16))
        same(handle[20:, 5], VALUE[20:, 5])
    info = store.info(name)
    assert (info.kind, info.format, info.shape) == ("file", "zarr", VALUE.shape)
    assert info.size == os.path.getsize(name)
    assert store.exists(name)
    assert store.is_file(name)
    assert not store.is_dir(name)
    assert store.list_dir(".") == [name]
    assert store.list_files(".", recursive=True) == [name]
    assert (Path(name).read_bytes(), find_hidden(".")) == (before, [])


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_both_formats(store: Bound, zarr_format: int) -> None:
    zip_array("x.zarr.zip", zarr_format=zarr_format)
    same(store.load("x.zarr.zip"), VALUE)


@pytest.mark.parametrize("compression", [STORED, DEFLATED])
@pytest.mark.parametrize("name", NAMES)
def test_group_is_a_folder(store: Bound, name: str, compression: int) -> None:
    zip_group(name, compression=compression)
    assert store.is_dir(name)
    assert store.list_dir(name) == ["a", "h"]
    assert store.list_dir(f"{name}/h") == ["b", "c"]
    expected = [f"{name}/{inner}" for inner in ("h/b", "h/c", "a")]
    assert sorted(store.list_files(name, recursive=True)) == sorted(expected)
    assert sorted(store.list_files(".", recursive=True)) == sorted(expected)
    same(store.load(f"{name}/a"), VALUE)
    same(store.load(f"{name}/h/c"), VALUE + 2)
    with pytest.raises(NotAFileError):
        store.load(name)
    with pytest.raises(NotFoundError):
        store.load(f"{name}/h/d")
    with pytest.raises(NotADirectoryInPathError):
        store.list_dir(f"{name}/a")
    assert not store.exists(f"{name}/h/d")
    assert store.info(f"{name}/h").kind == "directory"


def test_image_is_read(store: Bound) -> None:
    store.save(VALUE, "i.ome.zarr", levels=2, scale=(0.5, 0.25), units="um")
    store.save(VALUE.astype("u1"), "i.ome.zarr/labels/n")
    zip_folder("i.ome.zarr", "i.ozx")
    same(store.load("i.ozx"), VALUE)
    same(store.load("i.ozx", level=1), store.load("i.ome.zarr", level=1))
    same(store.load("i.ozx/labels/n"), VALUE.astype("u1"))
    ours, theirs = store.info("i.ome.zarr"), store.info("i.ozx")
    assert theirs.metadata == ours.metadata
    assert (theirs.shape, theirs.format) == (ours.shape, "ome-zarr")


def test_plate_is_read(store: Bound) -> None:
    paths = [f"p.ome.zarr/{well}/{field}" for well in ("A/01", "B/03") for field in (0, 1)]
    store.save_batch([VALUE + n for n in range(4)], paths, levels=1)
    zip_folder("p.ome.zarr", "p.ozx", compression=DEFLATED)
    listed = store.list_files("p.ozx", recursive=True)
    assert listed == [path.replace("p.ome.zarr", "p.ozx") for path in paths]
    for number, path in enumerate(listed):
        same(store.load(path), VALUE + number)


def test_shards_are_read(store: Bound) -> None:
    store.save(VALUE, "s.zarr", chunks=4, shards=(24, 24))
    zip_folder("s.zarr", "s.zarr.zip")
    same(store.load("s.zarr.zip"), VALUE)
    same(store.load("s.zarr.zip", region=np.s_[7:9, 30:]), VALUE[7:9, 30:])


def test_archive_in_a_folder_and_in_a_batch(store: Bound) -> None:
    os.makedirs("f/g")
    for number in range(3):
        zip_array(f"f/g/{number}.zarr.zip")
    paths = store.list_files("f", recursive=True)
    assert paths == [f"f/g/{number}.zarr.zip" for number in range(3)]
    for found in store.load_batch(paths):
        same(found, VALUE)


def test_handle_pickles_and_goes_into_dask(store: Bound) -> None:
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    zip_array("x.zarr.zip")
    handle = store.open("x.zarr.zip")
    same(pickle.loads(pickle.dumps(handle))[...], VALUE)
    assert int(da.from_array(handle).sum().compute(scheduler="threads")) == int(VALUE.sum())


def test_archive_is_replaced_while_it_is_open(store: Bound) -> None:
    """Each read gives the old archive, the new archive or an error."""
    zip_array("x.zarr.zip")
    handle = store.open("x.zarr.zip")
    same(handle[:16], VALUE[:16])
    store.save(VALUE + 1, "new.zarr", chunks=16, shards=False)
    zip_folder("new.zarr", "new.zip")
    os.replace("new.zip", "x.zarr.zip")
    try:
        found = handle[...]
    except (StorageError, NotFoundError) as error:
        assert "x.zarr.zip" in str(error)  # noqa: PT017
    else:
        assert (found == VALUE).all() or (found == VALUE + 1).all()
    same(store.load("x.zarr.zip"), VALUE + 1)


def test_last_of_two_equal_names_is_read(store: Bound) -> None:
    """zarr-python cannot replace a member, so it adds a document again if attributes change."""
    with pytest.warns(UserWarning, match="Duplicate name"):
        _zip_twice("x.zarr.zip")
    same(store.load("x.zarr.zip"), [7, 7, 1, 1])
    assert store.info("x.zarr.zip").metadata["attributes"] == {"note": "new"}


def _zip_twice(file: str) -> None:
    with zarr.storage.ZipStore(file, mode="w") as zipped:
        array = zarr.create_array(zipped, shape=(4,), dtype="u1", chunks=(2,))
        array[...] = 1
        array.attrs["note"] = "new"
        array[:2] = 7


def test_copy_unpacks(store: Bound) -> None:
    zip_group("g.zarr.zip", compression=DEFLATED)
    store.copy("g.zarr.zip", "g.zarr")
    assert Path("g.zarr/h/zarr.json").is_file()
    same(store.load("g.zarr/h/b"), VALUE + 1)
    store.copy("g.zarr.zip/h/c", "c.zarr")
    same(store.load("c.zarr"), VALUE + 2)
    assert sorted(store.list_dir(".")) == ["c.zarr", "g.zarr", "g.zarr.zip"]


def test_names_that_lead_outside_do_not_exist(store: Bound, tmp_path: Path) -> None:
    """The archive has names with "..", absolute names, and names of file browsers."""
    zip_array("good.zip")
    with zipfile.ZipFile("good.zip") as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    hostile = [
        (f"{prefix}{name}", content)
        for prefix in (
            "../evil.zarr/",
            "/tmp/evil/",
            "__MACOSX/",
            "C:\\evil\\",
            "h/../../evil/",
        )
        for name, content in members
    ]
    zip_members(
        "g.zarr.zip", [("zarr.json", b'{"zarr_format":3,"node_type":"group"}'), *hostile]
    )
    assert set(store.list_dir("g.zarr.zip")) <= {"C:\\evil\\c", "__MACOSX"}
    assert not (tmp_path.parent / "evil.zarr").exists()
    store.copy("g.zarr.zip", "copied.zarr")
    assert not (tmp_path.parent / "evil.zarr").exists()
    assert not Path("evil.zarr").exists()


# ── the place of an archive ──────────────────────────────────────────────────────────────


@pytest.mark.skipif(os.open not in os.supports_dir_fd, reason="system: needs dir_fd")
def test_archive_is_confined_to_the_root(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "f", outside):
        folder.mkdir(parents=True)
    zip_array(outside / "x.zarr.zip")
    zip_group(outside / "g.ozx")
    (root / "l.zarr.zip").symlink_to(outside / "x.zarr.zip")
    (root / "l.ozx").symlink_to("../outside/g.ozx")
    (root / "l").symlink_to(outside)
    shutil.copy(outside / "x.zarr.zip", root / "f/x.zarr.zip")
    (root / "in.zarr.zip").symlink_to("f/x.zarr.zip")
    backend = ZarrBackend(root=root)
    for path in ("l.zarr.zip", "l.ozx/a", "l.ozx", "l/x.zarr.zip", "l/g.ozx/a"):
        calls: list[Any] = [
            backend.load,
            backend.open,
            backend.info,
            backend.exists,
            backend.is_file,
            backend.list_dir,
            lambda path: backend.copy(path, "stolen.zarr"),
        ]
        for call in calls:
            with pytest.raises(PathOutsideRootError):
                call(path)
    same(backend.load("in.zarr.zip"), VALUE)
    assert "f/x.zarr.zip" in backend.list_files(".", recursive=True)
    assert not [path for path in backend.list_files(".", recursive=True) if path.endswith("/a")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="system: has no named pipes")
@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ["x.zarr.zip", "x.ozx", "y.zarr"])
def test_pipe_is_not_an_archive(store: Bound, name: str) -> None:
    """No call waits until another process writes into the pipe."""
    os.mkfifo(name)
    with pytest.raises((StorageError, ValueError)):
        store.load(name)
    with pytest.raises((StorageError, ValueError)):
        store.open(name)
    store.exists(name)
    store.list_dir(".")


def test_zip_in_place_of_the_store_of_a_folder(store: Bound) -> None:
    """Paths without a store name arrays in a folder "images.zarr". A zip is not such a folder."""
    os.makedirs("f")
    zip_group("f/images.zarr")
    assert store.list_dir("f") == ["images.zarr"]
    same(store.load("f/images.zarr/a"), VALUE)
    for call in (store.load, store.open, lambda path: store.save(VALUE, path)):
        with pytest.raises((NotFoundError, NotADirectoryInPathError)):
            call("f/a")
    assert not store.exists("f/a")
    assert os.listdir("f") == ["images.zarr"]


def test_archive_below_an_array_is_refused(store: Bound) -> None:
    store.save(VALUE, "a")
    for path in ("a/x.ozx", "a/x.zarr.zip/b"):
        with pytest.raises(NotADirectoryInPathError):
            store.load(path)
    with pytest.raises(NotADirectoryInPathError):
        store.save(VALUE, "a/x.ozx")
    assert store.list_dir(".") == ["a"]


@pytest.mark.skipif(os.open not in os.supports_dir_fd, reason="system: needs dir_fd")
@pytest.mark.parametrize("name", ["l.zarr.zip", "l.ozx"])
def test_link_that_leads_out_is_deleted_and_moved(tmp_path: Path, name: str) -> None:
    """The link itself is moved, as on disk. It is listed as a file, and loading it says why."""
    root, outside = tmp_path / "root", tmp_path / "outside.zip"
    root.mkdir()
    zip_array(outside)
    (root / name).symlink_to(outside)
    backend = ZarrBackend(root=root)
    assert backend.list_dir(".") == [name]
    with pytest.raises(PathOutsideRootError):
        backend.load(name)
    with pytest.raises(PathOutsideRootError):
        backend.save(VALUE, name)
    backend.move(name, f"f/{name}")
    assert os.path.islink(root / "f" / name)
    backend.delete(f"f/{name}")
    assert backend.list_dir("f") == []
    assert outside.exists()
