"""What an image says of itself: its axes, pixel size, units and channels.

What writes images and what shows them take the same words: :func:`image_metadata` checks what a
caller says beside an array, and completes it. Nothing here knows a file or a viewer.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidOptionError, UnsupportedDataError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from ..values import Option, Value

__all__ = [
    "AXIS_TYPES",
    "HEX_COLOR",
    "SPACE_UNITS",
    "TIME_UNITS",
    "Axis",
    "Channel",
    "ImageMetadata",
    "Window",
    "finite",
    "image_metadata",
]

AXIS_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
"""What each axis is; in the order that arrays have them."""
HEX_COLOR = re.compile("#?([0-9A-Fa-f]{6})")
"""RRGGBB, in group 1."""

_PREFIXES = (
    "yocto",
    "zepto",
    "atto",
    "femto",
    "pico",
    "nano",
    "micro",
    "milli",
    "centi",
    "deci",
    "",
    "hecto",
    "kilo",
    "mega",
    "giga",
    "tera",
    "peta",
    "exa",
    "zetta",
    "yotta",
)
SPACE_UNITS = (
    *(f"{prefix}meter" for prefix in _PREFIXES),
    "angstrom",
    "foot",
    "inch",
    "mile",
    "parsec",
    "yard",
)
"""UDUNITS-2 names of lengths: those that OME-NGFF lists."""
TIME_UNITS = (*(f"{prefix}second" for prefix in _PREFIXES), "day", "hour", "minute")
"""UDUNITS-2 names of durations, likewise."""
_ABBREVIATIONS = {
    "pm": "picometer",
    "nm": "nanometer",
    "um": "micrometer",
    "\u00b5m": "micrometer",
    "\u03bcm": "micrometer",
    "micron": "micrometer",
    "microns": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
    "\u00c5": "angstrom",
    "\u212b": "angstrom",
    "A": "angstrom",
    "ns": "nanosecond",
    "us": "microsecond",
    "\u00b5s": "microsecond",
    "\u03bcs": "microsecond",
    "ms": "millisecond",
    "s": "second",
    "sec": "second",
    "min": "minute",
    "h": "hour",
    "d": "day",
}

_COLORS = {
    "red": "FF0000",
    "green": "00FF00",
    "blue": "0000FF",
    "cyan": "00FFFF",
    "magenta": "FF00FF",
    "yellow": "FFFF00",
    "white": "FFFFFF",
}
_ALONE, _PAIR = ("white",), ("magenta", "green")
_MANY = ("cyan", "yellow", "magenta", "red", "green", "blue")


@dataclass(frozen=True, slots=True)
class Axis:
    """One dimension of an array."""

    name: str
    type: str
    """"time", "channel" or "space"; another or none in files of others."""
    unit: str | None = None
    """UDUNITS-2 name, such as "micrometer"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How intensities are shown."""

    min: float
    """The least that can occur."""
    max: float
    start: float
    """The intensity shown as black."""
    end: float
    """The intensity shown in full colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel, and how viewers show it."""

    label: str
    color: str | None = None
    """RRGGBB in hexadecimal."""
    window: Window | None = None
    active: bool = True
    """Whether it is shown at first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMetadata:
    """What an image says of itself, checked: see :func:`image_metadata`."""

    axes: tuple[Axis, ...]
    scale: tuple[float, ...]
    """Extent of a pixel (of the finest level) along each axis, in the unit of that axis."""
    channels: tuple[Channel, ...] = ()
    name: str = ""


def image_metadata(
    shape: Sequence[int],
    dtype: DTypeLike,
    *,
    axes: str | Sequence[str] | None = None,
    scale: Sequence[float] | Mapping[str, float] | None = None,
    units: str | Mapping[str, str] | None = None,
    channels: Sequence[str | Mapping[str, Option] | Channel] | None = None,
    name: str = "",
    label: bool = False,
    windows: bool = True,
) -> ImageMetadata:
    """Check what is said of an array of ``shape`` and ``dtype``, and complete it.

    ``axes`` are some of t, c, z, y, x in this order, the last two y and x. By default two axes
    are yx, three zyx (cyx where as many channels are given as the first axis is long), four
    czyx and five tczyx. ``scale`` has one positive number for each axis, or names axes, the
    others being 1. ``units`` is one unit for z, y and x, or names axes; common abbreviations
    such as "um" are written out. ``channels`` are labels, or mappings with some of label,
    color (RRGGBB or a common name), window (min, max, start, end) and active. Colours that
    are missing are chosen as viewers do, and windows span what ``dtype`` can hold (0 to 1 for
    floats); with ``windows=False`` a channel without a window keeps ``None``.

    Raises:
        UnsupportedDataError: fewer than 2 or more than 5 axes, or a label image (``label``)
            of anything but integers.
        InvalidOptionError: anything else that is not as above.
    """
    shape, dtype = tuple(shape), np.dtype(dtype)
    if not 2 <= len(shape) <= 5:
        raise UnsupportedDataError(
            f"an array with {len(shape)} axes is not an image: images have 2 to 5"
        )
    if label and dtype.kind not in "ui":
        raise UnsupportedDataError(f"a label image needs integers, got {dtype}")
    if label and channels is not None:
        raise InvalidOptionError("channels", channels, "None for a label image")
    if not isinstance(name, str):
        raise InvalidOptionError("name", name, "a string")
    names = _axis_names(shape, axes, channels)
    unit_of = _checked_units(units, names)
    return ImageMetadata(
        axes=tuple([Axis(axis, AXIS_TYPES[axis], unit_of.get(axis)) for axis in names]),
        scale=_checked_scale(scale, names),
        channels=_checked_channels(channels, shape, names, dtype, windows),
        name=name,
    )


def _axis_names(shape: tuple[int, ...], axes: Value, channels: Value) -> tuple[str, ...]:
    if axes is None:
        if len(shape) == 3 and _length(channels) == shape[0]:
            return ("c", "y", "x")
        return {2: ("y", "x"), 3: ("z", "y", "x"), 4: ("c", "z", "y", "x")}.get(
            len(shape), tuple(AXIS_TYPES)
        )
    names = tuple(axes) if isinstance(axes, str | Sequence) else ()
    ordered = tuple(axis for axis in AXIS_TYPES if axis in names)
    if names != ordered or len(names) != len(shape) or names[-2:] != ("y", "x"):
        raise InvalidOptionError(
            "axes",
            axes,
            f"{len(shape)} different axes for shape {shape}, in the order t, c, z, y, x, with y "
            "and x at the end",
        )
    return names


def _length(values: object) -> int:
    return len(values) if isinstance(values, Sequence) and not isinstance(values, str) else -1


def _checked_scale(scale: Value, names: tuple[str, ...]) -> tuple[float, ...]:
    if scale is None:
        return (1.0,) * len(names)
    if isinstance(scale, Mapping):
        _check_known("scale", scale, names)
        values = [scale.get(axis, 1.0) for axis in names]
    elif isinstance(scale, str | bytes) or not hasattr(scale, "__len__"):
        values = []
    else:
        values = list(scale)
    numbers = [_positive(value) for value in values]
    if len(numbers) != len(names) or None in numbers:
        raise InvalidOptionError(
            "scale", scale, f"a positive number for each of {', '.join(names)}"
        )
    return tuple(number for number in numbers if number is not None)


def _positive(value: object) -> float | None:
    number = finite(value.item() if isinstance(value, np.generic) else value)
    return number if number is not None and number > 0 else None


def _check_known(option: str, given: Iterable[Value], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise InvalidOptionError(option, name, f"keys from {', '.join(known)}")


def _checked_units(units: Value, names: tuple[str, ...]) -> dict[str, str]:
    if units is None:
        return {}
    if isinstance(units, str):
        units = {axis: units for axis in names if AXIS_TYPES[axis] == "space"}
    if not isinstance(units, Mapping):
        raise InvalidOptionError("units", units, "a unit, or a mapping from axes to units")
    with_units = [axis for axis in names if AXIS_TYPES[axis] != "channel"]
    _check_known("units", units, with_units)
    return {axis: _unit(units[axis], axis) for axis in units if units[axis] is not None}


def _unit(unit: Value, axis: str) -> str:
    space = AXIS_TYPES[axis] == "space"
    known, example = (SPACE_UNITS, "micrometer") if space else (TIME_UNITS, "second")
    if not isinstance(unit, str):
        raise InvalidOptionError("units", unit, f"a unit for {axis}, such as {example!r}")
    name = _ABBREVIATIONS.get(unit, unit)
    if name in known:
        return name
    short = [key for key, full in _ABBREVIATIONS.items() if full in known]
    close = difflib.get_close_matches(unit.lower(), [*known, *short], n=1)
    hint = f"; did you mean {_ABBREVIATIONS.get(close[0], close[0])!r}?" if close else ""
    raise InvalidOptionError(
        "units", unit, f"a unit of {AXIS_TYPES[axis]} for {axis}, such as {example!r}{hint}"
    )


def _checked_channels(
    channels: Value,
    shape: tuple[int, ...],
    names: tuple[str, ...],
    dtype: np.dtype[Value],
    windows: bool,
) -> tuple[Channel, ...]:
    if channels is None:
        return ()
    count = shape[names.index("c")] if "c" in names else 1
    found = _length(channels)
    if found != count:
        entries = f"{found} {'entry' if found == 1 else 'entries'}"
        why = f"axis c has length {count}" if "c" in names else "the image has no axis c"
        fault = f"channels has {entries}, but {why}" if found >= 0 else ""
        raise InvalidOptionError(
            "channels", channels, f"a list of {count}, because {why}", fault
        )
    colors = {1: _ALONE, 2: _PAIR}.get(count, _MANY)
    return tuple(
        _channel(channel, colors[index % len(colors)], dtype, windows)
        for index, channel in enumerate(channels)
    )


def _channel(channel: Value, color: str, dtype: np.dtype[Value], windows: bool) -> Channel:
    if isinstance(channel, Channel):
        given: Mapping[str, Any] = {key: getattr(channel, key) for key in Channel.__slots__}
    else:
        given = {"label": channel} if isinstance(channel, str) else channel
    if not isinstance(given, Mapping) or not isinstance(given.get("label", ""), str):
        raise InvalidOptionError(
            "channels",
            channel,
            "labels, or mappings with the keys label, color, window and active",
        )
    _check_known("channels", given, Channel.__slots__)
    active = given.get("active", True)
    if not isinstance(active, bool):
        raise InvalidOptionError("channels", active, "active to be True or False")
    return Channel(
        label=given.get("label", ""),
        color=_color(given.get("color") or color),
        window=_window(given.get("window"), dtype, windows),
        active=active,
    )


def _color(color: Value) -> str:
    found = (
        HEX_COLOR.fullmatch(_COLORS.get(color.lower(), color))
        if isinstance(color, str)
        else None
    )
    if found is None:
        raise InvalidOptionError(
            "channels", color, f"a hexadecimal color RRGGBB, or one of {', '.join(_COLORS)}"
        )
    return found[1].upper()


def _window(window: Value, dtype: np.dtype[Value], windows: bool) -> Window | None:
    if isinstance(window, Window):
        window = {key: getattr(window, key) for key in Window.__slots__}
    if window is None:
        window = {}
    if not isinstance(window, Mapping):
        raise InvalidOptionError(
            "channels", window, "a window with the keys min, max, start and end"
        )
    if not window and not windows:
        return None
    _check_known("channels", window, Window.__slots__)
    numbers = {
        key: finite(value.item() if isinstance(value, np.generic) else value)
        for key, value in window.items()
    }
    least, most = 0.0, 1.0
    if dtype.kind in "ui":
        least, most = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    least, most = numbers.get("min", least) or 0.0, numbers.get("max", most) or 0.0
    start, end = numbers.get("start", least), numbers.get("end", most)
    if None in numbers.values() or start is None or end is None or start > end or least > most:
        raise InvalidOptionError(
            "channels", window, "finite numbers, with min <= max and start <= end"
        )
    return Window(min=least, max=most, start=start, end=end)


def finite(value: object) -> float | None:
    """Return ``value`` as a float if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
