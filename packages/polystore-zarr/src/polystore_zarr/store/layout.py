"""From a path to the store and the node in it: pure text, without a look at the store.

The first part of a path that ends in ``.zarr`` (or as zipped stores do) is the store. A path
without one lives in the store ``images.zarr`` of its own folder, under its own file name.
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
"""The store of all arrays whose paths name no store."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a path leads: as a node of a store, and as a folder."""

    path: str
    """The path as the caller gave it."""
    store: StorePath | None
    """The store; ``None`` where the path can only name a folder ("." and "/")."""
    inner: tuple[str, ...]
    """The parts below the store; none for the store itself."""
    folder: StorePath
    """The directory that the path names, if it names a folder."""
    node: StorePath
    """The place of the array, image or group. Without a store, that of the folder."""
    in_store: bool
    """Whether the path itself names the store."""
    archive: StorePath | None = None
    """The zip file that the store is in."""

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
        """Return the group that the first ``depth`` parts below the store lead to."""
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
            found.append(outer.parent / FOLDER_STORE / outer.name)
        return found


def address(path: str | os.PathLike[str], files: Files) -> Address:
    """Find the store of ``path`` in ``files``.

    Raises ``InvalidOptionError`` if it is not a path, and ``PathOutsideRootError``.
    """
    text = require_local(path)
    key = files.key_of(text)
    folder = StorePath(files, key)
    store, inner = split_key(key)
    if files.is_store:
        store, inner = "", tuple(name for name in key.split("/") if name not in ("", "."))
    if store or files.is_store:
        if ".." in inner:
            raise InvalidOptionError("path", text, "a path without '..' inside a store")
        root = StorePath(files, store)
        node = root.join(inner) if inner else root
        return Address(text, root, inner, node, node, in_store=True)
    name = folder.name
    if name in ("", ".", ".."):
        return Address(text, None, (), folder, folder, in_store=False)
    root = folder.parent / FOLDER_STORE
    return Address(text, root, (name,), folder, root / name, in_store=False)


def split_key(key: str) -> tuple[str, tuple[str, ...]]:
    """Return the key of the store in ``key``, "" if there is none, and the parts below it."""
    end = end_of_store(key)
    if end is None:
        return "", ()
    inner = key[end + 1 :].split("/")
    if "" in inner or "." in inner:
        inner = [name for name in inner if name not in ("", ".")]
    return key[:end], tuple(inner)


def refuse_reserved(place: Address) -> None:
    """Refuse names that no array or group can have in a store."""
    for name in place.inner:
        if name in DOCUMENTS:
            raise InvalidOptionError(
                "path", place.path, f"a path without {name!r}, a name that Zarr reserves"
            )
