"""Arrays that are nowhere whole: Dask's, written block by block where each block is made."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

from polystore.errors import UnsupportedDataError

from .arrays import Layout
from .chunking import checked_grid
from .pyramid import Method, downsample

if TYPE_CHECKING:
    import numpy as np

__all__ = ["aligned_chunks", "count_blocks", "halved", "is_dask", "layout_for", "store_blocks"]


_MOST_BYTES = 128 << 20
"""A worker holds a block, and its compressed chunks, while it writes it."""


class Target(Protocol):
    """What takes the blocks; it pickles to the workers."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def unit(self) -> tuple[int, ...]: ...

    def __setitem__(self, region: Any, value: Any) -> None: ...


def is_dask(value: object) -> bool:
    """Whether ``value`` is a Dask array. Whoever has one has imported Dask."""
    module = sys.modules.get("dask.array")
    return module is not None and isinstance(value, module.Array)


def whole_chunks(array: Any) -> tuple[int, ...]:
    """Return the largest chunk of each axis. Raises ``UnsupportedDataError`` if not known."""
    if any(not isinstance(n, int) for lengths in array.chunks for n in lengths):
        raise UnsupportedDataError(
            "the Dask array has chunks of unknown size: call compute_chunk_sizes() first"
        )
    return tuple(max(lengths, default=1) for lengths in array.chunks)


def layout_for(array: Any, layout: Layout) -> Layout:
    """Choose shards so that the blocks of a Dask array need not be cut again."""
    block = whole_chunks(array)
    chunks, shards = checked_grid(
        array.shape, array.dtype.itemsize, layout.chunks, layout.shards
    )
    unit = shards or chunks
    if layout.shards is not None or layout.zarr_format == 2 or _fits(block, unit, array.shape):
        return layout
    bytes_ = math.prod(block) * array.dtype.itemsize
    if shards and bytes_ <= _MOST_BYTES and _fits(block, chunks, array.shape):
        rounded = tuple(-(-b // c) * c for b, c in zip(block, chunks, strict=True))
        return replace(layout, chunks=chunks, shards=rounded)
    return replace(layout, chunks=chunks, shards=shards or False)


def _fits(block: Sequence[int], unit: Sequence[int], shape: Sequence[int]) -> bool:
    return all(b % u == 0 or b == n for b, u, n in zip(block, unit, shape, strict=True))


def halved(above: Any, below: Target, method: Method) -> Any:
    """Return the level ``below`` of a pyramid as a Dask array that reads the one ``above``."""
    import dask.array

    block = [*below.unit[:-2], *(2 * n for n in below.unit[-2:])]
    source = dask.array.from_array(above, chunks=tuple(block), name=False)
    chunks = (*source.chunks[:-2], *(tuple(-(-n // 2) for n in c) for c in source.chunks[-2:]))
    return source.map_blocks(
        downsample, method=method, dtype=source.dtype, chunks=chunks, meta=source._meta
    )


def aligned_chunks(array: Any, unit: Sequence[int]) -> Any:
    """Return the array in chunks that start and end on the grid of ``unit``."""
    chunks = tuple(
        lengths if all(n % u == 0 for n in lengths[:-1]) else max(max(lengths) // u, 1) * u
        for lengths, u in zip(array.chunks, unit, strict=True)
    )
    return array if chunks == array.chunks else array.rechunk(chunks)


def store_blocks(array: Any, target: Target, report: Callable[[], None]) -> None:
    """Write a Dask array into ``target``, each block from the worker that computes it.

    Nothing but block counts comes back. ``report`` is called after each block.
    """
    import dask

    array = aligned_chunks(array, target.unit)
    write = dask.delayed(_write, pure=False)
    blocks = array.to_delayed(optimize_graph=True).ravel().tolist()
    tasks = [
        write(block, target, box)
        for block, box in zip(blocks, _boxes(array.chunks), strict=True)
    ]
    client = _client()
    if client is None:
        with _counted({task.key for task in tasks}, report):
            dask.compute(*tasks)
        return
    from distributed import as_completed

    futures = client.compute(tasks)
    try:
        for future in as_completed(futures):
            future.result()
            report()
    except BaseException:
        client.cancel(futures)
        raise


def count_blocks(array: Any, unit: Sequence[int]) -> int:
    """Return how many blocks ``store_blocks`` will write."""
    count: int = aligned_chunks(array, unit).npartitions
    return count


def _write(block: Any, target: Target, box: tuple[slice, ...]) -> None:
    target[box] = block


def _boxes(chunks: Sequence[Sequence[int]]) -> Iterator[tuple[slice, ...]]:
    edges = []
    for lengths in chunks:
        start, slices = 0, []
        for length in lengths:
            slices.append(slice(start, start + length))
            start += length
        edges.append(slices)
    return product(*edges)


def _client() -> Any | None:
    """Return the client of the cluster that Dask would use here, if it would use one."""
    module = sys.modules.get("distributed")
    if module is None:
        return None
    from dask.base import get_scheduler

    owner = getattr(get_scheduler(), "__self__", None)
    return owner if isinstance(owner, module.Client) else None


@contextmanager
def _counted(keys: set[Any], report: Callable[[], None]) -> Iterator[None]:
    from dask.callbacks import Callback

    def after(key: Any, result: Any, dsk: Any, state: Any, worker: Any) -> None:
        if key in keys:
            report()

    with Callback(posttask=after):
        yield
