"""Which arrays are plain, so that ``chunkfiles`` can read and write them without zarr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np

from polystore_core import as_dtype, is_extended

if TYPE_CHECKING:
    from polystore_core import Document, Value

__all__ = ["plan_chunks"]

_TYPES = frozenset(
    (
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float16",
        "float32",
        "float64",
        "complex64",
        "complex128",
    )
)
_SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}


def plan_chunks(fields: Document) -> tuple[Any, ...] | None:
    """Return the fields of ``ChunkFiles`` after the directory, or ``None`` for other arrays.

    Raises one of many errors if the document has another form.
    """
    name, fill, shape = fields["data_type"], fields["fill_value"], fields["shape"]
    grid, keys, codecs = (
        fields["chunk_grid"],
        fields["chunk_key_encoding"],
        fields["codecs"],
    )
    chunks, shards = grid["configuration"]["chunk_shape"], None
    if codecs[0]["name"] == "sharding_indexed":
        sharding = codecs[0]["configuration"]
        # Codecs around a shard, and other codecs of its index, are rare: zarr reads such arrays.
        if len(codecs) > 1 or not _is_usual_index(sharding):
            return None
        chunks, shards, codecs = sharding["chunk_shape"], chunks, sharding["codecs"]
        # The specification forbids it, and zarr raises the error.
        if any(s % c for s, c in zip(shards, chunks, strict=True)):
            return None
    plain = (
        (name in _TYPES or _is_extended_type(name))
        and (fill := _number(fill)) is not None
        and grid["name"] == "regular"
        and keys["name"] == "default"
        and keys.get("configuration", {}).get("separator", "/") == "/"
        and not fields.get("storage_transformers")
        and len(shape) == len(chunks)
        # `True` and 4.0 are equal to integers in Python, but a shape in JSON may have neither.
        and set(map(type, (*shape, *chunks))) <= {int}
        and min((*shape, *chunks), default=0) >= 0
        and all(chunks)
    )
    if not plain:
        return None
    dtype = (np.dtype(name) if name in _TYPES else as_dtype(name)).newbyteorder("<")
    chain = _chain(codecs, dtype.itemsize)
    if chain is None:
        return None
    outer = None if shards is None else tuple(shards)
    return tuple(shape), tuple(chunks), outer, dtype, dtype.type(fill), *chain


def _is_usual_index(sharding: Document) -> bool:
    first, second = sharding["index_codecs"]
    names = first["name"], first["configuration"]["endian"], second["name"]
    at_end: bool = sharding.get("index_location", "end") == "end"
    return at_end and names == ("bytes", "little", "crc32c")


def _is_extended_type(name: object) -> bool:
    # float8_e8m0fnu has no 0, which is the usual fill value. zarr's type handles this.
    return isinstance(name, str) and is_extended(name) and name != "float8_e8m0fnu"


def _number(fill: Value) -> complex | None:
    """Return a fill value, or ``None`` if it has one of the rare forms."""
    if isinstance(fill, list):
        real, imaginary = fill
        return complex(real, imaginary)
    return fill if type(fill) in (int, float, bool) else None


def _chain(codecs: list[Document], itemsize: int) -> tuple[Value, bool] | None:
    """Return the compressor and whether there is a checksum, or ``None`` for other codecs."""
    first, *rest = codecs
    # The order may be left out for elements of one byte, which have none.
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
