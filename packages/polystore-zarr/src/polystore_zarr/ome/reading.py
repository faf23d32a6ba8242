"""Read documents that strangers may have written. The result is a value or an error of ours.

Damage is an error only in the parts that lead to pixels: the levels of an image, and the members
of plates and wells. Other parts, such as colours or positions, are left out if they are not valid.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple, NoReturn

from polystore_core import AXIS_TYPES, HEX_COLOR, Axis, Channel, finite
from polystore_core.errors import DamagedDataError, UnsupportedFileError

from .values import PATH, Attributes, Level, MultiscaleImage, Plate, Well

if TYPE_CHECKING:
    from polystore_core import Value

__all__ = [
    "find_in",
    "line_name",
    "mapping",
    "natural",
    "path_of",
    "read_image",
    "read_labels",
    "read_plate",
    "read_roles",
    "read_well",
]

_READABLE = ("0.1", "0.2", "0.3", "0.4", "0.5")
_VERSION = re.compile(r"(\d+\.\d+)(?:[.+-].*|dev.*)?", re.ASCII)
"""A version. SpatialData writes "0.4-dev-spatialdata"."""
_OLD_AXES = tuple("tczyx")
"""The axes of versions 0.1 and 0.2, whose documents do not name them."""


def read_image(attributes: Attributes) -> MultiscaleImage | None:
    """Return the first multiscale image in the attributes of a group, or ``None``.

    Reads versions 0.1 to 0.5. The transformations of a level and of the whole image are combined.
    An old document without any has scale 1. If there is another transformation than scale,
    translation and identity, or the axes cannot be read, the scale is ``None``. A channel
    that is not valid becomes an empty one, so that the others keep their positions.

    Raises:
        DamagedDataError: The levels are not valid.
        UnsupportedFileError: The version is newer, or a level is outside the image.
    """
    multiscales, inner, outer = find_in(attributes, "multiscales")
    if multiscales is None:
        return None
    image = mapping(_first(_list(multiscales, "multiscales")), "multiscales[0]")
    version = _read_version(outer or image.get("version"), "0.4" if "axes" in image else "0.1")
    axes = _read_axes(image.get("axes"))
    common = _steps(image)
    levels = []
    for dataset in _list(image.get("datasets"), "datasets"):
        level = mapping(dataset, "datasets")
        path = _inside(level.get("path"), "datasets path")
        # The steps of a level apply before those of the whole image.
        levels.append(_read_level(path, [*_steps(level), *common], len(axes)))
    _first(levels)  # an image without levels is damaged
    label = inner.get("image-label")
    return MultiscaleImage(
        version=version,
        axes=axes,
        levels=tuple(levels),
        channels=_read_channels(inner.get("omero")),
        name=_text(image.get("name")),
        is_label=label is not None,
        source=_label_source(label),
        count=len(multiscales),
    )


def read_plate(attributes: Attributes) -> Plate | None:
    """Return the plate in the attributes of a group, or ``None``.

    Rows and columns without a name are left out, and so is a count that is not a number.

    Raises:
        DamagedDataError: The lists are not valid.
        UnsupportedFileError: The version is newer, or a well is outside the plate.
    """
    value, _, outer = _find_claimed(attributes, "plate")
    if value is None:
        return None
    plate = mapping(value, "plate")
    count = plate.get("field_count")
    found = Plate(
        version=_read_version(outer or plate.get("version")),
        rows=_names(plate, "rows"),
        columns=_names(plate, "columns"),
        wells=_paths(plate, "wells"),
        name=_text(plate.get("name")),
        field_count=count if type(count) is int else None,
    )
    in_order = len(found.wells) >= _MANY and _is_in_order(plate, found)
    return replace(found, in_order=True) if in_order else found


_MANY = 64
"""Sorting fewer wells takes no longer than finding out whether they are in order."""


def _is_in_order(plate: Mapping[str, Value], found: Plate) -> bool:
    for key, names in (("rows", found.rows), ("columns", found.columns)):
        is_whole = len(names) == len(plate.get(key, ()))
        if not is_whole or sorted(set(names), key=natural) != list(names):
            return False
    places = found.places(plate["wells"])
    return (
        "version" in plate
        and all(map(str.isalnum, (*found.rows, *found.columns)))
        and places is not None
        and places == sorted(places)
    )


def natural(name: str) -> tuple[bool, int, str, str]:
    """Return a sort key: numbers by their value, then letters in the order A … Z, AA …."""
    number = name.isascii() and name.isdigit()
    significant = name.lstrip("0") if number else name
    return not number, len(significant), significant, name


def read_well(attributes: Attributes) -> Well | None:
    """Return the well in the attributes of a group, or ``None``.

    Raises:
        DamagedDataError: The list of images is not valid.
        UnsupportedFileError: The version is newer, or an image is outside the well.
    """
    value, _, outer = _find_claimed(attributes, "well")
    if value is None:
        return None
    well = mapping(value, "well")
    return Well(
        version=_read_version(outer or well.get("version")), fields=_paths(well, "images")
    )


def read_labels(attributes: Attributes) -> tuple[str, ...]:
    """Return the paths of the label images in the attributes of a group.

    Entries that are not paths inside the group are left out.
    """
    value, _, _ = find_in(attributes, "labels")
    return tuple(path for path in value if _is_inside(path)) if isinstance(value, list) else ()


_OBJECTS = (dict, Mapping)
"""Checking a dict for ``Mapping`` takes ten times as long as for ``dict``, which comes first."""


def line_name(line: object) -> str | None:
    """Return the name of a row or column. Some programs write columns as numbers."""
    name = line.get("name") if isinstance(line, _OBJECTS) else None
    return str(name) if type(name) is int else name if isinstance(name, str) else None


def path_of(member: object) -> str | None:
    """Return the path of a well or of an image in a well, if the entry has one."""
    path = member.get("path") if isinstance(member, _OBJECTS) else None
    return path if isinstance(path, str) else None


def _names(plate: Mapping[str, Value], key: str) -> tuple[str, ...]:
    names = []
    for line in _list(plate.get(key, []), key):
        name = line.get("name") if isinstance(line, _OBJECTS) else None
        if isinstance(name, str) or type(name) is int:
            names.append(str(name))
    return tuple(names)


def _paths(holder: Mapping[str, Value], key: str) -> tuple[str, ...]:
    """Return the paths in a list. Entries without a path are left out."""
    members = _list(holder.get(key), key)
    try:  # a plate has thousands of wells, and a loop in Python would take ten times as long
        found = tuple(map(PATH, members))
        is_plain = set(map(type, members)) <= {dict} and set(map(type, found)) <= {str}
    except (KeyError, TypeError):
        is_plain = False
    if not is_plain:
        objects = [member for member in members if isinstance(member, _OBJECTS)]
        if members and not objects:
            _raise_damaged(f"{key} has entries that are not objects")
        found = tuple(path for path in map(path_of, objects) if path is not None)
    joined = f"/{'/'.join(found)}/"
    # One search in all joined paths. Searching each for _OUTSIDE takes thirty times as long.
    is_inside = joined.isascii() and "//" not in joined and "." not in joined
    if not is_inside or "\\" in joined or "\0" in joined:
        for path in found:
            _inside(path, key)
    return found


_KEYS = {"plate": frozenset(("wells", "rows", "columns")), "well": frozenset(("images",))}


def _find_claimed(
    attributes: Attributes, key: Literal["plate", "well"]
) -> tuple[Value, Attributes, object]:
    """Return the result of ``find_in``, unless the attribute belongs to another program."""
    value, inner, outer = find_in(attributes, key)
    is_ours = outer is not None or (
        isinstance(value, _OBJECTS) and not _KEYS[key].isdisjoint(value)
    )
    return value if is_ours else None, inner, outer


class Roles(NamedTuple):
    """The roles of a group, by its attributes."""

    plate: bool
    well: bool
    series: bool
    """The images that a converter has made of one file."""


def read_roles(attributes: Attributes) -> Roles:
    """Return the roles in the attributes of a group.

    A group of any store may have an attribute with such a name, for example a text.
    """
    if not attributes:
        return _NO_ROLES
    inner = attributes.get("ome")
    inner = inner if isinstance(inner, _OBJECTS) else {}
    is_there = {}
    for key, known in _KEYS.items():  # like _find_claimed, for both at once
        value, is_ours = inner.get(key), inner.get("version", "0.5") is not None
        if value is None:
            value, is_ours = attributes.get(key), False
        is_there[key] = isinstance(value, _OBJECTS) and (is_ours or not known.isdisjoint(value))
    key = "bioformats2raw.layout"
    layout = attributes.get(key) if inner.get(key) is None else inner[key]
    return Roles(is_there["plate"], is_there["well"], isinstance(layout, int))


_NO_ROLES = Roles(False, False, False)


def find_in(attributes: Attributes, key: str) -> tuple[Value, Attributes, object]:
    """Return the value of ``key``, the object with it, and the version (from 0.5 on)."""
    if not isinstance(attributes, _OBJECTS):
        _raise_damaged(f"attributes is of type {type(attributes).__name__}, not an object")
    inner = attributes.get("ome")
    if isinstance(inner, _OBJECTS) and inner.get(key) is not None:
        return inner[key], inner, inner.get("version", "0.5")
    return attributes.get(key), attributes, None


def _raise_damaged(reason: str) -> NoReturn:
    # The message has no values, because Python cannot print one that is nested too deeply.
    raise DamagedDataError(reason, "ome-zarr")


def mapping(value: object, what: str) -> Mapping[str, Value]:
    """Return ``value`` if it is an object. ``what`` names it in the error."""
    if not isinstance(value, _OBJECTS):
        _raise_damaged(f"{what} is of type {type(value).__name__}, not an object")
    return value


def _list(value: object, what: str) -> Sequence[Value]:
    if not isinstance(value, list | tuple):
        _raise_damaged(f"{what} is of type {type(value).__name__}, not a list")
    return value


def _first(values: Sequence[Value]) -> Value:
    if not values:
        _raise_damaged("the image has no resolution levels")
    return values[0]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _inside(value: object, what: str) -> str:
    """Return a path that stays inside its group."""
    if not isinstance(value, str):
        _raise_damaged(f"{what} is of type {type(value).__name__}, not a string")
    if not _is_inside(value):
        reason = (
            f"{what} {value[:200]!r} is not a path within the group, and no other path is read"
        )
        raise UnsupportedFileError(reason, "ome-zarr")
    return value


def _is_inside(value: object) -> bool:
    return isinstance(value, str) and _OUTSIDE.search(value) is None


_OUTSIDE = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)|[\\\0\ud800-\udfff]")
"""An empty part, "." or "..", a backslash, a null character or half of a surrogate pair."""


def _read_version(version: object, unwritten: str = "0.4") -> str:
    """Return a version that can be read, unchanged. Some programs write it as a number."""
    if version is None:
        return unwritten
    if type(version) in (int, float):
        version = str(version)
    found = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if found is None or found[1] not in _READABLE:
        said = repr(version[:40]) if isinstance(version, str) else type(version).__name__
        raise UnsupportedFileError(
            f"it has OME-NGFF version {said}, but polystore reads {', '.join(_READABLE)}: load "
            "each of its arrays by its own path",
            "ome-zarr",
        )
    return str(version)


def _read_axes(value: object) -> tuple[Axis, ...]:
    """Return the axes, or ``()`` if one has no name, or two have the same."""
    axes = []
    for item in (
        _OLD_AXES if value is None else value if isinstance(value, list | tuple) else ()
    ):
        # Version 0.3 lists the names of axes, and later versions list objects.
        axis = item if isinstance(item, Mapping) else {"name": item}
        name, kind, unit = (axis.get(key) for key in ("name", "type", "unit"))
        if not (isinstance(name, str) and name):
            return ()
        kind = kind if isinstance(kind, str) and kind else AXIS_TYPES.get(name, "")
        axes.append(Axis(name, kind, unit if isinstance(unit, str) else None))
    return tuple(axes) if len({axis.name for axis in axes}) == len(axes) else ()


def _steps(described: Mapping[str, Value]) -> Sequence[Value]:
    """Return the transformations of a level or an image. A list that is not valid is one entry."""
    steps = described.get("coordinateTransformations") or []
    return steps if isinstance(steps, list | tuple) else [steps]


def _read_level(path: str, steps: Sequence[Value], ndim: int) -> Level:
    """Combine several transformations, applied in turn, into one scale and translation."""
    scale, translation = [1.0] * ndim, [0.0] * ndim
    unknown = Level(path, None, None, tuple(steps))
    is_placed = False
    for step in steps:
        kind = step.get("type") if isinstance(step, Mapping) else None
        if kind == "identity":
            continue
        numbers = _numbers(step.get(kind), ndim) if kind in ("scale", "translation") else None
        if numbers is None:
            return unknown
        if kind == "scale":
            scale = [a * b for a, b in zip(scale, numbers, strict=True)]
            # A scale also scales the translations before it.
            translation = [a * b for a, b in zip(translation, numbers, strict=True)]
        else:
            translation = [a + b for a, b in zip(translation, numbers, strict=True)]
            is_placed = True
    # Products of large numbers can overflow, and a scale of 0 puts all pixels at one place.
    if not ndim or not all(map(math.isfinite, (*scale, *translation))) or 0.0 in scale:
        return unknown
    return Level(path, tuple(scale), tuple(translation), is_placed=is_placed)


def _numbers(value: object, ndim: int) -> list[float] | None:
    """Return ``ndim`` finite numbers, or ``None`` for anything else."""
    numbers = [finite(number) for number in value] if isinstance(value, list | tuple) else []
    found = [number for number in numbers if number is not None]
    return found if len(numbers) == len(found) == ndim else None


def _read_channels(omero: object) -> tuple[Channel, ...]:
    listed = omero.get("channels") if isinstance(omero, Mapping) else None
    if not isinstance(listed, list | tuple):
        return ()
    return tuple(_read_channel(item if isinstance(item, Mapping) else {}) for item in listed)


def _read_channel(channel: Mapping[str, Value]) -> Channel:
    color = HEX_COLOR.fullmatch(_text(channel.get("color")))
    window = channel.get("window")
    return Channel(
        name=_text(channel.get("label")),
        color=color[1].upper() if color else None,
        limits=_range(window, "start", "end"),
        data_range=_range(window, "min", "max"),
        # A value that cannot be read shows the channel: a hidden one looks like lost data.
        visible=channel.get("active") is not False,
        inverted=channel.get("inverted") is True,
    )


def _range(window: object, first: str, last: str) -> tuple[float, float] | None:
    if not isinstance(window, Mapping):
        return None
    low, high = finite(window.get(first)), finite(window.get(last))
    return None if low is None or high is None else (low, high)


def _label_source(label: object) -> str | None:
    source = label.get("source") if isinstance(label, Mapping) else None
    image = source.get("image") if isinstance(source, Mapping) else None
    return image if isinstance(image, str) else None
