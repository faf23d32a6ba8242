"""Guard against too many open files: ZeroMQ aborts the process if it cannot open one."""

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
"""Errors of a process, or a machine, that cannot open more files."""
_NEEDED = 16
"""A context, its sockets and their monitor open 9 files (a producer) to 13 (a receiver)."""
_RESERVE = 8
FULL = ".full"
"""Suffix of a socket's name while its receiver cannot accept producers."""


@contextmanager
def spare_descriptors(backend: str, path: str, operation: str) -> Iterator[None]:
    """Run a block that opens sockets of ZeroMQ, if enough files can be opened for it.

    ZeroMQ aborts the whole process if it can open some of its descriptors and not all.

    Raises:
        StorageError: Too few files can be opened. Its errno is ``EMFILE`` or ``ENFILE``.
    """
    try:
        _open_files(_NEEDED).close()
        yield
    except (OSError, zmq.ZMQError) as error:
        if error.errno not in NONE_LEFT:
            raise
        raise storage_error(OSError(error.errno, ""), backend, path, operation) from error


def _open_files(count: int) -> ExitStack:
    """Open ``count`` files. Closing the stack closes them. Raises ``OSError``."""
    with ExitStack() as files:
        for _ in range(count):
            files.enter_context(io.FileIO(os.devnull))
        return files.pop_all()


class Gate:
    """Keep new producers from a local socket while the receiver's process cannot open a file.

    ZeroMQ aborts the process if a producer connects then. So this class holds a few files in
    reserve. When the process cannot open another file, it renames the socket, so that producers
    cannot find it. Then it closes the reserve, for producers that are already connecting.
    Connected producers are not affected.

    A gap remains: if a producer connects after the last file was opened and before the next
    ``look``, ZeroMQ still aborts the process.
    """

    # It needs no lock: only the receiver's thread uses it.

    def __init__(self, path: str) -> None:
        """Guard the socket at ``path``. "" is a socket of tcp, where ZeroMQ only waits."""
        self._path = path
        self._reserve: ExitStack | None = None

    def look(self) -> None:
        """Shut the gate if no file can be opened, and open it when many can."""
        try:
            if self._reserve is not None:
                _open_files(1).close()
            else:
                self._reserve = _open_files(_RESERVE)
                self._rename(f"{self._path}{FULL}", self._path)
        except OSError:
            self.shut()

    def shut(self) -> None:
        """Hide the socket from new producers, and free the reserve."""
        self._rename(self._path, f"{self._path}{FULL}")
        if self._reserve is not None:
            self._reserve.close()
            self._reserve = None

    def _rename(self, old: str, new: str) -> None:
        if self._path:
            with suppress(FileNotFoundError):  # it has the new name already, or was removed
                os.rename(old, new)
