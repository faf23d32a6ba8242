"""What was saved, as the layers of a window; without Qt and without a screen."""

from __future__ import annotations

import json
import tempfile
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import InvalidOptionError, UnsupportedDataError
from polystore_core.rois import (
    ROI,
    Composite,
    Ellipse,
    Mask,
    Points,
    Polygon,
    Polyline,
    Position,
    Rectangle,
)
from polystore_napari.layers import Layers
from polystore_napari.planning import Planner
from polystore_napari.rois import MOST_VERTICES
from polystore_stream import Layout
from polystore_stream.messages import Image
from polystore_stream.viewer import Delivery

from .sending import Message, batch, one

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # napari's own use of pydantic
    from napari.components import ViewerModel

pytestmark = pytest.mark.screen

PLANE = np.arange(20, dtype="u2").reshape(4, 5)
ZSTACK = "{well}_z{z}.npy"
BOX = ROI(Rectangle((3, 4), (2, 4)), "nucleus")
SPOTS = ROI(Points([(1, 2), (3, 4)]), "spots")


class Window:
    """A window as the viewer fills it: planned, then shown."""

    def __init__(self) -> None:
        self.model = ViewerModel()
        self.planner = Planner()
        self.layers = Layers(self.model, self.planner.forget)

    def save(self, data: Any, path: str = "a.npy", **options: Any) -> list[Delivery]:
        """Show one value by itself."""
        return self.show(one(data, path, **options))

    def save_batch(self, data: Sequence[Any], paths: Sequence[str], **options: Any) -> None:
        """Show a series together, as a busy viewer does."""
        self.show(*batch(data, paths, **options))

    def show(self, *messages: Message) -> list[Delivery]:
        """Show what came; return what was replaced before it was shown."""
        deliveries = [self._delivery(*message) for message in messages]
        superseded, failed = self.layers.show(deliveries)
        for error in failed.values():
            raise error
        return superseded

    def _delivery(self, item: Any, payload: Any) -> Delivery:
        is_image = isinstance(item, Image)
        kind = ("labels" if item.labels else "image") if is_image else "rois"
        plan = self.planner.plan(item, kind)
        data = (
            payload if is_image else [ROI.from_dict(d) for d in json.loads(payload.tobytes())]
        )
        return Delivery(item, data, b"", 0, plan)

    def __getitem__(self, name: str) -> Any:
        return self.model.layers[name]

    @property
    def names(self) -> list[str]:
        return [layer.name for layer in self.model.layers]

    @property
    def only(self) -> Any:
        (layer,) = self.model.layers
        return layer

    @property
    def step(self) -> tuple[int, ...]:
        return tuple(self.model.dims.current_step)

    @property
    def text(self) -> str:
        overlay = self.model.canvas.overlays.text
        return str(overlay.text) if overlay.visible else ""

    def shown(self, layer: Any) -> Any:
        """What napari has sliced of a layer for the screen."""
        return np.asarray(layer._slice.image.raw)

    def pixels(self, path: str, kind: str = "image") -> Any:
        place = self.planner.place("", path, kind)
        return None if place is None else self.layers.pixels(*place)


@pytest.fixture
def window() -> Window:
    return Window()


def planes(count: int, start: int = 0) -> list[Any]:
    return [np.full((4, 5), 10 * n, "u2") for n in range(start, start + count)]


# ── images ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "u8", "f2", "f4", "f8", "?"])
def test_pixels_are_held(window: Window, shape: tuple[int, ...], dtype: str) -> None:
    """A layer holds what was saved, in the element type that it was saved in."""
    value = np.random.default_rng(1).integers(0, 2, shape).astype(dtype)
    axes = "tzyx"[-len(shape) :]
    window.save(value, axes=axes)
    layer = window.only
    assert (layer.data.shape, layer.data.dtype) == (shape, value.dtype)
    assert np.array_equal(np.asarray(layer.data), value)
    assert np.array_equal(window.pixels("a.npy"), value)
    assert layer.axis_labels == tuple(axes)
    middle = window.step[: len(shape) - 2]
    assert np.array_equal(window.shown(layer), value[middle])


def test_three_rows_are_no_colors(window: Window) -> None:
    """Only what says so, or is 8-bit, is RGB: other images may be three pixels wide."""
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
    """An RGB image, or stack of them, is one layer in its own colours."""
    window.save(value, axes=axes)
    assert window.only.rgb
    assert np.array_equal(window.pixels("a.npy"), value)
    window.save(value + value, axes=axes)
    assert np.array_equal(window.pixels("a.npy"), value + value)


def test_series_of_rgb(window: Window) -> None:
    """RGB images on a slider are shown in colour too."""
    values = [np.full((4, 5, 3), n, "u1") for n in range(3)]
    window.save_batch(values, ["c_0.npy", "c_1.npy", "c_2.npy"])
    assert (window.only.rgb, window.only.data.shape) == (True, (3, 4, 5, 3))
    assert window.shown(window.only)[0, 0].tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        (np.array([[3, 900], [20, 7]], "u2"), (3, 900)),
        (np.array([[-3, 900]], "i2"), (-3, 900)),
        (np.array([[3, 90]], "u1"), (0, 255)),
        (np.array([[False, True]]), (0, 1)),
        (np.array([[np.nan, 0.5, np.inf, -2]]), (-2, 0.5)),
        (np.array([[np.nan, np.inf]]), (0, 1)),
        (np.full((2, 2), 7, "u2"), (7, 8)),
        (np.zeros((2, 2), "f4"), (0, 1)),
    ],
)
def test_contrast_spans_pixels(window: Window, value: Any, limits: tuple[float, float]) -> None:
    """Contrast reaches from the least finite pixel to the greatest; of 8 bits it is all."""
    window.save(value)
    assert window.only.contrast_limits == list(limits)


def test_large_image_is_sampled(window: Window) -> None:
    """The contrast of a large image comes from a part of its pixels, spread over all of it."""
    value = np.zeros((3000, 3000), "u2")
    value[2000:] = 500
    window.save(value)
    assert window.only.contrast_limits == [0, 500]


def test_look_is_taken(window: Window) -> None:
    """Colormap, contrast, scale and units are those that were given."""
    window.save(PLANE, colormap="magma", contrast_limits=(1, 9), scale=(0.5, 0.25), units="um")
    layer = window.only
    assert layer.colormap.name == "magma"
    assert layer.contrast_limits == [1, 9]
    assert layer.scale.tolist() == [0.5, 0.25]
    assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]


def test_color_from_digits(window: Window) -> None:
    """A colormap may be a colour: black to it."""
    window.save(PLANE, colormap="#12AB34")
    black, color = window.only.colormap.map(np.array([0.0, 1.0]))
    assert black.tolist() == [0, 0, 0, 1]
    assert (color * 255).round().tolist() == [0x12, 0xAB, 0x34, 255]


def test_pixel_size_on_stack(window: Window) -> None:
    """The pixel size of planes leaves their slider at steps of one."""
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
    """Channels are layers with their names, colours and windows, blended additively."""
    value = np.arange(40, dtype="u2").reshape(2, 4, 5)
    window.save(value, channels=[
        {"label": "DAPI", "color": "blue", "window": {"start": 2, "end": 9}}, "GFP"
    ])  # fmt: skip
    assert window.names == ["a DAPI", "a GFP"]
    dapi, gfp = window["a DAPI"], window["a GFP"]
    assert np.array_equal(np.asarray(gfp.data), value[1])
    assert dapi.contrast_limits == [2, 9]
    assert gfp.contrast_limits == [20, 39]
    assert (dapi.colormap.name, gfp.colormap.name) == ("#0000FF", "#00FF00")
    assert (dapi.blending, gfp.blending) == ("additive", "additive")
    assert np.array_equal(window.pixels("a.npy"), value)


def test_plain_channels_are_told_apart(window: Window) -> None:
    """Channels of which nothing is said get numbers and colours of their own."""
    window.save(np.zeros((2, 3, 4, 5), "u2"), axes="czyx")
    assert window.names == ["a 0", "a 1"]
    first, second = window.model.layers
    assert first.colormap.name != second.colormap.name
    assert first.blending == second.blending == "additive"
    assert first.axis_labels == ("z", "y", "x")


def test_middle_channels_are_split(window: Window) -> None:
    """Channels need not be the first axis; each layer keeps time and depth."""
    value = np.arange(2 * 3 * 2 * 20, dtype="u2").reshape(2, 3, 2, 4, 5)
    window.save(value, channels=["A", "B", "C"], scale=(9, 1, 2, 0.5, 0.5))
    assert window.names == ["a A", "a B", "a C"]
    assert np.array_equal(np.asarray(window["a B"].data), value[:, 1])
    assert window["a B"].scale.tolist() == [9, 2, 0.5, 0.5]
    assert np.array_equal(window.pixels("a.npy"), value)


def test_channels_by_name_are_composite(window: Window) -> None:
    """Channels that come as files get colours once there are two; one alone stays gray."""
    window.save(PLANE, "A01_w1.npy", names="{well}_w{w}.npy")
    assert window.only.colormap.name == "gray"
    window.save(PLANE, "A01_w2.npy", names="{well}_w{w}.npy")
    window.save(PLANE, "A01_w3.npy", names="{well}_w{w}.npy")
    assert window.names == ["channel 1", "channel 2", "channel 3"]
    assert [c.colormap.name for c in window.model.layers] == ["magenta", "green", "cyan"]
    assert {c.blending for c in window.model.layers} == {"additive"}


def test_given_colors_are_kept(window: Window) -> None:
    """A channel whose colour was given, or set by the user, is not coloured."""
    window.save(PLANE, "A01_w1.npy", names="{well}_w{w}.npy", colormap="magma")
    window.save(PLANE, "A01_w2.npy", names="{well}_w{w}.npy")
    window["channel 2"].colormap = "viridis"
    window.save(PLANE, "A01_w3.npy", names="{well}_w{w}.npy")
    names = [layer.colormap.name for layer in window.model.layers]
    assert names[:2] == ["magma", "viridis"]


def test_images_of_two_stay_gray(window: Window) -> None:
    """Images that are no channels of one another keep napari's gray."""
    window.save(PLANE, "a.npy")
    window.save(PLANE, "b.npy")
    assert {layer.colormap.name for layer in window.model.layers} == {"gray"}


# ── stacks ───────────────────────────────────────────────────────────────────────────────


def test_stack_grows_out_of_order(window: Window) -> None:
    """Slices stand in natural order, in whichever order they come; what is missing is black."""
    for z in (10, 2, 7):
        window.save(np.full((4, 5), z, "u2"), f"A01_z{z}.npy", names=ZSTACK)
    window.save(np.full((4, 5), 99, "u2"), "A02_z7.npy", names=ZSTACK)
    layer = window.only
    assert layer.axis_labels == ("well", "z", "y", "x")
    assert np.asarray(layer.data)[..., 0, 0].tolist() == [[2, 7, 10], [0, 99, 0]]
    assert window.pixels("A01_z10.npy")[0, 0] == 10


def test_growing_keeps_layer(window: Window) -> None:
    """A stack that grows is the same layer, with what the user has set of it."""
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
    """The same path again changes the pixels of its layer, and what is on the screen."""
    window.save(PLANE)
    layer = window.only
    layer.contrast_limits = (3, 17)
    window.save(PLANE + 100)
    assert window.only is layer
    assert np.array_equal(window.shown(layer), PLANE + 100)
    assert layer.contrast_limits == [3, 17]


def test_slice_alone_is_updated(window: Window) -> None:
    """A path of a series, saved alone, changes its slice: also where that is on the screen."""
    window.save_batch(planes(3), ["c_0.npy", "c_1.npy", "c_2.npy"])
    layer = window.only
    window.save(np.full((4, 5), 77, "u2"), "c_1.npy")
    assert np.asarray(layer.data)[:, 0, 0].tolist() == [0, 77, 20]
    assert window.step[0] == 1
    assert window.shown(layer)[0, 0] == 77
    window.save(np.full((4, 5), 78, "u2"), "c_1.npy")
    assert window.shown(layer)[0, 0] == 78


def test_newest_of_a_burst_is_shown(window: Window) -> None:
    """Of many values that come together for one place, the last is shown, the others told."""
    superseded = window.show(*(one(plane) for plane in planes(5)))
    assert len(superseded) == 4
    assert window.pixels("a.npy")[0, 0] == 40
    assert window.shown(window.only)[0, 0] == 40


@pytest.mark.parametrize("value", [np.full((4, 5), 0.5, "f4"), np.full((6, 7), 900, "u2")])
def test_lone_image_restarts(window: Window, value: Any) -> None:
    """A path alone in its layer may come with another shape or type: with fresh contrast."""
    window.save(PLANE)
    layer = window.only
    layer.contrast_limits = (3, 17)
    window.save(value)
    assert window.only is layer
    assert np.array_equal(np.asarray(layer.data), value)
    assert np.array_equal(window.shown(layer), value)
    assert layer.contrast_limits[0] == value[0, 0]


@pytest.mark.parametrize(
    ("value", "axes"),
    [(np.full((2, 4, 5), 9, "u2"), "zyx"), (np.full((4, 5, 3), 9, "u1"), "yxs")],
)
def test_lone_image_changes_axes(window: Window, value: Any, axes: str) -> None:
    """A path may become a volume or RGB, and plain again: a layer at the same place, name kept."""
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
    assert np.array_equal(window.shown(window["mine"]), PLANE + 1)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("value", [np.full((4, 5), 0.5, "f4"), np.full((6, 7), 900, "u2")])
def test_whole_batch_restarts(window: Window, value: Any, together: bool) -> None:
    """A full batch of another kind replaces the stack, whether it is shown at once or not."""
    paths = ["c_0.npy", "c_1.npy", "c_2.npy"]
    window.save_batch(planes(3), paths)
    layer = window.only
    messages = batch([value, value * 2, value * 3], paths)
    for group in [messages] if together else [[message] for message in messages]:
        window.show(*group)
    assert window.only is layer
    assert (layer.data.shape, layer.data.dtype) == ((3, *value.shape), value.dtype)
    assert np.array_equal(np.asarray(layer.data)[2], value * 3)
    assert np.array_equal(window.shown(layer), value * 3)
    assert layer.contrast_limits[0] == value[0, 0]


def test_restart_within_burst(window: Window) -> None:
    """What came for a layer before it began anew, in the same burst, does no harm."""
    window.show(one(PLANE), one(np.full((6, 7), 0.5)), one(np.full((6, 7), 0.75)))
    assert np.array_equal(np.asarray(window.only.data), np.full((6, 7), 0.75))


def test_misfit_keeps_stack(window: Window) -> None:
    """A slice of another shape is refused, and nothing changes."""
    window.save_batch(planes(3), ["c_0.npy", "c_1.npy", "c_2.npy"])
    with pytest.raises(UnsupportedDataError, match="layer 'c' holds 3 of uint16"):
        window.save(np.zeros((6, 7)), "c_1.npy")
    assert np.asarray(window.only.data)[:, 0, 0].tolist() == [0, 10, 20]


def test_changed_look_is_applied(window: Window) -> None:
    """What the pipeline says anew is set; what it says again leaves the user's choice."""
    window.save(PLANE, colormap="magma", contrast_limits=(0, 9))
    layer = window.only
    layer.colormap = "viridis"
    window.save(PLANE, colormap="magma", contrast_limits=(0, 5))
    assert (layer.colormap.name, layer.contrast_limits) == ("viridis", [0, 5])


# ── label images ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "u8"])
def test_labels_are_labels(window: Window, dtype: str) -> None:
    """A label image is a labels layer beside the image of the same path."""
    labels = (PLANE // 7).astype(dtype)
    window.save(PLANE)
    window.save(labels, labels=True, scale=(1, 1))
    assert [layer._type_string for layer in window.model.layers] == ["image", "labels"]
    assert window.names == ["a", "a labels"]
    layer = window["a labels"]
    assert np.array_equal(np.asarray(layer.data), labels)
    window.save(labels + 1, labels=True)
    assert np.array_equal(window.pixels("a.npy", "labels"), labels + 1)
    assert np.array_equal(window.shown(layer), labels + 1)


def test_labels_on_slider(window: Window) -> None:
    """Label images grow a stack; a slice is updated where it stands."""
    window.save(PLANE, "A01_z2.npy", names=ZSTACK, labels=True)
    layer = window.only
    window.save(PLANE + 1, "A01_z1.npy", names=ZSTACK, labels=True)
    assert window.only is layer
    assert layer.data.shape == (1, 2, 4, 5)
    window.save(PLANE + 5, "A01_z1.npy", labels=True)
    assert np.array_equal(np.asarray(layer.data)[0, 0], PLANE + 5)
    assert np.array_equal(window.shown(layer), PLANE + 5)


@pytest.mark.parametrize("stacked", [False, True])
def test_user_paints_labels(window: Window, stacked: bool) -> None:
    """Labels can be painted, filled, and read back; the next save replaces them."""
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
    """Where no label image has come, a brush does nothing, and raises nothing."""
    for path in ("A01_z1.npy", "A02_z2.npy"):
        window.save(np.zeros((20, 30), "u2"), path, names=ZSTACK, labels=True)
    layer = window.only
    layer.paint((0, 1, 5, 7), 3)
    assert not np.asarray(layer.data).any()


# ── what the user does with layers ───────────────────────────────────────────────────────


def test_removed_layer_is_made_again(window: Window) -> None:
    """A layer that the user has removed comes again with the next save, of any shape."""
    window.save_batch(planes(3), ["c_0.npy", "c_1.npy", "c_2.npy"])
    window.save(PLANE, "other.npy")
    window.model.layers.remove(window["c"])
    assert window.pixels("c_1.npy") is None
    window.save(np.ones((6, 7), "f4"), "c_1.npy")
    assert window.names == ["other", "c"]
    assert window["c"].data.shape == (1, 6, 7)


def test_removed_channel_is_made_again(window: Window) -> None:
    """One channel that was removed comes again; the other stays the layer that it is."""
    value = np.arange(40, dtype="u2").reshape(2, 4, 5)
    window.save(value, channels=["A", "B"])
    kept = window["a B"]
    window.model.layers.remove(window["a A"])
    window.save(value, channels=["A", "B"])
    assert sorted(window.names) == ["a A", "a B"]
    assert window["a B"] is kept


def test_all_layers_removed(window: Window) -> None:
    """After the user has cleared the window, everything begins anew."""
    window.save_batch(planes(3), ["c_0.npy", "c_1.npy", "c_2.npy"])
    window.save([BOX], "r.roi")
    window.model.layers.clear()
    window.save(PLANE, "c_1.npy")
    window.save([BOX], "r.roi")
    assert window.names == ["c", "r"]


def test_renamed_layer_is_found(window: Window) -> None:
    """A layer is the same under the name that the user gives it."""
    window.save(PLANE)
    window.only.name = "mine"
    window.save(PLANE + 1)
    assert window.names == ["mine"]


def test_equal_titles_are_two(window: Window) -> None:
    """Files of equal names in two folders are two layers, each updated by its own path."""
    window.save(PLANE, "f/a.npy")
    window.save(PLANE + 1, "g/a.npy")
    first, second = window.model.layers
    window.save(PLANE + 2, "f/a.npy")
    assert list(window.model.layers) == [first, second]
    assert np.array_equal(np.asarray(first.data), PLANE + 2)
    assert np.array_equal(np.asarray(second.data), PLANE + 1)


def test_user_layers_are_left_alone(window: Window) -> None:
    """What the user has opened stays as it is."""
    own = window.model.add_image(np.zeros((7, 8)), name="a")
    window.save(PLANE)
    assert window.model.layers[0] is own
    assert own.data.shape == (7, 8)
    assert len(window.model.layers) == 2


# ── sliders ──────────────────────────────────────────────────────────────────────────────


def test_slider_follows_newest(window: Window) -> None:
    """The slice that came last is shown, also one that comes in between."""
    for z, at in ((5, 0), (9, 1), (7, 1), (11, 3), (5, 0)):
        window.save(np.full((4, 5), z, "u2"), f"A01_z{z}.npy", names=ZSTACK)
        assert window.step[:2] == (0, at)
        assert window.shown(window.only)[0, 0] == z


def test_moved_slider_stays(window: Window) -> None:
    """Once the user has moved a slider, it stays; other images change nothing about that."""
    for z in range(4):
        window.save(PLANE, f"A01_z{z}.npy", names=ZSTACK)
    window.model.dims.set_current_step(1, 1)
    window.save(PLANE, "A01_z4.npy", names=ZSTACK)
    assert window.step[1] == 1
    window.save(PLANE, "other.npy")
    window.save(PLANE, "A01_z5.npy", names=ZSTACK)
    assert window.step[1] == 1


def test_slider_moved_after_image(window: Window) -> None:
    """An image without sliders that came in between does not hide that the user moved one."""
    for z in range(4):
        window.save(PLANE, f"A01_z{z}.npy", names=ZSTACK)
    window.save(PLANE, "other.npy")
    window.model.dims.set_current_step(1, 1)
    window.save(PLANE, "A01_z4.npy", names=ZSTACK)
    assert window.step[1] == 1


def test_own_axes_are_not_followed(window: Window) -> None:
    """The planes of an image that has them are the user's to choose."""
    volume = np.zeros((9, 4, 5), "u2")
    window.save(volume)
    window.model.dims.set_current_step(0, 2)
    window.save(volume + 1)
    assert window.step[0] == 2
    assert (window.shown(window.only) == 1).all()


def test_text_tells_coordinates(window: Window) -> None:
    """A text says which well and plane the sliders are at, where napari has numbers."""
    for path in ("A01_z3.npy", "A01_z12.npy", "B07_z3.npy"):
        window.save(PLANE, path, names=ZSTACK)
    assert window.text == "well B07   z 3"
    window.model.dims.set_current_step(0, 0)
    window.model.dims.set_current_step(1, 1)
    assert window.text == "well A01   z 12"


def test_text_of_series_is_plain(window: Window) -> None:
    """Of a series without names the text is what tells its files apart."""
    window.save_batch(planes(2), ["cells_ctrl.npy", "cells_drug.npy"])
    assert window.text == "drug"
    window.model.dims.set_current_step(0, 0)
    assert window.text == "ctrl"


def test_text_needs_sliders(window: Window) -> None:
    """Without a slider there is nothing to tell, and no more after its stack was removed."""
    window.save(PLANE)
    assert window.text == ""
    window.save_batch(planes(2), ["c_0.npy", "c_1.npy"])
    assert window.text == "1"
    window.model.layers.remove(window["c"])
    assert window.text == ""


# ── ROIs ─────────────────────────────────────────────────────────────────────────────────


def test_rois_are_replaced_in_place(window: Window) -> None:
    """More, other, fewer and no ROIs of a path are shown by the layer that it has."""
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


# bermuda panics over the first every other time; no other triangulator fills the second.
PANIC = Polygon([(-3.5, -3.5), (2, 0), (-3.5, 1), (0, 0), (0, 1), (0, 1e6)])
BEYOND = Polygon([(0, 0), (1e6, 2), (-3.5, 1e-30), (0, 1e6), (0, 1e-30)])


@pytest.fixture
def triangulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Any]]:
    from napari.utils import triangulation_backend as napari

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # where napari leaves its reports
    ViewerModel().add_shapes([[(0, 0), (1, 1)]])  # the first sets what the settings say
    before = napari.get_backend()
    yield lambda name: napari.set_backend(napari.TriangulationBackend[name])
    napari.set_backend(before)


def test_outlines_that_cross_are_shown(
    window: Window, triangulator: Callable[[str], Any], tmp_path: Path
) -> None:
    triangulator("bermuda")
    for number in range(16):
        window.save([ROI(PANIC, str(number))])
        assert list(window.layers.rois()) == [ROI(PANIC, str(number))]
    assert not list(tmp_path.glob("napari_*_triang_*"))


def test_outlines_beyond_napari_are_lines(
    window: Window, triangulator: Callable[[str], Any], tmp_path: Path
) -> None:
    """A polygon that napari cannot fill is a line; the others of its layer are filled."""
    triangulator("numba")
    square = ROI(Polygon([(0, 0), (0, 5), (5, 5), (5, 0)]), "square")
    for rois in ([ROI(BEYOND)], [square], [ROI(BEYOND, "two"), square]):
        window.save(rois)
        assert list(window.layers.rois()) == rois
    assert window.only.shape_type == ["path", "polygon"]
    assert not list(tmp_path.glob("napari_*_triang_*"))


def scribble(count: int) -> Polygon:
    return Polygon(np.random.default_rng(count).integers(0, 100, (count, 2)).tolist())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("count", [400, 1000, 5000])
def test_scribbles_are_lines(window: Window, count: int) -> None:
    """An outline that crosses itself thousands of times is not filled, and is read back."""
    hole = Composite([[(0, 0), (0, 9), (9, 0)], scribble(count).coordinates])
    line = ROI(Polyline(scribble(count).coordinates), "line")
    cell = ROI(Polygon([(0, 0), (0, 5), (3, 3), (5, 0)]), "cell")
    rois = [ROI(scribble(count), "scribble"), cell, ROI(hole, "hole"), line]
    for _ in range(2):
        window.save(rois)
        assert list(window.layers.rois()) == rois
    assert window.only.shape_type == ["path", "polygon", "polygon", "path", "path"]
    assert window.only.features["name"].tolist()[-1] == "line"


@pytest.mark.timeout(120)
def test_scribbles_add_up(window: Window) -> None:
    """Many outlines, each of which napari would fill quickly, are not all filled."""
    rois = [ROI(scribble(300 + number)) for number in range(60)]
    window.save(rois)
    assert list(window.layers.rois()) == rois
    assert set(window.only.shape_type) == {"path"}


def test_contours_are_filled(window: Window) -> None:
    """The contour of a cell stays a polygon, however many vertices it has."""
    turns = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    radius = 100 + 10 * np.sin(9 * turns)
    cell = Polygon(np.column_stack((radius * np.sin(turns), radius * np.cos(turns))))
    window.save([ROI(cell)])
    assert window.only.shape_type == ["polygon"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("rois", "options", "reason"),
    [
        pytest.param(
            [ROI(Polyline(np.zeros((MOST_VERTICES, 2))))],
            {},
            "vertices",
            marks=pytest.mark.slow,
        ),
        pytest.param([BOX] * (MOST_VERTICES // 8), {}, "vertices", marks=pytest.mark.slow),
        ([ROI(Mask(np.ones((3, 3), bool)))] * 17, {}, "the masks overlap"),
        ([ROI(Mask(np.ones((3, 3), bool), (10**9, 10**9)))], {}, "pixels"),
        ([ROI(Rectangle((0, 0), (10**5, 10**5)))], {"labels": True}, "pixels"),
        ([ROI(Polygon([(0, 0), (9000, 1)] * 2000))], {"labels": True}, "rows"),
        ([ROI(Polygon([(0, 0), (0, 9), (10**11, 9)]))], {}, "napari shows at most"),
        ([ROI(Points([(0, 0), (0, 10**11)]))], {}, "napari shows at most"),
    ],
    ids=["path", "many", "masks", "far mask", "large", "tall", "far", "far points"],
)
def test_too_much_is_refused(
    window: Window, rois: list[ROI], options: dict[str, Any], reason: str
) -> None:
    """ROIs that would keep napari busy for long are refused; its layers stay as they are."""
    window.save(PLANE)
    with pytest.raises(UnsupportedDataError, match=reason):
        window.save(rois, "r.roi", **options)
    assert window.names == ["a"]
    window.save([BOX, SPOTS], "r.roi")
    with pytest.raises(UnsupportedDataError, match=reason):
        window.save(rois, "r.roi", **options)
    assert list(window.layers.rois()) == [BOX, SPOTS]


# ── what the user draws stays ────────────────────────────────────────────────────────────

MASK = ROI(Mask(np.ones((2, 3), bool), (1, 1)), "mask")
ONE_OF_EACH = [BOX, SPOTS, MASK]


def draw(layer: Any) -> ROI:
    """Draw into a layer of y and x, as a user does; return what was drawn."""
    if layer._type_string == "shapes":
        layer.add_rectangles(np.array([(0, 0), (2, 4)]))
        return ROI(Rectangle((1, 2), (2, 4)))
    if layer._type_string == "points":
        layer.add([(9, 9)])
        return ROI(Points([(9, 9)]))
    layer.brush_size = 1
    layer.paint((3, 4), 7)
    return ROI(Mask(np.ones((1, 1), bool), (3, 4)))


@pytest.mark.parametrize("shape", [(20, 30), (4, 20, 30)])
@pytest.mark.parametrize("ndisplay", [2, 3])
@pytest.mark.parametrize("roi", ONE_OF_EACH)
def test_drawings_stay(window: Window, roi: ROI, ndisplay: int, shape: tuple[int, ...]) -> None:
    """The pipeline replaces its own ROIs, in 2-D and 3-D; those of the user stay."""
    window.save(np.zeros(shape, "u1"))
    window.save([roi], "r.roi")
    layer = window.model.layers[-1]
    layer.name, layer.opacity = "mine", 0.25
    drawn = draw(layer)
    moved = ROI(roi.shape.translated(2, 0), "moved")
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


class Trap:
    """A plugin that raises once, when napari tells it of a change, after some other changes."""

    def __init__(self, event: Any, after: int = 0) -> None:
        self.event, self.left = event, after

    def __call__(self, event: Any) -> None:
        self.left -= 1
        if self.left == -1:
            raise RuntimeError("a plugin has failed")

    def spring(self, save: Callable[[], Any]) -> bool:
        """Save while the plugin listens; return whether that has failed, and by the plugin."""
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


def looks(layer: Any) -> list[Any]:
    names = ("edge_color", "face_color", "edge_width", "size", "scale", "translate", "colormap")
    return [repr(getattr(layer, name, None)) for name in (*names, "features", "selected_data")]


@pytest.mark.parametrize("ndisplay", [2, 3])
@pytest.mark.parametrize("event", ["data", "features", "scale", "set_data"])
@pytest.mark.parametrize("roi", ONE_OF_EACH)
@pytest.mark.parametrize("after", [0, 1])
def test_failed_update_of_rois(
    window: Window, roi: ROI, event: str, ndisplay: int, after: int
) -> None:
    """If napari or a plugin raises, all layers of the path are as before, and later saves work."""
    window.save(np.zeros((4, 20, 30), "u1"), scale=(1, 0.5, 0.5))
    window.save(ONE_OF_EACH, "r.roi")
    window.model.dims.ndisplay = ndisplay
    layers = list(window.model.layers)
    layer = layers[1 + ONE_OF_EACH.index(roi)]
    draw(layer)
    if roi is not MASK:
        layer.face_color = ["red", "blue", "green"][: len(layer.data)]
        layer.selected_data = {0}
    before, look = list(window.layers.rois()), looks(layer)
    moved = [ROI(one.shape.translated(3, 0)) for one in ONE_OF_EACH]
    if Trap(getattr(layer.events, event), after).spring(lambda: window.save(moved, "r.roi")):
        assert list(window.layers.rois()) == before
        assert list(window.model.layers) == layers
        assert looks(layer) == look
    else:
        assert {roi.name for roi in window.layers.rois()} == {""}
    window.save([BOX], "r.roi")
    assert BOX in window.layers.rois()


@pytest.mark.parametrize("event", ["data", "scale", "set_data", "colormap"])
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("value", [PLANE + 1, np.ones((6, 7), "u1"), np.ones((2, 4, 5), "u2")])
def test_failed_update_of_image(window: Window, value: Any, labels: bool, event: str) -> None:
    """An image that cannot be updated keeps its pixels and its look, and later saves work."""
    look = {} if labels else {"colormap": "magma"}
    window.save(PLANE, labels=labels, scale=(1, 1), **look)
    layer = window.only
    before = looks(layer)
    new: dict[str, Any] = {} if labels else {"colormap": "viridis"}
    new["scale"] = (1,) * (value.ndim - 2) + (2, 3)
    trap = Trap(getattr(layer.events, event, layer.events.data))
    if trap.spring(lambda: window.save(value, labels=labels, **new)):
        kind = "labels" if labels else "image"
        assert np.array_equal(window.pixels("a.npy", kind), PLANE)
        assert np.array_equal(np.asarray(window.only.data), PLANE)
        assert looks(window.only) == before
    for image in (value, PLANE):
        window.save(image, labels=labels)
        assert np.array_equal(np.asarray(window.only.data), image)


def test_failed_slice_is_taken_out(window: Window) -> None:
    """A slice that cannot be shown is not in the stack; those before it are."""
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
    """If one channel, or one kind of ROIs, cannot be shown, none of that value is."""
    window.model.add_image(np.zeros((7, 8)), name="mine")
    selected = set(window.model.layers.selection)
    trap = Trap(window.model.layers.events.inserted, after)
    assert trap.spring(lambda: window.save(value, **look))
    assert window.names == ["mine"]
    assert set(window.model.layers.selection) == selected
    window.save(value, **look)
    assert len(window.names) == 4


def test_clear_clears_all(window: Window) -> None:
    """A plugin that fails when a layer goes keeps no other layer there."""
    window.save(np.zeros((3, 4, 5), "u2"), channels=["A", "B", "C"])
    window.save(ONE_OF_EACH, "r.roi")
    assert Trap(window.model.layers.events.removed).spring(window.layers.clear)
    assert window.names == []
    window.layers.clear()


# ── pixel sizes that fit together ────────────────────────────────────────────────────────

LARGE = np.zeros((2048, 2048), "u1")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"scale": (3.25e-7, 3.25e-7), "units": "m"}, {}),
        ({}, {"scale": (3.25e-7, 3.25e-7), "units": "m"}),
        ({"scale": (1, 1), "units": "pm"}, {"scale": (1, 1), "units": "m"}),
        ({"scale": (1, 1e-7)}, {}),
        ({"scale": (1, 1)}, {"scale": (1, 1e8)}),
        ({}, {"scale": (1e-30, 1e-30)}),
        ({}, {"scale": (1e30, 1e30), "units": "um"}),
        ({}, {"scale": (1e300, 1e300)}),
        ({}, {"scale": (5e-324, 5e-324)}),
    ],
)
def test_pixel_sizes_too_far_apart(
    window: Window, first: dict[str, Any], second: dict[str, Any]
) -> None:
    """napari cannot count the smaller pixels of the window: the second image is refused."""
    window.save(LARGE, "a.npy", **first)
    for _ in range(2):
        with pytest.raises(UnsupportedDataError, match=r"napari"):
            window.save(LARGE, "b.npy", **second)
        assert window.names == ["a"]
    window.save(LARGE, "c.npy", **first)
    window.layers.clear()
    assert window.names == []
    window.planner.forget_window("")
    window.save(LARGE, "b.npy")


@pytest.mark.parametrize(
    "looks",
    [
        [{"scale": (3.25e-7,) * 2, "units": "m"}, {"scale": (325, 325), "units": "nm"}],
        [{"scale": (0.3, 0.3), "units": "um"}, {"scale": (1e-5,) * 2, "units": "m"}, {}],
        [{"scale": (3.25e-7,) * 2, "units": "m"}] * 3,
        [{"scale": (1, 1), "units": "parsec"}],
        [{"scale": (1e-9, 1e-9)}, {"scale": (1e-6, 1e-6)}],
        [{"scale": (1e30, 1e30)}],
    ],
)
def test_pixel_sizes_that_fit(window: Window, looks: list[dict[str, Any]]) -> None:
    """Images share a window whose sizes are near, once their units are compared."""
    for number, look in enumerate(looks):
        window.save(LARGE, f"{number}.npy", **look)
    assert len(window.names) == len(looks)


def test_pixel_size_beyond_paint(window: Window) -> None:
    """An image that napari would paint black, as it is too small, is refused."""
    with pytest.raises(UnsupportedDataError, match="napari shows images of at least"):
        window.save(PLANE, scale=(1e-10, 1e-10), units="m")
    window.save(PLANE, scale=(0.1, 0.1), units="nm")
    window.save(PLANE)
    assert window.names == ["a"]


def test_pixel_size_beside_the_users(window: Window) -> None:
    """Layers that the user has opened count, and an update that does not fit changes nothing."""
    window.save(LARGE, scale=(1, 1))
    own = window.model.add_image(LARGE, name="mine", scale=(1e-5, 1e-5))
    with pytest.raises(UnsupportedDataError, match="clear"):
        window.save(LARGE, "b.npy", scale=(5000, 5000))
    with pytest.raises(UnsupportedDataError, match="clear"):
        window.save(LARGE, "a.npy", scale=(5000, 5000))
    assert window.names == ["a", "mine"]
    assert window["a"].scale.tolist() == [1, 1]
    window.model.layers.remove(own)
    window.save(LARGE, "a.npy", scale=(5000, 5000))
    assert window.only.scale.tolist() == [5000, 5000]


def test_rois_follow_tiny_pixels(window: Window) -> None:
    """ROIs lie on an image in metres, and are refused with it, not lost, where it is."""
    window.save(LARGE, scale=(3.25e-7, 3.25e-7), units="m")
    window.save(ONE_OF_EACH, "r.roi")
    assert list(window.layers.rois()) == ONE_OF_EACH
    window.save(LARGE, scale=(3.25e-8, 3.25e-8), units="m")
    assert list(window.layers.rois()) == ONE_OF_EACH


def test_kinds_of_rois_are_layers(window: Window) -> None:
    """Shapes, points and masks need a layer each; those that fall away are emptied, and kept."""
    mask = ROI(Mask(np.ones((2, 3), bool), (1, 1)), "mask")
    window.save(PLANE)
    window.save([BOX, SPOTS, mask], "r.roi")
    layers = list(window.model.layers)
    assert [layer._type_string for layer in layers] == ["image", "shapes", "points", "labels"]
    for rois in ([mask], [SPOTS], [BOX], [], [BOX, SPOTS, mask]):
        window.save(rois, "r.roi")
        assert list(window.model.layers) == layers
        assert list(window.layers.rois()) == rois


def test_masks_that_overlap(window: Window) -> None:
    """Masks that cover each other are kept apart, and found again in place."""
    masks = [ROI(Mask(np.ones((3, 3), bool), (n, n)), f"m{n}") for n in range(3)]
    window.save(masks, "r.roi")
    layers = list(window.model.layers)
    assert len(layers) == 3
    window.save(masks[:1], "r.roi")
    window.save(masks, "r.roi")
    assert list(window.model.layers) == layers
    assert sorted(roi.name for roi in window.layers.rois()) == ["m0", "m1", "m2"]


def test_masks_may_move(window: Window) -> None:
    """A mask that is moved to the left of the image, and back, is where it was saved."""
    window.save(PLANE)
    for origin in ((1, 1), (-3, -2), (1, 1), (50, 60)):
        roi = ROI(Mask(np.ones((2, 3), bool), origin))
        window.save([roi], "r.roi")
        assert list(window.layers.rois()) == [roi]
    assert len(window.model.layers) == 2


def test_rois_lie_on_scaled_image(window: Window) -> None:
    """ROIs count pixels: over an image with a pixel size they lie where they belong."""
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
    """ROIs that came before the image, or before its pixel size, are laid over it."""
    window.save([BOX], "r.roi")
    for scale in (None, (0.5, 0.25), (3, 4)):
        window.save(PLANE, scale=scale)
        y, x = scale or (1, 1)
        assert window["r"].data_to_world((3, 4)) == (3 * y, 4 * x)
        assert list(window.layers.rois()) == [BOX]


@pytest.mark.parametrize("order", [1, -1])
def test_rois_and_image_together(window: Window, order: int) -> None:
    """ROIs and their image may come in one burst, in any order."""
    mask = ROI(Mask(np.ones((2, 3), bool), (1, 1)))
    messages = [one(np.zeros((3, 4, 5), "u1"), scale=(2, 0.5, 0.25)), one([BOX, mask], "r.roi")]
    window.show(*messages[::order])
    assert list(window.layers.rois()) == [BOX, mask]
    assert window["r"].data_to_world((3, 4)) == (1.5, 1.0)


def test_cleared_window_is_filled_again(window: Window) -> None:
    """After ``clear`` only what the user has added is left, and everything can come again."""
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


def test_rois_stand_on_planes(window: Window) -> None:
    """A ROI with a position is on its plane of the stack alone, one without on all of them."""
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


def test_drawn_rectangle_is_in_pixels(window: Window) -> None:
    """What a user draws over a scaled image is read in the pixels of that image."""
    window.save(PLANE, scale=(0.5, 0.25), units="um")
    own = window.model.add_shapes(
        [[(1, 1), (1, 2), (2, 2), (2, 1)]], shape_type="rectangle", name="mine"
    )
    assert [str(unit) for unit in own.units] == ["pixel", "pixel"] or own.units
    assert list(window.layers.rois("mine")) == [ROI(Rectangle((3, 6), (2, 4)))]


def test_drawn_on_plane(window: Window) -> None:
    """What a user draws on a plane of a stack knows the plane."""
    window.save_batch(planes(3), ["z0.npy", "z1.npy", "z2.npy"], names="z{z}.npy")
    window.model.add_points([(1, 2, 3)], name="mine")
    assert list(window.layers.rois()) == [ROI(Points([(2, 3)]), position=Position(z=1))]


def test_added_to_streamed_rois(window: Window) -> None:
    """What a user draws into a streamed layer is read back beside what came."""
    window.save(PLANE)
    window.save([BOX], "r.roi")
    layer = window["r"]
    layer.add_rectangles(np.array([(0, 0), (2, 4)]))
    assert list(window.layers.rois()) == [BOX, ROI(Rectangle((1, 2), (2, 4)))]


def test_moved_roi_keeps_name(window: Window) -> None:
    """A ROI that the user has moved keeps its name."""
    window.save([BOX], "r.roi")
    layer = window.only
    layer.data = [(np.asarray(layer.data[0]) + np.array((1, 2)), "rectangle")]
    assert list(window.layers.rois()) == [ROI(Rectangle((4, 6), (2, 4)), "nucleus")]


def test_rois_by_layer_name(window: Window) -> None:
    """ROIs can be asked of one layer; images and streamed labels hold none."""
    window.save(PLANE)
    window.save(PLANE, "l.npy", labels=True)
    window.save([BOX], "f/r.roi")
    window.save([SPOTS], "s.roi")
    assert list(window.layers.rois()) == [BOX, SPOTS]
    assert list(window.layers.rois("s")) == [SPOTS]
    with pytest.raises(InvalidOptionError, match=r"layer='nothing'.*'l labels', 'r', 's'"):
        list(window.layers.rois("nothing"))


def test_polygons_keep_vertices(window: Window) -> None:
    """A polygon comes back with the coordinates that it had, not those of float32."""
    outline = [(0.1, 0.2), (0.3, 9.1), (7.7, 4.4)]
    roi = ROI(Polygon(outline), "cell", properties={"area": 3.5})
    window.save([roi], "r.roi")
    assert list(window.layers.rois()) == [roi]


def test_removed_rois_come_again(window: Window) -> None:
    """A layer of ROIs that the user has removed is made again by the next save."""
    window.save(PLANE)
    window.save([BOX, SPOTS], "r.roi")
    window.model.layers.remove(window.model.layers[1])
    window.save([BOX, SPOTS], "r.roi")
    assert sorted(layer._type_string for layer in window.model.layers) == [
        "image", "points", "shapes",
    ]  # fmt: skip
    assert sorted(roi.name for roi in window.layers.rois()) == ["nucleus", "spots"]


# ── what is told ─────────────────────────────────────────────────────────────────────────


def test_layers_are_described(window: Window) -> None:
    """The description names what a person sees of each layer, and is plain JSON."""
    window.save_batch(planes(2), ["c_0.npy", "c_1.npy"], scale=(0.5, 0.5), units="um")
    window.save([BOX], "r.roi")
    found = json.loads(json.dumps(window.layers.describe()))
    assert found[0] == {
        "name": "c", "type": "image", "shape": [2, 4, 5], "dtype": "uint16",
        "scale": [1, 0.5, 0.5], "units": ["pixel", "micrometer", "micrometer"],
        "visible": True, "rgb": False, "colormap": "gray", "contrast_limits": [0, 1],
        "axes": ["image", "y", "x"], "coordinates": [["0", "1"]],
    }  # fmt: skip
    assert (found[1]["name"], found[1]["type"], found[1]["shape"]) == ("r", "shapes", [1])


def test_failure_is_of_one(window: Window) -> None:
    """What napari cannot show is the error of that value; what came with it is shown."""
    deliveries = [window._delivery(*one(PLANE, path)) for path in ("a.npy", "b.npy", "c.npy")]
    deliveries[1].data = np.full((4, 5), "text")  # nothing that a producer could send
    _, failed = window.layers.show(deliveries)
    assert list(failed) == [deliveries[1]]
    assert {"a", "c"} <= {*window.names}


def test_sliders_of_two_stacks(window: Window) -> None:
    """Two stacks share their sliders; the text is of the one that came last."""
    for channel in "12":
        for z in range(3):
            window.save(PLANE, f"A01_w{channel}_z{z}.npy", names="{well}_w{w}_z{z}.npy")
    assert window.names == ["channel 1", "channel 2"]
    assert window.model.dims.ndim == 4
    assert window.step[:2] == (0, 2)
    assert window.text == "well A01   z 2"


def test_layout_chooses_sliders(window: Window) -> None:
    """What a layout makes a layer is one, and what it makes a slider is one."""
    layout = Layout(layer=("well",), slider=("z",))
    for path in ("A01_z1.npy", "A01_z2.npy", "A02_z1.npy"):
        window.save(PLANE, path, names=ZSTACK, layout=layout)
    assert [(layer.name, layer.data.shape) for layer in window.model.layers] == [
        ("A01", (2, 4, 5)), ("A02", (1, 4, 5)),
    ]  # fmt: skip
