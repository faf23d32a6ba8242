"""Lazy handles whose axes are in another order than those of the stored array."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from polystore_core import LazyArray, Selection, select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polystore_core import ImageMetadata, Pixels, Region

    from .arrays import ZarrArray
    from .store.base import StorePath

__all__ = ["MovedArray", "Samples"]


class MovedArray(LazyArray):
    """A read-only view of ``array`` with its axes in ``order``, as of ``numpy.transpose``."""

    def __init__(self, array: LazyArray, order: Sequence[int]) -> None:
        self._moved, self._order = array, tuple(order)
        self.shape = tuple(array.shape[n] for n in self._order)
        self.dtype = array.dtype
        if array.chunks is not None:
            self.chunks = tuple(array.chunks[n] for n in self._order)

    def __getitem__(self, region: Region) -> Pixels:
        selection = select(region, self.shape)
        ranges = self._stored(selection.ranges)
        box = tuple([slice(r.start, max(r.stop, r.start), r.step) for r in ranges])
        return self._arranged(self._moved[box], selection)

    def _stored(self, ranges: Sequence[range]) -> tuple[range, ...]:
        """Return the ranges of a selection along the axes of the stored array."""
        stored = [range(0)] * len(ranges)
        for number, chosen in zip(self._order, ranges, strict=True):
            stored[number] = chosen
        return tuple(stored)

    def _arranged(self, found: Pixels, selection: Selection) -> Pixels:
        return selection.arranged(np.ascontiguousarray(found.transpose(self._order)))

    def close(self) -> None:
        self._moved.close()


class Samples(MovedArray):
    """An RGB image with the samples on its last axis. They are channels in the store."""

    def __init__(self, array: ZarrArray, order: Sequence[int]) -> None:
        super().__init__(array, order)
        self._array = array
        shards = array.shards
        self.shards = None if shards is None else tuple(shards[n] for n in self._order)

    @property
    def image(self) -> ImageMetadata | None:
        return self._array.image

    @property
    def directory(self) -> StorePath:
        """Where the metadata and chunks of the array are."""
        return self._array.directory

    @property
    def is_identified(self) -> bool:
        """Whether the file that was read says which array this is, and not a second look."""
        return self._array.is_identified

    def __dask_tokenize__(self) -> tuple[object, ...]:
        return type(self).__name__, self._array.__dask_tokenize__(), self._order

    def read(self, selection: Selection) -> Pixels:
        """Return the selected elements, without a check that the array is still there."""
        ranges = self._stored(selection.ranges)
        shape = tuple(map(len, ranges))
        found = self._array.read(Selection(ranges, (False,) * len(shape), shape))
        return self._arranged(found, selection)
