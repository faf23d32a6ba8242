"""Small frozen values that backends and callers exchange."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    import numpy as np

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
"""Anything that can be saved, such as an array, a table, ROIs or what JSON knows."""
Option: TypeAlias = Any
"""The value of an option. The backend or format that has the option checks it."""
Pixels: TypeAlias = "np.ndarray[Any, Any]"
"""A NumPy array of any shape and element type."""
Document: TypeAlias = dict[str, Any]
"""A JSON object."""

Kind: TypeAlias = Literal["file", "directory", "symlink"]
PluginKind: TypeAlias = Literal["backend", "format"]

RegionItem: TypeAlias = int | slice | EllipsisType
Region: TypeAlias = RegionItem | tuple[RegionItem, ...]
"""A part of an array, as NumPy's basic indexing: ``load(p, region=r)`` is ``load(p)[r]``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What stands at a path, found without loading the data."""

    path: str
    kind: Kind
    """"symlink" only for a link that leads nowhere."""
    size: int | None = None
    """Bytes in storage; ``None`` where the backend cannot know (directories)."""
    modified: datetime | None = None
    """Time of the last change, in UTC."""
    format: str | None = None
    """Name of the format, such as "tiff"; ``None`` where no format is involved."""
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    """NumPy's name of the element type with its byte order, such as "<u2"."""
    target: str | None = None
    """Where ``path`` points if it is a symbolic link; the rest then tells of what it leads to."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What else the format says: axes, resolution, compression, …"""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The operations that a backend really has, derived from what it implements."""

    operations: frozenset[str]

    @property
    def reads(self) -> bool:
        return "load" in self.operations

    @property
    def writes(self) -> bool:
        return "save" in self.operations

    def __contains__(self, operation: str) -> bool:
        return operation in self.operations

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self.operations))


# Python refuses to make a number of more than 4,300 digits.
_BETWEEN = re.compile(r"(\d{1,4000}|/)", re.ASCII)


def plain_name(name: str) -> str:
    """Return ``name`` as a plain ``str``: a member of a ``str`` enum prints as "B.DISK"."""
    return str.__str__(name)


def name_fault(kind: PluginKind, name: str) -> str:
    """Return why nobody could ask for ``name``, or an empty string."""
    if not name or not name.isprintable() or any(mark in name for mark in ":,"):
        return "a name must have at least one character, and no ':', ',' or control character"
    if kind == "format" and (name != name.lower() or name.strip(".") != name or "/" in name):
        return (
            "the name of a format must be its suffix in lower case without the dot, "
            "such as 'tif'"
        )
    return ""


def natural_key(text: str) -> tuple[tuple[str | int, ...], str]:
    """Sort key for natural order: ``z2`` before ``z10``, folder by folder.

    Total: names that differ never compare equal (``z01`` and ``z1``).
    """
    parts: list[Any] = _BETWEEN.split(text)  # text, separator, text, separator, …, text
    parts[1::2] = [-1 if separator == "/" else int(separator) for separator in parts[1::2]]
    return tuple(parts), text


def natural_order(names: Iterable[str]) -> list[str]:
    """Return ``names`` in natural order."""
    return sorted(names, key=natural_key)
