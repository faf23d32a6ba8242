"""ome-zarr-models, which checks documents and arrays against the specification."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import Image
from polystore_core.errors import InvalidOptionError

from .samples import (
    ROWS_COLUMNS,
    LabelledImage,
    PlateOfOurs,
    Require,
    StoredImage,
    document,
    open_group,
)

if TYPE_CHECKING:
    from types import ModuleType

    from polystore_core import FileManager

pytestmark = pytest.mark.slow


class TestModels:
    @pytest.fixture
    def models(self, require: Require, version: str) -> ModuleType:
        for name in ("hcs", "image", "image_label", "labels", "well"):
            require(f"ome_zarr_models.v{version.replace('.', '')}.{name}")
        return require(f"ome_zarr_models.v{version.replace('.', '')}")

    def attributes(self, model: Any, version: str) -> Any:
        return model.attributes if version == "0.4" else model.attributes.ome

    def test_images_are_valid(self, models: ModuleType, image: StoredImage) -> None:
        model = models.Image.from_zarr(open_group(image.path, image.version))
        found = self.attributes(model, image.version).multiscales[0]
        assert [axis.name for axis in found.axes] == list(image.sample.axes)
        assert found.name == Path(image.path).name.partition(".")[0]
        assert found.datasets[0].coordinateTransformations[0].scale == list(
            image.sample.all_scales
        )
        stored = {key.split("/")[1] for key in model.to_flat() if key}
        assert stored == {dataset.path for dataset in found.datasets}

    def test_units_are_known(
        self, models: ModuleType, image: StoredImage, recwarn: pytest.WarningsRecorder
    ) -> None:
        model = models.Image.from_zarr(open_group(image.path, image.version))
        axes = self.attributes(model, image.version).multiscales[0].axes
        if image.sample.units == "um":
            assert [a.unit for a in axes if a.type == "space"] == ["micrometer"] * 3
        assert not recwarn.list  # a unit that the specification lacks is a warning

    def test_channels_are_valid(
        self, models: ModuleType, require: Require, image: StoredImage
    ) -> None:
        shown = image.ome.get("omero")
        assert (shown is not None) == (image.sample.channels is not None)
        if shown is not None:
            omero = require("ome_zarr_models.common.omero").Omero.model_validate(shown)
            assert [c.model_dump()["label"] for c in omero.channels] == image.sample.labels
            given = [c for c in image.sample.channels or () if isinstance(c, dict)]
            for channel, wish in zip(omero.channels, given, strict=False):
                if "window" in wish:
                    assert channel.window.model_dump() == wish["window"]
                if "color" in wish and len(wish["color"]) == 6:
                    assert channel.color == wish["color"]

    def test_labels_are_valid(
        self, models: ModuleType, labelled_image: LabelledImage, version: str
    ) -> None:
        group = open_group(labelled_image.path, version)
        assert models.Image.from_zarr(group).labels is not None
        labels = models.Labels.from_zarr(group["labels"])
        assert self.attributes(labels, version).labels == ["nuclei", "cells"]
        for name in labelled_image.labels:
            models.ImageLabel.from_zarr(group[f"labels/{name}"])
            source = document(f"{labelled_image.path}/labels/{name}")["image-label"]["source"]
            assert source == {"image": "../../"}

    def test_labels_follow_image(
        self, models: ModuleType, fm: FileManager, tmp_path: Path, version: str
    ) -> None:
        """A label image must have as many levels as its image, even if levels= is not given."""
        path, pixels = f"{tmp_path}/a.ome.zarr", np.ones((600, 600), "uint8")
        for levels in (None, 1, 4):
            fm.save(pixels, path, backend="zarr", ome=version, levels=levels)
            fm.save(pixels, f"{path}/labels/n", backend="zarr", ome=version)
            found = fm.info(f"{path}/labels/n", backend="zarr").metadata["levels"]
            assert len(found) == (levels or 3)
            models.Image.from_zarr(open_group(path, version))
        with pytest.raises(
            InvalidOptionError, match="4, the number of levels of the labelled image"
        ):
            fm.save(pixels, f"{path}/labels/m", backend="zarr", ome=version, levels=2)
        assert fm.info(path, backend="zarr").metadata["labels"] == ["n"]

    def test_plates_are_valid(self, models: ModuleType, plate: PlateOfOurs) -> None:
        group = open_group(plate.path, plate.version)
        found = models.HCS.from_zarr(group)
        wells = self.attributes(found, plate.version).plate.wells
        assert [well.path for well in wells] == [f"{row}/{col}" for row, col in ROWS_COLUMNS]
        assert len(list(found.well_groups)) == len(ROWS_COLUMNS)
        for well in wells:
            row, column = well.path.split("/")
            named = document(plate.path)["plate"]
            assert named["rows"][well.rowIndex]["name"] == row
            assert named["columns"][well.columnIndex]["name"] == column
            model = models.Well.from_zarr(group[well.path])
            images = self.attributes(model, plate.version).well.images
            expected = [f"{well.path}/{image.path}" for image in images]
            assert expected == [
                p for p in plate.fields if p.startswith(f"{well.path}/") and "labels" not in p
            ]
            for path in expected:
                models.Image.from_zarr(group[path])

    def test_plates_and_images_are_recognized(
        self,
        require: Require,
        models: ModuleType,
        plate: PlateOfOurs,
        labelled_image: LabelledImage,
    ) -> None:
        guess = require("ome_zarr_models").open_ome_zarr
        assert isinstance(guess(open_group(plate.path)), models.HCS)
        assert isinstance(guess(open_group(labelled_image.path)), models.Image)
        assert isinstance(
            guess(open_group(f"{labelled_image.path}/labels/cells")), models.ImageLabel
        )


def test_metadata_of_an_image_is_read(
    require: Require, fm: FileManager, version: str, tmp_path: Path
) -> None:
    """Foreign tools read the metadata of an image."""
    path = str(tmp_path / "a.ome.zarr")
    pixels = np.arange(3 * 40 * 50, dtype="u2").reshape(3, 40, 50)
    names = ["DAPI", "GFP", "Cy5"]
    channels = [{"name": name, "emission_nm": 500.0 + n} for n, name in enumerate(names)]
    image = Image.of(
        pixels, axes="cyx", scale={"y": 0.5, "x": 0.25}, units="um", channels=channels
    )
    fm.save(image, path, "zarr", ome=version)
    model = require(f"ome_zarr_models.v{version.replace('.', '')}.image")
    attributes = model.Image.from_zarr(open_group(path, version)).attributes
    found = (attributes if version == "0.4" else attributes.ome).multiscales[0]
    assert [axis.name for axis in found.axes] == ["c", "y", "x"]
    assert [axis.unit for axis in found.axes] == [None, "micrometer", "micrometer"]
    read = require("ngff_zarr").from_ngff_zarr(path)
    assert read.images[0].scale == {"c": 1.0, "y": 0.5, "x": 0.25}
    assert [channel.label for channel in read.metadata.omero.channels] == names
    theirs = require("bioio_ome_zarr").Reader(path)
    assert theirs.channel_names == names
    sizes = theirs.physical_pixel_sizes
    assert (sizes.Y, sizes.X) == (0.5, 0.25)
