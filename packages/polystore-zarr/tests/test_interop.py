"""Stores between us and the tools of others: ours opened by them, theirs opened by us.

None of the readers and writers here shares code with polystore: ome-zarr-models, ome-zarr,
tensorstore, bioio-ome-zarr, ngff-zarr with the JSON schemas of the specification, xarray, and
zarr-python by itself.
"""

from __future__ import annotations

import itertools
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import zarr

from polystore_core import FileManager
from polystore_core.errors import InvalidOptionError
from polystore_zarr.codecs import COMPRESSORS

pytestmark = pytest.mark.slow

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
            fm.save(fields[field], f"{path}/{field}", backend="zarr", **sample.options(version))
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
    means: np.ndarray[Any, Any] = (squares.sum((-3, -1)) + 2) // 4
    return means.astype(pixels.dtype)


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

    def test_labels_follow_image(
        self, models: ModuleType, fm: FileManager, tmp_path: Path, version: str
    ) -> None:
        """A label image must have as many levels as its image, also if nobody says so."""
        path, pixels = f"{tmp_path}/a.ome.zarr", np.ones((600, 600), "uint8")
        for levels in (None, 1, 4):
            fm.save(pixels, path, backend="zarr", ome=version, levels=levels)
            fm.save(pixels, f"{path}/labels/n", backend="zarr", ome=version)
            found = fm.info(f"{path}/labels/n", backend="zarr").metadata["levels"]
            assert len(found) == (levels or 3)
            models.Image.from_zarr(opened(path, version))
        with pytest.raises(
            InvalidOptionError, match="4, the number of levels of the labelled image"
        ):
            fm.save(pixels, f"{path}/labels/m", backend="zarr", ome=version, levels=2)
        assert fm.info(path, backend="zarr").metadata["labels"] == ["n"]

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

    def test_scales_are_equal(self, read: Callable[[str], list[Any]], image: Written) -> None:
        (node,) = read(image.path)
        for level, steps in enumerate(node.metadata["coordinateTransformations"]):
            factors = [2.0**level if axis in "yx" else 1.0 for axis in image.sample.axes]
            expected = [s * f for s, f in zip(image.sample.all_scales, factors, strict=True)]
            assert steps[0] == {"type": "scale", "scale": expected}

    def test_channels_are_equal(self, read: Callable[[str], list[Any]], image: Written) -> None:
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
            return (
                tensorstore.open({"driver": driver, "kvstore": place}).result().read().result()
            )

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
        for axis in "zyx":
            assert getattr(pixel, axis.upper()) == sizes.get(axis)
        assert found.time_interval == sizes.get("t")
        if image.sample.units == "um":
            assert str(found.dimension_properties.X.unit) == "micrometer"

    def test_channels_are_equal(self, read: Callable[[str], Any], image: Written) -> None:
        found = read(image.path)
        assert (found.channel_names or []) == image.sample.labels
        assert found.scenes == (Path(image.path).name.partition(".")[0],)

    def test_fields_are_read(self, read: Callable[[str], Any], plate: PlateOfOurs) -> None:
        for path, pixels in plate.fields.items():
            np.testing.assert_array_equal(read(f"{plate.path}/{path}").data, pixels)


# ── ngff-zarr ────────────────────────────────────────────────────────────────────────────


class TestNgffZarr:
    def test_images_are_equal(self, require: Require, image: Written, fm: FileManager) -> None:
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

    def test_schemas_agree(
        self, require: Require, image: Written, labelled: Labelled, plate: PlateOfOurs
    ) -> None:
        """The JSON schemas of the specification, of which it brings a copy."""
        require("jsonschema")
        read = require("ngff_zarr").from_ngff_zarr
        labels = [f"{labelled.path}/labels/{name}" for name in labelled.labels]
        for path in (image.path, labelled.path, *labels, f"{plate.path}/B/2/0"):
            assert read(path, validate=True).images
        found = require("ngff_zarr.hcs").from_hcs_zarr(plate.path, validate=True)
        for row, column in ROWS_COLUMNS:
            assert found.get_well(row, column) is not None

    def test_schemas_object(
        self, require: Require, fm: FileManager, tmp_path: Path, version: str
    ) -> None:
        """That the schemas agree says something: they see what is wrong."""
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


# ── napari, xarray, and zarr by itself ───────────────────────────────────────────────────


class TestArrays:
    """What viewers do: open the levels by zarr and Dask, and slice.

    napari's own reader (napari-ome-zarr) does no more than ``test_dask_reads_levels``. It is
    not run here, because napari brings a pytest plugin that cannot be imported where warnings
    are errors.
    """

    def test_dask_reads_levels(self, require: Require, image: Written, fm: FileManager) -> None:
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

    def test_xarray_knows_dimensions(
        self, require: Require, fm: FileManager, tmp_path: Path
    ) -> None:
        """Zarr 3 names dimensions; xarray takes no levels of different lengths at once."""
        path, pixels = f"{tmp_path}/a.ome.zarr", SAMPLES["volume"].pixels()
        fm.save(pixels, path, backend="zarr", levels=2)
        options = {"consolidated": False, "drop_variables": ["1"]}
        found = require("xarray").open_zarr(path, **options)["0"]
        assert found.dims == ("c", "z", "y", "x")
        np.testing.assert_array_equal(found.values, pixels)


class TestSilence:
    """zarr-python warns of everything in a group that is no node of Zarr."""

    def test_listing_warns_not(
        self, fm: FileManager, plate: PlateOfOurs, labelled: Labelled, tmp_path: Path
    ) -> None:
        folder = str(tmp_path / "run")
        for name in ("a.tif", "b.tif", "c.tif"):
            fm.save(np.zeros((40, 40)), f"{folder}/{name}", backend="zarr", chunks=(8, 8))
        fm.save(np.ones((3, 3)), f"{folder}/a.tif", backend="zarr", region=np.s_[1:4, 2:5],
                unaligned="lock")  # fmt: skip
        fm.save(np.ones((4, 4)), f"{folder}/b.tif", backend="zarr")
        fm.delete(f"{folder}/c.tif", backend="zarr")
        for path in (f"{folder}/images.zarr", plate.path, labelled.path):
            group = opened(path)
            found = dict(group.members(max_depth=None))
            expected = {
                str(file.parent.relative_to(path))
                for name in ("zarr.json", ".zarray", ".zgroup")
                for file in Path(path).rglob(name)
            } - {"."}
            assert set(found) == expected
            assert group.tree() is not None

    def test_every_name_is_one(
        self, plate: PlateOfOurs, labelled: Labelled, written: dict[str, Written]
    ) -> None:
        """Documents and chunks, and nothing of ours between them."""
        for path in (plate.path, labelled.path, *(image.path for image in written.values())):
            names = {file.name for file in Path(path).rglob("*") if file.is_file()}
            assert {n for n in names if not n.isdigit()} <= {
                "zarr.json", ".zarray", ".zattrs", ".zgroup"
            }  # fmt: skip
            assert not [p for p in Path(path).rglob(".*") if p.is_dir()]

    def test_consolidated_stays_true(
        self, fm: FileManager, tmp_path: Path, version: str, require: Require
    ) -> None:
        """Readers believe consolidated metadata, so it goes when it would be wrong."""
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
            for group in (opened(path)["A/1"], opened(f"{path}/A/1")):
                assert isinstance(group, zarr.Group)
                expected = ["0"] if change == "delete" else ["0", "1"]
                assert sorted(group.group_keys()) == expected
                level = group["0/0"]
                assert isinstance(level, zarr.Array)
                np.testing.assert_array_equal(
                    level[...], pixels[:4] if change == "replace" else pixels
                )
                has_label = change in ("label", "delete")  # it stays when its image is replaced
                assert ("labels/n/0" in group["0"]) == has_label  # type: ignore[operator]
            assert "B/2/0" in opened(path)
            models = require(f"ome_zarr_models.v{version.replace('.', '')}.hcs")
            assert len(list(models.HCS.from_zarr(opened(path)).well_groups)) == 2

    def consolidate(self, path: str, version: str) -> None:
        with warnings.catch_warnings():
            # zarr: "Consolidated metadata is currently not part in the Zarr format 3 ..."
            warnings.filterwarnings("ignore", "Consolidated metadata is", UserWarning)
            zarr.consolidate_metadata(path, zarr_format=ZARR_FORMAT[version])  # type: ignore[arg-type]


# ── what others write ────────────────────────────────────────────────────────────────────

PIXELS = np.random.default_rng(5).integers(0, 999, (2, 3, 64, 48)).astype("uint16")
SCALE = {"c": 1.0, "z": 2.0, "y": 0.5, "x": 0.25}
UNITS = dict.fromkeys("zyx", "micrometer")
WINDOW = {"min": 0, "max": 9, "start": 1, "end": 8}
CHANNELS = [
    {"label": "DAPI", "color": "0000FF", "window": WINDOW},
    {"label": "GFP", "color": "00FF00", "window": WINDOW},
]


def check_image(
    fm: FileManager, path: str, levels: int, pixels: np.ndarray[Any, Any] = PIXELS
) -> dict[str, Any]:
    """Read an image that others wrote with axes czyx, ``SCALE`` and ``UNITS``."""
    np.testing.assert_array_equal(fm.load(path, backend="zarr"), pixels)
    np.testing.assert_array_equal(
        fm.load(path, backend="zarr", region=np.s_[1, :, 10:50:3, -5:]),
        pixels[1, :, 10:50:3, -5:],
    )
    info = fm.info(path, backend="zarr")
    assert (info.shape, info.dtype) == (pixels.shape, "<u2")
    found: dict[str, Any] = dict(info.metadata)
    assert found["axes"] == list("czyx")
    assert found["scale"] == list(SCALE.values())
    assert found["units"] == [None, *["micrometer"] * 3]
    assert len(found["levels"]) == levels
    for number, shape in enumerate(found["levels"]):
        theirs = zarr.open_array(path + "/" + document_levels(path)[number], mode="r")
        ours = fm.load(path, backend="zarr", level=number)
        assert shape == ours.shape == (2, 3, 64 // 2**number, 48 // 2**number)
        np.testing.assert_array_equal(ours, theirs[...])
    return found


def document_levels(path: str) -> list[str]:
    return [level["path"] for level in document(path)["multiscales"][0]["datasets"]]


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
            f"{tmp_path}/theirs.zarr", mode="w", zarr_format=ZARR_FORMAT[version]  # type: ignore[arg-type]
        )  # fmt: skip

    def write(self, writer: ModuleType, group: Any, fmt: Any, **options: Any) -> None:
        writer.write_image(
            PIXELS, group, fmt=fmt, axes="czyx", scale=SCALE, axes_units=UNITS,
            scale_factors=[2, 4], **options,
        )  # fmt: skip

    def test_images_are_read(
        self, writer: ModuleType, fmt: Any, group: zarr.Group, fm: FileManager, tmp_path: Path,
        require: Require,
    ) -> None:  # fmt: skip
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
            [dask.from_array(level, chunks=(1, 1, 32, 32)) for level in pyramid], group,
            fmt=fmt, axes="czyx", scale=SCALE, axes_units=UNITS,
        )  # fmt: skip
        check_image(fm, f"{tmp_path}/theirs.zarr", 2)

    def test_labels_are_read(
        self, writer: ModuleType, fmt: Any, group: zarr.Group, fm: FileManager, tmp_path: Path,
        require: Require,
    ) -> None:  # fmt: skip
        path, nuclei = f"{tmp_path}/theirs.zarr", (PIXELS[0] % 7).astype("uint8")
        self.write(writer, group, fmt)
        options = {"fmt": fmt, "axes": "zyx", "scaler": None, "scale_factors": [2, 4],
                   "scale": {axis: SCALE[axis] for axis in "zyx"}}  # fmt: skip
        writer.write_labels(nuclei, group, name="nuclei", **options)
        assert fm.info(path, backend="zarr").metadata["labels"] == ["nuclei"]
        label = f"{path}/labels/nuclei"
        np.testing.assert_array_equal(fm.load(label, backend="zarr"), nuclei)
        assert fm.info(label, backend="zarr").metadata["scale"] == [2.0, 0.5, 0.25]

        fm.save(nuclei, f"{path}/labels/ours", backend="zarr", ome=fmt.version, axes="zyx")
        assert fm.info(path, backend="zarr").metadata["labels"] == ["nuclei", "ours"]
        models = require(f"ome_zarr_models.v{fmt.version.replace('.', '')}")
        models.Image.from_zarr(opened(path))
        models.Labels.from_zarr(opened(path)["labels"])
        for name in ("nuclei", "ours"):
            models.ImageLabel.from_zarr(opened(f"{path}/labels/{name}"))

    def test_plates_are_read(
        self, writer: ModuleType, fmt: Any, group: zarr.Group, fm: FileManager, tmp_path: Path,
        require: Require,
    ) -> None:  # fmt: skip
        path = f"{tmp_path}/theirs.zarr"
        writer.write_plate_metadata(
            group, ["A", "B"], ["1", "2"], ["A/1", "B/2"], fmt=fmt, name="screen",
            acquisitions=[{"id": 1, "maximumfieldcount": 2}], field_count=2,
        )  # fmt: skip
        for well in ("A/1", "B/2"):
            made = group.require_group(well)
            fields = [{"path": str(n), "acquisition": 1} for n in range(2)]
            writer.write_well_metadata(made, fields, fmt=fmt)
            for name in ("0", "1"):
                self.write(writer, made.require_group(name), fmt)
        assert fm.list_dir(path, backend="zarr") == ["A", "B"]
        assert fm.list_dir(f"{path}/A/1", backend="zarr") == ["0", "1"]
        check_image(fm, f"{path}/B/2/1", 3)

        fm.save(PIXELS, f"{path}/B/1/0", backend="zarr", ome=fmt.version)
        fm.save(PIXELS, f"{path}/A/1/2", backend="zarr", ome=fmt.version)
        models = require(f"ome_zarr_models.v{fmt.version.replace('.', '')}.hcs")
        assert len(list(models.HCS.from_zarr(opened(path)).well_groups)) == 3
        plate, well = document(path)["plate"], document(f"{path}/A/1")["well"]
        assert [found["path"] for found in plate["wells"]] == ["A/1", "B/1", "B/2"]
        assert (plate["name"], plate["acquisitions"][0]["id"]) == ("screen", 1)
        assert well["images"] == [*fields, {"path": "2"}]


# By itkwasm, which makes its pyramids, about NumPy 2.5.
@pytest.mark.filterwarnings("ignore:Setting the shape on a NumPy array:DeprecationWarning")
class TestFromNgffZarr:
    @pytest.fixture
    def multiscales(self, require: Require) -> Any:
        ngff_zarr = require("ngff_zarr")
        image = ngff_zarr.to_ngff_image(
            PIXELS, dims=tuple("czyx"), scale={axis: SCALE[axis] for axis in "zyx"},
            axes_units=UNITS, name="cells",
        )  # fmt: skip
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
        """It consolidates what it writes, and readers would not see what is added."""
        path = f"{tmp_path}/theirs.ome.zarr"
        require("ngff_zarr").to_ngff_zarr(path, multiscales, version=version)
        nuclei = PIXELS[0]
        fm.save(nuclei, f"{path}/labels/nuclei", backend="zarr", ome=version)
        level = opened(path)["labels/nuclei/0"]
        assert isinstance(level, zarr.Array)
        np.testing.assert_array_equal(level[...], nuclei)
        check_image(fm, path, 2)

    def test_plates_are_read(
        self, multiscales: Any, require: Require, fm: FileManager, tmp_path: Path, version: str
    ) -> None:
        hcs, path = require("ngff_zarr.hcs"), f"{tmp_path}/theirs.ome.zarr"
        ngff_zarr = require("ngff_zarr")
        plate = ngff_zarr.Plate(
            rows=[ngff_zarr.PlateRow(name="A")], columns=[ngff_zarr.PlateColumn(name="1")],
            wells=[ngff_zarr.PlateWell(path="A/1", rowIndex=0, columnIndex=0)],
            version=version,
        )  # fmt: skip
        hcs.to_hcs_zarr(ngff_zarr.HCSPlate(store=path, plate_metadata=plate), path)
        for number in range(2):
            hcs.write_hcs_well_image(
                path, multiscales, plate, "A", "1", number, version=version
            )
        assert fm.list_dir(f"{path}/A/1", backend="zarr") == ["0", "1"]
        check_image(fm, f"{path}/A/1/1", 2)
        fm.save(PIXELS, f"{path}/A/1/2", backend="zarr", ome=version)
        well = hcs.from_hcs_zarr(path).get_well("A", "1")
        assert [image.path for image in well.metadata.images] == ["0", "1", "2"]
        np.testing.assert_array_equal(well.get_image(2).images[0].data.compute(), PIXELS)


class TestFromZarr:
    """Arrays and groups that zarr-python wrote with its own settings."""

    @pytest.fixture(params=[3, 2])
    def zarr_format(self, request: pytest.FixtureRequest) -> Any:
        return request.param

    def test_defaults_are_read(self, fm: FileManager, tmp_path: Path, zarr_format: Any) -> None:
        path = f"{tmp_path}/a.zarr"
        array = zarr.create_array(
            path, data=PIXELS, zarr_format=zarr_format, attributes={"exposure": 20}
        )
        np.testing.assert_array_equal(fm.load(path, backend="zarr"), PIXELS)
        handle = fm.open(path, backend="zarr")
        assert (handle.shape, handle.dtype) == (PIXELS.shape, PIXELS.dtype)
        assert handle.chunks == array.chunks
        np.testing.assert_array_equal(handle[1, ..., ::7, 3], PIXELS[1, ..., ::7, 3])
        metadata = fm.info(path, backend="zarr").metadata
        assert metadata["zarr_format"] == zarr_format
        assert metadata["attributes"] == {"exposure": 20}

    @pytest.mark.parametrize("kind", KINDS)
    def test_types_are_read(
        self, fm: FileManager, tmp_path: Path, zarr_format: Any, kind: str
    ) -> None:
        path, pixels = f"{tmp_path}/a.zarr", (np.arange(60).reshape(6, 10) % 7).astype(kind)
        zarr.create_array(path, data=pixels, zarr_format=zarr_format)
        found = fm.load(path, backend="zarr")
        assert found.dtype.newbyteorder("=") == pixels.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, pixels)

    @pytest.mark.parametrize(
        "options",
        [
            {"order": "F"},
            {"chunks": (7, 9)},
            {"compressors": None},
            {"fill_value": None},
            {"fill_value": 5},
            {"shape": (), "chunks": ()},
            {"shape": (0, 5)},
            {"zarr_format": 2, "filters": "delta"},
            {"zarr_format": 2, "chunk_key_encoding": {"name": "v2", "separator": "."}},
            {"zarr_format": 3, "shards": (20, 20), "chunks": (5, 10)},
            {"zarr_format": 3, "filters": "transpose"},
            {"zarr_format": 3, "chunk_key_encoding": {"name": "v2", "separator": "."}},
            {"zarr_format": 3, "dimension_names": ("row", None)},
        ],
        ids=lambda options: "-".join(map(str, options)),
    )
    def test_layouts_are_read(
        self, fm: FileManager, tmp_path: Path, options: dict[str, Any], zarr_format: Any,
        require: Require,
    ) -> None:  # fmt: skip
        options = {"zarr_format": zarr_format, "shape": (40, 20), **options}
        if options.get("filters") == "delta":
            options["filters"] = require("numcodecs").Delta(dtype="<u2")
        if options.get("filters") == "transpose":
            options["filters"] = require("zarr.codecs").TransposeCodec(order=(1, 0))
        order: dict[str, Any] = {}
        if options.pop("order", "C") == "F":
            order = {"order": "F"} if zarr_format == 2 else {"config": {"order": "F"}}
        shape, path = options["shape"], f"{tmp_path}/a.zarr"
        array = zarr.create_array(path, dtype="uint16", **options, **order)
        expected = np.full(shape, options.get("fill_value") or 0, "uint16")
        np.testing.assert_array_equal(fm.load(path, backend="zarr"), expected)  # no chunks yet
        expected[...] = np.arange(expected.size).reshape(shape)
        array[...] = expected
        np.testing.assert_array_equal(fm.load(path, backend="zarr"), expected)

    def test_groups_are_listed(self, fm: FileManager, tmp_path: Path, zarr_format: Any) -> None:
        path = f"{tmp_path}/run.zarr"
        root = zarr.create_group(path, zarr_format=zarr_format, attributes={"who": "they"})
        root.create_group("deep/er").create_array("a", data=PIXELS)
        root.create_array("b", data=PIXELS[0])
        root.create_group("empty")
        with warnings.catch_warnings():
            # zarr: "Consolidated metadata is currently not part in the Zarr format 3 ..."
            warnings.filterwarnings("ignore", "Consolidated metadata is", UserWarning)
            zarr.consolidate_metadata(path, zarr_format=zarr_format)
        assert fm.list_dir(path, backend="zarr") == ["b", "deep", "empty"]
        assert fm.list_dir(f"{path}/deep/er", backend="zarr") == ["a"]
        assert fm.list_dir(f"{path}/empty", backend="zarr") == []
        assert fm.is_dir(f"{path}/deep", backend="zarr")
        np.testing.assert_array_equal(fm.load(f"{path}/deep/er/a", backend="zarr"), PIXELS)
        np.testing.assert_array_equal(fm.load(f"{path}/b", backend="zarr"), PIXELS[0])

        fm.save(PIXELS, f"{path}/deep/ours", backend="zarr", zarr_format=zarr_format)
        theirs = opened(path)
        assert theirs.attrs["who"] == "they"
        assert sorted(theirs["deep"].keys()) == ["er", "ours"]  # type: ignore[union-attr]

    def test_bioformats2raw_is_read(
        self, fm: FileManager, tmp_path: Path, version: str, require: Require
    ) -> None:
        """The layout of bioformats2raw: images "0", "1" … beside a group "OME" with XML."""
        writer, path = require("ome_zarr.writer"), f"{tmp_path}/b2r.zarr"
        fmt = require("ome_zarr.format").format_from_version(version)
        mark: Any = {"bioformats2raw.layout": 3}
        root = zarr.create_group(
            path, zarr_format=fmt.zarr_format,
            attributes=mark if version == "0.4" else {"ome": {"version": "0.5", **mark}},
        )  # fmt: skip
        root.create_group("OME").attrs["series"] = ["0", "1"]
        Path(path, "OME", "METADATA.ome.xml").write_text("<OME/>")
        for number in range(2):
            writer.write_image(
                PIXELS + number, root.create_group(str(number)), fmt=fmt, axes="czyx",
                scale=SCALE, axes_units=UNITS, scale_factors=[2],
            )  # fmt: skip
        assert fm.list_dir(path, backend="zarr") == ["0", "1", "OME"]
        assert fm.is_dir(path, backend="zarr")
        for number in range(2):
            check_image(fm, f"{path}/{number}", 2, PIXELS + number)
