"""Write OME-XML: sizes, units, channels, position, time and name of an image.

tifffile makes the document. An annotation with the namespace "polystore" has the rest of the
metadata as JSON, and the axes of length 1.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields as fields_of
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import ImageMetadata, Position

from .ome_xml import SIZES, SYMBOLS, time_steps
from .options import support_error
from .words import note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polystore_core import Channel, Document

__all__ = ["ome_fields"]

# Characters that XML 1.0 cannot hold, or changes (line breaks in attributes).
_NOT_XML = re.compile("[\x00-\x1f\ud800-\udfff\ufffe\uffff]")
_CHANNEL = {
    "name": "Name",
    "color": "Color",
    "excitation_nm": "ExcitationWavelength",
    "emission_nm": "EmissionWavelength",
    "fluorophore": "Fluor",
}
"""Fields of a channel, and their attributes in OME-XML."""


def ome_fields(image: ImageMetadata, shape: Sequence[int]) -> Document:
    """Return the metadata argument of tifffile.

    Raises:
        UnsupportedDataError: The axes do not end with yx, yxs or syx.
    """
    names = "".join(image.names)
    if not names.endswith(("yx", "yxs", "syx")):
        ordered = "".join(sorted(names, key=lambda axis: ("yxs".find(axis), axis)))
        raise support_error(
            f"OME-TIFF has y and x as its last axes, or y, x and s, but the axes are {names}: "
            f"save image.transpose({ordered!r})"
        )
    fields: dict[str, Any] = {"Name": image.name if _is_xml(image.name) else ""}
    held = _set_sizes(image, fields)
    if _is_xml(image.name):
        held.add("name")
    if image.bits is not None and image.bits > 0:
        fields["SignificantBits"] = image.bits
        held.add("bits")
    if image.acquired is not None:
        fields["AcquisitionDate"] = image.acquired.isoformat()
        held.add("acquired")
    if image.channels:
        fields["Channel"] = [_channel(channel) for channel in image.channels]
        held |= _find_held(image.channels)
    if planes := _planes(image, shape):
        fields["Plane"] = planes
    place = image.position
    if place is not None and place == Position(
        x=place.x, y=place.y, z=place.z, unit=place.unit
    ):
        held |= {"position"} if "Plane" in fields else set()
    # tifffile drops axes of length 1 when it reads. With the names, they can be put back.
    entries = {} if 1 not in shape[: names.index("y")] else {"axes": names.upper()}
    if (document := note(image, held)) is not None:
        entries["image"] = json.dumps(document)
    if entries:
        fields["MapAnnotation"] = {"Namespace": "polystore", "Value": entries}
    return fields


def _is_xml(text: str) -> bool:
    return not _NOT_XML.search(text)


def _set_sizes(image: ImageMetadata, fields: Document) -> set[str]:
    """Set the sizes that have a unit. In OME's schema, a size without a unit is in µm.

    Returns the fields that the document has exactly.
    """
    # Words that the fields hold exactly are left out of the annotation. If another program
    # changes such a field, its value must win over ours.
    held = {"scale", "unit"}
    if any(axis.origin is not None or axis.coords is not None for axis in image.axes):
        held.clear()  # the annotation has the origin, and must have its unit as well
    for axis in image.axes:
        symbol = SYMBOLS.get(axis.unit or "")
        if axis.name in SIZES and axis.scale is not None and symbol is not None:
            attribute = SIZES[axis.name][0]
            fields |= {attribute: axis.scale, f"{attribute}Unit": symbol}
        elif axis.scale is not None or axis.unit is not None:
            held.clear()  # OME has no place for it, so the annotation has all axes
    return held


def _channel(channel: Channel) -> Document:
    entry: dict[str, Any] = {}
    for word, attribute in _CHANNEL.items():
        value = getattr(channel, word)
        if not value or (isinstance(value, str) and not _is_xml(value)):
            continue
        entry[attribute] = _color_number(value) if word == "color" else value
        if word.endswith("_nm"):
            entry[f"{attribute}Unit"] = "nm"
    return entry


def _find_held(channels: Sequence[Channel]) -> set[str]:
    texts = {word: [getattr(channel, word) or "" for channel in channels] for word in _CHANNEL}
    return {
        f"channels.{word}"
        for word, values in texts.items()
        if all(not isinstance(value, str) or _is_xml(value) for value in values)
    }


def _color_number(color: str) -> int:
    """Return OME's number for RRGGBB: red, green, blue and opacity as a signed integer.

    Opacity is 255. With 0, some viewers show nothing.
    """
    return int.from_bytes(bytes.fromhex(color) + b"\xff", "big", signed=True)


def _planes(image: ImageMetadata, shape: Sequence[int]) -> list[Document]:
    """Return the attributes of each plane: the position, and the time if times are irregular."""
    leading = [name for name in image.names[: image.names.index("y")] if name != "s"]
    counts = [shape[image.names.index(name)] for name in leading]
    place: dict[str, Any] = {}
    if image.position is not None and (image.position.unit or "") in (*SYMBOLS, ""):
        symbol = SYMBOLS.get(image.position.unit or "")
        for field in fields_of(Position):
            value = getattr(image.position, field.name)
            if field.name in ("x", "y", "z") and value is not None:
                attribute = f"Position{field.name.upper()}"
                place |= {attribute: value}
                place |= {f"{attribute}Unit": symbol} if symbol else {}
    t = next((axis for axis in image.axes if axis.name == "t"), None)
    times = None if t is None or t.unit not in SYMBOLS else t.coords
    if times is not None and time_steps(times)[2] is None:
        times = None
    if not place and times is None:
        return []
    planes = []
    for index in np.ndindex(*counts):
        at = dict(zip(leading, index, strict=True))
        # PositionZ is the stage at the first plane of a stack. The other planes are above it.
        plane = {key: value for key, value in place.items() if key[8] != "Z" or not at.get("z")}
        if times is not None and t is not None:
            plane |= {"DeltaT": times[at["t"]], "DeltaTUnit": SYMBOLS[t.unit or ""]}
        planes.append(plane)
    return planes
