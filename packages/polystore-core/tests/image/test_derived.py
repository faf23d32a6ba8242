"""The metadata of a part, a transposed image and a level describe the pixels in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystore_core.errors import InvalidOptionError
from polystore_core.image import Axis, Channel, ImageMetadata

from .strategies import images, regions


def get_positions(axis: Axis, length: int) -> Any:
    """Return the positions of the elements of an axis."""
    if axis.coords is not None:
        return np.array(axis.coords)
    if axis.scale is None or axis.origin is None:
        return None
    return axis.origin + np.arange(length) * axis.scale


def assert_close(found: ImageMetadata, expected: ImageMetadata) -> None:
    """Assert equal metadata, and allow computed numbers to differ by rounding."""
    for axis, other in zip(found.axes, expected.axes, strict=True):
        for word in ("scale", "origin"):
            one, two = getattr(axis, word), getattr(other, word)
            assert one == (two and pytest.approx(two, abs=1e-6)), word
        assert replace(axis, scale=None, origin=None) == replace(other, scale=None, origin=None)
    assert replace(found, axes=()) == replace(expected, axes=())


@given(images(), st.data())
def test_slice_keeps_metadata_of_its_pixels(image: Any, data: st.DataObject) -> None:
    """Each remaining element keeps its position on every axis, and its channel."""
    shape, metadata = image
    region = tuple(data.draw(regions(length)) for length in shape)
    found = metadata.select(region, shape)
    array = np.empty(shape)[region]
    found.check(array.shape)
    kept = [(a, r, n) for a, r, n in zip(metadata.axes, region, shape, strict=True)]
    remaining = [(a, r, n) for a, r, n in kept if isinstance(r, slice)]
    for axis, (before, item, length), now in zip(
        found.axes, remaining, array.shape, strict=True
    ):
        expected = get_positions(before, length)
        if (after := get_positions(axis, now)) is not None and expected is not None:
            # A reversed axis is described from its other end, if at all.
            assert after == pytest.approx(expected[item])
        assert (axis.name, axis.unit) == (before.name, before.unit)
        if before.scale is not None:
            assert axis.scale == pytest.approx(before.scale * abs(item.step or 1))
    if metadata.channels and "c" in metadata.names:
        item = region[metadata.names.index("c")]
        chosen = metadata.channels[item]
        assert found.channels == (chosen if isinstance(item, slice) else (chosen,))


@given(images(), st.data())
def test_two_slices_equal_the_composed_slice(image: Any, data: st.DataObject) -> None:
    """Selecting ``a`` and then ``b`` gives the metadata of the composed slice."""
    shape, metadata = image
    first = tuple(data.draw(regions(length, ascends=True)) for length in shape)
    between = np.empty(shape)[first].shape
    second = tuple(data.draw(regions(length, ascends=True)) for length in between)
    composed = []
    for one, two, length in zip(first, second, shape, strict=True):
        chosen = range(length)[one][two]
        composed.append(slice(chosen.start, chosen.stop, chosen.step))
    once = metadata.select(tuple(composed), shape)
    assert_close(metadata.select(first, shape).select(second, between), once)


def test_slice_by_hand() -> None:
    """The first pixel of a part keeps its position, and every second pixel is twice as large."""
    metadata = ImageMetadata(
        axes=(
            Axis("t", "time", "second", coords=(0.0, 1.5, 7.0)),
            Axis("c", "channel"),
            Axis("y", "space", "micrometer", 0.5, 10.0),
            Axis("x", "space", "micrometer", 0.5),
        ),
        channels=(Channel(name="a"), Channel(name="b")),
    )
    found = metadata.select(
        (slice(1, None), -1, slice(4, 9, 2), slice(3, None)), (3, 2, 10, 10)
    )
    assert found == ImageMetadata(
        axes=(
            Axis("t", "time", "second", coords=(1.5, 7.0)),
            Axis("y", "space", "micrometer", 1.0, 12.0),
            Axis("x", "space", "micrometer", 0.5),
        ),
        channels=(Channel(name="b"),),
    )


def test_reversed_axis_has_no_origin() -> None:
    """A scale cannot be negative, so a reversed axis has no origin.

    Coords are reversed instead.
    """
    metadata = ImageMetadata(
        axes=(
            Axis("z", "space", "micrometer", coords=(0.0, 1.0, 5.0)),
            Axis("y", "space", None, 0.5, 10.0),
            Axis("x", "space", None, 0.5, 10.0),
        )
    )
    found = metadata.select((slice(None, None, -1),) * 2, (3, 4, 4))
    assert found.axes[0].coords == (5.0, 1.0, 0.0)
    assert found.axes[1:] == (Axis("y", "space", None, 0.5), metadata.axes[2])
    single = metadata.select((..., slice(2, 1, -1)), (3, 4, 4))
    assert single.axes[2] == Axis("x", "space", None, 0.5, 11.0)


def test_channels_are_reversed() -> None:
    metadata = ImageMetadata(
        axes=(Axis("c", "channel"), Axis("y", "space"), Axis("x", "space")),
        channels=tuple(Channel(name=name) for name in "abcd"),
    )
    names = [c.name for c in metadata.select(slice(None, 0, -2), (4, 1, 1)).channels]
    assert names == ["d", "b"]
    assert metadata.select(slice(0, 0), (4, 1, 1)).channels == ()


@pytest.mark.parametrize(
    ("region", "error"),
    [((slice(None),) * 3, IndexError), (7, IndexError), ([0, 1], InvalidOptionError)],
)
def test_impossible_regions_refused(region: Any, error: type[Exception]) -> None:
    metadata = ImageMetadata(axes=(Axis("y"), Axis("x")))
    with pytest.raises(error):
        metadata.select(region, (4, 4))


@given(images(), st.data())
def test_transpose_moves_metadata(image: Any, data: st.DataObject) -> None:
    """Names and numbers move with their axes, and the inverse order restores them."""
    shape, metadata = image
    order = data.draw(st.permutations(range(len(shape))))
    moved = metadata.transpose(order)
    assert moved == metadata.transpose([metadata.names[n] for n in order])
    moved.check(np.empty(shape).transpose(order).shape)
    assert moved.transpose(metadata.names) == metadata
    assert moved.transpose([order.index(n) for n in range(len(shape))]) == metadata


@pytest.mark.parametrize(
    "order", ["y", "yy", "yxz", ("y", "x", "q"), (0, 0), (0, -1), (0, "y")]
)
def test_impossible_orders_refused(order: Any) -> None:
    metadata = ImageMetadata(axes=(Axis("y"), Axis("x")))
    with pytest.raises(InvalidOptionError, match="each of y, x once"):
        metadata.transpose(order)


@given(images(), st.sampled_from((1, 2, 4)), st.sampled_from((1, 2, 3)))
def test_level_of_level(image: Any, first: int, second: int) -> None:
    """A level of a level equals a level with the product of both factors."""
    _, metadata = image

    def make_factors(factor: int) -> list[int]:
        return [factor if name in "yx" else 1 for name in metadata.names]

    twice = metadata.level(make_factors(first)).level(make_factors(second))
    once = metadata.level(make_factors(first * second))
    assert_close(twice, once)
    assert replace(twice, axes=()) == replace(metadata, axes=())


def test_level_by_hand() -> None:
    """A pixel of a level is centred over the pixels that it covers."""
    metadata = ImageMetadata(
        axes=(Axis("y", "space", None, 0.5, 10.0), Axis("x", "space", None, 0.5))
    )
    assert metadata.level((4, 2)).axes == (
        Axis("y", "space", None, 2.0, 10.75),  # The mean of 10, 10.5, 11 and 11.5.
        Axis("x", "space", None, 1.0),
    )


@given(images())
def test_without_all_words_is_empty(image: Any) -> None:
    """``words`` names everything that ``without`` removes."""
    _, metadata = image
    bare = metadata.without(metadata.words())
    assert bare.words() == frozenset()
    assert bare.names == metadata.names
    assert metadata.without(set()) == metadata or not any(
        channel != Channel() for channel in metadata.channels
    )
    for word in metadata.words():
        assert metadata.without({word}).words() == metadata.words() - {word}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (ImageMetadata(axes=(Axis("y"), Axis("x"))), r"3 axes for shape \(2, 3, 4\)"),
        (
            ImageMetadata(axes=(Axis("z", coords=(1.0,)), Axis("y"), Axis("x"))),
            "axis z has 1 coords, but length 2",
        ),
        (
            ImageMetadata(axes=(Axis("c"), Axis("y"), Axis("x")), channels=(Channel(),)),
            "channels has 1 entry, but axis c has length 2",
        ),
        (
            ImageMetadata(axes=(Axis("z"), Axis("y"), Axis("x")), channels=(Channel(),) * 2),
            "channels has 2 entries, but the image has no axis c",
        ),
    ],
)
def test_metadata_of_another_shape_refused(metadata: ImageMetadata, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        metadata.check((2, 3, 4))


def test_repeated_axes_refused() -> None:
    with pytest.raises(InvalidOptionError, match="different axes"):
        ImageMetadata(axes=(Axis("y"), Axis("y")))


def test_repr_shows_known_fields_only() -> None:
    metadata = ImageMetadata(axes=(Axis("x", "space", scale=0.5),), source={"ngff": "…"})
    shown = "ImageMetadata(axes=(Axis(name='x', type='space', scale=0.5),))"
    assert repr(metadata) == shown
    assert eval(shown, {"ImageMetadata": ImageMetadata, "Axis": Axis}) == metadata
    assert repr(Channel(color="FF0000")) == "Channel(color='FF0000')"
