"""Check the heads of chunks before ``zarrs`` decompresses them, because it trusts their sizes.

``zarrs`` opens files itself, so its codecs cannot be replaced. It gets only chunks whose heads
have sizes that fit their array. zarr's own pipeline reads all others.
"""

from __future__ import annotations

import math
import mmap
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec, ZstdCodec

from ..codecguard import most_stored
from ..decoding import SPARE, sizes_in_head

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import zarr
    from zarr.abc.codec import Codec

    from polystore_core import Value

    from .base import StorePath

__all__ = ["heads_fit"]

_CRC = 4
_EMPTY = 2**64 - 1
_NAMES = {BloscCodec: "blosc", ZstdCodec: "zstd"}


def heads_fit(
    array: zarr.Array[Value], directory: StorePath, positions: Iterable[tuple[int, ...]]
) -> bool:
    """Return whether the chunks or shards at ``positions`` have sizes that fit the array.

    Raises:
        DamagedDataError: A chunk is not a regular file.
    """
    name = _compressor(array)
    if name is None:
        return False
    most = 2 * math.prod(array.chunks) * array.dtype.itemsize + SPARE
    most_bytes = most_stored(array.metadata)
    for position in positions:
        try:
            path = directory / array.metadata.encode_chunk_key(position)
            file = path.files.open(path.key)
        # A missing chunk has no sizes that could be false.
        except FileNotFoundError:
            continue
        with file:
            size = os.fstat(file.fileno()).st_size
            # An empty file cannot be mapped.
            if not 0 < size <= most_bytes:
                return False
            # Mapped, because only the heads and the index are read, and not the data in between.
            with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as mapped:
                if not _pieces_fit(mapped, array, name, most):
                    return False
    return True


def _pieces_fit(mapped: mmap.mmap, array: zarr.Array[Value], name: str, most: int) -> bool:
    # A map cannot be closed while there is a view of it, so the view ends first.
    with memoryview(mapped) as data:
        for start, end in _pieces(data, array):
            if end > len(data):
                return False
            if name == "none":
                continue
            with data[start:end] as piece:
                try:
                    if sizes_in_head(name, piece).bound > most:
                        return False
                except ValueError:
                    return False
    return True


def _pieces(data: memoryview, array: zarr.Array[Value]) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each compressed chunk: of a file, or of parts of a shard."""
    crc = _CRC if _has_checksum(_chain(array)) else 0
    if array.shards is None:
        yield 0, len(data) - crc
        return
    count = math.prod(s // c for s, c in zip(array.shards, array.chunks, strict=True))
    start = len(data) - _CRC - 16 * count
    if start < 0:
        yield 0, len(data) + 1  # too short for a shard of this array: the caller rejects it
        return
    index = np.frombuffer(data[start : len(data) - _CRC], "<u8").reshape(-1, 2).tolist()
    yield from ((at, at + length - crc) for at, length in index if at != _EMPTY)


def _chain(array: zarr.Array[Value]) -> tuple[Codec, ...]:
    if array.metadata.zarr_format == 2:
        return ()
    codecs = array.metadata.codecs
    if len(codecs) == 1 and isinstance(codecs[0], ShardingCodec):
        codecs = codecs[0].codecs
    return tuple(codecs)


def _has_checksum(codecs: tuple[Codec, ...]) -> bool:
    return bool(codecs) and isinstance(codecs[-1], Crc32cCodec)


def _compressor(array: zarr.Array[Value]) -> str | None:
    """Return the compressor if its heads have all sizes: "blosc", "zstd" or "none"."""
    if array.dtype.kind not in "biufc":  # the size of text does not follow from the shape
        return None
    if array.metadata.zarr_format == 2:
        compressor = array.metadata.compressor
        name = "none" if compressor is None else compressor.codec_id
        return None if array.metadata.filters or name not in ("none", "blosc", "zstd") else name
    if array.shards is not None:
        sharding = array.metadata.codecs[0]
        if not isinstance(sharding, ShardingCodec) or not _is_usual_index(sharding):
            return None
    codecs = list(_chain(array))
    if not codecs or not isinstance(codecs.pop(0), BytesCodec):
        return None
    if codecs and isinstance(codecs[-1], Crc32cCodec):
        codecs.pop()
    if len(codecs) > 1:
        return None
    return _NAMES.get(type(codecs[0])) if codecs else "none"


def _is_usual_index(sharding: ShardingCodec) -> bool:
    kinds = tuple(type(codec) for codec in sharding.index_codecs)
    location: Any = sharding.index_location  # a str since zarr 3.4, an Enum before
    at_end = getattr(location, "value", location) == "end"
    return at_end and kinds == (BytesCodec, Crc32cCodec)
