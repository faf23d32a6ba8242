"""The fast path for most TIFF files: uncompressed pixels in one run, read without tifffile.

It is safe because it only accepts files of a few known kinds. Any tag or description that could
make tifffile return another array sends the file to tifffile.
"""

from __future__ import annotations

import json
import math
from operator import add
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from polystore_core import DIMENSIONS_LIMIT

from .header import (
    BITS,
    COMPRESSION,
    FILL_ORDER,
    LENGTH,
    PHOTOMETRIC,
    PLANAR,
    PREDICTOR,
    ROWS_PER_STRIP,
    SAMPLE_FORMAT,
    SAMPLES,
    SOFTWARE,
    STRIP_COUNTS,
    STRIP_OFFSETS,
    UIC1,
    UIC2,
    WIDTH,
    Header,
    Page,
    Tag,
    is_ome,
    read_header,
    read_start,
)
from .pixels import Flat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polystore_core import ImageMetadata, Value

__all__ = ["Plain", "plain_image", "plain_pages", "plain_pixels", "read_plain"]

_PLAIN_TAGS = frozenset(
    {
        254,
        255,
        256,
        257,
        258,
        259,
        262,
        266,
        269,
        270,
        271,
        272,
        273,
        274,
        277,
        278,
        279,
        280,
        281,
        282,
        283,
        284,
        285,
        286,
        287,
        296,
        297,
        305,
        306,
        315,
        316,
        317,
        320,
        338,
        339,
        340,
        341,
        33432,
        33628,
        33629,
        33630,
        33631,
        34377,
        34675,
        50838,
        50839,
    }
)
"""Tags that cannot change the meaning of the pixels of an uncompressed page."""
_PLAIN_PHOTOMETRICS = (0, 1, 2, 3)
_RGB = 2
_KINDS = {1: "u", 2: "i", 3: "f", 6: "c"}
_SIZES = {"u": (1, 2, 4, 8), "i": (1, 2, 4, 8), "f": (2, 4, 8), "c": (8, 16)}
# Lines of ImageJ's description that make one page a stack, unless they are 1.
_IMAGEJ_COUNTS = (b"images", b"channels", b"slices", b"frames")
# Programs whose files tifffile reads in a special way, known by the tag Software.
_OTHER_SOFTWARE = (b"SI.", b"PerkinElmer-QPI", b"Philips DP", b"IndicaLabs")


class _Plane(NamedTuple):
    """The pixels of one page. Pages that differ only in ``offset`` are a stack."""

    shape: tuple[int, ...]
    dtype: str
    photometric: int
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class Plain(NamedTuple):
    """The pixels of a file, and their metadata if the caller wants it."""

    pixels: Flat
    image: ImageMetadata | None


class _Known(NamedTuple):
    """A plain file that was read. Files with the same size and start have the same header."""

    size: int
    start: bytes
    """All bytes before the pixels."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    image: ImageMetadata | None


_recent: tuple[_Known, ...] = ()
_RECENT_LIMIT = 8


def read_plain(file: BinaryIO, *, words: bool = False) -> Plain | Header:
    """Return the pixels of a plain file, or the header of another file for tifffile.

    The thousands of files of a plate have the same header, so it is parsed once.

    Args:
        file: an open binary file.
        words: whether to return the metadata too.
    """
    global _recent  # threads replace the whole tuple, so none sees it half changed
    size, start = read_start(file)
    # Equal bytes up to the pixels, and an equal size, mean an equal header: nothing that a tag
    # points at is behind the pixels (see below).
    for known in _recent:
        if known.size == size and start.startswith(known.start):
            if words and known.image is None:
                break
            pixels = _flat(file, known.shape, known.dtype, len(known.start))
            return Plain(pixels, known.image)
    header = read_header(file, size, start)
    found = plain_pixels(header)
    if found is None:
        return header
    image = plain_image(header, found) if words else None
    (offset,) = found.starts
    # If nothing behind the pixels was read, the start decides everything.
    if header.reach <= offset <= len(start):
        known = _Known(size, start[:offset], found.shape, found.dtype, image)
        _recent = (known, *_recent[: _RECENT_LIMIT - 1])
    return Plain(found, image)


def plain_image(header: Header, pixels: Flat) -> ImageMetadata:
    """Return the metadata of ``pixels`` that :func:`plain_pixels` returned."""
    from .described import image_of, letters_of  # loading arrays does not need this import

    return image_of(header, letters_of(header, pixels.shape), pixels.shape, pixels.dtype)


def plain_pixels(header: Header) -> Flat | None:
    """Return the pixels of one uncompressed page, or of a stack of them that tifffile wrote.

    Returns ``None`` for other files, and if metadata could give the array another meaning.
    """
    first = _plane(header, header.pages[0])
    shape = None if first is None else _shape_of_series(header, first)
    if first is None or shape is None:
        return None
    offset, last = first.offset, header.pages[0]
    for page in header.pages[1:]:
        offset += first.nbytes
        # Most pages equal the one before, up to the offset. Only others are parsed.
        if page | {STRIP_OFFSETS: last[STRIP_OFFSETS]} != last:
            if _plane(header, page) != first._replace(offset=offset):
                return None
        elif header.numbers(page, STRIP_OFFSETS) != (offset,):
            return None
        last = page
    return _flat(header.file, shape, np.dtype(first.dtype), first.offset)


def plain_pages(header: Header, numbers: Sequence[int]) -> Flat | None:
    """Return the pixels of some uncompressed pages, as an array with the pages as its first axis.

    Returns ``None`` for other pages, and if they differ in more than the offset of their pixels.
    """
    first = _plane(header, header.pages[numbers[0]])
    if first is None:
        return None
    starts, last = [first.offset], header.pages[numbers[0]]
    for number in numbers[1:]:
        page = header.pages[number]
        offsets = header.numbers(page, STRIP_OFFSETS)
        # Most pages equal the one before, up to the offset. Only others are parsed.
        if len(offsets) != 1 or page | {STRIP_OFFSETS: last[STRIP_OFFSETS]} != last:
            plane = _plane(header, page)
            if plane is None or plane._replace(offset=first.offset) != first:
                return None
            offsets = (plane.offset,)
        starts.append(offsets[0])
        last = page
    shape = (len(starts), *first.shape)
    return Flat(header.file, shape, np.dtype(first.dtype), tuple(starts), first.nbytes)


def _flat(file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype[Value], offset: int) -> Flat:
    return Flat(file, shape, dtype, (offset,), math.prod(shape) * dtype.itemsize)


def _plane(header: Header, page: Page) -> _Plane | None:
    if not page.keys() <= _PLAIN_TAGS or STRIP_OFFSETS not in page:
        return None
    number = header.number
    samples, photometric = number(page, SAMPLES, 1), number(page, PHOTOMETRIC, 1)
    if (
        number(page, COMPRESSION, 1) != 1
        or number(page, PREDICTOR, 1) != 1
        or number(page, FILL_ORDER, 1) != 1  # 2 reverses the bits of each byte
        or (samples > 1 and number(page, PLANAR, 1) != 1)
        or (samples == 1 and photometric == _RGB)
        or photometric not in _PLAIN_PHOTOMETRICS
        # MetaMorph: the length of UIC2 is the number of planes behind one page.
        or (UIC1 in page and page.get(UIC2, Tag(0, 1, b"", 0)).length != 1)
    ):
        return None
    bits = set(header.numbers(page, BITS, (1,)))
    formats = set(header.numbers(page, SAMPLE_FORMAT, (1,)))
    kind = _KINDS.get(formats.pop(), "")
    size, odd_bits = divmod(bits.pop(), 8)
    if bits or formats or odd_bits or size not in _SIZES.get(kind, ()):
        return None
    height, width = number(page, LENGTH), number(page, WIDTH)
    shape = (height, width) if samples == 1 else (height, width, samples)
    plane = _Plane(shape, f"{header.order}{kind}{size}", photometric, 0)
    offset = _only_run(header, page, height, plane.nbytes)
    return None if offset is None else plane._replace(offset=offset)


def _only_run(header: Header, page: Page, height: int, nbytes: int) -> int | None:
    """Return the offset of the pixels, or ``None`` if they are not in one run."""
    offsets = header.numbers(page, STRIP_OFFSETS)
    counts = header.numbers(page, STRIP_COUNTS)
    rows = min(header.number(page, ROWS_PER_STRIP, height), height)
    if not (
        rows and nbytes and offsets[0] and len(offsets) == len(counts) == -(-height // rows)
    ):
        return None
    if sum(counts) != nbytes or list(map(add, offsets, counts))[:-1] != list(offsets[1:]):
        return None
    return offsets[0]


def _shape_of_series(header: Header, plane: _Plane) -> tuple[int, ...] | None:
    """Return the shape of the stack of all pages, or ``None`` if only tifffile can tell it."""
    software = header.pages[0].get(SOFTWARE)
    if software is not None and header.text(software).startswith(_OTHER_SOFTWARE):
        return None
    shape: tuple[int, ...] | None = plane.shape if len(header.pages) == 1 else None
    for description in header.descriptions[:2]:  # tifffile looks no further
        if description.startswith(b'{"shape":') and b'"mibi.' not in description:
            return _shape_in_json(description, len(header.pages), plane.shape)
        if _is_of_others(description):
            return None
    return shape


def _shape_in_json(
    description: bytes, pages: int, plane: tuple[int, ...]
) -> tuple[int, ...] | None:
    try:
        shape = json.loads(description)["shape"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    # The product of very many lengths takes minutes.
    if type(shape) is not list or len(shape) > DIMENSIONS_LIMIT:
        return None
    if not all(type(n) is int and n > 0 for n in shape):
        return None
    # tifffile ignores axes of length 1 when it compares a shape with the pages.
    long, needed = [n for n in shape if n > 1], [n for n in plane if n > 1]
    leading = long[: len(long) - len(needed)]
    if leading + needed != long or math.prod(leading) != pages:
        return None
    return tuple(shape)


def _is_of_others(description: bytes) -> bool:
    """Return whether tifffile would take the shape from a description, not from the page."""
    if description.startswith(b"ImageJ="):
        fields = (line.partition(b"=") for line in description.splitlines())
        return any(key.strip() in _IMAGEJ_COUNTS and n.strip() != b"1" for key, _, n in fields)
    return (
        description.startswith((b"{", b"shape=", b"SCIFIO=", b"Aperio ", b"state."))
        or description[-10:].strip().endswith((b"OME>", b"</scn>"))
        or is_ome(description)
        or b"scanimage.SI" in description[-256:]
    )
