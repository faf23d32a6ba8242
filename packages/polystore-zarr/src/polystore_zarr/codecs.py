"""Which codecs a chunk goes through. The defaults are measurements: see decision 11."""

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
"""The names that ``compressor`` takes. "blosc" is "blosc-lz4"."""

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
    """Return the keyword arguments of ``zarr.create_array`` that say how chunks are encoded.

    ``compressor`` is a name of ``COMPRESSORS`` or ``None``; a mapping with such a name and a
    level, ``{"name": "zstd", "level": 9}``; or a codec of zarr (format 3) or numcodecs
    (format 2), which is used as it is.

    With ``checksum`` a CRC-32C ends each chunk, inside shards as well, so a bit that flips on
    the disk is an error and not a wrong pixel: no compressor but gzip has a checksum of its own.
    It does not apply to Zarr 2, which has none that programs other than zarr-python can read;
    there ``compressor="gzip"`` is the one that notices.

    Raises ``InvalidOptionError`` for a name, level or codec that is not possible.
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
        # Last, so it covers what is on the disk. Around a shard instead, a reader would have to
        # fetch the whole shard for one chunk, and tensorstore refuses such arrays.
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
    """Return the name and level that a compressor was asked for with."""
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
    if dtype.kind in "OT":  # their chunks are text with lengths, not elements of one size
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
