"""Find the pages and the shape of an array with tifffile, and check the result.

tifffile reads the metadata of ImageJ, OME and vendors. If something in a file is wrong, it writes
to its log and continues with fewer pages, another shape, or zeros. Here this is an error.
"""

from __future__ import annotations

import json
import math
import re
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import tifffile

from polystore_core import DIMENSIONS_LIMIT
from polystore_core.errors import InvalidOptionError, PolystoreError

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
    TILE_LENGTH,
    TILE_WIDTH,
    WIDTH,
    Header,
    damage_error,
    is_ome,
    support_error,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "find_level",
    "find_pages",
    "find_series",
    "full_shape",
    "lend",
    "missing_planes",
    "translate_errors",
]

_STUMBLES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tifffile.OmeXmlError,
    tifffile.TiffFileError,
)
"""Errors of tifffile and imagecodecs for damaged bytes: a MemoryError for impossible sizes, a
SyntaxError for XML."""

_RGB_CODECS = (6, 7, 33007, 34892, 33003, 34712, 50001, 34927)
"""Codecs that convert stored YCbCr to RGB: JPEG, JPEG 2000 and WebP."""
_FORM = (
    *(WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, SAMPLES, ROWS_PER_STRIP),
    *(PLANAR, PREDICTOR, TILE_WIDTH, TILE_LENGTH, SAMPLE_FORMAT),
)
"""Tags that pages of one array have in common."""
_OME_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b[^>]*>")
_OME_SIZE = re.compile(r"\bSize[CTZ]\s*=\s*[\"'](\d+)[\"']")
_OME_COUNT = re.compile(r"\b(?:NumPlanes|PlaneCount)\s*=\s*[\"'](\d+)[\"']")
_OME_INDEX = re.compile(r"\b(?:IFD|First[CTZ])\s*=\s*[\"'](\d+)[\"']")
_OME_FILE = re.compile(r"\bFileName\s*=\s*[\"']([^\"']+)[\"']")
_OUR_AXES = re.compile(r'Namespace="polystore"><Value><M K="axes">([A-Z]{1,16})</M>')
_PAGES_ALONE: dict[str, Any] = dict.fromkeys(("is_ome", "is_imagej", "is_mmstack"), False)
"""Options that make tifffile ignore the metadata of sets, and use only the pages."""
_NOT_DECODED = re.compile(
    r"unsupported|not supported|not implemented|requires the|^COMPRESSION", re.I
)
"""Words in errors of tifffile and codecs for files that they cannot decode."""


@contextmanager
def translate_errors() -> Iterator[None]:
    """Translate errors of tifffile and codecs to ``DamagedDataError`` or ``UnsupportedFileError``.

    Errors of the system, such as a disk that cannot be read, are raised again.
    """
    try:
        yield
    except PolystoreError:
        raise
    except (NotImplementedError, ImportError) as error:
        raise support_error(f"tifffile cannot decode it: {error}") from error
    except OSError as error:
        if error.errno is not None:  # a disk that cannot be read, not a damaged file
            raise
        raise damage_error(f"tifffile cannot read it: {error}") from error
    except _STUMBLES as error:
        if _NOT_DECODED.search(str(error)):
            raise support_error(f"tifffile cannot decode it: {error}") from error
        raise damage_error(
            f"tifffile cannot read it: {type(error).__name__}: {error}"
        ) from error


class _Lent:
    """A file for tifffile without a name and a descriptor, so that it opens no other files."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell
        self.readinto = file.readinto  # type: ignore[attr-defined]


@contextmanager
def lend(file: BinaryIO) -> Iterator[BinaryIO]:
    """Lend a file to tifffile for the ``with`` block.

    tifffile's objects refer to each other, so they live until the next garbage collection. Without
    this, they would keep the file open until then.
    """
    lent = _Lent(file)
    try:
        yield cast("BinaryIO", lent)
    finally:
        vars(lent).clear()  # a late access fails, and does not read a file that was closed


# ── which pages, in which shape ──────────────────────────────────────────────────────────


def find_series(header: Header, file: BinaryIO, number: int) -> tifffile.TiffPageSeries:
    """Return a series of the file.

    Raises:
        InvalidOptionError: The file does not have this number of series.
        DamagedDataError: The pages do not fit their description.
        UnsupportedFileError: tifffile cannot decode the pixels, or viewers would show them in
            wrong colours.
    """
    missing = missing_planes(header)
    tif = _open_tiff(header, file, pages_alone=missing is not None)
    if not hasattr(number, "__index__") or number not in range(len(tif.series)):
        expected = f"0 to {len(tif.series) - 1}, because the file has {len(tif.series)} series"
        if missing is not None:
            expected += ". The other images of its set are in other files"
        raise InvalidOptionError("series", number, expected)
    series = tif.series[number]
    # tifffile fell back to the plain pages. If metadata promised a stack, some pages are missing.
    if (
        missing is None
        and series.kind in ("generic", "uniform")
        and any(
            _promises_other(description, series.shape) for description in header.descriptions
        )
    ):
        raise damage_error("its pages do not match its description: some may be in other files")
    if series.kind == "shaped":
        metadata = tif.shaped_metadata
        if metadata is None or tuple(metadata[number]["shape"]) != series.shape:
            raise damage_error(
                f"its description does not match its pages, of shape {series.shape}"
            )
    # ImageJ writes stacks of more than 4 GiB as one page, and the planes behind its pixels.
    planes = math.prod(series.shape) // max(1, math.prod(series.keyframe.shape))
    if series.kind == "imagej" and len(header.pages) not in (1, planes):
        raise damage_error(
            f"its description has {planes} planes, but it has {len(header.pages)} pages"
        )
    _check_codec(series.keyframe)
    _check_colours(series.keyframe)
    return series


def find_level(series: tifffile.TiffPageSeries, level: int) -> tifffile.TiffPageSeries:
    """Return a level of a series. The levels are SubIFDs or pages of their own."""
    count = len(series.levels)
    if not isinstance(level, int) or not -count <= level < count:
        expected = "0, because the image has 1 level"
        if count > 1:
            expected = f"0 to {count - 1}, because the image has {count} levels"
        raise InvalidOptionError("level", level, expected)
    found = series.levels[level]
    _check_codec(found.keyframe)
    _check_colours(found.keyframe)
    return found


def find_pages(
    header: Header, file: BinaryIO, numbers: Sequence[int], level: int
) -> tuple[tifffile.TiffPage, list[tifffile.TiffPage | tifffile.TiffFrame]]:
    """Return some pages of the file, or a smaller copy of each, and before them the first page.

    All have the form of the first.

    Raises:
        UnsupportedFileError: The pages differ in more than their pixels, or have no such copy.
    """
    first = header.pages[numbers[0]]
    for number in numbers[1:]:
        page = header.pages[number]
        for code in _FORM:
            tags = page.get(code), first.get(code)
            if tags[0] != tags[1] and header.numbers(page, code) != header.numbers(first, code):
                raise support_error(
                    f"its pages {numbers[0]} and {number} differ in size or type, but its OME-XML "
                    "puts them into one array"
                )
    tif = _open_tiff(header, file, pages_alone=True)
    tif.pages.set_keyframe(numbers[0])
    # Smaller copies are found through whole pages. Of others, only the offsets are read.
    tif.pages.useframes = not level
    pages = [tif.pages[number] for number in numbers]
    if level:
        pages = [_smaller(page, level) for page in pages]
    key = pages[0].aspage()
    _check_codec(key)
    _check_colours(key)
    return key, pages


def _smaller(
    page: tifffile.TiffPage | tifffile.TiffFrame, level: int
) -> tifffile.TiffPage | tifffile.TiffFrame:
    copies = page.pages
    if copies is None or len(copies) < level:
        raise support_error(f"page {page.index} has no level {level}, but other pages have it")
    return copies[level - 1]


def full_shape(header: Header, series: tifffile.TiffPageSeries) -> tuple[str, tuple[int, ...]]:
    """Return the axes and the shape, with axes of length 1, which our annotation has.

    tifffile drops these axes.
    """
    axes, shape = series.axes, series.shape
    if series.kind == "ome" and header.descriptions:
        found = _OUR_AXES.search(header.descriptions[0].decode(errors="replace"))
        if found and "".join(filter(axes.__contains__, found[1])) == axes:
            sizes = dict(zip(axes, shape, strict=True))
            return found[1], tuple(sizes.get(axis, 1) for axis in found[1])
    return axes, shape


def missing_planes(header: Header) -> int | None:
    """Return how many planes of its set an OME-TIFF file lacks, or ``None`` if it is complete.

    The planes are in other files, or the acquisition ended before they were written.

    Raises:
        DamagedDataError: The OME-XML is incomplete.
    """
    if not header.descriptions or not is_ome(header.descriptions[0]):
        return None
    text = header.descriptions[0].decode(errors="replace")
    # Regular expressions also read XML that was cut, which no parser does.
    planes = len(header.pages) * header.number(header.pages[0], SAMPLES, 1)
    sizes = [math.prod(map(int, _OME_SIZE.findall(p))) for p in _OME_PIXELS.findall(text)]
    counts = [int(count) for count in _OME_COUNT.findall(text)]
    if not text.rstrip().endswith("OME>") or (counts and max(counts) > max(sizes, default=0)):
        raise damage_error("its OME-XML is incomplete, or contradicts itself")
    promised = max([*sizes, *counts, *map(int, _OME_INDEX.findall(text))], default=0)
    if promised <= planes and len(set(_OME_FILE.findall(text))) < 2:
        return None
    return max(0, sum(sizes) - planes)


def _promises_other(description: bytes, shape: tuple[int, ...]) -> bool:
    """Return whether a description promises another array than the pages have."""
    if is_ome(description):
        return b"BinaryOnly" not in description  # this only names another file with the OME-XML
    if description.startswith(b'{"shape":'):
        promised = json.loads(description)["shape"]
        return [n for n in promised if n != 1] != [n for n in shape if n != 1]
    return description.startswith((b"shape=", b"ImageJ=", b"SCIFIO="))


def _open_tiff(header: Header, file: BinaryIO, *, pages_alone: bool) -> tifffile.TiffFile:
    name = "image"
    for description in header.descriptions[:1]:
        if is_ome(description) and not pages_alone:
            # tifffile finds the planes of OME-XML without a UUID by the name of their file.
            files = set(_OME_FILE.findall(description.decode(errors="replace")))
            name = files.pop() if len(files) == 1 else name
    _check_shapes(header)
    file.seek(0)
    flags: dict[str, Any] = _PAGES_ALONE if pages_alone else {}
    # _multifile=False: the names in OME-XML are a stranger's, and must not be opened.
    return tifffile.TiffFile(file, name=name, _multifile=False, **flags)


def _check_shapes(header: Header) -> None:
    """Raise ``DamagedDataError`` for a shape whose lengths tifffile would multiply for minutes."""
    for tag in header.long_descriptions:
        count = _count_dimensions(header.text(tag).rstrip(b"\0"))
        if count > DIMENSIONS_LIMIT:
            raise damage_error(f"its description has a shape of {count} dimensions")


def _count_dimensions(description: bytes) -> int:
    if description.startswith(b"shape="):
        return description.count(b",") + 1
    if not description.startswith(b"{") or b'"shape":' not in description:
        return 0
    try:
        shape = json.loads(description).get("shape")
    except (ValueError, RecursionError):
        return 0  # tifffile raises its own error
    return len(shape) if isinstance(shape, list) else 0


def _check_codec(page: tifffile.TiffPage) -> None:
    if page.compression not in tifffile.TIFF.DECOMPRESSORS:
        name = next((c.name for c in tifffile.COMPRESSION if c == page.compression), "unknown")
        raise support_error(
            f"its pixels are compressed with method {int(page.compression)} ({name}), which "
            "tifffile does not decode: save it uncompressed with the program that wrote it"
        )


def _check_colours(page: tifffile.TiffPage) -> None:
    """Raise ``UnsupportedFileError`` for colours that viewers would show as RGB."""
    kinds = tifffile.PHOTOMETRIC
    is_lab = page.photometric in (kinds.CIELAB, kinds.ICCLAB, kinds.ITULAB)
    is_cmyk = page.photometric == kinds.SEPARATED and page.samplesperpixel >= 4
    is_ycbcr = page.photometric == kinds.YCBCR and page.compression not in _RGB_CODECS
    if is_lab or is_cmyk or is_ycbcr:
        raise support_error(
            f"its colours are {kinds(page.photometric).name}, which viewers would show as RGB: "
            "convert it to RGB, or load the raw values with tifffile.imread"
        )
