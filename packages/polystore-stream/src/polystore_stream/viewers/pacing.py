"""Decide when a viewer updates its windows, so that showing does not slow the pipeline.

Only the thread of the viewer's windows uses these classes, so they do not have locks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..receiving.viewer import Delivery

__all__ = ["Pacing", "Pulse", "Unpainted"]

_FRAME = 1 / 30
"""Seconds between two changes of a window, at least."""
_REST, _MOST_REST = 2.0, 0.12
"""The pause before the next change: this many times the cost of the last change, but at most this
many seconds. On a machine with few processors, the pipeline runs in the pause."""
_HIDDEN = 1.0
"""Seconds after which an unpainted value counts as received only, because its window is hidden."""


class Pacing:
    """Choose the time of the next change from the cost of the last one, including painting."""

    def __init__(self) -> None:
        self.is_busy = False
        """Whether a change is being made or painted."""
        self._begun = self._cost = 0.0

    def begin(self) -> None:
        """Note that a change begins."""
        self.is_busy, self._begun = True, time.monotonic()

    def end(self) -> None:
        """Note that the change was made and painted."""
        self.is_busy, self._cost = False, time.monotonic() - self._begun

    def pause(self) -> float:
        """Return the seconds until the next change may begin."""
        rest = max(_FRAME, min(_REST * self._cost, _MOST_REST))
        return max(0.0, rest - (time.monotonic() - self._begun))


class Unpainted:
    """Values of one window whose producers wait until they are painted."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, Delivery]] = []

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, delivery: Delivery) -> None:
        """Add a value that is shown but not painted yet."""
        self._waiting.append((time.monotonic(), delivery))

    def take(self) -> list[Delivery]:
        """Return and forget all values: they were painted, or will never be."""
        waiting, self._waiting = self._waiting, []
        return [delivery for _, delivery in waiting]

    def take_hidden(self) -> list[Delivery]:
        """Return and forget the values that have waited so long that the window must be hidden."""
        late = time.monotonic() - _HIDDEN
        found = [delivery for since, delivery in self._waiting if since < late]
        self._waiting = [one for one in self._waiting if one[0] >= late]
        return found


class Pulse:
    """Measure the longest time in which the viewer handled no event."""

    def __init__(self) -> None:
        self._last, self._longest = time.monotonic(), 0.0

    def beat(self) -> None:
        """Note that an event was handled."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._last)
        self._last = now

    def take(self) -> float:
        """Return the longest time between two beats since the last call, in seconds."""
        self.beat()
        longest, self._longest = self._longest, 0.0
        return longest
