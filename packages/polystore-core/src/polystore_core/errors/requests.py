"""The call is wrong: change the call."""

from __future__ import annotations

import io
import itertools
from dataclasses import dataclass

from .base import PolystoreError, join_names, show_value, suggest_name
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
    """The call is wrong. Nothing was read, written or sent."""


@dataclass(eq=False)
class UnknownOptionError(RequestError, TypeError):
    """The backend or the format does not have this option. The text suggests a similar one."""

    option: str
    owner: str
    known: tuple[str, ...] = ()

    def describe(self) -> str:
        hint = suggest_name(self.option, self.known) or "."
        return (
            f"{self.owner} has no option {self.option!r}{hint} Known: {join_names(self.known)}"
        )


@dataclass(eq=False)
class InvalidOptionError(RequestError, ValueError):
    """An option or an argument has a value that is not valid.

    ::

        >>> print(InvalidOptionError("copy", "yes", "one of auto, always, never"))
        copy='yes' is not valid: expected one of auto, always, never
    """

    option: str
    value: object
    expected: str
    fault: str = ""
    """The whole text, if the value alone is not the problem: "scale= needs imagej=True"."""

    def describe(self) -> str:
        if self.fault:
            return self.fault
        return f"{self.option}={show_value(self.value)} is not valid: expected {self.expected}"


@dataclass(eq=False)
class NotAPathError(RequestError, TypeError):
    """An argument is not a path. ``got`` is the name of its type."""

    got: str
    advice: str = ""

    def describe(self) -> str:
        advice = f". {self.advice}" if self.advice else ""
        return f"expected a path (str or os.PathLike), got {self.got}{advice}"


@dataclass(eq=False)
class BatchLengthError(RequestError, ValueError):
    """A batch has more values than paths, or fewer."""

    values: int
    paths: int

    def describe(self) -> str:
        return f"{self.values} values for {self.paths} paths: pass one path for each value"


@dataclass(eq=False)
class DuplicatePathError(RequestError, ValueError):
    """Two values of a batch have the same path. ``first`` and ``second`` are their indices."""

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
    """The path has no suffix, or a suffix that no installed format has."""

    path: str
    known: tuple[str, ...] = ()
    backend: str = ""
    remedy: str = "name one with format= of save and load"

    def describe(self) -> str:
        name = self.path.rpartition("/")[2]
        stem, dot, suffix = name.rpartition(".")
        # ".hidden" and "name." have a dot, but no suffix.
        if not (dot and stem and suffix):
            trouble, hint = "has no suffix, so polystore cannot choose a format", "."
        else:
            trouble = f"ends in .{suffix}, but no installed format has that suffix"
            # Not by likeness: .czi is not a misspelt .zip, and .lif not a misspelt .tif.
            close = [name for name in self.known if _is_misspelt(suffix.lower(), name)]
            hint = f"; did you mean {close[0]!r}?" if close else "."
        known = ", ".join(f".{name}" for name in self.known) or "none"
        place = where(self.backend, self.path)
        return f"{place} {trouble}{hint} Known: {known}. Or {self.remedy}"


@dataclass(eq=False)
class UnsupportedOperationError(RequestError, io.UnsupportedOperation):
    """The backend does not have this operation. ``capabilities`` of a backend lists them."""

    backend: str
    operation: str
    reason: str = ""

    def describe(self) -> str:
        return f"backend {self.backend!r} does not support {self.operation}" + (
            f": {self.reason}" if self.reason else ""
        )


@dataclass(eq=False)
class PathOutsideRootError(RequestError, ValueError):
    """The path leaves the root folder of the backend, for example by ".." or by a link."""

    backend: str
    path: str
    root: str

    def describe(self) -> str:
        return (
            f"{where(self.backend, self.path)} is outside root {self.root!r}: use a path "
            "inside the root"
        )


def _is_misspelt(suffix: str, known: str) -> bool:
    """Return whether letters of ``known`` are swapped, doubled or missing ("tfi", "tiif")."""
    return sorted(suffix) == sorted(known) or _single(suffix) == _single(known)


def _single(text: str) -> str:
    return "".join(new for old, new in itertools.pairwise(f" {text}") if old != new)
