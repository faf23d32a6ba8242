"""Save Dask arrays, which are never whole in memory. Each worker writes its own blocks."""

from __future__ import annotations

import math
import uuid
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from polystore_core import block_paths, is_instance, to_numpy
from polystore_core.errors import UnsupportedDataError

from .chunking import check_grid
from .pyramid import halve_box
from .store.entrance import enter, entrance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from polystore_core import Pixels, Value

    from .creating import Layout
    from .pyramid import Method, Source
    from .store.base import StorePath

__all__ = ["check_dask", "count_blocks", "halve_array", "is_dask", "layout_for", "store_blocks"]

Chunks: TypeAlias = tuple[tuple[int, ...], ...]
"""The length of each block along each axis, in Dask's form."""

_LEAST_BYTES = 4 << 20
"""Smaller blocks are joined before they are written, so that there are fewer files."""
_MOST_BYTES = 128 << 20
"""A worker holds a block, and its compressed chunks, while it writes it."""
_MOST_PATHS = 5
"""An error names this many files of a block that has failed."""


class Target(Protocol):
    """The array that is written. It pickles to the workers."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def directory(self) -> StorePath:
        """The place of the array."""

    @property
    def unit(self) -> tuple[int, ...]:
        """The box that is written at once."""

    def __setitem__(self, region: Value, value: Value) -> None: ...


def is_dask(value: object) -> bool:
    """Return whether ``value`` is a Dask array."""
    return is_instance(value, "dask.array", "Array")


def check_dask(array: Value) -> None:
    """Raise ``UnsupportedDataError`` for blocks of unknown size and for Python objects."""
    if any(math.isnan(n) for lengths in array.chunks for n in lengths):
        raise UnsupportedDataError(
            "the Dask array has blocks of unknown size: call compute_chunk_sizes() first"
        )
    if array.dtype.hasobject:
        raise UnsupportedDataError(
            "the elements are Python objects: convert the array to a plain dtype"
        )


# ── from the blocks to the chunks of the array, and back ─────────────────────────────────


def layout_for(array: Value, layout: Layout) -> Layout:
    """Choose shards so that the blocks of a Dask array need not be cut again."""
    block = _largest(array)
    wanted = False if layout.shards is None and layout.zarr_format == 2 else layout.shards
    chunks, shards = check_grid(array.shape, array.dtype.itemsize, layout.chunks, wanted)
    if layout.shards or not _is_regular(array.chunks) or _fits(block, shards or chunks, array):
        return replace(layout, chunks=chunks, shards=shards or False)
    # Chunks that the caller has not chosen may change a little to divide the blocks.
    inner = chunks if layout.chunks else tuple(map(_dividing, chunks, block, array.shape))
    if _fits(block, inner, array):
        if not shards:
            return replace(layout, chunks=inner, shards=False)
        if _LEAST_BYTES <= math.prod(block) * array.dtype.itemsize <= _MOST_BYTES:
            rounded = tuple(-(-b // c) * c for b, c in zip(block, inner, strict=True))
            return replace(layout, chunks=inner, shards=rounded)
    return replace(layout, chunks=chunks, shards=shards or False)


def count_blocks(array: Value, unit: Sequence[int]) -> int:
    """Return the number of blocks that ``store_blocks`` will write."""
    return math.prod(map(len, align_chunks(array, unit)))


def align_chunks(array: Value, unit: Sequence[int]) -> Chunks:
    """Return chunks of a Dask array that start on the grid of ``unit``.

    An axis whose blocks are on the grid is not changed. Joined blocks have at most
    ``_MOST_BYTES``, unless one unit or one block of the array is larger.
    """
    fitting = [
        all(n % u == 0 for n in lengths[:-1])
        for lengths, u in zip(array.chunks, unit, strict=True)
    ]
    block = list(_largest(array))
    most = max(_MOST_BYTES // max(array.dtype.itemsize, 1), math.prod(block), math.prod(unit))
    for axis, u in enumerate(unit):
        if not fitting[axis]:
            block[axis] = max(block[axis] // u, 1) * u
    for axis, u in enumerate(unit):
        if all(fitting):
            break
        while math.prod(block) > most and block[axis] > u:
            block[axis] = -(-block[axis] // (2 * u)) * u
            fitting[axis] = False
    return tuple(
        lengths if fits else _cut(sum(lengths), b)
        for lengths, fits, b in zip(array.chunks, fitting, block, strict=True)
    )


def _cut(length: int, step: int) -> tuple[int, ...]:
    return tuple(min(step, length - start) for start in range(0, length, step)) or (0,)


def _largest(array: Value) -> tuple[int, ...]:
    """Return the length of the largest block along each axis."""
    return tuple(max(max(lengths), 1) for lengths in array.chunks)


def _is_regular(chunks: Chunks) -> bool:
    return all(len({*n[:-1]}) <= 1 and n[-1] <= n[0] for n in chunks)


def _fits(block: Sequence[int], unit: Sequence[int], array: Value) -> bool:
    return all(b % u == 0 or b >= n for b, u, n in zip(block, unit, array.shape, strict=True))


def _dividing(chunk: int, block: int, length: int) -> int:
    """Return a length near ``chunk`` that divides a block, or ``chunk`` itself."""
    if block >= length:
        return chunk
    near = sorted(range(chunk // 2 + 1, 2 * chunk), key=lambda n: abs(n - chunk))
    return next((n for n in near if block % n == 0), chunk)


def halve_array(above: Source, below: Target, method: Method) -> Value:
    """Return the level ``below`` of a pyramid as a Dask array that reads the level ``above``."""
    import dask.array

    return dask.array.map_blocks(
        _halve_block,
        above=above,
        unit=below.unit,
        method=method,
        name=f"polystore-halved-{uuid.uuid4().hex}",
        dtype=above.dtype,
        chunks=tuple(map(_cut, below.shape, below.unit)),
        meta=np.empty((0,) * len(below.shape), above.dtype),
    )


def _halve_block(
    above: Source, unit: Sequence[int], method: Method, block_info: Value
) -> Pixels:
    """Make one unit of a level. It is four pieces of the level above, which are read in turn."""
    box = tuple(slice(start, stop) for start, stop in block_info[None]["array-location"])
    return halve_box(above.__getitem__, above.shape, above.dtype, box, unit, method)


# ── writing ──────────────────────────────────────────────────────────────────────────────


def store_blocks(array: Value, target: Target, report: Callable[[], None]) -> None:
    """Write a Dask array into ``target``. Each worker writes the blocks that it computes.

    After this function returns or raises, no more blocks are written.

    Args:
        array: the Dask array.
        target: the array that is written.
        report: called after each block, in this thread.
    """
    chunks = align_chunks(array, target.unit)
    ndim = len(chunks)
    written = (array if chunks == array.chunks else array.rechunk(chunks)).map_blocks(
        _write,
        target=target,
        # Without a meta, Dask calls the function with an empty array. Without a new name, a
        # cluster takes the result of an earlier save of the same array, and writes nothing.
        name=f"polystore-save-{uuid.uuid4().hex}",
        dtype=bool,
        chunks=(1,) * ndim,
        meta=np.empty((0,) * ndim, bool),
    )
    client = _find_client(array)
    with entrance(target.directory):
        if client is None:
            _compute_here(written, report)
        else:
            _compute_on(client, written, report)


def _write(block: Value, target: Target, block_info: Value) -> Value:
    found = to_numpy(block, extended=True)
    box = tuple(slice(start, stop) for start, stop in block_info[0]["array-location"])
    shape = tuple(part.stop - part.start for part in box)
    if found.shape != shape:
        reason = f"Dask computed a block of shape {found.shape}, expected {shape}"
        raise UnsupportedDataError(reason)
    with enter(target.directory):
        target[box] = found
    return np.ones((1,) * block.ndim, bool)


def _compute_here(written: Value, report: Callable[[], None]) -> None:
    from dask import persist
    from dask.callbacks import Callback

    def after(key: Value, *_: object) -> None:
        if isinstance(key, tuple) and key[0] == written.name:
            report()

    # Passed, not registered: a save in another thread may unregister all callbacks.
    persist(written, callbacks=[*Callback.active, (None, None, None, after, None)])


def _compute_on(client: Value, written: Value, report: Callable[[], None]) -> None:
    from distributed import as_completed, futures_of

    with _give_thread_back():
        futures = futures_of(client.persist(written))
        try:
            for future in as_completed(futures):
                if future.status != "finished":
                    with _explain_failure(written, future.key):
                        future.result()
                report()
        except BaseException:
            with suppress(Exception):  # the client may be gone. The first failure is raised
                client.cancel(futures)
            raise


@contextmanager
def _explain_failure(written: Value, key: Value) -> Iterator[None]:
    """Add a note to an error: the block that failed, and its files."""
    try:
        yield
    except Exception as error:  # raised again: it gets a note
        if isinstance(key, tuple) and key[0] == written.name:
            block = key[1:]
            paths = block_paths(written, block)
            files = ", ".join(map(repr, paths[:_MOST_PATHS]))
            more = f" and {len(paths) - _MOST_PATHS:,} more" if len(paths) > _MOST_PATHS else ""
            made = f", which is made of {files}{more}" if paths else ""
            error.add_note(f"while saving block {block} of {written.numblocks}{made}")
        raise


def _find_client(array: Value) -> Value | None:
    """Return the client of the cluster that Dask would use here, or ``None``."""
    from dask.base import get_scheduler

    # With a client, Dask returns the method `get` of it.
    owner = getattr(get_scheduler(collections=[array]), "__self__", None)
    return owner if is_instance(owner, "distributed", "Client") else None


def _give_thread_back() -> AbstractContextManager[None]:
    """In a task of a worker, give the worker's thread to the tasks that this one waits for.

    Without this, a cluster with one thread would wait for itself.
    """
    from distributed import get_worker

    try:
        get_worker()
    # get_worker() raises it outside of a task.
    except ValueError:
        return nullcontext()
    return _secede()


@contextmanager
def _secede() -> Iterator[None]:
    from distributed import rejoin, secede

    secede()
    try:
        yield
    finally:
        rejoin()
