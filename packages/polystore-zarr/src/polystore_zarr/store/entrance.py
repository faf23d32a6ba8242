"""The end of all writing into an array, however many processes write blocks of it.

A cancelled task runs on, and so does one whose worker was given up for lost. Each holds a shared
lock on a file in the array while it writes. The end of the save removes that file, so that no other
task begins, and waits for the exclusive lock.
"""

from __future__ import annotations

import io
import os
import sys
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from polystore_core import HIDDEN_PREFIX
from polystore_core.errors import NotFoundError

from .local import LocalFiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from polystore_core import Place

    from .base import StorePath

__all__ = ["enter", "entrance"]


@contextmanager
def entrance(directory: StorePath) -> Iterator[None]:
    """Let tasks write blocks until the body ends, and wait for those that are writing."""
    with _find_place(directory) as place, _open(place, "x") as file:
        if sys.platform == "win32":
            file.close()
        try:
            yield
        finally:
            _unlink(place)
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX)


@contextmanager
def enter(directory: StorePath) -> Iterator[None]:
    """Write a block. Raises ``NotFoundError`` if the save has ended."""
    try:
        with _find_place(directory) as place:
            file = _open(place, "r+")
    except FileNotFoundError:
        raise _too_late(directory) from None
    with file:
        if sys.platform == "win32":
            yield
            return
        fcntl.flock(file, fcntl.LOCK_SH)
        try:
            if os.fstat(file.fileno()).st_nlink == 0:
                raise _too_late(directory)
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # a forked child may have the file open as well


def _find_place(directory: StorePath) -> AbstractContextManager[Place]:
    """Give the place of the file: arrays are built in local folders, for any store."""
    assert isinstance(directory.files, LocalFiles)
    key = (directory / f"{HIDDEN_PREFIX}writing").key
    return directory.files.places.at(key, follow=False)


def _open(place: Place, mode: str) -> io.FileIO:
    opener = partial(os.open, mode=0o666, dir_fd=place.dir_fd)
    return io.FileIO(place.name, mode, opener=opener)


def _too_late(directory: StorePath) -> NotFoundError:
    return NotFoundError(
        "zarr",
        str(directory),
        "write a block",
        hint="the save has ended, or this worker does not share the file system of the caller",
    )


if sys.platform == "win32":  # pragma: no cover

    def _unlink(place: Place) -> None:
        """Wait for the tasks as well: Windows removes no file that one of them has open."""
        while True:
            try:
                with suppress(FileNotFoundError):
                    os.unlink(place.name, dir_fd=place.dir_fd)
                return
            except PermissionError:
                time.sleep(0.01)

else:
    import fcntl

    def _unlink(place: Place) -> None:
        with suppress(FileNotFoundError):
            os.unlink(place.name, dir_fd=place.dir_fd)
