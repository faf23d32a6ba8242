"""The display limits of layers: computed, extended, and set by the user."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from polystore_core import Channel, Image

from .windows import PLANE, ZSTACK, Window, planes

pytestmark = pytest.mark.screen


def read_limits(window: Window) -> tuple[float, float]:
    low, high = window.only.contrast_limits
    return float(low), float(high)


def image(value: Any, bits: int | None = None, **words: Any) -> Image:
    found = Image.of(value, **words)
    return Image(found.data, replace(found.metadata, bits=bits))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array([[3, 900], [20, 7]], "u2"), (3, 900)),
        (np.array([[-3, 900]], "i2"), (-3, 900)),
        (np.array([[3, 90]], "u1"), (3, 90)),
        (np.array([[False, True]]), (0, 1)),
        (np.array([[True, True]]), (0, 1)),
        (np.array([[np.nan, 0.5, np.inf, -2]]), (-2, 0.5)),
        (np.array([[np.nan, np.inf]]), (0, 1)),
        (np.full((2, 2), 7, "u2"), (0, 7)),
        (np.full((2, 2), -7, "i2"), (-7, 0)),
        (np.zeros((2, 2), "f4"), (0, 1)),
        (np.arange(3 * 4 * 5, dtype="u2").reshape(3, 4, 5), (0, 59)),
    ],
)
def test_limits_span_pixels(window: Window, value: Any, expected: tuple[float, float]) -> None:
    """The limits are the lowest and the highest finite pixel of all planes."""
    window.save(value)
    assert read_limits(window) == expected


def test_few_outliers_are_ignored(window: Window) -> None:
    value = np.random.default_rng(1).integers(100, 200, (3000, 3000)).astype("u2")
    value[::500, ::500] = 65535
    window.save(value)
    assert read_limits(window) == (100, 199)


def test_limits_grow_with_the_stack(window: Window) -> None:
    """Planes extend the limits, in one burst or one by one, and never narrow them."""
    window.save_batch(planes(3), [f"A01_z{n}.npy" for n in range(3)], names=ZSTACK)
    assert read_limits(window) == (0, 20)
    for z, value, expected in ((3, 500, (0, 500)), (4, 7, (0, 500)), (0, 3, (0, 500))):
        window.save(np.full((4, 5), value, "u2"), f"A01_z{z}.npy", names=ZSTACK)
        assert read_limits(window) == expected
    assert window.layers.edits(*window.planner.place("", "A01_z3.npy", "image")) == {}


def test_limits_of_the_user_stay(window: Window) -> None:
    """New planes do not change the user's limits, which are reported as an edit."""
    window.save(PLANE, "A01_z1.npy", names=ZSTACK)
    window.save(PLANE + 10, "A01_z2.npy", names=ZSTACK)
    window.only.contrast_limits = (3, 17)
    window.save(PLANE + 90, "A01_z3.npy", names=ZSTACK)
    assert read_limits(window) == (3, 17)
    edits = window.layers.edits(*window.planner.place("", "A01_z1.npy", "image"))
    assert edits == {"channels": [{"limits": (3.0, 17.0)}]}


def test_given_limits_win(window: Window) -> None:
    """Limits that come with an image are valid for the stack until others are given."""
    window.save(PLANE, "A01_z1.npy", names=ZSTACK, contrast_limits=(2, 9))
    window.save(PLANE + 90, "A01_z2.npy", names=ZSTACK)
    assert read_limits(window) == (2, 9)
    window.save(PLANE + 90, "A01_z2.npy", names=ZSTACK, contrast_limits=(0, 99))
    assert read_limits(window) == (0, 99)


def test_limits_restart(window: Window) -> None:
    """After another shape or type the limits are computed again, or are the given ones."""
    window.save(PLANE + 900)
    window.save(np.arange(42).reshape(6, 7).astype("u1"))
    assert (read_limits(window), window.only.contrast_limits_range) == ((0, 41), [0, 255])
    window.save(PLANE, contrast_limits=(2, 9))
    window.only.contrast_limits = (3, 17)
    window.save(np.zeros((6, 7), "u2"), contrast_limits=(2, 9))
    assert read_limits(window) == (2, 9)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"bits": 12}, (0, 4095)),
        ({"bits": 4}, (0, 19)),
        ({"channels": [Channel(data_range=(0.0, 1000.0))]}, (0, 1000)),
        ({}, (0, 38)),
    ],
)
def test_metadata_sets_the_slider_range(
    window: Window, words: Any, expected: tuple[float, float]
) -> None:
    """The range of the slider contains the limits and does not change them. It only grows."""
    window.save(image(PLANE, **words), "A01_z1.npy", names=ZSTACK)
    assert (read_limits(window), window.only.contrast_limits_range) == ((0, 19), list(expected))
    window.only.contrast_limits_range = (-5, 9000)
    window.save(image(PLANE + 5000, **words), "A01_z2.npy", names=ZSTACK)
    assert read_limits(window) == (0, 5019)
    low, high = window.only.contrast_limits_range
    assert (low, high >= 9000) == (-5, True)


def test_bits_show_a_constant_image(window: Window) -> None:
    window.save(image(np.full((4, 5), 300, "u2"), bits=12))
    assert read_limits(window) == (0, 4095)


def test_channels_may_be_hidden(window: Window) -> None:
    """Visibility and gamma come from the channel, until the user changes them."""
    value = np.arange(40, dtype="u2").reshape(2, 4, 5)
    channels = [Channel(name="A", gamma=0.5), Channel(name="B", visible=False)]
    window.save(value, channels=channels)
    assert (window["a A"].visible, window["a A"].gamma) == (True, 0.5)
    assert (window["a B"].visible, window["a B"].gamma) == (False, 1)
    window["a B"].visible = True
    window.save(value + 1, channels=channels)
    assert window["a B"].visible
