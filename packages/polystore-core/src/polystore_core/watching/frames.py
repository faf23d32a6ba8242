"""``Frames``: finds new frames of an array to which others append."""

from __future__ import annotations

import errno
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from ..errors import DataError, InvalidOptionError, NotFoundError, StorageError
from .looks import Look

if TYPE_CHECKING:
    from collections.abc import Hashable

    from ..abc.array import LazyArray
    from .looks import Request

__all__ = ["Frames"]


_AT_ONCE = 16
"""Frames of one look. A slow reader looks again after these, and finds out if the array was
replaced."""


class _Known(NamedTuple):
    """The properties of an array that stay the same while it grows."""

    frame: tuple[int, ...]
    """The shape of a frame."""
    dtype: str
    identity: Hashable
    """``LazyArray.identity``."""

    def __str__(self) -> str:
        return f"{self.dtype} of shape {self.frame}"


class Frames:
    """The frames of an array that grows along its first axis."""

    def __init__(self, request: Request) -> None:
        if request.pattern is not None:
            fault = f"pattern= selects files of a folder, but {request.path!r} is an array"
            raise InvalidOptionError("pattern", request.pattern, "None for an array", fault)
        self._request = request
        self._next = self._settled = request.start
        self._length = 0
        self._is_frozen = False
        self._known: _Known | None = None
        self._growth: deque[tuple[float, int]] = deque()
        """The times at which the array was longer, with its lengths, until they have settled."""
        self._damaged_since: float | None = None

    def look(self) -> Look:
        """Find the frames that have not changed for ``settle`` seconds.

        They need that time, because some programs resize the array before they write the frame.
        """
        settle = self._request.settle
        try:
            with self._open() as handle:
                length = self._check_length(handle)
                if self._request.settle_is_usual and handle.grows:
                    settle = 0.0
        except DataError:
            now = time.monotonic()
            self._damaged_since = self._damaged_since or now
            if now - self._damaged_since < settle:  # a program may be writing the document now
                return Look([], waits=True)
            raise
        # Each growth settles for itself, so that a steady writer does not delay its first frames.
        now, self._damaged_since = time.monotonic(), None
        if length > self._length and not self._is_frozen:
            self._growth.append((now, length))
            self._length = length
        while self._growth and now - self._growth[0][0] >= settle:
            self._settled = max(self._settled, self._growth.popleft()[1])
        new = range(self._next, min(self._settled, self._next + _AT_ONCE))
        self._next = max(self._next, new.stop)
        return Look(new, waits=self._length > self._settled)

    def freeze(self) -> None:
        """Ignore frames that appear from now on."""
        self._is_frozen = True

    def _open(self) -> LazyArray:
        try:
            return self._request.source.open(self._request.path)
        except NotFoundError as error:
            if self._known is not None and not error.hint:
                error.hint = "it was deleted or moved while it was watched"
            raise

    def _check_length(self, handle: LazyArray) -> int:
        """Return the length. Raises ``StorageError`` if it is another array, or shorter."""
        if not handle.shape:
            raise self._make_error(errno.EINVAL, "the array has no axes, so it has no frames")
        length, *frame = handle.shape
        now = _Known(tuple(frame), handle.dtype.str, handle.identity)
        has_changed = now != self._known or length < self._length
        if has_changed and self._next > self._request.start:
            reason = self._describe_change(now, length)
            raise self._make_error(errno.ESTALE, f"while it was watched, {reason}")
        if has_changed:  # the first look, or the user has not got a frame of the old array
            self._known, self._length = now, 0
            self._growth.clear()
        return length

    def _describe_change(self, now: _Known, length: int) -> str:
        before = self._known
        if before is not None and before[:2] != now[:2]:
            return f"it was replaced: its frames were {before}, and now they are {now}"
        if length < self._length:
            was = f"it had {self._length:,} frames, and now it has {length:,}"
            return f"it was cut or replaced: {was}"
        return "it was replaced by another array"

    def _make_error(self, code: int, reason: str) -> StorageError:
        source, path, *_ = self._request
        return StorageError(source.name, path, "watch", code, reason)
