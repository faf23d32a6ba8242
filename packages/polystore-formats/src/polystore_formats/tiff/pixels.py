"""The positions of the pixels of a TIFF series, and how a region of them is read.

``Flat`` pixels have the same bytes in the file as in memory, in one run or one run for each page.
``Grid`` pixels must be decoded, one strip or tile at a time. Both read only the bytes that a
region needs.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np

from polystore_core import in_threads, select
from polystore_core.errors import DamagedDataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from polystore_core import Memory, Region

__all__ = ["Box", "Decode", "Flat", "Grid", "Pixels", "Segments", "empty"]

_GAP = 16 << 10
"""Up to this many unwanted bytes are read and dropped, which is faster than one more call."""
_BLOCK = 4 << 20
"""Wanted and unwanted bytes are read together in blocks of about this size."""


def _whole(shape: Sequence[int]) -> tuple[range, ...]:
    return tuple(map(range, shape))


# ── pixels that need no decoding ─────────────────────────────────────────────────────────


@dataclass(slots=True)
class Flat:
    """Pixels that need no decoding. ``lock`` guards the position of ``file``."""

    file: BinaryIO
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    """The dtype, in the byte order of the file."""
    starts: tuple[int, ...]
    """Offsets of the runs that make up the array."""
    run: int
    """Bytes in each run."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """``None``: any part can be read."""
        return None

    def take(self, places: Sequence[int]) -> Flat:
        """Return some pages, where the first axis is that of pages, and each is a run."""
        starts = tuple([self.starts[place] for place in places])
        return replace(self, shape=(len(places), *self.shape[1:]), starts=starts)

    def read(self, region: Region = ..., memory: Memory | None = None) -> NDArray[Any]:
        """Read a region, into the memory of the caller if possible."""
        if region is ...:
            array = empty(self.shape, self.shape, self.dtype, memory)
            self._fill(array, 0)
            return array
        selection = select(region, self.shape)
        lengths = tuple(map(len, selection.ranges))
        if any(selection.descending):  # reversing makes another array
            memory = None
        array = empty(lengths, selection.shape, self.dtype, memory)
        if array.size:
            self._fill_part(array, selection.ranges)
        return selection.arrange(array)

    def _fill_part(self, out: NDArray[Any], ranges: tuple[range, ...]) -> None:
        """Fill ``out`` with a region, one block of ``axis`` at a time.

        ``axis`` is the last axis at which skipping unwanted bytes is faster than reading them.
        """
        shape, itemsize = self.shape, self.dtype.itemsize
        strides = [math.prod(shape[a + 1 :]) * itemsize for a in range(len(shape))]
        axis = max((a for a, r in enumerate(ranges) if len(r) < shape[a]), default=0)
        while axis > 0 and strides[axis - 1] <= _GAP:
            axis -= 1
        along, deeper = ranges[axis], ranges[axis + 1 :]
        # Without gaps, the bytes go straight into ``out``. Or else blocks are read with their
        # gaps, and the wanted part is copied.
        direct = along.step == 1 and deeper == _whole(shape[axis + 1 :])
        size = len(along) if direct else max(1, _BLOCK // (along.step * strides[axis]))
        if along.step > 1 and along.step * strides[axis] > _GAP:
            size = 1
        for place in product(*(enumerate(r) for r in ranges[:axis])):
            start = sum(i * strides[a] for a, (_, i) in enumerate(place))
            target = out[tuple(n for n, _ in place)]
            for done in range(0, len(along), size):
                block = along[done : done + size]
                position = start + block[0] * strides[axis]
                if direct:
                    self._fill(target[done : done + size], position)
                    continue
                span: NDArray[Any] = np.empty(
                    (block[-1] - block[0] + 1, *shape[axis + 1 :]), self.dtype
                )
                self._fill(span, position)
                wanted = (slice(None, None, block.step), *map(_as_slice, deeper))
                target[done : done + size] = span[wanted]

    def _fill(self, array: NDArray[Any], position: int) -> None:
        """Fill a contiguous array with the bytes from ``position`` of the series."""
        view = array.reshape(-1).view(np.uint8)
        while view.size:  # a block can span several pages, each in a run of its own
            run, within = divmod(position, self.run)
            part = view[: self.run - within]
            with self.lock:
                _read_into(self.file, self.starts[run] + within, part)
            view = view[part.size :]
            position += part.size


def empty(
    lengths: tuple[int, ...],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    memory: Memory | None,
) -> NDArray[Any]:
    """Return a new array of ``lengths``, in the memory of the caller if possible.

    The caller gives memory for an array of ``shape``, which has no axes for single indices.
    """
    given = None if memory is None else memory(shape, dtype)
    return np.empty(lengths, dtype) if given is None else given.reshape(lengths)


def _read_into(file: BinaryIO, offset: int, view: NDArray[np.uint8]) -> None:
    file.seek(offset)
    while view.size:
        count = file.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise DamagedDataError(f"its last {view.size} bytes are missing", "tiff")
        view = view[count:]


def _as_slice(indices: range) -> slice:
    return slice(indices.start, indices.stop, indices.step)


# ── pixels that are decoded ──────────────────────────────────────────────────────────────

Decode: TypeAlias = "Callable[[bytes, int], tuple[NDArray[Any], tuple[int, ...]]]"
"""A function: bytes and number of a segment → its pixels, and their corner in the page."""

Box: TypeAlias = "tuple[int, int, int, int, int]"
"""Extent of a page in tifffile's full form: planar samples, depth, length, width, samples."""


class Segments(NamedTuple):
    """The encoded strips or tiles of one page."""

    offsets: Sequence[int]
    counts: Sequence[int]
    decode: Decode


class _Task(NamedTuple):
    """One segment, the wanted part of it, and the array for this part."""

    page: Segments
    number: int
    corner: tuple[int, ...]
    wanted: tuple[slice, ...]
    target: NDArray[Any]


@dataclass(slots=True)
class Grid:
    """Pages that are cut into segments. A segment can only be decoded whole.

    ``lock`` guards the position of ``file``. Decoding needs no lock.
    """

    file: BinaryIO
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    """The dtype, in the byte order of the file."""
    pages: Sequence[Segments]
    box: Box
    segment: Box
    inner: tuple[int, ...] | None
    """The axes of ``box`` that are the last axes of ``shape``, or ``None`` if only read whole."""
    workers: int
    transform: Callable[[NDArray[Any]], NDArray[Any]] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """The shape of a segment, with 1 for the axes of pages."""
        if self.inner is None:
            return self.shape
        split = len(self.shape) - len(self.inner)
        inner = (min(self.segment[a], self.box[a]) for a in self.inner)
        return (1,) * split + tuple(inner)

    def take(self, places: Sequence[int]) -> Grid:
        """Return some pages, where the first axis is that of pages."""
        pages = [self.pages[place] for place in places]
        return replace(self, shape=(len(places), *self.shape[1:]), pages=pages)

    def read(self, region: Region = ..., memory: Memory | None = None) -> NDArray[Any]:
        """Decode a region. Decoders make new memory and do not use ``memory``."""
        selection = select(region, self.shape)
        if not all(selection.ranges):
            return np.empty(selection.shape, self.dtype)
        if self.inner is None:
            array = self._decode(self.pages, _whole(self.box))
            array = array if self.transform is None else self.transform(array)
            return np.array(array.reshape(self.shape)[region], self.dtype)
        split = len(self.shape) - len(self.inner)
        numbers = np.arange(len(self.pages)).reshape(self.shape[:split])
        pages = [
            self.pages[i] for i in numbers[np.ix_(*selection.ranges[:split])].ravel().tolist()
        ]
        box = [range(1)] * len(self.box)
        for axis, wanted in zip(self.inner, selection.ranges[split:], strict=True):
            box[axis] = wanted
        array = self._decode(pages, tuple(box))
        return selection.arrange(array.reshape([len(r) for r in selection.ranges]))

    def _decode(self, pages: Sequence[Segments], box: tuple[range, ...]) -> NDArray[Any]:
        out: NDArray[Any] = np.empty((len(pages), *map(len, box)), self.dtype)
        tasks = self._tasks(pages, box, out)
        # Starting threads takes longer than decoding a few segments.
        if self.workers > 1 and out.nbytes > _BLOCK:
            with in_threads(self.workers) as run:
                for _ in run(self._run, tasks):
                    pass
        else:
            for task in tasks:
                self._run(task)
        return out

    def _tasks(
        self, pages: Sequence[Segments], box: tuple[range, ...], out: NDArray[Any]
    ) -> Iterator[_Task]:
        cuts = [list(_cut(*both)) for both in zip(box, self.segment, strict=True)]
        grid = [-(-extent // size) for extent, size in zip(self.box, self.segment, strict=True)]
        for page, part in zip(pages, out, strict=True):
            for pieces in product(*cuts):
                indices, wanted, places = zip(*pieces, strict=True)
                number = 0
                for index, along in zip(indices, grid, strict=True):
                    number = number * along + index
                corner = tuple(i * size for i, size in zip(indices, self.segment, strict=True))
                yield _Task(page, number, corner, wanted[1:], part[places])

    def _run(self, task: _Task) -> None:
        page, number = task.page, task.number
        count = page.counts[number]
        # GDAL and some microscopes leave out tiles ("sparse TIFF"), and an acquisition that was
        # stopped looks the same. Zeros would be data that nobody measured.
        if not count:
            raise _damage_error(number, "was never written")
        with self.lock:
            self.file.seek(page.offsets[number])
            data = self.file.read(count)
        if len(data) != count:
            raise _damage_error(number, "is cut short")
        pixels, corner = page.decode(data, number)
        wanted = pixels[task.wanted]
        # Decoders trust the header inside a segment, such as that of JPEG. It may differ.
        found = (corner, wanted.shape, pixels.dtype)
        if found != (task.corner, task.target.shape[1:], self.dtype.newbyteorder("=")):
            raise _damage_error(number, "has another shape or dtype than its page")
        task.target[...] = wanted


def _damage_error(number: int, fault: str) -> DamagedDataError:
    return DamagedDataError(f"strip or tile {number} of a page {fault}", "tiff")


def _cut(indices: range, size: int) -> Iterator[tuple[int, slice, slice]]:
    """Yield the pieces of ``size`` that have some of ``indices``.

    For each, yield its number, the part of it, and the slice of the result for this part.
    """
    for piece in range(indices[0] // size, indices[-1] // size + 1):
        corner = piece * size
        first = max(0, -((indices.start - corner) // indices.step))
        last = min(len(indices), -((indices.start - corner - size) // indices.step))
        if first < last:
            start = indices[first] - corner
            stop = indices[last - 1] - corner + 1
            yield piece, slice(start, stop, indices.step), slice(first, last)


Pixels: TypeAlias = Flat | Grid
