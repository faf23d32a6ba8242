"""The value or the stored bytes are wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import PolystoreError

__all__ = [
    "CopyRequiredError",
    "DamagedDataError",
    "DataError",
    "RejectedError",
    "UnsupportedDataError",
    "UnsupportedFileError",
    "UnsupportedMetadataError",
    "where",
]


_TRIED = {"load": "loaded", "open": "opened", "describe": "described", "stack": "stacked"}


def where(backend: str, path: str) -> str:
    if backend and path:
        return f"backend {backend!r}: {path!r}"
    return repr(path) if path else f"backend {backend!r}"


@dataclass(eq=False)
class DataError(PolystoreError):
    """A value or stored bytes that cannot be what is asked.

    A format raises it with a reason alone; the backend that called the format adds ``path``
    and ``backend``.
    """

    reason: str
    format: str = ""
    path: str = ""
    backend: str = ""
    verb: ClassVar[str] = "is wrong"

    def fault(self) -> str:
        return self.verb

    def describe(self) -> str:
        place = where(self.backend, self.path) if self.backend or self.path else ""
        kind = f"({self.format})" if self.format else ""
        return " ".join(filter(None, (place, kind, f"{self.fault()}: {self.reason}")))


@dataclass(eq=False)
class UnsupportedDataError(DataError, TypeError):
    verb = "cannot hold this value"
    operation: str = "save"
    """What was tried: a format raises it without, the backend knows."""

    def fault(self) -> str:
        tried = _TRIED.get(self.operation)
        return self.verb if tried is None else f"cannot be {tried}"


@dataclass(eq=False)
class RejectedError(UnsupportedDataError):
    """A viewer refused the value when it had come; nothing that it shows has changed."""

    verb = "was rejected"


@dataclass(eq=False)
class UnsupportedFileError(UnsupportedDataError):
    """The file is whole, but polystore does not read what it holds: another program does.

    Nothing needs to be restored, deleted or acquired again.
    """

    verb = "is whole, but cannot be read here"
    operation: str = "load"

    def fault(self) -> str:
        return self.verb


@dataclass(eq=False)
class UnsupportedMetadataError(UnsupportedDataError):
    """The pixels fit, but not all that the image says of itself. ``words`` names the rest.

    They are those of ``ImageMetadata.words()``, and ("axes",) if no word has a place.
    """

    words: tuple[str, ...] = ()


@dataclass(eq=False)
class CopyRequiredError(DataError, ValueError):
    verb = "needs a copy, but copy='never' forbids one"

    def describe(self) -> str:
        return f"{super().describe()}. Pass copy='auto' to allow it"


@dataclass(eq=False)
class DamagedDataError(DataError, ValueError):
    verb = "is damaged"
