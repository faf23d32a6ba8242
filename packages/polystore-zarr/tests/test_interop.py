"""Stores between us and the tools of others: ours opened by them, theirs opened by us.

None of the readers and writers here shares code with polystore: ome-zarr-models, ome-zarr,
tensorstore, bioio-ome-zarr, ngff-zarr, xarray, and zarr-python by itself.
"""

from __future__ import annotations

import importlib
import itertools
import json
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import zarr

from polystore import FileManager

VERSIONS = ("0.5", "0.4")
ZARR_FORMAT = {"0.5": 3, "0.4": 2}
Require = Callable[[str], ModuleType]


@pytest.fixture(scope="session")
def require() -> Require:
    """Import a module, or skip the test because it is not installed."""

    def imported(name: str) -> ModuleType:
        # What a foreign package says while it is imported is said to its own authors:
        # ome_zarr.writer, for one, makes an object of a class that it deprecates.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: ModuleType = pytest.importorskip(name, reason=f"{name} is not installed")
        return module

    return imported


@pytest.fixture(scope="session")
def fm() -> FileManager:
    return FileManager()


# ── what we write ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Sample:
    """An image, and all that is said of it."""

    axes: str
    shape: tuple[int, ...]
    dtype: str = "uint16"
    scale: tuple[float, ...] | None = None
    units: Any = None
    channels: tuple[Any, ...] | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def pixels(self, seed: int = 0) -> np.ndarray[Any, Any]:
        rng = np.random.default_rng(seed + len(self.axes))
        return rng.integers(0, 250, self.shape).astype(self.dtype)

    def options(self, version: str) -> dict[str, Any]:
        said = {"scale": self.scale, "units": self.units, "channels": self.channels}
        given = {key: value for key, value in said.items() if value is not None}
        return {"ome": version, "axes": self.axes, "levels": 3, **given, **self.more}

    @property
    def all_scales(self) -> tuple[float, ...]:
        return self.scale or (1.0,) * len(self.axes)

    @property
    def labels(self) -> list[str]:
        return [c if isinstance(c, str) else c["label"] for c in self.channels or ()]


SAMPLES = {
    "plain": Sample("yx", (65, 50)),
    "pixel": Sample("yx", (1, 9), "uint8", more={"levels": 1}),
    "stack": Sample("zyx", (3, 64, 50), "float32", (2.0, 0.5, 0.25), "micrometer"),
    "movie": Sample("tyx", (4, 33, 40), "int16", (30.0, 1.5, 1.5), {"t": "second", "x": "nm"}),
    "grey": Sample("yx", (40, 40), "uint8", channels=("bright field",)),
    "rgb": Sample("cyx", (3, 48, 64), "uint8", channels=(
        {"label": "R", "color": "red"}, {"label": "G", "color": "green"},
        {"label": "B", "color": "blue"})),
    "volume": Sample("czyx", (2, 3, 60, 70), "uint16", (1.0, 3.0, 0.65, 0.65), "um", (
        {"label": "DAPI", "color": "0000FF",
         "window": {"min": 0, "max": 4095, "start": 10, "end": 240}},
        {"label": "GFP", "active": False})),
    "small": Sample("tczyx", (2, 2, 2, 33, 47), "uint16", (0.5, 1.0, 2.0, 0.1, 0.1), {
        "t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"}, ("α", "β")),
    "sharded": Sample("zyx", (4, 64, 64), "uint16",
                      more={"chunks": (1, 16, 16), "shards": (2, 64, 64)}),
}  # fmt: skip
ROWS_COLUMNS = (("B", "2"), ("B", "10"), ("C", "2"), ("AA", "12"))


@dataclass(frozen=True)
class Written:
    """A store on the disk, and what was put into it."""

    path: str
    version: str
    sample: Sample
    pixels: np.ndarray[Any, Any]

    @property
    def ome(self) -> dict[str, Any]:
        return document(self.path)


def document(path: str) -> dict[str, Any]:
    """The OME-Zarr metadata of a group, read as a file."""
    if (file := Path(path, "zarr.json")).exists():
        found: dict[str, Any] = json.loads(file.read_text())["attributes"]["ome"]
        return found
    return json.loads(Path(path, ".zattrs").read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def written(
    version: str, fm: FileManager, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Written]:
    folder = tmp_path_factory.mktemp("images")
    found = {}
    for name, sample in SAMPLES.items():
        options = sample.options(version)
        if version == "0.4":
            options.pop("shards", None)
        path, pixels = f"{folder}/{name}.ome.zarr", sample.pixels()
        fm.save(pixels, path, backend="zarr", **options)
        found[name] = Written(path, version, sample, pixels)
    return found


@pytest.fixture(params=SAMPLES)
def image(request: pytest.FixtureRequest, written: dict[str, Written]) -> Written:
    return written[request.param]


@dataclass(frozen=True)
class Labelled:
    path: str
    pixels: np.ndarray[Any, Any]
    labels: dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def labelled(
    version: str, fm: FileManager, tmp_path_factory: pytest.TempPathFactory
) -> Labelled:
    path = str(tmp_path_factory.mktemp("labelled") / "cells.ome.zarr")
    sample = SAMPLES["volume"]
    pixels = sample.pixels()
    fm.save(pixels, path, backend="zarr", **sample.options(version))
    labels = {}
    for name, dtype in (("nuclei", "uint32"), ("cells", "int16")):
        labels[name] = sample.pixels(len(name))[0].astype(dtype)
        fm.save(
            labels[name], f"{path}/labels/{name}", backend="zarr", ome=version,
            axes="zyx", scale=(3.0, 0.65, 0.65), units="um", levels=3,
        )  # fmt: skip
    return Labelled(path, pixels, labels)


@dataclass(frozen=True)
class PlateOfOurs:
    path: str
    version: str
    fields: dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def plate(
    version: str, fm: FileManager, tmp_path_factory: pytest.TempPathFactory
) -> PlateOfOurs:
    path = str(tmp_path_factory.mktemp("plate") / "plate.ome.zarr")
    sample = Sample("cyx", (2, 40, 30), scale=(1, 0.5, 0.5), units="um", channels=("a", "b"))
    fields = {}
    for number, (row, column) in enumerate(ROWS_COLUMNS):
        for name in ("0", "1", "10")[: number % 3 + 1]:
            field = f"{row}/{column}/{name}"
            fields[field] = sample.pixels(10 * number + int(name))
            fm.save(
                fields[field], f"{path}/{field}", backend="zarr", **sample.options(version)
            )
    nuclei = fields["B/2/0"][0].astype("uint16")
    fm.save(
        nuclei, f"{path}/B/2/0/labels/nuclei", backend="zarr", ome=version, axes="yx", levels=3
    )
    fields["B/2/0/labels/nuclei"] = nuclei
    return PlateOfOurs(path, version, fields)


def opened(path: str, version: str = "") -> zarr.Group:
    return zarr.open_group(path, mode="r", zarr_format=ZARR_FORMAT.get(version))  # type: ignore[arg-type]


def levels_of(path: str, fm: FileManager) -> list[np.ndarray[Any, Any]]:
    count = len(fm.info(path, backend="zarr").metadata["levels"])
    return [fm.load(path, backend="zarr", level=number) for number in range(count)]


def halved(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The next level of integers of even height and width: means, halves rounded up."""
    *before, height, width = pixels.shape
    squares = pixels.astype(np.int64).reshape(*before, height // 2, 2, width // 2, 2)
    return ((squares.sum((-3, -1)) + 2) // 4).astype(pixels.dtype)


# ── the documents ────────────────────────────────────────────────────────────────────────


class TestModels:
    """ome-zarr-models, which holds documents and arrays against the specification."""

    @pytest.fixture
    def models(self, require: Require, version: str) -> ModuleType:
        for name in ("hcs", "image", "image_label", "labels", "well"):
            require(f"ome_zarr_models.v{version.replace('.', '')}.{name}")
        return require(f"ome_zarr_models.v{version.replace('.', '')}")

    def attributes(self, model: Any, version: str) -> Any:
        return model.attributes if version == "0.4" else model.attributes.ome

    def test_images_are_valid(self, models: ModuleType, image: Written) -> None:
        model = models.Image.from_zarr(opened(image.path, image.version))
        found = self.attributes(model, image.version).multiscales[0]
        assert [axis.name for axis in found.axes] == list(image.sample.axes)
        assert found.name == Path(image.path).name.partition(".")[0]
        assert found.datasets[0].coordinateTransformations[0].scale == list(
            image.sample.all_scales
        )
        stored = {key.split("/")[1] for key in model.to_flat() if key}
        assert stored == {dataset.path for dataset in found.datasets}

    def test_units_are_known(
        self, models: ModuleType, image: Written, recwarn: pytest.WarningsRecorder
    ) -> None:
        model = models.Image.from_zarr(opened(image.path, image.version))
        axes = self.attributes(model, image.version).multiscales[0].axes
        if image.sample.units == "um":
            assert [a.unit for a in axes if a.type == "space"] == ["micrometer"] * 3
        assert not recwarn.list  # it would tell of units that the specification does not list

    def test_channels_are_valid(
        self, models: ModuleType, require: Require, image: Written
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
        self, models: ModuleType, labelled: Labelled, version: str
    ) -> None:
        group = opened(labelled.path, version)
        assert models.Image.from_zarr(group).labels is not None
        labels = models.Labels.from_zarr(group["labels"])
        assert self.attributes(labels, version).labels == ["nuclei", "cells"]
        for name in labelled.labels:
            models.ImageLabel.from_zarr(group[f"labels/{name}"])
            source = document(f"{labelled.path}/labels/{name}")["image-label"]["source"]
            assert source == {"image": "../../"}

    def test_plates_are_valid(self, models: ModuleType, plate: PlateOfOurs) -> None:
        group = opened(plate.path, plate.version)
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

    def test_plate_recognized_unasked(
        self, require: Require, models: ModuleType, plate: PlateOfOurs, labelled: Labelled
    ) -> None:
        guess = require("ome_zarr_models").open_ome_zarr
        assert isinstance(guess(opened(plate.path)), models.HCS)
        assert isinstance(guess(opened(labelled.path)), models.Image)
        assert isinstance(guess(opened(f"{labelled.path}/labels/cells")), models.ImageLabel)


# ── ome-zarr ─────────────────────────────────────────────────────────────────────────────


class TestOmeZarr:
    """ome-zarr, the reference implementation."""

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
        assert not caplog.records  # it logs what it does not like

    def test_images_are_equal(
        self, read: Callable[[str], list[Any]], image: Written, fm: FileManager
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
        self, read: Callable[[str], list[Any]], image: Written
    ) -> None:
        (node,) = read(image.path)
        for level, steps in enumerate(node.metadata["coordinateTransformations"]):
            factors = [2.0**level if axis in "yx" else 1.0 for axis in image.sample.axes]
            expected = [s * f for s, f in zip(image.sample.all_scales, factors, strict=True)]
            assert steps[0] == {"type": "scale", "scale": expected}

    def test_channels_are_equal(
        self, read: Callable[[str], list[Any]], image: Written
    ) -> None:
        (node,) = read(image.path)
        assert node.metadata.get("channel_names", []) == image.sample.labels
        if image.path.endswith("volume.ome.zarr"):
            assert node.metadata["visible"] == [True, False]
            assert node.metadata["contrast_limits"][0] == [10, 240]
            assert node.metadata["colormap"][0] == [[0, 0, 0], [0.0, 0.0, 1.0]]

    def test_labels_are_equal(
        self, read: Callable[[str], list[Any]], labelled: Labelled, fm: FileManager
    ) -> None:
        image, _, *labels = read(labelled.path)
        np.testing.assert_array_equal(image.data[0].compute(), labelled.pixels)
        assert [node.metadata["name"] for node in labels] == list(labelled.labels)
        for node, (name, pixels) in zip(labels, labelled.labels.items(), strict=True):
            ours = levels_of(f"{labelled.path}/labels/{name}", fm)
            np.testing.assert_array_equal(node.data[0].compute(), pixels)
            for found, expected in zip(node.data, ours, strict=True):
                np.testing.assert_array_equal(found.compute(), expected)

    def test_label_finds_image(
        self, read: Callable[[str], list[Any]], labelled: Labelled
    ) -> None:
        image, *_, label = read(f"{labelled.path}/labels/nuclei")
        np.testing.assert_array_equal(image.data[0].compute(), labelled.pixels)
        np.testing.assert_array_equal(label.data[0].compute(), labelled.labels["nuclei"])

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


# ── tensorstore ──────────────────────────────────────────────────────────────────────────

COMPRESSORS = ("blosc", "zstd", "gzip", "none")
KINDS = ("bool", "int8", "uint8", "int16", "uint16", ">u2", "int32", "uint32", "int64", "uint64",
         "float16", "float32", "float64", "complex64", "complex128")  # fmt: skip


class TestTensorStore:
    """tensorstore, a Zarr implementation in C++."""

    @pytest.fixture(params=[3, 2])
    def zarr_format(self, request: pytest.FixtureRequest) -> int:
        return int(request.param)

    @pytest.fixture
    def read(self, require: Require) -> Callable[[str], Any]:
        tensorstore = require("tensorstore")

        def pixels(path: str) -> Any:
            driver = "zarr3" if Path(path, "zarr.json").exists() else "zarr"
            place = {"driver": "file", "path": path}
            return tensorstore.open({"driver": driver, "kvstore": place}).result().read().result()

        return pixels

    def test_levels_are_equal(
        self, read: Callable[[str], Any], image: Written, fm: FileManager
    ) -> None:
        for number, expected in enumerate(levels_of(image.path, fm)):
            np.testing.assert_array_equal(read(f"{image.path}/{number}"), expected)

    def test_level_is_mean(
        self, read: Callable[[str], Any], fm: FileManager, tmp_path: Path, version: str
    ) -> None:
        path, pixels = f"{tmp_path}/a.ome.zarr", Sample("zyx", (3, 64, 48)).pixels()
        fm.save(pixels, path, backend="zarr", ome=version, levels=3)
        for number in range(3):
            np.testing.assert_array_equal(read(f"{path}/{number}"), pixels)
            pixels = halved(pixels)

    @pytest.mark.parametrize("compressor", COMPRESSORS)
    @pytest.mark.parametrize("checksum", [True, False])
    @pytest.mark.parametrize("shards", [None, (2, 64, 64), False])
    def test_codecs_are_read(
        self, read: Callable[[str], Any], fm: FileManager, tmp_path: Path,
        zarr_format: int, compressor: str, checksum: bool, shards: Any,
    ) -> None:  # fmt: skip
        if zarr_format == 2 and (shards or checksum):
            # Zarr 2 has no shards; tensorstore's driver for it knows no checksum filter.
            shards, checksum = None, False
        path, pixels = f"{tmp_path}/a.zarr/x", Sample("zyx", (5, 70, 80)).pixels()
        fm.save(
            pixels, path, backend="zarr", chunks=(1, 32, 32), shards=shards,
            compressor=compressor, checksum=checksum, zarr_format=zarr_format,
        )  # fmt: skip
        np.testing.assert_array_equal(read(path), pixels)

    @pytest.mark.parametrize("kind", KINDS)
    def test_types_are_read(
        self, read: Callable[[str], Any], fm: FileManager, tmp_path: Path,
        zarr_format: int, kind: str,
    ) -> None:  # fmt: skip
        path, pixels = f"{tmp_path}/a.zarr/x", (np.arange(60).reshape(6, 10) % 7).astype(kind)
        fm.save(pixels, path, backend="zarr", zarr_format=zarr_format)
        np.testing.assert_array_equal(read(path), pixels)

    def test_parts_are_read(
        self, read: Callable[[str], Any], fm: FileManager, tmp_path: Path, zarr_format: int
    ) -> None:
        """What nobody wrote is fill value, for them as for us."""
        path = f"{tmp_path}/a.zarr/x"
        handle = fm.create(
            path, backend="zarr", shape=(64, 64), dtype="uint16", chunks=(16, 16),
            fill_value=7, zarr_format=zarr_format,
        )  # fmt: skip
        handle[16:32, 32:48] = 3
        expected = np.full((64, 64), 7, "uint16")
        expected[16:32, 32:48] = 3
        np.testing.assert_array_equal(read(path), expected)


# ── bioio-ome-zarr ───────────────────────────────────────────────────────────────────────


class TestBioio:
    @pytest.fixture
    def read(self, require: Require) -> Callable[[str], Any]:
        reader = require("bioio_ome_zarr").Reader

        def image(path: str) -> Any:
            return reader(path)

        return image

    def test_images_are_equal(
        self, read: Callable[[str], Any], image: Written, fm: FileManager
    ) -> None:
        found = read(image.path)
        assert found.dims.order == image.sample.axes.upper()
        assert found.dims.shape == image.pixels.shape
        assert found.dtype == image.pixels.dtype
        ours = levels_of(image.path, fm)
        assert found.resolution_levels == tuple(range(len(ours)))
        for number, expected in enumerate(ours):
            found.set_resolution_level(number)
            np.testing.assert_array_equal(found.data, expected)

    def test_sizes_are_equal(self, read: Callable[[str], Any], image: Written) -> None:
        found = read(image.path)
        sizes = dict(zip(image.sample.axes, image.sample.all_scales, strict=True))
        pixel = found.physical_pixel_sizes
        assert (pixel.Z, pixel.Y, pixel.X) == (sizes.get("z"), sizes["y"], sizes["x"])
        assert found.time_interval == sizes.get("t")
        if image.sample.units == "um":
            assert str(found.dimension_properties.X.unit) == "micrometer"

    def test_channels_are_equal(self, read: Callable[[str], Any], image: Written) -> None:
        found = read(image.path)
        assert (found.channel_names or []) == image.sample.labels
        assert found.scenes == (Path(image.path).name.partition(".")[0],)

    def test_fields_are_read(self, read: Callable[[str], Any], plate: PlateOfOurs) -> None:
        for field, pixels in plate.fields.items():
            np.testing.assert_array_equal(read(f"{plate.path}/{field}").data, pixels)


# ── ngff-zarr ────────────────────────────────────────────────────────────────────────────


class TestNgffZarr:
    def test_images_are_equal(
        self, require: Require, image: Written, fm: FileManager
    ) -> None:
        found = require("ngff_zarr").from_ngff_zarr(image.path)
        ours = levels_of(image.path, fm)
        assert len(found.images) == len(ours)
        for level, (theirs, expected) in enumerate(zip(found.images, ours, strict=True)):
            np.testing.assert_array_equal(theirs.data.compute(), expected)
            assert theirs.dims == tuple(image.sample.axes)
            for axis, scale in zip(image.sample.axes, image.sample.all_scales, strict=True):
                factor = 2.0**level if axis in "yx" else 1.0
                # It has scales of axes in space and time only.
                assert theirs.scale.get(axis, scale * factor) == scale * factor
                shift = scale * (factor - 1) / 2
                assert theirs.translation.get(axis, 0.0) == pytest.approx(shift)

    def test_channels_are_equal(self, require: Require, image: Written) -> None:
        omero = require("ngff_zarr").from_ngff_zarr(image.path).metadata.omero
        labels = [channel.label for channel in omero.channels] if omero else []
        assert labels == image.sample.labels

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


# ── napari, xarray, and zarr by itself ───────────────────────────────────────────────────


class TestArrays:
    """What viewers do: open the levels by zarr and Dask, and slice."""

    def test_dask_reads_levels(
        self, require: Require, image: Written, fm: FileManager
    ) -> None:
        dask = require("dask.array")
        paths = [level["path"] for level in image.ome["multiscales"][0]["datasets"]]
        assert paths == [str(number) for number in range(len(paths))]
        group = opened(image.path)
        for path, expected in zip(paths, levels_of(image.path, fm), strict=True):
            for array in (dask.from_zarr(group[path]), dask.from_zarr(image.path, path)):
                np.testing.assert_array_equal(array.compute(scheduler="synchronous"), expected)

    def test_handles_are_layers(
        self, require: Require, image: Written, fm: FileManager
    ) -> None:
        """A list of handles is a multiscale image for napari: shape, dtype, ndim and slices."""
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

    def test_napari_reads_images(
        self, require: Require, image: Written, fm: FileManager, capsys: Any
    ) -> None:
        layers = self.layers(require, image.path)
        ((data, metadata, kind),) = layers
        assert kind == "image"
        for found, expected in zip(data, levels_of(image.path, fm), strict=True):
            np.testing.assert_array_equal(found.compute(), expected)
        shown = dict(zip(image.sample.axes, image.sample.all_scales, strict=True))
        shown.pop("c", None)
        assert metadata["scale"] == pytest.approx(list(shown.values()))

    def test_napari_reads_labels(
        self, require: Require, labelled: Labelled, capsys: Any
    ) -> None:
        image, *labels = self.layers(require, labelled.path)
        np.testing.assert_array_equal(image[0][0].compute(), labelled.pixels)
        assert [kind for _, _, kind in labels] == ["labels", "labels"]
        for (data, metadata, _), pixels in zip(labels, labelled.labels.values(), strict=True):
            np.testing.assert_array_equal(data[0].compute(), pixels)
            assert metadata["scale"] == pytest.approx([3.0, 0.65, 0.65])

    def layers(self, require: Require, path: str) -> Any:
        return require("napari_ome_zarr").napari_get_reader(path)()

    def test_xarray_wraps_handles(
        self, require: Require, image: Written, fm: FileManager
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
        self, require: Require, written: dict[str, Written], fm: FileManager
    ) -> None:
        xarray, _ = require("xarray"), require("dask.array")
        image = written["volume"]
        handle = fm.open(image.path, backend="zarr")
        array = xarray.DataArray(handle, dims=("c", "z", "y", "x")).chunk({"y": 20})
        assert array.chunks is not None
        found = array.sel(c=1).max("z").compute(scheduler="synchronous")
        np.testing.assert_array_equal(found.values, image.pixels[1].max(0))

    def test_xarray_knows_dimensions(self, require: Require, written: dict[str, Written]) -> None:
        """``xarray.open_zarr`` needs the dimension names of Zarr 3."""
        image = written["volume"]
        if image.version == "0.4":
            return
        found = require("xarray").open_zarr(image.path, consolidated=False)
