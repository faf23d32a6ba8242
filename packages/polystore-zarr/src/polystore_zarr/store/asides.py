"""Trees that change places whole, and the trees that step aside for them.

Where the file system can, a new tree and the old one exchange their names in one step. Where
it cannot, and wherever a tree that has a name of its own is moved onto another, the old tree
steps aside first: it gets a hidden name next to the store, the new one gets the place, and the
old one is removed. An exchange would show the old value of the target under the source.

All of this happens under the lock of the store. Who finds an old tree aside, with the lock in
hand, therefore knows that its writer was killed, and puts the tree back if its place is free.
The hidden folder is ``.~ps-<store>.aside``; in it, ``3/run.zarr/step/a`` is the tree of
``run.zarr/step/a``, three names deep.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, TypeVar

from polystore_core import (
    HIDDEN_PREFIX,
    claim,
    exchange,
    file_lock,
    is_litter,
    is_lock,
    lock_path,
    remove_unused,
)
from polystore_core.errors import LockTimeoutError

from .slots import Slot, new_name, slot
from .trees import is_directory, is_there, remove, sync_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "building_place",
    "found_again",
    "hide_tree",
    "is_aside",
    "remove_empty_folder",
    "remove_empty_group",
    "settle",
    "settle_visible",
    "take_place",
    "workspace",
]

Result = TypeVar("Result")

_ASIDE, _LOCK = ".aside", ".lock"
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


# ── the hidden folder ────────────────────────────────────────────────────────────────────


def _aside(lock: str) -> str:
    return lock.removesuffix(_LOCK) + _ASIDE


def is_aside(name: str) -> bool:
    """Tell whether the name in a directory is of a folder for trees that stepped aside."""
    return name.startswith(HIDDEN_PREFIX) and name.endswith(_ASIDE)


def _kept(place: str, store: str) -> str:
    """Return where the tree at ``place``, in ``store`` or the store itself, steps aside to."""
    inner = os.path.relpath(place, store).split(os.sep)
    names = [os.path.basename(os.path.realpath(store)), *(n for n in inner if n != ".")]
    return os.path.join(_aside(lock_path(store)), str(len(names)), *names)


@contextmanager
def workspace(store: str, *, durable: bool | None = None) -> Iterator[str]:
    """Give a hidden directory next to ``store`` to build a tree in; it is removed at the end.

    Puts back what a killed writer has left aside.
    """
    with building_place(store, durable=durable) as found:
        yield found.path


@contextmanager
def building_place(store: str, *, durable: bool | None = None) -> Iterator[Slot]:
    """Give the directory of ``workspace``, and a way to tell whether it is still there."""
    lock = lock_path(store)
    with slot(lock, durable=durable) as found:
        if is_there(_aside(lock)):
            with suppress(PermissionError), file_lock(store):  # another user's, and theirs
                _settle(lock, found.path)
        yield found


def settle(store: str) -> bool:
    """Wait for a writer that has a tree of ``store`` aside, and put the tree back if it died.

    Returns ``False`` if nothing was aside.
    """
    return _settle_now(store, lock_path(store))


def _settle_now(store: str, lock: str) -> bool:
    if not is_there(_aside(lock)):
        return False
    with file_lock(store):
        if is_there(_aside(lock)):
            with slot(lock) as found:
                _settle(lock, found.path)
    return True


def settle_visible(aside: str) -> bool:
    """Settle the store to which the hidden folder ``aside``, found in a listing, belongs."""
    store = os.path.basename(aside).removeprefix(HIDDEN_PREFIX).removesuffix(_ASIDE)
    try:
        return settle(os.path.join(os.path.dirname(aside), store))
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return False  # the rest can be listed all the same


def found_again(store: str, look: Callable[[], Result | None]) -> Result | None:
    """Look again for something that may be aside: nobody shall miss it next to a writer."""
    lock = lock_path(store)
    if not is_there(lock):  # nothing has ever stepped aside
        return None
    for _ in range(2):  # it may have come back before we asked, and gone again since
        _settle_now(store, lock)
        if (found := look()) is not None:
            return found
    return None


def _settle(lock: str, hidden: str) -> None:
    """Put trees back whose places are free, and hide the rest. You hold the lock."""
    aside = _aside(lock)
    try:
        depths = os.listdir(aside)
    except FileNotFoundError:
        return
    for depth in depths:
        _put_back(os.path.join(aside, depth), os.path.dirname(aside), int(depth))
    # In one step: half of a tree must not be found here, and put back.
    os.rename(aside, new_name(hidden))


def _put_back(kept: str, place: str, depth: int) -> None:
    if depth:
        for name in os.listdir(kept):
            _put_back(os.path.join(kept, name), os.path.join(place, name), depth - 1)
        return
    try:
        (os.rename if is_directory(kept) else os.replace)(kept, place)
    except FileNotFoundError:  # the group around it is gone
        return
    except OSError as error:
        if error.errno not in _TAKEN:
            raise


@contextmanager
def _stepping_aside(lock: str, hidden: str) -> Iterator[None]:
    """Put back at a failure what the body has moved aside; at the end, hide it."""
    try:
        yield
    except BaseException:
        with suppress(OSError):  # the failure of the body is the one to tell
            _settle(lock, hidden)
        raise
    with suppress(OSError):  # it is done; the next save into the store tries again
        os.rename(_aside(lock), new_name(hidden))


# ── coming and going ─────────────────────────────────────────────────────────────────────


def take_place(
    tree: str,
    place: str,
    store: str,
    hidden: str,
    *,
    replace: bool,
    durable: bool | None,
    named: bool = False,
) -> None:
    """Put ``tree`` at ``place``: the moment at which readers see it.

    ``hidden`` is a workspace of the store, and gets the old tree. ``named`` says that others
    can see ``tree``. With ``durable=None`` a tree that replaces another is flushed first, so
    that after a power cut either is there whole.

    Raises ``FileExistsError`` if something is there, unless ``replace``.
    """
    lock = lock_path(store)
    if not replace:
        # With the lock in hand, a place is not free only because its tree has stepped aside.
        with file_lock(store) if is_there(lock) else nullcontext():
            _settle(lock, hidden)
            if not _take_free(tree, place):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), place)
        return
    if _take_free(tree, place):
        return
    if durable is None:
        sync_tree(tree)
    with file_lock(store):
        _settle(lock, hidden)
        while not _take_free(tree, place):
            with suppress(FileNotFoundError):  # deleted meanwhile: the place is free
                if not named and exchange(tree, place):
                    return
                with _stepping_aside(lock, hidden):
                    kept = _kept(place, store)
                    os.makedirs(os.path.dirname(kept))
                    os.rename(place, kept)
                    if _take_free(tree, place):
                        return


def _take_free(tree: str, place: str) -> bool:
    """Rename ``tree`` to ``place``; ``False`` if something other than an empty folder is there."""
    try:
        os.rename(tree, place)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        if error.errno == errno.ENOTDIR and not is_there(place):
            raise  # a part of the path is a file
        return False
    return True


def hide_tree(tree: str, store: str) -> None:
    """Hide a tree of ``store``, or the store itself, in one step. Then remove it."""
    with workspace(store) as hidden:
        os.rename(tree, new_name(hidden))


def remove_empty_group(directory: str, store: str) -> None:
    """Remove a group in which no array, image or group is left.

    Raises ``OSError`` (``ENOTEMPTY``) where somebody has saved meanwhile, with all in place.
    The documents of the group step aside, so that ``rmdir`` can tell.
    """
    lock = lock_path(store)
    with workspace(store) as hidden, file_lock(store):
        _settle(lock, hidden)
        with _stepping_aside(lock, hidden):
            kept = _kept(directory, store)
            os.makedirs(kept)
            for name in os.listdir(directory):
                path = os.path.join(directory, name)
                if not is_directory(path) or os.path.islink(path):
                    os.rename(path, os.path.join(kept, name))
            os.rmdir(directory)


def remove_empty_folder(folder: str) -> None:
    """Remove a folder around stores that holds hidden names and files of file browsers only.

    Raises ``OSError`` (``ENOTEMPTY``) where somebody has saved meanwhile, or is saving.
    """
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.startswith(HIDDEN_PREFIX) and not _remove_hidden(path):
            reason = f"another writer is saving into it (it owns {name!r}): try again later"
            raise OSError(errno.ENOTEMPTY, reason, folder)
        if is_litter(name) and not is_directory(path):
            os.unlink(path)
    os.rmdir(folder)


def _remove_hidden(path: str) -> bool:
    """Remove a lock file or a leftover; ``False`` if it is in use, or an only copy."""
    if is_lock(os.path.basename(path)):
        try:
            remove_unused(path)
        except LockTimeoutError:
            return False
        return True
    with claim(path) as mine:
        if mine is False or is_aside(os.path.basename(path)):
            return not is_there(path)
        remove(path)
        return True
