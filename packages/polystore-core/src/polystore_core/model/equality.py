"""Comparing two values bit by bit, part by part if they are large."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..abc.array import LazyArray
from ..image import array_and_words
from ..modules import is_instance
from .arrays import is_array, to_numpy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..values import Pixels, Value

__all__ = ["difference"]

_BLOCK = 1 << 24
"""Bytes of each array to compare at once."""


def difference(found: Value, expected: Value) -> str:
    """Describe how ``found`` differs from ``expected``, or return an empty string.

    Arrays are equal if their shape, dtype and all bits are equal. Byte order does not matter, and
    NaN equals itself. Lazy handles are read part by part. The metadata of images is not compared.
    It only says where each axis is, because a format may store samples of RGB as channels.
    """
    one, words = array_and_words(found)
    other, own = array_and_words(expected)
    if _has_pixels(one) and _has_pixels(other):
        order: Sequence[int] = range(len(one.shape))
        if words is not None and own is not None:
            order = _order(words.names, own.names)
        return _of_arrays(one, other, order)
    return "" if _is_same(one, other) else "the values differ"


def _has_pixels(value: Value) -> bool:
    return is_array(value) or _is_lazy(value)


def _is_lazy(value: Value) -> bool:
    return isinstance(value, LazyArray) or is_instance(value, "dask.array", "Array")


def _order(found: Sequence[str], expected: Sequence[str]) -> Sequence[int]:
    """Return where ``found`` has each axis of ``expected``."""
    # A format without samples stores RGB as three channels.
    if "s" in expected and "s" not in found:
        expected = ["c" if name == "s" else name for name in expected]
    elif "s" in found and "s" not in expected:
        found = ["c" if name == "s" else name for name in found]
    if sorted(found) != sorted(expected):
        return range(len(found))
    return [found.index(name) for name in expected]


def _of_arrays(found: Value, expected: Value, order: Sequence[int]) -> str:
    one, other = (v if _is_lazy(v) else to_numpy(v, extended=True) for v in (found, expected))
    shape = tuple(one.shape[axis] for axis in order)
    if shape != tuple(other.shape):
        return f"the shape is {shape}, not {tuple(other.shape)}"
    if one.dtype.newbyteorder("=") != other.dtype.newbyteorder("="):
        return f"the dtype is {one.dtype}, not {other.dtype}"
    for region in _blocks(shape, one.dtype.itemsize, _grid(one, order), _grid(other)):
        placed = dict(zip(order, region, strict=True))
        part = to_numpy(one[tuple(placed[axis] for axis in range(len(shape)))], extended=True)
        place = _first_difference(part.transpose(order), to_numpy(other[region], extended=True))
        if place is not None:
            index = tuple(s.start + at for s, at in zip(region, place, strict=True))
            return f"the values differ, first at index {index}"
    return ""


def _grid(array: Value, order: Sequence[int] | None = None) -> tuple[int, ...]:
    """Return the shape of the parts in which ``array`` is read."""
    chunks = getattr(array, "chunks", None)
    if not isinstance(array, LazyArray) or chunks is None:
        return (1,) * len(array.shape)
    return tuple(chunks[axis] for axis in order or range(len(chunks)))


def _blocks(
    shape: tuple[int, ...], itemsize: int, *grids: tuple[int, ...]
) -> Iterator[tuple[slice, ...]]:
    """Yield regions of whole parts that cover ``shape``, each about ``_BLOCK`` bytes."""
    steps = list(shape)
    # The first axes are cut first, because parts along them are contiguous in most formats.
    for axis, length in enumerate(shape):
        inner = max(itemsize * math.prod(steps[axis + 1 :] + steps[:axis]), 1)
        if inner * length <= _BLOCK:
            break
        piece = max(1, *(grid[axis] for grid in grids))
        steps[axis] = min(length, max(piece, _BLOCK // inner // piece * piece))
    ranges = (range(0, n, max(step, 1)) for n, step in zip(shape, steps, strict=True))
    for starts in itertools.product(*ranges):
        ends = (min(a + s, n) for a, s, n in zip(starts, steps, shape, strict=True))
        yield tuple(map(slice, starts, ends))


def _first_difference(found: Pixels, expected: Pixels) -> tuple[int, ...] | None:
    """Return the first index at which the bits differ."""
    if found.dtype.names:
        places = [_first_difference(found[n], expected[n]) for n in found.dtype.names]
        return min((place for place in places if place is not None), default=None)
    if not found.nbytes:
        return None
    # Compared as unsigned integers, so that NaN equals itself and -0.0 differs from 0.0.
    unit = math.gcd(found.itemsize, 8)
    one, other = (
        np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))
        .reshape(-1)
        .view(f"u{unit}")
        for array in (found, expected)
    )
    if np.array_equal(one, other):
        return None
    first = int(np.flatnonzero(one != other)[0]) * unit // found.itemsize
    return tuple(map(int, np.unravel_index(first, found.shape)))


def _is_same(one: Value, other: Value) -> bool:
    """Compare values that are not arrays: JSON, tables, and lists of any values."""
    if _has_pixels(one) and _has_pixels(other):
        return not difference(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_is_same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if type(one) is not type(other):
        return False
    if hasattr(one, "equals"):  # a table of pandas, where == compares cell by cell
        return bool(one.equals(other))
    return bool(one == other or (one != one and other != other))
