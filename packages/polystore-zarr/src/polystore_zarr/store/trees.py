"""Find, flush and remove directory trees of a local file system."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from polystore_core import sync_tree as _sync_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .calls import Calls

__all__ = ["is_folder", "remove", "same_at", "sync_tree"]


def is_folder(calls: Calls, key: str) -> bool:
    """Return whether a directory is at ``key``, like ``os.path.isdir``, but raise errors.

    A device that fails is not a missing directory.
    """
    try:
        return stat.S_ISDIR(calls.places.stat(key).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):  # nothing can have such a name
            return False
        raise


@contextmanager
def same_at(calls: Calls, key: str) -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether the same directory is still at this place."""
    if sys.platform == "win32":  # Windows does not replace a directory that is in use
        yield lambda: True
        return
    descriptor = calls.pin(key)
    try:
        before = os.fstat(descriptor)

        def same() -> bool:
            try:
                return os.path.samestat(before, calls.places.stat(key))
            except (FileNotFoundError, NotADirectoryError):
                return False

        yield same
    finally:
        os.close(descriptor)


# ── flushing ─────────────────────────────────────────────────────────────────────────────


def sync_tree(calls: Calls, tree: str) -> None:
    """Flush every file and directory of a tree to the device."""
    calls.places.run(_sync_tree, tree)


# ── removing ─────────────────────────────────────────────────────────────────────────────


def remove(calls: Calls, tree: str) -> None:
    """Remove a tree, file or link that readers can no longer find.

    If it cannot be removed, it keeps its hidden name. The next save into the store, or
    ``polystore doctor``, removes it. The operation that hid it has succeeded, so an ``OSError``
    here is not raised.
    """
    try:
        _remove(calls, tree)
    except BaseException:  # Ctrl-C ends the operation, but the removal is completed
        _remove(calls, tree)
        raise


def _remove(calls: Calls, tree: str) -> None:
    with suppress(OSError):
        calls.remove_tree(tree)
