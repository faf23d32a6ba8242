"""Queue a receiver's replies from any thread, and send them from the receiver's thread."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import zmq
from msgspec.structs import replace

from ..wire.messages import Ack, Answer, Failure, Item, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ..wire.messages import Reply, Stage
    from .viewer import Delivery

__all__ = ["Replies"]

_TOGETHER = 4  # messages that one answer acknowledges


class Replies:
    """The replies of one receiver."""

    # It has no lock. Any thread may call settle and answer. They append to _outgoing and discard
    # from held, and each of these is one atomic step. Only the receiver's thread calls the other
    # methods.

    def __init__(self, socket: zmq.Socket[bytes], wake: Callable[[], None]) -> None:
        """``wake`` makes the receiver's thread call ``send_outgoing``."""
        self.held: set[Delivery] = set()
        """Deliveries whose producers wait until they are settled."""
        self.gone: set[bytes] = set()
        """Producers that have ended, or do not read answers."""
        self.sent_at = 0.0
        """Time of the latest reply, in seconds of the monotonic clock."""
        self._socket = socket
        self._wake = wake
        self._outgoing: deque[tuple[bytes, Reply, Sequence[Any]]] = deque()
        self._received: dict[bytes, list[int]] = {}

    def settle(self, delivery: Delivery, stage: Stage, reason: str = "") -> None:
        """Report what happened to a delivery.

        The producer is told if it waits, if the delivery failed, or if it was never shown.
        """
        if delivery.awaited or stage in ("coalesced", "dropped"):
            self._queue(delivery, Ack(number=delivery.number, stage=stage, reason=reason))
        elif stage == "rejected" and isinstance(delivery.item, Item):
            self._queue(delivery, Failure(path=delivery.item.path, reason=reason))

    def answer(
        self, delivery: Delivery, value: Any = None, arrays: Sequence[NDArray[Any]] = ()
    ) -> None:
        """Answer a query with a JSON value and arrays."""
        plain = [np.ascontiguousarray(array) for array in arrays]
        kinds = tuple((array.shape, array.dtype.str) for array in plain)
        frames = [array.reshape(-1).view(np.uint8).data for array in plain]
        answer = Answer(number=delivery.number, value=value, arrays=kinds)
        self._queue(delivery, answer, frames)

    def _queue(self, delivery: Delivery, reply: Reply, frames: Sequence[Any] = ()) -> None:
        self.held.discard(delivery)
        delivery.awaited = False
        self._outgoing.append((delivery.session, reply, frames))
        self._wake()

    def note_received(self, identity: bytes, number: int) -> None:
        """Acknowledge a message, together with others of this burst.

        Each answer wakes the producer, so one answer for several messages is faster.
        """
        numbers = self._received.setdefault(identity, [])
        numbers.append(number)
        if len(numbers) >= _TOGETHER:
            self.acknowledge()

    def acknowledge(self) -> None:
        """Send the acknowledgements that ``note_received`` has collected."""
        # Swap first: sending may forget a producer, which changes self._received.
        received, self._received = self._received, {}
        for identity, (number, *others) in received.items():
            self.send(identity, Ack(number=number, stage="received", others=tuple(others)))

    def send_outgoing(self) -> None:
        """Send the queued replies. Equal ones in a row become one with several numbers."""
        while self._outgoing:
            identity, reply, frames = self._outgoing.popleft()
            others: list[int] = []
            while isinstance(reply, Ack) and self._outgoing:
                other_identity, other, _ = self._outgoing[0]
                if other_identity != identity or not _is_alike(reply, other):
                    break
                others.append(other.number)
                self._outgoing.popleft()
            if isinstance(reply, Ack) and others:
                reply = replace(reply, others=tuple(others))
            self.send(identity, reply, frames)

    def send(self, identity: bytes, reply: Reply, frames: Sequence[Any] = ()) -> None:
        """Send a reply now. Note the producer as gone if that fails."""
        self.sent_at = time.monotonic()
        try:
            self._socket.send_multipart([identity, encode(reply), *frames], zmq.NOBLOCK)
        except zmq.ZMQError:  # the producer is gone, or does not read its answers
            self.gone.add(identity)

    def forget(self, identity: bytes) -> None:
        """Drop the acknowledgements that are not sent yet to this producer."""
        self._received.pop(identity, None)


def _is_alike(reply: Ack, other: Reply) -> bool:
    """Whether one answer can say both, as for many images that one image replaced."""
    return isinstance(other, Ack) and (reply.stage, reply.reason) == (other.stage, other.reason)
