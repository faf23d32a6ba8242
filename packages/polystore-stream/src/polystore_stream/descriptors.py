"""Open files (descriptors): ZeroMQ ends the process where it misses one."""

from __future__ import annotations

import errno
import io
import os
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import zmq

from polystore_core.errors import storage_error

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FULL", "NONE_LEFT", "Gate", "spare_descriptors"]

NONE_LEFT = (errno.EMFILE, errno.ENFILE)
"""The process, or the machine, can open no more files."""
_NEEDED = 16
"""A context, its sockets and their monitor open 9 (a producer) to 13 (a receiver)."""
_RESERVE = 8
FULL = ".full"
"""What a socket's name ends in while its receiver can take no producers."""


@contextmanager
def spare_descriptors(backend: str, path: str, operation: str) -> Iterator[None]:
    """Run a block that opens sockets of ZeroMQ, if enough files can be opened for it.

    ZeroMQ ends the whole process where it can open some of its descriptors and not all.
    Raises ``StorageError`` with the errno ``EMFILE`` or ``ENFILE`` instead.
    """
    try:
        _opened(_NEEDED).close()
        yield
    except (OSError, zmq.ZMQError) as error:
        if error.errno not in NONE_LEFT:
            raise
        raise storage_error(OSError(error.errno, ""), backend, path, operation) from error


def _opened(count: int) -> ExitStack:
    """Open ``count`` files: closing the stack closes them. Raises ``OSError``."""
    with ExitStack() as files:
        for _ in range(count):
            files.enter_context(io.FileIO(os.devnull))
        return files.pop_all()


class Gate:
    """Keeps new producers from a local socket while the receiver's process can open no file.

    ZeroMQ ends the process if a producer comes then. So a few files are held in reserve. When
    the process can open no other, the socket is renamed, and nobody finds it any more. The
    reserve is left to the producers that are coming already. Those that are connected notice
    nothing. A producer that comes between the last file and the next ``look`` is too early.
    """

    def __init__(self, path: str) -> None:
        """``path`` is that of the socket: "" for one of tcp, where ZeroMQ only waits."""
        self._path = path
        self._reserve: ExitStack | None = None

    def look(self) -> None:
        """Shut the gate if no file can be opened, and open it when many can."""
        try:
            if self._reserve is not None:
                _opened(1).close()
            else:
                self._reserve = _opened(_RESERVE)
                self._rename(f"{self._path}{FULL}", self._path)
        except OSError:
            self.shut()

    def shut(self) -> None:
        self._rename(self._path, f"{self._path}{FULL}")
        if self._reserve is not None:
            self._reserve.close()
            self._reserve = None

    def _rename(self, old: str, new: str) -> None:
        if self._path:
            with suppress(FileNotFoundError):  # it has that name already, or has none
                os.rename(old, new)
