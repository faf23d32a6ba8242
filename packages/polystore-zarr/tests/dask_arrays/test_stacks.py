"""Stacks of files, which the workers of a cluster read, change and save as images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import Image, NameTemplate, stack
from polystore_core.errors import InvalidOptionError, NotFoundError, UnsupportedDataError

from .values import fm, hidden

pytest.importorskip("dask")
pytest.importorskip("distributed")
pytest.importorskip("xarray")

if TYPE_CHECKING:
    from pathlib import Path

    import xarray

pytestmark = pytest.mark.slow

NAMES = "{well}_s{site}_w{channel}_z{z}.tif"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two wells, two sites, two channels and three planes, each plane of its own number."""
    found = tmp_path_factory.mktemp("plate")
    for number in range(24):
        well, site, channel, z = np.unravel_index(number, (2, 2, 2, 3))
        plane = np.full((64, 96), 100 * number, "u2")
        image = Image.of(plane, axes="yx", scale=(0.5, 0.5), units="um")
        name = f"{'AB'[well]}01_s{site + 1}_w{channel + 1}_z{z + 1}.tif"
        fm.save(image, found / name, backend="disk")
    return found


@pytest.fixture
def plate(folder: Path) -> xarray.DataArray:
    return stack(fm.list_files(folder, backend="disk"), backend="disk", names=NAMES)


def test_one_image_from_workers(
    plate: xarray.DataArray, scheduler: str, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    changed = plate.sel(well="B01", site=2).map_blocks(
        lambda block: block + block.dtype.type(1)
    )
    fm.save(
        changed,
        tmp_path / "a.ome.zarr",
        backend="zarr",
        chunks=(1, 1, 16, 32),
        shards=(1, 3, 64, 96),
        levels=2,
        progress=lambda *numbers: told.append(numbers),
    )
    image = fm.load(tmp_path / "a.ome.zarr", backend="zarr", as_="image")
    assert image.axes == ("c", "z", "y", "x")
    assert [channel.name for channel in image.channels] == ["1", "2"]
    assert image.scale == (None, None, 0.5, 0.5)
    assert image.units == (None, None, "micrometer", "micrometer")
    expected = 100 * np.arange(18, 24).reshape(2, 3, 1, 1) + 1
    assert (image.data == expected).all()
    small = fm.load(tmp_path / "a.ome.zarr", backend="zarr", level=1)
    assert (small == expected).all()
    assert told == [(n, told[-1][1]) for n in range(1, told[-1][1] + 1)]
    metadata = fm.info(tmp_path / "a.ome.zarr", backend="zarr").metadata
    assert metadata["shards"] == (1, 3, 64, 96)


def test_each_field_into_a_plate(plate: xarray.DataArray, client: Any, tmp_path: Path) -> None:
    with client.as_current():
        for well in plate.well.values:
            for site in plate.site.values:
                path = tmp_path / f"plate.ome.zarr/{well[0]}/{well[1:]}/{site}"
                fm.save(plate.sel(well=well, site=site), path, backend="zarr")
    found = fm.load(tmp_path / "plate.ome.zarr/B/01/2", backend="zarr", region=(..., 0, 0))
    assert np.array_equal(found, 100 * np.arange(18, 24).reshape(2, 3))
    wells = fm.info(tmp_path / "plate.ome.zarr", backend="zarr").metadata["plate"]["wells"]
    assert wells == ["A/01", "B/01"]


def test_axes_that_no_image_has_are_refused(plate: xarray.DataArray, tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    for some, advice in (
        (plate.sel(site=1), r"array\.sel\(well=…\)"),
        (plate.sel(well="A01"), r"no axis site, .* array\.sel\(site=…\)"),
    ):
        with pytest.raises(InvalidOptionError, match=advice):
            fm.save(some, path, backend="zarr")
    fm.save(plate.drop_vars("well"), tmp_path / "run.zarr/all", backend="zarr")
    handle = fm.open(tmp_path / "run.zarr/all", backend="zarr")
    assert handle.image is not None
    assert handle.image.names == plate.dims
    assert hidden(tmp_path) == []


def test_failed_block_names_its_file(folder: Path, client: Any, tmp_path: Path) -> None:
    paths = [path for path in fm.list_files(folder, backend="disk") if "A01" in path]
    template = NameTemplate(NAMES)
    copies = [tmp_path / template.template.format(**template.parse(path)) for path in paths]
    for path, copy in zip(paths, copies, strict=True):
        fm.save(fm.load(path, backend="disk", as_="image"), copy, backend="disk")
    plate = stack(copies, backend="disk", names=NAMES)
    odd = copies[5]
    fm.save(Image.of(np.zeros((64, 95), "u2"), axes="yx"), odd, backend="disk")
    with client.as_current():
        with pytest.raises(
            UnsupportedDataError, match=r"\(64, 95\), but '.*\(64, 96\)"
        ) as caught:
            fm.save(plate.sel(well="A01", site=1), tmp_path / "a.ome.zarr", backend="zarr")
        assert caught.value.path == str(odd)
        odd.unlink()
        with pytest.raises(NotFoundError, match=odd.name) as missing:
            fm.save(plate.sel(well="A01", site=1), tmp_path / "a.ome.zarr", backend="zarr")
        assert "this process needs the same files" in missing.value.__notes__[0]
    assert hidden(tmp_path) == []
    assert not (tmp_path / "a.ome.zarr").exists()
