"""tensorstore, a Zarr implementation in C++."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_zarr.codecs import COMPRESSORS

from .samples import KINDS, Require, Sample, StoredImage, halve, levels_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from polystore_core import FileManager

pytestmark = pytest.mark.slow


class TestTensorStore:
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
        self, read: Callable[[str], Any], image: StoredImage, fm: FileManager
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
            pixels = halve(pixels)

    @pytest.mark.parametrize("compressor", COMPRESSORS)
    @pytest.mark.parametrize("checksum", [True, False])
    @pytest.mark.parametrize("shards", [None, (2, 64, 64), False])
    def test_codecs_are_read(
        self,
        read: Callable[[str], Any],
        fm: FileManager,
        tmp_path: Path,
        zarr_format: int,
        compressor: str,
        checksum: bool,
        shards: Any,
    ) -> None:
        if zarr_format == 2 and (shards or checksum):
            # Zarr 2 has no shards, and tensorstore's driver for it does not know checksum filters.
            shards, checksum = None, False
        path, pixels = f"{tmp_path}/a.zarr/x", Sample("zyx", (5, 70, 80)).pixels()
        fm.save(
            pixels,
            path,
            backend="zarr",
            chunks=(1, 32, 32),
            shards=shards,
            compressor=compressor,
            checksum=checksum,
            zarr_format=zarr_format,
        )
        np.testing.assert_array_equal(read(path), pixels)

    @pytest.mark.parametrize("kind", KINDS)
    def test_types_are_read(
        self,
        read: Callable[[str], Any],
        fm: FileManager,
        tmp_path: Path,
        zarr_format: int,
        kind: str,
    ) -> None:
        path, pixels = f"{tmp_path}/a.zarr/x", (np.arange(60).reshape(6, 10) % 7).astype(kind)
        fm.save(pixels, path, backend="zarr", zarr_format=zarr_format)
        np.testing.assert_array_equal(read(path), pixels)

    def test_parts_are_read(
        self, read: Callable[[str], Any], fm: FileManager, tmp_path: Path, zarr_format: int
    ) -> None:
        """Parts that were never written have the fill value, in tensorstore as in polystore."""
        path = f"{tmp_path}/a.zarr/x"
        handle = fm.create(
            path,
            backend="zarr",
            shape=(64, 64),
            dtype="uint16",
            chunks=(16, 16),
            fill_value=7,
            zarr_format=zarr_format,
        )
        handle[16:32, 32:48] = 3
        expected = np.full((64, 64), 7, "uint16")
        expected[16:32, 32:48] = 3
        np.testing.assert_array_equal(read(path), expected)
