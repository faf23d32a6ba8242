"""``.png`` (lossless) and ``.jpg`` (lossy), with libpng and libjpeg-turbo of imagecodecs.

Both are for one picture that somebody looks at. Use TIFF for stacks, many channels and floats.

This module checks files before the C libraries see them, for two reasons. libjpeg fills a missing
part with grey. Each error of libpng in imagecodecs 2026.3.6 takes one reference from ``None``,
which ends a Python 3.11 process after some thousand errors.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import imagecodecs
import numpy as np

from polystore_core import (
    Axis,
    Channel,
    Format,
    ImageMetadata,
    array_and_words,
    to_numpy,
)
from polystore_core.errors import (
    DamagedDataError,
    InvalidOptionError,
    UnsupportedDataError,
    UnsupportedFileError,
)

from .decoding import wrong_start
from .limits import allocating, check_packing, file_size
from .png_chunks import ADVICE, PICTURE_BYTES_LIMIT, PNG_SIDE_LIMIT, read_png, read_png_header

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from polystore_core import Document, Pixels, Value

__all__ = ["PICTURE_BYTES_LIMIT", "Jpeg", "Png"]


class Png(Format):
    """Arrays of uint8 or uint16, with shape (height, width) or (height, width, 2 to 4).

    Two channels are grey and alpha, three are RGB, four are RGBA. Files of other programs may
    have a palette, or 1 to 4 bits per pixel. They load as the colours that viewers show.
    """

    name = "png"
    decode_errors = (ValueError, zlib.error, imagecodecs.PngError)

    def save(self, value: Value, file: BinaryIO, /, *, compression_level: int = 3) -> None:
        """Write the picture.

        Args:
            compression_level: from 0 (none, fast) to 9 (small, slow).
        """
        if compression_level not in range(10):
            expected = "an integer from 0 (none) to 9"
            raise InvalidOptionError("compression_level", compression_level, expected)
        picture = _picture(value, "png", ("uint8", "uint16"), (2, 3, 4), PNG_SIDE_LIMIT)
        file.write(imagecodecs.png_encode(picture, level=compression_level))

    def load(self, file: BinaryIO, /, *, max_bytes: int | None = None) -> Pixels:
        """Load the picture.

        Args:
            max_bytes: allow the picture to have this many bytes in memory.
        """
        header, data = read_png(file, max_bytes)
        try:
            with allocating(header.nbytes, "png", ADVICE):
                picture: NDArray[Any] = imagecodecs.png_decode(data)
        except self.decode_errors as error:
            raise DamagedDataError(f"libpng cannot decode it: {error}", "png") from error
        if picture.shape != header.shape or picture.dtype != header.dtype:
            raise DamagedDataError(
                f"it decodes to {picture.dtype} of shape {picture.shape}, but its header has "
                f"{header.dtype} of shape {header.shape}",
                "png",
            )
        return picture

    def info(self, file: BinaryIO, /) -> Document:
        header = read_png_header(file)
        return _info(header.shape, header.dtype.str)


class Jpeg(Format):
    """Arrays of uint8 with shape (height, width) or (height, width, 3), compressed with loss.

    Use JPEG for pictures of results, not for data: the loaded pixels are close to the saved
    ones, but not equal. Colour is not subsampled.

    JPEG has no checksum. A missing end raises an error, but a changed pixel does not. The
    orientation in EXIF is not applied. CMYK raises an error.
    """

    name = "jpeg"
    lossy: ClassVar[bool] = True
    decode_errors = (ValueError, imagecodecs.Jpeg8Error)

    def save(self, value: Value, file: BinaryIO, /, *, quality: int = 95) -> None:
        """Write the picture.

        Args:
            quality: from 1 (small) to 100 (close to the original), as libjpeg defines it.
        """
        if quality not in range(1, 101):
            raise InvalidOptionError("quality", quality, "an integer from 1 to 100")
        picture = _picture(value, "jpeg", ("uint8",), (3,), _JPEG_SIDE_LIMIT)
        file.write(imagecodecs.jpeg8_encode(picture, level=quality, subsampling="444"))

    def load(self, file: BinaryIO, /, *, max_bytes: int | None = None) -> Pixels:
        """Load the picture.

        Args:
            max_bytes: allow the picture to have this many bytes in memory.
        """
        data = _jpeg_bytes(file)
        shape = _jpeg_shape(data)
        nbytes = math.prod(shape)
        # libjpeg allocates by the header, and fills missing pixels with grey.
        if nbytes > min(_JPEG_RATIO * len(data), PICTURE_BYTES_LIMIT):
            raise DamagedDataError(
                f"its header has shape {shape}, too large for {len(data)} bytes", "jpeg"
            )
        check_packing([(nbytes, len(data))], "jpeg", max_bytes)
        try:
            with allocating(nbytes, "jpeg", ADVICE):
                picture: NDArray[Any] = imagecodecs.jpeg8_decode(data)
        except self.decode_errors as error:
            raise DamagedDataError(f"libjpeg cannot decode it: {error}", "jpeg") from error
        if picture.shape != shape or picture.dtype != np.uint8:
            raise DamagedDataError(
                f"it decodes to {picture.dtype} of shape {picture.shape}, but its header has "
                f"uint8 of shape {shape}",
                "jpeg",
            )
        return picture

    def info(self, file: BinaryIO, /) -> Document:
        return _info(_jpeg_shape(_jpeg_bytes(file)), "|u1")


def _info(shape: tuple[int, ...], dtype: str) -> Document:
    return {"shape": shape, "dtype": dtype, "image": _words(shape)}


def _words(shape: tuple[int, ...]) -> ImageMetadata:
    """Return the metadata of every picture of this shape.

    The resolution in the file is for printers. It is not a pixel size.
    """
    plane = (Axis("y", "space"), Axis("x", "space"))
    if len(shape) == 2:
        return ImageMetadata(axes=plane)
    if shape[-1] > 2:
        return ImageMetadata(axes=(*plane, Axis("s", "sample")))
    channels = (Channel(name="grey"), Channel(name="alpha"))
    return ImageMetadata(axes=(*plane, Axis("c", "channel")), channels=channels)


def _picture(
    value: Value,
    format: str,
    dtypes: tuple[str, ...],
    channels: tuple[int, ...],
    side_limit: int,
) -> Pixels:
    """Return ``value`` as the C-contiguous array that the codecs want.

    An ``Image`` is accepted if its metadata is that of every picture of its shape.

    Raises:
        UnsupportedDataError: The format cannot store the value.
    """
    data, words = array_and_words(value)
    is_bare = words is not None and len(data.shape) in (2, 3) and words == _words(data.shape)
    array = to_numpy(data if is_bare else value)
    if array.dtype.name not in dtypes:
        reason = (
            f"expected {' or '.join(dtypes)}, got {array.dtype}: convert it, or save it as .tif"
        )
    elif not array.dtype.isnative:
        # PNG stores big-endian, and loads in the order of the machine: the dtype would differ.
        reason = (
            f"the byte order of {array.dtype.str} would be lost: save "
            "array.astype(array.dtype.newbyteorder('='))"
        )
    elif array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in channels):
        reason = (
            f"expected shape (height, width) or (height, width, "
            f"{' or '.join(map(str, channels))}), got {array.shape}: save stacks as .tif"
        )
    elif not 0 < array.nbytes <= PICTURE_BYTES_LIMIT or max(array.shape) > side_limit:
        reason = (
            f"expected 1 to {PICTURE_BYTES_LIMIT} bytes, and at most {side_limit} pixels a side, "
            f"got {array.nbytes} bytes of shape {array.shape}: save it as .tif"
        )
    else:
        return np.ascontiguousarray(array)
    raise UnsupportedDataError(reason, format)


def _shape(height: int, width: int, channels: int) -> tuple[int, ...]:
    return (height, width) if channels == 1 else (height, width, channels)


# ── JPEG (ITU-T T.81) ────────────────────────────────────────────────────────────────────

_JPEG_SIDE_LIMIT = 65_500  # libjpeg's
_JPEG_RATIO = 2048  # every 16 by 16 pixels of a component take at least one bit
_SIGNATURE_JPEG = b"\xff\xd8"
_SCAN_LIMIT = 100  # encoders write ten; thousands of passes are an attack on the reader's time
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive: all Huffman-coded
_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_END, _SCAN = 0xD9, 0xDA
_JPEG_ADVICE = "convert it to an RGB image of 8 bits with the program that wrote it"


def _jpeg_bytes(file: BinaryIO) -> bytes:
    size = file_size(file)
    start = file.read(8)
    if not start.startswith(_SIGNATURE_JPEG):
        raise wrong_start(start, "a JPEG file", "jpeg")
    if size > PICTURE_BYTES_LIMIT:
        raise UnsupportedFileError(
            f"it has {size} bytes, but polystore reads at most {PICTURE_BYTES_LIMIT}", "jpeg"
        )
    with allocating(size, "jpeg", ADVICE):
        return start + file.read()


def _jpeg_shape(data: bytes) -> tuple[int, ...]:
    """Go through all segments and scans up to the end marker. Return the shape of the frame."""
    frames: list[tuple[int, ...]] = []
    scans, position = 0, 2
    # A segment has its length after the marker. The pixels of a scan have none: the search finds
    # the next marker, and skips FF 00 and the restart markers, which belong to the pixels.
    while (marker := _MARKER.search(data, position)) and (kind := marker[1][0]) != _END:
        start = marker.end()
        position = start + int.from_bytes(data[start : start + 2], "big")
        if kind in _FRAMES:
            frames.append(_jpeg_frame(data[start + 2 : start + 8]))
        elif kind in _OTHER_FRAMES:
            raise UnsupportedFileError(
                f"its frames have kind {kind:#x} (lossless, hierarchical or arithmetic JPEG): "
                f"{_JPEG_ADVICE}",
                "jpeg",
            )
        scans += kind == _SCAN
    if marker is None or len(frames) != 1 or not 1 <= scans <= _SCAN_LIMIT:
        raise DamagedDataError(
            "it ends before its end marker"
            if marker is None
            else f"it has {len(frames)} frames and {scans} scans, expected 1 frame and 1 to "
            f"{_SCAN_LIMIT} scans",
            "jpeg",
        )
    return frames[0]


def _jpeg_frame(fields: bytes) -> tuple[int, ...]:
    if len(fields) < 6:
        raise DamagedDataError("it ends within its frame header", "jpeg")
    bits, height, width, components = struct.unpack(">BHHB", fields)
    if components == 4:
        raise UnsupportedFileError(
            f"its colours are CMYK, which viewers would show as RGBA: {_JPEG_ADVICE}", "jpeg"
        )
    if bits == 12 or components == 2:
        raise UnsupportedFileError(
            f"each of its pixels has {components} values of {bits} bits: {_JPEG_ADVICE}", "jpeg"
        )
    if bits != 8 or height == 0 or width == 0 or components not in (1, 3):
        raise DamagedDataError(
            f"its header is not valid: {width} by {height} pixels of {components} values of {bits} "
            "bits",
            "jpeg",
        )
    return _shape(height, width, components)
