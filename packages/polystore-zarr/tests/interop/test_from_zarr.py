"""Arrays and groups that zarr-python wrote with its own settings."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from .samples import KINDS, PIXELS, SCALE, UNITS, Require, check_image, open_group

if TYPE_CHECKING:
    from polystore_core import FileManager

pytestmark = pytest.mark.slow


class TestFromZarr:
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
        self,
        fm: FileManager,
        tmp_path: Path,
        options: dict[str, Any],
        zarr_format: Any,
        require: Require,
    ) -> None:
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
        theirs = open_group(path)
        assert theirs.attrs["who"] == "they"
        assert sorted(theirs["deep"].keys()) == ["er", "ours"]  # type: ignore[union-attr]

    def test_bioformats2raw_is_read(
        self, fm: FileManager, tmp_path: Path, version: str, require: Require
    ) -> None:
        """The layout of bioformats2raw has images "0", "1" … and a group "OME" with XML."""
        writer, path = require("ome_zarr.writer"), f"{tmp_path}/b2r.zarr"
        fmt = require("ome_zarr.format").format_from_version(version)
        mark: Any = {"bioformats2raw.layout": 3}
        root = zarr.create_group(
            path,
            zarr_format=fmt.zarr_format,
            attributes=mark if version == "0.4" else {"ome": {"version": "0.5", **mark}},
        )
        root.create_group("OME").attrs["series"] = ["0", "1"]
        Path(path, "OME", "METADATA.ome.xml").write_text("<OME/>")
        for number in range(2):
            writer.write_image(
                PIXELS + number,
                root.create_group(str(number)),
                fmt=fmt,
                axes="czyx",
                scale=SCALE,
                axes_units=UNITS,
                scale_factors=[2],
            )
        assert fm.list_dir(path, backend="zarr") == ["0", "1", "OME"]
        assert fm.is_dir(path, backend="zarr")
        for number in range(2):
            check_image(fm, f"{path}/{number}", 2, PIXELS + number)
