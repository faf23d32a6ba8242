"""A bounded queue of deliveries, and the policies that apply when it is full."""

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

_Key: TypeAlias = tuple[object, ...]
"""Identifies the values that replace each other: same type, window, path and coordinates."""


class Inbox:
    """A queue of deliveries, of ``limit`` bytes at most. A larger one may be in it alone.

    The policy of a value decides what happens when the queue is full:

    - "block": Nothing is discarded. ``has_room`` says whether more may come.
    - "drop_oldest": The oldest values are discarded, except those with the policy "block".
    - "coalesce": A newer value replaces an older one with the same path. If the queue is still
      full, the oldest values are discarded.
    """

    # Which thread may use which field:
    #   _lock guards _queue, _droppable, _newest and _queued. The viewer's thread takes, and the
    #     receiver's thread pushes.
    #   _is_counted is False while take changes these fields. It stays False if Ctrl-C interrupts
    #     take. Then only _queue is right, and _count computes the others again.
    #   _reserved: only the receiver's thread changes it.
    #   _is_ended is set once. _news wakes a caller of take.
    # It does not use a Condition: Ctrl-C in a wait can leave its lock held, and then the
    # receiver's thread would wait for ever.

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._news = queue.SimpleQueue[None]()
        # Ordered dicts, because a plain dict searches long for its first key after many
        # deletions at the front.
        self._queue = OrderedDict[Delivery, None]()
        self._droppable = OrderedDict[Delivery, None]()
        """The deliveries of the queue that may be discarded."""
        self._newest: dict[_Key, Delivery] = {}
        """By its key, the delivery that a newer one replaces."""
        self._reserved = 0
        self._queued = 0
        self._is_counted = True
        self._is_ended = False

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def nbytes(self) -> int:
        """Bytes that are queued, or reserved for values on their way."""
        return self._reserved + self._queued

    def has_room(self, nbytes: int) -> bool:
        """Whether ``nbytes`` more fit. An empty inbox has room for a value of any size."""
        if not self._is_counted:  # take is running, or Ctrl-C has interrupted it
            with self._lock:
                self._count()
        return not self.nbytes or self.nbytes + nbytes <= self.limit

    def may_begin(self, item: Image | Rois) -> bool:
        """Whether a value may come now. Only a value of the policy "block" must wait for room."""
        return item.policy != "block" or self.has_room(item.nbytes)

    def reserve(self, nbytes: int) -> None:
        """Reserve room for a value on its way. ``push`` or ``release`` it later."""
        self._reserved += nbytes

    def release(self, nbytes: int) -> None:
        """Give back the room of a value that will not come."""
        self._reserved -= nbytes

    def push(self, delivery: Delivery) -> list[tuple[Delivery, Stage]]:
        """Append a delivery whose room was reserved. Return those that were discarded for it.

        Each discarded one comes with "coalesced" or "dropped".
        """
        with self._lock:
            self._count()
            self._reserved -= _nbytes(delivery)
            discarded = self._choose_discarded(delivery)
            for old, _ in discarded:
                del self._queue[old]
                self._forget(old)
            self._queue[delivery] = None
            self._remember(delivery)
        self._tell()
        return discarded

    def _choose_discarded(self, new: Delivery) -> list[tuple[Delivery, Stage]]:
        """Return the deliveries that must go for ``new``. The caller holds ``_lock``."""
        if not _may_go(new):
            return []
        found: list[tuple[Delivery, Stage]] = []
        excess = self.nbytes + _nbytes(new) - self.limit
        replaced = self._newest.get(_find_key(new)) if _coalesces(new) else None
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
            self._newest[_find_key(delivery)] = delivery

    def _forget(self, delivery: Delivery) -> None:
        self._queued -= _nbytes(delivery)
        if _may_go(delivery):
            del self._droppable[delivery]
        if _coalesces(delivery):
            del self._newest[_find_key(delivery)]

    def _count(self) -> None:
        """Compute the other fields from ``_queue``, if Ctrl-C has interrupted ``take``.

        The caller holds ``_lock``.
        """
        if not self._is_counted:
            self._queued = 0
            self._droppable.clear()
            self._newest.clear()
            for delivery in self._queue:
                self._remember(delivery)
            self._is_counted = True

    def take(self, timeout: float | None = 0.0, most: int | None = None) -> list[Delivery]:
        """Remove and return the first deliveries, at most ``most`` of them.

        Waits up to ``timeout`` seconds for the first one. ``None`` waits without a limit.
        """
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
            self._is_counted = False  # until all fields agree again: Ctrl-C may strike here
            taken = list(islice(self._queue, count))
            for delivery in taken:
                del self._queue[delivery]
                self._forget(delivery)
            self._is_counted = True
        return taken

    def interrupt(self) -> None:
        """Wake a caller of ``take``. From now on, ``take`` does not wait."""
        self._is_ended = True
        self._tell()

    def _tell(self) -> None:
        if self._news.empty():  # if not, a waiting caller is already waking up
            self._news.put(None)


def _nbytes(delivery: Delivery) -> int:
    return delivery.item.nbytes if isinstance(delivery.item, Image | Rois) else 0


def _may_go(delivery: Delivery) -> bool:
    return isinstance(delivery.item, Image | Rois) and delivery.item.policy != "block"


def _coalesces(delivery: Delivery) -> bool:
    return isinstance(delivery.item, Image | Rois) and delivery.item.policy == "coalesce"


def _find_key(delivery: Delivery) -> _Key:
    item = delivery.item
    assert isinstance(item, Image | Rois)
    return type(item), item.labels, item.window, item.path, item.at
