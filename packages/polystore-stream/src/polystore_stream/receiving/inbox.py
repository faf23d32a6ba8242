"""What has come and was not taken yet: a queue with a limit, and what happens at the limit."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from ..wire.messages import Image, Rois

if TYPE_CHECKING:
    from ..wire.messages import Stage
    from .viewer import Delivery

__all__ = ["Inbox"]


class Inbox:
    """Deliveries in order, of ``limit`` bytes at most (one may be larger, alone).

    - "block": nothing is discarded; ``has_room`` tells whether more may come.
    - "drop_oldest": the oldest make room, unless their own policy is "block".
    - "coalesce": a newer value takes the place of one with the same path; else as above.
    """

    # _lock guards _queue and _queued: the viewer's thread takes, the receiver's thread pushes.
    # _is_counted is False while take changes both, and after a Ctrl-C there.
    # The receiver's thread alone changes _reserved. _is_ended is set once. _news wakes take.
    # No Condition: Ctrl-C in one leaves it locked, and the receiver's thread waits for ever.

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._news = queue.SimpleQueue[None]()
        self._queue: deque[Delivery] = deque()
        self._reserved = 0
        self._queued = 0
        self._is_counted = True
        self._is_ended = False

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def nbytes(self) -> int:
        """How much is queued, or on its way."""
        return self._reserved + self._queued

    def has_room(self, nbytes: int) -> bool:
        if not self._is_counted:  # Ctrl-C has come to a caller of ``take``, or it goes on
            with self._lock:
                self._queued = sum(map(_nbytes, self._queue))
                self._is_counted = True
        return not self.nbytes or self.nbytes + nbytes <= self.limit

    def may_begin(self, item: Image | Rois) -> bool:
        """Whether a value may come now: of another policy than "block", always."""
        return item.policy != "block" or self.has_room(item.nbytes)

    def reserve(self, nbytes: int) -> None:
        """Take room for what is on its way; ``push`` or ``release`` it."""
        self._reserved += nbytes

    def release(self, nbytes: int) -> None:
        self._reserved -= nbytes

    def push(self, delivery: Delivery) -> list[tuple[Delivery, Stage]]:
        """Append what room was reserved for; return what was discarded for it, and how."""
        with self._lock:
            self._reserved -= _nbytes(delivery)
            discarded = self._displaced(delivery)
            for old, _ in discarded:
                self._queue.remove(old)
                self._queued -= _nbytes(old)
            self._queue.append(delivery)
            self._queued += _nbytes(delivery)
        self._tell()
        return discarded

    def _displaced(self, new: Delivery) -> list[tuple[Delivery, Stage]]:
        if not isinstance(new.item, Image | Rois) or new.item.policy == "block":
            return []
        found: list[tuple[Delivery, Stage]] = []
        if new.item.policy == "coalesce":
            found += ((old, "coalesced") for old in self._queue if _replaces(new, old))
        excess = self.nbytes + _nbytes(new) - sum(_nbytes(old) for old, _ in found) - self.limit
        for old in self._queue:
            if excess <= 0:
                break
            if _may_go(old) and all(old is not other for other, _ in found):
                found.append((old, "dropped"))
                excess -= _nbytes(old)
        return found

    def take(self, timeout: float | None = 0.0, most: int | None = None) -> list[Delivery]:
        """Return what is there, after a wait for the first (``None``: however long it takes)."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._queue and not self._is_ended:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                break
            try:
                self._news.get(timeout=left)
            except queue.Empty:
                break
        with self._lock:
            count = len(self._queue) if most is None else min(most, len(self._queue))
            self._is_counted = False
            taken = [self._queue.popleft() for _ in range(count)]
            self._queued -= sum(map(_nbytes, taken))
            self._is_counted = True
        return taken

    def interrupt(self) -> None:
        """Wake a caller of ``take``, which waits no more from now on."""
        self._is_ended = True
        self._tell()

    def _tell(self) -> None:
        if self._news.empty():  # else a caller that waits is waking up
            self._news.put(None)


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
