"""The socket of a producer: opened, written, read, and whether its receiver is alive."""

from __future__ import annotations

import os
import socket
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

import zmq
from zmq.utils.monitor import parse_monitor_message

from ..descriptors import spare_descriptors
from ..discovery import process_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..discovery import Endpoint

__all__ = ["AT_ONCE", "Link", "LostError", "context"]

_HANDSHAKE = 0.8  # seconds: a save into nothing fails in less than one
_TRIES = 3  # connections, where the receiver ends them before it is greeted
_GREETING = 5.0  # seconds, once: whether ZeroMQ answers at all, before a key is blamed
_SLICE = 20  # milliseconds between two looks at whether the receiver lives
# As numbers: enumerations are slow.
_MORE, AT_ONCE, _READABLE = int(zmq.SNDMORE), int(zmq.NOBLOCK), int(zmq.POLLIN)
_GONE = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_CONNECT_RETRIED
_REFUSED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)

_contexts: dict[int, zmq.Context[zmq.Socket[bytes]]] = {}


def context() -> zmq.Context[zmq.Socket[bytes]]:
    """Return the context of this process: that of a parent must not be touched after a fork."""
    found = _contexts.get(os.getpid())
    if found is None:
        made = zmq.Context[zmq.Socket[bytes]]()
        found = _contexts.setdefault(os.getpid(), made)
        if found is not made:  # another thread was first
            made.term()
    return found


class LostError(Exception):
    """The receiver cannot be reached any more; the text says why."""


class Link:
    """A DEALER socket and its monitor. One thread at a time may use it.

    A receiver of this machine is there as long as its process is, even one that is stopped.
    Of one elsewhere only the connection is known. There are no heartbeats: a process that is
    stopped answers none either. Raises ``StorageError`` where too few files can be opened.
    """

    def __init__(self, endpoint: Endpoint, backend: str, timeout: float) -> None:
        self.endpoint = endpoint
        self.timeout = timeout
        self._is_connected = False
        self._is_refused = False
        self._tries = 1
        self.watches_process = endpoint.is_local and os.name == "posix"
        self._backend = backend
        self._connect()

    def _connect(self) -> None:
        with spare_descriptors(self._backend, "", f"connect to {self.endpoint.title}"):
            self._socket = context().socket(zmq.DEALER)
            try:
                self._begin(self._socket, self.endpoint)
            except BaseException:
                self.close()
                raise

    def _begin(self, socket: zmq.Socket[bytes], endpoint: Endpoint) -> None:
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.IMMEDIATE, 1),  # or 1,000 messages are taken for a receiver that never comes
            (zmq.SNDTIMEO, _SLICE),
            (zmq.RCVTIMEO, _SLICE),
            (zmq.HANDSHAKE_IVL, 0),  # a receiver that is stopped may go on after any time
            (zmq.RECONNECT_IVL, -1),  # another process may listen there: it must be greeted
        ):
            socket.setsockopt(option, value)
        if endpoint.server_key:
            public, secret = zmq.curve_keypair()
            socket.curve_publickey, socket.curve_secretkey = public, secret
            socket.curve_serverkey = endpoint.server_key.encode("ascii")
        self._monitor = socket.get_monitor_socket(zmq.EVENT_CONNECTED | _GONE | _REFUSED)
        self._monitor.setsockopt(zmq.LINGER, 0)
        # Not __del__, which would run after ``close``, too, and costs a Ctrl-C that comes then.
        self._dropped = weakref.finalize(self, _close, socket, self._monitor)
        self._dropped.atexit = False
        self._begun = time.monotonic()
        socket.connect(endpoint.address)

    def write(self, frames: Sequence[bytes | memoryview]) -> None:
        """Send one message. Raises ``LostError``, ``TimeoutError``."""
        first, *others = frames
        start = time.monotonic()
        try:
            while not self._sent(first, _MORE if others else 0):
                self.check()
                waited = time.monotonic() - start
                tried = time.monotonic() - max(start, self._begun)
                if not self._is_connected and tried > _HANDSHAKE:
                    raise LostError("cannot be reached")
                if waited > self.timeout:
                    raise TimeoutError
            for index, frame in enumerate(others, 1):
                self._socket.send(frame, _MORE if index < len(others) else 0)
        except zmq.ZMQError as error:
            raise LostError("cannot be reached") from error

    def _sent(self, frame: bytes | memoryview, flags: int) -> bool:
        try:
            self._socket.send(frame, flags)
        except zmq.Again:
            return False
        return True

    def read(self, flags: int = 0) -> list[bytes] | None:
        """Return the frames of the next message, or ``None``. Raises ``LostError``."""
        try:
            # To ask is cheaper than the exception of a message that is not there.
            if flags & AT_ONCE and not int(self._socket.getsockopt(zmq.EVENTS)) & _READABLE:
                return None
            frames = [self._socket.recv(flags)]
            while self._socket.getsockopt(zmq.RCVMORE):
                frames.append(self._socket.recv())
        except zmq.Again:
            return None
        except zmq.ZMQError as error:
            raise LostError("cannot be reached") from error
        return frames

    @property
    def has_news(self) -> bool:
        """Whether the connection has changed, so that ``check`` may find something."""
        return bool(int(self._monitor.getsockopt(zmq.EVENTS)) & _READABLE)

    def check(self) -> None:
        """Raise ``LostError`` if the receiver has gone."""
        with suppress(zmq.Again):  # the usual case: nothing has happened
            while True:
                news = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
                if news["event"] & _REFUSED:
                    self._is_refused = True  # EVENT_DISCONNECTED follows
                elif news["event"] & _GONE and self._is_refused:
                    self._try_again()
                elif news["event"] & _GONE and self._is_connected:
                    raise LostError("was closed, or it died")
                elif news["event"] & _GONE:
                    raise LostError(
                        "accepts no connection: it is closing, or has too many open files"
                    )
                else:
                    self._is_connected = True
        endpoint = self.endpoint
        if self.watches_process and not process_runs(endpoint.pid, endpoint.started):
            raise LostError("died")

    def _try_again(self) -> None:
        """Connect again to a receiver that has ended the connection before it was greeted.

        It ends those of another key. And it ends the oldest where there are too many that do not
        greet, perhaps that of a producer which was stopped for a while. Raises ``LostError``.
        """
        if self._tries < _TRIES:
            self._tries += 1
            self._is_connected = self._is_refused = False
            # A new socket: the old one still forgets its connection, and with it every other
            # one to the same address, as soon as ZeroMQ's thread comes to that.
            self.close()
            self._connect()
        elif self.endpoint.address.startswith("tcp://") and _greets(self.endpoint.address):
            raise LostError("rejected the connection: its key is not the one in the file")
        else:
            raise LostError(
                "closed the connection before a greeting: it has too many connections, or "
                "something else listens at its address (a tunnel that leads nowhere)"
            )

    def say_goodbye(self, message: bytes) -> None:
        """Send a last message, as far as that goes in 200 ms."""
        with suppress(zmq.ZMQError):  # it has gone first
            self._socket.setsockopt(zmq.LINGER, 200)
            self._socket.send(message, AT_ONCE)

    @property
    def is_closed(self) -> bool:
        return bool(self._socket.closed)

    def close(self) -> None:
        # Ctrl-C may have come before there was a monitor.
        _close(self._socket, getattr(self, "_monitor", None))
        if hasattr(self, "_dropped"):
            self._dropped.detach()


def _greets(address: str) -> bool:
    """Whether ZeroMQ listens at an address of tcp: it speaks first, whatever key it expects."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _GREETING) as asked:
            return asked.recv(1) == b"\xff"
    except (OSError, ValueError):
        return False


def _close(socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes] | None) -> None:
    if not socket.closed:
        # First: an event for a monitor that is closed would stop the thread of ZeroMQ.
        socket.disable_monitor()
        socket.close()
    if monitor is not None:
        monitor.close()
