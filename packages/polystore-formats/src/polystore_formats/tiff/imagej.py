"""What ImageJ keeps in a TIFF file: axes, calibration, and how channels are shown.

The first description holds lines of "key=value"; labels of planes, ranges, tables of colours and
ROIs are in two tags of their own (50838 and 50839), which tifffile packs. ImageJ's axes are some
of T, Z, C, Y, X, S in this order; it has one unit for z, y and x, and counts time in seconds.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import SPACE_UNITS, channel_colors, finite
from polystore_core.errors import InvalidOptionError

from .words import image_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from polystore_core import Channel, Document, ImageMetadata, Option, Pixels, Value

__all__ = ["COLOR_MAP", "imagej_fields", "imagej_info", "plain_unit"]

COLOR_MAP = 320
"""Tag of the colours of an image of one channel."""
_SHORT = {
    "micrometer": "um",
    "nanometer": "nm",
    "millimeter": "mm",
    "centimeter": "cm",
    "meter": "m",
    "picometer": "pm",
    "angstrom": "A",
}
_SECONDS = {
    "second": 1.0,
    "millisecond": 1e-3,
    "microsecond": 1e-6,
    "nanosecond": 1e-9,
    "minute": 60.0,
    "hour": 3600.0,
    "day": 86400.0,
}
_MICRO = re.compile(r"\\u00b5|\\u03bc|[\u00b5\u03bc]", re.IGNORECASE)
_UNITS = {short: long for long, short in _SHORT.items()} | {
    "micron": "micrometer",
    "microns": "micrometer",
    "\u00c5": "angstrom",
}
_TEXT_LIMIT = 1000


# ── what is written ──────────────────────────────────────────────────────────────────────


def imagej_fields(
    array: Pixels,
    names: str,
    *,
    scale: Option = None,
    units: Option = None,
    channels: Option = None,
    contrast_limits: Option = None,
) -> tuple[Document, Document]:
    """Return the pixel density as arguments of ``TiffWriter.write``, and tifffile's metadata.

    Options are those of :func:`polystore_core.image_metadata`. Raises ``InvalidOptionError``.
    """
    shape = dict(zip(names, array.shape, strict=True))
    found = image_words(array, names, scale=scale, units=units, channels=channels)
    fields: dict[str, Any] = {}
    density: dict[str, Any] = {}
    if scale is not None or units is not None:
        density = _calibrate(found, units, fields)
    limits = _limits(contrast_limits)
    if channels is not None:
        _set_looks(found.channels, array, names, limits, fields)
        if len(found.channels) == 1:
            density["extratags"] = [_color_map(found.channels[0].color)]
    elif limits is not None:
        fields |= {"min": limits[0], "max": limits[1]}
        fields["Ranges"] = limits * shape.get("c", 1)
    return density, fields


def _calibrate(found: ImageMetadata, units: Value, fields: Document) -> Document:
    sizes = {axis.name: 1.0 if axis.scale is None else axis.scale for axis in found.axes}
    unit_of = {axis.name: axis.unit for axis in found.axes}
    space = {unit_of[axis] for axis in unit_of if axis in "zyx"}
    if len(space) > 1:
        expected = "the same unit for z, y and x, because ImageJ stores only one"
        raise InvalidOptionError("units", units, expected)
    unit = space.pop()
    if unit is not None:
        fields["unit"] = _SHORT.get(unit, unit)
    if "z" in sizes:
        fields["spacing"] = sizes["z"]
    if "t" in sizes:
        seconds = _SECONDS.get(unit_of["t"] or "second")
        if seconds is None:
            expected = f"a unit of time for t: one of {', '.join(_SECONDS)}"
            raise InvalidOptionError("units", units, expected)
        fields["finterval"] = sizes["t"] * seconds
    return {"resolution": (1 / sizes["x"], 1 / sizes["y"])}


def _set_looks(
    channels: Sequence[Channel],
    array: Pixels,
    names: str,
    limits: tuple[float, float] | None,
    fields: Document,
) -> None:
    """Colours are tables of 256; a label is that of each plane of its channel."""
    if len(channels) > 1:
        fields["LUTs"] = [_table(color) for color in channel_colors(channels)]
        fields["mode"] = "composite"
    if any(channel.name for channel in channels):
        planes = names.partition("y")[0]
        counts = [array.shape[names.index(axis)] for axis in planes]
        index = np.indices(counts)[planes.index("c")].ravel() if "c" in planes else None
        fields["Labels"] = [
            channels[i].name
            for i in (index if index is not None else [0] * int(np.prod(counts)))
        ]
    if limits is not None or any(channel.limits for channel in channels):
        ranges: list[float] = []
        for number, channel in enumerate(channels):
            ranges += channel.limits or limits or _extent(array, names, number)
        fields["Ranges"] = tuple(ranges)
        fields |= {"min": ranges[0], "max": ranges[1]}


def _color_map(color: str | None) -> tuple[int, int, int, list[int], bool]:
    """Return the tag in which ImageJ has the colours of an image of one channel."""
    values = (_table(color).astype(int) * 257).ravel().tolist()
    return COLOR_MAP, 3, len(values), values, True


def _table(color: str | None) -> NDArray[np.uint8]:
    rgb = np.frombuffer(bytes.fromhex(color or "FFFFFF"), np.uint8).astype(np.float64)
    return np.rint(rgb[:, None] * np.arange(256) / 255).astype(np.uint8)


def _extent(array: Pixels, names: str, number: int) -> tuple[float, float]:
    """The range of a channel for which none is given, where others have one."""
    part = array.take(number, axis=names.index("c")) if "c" in names else array
    if part.dtype.kind == "f":
        part = part[np.isfinite(part)]
    return (float(part.min()), float(part.max())) if part.size else (0.0, 1.0)


def _limits(limits: Value) -> tuple[float, float] | None:
    if limits is None:
        return None
    given = list(limits) if isinstance(limits, Sequence | np.ndarray) else []
    numbers = [finite(n.item() if isinstance(n, np.generic) else n) for n in given]
    match numbers:
        case [float(low), float(high)] if low < high:
            return low, high
    expected = "two numbers, for black and for full brightness, the first below the second"
    raise InvalidOptionError("contrast_limits", limits, expected)


# ── what is read ─────────────────────────────────────────────────────────────────────────


def plain_unit(unit: Value) -> Value:
    """Return ImageJ's name of a unit as ``resolution_unit`` has it: "um" for its "\\u00B5m"."""
    text = _MICRO.sub("u", unit) if isinstance(unit, str) else unit
    return {"micron": "um", "microns": "um"}.get(text, text)


def imagej_info(
    metadata: Mapping[str, Value],
    axes: str,
    shape: Sequence[int],
    resolution: tuple[float, float],
    color_map: Value = None,
) -> Document:
    """Return what ImageJ says of an image.

    "scale" and "units" are for each axis, "channels" mappings with label, color and window, as
    ``save`` takes them; "plane_labels" are those that are no channel's. "overlays" are ``.roi``
    files in base64, "info" is ImageJ's own text.
    """
    found: dict[str, Any] = {}
    names = axes.lower()
    unit = plain_unit(metadata.get("unit"))
    unit = _UNITS.get(unit, unit)
    interval = _number(metadata, "finterval")
    sizes = {
        "x": 1 / resolution[0] if resolution[0] > 0 else 1.0,
        "y": 1 / resolution[1] if resolution[1] > 0 else 1.0,
        "z": _number(metadata, "spacing") or 1.0,
        "t": interval or 1.0,
    }
    known: dict[str, str | None] = dict.fromkeys("zyx", unit if unit in SPACE_UNITS else None)
    known["t"] = "second" if interval else None
    if resolution != (1.0, 1.0) or known["x"] is not None or interval:
        found["scale"] = [sizes.get(axis, 1.0) for axis in names]
        found["units"] = [known.get(axis) for axis in names]
    found |= {name: metadata[name] for name in ("spacing", "mode") if name in metadata}
    if interval:
        found["interval"] = interval
    count = shape[names.index("c")] if "c" in names else 1
    tables = _listed(metadata, "LUTs")
    if count == 1 and not tables and np.size(color_map) == 3 * 256:
        tables = [np.reshape(color_map, (3, 256)) >> 8]
    channels = _channels(metadata, names, shape, tables, count)
    if any(channels):
        found["channels"] = channels
    labels = _listed(metadata, "Labels")
    if labels and not any("label" in channel for channel in channels):
        found["plane_labels"] = labels
    if isinstance(metadata.get("Info"), str):
        found["info"] = metadata["Info"][:_TEXT_LIMIT]
    if overlays := _listed(metadata, "Overlays"):
        found["overlays"] = [base64.b64encode(roi).decode() for roi in overlays]
    return found


def _number(metadata: Mapping[str, Value], name: str) -> float | None:
    return finite(metadata.get(name))


def _listed(metadata: Mapping[str, Value], name: str) -> list[Value]:
    """Tifffile gives the only value of a list by itself."""
    value = metadata.get(name, [])
    return list(value) if isinstance(value, list | tuple) else [value]


def _channels(
    metadata: Mapping[str, Value],
    names: str,
    shape: Sequence[int],
    tables: list[Value],
    count: int,
) -> list[Document]:
    found: list[dict[str, Any]] = [{} for _ in range(count)]
    ranges = _listed(metadata, "Ranges")
    if len(ranges) != 2 * count:
        low, high = _number(metadata, "min"), _number(metadata, "max")
        ranges = [low, high] if count == 1 and low is not None and high is not None else []
    labels = _labels(_listed(metadata, "Labels"), names, shape, count)
    for number, channel in enumerate(found):
        if labels:
            channel["label"] = labels[number]
        if len(tables) == count and (color := _color(tables[number])):
            channel["color"] = color
        if ranges:
            channel["window"] = {"start": ranges[2 * number], "end": ranges[2 * number + 1]}
    return found


def _color(table: Value) -> str | None:
    """Return the colour of a table that goes evenly from black to it."""
    if np.shape(table) != (3, 256):
        return None
    color = np.asarray(table)[:, -1].astype(np.uint8).tobytes().hex().upper()
    difference = _table(color).astype(int) - np.asarray(table)
    return color if np.abs(difference).max() <= 1 else None


def _labels(
    labels: list[Value], names: str, shape: Sequence[int], count: int
) -> list[str] | None:
    """Return one label for each channel, where all of its planes have the same."""
    planes = names.partition("y")[0]
    counts = [shape[names.index(axis)] for axis in planes]
    if len(labels) != int(np.prod(counts)) or not all(isinstance(n, str) for n in labels):
        return None
    at = np.indices(counts)[planes.index("c")].ravel() if "c" in planes else [0] * len(labels)
    sets: list[set[str]] = [set() for _ in range(count)]
    for label, channel in zip(labels, at, strict=True):
        sets[int(channel)].add(label)
    return [found.pop() for found in sets] if all(len(found) == 1 for found in sets) else None
