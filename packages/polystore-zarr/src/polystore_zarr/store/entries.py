"""What stands in a folder: of a store, or around stores, where files are somebody else's."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from polystore_core import HIDDEN_PREFIX, Entry

from .asides import settle
from .layout import FOLDER_STORE
from .nodes import read_kind, visible
from .trees import is_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "entries",
    "foreign_files",
    "ignore_foreign",
    "ignore_hidden",
    "modified_at",
    "tree_size",
]

_MOST_COUNTED = 1000
"""Files and folders whose sizes are added up: 2 ms on a local disk."""


def entries(directory: str, *, inside: bool) -> Iterator[Entry]:
    """Yield what a directory holds: of a store, or of a folder around stores."""
    for entry in visible(directory):
        if not _leads_to_folder(entry):
            continue  # a document, or somebody else's file
        may_be_node = inside or entry.name.lower().endswith(".zarr")
        kind = read_kind(entry.path) if may_be_node else None
        if may_be_node and kind is None:
            if not is_directory(entry.path):  # deleted since it was found, or it steps aside
                with suppress(PermissionError):
                    settle(entry.path)
            kind = read_kind(entry.path)
            if kind is None and not is_directory(entry.path):
                continue
        if not inside and entry.name == FOLDER_STORE and kind == "group":
            for member in visible(entry.path):
                if _leads_to_folder(member) and read_kind(member.path) in ("array", "image"):
                    yield Entry(member.name, is_dir=False, is_symlink=False)
        else:
            is_pixels = kind in ("array", "image")
            yield Entry(entry.name, not is_pixels, entry.is_symlink() and not is_pixels)


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except PermissionError:
        return True  # listed, and loading it tells what is wrong
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link that leads to itself
            return False
        raise


def foreign_files(folder: str) -> Iterator[str]:
    """Yield the files in and below a folder that belong to no store."""
    for entry in visible(folder):
        if not entry.is_dir(follow_symlinks=False):
            yield entry.path
        elif not entry.name.lower().endswith(".zarr"):
            yield from foreign_files(entry.path)


def ignore_hidden(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(HIDDEN_PREFIX)]


def ignore_foreign(folder: str, names: list[str]) -> list[str]:
    kept = ignore_hidden(folder, names)
    if any(part.lower().endswith(".zarr") for part in folder.split("/")):
        return kept
    return [*kept, *(n for n in names if not os.path.isdir(os.path.join(folder, n)))]


def modified_at(directory: str) -> datetime:
    return datetime.fromtimestamp(os.stat(directory).st_mtime, UTC)


def tree_size(directory: str) -> int | None:
    """Return the bytes of the files in a tree, ``None`` if it has more than 1,000 entries.

    Asking for the size of each chunk would take longer than all the rest of ``info``.
    """
    total = 0
    for number, status in enumerate(_statuses(directory), 1):
        if number > _MOST_COUNTED:
            return None
        total += status.st_size if status is not None else 0
    return total


def _statuses(directory: str) -> Iterator[os.stat_result | None]:
    """Yield the status of each file in and below a directory, ``None`` for each folder."""
    with os.scandir(directory) as found:
        for entry in found:
            if entry.name.startswith(HIDDEN_PREFIX):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield None
                yield from _statuses(entry.path)
            else:
                yield entry.stat(follow_symlinks=False)
