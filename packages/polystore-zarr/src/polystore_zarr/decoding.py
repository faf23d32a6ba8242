"""Decompression that never gives more bytes than a chunk can have.

A chunk of a few kilobytes can claim gigabytes. Blosc, LZ4 and Zstandard have the size in a
header, which is checked before memory is allocated. Other data is decompressed only up to the
allowed size.

Formats: the header of a Blosc 1 chunk, and the frames of Zstandard (RFC 8878).
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

import numcodecs

from polystore_core.errors import UnsupportedFileError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polystore_core import Value

__all__ = [
    "COMPRESSORS",
    "Sizes",
    "TooLargeError",
    "decode",
    "decode_text",
    "most_encoded",
    "most_text",
    "sizes_in_head",
]

COMPRESSORS = frozenset(("blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd"))
"""The names of the compressors in numcodecs."""

_MOST_TEXT = 1 << 30
"""A chunk of text may have this many bytes. Its size does not follow from a shape."""
_MOST_RATIO = 100
"""Or a chunk of text may have this many times its compressed size."""

_ZSTD_MAGIC = 0xFD2FB528
_ZSTD_BLOCK = 128 << 10
SPARE = 16 << 20
"""One chunk may need this many bytes more than its allowed size."""


class TooLargeError(ValueError):
    """A chunk has more bytes than it is allowed to have."""


class Sizes(NamedTuple):
    """The sizes in the head of compressed data."""

    declared: int | None
    """The size of the data, if the head has it."""
    bound: float
    """The most bytes that it can decompress to. A declared size may be a lie."""


def most_encoded(nbytes: int, codecs: int = 1) -> int:
    """Return the most bytes of a chunk of ``nbytes`` after a number of ``codecs``.

    Data that cannot be compressed grows a little: with bzip2 by 1 % and 600 bytes.
    """
    for _ in range(codecs):
        nbytes += nbytes // 64 + 1024
    return nbytes


def most_text(data: Value) -> int:
    """Return the most bytes that a compressed chunk of text may decompress to."""
    return max(_MOST_TEXT, _MOST_RATIO * memoryview(data).nbytes)


def decode_text(name: str, config: Mapping[str, Value], data: Value) -> Value:
    """Decompress one chunk of text. Raises ``UnsupportedFileError`` if it is too large."""
    try:
        return decode(name, config, data, most_text(data))
    except TooLargeError as error:  # the file may be whole: texts can have any length
        raise UnsupportedFileError(str(error), "zarr") from error


def decode(name: str, config: Mapping[str, Value], data: Value, most: int) -> Value:
    """Decompress one chunk with the codec ``name`` of numcodecs.

    Raises:
        TooLargeError: The chunk has more than ``most`` bytes. No memory was allocated for them.
        ValueError: The data is damaged.
    """
    data = memoryview(data).cast("B")
    if name in ("blosc", "lz4", "zstd"):
        sizes = sizes_in_head(name, data)
        size = sizes.declared
        if size is None and sizes.bound <= 2 * most + SPARE:
            size = 0  # all that it can decompress to is only a little more than allowed
        if size is None or size > most:
            raise _too_large(most)
        # The name is enough, because these three have all else in their heads.
        decoded = numcodecs.get_codec({"id": name}).decode(data)
        # The declared size may be a lie, so the result is measured, too.
        if memoryview(decoded).nbytes > most:
            raise _too_large(most)
        return decoded
    if name == "zlib":
        stream = zlib.decompressobj()
        # One byte more than allowed tells a chunk that is too large from one that fits.
        decoded = stream.decompress(data, most + 1)
        complete = stream.eof or len(decoded) > most
    else:
        with _open(name, config, data) as file:
            decoded = file.read(most + 1)
        complete = True
    if len(decoded) > most:
        raise _too_large(most)
    if not complete:
        raise ValueError("the compressed data ends early")
    return decoded


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(
        f"the chunk decompresses to more than {most} bytes, the most that it can have"
    )


def _open(name: str, config: Mapping[str, Value], data: memoryview) -> Value:
    file = io.BytesIO(data)
    if name == "gzip":
        return gzip.GzipFile(fileobj=file)
    if name == "bz2":
        return bz2.BZ2File(file)
    return lzma.LZMAFile(
        file, format=config.get("format", lzma.FORMAT_XZ), filters=config.get("filters")
    )


def sizes_in_head(name: str, data: memoryview) -> Sizes:
    """Return the sizes of Blosc, LZ4 or Zstandard data, without decompressing it."""
    if name == "zstd":
        return _zstd_sizes(data)
    # A Blosc chunk has a head of 16 bytes with the size at byte 4. LZ4 of numcodecs starts
    # with the size.
    if len(data) < (16 if name == "blosc" else 4):
        raise ValueError("the compressed data ends early")
    (size,) = struct.unpack_from("<I", data, 4 if name == "blosc" else 0)
    return Sizes(size, size)


def _zstd_sizes(data: memoryview) -> Sizes:
    """Go through the frames and blocks of Zstandard data, and add up their sizes."""
    declared: int | None = 0
    bound, at = 0, 0
    try:
        while at < len(data):
            (magic,) = struct.unpack_from("<I", data, at)
            if magic & 0xFFFFFFF0 == 0x184D2A50:  # a frame to skip
                at += 8 + struct.unpack_from("<I", data, at + 4)[0]
                continue
            if magic != _ZSTD_MAGIC:
                raise ValueError("the compressed data is not Zstandard")
            size, at, has_checksum = _zstd_header(data, at + 4)
            declared = None if size is None or declared is None else declared + size
            is_last = False
            while not is_last:
                head = data[at] | data[at + 1] << 8 | data[at + 2] << 16
                is_last, kind, length = bool(head & 1), head >> 1 & 3, head >> 3
                # A compressed block (2) can have 128 KiB. Others have their size in the head: a
                # run of one byte (1), and bytes as they are (0).
                bound += _ZSTD_BLOCK if kind == 2 else length
                at += 3 + (1 if kind == 1 else length)
            at += 4 * has_checksum
    except (IndexError, struct.error):
        raise ValueError("the compressed data ends early") from None
    if at > len(data):
        raise ValueError("the compressed data ends early")
    return Sizes(declared, bound)


def _zstd_header(data: memoryview, at: int) -> tuple[int | None, int, bool]:
    """Return the size of a frame's content, the start of its blocks, and if it has a checksum."""
    descriptor = data[at]
    single = descriptor >> 5 & 1
    # RFC 8878, 3.1.1.1: the window is left out in a single segment. The dictionary comes next.
    at += 1 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    length = (single, 2, 4, 8)[descriptor >> 6]
    if not length:
        return None, at, bool(descriptor & 4)
    # The same section: a size in 2 bytes starts at 256, because 1 byte holds the smaller ones.
    size = int.from_bytes(data[at : at + length], "little") + (256 if length == 2 else 0)
    return size, at + length, bool(descriptor & 4)
