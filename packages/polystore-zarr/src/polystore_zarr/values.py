"""Check the values that a caller saves, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import index
from typing import TYPE_CHECKING

import numpy as np

from polystore_core import LazyArray, encode_json, is_array, to_numpy
from polystore_core.errors import InvalidOptionError, UnsupportedDataError

from .blocks import check_dask, is_dask

if TYPE_CHECKING:
    from polystore_core import Value

__all__ = ["check_attributes", "check_shape", "check_value"]


def check_value(data: Value) -> Value:
    """Return a value that has ``shape`` and ``dtype``, and can be indexed.

    Raises:
        UnsupportedDataError: The value is not an array, or has Python objects.
    """
    if type(data) is np.ndarray:
        dtype = data.dtype
        # NumPy says that text (kind "T") has objects. isbuiltin is 2 for types of libraries.
        if dtype.kind == "T" or not (dtype.hasobject or dtype.isbuiltin == 2):
            return data
    if is_dask(data):
        check_dask(data)
        return data
    if isinstance(data, LazyArray):
        return data
    if not is_array(data):
        raise UnsupportedDataError(
            f"expected an array, got {type(data).__name__}; {_advice(data)}", "zarr"
        )
    array = to_numpy(data, extended=True)
    if array.dtype.hasobject:
        raise UnsupportedDataError(
            "the elements are Python objects: convert the array to a plain dtype", "zarr"
        )
    return array


def _advice(data: Value) -> str:
    item = data[0] if isinstance(data, list | tuple) and data else data
    home = type(item).__module__.partition(".")[0]
    if type(item).__module__.startswith("polystore_core.rois"):
        return "save [roi.to_dict() for roi in rois] with backend='disk', as .json"
    if home == "pandas":
        return "save tables with backend='disk', as .csv"
    if data is None or isinstance(data, dict | list | tuple | str | int | float):
        return "save JSON values with backend='disk', as .json (tables as .csv)"
    return "convert it to an array, or choose another backend"


def check_attributes(attributes: object) -> None:
    """Raise an error for attributes that JSON cannot hold, such as NaN."""
    if attributes is None:
        return
    if not isinstance(attributes, Mapping):
        raise InvalidOptionError("attributes", attributes, "a mapping of names to JSON values")
    try:
        encode_json(dict(attributes))
    except UnsupportedDataError as error:
        raise UnsupportedDataError(f"attributes: {error.reason}", "zarr") from error


def check_shape(shape: int | Sequence[int | None]) -> tuple[tuple[int, ...], bool]:
    """Return the lengths of a new array, and whether it grows. Then the first length is 0."""
    grows = False
    try:
        lengths = (shape,) if isinstance(shape, int) else tuple(shape)
        grows = lengths[:1] == (None,)
        found = tuple(map(index, (0, *lengths[1:]) if grows else lengths))  # type: ignore[arg-type]
    except TypeError:
        # It is refused below, with the error for negative lengths.
        found = (-1,)
    if any(length < 0 for length in found):
        expected = "whole numbers, one for each axis. Only the first may be None: it grows"
        raise InvalidOptionError("shape", shape, expected)
    return found, grows
