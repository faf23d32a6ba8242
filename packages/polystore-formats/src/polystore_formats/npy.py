"""``.npy``: one array, as specified in NumPy's NEP 1 (versions 1.0 to 3.0 of the header).

This module parses the header itself and does not call ``numpy.load``. Parsing takes most of the
time of a small file, and the thousands of files of a plate have only a few different headers.
"""

from __future__ import annotations

import ast
import functools
import io
import math
import mmap
import re
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

import numpy as np
from numpy.lib import format as numpy_format

from polystore_core import DIMENSIONS_LIMIT, Format, LazyArray, Opener, select, to_numpy
from polystore_core.errors import (
    DamagedDataError,
    DataError,
    UnsupportedDataError,
    UnsupportedFileError,
)

from .decoding import wrong_start
from .limits import allocating, file_size
from .streaming import check_lazy, is_lazy, parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from polystore_core import Document, Memory, Pixels, Region, Value

__all__ = ["Npy", "NpyArray", "array_from_bytes", "read_array", "read_header", "write_array"]

_MAGIC = b"\x93NUMPY"
_HEADER_LIMIT = 1 << 16  # more fields than any real dtype: a larger header is an attack
_ADVICE = "read a part of it, with region= or open()"
# How pickles of protocol 2 to 5 start. numpy.save writes a pickle for an object array.
_PICKLES = (b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5")
_NO_PICKLE = (
    "which can run any code, so polystore does not load it. If you trust it, load it with "
    "numpy.load(…, allow_pickle=True), and save its arrays separately"
)
_LONG = re.compile(r"(?<=[0-9])L\b")
"""The suffix of integers in shapes that Python 2 wrote, such as (3L, 4L)."""
_PREFIX = 12  # magic, version and the longer of the two header lengths


class Header(NamedTuple):
    """The fields of the header, the offset where the data starts, and its number of bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]
    offset: int
    nbytes: int


class Npy(Format):
    """Arrays of any plain dtype. Object arrays are rejected, because they need pickle."""

    name = "npy"

    def save(self, value: Value, file: BinaryIO, /) -> None:
        if not is_lazy(value):
            write_array(file, to_numpy(value))
            return
        check_lazy(value)
        file.write(_encode_header(value.dtype, False, tuple(value.shape)))
        for part in parts(value):
            file.write(part.reshape(-1).view(np.uint8).data)

    def load(self, file: BinaryIO, /, *, region: Region | None = None) -> Pixels:
        """Load the array.

        Args:
            region: load only this part, for example ``np.s_[3, :100]``.
        """
        if region is None and isinstance(file, io.BytesIO):
            # The backends give small files as BytesIO, and a plate has thousands of them. This
            # path parses each header once and copies the pixels once.
            return array_from_bytes(file.getvalue())
        return self.load_into(file, _own_memory, region=region)

    def load_into(  # type: ignore[override]
        self, file: BinaryIO, memory: Memory, /, *, region: Region | None = None
    ) -> Pixels:
        if isinstance(file, io.BytesIO):  # it is in memory already, so a map gains nothing
            array = _array_over(file.getvalue())
            return _copy(array if region is None else array[region], memory)
        header = _header_of(file)
        if region is None:
            return _read_into(file, header, memory)
        mapped = _map(file, header)
        if mapped is None:
            return _read_part(file, header, region)
        return _copy(mapped[region], memory)

    def info(self, file: BinaryIO, /) -> Document:
        header = _header_of(file)
        return {"shape": header.shape, "dtype": header.dtype.str, "metadata": {}}

    def open(self, opener: Opener, /) -> NpyArray:
        return NpyArray(opener)


class NpyArray(LazyArray):
    """A memory map. Indexing gives read-only views, and the system reads only their pages.

    The map keeps the version of the file that was opened, also after a later save. If the store
    has no files that can be mapped, each region reads the rows that it needs.
    """

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        with opener() as file:
            header = _header_of(file)
            self._array: NDArray[Any] | None = _map(file, header)
        self._closed = False
        self.shape, self.dtype = header.shape, header.dtype

    def __getitem__(self, region: Region) -> Pixels:
        if self._closed:
            raise ValueError("this handle is closed")
        if self._array is not None:
            return self._array[region]
        with self._opener() as file:
            header = _header_of(file)
            # Without a map, each region opens the file again: it may be another version.
            if (header.shape, header.dtype) != (self.shape, self.dtype):
                reason = "another array has replaced it since it was opened: open it again"
                raise UnsupportedFileError(reason, "npy")
            return _read_part(file, header, region)

    def close(self) -> None:
        self._array, self._closed = None, True

    def __reduce__(self) -> tuple[Value, ...]:
        return NpyArray, (self._opener,)


def _own_memory(*_: Value) -> None:
    return None


def read_array(file: BinaryIO, size: int, memory: Memory = _own_memory) -> Pixels:
    """Read one array that is the whole of ``file``, which has ``size`` bytes."""
    return _read_into(file, read_header(file, size), memory)


def _read_into(file: BinaryIO, header: Header, memory: Memory) -> Pixels:
    """Read all data. The position of ``file`` must be the start of the data."""
    # Memory of a caller is in C order. An array in Fortran order gets its own, so that it loads
    # with the order that it was saved with.
    given = memory(header.shape, header.dtype) if header.order == "C" else None
    if given is None:
        with allocating(header.nbytes, "npy", _ADVICE):
            given = np.empty(header.shape, header.dtype, order=header.order)
    # "A" gives a view for both orders. Another order could give a copy, and fill only the copy.
    _fill(given.reshape(-1, order="A"), file)
    return given


def _copy(array: Pixels, memory: Memory) -> Pixels:
    """Copy a view into the caller's memory, or into new memory. Keep Fortran order."""
    is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    given = None if is_fortran else memory(array.shape, array.dtype)
    if given is None:
        with allocating(array.nbytes, "npy", _ADVICE):
            return np.array(array)
    given[...] = array
    return given


def _fill(array: Pixels, file: BinaryIO) -> None:
    """Fill a contiguous array of one axis from the position of ``file``."""
    flat = array.view(np.uint8)
    filled = 0
    # One call may give fewer bytes, for example from a member of a zip.
    while filled < flat.size:
        count = file.readinto(flat[filled:].data)  # type: ignore[attr-defined]
        if not count:
            raise DamagedDataError(f"its last {flat.size - filled} bytes are missing", "npy")
        filled += count


def _read_part(file: BinaryIO, header: Header, region: Region) -> Pixels:
    """Read from the first to the last row of ``region``, and return the region.

    A row is a run of bytes in the file: one index of the first axis in C order, or of the last
    axis in Fortran order.
    """
    selection = select(region, header.shape)
    shape, ranges = header.shape or (1,), selection.ranges or (range(1),)
    if header.order == "F":
        shape, ranges = shape[::-1], ranges[::-1]
    if not all(ranges):  # one of them is empty
        return np.empty(selection.shape, header.dtype)
    start, stop = ranges[0][0], ranges[0][-1] + 1
    nbytes = header.nbytes // shape[0]
    with allocating((stop - start) * nbytes, "npy", _ADVICE):
        rows = np.empty((stop - start, *shape[1:]), header.dtype)
    file.seek(header.offset + start * nbytes)
    _fill(rows.reshape(-1), file)
    inner = range(0, stop - start, ranges[0].step), *ranges[1:]
    part = rows[tuple(slice(r.start, r.stop, r.step) for r in inner)]
    return selection.arrange(np.array(part.T if header.order == "F" else part))


def array_from_bytes(content: bytes) -> Pixels:
    """Return the array in ``content``, the bytes of a whole file, in new memory.

    Raises:
        DamagedDataError: The header is not valid, or the number of bytes is wrong.
        UnsupportedFileError: The file is whole, but holds a pickle or several arrays.
    """
    return _array_over(content).copy("K")


def _array_over(content: bytes) -> Pixels:
    """Return a read-only view of ``content``, the bytes of a whole file."""
    end = _header_end(content[:_PREFIX], len(content))
    shape, dtype, order, offset, nbytes = header = _parse_header(content[:end])
    if offset + nbytes != len(content):
        raise _wrong_size(header, len(content), content[offset + nbytes :])
    if nbytes == 0:
        return np.empty(shape, dtype, order=order)
    return np.ndarray(shape, dtype, content, offset, order=order)


def write_array(file: BinaryIO, array: Pixels) -> None:
    """Write the header and the data.

    Raises:
        UnsupportedDataError: npy cannot store the dtype. Nothing has been written.
    """
    # An array of one axis is contiguous both ways. It is in C order, as in NumPy.
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    file.write(_encode_header(array.dtype, fortran, array.shape))
    # As bytes, because arrays of dates and of structures have no buffer that files can write.
    contiguous = array.T if fortran else np.ascontiguousarray(array)
    file.write(contiguous.reshape(-1).view(np.uint8).data)


@functools.lru_cache(maxsize=256)  # the arrays of a batch usually have the same header
def _encode_header(dtype: np.dtype[Value], fortran: bool, shape: tuple[int, ...]) -> bytes:
    if dtype.hasobject:
        raise UnsupportedDataError(
            "its dtype has Python objects, which need pickle, and polystore does not use pickle: "
            "convert it to a plain dtype, or save its parts separately",
            "npy",
        )
    descr = numpy_format.dtype_to_descr(dtype)
    if dtype.itemsize == 0 or not _is_dtype(descr, dtype):
        raise UnsupportedDataError(
            f"npy cannot store the dtype {dtype!r:.200}: convert it (.safetensors and Zarr 3 hold "
            "bfloat16 and float8)",
            "npy",
        )
    text = repr({"descr": descr, "fortran_order": fortran, "shape": shape})
    plain = text.isascii()
    encoded = text.encode()
    # Version 1.0 has 2 bytes for the length and 2.0 has 4. 3.0 is 2.0 with names in UTF-8.
    start = 10 if plain and len(encoded) < 60_000 else 12
    # As in NumPy, data starts at a multiple of 64 bytes, so that a map of the file is aligned.
    padding = -(start + len(encoded) + 1) % numpy_format.ARRAY_ALIGN
    encoded += b" " * padding + b"\n"
    if len(encoded) > _HEADER_LIMIT:
        raise UnsupportedDataError(
            f"its dtype has too many fields: the header has {len(encoded)} bytes, but npy holds "
            f"at most {_HEADER_LIMIT}",
            "npy",
        )
    if start == 10:
        return _MAGIC + b"\1\0" + len(encoded).to_bytes(2, "little") + encoded
    version = b"\2\0" if plain else b"\3\0"
    return _MAGIC + version + len(encoded).to_bytes(4, "little") + encoded


def _is_dtype(descr: Value, dtype: np.dtype[Value]) -> bool:
    """Return whether a header with ``descr`` loads as ``dtype``."""
    try:
        return numpy_format.descr_to_dtype(descr) == dtype
    except TypeError:  # a type that NumPy does not have, such as "<f1" of ml_dtypes
        return False


def read_header(file: BinaryIO, size: int) -> Header:
    """Read the header at the start of ``file``, a file of ``size`` bytes, and check it.

    Afterwards the position is the start of the data. The array is not larger than the file.

    Raises:
        DamagedDataError: The header is not valid, or the number of bytes is wrong.
        UnsupportedFileError: The file is whole, but holds a pickle or several arrays.
    """
    start = file.read(_PREFIX)
    header = _parse_header(start + file.read(_header_end(start, size) - _PREFIX))
    end = header.offset + header.nbytes
    if end != size:
        file.seek(min(end, size))  # numpy.save into one open file puts arrays behind each other
        raise _wrong_size(header, size, file.read(len(_MAGIC)))
    return header


def _header_end(start: bytes, size: int) -> int:
    if not start.startswith(_MAGIC):
        if start.startswith(_PICKLES):
            raise UnsupportedFileError(f"it is a pickle, {_NO_PICKLE}", "npy")
        raise wrong_start(start, "a NumPy array", "npy")
    if len(start) < _PREFIX:
        raise DamagedDataError(f"it ends at byte {len(start)}, within its header", "npy")
    if start[6:8] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise UnsupportedFileError(
            f"its npy version is {start[6]}.{start[7]}, but polystore reads 1.0, 2.0 and 3.0",
            "npy",
        )
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(start[8 : 8 + width], "little")
    # Checked before it is read: a damaged length could ask for 4 GiB.
    if not 2 <= length <= size:
        raise DamagedDataError(f"its header has {length} bytes, but the file has {size}", "npy")
    if length > _HEADER_LIMIT:
        raise UnsupportedFileError(
            f"its header has {length} bytes, but polystore reads at most {_HEADER_LIMIT}", "npy"
        )
    return 8 + width + length


def _wrong_size(header: Header, size: int, rest: bytes) -> DataError:
    if rest.startswith(_MAGIC):
        return UnsupportedFileError(
            "it holds several arrays: load them with numpy.load, and save each to its own file, "
            "or all as .npz",
            "npy",
        )
    return DamagedDataError(
        f"an array of shape {header.shape} and dtype {header.dtype} has {header.nbytes} bytes, "
        f"but the file has {size - header.offset} after its header",
        "npy",
    )


@functools.lru_cache(maxsize=1024)  # parsing takes longer than reading a small array
def _parse_header(start: bytes) -> Header:
    version, text = start[6:8], start[10 if start[6] == 1 else 12 :]
    try:
        fields = _literal(text.decode("utf-8" if version == b"\3\0" else "latin1"))
        descr, fortran, shape = fields["descr"], fields["fortran_order"], fields["shape"]
        valid = (
            len(fields) == 3
            and type(fortran) is bool
            and type(shape) is tuple
            and all(type(n) is int and n >= 0 for n in shape)
        )
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        reason = f"its header is not valid: {text.strip()!r:.200}"
        raise DamagedDataError(reason, "npy") from error
    if not valid:
        raise DamagedDataError(f"its header is not valid: {fields!r:.200}", "npy")
    dtype = _dtype(descr)
    if len(shape) > DIMENSIONS_LIMIT:
        raise DamagedDataError(
            f"its shape has {len(shape)} dimensions, expected at most {DIMENSIONS_LIMIT}", "npy"
        )
    nbytes = math.prod(shape) * dtype.itemsize
    return Header(shape, dtype, "F" if fortran else "C", len(start), nbytes)


def _literal(text: str) -> Value:
    try:
        return ast.literal_eval(text)  # never eval(): the text is a stranger's
    except SyntaxError:
        return ast.literal_eval(_LONG.sub("", text))


def _dtype(descr: Value) -> np.dtype[Value]:
    try:
        dtype = numpy_format.descr_to_dtype(descr)
    except (TypeError, ValueError, RecursionError) as error:
        reason = f"NumPy does not know its dtype {descr!r:.200}"
        raise UnsupportedFileError(reason, "npy") from error
    if dtype.hasobject:  # the data is a pickle, which could run any code
        raise UnsupportedFileError(f"it holds a pickle, {_NO_PICKLE}", "npy")
    if dtype.itemsize == 0:
        raise UnsupportedFileError(
            f"the values of its dtype {descr!r:.200} have 0 bytes", "npy"
        )
    return dtype


def _header_of(file: BinaryIO) -> Header:
    return read_header(file, file_size(file))


def _map(file: BinaryIO, header: Header) -> Pixels | None:
    """Map ``file`` into memory. Return ``None`` if it is not a file of the system."""
    if header.nbytes == 0:  # there is nothing to map
        return np.empty(header.shape, header.dtype)
    try:
        descriptor = file.fileno()
    except io.UnsupportedOperation:
        return None
    mapping = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    return np.ndarray(header.shape, header.dtype, mapping, header.offset, order=header.order)
