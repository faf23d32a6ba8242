"""What is on its way to one receiver, and what became of the rest: no socket, and no lock."""

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
"""An answer to a question, and the frames behind it."""

_MOST_MESSAGES = 500  # waiting for an answer; ZeroMQ would block at 1,000


@dataclass(slots=True)
class Counters:
    """What became of all that was sent by one backend."""

    sent: int = 0
    received: int = 0
    """Acknowledged as held by the receiver."""
    shown: int = 0
    """Of those that were sent with ``wait="shown"``."""
    coalesced: int = 0
    """A newer one took the place before it was shown."""
    dropped: int = 0
    """Made room for others, by the policy "drop_oldest" or "coalesce"."""
    rejected: int = 0
    blocked: int = 0
    """Had to wait for room."""
    nbytes: int = 0


class Transfer:
    """One value on its way; ``outcome`` is set when the last word about it has come."""

    __slots__ = ("awaited", "is_begun", "outcome", "path")

    def __init__(self, path: str, *, awaited: bool) -> None:
        self.path = path
        self.awaited = awaited
        """Whether a caller will ask: else what goes wrong is kept for the next call."""
        self.is_begun = False
        """Whether room was taken for a part of it."""
        self.outcome: Ack | None = None


@dataclass(slots=True, eq=False)
class Pending:
    """A message that has no answer yet."""

    transfer: Transfer | None = None
    """The value that it is a part of; a question has none."""
    slot: int | None = None
    nbytes: int = 0
    is_last: bool = True
    """Whether the answer is the last word about the value."""


class InFlight:
    """The messages of one connection that have no answer yet, and the room that they take.

    The connection calls every method with its lock held.
    """

    def __init__(
        self, endpoint: Endpoint, backend: str, max_in_flight: int, counters: Counters
    ) -> None:
        self.counters = counters
        self.pending: dict[int, Pending] = {}
        """By the number of the message."""
        self.answers: dict[int, Answered] = {}
        """To questions, until whoever asked takes them."""
        self.failures: list[PolystoreError] = []
        """Of values that nobody waits for."""
        self.free: deque[int] = deque()
        """Slots of the ring."""
        self.nbytes = 0
        self._endpoint = endpoint
        self._backend = backend
        self._room = max(max_in_flight, 2 * PIECE)

    def claim(self, transfer: Transfer, nbytes: int, through_ring: bool) -> int | None:
        """Take room for a payload: a slot, -1 for a frame, ``None`` where there is none."""
        if len(self.pending) >= _MOST_MESSAGES:
            return None
        if through_ring:
            if not self.free:
                return None
            transfer.is_begun = True
            self.nbytes += nbytes
            # A small image finds the slot that was freed last still in the cache. The pieces of
            # a large one take turns: what the other processor has just read is slow to write.
            return self.free.pop() if nbytes < PIECE // 2 else self.free.popleft()
        if self.nbytes and self.nbytes + nbytes > self._room:
            return None
        transfer.is_begun = True
        self.nbytes += nbytes
        return -1

    def note(self, reply: Reply, frames: list[bytes]) -> None:
        """Note what a receiver says of one message, or of several."""
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
        if pending is None:  # nobody waits any more
            if isinstance(reply, Ack) and reply.stage in ("coalesced", "dropped"):
                self._count(reply.stage)  # what became of it after it was received
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
        """Return the error of a value that was not taken; ``None`` if it was."""
        if ack.stage == "rejected":
            return RejectedError(ack.reason, path=transfer.path, backend=self._backend)
        if ack.stage == "closed":
            reason = ack.reason or "was closed"
            return ReceiverUnavailableError(self._backend, self._endpoint.title, reason)
        return None

    def take_failures(self) -> list[PolystoreError]:
        failures, self.failures = self.failures, []
        return failures

    @property
    def is_left_alone(self) -> bool:
        """Whether a value has no outcome yet that nobody waits for."""
        transfers = (pending.transfer for pending in self.pending.values())
        return any(t is not None and not t.awaited and t.outcome is None for t in transfers)
