"""Metadata of an image is checked, completed, or refused with a suggestion."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from polystore_core.errors import InvalidOptionError, UnsupportedDataError
from polystore_core.image import Channel, channel_colors, image_metadata


@pytest.mark.parametrize(
    ("shape", "channels", "axes"),
    [
        ((4, 4), None, "yx"),
        ((3, 4, 4), None, "zyx"),
        ((3, 4, 4), ["a", "b", "c"], "cyx"),
        ((3, 2, 4, 4), None, "czyx"),
        ((2, 3, 2, 4, 4), None, "tczyx"),
    ],
)
def test_axes_are_guessed(shape: tuple[int, ...], channels: Any, axes: str) -> None:
    """Without ``axes=`` their number decides. With channels, the first of three axes is c."""
    metadata = image_metadata(shape, "u2", channels=channels)
    assert "".join(axis.name for axis in metadata.axes) == axes


@pytest.mark.parametrize("axes", ["xy", "yxz", "yyx", "zyx", "cz", "xY", "", ("y", 3), 7])
def test_impossible_axes_refused(axes: Any) -> None:
    """Axes that are out of order, repeated, unknown or of another number are refused."""
    with pytest.raises(InvalidOptionError, match="with y and x among them"):
        image_metadata((4, 4), "u2", axes=axes)


@pytest.mark.parametrize(
    "scale",
    [
        (1,),
        (1, 2, 3),
        (0, 1),
        (-1, 1),
        (math.nan, 1),
        (math.inf, 1),
        ("1", 1),
        (True, 1),
        1.0,
        "11",
        {"q": 1},
        {"y": 0},
        (10**400, 1),
    ],
)
def test_impossible_scale_refused(scale: Any) -> None:
    """A scale has one positive finite number for each axis, and the error names the axes."""
    with pytest.raises(InvalidOptionError, match="y, x"):
        image_metadata((4, 4), "u2", scale=scale)


def test_numpy_scale_becomes_plain() -> None:
    """Pixel sizes may be NumPy numbers, and are stored as Python numbers."""
    sizes: Any = np.array([0.5, 2], np.float32)
    metadata = image_metadata((4, 4), "u2", scale=sizes)
    assert metadata.scale == (0.5, 2.0)
    assert {type(number) for number in metadata.scale} == {float}


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("um", "micrometer"),
        ("µm", "micrometer"),
        ("\u03bcm", "micrometer"),
        ("nm", "nanometer"),
        ("mm", "millimeter"),
        ("angstrom", "angstrom"),
    ],
)
def test_unit_abbreviations_accepted(given: str, meant: str) -> None:
    """A unit for the whole image applies to its spatial axes, and is spelled out."""
    metadata = image_metadata((2, 2, 4, 4), "u2", axes="tcyx", units=given)
    assert [axis.unit for axis in metadata.axes] == [None, None, meant, meant]


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ("micrometre", "did you mean 'micrometer'"),
        ("Micrometer", "did you mean 'micrometer'"),
        ("second", "a unit of space"),
        ({"t": "um"}, "a unit of time"),
        ({"t": "seconds"}, "did you mean 'second'"),
        ({"c": "um"}, "keys from t, y, x"),
        ({"z": "um"}, "keys from t, y, x"),
        ({"y": 3}, "a unit for y"),
        (["um"], "a mapping"),
    ],
)
def test_impossible_units_refused(units: Any, message: str) -> None:
    """Each axis has known units, and the error suggests a similar one."""
    with pytest.raises(InvalidOptionError, match=message):
        image_metadata((2, 2, 4, 4), "u2", axes="tcyx", units=units)


def test_channels_are_completed() -> None:
    """Names, mappings and channels mix. Keys of NGFF are read, and nothing is invented."""
    given: list[Any] = [
        "DAPI",
        {
            "label": "GFP",
            "color": "#00ff00",
            "window": {"start": 10, "end": 99},
            "active": False,
        },
        Channel(name="RFP", color="red", limits=(1, 2), data_range=(0, 9), emission_nm=610),
    ]
    metadata = image_metadata((3, 4, 4), np.uint8, channels=given)
    assert metadata.channels == (
        Channel(name="DAPI"),
        Channel(name="GFP", color="00FF00", visible=False, limits=(10, 99)),
        Channel(name="RFP", color="FF0000", limits=(1, 2), data_range=(0, 9), emission_nm=610),
    )


def test_half_a_window_is_completed() -> None:
    """The element type completes a window of NGFF."""
    given: list[Any] = ["a", {"window": {}}, {"window": {"start": 10}}]
    metadata = image_metadata((3, 4, 4), np.uint8, channels=given)
    assert [channel.limits for channel in metadata.channels] == [None, None, (10, 255)]
    with pytest.raises(InvalidOptionError, match="a mapping with the keys min"):
        image_metadata((4, 4), "u1", channels=[{"window": 0}])


def test_default_colors_follow_count() -> None:
    """One channel is white, two are magenta and green, and more get the list of colours."""
    for count, first in ((1, "FFFFFF"), (2, "FF00FF"), (7, "FF00FF")):
        colors = channel_colors([Channel(name="a")] * count)
        assert colors[0] == first
    assert colors[6] == first
    assert channel_colors([Channel(color="FF0000"), Channel()]) == ["FF0000", "00FF00"]


@pytest.mark.parametrize(
    "channels",
    [
        "ab",
        ["a"],
        ["a", "b", "c"],
        [1, 2],
        ["a", {"colour": "red"}],
        ["a", {"color": "reddish"}],
        ["a", {"color": 255}],
        ["a", {"active": 1}],
        ["a", {"window": [0, 1]}],
        ["a", {"window": {"low": 1}}],
        ["a", {"window": {"start": 5, "end": 1}}],
        ["a", {"window": {"min": "0"}}],
        ["a", {"window": {"max": math.nan}}],
        ["a", {"label": 3}],
    ],
)
def test_impossible_channels_refused(channels: Any) -> None:
    """The number of channels is the length of axis c, and each channel has valid fields only."""
    with pytest.raises(
        InvalidOptionError, match=r"channels(=| has [1-9] entr)|of a channel is not valid"
    ):
        image_metadata((2, 4, 4), "u2", axes="cyx", channels=channels)


def test_impossible_images_refused() -> None:
    """Images have 2 to 5 axes, labels are integers without channels, and names are text."""
    for shape in ((4,), (1,) * 6):
        with pytest.raises(UnsupportedDataError, match="2 to 5"):
            image_metadata(shape, "u2")
    with pytest.raises(UnsupportedDataError, match="integers"):
        image_metadata((4, 4), "f4", label=True)
    with pytest.raises(InvalidOptionError, match="label image"):
        image_metadata((1, 4, 4), "u2", channels=["a"], label=True)
    with pytest.raises(InvalidOptionError, match="name="):
        image_metadata((4, 4), "u2", name=3)  # type: ignore[arg-type]


def test_any_axes() -> None:
    """A plain array has axes of any names, in any order."""
    words = image_metadata(
        (4, 9, 8), "f4", axes=("angle", "x", "y"), scale=(5, 1, 2), units="um", any_axes=True
    )
    assert words.names == ("angle", "x", "y")
    assert words.units == (None, "micrometer", "micrometer")
    assert [axis.type for axis in words.axes] == [None, "space", "space"]
    degrees = image_metadata(
        (4,), "f4", axes=["angle"], units={"angle": "degree"}, any_axes=True
    )
    assert degrees.units == ("degree",)
    assert image_metadata((4,), "f4", like=degrees, any_axes=True) == degrees
    assert image_metadata((4, 9), "u1", axes="XY", any_axes=True).names == ("x", "y")
    for axes in ("yy", "zyx", ("", "x"), 3):
        with pytest.raises(InvalidOptionError, match="axes"):
            image_metadata((4, 9), "u1", axes=axes, any_axes=True)
    with pytest.raises(InvalidOptionError, match="units"):
        image_metadata((4,), "f4", axes=["angle"], units="degree", any_axes=True)
