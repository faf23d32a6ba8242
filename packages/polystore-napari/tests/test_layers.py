"""Saved values as layers of a window, without Qt and without a screen."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from .windows import BOX, PLANE, SPOTS, ZSTACK, Window, planes

pytestmark = pytest.mark.screen


# ── images ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "u8", "f2", "f4", "f8", "?"])
def test_pixels_are_held(window: Window, shape: tuple[int, ...], dtype: str) -> None:
    """A layer holds the saved pixels in their own element type."""
    value = np.random.default_rng(1).integers(0, 2, shape).astype(dtype)
    axes = "tzyx"[-len(shape) :]
    window.save(value, axes=axes)
    layer = window.only
    assert (layer.data.shape, layer.data.dtype) == (shape, value.dtype)
    assert np.array_equal(np.asarray(layer.data), value)
    assert np.array_equal(window.pixels("a.npy"), value)
    assert layer.axis_labels == tuple(axes)
    middle = window.step[: len(shape) - 2]
    assert np.array_equal(window.read_slice(layer), value[middle])


def test_three_columns_are_not_rgb(window: Window) -> None:
    """Only 8-bit images, or those with axis s, are RGB. Other images may be 3 pixels wide."""
    window.save(np.zeros((4, 5, 3), "u2"))
    assert not window.only.rgb
    assert window.only.data.shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("value", "axes"),
    [
        (np.full((4, 5, 3), 7, "u1"), None),
        (np.full((4, 5, 4), 0.5, "f4"), "yxs"),
        (np.full((2, 4, 5, 3), 7, "u1"), "zyxs"),
    ],
)
def test_rgb_is_one_layer(window: Window, value: Any, axes: str | None) -> None:
    """An RGB image, or a stack of them, is one layer in its own colours."""
    window.save(value, axes=axes)
    assert window.only.rgb
    assert np.array_equal(window.pixels("a.npy"), value)
    window.save(value + value, axes=axes)
    assert np.array_equal(window.pixels("a.npy"), value + value)


def test_rgb_series_is_in_color(window: Window) -> None:
    """RGB images on a slider are also shown in colour."""
    values = [np.full((4, 5, 3), n, "u1") for n in range(3)]
    window.save_batch(values, ["c_0.npy", "c_1.npy", "c_2.npy"])
    assert (window.only.rgb, window.only.data.shape) == (True, (3, 4, 5, 3))
    assert window.read_slice(window.only)[0, 0].tolist() == [2, 2, 2]


def test_look_is_applied(window: Window) -> None:
    """Colormap, contrast, scale and units are the given ones."""
    window.save(PLANE, colormap="magma", contrast_limits=(1, 9), scale=(0.5, 0.25), units="um")
    layer = window.only
    assert layer.colormap.name == "magma"
    assert layer.contrast_limits == [1, 9]
    assert layer.scale.tolist() == [0.5, 0.25]
    assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]


def test_colormap_from_hex(window: Window) -> None:
    """A colormap may be a colour in hexadecimal, and then runs from black to it."""
    window.save(PLANE, colormap="#12AB34")
    black, color = window.only.colormap.map(np.array([0.0, 1.0]))
    assert black.tolist() == [0, 0, 0, 1]
    assert (color * 255).round().tolist() == [0x12, 0xAB, 0x34, 255]


def test_pixel_size_on_stack(window: Window) -> None:
    """A pixel size of planes does not change the slider, whose steps stay 1."""
    window.save_batch(
        planes(3), [f"c_{n}.npy" for n in range(3)], scale=(0.5, 0.25), units="um"
    )
    assert window.only.scale.tolist() == [1, 0.5, 0.25]
    assert [str(unit) for unit in window.only.units][1:] == ["micrometer"] * 2
    assert window.step[0] == 2


def test_units_may_be_missing(window: Window) -> None:
    """Images with and without units share a window."""
    window.save(PLANE, "a.npy", scale=(0.5, 0.5), units="um")
    window.save(PLANE, "b.npy")
    window.save_batch(planes(3), [f"c_{n}.npy" for n in range(3)], units="nm")
    assert window.names == ["a", "b", "c"]


# ── channels ─────────────────────────────────────────────────────────────────────────────


def test_channels_are_layers(window: Window) -> None:
    """Channels are layers with their names, colours and limits, blended additively."""
    value = np.arange(40, dtype="u2").reshape(2, 4, 5)
    window.save(
        value,
        channels=[{"label": "DAPI", "color": "blue", "window": {"start": 2, "end": 9}}, "GFP"],
    )
    assert window.names == ["a DAPI", "a GFP"]
    dapi, gfp = window["a DAPI"], window["a GFP"]
    assert np.array_equal(np.asarray(gfp.data), value[1])
    assert dapi.contrast_limits == [2, 9]
    assert gfp.contrast_limits == [20, 39]
    assert (dapi.colormap.name, gfp.colormap.name) == ("#0000FF", "#00FF00")
    assert (dapi.blending, gfp.blending) == ("additive", "additive")
    assert np.array_equal(window.pixels("a.npy"), value)


def test_plain_channels_are_distinct(window: Window) -> None:
    """Channels without metadata get numbers and colours of their own."""
    window.save(np.zeros((2, 3, 4, 5), "u2"), axes="czyx")
    assert window.names == ["a 0", "a 1"]
    first, second = window.model.layers
    assert first.colormap.name != second.colormap.name
    assert first.blending == second.blending == "additive"
    assert first.axis_labels == ("z", "y", "x")


def test_middle_channels_are_split(window: Window) -> None:
    """Channels need not be the first axis, and each layer keeps time and depth."""
    value = np.arange(2 * 3 * 2 * 20, dtype="u2").reshape(2, 3, 2, 4, 5)
    window.save(value, channels=["A", "B", "C"], scale=(9, 1, 2, 0.5, 0.5))
    assert window.names == ["a A", "a B", "a C"]
    assert np.array_equal(np.asarray(window["a B"].data), value[:, 1])
    assert window["a B"].scale.tolist() == [9, 2, 0.5, 0.5]
    assert np.array_equal(window.pixels("a.npy"), value)


def test_channels_by_name_are_composite(window: Window) -> None:
    """Channels from files get colours once there are two. A single one stays gray."""
    window.save(PLANE, "A01_w1.npy", names="{well}_w{w}.npy")
    assert window.only.colormap.name == "gray"
    window.save(PLANE, "A01_w2.npy", names="{well}_w{w}.npy")
    window.save(PLANE, "A01_w3.npy", names="{well}_w{w}.npy")
    assert window.names == ["channel 1", "channel 2", "channel 3"]
    colors = [layer.colormap.name for layer in window.model.layers]
    assert colors == ["#FF00FF", "#00FF00", "#00FFFF"]
    assert {c.blending for c in window.model.layers} == {"additive"}


def test_given_colors_are_kept(window: Window) -> None:
    """A channel whose colour came from the pipeline or the user keeps it."""
    window.save(PLANE, "A01_w1.npy", names="{well}_w{w}.npy", colormap="magma")
    window.save(PLANE, "A01_w2.npy", names="{well}_w{w}.npy")
    window["channel 2"].colormap = "viridis"
    window.save(PLANE, "A01_w3.npy", names="{well}_w{w}.npy")
    names = [layer.colormap.name for layer in window.model.layers]
    assert names == ["magma", "viridis", "#00FFFF"]


def test_gray_of_the_user_stays(window: Window) -> None:
    """A channel that the user made gray stays gray when another channel arrives."""
    window.save(np.zeros((2, 4, 5), "u2"), axes="cyx")
    window["a 0"].colormap = "gray"
    window.save(np.zeros((3, 4, 5), "u2"), axes="cyx")
    names = [layer.colormap.name for layer in window.model.layers]
    assert names == ["gray", "#00FF00", "#00FFFF"]
    edits = window.layers.edits(*window.planner.place("", "a.npy", "image"))
    assert edits == {"channels": [{"color": "FFFFFF"}, {}, {}]}


def test_channels_of_each_image_have_the_same_colors(window: Window) -> None:
    """The colours of channels do not depend on other images in the window."""
    for path in ("a.npy", "b.npy"):
        window.save(np.zeros((2, 4, 5), "u2"), path, axes="cyx")
    for plate in ("p", "q"):
        for channel in (1, 2):
            window.save(PLANE, f"{plate}/A01_w{channel}.npy", names="{well}_w{w}.npy")
    colors = [layer.colormap.name for layer in window.model.layers]
    assert colors == ["#FF00FF", "#00FF00"] * 4


def test_separate_images_stay_gray(window: Window) -> None:
    """Images that are not channels of one image keep napari's gray."""
    window.save(PLANE, "a.npy")
    window.save(PLANE, "b.npy")
    assert {layer.colormap.name for layer in window.model.layers} == {"gray"}


# ── label images ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "u8"])
def test_label_images_are_labels_layers(window: Window, dtype: str) -> None:
    """A label image is a labels layer next to the image of the same path."""
    labels = (PLANE // 7).astype(dtype)
    window.save(PLANE)
    window.save(labels, labels=True, scale=(1, 1))
    assert [layer._type_string for layer in window.model.layers] == ["image", "labels"]
    assert window.names == ["a", "a labels"]
    layer = window["a labels"]
    assert np.array_equal(np.asarray(layer.data), labels)
    window.save(labels + 1, labels=True)
    assert np.array_equal(window.pixels("a.npy", "labels"), labels + 1)
    assert np.array_equal(window.read_slice(layer), labels + 1)


def test_labels_on_slider(window: Window) -> None:
    """Label images form a stack that grows, and a slice is updated in its place."""
    window.save(PLANE, "A01_z2.npy", names=ZSTACK, labels=True)
    layer = window.only
    window.save(PLANE + 1, "A01_z1.npy", names=ZSTACK, labels=True)
    assert window.only is layer
    assert layer.data.shape == (1, 2, 4, 5)
    window.save(PLANE + 5, "A01_z1.npy", labels=True)
    assert np.array_equal(np.asarray(layer.data)[0, 0], PLANE + 5)
    assert np.array_equal(window.read_slice(layer), PLANE + 5)


@pytest.mark.parametrize("stacked", [False, True])
def test_user_paints_labels(window: Window, stacked: bool) -> None:
    """Labels can be painted, filled and read back, and the next save replaces them."""
    options = {"names": ZSTACK} if stacked else {}
    window.save(np.zeros((20, 30), "u2"), "A01_z1.npy", labels=True, **options)
    layer = window.only
    layer.brush_size = 1
    at = (0,) * (layer.ndim - 2)
    layer.paint((*at, 5, 7), 3)
    layer.fill((*at, 9, 9), 2)
    assert window.pixels("A01_z1.npy", "labels")[5, 7] == 3
    assert window.pixels("A01_z1.npy", "labels")[0, 0] == 2
    layer.undo()
    assert window.pixels("A01_z1.npy", "labels")[0, 0] == 0
    window.save(np.ones((20, 30), "u2"), "A01_z1.npy", labels=True, **options)
    assert (window.pixels("A01_z1.npy", "labels") == 1).all()


def test_painting_a_hole_is_harmless(window: Window) -> None:
    """Where a label image is missing, a brush does nothing and raises no error."""
    for path in ("A01_z1.npy", "A02_z2.npy"):
        window.save(np.zeros((20, 30), "u2"), path, names=ZSTACK, labels=True)
    layer = window.only
    layer.paint((0, 1, 5, 7), 3)
    assert not np.asarray(layer.data).any()


# ── layers that the user changes ─────────────────────────────────────────────────────────


def test_removed_layer_is_made_again(window: Window) -> None:
    """If the user removes a layer, the next save makes it again, with any shape."""
    window.save_batch(planes(3), ["c_0.npy", "c_1.npy", "c_2.npy"])
    window.save(PLANE, "other.npy")
    window.model.layers.remove(window["c"])
    assert window.pixels("c_1.npy") is None
    window.save(np.ones((6, 7), "f4"), "c_1.npy")
    assert window.names == ["other", "c"]
    assert window["c"].data.shape == (1, 6, 7)


def test_removed_channel_is_made_again(window: Window) -> None:
    """If one channel is removed, it is made again, and the layer of the other one stays."""
    value = np.arange(40, dtype="u2").reshape(2, 4, 5)
    window.save(value, channels=["A", "B"])
    kept = window["a B"]
    window.model.layers.remove(window["a A"])
    window.save(value, channels=["A", "B"])
    assert sorted(window.names) == ["a A", "a B"]
    assert window["a B"] is kept


def test_cleared_window_restarts(window: Window) -> None:
    """After the user cleared the window, all layers start again."""
    window.save_batch(planes(3), ["c_0.npy", "c_1.npy", "c_2.npy"])
    window.save([BOX], "r.roi")
    window.model.layers.clear()
    window.save(PLANE, "c_1.npy")
    window.save([BOX], "r.roi")
    assert window.names == ["c", "r"]


def test_renamed_layer_is_found(window: Window) -> None:
    """A layer that the user renamed is still updated."""
    window.save(PLANE)
    window.only.name = "mine"
    window.save(PLANE + 1)
    assert window.names == ["mine"]


def test_equal_titles_are_two_layers(window: Window) -> None:
    """Files with equal names in two folders are two layers, each updated by its own path."""
    window.save(PLANE, "f/a.npy")
    window.save(PLANE + 1, "g/a.npy")
    first, second = window.model.layers
    window.save(PLANE + 2, "f/a.npy")
    assert list(window.model.layers) == [first, second]
    assert np.array_equal(np.asarray(first.data), PLANE + 2)
    assert np.array_equal(np.asarray(second.data), PLANE + 1)


def test_user_layers_are_left_alone(window: Window) -> None:
    """Layers that the user opened stay as they are."""
    own = window.model.add_image(np.zeros((7, 8)), name="a")
    window.save(PLANE)
    assert window.model.layers[0] is own
    assert own.data.shape == (7, 8)
    assert len(window.model.layers) == 2


def test_cleared_window_is_filled_again(window: Window) -> None:
    """After ``clear`` only the user's own layers are left, and all values can be saved again."""
    own = window.model.add_image(np.zeros((7, 8)), name="mine")
    window.save_batch(planes(3), ["c_0.npy", "c_1.npy", "c_2.npy"])
    window.save([BOX, SPOTS], "r.roi")
    window.layers.clear()
    assert window.text == ""
    assert list(window.layers.rois()) == []
    assert window.pixels("c_1.npy") is None
    assert window.names == ["mine"]
    window.save(PLANE, "c_1.npy")
    window.save([BOX, SPOTS], "r.roi")
    assert window.names == ["mine", "c", "r", "r [1]"]
    assert list(window.layers.rois()) == [BOX, SPOTS]
    assert window.model.layers[0] is own


# ── descriptions ─────────────────────────────────────────────────────────────────────────


def test_layers_are_described(window: Window) -> None:
    """The description has the visible properties of each layer, as plain JSON."""
    window.save_batch(planes(2), ["c_0.npy", "c_1.npy"], scale=(0.5, 0.5), units="um")
    window.save([BOX], "r.roi")
    found = json.loads(json.dumps(window.layers.describe()))
    assert found[0] == {
        "name": "c",
        "type": "image",
        "shape": [2, 4, 5],
        "dtype": "uint16",
        "scale": [1, 0.5, 0.5],
        "units": ["pixel", "micrometer", "micrometer"],
        "visible": True,
        "rgb": False,
        "colormap": "gray",
        "contrast_limits": [0, 10],
        "axes": ["image", "y", "x"],
        "coordinates": [["0", "1"]],
    }
    assert (found[1]["name"], found[1]["type"], found[1]["shape"]) == ("r", "shapes", [1])
