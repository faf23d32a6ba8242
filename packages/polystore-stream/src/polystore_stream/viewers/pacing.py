"""When a viewer shows what came: not for each image, and never so often that nothing else runs.

The thread of the viewer's windows calls all of this.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..receiving.viewer import Delivery

__all__ = ["Pacing", "Pulse", "Unpainted"]

_FRAME = 1 / 30
"""Seconds between two changes of what is shown, at least."""
_REST, _MOST_REST = 2.0, 0.12
"""The next change is shown after so many times the cost of the last, but so many seconds at most:
the rest of the time is the pipeline's, where both share few processors."""
_HIDDEN = 1.0
"""Seconds after which what was not painted counts as received alone: the window is hidden."""


class Pacing:
    """The time of the next change, from the cost of the last one, painting included."""

    def __init__(self) -> None:
        self.is_busy = False
        """Whether a change is being made or painted."""
        self._begun = self._cost = 0.0

    def begin(self) -> None:
        self.is_busy, self._begun = True, time.monotonic()

    def end(self) -> None:
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
        self._waiting.append((time.monotonic(), delivery))

    def take(self) -> list[Delivery]:
        """Return all of them, and wait for none any more: they were painted, or never will be."""
        waiting, self._waiting = self._waiting, []
        return [delivery for _, delivery in waiting]

    def take_hidden(self) -> list[Delivery]:
        """Return those that have waited for so long that the window must be hidden."""
        late = time.monotonic() - _HIDDEN
        found = [delivery for since, delivery in self._waiting if since < late]
        self._waiting = [one for one in self._waiting if one[0] >= late]
        return found


class Pulse:
    """The longest time without an event, while it is measured."""

    def __init__(self) -> None:
        self._last, self._longest = time.monotonic(), 0.0

    def beat(self) -> None:
        """Tell that an event was handled."""
        now = time.monotonic()
        self._longest = max(self._longest, now - self._last)
        self._last = now

    def take(self) -> float:
        """Return the longest time between two beats since the last call, in seconds."""
        self.beat()
        longest, self._longest = self._longest, 0.0
        return longest
