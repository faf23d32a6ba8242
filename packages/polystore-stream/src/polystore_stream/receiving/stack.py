"""Hold the blocks of one layer, at coordinates on its sliders, as one lazy array.

One thread may put blocks while others slice. A view never changes its shape and does not take a
lock. It keeps its own coordinates, and finds each block by its coordinates. So a new coordinate
does not shift the indices of a view, and a view shows a replaced block at once.
"""

from __future__ import annotations

import math
import threading
import uuid
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from polystore_core import LazyArray, natural_key, select
from polystore_core.errors import InvalidOptionError, UnsupportedDataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike, NDArray

    from polystore_core import Region

__all__ = ["Block", "Coordinates", "Stack", "StackView", "of_each_axis"]

Coordinates: TypeAlias = tuple[str, ...]
"""Coordinates of a block: one on each slider."""
Block: TypeAlias = "NDArray[Any] | LazyArray"


class Stack:
    """The blocks of one layer by their coordinates on its sliders.

    All blocks have one shape and type. They are kept without a copy, so do not write to a block
    afterwards: put another one instead. Without sliders there is one block, at ``()``. A block
    may be a lazy array, which is read when a view is sliced.
    """

    # _lock guards changes of _blocks, _scales and _empty, and reads of _scales. A view, len and
    # ``in`` read single entries of _blocks without it. reset makes new objects instead of emptying
    # the old ones, because views still read the old ones.

    def __init__(
        self, sliders: tuple[str, ...], block_shape: tuple[int, ...], dtype: DTypeLike
    ) -> None:
        self.sliders = sliders
        self._lock = threading.Lock()
        self.reset(block_shape, dtype)

    def reset(self, block_shape: tuple[int, ...], dtype: DTypeLike) -> None:
        """Empty the stack, for blocks of another shape. Older views keep their blocks."""
        empty = np.broadcast_to(np.zeros((), dtype), block_shape)  # takes no memory
        with self._lock:
            self._empty = empty
            self._blocks: dict[Coordinates, Block] = {}
            self._scales = [_Scale() for _ in self.sliders]

    @property
    def block_shape(self) -> tuple[int, ...]:
        """Shape of each block."""
        return self._empty.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of each block."""
        return self._empty.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks, also of those that are not in memory."""
        return len(self) * self._empty.nbytes

    @property
    def coordinates(self) -> tuple[Coordinates, ...]:
        """The coordinates on each slider, in natural order."""
        with self._lock:
            return tuple(scale.coordinates for scale in self._scales)

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self._blocks)

    def __contains__(self, coords: object) -> bool:
        return coords in self._blocks

    def __repr__(self) -> str:
        kind = f"block_shape={self.block_shape}, dtype={self.dtype.str!r}"
        return f"<Stack of {len(self)} blocks, sliders={self.sliders}, {kind}>"

    def get(self, coords: Coordinates) -> Block | None:
        """Return the block at ``coords``, without a copy, or ``None``."""
        return self._blocks.get(coords)

    def blocks(self) -> list[Block]:
        """Return all blocks, in the order in which they came."""
        return list(self._blocks.values())

    def put(self, coords: Coordinates, block: Block) -> None:
        """Store ``block`` at ``coords``. It replaces a block that is already there.

        Raises ``UnsupportedDataError`` for another shape or type than that of the stack.
        """
        with self._lock:
            self._check(coords, block)
            if coords not in self._blocks:
                for scale, coordinate in zip(self._scales, coords, strict=True):
                    scale.add(coordinate)
            self._blocks[coords] = block

    def remove(self, coords: Coordinates) -> None:
        """Remove a block, and the coordinates that no other block has.

        Raises ``KeyError`` if no block is there.
        """
        with self._lock:
            del self._blocks[coords]
            for scale, coordinate in zip(self._scales, coords, strict=True):
                scale.discard(coordinate)

    def index(self, coords: Coordinates) -> tuple[int, ...]:
        """Return the index on each slider.

        Raises ``KeyError`` for a coordinate that no block has.
        """
        with self._lock:
            pairs = zip(self._scales, coords, strict=True)
            return tuple(scale.index(coordinate) for scale, coordinate in pairs)

    def snapshot(self) -> StackView:
        """Return all blocks as one array, with the shape that it has now."""
        with self._lock:
            coordinates = tuple(scale.coordinates for scale in self._scales)
            return StackView(coordinates, self._blocks, self._empty)

    def _check(self, coords: Coordinates, block: Block) -> None:
        is_tuple = isinstance(coords, tuple) and all(isinstance(text, str) for text in coords)
        if not is_tuple or len(coords) != len(self.sliders):
            raise InvalidOptionError("coords", coords, f"a str for each of {self.sliders}")
        if block.shape != self.block_shape or block.dtype != self.dtype:
            raise UnsupportedDataError(
                f"this layer holds {_kind(self._empty)}, but the new array is {_kind(block)}: "
                "convert it, or save it under a name of another layer"
            )


class StackView(LazyArray):
    """A stack as one array, shape (number of coordinates on each slider, …, shape of a block).

    An index on each slider returns the block itself, without a copy. Slices copy blocks into a new
    array. Missing blocks are zero.
    """

    def __init__(
        self,
        coordinates: tuple[Coordinates, ...],
        blocks: Mapping[Coordinates, Block],
        empty: NDArray[Any],
    ) -> None:
        self.coordinates = coordinates
        """The coordinates on each slider, in the order of the indices."""
        self.shape = (*map(len, coordinates), *empty.shape)
        self.dtype = empty.dtype
        # napari reads whole chunks. For a block in a file, give it the file's chunks, or it
        # would read the whole block.
        block = blocks.get(next(iter(blocks), ()))
        inner = block.chunks if isinstance(block, LazyArray) else empty.shape
        self.chunks = None if inner is None else (*(1 for _ in coordinates), *inner)
        self._blocks = blocks
        self._empty = empty

    @property
    def levels(self) -> tuple[LazyArray, ...]:
        """The stack of each level of its blocks. Only one level if two blocks differ in them."""
        first = next(iter(self._blocks.values()), None)
        if not isinstance(first, LazyArray):  # do not look at thousands of arrays in memory
            return (self,)
        blocks = list(self._blocks.values())
        known = {tuple([level.shape for level in _levels(block)]) for block in blocks}
        shapes = known.pop() if len(known) == 1 else ()
        return (self, *(self._level(n, shape) for n, shape in enumerate(shapes[1:], 1)))

    def _level(self, number: int, shape: tuple[int, ...]) -> StackView:
        empty = np.broadcast_to(np.zeros((), self.dtype), shape)
        return StackView(self.coordinates, _Level(self._blocks, number), empty)

    def __getitem__(self, region: Region) -> NDArray[Any]:
        items = of_each_axis(region, self.shape)
        inner = items[len(self.coordinates) :]
        chosen: list[Coordinates] = []
        lengths: list[int] = []
        for coordinates, item in zip(self.coordinates, items, strict=False):
            if isinstance(item, slice):
                chosen.append(coordinates[item])
                lengths.append(len(chosen[-1]))
            else:
                chosen.append((coordinates[item],))
        if not lengths:
            place = tuple(coordinate for (coordinate,) in chosen)
            part: NDArray[Any] = self._blocks.get(place, self._empty)[inner]
            return part
        gathered = self._gather(chosen, inner)
        return gathered.reshape(*lengths, *gathered.shape[1:])

    def __array__(
        self, dtype: np.dtype[Any] | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        if not self.coordinates:
            return super().__array__(dtype, copy)
        if copy is False:
            raise ValueError(
                "copy=False is not supported for a stack with sliders: its blocks must be copied"
            )
        return super().__array__(dtype)

    def __dask_tokenize__(self) -> tuple[str, str]:
        # Without this method, Dask would read all blocks to compute a name, and would keep the
        # name when a block changes.
        return type(self).__name__, uuid.uuid4().hex

    def _gather(
        self, chosen: list[Coordinates], inner: tuple[int | slice, ...]
    ) -> NDArray[Any]:
        """Return the parts ``inner`` of the blocks at all combinations, one after another."""
        count = math.prod(map(len, chosen))
        gathered = np.zeros((count, *self._empty[inner].shape), self.dtype)
        for position, place in enumerate(product(*chosen)):
            block = self._blocks.get(place)
            if block is not None:
                gathered[position] = block[inner]
        return gathered


def _levels(block: Block) -> tuple[Block, ...]:
    return block.levels if isinstance(block, LazyArray) else (block,)


class _Level(Mapping[Coordinates, Block]):
    """One level of the blocks of a stack, including blocks that are put later."""

    def __init__(self, blocks: Mapping[Coordinates, Block], number: int) -> None:
        self._blocks, self._number = blocks, number

    def __getitem__(self, place: Coordinates) -> Block:
        levels = _levels(self._blocks[place])
        if self._number >= len(levels):  # a block with more levels was replaced
            raise KeyError(place)
        return levels[self._number]

    def __iter__(self) -> Iterator[Coordinates]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)


class _Scale:
    """The coordinates on one slider, and the number of blocks at each."""

    # It needs no lock: the stack calls it with its own lock held.

    def __init__(self) -> None:
        self._blocks: Counter[str] = Counter()
        self._keys: list[tuple[str, str]] = []
        self._known: Coordinates | None = ()

    @property
    def coordinates(self) -> Coordinates:
        if self._known is None:
            self._known = tuple(coordinate for _, coordinate in self._keys)
        return self._known

    def add(self, coordinate: str) -> None:
        if coordinate not in self._blocks:
            key = natural_key(coordinate)
            self._keys.insert(bisect_left(self._keys, key), key)
            self._known = None
        self._blocks[coordinate] += 1

    def discard(self, coordinate: str) -> None:
        self._blocks[coordinate] -= 1
        if not self._blocks[coordinate]:
            del self._keys[self.index(coordinate)], self._blocks[coordinate]
            self._known = None

    def index(self, coordinate: str) -> int:
        if coordinate not in self._blocks:
            raise KeyError(coordinate)
        return bisect_left(self._keys, natural_key(coordinate))


def of_each_axis(region: Region, shape: tuple[int, ...]) -> tuple[int | slice, ...]:
    """Return an index or a slice for each axis. Raises the errors of ``select``."""
    select(region, shape)  # raises for a region that is not basic indexing of this shape
    items: list[Any] = list(region) if isinstance(region, tuple) else [region]
    if ... not in items:
        items.append(...)
    at = items.index(...)
    items[at : at + 1] = [slice(None)] * (len(shape) - len(items) + 1)
    return tuple(items)


def _kind(block: Block) -> str:
    return f"{' × '.join(map(str, block.shape)) or 'a number'} of {block.dtype}"
