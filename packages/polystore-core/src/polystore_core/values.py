"""Types and small values that backends and callers exchange."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    import numpy as np

    from .image import ImageMetadata

__all__ = [
    "Capabilities",
    "Document",
    "Info",
    "Kind",
    "Option",
    "Pixels",
    "PluginKind",
    "Region",
    "RegionItem",
    "Value",
    "name_fault",
    "natural_key",
    "natural_order",
    "plain_name",
]

Value: TypeAlias = Any
"""Any value that can be saved, such as an array, a table, ROIs or a JSON document."""
Option: TypeAlias = Any
"""The value of an option. The backend or format that has the option checks it."""
Pixels: TypeAlias = "np.ndarray[Any, Any]"
"""A NumPy array of any shape and element type."""
Document: TypeAlias = dict[str, Any]
"""A JSON object."""

Kind: TypeAlias = Literal["file", "directory", "symlink"]
PluginKind: TypeAlias = Literal["backend", "format", "framework"]

RegionItem: TypeAlias = int | slice | EllipsisType
Region: TypeAlias = RegionItem | tuple[RegionItem, ...]
"""A part of an array, as in NumPy's basic indexing: ``load(p, region=r)`` is ``load(p)[r]``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """The description of a file or a folder, found without loading the data.

    For example:

        info = fm.info("cells.tif", "disk")
        print(info.shape, info.dtype, info.image.scale)
    """

    path: str
    kind: Kind
    """"file", "directory", or "symlink" for a link whose target does not exist."""
    size: int | None = None
    """The bytes in the storage. ``None`` for a folder, or if the backend does not know."""
    modified: datetime | None = None
    """The time of the last change, in UTC."""
    format: str | None = None
    """The name of the format, such as "tiff", or ``None``."""
    shape: tuple[int, ...] | None = None
    """The shape of an array, or ``None`` for another value."""
    dtype: str | None = None
    """NumPy's name of the element type with its byte order, such as "<u2"."""
    target: str | None = None
    """The text of a symbolic link. The other fields then describe its target."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """More fields of the format, such as the compression."""
    image: ImageMetadata | None = None
    """The metadata of an image. ``None`` for a value that does not name its axes."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The operations that a backend has.

    For example:

        if "delete" in registry["zip"].capabilities:
            fm.delete(path, "zip")
    """

    operations: frozenset[str]
    """The names of the operations, as of the methods of ``FileManager``."""

    @property
    def reads(self) -> bool:
        """Whether the backend can load values."""
        return "load" in self.operations

    @property
    def writes(self) -> bool:
        """Whether the backend can save values."""
        return "save" in self.operations

    def __contains__(self, operation: str) -> bool:
        return operation in self.operations

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.operations))


_NUMBER = re.compile(r"(\d{1,4000})", re.ASCII)  # a longer run counts as several numbers
_RESERVED = re.compile("[\0-\3]")
_MANY = 100  # names for one call of the regular expression


def plain_name(name: str) -> str:
    """Return ``name`` as a plain ``str``, because a member of a ``str`` enum prints as "B.DISK"."""
    return str.__str__(name)


def name_fault(kind: PluginKind, name: str) -> str:
    """Return why a name is not valid, or an empty string."""
    if not name or not name.isprintable() or any(mark in name for mark in ":,"):
        return "a name must have at least one character, and no ':', ',' or control character"
    if kind == "format" and (name != name.lower() or name.strip(".") != name or "/" in name):
        return (
            "the name of a format must be its suffix in lower case without the dot, "
            "such as 'tif'"
        )
    return ""


def natural_key(text: str) -> tuple[str, str]:
    """Return a sort key for natural order: ``z2`` before ``z10``, folder by folder.

    Different names never have equal keys, not even ``z01`` and ``z1``. For example:

        sorted(paths, key=natural_key)
    """
    return next(_spell([text])), text


def natural_order(names: Iterable[str]) -> list[str]:
    """Return ``names`` in natural order. It is faster than ``sorted`` with ``natural_key``.

    For example:

        natural_order(["z10", "z2", "z1"])  # ["z1", "z2", "z10"]
    """
    plain = sorted(names)  # the order of names with equal keys, such as z01 and z1
    keys = _spell(plain)
    return sorted(plain, key=lambda _: next(keys))


def _spell(names: list[str]) -> Iterator[str]:
    r"""Yield a key for each name. z01 and z1 have the same key.

    The order of the keys as text is the natural order of the names. Four characters are reserved:
    \0 is "/", \1 is on both sides of a number, \2 escapes a reserved character of the name, and
    \3 separates names. A number starts with its length, because a longer one is greater. So
    "a/z10" becomes a \0 z \1 chr(4 + 2) 1 0 \1.

    Many names share one call of the regular expression, because the call is slow, not the match.
    """
    for start in range(0, len(names), _MANY):
        some = names[start : start + _MANY]
        if not all(map(str.isprintable, some)):
            some = [_RESERVED.sub(_escape, name) for name in some]
        parts = _NUMBER.split("\3".join(some).replace("/", "\0"))  # text, number, text, …
        parts[1::2] = [chr(4 + len(n := run.lstrip("0"))) + n for run in parts[1::2]]
        yield from "\1".join(parts).split("\3")


def _escape(found: re.Match[str]) -> str:
    return f"\2{chr(4 + ord(found[0]))}"
