"""ROIs that a user draws: they stay, and are read in the pixels of the image."""

from __future__ import annotations

import numpy as np
import pytest

from polystore_core.rois import ROI, Points, Position, Rectangle

from .windows import BOX, ONE_OF_EACH, PLANE, Window, draw, planes

pytestmark = pytest.mark.screen


@pytest.mark.parametrize("shape", [(20, 30), (4, 20, 30)])
@pytest.mark.parametrize("ndisplay", [2, 3])
@pytest.mark.parametrize("roi", ONE_OF_EACH)
def test_drawings_stay(window: Window, roi: ROI, ndisplay: int, shape: tuple[int, ...]) -> None:
    """The pipeline replaces its own ROIs in 2-D and 3-D, and the user's ROIs stay."""
    window.save(np.zeros(shape, "u1"))
    window.save([roi], "r.roi")
    layer = window.model.layers[-1]
    layer.name, layer.opacity = "mine", 0.25
    drawn = draw(layer)
    moved = ROI(roi.shape.translate(2, 0), "moved")
    for display, rois in ((ndisplay, [moved]), (2, []), (ndisplay, [moved, roi]), (2, [roi])):
        window.model.dims.ndisplay = display
        window.save(rois, "r.roi")
        assert list(window.layers.rois()) == [*rois, drawn]
    assert window.names == ["a", "mine"]
    assert window["mine"].opacity == 0.25


def test_drawings_on_planes_stay(window: Window) -> None:
    """Drawings stay on their plane of a stack, and copies keep name and properties."""
    window.save(np.zeros((4, 20, 30), "u1"))
    fixed = ROI(Rectangle((3, 4), (2, 4)), "one", Position(z=2), {"area": 8})
    window.save([fixed], "r.roi")
    layer = window["r"]
    layer.add_rectangles(np.array([(1, 0, 0), (1, 0, 4), (1, 2, 4), (1, 2, 0)]))
    layer.selected_data = {0}
    layer._copy_data()
    layer._paste_data()
    drawn = ROI(Rectangle((1, 2), (2, 4)), position=Position(z=1))
    copied = list(window.layers.rois())[2]
    assert (copied.name, copied.properties) == ("one", {"area": 8})
    for display in (3, 2, 3):
        window.model.dims.ndisplay = display
        window.save([], "r.roi")
        assert list(window.layers.rois()) == [drawn, copied]


def test_drawings_may_be_saved(window: Window) -> None:
    """A script that reads all ROIs and saves them has each of them once."""
    window.save(PLANE)
    window.save(ONE_OF_EACH, "r.roi")
    for layer in list(window.model.layers)[1:]:
        draw(layer)
    for _ in range(2):
        rois = list(window.layers.rois())
        assert len(rois) == 6
        window.save(rois, "r.roi")
    assert {roi.name for roi in window.layers.rois()} == {"nucleus", "spots", "mask", ""}


def test_drawn_rectangle_is_in_pixels(window: Window) -> None:
    """A ROI that a user draws over a scaled image is read in the pixels of that image."""
    window.save(PLANE, scale=(0.5, 0.25), units="um")
    own = window.model.add_shapes(
        [[(1, 1), (1, 2), (2, 2), (2, 1)]], shape_type="rectangle", name="mine"
    )
    assert [str(unit) for unit in own.units] == ["pixel", "pixel"] or own.units
    assert list(window.layers.rois("mine")) == [ROI(Rectangle((3, 6), (2, 4)))]


def test_drawn_roi_has_its_plane(window: Window) -> None:
    """A ROI that a user draws on a plane of a stack has the position of the plane."""
    window.save_batch(planes(3), ["z0.npy", "z1.npy", "z2.npy"], names="z{z}.npy")
    window.model.add_points([(1, 2, 3)], name="mine")
    assert list(window.layers.rois()) == [ROI(Points([(2, 3)]), position=Position(z=1))]


def test_drawing_in_streamed_layer_is_read(window: Window) -> None:
    """A ROI that a user draws in a streamed layer is read with the streamed ROIs."""
    window.save(PLANE)
    window.save([BOX], "r.roi")
    layer = window["r"]
    layer.add_rectangles(np.array([(0, 0), (2, 4)]))
    assert list(window.layers.rois()) == [BOX, ROI(Rectangle((1, 2), (2, 4)))]


def test_moved_roi_keeps_name(window: Window) -> None:
    """A ROI that the user moves keeps its name."""
    window.save([BOX], "r.roi")
    layer = window.only
    layer.data = [(np.asarray(layer.data[0]) + np.array((1, 2)), "rectangle")]
    assert list(window.layers.rois()) == [ROI(Rectangle((4, 6), (2, 4)), "nucleus")]
