"""Send pixels over one connection and read the acknowledgements, without a thread.

A caller that waits for an acknowledgement reads the socket, also for all other callers. So a
single caller does not pay for thread switches, and several callers can share one connection.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from msgspec.structs import replace

from polystore_core.errors import (
    DamagedDataError,
    IncompatibleReceiverError,
    ReceiverError,
    ReceiverTimeoutError,
    ReceiverUnavailableError,
    RejectedError,
)

from ..discovery import host_identity
from ..logs import explain_end
from ..wire.messages import (
    PIECE,
    PROTOCOL,
    Ack,
    Answer,
    Bye,
    Header,
    Hello,
    Image,
    Piece,
    Query,
    Rois,
    Welcome,
    encode,
    protocol_fault,
    read_reply,
)
from ..wire.ring import RingWriter
from .link import AT_ONCE, Link, LostError
from .transfers import Answered, Counters, InFlight, Pending, Transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ..discovery import Endpoint

__all__ = ["Connection"]

Result = TypeVar("Result")

_YIELD = 0.0002  # seconds that another thread needs to wake up when it waits for the lock
_SMALL = 1 << 15
"""Smaller payloads, in bytes, travel as frames, because a slot would not be faster."""
_TOGETHER = 2 * PIECE
"""Payload bytes whose messages are sent together. Each separate message wakes three threads."""
_SOON = 0.001
"""Seconds. A message waits for the next one only if messages follow each other this fast."""


class Connection:
    """The connection of one producer to a receiver. Raises ``ReceiverError`` without an answer."""

    # Two locks. A thread that takes both takes _turn first.
    #   _turn is held while one value is sent with all its pieces. It guards _ring, _shares,
    #     _sent_at and the counters "sent" and "nbytes".
    #   _lock is held for one message, or for one read of the answers. It guards _link, _in_flight,
    #     _held, _held_bytes and the other counters.
    # Without a lock, in one atomic step: a caller removes its own number from ``pending`` and
    # ``answers``, and returns its own slot. _numbers counts. _broken and _is_lost are set once.

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
        self._numbers = itertools.count(1)
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._in_flight = InFlight(endpoint, backend, max_in_flight, self.counters)
        self._broken: ReceiverError | None = None
        self._is_lost = False
        self._ring: RingWriter | None = None
        self._held: list[Header] = []
        self._held_bytes = 0
        self._sent_at = 0.0
        self._shares = share_memory and endpoint.is_local
        self._link = Link(endpoint, backend, timeout)
        try:
            self.welcome = self._greet()
        except BaseException:
            self._link.close()
            raise

    def _greet(self) -> Welcome:
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
            other = answer.reason.startswith("protocol")
            kind = IncompatibleReceiverError if other else ReceiverUnavailableError
            raise kind(
                self.backend, self.endpoint.title, f"rejected the connection: {answer.reason}"
            )
        if not isinstance(answer, Welcome):
            raise IncompatibleReceiverError(
                self.backend,
                self.endpoint.title,
                f"answered hello with {type(answer).__name__}, not with Welcome",
            )
        fault = protocol_fault(receiver=answer.protocol, producer=PROTOCOL)
        if fault:
            raise IncompatibleReceiverError(
                self.backend, self.endpoint.title, f"cannot be used: {fault}"
            )
        return answer

    @property
    def opens_sources(self) -> bool:
        """Whether the receiver opens arrays that this process names."""
        return self.welcome is not None and self.welcome.opens_sources

    # ── values ───────────────────────────────────────────────────────────────────────────

    def send(
        self, item: Image | Rois, pixels: NDArray[Any], *, awaited: bool, more: bool = False
    ) -> Transfer:
        """Send a value, and return before it is acknowledged. Waits for room.

        ``pixels`` has ``item.nbytes`` bytes in C order, and none for an item with a source. You may
        change it after ``wait_for``, or at once if the value is not ``awaited``. If ``more`` values
        follow, this one may travel with them, at the latest in ``wait_for``. Raises
        ``ReceiverError``.
        """
        transfer = Transfer(item.path, awaited=awaited)
        # Send one value after another. If pieces of several values were mixed, a value that waits
        # for room at the receiver would block the pieces of another one that could make room.
        with self._turn:
            more = more and time.monotonic() - self._sent_at < _SOON
            if self._ring is None and self._shares and item.nbytes >= _SMALL:
                self._share_memory()
            self.counters.sent += 1
            self.counters.nbytes += item.nbytes
            try:
                if item.nbytes <= PIECE:
                    self._post(item, pixels, transfer, is_last=True, more=more)
                else:
                    self._post_pieces(item, pixels, transfer, more=more)
            except BaseException as error:
                if transfer.is_begun:
                    # The receiver waits for the rest of the value, and no caller will send it.
                    # So this connection cannot be used again.
                    self._abandon("did not get the whole value: the save was interrupted")
                if transfer.outcome is None or not isinstance(error, ReceiverError):
                    transfer.awaited = True  # raise it now, and not in the next call again
                    raise
            self._sent_at = time.monotonic()
        return transfer

    def _post_pieces(
        self, item: Image | Rois, pixels: NDArray[Any], transfer: Transfer, *, more: bool
    ) -> None:
        flat = np.ascontiguousarray(pixels).reshape(-1).view(np.uint8)
        number = self._post(item, flat[:PIECE], transfer, is_last=False, more=more)
        for start in range(PIECE, item.nbytes, PIECE):
            if transfer.outcome is not None:  # it was rejected, so do not send the rest
                break
            piece = flat[start : start + PIECE]
            header = Piece(of=number, start=start, nbytes=piece.nbytes)
            is_last = start + PIECE >= item.nbytes
            self._post(header, piece, transfer, is_last=is_last, more=more)

    def _post(
        self,
        header: Image | Rois | Piece,
        pixels: NDArray[Any],
        transfer: Transfer,
        *,
        is_last: bool,
        more: bool = False,
    ) -> int:
        nbytes = pixels.nbytes
        through_ring = self._ring is not None and nbytes >= _SMALL
        slot = self._until(
            lambda: self._in_flight.claim(transfer, nbytes, through_ring), blocks=True
        )
        frames = []
        if slot >= 0 and self._ring is not None:
            try:
                target = self._ring.slot(slot, nbytes)
            except OSError:  # no memory for this slot: send the pixels as a frame
                self._in_flight.free.append(slot)
                slot = -1
            else:
                np.copyto(target.view(pixels.dtype).reshape(pixels.shape), pixels)
        if slot < 0 and nbytes:
            contiguous = np.ascontiguousarray(pixels)
            frames = [contiguous.reshape(-1).view(np.uint8).data]
        number = next(self._numbers)
        header = replace(header, number=number, slot=slot if slot >= 0 else None)
        with self._lock:
            self._in_flight.pending[number] = Pending(transfer, header.slot, nbytes, is_last)
            self._held_bytes += nbytes
            if frames:
                self._write(header, frames)
            else:
                self._held.append(header)
                if not more or self._held_bytes >= _TOGETHER:
                    self._write_held()
        return number

    def wait_for(self, transfer: Transfer) -> Ack:
        """Return the answer about a value. Raises ``RejectedError`` or ``ReceiverError``."""
        outcome = transfer.outcome or self._until(lambda: transfer.outcome)
        refusal = self._in_flight.refusal(transfer, outcome)
        if refusal is not None:
            raise refusal
        return outcome

    def settle(self, timeout: float | None = None) -> None:
        """Wait until everything is acknowledged. Raise errors that were not raised before."""
        try:
            self._until(lambda: not self._in_flight.pending or None, timeout=timeout)
        finally:
            self.raise_failures()

    def raise_failures(self) -> None:
        """Raise the known errors of values that no caller waited for."""
        if self._in_flight.pending and self._broken is None:
            with self._lock:
                self._read(AT_ONCE)
        if self._in_flight.failures:
            with self._lock:
                failures = self._in_flight.take_failures()
            for error in failures[1:]:
                failures[0].add_note(str(error))
            if failures:  # if not, another thread has raised them
                raise failures[0]

    def ask(self, query: Query, timeout: float) -> tuple[Answer, list[bytes]]:
        """Return the answer to a query. Raises ``RejectedError`` or ``ReceiverError``."""
        answer, frames = self._ask(query, timeout)
        if isinstance(answer, Ack):
            if answer.stage == "closed":
                raise ReceiverUnavailableError(self.backend, self.endpoint.title, "was closed")
            raise RejectedError(answer.reason, path=query.name, backend=self.backend)
        if not isinstance(answer, Answer):
            reason = f"expected Answer for a query, got {type(answer).__name__}"
            raise DamagedDataError(reason, "message")
        return answer, frames

    def _ask(self, header: Header, timeout: float) -> Answered:
        number, answers = next(self._numbers), self._in_flight.answers
        try:
            with self._lock:
                self._in_flight.pending[number] = Pending()
                self._write(replace(header, number=number))
            return self._until(lambda: answers.pop(number, None), timeout=timeout)
        finally:  # ignore an answer that comes too late
            self._in_flight.pending.pop(number, None)

    def _share_memory(self) -> None:
        """Offer a ring of shared memory. If that fails, pixels travel as frames."""
        try:
            ring = RingWriter(self._slots)
        except OSError:  # no memory for it
            self._shares = False
            return
        try:
            answer, _ = self._ask(ring.message, self.timeout)
            if isinstance(answer, Ack) and answer.stage == "received":
                ring.forget_name()
                self._in_flight.free.extend(range(ring.slots))
                self._ring = ring
            else:
                self._shares = False
        finally:
            if self._ring is None:
                ring.close()

    # ── messages ─────────────────────────────────────────────────────────────────────────

    def _write(self, header: Header, frames: Sequence[memoryview] = ()) -> None:
        self._write_held()
        self._write_frames(header.number, [encode(header), *frames])

    def _write_held(self) -> None:
        if not self._held:
            return
        try:
            held, self._held, self._held_bytes = self._held, [], 0
            takes_several = self.welcome is not None and self.welcome.protocol >= (1, 1)
            for headers in [held] if takes_several else [[header] for header in held]:
                self._write_frames(headers[0].number, [*map(encode, headers)])
        except BaseException:  # Ctrl-C, perhaps before the first message was written
            self._abandon("did not get the whole value: the call was interrupted")
            raise

    def _write_frames(self, number: int, frames: Sequence[bytes | memoryview]) -> None:
        sent = False
        try:
            self._link.write(frames)
            sent = True
        except LostError as lost:
            raise self._note_loss(lost) from lost.__cause__
        except TimeoutError:
            raise self._time_out(self.timeout) from None
        finally:
            if not sent:  # Ctrl-C: the next frames would be read as the rest of this message
                self._in_flight.pending.pop(number, None)
                self._break("did not get the whole message: the call was interrupted")

    def _until(
        self,
        found: Callable[[], Result | None],
        *,
        timeout: float | None = None,
        blocks: bool = False,
    ) -> Result:
        """Read answers until ``found`` returns a value. ``blocks`` counts a wait as "blocked".

        Raises ``ReceiverUnavailableError``, or ``ReceiverTimeoutError`` after ``timeout`` seconds
        without an answer.
        """
        limit = self.timeout if timeout is None else timeout
        last = time.monotonic()
        while True:
            with self._lock:
                result = found()
                if result is not None:
                    return result
                if self._broken is not None:
                    raise self._copy_error(self._broken)
                if blocks:
                    self.counters.blocked += 1
                    blocks = False
                self._write_held()
                if self._read():
                    last = time.monotonic()
                    continue
                self._check_alive()
            # Without the pause, this thread takes the lock again before another one wakes up.
            time.sleep(_YIELD)
            if time.monotonic() - last > limit:
                raise self._time_out(limit)

    def _time_out(self, seconds: float) -> ReceiverTimeoutError:
        error = ReceiverTimeoutError(
            self.backend,
            self.endpoint.title,
            f"has not answered for {seconds:g} s",
            "it may be busy or stopped: check it, or use a larger timeout=",
        )
        if not self._link.watches_process:
            # The process on another machine cannot be watched, and silence may mean that it is
            # gone. So the next call connects again.
            self._broken = self._broken or dataclasses.replace(error)
        return error

    def _read(self, flags: int = 0) -> bool:
        """Read all answers that have come, after a short wait for the first one."""
        came = False
        try:
            while (frames := self._link.read(AT_ONCE if came else flags)) is not None:
                came = True
                self._take(frames)
        except LostError as lost:
            raise self._note_loss(lost) from lost.__cause__
        except DamagedDataError as error:
            reason = f"sent an answer that cannot be read: {error}"
            raise self._break(reason, IncompatibleReceiverError) from error
        except BaseException:
            # Ctrl-C may come after an answer was read and before it was noted.
            self._abandon("did not answer before the call was interrupted")
            raise
        return came

    def _take(self, frames: list[bytes]) -> None:
        reply = read_reply(frames[0])
        if isinstance(reply, Ack) and reply.stage == "rejected" and not reply.number:
            # The receiver could not read the number, and ignores this connection from now on.
            raise self._break(
                f"cannot read this producer's messages: {reply.reason}",
                IncompatibleReceiverError,
            )
        self._in_flight.note(reply, frames)

    def listen(self) -> None:
        """Read the answers that have come, so that the counters include them."""
        with self._lock:
            if self._broken is None:
                self._read(AT_ONCE)

    def _check_alive(self) -> None:
        try:
            self._link.check()
        except LostError as lost:
            raise self._note_loss(lost) from lost.__cause__
        except BaseException:  # Ctrl-C, perhaps in the middle of an event of the monitor
            self._abandon("did not answer before the call was interrupted")
            raise

    def _note_loss(self, lost: LostError) -> ReceiverError:
        """Remember that the receiver has gone. Return the error, with the end of its log."""
        how, log = explain_end(self.endpoint) if self._broken is None else ("", "")
        return self._break(f"{lost}: {how}" if how else str(lost), advice=log)

    def _break(
        self,
        reason: str,
        kind: type[ReceiverError] = ReceiverUnavailableError,
        advice: str = "",
    ) -> ReceiverError:
        """Remember that the connection is lost. Return an error with the first reason."""
        self._is_lost = True
        self._broken = self._broken or kind(self.backend, self.endpoint.title, reason, advice)
        return self._copy_error(self._broken)

    def _abandon(self, reason: str) -> None:
        """Stop using the connection, except to say goodbye. The first reason is kept."""
        self._broken = self._broken or ReceiverUnavailableError(
            self.backend, self.endpoint.title, reason
        )

    @staticmethod
    def _copy_error(error: ReceiverError) -> ReceiverError:
        # Raise a copy each time. An error that was raised keeps its stack frames alive, and with
        # them the pixels of the caller.
        return dataclasses.replace(error)

    @property
    def is_usable(self) -> bool:
        """Whether values can be sent. If it was just lost, ``raise_failures`` says why."""
        with self._lock:
            if self._broken is None and self._link.has_news:
                try:
                    self._read(AT_ONCE)
                    self._check_alive()
                except ReceiverError as error:
                    if self._in_flight.is_left_alone:
                        self._in_flight.failures.append(error)
            return self._broken is None

    def leave(self, timeout: float) -> None:
        """Wait for the last answers, raise errors that were not raised before, and close."""
        try:
            if self.is_usable:
                self.settle(timeout)
            else:
                self.raise_failures()
        finally:
            self.close()

    def close(self) -> None:
        """Say goodbye and close. Call ``settle`` before, or unacknowledged values may be lost."""
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
