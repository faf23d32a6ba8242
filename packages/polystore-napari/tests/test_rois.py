"""ROIs as data of napari's layers: they can be read back, and are shown on their planes."""

import math
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polystore_core.errors import UnsupportedDataError
from polystore_core.rois import (
    ROI,
    Area,
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
from polystore_napari.drawn import from_layer
from polystore_napari.rois import MOST_PIXELS, RoiLayer, to_layers
from polystore_testing.examples import examples

from .roi_examples import EXAMPLES, PROPERTIES, SQUARE, add_layer, make_round_trip, only, read

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # from napari's own use of pydantic
    from napari.components import ViewerModel

pytestmark = pytest.mark.screen


def find_visible_planes(layer: RoiLayer, at: tuple[float, float]) -> list[tuple[int, int]]:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((3, 4, 16, 16)))
    made = add_layer(viewer, layer)
    found = []
    for plane in np.ndindex(3, 4):
        viewer.dims.current_step = (*plane, 0, 0)
        value = made.get_value((*plane, *at), world=True)
        value = value[0] if layer.type == "shapes" else value
        if value is not None and (layer.type != "labels" or value > 0):
            found.append(plane)
    return found


# ── round trips ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "position", [Position(), Position(z=3, t=0), Position(z=2), Position(t=2), Position(c=1)]
)
@pytest.mark.parametrize("sliders", [(), ("t", "z")])
def test_all_shapes_return(sliders: Sequence[str], position: Position) -> None:
    rois = [ROI(shape, "kern ä\0", position, PROPERTIES) for shape in EXAMPLES]
    assert Counter(make_round_trip(rois, sliders)) == Counter(rois)


def test_no_rois_make_no_layers() -> None:
    assert to_layers([], ("t", "z"), shape=(8, 8)) == []


def test_empty_layers_hold_nothing() -> None:
    viewer = ViewerModel()
    shapes, points = viewer.add_shapes(ndim=3), viewer.add_points(ndim=3)
    labels = viewer.add_labels(np.zeros((2, 3, 4), int))
    axes = ("z", "y", "x")
    assert from_layer("shapes", shapes.data, shapes.shape_type, shapes.features, axes) == []
    assert from_layer("points", points.data, (), points.features, axes) == []
    assert from_layer("labels", labels.data, (), labels.features, axes) == []


numbers = st.floats(-1e6, 1e6)
points = st.tuples(numbers, numbers)
sizes = st.floats(1e-3, 1e6)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


def paths(least: int, most: int = 7) -> st.SearchStrategy[list[tuple[float, float]]]:
    return st.lists(points, min_size=least, max_size=most)


@st.composite
def outlines(draw: st.DrawFn) -> list[tuple[float, float]]:
    """Draw stars. napari's triangulators sometimes fail over outlines that cross themselves."""
    y, x = draw(points)
    radii = draw(st.lists(st.floats(1, 1e3), min_size=3, max_size=7))
    turns = [math.tau * (at + 0.5) / len(radii) for at in range(len(radii))]
    return [
        (y + r * math.sin(turn), x + r * math.cos(turn))
        for r, turn in zip(radii, turns, strict=True)
    ]


@st.composite
def composites(draw: st.DrawFn) -> Composite:
    """Draw outlines next to each other."""
    apart = [
        [(y + 3e6 * at, x) for y, x in outline]
        for at, outline in enumerate(draw(st.lists(outlines(), min_size=1, max_size=3)))
    ]
    return Composite(apart)


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    bits = draw(st.integers(1, 2 ** (height * width) - 1))
    pixels = np.array([bits >> i & 1 for i in range(height * width)], bool)
    origin = draw(st.tuples(st.integers(-9, 9), st.integers(-9, 9)))
    return Mask(pixels.reshape(height, width), origin)


shapes: st.SearchStrategy[Shape] = st.one_of(
    st.builds(Points, paths(1)),
    st.builds(Line, paths(2, 2)),
    st.builds(Polyline, paths(2)),
    st.builds(Polygon, outlines()),
    st.builds(Rectangle, points, st.tuples(sizes, sizes), numbers),
    st.builds(Ellipse, points, st.tuples(sizes, sizes), numbers),
    masks(),
    composites(),
)
index = st.none() | st.integers(0, 4)
properties = st.dictionaries(text, st.none() | numbers | text, max_size=2)
regions = st.builds(ROI, shapes, text, st.builds(Position, index, index, index), properties)
windows = st.sampled_from([(), ("z",), ("t", "z"), ("z", "t"), ("t", "well", "z"), ("c", "z")])


@settings(max_examples=examples(60))
@given(st.lists(regions, max_size=6), windows)
def test_random_rois_return(rois: list[ROI], sliders: tuple[str, ...]) -> None:
    assert Counter(make_round_trip(rois, sliders)) == Counter(rois)


@settings(max_examples=examples(60))
@given(st.lists(masks(), min_size=2, max_size=9))
def test_masks_overlap_without_loss(masks: list[Mask]) -> None:
    rois = [ROI(mask, str(at), Position(z=at % 2)) for at, mask in enumerate(masks)]
    assert Counter(make_round_trip(rois, ("z",))) == Counter(rois)


def test_equal_rois_stay_apart() -> None:
    rois = [ROI(shape) for shape in EXAMPLES for _ in range(2)]
    assert Counter(make_round_trip(rois)) == Counter(rois)


def test_layer_content_is_replaced() -> None:
    made, _ = only([ROI(Polygon(SQUARE), "old"), ROI(Line([(0, 0), (1, 1)]))])
    rois = [ROI(Rectangle((5, 5), (1 / 3, 2), 20), "new"), *map(ROI, EXAMPLES[2:5])]
    (layer,) = to_layers(rois)
    made.data = list(zip(layer.data, layer.shape_types, strict=True))
    made.features = layer.features
    made.feature_defaults = layer.feature_defaults
    assert read(made, layer) == rois
    made.add_rectangles(np.array([(0, 0), (2, 4)]))
    assert read(made, layer) == [*rois, ROI(Rectangle((1, 2), (2, 4)))]


def test_columns_stay_narrow() -> None:
    (layer,) = to_layers([ROI(Polygon(SQUARE), "x" * 100_000)] * 2_000)
    assert sum(column.nbytes for column in layer.features.values()) < 100_000


# ── planes ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "shape", [Rectangle((5, 5), (4, 4)), Points([(5, 5)]), Mask(np.ones((9, 9), bool), (1, 1))]
)
@pytest.mark.parametrize(
    ("position", "axes", "planes"),
    [
        (Position(), "yx", [(t, z) for t in range(3) for z in range(4)]),
        (Position(c=3), "yx", [(t, z) for t in range(3) for z in range(4)]),
        (Position(z=2), "zyx", [(0, 2), (1, 2), (2, 2)]),
        (Position(t=1, z=2), "tzyx", [(1, 2)]),
        (Position(t=1), ("t", "", "y", "x"), [(1, 0), (1, 1), (1, 2), (1, 3)]),
    ],
)
def test_roi_is_shown_on_its_planes(
    shape: Shape, position: Position, axes: Sequence[str], planes: list[tuple[int, int]]
) -> None:
    (layer,) = to_layers([ROI(shape, position=position)], ("t", "z"))
    assert layer.axes == tuple(axes)
    assert find_visible_planes(layer, (5, 5)) == planes


def test_stretched_axis_keeps_sliders() -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((3, 4, 16, 16)))
    before = viewer.dims.range
    for shape in (Rectangle((5, 5), (4, 4)), Points([(5, 5)]), Mask(np.ones((9, 9), bool))):
        (layer,) = to_layers([ROI(shape, position=Position(t=1))], ("t", "z"))
        add_layer(viewer, layer)
    assert viewer.dims.range == before


def test_few_layers_hold_many() -> None:
    positions = [Position(z=z, t=t) for z in range(5) for t in range(5)]
    rois = [ROI(shape, position=p) for p in positions for shape in EXAMPLES]
    assert len(to_layers(rois, ("t", "z"))) == 3


def test_labels_cover_the_image() -> None:
    mask = ROI(Mask(np.ones((2, 3), bool), (-4, 5)), position=Position(z=7))
    (layer,) = to_layers([mask], ("z",), shape=(16, 32))
    assert np.shape(layer.data) == (1, 20, 32)
    assert layer.translate == (7, -4, 0)


def test_masks_far_apart_are_refused() -> None:
    rois = [ROI(Mask(np.ones((1, 1), bool), (y, y))) for y in (0, 10**9)]
    with pytest.raises(UnsupportedDataError, match=f"at most {MOST_PIXELS}"):
        to_layers(rois)


@pytest.mark.parametrize("seed", range(12))
def test_napari_fills_the_same_pixels(seed: int) -> None:
    random = np.random.default_rng(seed)
    areas: list[Area] = [
        Polygon(random.uniform(-3, 35, (random.integers(3, 8), 2)).astype(np.float32)),
        Rectangle((15.37, 14.83), random.uniform(5, 22, 2).tolist(), random.uniform(0, 360)),
    ]
    made, _ = only([ROI(area) for area in areas])
    for area, mask in zip(areas, made.to_masks((32, 32)), strict=True):
        np.testing.assert_array_equal(area.to_mask((32, 32)), mask)


def test_labels_hold_the_pixels() -> None:
    area = Ellipse((15.37, 14.83), (9.1, 22.3), 30)
    (layer,) = to_layers([ROI(Mask(area.to_mask((32, 32))))], shape=(32, 32))
    np.testing.assert_array_equal(np.asarray(layer.data) == 1, area.to_mask((32, 32)))


# ── many ROIs ────────────────────────────────────────────────────────────────────────────


def test_thousands_of_polygons_return() -> None:
    random = np.random.default_rng(0)
    rois = [ROI(Polygon(random.random((30, 2)) * 2048), str(at)) for at in range(2_000)]
    (layer,) = to_layers(rois, ("t", "z"))
    data = [vertices.astype(np.float32) for vertices in layer.data]
    found = from_layer(
        "shapes", data, layer.shape_types, layer.features, layer.axes, known=layer.rois
    )
    assert found == rois


def test_needs_no_napari() -> None:
    code = (
        "import sys, polystore_napari.drawn, polystore_napari.shapes\n"
        "print(*{m.partition('.')[0] for m in sys.modules} & {'napari', 'qtpy', 'PyQt6'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")
