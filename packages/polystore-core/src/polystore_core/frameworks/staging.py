"""Sending arrays to a GPU while others are read.

A GPU reads page-locked ("pinned") host memory at full speed, and without the processor. Locking
pages is slow, so a few buffers are used again and again.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from ..abc.framework import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from ..values import Pixels, Value

__all__ = ["CuPyStage", "Ring", "TorchStage"]

_MOST_SENT = 4
"""Buffers in transfer. If there are more, the next reader waits for the oldest one."""


def _address(array: Pixels) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


class Ring:
    """Buffers that are lent, sent, and lent again when their transfer is done.

    A reader waits only for buffers that are being sent. So a reader that fails, and never sends its
    buffer, does not delay others. Its buffer is freed with the ring.
    """

    # Locks: _lock guards _lent and _sent. No thread waits for a transfer while it holds it.

    def __init__(self, allocate: Callable[[int], Pixels]) -> None:
        """``allocate(n)`` returns a uint8 array of n bytes of pinned memory."""
        self._allocate = allocate
        self._lock = threading.Lock()
        self._lent: dict[int, Pixels] = {}
        self._sent: deque[tuple[Pixels, Callable[[], object]]] = deque()

    def lend(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Pixels:
        """Return an array to fill and send. Waits if too many buffers are being sent."""
        nbytes = math.prod(shape) * dtype.itemsize
        buffer = None
        with self._lock:
            oldest = self._sent.popleft() if len(self._sent) >= _MOST_SENT else None
        if oldest is not None:
            buffer, wait = oldest
            wait()
        if buffer is None or buffer.nbytes < nbytes:
            buffer = self._allocate(max(nbytes, 1))
        array: Pixels = buffer[:nbytes].view(dtype).reshape(shape)
        with self._lock:
            self._lent[_address(buffer)] = buffer
        return array

    def stage(self, array: Pixels) -> Pixels:
        """Return ``array`` if it was lent, or else a copy of it in a buffer."""
        with self._lock:
            is_lent = _address(array) in self._lent
        if is_lent:
            return array
        copy = self.lend(array.shape, array.dtype.newbyteorder("="))
        copy[...] = array
        return copy

    def take_back(self, array: Pixels, wait: Callable[[], object]) -> None:
        """Accept a lent array for its next use. ``wait`` returns when its transfer is done."""
        with self._lock:
            self._sent.append((self._lent.pop(_address(array)), wait))

    def finish(self) -> None:
        """Wait for all transfers."""
        while self._sent:
            self._sent.popleft()[1]()


class _Staged(Stage):
    _ring: Ring

    def lend(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Pixels:
        return self._ring.lend(shape, dtype)


class TorchStage(_Staged):
    """Sends arrays to a GPU with a stream of PyTorch."""

    def __init__(self, torch: Any, place: Any, to_tensor: Callable[[Pixels], Any]) -> None:
        """``to_tensor`` returns a tensor that shares the memory of an array."""
        self._torch, self._place, self._to_tensor = torch, place, to_tensor
        self._stream = torch.cuda.Stream(place)
        self._ring = Ring(
            lambda nbytes: torch.empty(nbytes, dtype=torch.uint8, pin_memory=True).numpy()
        )

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Value:
        import numpy as np

        torch = self._torch
        # Through an empty array, because PyTorch has no public table of NumPy's dtypes.
        kind = self._to_tensor(np.empty(0, dtype)).dtype
        target = torch.empty(shape, dtype=kind, device=self._place)
        # The allocator may return memory that earlier work on the caller's stream still uses, and
        # may give it away again during the transfer.
        self._stream.wait_stream(torch.cuda.current_stream(self._place))
        target.record_stream(self._stream)
        return target

    def send(self, array: Pixels, target: Value) -> None:
        torch = self._torch
        staged = self._ring.stage(array)
        event = torch.cuda.Event()
        with torch.cuda.stream(self._stream):
            target.copy_(self._to_tensor(staged), non_blocking=True)
            event.record(self._stream)
        self._ring.take_back(staged, event.synchronize)

    def finish(self) -> None:
        self._ring.finish()
        self._torch.cuda.current_stream(self._place).wait_stream(self._stream)


class CuPyStage(_Staged):
    """Sends arrays to a GPU with a stream of CuPy."""

    def __init__(self, cupy: Any, index: int | None) -> None:
        import numpy as np

        def allocate(nbytes: int) -> Pixels:
            return np.frombuffer(cupy.cuda.alloc_pinned_memory(nbytes), np.uint8, nbytes)

        self._cupy, self._device = cupy, cupy.cuda.Device(index)
        with self._device:
            # Any other stream would wait for all work on the default stream,
            # where most callers compute.
            self._stream = cupy.cuda.Stream(non_blocking=True)
        self._ring = Ring(allocate)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Value:
        with self._device:
            target = self._cupy.empty(shape, dtype)
            # Its memory may still be in use by earlier work on the caller's stream.
            self._stream.wait_event(self._cupy.cuda.get_current_stream().record())
        return target

    def send(self, array: Pixels, target: Value) -> None:
        staged = self._ring.stage(array)
        with self._device:
            target.set(staged, stream=self._stream)
            event = self._stream.record()
        self._ring.take_back(staged, event.synchronize)

    def finish(self) -> None:
        self._ring.finish()
        self._stream.synchronize()
