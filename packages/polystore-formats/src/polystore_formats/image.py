"""``.png`` (lossless) and ``.jpg`` (lossy), through libpng and libjpeg-turbo of imagecodecs.

Both are for one picture to be looked at; stacks, many channels and floats belong into TIFF.
Files are checked here before the C libraries see them: libjpeg fills what is missing with
grey, and every error of libpng inside imagecodecs (2026.3.6) takes one reference from
``None``, which ends a Python 3.11 process after some thousand.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, NamedTuple, TypeAlias

import imagecodecs
import numpy as np

from polystore import Format, to_numpy
from polystore.errors import DamagedDataError, InvalidOptionError, UnsupportedDataError

from .limits import allocating, check_packing, file_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["PICTURE_BYTES_LIMIT", "Jpeg", "Png"]

PICTURE_BYTES_LIMIT = 1 << 31
"""Pictures that would be larger in memory are neither written nor read."""


_ADVICE = "load it where there is more"


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

    def load(self, file: BinaryIO, /, *, max_bytes: int | None = None) -> NDArray[Any]:
        header, data = _checked_png(file, max_bytes)
        try:
            with allocating(header.nbytes, "png", _ADVICE):
                picture: NDArray[Any] = imagecodecs.png_decode(data)
        except self.decode_errors as error:
            raise DamagedDataError(f"libpng: {error}", "png") from error
        if picture.shape != header.shape or picture.dtype != header.dtype:
            raise DamagedDataError(f"it decodes to shape {picture.shape}", "png")
        return picture

    def info(self, file: BinaryIO, /) -> dict[str, Any]:
        spans = _picture_spans(file, header_only=True)
        header = _png_header(_small_chunks(file, spans))
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

    def load(self, file: BinaryIO, /, *, max_bytes: int | None = None) -> NDArray[Any]:
        data = _jpeg_bytes(file)
        shape = _jpeg_shape(data)
        nbytes = math.prod(shape)
        if nbytes > min(_JPEG_RATIO * len(data), PICTURE_BYTES_LIMIT):
            raise DamagedDataError(f"{len(data)} bytes claim a picture of {shape}", "jpeg")
        check_packing([(nbytes, len(data))], "jpeg", max_bytes)
        try:
            with allocating(nbytes, "jpeg", _ADVICE):
                picture: NDArray[Any] = imagecodecs.jpeg8_decode(data)
        except self.decode_errors as error:
            raise DamagedDataError(f"libjpeg: {error}", "jpeg") from error
        if picture.shape != shape or picture.dtype != np.uint8:
            raise DamagedDataError(f"it decodes to shape {picture.shape}", "jpeg")
        return picture

    def info(self, file: BinaryIO, /) -> dict[str, Any]:
        return {"shape": _jpeg_shape(_jpeg_bytes(file)), "dtype": "|u1"}


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
_IDAT_SLACK = 1 << 20
"""Bytes beyond twice the pixels, for encoders that do not pack at all."""
_SMALL_CHUNK = 1 << 10
_PIECE = 1 << 20
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

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def passes(self) -> Iterator[tuple[int, int]]:
        """Yield rows and bytes per row, filter byte included, of each pass over the picture."""
        for row, column, down, across in _ADAM7 if self.interlaced else ((0, 0, 1, 1),):
            rows = -(-max(self.height - row, 0) // down)
            columns = -(-max(self.width - column, 0) // across)
            if rows and columns:
                yield rows, 1 + -(-columns * self.bits * _SAMPLES[self.colour] // 8)


def _checked_png(file: BinaryIO, max_bytes: int | None) -> tuple[_PngHeader, bytes]:
    """Return a PNG without its ancillary chunks, in which libpng will find no fault."""
    spans = _picture_spans(file)
    runs = spans.pop(b"IDAT", [])
    chunks = _small_chunks(file, spans)
    header = _png_header(chunks)
    packed = sum(length for _, length in runs)
    expected = sum(rows * length for rows, length in header.passes())
    if not packed <= 2 * expected + _IDAT_SLACK or expected > _DEFLATE_RATIO * packed:
        raise DamagedDataError(f"{packed} bytes claim a picture of {header.shape}", "png")
    check_packing([(header.nbytes, packed)], "png", max_bytes)
    with allocating(packed, "png", _ADVICE):
        chunks[b"IDAT"] = b"".join(_payload(file, b"IDAT", *span) for span in runs)
    _check_rows(chunks[b"IDAT"], header, expected)
    return header, _SIGNATURE + b"".join(
        len(chunks[kind]).to_bytes(4, "big") + kind + chunks[kind] + _crc(kind, chunks[kind])
        for kind in _PICTURE_CHUNKS
        if kind in chunks
    )


def _check_rows(data: bytes, header: _PngHeader, expected: int) -> None:
    """Unpack the pixels piece by piece, and keep none: check their number, and each filter."""
    done = 0
    for piece in _inflated(data, expected):
        pixels = np.frombuffer(piece, np.uint8)
        start = 0
        for rows, length in header.passes():
            end = start + rows * length
            first = start + -(-max(done - start, 0) // length) * length
            filters = pixels[first - done : max(end - done, 0) : length]
            if filters.size and filters.max() > 4:
                raise DamagedDataError("a row has a filter that PNG does not know", "png")
            start = end
        done += len(piece)
        if done > expected:
            break
    if done != expected:
        raise _wrong_number(expected)


def _inflated(data: bytes, expected: int) -> Iterator[bytes]:
    inflate = zlib.decompressobj()
    try:
        for start in range(0, len(data), _PIECE):
            packed = data[start : start + _PIECE]
            while packed and not inflate.eof:
                yield inflate.decompress(packed, _PIECE)
                packed = inflate.unconsumed_tail
        yield inflate.flush()
    except zlib.error as error:
        raise DamagedDataError(str(error), "png") from error
    if not inflate.eof:
        raise _wrong_number(expected)


def _wrong_number(expected: int) -> DamagedDataError:
    return DamagedDataError(f"its pixels are not exactly {expected} bytes", "png")


_Spans: TypeAlias = "dict[bytes, list[tuple[int, int]]]"
"""Offset and length of the payloads of each kind of chunk."""


def _picture_spans(file: BinaryIO, *, header_only: bool = False) -> _Spans:
    """Return where the chunks stand that make up the picture; check the others, and drop them."""
    found: _Spans = {}
    last = b""
    for kind, offset, length in _png_chunks(file, header_only):
        if kind in _PICTURE_CHUNKS:
            if not found and kind != b"IHDR":
                raise DamagedDataError("it does not start with an IHDR chunk", "png")
            if kind in found and not kind == last == b"IDAT":
                raise DamagedDataError(f"chunk {kind!r} stands there twice", "png")
            found.setdefault(kind, []).append((offset, length))
        else:
            _check_crc(file, kind, length)
            if not kind[0] & 0x20:
                raise DamagedDataError(f"chunk {kind!r} is unknown, and is critical", "png")
        last = kind
    return found


def _small_chunks(file: BinaryIO, spans: _Spans) -> dict[bytes, bytes]:
    for kind, [(_, length)] in spans.items():
        if length > _SMALL_CHUNK:
            raise DamagedDataError(f"chunk {kind!r} has {length} bytes", "png")
    return {kind: _payload(file, kind, *span) for kind, [span] in spans.items()}


def _png_chunks(file: BinaryIO, header_only: bool) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, offset and length of each chunk, with the file at its payload."""
    size = file_size(file)
    if file.read(8) != _SIGNATURE:
        raise DamagedDataError("it does not start as a PNG file does", "png")
    start, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        file.seek(start)
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if len(head) < 8 or length > size - start - 12:
            raise DamagedDataError(f"it ends at byte {size}, before or in a chunk", "png")
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
    if not 0 < header.nbytes <= PICTURE_BYTES_LIMIT or max(width, height) > _PNG_SIDE_LIMIT:
        raise DamagedDataError(f"it claims {width} by {height} pixels", "png")
    return header


# ── JPEG (ITU-T T.81) ────────────────────────────────────────────────────────────────────

_JPEG_SIDE_LIMIT = 65_500  # libjpeg's
_JPEG_RATIO = 2048  # every 16 by 16 pixels of a component take at least one bit
_SIGNATURE_JPEG = b"\xff\xd8"
_SCAN_LIMIT = 100  # encoders write ten; thousands of passes are an attack on the reader's time
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive: all Huffman-coded
_END, _SCAN = 0xD9, 0xDA


def _jpeg_bytes(file: BinaryIO) -> bytes:
    size = file_size(file)
    if file.read(2) != _SIGNATURE_JPEG:
        raise DamagedDataError("it does not start as a JPEG file does", "jpeg")
    if size > PICTURE_BYTES_LIMIT:
        raise DamagedDataError(f"{size} bytes, and no JPEG has {PICTURE_BYTES_LIMIT}", "jpeg")
    with allocating(size, "jpeg", _ADVICE):
        return _SIGNATURE_JPEG + file.read()


def _jpeg_shape(data: bytes) -> tuple[int, ...]:
    """Walk all segments and scans up to the end marker; return the shape that they announce."""
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
