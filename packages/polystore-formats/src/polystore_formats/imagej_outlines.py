"""Outlines of pixels, and of ImageJ's composite selections.

ImageJ keeps a composite as the numbers of ``java.awt.geom.PathIterator``: 0 x y moves, 1 x y
draws a line, 2 and 3 draw curves of two and three further points, 4 closes the outline.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Outline = NDArray[np.float64]
    _Point = tuple[float, float]

__all__ = ["FILLED_LIMIT", "fill", "path_of", "read_path", "trace"]

FILLED_LIMIT = 1 << 26
"""Most pixels of the box around outlines that are filled: a few bytes can claim any size."""
_MOVE, _LINE, _QUADRATIC, _CUBIC, _CLOSE = range(5)
_NUMBERS = {_MOVE: 2, _LINE: 2, _QUADRATIC: 4, _CUBIC: 6, _CLOSE: 0}
_PIECES_LIMIT = 128


def trace(pixels: NDArray[np.bool_]) -> list[Outline]:
    """Return the outlines along the edges of pixels: (y, x) of corners, shape (n, 2) each.

    The corner of the first pixel is (0, 0). Pixels that touch at a corner alone are apart.
    """
    padded = np.zeros((pixels.shape[0] + 2, pixels.shape[1] + 2), np.bool_)
    padded[1:-1, 1:-1] = pixels
    above, below = padded[:-1], padded[1:]
    a, b, c, d = above[:, :-1], above[:, 1:], below[:, :-1], below[:, 1:]
    y, x = np.nonzero(a ^ b ^ c ^ d)
    # Two corners stand where two pixels touch; which of them turns up and which down is what
    # keeps the outlines apart.
    crossed = (a == d) & (b == c) & (a != b)
    cross_y, cross_x = np.nonzero(crossed)
    falls = a[cross_y, cross_x].astype(np.int8)
    zeros = np.zeros(len(y), np.int8)
    y, x = np.concatenate((y, cross_y, cross_y)), np.concatenate((x, cross_x, cross_x))
    along = np.concatenate((zeros, 0 * falls, 0 * falls + 1))
    across = np.concatenate((zeros, 1 - falls, falls))
    right = _partners(np.lexsort((along, x, y)))
    down = _partners(np.lexsort((across, y, x)))
    points = np.stack((y, x), axis=1).astype(np.float64)
    return [points[loop] for loop in _loops(right, down)]


def _partners(order: NDArray[np.intp]) -> list[int]:
    """Corners in the order of a line are the ends of its edges, in turn."""
    partner = np.empty_like(order)
    partner[order[::2]], partner[order[1::2]] = order[1::2], order[::2]
    partners: list[int] = partner.tolist()
    return partners


def _loops(right: Sequence[int], down: Sequence[int]) -> Iterable[list[int]]:
    seen = bytearray(len(right))
    for start in range(len(right)):
        loop: list[int] = []
        at = start
        while not seen[at]:
            turn = right[at]
            seen[at] = seen[turn] = 1
            loop += (at, turn)
            at = down[turn]
        if loop:
            yield loop


def fill(outlines: Sequence[Outline]) -> tuple[NDArray[np.bool_], tuple[int, int]] | None:
    """Return the pixels within outlines along pixel edges, and the (y, x) of the first.

    None where an outline is of another kind, or the box is larger than ``FILLED_LIMIT``.
    """
    points = np.concatenate(outlines)
    (top, left), (bottom, right) = points.min(axis=0), points.max(axis=0)
    if not ((points == np.rint(points)).all() and _is_small(bottom - top, right - left)):
        return None
    crossed = np.zeros((int(bottom - top), int(right - left) + 1), np.bool_)
    for outline in outlines:
        rows, columns = (outline - (top, left)).astype(np.intp).T
        next_rows, next_columns = np.roll(rows, -1), np.roll(columns, -1)
        if not ((rows == next_rows) | (columns == next_columns)).all():
            return None
        low, high = np.minimum(rows, next_rows).tolist(), np.maximum(rows, next_rows).tolist()
        for column, first, last in zip(columns.tolist(), low, high, strict=True):
            crossed[first:last, column] ^= True  # nothing where the edge is level
    return np.logical_xor.accumulate(crossed, axis=1)[:, :-1], (int(top), int(left))


def _is_small(height: float, width: float) -> bool:
    return min(height, width) > 0 and (height + 1) * (width + 1) <= FILLED_LIMIT


def path_of(outlines: Iterable[Outline]) -> NDArray[np.float64]:
    """Return ImageJ's numbers for outlines of (x, y)."""
    parts: list[NDArray[np.float64]] = []
    for outline in outlines:
        lines = np.column_stack((np.full(len(outline), float(_LINE)), outline))
        lines[0, 0] = _MOVE
        parts += (lines.ravel(), np.array([float(_CLOSE)]))
    return np.concatenate(parts)


def read_path(path: Sequence[float]) -> list[list[_Point]]:
    """Return the (x, y) of each outline, curves as short lines, its end joined to its start.

    Raises ``ValueError`` for what is no path.
    """
    outlines: list[list[_Point]] = []
    outline: list[_Point] = []
    start, at = (0.0, 0.0), 0
    while at < len(path):
        count = _NUMBERS.get(int(path[at]), -1)
        numbers = path[at + 1 : at + 1 + count]
        if count < 0 or len(numbers) < count:
            raise ValueError(f"a path cannot go on with {list(path[at : at + 7])}")
        command, at = int(path[at]), at + 1 + count
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        if command in (_MOVE, _CLOSE):
            outlines.append(outline)
            start = points[0] if points else start
            outline = [start] if points else []
            continue
        if not outline:
            outline = [start]
        outline += points if command == _LINE else _curve(outline[-1], points)
    return [_open(outline) for outline in (*outlines, outline) if len(outline) > 2]


def _open(outline: list[_Point]) -> list[_Point]:
    return outline[:-1] if len(outline) > 3 and outline[0] == outline[-1] else outline


def _curve(start: _Point, points: list[_Point]) -> list[_Point]:
    """Cut a Bézier curve into lines, about 0.01 pixel from it."""
    corners = np.array([start, *points])
    length = float(np.hypot(*np.diff(corners, axis=0).T).sum())
    pieces = 4 + int(min(4 * math.sqrt(length), _PIECES_LIMIT))
    t = np.linspace(0, 1, pieces + 1)[1:, None]
    degree = len(points)
    weights = [math.comb(degree, k) * t**k * (1 - t) ** (degree - k) for k in range(degree + 1)]
    curve = sum(weight * corner for weight, corner in zip(weights, corners, strict=True))
    return [(x, y) for x, y in np.asarray(curve).tolist()[:-1]] + [points[-1]]
