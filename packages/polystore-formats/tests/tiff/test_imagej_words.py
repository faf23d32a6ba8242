"""Words that ImageJ's description has no good place for."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest

from polystore_core import Axis, Channel, Image, ImageMetadata
from polystore_core.errors import InvalidOptionError

from .files import TIFF, image, tifffile

PIXELS = image((3, 16, 18))
AXES = (Axis("c", "channel"), Axis("y", "space"), Axis("x", "space"))
NAMED = ImageMetadata(axes=AXES, channels=tuple(Channel(name=name) for name in "abc"))


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    TIFF.save(value, file, imagej=True)
    return file.getvalue()


def loaded(data: bytes) -> ImageMetadata:
    found: ImageMetadata = TIFF.load_image(io.BytesIO(data)).metadata
    return found


@pytest.mark.parametrize("count", [2, 3])
def test_colours_that_nobody_gave_are_not_read_back(count: int) -> None:
    """ImageJ needs a colour for each channel, so some are written, and noted."""
    words = replace(NAMED, channels=NAMED.channels[:count])
    assert loaded(saved(Image(PIXELS[:count], words))) == words


@pytest.mark.parametrize("unit", ["um\nspacing=99\nimages=7", "\ud800", "\u00fcnit"])
def test_a_unit_is_one_line_or_left_to_the_document(unit: str) -> None:
    axes = (Axis("z", "space", unit, 2.0), *(Axis(n, "space", unit, 0.5) for n in "yx"))
    data = saved(Image(PIXELS, ImageMetadata(axes=axes)))
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        assert "unit" not in tif.imagej_metadata
        assert (tif.imagej_metadata["spacing"], tif.imagej_metadata["images"]) == (2.0, 3)
    assert loaded(data).axes == axes


def test_an_image_without_y_is_refused() -> None:
    words = Image(PIXELS, NAMED)[:, 0]
    with pytest.raises(InvalidOptionError, match="y and x among the axes"):
        saved(words)


def test_sizes_are_those_of_the_axes_of_the_value() -> None:
    file = io.BytesIO()
    TIFF.save(Image(PIXELS, NAMED).transpose("xyc"), file, imagej=True, scale=(9, 8, None))
    assert loaded(file.getvalue()).scale == (None, 8.0, 9.0)
