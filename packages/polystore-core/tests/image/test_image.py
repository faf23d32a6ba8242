"""An array with metadata: each operation changes both together, or is refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from polystore_core import Image, array_and_words, to_numpy
from polystore_core.errors import InvalidOptionError, UnsupportedDataError
from polystore_core.image import Axis, Channel, ImageMetadata, image_metadata

Require = Callable[[str], ModuleType]


@pytest.fixture
def image() -> Image:
    """Return a stack of two channels, whose pixels all differ."""
    return Image.of(
        np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(2, 3, 4, 5),
        axes="CZYX",
        scale=(None, 2, 0.1, 0.1),
        units="um",
        channels=["DAPI", {"name": "GFP", "color": "green", "limits": (10, 99)}],
        name="cells",
    )


def test_of_takes_metadata_of_caller(image: Image) -> None:
    assert image.axes == ("c", "z", "y", "x")
    assert image.scale == (None, 2.0, 0.1, 0.1)
    assert image.units == (None, "micrometer", "micrometer", "micrometer")
    assert [channel.name for channel in image.channels] == ["DAPI", "GFP"]
    assert (image.name, image.ndim, image.nbytes, len(image)) == ("cells", 4, 240, 2)


def test_of_corrects_an_image(image: Image) -> None:
    """The given metadata replaces only the same fields of the image."""
    found = Image.of(image, scale={"z": 3}, name="fixed")
    assert found.data is image.data
    assert (found.scale, found.name) == ((None, 3.0, 0.1, 0.1), "fixed")
    assert (found.units, found.channels) == (image.units, image.channels)
    with pytest.raises(InvalidOptionError, match="which has its own metadata"):
        Image.of(image, like=image)


@pytest.mark.parametrize(
    "region", [0, -1, (slice(None), 1), (..., slice(2, None)), (0, 0, 0, 0), ..., ()]
)
def test_indexing_equals_that_of_the_array(image: Image, region: Any) -> None:
    found = image[region]
    assert np.array_equal(found.data, image.data[region])
    assert found.metadata == image.metadata.select(region, image.shape)


@pytest.mark.parametrize("region", [None, [0, 1], np.array([True, False]), "c"])
def test_advanced_indexing_refused(image: Image, region: Any) -> None:
    with pytest.raises(InvalidOptionError, match=r"integers, slices and \.\.\."):
        image[region]


def test_images_are_iterated(image: Image) -> None:
    assert [plane.channels[0].name for plane in image] == ["DAPI", "GFP"]
    with pytest.raises(TypeError, match="image without axes"):
        len(image[0, 0, 0, 0])


def test_sel_takes_names(image: Image) -> None:
    found = image.sel(c="GFP", z=slice(1, None), x=0)
    assert np.array_equal(found, image.data[1, 1:, :, 0])
    assert found.axes == ("z", "y")
    assert found.channels == (Channel(name="GFP", color="00FF00", limits=(10, 99)),)
    assert image.sel(c=-1).channels == found.channels
    assert image.sel().metadata == image.metadata


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ({"t": 0}, "axis='t'.*one of c, z, y, x"),
        ({"c": "RFP"}, "c='RFP'.*one of 'DAPI', 'GFP'"),
        ({"z": "GFP"}, "integers, slices"),
    ],
)
def test_sel_of_unknown_refused(image: Image, regions: Any, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        image.sel(**regions)


def test_sel_of_two_channels_with_one_name_refused() -> None:
    image = Image.of(np.zeros((2, 4, 4)), axes="cyx", channels=["a", "a"])
    with pytest.raises(InvalidOptionError, match="c='a'"):
        image.sel(c="a")
    with pytest.raises(InvalidOptionError, match="the channels have no names"):
        Image.of(np.zeros((2, 4, 4)), axes="cyx").sel(c="a")


def test_with_data_keeps_metadata_of_same_type(image: Image) -> None:
    filtered = image.with_data(image.data // 2)
    assert filtered.metadata == image.metadata
    other = image.with_data(image.data / 2)
    assert other.metadata == image.metadata.without({"channels.limits"})
    turned = image.with_data(image.data.astype(">u2"))
    assert turned.metadata == image.metadata


def test_with_data_of_another_shape_refused(image: Image) -> None:
    """The error has both shapes and both remedies."""
    with pytest.raises(InvalidOptionError) as caught:
        image.with_data(image.data.max(axis=1))
    for part in ("(2, 4, 5)", "(2, 3, 4, 5)", "image.sel(…)", "Image.of"):
        assert part in str(caught.value)


def test_only_arrays_are_images(image: Image) -> None:
    for wrong, message in (([1, 2], "got list"), (7, "got int"), (image, "pass its .data")):
        with pytest.raises(UnsupportedDataError, match=message):
            image.with_data(wrong)
        with pytest.raises(UnsupportedDataError, match=message):
            Image(wrong, image.metadata)
    with pytest.raises(UnsupportedDataError, match="got list"):
        Image.of([[1, 2]], axes="yx")
    with pytest.raises(InvalidOptionError, match=r"2 axes for shape \(3, 4\)"):
        Image(np.zeros((3, 4)), image.metadata)


def test_transpose_is_a_view(image: Image) -> None:
    found = image.transpose("xyzc")
    assert np.shares_memory(found.data, image.data)
    assert np.array_equal(found, image.data.T)
    assert found.metadata == image.metadata.transpose((3, 2, 1, 0))
    assert found.transpose(image.axes).metadata == image.metadata


def test_writer_gets_its_order_of_axes(image: Image) -> None:
    """A writer gets the axes in the order of its format, or unchanged."""
    pixels, words = array_and_words(image.transpose("xzcy"), "tzcyxs")
    assert words == image.metadata.transpose("zcyx")
    assert np.array_equal(pixels, image.transpose("zcyx"))
    assert array_and_words(image, "tczyxs")[0] is image.data
    assert array_and_words(image.transpose("xzcy"))[0].shape == (5, 3, 2, 4)
    other = ImageMetadata(axes=(Axis("x"), Axis("q")))
    assert array_and_words(Image(np.zeros((2, 3)), other), "tczyxs")[1] == other


@pytest.mark.frameworks
def test_arrays_of_frameworks(image: Image, require: Require) -> None:
    """A tensor stays a tensor, and has the metadata of an array with the same element type."""
    torch: Any = require("torch")
    tensor = image.with_data(torch.from_numpy(image.data.astype("i2")))
    assert tensor.with_data(image.data.astype("i2")).metadata == tensor.metadata
    found = Image.of(torch.zeros((3, 4), dtype=torch.uint8), axes="yx").transpose("xy")
    assert isinstance(found.data, torch.Tensor)
    assert found.shape == (4, 3)
    assert np.asarray(found[0]).tolist() == [0, 0, 0]


def test_dask_arrays_remain_lazy(image: Image, require: Require) -> None:
    da: Any = require("dask.array")
    lazy = image.with_data(da.from_array(image.data))
    found = lazy.transpose("zcyx").sel(c="GFP")
    assert isinstance(found.data, da.Array)
    assert np.array_equal(found, image.data[1])


def test_image_is_an_array(image: Image) -> None:
    """NumPy shares its memory, and copies only where necessary."""
    assert np.asarray(image) is image.data
    assert np.shares_memory(np.asarray(image, np.uint16), image.data)
    assert not np.shares_memory(np.array(image), image.data)
    assert np.asarray(image, np.float32).dtype == np.float32
    assert np.mean(image) == image.data.mean()
    with pytest.raises(ValueError, match="needs a copy"):
        image.__array__(np.dtype("f4"), copy=False)


def test_to_numpy_refuses_to_lose_metadata(image: Image) -> None:
    with pytest.raises(UnsupportedDataError, match=r"numpy\.asarray\(image\)"):
        to_numpy(image)


def test_images_pickle_and_copy(image: Image) -> None:
    for again in (pickle.loads(pickle.dumps(image)), copy.deepcopy(image)):
        assert np.array_equal(again, image)
        assert again.metadata == image.metadata
    metadata = ImageMetadata(axes=(Axis("x"),), source={"ngff": "{}"})
    assert pickle.loads(pickle.dumps(metadata)).source == {"ngff": "{}"}
    assert {metadata: 1}[pickle.loads(pickle.dumps(metadata))] == 1


def test_repr_shows_known_metadata(image: Image) -> None:
    assert repr(image) == (
        "<Image ndarray uint16; c=2 z=3 y=4 x=5; scale z 2 micrometer, y 0.1 micrometer, "
        "x 0.1 micrometer; channels DAPI, GFP>"
    )
    assert repr(Image.of(np.zeros((3, 4)), axes="yx")) == "<Image ndarray float64; y=3 x=4>"
    assert image.rename("b").name == "b"


# ── like= ────────────────────────────────────────────────────────────────────────────────


def test_given_metadata_wins_over_image(image: Image) -> None:
    known = image.metadata
    same = image_metadata(image.shape, image.dtype, like=known)
    assert same == known
    found = image_metadata(
        image.shape,
        image.dtype,
        like=known,
        scale={"y": 0.3},
        units={"z": "nm"},
        channels=["a", "b"],
        name="other",
    )
    assert found.scale == (None, 2.0, 0.3, 0.1)
    assert found.units == (None, "nanometer", "micrometer", "micrometer")
    assert [c.name for c in found.channels] == ["a", "b"]
    assert found.name == "other"


def test_given_axes_drop_metadata_of_other_axes() -> None:
    """An axis with another name was never measured, and other channels need other metadata."""
    known = image_metadata(
        (3, 4, 4), "u2", axes="cyx", scale=(None, 2, 2), channels=["a", "b", "c"]
    )
    found = image_metadata((3, 4, 4), "u2", like=known, axes="zyx")
    assert (found.names, found.scale) == (("z", "y", "x"), (None, 2.0, 2.0))
    assert found.channels == ()


def test_given_scale_replaces_coords() -> None:
    known = ImageMetadata(
        axes=(
            Axis("z", "space", None, coords=(1.0, 5.0)),
            Axis("y", "space"),
            Axis("x", "space"),
        )
    )
    assert image_metadata((2, 4, 4), "u2", like=known) == known
    found = image_metadata((2, 4, 4), "u2", like=known, scale={"z": 3})
    assert found.axes[0] == Axis("z", "space", None, 3.0)


def test_like_of_another_shape_is_refused() -> None:
    known = image_metadata((3, 4, 4), "u2", axes="cyx", channels=["a", "b", "c"])
    for shape, message in (
        ((2, 4, 4), "channels has 3 entries, but axis c has length 2"),
        ((4, 4), r"axes=\('c', 'y', 'x'\) .* 2 different axes for shape \(4, 4\)"),
    ):
        with pytest.raises(InvalidOptionError, match=message):
            image_metadata(shape, "u2", like=known)


def test_given_metadata_is_not_guessed() -> None:
    guess = ImageMetadata(
        axes=(Axis("z", "space"), Axis("y", "space"), Axis("x", "space")),
        guessed=frozenset(("axes", "scale")),
    )
    assert image_metadata((2, 3, 3), "u2", like=guess).guessed == {"axes", "scale"}
    assert image_metadata((2, 3, 3), "u2", like=guess, axes="tyx").guessed == {"scale"}
    found = image_metadata((2, 3, 3), "u2", like=guess, axes="tyx", scale=(1, 2, 2))
    assert found.guessed == frozenset()
