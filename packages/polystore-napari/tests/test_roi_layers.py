"""ROIs as layers of a window: replaced in place, laid over the image, and read back."""

from __future__ import annotations

import numpy as np
import pytest

from polystore_core.errors import InvalidOptionError
from polystore_core.rois import ROI, Ellipse, Mask, Polygon, Position, Rectangle

from .sending import one
from .windows import BOX, PLANE, SPOTS, Window

pytestmark = pytest.mark.screen


def test_rois_are_replaced_in_place(window: Window) -> None:
    """Further, other, fewer and no ROIs of a path are all shown by the same layer."""
    ring = ROI(Ellipse((8, 8), (4, 4)), "ring")
    moved = ROI(Rectangle((5, 6), (2, 4)), "nucleus")
    window.save([BOX], "r.roi")
    layer = window.only
    for rois in ([BOX, ring], [moved, ring], [ring], [], [BOX], [], []):
        window.save(rois, "r.roi")
        assert window.only is layer
        assert list(window.layers.rois()) == rois
        assert len(layer.data) == len(rois)
        assert list(layer.features["name"]) == [roi.name for roi in rois]


def test_kinds_of_rois_are_layers(window: Window) -> None:
    """Shapes, points and masks have a layer each. A layer without ROIs is emptied and kept."""
    mask = ROI(Mask(np.ones((2, 3), bool), (1, 1)), "mask")
    window.save(PLANE)
    window.save([BOX, SPOTS, mask], "r.roi")
    layers = list(window.model.layers)
    assert [layer._type_string for layer in layers] == ["image", "shapes", "points", "labels"]
    for rois in ([mask], [SPOTS], [BOX], [], [BOX, SPOTS, mask]):
        window.save(rois, "r.roi")
        assert list(window.model.layers) == layers
        assert list(window.layers.rois()) == rois


def test_overlapping_masks_stay_apart(window: Window) -> None:
    """Masks that overlap have layers of their own, which later saves use again."""
    masks = [ROI(Mask(np.ones((3, 3), bool), (n, n)), f"m{n}") for n in range(3)]
    window.save(masks, "r.roi")
    layers = list(window.model.layers)
    assert len(layers) == 3
    window.save(masks[:1], "r.roi")
    window.save(masks, "r.roi")
    assert list(window.model.layers) == layers
    assert sorted(roi.name for roi in window.layers.rois()) == ["m0", "m1", "m2"]


def test_masks_may_move(window: Window) -> None:
    """A mask that moves to the left of the image and back is read at its saved position."""
    window.save(PLANE)
    for origin in ((1, 1), (-3, -2), (1, 1), (50, 60)):
        roi = ROI(Mask(np.ones((2, 3), bool), origin))
        window.save([roi], "r.roi")
        assert list(window.layers.rois()) == [roi]
    assert len(window.model.layers) == 2


def test_rois_lie_on_scaled_image(window: Window) -> None:
    """ROIs are in pixels, so over an image with a pixel size they lie at the right place."""
    mask = ROI(Mask(np.ones((2, 3), bool), (1, 1)))
    window.save(PLANE, scale=(0.5, 0.25), units="um")
    window.save([BOX, SPOTS, mask], "r.roi")
    shapes, points, labels = list(window.model.layers)[1:]
    assert shapes.data_to_world((3, 4)) == (1.5, 1.0)
    assert points.data_to_world((3, 4)) == (1.5, 1.0)
    assert labels.data_to_world((1, 1)) == (0.5, 0.25)
    assert [str(unit) for unit in shapes.units] == ["micrometer"] * 2
    assert list(window.layers.rois()) == [BOX, SPOTS, mask]


def test_rois_before_scaled_image(window: Window) -> None:
    """ROIs that arrive before the image, or before its pixel size, are laid over it."""
    window.save([BOX], "r.roi")
    for scale in (None, (0.5, 0.25), (3, 4)):
        window.save(PLANE, scale=scale)
        y, x = scale or (1, 1)
        assert window["r"].data_to_world((3, 4)) == (3 * y, 4 * x)
        assert list(window.layers.rois()) == [BOX]


@pytest.mark.parametrize("order", [1, -1])
def test_rois_and_image_in_one_burst(window: Window, order: int) -> None:
    """ROIs and their image may arrive in one burst, in any order."""
    mask = ROI(Mask(np.ones((2, 3), bool), (1, 1)))
    messages = [one(np.zeros((3, 4, 5), "u1"), scale=(2, 0.5, 0.25)), one([BOX, mask], "r.roi")]
    window.show(*messages[::order])
    assert list(window.layers.rois()) == [BOX, mask]
    assert window["r"].data_to_world((3, 4)) == (1.5, 1.0)


def test_rois_are_on_their_planes(window: Window) -> None:
    """A ROI with a position is only on its plane of the stack. Without one it is on all planes."""
    window.save(np.zeros((4, 20, 20), "u1"))
    fixed = ROI(Rectangle((3, 4), (2, 4)), "one", Position(z=2))
    window.save([fixed, BOX], "r.roi")
    on_plane, everywhere = list(window.model.layers)[1:]
    for z in range(4):
        window.model.dims.set_current_step(0, z)
        hit = on_plane.get_value((z, 3, 4), world=True)[0]
        assert (hit is not None) == (z == 2)
        assert everywhere.get_value((3, 4), world=True)[0] is not None
    assert list(window.layers.rois()) == [fixed, BOX]


def test_rois_by_layer_name(window: Window) -> None:
    """ROIs can be read from one layer. Images and streamed labels do not hold ROIs."""
    window.save(PLANE)
    window.save(PLANE, "l.npy", labels=True)
    window.save([BOX], "f/r.roi")
    window.save([SPOTS], "s.roi")
    assert list(window.layers.rois()) == [BOX, SPOTS]
    assert list(window.layers.rois("s")) == [SPOTS]
    with pytest.raises(InvalidOptionError, match=r"layer='nothing'.*'l labels', 'r', 's'"):
        list(window.layers.rois("nothing"))


def test_polygons_keep_vertices(window: Window) -> None:
    """A polygon is read with its own coordinates, not rounded to float32."""
    outline = [(0.1, 0.2), (0.3, 9.1), (7.7, 4.4)]
    roi = ROI(Polygon(outline), "cell", properties={"area": 3.5})
    window.save([roi], "r.roi")
    assert list(window.layers.rois()) == [roi]


def test_removed_roi_layer_is_made_again(window: Window) -> None:
    """If the user removes a layer of ROIs, the next save makes it again."""
    window.save(PLANE)
    window.save([BOX, SPOTS], "r.roi")
    window.model.layers.remove(window.model.layers[1])
    window.save([BOX, SPOTS], "r.roi")
    assert sorted(layer._type_string for layer in window.model.layers) == [
        "image",
        "points",
        "shapes",
    ]
    assert sorted(roi.name for roi in window.layers.rois()) == ["nucleus", "spots"]
