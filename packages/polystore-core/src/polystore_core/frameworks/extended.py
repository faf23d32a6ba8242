"""bfloat16 and float8, the dtypes that ml_dtypes adds to NumPy."""

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
    """Return whether ``name`` is bfloat16 or a float8 type, such as "float8_e5m2"."""
    return name == "bfloat16" or name.startswith("float8_")


def as_dtype(dtype: DTypeLike) -> np.dtype[Value]:
    """Return ``np.dtype(dtype)``, also for "bfloat16" and "float8_e5m2".

    Raises:
        TypeError: There is no such dtype.
        MissingDependencyError: The dtype needs ml_dtypes, which is not installed.
    """
    if isinstance(dtype, str) and is_extended(dtype):
        return extended_dtype(dtype)
    return np.dtype(dtype)


def dtype_name(dtype: np.dtype[Value]) -> str:
    """Return the text of a dtype for ``Info.dtype``, such as "<u2" or "bfloat16"."""
    return dtype.name if dtype.isbuiltin == 2 else dtype.str


def extended_dtype(name: str) -> np.dtype[np.void]:
    """Return the dtype of ml_dtypes with this name. Raises as ``as_dtype`` does."""
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
    """Return an array of the dtype ``name`` from its bits, an array of unsigned integers."""
    return bits.view(extended_dtype(name))


def bits_of(array: Pixels) -> Pixels:
    """Return the bits of an array as unsigned integers."""
    return array.view(f"u{array.itemsize}")
