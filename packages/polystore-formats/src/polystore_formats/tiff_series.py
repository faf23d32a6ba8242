"""Which pages of a TIFF file make up an array, and in which shape: what tifffile says, checked.

tifffile knows ImageJ, OME and what vendors write, and makes the best of every file: it logs
what is wrong and goes on with fewer pages, another shape, or zeros.
"""

from __future__ import annotations

import json
import math
import re
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

import tifffile

from polystore.errors import InvalidOptionError, PolystoreError, UnsupportedDataError

from .tiff_header import SAMPLES, Header, damaged, is_ome

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OME_PIXELS", "find_series", "lent", "stumbling"]

_STUMBLES = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError,
    RuntimeError, SyntaxError, TypeError, ValueError, struct.error, tifffile.OmeXmlError,
    tifffile.TiffFileError,
)  # fmt: skip
"""What tifffile and imagecodecs raise over bytes that they did not expect: a MemoryError for
sizes that nobody meant, a SyntaxError for XML."""

OME_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b[^>]*>")
_OME_SIZE = re.compile(r"\bSize[CTZ]\s*=\s*[\"'](\d+)[\"']")
_OME_COUNT = re.compile(r"\b(?:NumPlanes|PlaneCount)\s*=\s*[\"'](\d+)[\"']")
_OME_INDEX = re.compile(r"\b(?:IFD|First[CTZ])\s*=\s*[\"'](\d+)[\"']")
_OME_FILE = re.compile(r"\bFileName\s*=\s*[\"']([^\"']+)[\"']")


@contextmanager
def stumbling() -> Iterator[None]:
    """Say what is damaged where tifffile or a codec only stumbles."""
    try:
        yield
    except PolystoreError:
        raise
    except NotImplementedError as error:
        raise UnsupportedDataError(f"tifffile cannot decode it: {error}", "tiff") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise damaged(str(error)) from error
    except _STUMBLES as error:
        raise damaged(f"{type(error).__name__}: {error}") from error


class _Lent:
    """A file as tifffile sees it: it has no name and no descriptor, and other files of a set
    are not looked for.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell
        self.readinto = file.readinto  # type: ignore[attr-defined]


@contextmanager
def lent(file: BinaryIO) -> Iterator[BinaryIO]:
    """Lend a file to tifffile, whose objects refer to each other and so outlive their use."""
    lent = _Lent(file)
    try:
        yield cast("BinaryIO", lent)
    finally:
        vars(lent).clear()


# ── which pages, in which shape ──────────────────────────────────────────────────────────


def find_series(header: Header, file: BinaryIO, number: int) -> tifffile.TiffPageSeries:
    tif = _opened(header, file)
    if number not in range(len(tif.series)):
        raise InvalidOptionError("series", number, f"0 to {len(tif.series) - 1}")
    series = tif.series[number]
    if series.kind in ("generic", "uniform") and any(
        _promises_other(description, series.shape) for description in header.descriptions
    ):
        raise damaged(
            "its pages do not make up what its description promises; some may be in other files"
        )
    if series.kind == "shaped":
        metadata = tif.shaped_metadata
        if metadata is None or tuple(metadata[number]["shape"]) != series.shape:
            raise damaged(f"its description does not fit its pages, of shape {series.shape}")
    planes = math.prod(series.shape) // max(1, math.prod(series.keyframe.shape))
    if series.kind == "imagej" and len(header.pages) not in (1, planes):
        raise damaged(f"ImageJ wrote {planes} planes, and there are {len(header.pages)} pages")
    _check_codec(series.keyframe)
    return series


def _promises_other(description: bytes, shape: tuple[int, ...]) -> bool:
    """Whether a description says that the pages make up something else."""
    if is_ome(description):
        return b"BinaryOnly" not in description  # that one only names the file that says it
    if description.startswith(b'{"shape":'):
        promised = json.loads(description)["shape"]
        return [n for n in promised if n != 1] != [n for n in shape if n != 1]
    return description.startswith((b"shape=", b"ImageJ=", b"SCIFIO="))


def _opened(header: Header, file: BinaryIO) -> tifffile.TiffFile:
    name = "image"
    for description in header.descriptions[:1]:
        if is_ome(description):
            text = description.decode(errors="replace")
            _check_ome(header, text)
            # OME-XML without a UUID of its own knows its planes by the name of their file.
            files = set(_OME_FILE.findall(text))
            name = files.pop() if len(files) == 1 else name
    file.seek(0)
    return tifffile.TiffFile(file, name=name, _multifile=False)


def _check_ome(header: Header, text: str) -> None:
    """Refuse what tifffile would fill up with zeros, or make endless lists for."""
    planes = len(header.pages) * header.number(header.pages[0], SAMPLES, 1)
    sizes = [math.prod(map(int, _OME_SIZE.findall(p))) for p in OME_PIXELS.findall(text)]
    counts = [int(count) for count in _OME_COUNT.findall(text)]
    promised = max([*sizes, *counts, *map(int, _OME_INDEX.findall(text))], default=0)
    if not text.rstrip().endswith("OME>") or (counts and max(counts) > max(sizes, default=0)):
        raise damaged("its OME-XML is incomplete, or contradicts itself")
    if promised > planes:
        raise damaged(
            f"its OME-XML speaks of {promised} planes where it has {planes}; the others may be "
            "in other files, which cannot be read through this one"
        )


def _check_codec(page: tifffile.TiffPage) -> None:
    try:
        tifffile.COMPRESSION(page.compression)
    except ValueError:
        raise damaged(
            f"its pixels are compressed as {page.compression!r}, which is unknown"
        ) from None
    try:
        tifffile.TIFF.DECOMPRESSORS[page.compression]
    except KeyError:
        raise UnsupportedDataError(
            f"its pixels are compressed as {page.compression!s}, which nothing here decodes",
            "tiff",
        ) from None
