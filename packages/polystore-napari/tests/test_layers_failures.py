"""Updates that fail in napari or in a plugin change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.rois import ROI

from .sending import one
from .windows import BOX, MASK, ONE_OF_EACH, PLANE, ZSTACK, Window, draw

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.screen


class Trap:
    """A plugin that raises once, at a change in napari, after some other changes."""

    def __init__(self, event: Any, after: int = 0) -> None:
        self.event, self.left = event, after

    def __call__(self, event: Any) -> None:
        self.left -= 1
        if self.left == -1:
            raise RuntimeError("a plugin has failed")

    def spring(self, save: Callable[[], Any]) -> bool:
        """Save while the plugin listens. Return whether the plugin made the save fail."""
        self.event.connect(self)
        try:
            save()
        except Exception as error:
            if "plugin" not in f"{error} {error.__cause__}":
                raise
            return True
        finally:
            self.event.disconnect(self)
        return False


def read_look(layer: Any) -> list[Any]:
    names = ("edge_color", "face_color", "edge_width", "size", "scale", "translate", "colormap")
    return [repr(getattr(layer, name, None)) for name in (*names, "features", "selected_data")]


@pytest.mark.parametrize("ndisplay", [2, 3])
@pytest.mark.parametrize("event", ["data", "features", "scale", "set_data"])
@pytest.mark.parametrize("roi", ONE_OF_EACH)
@pytest.mark.parametrize("after", [0, 1])
def test_failed_update_of_rois(
    window: Window, roi: ROI, event: str, ndisplay: int, after: int
) -> None:
    """If napari or a plugin raises, all layers of the path stay as before, and later saves work."""
    window.save(np.zeros((4, 20, 30), "u1"), scale=(1, 0.5, 0.5))
    window.save(ONE_OF_EACH, "r.roi")
    window.model.dims.ndisplay = ndisplay
    layers = list(window.model.layers)
    layer = layers[1 + ONE_OF_EACH.index(roi)]
    draw(layer)
    if roi is not MASK:
        layer.face_color = ["red", "blue", "green"][: len(layer.data)]
        layer.selected_data = {0}
    before, look = list(window.layers.rois()), read_look(layer)
    moved = [ROI(one.shape.translate(3, 0)) for one in ONE_OF_EACH]
    if Trap(getattr(layer.events, event), after).spring(lambda: window.save(moved, "r.roi")):
        assert list(window.layers.rois()) == before
        assert list(window.model.layers) == layers
        assert read_look(layer) == look
    else:
        assert {roi.name for roi in window.layers.rois()} == {""}
    window.save([BOX], "r.roi")
    assert BOX in window.layers.rois()


@pytest.mark.parametrize("event", ["data", "scale", "set_data", "colormap"])
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("value", [PLANE + 1, np.ones((6, 7), "u1"), np.ones((2, 4, 5), "u2")])
def test_failed_update_of_image(window: Window, value: Any, labels: bool, event: str) -> None:
    """If the update of an image fails, its pixels and look stay, and later saves work."""
    look = {} if labels else {"colormap": "magma"}
    window.save(PLANE, labels=labels, scale=(1, 1), **look)
    layer = window.only
    before = read_look(layer)
    new: dict[str, Any] = {} if labels else {"colormap": "viridis"}
    new["scale"] = (1,) * (value.ndim - 2) + (2, 3)
    trap = Trap(getattr(layer.events, event, layer.events.data))
    if trap.spring(lambda: window.save(value, labels=labels, **new)):
        kind = "labels" if labels else "image"
        assert np.array_equal(window.pixels("a.npy", kind), PLANE)
        assert np.array_equal(np.asarray(window.only.data), PLANE)
        assert read_look(window.only) == before
    for image in (value, PLANE):
        window.save(image, labels=labels)
        assert np.array_equal(np.asarray(window.only.data), image)


def test_failed_slice_is_removed(window: Window) -> None:
    """A slice that cannot be shown is not in the stack, but earlier slices are."""
    window.save(PLANE, "A01_z1.npy", names=ZSTACK)
    slices = [one(PLANE, f"A01_z{z}.npy", names=ZSTACK) for z in (2, 3)]
    assert Trap(window.only.events.data).spring(lambda: window.show(*slices))
    assert window.only.data.shape == (1, 1, 4, 5)
    assert window.pixels("A01_z2.npy") is None
    window.save(PLANE, "A01_z2.npy", names=ZSTACK)
    assert window.only.data.shape == (1, 2, 4, 5)


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize(
    ("value", "look"),
    [(np.zeros((3, 4, 5), "u2"), {"channels": ["A", "B", "C"]}), (ONE_OF_EACH, {})],
    ids=["channels", "rois"],
)
def test_failed_value_leaves_no_layer(
    window: Window, value: Any, look: dict[str, Any], after: int
) -> None:
    """If one channel or one kind of ROIs cannot be shown, the whole value is not shown."""
    window.model.add_image(np.zeros((7, 8)), name="mine")
    selected = set(window.model.layers.selection)
    trap = Trap(window.model.layers.events.inserted, after)
    assert trap.spring(lambda: window.save(value, **look))
    assert window.names == ["mine"]
    assert set(window.model.layers.selection) == selected
    window.save(value, **look)
    assert len(window.names) == 4


def test_clear_survives_a_failure(window: Window) -> None:
    """If a plugin fails at the removal of a layer, all other layers are still removed."""
    window.save(np.zeros((3, 4, 5), "u2"), channels=["A", "B", "C"])
    window.save(ONE_OF_EACH, "r.roi")
    assert Trap(window.model.layers.events.removed).spring(window.layers.clear)
    assert window.names == []
    window.layers.clear()


def test_failure_is_limited_to_one_value(window: Window) -> None:
    """A value that napari cannot show has an error, and the values next to it are shown."""
    deliveries = [window._delivery(*one(PLANE, path)) for path in ("a.npy", "b.npy", "c.npy")]
    deliveries[1].data = np.full((4, 5), "text")  # a producer cannot send this
    _, failed = window.layers.show(deliveries)
    assert list(failed) == [deliveries[1]]
    assert {"a", "c"} <= {*window.names}
