"""What has come and was not taken yet: a queue with a limit, and what happens at the limit."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from .messages import Image, Rois

if TYPE_CHECKING:
    from .messages import Stage
    from .viewer import Delivery

__all__ = ["Inbox"]


class Inbox:
    """Deliveries in order, of ``limit`` bytes at most (one may be larger, alone).

    - "block": nothing is discarded; ``has_room`` tells whether more may come.
    - "drop_oldest": the oldest make room, unless their own policy is "block".
    - "coalesce": a newer value takes the place of one with the same path; else as above.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._queue: deque[Delivery] = deque()
        self._nbytes = 0
        self._came = threading.Condition()
        self._is_ended = False

    def __len__(self) -> int:
        return len(self._queue)

    def has_room(self, nbytes: int) -> bool:
        return not self._nbytes or self._nbytes + nbytes <= self.limit

    def reserve(self, nbytes: int) -> None:
        """Take room for what is on its way; ``push`` or ``release`` it."""
        with self._came:
            self._nbytes += nbytes

    def release(self, nbytes: int) -> None:
        with self._came:
            self._nbytes -= nbytes

    def push(self, delivery: Delivery) -> list[tuple[Delivery, Stage]]:
        """Append what room was reserved for; return what was discarded for it, and how."""
        with self._came:
            discarded = self._displaced(delivery)
            for old, _ in discarded:
                self._queue.remove(old)
                self._nbytes -= _nbytes(old)
            self._queue.append(delivery)
            self._came.notify()
        return discarded

    def _displaced(self, new: Delivery) -> list[tuple[Delivery, Stage]]:
        if not isinstance(new.item, Image | Rois) or new.item.policy == "block":
            return []
        found: list[tuple[Delivery, Stage]] = []
        if new.item.policy == "coalesce":
            found += ((old, "coalesced") for old in self._queue if _replaces(new, old))
        excess = self._nbytes - sum(_nbytes(old) for old, _ in found) - self.limit
        for old in self._queue:
            if excess <= 0:
                break
            if _may_go(old) and all(old is not other for other, _ in found):
                found.append((old, "dropped"))
                excess -= _nbytes(old)
        return found

    def take(self, timeout: float | None = 0.0, most: int | None = None) -> list[Delivery]:
        """Return what is there, after a wait for the first (``None``: however long it takes)."""
        with self._came:
            self._came.wait_for(lambda: self._queue or self._is_ended, timeout)
            count = len(self._queue) if most is None else min(most, len(self._queue))
            taken = [self._queue.popleft() for _ in range(count)]
            self._nbytes -= sum(map(_nbytes, taken))
        return taken

    def interrupt(self) -> None:
        """Wake whoever waits in ``take``, which waits no more from now on."""
        with self._came:
            self._is_ended = True
            self._came.notify_all()


def _nbytes(delivery: Delivery) -> int:
    return delivery.item.nbytes if isinstance(delivery.item, Image | Rois) else 0


def _may_go(delivery: Delivery) -> bool:
    return isinstance(delivery.item, Image | Rois) and delivery.item.policy != "block"


def _replaces(new: Delivery, old: Delivery) -> bool:
    if not isinstance(new.item, Image | Rois) or not isinstance(old.item, Image | Rois):
        return False
    return old.item.policy == "coalesce" and _place(old.item) == _place(new.item)


def _place(item: Image | Rois) -> tuple[object, ...]:
    return type(item), item.labels, item.window, item.path, item.at
