"""NRRD: an array behind a header of text. https://teem.sourceforge.net/nrrd/format.html

Reads and writes raw data in one file. Refuses compressed data, and data in a file of its own.
"""

import math
from typing import Any, BinaryIO

import numpy as np

from polystore_core import (
    Format,
    ImageMetadata,
    LazyArray,
    Opener,
    allocating,
    array_and_words,
    select,
    to_numpy,
)
from polystore_core.errors import UnsupportedFileError

from .header import Header, encode_header, read_header


class Nrrd(Format):
    """Arrays of numbers, in either byte order, and images with all their words."""

    name = "nrrd"

    def save(self, value: Any, file: BinaryIO, /) -> None:
        data, words = array_and_words(value)
        array = to_numpy(data)
        file.write(encode_header(array, words))
        file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def load(self, file: BinaryIO, /, *, region: Any = None) -> Any:
        return read_part(file, read_header(file), ... if region is None else region)

    def info(self, file: BinaryIO, /) -> dict[str, Any]:
        header = read_header(file)
        about = {"shape": header.shape, "dtype": header.dtype.str, "image": header.words}
        return {**about, "metadata": header.fields}

    def open(self, opener: Opener, /) -> LazyArray:
        return NrrdArray(opener)


class NrrdArray(LazyArray):
    """Reads the rows that a region needs, each time that it is indexed."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        with opener() as file:
            self._header = read_header(file)
        self.shape, self.dtype = self._header.shape, self._header.dtype

    @property
    def image(self) -> ImageMetadata | None:
        return self._header.words

    def __getitem__(self, region: Any) -> Any:
        with self._opener() as file:
            header = read_header(file)  # again: the file may have been replaced
            if header != self._header:
                raise UnsupportedFileError("another array has replaced it: open it again")
            return read_part(file, header, region)


def read_part(file: BinaryIO, header: Header, region: Any) -> Any:
    """Read from the first to the last row of a region, and cut the rest away."""
    selection = select(region, header.shape)
    if not all(selection.ranges):
        return np.empty(selection.shape, header.dtype)
    rows, *others = selection.ranges
    row_shape = header.shape[1:]
    row_bytes = math.prod(row_shape) * header.dtype.itemsize
    start, stop = rows[0], rows[-1] + 1
    file.seek(header.offset + start * row_bytes)
    with allocating((stop - start) * row_bytes, "nrrd", "load a part of it, with region="):
        content = file.read((stop - start) * row_bytes)
        array = np.frombuffer(content, header.dtype).reshape(stop - start, *row_shape)
        picked = slice(None, None, rows.step), *(slice(r.start, r.stop, r.step) for r in others)
        return selection.arrange(array[picked].copy())
