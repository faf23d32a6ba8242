"""Read OME-XML. In OME's schema, a size without a unit is in µm, a time in s."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from polystore_core import (
    SPACE_UNITS,
    TIME_UNITS,
    Axis,
    Channel,
    ImageMetadata,
    Position,
    finite,
)

from .units import convert_unit
from .words import CACHED, CACHED_BYTES, bare_axes, recall

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from xml.etree.ElementTree import Element

    from polystore_core import Document

__all__ = ["SIZES", "SYMBOLS", "ome_image", "ome_pixels", "ome_resolution", "time_steps"]

_PREFIXES = (*"yzafpnµmcd", "", *"hkMGTPEZY")
"""The prefixes of units, in the order of ``SPACE_UNITS`` and ``TIME_UNITS``."""
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
SYMBOLS: dict[str | None, str] = {unit: short for short, unit in (_LENGTHS | _TIMES).items()}
"""OME's names of units."""
SIZES = {
    "t": ("TimeIncrement", "s", _TIMES),
    "z": ("PhysicalSizeZ", "µm", _LENGTHS),
    "y": ("PhysicalSizeY", "µm", _LENGTHS),
    "x": ("PhysicalSizeX", "µm", _LENGTHS),
}
"""For each axis: its attribute of ``Pixels``, the default unit, and the possible units."""
_RESOLUTION_UNITS = {"µm": "um", "in": "inch"}
_SAME = str.maketrans({"\u03bc": "µ", "\u212b": "Å"})  # two code points with the same look
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,10}\s*")
_JITTER = 1e-3
"""Times are regular if each differs from an even step by at most this part of the step."""


def ome_pixels(text: str, number: int = 0) -> tuple[Element, Element, Element] | None:
    """Return the document, and the elements ``Image`` and ``Pixels`` with this number.

    Returns ``None`` if the text is not XML, or has no such image.
    """
    try:
        root = ElementTree.fromstring(text)  # expat loads no external entities
    except ElementTree.ParseError:
        return None  # tifffile still finds the pixels in some of these
    images = _children(root, "Image")[number : number + 1]
    pixels = _children(images[0], "Pixels") if images else []
    return (root, images[0], pixels[0]) if pixels else None


def _children(parent: Element, name: str) -> list[Element]:
    return [child for child in parent if child.tag.rpartition("}")[2] == name]


def ome_image(
    text: str, names: tuple[str, ...], shape: tuple[int, ...], number: int = 0
) -> ImageMetadata:
    """Return the metadata of an image of a document. Leave out attributes that are not valid."""
    read = _image if len(text) <= CACHED_BYTES else _image.__wrapped__
    return read(text, names, shape, number)


@functools.lru_cache(maxsize=CACHED)
def _image(
    text: str, names: tuple[str, ...], shape: tuple[int, ...], number: int
) -> ImageMetadata:
    found = ome_pixels(text, number)
    if found is None:
        return ImageMetadata(axes=bare_axes(names))
    root, image, pixels = found
    planes = _children(pixels, "Plane")
    channels = tuple(map(_channel, _children(pixels, "Channel")))
    count = shape[names.index("c")] if "c" in names else 1
    # A Channel can have several samples (RGB), so that there are fewer than indices of c.
    if len(channels) != count or all(channel == Channel() for channel in channels):
        channels = ()
    words = ImageMetadata(
        axes=tuple(
            _axis(axis, pixels, planes, length)
            for axis, length in zip(bare_axes(names), shape, strict=True)
        ),
        channels=channels,
        name=image.get("Name", ""),
        bits=_integer(pixels.get("SignificantBits")) or None,
        position=_position(planes[0]) if planes else None,
        acquired=_date(image),
    )
    return recall(words, _document(root), shape) if number == 0 else words


def _axis(axis: Axis, pixels: Element, planes: list[Element], length: int) -> Axis:
    size = _size(pixels, axis.name)
    if size is not None:
        axis = replace(axis, scale=size[0], unit=size[1])
    return _add_times(axis, planes, length) if axis.name == "t" else axis


def _size(pixels: Element, axis: str) -> tuple[float, str] | None:
    """Return the pixel size along ``axis`` and its unit, or ``None`` if the file has none."""
    attribute, default, units = SIZES.get(axis, ("", "", {}))
    unit = units.get(pixels.get(f"{attribute}Unit", default).translate(_SAME))
    size = _positive(pixels.get(attribute))
    return None if size is None or unit is None else (size, unit)


def _add_times(axis: Axis, planes: list[Element], length: int) -> Axis:
    """Return the axis with the times of the planes of z = 0 and c = 0, if the file has them all."""
    found: dict[int, float] = {}
    units = {plane.get("DeltaTUnit", "s") for plane in planes if plane.get("DeltaT")}
    unit = _TIMES.get(units.pop().translate(_SAME)) if len(units) == 1 else None
    for plane in planes:
        at, time = _integer(plane.get("TheT")), _number(plane.get("DeltaT"))
        if {plane.get("TheC", "0"), plane.get("TheZ", "0")} != {"0"}:
            continue
        if at is not None and time is not None:
            same = convert_unit(time, unit, axis.unit or unit)
            if same is not None:
                found.setdefault(at, same)
    # Some planes without a time: nothing is made up for them.
    if unit is None or length < 2 or found.keys() != set(range(length)):
        return axis
    scale, origin, coords = time_steps([found[at] for at in range(length)])
    axis = replace(axis, unit=axis.unit or unit, coords=coords)
    if axis.scale is not None or coords is not None:
        return axis
    return replace(axis, scale=scale, origin=origin or None)


def time_steps(
    times: Sequence[float],
) -> tuple[float | None, float | None, tuple[float, ...] | None]:
    """Return the step and the first time of regular times, or else all times as coordinates."""
    step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
    is_regular = step > 0 and all(
        abs(time - (times[0] + number * step)) <= _JITTER * step
        for number, time in enumerate(times)
    )
    return (step, times[0], None) if is_regular else (None, None, tuple(times))


def _position(plane: Element) -> Position | None:
    places = {axis: _number(plane.get(f"Position{axis.upper()}")) for axis in "xyz"}
    known = [axis for axis, place in places.items() if place is not None]
    if not known:
        return None
    unit_of = {
        axis: _LENGTHS.get(plane.get(f"Position{axis.upper()}Unit", "").translate(_SAME))
        for axis in known
    }
    unit = unit_of[known[0]]
    same = {axis: convert_unit(places[axis] or 0.0, unit_of[axis], unit) for axis in known}
    return Position(x=same.get("x"), y=same.get("y"), z=same.get("z"), unit=unit)


def _channel(element: Element) -> Channel:
    color = element.get("Color", "")
    return Channel(
        name=element.get("Name", ""),
        # The last byte is opacity. Many files have 0 there, and mean a visible colour.
        color=f"{int(color) & 0xFFFFFFFF:08X}"[:6] if _INTEGER.fullmatch(color) else None,
        excitation_nm=_wavelength(element, "Excitation"),
        emission_nm=_wavelength(element, "Emission"),
        fluorophore=element.get("Fluor") or None,
    )


def _wavelength(element: Element, kind: str) -> float | None:
    length = _positive(element.get(f"{kind}Wavelength"))
    unit = _LENGTHS.get(element.get(f"{kind}WavelengthUnit", "nm").translate(_SAME))
    return None if length is None else convert_unit(length, unit, "nanometer")


def _date(image: Element) -> datetime | None:
    element = next(iter(_children(image, "AcquisitionDate")), None)
    try:
        return (
            datetime.fromisoformat((element.text or "").strip())
            if element is not None
            else None
        )
    except ValueError:
        return None


def _document(root: Element) -> Mapping[str, Any] | None:
    """Return the metadata in our annotation, or ``None`` if there is none."""
    path = ("StructuredAnnotations", "MapAnnotation", "Value", "M")
    found = [root]
    for name in path:
        found = [child for parent in found for child in _children(parent, name)]
        if name == "MapAnnotation":
            found = [child for child in found if child.get("Namespace") == "polystore"]
    entries = [entry.text or "" for entry in found if entry.get("K") == "image"]
    return _parse_document(entries[0]) if entries else None


def _parse_document(text: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _number(text: str | None) -> float | None:
    try:
        return finite(float(text or ""))
    except ValueError:
        return None


def _positive(text: str | None) -> float | None:
    number = _number(text)
    return number if number is not None and number > 0 else None


def _integer(text: str | None) -> int | None:
    return int(text) if text and _INTEGER.fullmatch(text) else None


def ome_resolution(pixels: Element) -> Document:
    """Return ``resolution`` and ``resolution_unit`` in the form of the options of ``save``."""
    x, y = (_positive(pixels.get(f"PhysicalSize{axis}")) for axis in "XY")
    if x is None or y is None:
        return {}
    unit = pixels.get("PhysicalSizeXUnit", "µm")
    return {"resolution": (1 / x, 1 / y), "resolution_unit": _RESOLUTION_UNITS.get(unit, unit)}
