"""Copy trees, in a store or from one store to another."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from .base import DOCUMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from polystore_core import Entry

    from .base import StorePath

__all__ = ["copy_file", "copy_tree", "pieces_of"]

_PIECE = 1 << 22


def copy_tree(
    source: StorePath,
    target: StorePath,
    is_wanted: Callable[[StorePath, Entry], bool] = lambda _folder, _entry: True,
) -> None:
    """Copy a tree into a new folder. Follow links, and skip hidden files.

    Raises the first ``OSError``. ``shutil.copytree`` collects errors into one without ``errno``.
    """
    target.files.make_folders(target.key)
    # An array or image may grow while it is copied. Documents are copied before chunks, and level
    # 0 before the others, so that the copy has all chunks of its documents, and perhaps more.
    found = source.files.entries(source.key)
    for entry in sorted(found, key=_turn):
        old, new = source / entry.name, target / entry.name
        if not is_wanted(source, entry):
            continue
        if not entry.is_dir:
            copy_file(old, new)
            continue
        if entry.is_symlink and _is_circle(source, old):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(old))
        copy_tree(old, new, is_wanted)


def _turn(entry: Entry) -> tuple[bool, str]:
    name = entry.name
    return name not in DOCUMENTS, name if name.isdecimal() else ""


def _is_circle(folder: StorePath, link: StorePath) -> bool:
    """Return whether a link leads to a folder around it."""
    resolve = folder.files.resolve
    return f"{resolve(folder.key)}/".startswith(f"{resolve(link.key)}/")


def copy_file(source: StorePath, target: StorePath) -> None:
    """Copy one file to a new place."""
    target.files.write(target.key, pieces_of(source))


def pieces_of(path: StorePath) -> Iterator[bytes]:
    """Yield the bytes of a file in pieces."""
    with path.files.open(path.key) as file:
        while piece := file.read(_PIECE):
            yield piece
