"""ome-zarr, the reference implementation."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from .samples import (
    CHANNELS,
    PIXELS,
    SCALE,
    UNITS,
    ZARR_FORMAT,
    LabelledImage,
    PlateOfOurs,
    Require,
    StoredImage,
    check_image,
    document,
    levels_of,
    open_group,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from polystore_core import FileManager

pytestmark = pytest.mark.slow


class TestOmeZarr:
    @pytest.fixture
    def read(
        self, require: Require, caplog: pytest.LogCaptureFixture
    ) -> Iterator[Callable[[str], list[Any]]]:
        reader, io = require("ome_zarr.reader"), require("ome_zarr.io")

        def nodes(path: str) -> list[Any]:
            location = io.parse_url(path, mode="r")
            assert location is not None
            return list(reader.Reader(location)())

        with caplog.at_level(logging.WARNING, "ome_zarr"):
            yield nodes
        assert not caplog.records  # ome-zarr logs its complaints

    def test_images_are_equal(
        self, read: Callable[[str], list[Any]], image: StoredImage, fm: FileManager
    ) -> None:
        (node,) = read(image.path)
        ours = levels_of(image.path, fm)
        assert len(node.data) == len(ours) == image.sample.more.get("levels", 3)
        np.testing.assert_array_equal(node.data[0].compute(), image.pixels)
        for found, expected in zip(node.data, ours, strict=True):
            assert found.dtype == image.pixels.dtype
            np.testing.assert_array_equal(found.compute(), expected)
        assert [axis["name"] for axis in node.metadata["axes"]] == list(image.sample.axes)

    def test_scales_are_equal(
        self, read: Callable[[str], list[Any]], image: StoredImage
    ) -> None:
        (node,) = read(image.path)
        for level, steps in enumerate(node.metadata["coordinateTransformations"]):
            factors = [2.0**level if axis in "yx" else 1.0 for axis in image.sample.axes]
            expected = [s * f for s, f in zip(image.sample.all_scales, factors, strict=True)]
            assert steps[0] == {"type": "scale", "scale": expected}

    def test_channels_are_equal(
        self, read: Callable[[str], list[Any]], image: StoredImage
    ) -> None:
        (node,) = read(image.path)
        assert node.metadata.get("channel_names", []) == image.sample.labels
        if image.path.endswith("volume.ome.zarr"):
            assert node.metadata["visible"] == [True, False]
            assert node.metadata["contrast_limits"][0] == [10, 240]
            assert node.metadata["colormap"][0] == [[0, 0, 0], [0.0, 0.0, 1.0]]

    def test_labels_are_equal(
        self, read: Callable[[str], list[Any]], labelled_image: LabelledImage, fm: FileManager
    ) -> None:
        image, _, *labels = read(labelled_image.path)
        np.testing.assert_array_equal(image.data[0].compute(), labelled_image.pixels)
        assert [node.metadata["name"] for node in labels] == list(labelled_image.labels)
        for node, (name, pixels) in zip(labels, labelled_image.labels.items(), strict=True):
            ours = levels_of(f"{labelled_image.path}/labels/{name}", fm)
            np.testing.assert_array_equal(node.data[0].compute(), pixels)
            for found, expected in zip(node.data, ours, strict=True):
                np.testing.assert_array_equal(found.compute(), expected)

    def test_label_finds_image(
        self, read: Callable[[str], list[Any]], labelled_image: LabelledImage
    ) -> None:
        image, *_, label = read(f"{labelled_image.path}/labels/nuclei")
        np.testing.assert_array_equal(image.data[0].compute(), labelled_image.pixels)
        np.testing.assert_array_equal(label.data[0].compute(), labelled_image.labels["nuclei"])

    def test_plate_is_stitched(
        self, read: Callable[[str], list[Any]], plate: PlateOfOurs
    ) -> None:
        found = read(plate.path)[0]
        pixels, names = found.data[0].compute(), document(plate.path)["plate"]
        for (i, row), (j, column) in itertools.product(
            enumerate(names["rows"]), enumerate(names["columns"])
        ):
            tile = pixels[:, 40 * i : 40 * (i + 1), 30 * j : 30 * (j + 1)]
            field = plate.fields.get(f"{row['name']}/{column['name']}/0")
            np.testing.assert_array_equal(tile, 0 if field is None else field)
        assert found.metadata["channel_names"] == ["a", "b"]

    def test_well_is_stitched(
        self, read: Callable[[str], list[Any]], plate: PlateOfOurs
    ) -> None:
        found = read(f"{plate.path}/C/2")[0]
        pixels = found.data[0].compute()
        for name, (i, j) in {"0": (0, 0), "1": (0, 1), "10": (1, 0)}.items():
            tile = pixels[:, 40 * i : 40 * (i + 1), 30 * j : 30 * (j + 1)]
            np.testing.assert_array_equal(tile, plate.fields[f"C/2/{name}"])


class TestFromOmeZarr:
    @pytest.fixture
    def writer(self, require: Require) -> ModuleType:
        return require("ome_zarr.writer")

    @pytest.fixture
    def fmt(self, require: Require, version: str) -> Any:
        return require("ome_zarr.format").format_from_version(version)

    @pytest.fixture
    def group(self, tmp_path: Path, version: str) -> zarr.Group:
        return zarr.open_group(
            f"{tmp_path}/theirs.zarr",
            mode="w",
            zarr_format=ZARR_FORMAT[version],  # type: ignore[arg-type]
        )

    def write(self, writer: ModuleType, group: Any, fmt: Any, **options: Any) -> None:
        writer.write_image(
            PIXELS,
            group,
            fmt=fmt,
            axes="czyx",
            scale=SCALE,
            axes_units=UNITS,
            scale_factors=[2, 4],
            **options,
        )

    def test_images_are_read(
        self,
        writer: ModuleType,
        fmt: Any,
        group: zarr.Group,
        fm: FileManager,
        tmp_path: Path,
        require: Require,
    ) -> None:
        omero = require("ome_zarr_models.common.omero").Omero(channels=CHANNELS)
        self.write(writer, group, fmt, name="cells", omero=omero)
        found = check_image(fm, f"{tmp_path}/theirs.zarr", 3)
        assert found["channels"] == ["DAPI", "GFP"]
        assert (found["name"], found["ome_version"]) == ("cells", fmt.version)
        assert fm.list_dir(str(tmp_path), backend="zarr") == ["theirs.zarr"]
        assert fm.is_file(f"{tmp_path}/theirs.zarr", backend="zarr")

    def test_multiscales_are_read(
        self, writer: ModuleType, fmt: Any, group: zarr.Group, fm: FileManager, tmp_path: Path
    ) -> None:
        dask = pytest.importorskip("dask.array", reason="dask is not installed")
        pyramid = [PIXELS, PIXELS[..., ::2, ::2]]
        writer.write_multiscale(
            [dask.from_array(level, chunks=(1, 1, 32, 32)) for level in pyramid],
            group,
            fmt=fmt,
            axes="czyx",
            scale=SCALE,
            axes_units=UNITS,
        )
        check_image(fm, f"{tmp_path}/theirs.zarr", 2)

    def test_labels_are_read(
        self,
        writer: ModuleType,
        fmt: Any,
        group: zarr.Group,
        fm: FileManager,
        tmp_path: Path,
        require: Require,
    ) -> None:
        path, nuclei = f"{tmp_path}/theirs.zarr", (PIXELS[0] % 7).astype("uint8")
        self.write(writer, group, fmt)
        options = {
            "fmt": fmt,
            "axes": "zyx",
            "scaler": None,
            "scale_factors": [2, 4],
            "scale": {axis: SCALE[axis] for axis in "zyx"},
        }
        writer.write_labels(nuclei, group, name="nuclei", **options)
        assert fm.info(path, backend="zarr").metadata["labels"] == ["nuclei"]
        label = f"{path}/labels/nuclei"
        np.testing.assert_array_equal(fm.load(label, backend="zarr"), nuclei)
        assert fm.info(label, backend="zarr").metadata["scale"] == [2.0, 0.5, 0.25]

        fm.save(nuclei, f"{path}/labels/ours", backend="zarr", ome=fmt.version, axes="zyx")
        assert fm.info(path, backend="zarr").metadata["labels"] == ["nuclei", "ours"]
        models = require(f"ome_zarr_models.v{fmt.version.replace('.', '')}")
        models.Image.from_zarr(open_group(path))
        models.Labels.from_zarr(open_group(path)["labels"])
        for name in ("nuclei", "ours"):
            models.ImageLabel.from_zarr(open_group(f"{path}/labels/{name}"))

    def test_plates_are_read(
        self,
        writer: ModuleType,
        fmt: Any,
        group: zarr.Group,
        fm: FileManager,
        tmp_path: Path,
        require: Require,
    ) -> None:
        path = f"{tmp_path}/theirs.zarr"
        writer.write_plate_metadata(
            group,
            ["A", "B"],
            ["1", "2"],
            ["A/1", "B/2"],
            fmt=fmt,
            name="screen",
            acquisitions=[{"id": 1, "maximumfieldcount": 2}],
            field_count=2,
        )
        for well in ("A/1", "B/2"):
            made = group.require_group(well)
            fields = [{"path": str(n), "acquisition": 1} for n in range(2)]
            writer.write_well_metadata(made, fields, fmt=fmt)
            for name in ("0", "1"):
                self.write(writer, made.require_group(name), fmt)
        assert fm.list_dir(path, backend="zarr") == ["A", "B"]
        assert fm.list_dir(f"{path}/A/1", backend="zarr") == ["0", "1"]
        check_image(fm, f"{path}/B/2/1", 3)

        fm.save(PIXELS, f"{path}/B/1/0", backend="zarr", ome=fmt.version, axes="czyx")
        fm.save(PIXELS, f"{path}/A/1/2", backend="zarr", ome=fmt.version, axes="czyx")
        models = require(f"ome_zarr_models.v{fmt.version.replace('.', '')}.hcs")
        assert len(list(models.HCS.from_zarr(open_group(path)).well_groups)) == 3
        plate, well = document(path)["plate"], document(f"{path}/A/1")["well"]
        assert [found["path"] for found in plate["wells"]] == ["A/1", "B/1", "B/2"]
        assert (plate["name"], plate["acquisitions"][0]["id"]) == ("screen", 1)
        assert well["images"] == [*fields, {"path": "2"}]
