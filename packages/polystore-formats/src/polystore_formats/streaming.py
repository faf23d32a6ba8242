"""Arrays that are larger than the memory, read part by part while they are written."""

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
"""Bytes of a part. A chunk that is larger is read whole, up to twice as much."""
_Part: TypeAlias = "tuple[int | slice, ...]"


def is_lazy(value: Value) -> bool:
    """Whether ``value`` is an array that is read when it is indexed: Dask's, or a handle."""
    return isinstance(value, LazyArray) or is_instance(value, "dask.array", "Array")


def check_lazy(value: Value) -> None:
    """Raise ``UnsupportedDataError`` for a Dask array that does not know its shape."""
    if any(math.isnan(length) for length in value.shape):
        raise UnsupportedDataError(
            "the Dask array has blocks of unknown size: call compute_chunk_sizes() first"
        )


def parts(value: Value, whole_axes: int = 0) -> Iterator[Pixels]:
    """Yield all of a lazy array, in the order of C; the last ``whole_axes`` are never cut.

    Parts are along the first axis at which they fit into the memory, and end where chunks do.
    """
    for region in _regions(value.shape, _chunks(value), value.dtype.itemsize, whole_axes):
        part = np.asarray(value[region], value.dtype, order="C")
        expected = tuple(
            len(range(*item.indices(length)))
            for item, length in zip(region, value.shape, strict=False)
            if isinstance(item, slice)
        ) + tuple(value.shape[len(region) :])
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
    sizes = [math.prod(shape[axis + 1 :]) * itemsize for axis in range(len(shape))]
    axis = next((axis for axis in range(last) if sizes[axis] <= _BUDGET), last - 1)
    step = max(1, _BUDGET // max(1, sizes[axis]))
    chunk = max(1, chunks[axis])
    if step >= chunk:
        step -= step % chunk
    elif chunk * sizes[axis] <= 2 * _BUDGET:
        step = chunk
    for before in product(*map(range, shape[:axis])):
        for start in range(0, shape[axis], step):
            yield (*before, slice(start, min(start + step, shape[axis])))
