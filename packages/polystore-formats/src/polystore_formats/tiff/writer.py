"""Write an array as a TIFF file, and check before the first byte that it will load equal.

tifffile makes the directories and encodes the pixels. The directories are first made in memory,
with a hole in place of the pixels, and are read back. If the array would load with another shape
or dtype, an error is raised.
"""

from __future__ import annotations

import functools
import io
import math
import os
import struct
from itertools import product
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
import tifffile

from polystore_core.errors import DamagedDataError

from ..streaming import parts
from .header import Header, read_header, read_start
from .layout import series_pixels
from .options import support_error
from .plain import plain_pixels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from polystore_core import Option, Pixels, Value

__all__ = ["write"]

_LOOK_AHEAD = 32 << 20
"""The bytes that tifffile encodes ahead in threads."""
_REFUSALS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    tifffile.OmeXmlError,
)
"""Errors of tifffile for metadata that it cannot write."""


def write(
    file: BinaryIO,
    array: Value,
    *,
    container: Mapping[str, Option],
    page: Mapping[str, Option],
    codec: Mapping[str, Option],
    metadata: Mapping[str, Option],
) -> None:
    """Write the file.

    A lazy array is read part by part, or page by page if it is compressed.

    Args:
        file: an open binary file.
        array: an array, or a lazy one.
        container: arguments of ``TiffWriter``.
        page: arguments of ``TiffWriter.write`` for a page.
        codec: arguments of ``TiffWriter.write`` for tiles and compression.
        metadata: the metadata argument.

    Raises:
        UnsupportedDataError: The file would not load equal. Nothing has been written.
    """
    packed = bool(codec) or array.dtype == bool  # tifffile packs bool, 8 pixels in a byte
    dtype = np.dtype(np.uint8) if array.dtype == bool else array.dtype
    shape = tuple(array.shape)
    # Only metadata can make tifffile read another shape. Directories without any are cached.
    if metadata or page["description"] or container["imagej"] or container["ome"]:
        before, after = _directories(shape, dtype, container, page, metadata, check=True)
    else:
        before, after = _plain_directories(
            shape, dtype, tuple(container.items()), tuple(page.items())
        )
    if packed:
        # Sizes of packed pieces are known only after encoding, so tifffile writes these files.
        data: Any = np.ascontiguousarray(array) if isinstance(array, np.ndarray) else None
        streamed: dict[str, Any] = {}
        if data is None:
            data = _pieces(array, len(_page_shape(page, shape)), codec.get("tile"))
            streamed = {"shape": shape, "dtype": array.dtype, "buffersize": _LOOK_AHEAD}
        with tifffile.TiffWriter(file, **container) as writer:
            writer.write(data, **page, **codec, **streamed, metadata=dict(metadata))
        return
    # Pixels that are not packed need no copy: they are written between the two parts.
    _write_all(file, memoryview(before))
    blocks = [np.ascontiguousarray(array)] if isinstance(array, np.ndarray) else parts(array)
    for block in blocks:
        _write_all(file, memoryview(block.reshape(-1).view(np.uint8).data))
    _write_all(file, memoryview(after))


def _page_shape(page: Mapping[str, Value], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the lengths of the last axes, which one page holds."""
    return shape[-3:] if page.get("planarconfig") is not None else shape[-2:]


def _pieces(array: Value, axes: int, tile: tuple[int, int] | None) -> Iterator[Pixels]:
    """Yield the pages of a lazy array, or the tiles of each page."""
    for block in parts(array, axes):
        for page in block.reshape(-1, *array.shape[len(array.shape) - axes :]):
            if tile is None:
                yield page
                continue
            is_contiguous = axes == 2 or page.shape[-1] in (2, 3, 4)
            for plane in [page] if is_contiguous else page:
                for y, x in product(
                    range(0, plane.shape[0], tile[0]), range(0, plane.shape[1], tile[1])
                ):
                    yield plane[y : y + tile[0], x : x + tile[1]]


@functools.lru_cache(maxsize=16)
def _plain_directories(
    shape: tuple[int, ...],
    dtype: np.dtype[Value],
    container: tuple[tuple[str, Value], ...],
    page: tuple[tuple[str, Value], ...],
) -> tuple[bytes, bytes]:
    """Return the directories of images of one kind. Making them can take longer than the pixels."""
    return _directories(shape, dtype, dict(container), dict(page), {}, check=False)


def _directories(
    shape: tuple[int, ...],
    dtype: np.dtype[Value],
    container: Mapping[str, Value],
    page: Mapping[str, Value],
    metadata: Mapping[str, Value],
    *,
    check: bool,
) -> tuple[bytes, bytes]:
    """Return the bytes before and after the pixels. ``check`` reads them back first."""
    skeleton = _Skeleton()
    try:
        with tifffile.TiffWriter(cast("BinaryIO", skeleton), **container) as writer:
            hole = writer.write(
                shape=shape, dtype=dtype, returnoffset=True, **page, metadata=dict(metadata)
            )
        if hole is None:
            raise support_error("tifffile does not store it as one block")
    except _REFUSALS as error:
        raise support_error(f"tifffile cannot write it: {error}") from error
    file = cast("BinaryIO", skeleton)
    header = read_header(file, *read_start(file))
    if check:
        _check_read_back(header, shape, dtype)
    return skeleton.around(hole[0], math.prod(shape) * dtype.itemsize, header.end)


def _write_all(file: BinaryIO, data: memoryview) -> None:
    while data:  # a raw file may take less than it is given
        data = data[file.write(data) :]


def _check_read_back(header: Header, shape: tuple[int, ...], dtype: np.dtype[Value]) -> None:
    """Raise ``UnsupportedDataError`` if the directories would load as another array."""
    try:
        pixels = plain_pixels(header) or series_pixels(header)
    except DamagedDataError as error:
        raise support_error(f"it would not load again: {error.reason}") from error
    if (pixels.shape, pixels.dtype) != (shape, dtype):
        raise support_error(
            f"it would load with shape {pixels.shape}, not {shape}: ImageJ files drop axes of "
            "length 1 before the last two, and a description must not look like theirs or OME's"
        )


class _Skeleton(io.RawIOBase):
    """A file in memory with a hole for the pixels. Only the parts around the hole take memory."""

    def __init__(self) -> None:
        self._parts = [(0, io.BytesIO())]
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start, last = self._parts[-1]
        end = start + last.getbuffer().nbytes
        self._position = offset + (0, self._position, end)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Value) -> int:
        count = self._part().readinto(buffer)
        self._position += count
        return count

    def write(self, data: Value) -> int:
        start, last = self._parts[-1]
        if self._position > start + last.getbuffer().nbytes + _HOLE:
            self._parts.append((self._position, io.BytesIO()))
        count = self._part().write(data)
        self._position += count
        return count

    def _part(self) -> io.BytesIO:
        """Return the part at the current position, and move the part's own position there."""
        start, part = next(p for p in reversed(self._parts) if p[0] <= self._position)
        part.seek(self._position - start)
        return part

    def around(self, offset: int, count: int, end: int) -> tuple[bytes, bytes]:
        """Return the bytes before the pixels, and those after the pixels up to ``end``.

        tifffile leaves values behind the last directory that no tag points at. Without them, a
        file that was cut at any byte is found to be cut.
        """
        start, last = self._parts[-1]
        before = self._parts[0][1].getvalue()[:offset].ljust(offset, b"\0")
        return before, last.getvalue()[offset + count - start : end - start]


_HOLE = 1 << 16  # a larger gap than any between directories and values
