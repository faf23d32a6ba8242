"""The part of a source that an entry selects, and regions of this part."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from polystore_core import LazyArray
from polystore_core.errors import InvalidOptionError

if TYPE_CHECKING:
    from polystore_core import ImageMetadata, Pixels, Region

__all__ = [
    "ALL",
    "Indices",
    "SlicedArray",
    "check_indices",
    "is_basic",
    "narrow",
    "slice_shape",
    "spread",
]

Indices: TypeAlias = "tuple[int | None, ...]"
"""Indices of an entry: for each of the first axes one index, or ``None`` for the whole axis."""

ALL = slice(None)


def is_basic(region: Region | None) -> tuple[Any, ...]:
    """Return the items of a region as a tuple.

    Raises:
        InvalidOptionError: The region has lists or arrays, which are advanced indexing.
    """
    items = () if region is None else region if isinstance(region, tuple) else (region,)
    for item in items:
        is_number = isinstance(item, int | np.integer) and not isinstance(item, bool)
        if not (item is ... or is_number or isinstance(item, slice)):
            raise InvalidOptionError("region", region, "integers, slices and ...")
    return items


def narrow(
    indices: Indices, items: tuple[Any, ...] = (), count_axes: Callable[[], int] = int
) -> tuple[Any, ...]:
    """Return the region of the source for ``items``, a region of the part that ``indices`` select.

    Args:
        indices: indices of the entry.
        items: items of the region of the caller.
        count_axes: returns the number of axes of the source. It may have to open the source, so
            it is called only if the meaning of ``...`` depends on it.
    """
    # "..." at the end means nothing. Before other items, it is as many axes as are left.
    if ... in items and None in indices and items[-1] is not ...:
        return tuple(spread(indices, items, count_axes()))
    rest = iter(items[:-1] if items and items[-1] is ... else items)
    found = [next(rest, ALL) if index is None else index for index in indices]
    return (*found, *rest)


def spread(indices: Indices, items: tuple[Any, ...], ndim: int) -> list[Any]:
    """Return the same region with one item for each of the ``ndim`` axes of the source."""
    if len(indices) > ndim:
        raise IndexError(f"indices {list(indices)} are too many for {ndim} axes")
    given = list(items) if ... in items else [*items, ...]
    left = ndim - len(indices) + indices.count(None)
    missing = left - len(given) + 1
    if given.count(...) > 1:
        raise IndexError("a region can only have a single ellipsis ('...')")
    if missing < 0:
        raise IndexError(f"too many indices: the array has {left} dimensions")
    at = given.index(...)
    given[at : at + 1] = [ALL] * missing
    rest = iter(given)
    return [next(rest) if index is None else index for index in indices] + list(rest)


def check_indices(indices: Indices, shape: tuple[int, ...] | None) -> None:
    """Raise ``IndexError`` if ``indices`` are outside a source with this shape."""
    if shape is None:
        raise IndexError(f"indices {list(indices)} need an array")
    if len(indices) > len(shape):
        raise IndexError(f"indices {list(indices)} are too many for shape {shape}")
    for axis, (index, length) in enumerate(zip(indices, shape, strict=False)):
        if index is not None and index >= length:
            raise IndexError(
                f"index {index} is outside of axis {axis}, which has length {length}"
            )


def slice_shape(indices: Indices, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the shape of the part that ``indices`` select. Raises ``IndexError``."""
    check_indices(indices, shape)
    pairs = zip_longest(shape or (), indices)
    return tuple([length for length, index in pairs if index is None])


class SlicedArray(LazyArray):
    """The part of a lazy handle that ``indices`` select. Reads only the region that you index."""

    def __init__(self, handle: LazyArray, indices: Indices) -> None:
        self._handle, self._indices = handle, indices
        self.shape = slice_shape(indices, handle.shape)
        self.dtype = handle.dtype
        if handle.chunks is not None:
            self.chunks = tuple(
                [n for n, index in zip_longest(handle.chunks, indices) if index is None]
            )

    @property
    def image(self) -> ImageMetadata | None:
        words = self._handle.image
        return None if words is None else words.select(self._region(()), self._handle.shape)

    @property
    def levels(self) -> tuple[LazyArray, ...]:
        """The levels on which the indices select the same planes."""

        def is_alike(level: LazyArray) -> bool:
            # On a level that is shorter along an axis, an index of this axis means another plane.
            lengths = zip(level.shape, self._handle.shape, self._indices, strict=False)
            return all(a == b for a, b, index in lengths if index is not None)

        smaller = [level for level in self._handle.levels[1:] if is_alike(level)]
        return (self, *(SlicedArray(level, self._indices) for level in smaller))

    def __getitem__(self, region: Region) -> Pixels:
        return self._handle[self._region(is_basic(region))]

    def _region(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        return narrow(self._indices, items, lambda: self._handle.ndim)

    def close(self) -> None:
        self._handle.close()
