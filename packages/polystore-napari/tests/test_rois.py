import math
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polystore_core.errors import InvalidOptionError, UnsupportedDataError
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

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # napari's own use of pydantic
    from napari.components import ViewerModel

pytestmark = pytest.mark.screen

SQUARE = [(1.1, 1.2), (1.1, 9.3), (9.4, 9.3), (9.4, 1.2)]
HOLE = [(3.1, 3.2), (3.1, 5.3), (5.4, 5.3), (5.4, 3.2)]
EXAMPLES: list[Shape] = [
    Points([(0.1, 0.2)]),
    Points([(0.25, -3), (1e12, 1 / 3), (0.25, -3)]),
    Line([(0, 0.1), (3, 4)]),
    Polyline([(0, 0.1), (1, 2), (3, 5)]),
    Polygon(SQUARE),
    Polygon([(1e12, 1e12), (1e12, -1e12), (1 / 3, 1e-9)]),
    Rectangle((3, 12.5), (3, 6)),
    Rectangle((3, 12.5), (3, 6), 1030.1),
    Ellipse((3, 12.5), (3, 6), -45.5),
    Mask(np.eye(3, 11, dtype=bool), (-2, 7)),
    Composite([SQUARE, HOLE]),
]
PROPERTIES = {"stroke": {"color": "#ff0000", "width": 1.5}, "counters": [1, 2], "n": None}


def shown(viewer: ViewerModel, layer: RoiLayer) -> Any:
    return getattr(viewer, f"add_{layer.type}")(**layer.arguments)


def read(made: Any, layer: RoiLayer) -> list[ROI]:
    types = made.shape_type if layer.type == "shapes" else ()
    return from_layer(
        layer.type,
        made.data,
        types,
        made.features,
        layer.axes,
        known=layer.rois,
        to_pixels=layer.to_pixels,
    )


def pairs(rois: Sequence[ROI], sliders: Sequence[str] = ()) -> list[tuple[Any, RoiLayer]]:
    viewer = ViewerModel()
    return [(shown(viewer, layer), layer) for layer in to_layers(rois, sliders)]


def there_and_back(rois: Sequence[ROI], sliders: Sequence[str] = ()) -> list[ROI]:
    return [roi for made, layer in pairs(rois, sliders) for roi in read(made, layer)]


def only(rois: Sequence[ROI], sliders: Sequence[str] = ()) -> tuple[Any, RoiLayer]:
    ((made, layer),) = pairs(rois, sliders)
    return made, layer


def drawn(kind: str, data: Any, axes: Sequence[str] = ("y", "x")) -> list[ROI]:
    """What a user's own Shapes layer gives."""
    layer = ViewerModel().add_shapes([np.array(data)], shape_type=kind)
    return from_layer("shapes", layer.data, layer.shape_type, layer.features, axes)


def rounded(vertices: Any) -> Any:
    return np.array(vertices, np.float32)


def planes_that_show(layer: RoiLayer, at: tuple[float, float]) -> list[tuple[int, int]]:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((3, 4, 16, 16)))
    made = shown(viewer, layer)
    found = []
    for plane in np.ndindex(3, 4):
        viewer.dims.current_step = (*plane, 0, 0)
        value = made.get_value((*plane, *at), world=True)
        value = value[0] if layer.type == "shapes" else value
        if value is not None and (layer.type != "labels" or value > 0):
            found.append(plane)
    return found


# ── there and back ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "position", [Position(), Position(z=3, t=0), Position(z=2), Position(t=2), Position(c=1)]
)
@pytest.mark.parametrize("sliders", [(), ("t", "z")])
def test_every_shape_returns(sliders: Sequence[str], position: Position) -> None:
    rois = [ROI(shape, "kern ä\0", position, PROPERTIES) for shape in EXAMPLES]
    assert Counter(there_and_back(rois, sliders)) == Counter(rois)


def test_no_rois_no_layers() -> None:
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
    """Stars: over outlines that cross themselves napari's triangulators fail now and then."""
    y, x = draw(points)
    radii = draw(st.lists(st.floats(1, 1e3), min_size=3, max_size=7))
    turns = [math.tau * (at + 0.5) / len(radii) for at in range(len(radii))]
    return [
        (y + r * math.sin(turn), x + r * math.cos(turn))
        for r, turn in zip(radii, turns, strict=True)
    ]


@st.composite
def composites(draw: st.DrawFn) -> Composite:
    """Outlines side by side."""
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
    assert Counter(there_and_back(rois, sliders)) == Counter(rois)


@settings(max_examples=examples(60))
@given(st.lists(masks(), min_size=2, max_size=9))
def test_masks_overlap_without_loss(masks: list[Mask]) -> None:
    rois = [ROI(mask, str(at), Position(z=at % 2)) for at, mask in enumerate(masks)]
    assert Counter(there_and_back(rois, ("z",))) == Counter(rois)


def test_equal_rois_stay_apart() -> None:
    rois = [ROI(shape) for shape in EXAMPLES for _ in range(2)]
    assert Counter(there_and_back(rois)) == Counter(rois)


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


# ── where they are shown ─────────────────────────────────────────────────────────────────


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
def test_shown_on_its_planes(
    shape: Shape, position: Position, axes: Sequence[str], planes: list[tuple[int, int]]
) -> None:
    (layer,) = to_layers([ROI(shape, position=position)], ("t", "z"))
    assert layer.axes == tuple(axes)
    assert planes_that_show(layer, (5, 5)) == planes


def test_stretched_axis_keeps_sliders() -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((3, 4, 16, 16)))
    before = viewer.dims.range
    for shape in (Rectangle((5, 5), (4, 4)), Points([(5, 5)]), Mask(np.ones((9, 9), bool))):
        (layer,) = to_layers([ROI(shape, position=Position(t=1))], ("t", "z"))
        shown(viewer, layer)
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


# ── changed by a user ────────────────────────────────────────────────────────────────────

MOVABLE = [EXAMPLES[at] for at in (2, 3, 4, 6, 7, 8, 10)]
KEPT = ("kern", Position(c=4, z=1), {"class": "mitotic"})


@pytest.mark.parametrize("shape", MOVABLE, ids=repr)
def test_moved_shape_keeps_the_rest(shape: Shape) -> None:
    made, layer = only([ROI(shape, *KEPT)], ("t", "z"))
    made.data = [vertices + np.array((1, 8, -16)) for vertices in made.data]
    (found,) = read(made, layer)
    assert (found.name, found.properties) == ("kern", KEPT[2])
    assert found.position == Position(c=4, z=2)
    expected = shape.translated(8, -16)
    assert type(found.shape) is type(shape)
    np.testing.assert_allclose(found.shape.bounds, expected.bounds, rtol=1e-6, atol=1e-5)
    if isinstance(found.shape, Rectangle | Ellipse) and isinstance(shape, Rectangle | Ellipse):
        assert found.shape.angle == pytest.approx(shape.angle, abs=1e-4)
        assert found.shape.size == pytest.approx(shape.size, rel=1e-5)


def test_moved_point_keeps_its_group() -> None:
    groups = [ROI(Points([(1, 2), (3, 4)]), *KEPT), ROI(Points([(1, 2), (5, 6)]), "other")]
    made, layer = only(groups)
    made.data[1] = (3.5, 4.5)
    made.selected_data = {2}
    made.remove_selected()
    assert read(made, layer) == [
        replace(groups[0], shape=Points([(1, 2), (3.5, 4.5)])),
        ROI(Points([(5, 6)]), "other"),
    ]


def test_added_point_joins_the_selected() -> None:
    made, layer = only([ROI(Points([(1, 2)]), *KEPT), ROI(Points([(3, 4)]))])
    made.add((7, 7))
    assert read(made, layer) == [*layer.rois, ROI(Points([(7, 7)]))]
    made.selected_data = {0}
    made.add((8, 8))
    joined = ROI(Points([(1, 2), (8, 8)]), *KEPT)
    assert read(made, layer) == [joined, *layer.rois[1:], ROI(Points([(7, 7)]))]


def test_moved_by_less_than_float32() -> None:
    roi = ROI(Polygon(SQUARE), *KEPT)
    made, layer = only([roi])
    made.data = [np.nextafter(vertices, np.float32(np.inf)) for vertices in made.data]
    assert read(made, layer) == [roi]


@pytest.mark.parametrize("shape", EXAMPLES, ids=repr)
def test_renamed_in_the_table(shape: Shape) -> None:
    made, layer = only([ROI(shape, *KEPT)])
    features = made.features.copy()
    features.loc[len(features) - 1, "name"] = "new"
    made.features = features
    assert read(made, layer) == [ROI(shape, "new", *KEPT[1:])]


def test_deleted_shapes_are_gone() -> None:
    rois = [ROI(shape, str(at)) for at, shape in enumerate(EXAMPLES[2:8])]
    made, layer = only(rois)
    made.selected_data = {0, 3}
    made.remove_selected()
    assert read(made, layer) == [rois[at] for at in (1, 2, 4, 5)]


def test_drawn_between_known() -> None:
    made, layer = only([ROI(Polygon(SQUARE), *KEPT)], ("z",))
    made.add_ellipses(np.array([(2, 0, 0), (2, 0, 8), (2, 4, 8), (2, 4, 0)]))
    drawn = ROI(Ellipse((2, 4), (4, 8)), position=Position(z=2))
    assert read(made, layer) == [*layer.rois, drawn]


@pytest.mark.parametrize("shape", [Polygon(SQUARE), Composite([SQUARE, HOLE])], ids=repr)
def test_copy_is_another(shape: Shape) -> None:
    made, layer = only([ROI(shape, *KEPT)])
    made.selected_data = set(range(len(made.data)))
    made._copy_data()
    made._paste_data()
    assert read(made, layer) == [*layer.rois, *layer.rois]


def test_composite_loses_a_part() -> None:
    made, layer = only([ROI(Composite([SQUARE, HOLE]), *KEPT)])
    made.selected_data = {1}
    made.remove_selected()
    (found,) = read(made, layer)
    assert found == ROI(Composite([rounded(SQUARE)]), *KEPT)


def test_labels_painted_between_known() -> None:
    masks = [Mask(np.ones((2, 2), bool), (2, 2)), Mask(np.ones((2, 2), bool), (5, 6))]
    rois = [ROI(mask, str(at), KEPT[1], KEPT[2]) for at, mask in enumerate(masks)]
    viewer = ViewerModel()
    (layer,) = to_layers(rois, ("z",), shape=(9, 9))
    made = shown(viewer, layer)
    made.data[0, 5, 6] = 9
    made.data[0, 0, 0] = 1
    pixels = [np.zeros((9, 9), bool) for _ in range(3)]
    pixels[0][2:4, 2:4] = pixels[0][0, 0] = True
    pixels[1][5:7, 6:8] = pixels[2][5, 6] = True
    pixels[1][5, 6] = False
    assert read(made, layer) == [
        replace(rois[0], shape=Mask(pixels[0])),
        replace(rois[1], shape=Mask(pixels[1])),
        ROI(Mask(pixels[2]), position=Position(z=1)),
    ]


def test_features_replaced_by_others() -> None:
    made, layer = only([ROI(Mask(np.ones((2, 2), bool)), *KEPT)])
    made.features = {"index": [1], "area": [4.0]}
    assert read(made, layer) == list(layer.rois)


# ── drawn by a user ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "data", "shape"),
    [
        ("rectangle", [(0, 0), (4, 0), (4, 8), (0, 8)], Rectangle((2, 4), (4, 8))),
        ("rectangle", [(4, 8), (4, 0), (0, 0), (0, 8)], Rectangle((2, 4), (4, 8))),
        ("rectangle", [(0, 0), (4, 8)], Rectangle((2, 4), (4, 8))),
        (
            "rectangle",
            [(0, 0), (4, 0), (4, 0), (0, 0)],
            Polygon([(0, 0), (4, 0), (4, 0), (0, 0)]),
        ),
        (
            "rectangle",
            [(0, 2), (4, 0), (4, 8), (0, 8)],
            Polygon([(0, 2), (4, 0), (4, 8), (0, 8)]),
        ),
        ("ellipse", [(0, 0), (0, 8), (4, 8), (4, 0)], Ellipse((2, 4), (4, 8))),
        (
            "ellipse",
            [(0, 0), (0, 8), (0, 8), (0, 0)],
            Polygon([(0, 0), (0, 8), (0, 8), (0, 0)]),
        ),
        ("polygon", SQUARE, Polygon(rounded(SQUARE))),
        ("polygon", SQUARE[:2], Line(rounded(SQUARE[:2]))),
        ("path", SQUARE, Polyline(rounded(SQUARE))),
        ("path", SQUARE[:2], Polyline(rounded(SQUARE[:2]))),
        ("line", SQUARE[:2], Line(rounded(SQUARE[:2]))),
    ],
)
def test_drawn_shapes_are_rois(kind: str, data: Any, shape: Shape) -> None:
    assert drawn(kind, data) == [ROI(shape)]


@pytest.mark.parametrize("made", [Rectangle, Ellipse])
@pytest.mark.parametrize("angle", [-44.9, -30.0, 0.0, 0.001, 44.9])
def test_turned_boxes_have_angles(made: type[Rectangle | Ellipse], angle: float) -> None:
    corners = Rectangle((50, 40), (10, 20), angle).corners
    ways = [np.roll(corners[::turn], first, axis=0) for first in range(4) for turn in (1, -1)]
    layer = ViewerModel().add_shapes(ways, shape_type=made.__name__.lower())
    found = from_layer("shapes", layer.data, layer.shape_type, layer.features, "yx")
    assert len(found) == 8
    for shape in (roi.shape for roi in found):
        assert isinstance(shape, made)
        assert shape.centre == pytest.approx((50, 40), abs=1e-4)
        assert shape.size == pytest.approx((10, 20), abs=1e-4)
        assert shape.angle == pytest.approx(angle, abs=1e-4)


def test_skewed_ellipse_is_another() -> None:
    corners = Rectangle((16.3, 15.8), (8, 22), 40).corners * (1, 1.5)
    (found,) = drawn("ellipse", corners)
    assert isinstance(found.shape, Ellipse)
    layer = ViewerModel().add_shapes([corners], shape_type="ellipse")
    inside = found.shape.to_mask((40, 40))
    assert np.count_nonzero(inside != layer.to_masks((40, 40))[0]) <= 4
    # Every point of the outline that napari draws: cos and sin of the half sides.
    angles = np.linspace(0, math.tau, 13)[:, None]
    halves = np.diff(corners[:3], axis=0) / 2
    outline = np.hstack((np.cos(angles), np.sin(angles))) @ halves
    axes = Rectangle((0, 0), found.shape.size, found.shape.angle).corners
    directions = np.array((axes[1] - axes[0], axes[3] - axes[0])) / 2
    across = outline @ directions.T / (directions**2).sum(axis=1)
    np.testing.assert_allclose(np.hypot(*across.T), 1, rtol=1e-5)


def test_leading_coordinates_are_planes() -> None:
    plane = np.full((4, 2), (1.2, 2.9))
    data = np.hstack((plane, np.array(SQUARE)))
    expected = ROI(Polygon(rounded(SQUARE)), position=Position(t=1, z=3))
    assert drawn("polygon", data, ("t", "z", "y", "x")) == [expected]
    (found,) = drawn("polygon", data, ("well", "z", "y", "x"))
    assert (found.position, dict(found.properties)) == (Position(z=3), {"well": 1})
    (found,) = drawn("polygon", data, ("t", "", "y", "x"))
    assert found.position == Position(t=1)


def test_shape_across_planes_is_refused() -> None:
    with pytest.raises(UnsupportedDataError, match=r"path 0 .* several planes"):
        drawn("path", [(0, 1, 1), (1, 1, 1)], ("z", "y", "x"))


def test_planes_before_the_first_are_refused() -> None:
    with pytest.raises(UnsupportedDataError, match=r"\[-2.0, 1.0, 1.0\] .* outside all planes"):
        drawn("path", [(-2, 1, 1), (-2, 1, 2)], ("z", "y", "x"))


def test_axes_must_fit_data() -> None:
    with pytest.raises(InvalidOptionError, match="axes"):
        drawn("path", [(0, 1, 1), (1, 1, 1)], ("t", "z", "y", "x"))


def test_drawn_points_by_plane() -> None:
    layer = ViewerModel().add_points([(0, 1, 2), (1, 3, 4), (0, 5, 6)])
    found = from_layer("points", layer.data, (), layer.features, ("z", "y", "x"))
    assert found == [
        ROI(Points([(1, 2), (5, 6)]), position=Position(z=0)),
        ROI(Points([(3, 4)]), position=Position(z=1)),
    ]


def test_painted_labels_by_plane() -> None:
    layer = ViewerModel().add_labels(np.zeros((2, 8, 8), np.uint8))
    layer.data[0, 2:4, 3] = layer.data[1, 2, 3] = 7
    layer.data[1, 5, 5] = 2
    found = from_layer("labels", layer.data, (), layer.features, ("z", "y", "x"))
    assert found == [
        ROI(Mask(np.ones((2, 1), bool), (2, 3)), position=Position(z=0)),
        ROI(Mask(np.ones((1, 1), bool), (5, 5)), position=Position(z=1)),
        ROI(Mask(np.ones((1, 1), bool), (2, 3)), position=Position(z=1)),
    ]


def test_drawn_in_other_units() -> None:
    layer = ViewerModel().add_shapes([[(0, 0), (0, 8), (4, 8), (4, 0)]], scale=(0.5, 0.5))
    found = from_layer(
        "shapes", layer.data, layer.shape_type, {}, "yx", to_pixels=lambda data: data * 0.5 + 1
    )
    assert found == [ROI(Rectangle((2, 3), (2, 4)))]


def test_labels_of_other_pixels_are_refused() -> None:
    labels = np.ones((8, 8), int)
    assert len(from_layer("labels", labels, (), {}, "yx", to_pixels=lambda data: data + 3)) == 1
    with pytest.raises(UnsupportedDataError, match="do not match those of the image"):
        from_layer("labels", labels, (), {}, "yx", to_pixels=lambda data: data * 0.5)
    with pytest.raises(UnsupportedDataError, match="do not match those of the image"):
        from_layer("labels", labels, (), {}, "yx", to_pixels=lambda data: data + 0.5)


# ── many ─────────────────────────────────────────────────────────────────────────────────


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
