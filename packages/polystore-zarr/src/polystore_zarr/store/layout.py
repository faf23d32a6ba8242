"""From a path to the store and the node in it: pure text, nothing is looked up.

The first part of a path that ends in ``.zarr`` (or as zipped stores do) is the store. A path
without one lives in the store ``images.zarr`` of its own folder, under its own file name.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from polystore_core import checked
from polystore_core.errors import InvalidOptionError, PathOutsideRootError

__all__ = ["DOCUMENTS", "FOLDER_STORE", "ZIPPED", "Address", "address", "refuse_reserved"]

FOLDER_STORE = "images.zarr"
"""The store of all arrays whose paths name no store."""
DOCUMENTS = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")
"""Files in which Zarr describes a node: no array or group can have such a name."""
ZIPPED = (".zarr.zip", ".ozx")
"""Suffixes of stores in one zip file (RFC 9 of OME-NGFF). They are named, not read or written."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a path leads: as a node of a store, and as a folder."""

    path: str
    """The path as the caller gave it."""
    store: str
    """Directory of the store; empty where the path can only name a folder ("." and "/")."""
    inner: tuple[str, ...]
    """The parts below the store; none for the store itself."""
    folder: str
    """The directory that the path names, if it names a folder."""

    @property
    def node(self) -> str:
        """Directory of the array, image or group."""
        return os.path.join(self.store, *self.inner)

    @property
    def is_zipped(self) -> bool:
        """Whether the store would be one zip file."""
        return self.store.lower().endswith(ZIPPED)

    @property
    def in_store(self) -> bool:
        """Whether the path itself names the store."""
        return self.folder == self.node

    def groups(self) -> list[str]:
        """Return the directories of the groups above the node, the store first."""
        return [os.path.join(self.store, *self.inner[:n]) for n in range(len(self.inner))]

    def around(self) -> list[str]:
        """Return the nodes that must be no arrays for the store to stand where it does."""
        outer = self.store if self.in_store else self.folder
        found = []
        while (parent := os.path.dirname(outer)) != outer and parent:
            outer = parent
            found.append(
                os.path.join(os.path.dirname(outer), FOLDER_STORE, os.path.basename(outer))
            )
        return found


def address(
    path: str | os.PathLike[str], root: str | None = None, backend: str = ""
) -> Address:
    """Find the store of ``path``, below ``root`` if there is one.

    Raises ``InvalidOptionError`` for what is no path, and ``PathOutsideRootError``.
    """
    text = checked(path)
    # Absolute, so that a handle leads to the same array in a worker, and after os.chdir.
    full = os.path.join(os.getcwd(), text) if root is None else _below(root, text, backend)
    parts = full.split("/")
    for position, part in enumerate(parts):
        if _names_store(part.lower()):
            inner = tuple(name for name in parts[position + 1 :] if name not in ("", "."))
            if ".." in inner:
                raise InvalidOptionError("path", text, "a path without '..' inside a store")
            store = "/".join(parts[: position + 1])
            return Address(text, store, inner, os.path.join(store, *inner))
    folder, name = os.path.split(full)
    if name in ("", ".", "..") or full == root:
        return Address(text, "", (), full)
    return Address(text, os.path.join(folder, FOLDER_STORE), (name,), full)


def refuse_reserved(place: Address) -> None:
    """Refuse names that no array or group can have in a store."""
    if place.is_zipped:
        expected = (
            "a store that is a folder, such as 'x.zarr': polystore does not write zipped stores"
        )
        raise InvalidOptionError("path", place.path, expected)
    for name in place.inner:
        if name in DOCUMENTS:
            raise InvalidOptionError(
                "path", place.path, f"a path without {name!r}, a name that Zarr reserves"
            )


def _names_store(part: str) -> bool:
    return (part.endswith(".zarr") and part != ".zarr") or part.endswith(ZIPPED)


def _below(root: str, text: str, backend: str) -> str:
    depth = 0
    for part in text.split("/"):
        depth += -1 if part == ".." else part not in ("", ".")
        if depth < 0:
            break
    if depth < 0 or text.startswith("/"):
        raise PathOutsideRootError(backend, text, root)
    return os.path.normpath(os.path.join(root, text))
