"""Read and write the files of chunks and shards without zarr.

By default, ``save`` writes plain arrays: numbers, Blosc or no compression, a CRC-32C, with one
file for each chunk or shard. For small images, zarr-python takes longer than the image itself. For
large images, it leaves half of the processors idle. So plain arrays use the codecs directly. All
other arrays, and all documents, are zarr's.

Formats: https://zarr-specs.readthedocs.io (Zarr 3: regular grid, default chunk key encoding,
``bytes``, ``blosc``, ``crc32c`` and ``sharding_indexed``), and the header of a Blosc 1 chunk.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import google_crc32c
import numpy as np

from polystore_core import in_threads, threads_for
from polystore_core.errors import DamagedDataError, UnsupportedFileError

from ..grid import MANY, Cut, Parts, grid, within
from .arrayfiles import existing_chunks
from .indexes import ShardIndexes, version_of
from .plain import plan_chunks
from .reading import read_bytes

if TYPE_CHECKING:
    from typing import BinaryIO

    from numpy.typing import NDArray

    from polystore_core import Document, Memory, Pixels, Value

    from .base import StorePath

__all__ = ["ChunkFiles", "EncodedFile", "fill_array"]

_BLOSC_HEADER = 16
_CRC = 4
_IN_THREADS = 1 << 20
"""For at least this many bytes, several chunks are faster with threads."""
_MOST_INNER = 1 << 22
"""The most inner chunks of a shard. The index of more would be larger than a shard should be."""
_EMPTY = 2**64 - 1
"""Offset and length of an inner chunk that was never written."""


_Stored: TypeAlias = tuple[bytes, bytes]
"""The stored bytes of a chunk, and its checksum."""
_Run: TypeAlias = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]

EncodedFile: TypeAlias = tuple[str, list[bytes]]
"""The name of a chunk or shard in the directory of its array, and the bytes of its file."""


@dataclass(frozen=True, slots=True)
class ChunkFiles:
    """The chunks of one array, from the fields of its ``zarr.json``.

    Locks: none but that of ``indexes``. The other fields never change.
    """

    directory: StorePath
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    dtype: np.dtype[Any]
    """The element type, little-endian."""
    fill: Any
    compressor: Any
    checksum: bool
    indexes: ShardIndexes = field(default_factory=ShardIndexes, compare=False, repr=False)

    @classmethod
    def of(
        cls, directory: StorePath, fields: Document, known: dict[Any, Any] | None = None
    ) -> ChunkFiles | None:
        """Return the chunks of a plain array, or ``None`` for another array.

        ``known`` keeps the result for arrays with the same fields, besides attributes.
        """
        known = {} if known is None else known
        if cls not in known:
            try:
                known[cls] = plan_chunks(fields)
            except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
                known[cls] = None  # zarr will raise the error
        plan = known[cls]
        return None if plan is None else cls(directory, *plan)

    # ── reading ──────────────────────────────────────────────────────────────────────────

    def read(
        self, ranges: Sequence[range], *, complete: bool, memory: Memory | None = None
    ) -> Pixels:
        """Read a selection, with one axis for each range.

        Args:
            ranges: an ascending range for each axis.
            complete: whether all chunks must exist, so that a missing one is damage.
            memory: gives memory of the caller, which may be used for the result.

        Raises:
            DamagedDataError: A chunk is damaged, or missing although all must exist.
        """
        if complete and self._is_one_file(ranges):
            return self._read_file(memory)
        if complete:  # before memory is allocated, because the shape may be a lie
            name = _name_at(
                r[-1] // u for r, u in zip(ranges, self.shards or self.chunks, strict=True)
            )
            if self.directory.files.kind((self.directory / name).key) is None:
                raise _damage_error(name, "is missing")
        cuts = [
            Cut(r, unit) for r, unit in zip(ranges, self.shards or self.chunks, strict=True)
        ]
        files = grid(cuts)
        if complete or math.prod(len(cut.numbers) for cut in cuts) <= MANY:
            result = self._empty(tuple(map(len, ranges)), memory)
        else:
            result = fill_array([len(r) for r in ranges], self.fill, self.dtype)
            files = existing_chunks(self.directory, "c", "/", cuts)

        def put(parts: Parts, stored: _Stored | None, name: str) -> None:
            target = result[_box(part.outside for part in parts)]
            if stored is None:
                if complete:
                    raise _damage_error(name, "is missing")
                target[...] = self.fill
            # Decompressed straight into the result if possible: a copy takes as long as LZ4.
            elif target.shape == self.chunks and target.flags.c_contiguous:
                self._decode(stored, target, name)
            else:
                chunk = np.empty(self.chunks, self.dtype)
                self._decode(stored, chunk, name)
                target[...] = chunk[_box(part.inside for part in parts)]

        def put_file(parts: Parts) -> None:
            name = _name(parts)
            put(parts, self._file(name), name)

        with _running(self._count(ranges), result.nbytes) as run:
            if self.shards is None:
                for _ in run(put_file, files):
                    pass
                return result
            for shard in files:
                # This thread reads the parts, because they share one open file. The
                # other threads only decode.
                for _ in run(lambda item: put(*item), self._inner(shard)):
                    pass
        return result

    def _is_one_file(self, ranges: Sequence[range]) -> bool:
        """Return whether ``ranges`` select a whole array that is one chunk in one file."""
        if self.shards is not None or self.chunks != self.shape:
            return False
        return list(ranges) == list(map(range, self.shape))

    def _empty(self, shape: tuple[int, ...], memory: Memory | None) -> Pixels:
        given = None if memory is None else memory(shape, self.dtype)
        return np.empty(shape, self.dtype) if given is None else given

    def _read_file(self, memory: Memory | None) -> Pixels:
        name = "/".join(("c", *"0" * len(self.shape)))
        stored = self._file(name)
        if stored is None:
            raise _damage_error(name, "is missing")
        result = self._empty(self.shape, memory)
        self._decode(stored, result, name)
        return result

    def _count(self, ranges: Sequence[range]) -> int:
        return math.prod(
            r[-1] // c - r[0] // c + 1 for r, c in zip(ranges, self.chunks, strict=True)
        )

    def _file(self, name: str) -> _Stored | None:
        def split(size: int) -> int:
            if size > self._most:
                raise _damage_error(name, f"has {size} bytes, expected at most {self._most}")
            return size - self._checksum_bytes(size)

        try:
            return self.directory.files.read_parts((self.directory / name).key, split)
        except FileNotFoundError:
            return None

    def _open(self, name: str) -> BinaryIO:
        return self.directory.files.open((self.directory / name).key)

    def _checksum_bytes(self, length: int) -> int:
        """Return the number of bytes of a chunk that are its checksum."""
        return min(_CRC, length) if self.checksum else 0

    def _inner(self, shard: Parts) -> Iterator[tuple[Parts, _Stored | None, str]]:
        """Yield the wanted parts of the inner chunks of one shard."""
        name = _name(shard)
        parts = product(*(within(part, c) for part, c in zip(shard, self.chunks, strict=True)))
        try:
            file = self._open(name)
        except FileNotFoundError:
            yield from ((part, None, name) for part in parts)
            return
        with file:
            index = self._index(file, name)
            for part in parts:
                inner = f"{name!r}, inner chunk {tuple(p.number for p in part)}"
                offset, length = map(int, index[tuple(p.number for p in part)])
                if offset == length == _EMPTY:
                    yield part, None, inner
                    continue
                # A false offset can be larger than any position that a system accepts, 2**63 - 1.
                file.seek(min(offset, 2**62))
                # The index may be damaged or hostile: read no more bytes than the chunk can have.
                most = min(length, self._most)
                crc = self._checksum_bytes(most)
                stored = read_bytes(file.read, most - crc), file.read(crc)
                if sum(map(len, stored)) != length:
                    raise _damage_error(inner, "ends after the end of its file")
                yield part, stored, inner

    @property
    def _most(self) -> int:
        """The most bytes of an encoded chunk. Blosc stores data that grows as it is."""
        return math.prod(self.chunks) * self.dtype.itemsize + _BLOSC_HEADER + _CRC

    def _index(self, file: BinaryIO, name: str) -> NDArray[np.uint64]:
        """Return the offset and length of each inner chunk of a shard."""
        version = version_of(file, _CRC)
        index = self.indexes.get(name, version)
        if index is None:
            index = self._read_index(file, name)
            self.indexes.keep(name, version, index)
        return index

    def _read_index(self, file: BinaryIO, name: str) -> NDArray[np.uint64]:
        """Read the index, which is at the end of a shard."""
        assert self.shards is not None
        counts = [s // c for s, c in zip(self.shards, self.chunks, strict=True)]
        size = math.prod(counts) * 16
        end = file.seek(0, os.SEEK_END)
        if end < size + _CRC:
            raise _damage_error(name, "is cut short")
        if size > 16 * _MOST_INNER:
            reason = f"a shard has {size // 16} inner chunks, and polystore reads {_MOST_INNER}"
            raise UnsupportedFileError(reason, "zarr")
        file.seek(end - size - _CRC)
        data = file.read(size + _CRC)
        if _crc(data[:size]) != data[size:]:
            raise _damage_error(name, "has an index that does not match its checksum")
        return np.frombuffer(data[:size], "<u8").reshape(*counts, 2)

    def _decode(self, stored: _Stored, chunk: Pixels, name: str) -> None:
        data, checksum = stored
        if self.checksum and _crc(data) != checksum:
            raise _damage_error(name, "does not match its checksum")
        if self.compressor is None:
            if len(data) != chunk.nbytes:
                raise _damage_error(name, f"has {len(data)} bytes, expected {chunk.nbytes}")
            chunk[...] = np.frombuffer(data, self.dtype).reshape(self.chunks)
            return
        # The head of a Blosc chunk has the size of its data at byte 4, and its own at byte 12.
        # Blosc trusts both, and would read past the end of ``data``.
        sizes = [int.from_bytes(data[at : at + 4], "little") for at in (4, 12)]
        if sizes != [chunk.nbytes, len(data)]:
            raise _damage_error(name, "is cut short, or not a Blosc chunk of this array")
        try:
            is_plain = chunk.dtype.isbuiltin != 2
            self.compressor.decode(data, out=chunk if is_plain else _bits(chunk))
        except (RuntimeError, ValueError) as error:
            raise _damage_error(name, f"cannot be decompressed: {error}") from error

    # ── writing ──────────────────────────────────────────────────────────────────────────

    def write_new(self, values: Pixels) -> None:
        """Write all elements of an array that has no readers yet."""
        if self.shards is None and self.chunks == self.shape:  # one chunk in one file
            name = "/".join(("c", *"0" * values.ndim))
            chunk = np.ascontiguousarray(values, self.dtype)
            self.directory.files.write((self.directory / name).key, self._compress(chunk))
        elif values.size:
            self.write([range(length) for length in self.shape], values, seen=False)

    def write(
        self,
        ranges: Sequence[range],
        values: Pixels,
        *,
        seen: bool,
        durable: bool | None = None,
    ) -> None:
        """Write whole chunks or shards.

        Args:
            ranges: ranges on the grid of chunks or shards, or to the end of the array.
            values: the elements.
            seen: whether readers may see the array. Files are then replaced in one step.
            durable: whether files that are replaced survive a power cut.
        """
        files = self.directory.files
        write = partial(files.replace, durable=durable) if seen else files.write

        def save(parts: Parts, run: _Run) -> None:
            write((self.directory / _name(parts)).key, self._pieces(parts, values, run))

        with _running(self._count(ranges), values.nbytes) as run:
            if self.shards is None:  # files in threads
                for _ in run(lambda parts: save(parts, map), self._boxes(ranges)):
                    pass
                return
            for shard in self._boxes(ranges):  # inner chunks in threads
                save(shard, run)

    def encode(self, values: Pixels) -> list[EncodedFile]:
        """Encode the whole array in this thread, without writing it."""
        ranges = [range(length) for length in self.shape]
        return [
            (_name(parts), self._pieces(parts, values, map)) for parts in self._boxes(ranges)
        ]

    def _boxes(self, ranges: Sequence[range]) -> Iterator[Parts]:
        """Yield the parts of a region for each file."""
        return grid(list(map(Cut, ranges, self.shards or self.chunks)))

    def _pieces(self, parts: Parts, values: Pixels, run: _Run) -> list[bytes]:
        """Encode one file: a chunk, or a shard with its index."""
        if self.shards is None:
            return list(self._encode(parts, values))
        axes = [within(part, c) for part, c in zip(parts, self.chunks, strict=True)]
        inner = list(product(*axes))
        data = list(run(lambda part: b"".join(self._encode(part, values)), inner))
        return [*data, self._index_of(inner, data)]

    def _index_of(self, parts: Sequence[Parts], data: Sequence[bytes]) -> bytes:
        assert self.shards is not None
        counts = [s // c for s, c in zip(self.shards, self.chunks, strict=True)]
        index = np.full((*counts, 2), _EMPTY, "<u8")
        offset = 0
        for part, piece in zip(parts, data, strict=True):
            index[tuple(p.number for p in part)] = offset, len(piece)
            offset += len(piece)
        encoded = index.tobytes()
        return encoded + _crc(encoded)

    def _encode(self, parts: Parts, values: Pixels) -> _Stored:
        part = values[_box(part.outside for part in parts)]
        # Zarr stores whole chunks, also those that reach over the end of the array.
        if part.shape != self.chunks or part.dtype != self.dtype:
            chunk = np.full(self.chunks, self.fill, self.dtype)
            chunk[_box(part.inside for part in parts)] = part
        else:
            chunk = np.ascontiguousarray(part)
        return self._compress(chunk)

    def _compress(self, chunk: Pixels) -> _Stored:
        data: bytes = (
            chunk.tobytes() if self.compressor is None else self.compressor.encode(_bits(chunk))
        )
        return data, _crc(data) if self.checksum else b""


def _box(slices: Iterable[slice]) -> tuple[Value, ...]:
    # With the ellipsis, NumPy returns an array and not a number if there are no dimensions.
    return (*slices, ...)


def fill_array(shape: Sequence[int], fill: Value, dtype: np.dtype[Value]) -> Pixels:
    """Return an array of one value. An array of zeros takes memory only when it is written."""
    value = np.asarray(fill, dtype)
    if value.dtype.hasobject or any(value.tobytes()):
        return np.full(shape, value, dtype)
    return np.zeros(shape, dtype)


def _damage_error(name: str, reason: str) -> DamagedDataError:
    return DamagedDataError(f"the chunk {name} {reason}", "zarr")


def _crc(data: bytes) -> bytes:
    checksum: int = google_crc32c.value(data)
    return checksum.to_bytes(_CRC, "little")


def _name(parts: Parts) -> str:
    return _name_at(part.number for part in parts)


def _name_at(position: Iterable[int]) -> str:
    return "/".join(("c", *map(str, position)))


def _bits(chunk: Pixels) -> Pixels:
    """Return a chunk as a buffer. bfloat16 and float8 have none, so they become integers."""
    return chunk if chunk.dtype.isbuiltin != 2 else chunk.view(f"u{chunk.itemsize}")


@contextmanager
def _running(count: int, nbytes: int) -> Iterator[_Run]:
    """Give a ``map`` function that uses threads if that is faster."""
    workers = threads_for(nbytes, _IN_THREADS)
    if min(count, workers) < 2:
        yield map
        return
    with in_threads(workers) as run:
        yield run
