"""Chunks in files of their own, read and written without a detour.

What ``save`` writes by default is plain: numbers, Blosc or nothing, a CRC-32C, one file for each
chunk. For a small image zarr-python's way there costs more than the image, so arrays of just
this kind go through the codecs directly. Everything else is zarr's, and so are the documents.

Formats: https://zarr-specs.readthedocs.io (Zarr 3: regular grid, default chunk key encoding,
``bytes``, ``blosc`` and ``crc32c`` codecs), and the header of a Blosc 1 chunk.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import google_crc32c
import numcodecs
import numpy as np

from polystore.atomic import PendingFile
from polystore.errors import DamagedDataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ChunkFiles"]

_TYPES = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
     "float16", "float32", "float64", "complex64", "complex128")
)  # fmt: skip
_SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}
_BLOSC_HEADER = 16
_CRC = 4
_IN_THREADS = 1 << 20
"""Bytes from which several chunks gain by threads."""


class _Part(NamedTuple):
    """What one chunk has of a range, on one axis."""

    number: int
    inside: slice
    outside: slice


@dataclass(frozen=True, slots=True)
class ChunkFiles:
    """The chunks of one array, by the fields of its ``zarr.json``."""

    directory: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]
    """Little-endian."""
    fill: Any
    compressor: Any
    checksum: bool

    @classmethod
    def of(cls, directory: str, fields: dict[str, Any]) -> ChunkFiles | None:
        """Return them, or ``None`` for an array that is not this plain."""
        try:
            return cls._of(directory, fields)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None  # zarr will say what is wrong with it

    @classmethod
    def _of(cls, directory: str, fields: dict[str, Any]) -> ChunkFiles | None:
        name, fill, shape = fields["data_type"], fields["fill_value"], fields["shape"]
        grid, keys = fields["chunk_grid"], fields["chunk_key_encoding"]
        chunks = grid["configuration"]["chunk_shape"]
        lengths = (*shape, *chunks)
        plain = (
            name in _TYPES
            and type(fill) in (int, float, bool)
            and grid["name"] == "regular"
            and keys["name"] == "default"
            and keys.get("configuration", {}).get("separator", "/") == "/"
            and not fields.get("storage_transformers")
            and len(shape) == len(chunks)
            and all(type(n) is int and n >= 0 for n in lengths)
            and all(chunks)
        )
        chain = _chain(fields["codecs"], np.dtype(name).itemsize) if plain else None
        if chain is None:
            return None
        dtype = np.dtype(name).newbyteorder("<")
        return cls(directory, tuple(shape), tuple(chunks), dtype, dtype.type(fill), *chain)

    # ── reading ──────────────────────────────────────────────────────────────────────────

    def read(self, ranges: Sequence[range], *, complete: bool) -> NDArray[Any]:
        """Return what ``ranges`` (ascending) select, in one axis for each.

        Raises ``DamagedDataError``; a missing chunk is damage where all are ``complete``.
        """
        result = np.empty([len(r) for r in ranges], self.dtype)

        def load(parts: tuple[_Part, ...]) -> None:
            target = result[tuple(part.outside for part in parts)]
            data = self._file(parts, complete=complete)
            if data is None:
                target[...] = self.fill
            elif target.shape == self.chunks and target.flags.c_contiguous:
                self._decode(data, target, parts)
            else:
                chunk = np.empty(self.chunks, self.dtype)
                self._decode(data, chunk, parts)
                target[...] = chunk[tuple(part.inside for part in parts)]

        _each(load, list(product(*map(_parts, ranges, self.chunks))), result.nbytes)
        return result

    def _file(self, parts: Sequence[_Part], *, complete: bool) -> bytes | None:
        try:
            with io.FileIO(self._path(parts)) as file:
                return file.readall()
        except FileNotFoundError:
            if complete:
                raise self._damaged(parts, "is missing") from None
            return None

    def _decode(self, data: bytes, chunk: NDArray[Any], parts: Sequence[_Part]) -> None:
        if self.checksum:
            data, stored = data[:-_CRC], data[-_CRC:]
            if google_crc32c.value(data).to_bytes(_CRC, "little") != stored:
                raise self._damaged(parts, "does not have the checksum it was written with")
        if self.compressor is None:
            if len(data) != chunk.nbytes:
                raise self._damaged(parts, f"has {len(data)} bytes instead of {chunk.nbytes}")
            chunk[...] = np.frombuffer(data, self.dtype).reshape(self.chunks)
            return
        sizes = np.frombuffer(data[:_BLOSC_HEADER].ljust(_BLOSC_HEADER, b"\0"), "<u4")
        if (sizes[1], sizes[3]) != (chunk.nbytes, len(data)):
            raise self._damaged(parts, "is cut short or no Blosc chunk of this array")
        try:
            self.compressor.decode(data, out=chunk)
        except (RuntimeError, ValueError) as error:
            raise self._damaged(parts, str(error)) from error

    def _damaged(self, parts: Sequence[_Part], reason: str) -> DamagedDataError:
        name = os.path.relpath(self._path(parts), self.directory)
        return DamagedDataError(f"the chunk file {name!r} {reason}", "zarr")

    def _path(self, parts: Sequence[_Part]) -> str:
        return os.path.join(self.directory, "c", *(str(part.number) for part in parts))

    # ── writing ──────────────────────────────────────────────────────────────────────────

    def write(self, ranges: Sequence[range], values: NDArray[Any], *, seen: bool) -> None:
        """Write whole chunks: ``ranges`` start and end on the grid or with the array.

        ``seen`` says that others may read the array meanwhile.
        """
        write = _write_atomically if seen else _write

        def save(parts: tuple[_Part, ...]) -> None:
            part = values[tuple(part.outside for part in parts)]
            if part.shape != self.chunks or part.dtype != self.dtype:
                chunk = np.full(self.chunks, self.fill, self.dtype)
                chunk[tuple(part.inside for part in parts)] = part
            else:
                chunk = np.ascontiguousarray(part)
            write(self._path(parts), self._encoded(chunk))

        _each(save, list(product(*map(_parts, ranges, self.chunks))), values.nbytes)

    def _encoded(self, chunk: NDArray[Any]) -> bytes:
        data: bytes = (
            chunk.tobytes() if self.compressor is None else self.compressor.encode(chunk)
        )
        if self.checksum:
            data += google_crc32c.value(data).to_bytes(_CRC, "little")
        return data


def _chain(codecs: list[dict[str, Any]], itemsize: int) -> tuple[Any, bool] | None:
    """Return compressor and checksum of a plain chain of codecs."""
    first, *rest = codecs
    little = first.get("configuration", {}).get("endian", "little") == "little"
    if first["name"] != "bytes" or not (little or itemsize == 1):
        return None
    checksum = bool(rest) and rest[-1]["name"] == "crc32c"
    if checksum:
        rest = rest[:-1]
    if not rest:
        return None, checksum
    if len(rest) > 1 or rest[0]["name"] != "blosc":
        return None
    configuration = rest[0]["configuration"]
    blosc = numcodecs.Blosc(
        cname=configuration["cname"],
        clevel=configuration["clevel"],
        shuffle=_SHUFFLES[configuration["shuffle"]],
        blocksize=configuration.get("blocksize", 0),
    )
    return blosc, checksum


def _parts(selected: range, chunk: int) -> list[_Part]:
    """Cut an ascending range at the edges of the chunks."""
    found = []
    start, step = selected.start, selected.step
    for number in range(start // chunk, selected[-1] // chunk + 1):
        first = max(-(-(number * chunk - start) // step), 0)
        after = min(-(-((number + 1) * chunk - start) // step), len(selected))
        if first < after:
            low, high = selected[first] - number * chunk, selected[after - 1] - number * chunk
            found.append(_Part(number, slice(low, high + 1, step), slice(first, after)))
    return found


def _each(work: Callable[[Any], None], items: Sequence[Any], nbytes: int) -> None:
    workers = min(len(items), os.cpu_count() or 1, 8) if nbytes >= _IN_THREADS else 1
    if workers < 2:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(workers, "polystore-zarr") as pool:
        for _ in pool.map(work, items):
            pass


def _write(path: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)
    flags |= getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, flags, 0o666)
    with io.FileIO(descriptor, "w") as file:
        view = memoryview(data)
        while view:  # Linux writes at most 2 GiB in one call
            view = view[file.write(view) :]


def _write_atomically(path: str, data: bytes) -> None:
    pending = PendingFile(path)
    try:
        pending.file.write(data)
        pending.seal()
        pending.commit()
    finally:
        pending.discard()
