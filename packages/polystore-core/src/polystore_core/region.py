"""Which elements a region selects: NumPy's basic indexing, taken apart before anything is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .errors import InvalidOptionError

if TYPE_CHECKING:
    from .values import Pixels, Region

__all__ = ["Selection", "select"]


class Selection(NamedTuple):
    """A region of basic indexing, axis by axis."""

    ranges: tuple[range, ...]
    """The selected indices of each axis, ascending."""
    descending: tuple[bool, ...]
    shape: tuple[int, ...]
    """That of the result: axes that an integer selects from are gone."""

    def arranged(self, array: Pixels) -> Pixels:
        """Return what was read along ``ranges`` in the order and shape of the region."""
        if any(self.descending):
            turned = tuple(slice(None, None, -1 if d else 1) for d in self.descending)
            array = np.ascontiguousarray(array[turned])
        return array.reshape(self.shape)


def select(region: Region, shape: tuple[int, ...]) -> Selection:
    """Raise ``IndexError`` as NumPy does, and ``InvalidOptionError`` for advanced indexing."""
    if region is ...:
        ranges = tuple(map(range, shape))
        return Selection(ranges, (False,) * len(shape), tuple(map(len, ranges)))
    items: list[Any] = list(region) if isinstance(region, tuple) else [region]
    if not all(_is_basic(item) for item in items):
        raise InvalidOptionError("region", region, "integers, slices and ...")
    if items.count(...) > 1:
        raise IndexError("a region can only have a single ellipsis ('...')")
    if ... not in items:
        items.append(...)
    missing = len(shape) - len(items) + 1
    if missing < 0:
        raise IndexError(f"too many indices: the array has {len(shape)} dimensions")
    at = items.index(...)
    items[at : at + 1] = [slice(None)] * missing
    found = [
        range(length)[item] if isinstance(item, slice) else _single(item, length)
        for item, length in zip(items, shape, strict=True)
    ]
    return Selection(
        tuple([r if r.step > 0 else r[::-1] for r in found]),
        tuple([r.step < 0 for r in found]),
        tuple([len(r) for r, i in zip(found, items, strict=True) if isinstance(i, slice)]),
    )


def _is_basic(item: object) -> bool:
    return (
        item is ...
        or isinstance(item, slice | np.integer)
        or (isinstance(item, int) and not isinstance(item, bool))
    )


def _single(item: int, length: int) -> range:
    try:
        start = range(length)[item]
    except IndexError:
        raise IndexError(f"index {item} is out of bounds for an axis of {length}") from None
    return range(start, start + 1)
