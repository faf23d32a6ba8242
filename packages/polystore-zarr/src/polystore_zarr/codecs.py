"""The codecs of chunks. The defaults were measured: see decision 11."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numcodecs
from numcodecs.abc import Codec as Zarr2Codec
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from polystore_core.errors import InvalidOptionError

if TYPE_CHECKING:
    import numpy as np

    from polystore_core import Document, Option, Value

    from .store.nodes import ZarrFormat

__all__ = ["COMPRESSORS", "codec_options"]

COMPRESSORS = ("none", "blosc", "blosc-lz4", "blosc-zstd", "zstd", "gzip")
"""The names for ``compressor``. "blosc" is "blosc-lz4"."""

# name: default level, lowest and highest
_LEVELS = {
    "blosc": (5, 0, 9),
    "blosc-lz4": (5, 0, 9),
    "blosc-zstd": (1, 0, 9),
    "zstd": (3, -131072, 22),
    "gzip": (1, 0, 9),
}
_BITSHUFFLE = 2


def codec_options(
    compressor: object, *, zarr_format: ZarrFormat, dtype: np.dtype[Option], checksum: bool
) -> Document:
    """Return the keyword arguments of ``zarr.create_array`` for the encoding of chunks.

    Args:
        compressor: a name of ``COMPRESSORS``, or ``None``. Or a mapping with name and level, such
            as ``{"name": "zstd", "level": 9}``. Or a codec of zarr (format 3) or numcodecs
            (format 2), which is not changed.
        zarr_format: 2 or 3.
        dtype: the element type.
        checksum: whether a CRC-32C ends each chunk, also in shards. A flipped bit on the disk is
            then an error and not a wrong pixel. Only gzip has a checksum of its own. Zarr 2 has
            no checksum that other programs can read, so use ``compressor="gzip"`` there.

    Raises:
        InvalidOptionError: A name, level or codec is not valid.
    """
    if isinstance(compressor, BytesBytesCodec | Zarr2Codec):
        codec: Any = _check_codec(compressor, zarr_format)
    else:
        name, level = _name_and_level(compressor)
        make = _zarr3_codec if zarr_format == 3 else _zarr2_codec
        codec = None if name == "none" else make(name, level, dtype)
    if zarr_format == 2:
        return {"compressors": codec}
    codecs = [] if codec is None else [codec]
    if checksum and not isinstance(codec, Crc32cCodec):
        # Last, so that it covers the stored bytes. A checksum of the whole shard would make a
        # reader fetch the shard for one chunk, and tensorstore cannot read such arrays.
        codecs.append(Crc32cCodec())
    return {"compressors": codecs or None}


def _check_codec(codec: object, zarr_format: ZarrFormat) -> object:
    wanted = BytesBytesCodec if zarr_format == 3 else Zarr2Codec
    if isinstance(codec, wanted):
        return codec
    expected = (
        "a bytes-to-bytes codec of zarr.codecs" if zarr_format == 3 else "a codec of numcodecs"
    )
    raise InvalidOptionError("compressor", codec, f"{expected}, for zarr_format={zarr_format}")


def _name_and_level(compressor: object) -> tuple[str, int]:
    """Return the name and the level in the option ``compressor``."""
    name, given = compressor, None
    if isinstance(compressor, Mapping):
        if not {"name"} <= set(compressor) <= {"name", "level"}:
            expected = "a mapping with the key 'name', and optionally 'level'"
            raise InvalidOptionError("compressor", compressor, expected)
        name, given = compressor["name"], compressor.get("level")
    if name is None:
        name = "none"
    if not isinstance(name, str) or name not in COMPRESSORS:
        known = ", ".join(map(repr, COMPRESSORS))
        expected = f"one of {known}, a mapping with name and level, or a codec"
        raise InvalidOptionError("compressor", compressor, expected)
    if name == "none":
        if given is not None:
            raise InvalidOptionError("compressor", compressor, "'none' without a level")
        return name, 0
    default, lowest, highest = _LEVELS[name]
    level = default if given is None else given
    if not isinstance(level, int) or isinstance(level, bool) or not lowest <= level <= highest:
        expected = f"a level from {lowest} to {highest} for {name!r}"
        raise InvalidOptionError("compressor", compressor, expected)
    return name, level


def _library(name: str) -> Literal["lz4", "zstd"]:
    return "zstd" if name == "blosc-zstd" else "lz4"


def _zarr3_codec(name: str, level: int, dtype: np.dtype[Value]) -> BytesBytesCodec:
    if name == "zstd":
        return ZstdCodec(level=level)
    if name == "gzip":
        return GzipCodec(level=level)
    if dtype.kind in "OT":  # chunks of text have lengths and bytes, not elements of one size
        return BloscCodec(cname=_library(name), clevel=level, shuffle="noshuffle", typesize=1)
    # Blosc has one byte for the size of an element.
    typesize = dtype.itemsize if 0 < dtype.itemsize <= 255 else 1
    return BloscCodec(
        cname=_library(name), clevel=level, shuffle="bitshuffle", typesize=typesize
    )


def _zarr2_codec(name: str, level: int, dtype: np.dtype[Value]) -> Zarr2Codec:
    if name == "zstd":
        return numcodecs.Zstd(level=level)
    if name == "gzip":
        return numcodecs.GZip(level=level)
    shuffle = 0 if dtype.kind in "OT" else _BITSHUFFLE
    return numcodecs.Blosc(cname=_library(name), clevel=level, shuffle=shuffle)
