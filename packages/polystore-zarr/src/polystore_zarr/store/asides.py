"""Trees that change places whole, and the trees that step aside for them.

Where the file system can, a new tree and the old one exchange their names in one step. Where
it cannot, and wherever a tree that has a name of its own is moved onto another, the old tree
steps aside first: it gets a hidden name next to the store, the new one gets the place, and the
old one is removed. An exchange would show the old value of the target under the source.

All of this happens under the lock of the store. So if a process holds the lock and finds an old
tree aside, the writer of the tree was killed. The process puts the tree back if its place is free.
The hidden folder is ``.~ps-<store>.aside``; in it, ``3/run.zarr/step/a`` is the tree of
``run.zarr/step/a``, three names deep.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, TypeVar

from polystore_core import (
    HIDDEN_PREFIX,
    claim,
    is_litter,
    is_lock,
    remove_unused,
)
from polystore_core.errors import LockTimeoutError

from .slots import new_name, slot
from .trees import is_folder, remove, sync_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from .base import Slot
    from .calls import Calls

__all__ = [
    "building_place",
    "find_again",
    "hide_tree",
    "is_aside",
    "remove_empty_folder",
    "remove_empty_group",
    "settle",
    "settle_visible",
    "take_place",
]

Result = TypeVar("Result")

_ASIDE, _LOCK = ".aside", ".lock"
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


# ── the hidden folder ────────────────────────────────────────────────────────────────────


def _aside(lock: str) -> str:
    return lock.removesuffix(_LOCK) + _ASIDE


def is_aside(name: str) -> bool:
    """Whether a name in a directory is that of a folder for trees that stepped aside."""
    return name.startswith(HIDDEN_PREFIX) and name.endswith(_ASIDE)


def _place_aside(calls: Calls, place: str, store: str) -> str:
    """Return where the tree at ``place``, in ``store`` or the store itself, steps aside to."""
    inner = place.removeprefix(store).split("/")
    names = [os.path.basename(calls.places.resolve(store)), *filter(None, inner)]
    return os.path.join(_aside(calls.lock_of(store)), str(len(names)), *names)


def building_place(
    calls: Calls, store: str, *, durable: bool | None = None
) -> AbstractContextManager[Slot]:
    """Give a hidden directory next to ``store``, and a way to tell whether it is still there.

    Puts back what a killed writer has left aside.
    """
    lock = calls.lock_of(store)
    if not calls.is_free(_aside(lock)):
        with suppress(PermissionError):  # it belongs to another user
            _settle_now(calls, store, lock)
    return slot(calls, lock, durable=durable)


def settle(calls: Calls, store: str) -> bool:
    """Wait for a writer that has a tree of ``store`` aside, and put the tree back if it died.

    Returns ``False`` if nothing was aside. A user who may only read cannot put it back, and finds
    the rest of the store as it is.
    """
    lock = calls.lock_of(store)
    try:
        return not calls.is_free(_aside(lock)) and _settle_now(calls, store, lock)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return False


def _settle_now(calls: Calls, store: str, lock: str) -> bool:
    if not calls.is_there(_aside(lock)):
        return False
    with calls.store.lock(store):
        if calls.is_there(_aside(lock)):
            with slot(calls, lock) as own:
                _settle(calls, lock, own.path.key)
    return True


def settle_visible(calls: Calls, folder: str, aside: str) -> bool:
    """Settle the store to which the hidden ``aside``, found in a listing, belongs."""
    store = aside.removeprefix(HIDDEN_PREFIX).removesuffix(_ASIDE)
    return settle(calls, os.path.join(folder, store))


def find_again(calls: Calls, store: str, look: Callable[[], Result | None]) -> Result | None:
    """Look again for something that a writer may have moved aside."""
    lock = calls.lock_of(store)
    if not calls.is_there(lock):  # nothing has ever stepped aside
        return None
    for _ in range(2):  # it may have come back before we asked, and gone again since
        _settle_now(calls, store, lock)
        if (found := look()) is not None:
            return found
    return None


def _settle(calls: Calls, lock: str, hidden: str) -> None:
    """Put trees back whose places are free, and hide the rest. You hold the lock."""
    aside = _aside(lock)
    try:
        depths = calls.names(aside)
    except FileNotFoundError:
        return
    for depth in depths:
        _put_back(calls, os.path.join(aside, depth), os.path.dirname(aside), int(depth))
    # In one step: half of a tree must not be found here, and put back.
    calls.rename(aside, f"{hidden}/{new_name()}")


def _put_back(calls: Calls, kept: str, place: str, depth: int) -> None:
    if depth:
        for name in calls.names(kept):
            _put_back(calls, f"{kept}/{name}", os.path.join(place, name), depth - 1)
        return
    try:
        (calls.rename if is_folder(calls, kept) else calls.rename_file)(kept, place)
    except FileNotFoundError:  # the group around it is gone
        return
    except OSError as error:
        if error.errno not in _TAKEN:
            raise


@contextmanager
def _stepping_aside(calls: Calls, lock: str, hidden: str) -> Iterator[None]:
    """Put trees back that the body has moved aside if it fails. Otherwise hide them."""
    try:
        yield
    except BaseException:
        with suppress(OSError):  # the failure of the body is the one to raise
            _settle(calls, lock, hidden)
        raise
    with suppress(OSError):  # it is done; the next save into the store tries again
        calls.rename(_aside(lock), f"{hidden}/{new_name()}")


# ── coming and going ─────────────────────────────────────────────────────────────────────


def take_place(
    calls: Calls,
    tree: str,
    place: str,
    store: str,
    hidden: str,
    *,
    replace: bool,
    durable: bool | None,
) -> None:
    """Put ``tree`` at ``place``: the moment at which readers see it.

    ``hidden`` is the building place of the store, and gets the old tree. Others can see a
    ``tree`` that is not in it. With ``durable=None`` a tree that replaces another is flushed
    first, so that after a power cut either is there whole.

    Raises ``FileExistsError`` if something is there, unless ``replace``.
    """
    if replace and _take_free(calls, tree, place):
        return  # the usual case, without a look at the lock
    lock = calls.lock_of(store)
    if not replace:
        # With the lock in hand, a place is not free only because its tree has stepped aside.
        with calls.store.lock(store) if calls.is_there(lock) else nullcontext():
            _settle(calls, lock, hidden)
            if not _take_free(calls, tree, place):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), place)
        return
    if durable is None:
        sync_tree(calls, tree)
    is_hidden = tree.startswith(f"{hidden}/")
    with calls.store.lock(store):
        _settle(calls, lock, hidden)
        while not _take_free(calls, tree, place):
            with suppress(FileNotFoundError):  # deleted by others: the place is free
                if is_hidden and calls.exchange(tree, place):
                    return
                with _stepping_aside(calls, lock, hidden):
                    kept = _place_aside(calls, place, store)
                    calls.make_folders(os.path.dirname(kept))
                    calls.rename(place, kept)
                    if _take_free(calls, tree, place):
                        return


def _take_free(calls: Calls, tree: str, place: str) -> bool:
    """Rename ``tree`` to ``place``; ``False`` if something other than an empty folder is there."""
    try:
        calls.places.run_both(os.rename, tree, place)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        if error.errno == errno.ENOTDIR and not calls.is_there(place):
            raise  # a part of the path is a file
        return False
    return True


def hide_tree(calls: Calls, tree: str, store: str) -> None:
    """Hide a tree of ``store``, or the store itself, in one step. Then remove it."""
    with building_place(calls, store) as own:
        calls.rename(tree, f"{own.path.key}/{new_name()}")


def remove_empty_group(calls: Calls, group: str, store: str) -> None:
    """Remove a group in which no array, image or group is left.

    Raises ``OSError`` (``ENOTEMPTY``) if another process has saved into it. Then the group is
    whole again. The documents step aside first, so that ``rmdir`` can tell.
    """
    lock = calls.lock_of(store)
    with building_place(calls, store) as own, calls.store.lock(store):
        hidden = own.path.key
        _settle(calls, lock, hidden)
        with _stepping_aside(calls, lock, hidden):
            kept = _place_aside(calls, group, store)
            calls.make_folders(kept)
            for name in calls.names(group):
                key = f"{group}/{name}"
                if not stat.S_ISDIR(calls.lstat(key).st_mode):
                    calls.rename_file(key, f"{kept}/{name}")
            calls.rmdir(group)


def remove_empty_folder(calls: Calls, folder: str) -> None:
    """Remove a folder around stores that holds hidden names and files of file browsers only.

    Raises ``OSError`` (``ENOTEMPTY``) if another process has saved into it, or is saving.
    """
    for name in calls.names(folder):
        key = f"{folder}/{name}"
        if name.startswith(HIDDEN_PREFIX) and not _remove_hidden(calls, key):
            reason = f"another writer is saving into it (it owns {name!r}): try again later"
            raise OSError(errno.ENOTEMPTY, reason, folder)
        if is_litter(name) and not is_folder(calls, key):
            calls.unlink(key)
    calls.rmdir(folder)


def _remove_hidden(calls: Calls, key: str) -> bool:
    """Remove a lock file or a leftover; ``False`` if it is in use, or an only copy."""
    name = os.path.basename(key)
    with calls.places.at(key, follow=False) as place:
        if is_lock(name):
            try:
                remove_unused(place.name, dir_fd=place.dir_fd)
            except LockTimeoutError:
                return False
            return True
        with claim(place.name, dir_fd=place.dir_fd) as mine:
            if mine is False or is_aside(name):
                return not calls.is_there(key)
            remove(calls, key)
            return True
