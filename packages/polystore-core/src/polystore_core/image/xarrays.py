"""Conversions from and to ``xarray.DataArray``. xarray is imported only when it is used."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidOptionError, MissingDependencyError
from ..modules import is_instance
from .metadata import AXIS_TYPES, Axis, Channel, ImageMetadata
from .units import unit_name

if TYPE_CHECKING:
    from ..values import Value
    from .image import Image

__all__ = ["is_dataarray", "of_dataarray", "to_xarray"]

_KEY = re.compile("-[0-9a-f]{32}$")
"""The end of the name of a Dask array."""
_CLOSE = 1e-6
"""The largest distance of a coordinate from its regular position, in steps."""
_LONG = {"channel": "c", "time": "t"}
"""Dims with another name than the axis of an image."""


def is_dataarray(value: object) -> bool:
    """Return whether ``value`` is an ``xarray.DataArray``."""
    return is_instance(value, "xarray", "DataArray")


def of_dataarray(value: Value) -> ImageMetadata:
    """Return the metadata of a DataArray: its dims, coords, units, channels and name.

    Its ``attrs``, and coords that are not of a dim, are ignored. A scalar coord "c" or "channel" is
    the name of the only channel. If all dims are axes of images, "time" is t, "channel" is c, and
    case does not matter.

    Raises:
        InvalidOptionError: Coords of y or x do not ascend in equal steps, coords of c are neither
            names nor integers, or coords of another dim are not numbers.
    """
    names = [str(dim) for dim in value.dims]
    short = [_LONG.get(name.lower(), name.lower()) for name in names]
    if set(short) <= AXIS_TYPES.keys() and len(set(short)) == len(short):
        names = short
    axes: list[Axis] = []
    channels: tuple[Channel, ...] = ()
    for name, dim in zip(names, value.dims, strict=True):
        coord = value.coords.get(dim)
        if coord is not None and name == "c":
            channels = _channels(np.asarray(coord.values))
        axes.append(_axis(name, coord))
    scalars = (value.coords.get(name) for name in ("c", "C", "channel"))
    scalar = next((coord for coord in scalars if coord is not None and coord.ndim == 0), None)
    if "c" not in names and scalar is not None:
        channels = (Channel(name=str(scalar.values)),)
    return ImageMetadata(axes=tuple(axes), channels=channels, name=_name(value))


def _name(value: Value) -> str:
    """Return the name of a DataArray, or "" if it is only a key of a Dask graph."""
    # xarray takes the name of the Dask array, and parts and results keep it.
    name = "" if value.name is None else str(value.name)
    return "" if _KEY.search(name) else name


def _channels(values: Value) -> tuple[Channel, ...]:
    if values.dtype.kind in "OUT" and all(isinstance(name, str) for name in values.tolist()):
        return tuple(Channel(name=name) for name in values.tolist())
    if np.array_equal(values, np.arange(len(values))):  # indices are not names
        return ()
    if values.dtype.kind in "iu":  # in some files the names of channels are 1 and 2
        return tuple(Channel(name=str(number)) for number in values.tolist())
    raise InvalidOptionError("coords", values.tolist(), "names of channels for axis c")


def _axis(name: str, coord: Value) -> Axis:
    kind = AXIS_TYPES.get(name)
    if coord is None or name in "cs":
        return Axis(name, kind)
    unit = coord.attrs.get("units")
    unit = None if unit in (None, "", "pixel") else unit_name(unit, name, kind)
    values = np.asarray(coord.values)
    if values.dtype.kind == "m":  # timedelta64, whose unit is part of the type
        values, unit = values / np.timedelta64(1, "s"), "second"
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        expected = f"finite numbers for axis {name}"
        lost = (
            f"the coords of {name} are not finite numbers, so images cannot keep them: select "
            f"one, array.sel({name}=…), or leave them out, array.drop_vars({name!r})"
        )
        fault = "" if kind else lost
        raise InvalidOptionError("coords", values.tolist(), expected, fault)
    # By its text, because 0.1 in 32 bits means 0.1 and not 0.10000000149.
    origin = float(str(values[0])) if len(values) else None
    if origin is None or len(values) == 1:
        return Axis(name, kind, unit, None, origin)
    step = _step(values, origin)
    if step is not None:
        # The indices of pixels are not positions.
        if unit is None and step == 1 and origin == 0:
            return Axis(name, kind)
        return Axis(name, kind, unit, step, origin)
    if name in "yx":
        expected = f"coords of {name} that ascend in equal steps"
        raise InvalidOptionError("coords", values.tolist(), expected)
    return Axis(name, kind, unit, coords=tuple(values.astype(float).tolist()))


def _step(values: Value, origin: float) -> float | None:
    """Return the step from ``origin`` with which ``values`` ascend, or ``None``.

    Of several steps it is the most exact one, and of these the one with the fewest digits.
    """
    mean = (float(values[-1]) - origin) / (len(values) - 1)
    if not mean > 0:
        return None
    numbers = np.arange(len(values))
    candidates = [float(f"{mean:.{digits}g}") for digits in (6, 9, 12, 15, 16)]
    candidates += [mean, float(values[1]) - origin]
    is_float = values.dtype.kind == "f"
    rounding = 4 * np.finfo(values.dtype).eps * np.abs(values).max() if is_float else 0.0
    exact = 0.0 if values.dtype.itemsize >= 8 else rounding
    for near in (exact, rounding, rounding + _CLOSE * mean):
        for step in candidates:
            if (np.abs(values - (origin + numbers * step)) <= near).all():
                return step
    return None


def to_xarray(image: Image) -> Value:
    """Return an image as a DataArray. A lazy handle becomes a Dask array.

    The coords of an axis with a scale are the centres of its pixels, ``origin + k * scale``, with
    ``units`` in their attrs. The coords of c are the names of the channels.

    Raises:
        MissingDependencyError: xarray is not installed, or Dask for a lazy handle.
    """
    xarray = _module("xarray")
    coords: dict[str, Any] = {}
    for axis, length in zip(image.metadata.axes, image.shape, strict=True):
        places = _places(axis, length)
        if places is not None:
            coords[axis.name] = (axis.name, places, {"units": axis.unit} if axis.unit else {})
    # xarray has no field for channels, so that only their names are kept, as coords of c.
    names = [channel.name for channel in image.channels]
    if any(names):
        coords["c"] = ("c", names) if "c" in image.axes else names[0]
    data = image.data
    is_dask = is_instance(data, "dask.array", "Array")
    if hasattr(data, "chunks") and not is_dask:
        chunks = data.chunks or "auto"
        data = _module("dask.array").from_array(data, chunks=chunks, asarray=False)
    array = xarray.DataArray(data, coords, image.axes)
    array.name = image.name or None  # otherwise xarray uses the name of the Dask array
    return array


def _places(axis: Axis, length: int) -> Value:
    if axis.coords is not None:
        return np.asarray(axis.coords)
    if axis.scale is not None:
        return (axis.origin or 0.0) + np.arange(length) * axis.scale
    return np.array([axis.origin]) if axis.origin is not None and length == 1 else None


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise MissingDependencyError("value", "xarray", (package,), package) from error
