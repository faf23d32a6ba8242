"""Pixels, areas, bounds and outlines."""

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystore_core.rois import (
    LIMIT,
    Area,
    Composite,
    Ellipse,
    Line,
    Mask,
    Points,
    Polygon,
    Rectangle,
    Shape,
)

from .examples import HOLE, ISLAND, SQUARE
from .strategies import eighths, pairs, paths


def draw_reference(outlines: Iterable[Any], height: int, width: int) -> np.ndarray[Any, Any]:
    """Apply the even-odd rule with exact numbers, pixel by pixel."""
    mask = np.zeros((height, width), bool)
    edges = [
        tuple(Fraction(float(v)) for v in (*outline[i - 1], *outline[i]))
        for outline in outlines
        for i in range(len(outline))
    ]
    for y, x in np.ndindex(height, width):
        for y0, x0, y1, x1 in edges:
            if min(y0, y1) <= y < max(y0, y1) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x:
                mask[y, x] ^= True
    return mask


@given(st.lists(paths(3, 7, eighths), min_size=1, max_size=3))
def test_masks_match_exact_reference(outlines: list[list[tuple[float, float]]]) -> None:
    expected = draw_reference(outlines, 9, 7)
    assert np.array_equal(Composite(outlines).to_mask((9, 7)), expected)
    assert np.array_equal(
        Polygon(outlines[0]).to_mask((9, 7)), draw_reference(outlines[:1], 9, 7)
    )


@given(paths(3, 3, eighths), pairs(st.integers(0, 8).map(lambda n: n / 8)))
def test_neighbours_share_no_pixel(
    triangle: list[tuple[float, float]], weights: tuple[float, float]
) -> None:
    """A triangle is cut at an inner point into three, which together have the same pixels."""
    (a, b, c), (u, v) = np.array(triangle), weights
    inner = a + u * (b - a) + (1 - u) * v * (c - a)
    pieces = [Polygon([p, q, inner]).to_mask((12, 12)) for p, q in ((a, b), (b, c), (c, a))]
    assert np.array_equal(np.logical_xor.reduce(pieces), Polygon(triangle).to_mask((12, 12)))
    assert np.sum(pieces, axis=0).max() <= 1


def list_pixels(mask: np.ndarray[Any, Any]) -> list[tuple[int, ...]]:
    return [tuple(index) for index in np.argwhere(mask).tolist()]


@pytest.mark.parametrize("y", [0, 2, 4])
@pytest.mark.parametrize("x", [0, 1, 5])
def test_unit_square_is_pixel(y: int, x: int) -> None:
    """A square of one pixel around a centre is that pixel, for each shape that can draw it."""
    corners = Rectangle((y, x), (1, 1)).corners
    assert corners[0].tolist() == [y - 0.5, x - 0.5]
    squares = [Polygon(corners), Polygon(corners[::-1]), Composite([corners])]
    squares += [Rectangle((y, x), (1, 1), turn) for turn in (0, 90, -180, 270, 3600)]
    squares += [Mask([[True]], (y, x)), Ellipse((y, x), (1, 1))]
    for square in squares:
        assert list_pixels(square.to_mask((5, 6))) == [(y, x)]
        assert square.bounds == (y - 0.5, x - 0.5, y + 0.5, x + 0.5)


def test_edges_own_one_side() -> None:
    """A centre on the upper or left edge is inside. One on the lower or right edge is not."""
    corners = [(1, 1), (1, 3), (3, 3), (3, 1)]
    expected = [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert list_pixels(Polygon(corners).to_mask((5, 5))) == expected
    assert list_pixels(Polygon(corners[::-1]).to_mask((5, 5))) == expected
    for angle in (0, 90, 180, 270):
        assert list_pixels(Rectangle((2, 2), (2, 2), angle).to_mask((5, 5))) == expected
    assert list_pixels(Ellipse((2, 2), (2, 2)).to_mask((5, 5))) == [(2, 2)]


def test_masks_are_clipped() -> None:
    for shape in (
        Rectangle((4, 4), (9, 9)),
        Polygon(Rectangle((4, 4), (9, 9)).corners),
        Composite([Rectangle((4, 4), (9, 9)).corners]),
        Mask(np.ones((9, 9), bool)),
    ):
        assert shape.to_mask((20, 20)).sum() == 81
        for dy, dx, height, width in [
            (-7, 0, 2, 9),
            (0, 15, 9, 5),
            (12, -6, 8, 3),
            (-9, 3, 0, 0),
        ]:
            mask = shape.translate(dy, dx).to_mask((20, 20))
            top, left = max(dy, 0), max(dx, 0)
            assert mask.sum() == height * width
            assert mask[top : top + height, left : left + width].all()
        for away in (-1e9, 1e9, 20, -9):
            assert not shape.translate(away, 0).to_mask((20, 20)).any()
            assert not shape.translate(0, away).to_mask((20, 20)).any()
        for empty in ((0, 0), (0, 5), (5, 0)):
            assert shape.to_mask(empty).shape == empty


def test_extreme_shapes_are_drawn() -> None:
    far = Polygon([(-LIMIT, -LIMIT), (-LIMIT, LIMIT), (LIMIT, LIMIT), (LIMIT, -LIMIT)])
    assert far.to_mask((3, 4)).all()
    assert far.area == 4 * LIMIT**2
    assert Ellipse((0, 0), (LIMIT, LIMIT), 30).to_mask((3, 4)).all()
    tiny = math.ulp(0.0)
    assert not Rectangle((0, 0), (tiny, tiny)).to_mask((3, 4)).any()
    assert not Ellipse((0, 0), (tiny, tiny), 30).to_mask((3, 4)).any()
    thin = Polygon([(0, -5), (tiny, 7), (tiny, LIMIT), (0, LIMIT)])
    assert thin.to_mask((2, 2)).tolist() == [[True, True], [False, False]]
    assert Composite([thin, SQUARE]).area == pytest.approx(16)
    flat = Polygon([(0, 0), (1, 1), (2, 2)])
    assert (flat.area, Composite([flat]).area) == (0, 0)


@given(
    st.builds(Ellipse, pairs(eighths), pairs(st.integers(1, 99).map(lambda n: n / 8)), eighths)
)
def test_ellipse_follows_its_formula(ellipse: Ellipse) -> None:
    (y, x), (height, width) = ellipse.centre, ellipse.size
    cos, sin = math.cos(math.radians(ellipse.angle)), math.sin(math.radians(ellipse.angle))
    mask = ellipse.to_mask((9, 8))
    for row, column in np.ndindex(9, 8):
        dy, dx = row - y, column - x
        far = math.hypot((dy * cos + dx * sin) / height, (dx * cos - dy * sin) / width) * 2
        if not math.isclose(far, 1, rel_tol=1e-9):
            assert mask[row, column] == (far < 1)


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        (Polygon(SQUARE), 16),
        (Polygon(SQUARE[::-1]), 16),
        (Polygon([(0, 0), (0, 4), (3, 0)]), 6),
        (Polygon([(1e9, 1e9), (1e9, 1e9 + 4), (1e9 + 3, 1e9)]), 6),
        (Rectangle((1, 1), (3, 4), 33), 12),
        (Ellipse((1, 1), (2, 4), 33), 2 * math.pi),
        (Mask(np.eye(5, dtype=bool)), 5),
        (Composite([SQUARE]), 16),
        (Composite([HOLE, SQUARE]), 12),
        (Composite([ISLAND, SQUARE, HOLE[::-1]]), 12.25),
        (Composite([SQUARE, SQUARE]), 0),
        (Composite([SQUARE, Polygon(SQUARE).translate(4, 4)]), 32),
        (Composite([SQUARE, [(1.5, 1.5), (1.5, 3.5), (3.5, 3.5), (3.5, 1.5)]]), 12),
        (Composite([SQUARE, [(1.5, -0.5), (3.5, 1.5), (1.5, 3.5), (-0.5, 1.5)]]), 8),
    ],
)
def test_areas_are_known(shape: Area, area: float) -> None:
    assert shape.area == pytest.approx(area, rel=1e-12)
    moved = shape.translate(100, 100)
    assert moved.area == pytest.approx(area, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_area_of_real_outlines(seed: int) -> None:
    """For outlines along pixel edges, as ImageJ traces them, the area is the number of pixels."""
    pixels = np.random.default_rng(seed).random((8, 9)) < 0.5
    composite = Composite(trace_outlines(pixels))
    assert np.array_equal(composite.to_mask((8, 9)), pixels)
    assert composite.area == pixels.sum()


def trace_outlines(pixels: np.ndarray[Any, Any]) -> list[list[tuple[float, float]]]:
    """Walk around every region from corner to corner, with its pixels on the right."""
    padded = np.pad(pixels, 1)
    steps: dict[tuple[float, float], list[tuple[float, float]]] = {}
    for y, x in np.argwhere(padded).tolist():
        for dy, dx in ((-1, 0), (0, 1), (1, 0), (0, -1)):
            if not padded[y + dy, x + dx]:
                middle = np.array((y - 1 + dy / 2, x - 1 + dx / 2))
                along = np.array((dx, -dy)) / 2
                start, end = tuple((middle - along).tolist()), tuple((middle + along).tolist())
                steps.setdefault(start, []).append(end)
    outlines = []
    while steps:
        start = at = next(iter(steps))
        outline, came = [], None
        while at in steps:
            ends = steps[at]
            # Where two pixels touch at a corner, turn right, so that no outline crosses itself.
            if came is not None and len(ends) > 1:
                right = at[0] + at[1] - came[1], at[1] - at[0] + came[0]
                ends.sort(key=right.__ne__)
            came, at = at, ends.pop(0)
            if not steps[came]:
                del steps[came]
            outline.append(came)
            if at == start:
                break
        outlines.append(outline)
    return outlines


@pytest.mark.parametrize(
    ("shape", "bounds"),
    [
        (Points([(3, 1), (2, 7)]), (2, 1, 3, 7)),
        (Line([(3, 1), (2, 7)]), (2, 1, 3, 7)),
        (Polygon(SQUARE), (-0.5, -0.5, 3.5, 3.5)),
        (Rectangle((3, 12.5), (3, 6)), (1.5, 9.5, 4.5, 15.5)),
        (Rectangle((3, 12.5), (3, 6), 90), (0, 11, 6, 14)),
        (Rectangle((0, 0), (2, 2), 45), (-(2**0.5), -(2**0.5), 2**0.5, 2**0.5)),
        (Ellipse((3, 12.5), (3, 6)), (1.5, 9.5, 4.5, 15.5)),
        (Ellipse((3, 12.5), (3, 6), -90), (0, 11, 6, 14)),
        (Ellipse((0, 0), (2, 2), 45), (-1, -1, 1, 1)),
        (Mask(np.eye(3, 11, dtype=bool), (-2, 7)), (-2.5, 6.5, 0.5, 9.5)),
        (Composite([HOLE, SQUARE]), (-0.5, -0.5, 3.5, 3.5)),
    ],
)
def test_bounds_are_known(shape: Shape, bounds: tuple[float, ...]) -> None:
    assert shape.bounds == pytest.approx(bounds, rel=1e-15)
    y0, x0, y1, x1 = bounds
    moved = shape.translate(-3, 5)
    assert moved.bounds == pytest.approx((y0 - 3, x0 + 5, y1 - 3, x1 + 5), rel=1e-15)
    assert moved.translate(3, -5) == shape


def test_positive_angle_turns_left() -> None:
    """On the screen, y grows downwards: after 90 degrees, the right end points up."""
    (top_left, *_), turned = Rectangle((0, 0), (2, 6)).corners, Rectangle((0, 0), (2, 6), 90)
    assert top_left.tolist() == [-1, -3]
    assert turned.corners.tolist() == [[3, -1], [-3, -1], [-3, 1], [3, 1]]
    tilted = Rectangle((4, 4), (1, 9), 45).to_mask((9, 9))
    assert tilted[1, 7]
    assert not tilted[1, 1]
    assert np.array_equal(tilted, Ellipse((4, 4), (1, 9), 45).to_mask((9, 9)) | tilted)


def test_mask_is_a_set() -> None:
    small = Mask([[True, False], [True, True]], (3, 4))
    padded = np.zeros((9, 9), bool)
    padded[5:7, 6:8] = small.pixels
    assert Mask(padded, (-2, -2)) == small
    assert Mask(small.to_mask((20, 20))) == small
    assert small.translate(-1, 2.0).origin == (2, 6)
    assert list_pixels(small.to_mask((20, 20))) == [(3, 4), (4, 4), (4, 5)]
