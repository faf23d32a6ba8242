"""Handle each message of a producer: check it, copy the pixels, queue it, answer it."""

from __future__ import annotations

import hmac
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from polystore_core.errors import DamagedDataError, PolystoreError, UnsupportedDataError
from polystore_core.rois import ROI

from ..discovery import host_identity, process_start
from ..wire.messages import (
    PIECE,
    PROTOCOL,
    Ack,
    Bye,
    Header,
    Hello,
    Image,
    Item,
    Piece,
    Query,
    Ring,
    Rois,
    Welcome,
    protocol_fault,
    read_header,
)
from ..wire.ring import RingReader
from .memory import Pool
from .opening import Opening
from .sessions import Partial, Session
from .viewer import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from ..discovery import Endpoint
    from ..wire.messages import Reply
    from .inbox import Inbox
    from .replies import Replies
    from .sessions import Sessions
    from .viewer import Value, Viewer

__all__ = ["Intake"]

log = logging.getLogger("polystore.stream")

_MEMORY_STEP = 16 << 20
_LEAST_FREE = 0.05  # share of the machine's memory that a viewer leaves to other programs


class Intake:
    """Take messages for one viewer."""

    # It needs no lock: only the receiver's thread uses it. Other threads only read has_parked,
    # and a stale value costs at most one wake-up too many or one retry later.

    def __init__(
        self,
        viewer: Viewer,
        endpoint: Endpoint,
        inbox: Inbox,
        sessions: Sessions,
        replies: Replies,
        wake: Callable[[], None],
    ) -> None:
        """``wake`` makes the receiver's thread call ``retry_parked``. Any thread may call it."""
        self.viewer = viewer
        self.endpoint = endpoint
        self.inbox = inbox
        self.has_parked = False
        """Whether messages wait for room in the inbox. Any thread may read it."""
        self._sessions = sessions
        self._replies = replies
        self._wake = wake
        self._pool = Pool()
        self._unchecked = _MEMORY_STEP

    def take(self, identity: bytes, frames: list[zmq.Frame]) -> None:
        """Handle the frames of one message. Park the message if there is no room for it.

        ``frames`` may hold several messages that a producer sent together.
        """
        for index in range(max(len(frames), 1)):
            try:
                header = read_header(frames[index].bytes if frames else b"")
            except DamagedDataError as error:  # the sender does not speak this protocol
                self._sessions.forget(identity)
                self._replies.send(identity, Ack(stage="rejected", reason=str(error)))
                return
            if isinstance(header, Hello):
                descriptor = frames[index].get(zmq.SRCFD)
                self._replies.send(identity, self._greet(identity, header, descriptor))
                return
            # After a header with a slot, the next frame is another header, not a payload.
            has_slot = isinstance(header, Item | Piece) and header.slot is not None
            self._take(identity, header, [] if has_slot else frames[index + 1 :])
            if not has_slot:
                return

    def _take(self, identity: bytes, header: Header, payload: list[zmq.Frame]) -> None:
        session = self._sessions.by_identity.get(identity)
        if session is None:
            reason = "the first message must be hello"
            self._replies.send(
                identity, Ack(number=header.number, stage="rejected", reason=reason)
            )
        elif session.parked or not self._handle(session, header, payload):
            session.parked.append((header, payload))
            self.has_parked = True

    def _greet(self, identity: bytes, hello: Hello, descriptor: int) -> Reply:
        # The producer may have the descriptor of one that has just gone. If that event came
        # after the new session, it would end the new session.
        self._sessions.note_connections()
        self._sessions.forget(identity)
        self._replies.gone.discard(identity)
        reason = protocol_fault(receiver=PROTOCOL, producer=hello.protocol)
        if not reason and not hmac.compare_digest(
            hello.token.encode(), self.endpoint.token.encode()
        ):
            reason = "the token is wrong: read the receiver's connection file again"
        if reason:
            return Ack(number=hello.number, stage="rejected", reason=reason)
        is_here = hello.host == host_identity()
        started = process_start(hello.pid) if is_here else ""
        self._sessions.by_identity[identity] = Session(identity, hello, started, descriptor)
        return Welcome(
            number=hello.number,
            protocol=PROTOCOL,
            kind=self.viewer.kind,
            name=self.endpoint.name,
            version=self.viewer.version,
            pid=os.getpid(),
            opens_sources=self._opens_sources(hello),
        )

    def _opens_sources(self, hello: Hello) -> bool:
        """Whether a producer may name files: it must be a process of this user and machine.

        If others could, they would make the viewer read files that they cannot read themselves.
        """
        is_here = hello.host == host_identity() and self.endpoint.address.startswith("ipc://")
        return self.viewer.opens_sources and is_here

    def _handle(self, session: Session, header: Header, frames: list[zmq.Frame]) -> bool:
        """Handle one message, and answer it. Return ``False`` if it must wait.

        A message waits for room in the inbox, or until its source is open.
        """
        try:
            if isinstance(header, Image) and header.source is not None:
                return self._open(session, header)
            if isinstance(header, Image | Rois):
                if not self.inbox.may_begin(header):
                    return False
                self._begin(session, header, frames)
            elif isinstance(header, Piece):
                partial = session.partial.get(header.of)
                if partial is not None and not partial.take_room(self.inbox):
                    return False
                self._go_on(session, header, frames)
            elif isinstance(header, Query):
                self._push(
                    Delivery(header, None, session.identity, header.number, None, awaited=True)
                )
            elif isinstance(header, Ring):
                session.ring = RingReader(header)
                self._replies.note_received(session.identity, header.number)
            elif isinstance(header, Bye):
                self._sessions.forget(session.identity)
            return True
        except PolystoreError as error:
            reason = error.reason if isinstance(error, UnsupportedDataError) else str(error)
        except MemoryError:
            reason = "the receiver has no memory left for this value"
        except Exception as error:  # a bug of the viewer must not end the receiver's loop
            log.exception("cannot handle message %s", header)
            reason = f"the receiver failed: {type(error).__name__}: {error}"
        refusal = Ack(number=header.number, stage="rejected", reason=reason)
        self._replies.send(session.identity, refusal)
        return True

    def _open(self, session: Session, item: Image) -> bool:
        """Open a source in a thread, and deliver it when that is done. ``False`` until then."""
        if not self._opens_sources(session.hello):
            raise UnsupportedDataError(
                "this receiver does not open files for this producer: send the pixels"
            )
        if session.opening is None:
            session.opening = Opening(item, self._wake)
        if not session.opening.is_done:
            return False
        opening, session.opening = session.opening, None
        data = opening.result()
        plan = self.viewer.accept(item)
        self._deliver(session, item.number, item, data, plan)
        return True

    def _begin(self, session: Session, item: Image | Rois, frames: list[zmq.Frame]) -> None:
        if item.number in session.partial:
            raise DamagedDataError(
                f"message number {item.number} is already in use: use each number once",
                "message",
            )
        plan = self.viewer.accept(item)
        self._check_memory(item.nbytes)
        partial = Partial(item, self._pool.empty(item.nbytes), plan)
        partial.fill(session.ring, item.slot, min(item.nbytes, PIECE), frames)
        self.inbox.reserve(item.nbytes)
        if partial.is_full:
            self._finish(session, item.number, partial)
        else:
            session.partial[item.number] = partial
            self._replies.note_received(session.identity, item.number)

    def _go_on(self, session: Session, piece: Piece, frames: list[zmq.Frame]) -> None:
        partial = session.partial.get(piece.of)
        if partial is None:
            raise DamagedDataError(
                f"a piece names message {piece.of}, which has no value on its way", "message"
            )
        try:
            partial.check_next(piece)
            partial.fill(session.ring, piece.slot, piece.nbytes, frames)
        except Exception:  # of any kind: the rest of the value is useless now
            partial.release(self.inbox)
            del session.partial[piece.of]
            raise
        if partial.is_full:
            del session.partial[piece.of]
            self._finish(session, piece.number, partial)
        else:
            self._replies.note_received(session.identity, piece.number)

    def _finish(self, session: Session, number: int, partial: Partial) -> None:
        item = partial.item
        try:
            data = _value(item, partial.pixels)
        except Exception:  # of any kind: free the room, or it would stay reserved for ever
            partial.release(self.inbox)
            raise
        self._deliver(session, number, item, data, partial.plan)

    def _deliver(
        self, session: Session, number: int, item: Image | Rois, data: Value, plan: object
    ) -> None:
        shown = item.wait == "shown"
        self._push(Delivery(item, data, session.identity, number, plan, shown))
        # Answer after the push: a producer that has its answer may ask for the value at once,
        # perhaps through another connection, and it must be in the inbox by then.
        if not shown:
            self._replies.note_received(session.identity, number)

    def _push(self, delivery: Delivery) -> None:
        if delivery.awaited:
            self._replies.held.add(delivery)
        for old, stage in self.inbox.push(delivery):
            self._replies.settle(old, stage)
        self.viewer.wake()

    def retry_parked(self) -> None:
        """Handle parked messages for which there is room now, in their order."""
        if not self.has_parked:
            return
        self._sessions.release_silent()
        for session in list(self._sessions.by_identity.values()):
            while session.parked:  # empty if handling a message has forgotten the session
                message = session.parked.popleft()
                if not self._handle(session, *message):
                    session.parked.appendleft(message)
                    break
        self._replies.acknowledge()
        self.has_parked = any(session.parked for session in self._sessions.by_identity.values())

    def _check_memory(self, nbytes: int) -> None:
        """Refuse a value that the machine has no memory for: a stack may grow for days.

        Raises ``UnsupportedDataError``. Otherwise the system could kill the viewer.
        """
        self._unchecked += nbytes
        if self._unchecked < _MEMORY_STEP:  # reading /proc/meminfo takes 30 microseconds
            return
        free, total = _memory()
        if total and free - nbytes < total * _LEAST_FREE:
            raise UnsupportedDataError(
                f"the value has {nbytes} bytes, but the viewer's machine has only {free >> 20} "
                "MiB of memory left: close layers or windows that you do not need"
            )
        self._unchecked = 0


def _value(item: Image | Rois, pixels: NDArray[np.uint8]) -> NDArray[Any] | list[ROI]:
    if isinstance(item, Image):
        return pixels.view(item.dtype).reshape(item.shape)
    if item.encoding != "json":
        raise DamagedDataError(f"expected the encoding 'json', got {item.encoding!r}", "rois")
    try:
        documents = json.loads(pixels.tobytes())
    except (ValueError, RecursionError) as error:
        raise DamagedDataError(str(error), "rois") from error
    if not isinstance(documents, list) or len(documents) != item.count:
        raise DamagedDataError(f"expected a list of {item.count} ROIs", "rois")
    return [ROI.from_dict(document) for document in documents]


def _memory() -> tuple[int, int]:
    """Return how many bytes of memory are free, and how many there are. 0, 0 if unknown."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return 0, 0
    fields = dict(line.split(":", 1) for line in text.splitlines())
    free, total = (int(fields[name].split()[0]) << 10 for name in ("MemAvailable", "MemTotal"))
    return free, total
