"""The pages of a TIFF file and their tags, read strictly and without any library.

Reads TIFF 6.0 (Adobe, 1992), and BigTIFF of libtiff. A page is an image file directory (IFD). The
pages are a chain, and each may have more pages (SubIFDs) with smaller copies. All that a directory
points at must be inside the file. A less strict reader takes a file that was cut for a smaller
image, or fills it with zeros.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from operator import add
from typing import BinaryIO, NamedTuple, TypeAlias

from polystore_core import DIMENSIONS_LIMIT
from polystore_core.errors import DamagedDataError, UnsupportedFileError

from ..decoding import wrong_start

__all__ = [
    "Header",
    "Page",
    "Tag",
    "damage_error",
    "is_ome",
    "read_header",
    "read_start",
    "support_error",
]

# Bytes of a value of each type, by its code: TIFF 6.0, section 2, and 16 to 18 of BigTIFF.
_TYPE_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ASCII, _RATIONAL = 2, 5
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_PRIVATE = 32768
"""Codes from here on belong to vendors, who may use their own types."""
_TAGS_LIMIT = 4096
_OME_START = 1024
_FIRST_WINDOW, _WINDOW = 4096, 1024

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
DESCRIPTION, STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS = 270, 273, 277, 278, 279
PLANAR, SOFTWARE, PREDICTOR, TILE_OFFSETS, TILE_COUNTS, SUB_PAGES = 284, 305, 317, 324, 325, 330
TILE_WIDTH, TILE_LENGTH = 322, 323
SAMPLE_FORMAT, UIC1, UIC2, LSM = 339, 33628, 33629, 34412
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296


class Tag(NamedTuple):
    """The type of a tag, and the position of its value."""

    type: int
    length: int
    inline: bytes
    """The value itself, if it fits."""
    offset: int
    """Its offset in the file, or 0."""


Page: TypeAlias = "dict[int, Tag]"


class _Dialect(NamedTuple):
    """The numbers of classic TIFF or BigTIFF, as formats of ``struct``."""

    tags: str
    entry: str
    offset: str
    first: int
    """The position of the offset of the first directory."""


_LONG = 2 * DIMENSIONS_LIMIT
"""The bytes of a description that can hold a shape of too many dimensions."""

_CLASSIC = _Dialect("H", "HHI4s", "I", 4)
_BIG = _Dialect("Q", "HHQ8s", "Q", 8)


class _Template(NamedTuple):
    """The last directory. The pages of a stack usually differ only in the offset of the pixels.

    Comparing bytes is many times faster than parsing each directory of a long stack.
    """

    before: bytes
    """Its bytes up to the offset of its only strip."""
    after: bytes
    page: Page


@dataclass(slots=True)
class Header:
    """The chain of pages of one open file."""

    file: BinaryIO
    size: int
    """Of the file, in bytes."""
    order: str
    """Byte order of the directories and the pixels: "<" or ">"."""
    dialect: _Dialect
    window: bytes
    """The bytes that were read last. The values of a directory are usually close to it."""
    window_start: int = 0
    pages: list[Page] = field(default_factory=list)
    descriptions: list[bytes] = field(default_factory=list)
    """The descriptions of the first page. tifffile adds its own after the user's."""
    long_descriptions: set[Tag] = field(default_factory=set)
    """The long descriptions of all pages. They have not been read."""
    read: int = 0
    """Bytes that were read. Without a limit, overlapping directories could take for ever."""
    reach: int = 0
    """The end of the bytes that were read."""
    end: int = 0
    """The end of everything that the directories point at."""
    template: _Template | None = None

    def numbers(self, page: Page, code: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Return the integers of a tag, or ``default`` if the page does not have the tag."""
        tag = page.get(code)
        if tag is None:
            return default
        letter = _INTEGERS.get(tag.type)
        if letter is None or not tag.length:
            raise damage_error(f"tag {code} does not hold integers")
        values = f"{self.order}{tag.length}{letter}"
        if tag.offset:
            return struct.unpack(values, self._read(tag.offset, struct.calcsize(values)))
        return struct.unpack_from(values, tag.inline)

    def number(self, page: Page, code: int, default: int = 0) -> int:
        """Return the first integer of a tag."""
        return self.numbers(page, code)[0] if code in page else default

    def ratio(self, page: Page, code: int) -> float | None:
        """Return a fraction, or ``None`` if the tag is missing or has a 0 in it."""
        tag = page.get(code)
        if tag is None or (tag.type, tag.length) != (_RATIONAL, 1):
            return None
        value = self._read(tag.offset, 8) if tag.offset else tag.inline[:8]
        numerator, denominator = struct.unpack(f"{self.order}2I", value)
        return numerator / denominator if numerator and denominator else None

    def text(self, tag: Tag) -> bytes:
        """Return the bytes of a tag."""
        if tag.offset:
            return self._read(tag.offset, tag.length * _TYPE_SIZES[tag.type])
        return tag.inline[: tag.length]

    def _read(self, offset: int, count: int) -> bytes:
        start, end = offset - self.window_start, offset + count
        if end > self.reach:
            self.reach = end
        if start >= 0 and start + count <= len(self.window):
            return self.window[start : start + count]
        self.read += count
        # Twice the size leaves room for values that are read more than once.
        if end > self.size or self.read > 2 * self.size:
            raise damage_error(
                f"{count} bytes at offset {offset} are outside the file, or overlap others"
            )
        self.file.seek(offset)
        data = self.file.read(max(count, _WINDOW))
        if len(data) < count:
            raise damage_error(f"it ended while {count} bytes at offset {offset} were read")
        self.window, self.window_start = data, offset
        return data[:count]

    def _walk(self) -> None:
        """Read and check the chain of pages, and their SubIFDs."""
        first = self.dialect.first
        form = self.order + self.dialect.offset
        (offset,) = struct.unpack(form, self._read(first, struct.calcsize(form)))
        seen: set[int] = set()
        subpages: list[int] = []
        while offset:
            if offset in seen:  # a loop would never end
                raise damage_error(
                    f"its pages form a loop: the page at offset {offset} is in it twice"
                )
            seen.add(offset)
            page, offset = self._directory(offset)
            self.pages.append(page)
            subpages += self.numbers(page, SUB_PAGES)
        while subpages:
            offset = subpages.pop()
            if offset and offset not in seen:  # SubIFDs are in a list, and may also be a chain
                seen.add(offset)
                page, following = self._directory(offset)
                subpages += (following, *self.numbers(page, SUB_PAGES))
        if not self.pages:
            raise damage_error("it has no pages")

    def _directory(self, offset: int) -> tuple[Page, int]:
        """Read one directory. Return it, and the offset of the next one."""
        order, (count_format, entry_format, offset_format, _) = self.order, self.dialect
        width = struct.calcsize(count_format)
        (count,) = struct.unpack(order + count_format, self._read(offset, width))
        if not 0 < count <= _TAGS_LIMIT:
            raise damage_error(
                f"the page at offset {offset} has {count} tags, expected 1 to {_TAGS_LIMIT}"
            )
        entry = struct.Struct(order + entry_format)
        inline_size = struct.calcsize(offset_format)
        data = self._read(offset + width, count * entry.size + inline_size)
        self.end = max(self.end, offset + width + len(data))
        (following,) = struct.unpack(order + offset_format, data[-inline_size:])
        entries = data[:-inline_size]
        page = self._page_like_last(entries, inline_size)
        if page is None:
            page = {}
            for place, fields in enumerate(entry.iter_unpack(entries), 1):
                self._add_tag(page, *fields)
                if fields[0] == STRIP_OFFSETS:
                    hole = place * entry.size
                    self.template = _Template(
                        entries[: hole - inline_size], entries[hole:], page
                    )
        self._check_pixels(page)
        return page, following

    def _page_like_last(self, entries: bytes, inline_size: int) -> Page | None:
        if self.template is None or not self.pages:
            return None
        before, after, page = self.template
        hole = slice(len(before), len(before) + inline_size)
        tag = page[STRIP_OFFSETS]
        # An offset of the tag means that its value, a list of strips, is elsewhere in the file.
        if tag.offset or entries[: hole.start] != before or entries[hole.stop :] != after:
            return None
        return page | {STRIP_OFFSETS: tag._replace(inline=entries[hole])}

    def _add_tag(self, page: Page, code: int, kind: int, values: int, inline: bytes) -> None:
        size = _TYPE_SIZES.get(kind)
        if size is None:
            if code < _PRIVATE:
                raise damage_error(f"tag {code} has the unknown type {kind}")
            return
        where = 0
        if values * size > len(inline):
            (where,) = struct.unpack(self.order + self.dialect.offset, inline)
            if where < 8 or where + values * size > self.size:
                raise damage_error(
                    f"the value of tag {code}, at offset {where}, is outside the file"
                )
            self.end = max(self.end, where + values * size)
        tag = Tag(kind, values, inline, where)
        page.setdefault(code, tag)  # of a tag that is there twice, tifffile takes the first too
        if code == DESCRIPTION and kind == _ASCII:
            if values > _LONG:
                self.long_descriptions.add(tag)
            if not self.pages:
                self.descriptions.append(self.text(tag).rstrip(b"\0").strip())

    def _check_pixels(self, page: Page) -> None:
        if LSM in page:  # offsets in LSM files wrap around at 4 GiB, which tifffile corrects
            return
        tiled = TILE_OFFSETS in page
        offsets = self.numbers(page, TILE_OFFSETS if tiled else STRIP_OFFSETS)
        counts = self.numbers(page, TILE_COUNTS if tiled else STRIP_COUNTS)
        if offsets:
            self.end = max(self.end, max(map(add, offsets, counts), default=max(offsets)))
        if self.end > self.size:
            raise damage_error(
                f"its pixels end at byte {self.end}, but it has {self.size} bytes: it was cut short"
            )


def is_ome(description: bytes) -> bool:
    """Return whether a description is OME-XML, complete or not."""
    return b"<OME" in description[:_OME_START]


def damage_error(reason: str) -> DamagedDataError:
    """Return the error for a file that was cut or changed."""
    return DamagedDataError(reason, "tiff")


def support_error(reason: str) -> UnsupportedFileError:
    """Return the error for a whole file that polystore does not read."""
    return UnsupportedFileError(reason, "tiff")


def read_start(file: BinaryIO) -> tuple[int, bytes]:
    """Return the size of a file, and its first bytes."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size, file.read(_FIRST_WINDOW)


def read_header(file: BinaryIO, size: int, start: bytes) -> Header:
    """Read and check all pages of a file.

    Args:
        file: an open binary file.
        size: its number of bytes, from ``read_start``.
        start: its first bytes, from ``read_start``.

    Raises:
        DamagedDataError: The file is not a TIFF file, or was cut or changed.
        UnsupportedFileError: It is another kind of file.
    """
    order = {b"II": "<", b"MM": ">"}.get(start[:2], "")
    version = start[2:4] if order == "<" else start[3:1:-1]
    if version == b"*\0" and size > _CLASSIC.first + 4:
        dialect = _CLASSIC
    elif version == b"+\0" and start[4:8] == struct.pack(order + "HH", 8, 0):
        dialect = _BIG
    else:
        if start.startswith(_STARTS):
            raise damage_error(f"it ends at byte {size}, within its header")
        raise wrong_start(start[:8], "a TIFF file", "tiff")
    header = Header(file, size, order, dialect, start)
    header._walk()
    return header
