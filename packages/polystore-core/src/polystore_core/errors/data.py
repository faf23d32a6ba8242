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
    """Return the backend and the path, as far as they are known, for a message."""
    if backend and path:
        return f"backend {backend!r}: {path!r}"
    return repr(path) if path else f"backend {backend!r}"


@dataclass(eq=False)
class DataError(PolystoreError):
    """The value or the stored bytes are wrong.

    If you write a format, raise a subclass with the reason only. The backend that calls your format
    adds ``path`` and ``backend``.
    """

    reason: str
    format: str = ""
    path: str = ""
    backend: str = ""
    verb: ClassVar[str] = "is wrong"

    def fault(self) -> str:
        """Return the problem in a few words, before the reason."""
        return self.verb

    def describe(self) -> str:
        place = where(self.backend, self.path) if self.backend or self.path else ""
        # A format raises without path and backend, so each part may be missing.
        kind = f"({self.format})" if self.format else ""
        return " ".join(filter(None, (place, kind, f"{self.fault()}: {self.reason}")))


@dataclass(eq=False)
class UnsupportedDataError(DataError, TypeError):
    """The format, the backend or the framework cannot hold this value. Nothing was written."""

    verb = "cannot hold this value"
    operation: str = "save"
    """The operation that was tried. The backend sets it, and a format need not."""

    def fault(self) -> str:
        tried = _TRIED.get(self.operation)
        return self.verb if tried is None else f"cannot be {tried}"


@dataclass(eq=False)
class RejectedError(UnsupportedDataError):
    """A viewer has received the value and cannot show it. The viewer has not changed."""

    verb = "was rejected"


@dataclass(eq=False)
class UnsupportedFileError(UnsupportedDataError):
    """The file is not damaged, but polystore cannot read its contents. Use another program.

    You do not need to restore, delete or acquire anything again.
    """

    verb = "is whole, but cannot be read here"
    operation: str = "load"

    def fault(self) -> str:
        return self.verb


@dataclass(eq=False)
class UnsupportedMetadataError(UnsupportedDataError):
    """The format can hold the pixels of the image, but not all of its metadata."""

    words: tuple[str, ...] = ()
    """The fields that it cannot hold, as ``ImageMetadata.words()`` names them.

    ("axes",) if the format holds no metadata at all.
    """


@dataclass(eq=False)
class CopyRequiredError(DataError, ValueError):
    """``copy="never"`` was given, and the value cannot be had without a copy."""

    verb = "needs a copy, but copy='never' forbids one"

    def describe(self) -> str:
        return f"{super().describe()}. Pass copy='auto' to allow it"


@dataclass(eq=False)
class DamagedDataError(DataError, ValueError):
    """The stored bytes are damaged: they do not follow the rules of their format."""

    verb = "is damaged"
