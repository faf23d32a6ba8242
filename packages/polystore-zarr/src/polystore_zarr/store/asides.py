"""Replace whole trees, by an exchange of names or by moving the old tree aside.

If the file system can do it, a new hidden tree and the old tree exchange their names in one step.
If it cannot, the old tree steps aside: it gets a hidden name next to the store, the new tree gets
the place, and the old tree is removed. A tree that already has a name is always moved in this way,
because an exchange would show the old value of the target under the name of the source.

All of this happens under the lock of the store. So if a process holds the lock and finds an old
tree aside, the writer of the tree was killed. The process puts the tree back if its place is free.
The hidden folder is ``.~ps-<store>.aside``. In it, ``3/run.zarr/step/a`` is the tree of
``run.zarr/step/a``, which has three names.
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
    """Return whether a name is that of a folder for trees that stepped aside."""
    return name.startswith(HIDDEN_PREFIX) and name.endswith(_ASIDE)


def _place_aside(calls: Calls, place: str, store: str) -> str:
    """Return the hidden key for the tree at ``place``, in ``store`` or the store itself."""
    inner = place.removeprefix(store).split("/")
    # The number of names is the first folder. It tells where the folders on the way end, and where
    # the tree starts that must be put back.
    names = [os.path.basename(calls.places.resolve(store)), *filter(None, inner)]
    return os.path.join(_aside(calls.lock_of(store)), str(len(names)), *names)


def building_place(
    calls: Calls, store: str, *, durable: bool | None = None
) -> AbstractContextManager[Slot]:
    """Give a hidden directory next to ``store``.

    If a writer was killed, its old trees are put back first.
    """
    lock = calls.lock_of(store)
    if not calls.is_free(_aside(lock)):
        with suppress(PermissionError):  # another user owns the folder
            _settle_now(calls, store, lock)
    return slot(calls, lock, durable=durable)


def settle(calls: Calls, store: str) -> bool:
    """Wait for a writer that has a tree of ``store`` aside. Put the tree back if it was killed.

    Returns ``False`` if nothing was aside. A user who can only read cannot put the tree back, and
    finds the rest of the store.
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
        # Again, because the writer that held the lock may have put everything back.
        if calls.is_there(_aside(lock)):
            with slot(calls, lock) as own:
                _settle(calls, lock, own.path.key)
    return True


def settle_visible(calls: Calls, folder: str, aside: str) -> bool:
    """Settle the store to which the hidden ``aside``, found in a listing, belongs."""
    store = aside.removeprefix(HIDDEN_PREFIX).removesuffix(_ASIDE)
    return settle(calls, os.path.join(folder, store))


def find_again(calls: Calls, store: str, look: Callable[[], Result | None]) -> Result | None:
    """Look again for a node that a writer may have moved aside."""
    lock = calls.lock_of(store)
    if not calls.is_there(lock):  # without a lock file, nothing was ever moved aside
        return None
    for _ in range(2):  # the node may be back before the first look, and aside again after it
        _settle_now(calls, store, lock)
        if (found := look()) is not None:
            return found
    return None


def _settle(calls: Calls, lock: str, hidden: str) -> None:
    """Put trees back if their places are free, and hide the others. The caller holds the lock."""
    aside = _aside(lock)
    try:
        depths = calls.names(aside)
    except FileNotFoundError:
        return
    for depth in depths:
        _put_back(calls, os.path.join(aside, depth), os.path.dirname(aside), int(depth))
    # Hidden in one step before it is removed. If removing is interrupted, the next writer must
    # not find half of a tree here, and put it back.
    calls.rename(aside, f"{hidden}/{new_name()}")


def _put_back(calls: Calls, kept: str, place: str, depth: int) -> None:
    if depth:
        for name in calls.names(kept):
            _put_back(calls, f"{kept}/{name}", os.path.join(place, name), depth - 1)
        return
    try:
        (calls.rename if is_folder(calls, kept) else calls.rename_file)(kept, place)
    except FileNotFoundError:  # the group around the place was deleted
        return
    except OSError as error:
        # A newer tree has the place. The old one is then hidden with the rest, and removed.
        if error.errno not in _TAKEN:
            raise


@contextmanager
def _stepping_aside(calls: Calls, lock: str, hidden: str) -> Iterator[None]:
    """If the body fails, put the trees back that it has moved aside. If not, hide them."""
    try:
        yield
    except BaseException:
        # After Ctrl-C, too: the old tree would stay hidden until the next save into the store.
        with suppress(OSError):  # the error of the body is raised
            _settle(calls, lock, hidden)
        raise
    with suppress(OSError):  # the work is done, and the next save into the store tries again
        calls.rename(_aside(lock), f"{hidden}/{new_name()}")


# ── appearing and disappearing ───────────────────────────────────────────────────────────


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
    """Put ``tree`` at ``place``. From this moment, readers see it.

    Args:
        calls: the files of the store.
        tree: key of the tree.
        place: key of its new place.
        store: key of the store.
        hidden: key of the hidden directory of the store, which gets the old tree. Readers can
            see a ``tree`` that is not in it.
        replace: whether to replace a tree at ``place``.
        durable: ``None`` flushes a tree that replaces another, so that after a power cut the old
            or the new tree is whole.

    Raises:
        FileExistsError: Something is at ``place``, and ``replace`` is false.
    """
    if replace and _take_free(calls, tree, place):
        return  # the usual case needs no lock
    lock = calls.lock_of(store)
    if not replace:
        # Under the lock. Without it, a place may be free for a moment, while its tree is aside.
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
        # In a loop, because a writer that finds the place free takes it without the lock.
        while not _take_free(calls, tree, place):
            # If another process has deleted the old tree, the place is free.
            with suppress(FileNotFoundError):
                if is_hidden and calls.exchange(tree, place):
                    return
                with _stepping_aside(calls, lock, hidden):
                    kept = _place_aside(calls, place, store)
                    calls.make_folders(os.path.dirname(kept))
                    calls.rename(place, kept)
                    if _take_free(calls, tree, place):
                        return


def _take_free(calls: Calls, tree: str, place: str) -> bool:
    """Rename ``tree`` to ``place``. Return ``False`` if it is not free, or an empty folder."""
    try:
        calls.places.run_both(os.rename, tree, place)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        if error.errno == errno.ENOTDIR and not calls.is_there(place):
            raise  # a file is where a folder of the path should be
        return False
    return True


def hide_tree(calls: Calls, tree: str, store: str) -> None:
    """Hide a tree of ``store``, or the store itself, in one step. Then remove it."""
    with building_place(calls, store) as own:
        calls.rename(tree, f"{own.path.key}/{new_name()}")


def remove_empty_group(calls: Calls, group: str, store: str) -> None:
    """Remove a group without members.

    The documents step aside first. Then ``rmdir`` removes the group in one step, or fails if
    another process has saved into it.

    Raises:
        OSError: (``ENOTEMPTY``) Another process has saved into the group, which is whole again.
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
    """Remove a folder around stores that has only hidden names and files of file browsers.

    Raises:
        OSError: (``ENOTEMPTY``) Another process has saved into it, or is saving.
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
    """Remove a lock file or a leftover. Return ``False`` if it is in use, or an only copy."""
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
                # ``mine`` is also False if the owner has just removed it.
                return not calls.is_there(key)
            remove(calls, key)
            return True
