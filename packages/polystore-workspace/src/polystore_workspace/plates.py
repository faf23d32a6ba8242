"""Zarr plates of the published package: planes by file names, in folders of any name.

The package stores the planes of a field in one array. An attribute of the array has the index of
each file name. Its stores are folders with any name, but an address of the backend ``zarr`` needs
a part that ends with ``.zarr``.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from polystore_core import ByteStore, LocalStore, StoreFeatures, decode_json, known_options
from polystore_core.errors import DamagedDataError, PolystoreError, UnsupportedOperationError

from .document import Reference

if TYPE_CHECKING:
    from polystore_core import Stat

__all__ = ["NAMED", "AnyFolder", "is_nameless", "planes_of_plate", "takes_stores"]

NAMED = "folder.zarr"
"""The name that ``AnyFolder`` gives its folder for the backend ``zarr``."""

_FILES = "polystore_filename_map"
_STORE = re.compile(r"[^/]\.(?:zarr(?:\.zip)?|ozx)(?:/|\Z)", re.IGNORECASE)


def is_nameless(store: LocalStore, address: str) -> bool:
    """Return whether ``address`` is a Zarr array or group in a folder without a store's name."""
    if _STORE.search(f"{store.root}/{address}"):
        return False
    return any(
        _exists(store, f"{address}/{name}") for name in (".zarray", ".zgroup", "zarr.json")
    )


def takes_stores(backend: object) -> bool:
    """Return whether a backend can read from a ``ByteStore``, as the backend ``zarr`` can."""
    options = known_options(type(backend))[0]  # type: ignore[arg-type]
    return "store" in options and "root" in options


def planes_of_plate(store: LocalStore, folder: str) -> dict[str, Reference]:
    """Return the plane of each file name in a plate, or ``{}`` if ``folder`` is not such a plate.

    Addresses are relative to the root of ``store``.

    Raises:
        DamagedDataError: The documents are not valid, or two arrays have the same file name.
    """
    found: dict[str, Reference] = {}
    for name, plane in _planes(store, folder):
        # File names were unique in the package. Two arrays with one name would hide a plane.
        if found.setdefault(name, plane) != plane:
            fault = f"two arrays have the file name {name!r}, {plane.address!r} is the second"
            raise DamagedDataError(fault, "zarr", folder or ".")
    return found


def _planes(store: LocalStore, folder: str) -> Iterator[tuple[str, Reference]]:
    top = f"{folder}/" if folder else ""
    try:
        for well in _items(_attributes(store, folder), "plate", "wells"):
            for image in _items(_attributes(store, top + well["path"]), "well", "images"):
                place = f"{top}{well['path']}/{image['path']}"
                for name, indices in _files_of_image(store, place).items():
                    yield name, Reference("zarr", place, tuple(indices))
    except (AttributeError, KeyError, TypeError) as error:
        fault = f"the documents of the plate are not as OME-Zarr has them ({error!r})"
        raise DamagedDataError(fault, "zarr", folder or ".") from error


def _files_of_image(store: LocalStore, place: str) -> dict[str, list[int]]:
    """Return the indices of each file name, or ``{}`` if the array has no file names."""
    scales = _items(_attributes(store, place), "multiscales")
    levels = _items(scales[0], "datasets") if scales else []
    names = _attributes(store, f"{place}/{levels[0]['path']}").get(_FILES) if levels else None
    return names or {}


def _items(document: Any, *keys: str) -> list[Any]:
    """Return the list under ``keys``, or ``[]`` if there is none."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, list) else []


def _attributes(store: LocalStore, place: str) -> dict[str, Any]:
    """Return the attributes of a Zarr node, of version 2 or 3, or ``{}`` if there is none."""
    for name in (".zattrs", "zarr.json"):  # the package wrote Zarr 2 in most versions
        path = f"{place}/{name}" if place else name
        try:
            found = decode_json(store.read(path), path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if name == "zarr.json":
            found = found.get("attributes", {})
            # OME-Zarr 0.5 has its metadata in an object "ome". In 0.4 they are attributes.
            found |= found.get("ome", {})
        return found  # type: ignore[no-any-return]
    return {}


def _exists(store: LocalStore, path: str) -> bool:
    try:
        return store.stat(path).kind == "file"
    except (OSError, PolystoreError):  # reading the source raises the error
        return False


class AnyFolder(ByteStore):
    """The files of a folder, below the name ``NAMED``. It only reads, and follows no link out."""

    features = StoreFeatures(replace="none", delete="none", nested_values=False)

    def __init__(self, root: str) -> None:
        self.files = LocalStore(root)

    def stat(self, key: str, /) -> Stat:
        found = self.files.stat(_inner(key))
        if found.kind != "file":
            raise FileNotFoundError(errno.ENOENT, "it is not a file", key)
        return found._replace(key=key, target=None)

    def read(self, key: str, start: int = 0, stop: int | None = None, /) -> bytes:
        return self.files.read(_inner(key), start, stop)

    def scan(self, folder: str = "", /) -> Iterator[Stat]:
        for found in self.files.scan(_inner(folder) if folder else ""):
            yield found._replace(key=f"{NAMED}/{found.key}")

    def put(self, key: str, content: Any, /, *, if_exists: Any = "replace") -> None:
        raise UnsupportedOperationError("", "save", "it is only read")

    def delete(self, key: str, /) -> None:
        raise UnsupportedOperationError("", "delete", "it is only read")

    def close(self) -> None:
        self.files.close()

    def __repr__(self) -> str:
        return f"<AnyFolder {self.files.root!r}>"


def _inner(key: str) -> str:
    name, _, inner = key.partition("/")
    if name != NAMED:
        raise FileNotFoundError(errno.ENOENT, "it is not in the folder", key)
    return inner or "."
