"""The chunks of a PNG file (W3C, third edition), checked before libpng sees them.

libpng gets only the chunks that make up the picture. The checksums of the others are checked
piece by piece, and then they are dropped.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeAlias

import numpy as np

from polystore_core.errors import DamagedDataError, UnsupportedFileError

from .decoding import wrong_start
from .limits import allocating, check_packing, file_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polystore_core import Value

__all__ = [
    "ADVICE",
    "PICTURE_BYTES_LIMIT",
    "PNG_SIDE_LIMIT",
    "PngHeader",
    "read_png",
    "read_png_header",
]

PICTURE_BYTES_LIMIT = 1 << 31
"""The most bytes of a picture in memory, written or read."""

ADVICE = "load it on a machine with more memory"

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_SIDE_LIMIT = 1_000_000  # libpng's
_DEFLATE_RATIO = 1032  # no deflate stream expands further
_IDAT_SLACK = 1 << 20
"""Bytes beyond twice the pixels, for encoders that do not pack at all."""
_SMALL_CHUNK = 1 << 10
_PIECE = 1 << 20
_PICTURE_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PALETTE = 3
_SAMPLES = {0: 1, 2: 3, _PALETTE: 1, 4: 2, 6: 4}  # by colour type
_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), _PALETTE: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_ADAM7 = (  # first row, first column, row step, column step
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)


class PngHeader(NamedTuple):
    """The IHDR chunk, and whether a tRNS chunk makes pixels transparent."""

    width: int
    height: int
    bits: int
    colour: int
    interlaced: bool
    transparent: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the decoded picture. A palette is 3 channels, transparency is one more."""
        channels = 3 if self.colour == _PALETTE else _SAMPLES[self.colour]
        channels += self.transparent
        size = (self.height, self.width)
        return size if channels == 1 else (*size, channels)

    @property
    def dtype(self) -> np.dtype[Value]:
        """The dtype of the decoded picture: 1 to 4 bits become uint8."""
        return np.dtype(np.uint16 if self.bits == 16 else np.uint8)

    @property
    def nbytes(self) -> int:
        """The bytes of the decoded picture."""
        return math.prod(self.shape) * self.dtype.itemsize

    def passes(self) -> Iterator[tuple[int, int]]:
        """Yield the rows, and the bytes of a row with its filter byte, of each pass."""
        for row, column, down, across in _ADAM7 if self.interlaced else ((0, 0, 1, 1),):
            rows = -(-max(self.height - row, 0) // down)
            columns = -(-max(self.width - column, 0) // across)
            if rows and columns:
                yield rows, 1 + -(-columns * self.bits * _SAMPLES[self.colour] // 8)


def read_png_header(file: BinaryIO) -> PngHeader:
    """Read and check the chunks before the pixels."""
    return _png_header(_small_chunks(file, _picture_spans(file, header_only=True)))


def read_png(file: BinaryIO, max_bytes: int | None) -> tuple[PngHeader, bytes]:
    """Return the header, and the bytes of a PNG without ancillary chunks.

    All that libpng checks has been checked, so that it does not raise (see ``image``).

    Raises:
        DamagedDataError: A checksum, a chunk or the number of pixels is wrong.
        UnsupportedDataError: The picture is packed very tightly. See ``max_bytes``.
    """
    spans = _picture_spans(file)
    runs = spans.pop(b"IDAT", [])
    chunks = _small_chunks(file, spans)
    header = _png_header(chunks)
    packed = sum(length for _, length in runs)
    expected = sum(rows * length for rows, length in header.passes())
    # Before memory is taken: the header and the packed bytes must be able to belong together.
    if not packed <= 2 * expected + _IDAT_SLACK or expected > _DEFLATE_RATIO * packed:
        raise DamagedDataError(
            f"its header has shape {header.shape}, but its pixels have {packed} packed bytes",
            "png",
        )
    check_packing([(header.nbytes, packed)], "png", max_bytes)
    with allocating(packed, "png", ADVICE):
        chunks[b"IDAT"] = b"".join(_payload(file, b"IDAT", *span) for span in runs)
    _check_rows(chunks[b"IDAT"], header, expected)
    return header, _SIGNATURE + b"".join(
        len(chunks[kind]).to_bytes(4, "big") + kind + chunks[kind] + _crc(kind, chunks[kind])
        for kind in _PICTURE_CHUNKS
        if kind in chunks
    )


def _check_rows(data: bytes, header: PngHeader, expected: int) -> None:
    """Unpack the pixels piece by piece, without keeping them. Check their number and filters."""
    done = 0
    for piece in _inflate(data, expected):
        pixels = np.frombuffer(piece, np.uint8)
        start = 0
        for rows, length in header.passes():
            end = start + rows * length
            # The first row that starts in this piece. Its first byte is the filter of the row.
            first = start + -(-max(done - start, 0) // length) * length
            filters = pixels[first - done : max(end - done, 0) : length]
            if filters.size and filters.max() > 4:
                raise DamagedDataError("a row has an unknown filter", "png")
            start = end
        done += len(piece)
        # At the first byte too many, because the rest may unpack to any length.
        if done > expected:
            break
    if done != expected:
        raise _wrong_number(expected)


def _inflate(data: bytes, expected: int) -> Iterator[bytes]:
    inflate = zlib.decompressobj()
    try:
        for start in range(0, len(data), _PIECE):
            packed = data[start : start + _PIECE]
            while packed and not inflate.eof:
                yield inflate.decompress(packed, _PIECE)  # at most this much memory at a time
                packed = inflate.unconsumed_tail
        yield inflate.flush()
    except zlib.error as error:
        raise DamagedDataError(f"its pixels cannot be unpacked: {error}", "png") from error
    if not inflate.eof:
        raise _wrong_number(expected)


def _wrong_number(expected: int) -> DamagedDataError:
    return DamagedDataError(f"its pixels do not have the expected {expected} bytes", "png")


_Spans: TypeAlias = "dict[bytes, list[tuple[int, int]]]"
"""Offset and length of the payloads of each kind of chunk."""


def _picture_spans(file: BinaryIO, *, header_only: bool = False) -> _Spans:
    """Return the positions of the chunks that make up the picture, and check the others."""
    found: _Spans = {}
    last = b""
    for kind, offset, length in _png_chunks(file, header_only):
        if kind in _PICTURE_CHUNKS:
            if not found and kind != b"IHDR":
                raise DamagedDataError("it does not start with an IHDR chunk", "png")
            # Only IDAT may be there several times, and only in a row.
            if kind in found and not kind == last == b"IDAT":
                raise DamagedDataError(f"chunk {kind!r} is in it twice", "png")
            found.setdefault(kind, []).append((offset, length))
        else:
            _check_crc(file, kind, length)
            if not kind[0] & 0x20:  # PNG 5.4: a capital first letter means "must be understood"
                raise DamagedDataError(f"chunk {kind!r} is critical, but unknown", "png")
        last = kind
    return found


def _small_chunks(file: BinaryIO, spans: _Spans) -> dict[bytes, bytes]:
    for kind, [(_, length)] in spans.items():
        if length > _SMALL_CHUNK:
            raise DamagedDataError(
                f"chunk {kind!r} has {length} bytes, expected at most {_SMALL_CHUNK}", "png"
            )
    return {kind: _payload(file, kind, *span) for kind, [span] in spans.items()}


def _png_chunks(file: BinaryIO, header_only: bool) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, offset and length of each chunk, with the file at its payload."""
    size = file_size(file)
    signature = file.read(8)
    if signature != _SIGNATURE:
        raise wrong_start(signature, "a PNG file", "png")
    start, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        file.seek(start)
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if len(head) < 8 or length > size - start - 12:
            raise DamagedDataError(f"it ends at byte {size}, before or within a chunk", "png")
        if header_only and kind == b"IDAT":
            return
        yield kind, start + 8, length
        start += length + 12


def _payload(file: BinaryIO, kind: bytes, offset: int, length: int) -> bytes:
    file.seek(offset)
    payload = file.read(length)
    if file.read(4) != _crc(kind, payload):
        raise _wrong_checksum(kind)
    return payload


def _check_crc(file: BinaryIO, kind: bytes, length: int) -> None:
    """Check a chunk that is not kept, piece by piece."""
    found = zlib.crc32(kind)
    while length:
        piece = file.read(min(length, _PIECE))
        found = zlib.crc32(piece, found)
        length -= len(piece)
    if file.read(4) != found.to_bytes(4, "big"):
        raise _wrong_checksum(kind)


def _wrong_checksum(kind: bytes) -> DamagedDataError:
    return DamagedDataError(f"the checksum of chunk {kind!r} is wrong", "png")


def _crc(kind: bytes, payload: bytes) -> bytes:
    return zlib.crc32(payload, zlib.crc32(kind)).to_bytes(4, "big")


def _png_header(chunks: dict[bytes, bytes]) -> PngHeader:
    """Check the header, palette and transparency. Drop those that the colour type does not use."""
    if next(iter(chunks), b"") != b"IHDR" or len(chunks[b"IHDR"]) != 13:
        raise DamagedDataError("it does not start with an IHDR chunk", "png")
    width, height, bits, colour, *methods = struct.unpack(">II5B", chunks[b"IHDR"])
    if bits not in _BITS.get(colour, ()) or methods not in ([0, 0, 0], [0, 0, 1]):
        raise DamagedDataError(f"its header is not valid: {chunks[b'IHDR']!r}", "png")
    if colour != _PALETTE:
        chunks.pop(b"PLTE", None)
    elif len(chunks.get(b"PLTE", b"")) not in range(3, (3 << bits) + 1, 3):
        raise DamagedDataError("its palette is missing or has a wrong length", "png")
    if colour in (4, 6):
        chunks.pop(b"tRNS", None)  # these types have alpha, and libpng warns about both
    lengths = {0: (2,), 2: (6,), _PALETTE: range(1, len(chunks.get(b"PLTE", b"")) // 3 + 1)}
    transparent = b"tRNS" in chunks
    if transparent and len(chunks[b"tRNS"]) not in lengths[colour]:
        raise DamagedDataError("its transparency has a wrong length", "png")
    header = PngHeader(width, height, bits, colour, methods[2] == 1, transparent)
    if not header.nbytes:
        raise DamagedDataError(f"its header has {width} by {height} pixels", "png")
    if header.nbytes > PICTURE_BYTES_LIMIT or max(width, height) > PNG_SIDE_LIMIT:
        raise UnsupportedFileError(
            f"it has {width} by {height} pixels, {header.nbytes} bytes, but polystore reads at "
            f"most {PICTURE_BYTES_LIMIT} bytes, and {PNG_SIDE_LIMIT} pixels a side",
            "png",
        )
    return header
