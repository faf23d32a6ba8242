"""The folder that zarr reads from: regular files only, and none larger than it can be."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Self

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import LocalStore

from polystore_core.errors import DamagedDataError

from .regular import open_file, read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

__all__ = ["RegularStore"]


class RegularStore(LocalStore):
    """A folder in which a named pipe or a device is an error, where zarr would wait or fill memory.

    ``most`` is the number of bytes that no chunk or shard exceeds: a file of terabytes, which
    may take no space on the disk, is not read.
    """

    def __init__(self, root: str, *, read_only: bool = False, most: int | None = None) -> None:
        super().__init__(root, read_only=read_only)
        self.most = most

    def with_read_only(self, read_only: bool = False) -> Self:
        return type(self)(str(self.root), read_only=read_only, most=self.most)

    def _read(
        self, key: str, prototype: BufferPrototype | None, byte_range: ByteRequest | None
    ) -> Buffer | None:
        prototype = prototype or default_buffer_prototype()
        try:
            file = open_file(os.path.join(self.root, key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        with file:
            start, end = _range(byte_range, os.fstat(file.fileno()).st_size)
            if self.most is not None and end - start > self.most:
                reason = f"{key} has {end - start} bytes, expected at most {self.most}"
                raise DamagedDataError(reason, "zarr")
            file.seek(start)
            return prototype.buffer.from_bytes(read_bytes(file, end - start))

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        return await asyncio.to_thread(self._read, key, prototype, byte_range)

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        return self._read(key, prototype, byte_range)

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        wanted = (self.get(key, prototype, byte_range) for key, byte_range in key_ranges)
        return list(await asyncio.gather(*wanted))


def _range(byte_range: ByteRequest | None, size: int) -> tuple[int, int]:
    """Return where to begin and end in a file of ``size`` bytes."""
    match byte_range:
        case None:
            return 0, size
        case RangeByteRequest(start=start, end=end):
            return min(start, size), max(min(end, size), min(start, size))
        case OffsetByteRequest(offset=offset):
            return min(offset, size), size
        case SuffixByteRequest(suffix=suffix):
            return max(size - suffix, 0), size
    raise TypeError(f"a range of bytes is not a {type(byte_range).__name__}")
