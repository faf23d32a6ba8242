"""What has come and was not taken yet: a queue with a limit, and what happens at the limit."""

from __future__ import annotations

import queue
import threading
import time
from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from ..wire.messages import Image, Rois
from .viewer import Delivery

if TYPE_CHECKING:
    from ..wire.messages import Stage

__all__ = ["Inbox"]

_Place: TypeAlias = tuple[object, ...]


class Inbox:
    """Deliveries in order, of ``limit`` bytes at most (one may be larger, alone).

    - "block": nothing is discarded; ``has_room`` tells whether more may come.
    - "drop_oldest": the oldest make room, unless their own policy is "block".
    - "coalesce": a newer value takes the place of one with the same path; else as above.
    """

    # _lock guards _queue, _droppable, _newest and _queued: the viewer's thread takes, the
    # receiver's thread pushes. _is_counted is False while take changes them, and after a Ctrl-C
    # there: _queue alone is right then.
    # The receiver's thread alone changes _reserved. _is_ended is set once. _news wakes take.
    # No Condition: Ctrl-C in one leaves it locked, and the receiver's thread waits for ever.

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._news = queue.SimpleQueue[None]()
        # Not plain dicts: after many deletions at the front their first key takes long to find.
        self._queue = OrderedDict[Delivery, None]()
        self._droppable = OrderedDict[Delivery, None]()
        """Those of the queue that may be discarded."""
        self._newest: dict[_Place, Delivery] = {}
        """The one of each place that a newer one replaces: there are never two."""
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
                self._count()
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
            self._count()
            self._reserved -= _nbytes(delivery)
            discarded = self._displaced(delivery)
            for old, _ in discarded:
                del self._queue[old]
                self._forget(old)
            self._queue[delivery] = None
            self._remember(delivery)
        self._tell()
        return discarded

    def _displaced(self, new: Delivery) -> list[tuple[Delivery, Stage]]:
        if not _may_go(new):
            return []
        found: list[tuple[Delivery, Stage]] = []
        excess = self.nbytes + _nbytes(new) - self.limit
        replaced = self._newest.get(_place(new)) if _coalesces(new) else None
        if replaced is not None:
            found.append((replaced, "coalesced"))
            excess -= _nbytes(replaced)
        for old in self._droppable:
            if excess <= 0:
                break
            if old is not replaced:
                found.append((old, "dropped"))
                excess -= _nbytes(old)
        return found

    def _remember(self, delivery: Delivery) -> None:
        self._queued += _nbytes(delivery)
        if _may_go(delivery):
            self._droppable[delivery] = None
        if _coalesces(delivery):
            self._newest[_place(delivery)] = delivery

    def _forget(self, delivery: Delivery) -> None:
        self._queued -= _nbytes(delivery)
        if _may_go(delivery):
            del self._droppable[delivery]
        if _coalesces(delivery):
            del self._newest[_place(delivery)]

    def _count(self) -> None:
        """Set right what a Ctrl-C in ``take`` has left half done."""
        if not self._is_counted:
            self._queued = 0
            self._droppable.clear()
            self._newest.clear()
            for delivery in self._queue:
                self._remember(delivery)
            self._is_counted = True

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
            self._count()
            count = len(self._queue) if most is None else min(most, len(self._queue))
            self._is_counted = False
            taken = list(islice(self._queue, count))
            for delivery in taken:
                del self._queue[delivery]
                self._forget(delivery)
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


def _coalesces(delivery: Delivery) -> bool:
    return isinstance(delivery.item, Image | Rois) and delivery.item.policy == "coalesce"


def _place(delivery: Delivery) -> _Place:
    item = delivery.item
    assert isinstance(item, Image | Rois)
    return type(item), item.labels, item.window, item.path, item.at
