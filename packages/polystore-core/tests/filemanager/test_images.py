"""Images in a file manager: ``as_=`` and ``like=``, and their errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import FileManager, Image, LazyArray
from polystore_core.errors import (
    BatchError,
    InvalidOptionError,
    RequestError,
    UnsupportedDataError,
    UnsupportedMetadataError,
)
from polystore_core.image import Axis

if TYPE_CHECKING:
    from .samples import Require


@pytest.fixture
def image() -> Image:
    return Image.of(
        np.arange(24, dtype=np.uint16).reshape(2, 3, 4),
        axes="cyx",
        scale=(None, 0.5, 0.5),
        units="um",
        channels=[{"name": "a", "limits": (1, 9)}, "b"],
    )


def test_load_returns_array_by_default(memory: FileManager, image: Image) -> None:
    memory.save(image, "a", "one")
    assert type(memory.load("a", "one")) is np.ndarray
    found = memory.load("a", "one", as_="image")
    assert isinstance(found, Image)
    assert found.metadata == image.metadata == memory.info("a", "one").image
    assert np.array_equal(found, image)
    found.data[:] = 0
    assert np.array_equal(memory.load("a", "one"), image)


def test_region_of_an_image(memory: FileManager, image: Image) -> None:
    memory.save(image, "a", "one")
    found = memory.load("a", "one", as_="image", region=(1, slice(1, None)))
    assert found.metadata == image[1, 1:].metadata
    assert np.array_equal(found, image.data[1, 1:])


@pytest.mark.frameworks
def test_conversions_keep_metadata(memory: FileManager, image: Image, require: Require) -> None:
    torch: Any = require("torch")
    memory.save(image.with_data(image.data.astype("i2")), "a", "one")
    same = memory.load("a", "one", as_="image", framework="torch")
    assert isinstance(same.data, torch.Tensor)
    assert same.metadata == memory.info("a", "one").image
    other = memory.load("a", "one", as_="image", dtype="float32")
    assert other.dtype == np.float32
    assert other.channels[0].limits is None


def test_array_has_no_axes(memory: FileManager) -> None:
    """Axes are never guessed, and the error says how to name them."""
    memory.save(np.zeros((3, 4)), "a", "one")
    for ask in (memory.load, memory.open):
        for kind in ("image", "xarray"):
            with pytest.raises(
                UnsupportedDataError, match=r"'a' .*Image\.of\(array, axes="
            ) as e:
                ask("a", "one", as_=kind)
            assert e.value.backend == "one"
    assert memory.info("a", "one").image is None


def test_unknown_kind_refused(memory: FileManager, image: Image) -> None:
    memory.save(image, "a", "one")
    with pytest.raises(RequestError, match="as_"):
        memory.load("a", "one", as_="picture")
    with pytest.raises(InvalidOptionError, match="as_='picture'"):
        memory.open("a", "one", as_="picture")


def test_handle_is_an_image(memory: FileManager, image: Image) -> None:
    memory.save(image, "a", "one")
    with memory.open("a", "one") as handle:
        assert handle.image == image.metadata
    lazy = memory.open("a", "one", as_="image")
    assert lazy.metadata == image.metadata
    part = lazy.sel(c="b", y=slice(1, None))
    assert type(part.data) is np.ndarray
    assert part.metadata == image[1, 1:].metadata
    assert np.array_equal(np.asarray(lazy), image)


def test_lazy_dataarray(memory: FileManager, image: Image, require: Require) -> None:
    require("xarray")
    da: Any = require("dask.array")
    memory.save(image, "a", "one")
    found = memory.open("a", "one", as_="xarray")
    assert isinstance(found.data, da.Array)
    loaded = memory.load("a", "one", as_="xarray")
    assert type(loaded.data) is np.ndarray
    assert found.identical(loaded)


def test_dataarray_round_trips(memory: FileManager, require: Require) -> None:
    xr: Any = require("xarray")
    array = xr.DataArray(
        np.zeros((2, 3, 4), np.uint16),
        {
            "z": ("z", [0.0, 1.0, 4.0][:2], {"units": "micrometer"}),
            "y": ("y", 5 + np.arange(3) * 0.1, {"units": "micrometer"}),
            "x": ("x", np.arange(4) * 0.3, {"units": "micrometer"}),
            "c": "GFP",
        },
        ("z", "y", "x"),
        name="cells",
    )
    memory.save(array, "a", "one")
    found = memory.load("a", "one", as_="xarray")
    xr.testing.assert_identical(found, array)
    single = array.isel(z=[1])
    memory.save(single, "b", "one")
    xr.testing.assert_identical(memory.load("b", "one", as_="xarray"), single)


def test_like_gives_metadata_to_array(memory: FileManager, image: Image) -> None:
    filtered = image.data // 2
    for like in (image, image.metadata):
        memory.save(filtered, "a", "one", like=like)
        assert memory.info("a", "one").image == image.metadata
    memory.save_batch([filtered, filtered], ["b", "c"], "one", like=image)
    found = memory.load_batch(["b", "c"], "one", as_="image")
    assert [each.metadata for each in found] == [image.metadata] * 2


def test_like_of_another_image_refused(memory: FileManager, image: Image) -> None:
    """Nothing is saved, and the error has both shapes."""
    for data, like, message in (
        (image.data[0], image, r"\(3, 4\).*\(2, 3, 4\)"),
        (image.data[0], image.metadata, r"cyx.*\(3, 4\)"),
        (image, image, "an Image, which has its own metadata"),
        (image.data, "image", "an Image, or the metadata of one"),
    ):
        with pytest.raises(InvalidOptionError, match=message):
            memory.save(data, "a", "one", like=like)  # type: ignore[arg-type]
    assert memory.list_dir(".", "one") == []


def test_like_in_a_batch_stops_at_another_shape(memory: FileManager, image: Image) -> None:
    with pytest.raises(BatchError, match=r"\(3, 4\)") as caught:
        memory.save_batch([image.data, image.data[0]], ["a", "b"], "one", like=image)
    assert caught.value.done == ("a",)


def test_batch_names_each_array_without_axes(memory: FileManager, image: Image) -> None:
    memory.save(image, "a", "one")
    memory.save(image.data, "b", "one")
    with pytest.raises(BatchError, match=r"Image\.of") as caught:
        memory.load_batch(["a", "b"], "one", as_="image")
    assert caught.value.failed_index == 1


def test_formats_without_metadata_refuse_images(
    fm: FileManager, image: Image, tmp_path: Any, require: Require
) -> None:
    """A format without metadata saves the bare numbers only on request."""
    require("polystore_disk")
    require("polystore_formats")
    path = str(tmp_path / "a.npy")
    with pytest.raises(UnsupportedMetadataError, match=r"numpy\.asarray\(image\)") as caught:
        fm.save(image, path, "disk")
    assert caught.value.words[0] == "axes"
    assert fm.list_dir(tmp_path, "disk") == []
    fm.save(np.asarray(image), path, "disk")
    with pytest.raises(UnsupportedDataError, match="it does not name its axes"):
        fm.load(path, "disk", as_="image")


def test_origin_of_a_part_is_kept(memory: FileManager, image: Image) -> None:
    axes = (*image.metadata.axes[:2], Axis("x", "space", "micrometer", 0.5, 3.0))
    moved = Image(image.data, type(image.metadata)(axes=axes, channels=image.channels))
    memory.save(moved[..., 2:], "a", "one")
    assert memory.load("a", "one", as_="image").metadata.axes[-1].origin == 4.0


def test_transposed_handle_reads_parts(memory: FileManager, image: Image) -> None:
    memory.save(image, "a", "one")
    turned = memory.open("a", "one", as_="image").transpose("xcy")
    assert isinstance(turned.data, LazyArray)
    assert turned.data.image == turned.metadata == image.metadata.transpose("xcy")
    expected = image.data.transpose(2, 0, 1)
    for region in (
        ...,
        (1,),
        (slice(None, None, -2), 1),
        (slice(3, 1), 0, slice(1, 3)),
        (0, 1, 2),
    ):
        assert np.array_equal(turned[region], expected[region])
    memory.save(turned, "b", "one")
    assert memory.load("b", "one", as_="image").metadata == turned.metadata
