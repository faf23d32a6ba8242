"""The receiver's side: a thread that takes messages in, copies pixels out, and acknowledges."""

from __future__ import annotations

import atexit
import hmac
import json
import logging
import os
import queue
import secrets
import socket
import threading
import time
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import zmq
from msgspec.structs import replace
from zmq.utils.monitor import parse_monitor_message

from polystore_core import file_lock
from polystore_core.errors import (
    DamagedDataError,
    InvalidOptionError,
    PolystoreError,
    UnsupportedDataError,
)
from polystore_core.rois import ROI

from .. import discovery
from ..descriptors import NONE_LEFT, Gate, spare_descriptors
from ..discovery import Endpoint, check_name, host_identity, process_runs
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
    Item,
    Piece,
    Query,
    Ring,
    Rois,
    Welcome,
    encode,
    read_header,
)
from ..wire.ring import RingReader
from .inbox import Inbox
from .memory import Pool
from .sessions import Partial, Session
from .viewer import Delivery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..wire.messages import Reply, Stage
    from .viewer import Viewer

__all__ = ["Receiver"]

log = logging.getLogger("polystore.stream")

_LARGEST_FRAME = 4 * PIECE
_BURST = 64  # messages between two looks at everything else
_TOGETHER = 4  # messages that one answer acknowledges
_AT_ONCE, _READABLE = int(zmq.NOBLOCK), int(zmq.POLLIN)  # as numbers: enumerations are slow
_READ_SOON = 0.05  # seconds
_LOOK = 0.1  # seconds between two looks at what tells no one: dead producers, open files
_SILENT = 0.5  # seconds: a producer sends the next piece in a thousandth of that
_MEMORY_STEP = 16 << 20
_LEAST_FREE = 0.05  # of the machine's memory: what a viewer leaves to others


class Receiver:
    """Takes in what producers send, for one viewer.

    ``listen`` is an address of ZeroMQ for producers elsewhere ("tcp://0.0.0.0:5555"; tcp is
    always encrypted, and ``connection_file`` is the key to it); by default only this user's
    processes on this machine find it. ``max_queued`` bytes wait for the viewer at most.

    Raises ``InvalidOptionError`` for a name that a running viewer of this kind has.
    """

    def __init__(
        self,
        viewer: Viewer,
        name: str = "default",
        *,
        listen: str | None = None,
        max_queued: int = 256 << 20,
        exclusive: bool = True,
    ) -> None:
        self.viewer = viewer
        self.name = check_name("name", name)
        self.inbox = Inbox(max_queued)
        self._pool = Pool()
        self._sessions: dict[bytes, Session] = {}
        self._outgoing: deque[tuple[bytes, Reply, Sequence[Any]]] = deque()
        self._received: dict[bytes, list[int]] = {}
        self._gone: set[bytes] = set()
        self._held: set[Delivery] = set()
        self._parked = False
        self._stopping = False
        self._answered = 0.0
        self._unchecked = _MEMORY_STEP
        self._pid = os.getpid()
        try:
            with spare_descriptors("", self.name, f"receive as {viewer.kind}"):
                self._woken, self._waker = socket.socketpair()
                self._woken.setblocking(False)
                self._waker.setblocking(False)
                self._begin_thread(listen, exclusive)
            atexit.register(self.close)  # a script that just ends has told nobody
        except BaseException:
            self._stopping = True
            if hasattr(self, "_thread"):  # else Ctrl-C came before it
                self._wake()  # it ends by itself
            raise

    def _begin_thread(self, listen: str | None, exclusive: bool) -> None:
        # The thread opens all that must be closed again: Ctrl-C strikes only the main thread.
        begun = queue.SimpleQueue[BaseException | None]()
        self._thread = threading.Thread(
            target=self._run,
            args=(begun, listen, exclusive),
            name="polystore-receiver",
            daemon=True,
        )
        self._thread.start()
        failure = begun.get()
        if failure is not None:
            raise failure

    def _check_free(self) -> None:
        for other in discovery.find(self.viewer.kind, self.name):
            raise InvalidOptionError(
                "name", self.name, f"a name that is free; {other.title} has this name"
            )

    def _bound(self, listen: str | None) -> Endpoint:
        for option, value in (
            (zmq.ROUTER_MANDATORY, 1),  # a producer that is gone is an error, not silence
            (zmq.MAXMSGSIZE, _LARGEST_FRAME),
            (zmq.LINGER, 500),
            (zmq.RCVHWM, 0),  # producers wait for answers: what is on its way is bounded
        ):
            self._socket.setsockopt(option, value)
        address = listen or discovery.socket_address()
        server_key = self._encrypted() if address.startswith("tcp://") else ""
        try:
            self._socket.bind(
                address.replace(":0", ":*") if address.endswith(":0") else address
            )
        except zmq.ZMQError as error:
            if error.errno in NONE_LEFT:
                raise
            raise InvalidOptionError(
                "listen", address, f"an address that can be bound ({error.strerror})"
            ) from error
        bound = self._socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(bound, bytes)
        return Endpoint(
            kind=self.viewer.kind,
            name=self.name,
            address=bound.rstrip(b"\0")
            .decode()
            .replace("//0.0.0.0:", f"//{socket.gethostname()}:"),
            token=secrets.token_urlsafe(16),
            pid=os.getpid(),
            started=discovery.process_start(os.getpid()),
            since=time.time(),
            server_key=server_key,
            host=host_identity(),
        )

    def _encrypted(self) -> str:
        public, secret = zmq.curve_keypair()
        self._socket.curve_server = True
        self._socket.curve_publickey, self._socket.curve_secretkey = public, secret
        return public.decode("ascii")

    # ── the viewer's thread ──────────────────────────────────────────────────────────────

    def take(self, timeout: float | None = 0.0, most: int | None = None) -> list[Delivery]:
        """Return what came since the last call, in order; settle each one."""
        taken = self.inbox.take(timeout, most)
        if taken and self._parked:
            self._wake()  # there is room again
        return taken

    def settle(self, delivery: Delivery, stage: Stage, reason: str = "") -> None:
        """Say what became of a delivery.

        The producer hears of it if it waits, if it failed, or if it was never shown.
        """
        if delivery.awaited or stage in ("coalesced", "dropped"):
            self._reply(delivery, Ack(number=delivery.number, stage=stage, reason=reason))
        elif stage == "rejected" and isinstance(delivery.item, Item):
            self._reply(delivery, Failure(path=delivery.item.path, reason=reason))

    def answer(
        self, delivery: Delivery, value: Any = None, arrays: Sequence[NDArray[Any]] = ()
    ) -> None:
        """Answer a query with what JSON can hold, and arrays."""
        plain = [np.ascontiguousarray(array) for array in arrays]
        kinds = tuple((array.shape, array.dtype.str) for array in plain)
        frames = [array.reshape(-1).view(np.uint8).data for array in plain]
        answer = Answer(number=delivery.number, value=value, arrays=kinds)
        self._reply(delivery, answer, frames)

    def _reply(self, delivery: Delivery, reply: Reply, frames: Sequence[Any] = ()) -> None:
        self._held.discard(delivery)
        delivery.awaited = False
        self._outgoing.append((delivery.session, reply, frames))
        self._wake()

    def close(self) -> None:
        """Tell the producers, and stop. What was not shown is answered with "closed"."""
        if os.getpid() != self._pid:  # a forked child has no part in it
            return
        self._stopping = True
        self._wake()
        self._thread.join()  # it does all the rest: after Ctrl-C here, too
        atexit.unregister(self.close)

    @property
    def is_closed(self) -> bool:
        return self._stopping

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._stopping else f"{len(self._sessions)} producers"
        return f"<Receiver {self.endpoint.title} at {self.endpoint.address}: {state}>"

    # ── the receiver's thread ────────────────────────────────────────────────────────────

    def _wake(self) -> None:
        with suppress(BlockingIOError, OSError):  # full: it is awake; closed: it has ended
            self._waker.send(b"\0")

    def _run(
        self,
        begun: queue.SimpleQueue[BaseException | None],
        listen: str | None,
        exclusive: bool,
    ) -> None:
        failure: BaseException | None = None
        with ExitStack() as opened:
            opened.callback(self._waker.close)
            opened.callback(self._woken.close)
            try:
                self._open(opened, listen, exclusive)
            except BaseException as error:
                failure = error
            else:
                begun.put(None)
                self._serve()
        begun.put(failure)  # told when all is closed again

    def _open(self, opened: ExitStack, listen: str | None, exclusive: bool) -> None:
        """Bind and announce; what this opens is closed in the opposite order."""
        context = zmq.Context[zmq.Socket[bytes]]()
        opened.callback(context.term)
        self._socket = context.socket(zmq.ROUTER)
        opened.callback(self._socket.close)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        opened.callback(self._monitor.close)
        opened.callback(self._socket.disable_monitor)
        with file_lock(discovery.runtime_directory() / self.viewer.kind, timeout=10):
            if exclusive:
                self._check_free()
            self.endpoint = self._bound(listen)
            transport, _, path = self.endpoint.address.partition("://")
            self._gate = Gate(path if transport == "ipc" else "")
            self._gate.look()
            opened.callback(discovery.remove_socket, self.endpoint)
            opened.callback(self._gate.shut)
            opened.callback(self._say_closed)
            opened.callback(self.inbox.interrupt)
            self.connection_file = discovery.announce(self.endpoint)
            opened.callback(discovery.withdraw, self.connection_file)
        opened.callback(self._set_stopping)

    def _set_stopping(self) -> None:
        self._stopping = True

    def _serve(self) -> None:
        poller = zmq.Poller()
        for waited in (self._socket, self._monitor, self._woken):
            poller.register(waited, zmq.POLLIN)
        looked = time.monotonic()
        while not self._stopping:
            poller.poll(int(_LOOK * 1000))
            with suppress(BlockingIOError):
                self._woken.recv(4096)
            self._send_outgoing()
            self._note_disconnected()
            self._receive()
            # Only now: room that was made before the first was parked has waked nobody.
            self._retry_parked()
            if time.monotonic() - looked > _LOOK:
                looked = time.monotonic()
                self._gate.look()
                self._note_dead()

    def _receive(self) -> None:
        for _ in range(_BURST):
            try:
                frame = self._socket.recv(_AT_ONCE, copy=False)
            except zmq.Again:
                self._forget_gone()
                break
            identity, frames = frame.bytes, list[zmq.Frame]()
            while frame.more:
                frame = self._socket.recv(copy=False)
                frames.append(frame)
            self._on_message(identity, frames)
        self._acknowledge()

    def _on_message(self, identity: bytes, frames: list[zmq.Frame]) -> None:
        try:
            header = read_header(frames[0].bytes if frames else b"")
        except DamagedDataError as error:  # whoever sends this speaks something else
            self._forget(identity)
            self._send(identity, Ack(stage="rejected", reason=str(error)))
            return
        session = self._sessions.get(identity)
        if isinstance(header, Hello):
            self._send(identity, self._greeting(identity, header, frames[0].get(zmq.SRCFD)))
        elif session is None:
            reason = "the first message must be hello"
            self._send(identity, Ack(number=header.number, stage="rejected", reason=reason))
        elif session.parked or not self._handled(session, header, frames[1:]):
            session.parked.append((header, frames[1:]))
            self._parked = True

    def _greeting(self, identity: bytes, hello: Hello, descriptor: int) -> Reply:
        self._note_disconnected()  # it may have the descriptor of one that has just gone
        self._forget(identity)
        self._gone.discard(identity)
        reason = ""
        if hello.protocol[0] != PROTOCOL[0]:
            ours, theirs = (".".join(map(str, p)) for p in (PROTOCOL, hello.protocol))
            reason = f"protocol {theirs} is not supported: this receiver uses {ours}"
        elif not hmac.compare_digest(hello.token.encode(), self.endpoint.token.encode()):
            reason = "the token is wrong: read the receiver's connection file again"
        if reason:
            return Ack(number=hello.number, stage="rejected", reason=reason)
        is_here = hello.host == host_identity()
        started = discovery.process_start(hello.pid) if is_here else ""
        self._sessions[identity] = Session(identity, hello, started, descriptor)
        return Welcome(
            number=hello.number,
            protocol=PROTOCOL,
            kind=self.viewer.kind,
            name=self.name,
            version=self.viewer.version,
            pid=os.getpid(),
        )

    def _handled(self, session: Session, header: Header, frames: list[zmq.Frame]) -> bool:
        """Do what a message says and answer it; ``False`` if it must wait for room."""
        try:
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
                self._received_now(session, header.number)
            elif isinstance(header, Bye):
                self._forget(session.identity)
            return True
        except PolystoreError as error:
            reason = error.reason if isinstance(error, UnsupportedDataError) else str(error)
        except MemoryError:
            reason = "the receiver has no memory left for this value"
        except Exception as error:  # a fault of the viewer's must not end its loop
            log.exception("cannot handle message %s", header)
            reason = f"the receiver failed: {type(error).__name__}: {error}"
        refusal = Ack(number=header.number, stage="rejected", reason=reason)
        self._send(session.identity, refusal)
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
            self._received_now(session, item.number)

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
            self._received_now(session, piece.number)

    def _finish(self, session: Session, number: int, partial: Partial) -> None:
        item = partial.item
        try:
            data = _value(item, partial.pixels)
        except Exception:  # whatever it is: the room is free again
            partial.release(self.inbox)
            raise
        shown = item.wait == "shown"
        self._push(Delivery(item, data, session.identity, number, partial.plan, shown))
        # Only now: whoever is answered before could ask, elsewhere, for what is not there yet.
        if not shown:
            self._received_now(session, number)

    def _push(self, delivery: Delivery) -> None:
        if delivery.awaited:
            self._held.add(delivery)
        for old, stage in self.inbox.push(delivery):
            self.settle(old, stage)
        self.viewer.wake()

    def _received_now(self, session: Session, number: int) -> None:
        """Acknowledge, together with what else comes in this burst: an answer costs a wake-up."""
        numbers = self._received.setdefault(session.identity, [])
        numbers.append(number)
        if len(numbers) >= _TOGETHER:
            self._acknowledge()

    def _acknowledge(self) -> None:
        received, self._received = self._received, {}  # to send may be to forget one of them
        for identity, (number, *others) in received.items():
            self._send(identity, Ack(number=number, stage="received", others=tuple(others)))

    def _retry_parked(self) -> None:
        if not self._parked:
            return
        self._release_silent()
        for session in list(self._sessions.values()):
            while session.parked:  # not those of one that is forgotten meanwhile
                message = session.parked.popleft()
                if not self._handled(session, *message):
                    session.parked.appendleft(message)
                    break
        self._acknowledge()
        self._parked = any(session.parked for session in self._sessions.values())

    def _release_silent(self) -> None:
        """Give the room of producers that send nothing to others, who wait for it.

        A producer that was stopped goes on where it was, once there is room again.
        """
        now = time.monotonic()
        for session in self._sessions.values():
            for partial in session.partial.values():
                if now - partial.touched > _SILENT:
                    partial.release(self.inbox)

    def _send_outgoing(self) -> None:
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
            self._send(identity, reply, frames)

    def _send(self, identity: bytes, reply: Reply, frames: Sequence[Any] = ()) -> None:
        self._answered = time.monotonic()
        try:
            self._socket.send_multipart([identity, encode(reply), *frames], zmq.NOBLOCK)
        except zmq.ZMQError:  # it is gone, or reads no answers
            self._gone.add(identity)

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

    def _forget(self, identity: bytes) -> None:
        session = self._sessions.pop(identity, None)
        if session is not None:
            for partial in session.partial.values():
                partial.release(self.inbox)
            if session.ring is not None:
                session.ring.close()
            session.parked.clear()
        self._received.pop(identity, None)

    def _forget_gone(self) -> None:
        """Let go of producers that have ended, now that all which they sent before was read."""
        for identity in self._gone:
            session = self._sessions.get(identity)
            if session is None or not session.parked:
                self._forget(identity)
        self._gone &= self._sessions.keys()

    def _note_disconnected(self) -> None:
        """Learn who has gone without a word, or has lost the connection and comes by another."""
        while int(self._monitor.getsockopt(zmq.EVENTS)) & _READABLE:
            descriptor = parse_monitor_message(self._monitor.recv_multipart())["value"]
            for identity, session in self._sessions.items():
                if session.descriptor == descriptor:
                    self._gone.add(identity)

    def _note_dead(self) -> None:
        """Learn who was killed while a child of it holds the connection."""
        for identity, session in self._sessions.items():
            if session.started and not process_runs(session.hello.pid, session.started):
                self._gone.add(identity)

    def _say_closed(self) -> None:
        reason = "was closed"
        self._send_outgoing()
        for delivery in list(self._held):
            self._send(
                delivery.session, Ack(number=delivery.number, stage="closed", reason=reason)
            )
        for session in list(self._sessions.values()):
            for header, _ in session.parked:
                refusal = Ack(number=header.number, stage="closed", reason=reason)
                self._send(session.identity, refusal)
            self._forget(session.identity)
        # A producer's ZeroMQ forgets what it has not read when the connection goes.
        time.sleep(max(0.0, self._answered + _READ_SOON - time.monotonic()))


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


def _is_alike(reply: Ack, other: Reply) -> bool:
    """Whether one answer can say both, as for the many images that one took the place of."""
    return isinstance(other, Ack) and (reply.stage, reply.reason) == (other.stage, other.reason)


def _memory() -> tuple[int, int]:
    """Return how many bytes of memory are free, and how many there are; 0, 0 if nobody tells."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return 0, 0
    fields = dict(line.split(":", 1) for line in text.splitlines())
    free, total = (int(fields[name].split()[0]) << 10 for name in ("MemAvailable", "MemTotal"))
    return free, total
