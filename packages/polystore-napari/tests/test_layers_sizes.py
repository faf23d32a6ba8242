"""Pixel sizes that one window can show together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from polystore_core.errors import UnsupportedDataError

from .windows import ONE_OF_EACH, PLANE, Window

pytestmark = pytest.mark.screen


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
def test_different_pixel_sizes_are_refused(
    window: Window, first: dict[str, Any], second: dict[str, Any]
) -> None:
    """If napari cannot count the smaller pixels of the window, the second image is refused."""
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
def test_similar_pixel_sizes_are_shown(window: Window, looks: list[dict[str, Any]]) -> None:
    """Images share a window if their sizes are similar in the same unit."""
    for number, look in enumerate(looks):
        window.save(LARGE, f"{number}.npy", **look)
    assert len(window.names) == len(looks)


def test_tiny_images_are_refused(window: Window) -> None:
    """An image that is so small that napari would paint it black is refused."""
    with pytest.raises(UnsupportedDataError, match="napari shows only images of at least"):
        window.save(PLANE, scale=(1e-10, 1e-10), units="m")
    window.save(PLANE, scale=(0.1, 0.1), units="nm")
    window.save(PLANE)
    assert window.names == ["a"]


def test_user_layers_limit_pixel_sizes(window: Window) -> None:
    """Layers of the user count, and an update that does not fit changes nothing."""
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
    """ROIs lie on an image whose pixel size is in metres, and follow its changes."""
    window.save(LARGE, scale=(3.25e-7, 3.25e-7), units="m")
    window.save(ONE_OF_EACH, "r.roi")
    assert list(window.layers.rois()) == ONE_OF_EACH
    window.save(LARGE, scale=(3.25e-8, 3.25e-8), units="m")
    assert list(window.layers.rois()) == ONE_OF_EACH
