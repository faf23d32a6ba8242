"""OME-NGFF documents, versions 0.5 and 0.4: written as the specification says, read with care.

Pure functions from attributes to attributes; no store is touched. Attributes that are read may
come from strangers: they give a value or ``DamagedDataError``, never another error. What is
added to a document of theirs leaves every key in place that is not ours.

This file is long because it is one thing: the specification (https://ngff.openmicroscopy.org,
0.5 and 0.4), section by section, each written beside what it shares with the others.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias, get_args

import numpy as np

from polystore.errors import DamagedDataError, InvalidOptionError, UnsupportedDataError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = [
    "SPACE_UNITS",
    "TIME_UNITS",
    "Axis",
    "Channel",
    "ImageMetadata",
    "Level",
    "MultiscaleImage",
    "Plate",
    "Version",
    "Well",
    "Window",
    "add_label",
    "check_well",
    "image_document",
    "image_metadata",
    "labels_document",
    "plate_with_well",
    "plate_without_well",
    "read_image",
    "read_labels",
    "read_plate",
    "read_well",
    "remove_label",
    "well_with_field",
    "well_without_field",
]

Version: TypeAlias = Literal["0.5", "0.4"]
Attributes: TypeAlias = Mapping[str, Any]
_VERSIONS = get_args(Version)
_READABLE = ("0.1", "0.2", "0.3", "0.4", "0.5")
_AXES = "tczyx"
_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
_OLD_AXES = tuple(_AXES)
"""0.1 and 0.2 know no others, and do not name them."""

_PREFIXES = (
    "yocto", "zepto", "atto", "femto", "pico", "nano", "micro", "milli", "centi", "deci", "",
    "hecto", "kilo", "mega", "giga", "tera", "peta", "exa", "zetta", "yotta",
)  # fmt: skip
SPACE_UNITS = (
    *(f"{prefix}meter" for prefix in _PREFIXES),
    "angstrom", "foot", "inch", "mile", "parsec", "yard",
)  # fmt: skip
"""UDUNITS-2 names that the section "axes" of the specification lists for space."""
TIME_UNITS = (*(f"{prefix}second" for prefix in _PREFIXES), "day", "hour", "minute")
_ABBREVIATIONS = {
    "pm": "picometer", "nm": "nanometer", "um": "micrometer", "\u00b5m": "micrometer",
    "\u03bcm": "micrometer", "micron": "micrometer", "microns": "micrometer",
    "mm": "millimeter", "cm": "centimeter", "m": "meter", "\u00c5": "angstrom",
    "\u212b": "angstrom", "A": "angstrom", "ns": "nanosecond", "us": "microsecond",
    "\u00b5s": "microsecond", "\u03bcs": "microsecond", "ms": "millisecond", "s": "second",
    "sec": "second", "min": "minute", "h": "hour", "d": "day",
}  # fmt: skip

_COLORS = {
    "red": "FF0000", "green": "00FF00", "blue": "0000FF", "cyan": "00FFFF",
    "magenta": "FF00FF", "yellow": "FFFF00", "white": "FFFFFF",
}  # fmt: skip
_ALONE, _PAIR = ("white",), ("magenta", "green")
_MANY = ("cyan", "yellow", "magenta", "red", "green", "blue")
_HEX = re.compile("#?([0-9A-Fa-f]{6})")


# ── values ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Axis:
    """One dimension of the arrays."""

    name: str
    type: str
    """"time", "channel" or "space"; another or none in documents of others."""
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
    """Extent of a pixel of level 0 along each axis, in the unit of that axis."""
    channels: tuple[Channel, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of an image. Coordinate = index * scale + translation."""

    path: str
    """Path of the array, relative to the image's group; it never leaves it."""
    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiscaleImage:
    """The first multiscale image of a group, as its document describes it."""

    version: str
    axes: tuple[Axis, ...]
    levels: tuple[Level, ...]
    """From the finest to the coarsest; at least one."""
    channels: tuple[Channel, ...] = ()
    name: str = ""
    is_label: bool = False
    source: str | None = None
    """Of a label image: the path of the labelled image relative to it, as it is written."""

    def description(self, labels: Attributes | None = None) -> dict[str, Any]:
        """Return all this as plain values. ``labels`` are the attributes of its labels group.

        Raises:
            DamagedDataError: ``labels`` is malformed.
        """
        found: dict[str, Any] = {
            "ome_version": self.version,
            "axes": [axis.name for axis in self.axes],
            "scale": list(self.levels[0].scale),
            "units": [axis.unit for axis in self.axes],
            "channels": [channel.label for channel in self.channels],
            "labels": list(read_labels(labels or {}) or ()),
        }
        return found | ({"name": self.name} if self.name else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plate:
    """A plate as its document describes it."""

    version: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    wells: tuple[str, ...]
    """Paths of the wells, such as "B/03"."""
    name: str = ""
    field_count: int | None = None
    """The largest number of fields in a well, if the document tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Well:
    """A well as its document describes it."""

    version: str
    fields: tuple[str, ...]
    """Paths of its images, relative to the well."""


# ── what a caller gives ──────────────────────────────────────────────────────────────────


def image_metadata(
    shape: Sequence[int],
    dtype: DTypeLike,
    *,
    axes: str | Sequence[str] | None = None,
    scale: Sequence[float] | Mapping[str, float] | None = None,
    units: str | Mapping[str, str] | None = None,
    channels: Sequence[str | Mapping[str, Any] | Channel] | None = None,
    name: str = "",
    label: bool = False,
) -> ImageMetadata:
    """Check what is to be written beside an array of ``shape`` and ``dtype``, and complete it.

    ``axes`` are some of t, c, z, y, x in this order, the last two y and x. By default two axes
    are yx, three zyx (cyx where as many channels are given as the first axis is long), four
    czyx and five tczyx. ``scale`` has one positive number for each axis, or names axes, the
    others being 1. ``units`` is one unit for z, y and x, or names axes; common abbreviations
    such as "um" are written out. ``channels`` are labels, or mappings with some of label,
    color (RRGGBB or a common name), window (min, max, start, end) and active; colours and
    windows that are missing are chosen as viewers do, and from ``dtype``.

    Raises:
        UnsupportedDataError: fewer than 2 or more than 5 axes, or a label image (``label``)
            of anything but integers.
        InvalidOptionError: anything else that OME-NGFF does not allow.
    """
    shape, dtype = tuple(shape), np.dtype(dtype)
    if not 2 <= len(shape) <= 5:
        raise UnsupportedDataError(f"{len(shape)} axes: images have 2 to 5", "ome-zarr")
    if label and dtype.kind not in "ui":
        raise UnsupportedDataError(f"{dtype} as a label image: labels are integers", "ome-zarr")
    if label and channels is not None:
        raise InvalidOptionError("channels", channels, "none for a label image")
    if not isinstance(name, str):
        raise InvalidOptionError("name", name, "a string")
    names = _axis_names(shape, axes, channels)
    unit_of = _checked_units(units, names)
    return ImageMetadata(
        axes=tuple(Axis(axis, _TYPES[axis], unit_of.get(axis)) for axis in names),
        scale=_checked_scale(scale, names),
        channels=_checked_channels(channels, shape, names, dtype),
        name=name,
    )


def _axis_names(shape: tuple[int, ...], axes: Any, channels: Any) -> tuple[str, ...]:
    if axes is None:
        if len(shape) == 3 and _length(channels) == shape[0]:
            return ("c", "y", "x")
        return {2: ("y", "x"), 3: ("z", "y", "x"), 4: ("c", "z", "y", "x")}.get(
            len(shape), _OLD_AXES
        )
    names = tuple(axes) if isinstance(axes, str | Sequence) else ()
    ordered = tuple(axis for axis in _AXES if axis in names)
    if names != ordered or len(names) != len(shape) or names[-2:] != ("y", "x"):
        raise InvalidOptionError(
            "axes", axes,
            f"{len(shape)} of t, c, z, y, x in this order and once each, for shape {shape}; "
            "y and x are the last two",
        )  # fmt: skip
    return names


def _length(values: object) -> int:
    return len(values) if isinstance(values, Sequence) and not isinstance(values, str) else -1


def _checked_scale(scale: Any, names: tuple[str, ...]) -> tuple[float, ...]:
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
    number = _finite(value.item() if isinstance(value, np.generic) else value)
    return number if number is not None and number > 0 else None


def _finite(value: object) -> float | None:
    """Return ``value`` as a float if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _check_known(option: str, given: Iterable[Any], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise InvalidOptionError(option, name, f"one of {', '.join(known)}")


def _checked_units(units: Any, names: tuple[str, ...]) -> dict[str, str]:
    if units is None:
        return {}
    if isinstance(units, str):
        units = {axis: units for axis in names if _TYPES[axis] == "space"}
    if not isinstance(units, Mapping):
        raise InvalidOptionError("units", units, "a unit, or a mapping from axes to units")
    with_units = [axis for axis in names if _TYPES[axis] != "channel"]
    _check_known("units", units, with_units)
    return {axis: _unit(units[axis], axis) for axis in units if units[axis] is not None}


def _unit(unit: Any, axis: str) -> str:
    space = _TYPES[axis] == "space"
    known, example = (SPACE_UNITS, "micrometer") if space else (TIME_UNITS, "second")
    if not isinstance(unit, str):
        raise InvalidOptionError("units", unit, f"for {axis} a unit such as {example!r}")
    name = _ABBREVIATIONS.get(unit, unit)
    if name in known:
        return name
    short = [key for key, full in _ABBREVIATIONS.items() if full in known]
    close = difflib.get_close_matches(unit.lower(), [*known, *short], n=1)
    hint = f"; did you mean {_ABBREVIATIONS.get(close[0], close[0])!r}?" if close else ""
    raise InvalidOptionError(
        "units", unit, f"for {axis} a unit of {_TYPES[axis]}, such as {example!r}{hint}"
    )


def _checked_channels(
    channels: Any, shape: tuple[int, ...], names: tuple[str, ...], dtype: np.dtype[Any]
) -> tuple[Channel, ...]:
    if channels is None:
        return ()
    count = shape[names.index("c")] if "c" in names else 1
    if _length(channels) != count:
        where = "axis c" if "c" in names else "an image without axis c"
        raise InvalidOptionError("channels", channels, f"a list of {count}, for {where}")
    colors = {1: _ALONE, 2: _PAIR}.get(count, _MANY)
    return tuple(
        _channel(channel, colors[index % len(colors)], dtype)
        for index, channel in enumerate(channels)
    )


def _channel(channel: Any, color: str, dtype: np.dtype[Any]) -> Channel:
    if isinstance(channel, Channel):
        given: Mapping[str, Any] = {key: getattr(channel, key) for key in Channel.__slots__}
    else:
        given = {"label": channel} if isinstance(channel, str) else channel
    if not isinstance(given, Mapping) or not isinstance(given.get("label", ""), str):
        raise InvalidOptionError(
            "channels", channel, "labels, or mappings with label, color, window and active"
        )
    _check_known("channels", given, Channel.__slots__)
    active = given.get("active", True)
    if not isinstance(active, bool):
        raise InvalidOptionError("channels", active, "active=True or False")
    return Channel(
        label=given.get("label", ""),
        color=_color(given.get("color") or color),
        window=_window(given.get("window"), dtype),
        active=active,
    )


def _color(color: Any) -> str:
    found = (
        _HEX.fullmatch(_COLORS.get(color.lower(), color)) if isinstance(color, str) else None
    )
    if found is None:
        raise InvalidOptionError(
            "channels", color, f"a color RRGGBB in hexadecimal, or {', '.join(_COLORS)}"
        )
    return found[1].upper()


def _window(window: Any, dtype: np.dtype[Any]) -> Window:
    least, most = 0.0, 1.0
    if dtype.kind in "ui":
        least, most = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    if isinstance(window, Window):
        window = {key: getattr(window, key) for key in Window.__slots__}
    if window is None:
        window = {}
    if not isinstance(window, Mapping):
        raise InvalidOptionError("channels", window, "a window with min, max, start and end")
    _check_known("channels", window, Window.__slots__)
    numbers = {
        key: _finite(value.item() if isinstance(value, np.generic) else value)
        for key, value in window.items()
    }
    least, most = numbers.get("min", least) or 0.0, numbers.get("max", most) or 0.0
    start, end = numbers.get("start", least), numbers.get("end", most)
    if None in numbers.values() or start is None or end is None or start > end or least > most:
        raise InvalidOptionError(
            "channels", window, "numbers, min not above max and start not above end"
        )
    return Window(min=least, max=most, start=start, end=end)


# ── images and labels, written ───────────────────────────────────────────────────────────


def image_document(
    metadata: ImageMetadata,
    levels: Sequence[tuple[str, Sequence[float]]],
    *,
    version: Version = "0.5",
    kind: Literal["image", "label"] = "image",
    method: Literal["mean", "nearest"] | None = None,
) -> dict[str, Any]:
    """Return the attributes of an image's group.

    ``levels`` are the paths of the arrays, finest first, each with how many pixels of level 0
    one of its pixels spans along each axis. The centre of such a pixel lies (factor - 1) / 2
    pixels further than that of the first one of level 0, and so says the translation; also
    for ``method="nearest"`` (the default for labels), so that labels lie on their image.
    """
    _check_version(version)
    method = method or ("nearest" if kind == "label" else "mean")
    multiscale: dict[str, Any] = {
        "name": metadata.name,
        "axes": [
            {"name": axis.name, "type": axis.type} | ({"unit": axis.unit} if axis.unit else {})
            for axis in metadata.axes
        ],
        "datasets": [
            {
                "path": path,
                "coordinateTransformations": _transformations(metadata.scale, factors, index),
            }
            for index, (path, factors) in enumerate(levels)
        ],
        "type": method,
        "metadata": {
            "method": "polystore_zarr.pyramid.downsample",
            "kwargs": {"method": method},
            "description": "2 x 2 pixels of the level above, averaged"
            if method == "mean"
            else "the first of 2 x 2 pixels of the level above",
        },
    }
    if version == "0.4":
        multiscale = {"version": version} | multiscale
    inner: dict[str, Any] = {"multiscales": [multiscale]}
    if kind == "label":
        inner["image-label"] = {"version": version, "source": {"image": "../../"}}
    elif metadata.channels:
        inner["omero"] = _omero(metadata, version)
    return inner if version == "0.4" else {"ome": {"version": version} | inner}


def _transformations(
    scale: tuple[float, ...], factors: Sequence[float], index: int
) -> list[dict[str, Any]]:
    pairs = list(zip(scale, map(float, factors), strict=True))
    found: list[dict[str, Any]] = [
        {"type": "scale", "scale": [base * factor for base, factor in pairs]}
    ]
    if index:
        shift = [base * (factor - 1) / 2 for base, factor in pairs]
        found.append({"type": "translation", "translation": shift})
    return found


def _omero(metadata: ImageMetadata, version: Version) -> dict[str, Any]:
    channels = []
    for channel in metadata.channels:
        found: dict[str, Any] = {"label": channel.label, "active": channel.active}
        if channel.color is not None:
            found["color"] = channel.color
        if channel.window is not None:
            window = {key: getattr(channel.window, key) for key in Window.__slots__}
            found["window"] = {
                key: int(value) if value.is_integer() else value
                for key, value in window.items()
            }
        channels.append(found | {"coefficient": 1, "family": "linear", "inverted": False})
    grey = all(channel.color in (None, "FFFFFF") for channel in metadata.channels)
    omero: dict[str, Any] = {
        "name": metadata.name,
        "channels": channels,
        "rdefs": {"model": "greyscale" if grey else "color"},
    }
    return omero if version == "0.5" else omero | {"version": version}


def labels_document(names: Iterable[str], version: Version = "0.5") -> dict[str, Any]:
    """Return the attributes of the group ``labels``, which lists the label images in it."""
    return _edited({}, version, "labels", list(dict.fromkeys(names)))


def add_label(attributes: Attributes, name: str, version: Version = "0.5") -> dict[str, Any]:
    """Return the attributes of a group ``labels`` with ``name`` listed, once."""
    present = read_labels(attributes) or ()
    return _edited(attributes, version, "labels", list(dict.fromkeys((*present, name))))


def remove_label(attributes: Attributes, name: str, version: Version = "0.5") -> dict[str, Any]:
    """Return the attributes of a group ``labels`` without ``name``."""
    present = read_labels(attributes) or ()
    return _edited(attributes, version, "labels", [label for label in present if label != name])


# ── plates and wells, written ────────────────────────────────────────────────────────────

_ROW, _COLUMN, _FIELD = (re.compile(p) for p in ("[A-Z]{1,2}", "[0-9]{1,3}", "[A-Za-z0-9]+"))


def check_well(row: str, column: str, field: str = "0") -> None:
    """Raise ``InvalidOptionError`` for what cannot be a field of a well of a plate."""
    parts = zip((_ROW, _COLUMN, _FIELD), (row, column, field), strict=True)
    if not all(pattern.fullmatch(part) for pattern, part in parts):
        raise InvalidOptionError(
            "path", f"{row}/{column}/{field}",
            "row, column and field, such as 'B/03/0': one or two capital letters, up to three "
            "digits, and letters or digits",
        )  # fmt: skip


def plate_with_well(
    attributes: Attributes,
    row: str,
    column: str,
    *,
    name: str = "",
    version: Version = "0.5",
    field_count: int | None = None,
) -> dict[str, Any]:
    """Return the attributes of a plate that has this well; the same if it has it already.

    Rows, columns and wells are put in order, and all indices made anew. ``name`` is given to
    a plate without one; ``field_count`` is raised to the one given.

    Raises:
        InvalidOptionError: no such well can be: see :func:`check_well`.
        DamagedDataError: ``attributes`` hold a malformed plate.
    """
    check_well(row, column)
    plate, wells = _plate_parts(attributes)
    path = f"{row}/{column}"
    wells.setdefault(path, {"path": path})
    if name and not plate.get("name"):
        plate["name"] = name
    if field_count is not None:
        plate["field_count"] = max(field_count, plate.get("field_count") or 0)
    return _settled(attributes, version, plate, wells)


def plate_without_well(
    attributes: Attributes, row: str, column: str, *, version: Version = "0.5"
) -> dict[str, Any]:
    """Return the attributes of a plate without this well.

    Its row and column stay: the specification lists those of the physical plate, used or not.
    """
    plate, wells = _plate_parts(attributes)
    wells.pop(f"{row}/{column}", None)
    return _settled(attributes, version, plate, wells)


def _plate_parts(attributes: Attributes) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return copies of a checked plate, and of its wells by path."""
    if read_plate(attributes) is None:
        return {}, {}
    plate = dict(_found(attributes, "plate")[0])
    wells: dict[str, dict[str, Any]] = {}
    for well in plate["wells"]:
        wells.setdefault(well["path"], dict(well))
    return plate, wells


def _settled(
    attributes: Attributes,
    version: Version,
    plate: dict[str, Any],
    wells: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """Put a plate in order and into ``attributes``."""
    places = [path.split("/") for path in wells]
    index: dict[str, dict[str, int]] = {}
    for key, part in (("rows", 0), ("columns", 1)):
        known: dict[str, Any] = {}
        for line in (*plate.get(key, ()), *({"name": place[part]} for place in places)):
            known.setdefault(line["name"], line)
        names = sorted(known, key=_natural)
        plate[key] = [known[name] for name in names]
        index[key] = {name: position for position, name in enumerate(names)}
    for well, (row, column) in zip(wells.values(), places, strict=True):
        well |= {"rowIndex": index["rows"][row], "columnIndex": index["columns"][column]}
    plate["wells"] = sorted(wells.values(), key=lambda w: (w["rowIndex"], w["columnIndex"]))
    # Also within 0.5, whose text does not ask for it: ome-zarr-models warns where it is missing.
    plate.setdefault("version", _written_as(attributes, version, "plate"))
    return _edited(attributes, version, "plate", plate)


def _natural(name: str) -> tuple[bool, int, str, str]:
    """Sort key: numbers by value, then letters as A … Z, AA …."""
    number = name.isascii() and name.isdigit()
    significant = name.lstrip("0") if number else name
    return not number, len(significant), significant, name


def well_with_field(
    attributes: Attributes, field: str, version: Version = "0.5"
) -> dict[str, Any]:
    """Return the attributes of a well that has this field; the same if it has it already.

    Raises:
        InvalidOptionError: ``field`` is not made of letters and digits.
        DamagedDataError: ``attributes`` hold a malformed well.
    """
    check_well("A", "1", field)
    well, images = _well_parts(attributes)
    images.setdefault(field, {"path": field})
    return _with_images(attributes, version, well, images)


def well_without_field(
    attributes: Attributes, field: str, version: Version = "0.5"
) -> dict[str, Any]:
    """Return the attributes of a well without this field."""
    well, images = _well_parts(attributes)
    images.pop(field, None)
    return _with_images(attributes, version, well, images)


def _well_parts(attributes: Attributes) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    if read_well(attributes) is None:
        return {}, {}
    well = dict(_found(attributes, "well")[0])
    return well, {image["path"]: image for image in reversed(well["images"])}


def _with_images(
    attributes: Attributes,
    version: Version,
    well: dict[str, Any],
    images: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    well["images"] = [images[path] for path in sorted(images, key=_natural)]
    well.setdefault("version", _written_as(attributes, version, "well"))
    return _edited(attributes, version, "well", well)


# ── where things stand in a document ─────────────────────────────────────────────────────


def _check_version(version: Any) -> None:
    if version not in _VERSIONS:
        raise InvalidOptionError("version", version, f"one of {', '.join(_VERSIONS)}")


def _written_as(attributes: Attributes, version: Version, key: str) -> Version:
    """Return the version that a document already has, else ``version``."""
    _check_version(version)
    if isinstance(attributes.get("ome"), Mapping):
        return "0.5"
    return "0.4" if key in attributes else version


def _edited(
    attributes: Attributes, version: Version, key: str, value: object
) -> dict[str, Any]:
    """Return ``attributes`` with ``value`` where a document of its version has ``key``."""
    if _written_as(attributes, version, key) == "0.4":
        return {**attributes, key: value}
    inner = _mapping(attributes.get("ome", {}), "ome")
    return {**attributes, "ome": {"version": "0.5", **inner, key: value}}


# ── reading ──────────────────────────────────────────────────────────────────────────────


def read_image(attributes: Attributes) -> MultiscaleImage | None:
    """Return the first multiscale image that a group's attributes describe, if they do.

    Versions 0.1 to 0.5. Transformations of levels and of the whole image are taken together;
    where an old document has none, the scale is 1. What is malformed in "omero", which only
    says how to show the image, is left out.

    Raises:
        DamagedDataError: the description is malformed, or of another version.
    """
    multiscales, inner, outer = _found(attributes, "multiscales")
    if multiscales is None:
        return None
    image = _mapping(_first(_list(multiscales, "multiscales")), "multiscales[0]")
    axes = _read_axes(image.get("axes"))
    version = _read_version(outer or image.get("version"), "0.4" if "axes" in image else "0.1")
    common = _list(image.get("coordinateTransformations") or [], "coordinateTransformations")
    levels = []
    for dataset in _list(image.get("datasets"), "datasets"):
        level = _mapping(dataset, "datasets")
        path = _inside(level.get("path"), "datasets path")
        own = _list(level.get("coordinateTransformations") or [], "coordinateTransformations")
        levels.append(Level(path, *_composed([*own, *common], len(axes))))
    _first(levels)
    label = inner.get("image-label")
    return MultiscaleImage(
        version=version,
        axes=axes,
        levels=tuple(levels),
        channels=_read_channels(inner.get("omero")),
        name=_text(image.get("name")),
        is_label=label is not None,
        source=_label_source(label),
    )


def read_plate(attributes: Attributes) -> Plate | None:
    """Return the plate that a group's attributes describe, if they do.

    Raises:
        DamagedDataError: the description is malformed, or of another version.
    """
    value, _, outer = _found(attributes, "plate")
    if value is None:
        return None
    plate = _mapping(value, "plate")
    lines = {
        key: tuple(
            _inside(_mapping(line, key).get("name"), key, depth=1)
            for line in _list(plate.get(key), key)
        )
        for key in ("rows", "columns")
    }
    wells = tuple(
        _inside(_mapping(well, "wells").get("path"), "wells path", depth=2)
        for well in _list(plate.get("wells"), "wells")
    )
    count = plate.get("field_count")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
        _damaged("field_count is no whole number")
    return Plate(
        version=_read_version(outer or plate.get("version")),
        **lines,
        wells=wells,
        name=_text(plate.get("name")),
        field_count=count,
    )


def read_well(attributes: Attributes) -> Well | None:
    """Return the well that a group's attributes describe, if they do.

    Raises:
        DamagedDataError: the description is malformed, or of another version.
    """
    value, _, outer = _found(attributes, "well")
    if value is None:
        return None
    well = _mapping(value, "well")
    fields = tuple(
        _inside(_mapping(image, "images").get("path"), "images path")
        for image in _list(well.get("images"), "images")
    )
    return Well(version=_read_version(outer or well.get("version")), fields=fields)


def read_labels(attributes: Attributes) -> tuple[str, ...] | None:
    """Return the paths of the label images that a group's attributes list, if they do.

    Raises:
        DamagedDataError: what is listed are no paths within the group.
    """
    value, _, _ = _found(attributes, "labels")
    if value is None:
        return None
    return tuple(_inside(path, "labels path") for path in _list(value, "labels"))


def _found(attributes: Attributes, key: str) -> tuple[Any, Attributes, object]:
    """Return what stands under ``key``, what it stands in, and the version of 0.5 on."""
    outer = _mapping(attributes, "attributes")
    inner = outer.get("ome")
    if isinstance(inner, Mapping) and inner.get(key) is not None:
        return inner[key], inner, inner.get("version", "0.5")
    return outer.get(key), outer, None


def _damaged(reason: str) -> NoReturn:
    # Values are not shown: one that is nested deep enough cannot be.
    raise DamagedDataError(reason, "ome-zarr")


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        _damaged(f"{what} is of type {type(value).__name__}, not an object")
    return value


def _list(value: object, what: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        _damaged(f"{what} is of type {type(value).__name__}, not a list")
    return value


def _first(values: Sequence[Any]) -> Any:
    if not values:
        _damaged("an image without resolution levels")
    return values[0]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _inside(value: object, what: str, *, depth: int | None = None) -> str:
    """Return a path that stays inside its group, of ``depth`` parts if that is given."""
    if not isinstance(value, str):
        _damaged(f"{what} is of type {type(value).__name__}, not a string")
    parts = value.split("/")
    if (
        any(part in ("", ".", "..") for part in parts)
        or "\\" in value
        or "\0" in value
        or any("\ud800" <= character <= "\udfff" for character in value)
        or (depth is not None and len(parts) != depth)
    ):
        _damaged(f"{what} {value[:200]!r} is no path within the group")
    return value


def _read_version(version: object, unwritten: str = "0.4") -> str:
    version = unwritten if version is None else version
    if not isinstance(version, str):
        _damaged(f"the version is of type {type(version).__name__}, not a string")
    if version not in _READABLE:
        _damaged(f"version {version[:40]!r} of OME-NGFF: {', '.join(_READABLE)} can be read")
    return version


def _read_axes(value: object) -> tuple[Axis, ...]:
    axes = []
    for item in _OLD_AXES if value is None else _list(value, "axes"):
        axis = {"name": item} if isinstance(item, str) else _mapping(item, "axes")
        name, kind, unit = (axis.get(key) for key in ("name", "type", "unit"))
        if not (isinstance(name, str) and name and _is_text(kind) and _is_text(unit)):
            _damaged("an axis whose name, type or unit is no string")
        axes.append(Axis(name, kind or _TYPES.get(name, ""), unit))
    if not 2 <= len(axes) <= 5 or len({axis.name for axis in axes}) != len(axes):
        _damaged(f"{len(axes)} axes: there must be 2 to 5, each with its own name")
    return tuple(axes)


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _composed(
    transformations: Sequence[Any], ndim: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return scale and translation of several transformations, one applied after another."""
    scale, translation = [1.0] * ndim, [0.0] * ndim
    for item in transformations:
        step = _mapping(item, "coordinateTransformations")
        kind = step.get("type")
        if kind == "scale":
            numbers = _numbers(step.get("scale"), ndim)
            scale = [a * b for a, b in zip(scale, numbers, strict=True)]
            translation = [a * b for a, b in zip(translation, numbers, strict=True)]
        elif kind == "translation":
            numbers = _numbers(step.get("translation"), ndim)
            translation = [a + b for a, b in zip(translation, numbers, strict=True)]
        elif kind != "identity":
            _damaged("a transformation that is neither scale nor translation")
    if not all(map(math.isfinite, (*scale, *translation))) or 0.0 in scale:
        _damaged("transformations that leave no finite scale")
    return tuple(scale), tuple(translation)


def _numbers(value: object, ndim: int) -> list[float]:
    numbers = [_finite(number) for number in _list(value, "a transformation's vector")]
    if len(numbers) != ndim or None in numbers:
        _damaged(f"a transformation that has not {ndim} finite numbers")
    return [number for number in numbers if number is not None]


def _read_channels(omero: object) -> tuple[Channel, ...]:
    listed = omero.get("channels") if isinstance(omero, Mapping) else None
    if not isinstance(listed, list | tuple):
        return ()
    return tuple(_read_channel(item if isinstance(item, Mapping) else {}) for item in listed)


def _read_channel(channel: Mapping[str, Any]) -> Channel:
    color = _HEX.fullmatch(_text(channel.get("color")))
    window = channel.get("window")
    numbers = {
        key: _finite(window.get(key)) if isinstance(window, Mapping) else None
        for key in Window.__slots__
    }
    found = {key: number for key, number in numbers.items() if number is not None}
    return Channel(
        label=_text(channel.get("label")),
        color=color[1].upper() if color else None,
        window=Window(**found) if len(found) == len(numbers) else None,
        active=channel.get("active") is not False,
    )


def _label_source(label: object) -> str | None:
    source = label.get("source") if isinstance(label, Mapping) else None
    image = source.get("image") if isinstance(source, Mapping) else None
    return image if isinstance(image, str) else None
