"""What a folder holds: of a store, or around stores, where files are somebody else's."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from polystore_core import Entry

from .base import StorePath, names_store
from .layout import FOLDER_STORE
from .nodes import read_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["entries", "foreign_files", "is_directory", "is_node", "modified_at", "tree_size"]

_MOST_COUNTED = 1000
"""Files whose sizes are added up: 2 ms on a local disk."""


def is_directory(path: StorePath) -> bool:
    """Whether a folder is at a place, or a link that leads to one."""
    return path.files.kind(path.key) == "directory"


def entries(directory: StorePath, *, inside: bool) -> Iterator[Entry]:
    """Yield what a directory holds: of a store, or of a folder around stores."""
    files = directory.files
    for entry in files.entries(directory.key):
        if not entry.is_dir:
            if entry.is_symlink and not inside and entry.name.lower().endswith(".zarr"):
                yield Entry(entry.name, is_dir=False, is_symlink=False)  # load() says why
            continue  # a document, or somebody else's file
        path = directory / entry.name
        may_be_node = inside or entry.name.lower().endswith(".zarr")
        kind = read_kind(path) if may_be_node else None
        if may_be_node and kind is None:
            if not is_directory(path):  # deleted since it was found, or it steps aside
                with suppress(PermissionError):
                    files.settle(path.key)
            kind = read_kind(path)
            if kind is None and not is_directory(path):
                continue
        if not inside and entry.name == FOLDER_STORE and kind == "group":
            for member in files.entries(path.key):
                if member.is_dir and read_kind(path / member.name) in ("array", "image"):
                    yield Entry(member.name, is_dir=False, is_symlink=False)
        else:
            is_pixels = kind in ("array", "image")
            yield Entry(entry.name, not is_pixels, entry.is_symlink and not is_pixels)


def foreign_files(folder: StorePath) -> Iterator[StorePath]:
    """Yield the files in and below a folder that belong to no store."""
    for entry in folder.files.entries(folder.key):
        path = folder / entry.name
        if entry.is_symlink or not entry.is_dir:
            yield path
        elif not entry.name.lower().endswith(".zarr"):
            yield from foreign_files(path)


def is_node(folder: StorePath, entry: Entry) -> bool:
    """Whether an entry of a folder around stores, or in one, belongs to a store."""
    return entry.is_dir or any(map(names_store, folder.key.split("/")))


def modified_at(directory: StorePath) -> datetime | None:
    seconds = directory.files.modified(directory.key)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def tree_size(directory: StorePath) -> int | None:
    """Return the bytes of the files in a tree, ``None`` if it has more than 1,000.

    Asking for the size of each chunk would take longer than all the rest of ``info``.
    """
    found = islice(directory.files.store.scan(directory.key), _MOST_COUNTED + 1)
    sizes = [stat.size or 0 for stat in found]
    return None if len(sizes) > _MOST_COUNTED else sum(sizes)
