"""Let the brushes of napari paint in label images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from polystore_core import LazyArray

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from polystore_core import Pixels, Value
    from polystore_stream import Stack, StackView

__all__ = ["PaintableView", "make_paintable"]


def make_paintable(stack: Stack) -> Value:
    """Return data that the user can paint in: the block, or a view that writes into blocks."""
    return PaintableView(stack.snapshot()) if stack.sliders else stack.snapshot()[...]


class PaintableView(LazyArray):
    """A stack for napari's brushes, which write, and index with arrays."""

    def __init__(self, view: StackView) -> None:
        self._view = view
        self.shape, self.dtype, self.chunks = view.shape, view.dtype, view.chunks

    def __getitem__(self, region: Value) -> Pixels:
        if not _has_arrays(region):
            return self._view[region]
        where = np.broadcast_arrays(*region)
        found = np.empty(where[0].shape, self.dtype)
        for chosen, block, inner in self._pixels(where):
            found[chosen] = block[inner]
        return found

    def __setitem__(self, region: Value, value: Value) -> None:
        if _has_arrays(region):
            where = np.broadcast_arrays(*region)
            values = np.broadcast_to(value, where[0].shape)
        else:
            axes = [
                np.arange(length)[key] if isinstance(key, slice) else np.array([key])
                for key, length in zip(region, self.shape, strict=True)
            ]
            where = np.broadcast_arrays(*np.ix_(*axes))
            values = np.broadcast_to(value, self[region].shape).reshape(where[0].shape)
        for chosen, block, inner in self._pixels(where):
            if block.flags.writeable:  # if not, it is the zeros shown for a missing block
                block[inner] = values[chosen]

    def _pixels(
        self, where: Sequence[Pixels]
    ) -> Iterator[tuple[Pixels, Pixels, tuple[Pixels, ...]]]:
        """Yield for each block which pixels it has, the block, and their indices in it."""
        count = len(self._view.coordinates)
        outer = np.stack(where[:count], axis=-1)
        for place in np.unique(outer.reshape(-1, count), axis=0):
            chosen = (outer == place).all(axis=-1)
            block = self._view[tuple(map(int, place))]
            yield chosen, block, tuple(axis[chosen] for axis in where[count:])


def _has_arrays(region: Value) -> bool:
    return isinstance(region, tuple) and any(isinstance(key, np.ndarray) for key in region)
