"""Convert the shape of a ROI to the outlines that viewers draw."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from polystore_core.errors import UnsupportedDataError
from polystore_core.rois import (
    Composite,
    Ellipse,
    Line,
    Points,
    Polygon,
    Polyline,
    Rectangle,
    Shape,
)

__all__ = ["Outline", "to_outlines"]

Outline: TypeAlias = tuple[str, NDArray[np.float64]]
"""Its kind ("polygon", "rectangle", "ellipse", "path", "line", "points"), and its vertices (y, x),
shape (n, 2). The vertices of rectangles and ellipses are the four corners of their box."""


def to_outlines(shape: Shape) -> list[Outline]:
    """Return the outlines that a viewer draws for a shape.

    Raises ``UnsupportedDataError`` for a shape without outlines, such as a ``Mask``.
    """
    match shape:
        case Rectangle():
            return [("rectangle", shape.corners)]
        case Ellipse():
            return [("ellipse", Rectangle(shape.centre, shape.size, shape.angle).corners)]
        case Polygon():
            return [("polygon", shape.coordinates)]
        case Composite():
            return [("polygon", part.coordinates) for part in shape.parts]
        case Polyline():
            return [("path", shape.coordinates)]
        case Line():
            return [("line", shape.coordinates)]
        case Points():
            return [("points", shape.coordinates)]
    raise UnsupportedDataError(
        f"viewers cannot draw a {type(shape).__name__}: use another shape, such as a Polygon"
    )
