"""The option ``store=``: a ByteStore, or the name of a backend that has one."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import BackendRegistry, ByteStore, FileManager, LocalStore, StorageBackend
from polystore_core.errors import (
    InvalidOptionError,
    PluginError,
    UnsupportedOperationError,
)
from polystore_zarr.backend import ZarrBackend

from .places import OTHERS, PARTS, SHAPE, Place, number

if TYPE_CHECKING:
    from pathlib import Path

EXPECTED = "a ByteStore, or the name of another backend that has one"


def test_store_that_is_given(tmp_path: Path) -> None:
    from objectstore import ObjectStore

    store = ObjectStore(tmp_path / "bucket")
    backend = ZarrBackend(store=store)
    backend.save(number(1), "a.zarr")
    assert backend.store is store
    assert store.read("a.zarr/zarr.json").startswith(b"{")
    assert repr(store) in repr(backend)


def test_store_without_sizes(tmp_path: Path) -> None:
    from objectstore import ObjectStore

    class Sizeless(ObjectStore):
        def stat(self, key: str, /) -> Any:
            return super().stat(key)._replace(size=None)

        def scan(self, prefix: str = "", /) -> Any:
            return (stat._replace(size=None) for stat in super().scan(prefix))

    backend = ZarrBackend(store=Sizeless(tmp_path / "bucket"))
    value = np.arange(40 * 36, dtype="u2").reshape(SHAPE)
    backend.save(value, "a.zarr", **PARTS)
    np.testing.assert_array_equal(backend.load("a.zarr"), value)
    backend.save(value[::-1], "gz.zarr", compressor="gzip")  # read by zarr itself
    np.testing.assert_array_equal(backend.load("gz.zarr"), value[::-1])
    assert backend.info("a.zarr").size is None


def test_store_of_another_backend(tmp_path: Path) -> None:
    """Both backends see the same keys: Zarr sees arrays, and the other one sees their files."""
    registry = BackendRegistry()
    registry.add("files", "disk", root=str(tmp_path))
    registry.add("z", "zarr", store="files")
    with registry:
        fm = FileManager(registry)
        fm.save(number(1), "f/a.zarr", backend="z")
        fm.save({"note": 1}, "f/note.json", backend="files")
        assert registry["z"].store is registry["files"].store
        assert fm.load("f/a.zarr/zarr.json", backend="files")["node_type"] == "array"
        assert fm.list_dir("f", backend="z") == ["a.zarr"]
        np.testing.assert_array_equal(ZarrBackend(root=tmp_path).load("f/a.zarr"), number(1))


def test_default_is_the_file_system(tmp_path: Path) -> None:
    assert isinstance(ZarrBackend().store, LocalStore)
    store = ZarrBackend(root=tmp_path).store
    assert isinstance(store, LocalStore)
    assert store.root == str(tmp_path)


@pytest.mark.parametrize("place", ["memory", "zip", "disk"], indirect=True)
def test_store_outlives_the_backend(place: Place) -> None:
    """The store belongs to the other backend, so ``close`` of Zarr leaves it open."""
    place.z.save(number(1), "a.zarr")
    place.backend.close()
    other = next(name for name in ("box", "archive", "files") if name in place.registry.names())
    assert "a.zarr/zarr.json" in {stat.key for stat in place.registry[other].store.scan()}


@pytest.mark.parametrize("value", [7, b"bytes", ["memory"], object()])
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(InvalidOptionError, match=f"store=.*{EXPECTED}"):
        ZarrBackend(store=value)


def test_path_is_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptionError, match=EXPECTED):
        ZarrBackend(store=tmp_path)


def test_root_and_store_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptionError, match=r"root= and store= exclude"):
        ZarrBackend(store=LocalStore(), root=tmp_path)


def test_unknown_name_is_named() -> None:
    registry = BackendRegistry()
    registry.add("z", "zarr", store="nobody")
    with pytest.raises(PluginError, match="nobody"):
        registry["z"].load("a.zarr")


class Keeper(StorageBackend):
    """A backend that has no store of bytes."""

    _backend_type = "keeper"

    def save(self, data: Any, path: Any, /) -> None:
        raise NotImplementedError

    def load(self, path: Any, /) -> Any:
        raise NotImplementedError


def test_backend_without_a_store_is_named() -> None:
    registry = BackendRegistry()
    registry.add("k", Keeper())
    registry.add("z", "zarr", store="k")
    with pytest.raises(UnsupportedOperationError, match=r"'k'.*store=.*no store of bytes"):
        registry["z"].load("a.zarr")


def test_own_name_is_refused() -> None:
    registry = BackendRegistry()
    registry.add("z", "zarr", store="z")
    with pytest.raises(InvalidOptionError, match=EXPECTED):
        registry["z"].load("a.zarr")


def test_zarr_over_zarr_shares_its_store(tmp_path: Path) -> None:
    """A Zarr backend has no file formats, but another backend can use its store."""
    registry = BackendRegistry()
    registry.add("y", "zarr", root=str(tmp_path))
    registry.add("z", "zarr", store="y")
    registry["y"].save(number(1), "a.zarr")
    np.testing.assert_array_equal(registry["z"].load("a.zarr"), number(1))
    assert registry["z"].store is registry["y"].store


def test_name_needs_a_registry() -> None:
    with pytest.raises(InvalidOptionError, match="registry"):
        ZarrBackend(store="memory")


@pytest.mark.parametrize("place", ["objects", "zip", "disk"], indirect=True)
def test_registry_pickles(place: Place) -> None:
    place.z.save(number(3), "a.zarr", **PARTS)
    copy = pickle.loads(pickle.dumps(place.fm))
    np.testing.assert_array_equal(copy.load("a.zarr", backend="z"), number(3))
    handle = pickle.loads(pickle.dumps(place.z.open("a.zarr")))
    np.testing.assert_array_equal(handle[:20], number(3)[:20])


@pytest.mark.parametrize("place", OTHERS, indirect=True)
def test_zarrs_needs_files(place: Place) -> None:
    """The pipeline in Rust opens paths of the file system."""
    with pytest.raises(UnsupportedOperationError, match=r"zarrs.*store="):
        ZarrBackend(store=place.store, codec_pipeline="zarrs")


@pytest.mark.parametrize("place", ["memory", "objects", "plain objects"], indirect=True)
def test_durable_needs_a_store_that_can(place: Place) -> None:
    assert not place.store.features.durable
    with pytest.raises(UnsupportedOperationError, match=r"features\.durable"):
        place.z.save(number(1), "a.zarr", durable=True)
    assert place.content() == {}
    place.z.save(number(1), "a.zarr", durable=False)


@pytest.mark.parametrize("place", OTHERS, indirect=True)
def test_all_layouts_round_trip(place: Place) -> None:
    """Chunks and shards of our own code and of zarr-python, Zarr 2 and 3, images and labels."""
    layouts: dict[str, dict[str, Any]] = {
        "chunks": PARTS,
        "shards": {"chunks": 8, "shards": (24, 24)},
        "gzip": {"chunks": 16, "compressor": "gzip"},
        "older": {"chunks": 16, "zarr_format": 2},
    }
    value = np.arange(1, 1441, dtype=np.uint16).reshape(40, 36)
    for name, options in layouts.items():
        place.z.save(value, f"g-{name}.zarr/h/a", **options)
        np.testing.assert_array_equal(place.z.load(f"g-{name}.zarr/h/a"), value)
        part = np.s_[3:30, 7:]
        np.testing.assert_array_equal(
            place.z.load(f"g-{name}.zarr/h/a", region=part), value[part]
        )
    place.z.save(value, "i.ome.zarr", levels=2, scale=(0.5, 0.5))
    assert place.z.load("i.ome.zarr", level=1).shape == (20, 18)
    assert place.z.info("i.ome.zarr").metadata["scale"] == [0.5, 0.5]
    assert len(place.z.list_files(".", recursive=True)) == 5


@pytest.mark.parametrize("place", OTHERS, indirect=True)
def test_zarr_python_reads_our_arrays(place: Place, tmp_path: Path) -> None:
    """The keys of a store are the names that Zarr gives to files."""
    import zarr

    value = np.arange(1, 1441, dtype=np.uint16).reshape(40, 36)
    place.z.save(value, "g.zarr/h/a", **PARTS)
    _unpack(place.store, tmp_path / "unpacked")
    group = zarr.open_group(tmp_path / "unpacked/g.zarr", mode="r")
    np.testing.assert_array_equal(group["h/a"][...], value)


def _unpack(store: ByteStore, folder: Path) -> None:
    for stat in store.scan():
        assert "/.~ps-" not in f"/{stat.key}", "a hidden key was left in the store"
        path = folder / stat.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.read(stat.key))


@pytest.mark.parametrize("place", OTHERS, indirect=True)
def test_root_is_described(place: Place) -> None:
    """The root is described even while it is empty."""
    assert place.z.info(".").kind == "directory"
    assert place.z.list_dir(".") == []
    place.z.save(number(1), "a.zarr")
    assert place.z.info(".").kind == "directory"
    assert place.z.info("a.zarr").size > 0
    assert place.z.list_dir(".") == ["a.zarr"]
