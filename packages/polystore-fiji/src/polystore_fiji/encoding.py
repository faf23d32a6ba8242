"""What ImageJ has for our element types and ROIs: nothing is rounded on the way.

========================  ==================================================================
saved as                  shown as
========================  ==================================================================
uint8, uint16, float32    the same
bool                      8 bit: 0 and 255, ImageJ's masks
int8, int16, float16      32 bit (float), which holds all of their values
int32, uint32, 64 bits    32 bit (float), if every value is exact there; labels: 16 bit, if they
                          fit; else refused
RGB, RGBA of uint8        RGB
========================  ==================================================================
"""

from __future__ import annotations

import logging
import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core.errors import UnsupportedDataError
from polystore_core.rois import Composite, Mask, Polygon
from polystore_stream import Encoding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from polystore_core.rois import ROI, Shape
    from polystore_stream import RoiEncoding

__all__ = ["FijiEncoding", "original_pixels"]

log = logging.getLogger("polystore.fiji")

_SAME = frozenset({"|u1", "<u2", "<f4"})
_EXACT = frozenset({"|i1", "<i2", "<f2"})
_LARGEST_PLANE = 2**31 - 9
"""Pixels: an array of Java has no more elements."""
_MOST_SLICES, _MOST_CHANNELS, _MOST_ROIS = 250_000, 10_000, 100_000
"""Of one value: ImageJ would be busy with more for seconds. The receiver has the same limits."""
_MOST_CROSSINGS = 2e8
"""Of the outlines of one value, see ``_crossings``: ImageJ fills as many in about a second."""


class FijiEncoding(Encoding):
    """Converts what ImageJ has no type for, and says so once for each type in the log."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def pixels(self, pixels: NDArray[Any], axes: str, labels: bool) -> NDArray[Any]:
        """Return pixels of uint8, uint16 or float32, equal to those given (bool: 0 and 255)."""
        _check_plane(pixels.shape, axes)
        _check_slices(pixels.shape, axes)
        if pixels.dtype.str in _SAME and (not axes.endswith("s") or pixels.dtype == np.uint8):
            return pixels
        found = _converted(pixels, axes, labels)
        pair = str(pixels.dtype), str(found.dtype)
        if pair not in self._told:
            self._told.add(pair)
            log.info("ImageJ shows images of %s as %s", *pair)
        return found

    def rois(self, rois: Sequence[ROI]) -> tuple[RoiEncoding, bytes]:
        from polystore_formats.imagej.roi import encode_roi  # with roifile: images need none

        _check_rois(rois)
        encoded = map(encode_roi, rois)
        return "imagej", b"".join(struct.pack("<I", len(one)) + one for one in encoded)


def original_pixels(shown: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return pixels as they were saved, from what ImageJ holds of them."""
    if dtype == "|b1":
        dtype, shown = "bool", shown != 0
    with np.errstate(invalid="ignore"):  # the user may have put NaN into what were integers
        return shown.astype(np.dtype(dtype), copy=False)


def _converted(pixels: NDArray[Any], axes: str, labels: bool) -> NDArray[Any]:
    dtype = pixels.dtype
    if axes.endswith("s"):
        raise UnsupportedDataError(
            f"ImageJ shows RGB of uint8 only, and this image is {dtype}: convert it, or save its "
            "colours as channels (np.moveaxis(image, -1, 0), axes='cyx')",
            "fiji",
        )
    if dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if dtype.str in _EXACT:
        return pixels.astype(np.float32)
    if labels and dtype.kind in "iu" and pixels.min() >= 0 and pixels.max() <= 0xFFFF:
        return pixels.astype(np.uint16)
    with np.errstate(over="ignore"):
        found = pixels.astype(np.float32)
    if _are_equal(found, pixels):
        return found
    raise UnsupportedDataError(
        f"some pixels of {dtype} are not exact in 32-bit float, ImageJ's largest type: round "
        "them with image.astype('float32')"
        + (", or rescale them to uint16" if dtype.kind in "iu" else ""),
        "fiji",
    )


def _are_equal(found: NDArray[Any], pixels: NDArray[Any]) -> bool:
    if pixels.dtype.kind == "f":
        return np.array_equal(found.astype(pixels.dtype), pixels, equal_nan=True)
    # Integers are exact where they are the same again; 2**64 of float32 is no uint64.
    limits = np.iinfo(pixels.dtype)
    inside = (found >= limits.min) & (found < float(limits.max) + 1)
    return bool(inside.all()) and np.array_equal(found.astype(pixels.dtype), pixels)


def _check_plane(shape: tuple[int, ...], axes: str) -> None:
    height, width = shape[-3:-1] if axes.endswith("s") else shape[-2:]
    if height * width > _LARGEST_PLANE:
        raise UnsupportedDataError(
            f"a plane has {height} x {width} pixels, and ImageJ shows at most {_LARGEST_PLANE}: "
            "save a region, or every second pixel (image[..., ::2, ::2])",
            "fiji",
        )


def _check_slices(shape: tuple[int, ...], axes: str) -> None:
    leading = shape[: axes.index("y")]
    if math.prod(leading) > _MOST_SLICES:
        raise UnsupportedDataError(
            f"shape {shape} has {math.prod(leading)} planes, and polystore shows at most "
            f"{_MOST_SLICES} in an image of ImageJ: save a part, or order the axes so that the "
            "two longest are last (np.moveaxis)",
            "fiji",
        )
    channels = shape[axes.index("c")] if "c" in axes else 1
    if channels > _MOST_CHANNELS:
        raise UnsupportedDataError(
            f"shape {shape} has {channels} channels, and polystore shows at most {_MOST_CHANNELS} "
            "in an image of ImageJ: save a part, or give axes= with z or t for the longest axis",
            "fiji",
        )


def _check_rois(rois: Sequence[ROI]) -> None:
    if len(rois) > _MOST_ROIS:
        raise UnsupportedDataError(
            f"the list has {len(rois)} ROIs, and polystore shows at most {_MOST_ROIS} of one path: "
            "save them as a label image, or under several paths",
            "fiji",
        )
    crossings = 0.0
    for number, roi in enumerate(rois):
        crossings += _crossings(roi.shape)
        if crossings > _MOST_CROSSINGS:
            raise UnsupportedDataError(
                f"the outlines up to ROI {number} ({roi.name!r:.80}) cross the rows of pixels so "
                "often that ImageJ would fill and draw them for minutes: simplify them, or save "
                "a label image",
                "fiji",
            )


def _crossings(shape: Shape) -> float:
    """Return how often rows of pixels meet the outline, times that of each row.

    ImageJ sorts the edges that a row meets, again for each row: this is the cost of a fill.
    """
    match shape:
        case Polygon():
            rise = _rise(shape)
        case Composite():
            rise = sum(map(_rise, shape.parts))
        case Mask():
            rise = 2.0 * int(np.count_nonzero(shape.pixels[:, 1:] > shape.pixels[:, :-1]))
            rise += 2.0 * int(np.count_nonzero(shape.pixels[:, 0]))
        case _:
            return 0.0
    top, _, bottom, _ = shape.bounds
    return rise * rise / max(1.0, bottom - top)


def _rise(outline: Polygon) -> float:
    rows = outline.coordinates[:, 0]
    return float(np.abs(np.diff(rows, append=rows[0])).sum())
