"""ngff-zarr, with the JSON schemas of the specification."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from .samples import (
    PIXELS,
    ROWS_COLUMNS,
    SCALE,
    UNITS,
    LabelledImage,
    PlateOfOurs,
    Require,
    StoredImage,
    check_image,
    levels_of,
    open_group,
)

if TYPE_CHECKING:
    from polystore_core import FileManager

pytestmark = pytest.mark.slow


class TestNgffZarr:
    def test_images_are_equal(
        self, require: Require, image: StoredImage, fm: FileManager
    ) -> None:
        found = require("ngff_zarr").from_ngff_zarr(image.path)
        ours = levels_of(image.path, fm)
        assert len(found.images) == len(ours)
        for level, (theirs, expected) in enumerate(zip(found.images, ours, strict=True)):
            np.testing.assert_array_equal(theirs.data.compute(), expected)
            assert theirs.dims == tuple(image.sample.axes)
            for axis, scale in zip(image.sample.axes, image.sample.all_scales, strict=True):
                factor = 2.0**level if axis in "yx" else 1.0
                # ngff-zarr has scales only for axes in space and time.
                assert theirs.scale.get(axis, scale * factor) == scale * factor
                shift = scale * (factor - 1) / 2
                assert theirs.translation.get(axis, 0.0) == pytest.approx(shift)

    def test_channels_are_equal(self, require: Require, image: StoredImage) -> None:
        omero = require("ngff_zarr").from_ngff_zarr(image.path).metadata.omero
        labels = [channel.label for channel in omero.channels] if omero else []
        assert labels == image.sample.labels

    def test_schemas_agree(
        self,
        require: Require,
        image: StoredImage,
        labelled_image: LabelledImage,
        plate: PlateOfOurs,
    ) -> None:
        """Stores match the JSON schemas of the specification, of which ngff-zarr has a copy."""
        require("jsonschema")
        read = require("ngff_zarr").from_ngff_zarr
        labels = [f"{labelled_image.path}/labels/{name}" for name in labelled_image.labels]
        for path in (image.path, labelled_image.path, *labels, f"{plate.path}/B/2/0"):
            assert read(path, validate=True).images
        found = require("ngff_zarr.hcs").from_hcs_zarr(plate.path, validate=True)
        for row, column in ROWS_COLUMNS:
            assert found.get_well(row, column) is not None

    def test_schemas_reject_wrong_metadata(
        self, require: Require, fm: FileManager, tmp_path: Path, version: str
    ) -> None:
        """The schemas find errors, so the test above proves something."""
        require("jsonschema")
        path = f"{tmp_path}/a.ome.zarr"
        fm.save(np.ones((8, 8), "uint8"), path, backend="zarr", ome=version)
        file = Path(path, "zarr.json" if version == "0.5" else ".zattrs")
        file.write_text(file.read_text().replace('"scale"', '"scales"'))
        with pytest.raises(require("jsonschema").ValidationError):
            require("ngff_zarr").from_ngff_zarr(path, validate=True)

    def test_plates_are_equal(self, require: Require, plate: PlateOfOurs) -> None:
        found = require("ngff_zarr.hcs").from_hcs_zarr(plate.path)
        assert [well.path for well in found.metadata.wells] == [
            f"{row}/{column}" for row, column in ROWS_COLUMNS
        ]
        for path, pixels in plate.fields.items():
            if "labels" in path:
                continue
            row, column, name = path.split("/")
            well = found.get_well(row, column)
            names = [image.path for image in well.metadata.images]
            theirs = well.get_image(names.index(name)).images[0]
            np.testing.assert_array_equal(theirs.data.compute(), pixels)


# itkwasm, which makes the pyramids of ngff-zarr, warns about NumPy 2.5.
@pytest.mark.filterwarnings("ignore:Setting the shape on a NumPy array:DeprecationWarning")
class TestFromNgffZarr:
    @pytest.fixture
    def multiscales(self, require: Require) -> Any:
        ngff_zarr = require("ngff_zarr")
        image = ngff_zarr.to_ngff_image(
            PIXELS,
            dims=tuple("czyx"),
            scale={axis: SCALE[axis] for axis in "zyx"},
            axes_units=UNITS,
            name="cells",
        )
        return ngff_zarr.to_multiscales(image, scale_factors=[{"z": 1, "y": 2, "x": 2}])

    def test_images_are_read(
        self, multiscales: Any, require: Require, fm: FileManager, tmp_path: Path, version: str
    ) -> None:
        path = f"{tmp_path}/theirs.ome.zarr"
        require("ngff_zarr").to_ngff_zarr(path, multiscales, version=version)
        found = check_image(fm, path, 2)
        assert (found["name"], found["ome_version"]) == ("cells", version)

    def test_label_is_seen(
        self, multiscales: Any, require: Require, fm: FileManager, tmp_path: Path, version: str
    ) -> None:
        """ngff-zarr consolidates its metadata, and readers would not see a label that is added
        later."""
        path = f"{tmp_path}/theirs.ome.zarr"
        require("ngff_zarr").to_ngff_zarr(path, multiscales, version=version)
        nuclei = PIXELS[0]
        fm.save(nuclei, f"{path}/labels/nuclei", backend="zarr", ome=version)
        level = open_group(path)["labels/nuclei/0"]
        assert isinstance(level, zarr.Array)
        np.testing.assert_array_equal(level[...], nuclei)
        check_image(fm, path, 2)

    def test_plates_are_read(
        self, multiscales: Any, require: Require, fm: FileManager, tmp_path: Path, version: str
    ) -> None:
        hcs, path = require("ngff_zarr.hcs"), f"{tmp_path}/theirs.ome.zarr"
        ngff_zarr = require("ngff_zarr")
        plate = ngff_zarr.Plate(
            rows=[ngff_zarr.PlateRow(name="A")],
            columns=[ngff_zarr.PlateColumn(name="1")],
            wells=[ngff_zarr.PlateWell(path="A/1", rowIndex=0, columnIndex=0)],
            version=version,
        )
        hcs.to_hcs_zarr(ngff_zarr.HCSPlate(store=path, plate_metadata=plate), path)
        for number in range(2):
            hcs.write_hcs_well_image(
                path, multiscales, plate, "A", "1", number, version=version
            )
        assert fm.list_dir(f"{path}/A/1", backend="zarr") == ["0", "1"]
        check_image(fm, f"{path}/A/1/1", 2)
        fm.save(PIXELS, f"{path}/A/1/2", backend="zarr", ome=version, axes="czyx")
        well = hcs.from_hcs_zarr(path).get_well("A", "1")
        assert [image.path for image in well.metadata.images] == ["0", "1", "2"]
        np.testing.assert_array_equal(well.get_image(2).images[0].data.compute(), PIXELS)
