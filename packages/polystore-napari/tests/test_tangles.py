"""Which polygons are filled. No test needs napari."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystore_napari.tangles import MOST_CROSSINGS, count_crossings, find_tangled


def crossings(outline: Any) -> int:
    """Count pairs of edges that meet, one pair after another, in exact arithmetic."""
    points = [
        point
        for point, after in zip(outline, outline[1:] + outline[:1], strict=True)
        if point != after
    ]
    edges = list(zip(points, points[1:] + points[:1], strict=True))

    def side(p: Any, q: Any, r: Any) -> int:
        return int(np.sign((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])))

    def meet(one: Any, other: Any) -> bool:
        boxes = all(
            min(a[k] for a in one) <= max(b[k] for b in other)
            and min(b[k] for b in other) <= max(a[k] for a in one)
            for k in (0, 1)
        )
        straddle = [
            side(*line, ends[0]) * side(*line, ends[1]) <= 0
            for line, ends in ((one, other), (other, one))
        ]
        return boxes and all(straddle)

    return sum(
        meet(edges[a], edges[b])
        for a, b in itertools.combinations(range(len(edges)), 2)
        if 1 < b - a < len(edges) - 1
    )


def count(*outlines: Any) -> list[float]:
    return count_crossings([np.array(outline, float) for outline in outlines]).tolist()


OUTLINES = st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=2, max_size=12)


@given(st.lists(OUTLINES, max_size=3))
def test_crossings_are_counted(outlines: list[list[tuple[int, int]]]) -> None:
    """Edges that cross or touch count once. Neighbours and edges of other polygons do not count."""
    assert count(*outlines) == [crossings(outline) for outline in outlines]


@pytest.mark.parametrize(
    ("outline", "expected"),
    [
        ([(0, 0), (0, 1), (1, 1), (1, 0)], 0),
        ([(0, 0), (1, 1), (0, 1), (1, 0)], 1),
        ([(0, 0), (0, 2), (2, 2), (0, 1)], 1),
        ([(0, 0)] * 5, 0),
        ([(0, 0), (0, 1), (1, 1), (1, 0), (0, 0)], 0),
        ([(0, 0), (1e12, 1e12), (0, 1e12), (1e12, 0)], 1),
    ],
)
def test_crossings_of_examples(outline: Any, expected: int) -> None:
    assert count(outline, outline) == [expected, expected]


def test_dense_outlines_are_not_counted() -> None:
    """An outline with too many edges next to each other counts as infinite."""
    comb = np.column_stack((np.arange(4000) % 2 * 100.0, np.arange(4000)))
    comb = np.concatenate((comb, [(-9, 3999), (-9, 0)]))
    turned = comb * (1, 0.01) @ np.array([(1, 1), (-1, 1)])
    assert count(comb, turned) == [0, math.inf]


def circle(count: int) -> Any:
    turns = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.column_stack((np.sin(turns), np.cos(turns))) * 100


def test_crossings_are_shared() -> None:
    """Each outline has its share of the crossings that are filled. Contours need no share."""
    random = np.random.default_rng(0)
    few, many = random.random((100, 2)), random.random((1000, 2))
    assert find_tangled([]) == []
    assert find_tangled([few, circle(100_000)]) == [False, False]
    assert find_tangled([few, many, circle(50)]) == [False, True, False]
    assert 500 < count(few)[0] < MOST_CROSSINGS
    assert find_tangled([few] * 1000) == [True] * 1000
    assert find_tangled([few[:16], circle(500)] * 500) == [False] * 1000
