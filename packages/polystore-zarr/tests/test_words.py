"""Metadata of images in OME-Zarr and plain Zarr is read back complete, and none is invented."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import (
    Axis,
    Channel,
    FileManager,
    Image,
    ImageMetadata,
    Position,
    image_metadata,
)
from polystore_core.errors import InvalidOptionError, UnsupportedDataError
from polystore_testing import Bound

PIXELS = np.random.default_rng(1).integers(0, 4000, (2, 3, 60, 50), dtype="u2")
RGB = np.random.default_rng(2).integers(0, 255, (520, 300, 3), dtype="u1")
EVERYTHING = ImageMetadata(
    axes=(
        Axis("t", "time", "second", coords=(0.0, 1.5)),
        Axis("c", "channel"),
        Axis("y", "space", "micrometer", 0.5, 0.0),
        Axis("x", "space", "micrometer", 0.25, 3.0),
    ),
    channels=(
        Channel(name="GFP", emission_nm=509.0, gamma=0.5, limits=(0.0, 65535.0)),
        Channel(color="FF00FF", data_range=(0.0, 4095.0), visible=False, inverted=True),
        Channel(fluorophore="Cy5", limits=(5.0, 90.0)),
    ),
    bits=12,
    position=Position(name="A", x=1.5, unit="millimeter"),
    acquired=datetime(2020, 1, 2, 3, 4, 5),
)
LITTLE = (
    image_metadata(PIXELS.shape, "u2", axes="tcyx"),
    image_metadata(PIXELS.shape, "u2", axes="tcyx", units="um"),
    image_metadata(PIXELS.shape, "u2", axes="czyx", scale={"y": 0.5}, name="cells"),
    image_metadata(PIXELS.shape, "u2", axes="tzyx", channels=["only"]),
    replace(image_metadata(PIXELS.shape, "u2", axes="tzyx"), kind="labels"),
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bound:
    monkeypatch.chdir(tmp_path)
    return Bound(FileManager(), "zarr")


def attributes(path: str) -> dict[str, Any]:
    for name in (".zattrs", "zarr.json"):
        if Path(path, name).exists():
            found = json.loads(Path(path, name).read_text())
            return found if name == ".zattrs" else found["attributes"]
    raise AssertionError(path)


@pytest.mark.parametrize("words", [EVERYTHING, *LITTLE])
@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("a.ome.zarr", {}),
        ("a.ome.zarr", {"ome": "0.4"}),
        ("s.zarr/a", {}),
        ("s.zarr/a", {"zarr_format": 2}),
    ],
)
def test_all_metadata_round_trips(
    store: Bound, words: ImageMetadata, path: str, options: dict[str, Any]
) -> None:
    store.save(Image(PIXELS, words), path, **options)
    found = store.load(path, as_="image")
    assert found.metadata == words
    assert found.metadata.guessed == frozenset()
    np.testing.assert_array_equal(found.data, PIXELS)
    assert type(store.load(path)) is np.ndarray
    assert store.info(path).image == words
    handle = store.open(path)
    assert handle.image == pickle.loads(pickle.dumps(handle)).image == words
    part = store.load(path, as_="image", region=np.s_[1, :, 10:20:2])
    assert part.metadata == words.select(np.s_[1, :, 10:20:2], PIXELS.shape)
    store.save(found, path, **options)
    assert store.load(path, as_="image").metadata == words


def test_levels_have_larger_pixels(store: Bound) -> None:
    store.save(Image(PIXELS, EVERYTHING), "a.ome.zarr", levels=3)
    for level in (1, 2, -1):
        found = store.load("a.ome.zarr", as_="image", level=level)
        factor = 2.0 ** (level % 3)
        assert found.metadata == EVERYTHING.level((1, 1, factor, factor))
        assert store.open("a.ome.zarr", level=level).image == found.metadata
    part = store.load("a.ome.zarr", as_="image", level=1, region=np.s_[..., 5])
    assert part.metadata.names == ("t", "c", "y")


def test_standard_fields_win(store: Bound) -> None:
    """Another program has changed the standard fields, which take precedence over ours."""
    store.save(Image(PIXELS, EVERYTHING), "a.ome.zarr")
    place = Path("a.ome.zarr/zarr.json")
    document = json.loads(place.read_text())
    inner = document["attributes"]["ome"]
    scale = inner["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    scale[:] = [9.0, 1.0, 7.0, 0.25]
    inner["omero"]["channels"][0]["color"] = "123456"
    inner["omero"]["channels"][0]["window"]["start"] = 11
    place.write_text(json.dumps(document))
    found = store.info("a.ome.zarr").image
    assert found is not None
    assert found.scale == (9.0, None, 7.0, 0.25)
    assert found.axes[0].coords is None  # they do not agree with the new step
    assert found.channels[0].color == "123456"
    assert found.channels[0].limits == (11.0, 65535.0)
    assert found.channels[0].emission_nm == 509.0
    assert found.channels[1].color == "FF00FF"


def test_document_of_other_programs(store: Bound) -> None:
    """Scale 1 without a unit, no translation and a full display range are read as unknown."""
    store.save(PIXELS, "a.ome.zarr", axes="tcyx", channels=["a", "b", "c"])
    place = Path("a.ome.zarr/zarr.json")
    document = json.loads(place.read_text())
    del document["attributes"]["polystore"]
    place.write_text(json.dumps(document))
    channels = document["attributes"]["ome"]["omero"]["channels"]
    channels[0]["window"] |= {"start": 0, "end": 65535}
    place.write_text(json.dumps(document))
    found = store.load("a.ome.zarr", as_="image").metadata
    assert found.scale == (None,) * 4
    assert [axis.origin for axis in found.axes] == [None] * 4
    assert found.channels[0].limits is None
    assert found.channels[0].data_range == (0.0, 65535.0)
    assert found.channels[1].limits is not None
    assert json.loads(found.source["ngff"]) == document["attributes"]["ome"]


# ── RGB ──────────────────────────────────────────────────────────────────────────────────


def test_samples_are_channels_in_the_store(store: Bound) -> None:
    store.save(RGB, "a.ome.zarr", chunks=(128, 64, 1))
    inner = attributes("a.ome.zarr")["ome"]
    assert [axis["name"] for axis in inner["multiscales"][0]["axes"]] == ["c", "y", "x"]
    channels = inner["omero"]["channels"]
    assert [c["label"] for c in channels] == ["red", "green", "blue"]
    assert [c["color"] for c in channels] == ["FF0000", "00FF00", "0000FF"]
    assert all((c["window"]["start"], c["window"]["end"]) == (0, 255) for c in channels)
    assert store.load("a.ome.zarr/0").shape == (3, 520, 300)
    info = store.info("a.ome.zarr")
    assert info.shape == RGB.shape
    assert info.metadata["levels"] == [(520, 300, 3), (260, 150, 3), (130, 75, 3)]
    assert info.metadata["chunks"] == (1, 128, 64)


def test_samples_are_loaded_as_saved(store: Bound) -> None:
    words = image_metadata(RGB.shape, "u1", axes="yxs", scale={"y": 2.0, "x": 3.0}, units="um")
    store.save(Image(RGB, words), "a.ome.zarr")
    found = store.load("a.ome.zarr", as_="image")
    assert found.metadata == words
    for value in (
        found.data,
        store.load("a.ome.zarr"),
        store.load_batch(["a.ome.zarr"] * 2)[1],
    ):
        assert value.flags.c_contiguous
        np.testing.assert_array_equal(value, RGB)
    handle = pickle.loads(pickle.dumps(store.open("a.ome.zarr")))
    for region in (np.s_[10:2:-2, 5], np.s_[..., 1], np.s_[5:5], np.s_[-1, 3:9, ::-1], ...):
        np.testing.assert_array_equal(handle[region], RGB[region])
        np.testing.assert_array_equal(store.load("a.ome.zarr", region=region), RGB[region])
    level = store.load("a.ome.zarr", as_="image", level=1)
    assert (level.shape, level.metadata.scale) == ((260, 150, 3), (4.0, 6.0, None))
    store.save(handle, "b.ome.zarr")
    np.testing.assert_array_equal(store.load("b.ome.zarr"), RGB)
    store.save(RGB[:300], "a.ome.zarr")
    assert store.info("a.ome.zarr").image == words


@pytest.mark.parametrize(("axes", "shape"), [("tyxs", (2, 9, 8, 3)), ("zyxs", (2, 9, 8, 4))])
def test_samples_of_stacks(store: Bound, axes: str, shape: tuple[int, ...]) -> None:
    value = np.arange(np.prod(shape), dtype="f4").reshape(shape)
    store.save(value, "a.ome.zarr", axes=axes)
    np.testing.assert_array_equal(store.load("a.ome.zarr"), value)
    expected = [*("t" if "t" in axes else ""), "c", *axes.strip("ts")]
    assert store.info("a.ome.zarr").metadata["axes"] == expected


# ── axes ─────────────────────────────────────────────────────────────────────────────────


def test_four_axes_need_names(store: Bound) -> None:
    with pytest.raises(InvalidOptionError, match=r"axes= is missing.*czyx, tcyx or tzyx"):
        store.save(PIXELS, "a.ome.zarr")
    assert list(Path().iterdir()) == []
    store.save(PIXELS, "a.ome.zarr", axes="TCYX")
    store.save(PIXELS + 1, "a.ome.zarr")  # the image has axes
    store.save(PIXELS, "a.ome.zarr/labels/n")  # and its labels have the same
    assert store.info("a.ome.zarr").metadata["axes"] == list("tcyx")
    assert store.info("a.ome.zarr/labels/n").metadata["axes"] == list("tcyx")
    store.save(PIXELS, "b.ome.zarr", channels=["a", "b"])  # only the first axis has length 2
    assert store.info("b.ome.zarr").metadata["axes"] == list("czyx")


def test_unknown_axis_is_refused(store: Bound) -> None:
    image = Image(PIXELS[0], ImageMetadata(axes=(Axis("q"), Axis("y"), Axis("x"))))
    with pytest.raises(InvalidOptionError, match="axes") as caught:
        store.save(image, "a.ome.zarr")
    assert "pass axes=" in str(caught.value.__notes__)
    store.save(image, "a.ome.zarr", axes="zyx")
    assert store.info("a.ome.zarr").image == image_metadata((3, 60, 50), "u2", axes="zyx")


@pytest.mark.parametrize("words", LITTLE)
@pytest.mark.parametrize("options", [{}, {"ome": "0.4"}])
def test_metadata_of_a_replaced_image_is_dropped(
    store: Bound, words: ImageMetadata, options: dict[str, Any]
) -> None:
    old = replace(EVERYTHING, name="old", kind="intensity")
    store.save(Image(PIXELS, old), "a.ome.zarr", **options)
    store.save(Image(PIXELS, words), "a.ome.zarr", **options)
    assert store.load("a.ome.zarr", as_="image").metadata == words


def test_options_override_metadata(store: Bound) -> None:
    store.save(Image(PIXELS, EVERYTHING), "a.ome.zarr")
    store.save(PIXELS, "a.ome.zarr", scale={"x": 9.0}, channels=["a", "b", "c"])
    found = store.info("a.ome.zarr").image
    assert found is not None
    assert found.scale == (None, None, 0.5, 9.0)
    assert found.axes[0].coords == (0.0, 1.5)
    assert [channel.name for channel in found.channels] == ["a", "b", "c"]
    said = image_metadata(PIXELS.shape, "u2", axes="tcyx", scale={"y": 4.0}, units="um")
    store.save(Image(PIXELS, said), "a.ome.zarr")
    found = store.info("a.ome.zarr").image
    assert found is not None
    assert (found.axes[2].scale, found.axes[3].scale) == (4.0, None)
    assert found.channels == ()
    assert found.bits is None


def test_each_image_of_a_batch_keeps_its_metadata(store: Bound) -> None:
    images = [Image(PIXELS[0, 0], image_metadata((60, 50), "u2", scale=(n, n))) for n in (2, 3)]
    store.save_batch(images, ["p.ome.zarr/A/1/0", "p.ome.zarr/A/1/1"])
    for number, image in enumerate(images):
        assert store.info(f"p.ome.zarr/A/1/{number}").image == image.metadata


# ── plain arrays ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_plain_array_has_any_axes(store: Bound, zarr_format: int) -> None:
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    store.save(
        PIXELS,
        "s.zarr/a",
        zarr_format=zarr_format,
        axes=("angle", "c", "x", "y"),
        scale={"angle": 5.0, "x": 0.5},
        units={"angle": "degree", "x": "um"},
        channels=["a", "b", "c"],
    )
    found = store.load("s.zarr/a", as_="image").metadata
    assert found.names == ("angle", "c", "x", "y")
    assert found.scale == (5.0, None, 0.5, None)
    assert found.units == ("degree", None, "micrometer", None)
    assert [channel.name for channel in found.channels] == ["a", "b", "c"]
    opened = xarray.open_zarr("s.zarr", consolidated=False, mask_and_scale=False)["a"]
    assert opened.dims == found.names
    np.testing.assert_array_equal(opened.values, PIXELS)


def test_array_without_axes_has_no_metadata(store: Bound) -> None:
    store.save(PIXELS, "s.zarr/a")
    assert store.info("s.zarr/a").image is None
    assert store.open("s.zarr/a").image is None
    with pytest.raises(UnsupportedDataError, match=r"Image\.of"):
        store.load("s.zarr/a", as_="image")
    for axes in ("yy", "zyx", ("", "a", "b", "c")):
        with pytest.raises(InvalidOptionError, match="axes"):
            store.save(PIXELS, "s.zarr/b", axes=axes)
    with pytest.raises(InvalidOptionError, match="axes= is missing"):
        store.save(PIXELS, "s.zarr/b", scale=(1, 1, 2, 2))
    assert store.list_dir("s.zarr") == ["a"]


@pytest.mark.parametrize("path", ["a.ome.zarr", "s.zarr/a"])
@pytest.mark.parametrize("is_lazy", [False, True])
def test_dataarrays(store: Bound, path: str, is_lazy: bool) -> None:
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    coords = {
        "c": ["a", "b", "c"],
        "y": ("y", 3 + 0.5 * np.arange(60), {"units": "micrometer"}),
    }
    value = xarray.DataArray(PIXELS, coords, ("t", "c", "y", "x"), name="cells")
    if is_lazy:
        pytest.importorskip("dask.array", reason="dask is not installed")
        value = value.chunk({"y": 32})
    store.save(value, path)
    found = store.load(path, as_="xarray")
    xarray.testing.assert_identical(found, value.compute())


@pytest.mark.parametrize(("unit", "expected"), [("um", "micrometer"), ("furlong", "furlong")])
def test_units_of_other_writers(store: Bound, unit: str, expected: str) -> None:
    """An abbreviation is written out. An unknown unit is kept when the image is saved elsewhere."""
    store.save(PIXELS[0], "a.ome.zarr", axes="zyx", scale=(3.0, 2.0, 2.0), units="mm")
    path = Path("a.ome.zarr", "zarr.json")
    path.write_text(path.read_text().replace("millimeter", unit))
    image = store.load("a.ome.zarr", as_="image")
    assert image.units == (expected,) * 3
    store.save(image, "s.zarr/a")
    assert store.load("s.zarr/a", as_="image").metadata == image.metadata


@pytest.mark.parametrize("level", ["1", None, 0.5, 7])
def test_wrong_level(store: Bound, level: Any) -> None:
    store.save(PIXELS[0], "a.ome.zarr", axes="zyx")
    with pytest.raises(InvalidOptionError, match="a level from 0 to 0"):
        store.load("a.ome.zarr", as_="image", level=level)


def test_scale_and_chunks_follow_the_axes_of_the_value(store: Bound) -> None:
    """The image is stored with another order of axes than the value has."""
    image = Image.of(PIXELS[0], axes="cyx").transpose("xyc")
    store.save(image, "a.ome.zarr", scale=(9, 8, None), units="um", chunks=(20, 30, 1))
    found = store.load("a.ome.zarr", as_="image")
    assert (found.axes, found.scale) == (("c", "y", "x"), (None, 8.0, 9.0))
    assert store.info("a.ome.zarr").metadata["chunks"] == (1, 30, 20)
