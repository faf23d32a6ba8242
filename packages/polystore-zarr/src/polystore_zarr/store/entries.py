"""The content of a folder in a store, or around stores, where other files are not ours."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from polystore_core import Entry
from polystore_core.errors import DataError, PathOutsideRootError

from .archives import archive_at
from .base import StorePath, end_of_store
from .layout import FOLDER_STORE
from .nodes import read_document, read_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["entries", "foreign_files", "is_directory", "is_node", "time_of_change", "tree_size"]

_MOST_COUNTED = 1000
"""The most files whose sizes are added. It takes 2 ms on a local disk."""


def is_directory(path: StorePath) -> bool:
    """Return whether a folder is at a place, or a link to a folder."""
    return path.files.kind(path.key) == "directory"


def entries(directory: StorePath, *, inside: bool) -> Iterator[Entry]:
    """Yield the content of a directory, in a store or around stores."""
    files = directory.files
    for entry in files.entries(directory.key):
        path = directory / entry.name
        if not entry.is_dir:  # a zipped store, a document, or a file of another program
            zipped = None if inside else _kind_in_zip(path)
            if zipped is not None:
                is_group = zipped == "group"
                yield Entry(entry.name, is_group, entry.is_symlink and is_group)
            continue
        may_be_node = inside or entry.name.lower().endswith(".zarr")
        kind = read_kind(path) if may_be_node else None
        if may_be_node and kind is None:
            if not is_directory(path):  # it was deleted after the listing, or it is aside
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


def _kind_in_zip(path: StorePath) -> Literal["array", "image", "group"] | None:
    """Return the kind of the node at the root of a zipped store, as ``read_kind`` does."""
    if end_of_store(path.name) is None:
        return None
    try:
        archive = archive_at(path)
        kind = None if archive is None else read_kind(StorePath(archive, ""))
    except (OSError, PathOutsideRootError):
        # So that it is listed. ``load`` then raises the error, with its reason.
        kind = "array"
    return kind or ("array" if path.files.is_link(path.key) else None)


def _is_zipped_store(path: StorePath) -> bool:
    """Return whether a file is a zipped store that can be read. Only such files are deleted."""
    try:
        archive = None if end_of_store(path.name) is None else archive_at(path)
        return archive is not None and read_document(StorePath(archive, "")) is not None
    except (DataError, OSError, PathOutsideRootError):
        return False


def foreign_files(folder: StorePath) -> Iterator[StorePath]:
    """Yield the files in and below a folder that are not part of a store."""
    for entry in folder.files.entries(folder.key):
        path = folder / entry.name
        # Links are not followed: they may lead to files of other people.
        if entry.is_symlink or not entry.is_dir:
            if entry.is_symlink or not _is_zipped_store(path):
                yield path
        elif not entry.name.lower().endswith(".zarr"):
            yield from foreign_files(path)


def is_node(folder: StorePath, entry: Entry) -> bool:
    """Return whether an entry of a folder is part of a store."""
    in_store = folder.files.is_store or end_of_store(folder.key) is not None
    return in_store or entry.is_dir or _is_zipped_store(folder / entry.name)


def time_of_change(directory: StorePath) -> datetime | None:
    """Return the time of the last change of a node."""
    seconds = directory.files.time_of_change(directory.key)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def tree_size(directory: StorePath) -> int | None:
    """Return the bytes of the files in a tree, or ``None`` if they are too many or unknown.

    Asking for the size of each chunk of a tree with over 1,000 files would take longer than the
    rest of ``info``. Some stores do not know the sizes of their files.
    """
    size = 0
    for count, stat in enumerate(directory.files.store.scan(directory.key)):
        # Only a file has a size. A link that leads nowhere has no bytes to count.
        if count == _MOST_COUNTED or (stat.size is None and stat.kind == "file"):
            return None
        size += stat.size or 0
    return size
