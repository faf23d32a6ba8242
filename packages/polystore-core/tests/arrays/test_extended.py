"""bfloat16 and float8 are compared bit by bit, converted exactly, and named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import convert, dtype_name, to_framework
from polystore_core.errors import InvalidOptionError, UnsupportedDataError
from polystore_core.model.equality import difference

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"]


@pytest.fixture
def extended(require: Callable[[str], Any]) -> Callable[[str], np.dtype[Any]]:
    return lambda name: np.dtype(getattr(require("ml_dtypes"), name))


@pytest.mark.parametrize("name", NAMES)
def test_every_number_converts_to_float32_and_back(
    name: str, extended: Callable[[str], np.dtype[Any]]
) -> None:
    dtype = extended(name)
    array = np.arange(256 ** min(dtype.itemsize, 2), dtype=f"u{dtype.itemsize}").view(dtype)
    wide = convert(array, np.dtype("float32"))
    np.testing.assert_array_equal(wide, array.astype("float32"))
    numbers = ~np.isnan(wide)  # A converted NaN has one bit pattern only.
    back = convert(wide, dtype)
    assert difference(back[numbers], array[numbers]) == ""
    assert dtype_name(dtype) == name


@pytest.mark.parametrize("name", NAMES)
def test_rounding_is_refused_by_default(
    name: str, extended: Callable[[str], np.dtype[Any]]
) -> None:
    dtype = extended(name)
    given = np.array([1.0, 1.001], "float32")
    with pytest.raises(UnsupportedDataError, match=r"element at \[1\] .*'same_kind' to round"):
        convert(given, dtype)
    assert convert(given, dtype, "same_kind").astype("float32").tolist() == [1, 1]
    with pytest.raises(UnsupportedDataError, match="element at"):
        convert(np.array([2**20 + 1]), dtype)
    assert convert(np.array([1, 2, 4]), dtype).astype(int).tolist() == [1, 2, 4]


def test_dtypes_are_named_by_text(extended: Callable[[str], np.dtype[Any]]) -> None:
    dtype = extended("bfloat16")
    assert to_framework(np.array([1.5]), "numpy", dtype="bfloat16").dtype == dtype
    with pytest.raises(InvalidOptionError, match="float8_e9m9"):
        to_framework(np.array([1.5]), "numpy", dtype="float8_e9m9")


def test_arrays_are_compared_bit_by_bit(
    extended: Callable[[str], np.dtype[Any]],
) -> None:
    array = np.array([1, np.nan, 0]).astype(extended("bfloat16"))
    assert difference(array, array.copy()) == ""
    other = array.copy()
    other[2] = -other[2]
    assert "first at index (2,)" in difference(other, array)
    assert "the dtype is uint16, not bfloat16" in difference(array.view("u2"), array)
