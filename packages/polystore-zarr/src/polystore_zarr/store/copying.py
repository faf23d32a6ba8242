"""Trees that are copied, within a store or from one store into another."""

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
    """Copy a tree into a new folder, following links, without hidden files.

    Raises the first ``OSError`` as it is: ``shutil.copytree`` gathers its errors into one that
    has no ``errno``.
    """
    target.files.make_folders(target.key)
    # If an array or image grows meanwhile, its copy has more than it needs: the document is
    # copied before the chunks, and level 0 before the others.
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
    """Whether a link leads to a folder that it is in."""
    resolve = folder.files.resolve
    return f"{resolve(folder.key)}/".startswith(f"{resolve(link.key)}/")


def copy_file(source: StorePath, target: StorePath) -> None:
    target.files.write(target.key, pieces_of(source))


def pieces_of(path: StorePath) -> Iterator[bytes]:
    """Yield the bytes of a file in pieces."""
    with path.files.open(path.key) as file:
        while piece := file.read(_PIECE):
            yield piece
