"""Track the values on their way to one receiver, and their outcomes. No socket and no lock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from polystore_core.errors import PolystoreError, ReceiverUnavailableError, RejectedError

from ..wire.messages import PIECE, Ack, Answer, Failure, Reply, Welcome

if TYPE_CHECKING:
    from ..discovery import Endpoint

__all__ = ["Answered", "Counters", "InFlight", "Pending", "Transfer"]

Answered: TypeAlias = "tuple[Welcome | Answer | Ack, list[bytes]]"
"""An answer to a query, and the frames after it."""

_MOST_MESSAGES = 500  # without an answer at once. ZeroMQ would block at 1,000.


@dataclass(slots=True)
class Counters:
    """Counts of the values that one backend has sent, by outcome."""

    sent: int = 0
    received: int = 0
    """Values that the receiver holds or held."""
    shown: int = 0
    """Values that were shown, among those sent with ``wait="shown"``."""
    coalesced: int = 0
    """Values that a newer one replaced before they were shown."""
    dropped: int = 0
    """Values that were discarded to make room, by the policy "drop_oldest" or "coalesce"."""
    rejected: int = 0
    blocked: int = 0
    """How often a value had to wait for room."""
    nbytes: int = 0
    """Bytes of all sent values."""


class Transfer:
    """One value on its way. ``outcome`` is set when the final answer about it has come."""

    __slots__ = ("awaited", "is_begun", "outcome", "path")

    def __init__(self, path: str, *, awaited: bool) -> None:
        self.path = path
        self.awaited = awaited
        """Whether a caller will wait for it. If not, its error is kept for the next call."""
        self.is_begun = False
        """Whether a part of it has room, so that the receiver may have got it."""
        self.outcome: Ack | None = None


@dataclass(slots=True, eq=False)
class Pending:
    """A message without an answer so far."""

    transfer: Transfer | None = None
    """The value that the message is part of. ``None`` for a query."""
    slot: int | None = None
    nbytes: int = 0
    is_last: bool = True
    """Whether it is the last message of the value, so that its answer is final."""


class InFlight:
    """The messages of one connection without an answer, and the room that they use."""

    # It needs no lock: the connection calls every method with its own _lock held.

    def __init__(
        self, endpoint: Endpoint, backend: str, max_in_flight: int, counters: Counters
    ) -> None:
        self.counters = counters
        self.pending: dict[int, Pending] = {}
        """Messages without an answer, by their number."""
        self.answers: dict[int, Answered] = {}
        """Answers to queries by the number of the query, until the caller takes them."""
        self.failures: list[PolystoreError] = []
        """Errors of values that no caller waits for."""
        self.free: deque[int] = deque()
        """Free slots of the ring."""
        self.nbytes = 0
        self._endpoint = endpoint
        self._backend = backend
        self._room = max(max_in_flight, 2 * PIECE)

    def claim(self, transfer: Transfer, nbytes: int, through_ring: bool) -> int | None:
        """Take room for a payload. Return its slot, -1 for a frame, or ``None`` without room."""
        if len(self.pending) >= _MOST_MESSAGES:
            return None
        if through_ring:
            if not self.free:
                return None
            transfer.is_begun = True
            self.nbytes += nbytes
            # A small image uses the slot that was freed last, because it is still in the cache.
            # A large image uses the slots in turn, because memory that another processor has
            # just read is slow to write.
            return self.free.pop() if nbytes < PIECE // 2 else self.free.popleft()
        if self.nbytes and self.nbytes + nbytes > self._room:
            return None
        transfer.is_begun = True
        self.nbytes += nbytes
        return -1

    def note(self, reply: Reply, frames: list[bytes]) -> None:
        """Record the reply of a receiver to one message or to several."""
        if isinstance(reply, Failure):
            failure = RejectedError(reply.reason, path=reply.path, backend=self._backend)
            self.failures.append(failure)
            return
        self._note(reply.number, reply, frames)
        if isinstance(reply, Ack):
            for number in reply.others:
                self._note(number, reply, frames)

    def _note(self, number: int, reply: Welcome | Answer | Ack, frames: list[bytes]) -> None:
        pending = self.pending.pop(number, None)
        if pending is None:  # it was answered before, or its caller has given up
            if isinstance(reply, Ack) and reply.stage in ("coalesced", "dropped"):
                self._count(reply.stage)  # it was received first, and discarded later
            return
        if pending.transfer is None:
            self.answers[number] = reply, frames[1:]
            return
        self.nbytes -= pending.nbytes
        if pending.slot is not None:
            self.free.append(pending.slot)
        if isinstance(reply, Ack):
            self._finish(pending.transfer, reply, is_last=pending.is_last)

    def _finish(self, transfer: Transfer, ack: Ack, *, is_last: bool) -> None:
        refusal = self.refusal(transfer, ack)
        if transfer.outcome is not None or not (is_last or refusal):
            return
        transfer.outcome = ack
        self._count("rejected" if refusal else ack.stage)
        if ack.stage in ("shown", "coalesced", "dropped"):
            self.counters.received += 1
        if refusal and not transfer.awaited:
            self.failures.append(refusal)

    def _count(self, name: str) -> None:
        setattr(self.counters, name, getattr(self.counters, name) + 1)

    def refusal(self, transfer: Transfer, ack: Ack) -> PolystoreError | None:
        """Return the error for a value that was refused, or ``None``."""
        if ack.stage == "rejected":
            return RejectedError(ack.reason, path=transfer.path, backend=self._backend)
        if ack.stage == "closed":
            reason = ack.reason or "was closed"
            return ReceiverUnavailableError(self._backend, self._endpoint.title, reason)
        return None

    def take_failures(self) -> list[PolystoreError]:
        """Return the errors that were not raised yet, and forget them."""
        failures, self.failures = self.failures, []
        return failures

    @property
    def is_left_alone(self) -> bool:
        """Whether a value is on its way without a caller that waits for it."""
        transfers = (pending.transfer for pending in self.pending.values())
        return any(t is not None and not t.awaited and t.outcome is None for t in transfers)
