"""Images on their way to a viewer carry their own metadata."""

import numpy as np
import pytest

from polystore_core import (
    AXIS_TYPES,
    Axis,
    Channel,
    Image,
    ImageMetadata,
    LazyArray,
    Position,
    image_metadata,
)
from polystore_core.errors import DamagedDataError, UnsupportedDataError
from polystore_stream.wire import messages
from polystore_stream.wire.describe import Look, describe_value
from polystore_stream.wire.layout import Layout, Place, place_of
from polystore_stream.wire.look import look_of
from polystore_stream.wire.seen import read_held_words

GREY = np.arange(30, dtype=np.uint16).reshape(5, 6)


def describe(data, **look):
    message, payload = describe_value(
        data, "a.tif", Place("", "key", "a", ()), Look(**look), True
    )
    assert messages.read_header(messages.encode(message)) == message
    assert payload.nbytes == message.nbytes
    return message, payload


CELLS = Image(
    np.arange(2 * 5 * 6, dtype=np.uint16).reshape(2, 5, 6),
    ImageMetadata(
        axes=(
            Axis("c", "channel"),
            Axis("y", "space", "micrometer", 0.5, 7.0),
            Axis("x", "space", "micrometer", 0.25),
        ),
        channels=(
            Channel(name="DAPI \udcff", color="0000FF", limits=(10.0, 900.0)),
            Channel(name="GFP", limits=(0.0, 65535.0), emission_nm=520.0),
        ),
        name="cells",
        bits=12,
        position=Position(name="A1", x=3.0, unit="micrometer"),
    ),
)


def read_back(message, changes=None):
    """Return the metadata that a viewer gives back."""
    answer = {"axes": message.axes, "words": message.words, "changes": changes}
    return read_held_words(answer, message.shape)


def test_image_carries_its_metadata() -> None:
    message, pixels = describe(CELLS)
    assert np.shares_memory(pixels, CELLS.data)
    assert (message.axes, message.scale) == ("cyx", (1.0, 0.5, 0.25))
    assert message.units == (None, "micrometer", "micrometer")
    assert message.channels == (
        Channel(name=r"DAPI \udcff", color="0000FF", limits=(10.0, 900.0)),
        Channel(name="GFP", color="00FF00"),
    )


def test_metadata_comes_back() -> None:
    """All metadata comes back, except limits of a whole 16-bit type."""
    message, _ = describe(CELLS)
    words = CELLS.metadata
    channels = (words.channels[0], Channel(name="GFP", emission_nm=520.0))
    expected = ImageMetadata(
        axes=words.axes,
        channels=channels,
        name="cells",
        bits=12,
        position=words.position,
    )
    assert read_back(message) == expected
    changes = {
        "axes": [{"name": "c"}, {"name": "y", "scale": 2.0, "unit": "nm"}, {"name": "x"}]
    }
    changed = read_back(message, changes)
    assert (changed.scale, changed.units) == (
        (None, 2.0, 0.25),
        (None, "nanometer", "micrometer"),
    )


def test_array_carries_no_metadata() -> None:
    assert describe(GREY)[0].words == ""
    assert read_back(describe(GREY)[0]) == image_metadata((5, 6), "u2")


def test_options_replace_metadata() -> None:
    message, _ = describe(CELLS, scale={"x": 2}, channels=["a", "b"], contrast_limits=(1, 2))
    assert message.scale == (1.0, 0.5, 2.0)
    assert [channel.name for channel in message.channels] == ["a", "b"]
    words = read_back(message)
    assert (words.scale, words.channels[1].limits) == ((None, 0.5, 2.0), (1.0, 2.0))
    assert describe(CELLS, axes="zyx")[0].channels == ()


@pytest.mark.parametrize(
    ("axes", "shape", "shown", "scale"),
    [
        ("zcyx", (3, 2, 5, 6), "czyx", (2.0, 3.0, 5.0, 6.0)),
        ("syx", (3, 5, 6), "yxs", (5.0, 6.0)),
        ("qyx", (3, 5, 6), "zyx", (1.0, 5.0, 6.0)),
        ("cqyx", (3, 4, 5, 6), "czyx", (3.0, 1.0, 5.0, 6.0)),
        ("qzyx", (3, 4, 5, 6), "tzyx", (1.0, 4.0, 5.0, 6.0)),
        ("pqyx", (3, 4, 5, 6), "tzyx", (1.0, 1.0, 5.0, 6.0)),
        ("pqzyx", (2, 3, 4, 5, 6), "tczyx", (1.0, 1.0, 4.0, 5.0, 6.0)),
        ("ab", (3, 5), "yx", ()),
        ("yxs", (5, 6, 2), "zyx", ()),
    ],
)
def test_axes_become_those_of_viewers(axes: str, shape, shown: str, scale) -> None:
    """The sizes here are lengths, so each axis has its own."""
    named = tuple(
        Axis(name, AXIS_TYPES.get(name), None, float(length) if name != "s" else None)
        for name, length in zip(axes, shape, strict=True)
    )
    data = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    message, pixels = describe(Image(data, ImageMetadata(axes=named)))
    assert (message.axes, message.scale) == (shown, scale)
    assert sorted(pixels.ravel()) == sorted(data.ravel())
    # The image comes back with its own axes, in the viewer's order if the viewer has them all.
    order = shown if set(axes) == set(shown) else axes
    assert read_back(message).axes == tuple(named[axes.index(name)] for name in order)


def test_unknown_axes_can_be_changed() -> None:
    """A viewer shows the axis "q" as z, with a size that the caller and the user may set."""
    axes = (Axis("q"), Axis("c", "channel"), Axis("y", "space"), Axis("x", "space"))
    channels = (Channel(name="a"), Channel(name="b"))
    image = Image(np.zeros((3, 2, 5, 6), "u2"), ImageMetadata(axes=axes, channels=channels))
    message, pixels = describe(image)
    assert (message.axes, pixels.shape) == ("czyx", (2, 3, 5, 6))
    assert [channel.name for channel in message.channels] == ["a", "b"]
    moved = image.metadata.transpose("cqyx")
    assert read_back(message) == moved
    changes = {
        "axes": [{"name": "c"}, {"name": "z"}, {"name": "y", "scale": 2.0}, {"name": "x"}],
        "channels": [{"color": "FF0000"}, {}],
    }
    changed = read_back(message, changes)
    assert (changed.names, changed.scale) == (moved.names, (None, None, 2.0, None))
    assert changed.channels == (Channel(name="a", color="FF0000"), Channel(name="b"))
    message, _ = describe(image, scale=(7, 1, 2, 2))
    assert read_back(message).scale == (None, 7.0, 2.0, 2.0)
    plain = Image(image.data[:, 0], ImageMetadata(axes=(axes[0], *axes[2:])))
    message, _ = describe(plain)
    assert read_back(message) == plain.metadata
    message, _ = describe(plain, scale=(4, 1, 1))
    assert read_back(message).scale[0] == 4.0


def test_single_axes_make_room_for_unknown_ones() -> None:
    """A plate of tczyx fields has six axes, and viewers have five."""
    names = ("field", "t", "c", "z", "y", "x")
    axes = tuple(Axis(name, AXIS_TYPES.get(name), scale=2.0) for name in names)
    metadata = ImageMetadata(axes=axes)
    array = np.arange(2 * 3 * 4 * 5 * 6, dtype="u1").reshape(2, 1, 3, 4, 5, 6)
    message, pixels = describe(Image(array, metadata))
    assert (message.axes, pixels.shape) == ("tczyx", (2, 3, 4, 5, 6))
    np.testing.assert_array_equal(pixels, array[:, 0])
    assert read_back(message).names == ("field", *names[2:])
    message, _ = describe(Image(array, metadata), scale=(9, 1, 1, 1, 3, 3))
    assert message.scale == (9.0, 1.0, 1.0, 3.0, 3.0)
    message, _ = describe(Image(array, metadata), scale={"t": 5, "y": 7})
    assert message.scale[-2:] == (7.0, 2.0)
    with pytest.raises(UnsupportedDataError, match="6 axes"):
        describe(Image(np.repeat(array, 2, axis=1), metadata))


def test_limits_are_those_of_all_channels() -> None:
    image = Image.of(np.zeros((2, 3, 5, 6)), axes="czyx").transpose("zcyx")
    message, _ = describe(image, contrast_limits=(1, 2))
    assert read_back(message).channels == (Channel(limits=(1.0, 2.0)),) * 2


def test_unknown_units_are_not_shown() -> None:
    """A viewer does not know furlongs, and cannot use a unit without a size."""
    named = (
        Axis("t", "time", "second", coords=(0.0, 1.0, 4.0)),
        Axis("y", "space", "micrometer"),
        Axis("x", "space", "furlong", 2.0),
    )
    image = Image(np.zeros((3, 5, 6), "u1"), ImageMetadata(axes=named))
    message, _ = describe(image)
    assert (message.scale, message.units) == ((2.0, 1.0, 2.0), ("second", None, None))
    assert read_back(message).axes[:2] == named[:2]


def test_label_image_is_labels() -> None:
    words = image_metadata((5, 6), "u2", label=True)
    assert describe(Image(GREY, words))[0].labels
    assert not describe(Image(GREY.astype("f4"), words))[0].labels


def test_lazy_values_are_read() -> None:
    dask = pytest.importorskip("dask.array", reason="dask is not installed")

    class Handle(LazyArray):
        shape, dtype = GREY.shape, GREY.dtype

        def __getitem__(self, region):
            return GREY[region]

    for lazy in (
        dask.from_array(GREY),
        Handle(),
        Image(Handle(), image_metadata((5, 6), "u2")),
    ):
        np.testing.assert_array_equal(describe(lazy)[1], GREY)


def test_dataarray_carries_its_metadata() -> None:
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    y = ("y", np.arange(5) * 0.5, {"units": "um"})
    value = xarray.DataArray(GREY, {"y": y, "c": "DAPI"}, ("y", "x"))
    message, _ = describe(value)
    assert (message.scale, message.units) == ((0.5, 1.0), ("micrometer", None))
    assert message.channels == (Channel(name="DAPI"),)


@pytest.mark.parametrize(
    "answer",
    [None, {}, {"axes": "yq"}, {"axes": 5}, {"axes": "yx", "words": "{"}, {"axes": "zyx"}],
)
def test_damaged_answers_raise_errors(answer) -> None:
    with pytest.raises(DamagedDataError, match="axes"):
        read_held_words(answer, (5, 6))


def test_sizes_follow_the_axes_of_the_value() -> None:
    words = image_metadata((2, 8, 9), "u2", axes="cyx").transpose("xyc")
    about = look_of((9, 8, 2), "<u2", Look(scale=(9, 8, 1)), words)
    assert (about.axes, about.scale) == ("cyx", (1.0, 8.0, 9.0))


@pytest.mark.parametrize(
    ("path", "position", "title"),
    [
        ("0", Position(row="B", column="03", field="2"), "B03/2"),
        ("7.tif", Position(row="B", column="03"), "B03/7"),
        ("cells.tif", Position(row="B", column="03", field="2"), "cells"),
        ("0", Position(row="B"), "0"),
        ("0", None, "0"),
    ],
)
def test_place_in_a_plate_is_the_title(
    path: str, position: Position | None, title: str
) -> None:
    """The position of an image names it if its path is only a number."""
    words = ImageMetadata(axes=(Axis("y", "space"), Axis("x", "space")), position=position)
    place = place_of(path, names=None, layout=Layout(), at=None)
    message, _ = describe_value(Image(GREY, words), path, place, Look(), True)
    assert message.title == title
