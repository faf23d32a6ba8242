"""Plain TIFF keeps names of axes for which tifffile has only a letter."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest

from polystore_core import AXIS_TYPES, Axis, Image, ImageMetadata

from .files import TIFF, assert_same, foreign, image


@pytest.mark.parametrize(
    "names", [("plane", "row", "col"), ("band", "y", "x"), ("q", "r", "n")]
)
@pytest.mark.parametrize("scale", [None, 0.5])
def test_long_names_of_axes_come_back(names: tuple[str, ...], scale: float | None) -> None:
    axes = tuple(Axis(name, AXIS_TYPES.get(name)) for name in names)
    words = ImageMetadata(axes=(*axes[:2], replace(axes[2], scale=scale)))
    value = Image(image((4, 8, 9)), words)
    file = io.BytesIO()
    TIFF.save(value, file)
    found = TIFF.load_image(file)
    assert_same(found.data, value.data)
    assert found.metadata == words
    assert TIFF.info(file)["image"] == words


@pytest.mark.parametrize("axes", [3, [3, None], [{"name": "a"}] * 3, [{"name": ""}] * 3, {}])
def test_wrong_names_of_axes_are_ignored(axes: Any) -> None:
    data = foreign(image((4, 8, 9)), metadata={"axes": None, "polystore": {"axes": axes}})
    assert TIFF.load_image(io.BytesIO(data)).axes[1:] == ("y", "x")
