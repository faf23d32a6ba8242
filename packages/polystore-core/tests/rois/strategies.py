"""Hypothesis strategies for ROIs."""

import numpy as np
from hypothesis import strategies as st

from polystore_core.rois import (
    LIMIT,
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

numbers = st.floats(-LIMIT, LIMIT)
sizes = st.floats(0, LIMIT, exclude_min=True)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
eighths = st.integers(-24, 88).map(lambda n: n / 8)


def pairs(values: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[float, float]]:
    return st.tuples(values, values)


def paths(
    least: int, most: int = 9, values: st.SearchStrategy[float] = numbers
) -> st.SearchStrategy[list[tuple[float, float]]]:
    return st.lists(pairs(values), min_size=least, max_size=most)


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 19))
    bits = draw(st.integers(1, 2 ** (height * width) - 1))
    pixels = np.array([bits >> i & 1 for i in range(height * width)], bool)
    origin = draw(st.tuples(st.integers(-99, 99), st.integers(-99, 99)))
    return Mask(pixels.reshape(height, width), origin)


shapes: st.SearchStrategy[Shape] = st.one_of(
    st.builds(Points, paths(1)),
    st.builds(Line, paths(2, 2)),
    st.builds(Polyline, paths(2)),
    st.builds(Polygon, paths(3)),
    st.builds(Rectangle, pairs(numbers), pairs(sizes), numbers),
    st.builds(Ellipse, pairs(numbers), pairs(sizes), numbers),
    masks(),
    st.builds(Composite, st.lists(paths(3), min_size=1, max_size=4)),
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=8
)
index = st.none() | st.integers(0, 2**31)
regions = st.builds(
    ROI,
    shapes,
    text,
    st.builds(Position, index, index, index),
    st.dictionaries(text, documents, max_size=3),
)
