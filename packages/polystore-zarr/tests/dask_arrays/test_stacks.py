"""Stacks of files that the workers of a cluster read, change and save as images."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import Image, stack
from polystore_core.errors import InvalidOptionError, NotFoundError, UnsupportedDataError

from .values import find_hidden, fm, peak_mib

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
    """Two wells, two sites, two channels and three planes. Each plane has its own number."""
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
    calls: list[tuple[int, int]] = []
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
        progress=lambda *numbers: calls.append(numbers),
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
    assert calls == [(n, calls[-1][1]) for n in range(1, calls[-1][1] + 1)]
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


def test_axes_that_images_lack_are_refused(plate: xarray.DataArray, tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    for some, advice in (
        (plate.sel(site=1), r"array\.sel\(well=…\)"),
        (plate.sel(well="A01"), r"no axis site, .* array\.sel\(site=…\)"),
    ):
        with pytest.raises(InvalidOptionError, match=advice) as refused:
            fm.save(some, path, backend="zarr")
    assert "axes was taken from the value: pass axes= to replace it" in refused.value.__notes__
    fm.save(plate.drop_vars("well"), tmp_path / "run.zarr/all", backend="zarr")
    handle = fm.open(tmp_path / "run.zarr/all", backend="zarr")
    assert handle.image is not None
    assert handle.image.names == plate.dims
    assert find_hidden(tmp_path) == []


def test_failed_read_names_its_file(folder: Path, client: Any, tmp_path: Path) -> None:
    paths = [tmp_path / f"A01_s1_w1_z{z}.tif" for z in (1, 2, 3)]
    for path in paths:
        fm.copy(folder / path.name, path, backend="disk")
    field = stack(paths, backend="disk", names=NAMES).sel(well="A01", site=1)
    fm.save(Image.of(np.zeros((64, 95), "u2"), axes="yx"), paths[1], backend="disk")
    message = (
        r"it has shape \(64, 95\), but '.*z1\.tif', the first file of the stack, has \(64, 96\)"
    )
    with client.as_current():
        with pytest.raises(UnsupportedDataError, match=message) as differs:
            fm.save(field, tmp_path / "a.ome.zarr", backend="zarr")
        assert differs.value.path == str(paths[1])
        paths[1].unlink()
        with pytest.raises(NotFoundError, match=r"z2\.tif' does not exist") as missing:
            fm.save(field, tmp_path / "a.ome.zarr", backend="zarr")
    assert "this process needs the same files" in missing.value.__notes__[0]
    assert find_hidden(tmp_path) == []
    assert not (tmp_path / "a.ome.zarr").exists()


@pytest.mark.parametrize(
    ("planes", "files"),
    [(1, r"'[^']*w1_z2\.tif'"), (3, r"'.*w1_z1.*', '.*w1_z2.*', '.*w1_z3.*'")],
)
def test_failed_function_names_its_files(
    plate: xarray.DataArray, client: Any, tmp_path: Path, planes: int, files: str
) -> None:
    def fail(block: Any) -> Any:
        if (block.values == 700).any():
            raise ArithmeticError("too bright")
        return block

    field = plate.map_blocks(fail, template=plate).sel(well="A01", site=2)
    chunks = (1, planes, 64, 96)
    with client.as_current(), pytest.raises(ArithmeticError, match="too bright") as failed:
        fm.save(field, tmp_path / "a.ome.zarr", backend="zarr", chunks=chunks, shards=False)
    (note,) = failed.value.__notes__
    assert re.fullmatch(rf"while saving block \(0, .*\) of .*, which is made of {files}", note)
    assert not (tmp_path / "a.ome.zarr").exists()


def test_stack_larger_than_workers(client: Any, tmp_path: Path) -> None:
    plane = np.arange(2048 * 2048, dtype="u2").reshape(2048, 2048)
    fm.save(Image.of(plane, axes="yx"), tmp_path / "z0.tif", backend="disk")
    paths = [tmp_path / f"z{z}.tif" for z in range(64)]
    for path in paths[1:]:
        path.hardlink_to(paths[0])
    volume = stack(paths, backend="disk", names="z{z}.tif")
    before = peak_mib()
    with client.as_current():
        fm.save(
            volume // 2,
            tmp_path / "a.ome.zarr",
            backend="zarr",
            chunks=(1, 512, 512),
            shards=(4, 2048, 2048),  # each is made of four files
        )
        assert peak_mib() - before < 100
        assert max(client.run(peak_mib).values()) < 400
    found = fm.load(tmp_path / "a.ome.zarr", backend="zarr", region=55)
    assert np.array_equal(found, plane // 2)
