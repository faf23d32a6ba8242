"""Codecs that never decode to more bytes than a chunk of the array can have.

zarr does not tell a codec how large a chunk can be. So the codecs in the document of an array are
replaced by these, before zarr builds its pipeline.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numcodecs.abc
import numpy as np
from zarr.abc.codec import ArrayBytesCodec, BytesBytesCodec, Codec
from zarr.codecs import (
    BloscCodec,
    GzipCodec,
    ShardingCodec,
    VLenBytesCodec,
    VLenUTF8Codec,
    ZstdCodec,
)

from polystore_core.errors import UnsupportedFileError

from .decoding import COMPRESSORS, decode, decode_text, most_encoded, most_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer
    from zarr.core.metadata import ArrayV2Metadata, ArrayV3Metadata

    from polystore_core import Document, Value

__all__ = ["guard_codecs", "most_stored"]

_NAMES = {BloscCodec: "blosc", GzipCodec: "gzip", ZstdCodec: "zstd"}
_OF_OBJECTS = frozenset(("json2", "msgpack2", "pickle"))
"""Codecs that make objects of any size, or run code. zarr 3 has no arrays of these."""
_OF_ITEMS = frozenset(("vlen-array", "vlen-bytes", "vlen-utf8"))
_WIDEST = 32
"""The most bytes of a number that a filter makes from an element."""
_MOST_STORED_TEXT = 4 << 30


def guard_codecs(metadata: ArrayV2Metadata | ArrayV3Metadata) -> None:
    """Replace the codecs of a document that zarr has just read.

    Raises:
        UnsupportedFileError: A codec can make any number of bytes.
    """
    if metadata.zarr_format == 3:
        native = metadata.data_type.to_native_dtype()
        codecs = tuple(_guard(codec, native) for codec in metadata.codecs)
        # zarr's class of metadata is frozen, so the field is set past it.
        object.__setattr__(metadata, "codecs", codecs)
        return
    native = metadata.dtype.to_native_dtype()
    items = math.prod(metadata.chunks)
    filters = [Guarded2(codec, native, items) for codec in metadata.filters or ()]
    object.__setattr__(metadata, "filters", tuple(filters) or None)
    if metadata.compressor is not None:
        object.__setattr__(metadata, "compressor", Guarded2(metadata.compressor, native, items))


def most_stored(metadata: ArrayV2Metadata | ArrayV3Metadata) -> int:
    """Return the most bytes of a stored chunk or shard of an array."""
    if metadata.zarr_format == 2:
        native, codecs = metadata.dtype.to_native_dtype(), 1 + len(metadata.filters or ())
        return _most(native, metadata.chunks, 2 * codecs, metadata.filters)
    grid: Any = metadata.chunk_grid
    return _most_of(metadata.codecs, metadata.data_type.to_native_dtype(), grid.chunk_shape)


def _most_of(codecs: Sequence[Codec], native: np.dtype[Value], shape: Sequence[int]) -> int:
    sharding = next((codec for codec in codecs if isinstance(codec, ShardingCodec)), None)
    if sharding is None:
        return _most(native, shape, len(codecs), len(codecs) > 2)
    count = math.prod(-(-s // c) for s, c in zip(shape, sharding.chunk_shape, strict=True))
    # The index of a shard has 16 bytes for each chunk: its offset and its size.
    inner = _most_of(sharding.codecs, native, sharding.chunk_shape) + 16
    # A writer that changes a part of a shard leaves the old bytes in the file.
    return most_encoded(4 * count * inner + 4096, len(codecs))


def _most(native: np.dtype[Value], shape: Sequence[int], codecs: int, filtered: object) -> int:
    if _is_text(native):
        return _MOST_STORED_TEXT
    width = max(native.itemsize, _WIDEST) if filtered else native.itemsize
    return most_encoded(math.prod(shape) * width, codecs)


def _is_text(native: np.dtype[Value]) -> bool:
    return native.kind in "OT"


def _guard(codec: Codec, native: np.dtype[Value]) -> Codec:
    if isinstance(codec, ShardingCodec):
        return replace(codec, codecs=tuple(_guard(inner, native) for inner in codec.codecs))
    config = getattr(codec, "codec_config", {})
    if config:
        # An unknown configuration must fail when the array is opened, not when it is read.
        numcodecs.get_codec(dict(config))
    _check_config(config, native)
    if isinstance(codec, VLenUTF8Codec | VLenBytesCodec):
        return GuardedText(codec)
    name = _NAMES.get(type(codec), config.get("id"))
    if isinstance(codec, BytesBytesCodec) and name in COMPRESSORS:
        return Guarded3(codec, name, config)
    return codec


def _check_config(config: Value, native: np.dtype[Value]) -> None:
    """Raise an error for a filter that makes large values of small elements, such as texts."""
    if config.get("id") in _OF_OBJECTS:
        reason = (
            f"its codec {config['id']!r} makes Python objects, which polystore does not load"
        )
        raise UnsupportedFileError(reason, "zarr")
    for key in ("dtype", "astype", "encode_dtype", "decode_dtype"):
        width = np.dtype(config[key]).itemsize if config.get(key) is not None else 0
        if width > max(_WIDEST, native.itemsize):
            raise UnsupportedFileError(
                f"its filter {config.get('id')!r} makes {width} bytes of each {native} element, "
                f"and polystore reads at most {max(_WIDEST, native.itemsize)}",
                "zarr",
            )


@dataclass(frozen=True)
class Guarded3(BytesBytesCodec):
    """A compressor of Zarr 3."""

    codec: BytesBytesCodec
    name: str
    config: dict[str, Any]

    is_fixed_size = False

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        # As zarr's own codecs do, so that several chunks are decoded at once.
        return await asyncio.to_thread(self._decode_sync, chunk_bytes, chunk_spec)

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        native = chunk_spec.dtype.to_native_dtype()
        data = np.ascontiguousarray(chunk_bytes.as_numpy_array())
        if _is_text(native):
            decoded = decode_text(self.name, self.config, data)
        else:
            most = most_encoded(math.prod(chunk_spec.shape) * native.itemsize, 2)
            decoded = decode(self.name, self.config, data, most)
        return chunk_spec.prototype.buffer.from_bytes(decoded)

    async def _encode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer | None:
        encoded = next(iter(await self.codec.encode([(chunk_bytes, chunk_spec)])))
        # A chunk that the guard would not read again must not be written.
        if encoded is not None and len(chunk_bytes) > most_text(encoded.as_numpy_array()):
            raise ValueError(f"a chunk has {len(chunk_bytes)} bytes: pass smaller chunks=")
        return encoded

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        return self.codec.compute_encoded_size(input_byte_length, chunk_spec)

    def to_dict(self) -> Document:
        return self.codec.to_dict()


@dataclass(frozen=True)
class GuardedText(ArrayBytesCodec):
    """Texts of Zarr 3. A chunk starts with the number of texts, which may be a lie."""

    codec: ArrayBytesCodec

    is_fixed_size = False

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        _check_items(chunk_bytes.as_numpy_array(), math.prod(chunk_spec.shape))
        found = next(iter(await self.codec.decode([(chunk_bytes, chunk_spec)])))
        assert found is not None
        return found

    async def _encode_single(
        self, chunk_array: NDBuffer, chunk_spec: ArraySpec
    ) -> Buffer | None:
        return next(iter(await self.codec.encode([(chunk_array, chunk_spec)])))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        return self.codec.compute_encoded_size(input_byte_length, chunk_spec)

    def to_dict(self) -> Document:
        return self.codec.to_dict()


class Guarded2(numcodecs.abc.Codec):  # type: ignore[misc]
    """A compressor or filter of Zarr 2, for chunks of ``items`` elements."""

    def __init__(self, codec: Value, native: np.dtype[Value], items: int) -> None:
        self.codec, self.native, self.items = codec, native, items
        self.codec_id = codec.codec_id
        _check_config(codec.get_config(), native)

    def decode(self, buf: Value, out: Value = None) -> Value:
        # A text can have any length, but the number of texts is known.
        if self.codec_id in _OF_ITEMS:
            _check_items(numcodecs.compat.ensure_contiguous_ndarray(buf).view("u1"), self.items)
        if self.codec_id not in COMPRESSORS:
            return self.codec.decode(buf, out)
        data = numcodecs.compat.ensure_contiguous_ndarray(buf)
        if _is_text(self.native):
            return decode_text(self.codec_id, self.codec.get_config(), data)
        # The filters before this codec may have made wider elements.
        most = most_encoded(self.items * max(self.native.itemsize, _WIDEST), 2)
        return decode(self.codec_id, self.codec.get_config(), data, most)

    def encode(self, buf: Value) -> Value:
        return self.codec.encode(buf)

    def get_config(self) -> Document:
        config: dict[str, Any] = self.codec.get_config()
        return config


def _check_items(data: Value, count: int) -> None:
    found = int.from_bytes(bytes(data[:4]), "little")
    if found != count:
        raise ValueError(f"a chunk has {found} texts, expected {count}")
