"""``.safetensors``: named arrays, also of bfloat16 and float8, without pickle.

A file has a header in JSON and then the data: https://huggingface.co/docs/safetensors. This
module reads and writes the header itself. The library of that name opens files by path, but most
stores have no paths. It also holds all data a second time while it writes.
"""

from __future__ import annotations

import io
import json
import math
import mmap
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from polystore_core import (
    DIMENSIONS_LIMIT,
    Format,
    as_dtype,
    decode_json,
    dtype_name,
    is_array,
    is_extended,
    to_numpy,
)
from polystore_core.errors import (
    DamagedDataError,
    InvalidOptionError,
    UnsupportedDataError,
    UnsupportedFileError,
)

from .decoding import wrong_start
from .limits import allocating, file_size

if TYPE_CHECKING:
    from polystore_core import Document, Pixels, Value

__all__ = ["HEADER_LIMIT", "SafeTensors"]

HEADER_LIMIT = 100_000_000
"""The most bytes of a header. Other readers have the same limit."""

_METADATA = "__metadata__"
_NAMES = {
    "bool": "BOOL",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
    "complex64": "C64",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2": "F8_E5M2",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
}
_DTYPES = {stored: name for name, stored in _NAMES.items()}
_PACKED = ("F4", "F6_E2M3", "F6_E3M2")
"""Types with several elements in a byte."""
_MAPPED_FROM = 1 << 24
"""Files of at least this many bytes are mapped. Each map keeps a file of the system open."""


class SafeTensors(Format):
    """Mappings of names to arrays of any framework. Loads a dict of NumPy arrays, in its order.

    The arrays of a large file are a private memory map. The system reads only the pages that you
    use, and if you write to an array, the file does not change.
    """

    name = "safetensors"

    def save(
        self, value: Value, file: BinaryIO, /, *, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Write the arrays.

        Args:
            metadata: a dict of text for the header, such as ``{"format": "pt"}``.
        """
        arrays = _check_arrays(value)
        # The header keeps the order of the names. The data has another one, see below.
        header: Document = {name: {} for name in arrays}
        # Wide elements first, as the library does: then each array is aligned.
        ordered = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
        start = 0
        for name in ordered:
            array = arrays[name]
            header[name] = {
                "dtype": _NAMES[array.dtype.name],
                "shape": array.shape,
                "data_offsets": (start, start + array.nbytes),
            }
            start += array.nbytes
        if metadata is not None:
            header = {_METADATA: _check_metadata(metadata), **header}
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # data starts at a multiple of 8, for aligned maps
        if len(text) > HEADER_LIMIT:
            raise UnsupportedDataError(
                f"its header has {len(text)} bytes, but readers take at most {HEADER_LIMIT}: "
                "save it as several files",
                "safetensors",
            )
        file.write(struct.pack("<Q", len(text)) + text)
        for name in ordered:
            array = arrays[name]
            # The format has no field for the byte order: data is always little-endian.
            if array.dtype.byteorder == ">" or (array.dtype.byteorder == "=" and _IS_BIG):
                array = array.astype(array.dtype.newbyteorder("<"))
            # As bytes, because arrays of bfloat16 and float8 have no buffer of their own.
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def load(
        self, file: BinaryIO, /, *, arrays: Sequence[str] | None = None
    ) -> dict[str, Pixels]:
        """Load the arrays by their names.

        Args:
            arrays: load only the arrays with these names.
        """
        size = file_size(file)
        found, _ = _read_header(file, size)
        for name in arrays or ():
            if name not in found:
                raise InvalidOptionError(
                    "arrays", arrays, f"names of arrays ({', '.join(found):.300})"
                )
        wanted = {n: e for n, e in found.items() if arrays is None or n in arrays}
        for name, entry in wanted.items():
            if entry.dtype not in _DTYPES:
                what = "several elements in a byte" if entry.dtype in _PACKED else "unknown"
                raise UnsupportedFileError(
                    f"array {name!r:.100} has the type {entry.dtype!r:.40} ({what}), which NumPy "
                    "does not have. Load the others with arrays=[names]",
                    "safetensors",
                )
        mapped = _map(file, size)
        if mapped is not None:
            return {name: _view_mapped(mapped, entry) for name, entry in wanted.items()}
        total = sum(entry.nbytes for entry in wanted.values())
        with allocating(total, "safetensors", "load some of its arrays, with arrays=[names]"):
            return {name: _read(file, entry) for name, entry in wanted.items()}

    def info(self, file: BinaryIO, /) -> Document:
        found, metadata = _read_header(file, file_size(file))
        described = {
            name: {"shape": entry.shape, "dtype": _describe_dtype(entry.dtype)}
            for name, entry in found.items()
        }
        return {"metadata": {"arrays": described, "metadata": metadata}}


_IS_BIG = not np.little_endian


class _Entry(NamedTuple):
    """One array in a file: its type, by the name in the file, and the position of its data."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


def _check_arrays(value: Value) -> dict[str, Pixels]:
    """Return the arrays by name, or raise ``UnsupportedDataError`` before anything is written."""
    if is_array(value) or not isinstance(value, Mapping):
        raise UnsupportedDataError(
            f"expected a dict of names and arrays, got {type(value).__name__}: save "
            "{'name': array}",
            "safetensors",
        )
    arrays = {}
    for name, item in value.items():
        if type(name) is not str or name == _METADATA or not _is_text(name):
            raise UnsupportedDataError(
                f"{name!r:.300} is not a valid name of an array: use text such as "
                "'layer.weight'",
                "safetensors",
            )
        try:
            array = to_numpy(item, extended=True)
        except UnsupportedDataError as error:
            raise UnsupportedDataError(
                f"array {name!r}: {error.reason}", "safetensors"
            ) from error
        if array.dtype.name not in _NAMES:
            raise UnsupportedDataError(
                f"array {name!r}: safetensors does not have {array.dtype}: convert it, or save "
                "the arrays as .npz",
                "safetensors",
            )
        arrays[name] = array
    return arrays


def _is_text(value: object) -> bool:
    """Return whether ``value`` is a ``str`` that UTF-8 can encode."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(metadata, Mapping) or not all(
        _is_text(text) for pair in metadata.items() for text in pair
    ):
        raise InvalidOptionError("metadata", metadata, "a dict of text, as {'format': 'pt'}")
    return dict(metadata)


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, _Entry], Document]:
    """Return the arrays by name, and the metadata of the header.

    Each byte of the data must belong to exactly one array. A gap or an overlap raises an error,
    because the format has no checksum that would find a changed header.
    """
    start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    # There is no magic number. The specification asks for "{" as the first byte of the header.
    if len(start) < 9 or start[8:] != b"{" or length > size - 8:
        raise wrong_start(start[:8], "a safetensors file", "safetensors")
    if length > HEADER_LIMIT:
        reason = f"its header has {length} bytes, but polystore reads at most {HEADER_LIMIT}"
        raise UnsupportedFileError(reason, "safetensors")
    file.seek(8)
    try:
        header = decode_json(file.read(length))
    except DamagedDataError as error:
        raise DamagedDataError(f"its header: {error.reason}", "safetensors") from error
    metadata = header.pop(_METADATA, None)
    found = {name: _entry(name, item, 8 + length) for name, item in header.items()}
    end = 8 + length
    # By position, and then by size: an empty array may start where the next one starts.
    for name, entry in sorted(found.items(), key=lambda pair: pair[1][2:]):
        if entry.start != end:
            reason = f"array {name!r:.100} overlaps another one, or follows a gap"
            raise DamagedDataError(reason, "safetensors")
        end += entry.nbytes
    if end != size:
        raise DamagedDataError(
            f"its data should end at byte {end}, but the file has {size} bytes", "safetensors"
        )
    return found, metadata if isinstance(metadata, dict) else {}


def _entry(name: str, item: object, data: int) -> _Entry:
    # ``type(n) is int`` below, because ``true`` in JSON is an int for ``isinstance``.
    match item:
        case {
            "dtype": str(dtype),
            "shape": list(shape),
            "data_offsets": [int(start), int(stop)],
        } if all(type(n) is int and n >= 0 for n in (*shape, start, stop)) and start <= stop:
            nbytes = stop - start
        case _:
            reason = f"the header entry of array {name!r:.100} is not valid: {item!r:.100}"
            raise DamagedDataError(reason, "safetensors")
    if len(shape) > DIMENSIONS_LIMIT:
        reason = (
            f"array {name!r:.100} has {len(shape)} dimensions, but NumPy has at most "
            f"{DIMENSIONS_LIMIT}"
        )
        raise UnsupportedFileError(reason, "safetensors")
    stored = _DTYPES.get(dtype)
    if stored is not None and math.prod(shape) * _itemsize(stored) != nbytes:
        reason = f"array {name!r:.100} has {nbytes} bytes for {dtype} {tuple(shape)!r:.100}"
        raise DamagedDataError(reason, "safetensors")
    return _Entry(dtype, tuple(shape), data + start, nbytes)


def _itemsize(name: str) -> int:
    if is_extended(name):  # np.dtype(name) needs ml_dtypes, and info() must work without it
        return 2 if name == "bfloat16" else 1
    return np.dtype(name).itemsize


def _describe_dtype(stored: str) -> str:
    name = _DTYPES.get(stored, stored)
    plain = name not in _NAMES or is_extended(name)
    return name if plain else dtype_name(np.dtype(name).newbyteorder("<"))


def _map(file: BinaryIO, size: int) -> mmap.mmap | None:
    """Map a large file. Return ``None`` if it is small, or not a file that can be mapped."""
    if size < _MAPPED_FROM:
        return None
    try:
        # The map has a descriptor of its own, so that it can be used after ``file`` is closed.
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except (io.UnsupportedOperation, OSError):  # for example, too many files are open
        return None


def _view_mapped(mapped: mmap.mmap, entry: _Entry) -> Pixels:
    array = _reshape(np.frombuffer(mapped, np.uint8, entry.nbytes, entry.start), entry)
    # Other writers do not align their data, and many C libraries crash on such arrays.
    return array if array.flags.aligned else array.copy()


def _read(file: BinaryIO, entry: _Entry) -> Pixels:
    memory = np.empty(entry.nbytes, np.uint8)
    file.seek(entry.start)
    filled = 0
    while filled < memory.size:
        count = file.readinto(memory[filled:].data)  # type: ignore[attr-defined]
        if not count:
            reason = f"its last {memory.size - filled} bytes are missing"
            raise DamagedDataError(reason, "safetensors")
        filled += count
    return _reshape(memory, entry)


def _reshape(memory: Pixels, entry: _Entry) -> Pixels:
    try:
        return memory.view(as_dtype(_DTYPES[entry.dtype]).newbyteorder("<")).reshape(
            entry.shape
        )
    except ValueError as error:
        reason = f"NumPy has no arrays of the shape {entry.shape!r:.100}: {error}"
        raise UnsupportedFileError(reason, "safetensors") from error
