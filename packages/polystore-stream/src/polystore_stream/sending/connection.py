"""The producer's side of one connection: pixels out, acknowledgements in, without a thread.

A caller that waits for an acknowledgement reads the socket, for all callers: a single caller
pays for no switch between threads, and several share one connection.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from msgspec.structs import replace

from polystore_core.errors import (
    DamagedDataError,
    IncompatibleReceiverError,
    PolystoreError,
    ReceiverError,
    ReceiverTimeoutError,
    ReceiverUnavailableError,
    RejectedError,
)

from ..discovery import host_identity
from ..wire.messages import (
    PIECE,
    PROTOCOL,
    Ack,
    Answer,
    Bye,
    Failure,
    Header,
    Hello,
    Image,
    Piece,
    Query,
    Rois,
    Welcome,
    encode,
    read_reply,
)
from ..wire.ring import RingWriter
from .link import AT_ONCE, Link, LostError
from .logs import how_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ..discovery import Endpoint

__all__ = ["Connection", "Counters", "Transfer"]

Result = TypeVar("Result")

_YIELD = 0.0002  # seconds: another thread that waits for the lock needs them to wake up
_SMALL = 1 << 15
"""Payloads of fewer bytes travel as frames: a slot would not be faster."""
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


class _Pending:
    __slots__ = ("is_last", "nbytes", "slot", "transfer")

    def __init__(
        self, transfer: Transfer | None, slot: int | None, nbytes: int, is_last: bool
    ) -> None:
        self.transfer, self.slot, self.nbytes, self.is_last = transfer, slot, nbytes, is_last


class Connection:
    """One producer at one receiver. Raises ``ReceiverError`` where none answers."""

    def __init__(
        self,
        endpoint: Endpoint,
        backend: str,
        *,
        max_in_flight: int = 32 << 20,
        timeout: float = 30.0,
        counters: Counters | None = None,
        share_memory: bool = True,
    ) -> None:
        self.endpoint = endpoint
        self.backend = backend
        self.timeout = timeout
        self.counters = counters or Counters()
        self.welcome: Welcome | None = None
        self._slots = max(2, max_in_flight // PIECE)
        self._room = max(max_in_flight, 2 * PIECE)
        self._in_flight = 0
        self._numbers = itertools.count(1)
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._pending: dict[int, _Pending] = {}
        self._answers: dict[int, tuple[Welcome | Answer | Ack, list[bytes]]] = {}
        self._failures: list[PolystoreError] = []
        self._broken: ReceiverError | None = None
        self._is_lost = False
        self._ring: RingWriter | None = None
        self._free: deque[int] = deque()
        self._shares = share_memory and endpoint.is_local
        self._link = Link(endpoint, backend, timeout)
        try:
            self.welcome = self._greeted()
        except BaseException:
            self._link.close()
            raise

    def _greeted(self) -> Welcome:
        program = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "python"
        hello = Hello(
            protocol=PROTOCOL,
            token=self.endpoint.token,
            producer=program[:80],
            pid=os.getpid(),
            host=host_identity(),
        )
        answer, _ = self._ask(hello, self.timeout)
        if isinstance(answer, Ack) and answer.stage == "rejected":
            if answer.reason.startswith("protocol"):
                raise IncompatibleReceiverError(
                    self.backend,
                    self.endpoint.title,
                    f"rejected the connection: {answer.reason}",
                )
            raise ReceiverUnavailableError(
                self.backend, self.endpoint.title, f"rejected the connection: {answer.reason}"
            )
        if not isinstance(answer, Welcome):
            raise IncompatibleReceiverError(
                self.backend,
                self.endpoint.title,
                f"answered hello with {type(answer).__name__}, not with Welcome",
            )
        if answer.protocol[0] != PROTOCOL[0]:
            raise self._other_protocol(answer.protocol)
        return answer

    def _other_protocol(self, theirs: tuple[int, int]) -> IncompatibleReceiverError:
        older = (
            "the receiver" if theirs[0] < PROTOCOL[0] else "polystore-stream of this producer"
        )
        return IncompatibleReceiverError(
            self.backend,
            self.endpoint.title,
            f"uses protocol {theirs[0]}.{theirs[1]}, but this producer uses "
            f"{PROTOCOL[0]}.{PROTOCOL[1]}",
            f"upgrade {older}",
        )

    # ── values ───────────────────────────────────────────────────────────────────────────

    def send(self, item: Image | Rois, pixels: NDArray[Any], *, awaited: bool) -> Transfer:
        """Hand over ``pixels`` (``item.nbytes`` bytes in C order), and do not wait for more.

        Waits for room. Raises ``ReceiverError``; the caller may change ``pixels`` afterwards
        once ``wait_for`` has returned, or at once where it is not ``awaited``.
        """
        transfer = Transfer(item.path, awaited=awaited)
        # One after the other: a value that waits for room at the receiver holds up the pieces
        # behind it, and with them what would make room.
        with self._turn:
            if self._ring is None and self._shares and item.nbytes >= _SMALL:
                self._share_memory()
            self.counters.sent += 1
            self.counters.nbytes += item.nbytes
            try:
                if item.nbytes <= PIECE:
                    self._post(item, pixels, transfer, is_last=True)
                else:
                    self._post_pieces(item, pixels, transfer)
            except BaseException as error:
                if transfer.is_begun:
                    # After Ctrl-C, too, nobody sends the rest, which the receiver waits for.
                    self._abandon("did not get the whole value: the save was interrupted")
                if transfer.outcome is None or not isinstance(error, ReceiverError):
                    transfer.awaited = True  # its caller hears of it now, and not once more
                    raise
        return transfer

    def _post_pieces(
        self, item: Image | Rois, pixels: NDArray[Any], transfer: Transfer
    ) -> None:
        flat = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
        number = self._post(item, flat[:PIECE], transfer, is_last=False)
        for start in range(PIECE, item.nbytes, PIECE):
            if transfer.outcome is not None:  # rejected: the rest need not travel
                break
            piece = flat[start : start + PIECE]
            header = Piece(of=number, start=start, nbytes=piece.nbytes)
            self._post(header, piece, transfer, is_last=start + PIECE >= item.nbytes)

    def _post(
        self,
        header: Image | Rois | Piece,
        pixels: NDArray[Any],
        transfer: Transfer,
        *,
        is_last: bool,
    ) -> int:
        nbytes = pixels.nbytes
        through_ring = self._ring is not None and nbytes >= _SMALL
        slot = self._until(lambda: self._claimed(transfer, nbytes, through_ring), blocks=True)
        frames = []
        if slot >= 0 and self._ring is not None:
            try:
                target = self._ring.slot(slot, nbytes)
            except OSError:  # no memory left for this slot: the pixels travel as a frame
                self._free.append(slot)
                slot = -1
            else:
                np.copyto(target.view(pixels.dtype).reshape(pixels.shape), pixels)
        if slot < 0:
            contiguous = np.ascontiguousarray(pixels)
            frames = [contiguous.reshape(-1).view(np.uint8).data]
        number = next(self._numbers)
        header = replace(header, number=number, slot=slot if slot >= 0 else None)
        with self._lock:
            self._pending[number] = _Pending(transfer, header.slot, nbytes, is_last)
            self._write(header, frames)
        return number

    def _claimed(self, transfer: Transfer, nbytes: int, through_ring: bool) -> int | None:
        """Take room for a payload: a slot, -1 for a frame, ``None`` where there is none."""
        if len(self._pending) >= _MOST_MESSAGES:
            return None
        if through_ring:
            if not self._free:
                return None
            transfer.is_begun = True
            self._in_flight += nbytes
            # A small image finds the slot that was freed last still in the cache. The pieces of
            # a large one take turns: what the other processor has just read is slow to write.
            return self._free.pop() if nbytes < PIECE // 2 else self._free.popleft()
        if self._in_flight and self._in_flight + nbytes > self._room:
            return None
        transfer.is_begun = True
        self._in_flight += nbytes
        return -1

    def wait_for(self, transfer: Transfer) -> Ack:
        """Return what became of a value. Raises ``RejectedError``, ``ReceiverError``."""
        outcome = transfer.outcome or self._until(lambda: transfer.outcome)
        if outcome.stage in _REFUSALS:
            raise self._refusal(outcome, transfer)
        return outcome

    def settle(self, timeout: float | None = None) -> None:
        """Wait until everything is acknowledged, and raise what was not raised before."""
        try:
            self._until(lambda: not self._pending or None, timeout=timeout)
        finally:
            self.raise_failures()

    def raise_failures(self) -> None:
        """Raise what went wrong with values that nobody waited for, as far as it is known."""
        if self._pending and self._broken is None:
            with self._lock:
                self._read(AT_ONCE)
        if self._failures:
            first, *others = self._failures
            self._failures = []
            for error in others:
                first.add_note(str(error))
            raise first

    def ask(self, query: Query, timeout: float) -> tuple[Answer, list[bytes]]:
        """Return the receiver's answer and its frames. Raises ``RejectedError``."""
        answer, frames = self._ask(query, timeout)
        if isinstance(answer, Ack):
            if answer.stage == "closed":
                raise ReceiverUnavailableError(self.backend, self.endpoint.title, "was closed")
            raise RejectedError(answer.reason, path=query.name, backend=self.backend)
        if not isinstance(answer, Answer):
            reason = f"the answer to a query is {type(answer).__name__}, not Answer"
            raise DamagedDataError(reason, "message")
        return answer, frames

    def _ask(
        self, header: Header, timeout: float
    ) -> tuple[Welcome | Answer | Ack, list[bytes]]:
        number = next(self._numbers)
        try:
            with self._lock:
                self._pending[number] = _Pending(None, None, 0, is_last=True)
                self._write(replace(header, number=number))
            return self._until(lambda: self._answers.pop(number, None), timeout=timeout)
        finally:
            self._pending.pop(number, None)  # an answer that comes too late is for nobody

    def _share_memory(self) -> None:
        """Offer a ring; where it cannot be made or opened, pixels travel as frames."""
        try:
            ring = RingWriter(self._slots)
        except OSError:  # no memory for it
            self._shares = False
            return
        try:
            answer, _ = self._ask(ring.message, self.timeout)
            if isinstance(answer, Ack) and answer.stage == "received":
                ring.forget_name()
                self._free = deque(range(ring.slots))
                self._ring = ring
            else:
                self._shares = False
        finally:
            if self._ring is None:
                ring.close()

    # ── messages ─────────────────────────────────────────────────────────────────────────

    def _write(self, header: Header, frames: Sequence[memoryview] = ()) -> None:
        sent = False
        try:
            self._link.write([encode(header), *frames])
            sent = True
        except LostError as lost:
            raise self._left(lost) from lost.__cause__
        except TimeoutError:
            raise self._timed_out(self.timeout) from None
        finally:
            if not sent:  # Ctrl-C: what is sent next would be taken for the rest of this
                self._pending.pop(header.number, None)
                self._break("did not get the whole message: the call was interrupted")

    def _until(
        self,
        found: Callable[[], Result | None],
        *,
        timeout: float | None = None,
        blocks: bool = False,
    ) -> Result:
        """Read answers until ``found`` returns something; ``timeout`` seconds without one.

        Raises ``ReceiverUnavailableError``, ``ReceiverTimeoutError``.
        """
        limit = self.timeout if timeout is None else timeout
        last = time.monotonic()
        while True:
            with self._lock:
                result = found()
                if result is not None:
                    return result
                if self._broken is not None:
                    raise self._lost(self._broken)
                if blocks:
                    self.counters.blocked += 1
                    blocks = False
                if self._read():
                    last = time.monotonic()
                    continue
                self._check_alive()
            time.sleep(_YIELD)  # or this thread has the lock again before another wakes up
            if time.monotonic() - last > limit:
                raise self._timed_out(limit)

    def _timed_out(self, seconds: float) -> ReceiverTimeoutError:
        error = ReceiverTimeoutError(
            self.backend,
            self.endpoint.title,
            f"has not answered for {seconds:g} s",
            "it is busy, stopped or not a receiver: check it, or use a larger timeout=",
        )
        if not self._link.watches_process:
            # Of another machine, silence may be all that is left: the next call connects again.
            self._broken = self._broken or dataclasses.replace(error)
        return error

    def _read(self, flags: int = 0) -> bool:
        """Take the answers that are there, after a short wait for the first."""
        came = False
        try:
            while (frames := self._link.read(AT_ONCE if came else flags)) is not None:
                came = True
                self._take(frames)
        except LostError as lost:
            raise self._left(lost) from lost.__cause__
        except DamagedDataError as error:
            reason = f"sent an answer that cannot be read: {error}"
            raise self._break(reason, IncompatibleReceiverError) from error
        except BaseException:  # Ctrl-C, perhaps between an answer and the note of it
            self._abandon("did not answer before the call was interrupted")
            raise
        return came

    def _take(self, frames: list[bytes]) -> None:
        reply = read_reply(frames[0])
        if isinstance(reply, Failure):
            failure = RejectedError(reply.reason, path=reply.path, backend=self.backend)
            self._failures.append(failure)
            return
        if isinstance(reply, Ack) and reply.stage == "rejected" and not reply.number:
            # It could not even read the number, and takes nothing more from this connection.
            raise self._break(
                f"cannot read this producer's messages: {reply.reason}",
                IncompatibleReceiverError,
            )
        self._answered(reply.number, reply, frames)
        if isinstance(reply, Ack):
            for number in reply.others:
                self._answered(number, reply, frames)

    def _answered(
        self, number: int, reply: Welcome | Answer | Ack, frames: list[bytes]
    ) -> None:
        pending = self._pending.pop(number, None)
        if pending is None:  # nobody waits any more
            if isinstance(reply, Ack) and reply.stage in ("coalesced", "dropped"):
                self._count(reply.stage)  # what became of it after it was received
            return
        if pending.transfer is None:
            self._answers[number] = reply, frames[1:]
            return
        self._in_flight -= pending.nbytes
        if pending.slot is not None:
            self._free.append(pending.slot)
        if isinstance(reply, Ack):
            self._note(reply, pending)

    def _note(self, ack: Ack, pending: _Pending) -> None:
        transfer = pending.transfer
        refused = ack.stage in _REFUSALS
        if transfer is None or transfer.outcome is not None or not (pending.is_last or refused):
            return
        transfer.outcome = ack
        name = {"closed": "rejected"}.get(ack.stage, ack.stage)
        self._count(name)
        if name in ("shown", "coalesced", "dropped"):
            self.counters.received += 1
        if refused and not transfer.awaited:
            self._failures.append(self._refusal(ack, transfer))

    def _count(self, name: str) -> None:
        setattr(self.counters, name, getattr(self.counters, name) + 1)

    def listen(self) -> None:
        """Take the answers that have come, so that the counters tell of them."""
        with self._lock:
            if self._broken is None:
                self._read(AT_ONCE)

    def _refusal(self, ack: Ack, transfer: Transfer) -> PolystoreError:
        if ack.stage == "rejected":
            return RejectedError(ack.reason, path=transfer.path, backend=self.backend)
        return ReceiverUnavailableError(
            self.backend, self.endpoint.title, ack.reason or "was closed"
        )

    def _check_alive(self) -> None:
        try:
            self._link.check()
        except LostError as lost:
            raise self._left(lost) from lost.__cause__
        except BaseException:  # Ctrl-C, perhaps in the middle of what the monitor says
            self._abandon("did not answer before the call was interrupted")
            raise

    def _left(self, lost: LostError) -> ReceiverError:
        """Remember that the receiver has gone, and how, if it is a viewer with a log."""
        how, log = how_ended(self.endpoint) if self._broken is None else ("", "")
        return self._break(f"{lost}: {how}" if how else str(lost), advice=log)

    def _break(
        self,
        reason: str,
        kind: type[ReceiverError] = ReceiverUnavailableError,
        advice: str = "",
    ) -> ReceiverError:
        """Remember that the connection is lost, and why first: a new one must be made."""
        self._is_lost = True
        self._broken = self._broken or kind(self.backend, self.endpoint.title, reason, advice)
        return self._lost(self._broken)

    def _abandon(self, reason: str) -> None:
        """Use it no more, except to say goodbye."""
        self._broken = self._broken or ReceiverUnavailableError(
            self.backend, self.endpoint.title, reason
        )

    @staticmethod
    def _lost(error: ReceiverError) -> ReceiverError:
        # One that was raised keeps every frame that it came through, with the pixels in them.
        return dataclasses.replace(error)

    @property
    def is_usable(self) -> bool:
        """Whether it still stands; if it was lost just now, ``raise_failures`` tells of what."""
        with self._lock:
            if self._broken is None and self._link.has_news:
                try:
                    self._read(AT_ONCE)
                    self._check_alive()
                except ReceiverError as error:
                    sent = {
                        p.transfer for p in self._pending.values() if p.transfer is not None
                    }
                    if any(not t.awaited and t.outcome is None for t in sent):
                        self._failures.append(error)
            return self._broken is None

    def close(self) -> None:
        """Say goodbye; what was not acknowledged may be lost: see ``settle``."""
        with self._lock:
            if self._link.is_closed:
                return
            if not self._is_lost:
                self._link.say_goodbye(encode(Bye()))
            self._abandon("is not connected: this connection was closed")
            try:
                self._link.close()
            finally:
                if self._ring is not None:
                    self._ring.close()

    def __repr__(self) -> str:
        return f"<Connection to {self.endpoint.title}>"


_REFUSALS = ("rejected", "closed")
