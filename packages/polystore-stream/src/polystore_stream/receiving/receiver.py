"""Run a receiver in its own thread, which binds a socket, announces it, and serves it."""

from __future__ import annotations

import atexit
import os
import queue
import secrets
import socket
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Self

import zmq

from polystore_core import file_lock
from polystore_core.errors import InvalidOptionError

from .. import discovery
from ..descriptors import NONE_LEFT, Gate, spare_descriptors
from ..discovery import Endpoint, check_name, host_identity
from ..wire.messages import PIECE, Ack
from .inbox import Inbox
from .intake import Intake
from .replies import Replies
from .sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..wire.messages import Stage
    from .viewer import Delivery, Viewer

__all__ = ["Receiver"]

_LARGEST_FRAME = 4 * PIECE
_BURST = 64  # messages that are read before other work gets its turn
_AT_ONCE, _READABLE = int(zmq.NOBLOCK), int(zmq.POLLIN)  # as numbers: enumerations are slow
_BACKLOG = 1024  # connections that may wait for ZeroMQ to accept them
_READ_SOON = 0.05  # seconds in which a producer reads its last answer
_LOOK = 0.1  # seconds between two checks of dead producers and open files, which send no event


class Receiver:
    """Receive the messages of producers, for one viewer.

    By default only processes of this user on this machine find the receiver. With ``listen``,
    producers of other machines can connect. For example, "tcp://0.0.0.0:5555" listens on a port of
    every network. Such a connection is always encrypted, and ``connection_file`` holds the key.

    Args:
        viewer: It is asked whether a value can be shown, and woken when one has come.
        name: Name of the receiver. Two exclusive receivers of one kind cannot share a name.
        listen: Address of ZeroMQ for producers of other machines.
        max_queued: Bytes that may wait for the viewer.
        exclusive: Whether the name must be free.

    Raises:
        InvalidOptionError: Another running viewer of this kind has the name, or ``listen``
            cannot be bound.
        StorageError: The process cannot open enough files.
    """

    # It has no lock. The thread "polystore-receiver" owns the sockets, _gate, _sessions
    # and _intake. It shares with the viewer's thread:
    #   inbox, which has a lock
    #   _replies, which lists the methods that other threads may call
    #   _intake.has_parked, which other threads only read
    #   _stopping, which is set once
    # Any thread may call _wake.

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
        self._stopping = False
        self._pid = os.getpid()
        try:
            with spare_descriptors("", self.name, f"receive as {viewer.kind}"):
                self._woken, self._waker = socket.socketpair()
                self._woken.setblocking(False)
                self._waker.setblocking(False)
                self._begin_thread(listen, exclusive)
            atexit.register(self.close)  # or producers of a script that just ends wait in vain
        except BaseException:
            self._stopping = True
            if hasattr(self, "_thread"):  # if not, Ctrl-C came before the thread existed
                self._wake()  # the thread then ends by itself, and closes all it opened
            raise

    def _begin_thread(self, listen: str | None, exclusive: bool) -> None:
        # The thread opens everything that must be closed again. Ctrl-C strikes only the main
        # thread, so it cannot interrupt the thread between opening something and noting it.
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
                "name", self.name, f"a free name: {other.title} has this one"
            )

    def _bind(self, listen: str | None) -> Endpoint:
        for option, value in (
            (zmq.ROUTER_MANDATORY, 1),  # or ZeroMQ drops answers to lost producers silently
            (zmq.MAXMSGSIZE, _LARGEST_FRAME),
            (zmq.LINGER, 500),
            (zmq.BACKLOG, _BACKLOG),
            (zmq.RCVHWM, 0),  # no limit is needed: producers wait for answers
        ):
            self._socket.setsockopt(option, value)
        address = listen or discovery.socket_address()
        server_key = self._encrypt() if address.startswith("tcp://") else ""
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

    def _encrypt(self) -> str:
        public, secret = zmq.curve_keypair()
        self._socket.curve_server = True
        self._socket.curve_publickey, self._socket.curve_secretkey = public, secret
        return public.decode("ascii")

    # ── the viewer's thread ──────────────────────────────────────────────────────────────

    def take(self, timeout: float | None = 0.0, most: int | None = None) -> list[Delivery]:
        """Return the deliveries that came since the last call, in order. Settle each one.

        Waits up to ``timeout`` seconds for the first one, or without a limit if it is ``None``.
        Returns at most ``most`` deliveries.
        """
        taken = self.inbox.take(timeout, most)
        if taken and self._intake.has_parked:
            self._wake()  # the thread can handle parked messages: there is room again
        return taken

    def settle(self, delivery: Delivery, stage: Stage, reason: str = "") -> None:
        """Report what happened to a delivery: "shown", "coalesced" or "rejected", for example.

        The producer is told if it waits, if the delivery failed, or if it was never shown.
        """
        self._replies.settle(delivery, stage, reason)

    def answer(
        self, delivery: Delivery, value: Any = None, arrays: Sequence[NDArray[Any]] = ()
    ) -> None:
        """Answer a query with a JSON value and arrays."""
        self._replies.answer(delivery, value, arrays)

    def close(self) -> None:
        """Stop. Producers whose values were not shown get the answer "closed"."""
        if os.getpid() != self._pid:  # a forked child must not close its parent's receiver
            return
        self._stopping = True
        self._wake()
        self._thread.join()  # the thread closes everything, even if Ctrl-C interrupts this wait
        atexit.unregister(self.close)

    @property
    def is_closed(self) -> bool:
        """Whether the receiver was closed, or its thread has failed."""
        return self._stopping

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._stopping else f"{len(self._sessions.by_identity)} producers"
        return f"<Receiver {self.endpoint.title} at {self.endpoint.address}: {state}>"

    # ── the receiver's thread ────────────────────────────────────────────────────────────

    def _wake(self) -> None:
        with suppress(BlockingIOError, OSError):  # full: it is awake. Closed: it has ended.
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
        begun.put(failure)  # after the block: the caller may retry once everything is closed

    def _open(self, opened: ExitStack, listen: str | None, exclusive: bool) -> None:
        """Bind a socket and announce it. ``opened`` closes everything in the opposite order."""
        context = zmq.Context[zmq.Socket[bytes]]()
        opened.callback(context.term)
        self._socket = context.socket(zmq.ROUTER)
        opened.callback(self._socket.close)
        self._monitor = self._socket.get_monitor_socket(
            zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED
        )
        opened.callback(self._monitor.close)
        opened.callback(self._socket.disable_monitor)
        self._replies = Replies(self._socket, self._wake)
        self._sessions = Sessions(self._monitor, self.inbox, self._replies)
        opened.callback(self._sessions.close)
        # The lock makes "is the name free?" and "announce" one step for all processes.
        with file_lock(discovery.runtime_directory() / self.viewer.kind, timeout=10):
            if exclusive:
                self._check_free()
            self.endpoint = self._bind(listen)
            self._intake = Intake(
                self.viewer,
                self.endpoint,
                self.inbox,
                self._sessions,
                self._replies,
                self._wake,
            )
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
            self._replies.send_outgoing()
            self._sessions.note_connections()
            self._receive()
            self._sessions.close_strangers()
            # After _receive: if the viewer took something before the first message was parked,
            # it did not wake this thread, so look for room here.
            self._intake.retry_parked()
            if time.monotonic() - looked > _LOOK:
                looked = time.monotonic()
                self._gate.look()
                self._sessions.note_dead()

    def _receive(self) -> None:
        for _ in range(_BURST):
            try:
                frame = self._socket.recv(_AT_ONCE, copy=False)
            except zmq.Again:
                self._sessions.forget_gone()
                break
            identity, frames = frame.bytes, list[zmq.Frame]()
            while frame.more:
                frame = self._socket.recv(copy=False)
                frames.append(frame)
            self._intake.take(identity, frames)
        self._replies.acknowledge()

    def _say_closed(self) -> None:
        reason, send = "was closed", self._replies.send
        self._replies.send_outgoing()
        for delivery in list(self._replies.held):
            send(delivery.session, Ack(number=delivery.number, stage="closed", reason=reason))
        for session in list(self._sessions.by_identity.values()):
            for header, _ in session.parked:
                send(session.identity, Ack(number=header.number, stage="closed", reason=reason))
            self._sessions.forget(session.identity)
        # When a connection ends, the producer's ZeroMQ drops the answers that were not read yet.
        time.sleep(max(0.0, self._replies.sent_at + _READ_SOON - time.monotonic()))
