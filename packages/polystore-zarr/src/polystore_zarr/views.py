"""Lazy handles on RGB images. In the store, their samples are channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from polystore_core import LazyArray, Selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polystore_core import ImageMetadata, Memory, Pixels, Region

    from .arrays import ZarrArray
    from .store.base import StorePath

__all__ = ["Samples"]


class Samples(LazyArray):
    """An RGB image with the samples on its last axis, over ``array`` with its axes in ``order``."""

    def __init__(self, array: ZarrArray, order: Sequence[int]) -> None:
        self._array, self._order, self._moved = array, tuple(order), array.transpose(order)
        self.shape, self.dtype, self.chunks = (
            self._moved.shape,
            self._moved.dtype,
            self._moved.chunks,
        )
        shards = array.shards
        self.shards = None if shards is None else tuple(shards[n] for n in self._order)

    def __getitem__(self, region: Region) -> Pixels:
        return self._moved[region]

    def close(self) -> None:
        self._moved.close()

    @property
    def image(self) -> ImageMetadata | None:
        return self._array.image

    @property
    def level(self) -> int:
        """The number of the level in the pyramid."""
        return self._array.level

    @property
    def axis_names(self) -> tuple[str, ...]:
        """The names of the axes in the document of its image, with "s" for the samples."""
        names = self._array.axis_names
        return (*(names[n] for n in self._order[:-1]), "s")

    @property
    def levels(self) -> tuple[Samples, ...]:
        """The level and the coarser ones, like those of the array."""
        return (self, *(Samples(level, self._order) for level in self._array.levels[1:]))

    @property
    def directory(self) -> StorePath:
        """The place of the metadata and chunks of the array."""
        return self._array.directory

    @property
    def is_identified(self) -> bool:
        """Whether the document that was read identifies the array."""
        return self._array.is_identified

    def __dask_tokenize__(self) -> tuple[object, ...]:
        return type(self).__name__, self._array.__dask_tokenize__(), self._order

    def read(self, selection: Selection, memory: Memory | None = None) -> Pixels:
        """Return the selected elements, without a check that the array is still there.

        ``memory`` is not used, because the axes have another order in the store.
        """
        stored = [range(0)] * self.ndim
        for number, chosen in zip(self._order, selection.ranges, strict=True):
            stored[number] = chosen
        shape = tuple(map(len, stored))
        found = self._array.read(Selection(tuple(stored), (False,) * len(shape), shape))
        return selection.arrange(np.ascontiguousarray(found.transpose(self._order)))
