"""Which polygons napari fills in bounded time; imports neither napari nor Qt.

napari cuts a polygon into triangles. The time for that grows with the number of its vertices, and
with the number of times that its edges cross: a scribble of 3,000 vertices takes 7 seconds, a
cell's contour of as many 0.07. A line along the same edges takes 0.03.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["MOST_CROSSINGS", "count_crossings", "find_tangled"]

MOST_CROSSINGS = 2**16
"""Of all polygons that are filled together: they take napari half a second."""
_FREE = 128
"""Of each polygon: they take no longer than a polygon does without them."""
_MOST_PAIRS = 2**24
"""Of edges that are compared for all polygons together: they take half a second."""
_PAIRS_AT_ONCE = 2**21  # 64 MiB


def find_tangled(outlines: Sequence[NDArray[np.float64]]) -> list[bool]:
    """Return which polygons cross themselves too often for all of them to be filled.

    Each polygon may use an equal part of :data:`MOST_CROSSINGS`, and a few in any case.

    Args:
        outlines: (y, x) of the vertices of each polygon, shape (n, 2).
    """
    count = max(1, len(outlines))
    most = max(_FREE, MOST_CROSSINGS // count)
    pairs = min(_PAIRS_AT_ONCE, _MOST_PAIRS // count)
    return [
        len(outline) * (len(outline) - 3) / 2 > most and count_crossings(outline, pairs) > most
        for outline in outlines
    ]


def count_crossings(outline: NDArray[np.float64], most_pairs: int = _PAIRS_AT_ONCE) -> float:
    """Return how many pairs of a polygon's edges cross or touch, neighbours left out.

    Returns infinity if more than ``most_pairs`` come near enough to be compared.
    """
    start = outline.astype(np.float32).astype(np.float64)  # napari rounds them
    end = np.roll(start, -1, axis=0)
    has_length = (start != end).any(axis=1)
    start, end = start[has_length], end[has_length]
    low, high = np.minimum(start, end), np.maximum(start, end)
    first, second = _near(low, high, most_pairs)
    if first is None or second is None:
        return math.inf
    apart = np.abs(first - second)
    is_near = (low[first] <= high[second]) & (low[second] <= high[first])
    meets = is_near.all(axis=1) & (apart > 1) & (apart < len(start) - 1)
    first, second = first[meets], second[meets]
    crosses = _separates(start[first], end[first], start[second], end[second])
    crosses &= _separates(start[second], end[second], start[first], end[first])
    return int(crosses.sum())


def _near(
    low: NDArray[np.float64], high: NDArray[np.float64], most: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]] | tuple[None, None]:
    """Return the pairs of edges that overlap on the axis where fewer do, or None for too many."""
    found = []
    for axis in (0, 1):
        order = np.argsort(low[:, axis], kind="stable")
        until = np.searchsorted(low[order, axis], high[order, axis], side="right")
        counts = until - np.arange(1, len(order) + 1)
        found.append((int(counts.sum()), order, counts))
    total, order, counts = min(found, key=lambda one: one[0])
    if total > most:
        return None, None
    first = np.repeat(np.arange(len(order)), counts)
    within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[first], order[first + 1 + within]


def _separates(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    one: NDArray[np.float64],
    other: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return whether two points lie on different sides of a line, or on it."""
    along = end - start
    sides = [
        np.sign(along[:, 0] * (p - start)[:, 1] - along[:, 1] * (p - start)[:, 0])
        for p in (one, other)
    ]
    separates: NDArray[np.bool_] = sides[0] * sides[1] <= 0
    return separates
