"""``.png`` (lossless) and ``.jpg`` (lossy), through libpng and libjpeg-turbo of imagecodecs.

Both are for one picture to be looked at; stacks, many channels and floats belong into TIFF.
Files are checked here before the C libraries see them: libjpeg fills what is missing with
grey, and every error of libpng inside imagecodecs (2026.3.6) takes one reference from
``None``, which ends a Python 3.11 process after some thousand.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import struct
import zlib
from operator import itemgetter
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, NamedTuple

import imagecodecs
import numpy as np

from polystore import Format, to_numpy
from polystore.errors import DamagedDataError, InvalidOptionError, UnsupportedDataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["PICTURE_BYTES_LIMIT", "Jpeg", "Png"]

PICTURE_BYTES_LIMIT = 1 << 31
"""Pictures that would be larger in memory are neither written nor read."""


class Png(Format):
    """uint8 or uint16, of shape (height, width) or (height, width, 2 to 4).

    Two channels are grey and alpha, three RGB, four RGBA. Palettes and 1 to 4 bits per pixel,
    which others write, load as the colours that they show.
    """

    name = "png"
    decode_errors = (ValueError, zlib.error, imagecodecs.PngError)

    def save(self, value: Any, file: BinaryIO, /, *, compression_level: int = 3) -> None:
        if compression_level not in range(10):
            raise InvalidOptionError("compression_level", compression_level, "0 (none) to 9")
        picture = _picture(value, "png", ("uint8", "uint16"), (2, 3, 4), _PNG_SIDE_LIMIT)
        file.write(imagecodecs.png_encode(picture, level=compression_level))

    def load(self, file: BinaryIO, /) -> NDArray[Any]:
        header, data = _checked_png(file)
        try:
            picture: NDArray[Any] = imagecodecs.png_decode(data)
        except self.decode_errors as error:
            raise DamagedDataError(f"libpng: {error}", "png") from error
        if picture.shape != header.shape or picture.dtype != header.dtype:
            raise DamagedDataError(f"it decodes to shape {picture.shape}", "png")
        return picture

    def info(self, file: BinaryIO, /) -> dict[str, Any]:
        header = _png_header(_picture_chunks(file, header_only=True))
        return {"shape": header.shape, "dtype": header.dtype.str}


class Jpeg(Format):
    """uint8 of shape (height, width) or (height, width, 3), compressed with loss.

    What is loaded is close to what was saved, never equal to it: for pictures of results, not
    for data. ``quality`` is libjpeg's, 1 to 100; colour is not subsampled. JPEG has no
    checksum: a missing end is noticed, a changed pixel is not.
    """

    name = "jpeg"
    lossy: ClassVar[bool] = True
    decode_errors = (ValueError, imagecodecs.Jpeg8Error)

    def save(self, value: Any, file: BinaryIO, /, *, quality: int = 95) -> None:
        if quality not in range(1, 101):
            raise InvalidOptionError("quality", quality, "1 to 100")
        picture = _picture(value, "jpeg", ("uint8",), (3,), _JPEG_SIDE_LIMIT)
        file.write(imagecodecs.jpeg8_encode(picture, level=quality, subsampling="444"))

    def load(self, file: BinaryIO, /) -> NDArray[Any]:
        data = file.read()
        shape = _jpeg_shape(data)
        if math.prod(shape) > min(_JPEG_RATIO * len(data), PICTURE_BYTES_LIMIT):
            raise DamagedDataError(f"{len(data)} bytes claim a picture of {shape}", "jpeg")
        try:
            picture: NDArray[Any] = imagecodecs.jpeg8_decode(data)
        except self.decode_errors as error:
            raise DamagedDataError(f"libjpeg: {error}", "jpeg") from error
        if picture.shape != shape or picture.dtype != np.uint8:
            raise DamagedDataError(f"it decodes to shape {picture.shape}", "jpeg")
        return picture

    def info(self, file: BinaryIO, /) -> dict[str, Any]:
        return {"shape": _jpeg_shape(file.read()), "dtype": "|u1"}


def _picture(
    value: Any, format: str, dtypes: tuple[str, ...], channels: tuple[int, ...], side_limit: int
) -> NDArray[Any]:
    """Return ``value`` as the C-contiguous array that the codecs want, or refuse it."""
    array = to_numpy(value)
    if array.dtype.name not in dtypes:
        reason = (
            f"it takes {' or '.join(dtypes)}, not {array.dtype}: convert it, or save as .tif"
        )
    elif not array.dtype.isnative:
        reason = (
            f"the byte order of {array.dtype.str} would be lost: save "
            "array.astype(array.dtype.newbyteorder('='))"
        )
    elif array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in channels):
        reason = (
            f"shape {array.shape} is not (height, width) or (height, width, "
            f"{' or '.join(map(str, channels))}): save stacks as .tif"
        )
    elif not 0 < array.nbytes <= PICTURE_BYTES_LIMIT or max(array.shape) > side_limit:
        reason = (
            f"shape {array.shape}: a picture has 1 to {PICTURE_BYTES_LIMIT} bytes and sides of "
            f"at most {side_limit}; save as .tif"
        )
    else:
        return np.ascontiguousarray(array)
    raise UnsupportedDataError(reason, format)


def _shape(height: int, width: int, channels: int) -> tuple[int, ...]:
    return (height, width) if channels == 1 else (height, width, channels)


# ── PNG (W3C, third edition) ─────────────────────────────────────────────────────────────

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_SIDE_LIMIT = 1_000_000  # libpng's
_DEFLATE_RATIO = 1032  # no deflate stream expands further
_PICTURE_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PALETTE = 3
_SAMPLES = {0: 1, 2: 3, _PALETTE: 1, 4: 2, 6: 4}  # by colour type
_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), _PALETTE: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_ADAM7 = (  # first row, first column, row step, column step
    (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
    (1, 0, 2, 1),
)  # fmt: skip


class _PngHeader(NamedTuple):
    width: int
    height: int
    bits: int
    colour: int
    interlaced: bool
    transparent: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the decoded picture: palettes are looked up, a transparent colour is a channel."""
        channels = 3 if self.colour == _PALETTE else _SAMPLES[self.colour]
        return _shape(self.height, self.width, channels + self.transparent)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint16 if self.bits == 16 else np.uint8)

    def passes(self) -> Iterator[tuple[int, int]]:
        """Yield rows and bytes per row, filter byte included, of each pass over the picture."""
        for row, column, down, across in _ADAM7 if self.interlaced else ((0, 0, 1, 1),):
            rows = -(-max(self.height - row, 0) // down)
            columns = -(-max(self.width - column, 0) // across)
            if rows and columns:
                yield rows, 1 + -(-columns * self.bits * _SAMPLES[self.colour] // 8)


def _checked_png(file: BinaryIO) -> tuple[_PngHeader, bytes]:
    """Return a PNG without its ancillary chunks, in which libpng will find no fault."""
    chunks = _picture_chunks(file)
    header = _png_header(chunks)
    data = chunks.get(b"IDAT", b"")
    expected = sum(rows * length for rows, length in header.passes())
    if expected > _DEFLATE_RATIO * len(data):
        raise DamagedDataError(f"{len(data)} bytes claim a picture of {header.shape}", "png")
    inflate = zlib.decompressobj()
    try:
        pixels = inflate.decompress(data, expected + 1)
    except zlib.error as error:
        raise DamagedDataError(str(error), "png") from error
    if len(pixels) != expected or not inflate.eof:
        raise DamagedDataError(f"its pixels are not exactly {expected} bytes", "png")
    unread = np.frombuffer(pixels, np.uint8)
    for rows, length in header.passes():
        if unread[: rows * length : length].max() > 4:
            raise DamagedDataError("a row has a filter that PNG does not know", "png")
        unread = unread[rows * length :]
    return header, _SIGNATURE + b"".join(
        len(chunks[kind]).to_bytes(4, "big") + kind + chunks[kind] + _crc(kind, chunks[kind])
        for kind in _PICTURE_CHUNKS
        if kind in chunks
    )


def _picture_chunks(file: BinaryIO, *, header_only: bool = False) -> dict[bytes, bytes]:
    """Return the chunks that make up the picture, all IDATs as one."""
    found: dict[bytes, bytes] = {}
    for kind, run in itertools.groupby(_png_chunks(file, header_only), itemgetter(0)):
        payloads = [payload for _, payload in run]
        if kind in _PICTURE_CHUNKS:
            if kind in found or (len(payloads) > 1 and kind != b"IDAT"):
                raise DamagedDataError(f"chunk {kind!r} stands there twice", "png")
            found[kind] = b"".join(payloads)
        elif not kind[0] & 0x20:
            raise DamagedDataError(f"chunk {kind!r} is unknown, and declared critical", "png")
    return found


def _png_chunks(file: BinaryIO, header_only: bool) -> Iterator[tuple[bytes, bytes]]:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(8) != _SIGNATURE:
        raise DamagedDataError("it does not start as a PNG file does", "png")
    kind = b""
    while kind != b"IEND":
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if len(head) < 8 or length > size - file.tell() - 4:
            raise DamagedDataError(f"it ends at byte {size}, before or in a chunk", "png")
        if header_only and kind == b"IDAT":
            return
        payload = file.read(length)
        if file.read(4) != _crc(kind, payload):
            raise DamagedDataError(f"the checksum of chunk {kind!r} is wrong", "png")
        yield kind, payload


def _crc(kind: bytes, payload: bytes) -> bytes:
    return zlib.crc32(payload, zlib.crc32(kind)).to_bytes(4, "big")


def _png_header(chunks: dict[bytes, bytes]) -> _PngHeader:
    """Check header, palette and transparency; drop what the colour type has no use for."""
    if next(iter(chunks), b"") != b"IHDR" or len(chunks[b"IHDR"]) != 13:
        raise DamagedDataError("it does not start with an IHDR chunk", "png")
    width, height, bits, colour, *methods = struct.unpack(">II5B", chunks[b"IHDR"])
    if bits not in _BITS.get(colour, ()) or methods not in ([0, 0, 0], [0, 0, 1]):
        raise DamagedDataError(f"impossible header {chunks[b'IHDR']!r}", "png")
    if colour != _PALETTE:
        chunks.pop(b"PLTE", None)
    elif len(chunks.get(b"PLTE", b"")) not in range(3, (3 << bits) + 1, 3):
        raise DamagedDataError("its palette is missing or has an impossible length", "png")
    if colour in (4, 6):
        chunks.pop(b"tRNS", None)
    lengths = {0: (2,), 2: (6,), _PALETTE: range(1, len(chunks.get(b"PLTE", b"")) // 3 + 1)}
    transparent = b"tRNS" in chunks
    if transparent and len(chunks[b"tRNS"]) not in lengths[colour]:
        raise DamagedDataError("its transparency has an impossible length", "png")
    header = _PngHeader(width, height, bits, colour, methods[2] == 1, transparent)
    nbytes = math.prod(header.shape) * header.dtype.itemsize
    if not 0 < nbytes <= PICTURE_BYTES_LIMIT or max(width, height) > _PNG_SIDE_LIMIT:
        raise DamagedDataError(f"it claims {width} by {height} pixels", "png")
    return header


# ── JPEG (ITU-T T.81) ────────────────────────────────────────────────────────────────────

_JPEG_SIDE_LIMIT = 65_500  # libjpeg's
_JPEG_RATIO = 2048  # every 16 by 16 pixels of a component take at least one bit
_SCAN_LIMIT = 100  # encoders write ten; thousands of passes are an attack on the reader's time
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive: all Huffman-coded
_END, _SCAN = 0xD9, 0xDA


def _jpeg_shape(data: bytes) -> tuple[int, ...]:
    """Walk all segments and scans up to the end marker; return the shape that they announce."""
    if not data.startswith(b"\xff\xd8"):
        raise DamagedDataError("it does not start as a JPEG file does", "jpeg")
    frames: list[tuple[int, ...]] = []
    scans, position = 0, 2
    while (marker := _MARKER.search(data, position)) and (kind := marker[1][0]) != _END:
        start = marker.end()
        position = start + int.from_bytes(data[start : start + 2], "big")
        if kind in _FRAMES:
            frames.append(_jpeg_frame(data[start + 2 : start + 8]))
        scans += kind == _SCAN
    if marker is None or len(frames) != 1 or not 1 <= scans <= _SCAN_LIMIT:
        raise DamagedDataError(
            f"{len(frames)} frames and {scans} scans before "
            f"{'the end of the file' if marker is None else 'its end marker'}",
            "jpeg",
        )
    return frames[0]


def _jpeg_frame(fields: bytes) -> tuple[int, ...]:
    if len(fields) < 6:
        raise DamagedDataError("it ends in its frame header", "jpeg")
    bits, height, width, components = struct.unpack(">BHHB", fields)
    if bits != 8 or height == 0 or width == 0 or components not in (1, 3, 4):
        raise DamagedDataError(
            f"it claims {width} by {height} pixels of {components} times {bits} bits", "jpeg"
        )
    return _shape(height, width, components)
