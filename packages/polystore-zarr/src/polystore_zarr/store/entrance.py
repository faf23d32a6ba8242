"""Make sure that no process writes into an array after its save has ended.

A cancelled task of a cluster continues, and so does a task whose worker seems to be lost. Each
holds a shared lock on a file in the array while it writes. The end of the save removes this file,
so that no other task starts, and then waits for the exclusive lock.
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
    """Let tasks write blocks until the body ends. Then wait for tasks that are writing."""
    with _find_place(directory) as place, _open(place, "x") as file:
        # Windows could not remove the open file at the end.
        if sys.platform == "win32":
            file.close()
        try:
            yield
        finally:
            # In this order: a task that comes later finds no file, and the lock waits for the
            # others.
            _unlink(place)
            if sys.platform != "win32":
                fcntl.flock(file, fcntl.LOCK_EX)


@contextmanager
def enter(directory: StorePath) -> Iterator[None]:
    """Write a block in the body. Raises ``NotFoundError`` if the save has ended."""
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
            # The file may have been removed between opening it and getting the lock.
            if os.fstat(file.fileno()).st_nlink == 0:
                raise _too_late(directory)
            yield
        finally:
            # Closing is not enough if a forked child has it open.
            fcntl.flock(file, fcntl.LOCK_UN)


def _find_place(directory: StorePath) -> AbstractContextManager[Place]:
    """Give the place of the file. Arrays are built in local folders for every store."""
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
        """Remove the file. Wait for the tasks, because Windows removes no file that is open."""
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
