"""Convert the rows of a napari layer to the shape of a ROI. Imports neither napari nor Qt."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from polystore_core.errors import InvalidOptionError
from polystore_core.rois import (
    Composite,
    Ellipse,
    Line,
    Mask,
    Points,
    Polygon,
    Polyline,
    Rectangle,
    Shape,
)
from polystore_stream.viewers.outlines import to_outlines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from polystore_core import Pixels
    from polystore_stream.viewers.outlines import Outline

__all__ = ["from_labels", "from_outlines", "is_part"]


def is_part(outline: Outline, origin: Shape | None) -> bool:
    """Whether an outline is an area, and ``origin`` is a composite."""
    kind, coordinates = outline
    is_area = kind in ("polygon", "rectangle") and len(coordinates) > 2
    return is_area and isinstance(origin, Composite)


def from_outlines(outlines: Sequence[Outline], origin: Shape | None) -> Shape:
    """Return the origin if the layer still shows it, or else the shape that it shows now."""
    if origin is not None and _agree(outlines, to_outlines(origin)):
        return origin
    if all(is_part(outline, origin) for outline in outlines):
        return Composite(coordinates for _, coordinates in outlines)
    ((kind, coordinates),) = outlines
    match kind:
        case "rectangle" | "ellipse":
            angle = origin.angle if isinstance(origin, Rectangle | Ellipse) else 0.0
            return _box(kind, coordinates, angle)
        case "polygon" if len(coordinates) > 2:
            return Polygon(coordinates)
        case "line" | "polygon":
            return Line(coordinates)
        case "path":
            return Polyline(coordinates)
        case "points":
            return Points(coordinates)
    known = "one of rectangle, ellipse, polygon, path, line"
    raise InvalidOptionError("shape_types", kind, known)


def _agree(these: Sequence[Outline], those: Sequence[Outline]) -> bool:
    return len(these) == len(those) and all(
        a == b and x.shape == y.shape and (np.abs(x - y) <= _precision(y)).all()
        for (a, x), (b, y) in zip(these, those, strict=True)
    )


def _precision(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the precision of float32, the type of Shapes layers. No mouse moves less."""
    precision: NDArray[np.float64] = np.abs(coordinates) * 2.0**-23 + 1e-6
    return precision


def _box(kind: str, corners: NDArray[np.float64], angle: float) -> Shape:
    """Return a rectangle or ellipse, with the description that is nearest to ``angle``.

    The corners need not be right angles, because scaling several turned shapes together skews
    them. A skewed rectangle is a polygon. A skewed ellipse is another ellipse.
    """
    # Two sides of the box. It is a parallelogram if the gap is 0, and has right angles if the
    # product of the sides is 0, within the precision of float32.
    sides = np.diff(corners[:3], axis=0)
    tolerance = 4 * float(_precision(corners).max())
    gap = np.abs(corners[0] - corners[1] + corners[2] - corners[3]).max()
    is_square = abs(sides[0] @ sides[1]) <= tolerance * np.hypot(*sides.T).sum()
    if kind == "ellipse" and not is_square:
        _, lengths, directions = np.linalg.svd(sides)
        sides = lengths[:, None] * directions
    width, height = np.hypot(*sides.T).tolist()
    if min(width, height) == 0 or (
        kind == "rectangle" and not (is_square and gap <= tolerance)
    ):
        return Polygon(corners)
    found = math.degrees(math.atan2(-sides[0, 0], sides[0, 1]))
    # Turning by 90° and swapping the sides gives the same shape. Choose the nearest to ``angle``.
    quarters = round((angle - found) / 90)
    size = (width, height) if quarters % 2 else (height, width)
    made = Ellipse if kind == "ellipse" else Rectangle
    return made(corners.mean(axis=0).tolist(), size, found + 90 * quarters)


def from_labels(labels: Pixels, origin: tuple[int, int]) -> Iterator[tuple[int, Mask]]:
    """Yield each label of a plane, and the mask of its pixels."""
    # Sort the pixels by label, instead of comparing the whole plane with each label.
    y, x = np.nonzero(labels)
    values = labels[y, x]
    order = np.argsort(values, kind="stable")
    found, starts = np.unique(values[order], return_index=True)
    for label, at in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
        top, left = int(y[at].min()), int(x[at].min())
        pixels = np.zeros((y[at].max() - top + 1, x[at].max() - left + 1), np.bool_)
        pixels[y[at] - top, x[at] - left] = True
        yield label, Mask(pixels, (origin[0] + top, origin[1] + left))
