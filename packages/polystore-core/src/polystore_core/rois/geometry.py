"""Geometry of outlines: bounds, directions, and the even-odd rule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..values import Pixels


__all__ = [
    "Bounds",
    "Pair",
    "bounds_of",
    "crossings",
    "direction",
    "edges_of",
    "even_odd",
    "inner_point",
    "pixel_window",
]

Bounds: TypeAlias = tuple[float, float, float, float]
"""y0, x0, y1, x1 in pixels. An area of whole pixels ends half a pixel after their centres."""
Pair: TypeAlias = tuple[float, float]


def bounds_of(points: NDArray[np.float64]) -> Bounds:
    """Return the box around points of the shape (n, 2)."""
    (y0, x0), (y1, x1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return y0, x0, y1, x1


def direction(angle: float) -> Pair:
    """Return the cosine and sine of an angle in degrees, exact for multiples of 90."""
    quarters, rest = divmod(angle, 90.0)
    cos, sin = math.cos(math.radians(rest)), math.sin(math.radians(rest))
    for _ in range(int(quarters) % 4):
        cos, sin = -sin, cos
    return cos, sin


def pixel_window(low: float, high: float, length: int) -> slice:
    """Return the pixels of an axis whose centres are from ``low`` to ``high``."""
    start = min(max(math.ceil(low), 0), length)
    return slice(start, min(max(math.floor(high) + 1, start), length))


def edges_of(*outlines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return y0, x0, y1, x1 of each edge, in an array of the shape (4, n) with y0 < y1.

    Horizontal edges are left out, because no row crosses them. As every edge goes down, two
    neighbours compute exactly the same crossings on their common edge.
    """
    start = np.concatenate(outlines)
    end = np.concatenate([np.roll(outline, -1, axis=0) for outline in outlines])
    up = end[:, :1] < start[:, :1]
    edges = np.concatenate((np.where(up, end, start), np.where(up, start, end)), axis=1).T
    return edges[:, edges[0] < edges[2]]


def crossings(edges: NDArray[np.float64], y: float) -> NDArray[np.float64]:
    """Return the x at which edges cross the height ``y``. Only the upper end counts as crossing."""
    return _x_at(edges[:, (edges[0] <= y) & (y < edges[2])], y)


def _x_at(edges: NDArray[np.float64], y: float | Pixels) -> NDArray[np.float64]:
    y0, x0, y1, x1 = edges
    # Multiplied first: a division first could overflow, and would miss crossings at whole pixels.
    x: NDArray[np.float64] = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    return x


def even_odd(edges: NDArray[np.float64], rows: slice, columns: slice) -> NDArray[np.bool_]:
    """Return the pixels whose centres are inside: their row crosses an odd number of edges before.

    ``rows`` and ``columns`` are the window of the result.
    """
    first = np.clip(np.ceil(edges[0]), rows.start, rows.stop).astype(np.intp)
    count = np.clip(np.ceil(edges[2]), rows.start, rows.stop).astype(np.intp) - first
    row = np.arange(count.sum()) + np.repeat(first - np.cumsum(count) + count, count)
    x = _x_at(np.repeat(edges, count, axis=1), row)
    column = np.clip(np.ceil(x), columns.start, columns.stop).astype(np.intp)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    crossed = np.zeros((height, width + 1), np.uint8)  # it wraps at 256, so odd stays odd
    np.add.at(crossed, (row - rows.start, column - columns.start), 1)
    counts = np.cumsum(crossed[:, :-1], axis=1, dtype=np.uint8)
    return (counts & 1).astype(np.bool_)


def inner_point(edges: NDArray[np.float64]) -> Pair:
    """Return (y, x) of a point inside an outline that has an area."""
    levels = np.unique(edges[::2])
    at = int(np.argmax(np.diff(levels)))
    # The mean of two adjacent floats may be the upper one, which no edge crosses.
    y = min((levels[at] + levels[at + 1]) / 2, np.nextafter(levels[at + 1], levels[at]))
    x = np.sort(crossings(edges, y))
    widest = 2 * int(np.argmax(x[1::2] - x[::2]))
    return float(y), float((x[widest] + x[widest + 1]) / 2)
