"""Read a TIFF file: its pixels, their metadata, and a lazy handle on both."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from polystore_core import LazyArray, Opener, select

from ..limits import allocating, check_packing, file_size
from .header import Header, is_ome, read_header, read_start
from .pixels import Flat, Grid
from .plain import Plain, read_plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from polystore_core import ImageMetadata, Memory, Region, Value

    from .pixels import Pixels
    from .set_pixels import SetPixels
    from .sets import TiffSet

__all__ = ["TiffArray", "find_image", "find_pixels", "read_part"]


def find_pixels(
    file: BinaryIO, opener: Opener | None = None, series: int | None = None, level: int = 0
) -> Pixels | SetPixels:
    """Return the pixels of a level of a series. No pixel has been read yet.

    Args:
        file: an open binary file.
        opener: opens the other files of an OME-TIFF set. Without it, the file is read alone.
        series: the number of the series. ``None`` is that of the file, or 0.
        level: the level of a pyramid.
    """
    found = read_plain(file)
    if isinstance(found, Plain) and series in (None, 0) and level == 0:
        return found.pixels  # a plain file has one series with one level
    header = _header(found, file)
    if opener is not None and (whole := _find_set(header, opener)) is not None:
        from .set_pixels import set_pixels

        return set_pixels(whole, series, level)
    from . import layout  # imports tifffile, which is slow, and most files do not need it

    return layout.series_pixels(header, 0 if series is None else series, level)


def find_image(
    file: BinaryIO, opener: Opener | None = None, series: int | None = None, level: int = 0
) -> tuple[Pixels | SetPixels, ImageMetadata]:
    """Return the same pixels as :func:`find_pixels`, and their metadata."""
    found = read_plain(file, words=True)
    is_first = series in (None, 0) and level == 0
    if isinstance(found, Plain) and found.image is not None and is_first:
        return found.pixels, found.image
    header = _header(found, file)
    if opener is not None and (whole := _find_set(header, opener)) is not None:
        from .set_pixels import set_pixels

        pixels = set_pixels(whole, series, level)
        return pixels, pixels.words()
    from . import layout

    return layout.series_image(header, 0 if series is None else series, level)


def _find_set(header: Header, opener: Opener) -> TiffSet | None:
    if not header.descriptions or not is_ome(header.descriptions[0]):
        return None
    from .sets import find_set  # imports the XML parser, and most files have no XML

    return find_set(header, opener)


def _header(found: Plain | Header, file: BinaryIO) -> Header:
    return read_header(file, *read_start(file)) if isinstance(found, Plain) else found


def read_part(
    pixels: Pixels | SetPixels,
    file: BinaryIO,
    region: Region | None,
    max_bytes: int | None,
    memory: Memory | None = None,
) -> NDArray[Any]:
    """Read a region, or all pixels.

    Raises:
        UnsupportedDataError: The pixels are larger than the memory, or may be made to fill it.
    """
    wanted: Region = ... if region is None else region
    if not isinstance(pixels, Flat | Grid):
        try:
            return pixels.load(wanted, memory, max_bytes)
        finally:
            pixels.close()
    is_whole = pixels.chunks == pixels.shape  # any region decodes all of it
    shape = pixels.shape if is_whole else select(wanted, pixels.shape).shape
    nbytes = math.prod(shape) * pixels.dtype.itemsize
    check_packing([(nbytes, file_size(file))], "tiff", max_bytes)
    with allocating(nbytes, "tiff", "read a part of it, with region= or open()"):
        return pixels.read(wanted, memory)


class _Opened(NamedTuple):
    """An open file, and the process that opened it."""

    process: int
    file: BinaryIO
    pixels: Pixels | SetPixels

    def close(self) -> None:
        """Close the file, and the other files of its set."""
        if not isinstance(self.pixels, Flat | Grid):
            self.pixels.close()
        self.file.close()


class TiffArray(LazyArray):
    """An image that is read in parts: rows and pages, or whole strips and tiles if compressed.

    It keeps the version of the file that was opened, also after a later save. The other files of
    an OME-TIFF set are opened when a region first needs them.
    """

    def __init__(
        self,
        opener: Opener,
        series: int | None = None,
        level: int = 0,
        multifile: bool = True,
    ) -> None:
        self._opener, self._multifile = opener, multifile
        self._series, self._level = series, level
        self._words: ImageMetadata | None = None
        self._opened: _Opened | None = self._open()
        pixels = self._opened.pixels
        self.shape, self.dtype, self.chunks = pixels.shape, pixels.dtype, pixels.chunks

    def _open(self) -> _Opened:
        file = self._opener()
        try:
            siblings = self._opener if self._multifile else None
            pixels = find_pixels(file, siblings, self._series, self._level)
            return _Opened(os.getpid(), file, pixels)
        except BaseException:  # also Ctrl-C: the file must not stay open
            file.close()
            raise

    def __getitem__(self, region: Region) -> NDArray[Any]:
        return self._usable().pixels.read(region)

    @property
    def image(self) -> ImageMetadata:
        if self._words is None:
            opened = self._usable()
            if not isinstance(opened.pixels, Flat | Grid):
                self._words = opened.pixels.words()
                return self._words
            with opened.pixels.lock:  # reading pixels moves the same position in the file
                self._words = find_image(opened.file, None, self._series, self._level)[1]
        return self._words

    def _usable(self) -> _Opened:
        opened = self._opened
        if opened is None:
            raise ValueError("this handle is closed")
        if opened.process != os.getpid():
            # A forked child shares the position in the file with its parent. It also has copies
            # of locks that a thread of the parent may hold for ever.
            opened = self._opened = self._open()
        return opened

    def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def __reduce__(self) -> tuple[Value, ...]:
        return TiffArray, (self._opener, self._series, self._level, self._multifile)
