"""What a receiver does with each message of a producer: checked, copied out, queued, answered."""

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
_LEAST_FREE = 0.05  # of the machine's memory: what a viewer leaves to others


class Intake:
    """Takes messages for one viewer. Only the receiver's thread uses it."""

    def __init__(
        self,
        viewer: Viewer,
        endpoint: Endpoint,
        inbox: Inbox,
        sessions: Sessions,
        replies: Replies,
        wake: Callable[[], None],
    ) -> None:
        """``wake`` has the receiver's thread call ``retry_parked``."""
        self.viewer = viewer
        self.endpoint = endpoint
        self.inbox = inbox
        self.has_parked = False
        """Whether messages wait for room in the inbox: any thread may read it."""
        self._sessions = sessions
        self._replies = replies
        self._wake = wake
        self._pool = Pool()
        self._unchecked = _MEMORY_STEP

    def take(self, identity: bytes, frames: list[zmq.Frame]) -> None:
        """Handle what a producer sends together, or keep it until there is room."""
        for index in range(max(len(frames), 1)):
            try:
                header = read_header(frames[index].bytes if frames else b"")
            except DamagedDataError as error:  # whoever sends this speaks something else
                self._sessions.forget(identity)
                self._replies.send(identity, Ack(stage="rejected", reason=str(error)))
                return
            if isinstance(header, Hello):
                descriptor = frames[index].get(zmq.SRCFD)
                self._replies.send(identity, self._greeting(identity, header, descriptor))
                return
            # Behind a header with a slot comes no payload, but the header of another message.
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
        elif session.parked or not self._handled(session, header, payload):
            session.parked.append((header, payload))
            self.has_parked = True

    def _greeting(self, identity: bytes, hello: Hello, descriptor: int) -> Reply:
        self._sessions.note_connections()  # it may have the descriptor of one that has just gone
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
        """Whether a producer may name files: a process of this user, on this machine."""
        is_here = hello.host == host_identity() and self.endpoint.address.startswith("ipc://")
        return self.viewer.opens_sources and is_here

    def _handled(self, session: Session, header: Header, frames: list[zmq.Frame]) -> bool:
        """Do what a message says and answer it; ``False`` if it must wait.

        It waits for room, or until its source is open.
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
                self._replies.received(session.identity, header.number)
            elif isinstance(header, Bye):
                self._sessions.forget(session.identity)
            return True
        except PolystoreError as error:
            reason = error.reason if isinstance(error, UnsupportedDataError) else str(error)
        except MemoryError:
            reason = "the receiver has no memory left for this value"
        except Exception as error:  # a fault of the viewer's must not end its loop
            log.exception("cannot handle message %s", header)
            reason = f"the receiver failed: {type(error).__name__}: {error}"
        refusal = Ack(number=header.number, stage="rejected", reason=reason)
        self._replies.send(session.identity, refusal)
        return True

    def _open(self, session: Session, item: Image) -> bool:
        """Open a source in a thread, and show it when that is done; ``False`` until then."""
        if not self._opens_sources(session.hello):
            raise UnsupportedDataError(
                "this receiver opens no files for this producer: send the pixels"
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
            raise DamagedDataError(f"the number {item.number} is already in use", "message")
        plan = self.viewer.accept(item)
        self._check_memory(item.nbytes)
        partial = Partial(item, self._pool.empty(item.nbytes), plan)
        partial.fill(session.ring, item.slot, min(item.nbytes, PIECE), frames)
        self.inbox.reserve(item.nbytes)
        if partial.is_full:
            self._finish(session, item.number, partial)
        else:
            session.partial[item.number] = partial
            self._replies.received(session.identity, item.number)

    def _go_on(self, session: Session, piece: Piece, frames: list[zmq.Frame]) -> None:
        partial = session.partial.get(piece.of)
        if partial is None:
            raise DamagedDataError(
                f"a piece is of message {piece.of}, which is unknown", "message"
            )
        try:
            partial.check_next(piece)
            partial.fill(session.ring, piece.slot, piece.nbytes, frames)
        except Exception:  # whatever it is: nothing waits for the rest any more
            partial.release(self.inbox)
            del session.partial[piece.of]
            raise
        if partial.is_full:
            del session.partial[piece.of]
            self._finish(session, piece.number, partial)
        else:
            self._replies.received(session.identity, piece.number)

    def _finish(self, session: Session, number: int, partial: Partial) -> None:
        item = partial.item
        try:
            data = _value(item, partial.pixels)
        except Exception:  # whatever it is: the room is free again
            partial.release(self.inbox)
            raise
        self._deliver(session, number, item, data, partial.plan)

    def _deliver(
        self, session: Session, number: int, item: Image | Rois, data: Value, plan: object
    ) -> None:
        shown = item.wait == "shown"
        self._push(Delivery(item, data, session.identity, number, plan, shown))
        # Only now: whoever is answered before could ask, elsewhere, for what is not there yet.
        if not shown:
            self._replies.received(session.identity, number)

    def _push(self, delivery: Delivery) -> None:
        if delivery.awaited:
            self._replies.held.add(delivery)
        for old, stage in self.inbox.push(delivery):
            self._replies.settle(old, stage)
        self.viewer.wake()

    def retry_parked(self) -> None:
        if not self.has_parked:
            return
        self._sessions.release_silent()
        for session in list(self._sessions.by_identity.values()):
            while session.parked:  # not those of one that is forgotten meanwhile
                message = session.parked.popleft()
                if not self._handled(session, *message):
                    session.parked.appendleft(message)
                    break
        self._replies.acknowledge()
        self.has_parked = any(session.parked for session in self._sessions.by_identity.values())

    def _check_memory(self, nbytes: int) -> None:
        """Refuse what would drive the machine out of memory: a stack may grow for days."""
        self._unchecked += nbytes
        if self._unchecked < _MEMORY_STEP:  # looking takes 30 microseconds
            return
        free, total = _memory()
        if total and free - nbytes < total * _LEAST_FREE:
            raise UnsupportedDataError(
                f"the value has {nbytes} bytes, and the viewer's machine has {free >> 20} MiB "
                "of memory left: close layers or windows that you do not need"
            )
        self._unchecked = 0


def _value(item: Image | Rois, pixels: NDArray[np.uint8]) -> NDArray[Any] | list[ROI]:
    if isinstance(item, Image):
        return pixels.view(item.dtype).reshape(item.shape)
    if item.encoding != "json":
        raise DamagedDataError(f"the encoding is {item.encoding!r}, not 'json'", "rois")
    try:
        documents = json.loads(pixels.tobytes())
    except (ValueError, RecursionError) as error:
        raise DamagedDataError(str(error), "rois") from error
    if not isinstance(documents, list) or len(documents) != item.count:
        raise DamagedDataError(f"expected a list of {item.count} ROIs", "rois")
    return [ROI.from_dict(document) for document in documents]


def _memory() -> tuple[int, int]:
    """Return how many bytes of memory are free, and how many there are; 0, 0 if nobody tells."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return 0, 0
    fields = dict(line.split(":", 1) for line in text.splitlines())
    free, total = (int(fields[name].split()[0]) << 10 for name in ("MemAvailable", "MemTotal"))
    return free, total
