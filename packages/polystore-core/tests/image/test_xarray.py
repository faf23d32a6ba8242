"""Conversions to DataArrays and back."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystore_core import Image, array_and_words
from polystore_core.errors import InvalidOptionError
from polystore_core.image import Axis, Channel, ImageMetadata, of_dataarray, to_xarray

Require = Callable[[str], ModuleType]


@pytest.fixture
def xr(require: Require) -> Any:
    return require("xarray")


def make_axis(xr: Any, values: Any, dim: str = "t", **attrs: str) -> Axis:
    """Return the axis that ``of_dataarray`` makes of coords of ``dim``."""
    coord = (dim, np.asarray(values), attrs)
    array = xr.DataArray(np.zeros(len(values)), {dim: coord}, (dim,))
    return of_dataarray(array).axes[0]


def test_image_becomes_a_dataarray(xr: Any) -> None:
    """Coords are the centres of pixels, and the names of channels."""
    image = Image.of(
        np.zeros((2, 3, 4), np.uint16),
        axes="cyx",
        scale=(None, 0.5, 0.1),
        units="um",
        channels=["a", "b"],
        name="cells",
    )
    found = to_xarray(image[:, 1:])
    expected = xr.DataArray(
        np.zeros((2, 2, 4), np.uint16),
        {
            "c": ["a", "b"],
            "y": ("y", [0.0, 0.5], {"units": "micrometer"}),
            "x": ("x", np.arange(4) * 0.1, {"units": "micrometer"}),
        },
        ("c", "y", "x"),
        name="cells",
    )
    xr.testing.assert_identical(found, expected)
    assert float(found.sel(x=0.21, method="nearest").x) == 0.2


def test_unknown_axes_have_no_coords(xr: Any) -> None:
    found = to_xarray(Image.of(np.zeros((3, 4)), axes="yx"))
    assert (dict(found.coords), found.name) == ({}, None)
    assert of_dataarray(found) == ImageMetadata(axes=(Axis("y", "space"), Axis("x", "space")))


def test_one_channel_is_a_scalar(xr: Any) -> None:
    image = Image.of(np.zeros((2, 3, 4)), axes="cyx", channels=["a", "b"]).sel(c="b")
    found = to_xarray(image)
    assert found.c.item() == "b"
    assert array_and_words(found)[1] == image.metadata
    misplaced = found.assign_coords(c=("y", ["p", "q", "r"]))
    assert of_dataarray(misplaced).channels == ()


@given(
    st.floats(1e-9, 1e9, allow_subnormal=False),
    st.floats(-1e4, 1e4, allow_subnormal=False),
    st.integers(2, 200),
)
def test_scale_survives_coords(scale: float, steps: float, length: int) -> None:
    """Coords of the returned scale equal the first coords."""
    pytest.importorskip("xarray", reason="xarray is not installed")
    axis = Axis("x", "space", "micrometer", scale, steps * scale)
    image = Image(np.zeros(length), ImageMetadata(axes=(axis,)))
    once = to_xarray(image)
    found = of_dataarray(once)
    assert found.scale == (pytest.approx(scale, rel=1e-12 * max(abs(steps), 1)),)
    again = to_xarray(Image(np.zeros(length), found))
    np.testing.assert_allclose(again.x, once.x, rtol=1e-14, atol=1e-14 * scale * abs(steps))


@pytest.mark.parametrize(
    ("values", "scale", "origin"),
    [
        (np.arange(5) * 0.325, 0.325, 0.0),
        (np.linspace(10, 12, 21), 0.1, 10.0),
        (np.arange(1000) * 1.2345678e-7, 1.2345678e-7, 0.0),
        (np.arange(2000, dtype="f4") * np.float32(0.65), 0.65, 0.0),
        (np.array([0.1, 0.4, 0.7], "f4"), 0.3, 0.1),
        ([3, 5, 7], 2.0, 3.0),
        ([0, 1, 2], None, None),
        ([7.5], None, 7.5),
    ],
)
def test_step_of_coords(xr: Any, values: Any, scale: Any, origin: Any) -> None:
    """A step that was computed in 64 or 32 bits becomes the intended number."""
    axis = make_axis(xr, values, "x")
    assert (axis.scale, axis.origin) == (scale, origin)


def test_counts_with_unit_are_positions(xr: Any) -> None:
    assert make_axis(xr, [0, 1, 2], "z", units="um") == Axis(
        "z", "space", "micrometer", 1.0, 0.0
    )


def test_irregular_coords(xr: Any) -> None:
    """Times and depths may be irregular, or descend. The grid of pixels may not."""
    assert make_axis(xr, [0.0, 1.5, 7.0], units="s") == Axis(
        "t", "time", "second", coords=(0, 1.5, 7)
    )
    assert make_axis(xr, [3.0, 2.0, 1.0], "z").coords == (3.0, 2.0, 1.0)
    for values in ([0.0, 1.0, 3.0], [3.0, 2.0, 1.0], [1.0, 1.0]):
        with pytest.raises(InvalidOptionError, match="coords of x that ascend in equal steps"):
            make_axis(xr, values, "x")


def test_durations_are_seconds(xr: Any) -> None:
    times = np.array([0, 90, 180], "m8[s]").astype("m8[ns]")
    assert make_axis(xr, times) == Axis("t", "time", "second", 90.0, 0.0)


@pytest.mark.parametrize(
    ("values", "attrs", "message"),
    [
        (["a", "b"], {}, "finite numbers for axis t"),
        ([0, np.nan], {}, "finite numbers for axis t"),
        (np.array(["2026-01-01", "2026-01-02"], "M8[ns]"), {}, "finite numbers for axis t"),
        ([0, 1], {"units": "um"}, "a unit of time for t"),
        ([0, 1], {"units": "seconds since 1970"}, "a unit of time for t"),
    ],
)
def test_impossible_coords_refused(xr: Any, values: Any, attrs: Any, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        make_axis(xr, values, **attrs)


def test_dims_in_upper_case(xr: Any) -> None:
    """bioio uses such dims, and names its channels by a coord."""
    array = xr.DataArray(
        np.zeros((1, 2, 1, 3, 4)), {"C": ["a", "b"], "X": np.arange(4) * 0.2}, list("TCZYX")
    )
    found = of_dataarray(array)
    assert found.names == ("t", "c", "z", "y", "x")
    assert found.channels == (Channel(name="a"), Channel(name="b"))
    assert found.axes[-1] == Axis("x", "space", None, 0.2, 0.0)
    assert of_dataarray(array.drop_vars("C").rename(T="B")).names == ("B", "C", "Z", "Y", "X")


def test_key_of_graph_is_not_a_name(xr: Any) -> None:
    """xarray names a Dask array after its key, and parts and results keep that name."""
    dask_array = pytest.importorskip("dask.array")
    array = xr.DataArray(dask_array.zeros((4, 5, 6)), dims=("t", "y", "x"))
    for found in (array, array[0], array + 1, array[0].compute()):
        assert found.name
        assert of_dataarray(found).name == ""
    assert of_dataarray(array.rename("cells-2f")[0]).name == "cells-2f"


def test_long_names_of_dims(xr: Any) -> None:
    array = xr.DataArray(
        np.zeros((2, 2, 3)), {"channel": ["a", "b"]}, ("time", "channel", "y")
    ).expand_dims("x", -1)
    found = of_dataarray(array)
    assert found.names == ("t", "c", "y", "x")
    assert of_dataarray(array.sel(channel="b")).channels == (Channel(name="b"),)
    # The names are not axes of images, or are repeated.
    for other in (array.rename(y="lat"), array.rename(x="c")):
        assert of_dataarray(other.drop_vars("channel")).names[:2] == ("time", "channel")


def test_counts_of_channels_are_not_names(xr: Any) -> None:
    array = xr.DataArray(np.zeros((2, 3, 4)), {"c": [0, 1]}, ("c", "y", "x"))
    assert of_dataarray(array).channels == ()
    numbers = of_dataarray(array.assign_coords(c=[488, 561])).channels
    assert numbers == (Channel(name="488"), Channel(name="561"))
    with pytest.raises(InvalidOptionError, match="names of channels for axis c"):
        of_dataarray(array.assign_coords(c=[0.5, 1.5]))


def test_axes_of_other_arrays(xr: Any) -> None:
    array = xr.DataArray(
        np.zeros((2, 2, 3, 4)), {"well": ["A1", "A2"]}, ("well", "site", "y", "x")
    )
    with pytest.raises(InvalidOptionError, match=r"select one, array\.sel\(well=…\)"):
        of_dataarray(array)
    with pytest.raises(InvalidOptionError, match=r"no axis well, site.* array\.sel\(well=…\)"):
        Image.of(array.drop_vars("well"))
