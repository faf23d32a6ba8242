"""Split a path into the store and the node in it. This works on text, without the store.

The first part of a path that ends with ``.zarr``, or the suffix of a zipped store, is the store. A
path without such a part is in the store ``images.zarr`` of its folder, under its own name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from polystore_core import require_local
from polystore_core.errors import InvalidOptionError

from .base import DOCUMENTS, StorePath, end_of_store

if TYPE_CHECKING:
    import os

    from .base import Files

__all__ = [
    "FOLDER_STORE",
    "Address",
    "address",
    "refuse_reserved",
    "split_key",
]

FOLDER_STORE = "images.zarr"
"""The store of all arrays whose paths have no store."""


@dataclass(frozen=True, slots=True)
class Address:
    """The meaning of a path, as a node of a store and as a folder."""

    path: str
    """The path of the caller, unchanged."""
    store: StorePath | None
    """The store. ``None`` if the path can only be a folder ("." and "/")."""
    inner: tuple[str, ...]
    """The parts below the store. Empty for the store itself."""
    folder: StorePath
    """The directory of the path, if it is a folder."""
    node: StorePath
    """The place of the array, image or group. Without a store, it is the folder."""
    in_store: bool
    """Whether the path itself has the name of the store."""
    archive: StorePath | None = None
    """The zip file of the store."""

    def groups(self) -> list[StorePath]:
        """Return the groups above the node, the store first."""
        if not self.inner or self.store is None:
            return []
        files, key = self.store
        found = [self.store]
        for name in self.inner[:-1]:
            key = f"{key}/{name}" if key else name
            found.append(StorePath(files, key))
        return found

    def group(self, depth: int) -> StorePath:
        """Return the group at the first ``depth`` parts below the store."""
        assert self.store is not None
        return self.store.join(self.inner[:depth])

    def below(self, inner: tuple[str, ...]) -> Address:
        """Return the address of another node of the store."""
        assert self.store is not None
        node = self.store.join(inner)
        return Address(self.path, self.store, inner, node, node, in_store=True)

    def with_archive(self, files: Files) -> Address:
        """Return the same address in a zipped store."""
        root = StorePath(files, "")
        node = root.join(self.inner)
        return Address(
            self.path, root, self.inner, node, node, in_store=True, archive=self.store
        )

    def around(self) -> list[StorePath]:
        """Return the nodes around the store, which must not be arrays."""
        outer = self.archive or (self.store if self.in_store and self.store else self.folder)
        found = []
        while (parent := outer.parent).key not in (outer.key, ""):
            outer = parent
            # An array called "plate" is in images.zarr, and a store in "plate/" would be below it.
            found.append(outer.parent / FOLDER_STORE / outer.name)
        return found


def address(path: str | os.PathLike[str], files: Files) -> Address:
    """Return the address of ``path`` in ``files``.

    Raises:
        InvalidOptionError: It is not a path.
        PathOutsideRootError: It leads out of the root.
    """
    text = require_local(path)
    key = files.key_of(text)
    folder = StorePath(files, key)
    store, inner = split_key(key)
    # The root of an archive is a store already, so "x.zarr" in it is only the name of a group.
    if files.is_store:
        store, inner = "", tuple(name for name in key.split("/") if name not in ("", "."))
    if store or files.is_store:
        if ".." in inner:
            raise InvalidOptionError("path", text, "a path without '..' inside a store")
        root = StorePath(files, store)
        node = root.join(inner) if inner else root
        return Address(text, root, inner, node, node, in_store=True)
    name = folder.name
    # Without a name, it cannot be an array in the store of its folder.
    if name in ("", ".", ".."):
        return Address(text, None, (), folder, folder, in_store=False)
    root = folder.parent / FOLDER_STORE
    return Address(text, root, (name,), folder, root / name, in_store=False)


def split_key(key: str) -> tuple[str, tuple[str, ...]]:
    """Return the key of the store in ``key``, or "", and the parts below it."""
    end = end_of_store(key)
    if end is None:
        return "", ()
    inner = key[end + 1 :].split("/")
    if "" in inner or "." in inner:
        inner = [name for name in inner if name not in ("", ".")]
    return key[:end], tuple(inner)


def refuse_reserved(place: Address) -> None:
    """Raise an error for names that an array or group cannot have in a store."""
    for name in place.inner:
        if name in DOCUMENTS:
            raise InvalidOptionError(
                "path", place.path, f"a path without {name!r}, a name that Zarr reserves"
            )
