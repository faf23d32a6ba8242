"""Write ImageJ's metadata into a TIFF file: axes, calibration, and how channels are shown.

The first description has lines of "key=value". Labels of planes, display ranges, lookup tables and
ROIs are in the tags 50838 and 50839, which tifffile packs. ImageJ's axes are some of T, Z, C, Y,
X, S in this order. It has one unit for z, y and x, and its unit of time is the second.

The line "polystore=" has the rest of the metadata as JSON, and the exact pixel sizes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import (
    Axis,
    Channel,
    ImageMetadata,
    channel_colors,
    finite,
)
from polystore_core.errors import InvalidOptionError

from .units import convert_unit
from .words import note

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from polystore_core import Document, Value

__all__ = ["COLOR_MAP", "SHORT_UNITS", "color_table", "imagej_fields", "with_limits"]

COLOR_MAP = 320
"""The tag with the lookup table of an image of one channel."""
SHORT_UNITS = {
    "micrometer": "um",
    "nanometer": "nm",
    "millimeter": "mm",
    "centimeter": "cm",
    "meter": "m",
    "picometer": "pm",
    "angstrom": "A",
}
_DENSITY_LIMIT = 4e9
"""The tags hold rational numbers of 32 bits."""


def with_limits(image: ImageMetadata, shape: Sequence[int], limits: Value) -> ImageMetadata:
    """Return the metadata with these limits for each channel without a display range.

    Raises:
        InvalidOptionError: ``limits`` is not two numbers, the first below the second.
    """
    given = list(limits) if isinstance(limits, Sequence | np.ndarray) else []
    match [finite(n.item() if isinstance(n, np.generic) else n) for n in given]:
        case [float(low), float(high)] if low < high:
            count = shape[image.names.index("c")] if "c" in image.names else 1
            channels = [
                replace(channel, limits=channel.limits or (low, high))
                for channel in image.channels or (Channel(),) * count
            ]
            return replace(image, channels=tuple(channels))
    expected = "two numbers, for black and for full brightness, the first below the second"
    raise InvalidOptionError("contrast_limits", limits, expected)


def imagej_fields(image: ImageMetadata, array: Value) -> tuple[Document, Document]:
    """Return the pixel density as arguments of ``TiffWriter.write``, and tifffile's metadata."""
    # tifffile would take other axes as y and x, and ImageJ would show another image.
    if not {"y", "x"} <= set(image.names):
        expected = "y and x among the axes, which ImageJ needs"
        raise InvalidOptionError("axes", "".join(image.names), expected)
    fields: dict[str, Any] = {}
    density = _calibrate({axis.name: axis for axis in image.axes}, fields)
    chosen = _set_looks(image, array, fields)
    if len(image.channels) == 1 and image.channels[0].color is not None:
        density["extratags"] = [_color_map(image.channels[0].color)]
    held: set[str] = set()
    if all(channel.name for channel in image.channels):
        held.add("channels.name")
    document = note(image, held) or {}
    if any(chosen):
        document |= {"chosen": chosen}
    if document:
        fields["polystore"] = json.dumps(document)
    return density, fields


def _calibrate(axis_of: dict[str, Axis], fields: Document) -> Document:
    """Set the pixel sizes. In ImageJ, y and x have a size either both or not at all."""
    x, t = axis_of["x"], axis_of.get("t")
    interval = t and t.scale and convert_unit(t.scale, t.unit, "second")
    if interval:
        fields["finterval"] = interval
    sizes = {name: _in_unit(axis_of.get(name), x.unit) for name in "zyx"}
    density = [1 / size for name in "xy" if (size := sizes[name])]
    if len(density) < 2 or not all(1 / _DENSITY_LIMIT < n < _DENSITY_LIMIT for n in density):
        return {}
    # A unit with a line break would start another field of the description.
    if x.unit is not None and x.unit.isprintable() and x.unit.isascii():
        fields["unit"] = SHORT_UNITS.get(x.unit, x.unit)
    if sizes["z"]:
        fields["spacing"] = sizes["z"]
    for name, size in sizes.items():
        axis = axis_of.get(name)
        if axis is not None and axis.scale and size and axis.origin:
            # ImageJ: position = (pixel - origin) * size, so its origin is in pixels.
            fields[f"{name}origin"] = -axis.origin / axis.scale
    return {"resolution": tuple(density)}


def _in_unit(axis: Axis | None, unit: str | None) -> float | None:
    if axis is None or axis.scale is None:
        return None
    return convert_unit(axis.scale, axis.unit, unit)


def _set_looks(image: ImageMetadata, array: Value, fields: Document) -> list[Document]:
    """Set the colours, display ranges and labels of the channels.

    In ImageJ, all channels have a colour and a range, or none. This function chooses the missing
    ones. It returns its choices for each channel, so that they are not loaded as the user's.
    """
    names, channels = image.names, image.channels
    chosen: list[dict[str, Any]] = [{} for _ in channels]
    if len(channels) > 1:
        colors = channel_colors(channels)
        fields["LUTs"] = [color_table(color) for color in colors]
        fields["mode"] = "composite"  # ImageJ's default shows one channel at a time, in grey
        for entry, channel, color in zip(chosen, channels, colors, strict=True):
            if channel.color is None:
                entry["color"] = color
    if any(channel.name for channel in channels):
        planes = names[: names.index("y")]
        counts = [array.shape[names.index(axis)] for axis in planes]
        at = [0] * math.prod(counts)
        if "c" in planes:
            at = np.indices(counts)[planes.index("c")].ravel().tolist()
        fields["Labels"] = [channels[number].name for number in at]
    if any(channel.limits for channel in channels):
        ranges: list[float] = []
        for number, channel in enumerate(channels):
            limits = channel.limits or _extent(array, names, number)
            if channel.limits is None:
                chosen[number]["limits"] = limits
            ranges += limits
        fields["Ranges"] = tuple(ranges)
        fields |= {"min": ranges[0], "max": ranges[1]}
    return chosen


def _color_map(color: str) -> tuple[int, int, int, list[int], bool]:
    """Return the tag with the lookup table of an image of one channel."""
    values = (color_table(color).astype(int) * 257).ravel().tolist()
    return COLOR_MAP, 3, len(values), values, True


def color_table(color: str) -> NDArray[np.uint8]:
    """Return the lookup table that goes evenly from black to RRGGBB, of shape (3, 256)."""
    rgb = np.frombuffer(bytes.fromhex(color), np.uint8).astype(np.float64)
    return np.rint(rgb[:, None] * np.arange(256) / 255).astype(np.uint8)


def _extent(array: Value, names: Sequence[str], number: int) -> tuple[float, float]:
    """Return a display range for a channel without one, if other channels have one."""
    if not isinstance(array, np.ndarray):
        # To find the extent of a lazy array, it would be read twice.
        of_dtype = array.dtype.kind in "iu" and np.iinfo(array.dtype)
        return (float(of_dtype.min), float(of_dtype.max)) if of_dtype else (0.0, 1.0)
    part = array.take(number, axis=names.index("c")) if "c" in names else array
    if part.dtype.kind == "f":
        part = part[np.isfinite(part)]
    return (float(part.min()), float(part.max())) if part.size else (0.0, 1.0)
