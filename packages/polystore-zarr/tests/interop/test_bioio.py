"""bioio-ome-zarr reads our images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from .samples import PlateOfOurs, Require, StoredImage, levels_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from polystore_core import FileManager

pytestmark = pytest.mark.slow


class TestBioio:
    @pytest.fixture
    def read(self, require: Require) -> Callable[[str], Any]:
        reader = require("bioio_ome_zarr").Reader

        def image(path: str) -> Any:
            return reader(path)

        return image

    def test_images_are_equal(
        self, read: Callable[[str], Any], image: StoredImage, fm: FileManager
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

    def test_sizes_are_equal(self, read: Callable[[str], Any], image: StoredImage) -> None:
        found = read(image.path)
        sizes = dict(zip(image.sample.axes, image.sample.all_scales, strict=True))
        pixel = found.physical_pixel_sizes
        for axis in "zyx":
            assert getattr(pixel, axis.upper()) == sizes.get(axis)
        assert found.time_interval == sizes.get("t")
        if image.sample.units == "um":
            assert str(found.dimension_properties.X.unit) == "micrometer"

    def test_channels_are_equal(self, read: Callable[[str], Any], image: StoredImage) -> None:
        found = read(image.path)
        assert (found.channel_names or []) == image.sample.labels
        assert found.scenes == (Path(image.path).name.partition(".")[0],)

    def test_fields_are_read(self, read: Callable[[str], Any], plate: PlateOfOurs) -> None:
        for path, pixels in plate.fields.items():
            np.testing.assert_array_equal(read(f"{plate.path}/{path}").data, pixels)
