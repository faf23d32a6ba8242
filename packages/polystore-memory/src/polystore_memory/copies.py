"""Copies of values, so that neither the caller nor the backend changes the other's."""

from __future__ import annotations

import copy as copying
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from polystore_core import Image, LazyArray
from polystore_core.errors import InvalidOptionError, UnsupportedDataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from polystore_core import Pixels, Value

__all__ = ["Copy", "copied", "read_only"]

Copy = Literal["always", "never"]

_IMMUTABLE = (str, bytes, int, float, complex, type(None), np.generic)


def copied(value: Value, copy: Copy) -> Value:
    if copy not in ("always", "never"):
        raise InvalidOptionError("copy", copy, "'always' or 'never'")
    if copy == "never" or isinstance(value, _IMMUTABLE):
        return value
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return value.copy("K")
    if isinstance(value, LazyArray):  # its file may be gone when it is loaded
        array = value[...]
        return array if array.flags.owndata else array.copy()
    if isinstance(value, Image):
        return Image(copied(value.data, copy), value.metadata)
    if (
        getattr(value, "grad_fn", None) is not None
    ):  # PyTorch copies no part of a gradient graph
        value = value.detach()
    try:
        return copying.deepcopy(value)
    except Exception as error:  # __deepcopy__ of a stranger's type can raise anything
        raise UnsupportedDataError(
            f"a {type(value).__name__} cannot be copied ({error}): pass copy='never' to keep the "
            "object itself"
        ) from error


def read_only(array: Pixels, copy: Copy) -> Pixels:
    view: NDArray[Any] = copied(array, copy).view()
    view.flags.writeable = False
    return view
