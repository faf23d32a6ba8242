"""Checks of names in folders: whether they can be replaced or removed."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ...errors import AlreadyExistsError, InvalidOptionError, NotAFileError, PolystoreError
from ...paths import HIDDEN_PREFIX, is_litter
from ..system import exchange, not_regular, remove_tree, sync_tree
from .syscalls import (
    lstat,
    make_link,
    open_directory,
    remove_leftover,
    rename,
    scan_directory,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..pending import Place

__all__ = [
    "about",
    "is_litter_entry",
    "is_same",
    "link_to",
    "refuse_inside",
    "remove_hidden",
    "replace_by_tree",
    "tidy_up",
]

_NO_EXCHANGE = (
    "it exists, and this file system cannot exchange two names in one step: delete it first, or "
    "use another file system"
)
_STAYS = "it exists, and a folder never replaces anything: delete it first"


@contextmanager
def about(key: str) -> Iterator[None]:
    """Make errors of the system name ``key``, not only its last part."""
    try:
        yield
    except PolystoreError:
        raise
    except OSError as error:
        if error.errno != errno.EXDEV:  # an error about both names
            error.filename = key
        raise


def remove_hidden(folder: Place) -> None:
    """Remove the hidden files of a folder that looks empty in listings.

    They are lock files, leftovers, and files of file browsers such as .DS_Store.
    """
    with scan_directory(folder) as (found, _):
        litter = {entry.name: is_litter_entry(entry) for entry in found}
    if not all(litter[name] or name.startswith(HIDDEN_PREFIX) for name in litter):
        return  # it is not empty, and rmdir of the caller raises
    with open_directory(folder) as descriptor:
        for name in litter:
            if litter[name]:
                os.unlink(name, dir_fd=descriptor)
            elif not remove_leftover(name, descriptor):
                holder = f"another writer is saving into it (it holds {name!r})"
                reason = f"{holder}: try again later"
                raise OSError(errno.ENOTEMPTY, reason, folder.name)


def is_same(moved: os.stat_result, present: os.stat_result, target: str, replace: bool) -> bool:
    """Return whether ``present`` is the moved file itself. Raises if it must not be replaced."""
    if os.path.samestat(moved, present):
        return True
    if stat.S_ISDIR(present.st_mode) and not stat.S_ISDIR(moved.st_mode):
        raise NotAFileError("", target, "move")
    if stat.S_ISDIR(moved.st_mode):
        raise AlreadyExistsError("", target, "move a folder", reason=_STAYS)
    if not replace:
        raise AlreadyExistsError("", target, "move")
    refuse_special(present, target)
    return False


def link_to(text: str, found: os.stat_result, place: Place, key: str, replace: bool) -> None:
    """Create a link with ``text``. ``found`` is the status of its target."""
    try:
        make_link(text, place, replace=False)
    except FileExistsError:
        if not replace:
            raise
        present = lstat(place)
        if stat.S_ISDIR(present.st_mode):
            raise NotAFileError("", key, "link") from None
        refuse_special(present, key)
        if os.path.samestat(found, present):  # only a link to itself would be left
            expected = "a path other than the source"
            raise InvalidOptionError("link", key, expected) from None
        make_link(text, place, replace=True)


def refuse_inside(source: str, target: str) -> None:
    """Raise if a folder would be moved into itself."""
    if f"{target}/".startswith(f"{source.rstrip('/')}/"):
        raise InvalidOptionError("target", target, "a path outside the source folder")


def refuse_special(present: os.stat_result, path: str) -> None:
    """Raise instead of replacing a device, a pipe or a socket."""
    if not (stat.S_ISREG(present.st_mode) or stat.S_ISLNK(present.st_mode)):
        raise not_regular(present, path)


def replace_by_tree(tree: Place, place: Place, key: str, durable: bool | None) -> None:
    """Rename a hidden tree to ``place``. If something exists there, the two exchange names."""
    is_flushed = durable is False
    while True:
        with suppress(FileExistsError):
            return rename(tree, place, replace=False)
        with suppress(FileNotFoundError):  # others have deleted it: the name is free now
            present = lstat(place)
            if not stat.S_ISDIR(present.st_mode):
                refuse_special(present, key)
            if not is_flushed:  # otherwise a power cut could lose the old tree and the new one
                sync_tree(tree.name, dir_fd=tree.dir_fd)
                is_flushed = True
            fds = {"src_dir_fd": tree.dir_fd, "dst_dir_fd": place.dir_fd}
            if exchange(tree.name, place.name, **fds):
                return None
            raise OSError(errno.ENOTSUP, _NO_EXCHANGE, key)


def tidy_up(hidden: Place) -> None:
    """Remove a hidden tree, if it exists. Never raises ``OSError``.

    The operation that hid the tree has succeeded, or has failed with a better error. A tree that
    cannot be removed is a leftover for ``find_leftovers``.
    """
    try:
        _tidy_up(hidden)
    except BaseException:  # Ctrl-C ends the operation, but the tree must be removed anyway
        _tidy_up(hidden)
        raise


def _tidy_up(hidden: Place) -> None:
    with suppress(OSError):
        remove_tree(hidden.name, dir_fd=hidden.dir_fd, timeout=0)


def is_litter_entry(entry: os.DirEntry[str]) -> bool:
    """Return whether a name is a file that a file browser has created."""
    return is_litter(entry.name) and not entry.is_dir()
