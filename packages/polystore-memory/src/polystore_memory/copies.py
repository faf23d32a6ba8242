"""Copies of values, so that the caller and the backend cannot change each other's."""

from __future__ import annotations

import copy as copying
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import Image, LazyArray, check_copy, copy_array, is_array
from polystore_core.errors import UnsupportedDataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polystore_core import Copy, Value

__all__ = ["copy_value", "hand_out"]

_IMMUTABLE = (str, bytes, int, float, complex, type(None), np.generic)


def copy_value(value: Value, copy: Copy) -> Value:
    """Return a copy of a value.

    "auto" may return a value itself if it cannot change, and "never" returns every value itself.
    """
    check_copy(copy)
    # A numpy.void of a structured array is a view: its fields change with the array.
    if copy == "never" or (isinstance(value, _IMMUTABLE) and not isinstance(value, np.void)):
        return value
    if isinstance(value, LazyArray):  # its file may be deleted before the value is loaded
        return value.load()
    if isinstance(value, Image):
        return Image(copy_value(value.data, copy), value.metadata)
    # PyTorch cannot copy a part of a gradient graph.
    if getattr(value, "grad_fn", None) is not None:
        value = value.detach()
    try:
        if is_array(value):
            return copy_array(value, copy=copy)
        # deepcopy alone fails for a tensor that was computed from parameters.
        memo = {id(array): copy_array(array, copy=copy) for array in _arrays(value, set())}
        return copying.deepcopy(value, memo)
    except Exception as error:  # __deepcopy__ of any type can raise any error
        raise UnsupportedDataError(
            f"a {type(value).__name__} cannot be copied ({error}): pass copy='never' to keep the "
            "object itself"
        ) from error


def _arrays(value: Value, seen: set[int]) -> Iterator[Any]:
    """Yield the arrays in dicts, lists and tuples."""
    kind = type(value)
    # Not in subclasses, because their ``__deepcopy__`` may copy their items in another way.
    if kind in (dict, list, tuple) and id(value) not in seen:
        seen.add(id(value))
        for item in value.values() if kind is dict else value:
            yield from _arrays(item, seen)
    elif is_array(value) and not isinstance(value, np.generic):
        yield value


def hand_out(value: Value, copy: Copy) -> Value:
    """Return a stored value for ``load``: a copy, or with "never" a read-only view."""
    found = copy_value(value, copy)
    if copy == "never" and isinstance(found, np.ndarray):
        # A view, because the flag of the stored array itself must not change.
        found = found.view()
        # The view shares its memory with the stored value, which must not change.
        found.flags.writeable = False
    return found
