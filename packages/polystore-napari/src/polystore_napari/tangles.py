"""Find the polygons that napari cannot fill quickly. Imports neither napari nor Qt.

napari cuts a polygon into triangles. The time grows with the number of vertices, and with the
number of times that the edges cross. For example, a scribble of 3,000 vertices takes 7 seconds. The
contour of a cell with as many vertices takes 0.07 seconds, and a line along the same edges 0.03.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["MOST_CROSSINGS", "count_crossings", "find_tangled"]

MOST_CROSSINGS = 2**16
"""Most crossings of all polygons in a layer. They take napari half a second."""
_FREE = 128
"""Crossings that any polygon may have, because they do not take measurable time."""
_MOST_PAIRS = 2**24
"""Most pairs of edges that are compared for all polygons. They take half a second."""
_PAIRS_AT_ONCE = 2**20  # 64 MiB


def find_tangled(outlines: Sequence[NDArray[np.float64]]) -> list[bool]:
    """Return for each polygon whether it crosses itself too often to be filled.

    Each polygon may have an equal share of :data:`MOST_CROSSINGS`, and :data:`_FREE` in any case.

    Args:
        outlines: Vertices (y, x) of each polygon, shape (n, 2).
    """
    most = max(_FREE, MOST_CROSSINGS // max(1, len(outlines)))
    can_be = [len(outline) * (len(outline) - 3) / 2 > most for outline in outlines]
    found = count_crossings([o for o, is_long in zip(outlines, can_be, strict=True) if is_long])
    is_tangled = iter((found > most).tolist())
    return [is_long and next(is_tangled) for is_long in can_be]


def count_crossings(outlines: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return for each polygon how many pairs of its edges cross or touch, except neighbours.

    The result is infinity if a polygon has so many near edges that comparing them takes long.
    """
    if not outlines:
        return np.zeros(0)
    edges = _Edges(outlines)
    owner, orders, counts = edges.owner, [], []
    for axis in (0, 1):
        order, near = edges.near(axis)
        orders.append(order)
        counts.append(np.bincount(owner[order], near, len(outlines)))
    # Two edges can cross only if they overlap on both axes. Compare the pairs that overlap on the
    # axis with fewer of them.
    pairs = np.minimum(*counts)
    crossings = np.where(pairs > min(_PAIRS_AT_ONCE, _MOST_PAIRS // len(outlines)), np.inf, 0)
    for axis in (0, 1):
        chosen = np.isfinite(crossings) & ((counts[0] <= counts[1]) == (axis == 0))
        for first, second in edges.pairs(axis, chosen):
            meets = edges.meets(first, second)
            crossings += np.bincount(owner[first[meets]], minlength=len(outlines))
    return crossings


class _Edges:
    """The edges of polygons, without edges of length 0."""

    def __init__(self, outlines: Sequence[NDArray[np.float64]]) -> None:
        lengths = np.array([len(outline) for outline in outlines])
        # Round as napari does: two vertices may become one.
        start = np.concatenate(outlines).astype(np.float32).astype(np.float64)
        after = np.arange(1, len(start) + 1)
        ends = np.cumsum(lengths)
        after[ends - 1] = ends - lengths
        end = start[after]
        kept = (start != end).any(axis=1)
        self.owner = np.repeat(np.arange(len(outlines)), lengths)[kept]
        self.start, self.end = start[kept], end[kept]
        self.low = np.minimum(self.start, self.end)
        self.high = np.maximum(self.start, self.end)
        self.counts = np.bincount(self.owner, minlength=len(outlines))

    def near(self, axis: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the edges sorted along an axis, and how many of the next ones overlap each."""
        low, high = self.low[:, axis], self.high[:, axis]
        bottom, top = np.full(len(self.counts), np.inf), np.full(len(self.counts), -np.inf)
        np.minimum.at(bottom, self.owner, low)
        np.maximum.at(top, self.owner, high)
        extent = np.where(top > bottom, top - bottom, 1)[self.owner]
        # Put one polygon after another on the axis, so that one sort is enough for all. Rounding
        # may add pairs, but cannot lose any.
        begins = (low - bottom[self.owner]) / extent + 2 * self.owner
        stops = (high - bottom[self.owner]) / extent + 2 * self.owner
        order = np.argsort(begins, kind="stable")
        until = np.searchsorted(begins[order], stops[order], side="right")
        return order, until - np.arange(1, len(order) + 1)

    def pairs(
        self, axis: int, chosen: NDArray[np.bool_]
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Yield arrays of pairs of edges of the chosen polygons that overlap on an axis."""
        order, near = self.near(axis)
        near = np.where(chosen[self.owner[order]], near, 0)
        groups = np.cumsum(near) // _PAIRS_AT_ONCE
        for group in np.unique(groups).tolist():
            at = np.flatnonzero(groups == group)
            counts = near[at]
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            first = np.repeat(at, counts)
            yield order[first], order[first + 1 + within]

    def meets(self, first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which pairs of edges of a polygon cross or touch without being neighbours."""
        apart = np.abs(first - second)
        meets: NDArray[np.bool_] = (apart > 1) & (apart < self.counts[self.owner[first]] - 1)
        meets &= (self.low[first] <= self.high[second]).all(axis=1)
        meets &= (self.low[second] <= self.high[first]).all(axis=1)
        some = np.flatnonzero(meets)
        a, b = first[some], second[some]
        meets[some] = _separates(self.start[a], self.end[a], self.start[b], self.end[b])
        meets[some] &= _separates(self.start[b], self.end[b], self.start[a], self.end[a])
        return meets


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
