"""What OME-XML says of an image: pixel size, units, channels with names and colours.

tifffile writes the document. A size without a unit is in µm, or in seconds, by OME's schema.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from polystore_core import SPACE_UNITS, TIME_UNITS, finite
from polystore_core.errors import InvalidOptionError

from .words import image_words, known_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from xml.etree.ElementTree import Element

    from polystore_core import Document, Pixels, Value

__all__ = ["all_axes", "ome_fields", "ome_info", "ome_pixels", "ome_resolution"]

_PREFIXES = (*"yzafpnµmcd", "", *"hkMGTPEZY")
"""Of units, in the order of ``SPACE_UNITS`` and ``TIME_UNITS``."""
_LENGTHS = {f"{short}m": unit for short, unit in zip(_PREFIXES, SPACE_UNITS, strict=False)} | {
    "Å": "angstrom",
    "ft": "foot",
    "in": "inch",
    "mi": "mile",
    "pc": "parsec",
    "yd": "yard",
}
_TIMES = {f"{short}s": unit for short, unit in zip(_PREFIXES, TIME_UNITS, strict=False)} | {
    "d": "day",
    "h": "hour",
    "min": "minute",
}
_SYMBOLS = {unit: short for short, unit in (_LENGTHS | _TIMES).items()}
_SIZES = {
    "t": ("TimeIncrement", "s", _TIMES),
    "z": ("PhysicalSizeZ", "µm", _LENGTHS),
    "y": ("PhysicalSizeY", "µm", _LENGTHS),
    "x": ("PhysicalSizeX", "µm", _LENGTHS),
}
"""Attributes of ``Pixels``, the unit that they have by default, and the units they may have."""
_RESOLUTION_UNITS = {"µm": "um", "in": "inch"}
_SAME = str.maketrans({"\u03bc": "µ", "\u212b": "Å"})
_NOT_XML = re.compile("[\x00-\x1f\ud800-\udfff\ufffe\uffff]")
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,10}\s*")


# ── what is written ──────────────────────────────────────────────────────────────────────


def ome_fields(
    array: Pixels,
    names: str,
    *,
    scale: Value = None,
    units: Value = None,
    channels: Value = None,
) -> Document:
    """Return tifffile's metadata for the words of :func:`polystore_core.image_metadata`.

    Raises ``InvalidOptionError`` for what OME-XML does not store: a size without a unit, and
    how a channel is shown but for its colour.
    """
    found = image_words(array, names, scale=scale, units=units, channels=channels)
    unit_of = {axis.name: axis.unit for axis in found.axes}
    fields: dict[str, Any] = {}
    for axis, size in known_sizes(found, scale, units).items():
        unit = unit_of[axis]
        if axis not in _SIZES:
            fault = f"scale has {size:g} for {axis}, but channels have no distance: give 1"
            raise InvalidOptionError("scale", scale, "1 for c", fault)
        if unit is None:
            fault = (
                f"scale has {size:g} for {axis}, but units has no unit for it: OME-XML stores "
                "no size without one. Add it to units=, or save as plain .tif with ome=False"
            )
            raise InvalidOptionError("scale", scale, "a unit for each size", fault)
        attribute = _SIZES[axis][0]
        fields |= {attribute: size, f"{attribute}Unit": _SYMBOLS[unit]}
    if channels is not None:
        entries = []
        for channel in found.channels:
            if channel.limits is not None or not channel.visible:
                fault = (
                    f"channel {channel.name!r} has a window or is not active, which OME-XML "
                    "does not store: leave it out, or save as plain .tif with ome=False"
                )
                raise InvalidOptionError("channels", channels, "no window", fault)
            if _NOT_XML.search(channel.name):
                expected = "labels without control characters, which XML does not have"
                raise InvalidOptionError("channels", channel.name, expected)
            entries.append(
                ({"Name": channel.name} if channel.name else {})
                | ({"Color": _signed(channel.color)} if channel.color else {})
            )
        fields["Channel"] = entries
    return fields


def all_axes(letters: str, shape: Sequence[int]) -> Document:
    """Return an annotation with the axes, if one has length 1: readers of OME drop these."""
    if 1 not in shape[: letters.find("Y")]:
        return {}
    return {"MapAnnotation": {"Namespace": "polystore", "Value": {"axes": letters}}}


def _signed(color: str) -> int:
    """Return OME's number for RRGGBB: red, green, blue and opacity as a signed integer."""
    return int.from_bytes(bytes.fromhex(color) + b"\xff", "big", signed=True)


# ── what is read ─────────────────────────────────────────────────────────────────────────


def ome_pixels(text: str) -> Element | None:
    """Return the first ``Pixels`` of a document, ``None`` where it is not XML."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None  # tifffile reads some of these, without the words
    return next(_elements(root, "Pixels"), None)


def _elements(parent: Element, name: str) -> Any:
    return (element for element in parent.iter() if element.tag.rpartition("}")[2] == name)


def ome_info(pixels: Element, names: str, shape: Sequence[int]) -> Document:
    """Return scale and units of each axis, and channels: as ``save`` takes them."""
    found: dict[str, Any] = {}
    sizes = {axis: size for axis in names if (size := _size(pixels, axis)) is not None}
    if sizes:
        found["scale"] = [sizes[axis][0] if axis in sizes else 1.0 for axis in names]
        found["units"] = [sizes[axis][1] if axis in sizes else None for axis in names]
    channels = [_channel(element) for element in _elements(pixels, "Channel")]
    count = shape[names.index("c")] if "c" in names else 1
    if len(channels) == count and any(channels):
        found["channels"] = [{"label": "", **channel} for channel in channels]
    return found


def _size(pixels: Element, axis: str) -> tuple[float, str] | None:
    """Return size and unit along ``axis``; ``None`` where the file does not tell."""
    attribute, default, units = _SIZES.get(axis, ("", "", {}))
    unit = units.get(pixels.get(f"{attribute}Unit", default).translate(_SAME))
    size = _number(pixels.get(attribute))
    return None if size is None or unit is None else (size, unit)


def _number(text: str | None) -> float | None:
    try:
        number = finite(float(text or ""))
    except ValueError:
        return None
    return number if number is not None and number > 0 else None


def _channel(element: Element) -> Document:
    found: dict[str, Any] = {}
    if name := element.get("Name"):
        found["label"] = name
    color = element.get("Color", "")
    if _INTEGER.fullmatch(color):
        found["color"] = f"{int(color) & 0xFFFFFFFF:08X}"[:6]
    return found


def ome_resolution(pixels: Element) -> Document:
    """Return ``resolution`` and ``resolution_unit``, as ``save`` takes them."""
    x, y = (_number(pixels.get(f"PhysicalSize{axis}")) for axis in "XY")
    if x is None or y is None:
        return {}
    unit = pixels.get("PhysicalSizeXUnit", "µm")
    return {"resolution": (1 / x, 1 / y), "resolution_unit": _RESOLUTION_UNITS.get(unit, unit)}
