"""Values that a backend must return as they were saved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

__all__ = ["ARRAYS", "Measured", "assert_same", "image", "make_measured"]


def image(seed: int = 0, shape: tuple[int, ...] = (4, 5)) -> np.ndarray[Any, np.dtype[Any]]:
    """Return an image whose pixels differ by position and by ``seed``."""
    return (np.arange(np.prod(shape)).reshape(shape) + 1000 * seed).astype(np.uint16)


class Measured(np.ndarray[Any, np.dtype[Any]]):
    """An array with a unit, like the quantities of astropy and unyt."""

    unit: str | None = None

    def __array_finalize__(self, source: object) -> None:
        self.unit = getattr(source, "unit", None)


def make_measured() -> Measured:
    """Return an image with the unit µm."""
    value = image().view(Measured)
    value.unit = "µm"
    return value


def assert_same(found: Any, expected: Any) -> None:
    """Assert equal type, values, shape, element type and byte order. NaN equals NaN."""
    assert type(found) is type(expected)
    assert found.dtype.str == expected.dtype.str
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


_STRUCTURE = [("well", "U3"), ("intensity", "<f8"), ("box", "<i4", (2, 2))]

ARRAYS = [
    *(
        pytest.param(np.arange(6).reshape(2, 3).astype(dtype), id=dtype)
        for dtype in [
            "bool",
            "int8",
            "uint8",
            "int16",
            "uint16",
            "int32",
            "uint32",
            "int64",
            "uint64",
        ]
    ),
    *(
        pytest.param(np.linspace(-1, 1, 6).reshape(2, 3).astype(dtype), id=dtype)
        for dtype in ["float16", "float32", "float64", "complex64", "complex128"]
    ),
    pytest.param(np.arange(6, dtype=">u2"), id="big-endian"),
    pytest.param(np.array([1.5, np.nan, np.inf, -0.0]), id="nan"),
    pytest.param(np.array(7.5), id="0-d"),
    pytest.param(np.zeros((0, 3), np.float32), id="empty"),
    pytest.param(image(shape=(2, 3, 4)).T, id="fortran"),
    pytest.param(image(shape=(8, 9))[::2, ::-3], id="strided"),
    pytest.param(np.array(["A01", "Überlauf"]), id="text"),
    pytest.param(np.array(["2026-01-15", "NaT"], "M8[D]"), id="dates"),
    pytest.param(np.zeros(2, _STRUCTURE), id="structured"),
]
