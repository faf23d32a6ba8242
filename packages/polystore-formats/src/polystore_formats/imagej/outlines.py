"""Outlines of pixels, and of ImageJ's composite selections.

ImageJ stores a composite as the numbers of ``java.awt.geom.PathIterator``. 0 x y moves, 1 x y
draws a line, 2 and 3 draw curves with two and three more points, 4 closes the outline.
"""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Outline = NDArray[np.float64]

__all__ = ["FILLED_LIMIT", "fill", "path_of", "read_path", "trace"]

FILLED_LIMIT = 1 << 24
"""The most pixels of the box around outlines that are filled. A few bytes can claim any size."""
_MOVE, _LINE, _QUADRATIC, _CUBIC, _CLOSE = range(5)
_NUMBERS = {_MOVE: 2, _LINE: 2, _QUADRATIC: 4, _CUBIC: 6, _CLOSE: 0}
_PIECES_LIMIT = 128


def trace(pixels: NDArray[np.bool_]) -> list[Outline]:
    """Return the outlines along the edges of pixels.

    Args:
        pixels: the mask, of shape (height, width).

    Returns:
        The (y, x) corners of each outline, shape (n, 2). The corner of the first pixel is (0, 0).
        Pixels that touch only at a corner have separate outlines.
    """
    padded = np.zeros((pixels.shape[0] + 2, pixels.shape[1] + 2), np.bool_)
    padded[1:-1, 1:-1] = pixels
    above, below = padded[:-1], padded[1:]
    a, b, c, d = above[:, :-1], above[:, 1:], below[:, :-1], below[:, 1:]
    y, x = np.nonzero(a ^ b ^ c ^ d)
    # Where two pixels touch at a corner, two outlines meet. The point is in the list twice, once
    # for each. ``falls`` gives each its own edges, so that the outlines stay separate.
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
    """Return the other end of the edge at each corner.

    Along a line, corners 0 and 1 are the ends of the first edge, 2 and 3 of the second.
    """
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
    """Return the pixels inside outlines along pixel edges, and the (y, x) of the first pixel.

    Returns ``None`` if an outline is not along pixel edges, or the box is larger than
    ``FILLED_LIMIT``.
    """
    start = np.concatenate(outlines)
    end = np.concatenate([np.roll(outline, -1, axis=0) for outline in outlines])
    (top, left), (bottom, right) = start.min(axis=0), start.max(axis=0)
    height, width = float(bottom - top), float(right - left)
    if not (min(height, width) > 0 and (height + 1) * (width + 1) <= FILLED_LIMIT):
        return None
    rise = np.abs(end[:, 0] - start[:, 0])
    is_upright = (rise == 0) | (end[:, 1] == start[:, 1])
    # Pixels have no more edges than this. A hostile path with more would only make the loop slow.
    if not is_upright.all() or (start % 1).any() or rise.sum() > height * (width + 1):
        return None
    # Even-odd rule: a pixel is inside if the row crosses an odd number of edges before it.
    crossed = np.zeros((int(height), int(width) + 1), np.bool_)
    rows = np.sort(np.stack((start[:, 0], end[:, 0])) - top, axis=0).astype(np.intp)
    columns = (start[:, 1] - left).astype(np.intp)
    edges = np.flatnonzero(rise)
    for first, last, column in zip(
        *rows[:, edges].tolist(), columns[edges].tolist(), strict=True
    ):
        crossed[first:last, column] ^= True
    return np.logical_xor.accumulate(crossed, axis=1)[:, :-1], (int(top), int(left))


def path_of(outlines: Iterable[Outline]) -> NDArray[np.float64]:
    """Return ImageJ's numbers for outlines of (x, y) coordinates."""
    parts: list[NDArray[np.float64]] = []
    for outline in outlines:
        lines = np.column_stack((np.full(len(outline), float(_LINE)), outline))
        lines[0, 0] = _MOVE
        parts += (lines.ravel(), np.array([float(_CLOSE)]))
    return np.concatenate(parts)


def read_path(numbers: NDArray[np.float64]) -> list[Outline]:
    """Return the (x, y) coordinates of each outline, with curves as short lines.

    Raises:
        ValueError: The numbers are not a path.
    """
    path = array("d", numbers.tobytes())  # a list of floats would take eight times the memory
    outlines: list[array[float]] = []
    outline = array("d")
    start, at = array("d", (0.0, 0.0)), 0
    while at < len(path):
        command = int(path[at])
        count = _NUMBERS.get(command, -1)
        points = path[at + 1 : at + 1 + count]
        if count < 0 or len(points) < count:
            raise ValueError(f"its path is not valid at {path[at : at + 7].tolist()}")
        at += 1 + count
        if command in (_MOVE, _CLOSE):
            outlines.append(outline)
            start = points or start
            outline = points
            continue
        if not outline:
            outline = array("d", start)
        # A curve starts at the last point, which is not among its own numbers.
        outline += points if command == _LINE else _curve(outline[-2:] + points)
    found = [np.array(o).reshape(-1, 2) for o in (*outlines, outline) if len(o) >= 6]
    # Java repeats the first point at the end. Fewer than three points have no area.
    return [o[:-1] if len(o) > 3 and (o[0] == o[-1]).all() else o for o in found]


def _curve(numbers: array[float]) -> array[float]:
    """Cut a Bézier curve into lines that are about 0.01 pixel from it."""
    corners = np.array(numbers).reshape(-1, 2)
    length = float(np.hypot(*np.diff(corners, axis=0).T).sum())
    pieces = 4 + int(min(4 * math.sqrt(length), _PIECES_LIMIT))
    t = np.linspace(0, 1, pieces + 1)[1:, None]
    degree = len(corners) - 1
    curve = np.zeros((pieces, 2))
    for k, corner in enumerate(corners):
        curve += math.comb(degree, k) * t**k * (1 - t) ** (degree - k) * corner
    return array("d", curve.tobytes())
