"""Statistics of an array that is read in parts, so that it may be larger than memory."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import is_extended

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from polystore_core import LazyArray, Pixels

__all__ = ["Statistics", "blocks", "measure"]

_ELEMENTS = 1 << 22
"""Elements that are read at once. Each takes 8 bytes while it is added up."""


@dataclass(slots=True)
class Statistics:
    """Statistics of all elements that are not NaN."""

    count: int = 0
    """Elements that are not NaN."""
    nan: int = 0
    minimum: Any = None
    """A NumPy scalar of the array's type. ``None`` without elements, and for complex numbers."""
    maximum: Any = None
    mean: float | complex | None = None
    squares: float = 0.0
    """Sum of the squared distances from the mean."""

    @property
    def std(self) -> float | None:
        """The standard deviation, as ``numpy.nanstd`` defines it."""
        return math.sqrt(self.squares / self.count) if self.count else None

    def add(self, block: Pixels) -> None:
        """Add the elements of a block.

        Chan, Golub and LeVeque: the mean and squares of two parts give those of both, and no sum of
        squares gets so large that the small differences are lost.
        """
        if is_extended(block.dtype.name):  # NumPy cannot compare or add bfloat16
            block = block.astype(np.float32)
        values = block.reshape(-1)
        if values.dtype.kind in "fc":
            missing = np.isnan(values)
            count = int(np.count_nonzero(missing))
            if count:
                self.nan += count
                values = values[~missing]
        if not values.size:
            return
        if values.dtype.kind != "c":
            low, high = values.min(), values.max()
            self.minimum = low if self.minimum is None else min(self.minimum, low)
            self.maximum = high if self.maximum is None else max(self.maximum, high)
        # Sums of squares would overflow in uint8 or float16.
        wide = values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)
        # Infinity has no mean and no distance.
        with np.errstate(invalid="ignore", over="ignore"):
            mean = wide.mean().item()
            squares = float(np.square(np.abs(wide - mean)).sum())
            self._merge(values.size, mean, squares)

    def _merge(self, count: int, mean: complex, squares: float) -> None:
        if self.mean is None:
            self.count, self.mean, self.squares = count, mean, squares
            return
        total = self.count + count
        distance = mean - self.mean
        self.squares += squares + abs(distance) ** 2 * self.count * count / total
        self.mean += distance * (count / total)
        self.count = total


def measure(array: LazyArray | Pixels) -> Statistics:
    """Return the statistics of an array, or of a handle, which is read block by block."""
    found = Statistics()
    chunks = getattr(array, "chunks", None)
    for region in blocks(array.shape, chunks):
        found.add(np.asarray(array[region]))
    return found


def blocks(
    shape: Sequence[int], chunks: Sequence[int] | None, elements: int = _ELEMENTS
) -> Iterator[tuple[slice, ...]]:
    """Yield regions that cover ``shape``, each of whole chunks, and of about ``elements``.

    A chunk that is larger is read whole, because it is stored whole.
    """
    # Blocks grow along the last axes first, because these are contiguous in a file.
    lengths = [min(n, c) for n, c in zip(shape, chunks or [1] * len(shape), strict=True)]
    for axis in reversed(range(len(shape))):
        room = elements // max(1, math.prod(lengths))
        lengths[axis] = min(shape[axis], lengths[axis] * max(1, room))
    steps = (
        [slice(n, min(n + length, end)) for n in range(0, end, max(1, length))]
        for end, length in zip(shape, lengths, strict=True)
    )
    yield from itertools.product(*steps)
