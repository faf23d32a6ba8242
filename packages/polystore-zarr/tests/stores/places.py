"""Every store that Zarr is tested over, and the arrays in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import BackendRegistry, ByteStore, FileManager, LocalStore
from polystore_testing import Bound
from polystore_zarr.backend import ZarrBackend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHAPE = (40, 36)
PARTS: dict[str, Any] = {"chunks": 16, "shards": False}


def number(value: int, shape: tuple[int, ...] = SHAPE) -> Any:
    """Fill an array with its number. Numbers start at 1, because 0 means missing."""
    return np.full(shape, value, np.uint16)


def number_of(value: Any) -> int:
    """Return the number of an array, which must be whole."""
    found = int(value.flat[0])
    assert found > 0, "pixels are missing"
    assert (value == found).all(), "a mixture of two arrays"
    return found


def _local(registry: BackendRegistry, folder: Path) -> None:
    registry.add("z", "zarr")


def _root(registry: BackendRegistry, folder: Path) -> None:
    registry.add("z", "zarr", root=str(folder / "root"))


def _local_store(registry: BackendRegistry, folder: Path) -> None:
    registry.add("z", "zarr", store=LocalStore(folder / "root"))


def _disk(registry: BackendRegistry, folder: Path) -> None:
    registry.add("files", "disk", root=str(folder / "root"))
    registry.add("z", "zarr", store="files")


def _memory(registry: BackendRegistry, folder: Path) -> None:
    registry.add("box", "memory", root="top")
    registry.add("z", "zarr", store="box")


def _zip(registry: BackendRegistry, folder: Path) -> None:
    registry.add("archive", "zip", file=str(folder / "scan.zip"))
    registry.add("z", "zarr", store="archive")


def _objects(registry: BackendRegistry, folder: Path) -> None:
    from objectstore import ObjectStore

    registry.add("z", "zarr", store=ObjectStore(folder / "bucket"))


def _plain_objects(registry: BackendRegistry, folder: Path) -> None:
    from objectstore import Plain

    registry.add("z", "zarr", store=Plain(folder / "bucket"))


PLACES: dict[str, Callable[[BackendRegistry, Path], None]] = {
    "local": _local,
    "root": _root,
    "local store": _local_store,
    "disk": _disk,
    "memory": _memory,
    "zip": _zip,
    "objects": _objects,
    "plain objects": _plain_objects,
}
LOCAL = ["local", "root", "local store", "disk"]
WHOLE = [*LOCAL, "memory"]
"""Stores in which an array may replace another one."""
OTHERS = ["memory", "zip", "objects", "plain objects"]


class Place:
    """The backend ``"z"`` over one store."""

    def __init__(self, add: Callable[[BackendRegistry, Path], None], folder: Path) -> None:
        self.registry = BackendRegistry()
        add(self.registry, folder)
        self.fm = FileManager(self.registry)
        self.z = Bound(self.fm, "z")

    @property
    def backend(self) -> ZarrBackend:
        found = self.registry["z"]
        assert isinstance(found, ZarrBackend)
        return found

    @property
    def store(self) -> ByteStore:
        """The store below Zarr."""
        found = self.backend.store
        assert isinstance(found, ByteStore)
        return found

    def content(self) -> dict[str, bytes]:
        """Return all keys of the store with their bytes. A refused call must not change them."""
        return {stat.key: self.store.read(stat.key) for stat in self.store.scan()}
