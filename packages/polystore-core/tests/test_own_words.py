"""Metadata that callers make without ``image_metadata``, and units that no list has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from polystore_core import (
    Axis,
    FileManager,
    Image,
    ImageMetadata,
    Position,
    image_metadata,
    metadata_document,
    spell_out,
    to_numpy,
    with_document,
)
from polystore_core.errors import InvalidOptionError
from polystore_core.image import to_xarray

Y = Axis("y", "space")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("scale", 0.0),
        ("scale", -2.0),
        ("scale", float("nan")),
        ("scale", "wide"),
        ("origin", float("inf")),
        ("coords", (0.0, float("nan"))),
    ],
)
@pytest.mark.parametrize("any_axes", [True, False])
def test_numbers_of_an_axis_are_checked(option: str, value: Any, any_axes: bool) -> None:
    axis = replace(Axis("x", "space", "micrometer"), **{option: value})
    like = ImageMetadata(axes=(Y, axis))
    with pytest.raises(InvalidOptionError, match="for axis x") as caught:
        image_metadata((3, 2), "u2", like=like, any_axes=any_axes)
    assert caught.value.option == option


def test_numbers_of_numpy_become_floats() -> None:
    axis = Axis("x", "space", "micrometer", np.float32(0.5), np.int64(3))  # type: ignore[arg-type]
    found = image_metadata((3, 2), "u2", like=ImageMetadata(axes=(Y, axis))).axes[1]
    assert (type(found.scale), type(found.origin)) == (float, float)


def test_abbreviations_are_spelled_out() -> None:
    like = ImageMetadata(axes=(Y, Axis("x", "space", "um", 2.0)))
    assert image_metadata((3, 2), "u2", like=like).units == (None, "micrometer")
    assert spell_out("A", "space") == "angstrom"
    assert spell_out("A", "channel") == "A"


def test_units_of_others_are_kept() -> None:
    """A unit in a file of another program is neither lost nor refused."""
    metadata = ImageMetadata(
        axes=(Y, Axis("x", "space", "furlong", 2.0)), position=Position(x=1.0, unit="stage")
    )
    assert image_metadata((3, 2), "u2", like=metadata) == metadata
    plain = ImageMetadata(axes=(Y, Axis("x", "space")))
    assert with_document(plain, metadata_document(metadata), (3, 2)) == metadata


def test_invalid_position_is_unknown() -> None:
    plain = ImageMetadata(axes=(Y, Axis("x", "space")))
    found = with_document(plain, {"position": {"x": "here", "unit": 3}}, (3, 2))
    assert found.position is None


def test_key_of_dask_array_is_not_a_name() -> None:
    xarray, dask = pytest.importorskip("xarray"), pytest.importorskip("dask.array")
    lazy = dask.zeros((3, 2), chunks=2)
    assert Image.of(xarray.DataArray(lazy, dims=["y", "x"])).name == ""
    named = Image.of(lazy, axes="yx", name="cells")
    assert to_xarray(named).name == "cells"
    assert to_xarray(named.with_data(lazy + 1)[0:2]).name == "cells"
    assert to_xarray(Image.of(lazy, axes="yx")).name is None
    assert to_numpy(xarray.DataArray(lazy, dims=["y", "x"])).shape == (3, 2)


@pytest.mark.parametrize("load", ["load", "load_batch"])
def test_misspelt_as_is_reported(load: str) -> None:
    manager = FileManager()
    manager.save(np.zeros((3, 2)), "/own-words", "memory")
    paths = "/own-words" if load == "load" else ["/own-words"]
    with pytest.raises(InvalidOptionError, match=r"as_='imgae' .* 'image' or 'xarray'"):
        getattr(manager, load)(paths, "memory", as_="imgae")
