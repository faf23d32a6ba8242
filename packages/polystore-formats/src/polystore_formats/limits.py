"""How much memory a file may take, checked before any of it is allocated.

Three things make a small file large in memory: data that is packed very tightly, a header that
claims more than follows, and holes (a sparse file of a terabyte takes no room on the disk).
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
"""Bytes that tightly packed parts of one file may unpack to, unless ``max_bytes`` is given."""
TIGHT_RATIO = 100
"""A part that unpacks to more than so many times its size is packed tightly."""


def check_packing(
    parts: Iterable[tuple[int, int]],
    format: str,
    max_bytes: int | None,
    tight_bytes: int = TIGHT_BYTES,
) -> None:
    """Refuse a file that was made to fill the memory.

    ``parts`` are pairs of bytes, unpacked and packed. Without ``max_bytes``, those that are over
    100 times larger unpacked may unpack to ``tight_bytes`` together. With ``max_bytes``, all
    parts together may unpack to so many bytes, however tightly they are packed.

    Raises:
        UnsupportedDataError: The parts unpack to more.
        InvalidOptionError: ``max_bytes`` is not a number of bytes.
    """
    if max_bytes is not None and (not isinstance(max_bytes, int) or max_bytes < 0):
        raise InvalidOptionError("max_bytes", max_bytes, "a number of bytes, or None")
    sizes = list(parts)
    unpacked = sum(size for size, _ in sizes)
    if max_bytes is not None:
        if unpacked > max_bytes:
            raise UnsupportedDataError(
                f"it unpacks to {unpacked} bytes, more than max_bytes={max_bytes}", format
            )
        return
    tight = [(size, packed) for size, packed in sizes if size > TIGHT_RATIO * packed]
    if sum(size for size, _ in tight) > tight_bytes:
        raise UnsupportedDataError(
            f"{sum(packed for _, packed in tight)} bytes of it unpack to "
            f"{sum(size for size, _ in tight)} bytes, which may be meant to fill the memory: "
            f"pass max_bytes={unpacked} to load it anyway",
            format,
        )


def file_size(file: BinaryIO) -> int:
    """Return the bytes of a file, and go to its start."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def read_whole(file: BinaryIO, format: str, advice: str) -> bytes:
    """Return all bytes of a file, or raise ``UnsupportedDataError`` with its size."""
    size = file_size(file)
    with allocating(size, format, advice):
        return file.read()
