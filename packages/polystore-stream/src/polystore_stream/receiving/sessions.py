"""A producer that has said hello to a receiver, and its values of which more pieces are to come."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core.errors import DamagedDataError

if TYPE_CHECKING:
    import zmq
    from numpy.typing import NDArray

    from ..wire.messages import Header, Hello, Image, Piece, Rois
    from ..wire.ring import RingReader
    from .inbox import Inbox

__all__ = ["Partial", "Session"]


@dataclass(slots=True)
class Partial:
    """A value of which more pieces are to come."""

    item: Image | Rois
    pixels: NDArray[np.uint8]
    plan: object
    filled: int = 0
    touched: float = 0.0
    """When its latest piece came, in seconds of the monotonic clock."""
    has_room: bool = True
    """Whether room is reserved for it: not while its producer is silent and others wait."""

    @property
    def is_full(self) -> bool:
        return self.filled == self.item.nbytes

    def check_next(self, piece: Piece) -> None:
        if piece.start != self.filled or not 0 < piece.nbytes <= self.item.nbytes - self.filled:
            raise DamagedDataError(
                f"the piece has bytes {piece.start} to {piece.start + piece.nbytes}; expected "
                f"bytes from {self.filled} to at most {self.item.nbytes}",
                "message",
            )

    def fill(
        self, ring: RingReader | None, slot: int | None, nbytes: int, frames: list[zmq.Frame]
    ) -> None:
        """Copy out of the ring, or of the frame."""
        if slot is not None:
            if ring is None:
                raise DamagedDataError(
                    "the message names a slot, but this connection has no ring", "message"
                )
            source = ring.slot(slot, nbytes)
        else:
            if len(frames) != 1 or len(frames[0]) != nbytes:
                raise DamagedDataError(f"expected one frame of {nbytes} bytes", "message")
            source = np.frombuffer(frames[0].buffer, np.uint8)
        # Not np.copyto: it would let go of the interpreter, and a busy viewer holds it for long.
        self.pixels.data[self.filled : self.filled + nbytes] = source.data
        self.filled += nbytes
        self.touched = time.monotonic()

    def release(self, inbox: Inbox) -> None:
        """Give the room back, if it has any."""
        if self.has_room:
            self.has_room = False
            inbox.release(self.item.nbytes)

    def take_room(self, inbox: Inbox) -> bool:
        """Reserve the room again, if there is some; return whether it has room now."""
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
    """Of the socket that it came through: what tells that it has gone."""
    ring: RingReader | None = None
    partial: dict[int, Partial] = field(default_factory=dict)
    parked: deque[tuple[Header, list[Any]]] = field(default_factory=deque)
    """Messages that came while there was no room, in order: answered later."""
