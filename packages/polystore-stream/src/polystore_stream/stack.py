"""What one layer holds: blocks (planes, or small volumes) that stand on sliders.

Growing copies no pixels: a block is kept as it came, and a viewer gets a lazy array over all.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from polystore import LazyArray
from polystore.errors import UnsupportedDataError
from polystore.values import natural_key

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["Coordinates", "Stack", "StackView"]

Coordinates: TypeAlias = tuple[str, ...]
"""One text for each slider, as it stands in names: ("001", "z3")."""
_Blocks: TypeAlias = "dict[Coordinates, NDArray[Any]]"


class Stack:
    """The blocks of one layer, by their coordinates.

    Blocks may be put by one thread while others read views.
    """

    def __init__(
        self, sliders: tuple[str, ...], block_shape: tuple[int, ...], dtype: DTypeLike
    ) -> None:
        self.sliders = sliders
        self.block_shape = block_shape
        self.dtype = np.dtype(dtype)
        self._blocks: _Blocks = {}
        # Replaced, never changed: views keep the lists that they were made with.
        self._coordinates: tuple[tuple[str, ...], ...] = ((),) * len(sliders)

    def __len__(self) -> int:
        return len(self._blocks)

    def __contains__(self, at: Coordinates) -> bool:
        return at in self._blocks

    @property
    def coordinates(self) -> tuple[tuple[str, ...], ...]:
        """Of each slider, in natural order: "z2" before "z10"."""
        return self._coordinates

    @property
    def nbytes(self) -> int:
        """Of the blocks that are there."""
        return len(self) * math.prod(self.block_shape) * self.dtype.itemsize

    def check(self, block_shape: tuple[int, ...], dtype: DTypeLike) -> None:
        """Raise ``UnsupportedDataError`` for what does not stand beside the other blocks."""
        if block_shape != self.block_shape or np.dtype(dtype) != self.dtype:
            raise UnsupportedDataError(
                f"{np.dtype(dtype)} of shape {block_shape}, where the layer holds {len(self)} of "
                f"{self.dtype} and shape {self.block_shape}: save it under a name, or with a "
                "layout, that makes a layer of its own"
            )

    def put(self, at: Coordinates, block: NDArray[Any]) -> None:
        """Place a block, or replace the one that stands there; it is kept, not copied."""
        self.check(block.shape, block.dtype)
        if at not in self._blocks:
            self._coordinates = tuple(
                _inserted(known, new) for known, new in zip(self._coordinates, at, strict=True)
            )
        self._blocks[at] = block

    def get(self, at: Coordinates) -> NDArray[Any] | None:
        return self._blocks.get(at)

    def remove(self, at: Coordinates) -> None:
        """Take a block away; its place reads as zeros."""
        self._blocks.pop(at, None)

    def index(self, at: Coordinates) -> tuple[int, ...]:
        """Return where coordinates stand on the sliders."""
        return tuple(
            known.index(one) for known, one in zip(self._coordinates, at, strict=True)
        )

    def view(self) -> StackView:
        """Return an array of what is there now."""
        return StackView(self._blocks, self._coordinates, self.block_shape, self.dtype)

    def __repr__(self) -> str:
        return f"<Stack {self.sliders} of {len(self)} {self.dtype} {self.block_shape}>"


def _inserted(known: tuple[str, ...], new: str) -> tuple[str, ...]:
    if known and natural_key(known[-1]) < natural_key(new):
        return (*known, new)
    if new in known:
        return known
    at = bisect_left(known, natural_key(new), key=natural_key)
    return (*known[:at], new, *known[at:])


class StackView(LazyArray):
    """An array over the blocks of a stack, of the shape that it had when the view was made.

    A block that is replaced shows; one whose coordinates came later does not. Places without
    a block are zero.
    """

    def __init__(
        self,
        blocks: _Blocks,
        coordinates: tuple[tuple[str, ...], ...],
        block_shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:
        self._blocks = blocks
        self._coordinates = coordinates
        self._block_shape = block_shape
        self.shape = (*map(len, coordinates), *block_shape)
        self.dtype = dtype
        self._zero: NDArray[Any] | None = None

    @property
    def chunks(self) -> tuple[int, ...]:
        return (1,) * len(self._coordinates) + self._block_shape

    def __getitem__(self, region: Any) -> NDArray[Any]:
        keys = self._completed(region)
        outer, inner = keys[: len(self._coordinates)], tuple(keys[len(self._coordinates) :])
        if all(isinstance(key, int) for key in outer):
            return self._block(tuple(c[k] for c, k in zip(self._coordinates, outer, strict=True)))[
                inner
            ]
        chosen = [
            [c[k]] if isinstance(k, int) else list(c[k])
            for c, k in zip(self._coordinates, outer, strict=True)
        ]
        lengths = tuple(
            len(some) for some, key in zip(chosen, outer, strict=True) if isinstance(key, slice)
        )
        parts = [self._block(at)[inner] for at in product(*chosen)]
        if not parts:
            empty = np.zeros(self._block_shape, self.dtype)[inner]
            return np.empty((*lengths, *empty.shape), self.dtype)
        return np.stack(parts).reshape((*lengths, *parts[0].shape))

    def _completed(self, region: Any) -> list[Any]:
        """Return one int or slice for each axis. Raises ``IndexError`` as NumPy does."""
        keys = list(region) if isinstance(region, tuple) else [region]
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            keys[at : at + 1] = [slice(None)] * (len(self.shape) - len(keys) + 1)
        if len(keys) > len(self.shape):
            raise IndexError(f"too many indices: {len(keys)} for {len(self.shape)} axes")
        keys += [slice(None)] * (len(self.shape) - len(keys))
        return [
            key if isinstance(key, slice) else _checked_index(key, length, axis)
            for axis, (key, length) in enumerate(zip(keys, self.shape, strict=True))
        ]

    def _block(self, at: Coordinates) -> NDArray[Any]:
        found = self._blocks.get(at)
        if found is not None:
            return found
        if self._zero is None:
            self._zero = np.zeros(self._block_shape, self.dtype)
            self._zero.flags.writeable = False
        return self._zero


def _checked_index(key: Any, length: int, axis: int) -> int:
    try:
        index = int(key.__index__())
    except AttributeError:
        raise IndexError(f"only integers, slices and ... select, not {key!r}") from None
    if not -length <= index < length:
        raise IndexError(f"index {index} is out of bounds for axis {axis} with size {length}")
    return index % length
