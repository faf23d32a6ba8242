"""Element types that NumPy lacks, bfloat16 and float8, as ml_dtypes adds them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import numpy as np

from ..errors import MissingDependencyError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from ..values import Pixels, Value

__all__ = ["as_dtype", "bits_of", "dtype_name", "extended_dtype", "is_extended", "with_type"]


def is_extended(name: str) -> bool:
    """Return whether ``name`` is that of such a type, such as "bfloat16" or "float8_e5m2"."""
    return name == "bfloat16" or name.startswith("float8_")


def as_dtype(dtype: DTypeLike) -> np.dtype[Value]:
    """Return ``np.dtype(dtype)``, also for "bfloat16" and "float8_e5m2".

    Raises ``TypeError``, and ``MissingDependencyError`` where ml_dtypes is not installed.
    """
    if isinstance(dtype, str) and is_extended(dtype):
        return extended_dtype(dtype)
    return np.dtype(dtype)


def dtype_name(dtype: np.dtype[Value]) -> str:
    """Return the text of a type in ``Info.dtype``: "<u2", and "bfloat16" for an added type."""
    return dtype.name if dtype.isbuiltin == 2 else dtype.str


def extended_dtype(name: str) -> np.dtype[np.void]:
    """Return the type of a name.

    Raises ``TypeError``, and ``MissingDependencyError`` where ml_dtypes is not installed.
    """
    try:
        dtype: np.dtype[np.void] = np.dtype(getattr(importlib.import_module("ml_dtypes"), name))
    except AttributeError as error:
        raise TypeError(f"ml_dtypes does not have {name!r}") from error
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "dtype", name, ("ml_dtypes",), "polystore[ml_dtypes]"
        ) from error
    return dtype


def with_type(bits: Pixels, name: str) -> Pixels:
    """Return unsigned integers as the numbers that they are the bits of."""
    return bits.view(extended_dtype(name))


def bits_of(array: Pixels) -> Pixels:
    """Return the bits of an array of such a type, as unsigned integers."""
    return array.view(f"u{array.itemsize}")
