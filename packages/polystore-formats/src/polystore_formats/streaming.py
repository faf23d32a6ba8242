"""Arrays that may be larger than the memory. They are read part by part while a file is written."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from polystore_core import LazyArray, is_instance
from polystore_core.errors import UnsupportedDataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from polystore_core import Pixels, Value

__all__ = ["check_lazy", "is_lazy", "parts"]

_BUDGET = 64 << 20
"""Bytes of a part. A larger chunk is read whole, up to twice as many bytes."""
_Part: TypeAlias = "tuple[int | slice, ...]"


def is_lazy(value: Value) -> bool:
    """Return whether ``value`` is a Dask array or a lazy handle, which reads when it is indexed."""
    return isinstance(value, LazyArray) or is_instance(value, "dask.array", "Array")


def check_lazy(value: Value) -> None:
    """Raise ``UnsupportedDataError`` for a Dask array with an unknown shape."""
    if any(math.isnan(length) for length in value.shape):
        raise UnsupportedDataError(
            "the Dask array has blocks of unknown size: call compute_chunk_sizes() first"
        )


def parts(value: Value, whole_axes: int = 0) -> Iterator[Pixels]:
    """Yield all parts of a lazy array, in C order. The last ``whole_axes`` axes are never cut.

    Parts are cut along the first axis where they are small enough. They end where chunks end, so
    that each chunk is read once.

    Raises:
        UnsupportedDataError: A part has another shape than the array promised.
    """
    for region in _regions(value.shape, _chunks(value), value.dtype.itemsize, whole_axes):
        # A Dask block may also have another dtype than its metadata.
        part = np.asarray(value[region], value.dtype, order="C")
        expected = tuple(
            len(range(*item.indices(length)))
            for item, length in zip(region, value.shape, strict=False)
            if isinstance(item, slice)
        ) + tuple(value.shape[len(region) :])
        # A Dask block can have another shape than its metadata. The header is already written.
        if part.shape != expected:
            raise UnsupportedDataError(
                f"its part {region} has shape {part.shape}, expected {expected}"
            )
        yield part


def _chunks(value: Value) -> Sequence[int]:
    chunks: Any = getattr(value, "chunks", None) or value.shape
    return [max(along) if isinstance(along, tuple) else along for along in chunks]


def _regions(
    shape: Sequence[int], chunks: Sequence[int], itemsize: int, whole_axes: int
) -> Iterator[_Part]:
    last = len(shape) - whole_axes
    if last < 1:
        yield ()
        return
    # sizes[axis]: bytes of one index of the axis. All axes before the cut one are single indices.
    sizes = [math.prod(shape[axis + 1 :]) * itemsize for axis in range(len(shape))]
    # The first axis of which one index is small enough. If none is, pages are as small as it gets.
    axis = next((axis for axis in range(last) if sizes[axis] <= _BUDGET), last - 1)
    step = max(1, _BUDGET // max(1, sizes[axis]))
    chunk = max(1, chunks[axis])
    # End at a chunk's end, or else the same chunk would be computed or decoded twice.
    if step >= chunk:
        step -= step % chunk
    elif chunk * sizes[axis] <= 2 * _BUDGET:
        step = chunk
    for before in product(*map(range, shape[:axis])):
        for start in range(0, shape[axis], step):
            yield (*before, slice(start, min(start + step, shape[axis])))
