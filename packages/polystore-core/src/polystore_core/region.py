"""``select``: the elements of a region of NumPy's basic indexing, before anything is read."""

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
    """Whether the region has the indices of an axis in descending order."""
    shape: tuple[int, ...]
    """The shape of the result, without the axes from which an integer selects."""

    def arrange(self, array: Pixels) -> Pixels:
        """Return elements that you have read along ``ranges`` in the order of the region.

        For example:

            selection = select(region, shape)
            array = read(selection.ranges)
            return selection.arrange(array)
        """
        if any(self.descending):
            turned = tuple(slice(None, None, -1 if d else 1) for d in self.descending)
            array = np.ascontiguousarray(array[turned])
        return array.reshape(self.shape)


def select(region: Region, shape: tuple[int, ...]) -> Selection:
    """Return the elements that a region selects from an array of ``shape``.

    Raises:
        IndexError: An index is out of bounds, or there are too many, as in NumPy.
        InvalidOptionError: The region is not basic indexing, for example a list or a mask.
    """
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
    # Ranges ascend always, because many libraries cannot read with a negative step.
    return Selection(
        tuple([r if r.step > 0 else r[::-1] for r in found]),
        tuple([r.step < 0 for r in found]),
        tuple([len(r) for r, i in zip(found, items, strict=True) if isinstance(i, slice)]),
    )


def _is_basic(item: object) -> bool:
    return (
        item is ...
        or isinstance(item, slice | np.integer)
        or (isinstance(item, int) and not isinstance(item, bool))  # in NumPy a bool is a mask
    )


def _single(item: int, length: int) -> range:
    try:
        start = range(length)[item]
    except IndexError:
        raise IndexError(f"index {item} is out of bounds for an axis of {length}") from None
    return range(start, start + 1)
