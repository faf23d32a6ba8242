"""Limits for the memory that a file can take. They are checked before memory is allocated.

A small file can be large in memory for three reasons. Its data is packed very tightly, its header
claims more data than follows, or it has holes: a sparse file of a terabyte takes no room on disk.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from polystore_core import allocating
from polystore_core.errors import InvalidOptionError, UnsupportedDataError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "TIGHT_BYTES",
    "TIGHT_RATIO",
    "allocating",
    "check_packing",
    "file_size",
    "read_whole",
]

TIGHT_BYTES = 1 << 30
"""Tightly packed parts of one file may unpack to this many bytes, unless ``max_bytes`` is given."""
TIGHT_RATIO = 100
"""A part is packed tightly if it unpacks to more than this many times its size."""


def check_packing(
    parts: Iterable[tuple[int, int]],
    format: str,
    max_bytes: int | None,
    tight_bytes: int = TIGHT_BYTES,
) -> None:
    """Raise an error for a file that may be made to fill the memory.

    Args:
        parts: for each part, its bytes unpacked and packed.
        format: name of the format, for errors.
        max_bytes: if given, the most bytes that all parts together may unpack to.
        tight_bytes: without ``max_bytes``, the most bytes that the parts which are over 100 times
            larger unpacked may unpack to together.

    Raises:
        UnsupportedDataError: The parts unpack to more bytes.
        InvalidOptionError: ``max_bytes`` is not a number of bytes.
    """
    if max_bytes is not None and (not isinstance(max_bytes, int) or max_bytes < 0):
        raise InvalidOptionError("max_bytes", max_bytes, "a number of bytes, or None")
    sizes = list(parts)
    unpacked = sum(size for size, _ in sizes)
    if max_bytes is not None:  # the caller's limit replaces ours, in both directions
        if unpacked > max_bytes:
            raise UnsupportedDataError(
                f"it unpacks to {unpacked} bytes, more than max_bytes={max_bytes}", format
            )
        return
    # Images of cameras hardly ever pack this tightly, so that even very large files load.
    tight = [(size, packed) for size, packed in sizes if size > TIGHT_RATIO * packed]
    if sum(size for size, _ in tight) > tight_bytes:
        raise UnsupportedDataError(
            f"{sum(packed for _, packed in tight)} bytes of it unpack to "
            f"{sum(size for size, _ in tight)} bytes, which may be meant to fill the memory: "
            f"pass max_bytes={unpacked} to load it anyway",
            format,
        )


def file_size(file: BinaryIO) -> int:
    """Return the number of bytes of a file, and go to its start."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def read_whole(file: BinaryIO, format: str, advice: str) -> bytes:
    """Return all bytes of a file.

    Raises:
        UnsupportedDataError: The file is larger than the memory. ``advice`` ends the message.
    """
    size = file_size(file)
    with allocating(size, format, advice):
        return file.read()
