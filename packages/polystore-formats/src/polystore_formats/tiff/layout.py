"""The positions of the pixels of a series that needs tifffile, and its decoders."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from .described import image_of, level_factors
from .header import Header, damage_error, support_error
from .pixels import Box, Decode, Flat, Grid, Pixels, Segments
from .series import find_level, find_pages, find_series, full_shape, lend, translate_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from polystore_core import ImageMetadata, Value

__all__ = ["page_pixels", "series_image", "series_pixels"]

_EXPANSION = {1: 1, 5: 1400, 8: 1040, 32946: 1040, 32773: 64, 34925: 8000, 50000: 34_000}
"""How much codecs can expand: none, LZW, deflate (two codes), PackBits, LZMA, zstd. Measured on
zeros and rounded up. A page that claims more is damaged, and no memory is allocated for it."""
_EXPANSION_OF_OTHERS = 1 << 20
_SLACK = 64 << 10
_PADDING = 4
"""Uncompressed pieces may have this many bytes more than their pixels."""
_WORTH_A_THREAD = 16 << 10
"""Decoding a smaller segment takes less time than switching threads."""

_WITH_JPEG_TABLES = (6, 7, 33007, 34892)  # their pages share tables in a tag of their own


def series_pixels(header: Header, series: int = 0, level: int = 0) -> Pixels:
    """Return the pixels of a series. All that needs no decoding has been checked.

    Raises:
        InvalidOptionError: The file does not have the series or the level.
        DamagedDataError: The positions or sizes of the pixels are not possible.
        UnsupportedFileError: tifffile cannot decode the pixels.
    """
    with translate_errors(), lend(header.file) as file:
        return _pixels(header, find_level(find_series(header, file, series), level))


def series_image(
    header: Header, series: int = 0, level: int = 0
) -> tuple[Pixels, ImageMetadata]:
    """Return the same pixels as :func:`series_pixels`, and their metadata."""
    with translate_errors(), lend(header.file) as file:
        whole = find_series(header, file, series)
        found = find_level(whole, level)
        return _pixels(header, found), describe_level(header, whole, found, series)


def page_pixels(header: Header, numbers: Sequence[int], level: int) -> Flat | Grid:
    """Return the pixels of some pages, or of a smaller copy of each.

    The first axis of their shape is that of pages.

    Raises:
        DamagedDataError: The positions or sizes of the pixels are not possible.
        UnsupportedFileError: tifffile cannot decode the pixels, or the pages differ.
    """
    with translate_errors(), lend(header.file) as file:
        key, pages = find_pages(header, file, numbers, level)
        shape = (len(pages), *key.shape)
        series = tifffile.TiffPageSeries(pages, shape, key.dtype, f"I{key.axes}")
        pixels = _flat(header, series) or _grid(header, series)
        if isinstance(pixels, Flat):
            starts = [
                start + at for start in pixels.starts for at in range(0, pixels.run, key.nbytes)
            ]
            pixels.starts, pixels.run = tuple(starts), key.nbytes
        pixels.shape = shape
        return pixels


def describe_level(
    header: Header, whole: tifffile.TiffPageSeries, level: tifffile.TiffPageSeries, number: int
) -> ImageMetadata:
    """Return the metadata of a ``level`` of the series ``whole``, which has a number."""
    letters, shape = full_shape(header, whole)
    page = whole.keyframe.index
    image = image_of(header, letters, shape, _dtype(header, whole), series=number, page=page)
    if level is whole:
        return image
    names, smaller = full_shape(header, level)
    # The page of a level has no description of its own: its scale follows from the shapes.
    if len(names) != len(letters):  # some programs give a level other axes than the image
        return image_of(header, names, smaller, _dtype(header, level), series=number, page=page)
    return image.level(level_factors(shape, smaller))


def _pixels(header: Header, found: tifffile.TiffPageSeries) -> Pixels:
    pixels = _flat(header, found) or _grid(header, found)
    pixels.shape = full_shape(header, found)[1]
    return pixels


def _dtype(header: Header, series: tifffile.TiffPageSeries) -> np.dtype[Value]:
    if series.keyframe.dtype is None or 0 in series.shape:
        raise damage_error(
            f"its shape {series.shape} or its {series.keyframe.bitspersample} bits are not valid"
        )
    return np.dtype(series.dtype).newbyteorder(header.order)  # type: ignore[arg-type]


def _check_count(series: tifffile.TiffPageSeries, pages: int) -> None:
    if math.prod(series.shape) != pages * math.prod(series.keyframe.shape):
        raise damage_error(
            f"its shape is {series.shape}, but it has {pages} pages of {series.keyframe.shape}"
        )


def _flat(header: Header, series: tifffile.TiffPageSeries) -> Flat | None:
    """Return pixels that need no decoding, or ``None`` if the series has others."""
    dtype, key = _dtype(header, series), series.keyframe
    # is_final: tifffile would return the stored bytes unchanged.
    if series.transform is not None or not key.is_final:
        return None
    if series.dataoffset is not None:
        starts: tuple[int, ...] = (series.dataoffset,)
        run = math.prod(series.shape) * dtype.itemsize
    else:
        pages = [_page(series, index) for index in range(len(series))]
        if not all(page.is_final for page in pages):
            return None
        _check_count(series, len(pages))
        starts, run = tuple(page.dataoffsets[0] for page in pages), key.nbytes
    if min(starts) < 8 or max(starts) + run > header.size:
        raise damage_error(f"its pixels, {len(starts)} times {run} bytes, are outside the file")
    _check_bytes(key, key.databytecounts, key.nbytes)
    return Flat(header.file, series.shape, dtype, starts, run)


def _check_bytes(key: tifffile.TiffPage, counts: Sequence[int], nbytes: int) -> None:
    """Raise ``DamagedDataError`` if the stored bytes cannot be those of the page's pixels."""
    stored = sum(counts)
    if key.compression != 1:
        possible = (
            nbytes <= _EXPANSION.get(key.compression, _EXPANSION_OF_OTHERS) * stored + _SLACK
        )
    else:
        # More stored bytes mean that width, length or bits were changed.
        possible = nbytes <= stored < nbytes + _PADDING * len(counts)
    if not possible and not key.parent.is_lsm:
        raise damage_error(
            f"a page has {nbytes} bytes of pixels, which cannot be stored in {stored}"
        )


def _page(
    series: tifffile.TiffPageSeries, index: int
) -> tifffile.TiffPage | tifffile.TiffFrame:
    page = series[index]
    if page is None or not page.dataoffsets:
        raise support_error(
            f"plane {index} is missing: it is in another file, or was not written"
        )
    return page


def _grid(header: Header, series: tifffile.TiffPageSeries) -> Grid:
    dtype, key = _dtype(header, series), series.keyframe
    _check_count(series, len(series))
    box = key.shaped
    if key.is_tiled:
        segment = (1, key.tiledepth, key.tilelength, key.tilewidth, box[4])
    else:
        segment = (1, 1, key.rowsperstrip, box[3], box[4])
    pieces = math.prod(-(-extent // size) for extent, size in zip(box, segment, strict=True))
    nbytes = _count_bytes(key, segment) * pieces if key.is_tiled else _count_bytes(key, box)

    pages = [_page(series, index) for index in range(len(series))]
    for index, page in enumerate(pages):
        counts = page.databytecounts[:pieces]  # a longer list is accepted, as in tifffile
        if max(page.dataoffsets) > header.size:
            raise damage_error(f"plane {index} is outside the file")
        if len(page.dataoffsets) < pieces or len(counts) < pieces:
            raise damage_error(
                f"plane {index} has {len(counts)} strips or tiles, expected {pieces}"
            )
        _check_bytes(key, counts, nbytes)

    with_threads = key.compression != 1 and _count_bytes(key, segment) >= _WORTH_A_THREAD
    return Grid(
        header.file,
        series.shape,
        dtype,
        [Segments(p.dataoffsets, p.databytecounts, _decoder(p)) for p in pages],
        box,
        segment,
        None if series.transform is not None else _common_axes(series),
        tifffile.TIFF.MAXWORKERS if with_threads else 1,
        series.transform,
    )


def _count_bytes(key: tifffile.TiffPage, box: Box) -> int:
    """Return the number of bytes of an uncompressed piece of this extent."""
    bits: int | tuple[int, ...] = key.bitspersample
    rows, width, samples = math.prod(box[:3]), box[3], box[4]
    of_pixel = bits * samples if isinstance(bits, int) else sum(bits)  # RGB has 5, 6 and 5
    return rows * -(-width * of_pixel // 8)  # each row starts at a new byte


def _common_axes(series: tifffile.TiffPageSeries) -> tuple[int, ...] | None:
    """Return the axes of a page, in its full form, that are the last axes of the series.

    Returns ``None`` if they are not, so that the series can only be read whole.
    """
    key = series.keyframe
    has_samples = key.samplesperpixel > 1 or key.photometric == tifffile.PHOTOMETRIC.RGB
    samples = (0 if key.planarconfig == tifffile.PLANARCONFIG.SEPARATE else 4,)
    depth = (1,) if key.imagedepth > 1 else ()
    axes = tuple(sorted(depth + (2, 3) + (samples if has_samples else ())))
    shape = tuple(key.shaped[axis] for axis in axes)
    return axes if series.shape[-len(axes) :] == shape else None


def _decoder(page: tifffile.TiffPage | tifffile.TiffFrame) -> Decode:
    key = page.aspage() if page.keyframe is None else page.keyframe
    decode = key.decode  # a cached property, which threads must not compute
    tables = (
        {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader}
        if key.compression in _WITH_JPEG_TABLES
        else {}
    )

    def decode_segment(data: bytes, number: int) -> tuple[NDArray[Any], tuple[int, ...]]:
        with translate_errors():
            pixels, corner, _ = decode(data, number, **tables)
            if pixels is not None and key.dtype == np.bool_:
                pixels = pixels.astype(np.bool_, copy=False)  # the CCITT codecs give bytes
        if pixels is None:
            raise damage_error(f"strip or tile {number} of a page is empty")
        return pixels, corner

    return decode_segment
