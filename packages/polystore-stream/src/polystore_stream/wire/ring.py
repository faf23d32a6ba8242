"""Share memory between a producer and a receiver of one machine, in slots of ``PIECE`` bytes.

On Linux the memory does not have a name (``memfd``), so nothing stays behind if a process is
killed. The receiver opens it through ``/proc``. It is sealed against shrinking, so that a read
cannot fail. On other systems it is a file, whose name is removed as soon as the receiver has opened
it.
"""

from __future__ import annotations

import functools
import io
import mmap
import os
import re
import secrets
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from polystore_core.errors import DamagedDataError

from .messages import PIECE, Ring

if sys.platform == "linux":
    import fcntl

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RingReader", "RingWriter"]

_HEAD = 4096
_MAGIC = b"polystore ring 1"
_NONCE = 16
_PROC = re.compile(r"/proc/[0-9]+/fd/[0-9]+")
_PREFIX = "polystore-ring-"
_NAMED = re.compile(f"{_PREFIX}[0-9A-Za-z_-]+")
# Do not wait when the path is a pipe, and do not follow a link. Windows does not have these flags.
_NO_WAIT, _NO_LINK = getattr(os, "O_NONBLOCK", 0), getattr(os, "O_NOFOLLOW", 0)


class RingWriter:
    """The producer's side. The caller keeps track of the free slots.

    The descriptor and the map belong to objects that close themselves. So nothing stays open if
    Ctrl-C comes before a variable holds the ring.
    """

    # It needs no lock: the Connection calls every method with its _turn held.

    def __init__(self, slots: int, *, named: bool = False) -> None:
        """Allocate ``slots`` slots of ``PIECE`` bytes. Raises ``OSError``.

        ``named`` makes a file, which systems without ``memfd`` need.
        """
        named = named or sys.platform != "linux"
        self.slots = slots
        self.size = _HEAD + slots * PIECE
        self._nonce = secrets.token_bytes(_NONCE)
        self._path = _new_path() if named else ""
        self._reserved: set[int] = set()
        try:
            self._file = _open_named(self._path) if named else _open_unnamed()
            os.truncate(self._file.fileno(), self.size)
            self._reserve(0, _HEAD)
            self._seal(named)
            mapped = mmap.mmap(self._file.fileno(), self.size)
            head = _MAGIC + self._nonce
            mapped[: len(head)] = head
            self._pixels = np.frombuffer(mapped, np.uint8)
        except BaseException:
            self.close()
            raise

    def _seal(self, named: bool) -> None:
        if sys.platform == "linux" and not named:
            fcntl.fcntl(self._file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)

    def _reserve(self, start: int, length: int) -> None:
        # Without this call, a write to a full /dev/shm kills the process. This raises ENOSPC.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file.fileno(), start, length)

    @property
    def message(self) -> Ring:
        """The message that tells the receiver how to open the memory."""
        path = self._path or f"/proc/{os.getpid()}/fd/{self._file.fileno()}"
        return Ring(path=path, size=self.size, nonce=self._nonce.hex())

    def slot(self, index: int, nbytes: int) -> NDArray[np.uint8]:
        """Return the first bytes of a slot for writing, shape (nbytes,).

        Raises ``OSError`` if memory is full.
        """
        start = _HEAD + index * PIECE
        if index not in self._reserved:
            self._reserve(start, PIECE)
            self._reserved.add(index)
        return self._pixels[start : start + nbytes]

    def forget_name(self) -> None:
        """Remove the name, so that the memory is freed with the last process that has it open."""
        if self._path:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
            self._path = ""

    def close(self) -> None:
        """Close the memory. It is freed when the receiver has closed it too."""
        self.forget_name()
        if hasattr(self, "_file"):  # if not, it could not be created
            self._file.close()
        self._pixels = np.empty(0, np.uint8)  # the last view of the map closes the map


# Ctrl-C can come between any two steps of Python code. Both functions create the descriptor and
# the object that closes it in one step of C code, so that Ctrl-C cannot leave it open.


def _open_unnamed() -> io.FileIO:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    return next(map(io.FileIO, map(os.memfd_create, ["polystore-ring"], [flags]), ["r+"]))


def _open_named(path: str) -> io.FileIO:
    return io.FileIO(path, "x+", opener=functools.partial(os.open, mode=0o600))


def _new_path() -> str:
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()
    return os.path.join(folder, f"{_PREFIX}{os.getpid()}-{secrets.token_hex(8)}")


class RingReader:
    """The receiver's side.

    Raises:
        DamagedDataError: The memory is not the one of the message. For example, in another process
            namespace the path leads to the file of another process.
    """

    def __init__(self, message: Ring) -> None:
        path = Path(message.path)
        named = bool(_NAMED.fullmatch(path.name)) and str(path.parent) in (
            "/dev/shm",
            tempfile.gettempdir(),
        )
        if not named and not _PROC.fullmatch(message.path):
            raise DamagedDataError(
                f"{message.path!r} is not the path of a ring: expected /proc/PID/fd/N or a "
                f"file {_PREFIX}… in /dev/shm",
                "ring",
            )
        try:
            fd = os.open(path, os.O_RDONLY | _NO_WAIT | (_NO_LINK if named else 0))
            try:
                mapped = self._map(fd, message, named)
            finally:
                os.close(fd)
        except OSError as error:
            reason = f"cannot open {message.path!r}: {error.strerror}"
            raise DamagedDataError(reason, "ring") from error
        self._pixels = np.frombuffer(mapped, np.uint8)
        self.slots = (message.size - _HEAD) // PIECE

    def _map(self, fd: int, message: Ring, named: bool) -> mmap.mmap:
        size = os.fstat(fd).st_size
        if size != message.size or (size - _HEAD) % PIECE or size <= _HEAD:
            raise DamagedDataError(f"{size} bytes do not fit the size {message.size}", "ring")
        if sys.platform == "linux" and not named and not self._is_sealed(fd):
            raise DamagedDataError("the memory is not sealed against shrinking", "ring")
        mapped = (
            mmap.mmap(fd, size, prot=mmap.PROT_READ)
            if os.name == "posix"
            else mmap.mmap(fd, size, access=mmap.ACCESS_READ)
        )
        head = mapped[: len(_MAGIC) + _NONCE]
        if not head.startswith(_MAGIC) or head[len(_MAGIC) :].hex() != message.nonce:
            mapped.close()
            raise DamagedDataError("the memory belongs to another process", "ring")
        return mapped

    @staticmethod
    def _is_sealed(fd: int) -> bool:
        try:
            return bool(fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK)
        except OSError:
            return False

    def slot(self, index: int, nbytes: int) -> NDArray[np.uint8]:
        """Return the first bytes of a slot for reading, shape (nbytes,).

        Raises ``DamagedDataError`` for a slot that the ring does not have.
        """
        if not (0 <= index < self.slots and 0 < nbytes <= PIECE):
            reason = f"{nbytes} bytes do not fit slot {index} of {self.slots} slots"
            raise DamagedDataError(reason, "ring")
        start = _HEAD + index * PIECE
        return self._pixels[start : start + nbytes]

    def close(self) -> None:
        """Close the memory."""
        self._pixels = np.empty(0, np.uint8)  # the last view of the map closes the map
