"""Hidden folders next to a store, in which one writer builds or removes trees.

The folders of a store have numbered names. A writer takes the first one without an owner. So the
next writer finds the folder of a killed writer first, empties it and uses it. It does not list the
directory around the store, which may have many stores.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, nullcontext, suppress
from functools import cache, partial
from itertools import count
from os.path import samestat
from typing import TYPE_CHECKING

from polystore_core import HIDDEN_PREFIX, claim, is_missing

from .base import Slot, StorePath
from .trees import remove, same_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from polystore_core import Place

    from .calls import Calls

__all__ = ["machine", "new_name", "slot"]

_GAP = 4
"""How many numbers after the last one in use are checked for folders of killed writers."""


@contextmanager
def slot(calls: Calls, lock: str, *, durable: bool | None = None) -> Iterator[Slot]:
    """Give a new hidden directory next to a store. It is removed at the end.

    Args:
        calls: the files.
        lock: key of the lock file of the store, which is the same for all names of the store.
        durable: whether the directory around the store survives a power cut, if it is made here.
    """
    name = os.path.basename(lock)
    base = lock.removesuffix(name) + HIDDEN_PREFIX + _digest(name)
    for number in count():
        key = f"{base}.{number}"
        try:
            made = _make(calls, key, durable)
            with calls.places.at(key, follow=False) as place:
                owner = claim(place.name, dir_fd=place.dir_fd)
                with owner as mine:
                    # ``None`` means a system without claims. There a folder is ours
                    # only if we have just made it.
                    if not mine and not (mine is None and made):
                        continue  # another writer has it
                    with _watching(calls, key, owner) as stays:
                        try:
                            # A killed writer has left its trees in it.
                            if not made:
                                _clear(calls, key)
                            _sweep(calls, base, number, place)
                            yield Slot(StorePath(calls, key), stays)
                        finally:
                            if stays():
                                _leave(calls, key)
                    return
        except BaseException:
            with suppress(OSError):  # the first failure is raised
                _give_up(calls, key)
            raise


def _watching(
    calls: Calls, key: str, owner: claim
) -> AbstractContextManager[Callable[[], bool]]:
    """Give a function that tells whether our directory is still at its place."""
    if owner.status is None:
        # Without claims the directory is not open, and its inode number may be reused.
        return same_at(calls, key)
    return nullcontext(partial(_stays, calls, key, owner.status))


def _stays(calls: Calls, key: str, status: os.stat_result) -> bool:
    try:
        return samestat(status, calls.places.stat(key, follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _leave(calls: Calls, key: str) -> None:
    try:
        calls.places.run(os.rmdir, key)  # the tree that was built in it has its own name now
    except OSError:
        remove(calls, key)


def new_name() -> str:
    """Return a name that was never used.

    A task of Dask that was given up may still write to the place of its tree, so no other tree can
    have this place.
    """
    return os.urandom(8).hex()


def _digest(name: str) -> str:
    # Each machine has folders of its own, because it does not see the claims of others.
    return hashlib.sha256(os.fsencode(name) + machine()).hexdigest()[:16]


@cache
def machine() -> bytes:
    """Return an id of this machine. Claims only work between the processes of one machine."""
    node = os.uname().nodename if hasattr(os, "uname") else ""
    try:
        with open("/etc/machine-id", "rb") as file:
            return node.encode() + file.read(64)
    except OSError:  # not every system has one
        return node.encode()


def _make(calls: Calls, key: str, durable: bool | None) -> bool:
    try:
        try:
            calls.places.run(os.mkdir, key)
        except FileNotFoundError:
            calls.make_folders(os.path.dirname(key), durable=durable)
            calls.places.run(os.mkdir, key)
    except FileExistsError:
        return False
    return True


def _clear(calls: Calls, key: str) -> None:
    for name in calls.names(key):
        remove(calls, f"{key}/{name}")


def _sweep(calls: Calls, base: str, number: int, place: Place) -> None:
    """Remove later folders without an owner. ``place`` is that of ``number``."""
    stem = place.name.removesuffix(str(number))
    last = number
    while (number := number + 1) <= last + _GAP:
        if is_missing(f"{stem}{number}", dir_fd=place.dir_fd):
            continue
        key = f"{base}.{number}"
        if calls.is_there(key):
            last = number
            _give_up(calls, key)


def _give_up(calls: Calls, key: str) -> None:
    """Remove a folder without an owner, also if an error came before it was claimed."""
    with (
        calls.places.at(key, follow=False) as place,
        claim(place.name, dir_fd=place.dir_fd) as mine,
    ):
        if mine:
            remove(calls, key)
