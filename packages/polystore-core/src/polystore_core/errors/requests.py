"""The call is wrong: change the call."""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass

from .base import PolystoreError, listed, shown, suggestion
from .data import where

__all__ = [
    "BatchLengthError",
    "DuplicatePathError",
    "InvalidOptionError",
    "NotAPathError",
    "PathOutsideRootError",
    "RequestError",
    "UnknownOptionError",
    "UnsupportedFormatError",
    "UnsupportedOperationError",
]


@dataclass(eq=False)
class RequestError(PolystoreError):
    """The call asks for something that cannot be; nothing was touched."""


@dataclass(eq=False)
class UnknownOptionError(RequestError, TypeError):
    option: str
    owner: str
    known: tuple[str, ...] = ()

    def describe(self) -> str:
        hint = suggestion(self.option, self.known) or "."
        return f"{self.owner} has no option {self.option!r}{hint} Known: {listed(self.known)}"


@dataclass(eq=False)
class InvalidOptionError(RequestError, ValueError):
    option: str
    value: object
    expected: str
    fault: str = ""
    """What is wrong, if it is not the value alone: "scale= needs imagej=True"."""

    def describe(self) -> str:
        if self.fault:
            return self.fault
        return f"{self.option}={shown(self.value)} is not valid: expected {self.expected}"


@dataclass(eq=False)
class NotAPathError(RequestError, TypeError):
    """Something that is not a path is in a path's place. ``got`` is the name of its type."""

    got: str
    advice: str = ""

    def describe(self) -> str:
        advice = f". {self.advice}" if self.advice else ""
        return f"expected a path (str or os.PathLike), got {self.got}{advice}"


@dataclass(eq=False)
class BatchLengthError(RequestError, ValueError):
    values: int
    paths: int

    def describe(self) -> str:
        return f"{self.values} values for {self.paths} paths: pass one path for each value"


@dataclass(eq=False)
class DuplicatePathError(RequestError, ValueError):
    path: str
    first: int
    second: int

    def describe(self) -> str:
        return (
            f"{self.path!r} is the path of two values, [{self.first}] and [{self.second}]: "
            "pass a different path for each value"
        )


@dataclass(eq=False)
class UnsupportedFormatError(RequestError, ValueError):
    path: str
    known: tuple[str, ...] = ()
    backend: str = ""

    def describe(self) -> str:
        name = self.path.rpartition("/")[2]
        stem, dot, suffix = name.rpartition(".")
        if not (dot and stem and suffix):
            trouble, hint = "has no suffix, so polystore cannot choose a format", "."
        else:
            trouble = f"ends in .{suffix}, but no installed format has that suffix"
            # Not by likeness: .czi is not a misspelt .zip, and .lif not a misspelt .tif.
            close = [name for name in self.known if _is_misspelt(suffix.lower(), name)]
            hint = f"; did you mean {close[0]!r}?" if close else "."
        known = ", ".join(f".{name}" for name in self.known) or "none"
        place = where(self.backend, self.path)
        return (
            f"{place} {trouble}{hint} Known: {known}. Or name one with format= of save and load"
        )


@dataclass(eq=False)
class UnsupportedOperationError(RequestError, io.UnsupportedOperation):
    backend: str
    operation: str
    reason: str = ""

    def describe(self) -> str:
        return f"backend {self.backend!r} does not support {self.operation}" + (
            f": {self.reason}" if self.reason else ""
        )


@dataclass(eq=False)
class PathOutsideRootError(RequestError, ValueError):
    backend: str
    path: str
    root: str

    def describe(self) -> str:
        return (
            f"{where(self.backend, self.path)} is outside root {self.root!r}: use a path "
            "inside the root"
        )


def _is_misspelt(suffix: str, known: str) -> bool:
    """Whether letters of ``known`` have changed places, or are doubled or single ("tfi")."""
    return sorted(suffix) == sorted(known) or _single(suffix) == _single(known)


def _single(text: str) -> str:
    return "".join(new for old, new in itertools.pairwise(f" {text}") if old != new)
