"""Convert pixels and ROIs to the types of ImageJ.

========================  ==================================================================
saved as                  shown as
========================  ==================================================================
uint8, uint16, float32    the same
bool                      8 bit: 0 and 255, ImageJ's masks
int8, int16, float16      32 bit (float), which holds all of their values
(u)int32, (u)int64        32 bit (float) if it holds every value exactly, or 16 bit for labels that
                          fit, or else refused
float64                   32 bit (float), rounded with ``convert="float32"``, and with "exact"
                          refused unless it holds every value exactly
RGB, RGBA of uint8        RGB
========================  ==================================================================
"""

from __future__ import annotations

import logging
import math
import struct
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from polystore_core.errors import InvalidOptionError, UnsupportedDataError
from polystore_core.rois import Composite, Mask, Polygon
from polystore_stream import Encoding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from polystore_core.rois import ROI, Shape
    from polystore_stream import RoiEncoding

__all__ = ["Convert", "FijiEncoding"]

Convert: TypeAlias = Literal["float32", "exact"]

log = logging.getLogger("polystore.fiji")

_SAME = frozenset({"|u1", "<u2", "<f4"})
_EXACT = frozenset({"|i1", "<i2", "<f2"})
_LARGEST_PLANE = 2**31 - 9
"""Most pixels of a plane: the length limit of an array in Java."""
_MOST_SLICES, _MOST_CHANNELS, _MOST_ROIS = 250_000, 10_000, 100_000
"""Limits of one value. More would keep ImageJ busy for seconds. The receiver has them, too."""
_MOST_CROSSINGS = 2e8
"""Limit for the outlines of one value, see ``_crossings``. ImageJ fills them in about a second."""


class FijiEncoding(Encoding):
    """Convert pixels to types that ImageJ has, and log each pair of types once.

    ``convert="float32"`` rounds floats of 64 bits to 32 bits. ``convert="exact"`` refuses them,
    unless 32 bits hold every value exactly.
    """

    # It needs no lock: two threads that convert the same type for the first time log it twice.

    def __init__(self, convert: Convert = "float32") -> None:
        if convert not in get_args(Convert):
            raise InvalidOptionError("convert", convert, "'float32' or 'exact'")
        self._convert = convert
        self._told: set[tuple[str, ...]] = set()

    def pixels(self, pixels: NDArray[Any], axes: str, labels: bool) -> tuple[NDArray[Any], str]:
        """Return pixels of uint8, uint16 or float32, and the type that ``load`` returns.

        The values stay equal (bool becomes 0 and 255), unless they must be rounded. ``load``
        returns rounded pixels as float32.

        Raises:
            UnsupportedDataError: ImageJ cannot show the array, or a value would change that must
                not be rounded.
        """
        _check_plane(pixels.shape, axes)
        _check_slices(pixels.shape, axes)
        if pixels.dtype.str in _SAME and (not axes.endswith("s") or pixels.dtype == np.uint8):
            return pixels, pixels.dtype.str
        found = _try_exact(pixels, axes, labels)
        if found is None:
            found = self._round(pixels)
            return found, found.dtype.str
        if self._is_news(str(pixels.dtype), str(found.dtype)):
            log.info("ImageJ shows images of %s as %s", pixels.dtype, found.dtype)
        return found, pixels.dtype.str

    def _round(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Round floats, or raise ``UnsupportedDataError`` if ``convert`` forbids it."""
        if pixels.dtype.kind in "iu":
            raise UnsupportedDataError(
                f"some pixels of {pixels.dtype} are not exact in 32-bit float, ImageJ's largest "
                "type, and convert='float32' only rounds floats: round them with "
                "image.astype('float32'), or rescale them to uint16",
                "fiji",
            )
        if self._convert == "exact":
            raise UnsupportedDataError(
                f"some pixels of {pixels.dtype} are not exact in 32-bit float, ImageJ's largest "
                "type: round them with convert='float32', an option of the backend, or with "
                "image.astype('float32')",
                "fiji",
            )
        with np.errstate(over="ignore"):
            found = pixels.astype(np.float32)
        if (np.isinf(found) & ~np.isinf(pixels)).any():
            raise UnsupportedDataError(
                f"some pixels of {pixels.dtype} are larger than 3.4e38, the largest 32-bit float "
                "of ImageJ: rescale them",
                "fiji",
            )
        if self._is_news(str(pixels.dtype), "rounded"):
            log.warning(
                "ImageJ does not have %s: pixels are rounded to float32, and load returns float32 "
                "(convert='exact' refuses them)",
                pixels.dtype,
            )
        return found

    def _is_news(self, *news: str) -> bool:
        is_new = news not in self._told
        self._told.add(news)
        return is_new

    def rois(self, rois: Sequence[ROI]) -> tuple[RoiEncoding, bytes]:
        # Import it here: it imports roifile, which images do not need.
        from polystore_formats.imagej.roi import encode_roi

        _check_rois(rois)
        encoded = map(encode_roi, rois)
        return "imagej", b"".join(struct.pack("<I", len(one)) + one for one in encoded)


def _try_exact(pixels: NDArray[Any], axes: str, labels: bool) -> NDArray[Any] | None:
    """Return equal pixels of a type that ImageJ has, or ``None`` if no type holds them."""
    dtype = pixels.dtype
    if axes.endswith("s"):
        raise UnsupportedDataError(
            f"ImageJ shows only RGB of uint8, but this image is {dtype}: convert it, or save its "
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
    return found if _are_equal(found, pixels) else None


def _are_equal(found: NDArray[Any], pixels: NDArray[Any]) -> bool:
    if pixels.dtype.kind == "f":
        return np.array_equal(found.astype(pixels.dtype), pixels, equal_nan=True)
    # Integers are exact if they are equal after conversion and back. Check the range first,
    # because converting a float beyond it back, such as 2**64 to uint64, is undefined.
    limits = np.iinfo(pixels.dtype)
    inside = (found >= limits.min) & (found < float(limits.max) + 1)
    return bool(inside.all()) and np.array_equal(found.astype(pixels.dtype), pixels)


def _check_plane(shape: tuple[int, ...], axes: str) -> None:
    height, width = shape[-3:-1] if axes.endswith("s") else shape[-2:]
    if height * width > _LARGEST_PLANE:
        raise UnsupportedDataError(
            f"a plane has {height} x {width} pixels, but ImageJ shows at most {_LARGEST_PLANE}: "
            "save a region, or every second pixel (image[..., ::2, ::2])",
            "fiji",
        )


def _check_slices(shape: tuple[int, ...], axes: str) -> None:
    leading = shape[: axes.index("y")]
    if math.prod(leading) > _MOST_SLICES:
        raise UnsupportedDataError(
            f"shape {shape} has {math.prod(leading)} planes, but polystore shows at most "
            f"{_MOST_SLICES} in an image of ImageJ: save a part, or order the axes so that the "
            "two longest are last (np.moveaxis)",
            "fiji",
        )
    channels = shape[axes.index("c")] if "c" in axes else 1
    if channels > _MOST_CHANNELS:
        raise UnsupportedDataError(
            f"shape {shape} has {channels} channels, but polystore shows at most {_MOST_CHANNELS} "
            "in an image of ImageJ: save a part, or give axes= with z or t for the longest axis",
            "fiji",
        )


def _check_rois(rois: Sequence[ROI]) -> None:
    if len(rois) > _MOST_ROIS:
        raise UnsupportedDataError(
            f"the list has {len(rois)} ROIs, but polystore shows at most {_MOST_ROIS} of one path: "
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
    """Return the cost of filling a shape: the crossings of all rows, times those of one row.

    For each row of pixels, ImageJ sorts the edges that cross it.
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
