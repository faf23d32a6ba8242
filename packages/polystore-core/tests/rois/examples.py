"""Shapes of every kind, and ROIs that contain them."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from polystore_core.rois import (
    ROI,
    Composite,
    Ellipse,
    Line,
    Mask,
    Points,
    Polygon,
    Polyline,
    Position,
    Rectangle,
    Shape,
)

Require = Callable[[str], ModuleType]

SQUARE = [(-0.5, -0.5), (-0.5, 3.5), (3.5, 3.5), (3.5, -0.5)]
HOLE = [(0.5, 0.5), (0.5, 2.5), (2.5, 2.5), (2.5, 0.5)]
ISLAND = [(1.25, 1.25), (1.25, 1.75), (1.75, 1.75), (1.75, 1.25)]
EXAMPLES: list[Shape] = [
    Points([(0, 0)]),
    Points([(0.25, -3), (1e12, 0)]),
    Line([(0, 0), (3, 4)]),
    Polyline([(0, 0), (1, 2), (3, 5)]),
    Polygon(SQUARE),
    Rectangle((3, 12.5), (3, 6)),
    Rectangle((3, 12.5), (3, 6), 30),
    Ellipse((3, 12.5), (3, 6), -45.5),
    Mask(np.eye(3, 11, dtype=bool), (-2, 7)),
    Composite([SQUARE, HOLE, ISLAND]),
]


def make_roi(shape: Shape) -> ROI:
    properties = {"stroke": {"color": "#ff0000", "width": 1.5}, "counters": [1, 2], "n": None}
    return ROI(shape, "kern ä", Position(z=3, t=0), properties)


POINT = Points([(0, 0)])


def make_nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value
