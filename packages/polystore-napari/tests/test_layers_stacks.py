"""Stacks of one window: their growth, their updates and their sliders."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from polystore_core.errors import UnsupportedDataError
from polystore_stream import Layout

from .sending import batch, one
from .windows import PLANE, ZSTACK, Window, planes

pytestmark = pytest.mark.screen


# ── stacks ───────────────────────────────────────────────────────────────────────────────


def test_stack_grows_out_of_order(window: Window) -> None:
    """Slices are in natural order, in any order of arrival. Missing slices are black."""
    for z in (10, 2, 7):
        window.save(np.full((4, 5), z, "u2"), f"A01_z{z}.npy", names=ZSTACK)
    window.save(np.full((4, 5), 99, "u2"), "A02_z7.npy", names=ZSTACK)
    layer = window.only
    assert layer.axis_labels == ("well", "z", "y", "x")
    assert np.asarray(layer.data)[..., 0, 0].tolist() == [[2, 7, 10], [0, 99, 0]]
    assert window.pixels("A01_z10.npy")[0, 0] == 10


def test_growing_keeps_layer(window: Window) -> None:
    """A stack that grows keeps its layer and the user's settings."""
    window.save(PLANE, "A01_z1.npy", names=ZSTACK)
    layer = window.only
    layer.name, layer.opacity, layer.visible = "mine", 0.5, False
    layer.contrast_limits, layer.colormap = (3, 17), "viridis"
    for z in (3, 2):
        window.save(PLANE, f"A01_z{z}.npy", names=ZSTACK)
    assert window.only is layer
    assert layer.data.shape == (1, 3, 4, 5)
    assert (layer.name, layer.opacity, layer.visible) == ("mine", 0.5, False)
    assert layer.contrast_limits == [3, 17]
    assert layer.colormap.name == "viridis"


def test_update_is_in_place(window: Window) -> None:
    """A second save at a path changes the pixels of its layer and the screen."""
    window.save(PLANE)
    layer = window.only
    layer.contrast_limits = (3, 17)
    window.save(PLANE + 100)
    assert window.only is layer
    assert np.array_equal(window.read_slice(layer), PLANE + 100)
    assert layer.contrast_limits == [3, 17]


def test_single_slice_is_updated(window: Window) -> None:
    """A path of a series that is saved alone changes its slice, also on the screen."""
    window.save_batch(planes(3), ["c_0.npy", "c_1.npy", "c_2.npy"])
    layer = window.only
    window.save(np.full((4, 5), 77, "u2"), "c_1.npy")
    assert np.asarray(layer.data)[:, 0, 0].tolist() == [0, 77, 20]
    assert window.step[0] == 1
    assert window.read_slice(layer)[0, 0] == 77
    window.save(np.full((4, 5), 78, "u2"), "c_1.npy")
    assert window.read_slice(layer)[0, 0] == 78


def test_newest_of_a_burst_is_shown(window: Window) -> None:
    """If many values arrive together for one place, the last is shown. The others are reported."""
    superseded = window.show(*(one(plane) for plane in planes(5)))
    assert len(superseded) == 4
    assert window.pixels("a.npy")[0, 0] == 40
    assert window.read_slice(window.only)[0, 0] == 40


@pytest.mark.parametrize("value", [np.full((4, 5), 0.5, "f4"), np.full((6, 7), 900, "u2")])
def test_single_image_restarts(window: Window, value: Any) -> None:
    """A path alone in its layer may get another shape or type, with new contrast limits."""
    window.save(PLANE)
    layer = window.only
    layer.contrast_limits = (3, 17)
    window.save(value)
    assert window.only is layer
    assert np.array_equal(np.asarray(layer.data), value)
    assert np.array_equal(window.read_slice(layer), value)
    assert layer.contrast_limits == [0, value[0, 0]]


@pytest.mark.parametrize(
    ("value", "axes"),
    [(np.full((2, 4, 5), 9, "u2"), "zyx"), (np.full((4, 5, 3), 9, "u1"), "yxs")],
)
def test_single_image_changes_axes(window: Window, value: Any, axes: str) -> None:
    """A path may become a volume or RGB, and plain again, and keeps its position and name."""
    window.save(PLANE, "a.npy")
    window.save(PLANE, "b.npy")
    window["a"].name = "mine"
    for image, letters in ((value, axes), (PLANE, "yx")):
        window.save(image, "a.npy", axes=letters)
        assert window.names == ["mine", "b"]
        layer = window["mine"]
        assert layer.rgb == letters.endswith("s")
        assert layer.axis_labels == tuple(letters.rstrip("s"))
        assert np.array_equal(np.asarray(layer.data), image)
        assert np.array_equal(window.pixels("a.npy"), image)
    window.save(PLANE + 1, "a.npy")
    assert np.array_equal(window.read_slice(window["mine"]), PLANE + 1)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("value", [np.full((4, 5), 0.5, "f4"), np.full((6, 7), 900, "u2")])
def test_whole_batch_restarts(window: Window, value: Any, together: bool) -> None:
    """A full batch of another kind replaces the stack, shown in one burst or not."""
    paths = ["c_0.npy", "c_1.npy", "c_2.npy"]
    window.save_batch(planes(3), paths)
    layer = window.only
    messages = batch([value, value * 2, value * 3], paths)
    for group in [messages] if together else [[message] for message in messages]:
        window.show(*group)
    assert window.only is layer
    assert (layer.data.shape, layer.data.dtype) == ((3, *value.shape), value.dtype)
    assert np.array_equal(np.asarray(layer.data)[2], value * 3)
    assert np.array_equal(window.read_slice(layer), value * 3)
    assert layer.contrast_limits[0] == value[0, 0]


def test_restart_within_burst(window: Window) -> None:
    """A value that arrived before a restart, in the same burst, does no harm."""
    window.show(one(PLANE), one(np.full((6, 7), 0.5)), one(np.full((6, 7), 0.75)))
    assert np.array_equal(np.asarray(window.only.data), np.full((6, 7), 0.75))


def test_misfit_keeps_stack(window: Window) -> None:
    """A slice of another shape is refused, and nothing changes."""
    window.save_batch(planes(3), ["c_0.npy", "c_1.npy", "c_2.npy"])
    with pytest.raises(UnsupportedDataError, match="layer 'c' holds 3 of uint16"):
        window.save(np.zeros((6, 7)), "c_1.npy")
    assert np.asarray(window.only.data)[:, 0, 0].tolist() == [0, 10, 20]


def test_changed_look_is_applied(window: Window) -> None:
    """A changed look is applied, and a repeated one keeps the user's choice."""
    window.save(PLANE, colormap="magma", contrast_limits=(0, 9))
    layer = window.only
    layer.colormap = "viridis"
    window.save(PLANE, colormap="magma", contrast_limits=(0, 5))
    assert (layer.colormap.name, layer.contrast_limits) == ("viridis", [0, 5])


# ── sliders ──────────────────────────────────────────────────────────────────────────────


def test_slider_follows_newest(window: Window) -> None:
    """The newest slice is shown, also one between older slices."""
    for z, at in ((5, 0), (9, 1), (7, 1), (11, 3), (5, 0)):
        window.save(np.full((4, 5), z, "u2"), f"A01_z{z}.npy", names=ZSTACK)
        assert window.step[:2] == (0, at)
        assert window.read_slice(window.only)[0, 0] == z


def test_moved_slider_stays(window: Window) -> None:
    """A slider that the user moved stays, also after other images."""
    for z in range(4):
        window.save(PLANE, f"A01_z{z}.npy", names=ZSTACK)
    window.model.dims.set_current_step(1, 1)
    window.save(PLANE, "A01_z4.npy", names=ZSTACK)
    assert window.step[1] == 1
    window.save(PLANE, "other.npy")
    window.save(PLANE, "A01_z5.npy", names=ZSTACK)
    assert window.step[1] == 1


def test_slider_moved_after_image(window: Window) -> None:
    """A slider that the user moved stays, though an image without sliders arrived before."""
    for z in range(4):
        window.save(PLANE, f"A01_z{z}.npy", names=ZSTACK)
    window.save(PLANE, "other.npy")
    window.model.dims.set_current_step(1, 1)
    window.save(PLANE, "A01_z4.npy", names=ZSTACK)
    assert window.step[1] == 1


def test_own_axes_are_not_followed(window: Window) -> None:
    """The user chooses the plane of a volume, and an update does not change it."""
    volume = np.zeros((9, 4, 5), "u2")
    window.save(volume)
    window.model.dims.set_current_step(0, 2)
    window.save(volume + 1)
    assert window.step[0] == 2
    assert (window.read_slice(window.only) == 1).all()


def test_text_has_coordinates(window: Window) -> None:
    """A text has the well and plane of the sliders, for which napari has only numbers."""
    for path in ("A01_z3.npy", "A01_z12.npy", "B07_z3.npy"):
        window.save(PLANE, path, names=ZSTACK)
    assert window.text == "well B07   z 3"
    window.model.dims.set_current_step(0, 0)
    window.model.dims.set_current_step(1, 1)
    assert window.text == "well A01   z 12"


def test_text_of_series_is_plain(window: Window) -> None:
    """For a series without a template, the text is the part in which its file names differ."""
    window.save_batch(planes(2), ["cells_ctrl.npy", "cells_drug.npy"])
    assert window.text == "drug"
    window.model.dims.set_current_step(0, 0)
    assert window.text == "ctrl"


def test_text_needs_sliders(window: Window) -> None:
    """Without a slider the text is empty, also after its stack was removed."""
    window.save(PLANE)
    assert window.text == ""
    window.save_batch(planes(2), ["c_0.npy", "c_1.npy"])
    assert window.text == "1"
    window.model.layers.remove(window["c"])
    assert window.text == ""


def test_stacks_share_sliders(window: Window) -> None:
    """Two stacks share their sliders, and the text is that of the newest one."""
    for channel in "12":
        for z in range(3):
            window.save(PLANE, f"A01_w{channel}_z{z}.npy", names="{well}_w{w}_z{z}.npy")
    assert window.names == ["channel 1", "channel 2"]
    assert window.model.dims.ndim == 4
    assert window.step[:2] == (0, 2)
    assert window.text == "well A01   z 2"


def test_layout_chooses_sliders(window: Window) -> None:
    """A layout decides which names are layers and which are sliders."""
    layout = Layout(layer=("well",), slider=("z",))
    for path in ("A01_z1.npy", "A01_z2.npy", "A02_z1.npy"):
        window.save(PLANE, path, names=ZSTACK, layout=layout)
    assert [(layer.name, layer.data.shape) for layer in window.model.layers] == [
        ("A01", (2, 4, 5)),
        ("A02", (1, 4, 5)),
    ]


# ── removed channels ─────────────────────────────────────────────────────────────────────


def channels(count: int) -> Any:
    return np.arange(count * 20, dtype="u2").reshape(count, 4, 5)


def test_fewer_channels_remove_old_layers(window: Window) -> None:
    """Old pixels next to new ones would seem to belong to them."""
    window.save(channels(3), axes="cyx")
    window.save(channels(2) + 5, axes="cyx")
    assert window.names == ["a 0", "a 1"]
    assert np.array_equal(window.pixels("a.npy"), channels(2) + 5)
    window.save(channels(3), axes="cyx")
    assert window.names == ["a 0", "a 1", "a 2"]


def test_last_channels_of_a_burst_stay(window: Window) -> None:
    """The last value of a burst decides which layers exist."""
    window.show(*(one(channels(count), "a.npy", axes="cyx") for count in (2, 3, 1, 3)))
    assert window.names == ["a 0", "a 1", "a 2"]
    window.show(*(one(channels(count), "a.npy", axes="cyx") for count in (3, 1, 2)))
    assert window.names == ["a 0", "a 1"]
    assert np.array_equal(window.pixels("a.npy"), channels(2))


def test_discarded_save_keeps_no_channel(window: Window) -> None:
    """A full queue may discard planned values, so they may never arrive."""
    window.save(channels(3), axes="cyx")
    window.planner.plan(one(channels(2), axes="cyx")[0], "image")
    window.save(channels(2) + 5, axes="cyx")
    assert window.names == ["a 0", "a 1"]


@pytest.mark.parametrize("labels", [False, True])
def test_slice_with_fewer_channels_keeps_layers(window: Window, labels: bool) -> None:
    """The layer of the last channel stays while one of its slices has that channel."""
    options: Any = {"axes": "cyx", "names": ZSTACK, "labels": labels}
    for z in (1, 2):
        window.save(channels(2), f"A01_z{z}.npy", **options)
    names = window.names
    window.save(channels(1), "A01_z2.npy", **options)
    assert window.names == names
    assert [layer.data.shape[1] for layer in window.model.layers] == [2, 1]
    kind = "labels" if labels else "image"
    assert np.array_equal(window.pixels("A01_z1.npy", kind), channels(2))
    window.save(channels(1), "A01_z1.npy", **options)
    assert window.names == names[:1]
