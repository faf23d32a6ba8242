"""A viewer, or another receiver, did not take it."""

from __future__ import annotations

import errno as _errno
from dataclasses import dataclass

from .base import PolystoreError

__all__ = [
    "IncompatibleReceiverError",
    "ReceiverError",
    "ReceiverTimeoutError",
    "ReceiverUnavailableError",
]


@dataclass(eq=False)
class ReceiverError(PolystoreError):
    """A delivery did not arrive, or its arrival is unknown."""

    backend: str
    receiver: str
    """What was meant to take it: "napari viewer 'default'"."""
    reason: str
    advice: str = ""

    def describe(self) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return f"backend {self.backend!r}: {self.receiver} {self.reason}{advice}"


@dataclass(eq=False)
class ReceiverUnavailableError(ReceiverError, ConnectionError):
    errno: int = _errno.ENOTCONN


@dataclass(eq=False)
class ReceiverTimeoutError(ReceiverError, TimeoutError):
    errno: int = _errno.ETIMEDOUT


@dataclass(eq=False)
class IncompatibleReceiverError(ReceiverError):
    pass
