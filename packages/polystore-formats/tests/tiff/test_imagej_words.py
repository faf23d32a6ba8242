"""Metadata that does not fit into ImageJ's description."""

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


def save(value: Any) -> bytes:
    file = io.BytesIO()
    TIFF.save(value, file, imagej=True)
    return file.getvalue()


def load_metadata(data: bytes) -> ImageMetadata:
    found: ImageMetadata = TIFF.load_image(io.BytesIO(data)).metadata
    return found


@pytest.mark.parametrize("count", [2, 3])
def test_default_colours_are_not_read_back(count: int) -> None:
    """ImageJ needs a colour for each channel. Colours that we chose are marked as such."""
    words = replace(NAMED, channels=NAMED.channels[:count])
    assert load_metadata(save(Image(PIXELS[:count], words))) == words


@pytest.mark.parametrize("unit", ["um\nspacing=99\nimages=7", "\ud800", "\u00fcnit"])
def test_odd_units_are_kept_in_our_document(unit: str) -> None:
    axes = (Axis("z", "space", unit, 2.0), *(Axis(n, "space", unit, 0.5) for n in "yx"))
    data = save(Image(PIXELS, ImageMetadata(axes=axes)))
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        assert "unit" not in tif.imagej_metadata
        assert (tif.imagej_metadata["spacing"], tif.imagej_metadata["images"]) == (2.0, 3)
    assert load_metadata(data).axes == axes


def test_image_without_y_is_refused() -> None:
    words = Image(PIXELS, NAMED)[:, 0]
    with pytest.raises(InvalidOptionError, match="y and x among the axes"):
        save(words)


def test_sizes_follow_the_axes_of_the_value() -> None:
    file = io.BytesIO()
    TIFF.save(Image(PIXELS, NAMED).transpose("xyc"), file, imagej=True, scale=(9, 8, None))
    assert load_metadata(file.getvalue()).scale == (None, 8.0, 9.0)
