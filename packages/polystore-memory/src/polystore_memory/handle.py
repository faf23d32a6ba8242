"""Lazy handles on arrays in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polystore_core import LazyArray

if TYPE_CHECKING:
    from polystore_core import ImageMetadata, Pixels, Region

__all__ = ["MemoryArray"]


class MemoryArray(LazyArray):
    """A read-only view of a stored array, as it was when it was opened."""

    def __init__(self, array: Pixels, image: ImageMetadata | None = None) -> None:
        self._array, self._image = array, image
        self.shape, self.dtype = array.shape, array.dtype

    @property
    def image(self) -> ImageMetadata | None:
        return self._image

    def __getitem__(self, region: Region) -> Pixels:
        return self._array[region]
