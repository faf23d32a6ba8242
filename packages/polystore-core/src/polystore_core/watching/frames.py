"""The frames of an array that others lengthen."""

from __future__ import annotations

import errno
import time
from collections import deque
from typing import TYPE_CHECKING

from ..errors import DataError, InvalidOptionError, NotFoundError, StorageError
from .looks import Look

if TYPE_CHECKING:
    from ..abc.array import LazyArray
    from .looks import Request

__all__ = ["Frames"]


class Frames:
    """The frames of an array that grows along its first axis."""

    def __init__(self, request: Request) -> None:
        if request.pattern is not None:
            expected = "None, because the path is an array: pattern= selects files of a folder"
            raise InvalidOptionError("pattern", request.pattern, expected)
        self._request = request
        self._next = request.start
        self._length = 0
        self._frame: tuple[tuple[int, ...], str] | None = None
        """Shape and element type of a frame."""
        self._growth: deque[tuple[float, int]] = deque()
        """When the array was found longer, and how long, if that was less than ``settle`` ago."""
        self._damaged_since: float | None = None

    def look(self) -> Look:
        """Find the frames that have been there for ``settle`` seconds.

        Programs that resize an array and then write the frame show it before it is complete.
        """
        settle = self._request.settle
        try:
            with self._open() as handle:
                length = self._check_length(handle)
        except DataError:
            now = time.monotonic()
            self._damaged_since = self._damaged_since or now
            if now - self._damaged_since < settle:  # a program may write the document in place
                return Look([], waits=True)
            raise
        now, self._damaged_since = time.monotonic(), None
        if length > self._length:
            self._growth.append((now, length))
            self._length = length
        settled = self._next
        while self._growth and now - self._growth[0][0] >= settle:
            settled = max(settled, self._growth.popleft()[1])
        new = range(self._next, settled)
        self._next = settled
        return Look(new, waits=length > settled)

    def _open(self) -> LazyArray:
        try:
            return self._request.source.open(self._request.path)
        except NotFoundError as error:
            if self._frame is not None and not error.hint:
                error.hint = "it was deleted or moved while it was watched"
            raise

    def _check_length(self, handle: LazyArray) -> int:
        """Return the length. Raises ``StorageError`` unless it is the same array, or longer."""
        if not handle.shape:
            raise self._refused(errno.EINVAL, "the array has no axes, so it has no frames")
        frame, length = (handle.shape[1:], handle.dtype.str), handle.shape[0]
        if self._frame not in (None, frame):
            raise self._refused(
                errno.ESTALE,
                "it was replaced while it was watched: its frames had shape and type "
                f"{self._frame}, and have {frame} now",
            )
        if length < self._length:
            raise self._refused(
                errno.ESTALE,
                "it was replaced or cut while it was watched: it had "
                f"{self._length:,} frames, and has {length:,} now",
            )
        self._frame = frame
        return length

    def _refused(self, code: int, reason: str) -> StorageError:
        source, path, *_ = self._request
        return StorageError(source.name, path, "watch", code, reason)
