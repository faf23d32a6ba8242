"""``RangeReader``: a file object over a function that reads parts."""

from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..values import Value

__all__ = ["RangeReader"]


class RangeReader(io.RawIOBase):
    """A raw file over a function that reads parts, for example over a network.

    Put a buffer around it, because each small read is a call of ``read_at`` otherwise:

        file = io.BufferedReader(RangeReader(size, read_at), 1 << 20)

    Args:
        size: Bytes of the whole file.
        read_at: ``read_at(position, count)`` returns at most ``count`` bytes.
    """

    def __init__(self, size: int, read_at: Callable[[int, int], bytes]) -> None:
        self._size, self._read_at = size, read_at
        self._position = 0

    def readable(self) -> bool:
        """Return ``True``."""
        return True

    def seekable(self) -> bool:
        """Return ``True``."""
        return True

    def tell(self) -> int:
        """Return the present position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the present position, as for every file."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:  # as a file of the system does
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Value) -> int:
        """Read into ``buffer``, and return the number of bytes."""
        view = memoryview(buffer).cast("B")
        count = min(len(view), self._size - self._position)
        if count <= 0:
            return 0
        data = self._read_at(self._position, count)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
