"""Make the data of an image layer: one array, or the levels of a large image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from polystore_core.errors import UnsupportedDataError
from polystore_stream import Part, of_each_axis

from .painting import make_paintable

if TYPE_CHECKING:
    from polystore_core import LazyArray, Pixels, Region, Value
    from polystore_stream import Block, Image, Stack

__all__ = ["check_held", "is_stored", "layer_data", "level_shapes", "sample_pixels"]

_MOST = 16 << 20
"""Most bytes of a file that napari reads to answer a query."""


def layer_data(stack: Stack, *, labels: bool) -> Value:
    """Return the data of a layer. Several levels make a list, from fine to coarse.

    The user can only paint in label images that are in memory.
    """
    view = stack.snapshot()
    levels = view.levels
    if len(levels) > 1:
        return [Crop(level) for level in levels]
    return make_paintable(stack) if labels and not is_stored(stack) else view


class Crop:
    """A box of a lazy array. It is read when it is converted to an array, or indexed with numbers.

    napari first cuts the part on the screen out of all planes of a level, and then takes one plane.
    If the first step read pixels, it would read all planes.
    """

    def __init__(self, array: LazyArray, box: Sequence[range] | None = None) -> None:
        self._array = array
        self._box = tuple(map(range, array.shape)) if box is None else tuple(box)
        self.shape = tuple(map(len, self._box))
        self.ndim, self.size = len(self.shape), math.prod(self.shape)
        self.dtype = array.dtype
        self.chunks = array.chunks if box is None else None

    def __getitem__(self, region: Region) -> Value:
        items = of_each_axis(region, self.shape)
        chosen = [known[item] for known, item in zip(self._box, items, strict=True)]
        box = [one for one in chosen if isinstance(one, range)]
        if len(box) == self.ndim:
            return Crop(self._array, box)
        return np.asarray(self._array[tuple(map(_slice, chosen))])

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(
        self, dtype: np.dtype[Value] | None = None, copy: bool | None = None
    ) -> Pixels:
        found = np.asarray(self._array[tuple(map(_slice, self._box))])
        return found if dtype is None else found.astype(dtype, copy=False)


def _slice(chosen: range | int) -> slice | int:
    if isinstance(chosen, int):
        return chosen
    # A range that goes down to 0 stops at -1. In a slice, -1 would mean the last index.
    return slice(chosen.start, chosen.stop if chosen.stop >= 0 else None, chosen.step)


def is_stored(stack: Stack) -> bool:
    """Whether a stack shows files instead of arrays in memory."""
    return any(isinstance(block, Part) for block in stack.blocks())


def level_shapes(data: Value) -> list[tuple[int, ...]]:
    """Return the shape of each level of a layer's data."""
    levels = data if isinstance(data, Sequence) else [data]  # napari's MultiScaleData is one
    return [tuple(level.shape) for level in levels]


def check_held(item: Image, blocks: Sequence[Value]) -> None:
    """Raise ``UnsupportedDataError`` for pixels that are in a file, and too many to send."""
    source = item.source
    nbytes = sum(block.nbytes for block in blocks)
    if source is not None and (item.sliders or nbytes > _MOST):
        raise UnsupportedDataError(
            f"{item.path!r} is shown from {source.path!r}, so napari does not hold its pixels: "
            f"open {source.path!r} with backend {source.backend!r}"
        )


def sample_pixels(block: Block) -> Pixels:
    """Return the pixels for display limits. For a file, return the sample that is in memory."""
    return np.asarray(block.sample if isinstance(block, Part) else block)
