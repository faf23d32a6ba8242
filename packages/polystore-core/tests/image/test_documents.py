"""Metadata as JSON round-trips, and a document of another program changes no known value."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystore_core.image import (
    AXIS_TYPES,
    Axis,
    Channel,
    ImageMetadata,
    metadata_document,
    with_document,
)

from .strategies import JSON, images


def keep_axes_only(metadata: ImageMetadata) -> ImageMetadata:
    return ImageMetadata(axes=tuple(Axis(n, AXIS_TYPES[n]) for n in metadata.names))


@given(images())
def test_metadata_round_trips_through_json(image: Any) -> None:
    shape, metadata = image
    document = json.loads(json.dumps(metadata_document(metadata), allow_nan=False))
    assert with_document(keep_axes_only(metadata), document, shape) == metadata


@given(images(), st.data())
def test_format_and_document_hold_all_metadata(image: Any, data: st.DataObject) -> None:
    """The fields of a format and the document with the rest together hold all metadata."""
    shape, metadata = image
    words = sorted(metadata.words() - {"coords", "channels.visible", "channels.inverted"})
    held = frozenset(data.draw(st.lists(st.sampled_from(words or ["name"]))))
    rest = metadata.without(held)
    standard = metadata.without(metadata.words() - held)
    found = with_document(standard, metadata_document(rest), shape)
    if not found.channels or not metadata.channels:
        found = replace(found, channels=metadata.channels)
    assert found == metadata


@given(images(), JSON, st.data())
def test_other_documents_keep_known_values(image: Any, junk: Any, data: st.DataObject) -> None:
    """Any JSON is read without an error, fits the image, and keeps the known values."""
    shape, metadata = image
    document = metadata_document(metadata)
    keys = sorted([*document, "channels", "position", "bits", "acquired"])
    axis = data.draw(st.sampled_from(document["axes"]))
    axis[data.draw(st.sampled_from(("unit", "scale", "origin", "coords")))] = junk
    document[data.draw(st.sampled_from(keys))] = junk
    found = with_document(metadata, document, shape)
    found.check(shape)
    for known, now in zip(metadata.axes, found.axes, strict=True):
        for word in ("name", "type", "unit", "scale", "origin", "coords"):
            if getattr(known, word) is not None and known.coords is None and now.coords is None:
                assert getattr(now, word) == getattr(known, word)
    assert len(found.channels) == len(metadata.channels) or not metadata.channels
    for channel, after in zip(metadata.channels, found.channels, strict=False):
        for word in ("name", "color", "limits"):
            if getattr(channel, word):
                assert getattr(after, word) == getattr(channel, word)
    for word in ("name", "bits", "position", "acquired"):
        if getattr(metadata, word):
            assert getattr(found, word) == getattr(metadata, word)
    with_document(keep_axes_only(metadata), document, shape).check(shape)


@given(
    JSON, st.sampled_from(("axes", "channels", "position", "kind", "bits", "name", "acquired"))
)
def test_any_json_is_harmless(junk: Any, key: str) -> None:
    metadata = ImageMetadata(axes=(Axis("c"), Axis("y", "space"), Axis("x", "space")))
    for document in (
        junk,
        {key: junk},
        {key: [junk] * 2},
        {key: [{"name": "y", "q": junk}] * 3},
    ):
        with_document(metadata, document, (2, 4, 4)).check((2, 4, 4))


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {"axes": {}},
        {"axes": [{"name": "y"}]},
        {"axes": [{"name": "x", "scale": 2}, {"name": "y", "scale": 2}]},
        {"axes": [{"scale": 2}, {"scale": 2}]},
        {"axes": [{"name": "y", "scale": -1}, {"name": "x", "scale": True}]},
        {"axes": [{"name": "y", "unit": ""}, {"name": "x", "unit": ["um"]}]},
        {"axes": [{"name": "y", "coords": [1, 2, 3]}, {"name": "x", "coords": ["1", 2]}]},
        {"channels": [{"name": "a"}, {"name": "b"}]},
        {"channels": [{"color": "reddish", "limits": [9, 1], "gamma": 0, "visible": 1}]},
        {"bits": True},
        {"bits": 0},
        {"bits": 10**30},
        {"kind": "picture"},
        {"acquired": "yesterday"},
        {"name": 7},
    ],
)
def test_invalid_values_are_left_out(document: Any) -> None:
    metadata = ImageMetadata(axes=(Axis("y", "space"), Axis("x", "space")))
    found = with_document(metadata, document, (2, 2))
    assert found.without({"channels.name"}) == metadata


def test_edited_scale_wins_over_kept_coords() -> None:
    """Coords are used as long as they agree with the axis of the format."""
    uneven = ImageMetadata(axes=(Axis("z", "space", "micrometer", coords=(1.0, 2.0, 5.0)),))
    document = metadata_document(uneven)
    for scale, origin, is_taken in (
        (None, None, True),
        (2.0, 1.0, True),
        (2.0, None, True),
        (0.5, 1.0, False),
        (2.0, 7.0, False),
    ):
        axis = Axis("z", "space", "micrometer", scale, origin)
        found = with_document(ImageMetadata(axes=(axis,)), document, (3,))
        assert (found == uneven) == is_taken
        assert is_taken or found.axes == (axis,)


def test_known_values_of_channels_win() -> None:
    metadata = ImageMetadata(axes=(Axis("y"), Axis("x")), channels=(Channel(name="a"),))
    document = {"channels": [{"name": "b", "color": "#ff00ff", "emission_nm": 520}]}
    found = with_document(metadata, document, (2, 2)).channels
    assert found == (Channel(name="a", color="FF00FF", emission_nm=520.0),)
