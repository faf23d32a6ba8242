"""Track the producers that have said hello to a receiver, and their unfinished values."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import zmq
from zmq.utils.monitor import parse_monitor_message

from polystore_core.errors import DamagedDataError

from ..discovery import process_runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..wire.messages import Header, Hello, Image, Piece, Rois
    from ..wire.ring import RingReader
    from .inbox import Inbox
    from .opening import Opening
    from .replies import Replies

__all__ = ["Partial", "Session", "Sessions"]

_READABLE = int(zmq.POLLIN)  # as a number: enumerations are slow
_SILENT = 0.5  # seconds without a piece. A running producer needs a thousandth of that.
_MOST_STRANGERS = 64
"""Connections that may stay open without hello. If there are more, the oldest is closed.

A producer says hello after some milliseconds. But a producer that was stopped may say it much
later, so a connection is closed only because of their number, not of its age."""


@dataclass(slots=True)
class Partial:
    """A value whose remaining pieces are still to come."""

    item: Image | Rois
    pixels: NDArray[np.uint8]
    plan: object
    filled: int = 0
    touched: float = 0.0
    """Time of its latest piece, in seconds of the monotonic clock."""
    has_room: bool = True
    """Whether room is reserved for it. It loses the room if its producer is silent and others
    wait."""

    @property
    def is_full(self) -> bool:
        """Whether all pieces have come."""
        return self.filled == self.item.nbytes

    def check_next(self, piece: Piece) -> None:
        """Raise ``DamagedDataError`` unless ``piece`` continues the value."""
        if piece.start != self.filled or not 0 < piece.nbytes <= self.item.nbytes - self.filled:
            raise DamagedDataError(
                f"the piece has bytes {piece.start} to {piece.start + piece.nbytes}; expected "
                f"bytes from {self.filled} to at most {self.item.nbytes}",
                "message",
            )

    def fill(
        self, ring: RingReader | None, slot: int | None, nbytes: int, frames: list[zmq.Frame]
    ) -> None:
        """Copy ``nbytes`` out of the ring, or out of the frame.

        Raises ``DamagedDataError`` if the message does not fit the ring or the frame.
        """
        if slot is not None:
            if ring is None:
                raise DamagedDataError(
                    "the message names a slot, but this connection does not have a ring: send a "
                    "ring message first",
                    "message",
                )
            source = ring.slot(slot, nbytes)
        else:
            if len(frames) != 1 or len(frames[0]) != nbytes:
                raise DamagedDataError(f"expected one frame of {nbytes} bytes", "message")
            source = np.frombuffer(frames[0].buffer, np.uint8)
        # Do not use np.copyto: it releases the interpreter lock, and a busy viewer would then
        # hold the lock for long.
        self.pixels.data[self.filled : self.filled + nbytes] = source.data
        self.filled += nbytes
        self.touched = time.monotonic()

    def release(self, inbox: Inbox) -> None:
        """Give the room back, if it has any."""
        if self.has_room:
            self.has_room = False
            inbox.release(self.item.nbytes)

    def take_room(self, inbox: Inbox) -> bool:
        """Reserve the room again if the inbox has some. Return whether it has room now."""
        if not self.has_room and inbox.may_begin(self.item):
            inbox.reserve(self.item.nbytes)
            self.has_room = True
        return self.has_room


@dataclass(slots=True)
class Session:
    """A producer that has said hello."""

    identity: bytes
    hello: Hello
    started: str
    descriptor: int
    """Descriptor of its socket. The event of a closed connection names this number."""
    ring: RingReader | None = None
    partial: dict[int, Partial] = field(default_factory=dict)
    parked: deque[tuple[Header, list[Any]]] = field(default_factory=deque)
    """Messages that came while there was no room, in order. They are answered later."""
    opening: Opening | None = None
    """The opening of a source, if the first parked message names one."""


class Sessions:
    """The producers of one receiver, by their identity."""

    # It needs no lock: only the receiver's thread uses it.

    def __init__(self, monitor: zmq.Socket[bytes], inbox: Inbox, replies: Replies) -> None:
        """``monitor`` is the socket on which ZeroMQ reports connections that begin and end."""
        self.by_identity: dict[bytes, Session] = {}
        self._accepted: dict[int, int] = {}
        """The inode of each connection by its descriptor, the oldest first."""
        self._copy = socket.socket()
        """A spare socket for ``_shut``, or a copy of the connection that it shut last."""
        self._monitor = monitor
        self._inbox = inbox
        self._replies = replies

    def forget(self, identity: bytes) -> None:
        """End a session: free its room and its ring, and drop its parked messages."""
        session = self.by_identity.pop(identity, None)
        if session is not None:
            for partial in session.partial.values():
                partial.release(self._inbox)
            if session.ring is not None:
                session.ring.close()
            session.parked.clear()
        self._replies.forget(identity)

    def forget_gone(self) -> None:
        """Forget producers that have ended. Call it when all their messages were read."""
        for identity in self._replies.gone:
            session = self.by_identity.get(identity)
            if session is None or not session.parked:
                self.forget(identity)
        self._replies.gone &= self.by_identity.keys()

    def note_connections(self) -> None:
        """Read the events of connections that have begun or ended."""
        while int(self._monitor.getsockopt(zmq.EVENTS)) & _READABLE:
            event = parse_monitor_message(self._monitor.recv_multipart())
            descriptor = int(event["value"])
            if event["event"] == zmq.EVENT_ACCEPTED:
                self._accepted.pop(descriptor, None)
                with suppress(OSError):  # the connection has ended already
                    self._accepted[descriptor] = os.fstat(descriptor).st_ino
                continue
            self._accepted.pop(descriptor, None)
            for identity, session in self.by_identity.items():
                if session.descriptor == descriptor:
                    self._replies.gone.add(identity)

    def close_strangers(self) -> None:
        """Close the oldest connections that have not said hello, if there are too many.

        If they stayed, the process could run out of open files, and producers could not connect.
        """
        excess = len(self._accepted) - len(self.by_identity) - _MOST_STRANGERS
        if excess <= 0:
            return
        known = {session.descriptor for session in self.by_identity.values()}
        strangers = [item for item in self._accepted.items() if item[0] not in known]
        for descriptor, inode in strangers[:-_MOST_STRANGERS]:
            del self._accepted[descriptor]
            self._shut(descriptor, inode)

    def note_dead(self) -> None:
        """Note producers that were killed while one of their children keeps the connection."""
        for identity, session in self.by_identity.items():
            if session.started and not process_runs(session.hello.pid, session.started):
                self._replies.gone.add(identity)

    def release_silent(self) -> None:
        """Free the room of silent producers, because others wait for room.

        A producer that was stopped continues where it was, as soon as there is room again.
        """
        now = time.monotonic()
        for session in self.by_identity.values():
            for partial in session.partial.values():
                if now - partial.touched > _SILENT:
                    partial.release(self._inbox)

    def _shut(self, descriptor: int, inode: int) -> None:
        """End a connection of ZeroMQ. ZeroMQ does not have a call for that, but notices it at once.

        ZeroMQ may already have closed the connection, and another file may have its descriptor.
        So this compares the inode. It works on a copy of the descriptor, so that nothing can
        change between the comparison and the shutdown. The copy replaces the previous copy,
        because the process may be unable to open another file.
        """
        with suppress(OSError):
            os.dup2(descriptor, self._copy.fileno(), inheritable=False)
            if os.fstat(self._copy.fileno()).st_ino == inode:
                self._copy.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the spare socket."""
        self._copy.close()
