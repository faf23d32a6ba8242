"""Images keep their metadata from the first save through every place, and back.

These tests need the distributions with their extras, as all tests of this folder do. Each test is
code that you would type.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore import BackendRegistry, FileManager, Image, PolystoreError
from polystore_core import Channel
from polystore_core.errors import InvalidOptionError, UnsupportedDataError

from .image_places import IMAGES, TO, assert_same, color, scan

DATA = Path(__file__).parents[2] / "shared/data"


@pytest.fixture
def fm() -> Any:
    with BackendRegistry() as registry:
        yield FileManager(registry)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ── each place ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("made", IMAGES)
@pytest.mark.parametrize("place", TO)
def test_place_keeps_all_metadata(fm: FileManager, place: str, made: Any) -> None:
    """``save`` then ``load(as_="image")`` is the identity, and ``info`` and ``open`` agree."""
    image, (backend, path, options) = made(), TO[place]
    fm.save(image, path, backend, **options)
    found = fm.load(path, backend, as_="image")
    assert_same(found, image)
    assert fm.info(path, backend).image == found.metadata
    with fm.open(path, backend) as handle:
        assert handle.image == found.metadata
    assert type(fm.load(path, backend)) is np.ndarray


@pytest.mark.parametrize("place", TO)
def test_part_has_its_own_metadata(fm: FileManager, place: str) -> None:
    backend, path, options = TO[place]
    fm.save(scan(), path, backend, **options)
    region = np.s_[1:, ..., 4:20, ::-1]
    whole = scan() if place != "imagej" else scan().transpose("tzcyx")
    assert_same(fm.load(path, backend, as_="image", region=region), whole[region])
    lazy = fm.open(path, backend, as_="image")
    part = {"t": slice(1, None), "c": "GFP", "z": slice(None, None, 2)}
    assert_same(lazy.sel(**part), scan().sel(**part))


# ── metadata from place to place ──────────────────────────────────────────────────────────


def test_metadata_of_the_first_save_reaches_the_last(fm: FileManager) -> None:
    """Load, filter and save from place to place, without repeating metadata."""
    fm.save(
        scan().data,
        "scan.tif",
        "disk",
        axes="tczyx",
        scale=(30, None, 2, 0.325, 0.325),
        units={"t": "s", "z": "um", "y": "um", "x": "um"},
        channels=["DAPI", {"name": "GFP", "color": "green", "limits": (50, 900)}],
    )
    first = fm.load("scan.tif", "disk", as_="image")
    assert first.axes == ("t", "c", "z", "y", "x")
    assert first.scale == (30.0, None, 2.0, 0.325, 0.325)
    assert first.channels[1] == Channel(name="GFP", color="00FF00", limits=(50, 900))
    for one, two in pairwise(TO.values()):
        image = fm.load(one[1], one[0], as_="image")
        fm.save(image.with_data(image.data + 0), two[1], two[0], **two[2])
        assert_same(fm.load(two[1], two[0], as_="image"), first)


@pytest.mark.parametrize("made", IMAGES)
def test_transfer_keeps_all_metadata(fm: FileManager, made: Any) -> None:
    image = made()
    backend, path, options = TO["tiff"]
    fm.save(image, path, backend, **options)
    for one, two in pairwise([*TO.values(), ("disk", "last.tif", {})]):
        done = fm.transfer(
            one[1], two[1], source_backend=one[0], target_backend=two[0], **two[2]
        )
        assert (list(done), done.lost) == ([two[1]], {})
        assert_same(fm.load(two[1], two[0], as_="image"), image)


def test_arrays_of_a_pipeline_get_metadata(fm: FileManager) -> None:
    fm.save(scan(), "scan.ome.tif", "disk")
    image = fm.load("scan.ome.tif", "disk", as_="image")
    result = fm.load("scan.ome.tif", "disk") // 2
    for backend, path, options in TO.values():
        fm.save(result, path, backend, like=image, **options)
        assert_same(fm.load(path, backend, as_="image"), scan().with_data(result))


def test_part_of_an_image_is_saved(fm: FileManager) -> None:
    fm.save(scan(), "scan.ome.zarr", "zarr")
    image = fm.open("scan.ome.zarr", "zarr", as_="image")
    part = image.sel(c="GFP", z=slice(2, 4))
    fm.save(part, "part.ome.tif", "disk")
    assert_same(
        fm.load("part.ome.tif", "disk", as_="image"), scan().sel(c="GFP", z=slice(2, 4))
    )


@pytest.mark.parametrize("place", TO)
def test_xarray_comes_back(fm: FileManager, place: str) -> None:
    import xarray as xr

    backend, path, options = TO[place]
    array = xr.DataArray(
        scan().data,
        {
            "t": ("t", [0.0, 31.5, 64.25], {"units": "second"}),
            "c": ["DAPI", "GFP"],
            "z": ("z", np.arange(4) * 2.0 + 1, {"units": "micrometer"}),
            "y": ("y", np.arange(32) * 0.325, {"units": "micrometer"}),
            "x": ("x", np.arange(48) * 0.325 + 12, {"units": "micrometer"}),
        },
        ("t", "c", "z", "y", "x"),
        name="embryo",
    )
    fm.save(array, path, backend, **options)
    found = fm.load(path, backend, as_="xarray").transpose(*array.dims)
    xr.testing.assert_allclose(found, array, rtol=1e-9)
    assert (found.name, found.dims) == (array.name, array.dims)
    assert [found[dim].attrs for dim in array.dims] == [array[dim].attrs for dim in array.dims]
    lazy = fm.open(path, backend, as_="xarray").transpose(*array.dims)
    assert hasattr(lazy.data, "dask")
    xr.testing.assert_identical(lazy.compute(), found)


@pytest.mark.parametrize("place", TO)
def test_lazy_values_are_saved(fm: FileManager, place: str) -> None:
    """Dask arrays, handles and images of both are saved like arrays."""
    import dask.array as da

    backend, path, options = TO[place]
    expected = scan()
    fm.save(expected, "source.ome.zarr", "zarr")
    lazy = expected.with_data(da.from_array(expected.data, chunks=(1, 1, 2, 16, 48)))
    fm.save(lazy, path, backend, **options)
    assert_same(fm.load(path, backend, as_="image"), expected)
    fm.save(fm.open("source.ome.zarr", "zarr", as_="image"), path, backend, **options)
    assert_same(fm.load(path, backend, as_="image"), expected)


def test_level_has_larger_pixels(fm: FileManager) -> None:
    image = Image.of(
        np.zeros((2, 2048, 2048), np.uint8),
        axes="cyx",
        scale=(None, 0.5, 0.5),
        units="um",
        channels=["a", "b"],
    )
    fm.save(image, "big.ome.zarr", "zarr")
    level = fm.load("big.ome.zarr", "zarr", as_="image", level=1)
    assert level.shape == (2, 1024, 1024)
    assert level.scale == (None, 1.0, 1.0)
    assert (level.units, level.channels) == (image.units, image.channels)


# ── real images ──────────────────────────────────────────────────────────────────────────


def real_time_lapse(fm: FileManager) -> Image:
    paths = fm.list_image_files(DATA / "timelapse", "disk")
    return Image.of(
        np.stack(fm.load_batch(paths, "disk"))[..., 1],
        axes="tyx",
        scale=(60, 0.5, 0.5),
        units={"t": "s", "y": "um", "x": "um"},
        name="embryo",
    )


def real_channels(fm: FileManager) -> Image:
    paths = [str(DATA / "fly-3channel" / f"01_POS002_{channel}.TIF") for channel in "DFR"]
    return Image.of(
        np.stack(fm.load_batch(paths, "disk")),
        axes="cyx",
        scale={"y": 0.645, "x": 0.645},
        units="um",
        channels=[
            {"name": "DNA", "color": "blue"},
            {"name": "FITC", "color": "green", "emission_nm": 519},
            {"name": "Rhodamine", "color": "red", "limits": (0, 200)},
        ],
    )


@pytest.mark.parametrize("made", [real_time_lapse, real_channels])
def test_real_images_keep_all_metadata(fm: FileManager, made: Any) -> None:
    if not DATA.is_dir():
        pytest.skip(f"data: no images of microscopes in {DATA}")
    image = made(fm)
    fm.save(image, "scan.tif", "disk")
    for one, two in pairwise(TO.values()):
        fm.transfer(one[1], two[1], source_backend=one[0], target_backend=two[0], **two[2])
        assert_same(fm.load(two[1], two[0], as_="image"), image)


# ── no guesses ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("place", TO)
def test_unknown_stays_unknown(fm: FileManager, place: str) -> None:
    """If only y and x are measured, z and t stay unknown."""
    image = Image.of(
        np.zeros((2, 3, 16, 16), np.uint16), axes="tzyx", scale={"y": 0.5, "x": 0.5}, units="um"
    )
    image = Image(image.data, image.metadata)
    backend, path, options = TO[place]
    fm.save(image, path, backend, **options)
    found = fm.load(path, backend, as_="image")
    assert found.scale == (None, None, pytest.approx(0.5), pytest.approx(0.5))
    assert found.channels == ()


@pytest.mark.parametrize("place", ["ome-zarr", "ome-zarr-0.4", "ome-tiff", "imagej", "tiff"])
def test_rgb_is_color_everywhere(fm: FileManager, place: str) -> None:
    """A uint8 picture (y, x, 3) is RGB without any option."""
    backend, path, options = TO[place]
    fm.save(color().data, path, backend, **options)
    found = fm.load(path, backend, as_="image")
    assert found.axes == ("y", "x", "s")
    assert np.array_equal(found, color())


def test_printer_resolution_is_not_a_pixel_size(fm: FileManager) -> None:
    import tifffile

    tifffile.imwrite(
        "scan.tif", np.zeros((16, 16), np.uint8), resolution=(72, 72), resolutionunit="INCH"
    )
    assert fm.load("scan.tif", "disk", as_="image").scale == (None, None)


def test_four_axes_without_names_are_not_guessed(fm: FileManager) -> None:
    """A TIFF without names of axes does not become an OME-Zarr by a guess."""
    import tifffile

    pixels = np.zeros((2, 3, 16, 16), np.uint16)
    tifffile.imwrite("scan.tif", pixels, photometric="minisblack")
    with pytest.raises(PolystoreError, match="axes"):
        fm.transfer("scan.tif", "a.ome.zarr", source_backend="disk", target_backend="zarr")
    assert not fm.exists("a.ome.zarr", "zarr")
    fm.transfer(
        "scan.tif", "a.ome.zarr", source_backend="disk", target_backend="zarr", axes="tzyx"
    )
    assert fm.load("a.ome.zarr", "zarr", as_="image").axes == ("t", "z", "y", "x")


@pytest.mark.parametrize("path", ["scan.npy", "scan.png"])
def test_metadata_is_never_lost_silently(fm: FileManager, path: str) -> None:
    image = Image.of(np.zeros((16, 16), np.uint8), axes="yx", scale=(0.5, 0.5), units="um")
    with pytest.raises(UnsupportedDataError, match=r"numpy\.asarray\(image\)"):
        fm.save(image, path, "disk")
    assert fm.list_files(".", "disk") == []
    fm.save(np.asarray(image), path, "disk")
    fm.save(image, "scan.tif", "disk")
    done = fm.transfer("scan.tif", path, source_backend="disk", target_backend="disk")
    assert {"axes", "scale", "unit"} <= set(done.lost[path])


# ── bad input ────────────────────────────────────────────────────────────────────────────

BAD = [
    ({"axes": "zyyx"}, ("zyyx", "(2, 3, 16, 16)")),
    ({"axes": "zyx"}, ("zyx", "(2, 3, 16, 16)")),
    ({"axes": "tcyx", "scale": (1, 0.5)}, ("(1, 0.5)", "t, c, y, x")),
    ({"axes": "tcyx", "units": "furlong"}, ("furlong", "micrometer")),
    ({"axes": "tcyx", "channels": ["a", "b"]}, ("2 entries", "length 3")),
]


@pytest.mark.parametrize(("options", "values"), BAD)
@pytest.mark.parametrize("place", [place for place in TO if place != "memory"])
def test_wrong_metadata_is_refused(
    fm: FileManager, place: str, options: Any, values: Any
) -> None:
    """The error has both values, and nothing is written."""
    backend, path, others = TO[place]
    with pytest.raises(InvalidOptionError) as caught:
        fm.save(np.zeros((2, 3, 16, 16), np.uint16), path, backend, **others, **options)
    for part in values:
        assert part in str(caught.value), caught.value
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("place", [place for place in TO if place != "memory"])
def test_irregular_coords_of_pixels_are_refused(fm: FileManager, place: str) -> None:
    import xarray as xr

    backend, path, options = TO[place]
    array = xr.DataArray(np.zeros((3, 3)), {"x": [0.0, 1.0, 4.0]}, ("y", "x"))
    with pytest.raises(InvalidOptionError, match=r"\[0\.0, 1\.0, 4\.0\].*equal steps"):
        fm.save(array, path, backend, **options)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("place", TO)
def test_like_of_another_shape_is_refused(fm: FileManager, place: str) -> None:
    backend, path, options = TO[place]
    with pytest.raises(InvalidOptionError, match=r"\(32, 48\).*\(3, 2, 4, 32, 48\)"):
        fm.save(scan().data[0, 0, 0], path, backend, like=scan(), **options)
    assert list(Path().iterdir()) == []
