"""Reuse memory for incoming pixels: allocating new memory costs more than the copy into it."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import threading
import weakref
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Pool"]

_SMALL = 1 << 18
"""Below this many bytes, the system's allocator already reuses memory."""
# Private memory. Shared memory is the default of mmap, and a forked child would see this process
# write new pixels into an array that the child still reads.
_FLAGS = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANON} if os.name == "posix" else {}


class Pool:
    """Make arrays whose memory returns to the pool when the last view of it is gone."""

    # _lock guards _idle and _idle_bytes. It must be an RLock: the garbage collector can run
    # _give_back in the thread that already holds it.

    def __init__(self, keep: int = 256 << 20) -> None:
        """Keep at most ``keep`` bytes of unused memory.

        The default equals the default limit of the inbox: a viewer takes all waiting values
        together, and frees them together.
        """
        self.keep = keep
        self._lock = threading.RLock()
        self._idle: dict[int, list[mmap.mmap]] = {}
        self._idle_bytes = 0

    def empty(self, nbytes: int) -> NDArray[np.uint8]:
        """Return an uninitialized array, shape (nbytes,). Raises ``MemoryError``."""
        if nbytes < _SMALL:
            return np.empty(nbytes, np.uint8)
        with self._lock:
            idle = self._idle.get(nbytes)
            block = idle.pop() if idle else None
            self._idle_bytes -= nbytes if block is not None else 0
        if block is None:
            try:
                block = mmap.mmap(-1, nbytes, **_FLAGS)
            except (OSError, OverflowError) as error:
                raise MemoryError(str(error)) from error
        # NumPy keeps this object alive for as long as any view of the array exists, so its
        # finalizer is the moment when the memory is free.
        owner = _bytes_type(nbytes).from_buffer(block)
        weakref.finalize(owner, self._give_back, block, nbytes).atexit = False
        return np.frombuffer(memoryview(owner), np.uint8)

    def _give_back(self, block: mmap.mmap, nbytes: int) -> None:
        with self._lock:
            if self._idle_bytes + nbytes > self.keep and not self._idle.get(nbytes):
                self._idle, self._idle_bytes = {}, 0  # these sizes may never come again
            if self._idle_bytes + nbytes <= self.keep:
                self._idle.setdefault(nbytes, []).append(block)
                self._idle_bytes += nbytes


@functools.lru_cache(maxsize=64)
def _bytes_type(nbytes: int) -> type[ctypes.Array[ctypes.c_uint8]]:
    return ctypes.c_uint8 * nbytes
