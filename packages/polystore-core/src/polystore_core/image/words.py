"""``image_metadata``: creates and checks metadata from the arguments of a caller."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidOptionError, UnsupportedDataError
from ..errors.base import show_value
from .metadata import (
    AXIS_TYPES,
    Axis,
    Channel,
    ImageMetadata,
    channel_count_error,
    finite,
)
from .units import spell_out, unit_name

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from ..values import Option, Value

__all__ = ["HEX_COLOR", "by_axis", "channel_colors", "image_metadata"]

HEX_COLOR = re.compile("#?([0-9A-Fa-f]{6})")
"""RRGGBB, in group 1."""

_COLORS = {
    "red": "FF0000",
    "green": "00FF00",
    "blue": "0000FF",
    "cyan": "00FFFF",
    "magenta": "FF00FF",
    "yellow": "FFFF00",
    "white": "FFFFFF",
}
_PALETTE = ("magenta", "green", "cyan", "yellow", "red", "blue")
_OF_NGFF = {"label": "name", "active": "visible"}
"""The names of NGFF for fields of a channel."""


def image_metadata(
    shape: Sequence[int],
    dtype: DTypeLike,
    *,
    axes: str | Sequence[str] | None = None,
    scale: Sequence[float | None] | Mapping[str, float | None] | None = None,
    units: str | Mapping[str, str] | None = None,
    channels: Sequence[str | Mapping[str, Option] | Channel] | None = None,
    name: str = "",
    label: bool = False,
    like: ImageMetadata | None = None,
    any_axes: bool = False,
) -> ImageMetadata:
    """Create the metadata of an array, and check it.

    For example:

        image_metadata((2, 512, 512), "uint16", axes="cyx", scale={"y": 0.5, "x": 0.5}, units="um")

    Args:
        shape: Shape of the array.
        dtype: Element type of the array.
        axes: Some of t, c, z, y, x and s, in this order and in any case. y and x are required. s is
            the last: 3 or 4 samples of RGB or RGBA, as unsigned integers or floats. By default two
            axes are yx, three zyx, four czyx and five tczyx. Three are cyx if there are as many
            channels as the first axis is long, and yxs for uint8 with a last axis of 3 or 4.
        scale: The size of a pixel along each axis, or a mapping from axes to sizes. ``None``, and 1
            without a unit, mean unknown.
        units: One unit for z, y and x, or a mapping from axes to units. Common abbreviations such
            as "um" are spelled out.
        channels: Names, or mappings with some fields of :class:`Channel`. ``color`` is RRGGBB or a
            common name. The keys label, active and window (min, max, start, end) of NGFF work, too.
        name: Name of the image.
        label: Whether it is a label image.
        like: Metadata for everything that you do not give.
        any_axes: Whether axes can have any different names, in any order and number.

    Raises:
        UnsupportedDataError: There are fewer than 2 or more than 5 axes, not counting s, or a label
            image does not have integers.
        InvalidOptionError: Another argument is not valid.
    """
    shape, dtype = tuple(shape), np.dtype(dtype)
    # Without any metadata the result depends on three values only, and can be cached.
    is_bare = axes is None and scale is None and units is None and channels is None
    if is_bare and like is None and not (name or any_axes):
        # Cached, because a plate has thousands of equal images.
        return _bare(shape, dtype, label)
    names = _axis_names(shape, dtype, axes, channels, like, any_axes)
    if label and dtype.kind not in "ui":
        raise UnsupportedDataError(f"a label image needs integers, got {dtype}")
    if label and "s" in names:
        fault = (
            f"a label is one number, but shape {shape} looks like samples of RGB: name the axes, "
            "such as axes='zyx'"
        )
        raise InvalidOptionError("axes", axes, "no samples of RGB", fault)
    if label and channels is not None:
        fault = "a label image has no channels: leave channels= out"
        raise InvalidOptionError("channels", channels, "None for a label image", fault)
    if not isinstance(name, str):
        raise InvalidOptionError("name", name, "a string")
    base = _SILENT if like is None else like
    unit_of = {} if units is None else _check_units(units, names)
    size_of = {} if scale is None else _check_scale(scale, names)
    # A field that the caller gives is not a guess any more.
    given = {"axes": axes, "scale": scale, "limits": channels} if base.guessed else {}
    known = {axis.name: axis for axis in base.axes}
    of_channels = base.channels if channels is None and not label else channels
    if channels is None and of_channels and len(of_channels) != _count(shape, names):
        if axes is None:
            base.check(shape)  # raises
        of_channels = None  # the axes were replaced, so the old channels do not fit
    found = replace(
        base,
        axes=tuple(
            [_axis(axis, known.get(axis), unit_of, size_of, axis in size_of) for axis in names]
        ),
        channels=()
        if of_channels is None
        else _check_channels(of_channels, shape, names, dtype),
        name=name or base.name,
        kind="labels" if label else base.kind,
        guessed=base.guessed - {word for word, value in given.items() if value is not None},
    )
    if like is not None:
        found.check(shape)
    return found


@lru_cache(maxsize=256)
def _bare(shape: tuple[int, ...], dtype: np.dtype[Value], label: bool) -> ImageMetadata:
    """Return the metadata of an array for which the caller gives none."""
    names = _axis_names(shape, dtype, None, None, None, False)
    return image_metadata(shape, dtype, axes=names, label=label)


_SILENT = ImageMetadata(axes=())


def _axis(
    name: str,
    known: Axis | None,
    unit_of: Mapping[str, str],
    size_of: Mapping[str, float | None],
    is_given: bool,
) -> Axis:
    axis = Axis(name) if known is None else _check_axis(known)
    kind = AXIS_TYPES.get(name, axis.type)
    unit = unit_of.get(name) or (spell_out(axis.unit, kind) if axis.unit else None)
    scale = size_of[name] if is_given else axis.scale
    coords = None if is_given else axis.coords
    # Many programs write 1 for an unknown size.
    if scale == 1 and unit is None:
        scale = None
    return Axis(name, kind, unit, scale, axis.origin, coords)


def _check_axis(axis: Axis) -> Axis:
    """Return an axis of a caller with its numbers as floats."""
    scale, origin = _positive(axis.scale), _number(axis.origin)
    places = [_number(place) for place in axis.coords or ()]
    coords = tuple(place for place in places if place is not None)
    if scale is None and axis.scale is not None:
        raise InvalidOptionError("scale", axis.scale, f"a positive number for axis {axis.name}")
    if origin is None and axis.origin is not None:
        raise InvalidOptionError("origin", axis.origin, f"a finite number for axis {axis.name}")
    if len(coords) < len(places):
        expected = f"finite numbers for axis {axis.name}"
        raise InvalidOptionError("coords", axis.coords, expected)
    return replace(axis, scale=scale, origin=origin, coords=axis.coords and coords)


def _axis_names(
    shape: tuple[int, ...],
    dtype: np.dtype[Value],
    axes: Value,
    channels: Value,
    like: ImageMetadata | None,
    any_axes: bool,
) -> tuple[str, ...]:
    names: tuple[Any, ...]
    if axes is None and like is not None:
        names = axes = like.names
    elif axes is None:
        names = _usual_names(shape, dtype, channels)
    else:
        given = tuple(axes) if isinstance(axes, str | Sequence) else ()
        names = tuple(n.lower() if isinstance(n, str) else n for n in given)
        if any_axes and not AXIS_TYPES.keys() >= set(names):
            names = given
    if any_axes:
        is_text = all(isinstance(name, str) and name for name in names)
        if not is_text or not len(set(names)) == len(names) == len(shape):
            expected = f"{len(shape)} different names for shape {shape}"
            raise InvalidOptionError("axes", axes, expected)
        return names
    # Axes of the caller are checked below. Those of a DataArray get advice that fits xarray.
    others = [str(name) for name in names if name not in AXIS_TYPES]
    if axes is names and others:  # these are axes of the value itself, a DataArray
        fault = (
            f"images have no axis {', '.join(others)}, only t, c, z, y, x and s: select one "
            f"element of it first, such as array.sel({others[0]}=…), and save one image for each"
        )
        raise InvalidOptionError("axes", axes, "axes of images", fault)
    count = len(names or shape) - ("s" in names)
    if (axes is None or len(names) == len(shape)) and not 2 <= count <= 5:
        raise UnsupportedDataError(
            f"an array with {count} axes is not an image: images have 2 to 5"
        )
    ordered = tuple([axis for axis in AXIS_TYPES if axis in names])
    if names != ordered or len(names) != len(shape) or not {"y", "x"} <= set(names):
        raise InvalidOptionError(
            "axes",
            axes,
            f"{len(shape)} different axes for shape {shape}, in the order t, c, z, y, x, s, with "
            "y and x among them",
        )
    if names[-1] == "s" and (shape[-1] not in (3, 4) or dtype.kind not in "uf"):
        expected = "s only for 3 or 4 samples of RGB(A), as unsigned integers or floats"
        fault = (
            f"axis s holds 3 or 4 samples of RGB(A), as unsigned integers or floats, but the array "
            f"has shape {shape} and dtype {dtype}: name its last axis differently"
        )
        raise InvalidOptionError("axes", axes, expected, fault)
    if names[-1] == "s" and "c" in names:
        expected = "c for channels, or s for samples of RGB, not both"
        raise InvalidOptionError("axes", axes, expected)
    return names


def _usual_names(
    shape: tuple[int, ...], dtype: np.dtype[Value], channels: Value
) -> tuple[str, ...]:
    usual = {2: "yx", 3: "zyx", 4: "czyx", 5: "tczyx"}.get(len(shape), "")
    # Three axes are ambiguous. The number of channels, or the samples of a camera, decide.
    if len(shape) == 3 and _length(channels) == shape[0]:
        usual = "cyx"
    elif len(shape) == 3 and channels is None and dtype == np.uint8 and shape[-1] in (3, 4):
        usual = "yxs"
    return tuple(usual)


def _length(values: object) -> int:
    return len(values) if isinstance(values, Sequence) and not isinstance(values, str) else -1


def _count(shape: tuple[int, ...], names: tuple[str, ...]) -> int:
    return shape[names.index("c")] if "c" in names else 1


def _check_scale(scale: Value, names: tuple[str, ...]) -> dict[str, float | None]:
    """Return the size of a pixel for each axis that has one."""
    if isinstance(scale, Mapping):
        _check_known("scale", scale, names)
        given = dict(scale)
    elif isinstance(scale, str | bytes) or not hasattr(scale, "__len__"):
        given = {}
    else:
        # The samples of RGB have no size, so one value less is fine.
        planes = names[:-1] if len(scale) == len(names) - 1 and names[-1] == "s" else names
        given = dict(zip(planes, scale, strict=True)) if len(scale) == len(planes) else {}
    sizes = {axis: _positive(value) for axis, value in given.items()}
    if (not given and not isinstance(scale, Mapping)) or any(
        sizes[axis] is None and value is not None for axis, value in given.items()
    ):
        raise InvalidOptionError(
            "scale", scale, f"a positive number for each of {', '.join(names)}"
        )
    return sizes


def by_axis(scale: Value, names: Sequence[str]) -> Value:
    """Return a list of sizes as a mapping, so that it stays right if the image is transposed.

    For example:

        by_axis((2, 0.5, 0.5), "zyx")  # {"z": 2, "y": 0.5, "x": 0.5}

    Other values are returned as they are: mappings, and lists that do not have a size for each of
    the axes ``names`` or for each of them without s.
    """
    planes = [name for name in names if name != "s"]
    if not isinstance(scale, Sequence | np.ndarray) or isinstance(scale, str):
        return scale
    if len(scale) not in (len(names), len(planes)):
        return scale
    sizes = zip(names if len(scale) == len(names) else planes, scale, strict=True)
    return {axis: size for axis, size in sizes if axis in planes}


def _positive(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _number(value: object) -> float | None:
    return finite(value.item() if isinstance(value, np.generic) else value)


def _check_known(option: str, given: Iterable[Value], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise InvalidOptionError(option, name, f"keys from {', '.join(known)}")


def _check_units(units: Value, names: tuple[str, ...]) -> dict[str, str]:
    # One unit is for the axes of space. The unit of time is almost never the same.
    if isinstance(units, str):
        planes = {axis: units for axis in names if AXIS_TYPES.get(axis) == "space"}
        if not planes:
            raise InvalidOptionError("units", units, "a mapping from axes to units")
        units = planes
    if not isinstance(units, Mapping):
        raise InvalidOptionError("units", units, "a unit, or a mapping from axes to units")
    with_units = [axis for axis in names if axis not in ("c", "s")]
    _check_known("units", units, with_units)
    given = {axis: unit for axis, unit in units.items() if unit is not None}
    return {axis: unit_name(unit, axis, AXIS_TYPES.get(axis)) for axis, unit in given.items()}


# ── channels ─────────────────────────────────────────────────────────────────────────────


def channel_colors(channels: Sequence[Channel]) -> list[str]:
    """Return the colour of each channel as RRGGBB: its own, or a usual one.

    A single channel is white. Several are magenta, green, cyan, yellow, red and blue, so that a
    channel keeps its colour if more channels are added.
    """
    usual = ("white",) if len(channels) == 1 else _PALETTE
    return [
        channel.color or _COLORS[usual[number % len(usual)]]
        for number, channel in enumerate(channels)
    ]


def _check_channels(
    channels: Value, shape: tuple[int, ...], names: tuple[str, ...], dtype: np.dtype[Value]
) -> tuple[Channel, ...]:
    count, found = _count(shape, names), _length(channels)
    if found == 0 and isinstance(channels, tuple):  # the channels of metadata without any
        return ()
    if found != count:
        raise channel_count_error(channels, found, count, "c" in names)
    return tuple([_channel(channel, dtype) for channel in channels])


_WORDS = tuple(f.name for f in fields(Channel))


def _channel(channel: Value, dtype: np.dtype[Value]) -> Channel:
    if isinstance(channel, Channel):
        given: Mapping[str, Any] = {word: getattr(channel, word) for word in _WORDS}
    else:
        given = {"name": channel} if isinstance(channel, str) else channel
    if not isinstance(given, Mapping):
        raise InvalidOptionError(
            "channels", channel, f"names, or mappings with some of the keys {', '.join(_WORDS)}"
        )
    _check_known("channels", given, (*_WORDS, *_OF_NGFF, "window"))
    given = {_OF_NGFF.get(key, key): value for key, value in given.items()}
    given |= _of_window(given.pop("window", None), dtype)
    for word, kind in (("name", str), ("visible", bool), ("inverted", bool)):
        if not isinstance(given.get(word, kind()), kind):
            raise _word_error(word, given[word], {str: "a string", bool: "True or False"}[kind])
    if not isinstance(given.get("fluorophore"), str | None):
        raise _word_error("fluorophore", given["fluorophore"], "its name")
    return Channel(
        name=given.get("name", ""),
        color=_color(given.get("color")),
        limits=_pair(given.get("limits"), "limits"),
        data_range=_pair(given.get("data_range"), "data_range"),
        visible=given.get("visible", True),
        gamma=_check_positive(given.get("gamma"), "gamma") or 1.0,
        inverted=given.get("inverted", False),
        excitation_nm=_check_positive(given.get("excitation_nm"), "excitation_nm"),
        emission_nm=_check_positive(given.get("emission_nm"), "emission_nm"),
        fluorophore=given.get("fluorophore"),
    )


def _color(color: Value) -> str | None:
    if not color and color in (None, ""):
        return None
    found = (
        HEX_COLOR.fullmatch(_COLORS.get(color.lower(), color))
        if isinstance(color, str)
        else None
    )
    if found is None:
        raise _word_error(
            "color", color, f"a hexadecimal color RRGGBB, or one of {', '.join(_COLORS)}"
        )
    return found[1].upper()


def _word_error(word: str, value: Value, expected: str) -> InvalidOptionError:
    fault = f"{word}={show_value(value)} of a channel is not valid: expected {expected}"
    return InvalidOptionError("channels", value, expected, fault)


def _check_positive(value: Value, word: str) -> float | None:
    number = _positive(value)
    if number is None and value is not None:
        raise _word_error(word, value, "a positive number")
    return number


def _pair(value: Value, word: str) -> tuple[float, float] | None:
    if value is None:
        return None
    numbers = [_number(n) for n in value] if _length(value) == 2 else []
    match numbers:
        case [float(low), float(high)] if low <= high:
            return low, high
    raise _word_error(word, value, "two finite numbers, the lower one first")


def _of_window(window: Value, dtype: np.dtype[Value]) -> dict[str, tuple[float, float]]:
    """Return the fields of a window of NGFF: limits, data_range, or both."""
    if window is None:
        return {}
    keys = ("min", "max", "start", "end")
    if not isinstance(window, Mapping):
        raise _word_error("window", window, f"a mapping with the keys {', '.join(keys)}")
    _check_known("channels", window, keys)
    # Missing ends are those of the dtype, and of floats those of 0 to 1, as NGFF viewers assume.
    numbers = {key: _number(value) for key, value in window.items()}
    least, most = 0.0, 1.0
    if dtype.kind in "ui":
        least, most = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    low, high = numbers.get("min", least), numbers.get("max", most)
    start, end = numbers.get("start", low), numbers.get("end", high)
    if low is None or high is None or start is None or end is None:
        is_wrong = True
    else:
        is_wrong = start > end or low > high
    if is_wrong:
        expected = "finite numbers, with min <= max and start <= end"
        raise _word_error("window", window, expected)
    found: dict[str, Any] = {}
    if "min" in numbers or "max" in numbers:
        found["data_range"] = low, high
    if "start" in numbers or "end" in numbers:
        found["limits"] = start, end
    return found
