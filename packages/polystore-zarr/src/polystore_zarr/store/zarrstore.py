"""The stores through which zarr reads and writes.

They read only regular files, and none that is larger than possible. All writing ends with the
call that started it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

from polystore_core.errors import DamagedDataError

from .reading import read_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

    from polystore_core import Option

    from .base import StorePath

__all__ = ["ReadingStore", "WritingStore"]


class ReadingStore(Store):
    """The files of one array, for reading.

    A named pipe or a device is an error here. zarr would wait for ever, or fill the memory.
    ``most`` is the largest possible size of a chunk or shard. A larger file is not read, because
    a sparse file of terabytes takes no space on the disk.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(
        self, root: StorePath, *, read_only: bool = True, most: int | None = None
    ) -> None:
        super().__init__(read_only=read_only)
        self.root = root
        self.most = most

    def with_read_only(self, read_only: bool = False) -> Self:
        return type(self)(self.root, read_only=read_only, most=self.most)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.root == other.root

    def _read(
        self, key: str, prototype: BufferPrototype | None, byte_range: ByteRequest | None
    ) -> Buffer | None:
        prototype = prototype or default_buffer_prototype()
        path = self.root / key
        try:
            file = path.files.open(path.key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        with file:
            # The size is that of the open file: its name may lead to another file by now.
            start, end = _range(byte_range, file.seek(0, os.SEEK_END))
            if self.most is not None and end - start > self.most:
                reason = f"{key} has {end - start} bytes, expected at most {self.most}"
                raise DamagedDataError(reason, "zarr")
            file.seek(start)
            return prototype.buffer.from_bytes(read_bytes(file.read, end - start))

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        # All arrays of zarr share one event loop, which must not wait for a file.
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

    async def exists(self, key: str) -> bool:
        path = self.root / key
        return await asyncio.to_thread(path.files.kind, path.key) == "file"

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        skip = len((self.root / "").key)
        for found in await asyncio.to_thread(self._below, prefix):
            if (name := found[skip:]).startswith(prefix):
                yield name

    def _below(self, prefix: str) -> list[str]:
        folder = (self.root / prefix.rpartition("/")[0]) if "/" in prefix else self.root
        return [found.key for found in folder.files.store.scan(folder.key)]

    def list(self) -> AsyncIterator[str]:
        return self.list_prefix("")

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        folder = self.root / prefix.rstrip("/") if prefix else self.root
        try:
            entries = await asyncio.to_thread(folder.files.entries, folder.key)
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            yield entry.name

    # ── not supported ────────────────────────────────────────────────────────────────────

    async def set(self, key: str, value: Buffer, *options: Option) -> None:
        raise TypeError(f"a store for reading does not write {key!r}")

    async def delete(self, key: str) -> None:
        raise TypeError(f"this store does not delete {key!r}")

    # zarr up to 3.1.3 calls these.
    supports_partial_writes = False

    async def set_partial_values(self, values: Iterable[tuple[str, int, bytes]]) -> None:
        raise TypeError("this store does not write parts of values")


class WritingStore(ReadingStore):
    """The files of one array, for one call that writes.

    zarr writes in its own threads. These continue after Ctrl-C or a full disk has ended the call
    in our thread, and would make a folder again that was just removed. Each file is replaced whole,
    without a second name that a killed writer would leave behind.

    Locks: ``_changed`` guards ``_writing``, the number of files that are written now, and
    ``_ended``.
    """

    supports_writes = True

    def __init__(self, root: StorePath, *, seen: bool, durable: bool | None = None) -> None:
        super().__init__(root, read_only=False)
        self._seen = seen
        self._durable = durable
        self._changed = threading.Condition()
        self._writing = 0
        self._ended = False

    @contextmanager
    def ending(self) -> Iterator[None]:
        """If the body fails, wait for the writes that have started, and reject the others."""
        try:
            yield
        except BaseException:
            with self._changed:
                self._ended = True
                self._changed.wait_for(lambda: self._writing == 0)
            raise

    async def set(self, key: str, value: Buffer, *options: Option) -> None:
        await asyncio.to_thread(self._write, key, value)

    def set_sync(self, key: str, value: Buffer, *options: Option) -> None:
        self._write(key, value)

    def _write(self, key: str, value: Buffer) -> None:
        with self._changed:
            if self._ended:
                raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED), key)
            self._writing += 1
        try:
            data: Any = value.as_numpy_array()
            path, pieces = self.root / key, [memoryview(data)]
            if self._seen:
                path.files.replace(path.key, pieces, durable=self._durable)
            else:
                path.files.write(path.key, pieces)
        finally:
            with self._changed:
                self._writing -= 1
                self._changed.notify_all()


def _range(byte_range: ByteRequest | None, size: int) -> tuple[int, int]:
    """Return the start and the end of a range in a file of ``size`` bytes."""
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
