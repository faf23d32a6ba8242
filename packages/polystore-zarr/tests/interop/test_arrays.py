"""How viewers, Dask and xarray use arrays, and how zarr-python reads them without warnings."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

from .samples import (
    SAMPLES,
    ZARR_FORMAT,
    LabelledImage,
    PlateOfOurs,
    Require,
    StoredImage,
    levels_of,
    open_group,
)

if TYPE_CHECKING:
    from polystore_core import FileManager

pytestmark = pytest.mark.slow


class TestArrays:
    """Viewers open the levels through zarr and Dask, and slice them.

    napari's own reader (napari-ome-zarr) does only what ``test_dask_reads_levels`` does. It does
    not run here, because napari brings a pytest plugin that cannot be imported where warnings are
    errors.
    """

    def test_dask_reads_levels(
        self, require: Require, image: StoredImage, fm: FileManager
    ) -> None:
        dask = require("dask.array")
        paths = [level["path"] for level in image.ome["multiscales"][0]["datasets"]]
        assert paths == [str(number) for number in range(len(paths))]
        group = open_group(image.path)
        for path, expected in zip(paths, levels_of(image.path, fm), strict=True):
            for array in (dask.from_zarr(group[path]), dask.from_zarr(image.path, path)):
                np.testing.assert_array_equal(array.compute(scheduler="synchronous"), expected)

    def test_handles_are_layers(
        self, require: Require, image: StoredImage, fm: FileManager
    ) -> None:
        """A list of handles with shape, dtype, ndim and slices is a multiscale image for napari."""
        dask = require("dask.array")
        ours = levels_of(image.path, fm)
        for number, expected in enumerate(ours):
            handle = fm.open(image.path, backend="zarr", level=number)
            assert (handle.shape, handle.dtype) == (expected.shape, expected.dtype)
            assert (handle.ndim, handle.size) == (expected.ndim, expected.size)
            plane = (0,) * (expected.ndim - 2) + (slice(None), slice(None))
            np.testing.assert_array_equal(np.asarray(handle[plane]), expected[plane])
            np.testing.assert_array_equal(np.asarray(handle), expected)
            array = dask.from_array(handle, chunks=handle.chunks)
            np.testing.assert_array_equal(array.compute(scheduler="synchronous"), expected)
            np.testing.assert_array_equal(
                array[..., ::2, 1:].max(axis=-1).compute(scheduler="synchronous"),
                expected[..., ::2, 1:].max(axis=-1),
            )

    def test_xarray_wraps_handles(
        self, require: Require, image: StoredImage, fm: FileManager
    ) -> None:
        xarray = require("xarray")
        handle = fm.open(image.path, backend="zarr")
        array = xarray.DataArray(handle, dims=tuple(image.sample.axes))
        np.testing.assert_array_equal(array.values, image.pixels)
        variable = xarray.Variable(tuple(image.sample.axes), handle)
        part = variable.isel(y=slice(0, None, 2), x=slice(3, 1, -1))
        np.testing.assert_array_equal(part.values, image.pixels[..., ::2, 3:1:-1])
        last = array.isel({image.sample.axes[0]: -1})
        np.testing.assert_array_equal(last.values, image.pixels[-1])
        np.testing.assert_array_equal(array.mean("x").values, image.pixels.mean(-1))

    def test_xarray_chunks_handles(
        self, require: Require, stored_images: dict[str, StoredImage], fm: FileManager
    ) -> None:
        xarray, _ = require("xarray"), require("dask.array")
        image = stored_images["volume"]
        handle = fm.open(image.path, backend="zarr")
        array = xarray.DataArray(handle, dims=("c", "z", "y", "x")).chunk({"y": 20})
        assert array.chunks is not None
        found = array.sel(c=1).max("z").compute(scheduler="synchronous")
        np.testing.assert_array_equal(found.values, image.pixels[1].max(0))

    def test_xarray_knows_dimensions(
        self, require: Require, fm: FileManager, tmp_path: Path, version: str
    ) -> None:
        """Each level names its dimensions.

        xarray cannot open levels of different lengths at once, and it masks the fill value of Zarr
        2.
        """
        path, pixels = f"{tmp_path}/a.ome.zarr", SAMPLES["volume"].pixels()
        fm.save(pixels, path, backend="zarr", axes="czyx", levels=2, ome=version)
        options = {"consolidated": False, "mask_and_scale": False}
        for level, other in ("01", "10"):
            found = require("xarray").open_zarr(path, drop_variables=[other], **options)[level]
            assert found.dims == ("c", "z", "y", "x")
            np.testing.assert_array_equal(
                found.values, fm.load(path, backend="zarr", level=int(level))
            )


class TestNoWarnings:
    """zarr-python warns of everything in a group that is not a node of Zarr."""

    def test_listing_gives_no_warning(
        self, fm: FileManager, plate: PlateOfOurs, labelled_image: LabelledImage, tmp_path: Path
    ) -> None:
        folder = str(tmp_path / "run")
        for name in ("a.tif", "b.tif", "c.tif"):
            fm.save(np.zeros((40, 40)), f"{folder}/{name}", backend="zarr", chunks=(8, 8))
        fm.save(
            np.ones((3, 3)),
            f"{folder}/a.tif",
            backend="zarr",
            region=np.s_[1:4, 2:5],
            unaligned="lock",
        )
        fm.save(np.ones((4, 4)), f"{folder}/b.tif", backend="zarr")
        fm.delete(f"{folder}/c.tif", backend="zarr")
        for path in (f"{folder}/images.zarr", plate.path, labelled_image.path):
            group = open_group(path)
            found = dict(group.members(max_depth=None))
            expected = {
                str(file.parent.relative_to(path))
                for name in ("zarr.json", ".zarray", ".zgroup")
                for file in Path(path).rglob(name)
            } - {"."}
            assert set(found) == expected
            assert group.tree() is not None

    def test_stores_hold_only_zarr_files(
        self,
        plate: PlateOfOurs,
        labelled_image: LabelledImage,
        stored_images: dict[str, StoredImage],
    ) -> None:
        """A store holds documents and chunks, and no other files of ours."""
        for path in (
            plate.path,
            labelled_image.path,
            *(image.path for image in stored_images.values()),
        ):
            names = {file.name for file in Path(path).rglob("*") if file.is_file()}
            assert {n for n in names if not n.isdigit()} <= {
                "zarr.json",
                ".zarray",
                ".zattrs",
                ".zgroup",
            }
            assert not [p for p in Path(path).rglob(".*") if p.is_dir()]

    def test_wrong_consolidated_metadata_is_removed(
        self, fm: FileManager, tmp_path: Path, version: str, require: Require
    ) -> None:
        """Readers trust consolidated metadata, so it is removed when it would be wrong."""
        path, options = f"{tmp_path}/p.ome.zarr", {"backend": "zarr", "ome": version}
        pixels = np.arange(64, dtype="uint16").reshape(8, 8)
        for change in ("save", "replace", "label", "delete"):
            fm.save(pixels, f"{path}/A/1/0", **options)
            fm.save(pixels, f"{path}/A/1/1", **options)
            self.consolidate(path, version)
            self.consolidate(f"{path}/A/1", version)
            match change:
                case "save":
                    fm.save(pixels, f"{path}/B/2/0", **options)
                case "replace":
                    fm.save(pixels[:4], f"{path}/A/1/0", **options)
                case "label":
                    fm.save(pixels, f"{path}/A/1/0/labels/n", **options)
                case "delete":
                    fm.delete(f"{path}/A/1/1", backend="zarr")
            for group in (open_group(path)["A/1"], open_group(f"{path}/A/1")):
                assert isinstance(group, zarr.Group)
                expected = ["0"] if change == "delete" else ["0", "1"]
                assert sorted(group.group_keys()) == expected
                level = group["0/0"]
                assert isinstance(level, zarr.Array)
                np.testing.assert_array_equal(
                    level[...], pixels[:4] if change == "replace" else pixels
                )
                has_label = change in (
                    "label",
                    "delete",
                )  # a label stays when its image is replaced
                assert ("labels/n/0" in group["0"]) == has_label  # type: ignore[operator]
            assert "B/2/0" in open_group(path)
            models = require(f"ome_zarr_models.v{version.replace('.', '')}.hcs")
            assert len(list(models.HCS.from_zarr(open_group(path)).well_groups)) == 2

    def consolidate(self, path: str, version: str) -> None:
        with warnings.catch_warnings():
            # zarr: "Consolidated metadata is currently not part in the Zarr format 3 ..."
            warnings.filterwarnings("ignore", "Consolidated metadata is", UserWarning)
            zarr.consolidate_metadata(path, zarr_format=ZARR_FORMAT[version])  # type: ignore[arg-type]
