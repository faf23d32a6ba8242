"""Which chunks a region touches, and which of them exist, however many there could be."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["MANY", "Cut", "Part", "Parts", "existing_chunks", "grid", "within"]

MANY = 1 << 12
"""So many chunks are looked for one by one. Of more, the folders tell which exist."""


class Part(NamedTuple):
    """What one chunk has of a range, on one axis."""

    number: int
    inside: slice
    outside: slice


Parts: TypeAlias = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """An ascending range, cut at the edges of the chunks: iterable, and never all in memory."""

    selected: range
    chunk: int

    def __iter__(self) -> Iterator[Part]:
        for number in self.numbers:
            part = self.at(number)
            if part is not None:
                yield part

    @property
    def numbers(self) -> range:
        """The chunks between the first and the last that is touched."""
        return range(self.selected[0] // self.chunk, self.selected[-1] // self.chunk + 1)

    def at(self, number: int) -> Part | None:
        """Return what one chunk has of the range, ``None`` where a step passes over it."""
        start, step, chunk = self.selected.start, self.selected.step, self.chunk
        first = max(-(-(number * chunk - start) // step), 0)
        after = min(-(-((number + 1) * chunk - start) // step), len(self.selected))
        if first >= after:
            return None
        low = self.selected[first] - number * chunk
        high = self.selected[after - 1] - number * chunk
        return Part(number, slice(low, high + 1, step), slice(first, after))


def within(part: Part, chunk: int) -> list[Part]:
    """Cut what a shard has of a range at the edges of its inner chunks."""
    inside = part.inside
    start = part.outside.start
    return [
        inner._replace(outside=slice(start + inner.outside.start, start + inner.outside.stop))
        for inner in Cut(range(inside.start, inside.stop, inside.step), chunk)
    ]


def grid(axes: Sequence[Cut]) -> Iterator[Parts]:
    """Yield what each chunk has of a region."""
    if all(len(axis.numbers) <= MANY for axis in axes):
        yield from product(*axes)
        return
    yield from _lazily(axes)


def _lazily(axes: Sequence[Cut]) -> Iterator[Parts]:
    """As ``itertools.product``, which holds all parts of all axes."""
    if not axes:
        yield ()
        return
    for part in axes[0]:
        for rest in _lazily(axes[1:]):
            yield (part, *rest)


def existing_chunks(
    directory: str, prefix: str, separator: str, axes: Sequence[Cut]
) -> Iterator[Parts]:
    """Yield what each chunk that has a file has of a region.

    Chunks are called ``c/0/1`` (``prefix`` "c", ``separator`` "/"), "c.0.1", "0/1" or "0.1".
    """
    if separator == "/":
        yield from _below(os.path.join(directory, prefix) if prefix else directory, axes)
        return
    for name in _names(directory):
        numbers = name.split(separator)
        if prefix and numbers.pop(0) != prefix:
            continue
        if len(numbers) == len(axes):
            parts = [_part(axis, number) for axis, number in zip(axes, numbers, strict=True)]
            if None not in parts:
                yield tuple(part for part in parts if part is not None)


def _below(folder: str, axes: Sequence[Cut]) -> Iterator[Parts]:
    if not axes:
        yield ()
        return
    for name in _names(folder):
        part = _part(axes[0], name)
        if part is not None:
            for rest in _below(os.path.join(folder, name), axes[1:]):
                yield (part, *rest)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _part(axis: Cut, name: str) -> Part | None:
    if not (name.isascii() and name.isdecimal() and len(name) < 20) or name != str(int(name)):
        return None
    number = int(name)
    return axis.at(number) if number in axis.numbers else None
