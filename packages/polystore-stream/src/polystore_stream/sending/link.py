"""The socket of a producer: open it, write, read, and check whether the receiver is alive."""

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

_HANDSHAKE = 0.8  # seconds to connect, so that a save without a receiver fails within a second
_TRIES = 3  # connections, if the receiver ends them before the greeting
_GREETING = 5.0  # seconds to find out whether ZeroMQ answers at all, before blaming the key
_SLICE = 20  # milliseconds between two checks whether the receiver is alive
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
    """Return the ZeroMQ context of this process. A forked child must not use its parent's."""
    found = _contexts.get(os.getpid())
    if found is None:
        made = zmq.Context[zmq.Socket[bytes]]()
        found = _contexts.setdefault(os.getpid(), made)
        if found is not made:  # another thread was first
            made.term()
    return found


class LostError(Exception):
    """The receiver can no longer be reached. The text says why."""


class Link:
    """A DEALER socket and its monitor. One thread at a time may use it.

    A receiver of this machine counts as alive while its process exists, even if it is stopped.
    For a receiver of another machine, only the connection is known. There are no heartbeats,
    because a stopped process would not answer them either.

    Raises:
        StorageError: The process cannot open enough files.
    """

    # It needs no lock: the Connection calls every method with its _lock held.

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
            # Otherwise ZeroMQ queues 1,000 messages for a receiver that never comes.
            (zmq.IMMEDIATE, 1),
            (zmq.SNDTIMEO, _SLICE),
            (zmq.RCVTIMEO, _SLICE),
            (zmq.HANDSHAKE_IVL, 0),  # a stopped receiver may continue after any time
            (zmq.RECONNECT_IVL, -1),  # a later process at this address must get a new hello
        ):
            socket.setsockopt(option, value)
        if endpoint.server_key:
            public, secret = zmq.curve_keypair()
            socket.curve_publickey, socket.curve_secretkey = public, secret
            socket.curve_serverkey = endpoint.server_key.encode("ascii")
        self._monitor = socket.get_monitor_socket(zmq.EVENT_CONNECTED | _GONE | _REFUSED)
        self._monitor.setsockopt(zmq.LINGER, 0)
        # Not __del__: that would also run after ``close``, and Python swallows a Ctrl-C that
        # comes during __del__.
        self._dropped = weakref.finalize(self, _close, socket, self._monitor)
        self._dropped.atexit = False
        self._begun = time.monotonic()
        socket.connect(endpoint.address)

    def write(self, frames: Sequence[bytes | memoryview]) -> None:
        """Send one message. Raises ``LostError``, ``TimeoutError``."""
        first, *others = frames
        start = time.monotonic()
        try:
            while not self._try_send(first, _MORE if others else 0):
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

    def _try_send(self, frame: bytes | memoryview, flags: int) -> bool:
        try:
            self._socket.send(frame, flags)
        except zmq.Again:
            return False
        return True

    def read(self, flags: int = 0) -> list[bytes] | None:
        """Return the frames of the next message, or ``None``. Raises ``LostError``."""
        try:
            # Asking is cheaper than the exception that recv raises without a message.
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
        """Whether the connection has changed. Then call ``check``."""
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
                    raise LostError("was closed or died")
                elif news["event"] & _GONE:
                    raise LostError(
                        "does not accept connections: it is closing, or has too many open files"
                    )
                else:
                    self._is_connected = True
        endpoint = self.endpoint
        if self.watches_process and not process_runs(endpoint.pid, endpoint.started):
            raise LostError("died")

    def _try_again(self) -> None:
        """Connect again to a receiver that ended the connection before the greeting.

        A receiver ends connections with a wrong key. It also ends the oldest connection if too
        many have not said hello, perhaps because this producer was stopped for a while. Raises
        ``LostError`` after three tries.
        """
        if self._tries < _TRIES:
            self._tries += 1
            self._is_connected = self._is_refused = False
            # Use a new socket. ZeroMQ's thread still has to remove the old connection, and on
            # the old socket it would remove every connection to the same address.
            self.close()
            self._connect()
        elif self.endpoint.address.startswith("tcp://") and _greets(self.endpoint.address):
            raise LostError(
                "rejected the connection: its key is not the one in the connection file: copy "
                "the file again"
            )
        else:
            raise LostError(
                "closed the connection before a greeting: it has too many connections, or "
                "something else listens at its address (a tunnel that leads nowhere)"
            )

    def say_goodbye(self, message: bytes) -> None:
        """Send a last message if that is possible within 200 ms."""
        with suppress(zmq.ZMQError):  # the receiver has gone first
            self._socket.setsockopt(zmq.LINGER, 200)
            self._socket.send(message, AT_ONCE)

    @property
    def is_closed(self) -> bool:
        """Whether the socket is closed."""
        return bool(self._socket.closed)

    def close(self) -> None:
        """Close the socket and its monitor."""
        # There is no monitor yet if Ctrl-C came early.
        _close(self._socket, getattr(self, "_monitor", None))
        if hasattr(self, "_dropped"):
            self._dropped.detach()


def _greets(address: str) -> bool:
    """Whether ZeroMQ listens at an address of tcp. It sends its first byte with any key."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _GREETING) as asked:
            return asked.recv(1) == b"\xff"
    except (OSError, ValueError):
        return False


def _close(socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes] | None) -> None:
    if not socket.closed:
        # Disable the monitor first: an event for a closed monitor would stop ZeroMQ's thread.
        socket.disable_monitor()
        socket.close()
    if monitor is not None:
        monitor.close()
