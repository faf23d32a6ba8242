"""The units of all layers of a window, and its scale bar."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from polystore_core.rois import ROI, Mask, Position

from .sending import one
from .windows import ONE_OF_EACH, PLANE, ZSTACK, Window

pytestmark = pytest.mark.screen

UM: dict[str, Any] = {"scale": (0.5, 0.5), "units": "um"}
VOLUME: dict[str, Any] = {"scale": (2, 0.5, 0.5), "units": "um"}
STACK = np.zeros((3, 4, 5), "u2")


def read_units(window: Window, name: str) -> list[str]:
    return [str(unit) for unit in window[name].units]


def read_window_units(window: Window) -> list[str] | None:
    """Return the units of the window, or ``None`` if napari has dropped them."""
    found = window.model.layers.extent.units
    return None if found is None else [str(unit) for unit in found]


def has_bar(window: Window) -> bool:
    return bool(window.model.canvas.overlays.scale_bar.visible)


# ── units ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("first", ["known", "plain"])
def test_plain_images_get_the_units_of_the_window(window: Window, first: str) -> None:
    """A plain image keeps its scale, and its size stays unknown to the pipeline."""
    saves = {"known": UM, "plain": {}}
    for name in sorted(saves, key=lambda name: name != first):
        window.save(PLANE, f"{name}.npy", **saves[name])
    assert read_units(window, "plain") == read_window_units(window) == ["micrometer"] * 2
    assert window["plain"].scale.tolist() == [1, 1]
    assert window.layers.edits(*window.planner.place("", "plain.npy", "image")) == {}
    window.save(PLANE + 1, "plain.npy")
    window.model.layers.remove(window["known"])
    assert read_units(window, "plain") == ["pixel"] * 2


def test_sliders_get_the_units_of_the_window(window: Window) -> None:
    """A slider for wells shares its axis with the depth of a volume."""
    window.save(PLANE, "A01_z1.npy", names="{well}_z{z}.npy", **UM)
    assert read_window_units(window) == ["pixel", "pixel", "micrometer", "micrometer"]
    window.save(STACK, "volume.npy", **VOLUME)
    assert read_window_units(window) == ["pixel", *["micrometer"] * 3]


def test_labels_and_rois_get_the_units_of_the_window(window: Window) -> None:
    window.save(ONE_OF_EACH, "before.roi")
    window.save(STACK, **VOLUME)
    placed = [ROI(Mask(np.ones((2, 3), bool), (1, 1)), position=Position(z=1))]
    window.save([*ONE_OF_EACH, *placed], "after.roi")
    window.save(PLANE, labels=True)
    assert {read_units(window, layer.name)[-1] for layer in window.model.layers} == {
        "micrometer"
    }
    assert read_window_units(window) == ["micrometer"] * 3
    for layer in window.model.layers:
        assert layer.axis_labels == ("z", "y", "x")[-layer.ndim :]


def test_the_first_unit_is_shared(window: Window) -> None:
    window.save(PLANE, "a.npy", **UM)
    window.save(PLANE, "b.npy", scale=(90, 90), units="nm")
    window.save(PLANE, "c.npy")
    assert read_units(window, "b") == ["nanometer"] * 2
    assert read_units(window, "c") == ["micrometer"] * 2
    assert read_window_units(window) == ["nanometer"] * 2  # napari uses the smallest unit


def test_units_of_the_user_count(window: Window) -> None:
    """Units of the user stay, and layers without units get them."""
    window.save(PLANE, "a.npy")
    window["a"].units = ("nm", "nm")
    window.save(PLANE, "b.npy")
    assert read_units(window, "a") == read_units(window, "b") == ["nanometer"] * 2
    edits = window.layers.edits(*window.planner.place("", "a.npy", "image"))
    assert [axis.get("unit") for axis in edits["axes"]] == ["nanometer"] * 2
    window.model.add_image(PLANE, name="mine")
    window.save(PLANE, "c.npy")
    assert read_units(window, "mine") == ["pixel"] * 2


def test_units_of_other_kinds_stay(window: Window) -> None:
    """If time and depth share an axis, napari draws numbers without a unit."""
    window.save(STACK, "t.npy", axes="tyx", scale=(2, 0.5, 0.5), units={"t": "s", "y": "um"})
    window.save(STACK, "z.npy", **VOLUME)
    assert read_units(window, "t")[0] == "second"
    assert read_window_units(window) is None


# ── the scale bar ────────────────────────────────────────────────────────────────────────


def test_bar_needs_a_size(window: Window) -> None:
    window.save(PLANE, "plain.npy")
    assert not has_bar(window)
    window.save(PLANE, "a.npy", **UM)
    assert has_bar(window)
    window.model.layers.remove(window["a"])
    assert not has_bar(window)


def test_bar_needs_units_that_agree(window: Window) -> None:
    """With different units the bar would show a wrong number for some layers."""
    window.save(STACK, "z.npy", **VOLUME)
    window.save(STACK, "t.npy", axes="tyx", scale=(2, 0.5, 0.5), units={"t": "s", "y": "um"})
    assert not has_bar(window)


def test_bar_is_an_option(window: Window) -> None:
    item, pixels = one(PLANE, **UM)
    window.show((replace(item, scale_bar=False), pixels))
    assert not has_bar(window)
    window.save(PLANE, "b.npy", **UM)
    assert has_bar(window)


def test_bar_stays_hidden(window: Window) -> None:
    """If the user hides the bar, it stays hidden, also for new images after a clear."""
    window.save(PLANE, **UM)
    window.model.canvas.overlays.scale_bar.visible = False
    window.save(PLANE, "b.npy", **UM)
    window.layers.clear()
    window.planner.forget_window("")
    window.save(PLANE, "c.npy", **UM)
    assert not has_bar(window)


def test_bar_of_the_user_stays(window: Window) -> None:
    window.model.canvas.overlays.scale_bar.visible = True
    window.save(PLANE, "a.npy")
    assert has_bar(window)


def test_text_and_bar_share_a_window(window: Window) -> None:
    for z in (1, 2):
        window.save(PLANE, f"A01_z{z}.npy", names=ZSTACK, **UM)
    assert (window.text, has_bar(window)) == ("well A01   z 2", True)
