"""The blocks of a stack, and the Dask array of them."""

from __future__ import annotations

import math
import operator
import os
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import (
    InvalidOptionError,
    PolystoreError,
    UnsupportedDataError,
    UnsupportedOperationError,
)
from ..image import Axis, Image, ImageMetadata, to_xarray
from ..model.arrays import to_numpy
from ..values import natural_key
from .headers import Header, array_of, source_of

if TYPE_CHECKING:
    import xarray

    from ..filemanager import FileManager
    from ..values import Pixels, Value
    from .grid import Grid

__all__ = ["Reader", "block_paths", "build_array"]

_PIECES = "polystore-pieces-"
"""The start of the names of the layers with pieces in a Dask graph."""
_MOST_BYTES = 1 << 26
"""A larger file (64 MiB) is read in several blocks, if its format can read parts."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The work for one block: the file to read, or the part of it."""

    path: str | None
    """``None`` for a combination without a file."""
    shape: tuple[int, ...]
    box: tuple[slice, ...] | None = None
    """The part, or ``None`` for the whole file."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads one block. It has no list of paths, because Dask sends it with each task."""

    files: FileManager
    backend: str
    first: Header
    filling: Pixels | None
    home: tuple[str, int]
    """The host and the process that created the stack."""
    folder: str
    """The folder where relative paths start, or "" if they do not depend on a working folder."""

    def __call__(self, block: Pixels) -> Pixels:
        piece: Piece = block.item()
        shape = (1,) * (block.ndim - len(piece.shape)) + piece.shape
        if piece.path is None:
            assert self.filling is not None
            return np.full(shape, self.filling, self.first.dtype)
        path = os.path.join(self.folder, piece.path)
        try:
            pixels = self._read(path, piece.box)
        except Exception as error:  # raised again, with a note
            self._explain(error, path)
            raise
        return pixels.astype(self.first.dtype, copy=False).reshape(shape)

    def _read(self, path: str, box: tuple[slice, ...] | None) -> Pixels:
        source = source_of(self.files, self.backend)
        alone = source.options_alone(path)
        if box is not None:
            with self.files.open(path, self.backend, **alone) as handle:
                self._check(path, handle.shape, handle.dtype, handle.image)
                return np.asarray(handle[box])
        if not self.first.is_image:
            words = None
            with suppress(UnsupportedOperationError):
                words = source.info_alone(path).image  # None, as in the first file
            value = self.files.load(path, self.backend, **alone)
            pixels = array_of(value, path, self.backend)
            self._check(path, pixels.shape, pixels.dtype, words)
            return pixels
        try:
            image = self.files.load(path, self.backend, as_="image", **alone)
        except UnsupportedDataError:  # the file may not name its axes
            self.first.check(Header.of(self.files, path, self.backend))
            raise
        pixels = to_numpy(image.data)
        self._check(path, pixels.shape, pixels.dtype, image.metadata)
        return pixels

    def _check(
        self,
        path: str,
        shape: Sequence[int],
        dtype: np.dtype[Any],
        words: ImageMetadata | None,
    ) -> None:
        self.first.check(Header.build(path, self.backend, shape, dtype, words))

    def _explain(self, error: Exception, path: str) -> None:
        """Add the file that failed to the error, and the process if it is another one."""
        if not isinstance(error, PolystoreError):
            error.add_note(f"while reading {path!r} from backend {self.backend!r}")
        host, process = here = socket.gethostname(), os.getpid()
        if here != self.home:
            error.add_note(
                f"process {process} on {host} was reading {path!r} in the folder {os.getcwd()!r}: "
                "this process needs the same files and the same packages"
            )


def build_array(grid: Grid, reader: Reader) -> xarray.DataArray:
    """Return the DataArray of a grid. ``reader`` reads its blocks."""
    import dask.array

    first = reader.first
    chunks = _file_chunks(reader)
    pieces = _pieces(grid, chunks)
    token = uuid.uuid4().hex  # not a hash of the paths, because their files may change
    data = dask.array.from_array(pieces, chunks=1, name=_PIECES + token).map_blocks(
        reader,
        name=f"polystore-stack-{token}",
        dtype=first.dtype,
        chunks=(*((1,) * length for length in grid.shape), *chunks),
        # Without it, Dask would call the reader on an empty block to find it out.
        meta=np.empty((0,) * pieces.ndim, first.dtype),
    )
    fields = tuple(Axis(field) for field in grid.template.fields)
    # Origins and coords are those of the first file only.
    own = tuple(replace(axis, origin=None, coords=None) for axis in first.words.axes)
    channels = first.words.channels if "c" in first.words.names else ()
    array: Any = to_xarray(Image(data, ImageMetadata(axes=fields + own, channels=channels)))
    labels = zip(grid.template.fields, map(list, grid.labels), strict=True)
    return array.assign_coords(dict(labels))


def _pieces(grid: Grid, chunks: tuple[tuple[int, ...], ...]) -> Pixels:
    """Return an array with one piece for each block."""
    pieces: Pixels = np.empty((*grid.shape, *map(len, chunks)), object)
    spots = [{label: n for n, label in enumerate(labels)} for labels in grid.labels]
    is_whole = math.prod(map(len, chunks)) <= 1
    everywhere = (slice(None),) * len(spots)
    for number, box in _boxes(chunks):
        shape = tuple(part.stop - part.start for part in box)
        part = None if is_whole else box
        pieces[everywhere + number] = Piece(None, shape, part)
        for place, path in grid.found.items():
            spot = tuple(along[label] for along, label in zip(spots, place, strict=True))
            pieces[spot + number] = Piece(path, shape, part)
    return pieces


def _file_chunks(reader: Reader) -> tuple[tuple[int, ...], ...]:
    """Return the lengths of the blocks of one file along each of its axes."""
    first = reader.first
    whole = tuple((length,) for length in first.shape)
    if math.prod(first.shape) * first.dtype.itemsize <= _MOST_BYTES:
        return whole
    try:
        alone = source_of(reader.files, reader.backend).options_alone(first.path)
        with reader.files.open(first.path, reader.backend, **alone) as handle:
            unit = handle.chunks or (1,) * handle.ndim
    except (UnsupportedOperationError, UnsupportedDataError):
        return whole  # the format cannot read parts
    block = list(first.shape)
    # From the first axis on, in whole chunks of the file, so that no chunk is decoded twice.
    for axis, step in enumerate(unit):
        most = _MOST_BYTES // first.dtype.itemsize
        if math.prod(block) <= most:
            break
        fitting = most // (math.prod(block) // block[axis])
        block[axis] = min(block[axis], max(fitting // step, 1) * step)
    return tuple(
        tuple(min(step, length - start) for start in range(0, length, step))
        for length, step in zip(first.shape, block, strict=True)
    )


def _boxes(
    chunks: tuple[tuple[int, ...], ...],
) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Yield the number of each block of a file, and its part."""
    along: list[list[tuple[int, slice]]] = []
    for lengths in chunks:
        starts = np.cumsum((0, *lengths)).tolist()
        along.append([(n, slice(starts[n], starts[n + 1])) for n in range(len(lengths))])
    for parts in product(*along):
        yield tuple(n for n, _ in parts), tuple(part for _, part in parts)


def block_paths(array: Value, block: Sequence[int]) -> list[str]:
    """Return the files of :func:`stack` from which a block of a Dask array is computed.

    For example, to find the files of a damaged block:

        block_paths(plate.data, (0, 2, 0, 0))

    Args:
        array: A Dask array. It does not know its files if it was computed or optimized before, as
            by ``dask.persist``.
        block: The number of the block along each axis.

    Raises:
        InvalidOptionError: The array has no such block.
    """
    blocks = tuple(map(range, array.numblocks))
    if len(block) != len(blocks) or not all(map(operator.contains, blocks, block)):
        expected = f"one number below each of {array.numblocks}"
        raise InvalidOptionError("block", tuple(block), expected)
    graph = array.__dask_graph__().cull({(array.name, *block)})
    nodes = [
        node
        for name, layer in graph.layers.items()
        if name.startswith(_PIECES)
        for node in layer.values()
    ]
    # Newer versions of Dask wrap data in a DataNode. Older ones have the data itself.
    pieces = [getattr(node, "value", node) for node in nodes]
    paths = [
        piece.item().path
        for piece in pieces
        if isinstance(piece, np.ndarray) and piece.dtype == object and piece.size == 1
    ]
    return sorted({path for path in paths if path is not None}, key=natural_key)
