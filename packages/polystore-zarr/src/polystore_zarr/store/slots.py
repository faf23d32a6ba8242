"""Hidden folders beside a store, in which one writer builds or removes trees.

The folders of a store have numbered names. A writer takes the first one that nobody owns, so
the folder that a killed writer left behind is the first that the next writer finds, empties
and uses. No listing of the directory around the store is needed, however many stores it has.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from polystore_core import HIDDEN_PREFIX, claim, make_directories

from .trees import is_directory, is_there, pinned, remove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Slot", "new_name", "slot"]

_GAP = 4
"""Numbers that are looked at after the last one in use, for what a killed writer left there."""


class Slot(NamedTuple):
    """A hidden directory that belongs to us."""

    path: str
    stays: Callable[[], bool]
    """Whether it is still there. Another one is at its path if somebody has deleted the folder
    around the store, and somebody else has saved into it again."""


@contextmanager
def slot(lock: str, *, durable: bool | None = None) -> Iterator[Slot]:
    """Give a new hidden directory next to a store; it is removed at the end.

    ``lock`` is the lock file of the store: its path is the same for all names of the store.
    ``durable`` is for the directory around the store, which is made if it is missing.
    """
    folder, name = os.path.split(lock)
    if not is_directory(folder):
        make_directories(folder, durable=durable)
    base = os.path.join(folder, HIDDEN_PREFIX + _digest(name))
    for number in count():
        path = f"{base}.{number}"
        try:
            made = _make(path)
            with claim(path) as mine:
                if not mine and not (mine is None and made):
                    continue  # another writer has it
                with pinned(path) as stays:
                    try:
                        if not made:
                            _clear(path)
                        _sweep(base, number)
                        yield Slot(path, stays)
                    finally:
                        if stays():
                            remove(path)
                return
        except BaseException:
            with suppress(OSError):  # the first failure is the one to tell
                _give_up(path)
            raise


def new_name(folder: str) -> str:
    """Return a path in ``folder`` that nobody has used.

    A task of Dask that was given up may still write to the path of its tree. No other tree may
    get that path.
    """
    return os.path.join(folder, os.urandom(8).hex())


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name) + _machine()).hexdigest()[:16]


@cache
def _machine() -> bytes:
    """Identify this machine: the claims of others are not known here."""
    node = os.uname().nodename if hasattr(os, "uname") else ""
    try:
        with open("/etc/machine-id", "rb") as file:
            return node.encode() + file.read(64)
    except OSError:  # not every system has one
        return node.encode()


def _make(path: str) -> bool:
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    return True


def _clear(path: str) -> None:
    for name in os.listdir(path):
        remove(os.path.join(path, name))


def _sweep(base: str, number: int) -> None:
    """Remove the later folders whose owners are gone."""
    last = number
    while (number := number + 1) <= last + _GAP:
        path = f"{base}.{number}"
        if is_there(path):
            last = number
            with claim(path) as mine:
                if mine:
                    remove(path)


def _give_up(path: str) -> None:
    """Remove a folder that Ctrl-C or an error kept us from claiming."""
    with claim(path) as mine:
        if mine:
            remove(path)
