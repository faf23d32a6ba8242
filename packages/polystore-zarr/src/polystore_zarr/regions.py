"""The values and boxes of regions that are written. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from polystore_core import convert, is_array, to_numpy
from polystore_core.errors import UnsupportedDataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polystore_core import Pixels, Selection, Value

__all__ = ["box_around", "fit_values", "unfold"]


def fit_values(value: Value, dtype: np.dtype[Value], shape: tuple[int, ...]) -> Pixels:
    """Return ``value`` as an array of ``dtype`` and ``shape``.

    A Python number may be rounded to a floating-point type. Arrays are converted exactly.

    Raises:
        UnsupportedDataError: The value does not fit the dtype or the shape.
    """
    is_text = dtype.kind in "OT"  # to NumPy, its elements are objects
    is_plain = is_array(value) and not is_text
    values = to_numpy(value, extended=True) if is_plain else np.asarray(value)
    is_number = isinstance(value, bool | int | float | complex)
    fits = _holds(dtype, value) if is_number else np.can_cast(values.dtype, dtype)
    if (values.dtype.kind, dtype.kind) == ("U", "T"):
        values, fits = values.astype(dtype), True
    if not fits:
        raise UnsupportedDataError(
            f"{values.dtype} values do not fit an array of {dtype}: convert them", "zarr"
        )
    if values.dtype != dtype:  # NumPy calls int64 to float64 safe, but it rounds large numbers
        values = convert(values, dtype, "unsafe" if is_number else "exact")
    try:
        return np.broadcast_to(values, shape)
    except ValueError:
        raise UnsupportedDataError(
            f"the values have shape {values.shape}, but the region has shape {shape}", "zarr"
        ) from None


def _holds(dtype: np.dtype[Value], number: complex) -> bool:
    """Return whether an array can hold a Python number, which floats may round."""
    if dtype.isbuiltin == 2:  # bfloat16 and float8, which NumPy cannot compare with others
        dtype = np.dtype("f4")
    # "same_kind" lets a number be rounded to a float, but never to an integer.
    if not np.can_cast(np.min_scalar_type(number), dtype, "same_kind"):
        return False
    # 300 would become 44 in uint8 without a word.
    return dtype.kind not in "iu" or bool(np.asarray(number).astype(dtype) == number)


def unfold(values: Pixels, selection: Selection) -> Pixels:
    """Return the values of a region along its ascending ranges, with all axes."""
    turned = tuple(slice(None, None, -1 if d else 1) for d in selection.descending)
    return values.reshape([len(r) for r in selection.ranges])[turned]


def box_around(
    ranges: Sequence[range], shape: Sequence[int], unit: Sequence[int]
) -> tuple[slice, ...] | None:
    """Return the smallest box on the grid of ``unit`` around a region.

    Returns ``None`` if the region is such a box. The last box of an axis ends with the array.
    """
    box = tuple(
        slice(r.start // u * u, min(-(-(r[-1] + 1) // u) * u, length))
        for r, length, u in zip(ranges, shape, unit, strict=True)
    )
    whole = all(
        r.step == 1 and (r.start, r.stop) == (b.start, b.stop)
        for r, b in zip(ranges, box, strict=True)
    )
    return None if whole else box
