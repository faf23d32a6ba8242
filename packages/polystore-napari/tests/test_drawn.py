"""ROIs that a user has changed or drawn in napari's layers."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from polystore_core.errors import InvalidOptionError, UnsupportedDataError
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
from polystore_napari.drawn import from_layer
from polystore_napari.rois import to_layers

from .roi_examples import EXAMPLES, HOLE, SQUARE, add_layer, only, read

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # from napari's own use of pydantic
    from napari.components import ViewerModel

pytestmark = pytest.mark.screen


def draw_shape(kind: str, data: Any, axes: Sequence[str] = ("y", "x")) -> list[ROI]:
    """Return the ROIs of a user's own Shapes layer with this shape."""
    layer = ViewerModel().add_shapes([np.array(data)], shape_type=kind)
    return from_layer("shapes", layer.data, layer.shape_type, layer.features, axes)


def round_to_float32(vertices: Any) -> Any:
    return np.array(vertices, np.float32)


# ── ROIs that a user changes ─────────────────────────────────────────────────────────────


MOVABLE = [EXAMPLES[at] for at in (2, 3, 4, 6, 7, 8, 10)]
KEPT = ("kern", Position(c=4, z=1), {"class": "mitotic"})


@pytest.mark.parametrize("shape", MOVABLE, ids=repr)
def test_moved_shape_keeps_the_rest(shape: Shape) -> None:
    made, layer = only([ROI(shape, *KEPT)], ("t", "z"))
    made.data = [vertices + np.array((1, 8, -16)) for vertices in made.data]
    (found,) = read(made, layer)
    assert (found.name, found.properties) == ("kern", KEPT[2])
    assert found.position == Position(c=4, z=2)
    expected = shape.translate(8, -16)
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


def test_move_within_float32_is_ignored() -> None:
    roi = ROI(Polygon(SQUARE), *KEPT)
    made, layer = only([roi])
    made.data = [np.nextafter(vertices, np.float32(np.inf)) for vertices in made.data]
    assert read(made, layer) == [roi]


@pytest.mark.parametrize("shape", EXAMPLES, ids=repr)
def test_name_changed_in_the_table(shape: Shape) -> None:
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


def test_drawn_shape_is_added() -> None:
    made, layer = only([ROI(Polygon(SQUARE), *KEPT)], ("z",))
    made.add_ellipses(np.array([(2, 0, 0), (2, 0, 8), (2, 4, 8), (2, 4, 0)]))
    drawn = ROI(Ellipse((2, 4), (4, 8)), position=Position(z=2))
    assert read(made, layer) == [*layer.rois, drawn]


@pytest.mark.parametrize("shape", [Polygon(SQUARE), Composite([SQUARE, HOLE])], ids=repr)
def test_copy_is_another_roi(shape: Shape) -> None:
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
    assert found == ROI(Composite([round_to_float32(SQUARE)]), *KEPT)


def test_painted_label_is_added() -> None:
    masks = [Mask(np.ones((2, 2), bool), (2, 2)), Mask(np.ones((2, 2), bool), (5, 6))]
    rois = [ROI(mask, str(at), KEPT[1], KEPT[2]) for at, mask in enumerate(masks)]
    viewer = ViewerModel()
    (layer,) = to_layers(rois, ("z",), shape=(9, 9))
    made = add_layer(viewer, layer)
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


def test_replaced_features_are_ignored() -> None:
    made, layer = only([ROI(Mask(np.ones((2, 2), bool)), *KEPT)])
    made.features = {"index": [1], "area": [4.0]}
    assert read(made, layer) == list(layer.rois)


# ── ROIs that a user draws ───────────────────────────────────────────────────────────────


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
        ("polygon", SQUARE, Polygon(round_to_float32(SQUARE))),
        ("polygon", SQUARE[:2], Line(round_to_float32(SQUARE[:2]))),
        ("path", SQUARE, Polyline(round_to_float32(SQUARE))),
        ("path", SQUARE[:2], Polyline(round_to_float32(SQUARE[:2]))),
        ("line", SQUARE[:2], Line(round_to_float32(SQUARE[:2]))),
    ],
)
def test_drawn_shapes_are_rois(kind: str, data: Any, shape: Shape) -> None:
    assert draw_shape(kind, data) == [ROI(shape)]


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


def test_skewed_ellipse_is_an_ellipse() -> None:
    corners = Rectangle((16.3, 15.8), (8, 22), 40).corners * (1, 1.5)
    (found,) = draw_shape("ellipse", corners)
    assert isinstance(found.shape, Ellipse)
    layer = ViewerModel().add_shapes([corners], shape_type="ellipse")
    inside = found.shape.to_mask((40, 40))
    assert np.count_nonzero(inside != layer.to_masks((40, 40))[0]) <= 4
    # Every point of napari's outline is cos and sin times the half sides.
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
    expected = ROI(Polygon(round_to_float32(SQUARE)), position=Position(t=1, z=3))
    assert draw_shape("polygon", data, ("t", "z", "y", "x")) == [expected]
    (found,) = draw_shape("polygon", data, ("well", "z", "y", "x"))
    assert (found.position, dict(found.properties)) == (Position(z=3), {"well": 1})
    (found,) = draw_shape("polygon", data, ("t", "", "y", "x"))
    assert found.position == Position(t=1)


def test_shape_across_planes_is_refused() -> None:
    with pytest.raises(UnsupportedDataError, match=r"path 0 .* several planes"):
        draw_shape("path", [(0, 1, 1), (1, 1, 1)], ("z", "y", "x"))


def test_planes_before_the_first_are_refused() -> None:
    with pytest.raises(UnsupportedDataError, match=r"\[-2.0, 1.0, 1.0\] .* outside all planes"):
        draw_shape("path", [(-2, 1, 1), (-2, 1, 2)], ("z", "y", "x"))


def test_axes_must_fit_data() -> None:
    with pytest.raises(InvalidOptionError, match="axes"):
        draw_shape("path", [(0, 1, 1), (1, 1, 1)], ("t", "z", "y", "x"))


def test_drawn_points_are_grouped_by_plane() -> None:
    layer = ViewerModel().add_points([(0, 1, 2), (1, 3, 4), (0, 5, 6)])
    found = from_layer("points", layer.data, (), layer.features, ("z", "y", "x"))
    assert found == [
        ROI(Points([(1, 2), (5, 6)]), position=Position(z=0)),
        ROI(Points([(3, 4)]), position=Position(z=1)),
    ]


def test_painted_labels_are_separated_by_plane() -> None:
    layer = ViewerModel().add_labels(np.zeros((2, 8, 8), np.uint8))
    layer.data[0, 2:4, 3] = layer.data[1, 2, 3] = 7
    layer.data[1, 5, 5] = 2
    found = from_layer("labels", layer.data, (), layer.features, ("z", "y", "x"))
    assert found == [
        ROI(Mask(np.ones((2, 1), bool), (2, 3)), position=Position(z=0)),
        ROI(Mask(np.ones((1, 1), bool), (5, 5)), position=Position(z=1)),
        ROI(Mask(np.ones((1, 1), bool), (2, 3)), position=Position(z=1)),
    ]


def test_drawn_shapes_are_converted_to_pixels() -> None:
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
