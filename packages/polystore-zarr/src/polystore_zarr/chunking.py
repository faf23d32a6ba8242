"""The chunks and shards of an array. All numbers were measured: see decision 11.

A plane has the last two axes, or the last three if the last one has at most four samples, as in
RGB. By default, a chunk or shard is in one plane. So any process can write a plane alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index
from typing import Literal, TypeAlias

from polystore_core.errors import InvalidOptionError

__all__ = ["Lengths", "check_grid", "default_chunks", "default_shards"]

Lengths: TypeAlias = int | Sequence[int]
"""One length for each axis, or one for all."""

_CHUNK_PIXELS = 1 << 20
_CHUNK_BYTES = 4 << 20
_SHARD_BYTES = 32 << 20
_FEW_CHUNKS = 64
_SMALL_PLANE = 256 << 10
_GROUP_BYTES = 1 << 20


def default_chunks(
    shape: Sequence[int], itemsize: int, *, by_plane: bool = True
) -> tuple[int, ...]:
    """Return chunks of at most 1024 x 1024 pixels and 4 MiB, each in one plane.

    The edges are halves, quarters and so on of the plane's edges, so that the last chunks are not
    mostly padding. They are even, so that no chunk is cut in two when the image is halved.

    Args:
        shape: the shape of the array.
        itemsize: bytes of an element.
        by_plane: whether planes will be written one by one. If not, planes of less than 256 KiB
            share chunks of up to 1 MiB.
    """
    chunks, before = _plane(shape)
    while _too_large(chunks, before, itemsize) and max(chunks) > 2:
        _halve(chunks, chunks.index(max(chunks)))
    plane_bytes = math.prod(chunks) * itemsize
    if by_plane or plane_bytes >= _SMALL_PLANE:
        return tuple(chunks)
    for axis in reversed(range(before)):
        length = max(shape[axis], 1)
        most = max(1, _GROUP_BYTES // max(1, math.prod(chunks) * itemsize))
        # In equal parts: 10 planes with room for 9 become 5 and 5, and not 9 and 1.
        chunks[axis] = -(-length // -(-length // most))
        if chunks[axis] < length:
            break
    return tuple(chunks)


def default_shards(
    shape: Sequence[int], chunks: Sequence[int], itemsize: int
) -> tuple[int, ...] | None:
    """Return shards for an array of more than 64 chunks, or ``None`` for fewer chunks.

    A shard is a whole plane. A plane of more than 32 MiB has several shards, because a writer
    holds a shard in memory. If chunks hold several small planes, shards do so too.
    """
    grid = [-(-max(n, 1) // c) for n, c in zip(shape, chunks, strict=True)]
    if math.prod(grid) <= _FEW_CHUNKS:
        return None
    plane, before = _plane(shape)
    counts = [1] * before + grid[before:]
    chunk_bytes = math.prod(chunks) * itemsize
    while math.prod(counts) * chunk_bytes > _SHARD_BYTES and max(counts) > 1:
        # The longest edge is halved, so that shards are as square as possible.
        edges = [n * c if n > 1 else 0 for n, c in zip(counts, chunks, strict=True)]
        axis = edges.index(max(edges))
        counts[axis] = -(-counts[axis] // 2)
    several = any(c > 1 for c in chunks[:before])
    if several and math.prod(plane) * itemsize < _SMALL_PLANE:
        for axis in reversed(range(before)):
            most = max(1, _SHARD_BYTES // max(1, math.prod(counts) * chunk_bytes))
            counts[axis] = min(grid[axis], most)
            if counts[axis] < grid[axis]:
                break
    # A shard with one chunk would be slower, and would not save a file.
    if math.prod(counts) == 1:
        return None
    return tuple(n * c for n, c in zip(counts, chunks, strict=True))


def check_grid(
    shape: Sequence[int],
    itemsize: int,
    chunks: Lengths | None,
    shards: Lengths | Literal[False] | None,
    *,
    by_plane: bool = True,
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Return the chunks and shards for the options of a caller.

    Args:
        shape: the shape of the array. Longer chunks are cut to it. An axis without elements has
            chunks of length 1.
        itemsize: bytes of an element.
        chunks: the option. ``None`` chooses.
        shards: the option. ``None`` chooses, ``False`` means none.
        by_plane: as for :func:`default_chunks`.

    Raises:
        InvalidOptionError: A length is not a positive integer, there is not one length for each
            axis, or shards are not multiples of chunks.
    """
    wanted = None if chunks is None else _lengths("chunks", chunks, len(shape))
    if shards is None or shards is False:
        if wanted is None:
            found = default_chunks(shape, itemsize, by_plane=by_plane)
        else:
            found = _clip(wanted, shape)
        return found, default_shards(shape, found, itemsize) if shards is None else None
    outer = _lengths("shards", shards, len(shape))
    if not shape:
        return (), None
    if wanted is None:
        outer = _clip(outer, shape)
        return _dividing(outer, itemsize), outer
    if any(s % c for s, c in zip(outer, wanted, strict=True)):
        raise InvalidOptionError("shards", shards, f"multiples of the chunk lengths {wanted}")
    found = _clip(wanted, shape)
    covering = [-(-max(n, 1) // c) * c for n, c in zip(shape, found, strict=True)]
    # A chunk that was cut to its axis covers the axis, so the shard must be as short.
    multiples = [s // w * c for s, w, c in zip(outer, wanted, found, strict=True)]
    return found, tuple(map(min, multiples, covering))


def _plane(shape: Sequence[int]) -> tuple[list[int], int]:
    """Return the box of one plane, and the number of axes before it."""
    before = max(0, len(shape) - 2 - (len(shape) > 2 and shape[-1] <= 4))
    return [1] * before + [max(n, 1) for n in shape[before:]], before


def _too_large(chunks: Sequence[int], before: int, itemsize: int) -> bool:
    pixels = math.prod(chunks[: before + 2])
    return pixels > _CHUNK_PIXELS or math.prod(chunks) * itemsize > _CHUNK_BYTES


def _halve(chunks: list[int], axis: int) -> None:
    half = -(-chunks[axis] // 2)
    chunks[axis] = half + half % 2


def _dividing(shards: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Return chunks for given shards, which they must divide."""
    chunks, before = _plane(shards)
    # Only an even edge can be halved, because chunks must divide their shard.
    while _too_large(chunks, before, itemsize) and (even := [n for n in chunks if n % 2 == 0]):
        chunks[chunks.index(max(even))] //= 2
    return tuple(chunks)


def _clip(lengths: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(min(c, max(n, 1)) for c, n in zip(lengths, shape, strict=True))


def _lengths(option: str, value: Lengths, ndim: int) -> tuple[int, ...]:
    expected = f"a positive integer, or one for each of {ndim} axes"
    single = not isinstance(value, Sequence)
    parts = list(value) if isinstance(value, Sequence) else [value]
    try:
        # ``index`` accepts ``True``, which is never meant as a length.
        if any(isinstance(part, bool) for part in parts):
            raise InvalidOptionError(option, value, expected)
        found = tuple(index(part) for part in parts)
    except TypeError:
        raise InvalidOptionError(option, value, expected) from None
    if any(n < 1 for n in found) or not (single or len(found) == ndim):
        raise InvalidOptionError(option, value, expected)
    return found * ndim if single else found
