"""A viewer, or another receiver, did not accept a delivery."""

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
    """A delivery did not arrive, or it is not known whether it arrived."""

    backend: str
    receiver: str
    """The receiver of the delivery, such as "napari viewer 'default'"."""
    reason: str
    advice: str = ""

    def describe(self) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return f"backend {self.backend!r}: {self.receiver} {self.reason}{advice}"


@dataclass(eq=False)
class ReceiverUnavailableError(ReceiverError, ConnectionError):
    """The receiver is not running, has crashed, or was closed."""

    errno: int = _errno.ENOTCONN


@dataclass(eq=False)
class ReceiverTimeoutError(ReceiverError, TimeoutError):
    """The receiver is running, but it does not answer in time."""

    errno: int = _errno.ETIMEDOUT


@dataclass(eq=False)
class IncompatibleReceiverError(ReceiverError):
    """The receiver uses another major version of the stream protocol."""
