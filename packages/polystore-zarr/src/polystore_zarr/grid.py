"""The chunks that a region needs. Pure functions, also for arrays with billions of chunks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["MANY", "Cut", "Part", "Parts", "grid", "within"]

MANY = 1 << 12
"""Up to this many chunks are looked up one by one. For more, the folders are listed."""


class Part(NamedTuple):
    """The part of a range that one chunk has, on one axis."""

    number: int
    """Number of the chunk."""
    inside: slice
    """The part in the chunk."""
    outside: slice
    """The same part in the result."""


Parts: TypeAlias = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """An ascending range, cut at the edges of chunks. The parts are made one by one."""

    selected: range
    chunk: int

    def __iter__(self) -> Iterator[Part]:
        for number in self.numbers:
            part = self.at(number)
            if part is not None:
                yield part

    @property
    def numbers(self) -> range:
        """The numbers of the chunks from the first to the last that has a part."""
        return range(self.selected[0] // self.chunk, self.selected[-1] // self.chunk + 1)

    def at(self, number: int) -> Part | None:
        """Return the part of the range in one chunk, or ``None`` if a step skips the chunk."""
        start, step, chunk = self.selected.start, self.selected.step, self.chunk
        # -(-a // b) rounds up in integers. Floats are not exact for indices above 2**53.
        first = max(-(-(number * chunk - start) // step), 0)
        after = min(-(-((number + 1) * chunk - start) // step), len(self.selected))
        if first >= after:
            return None
        low = self.selected[first] - number * chunk
        high = self.selected[after - 1] - number * chunk
        return Part(number, slice(low, high + 1, step), slice(first, after))


def within(part: Part, chunk: int) -> list[Part]:
    """Cut the part of a range in a shard at the edges of its inner chunks."""
    inside = part.inside
    start = part.outside.start
    return [
        inner._replace(outside=slice(start + inner.outside.start, start + inner.outside.stop))
        for inner in Cut(range(inside.start, inside.stop, inside.step), chunk)
    ]


def grid(axes: Sequence[Cut]) -> Iterator[Parts]:
    """Yield the parts of a region in each chunk."""
    if all(len(axis.numbers) <= MANY for axis in axes):
        yield from product(*axes)
        return
    yield from _lazily(axes)


def _lazily(axes: Sequence[Cut]) -> Iterator[Parts]:
    """Yield like ``itertools.product``, which would hold all parts of all axes in memory."""
    if not axes:
        yield ()
        return
    for part in axes[0]:
        for rest in _lazily(axes[1:]):
            yield (part, *rest)
