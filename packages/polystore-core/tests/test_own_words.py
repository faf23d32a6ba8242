"""Words that callers make without ``image_metadata``, and units that no list has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from polystore_core import (
    Axis,
    ImageMetadata,
    Position,
    image_metadata,
    metadata_document,
    spell_out,
    with_document,
)
from polystore_core.errors import InvalidOptionError

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


def test_units_of_others_stay() -> None:
    """A file of another program has one; it is neither lost nor refused on its way."""
    words = ImageMetadata(
        axes=(Y, Axis("x", "space", "furlong", 2.0)), position=Position(x=1.0, unit="stage")
    )
    assert image_metadata((3, 2), "u2", like=words) == words
    bare = ImageMetadata(axes=(Y, Axis("x", "space")))
    assert with_document(bare, metadata_document(words), (3, 2)) == words


def test_a_position_that_is_all_wrong_is_unknown() -> None:
    bare = ImageMetadata(axes=(Y, Axis("x", "space")))
    found = with_document(bare, {"position": {"x": "here", "unit": 3}}, (3, 2))
    assert found.position is None
