"""Metadata of an image as a JSON document, for fields that a format does not have itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .metadata import Axis, Channel, ImageMetadata, Position, finite
from .units import spell_out
from .words import HEX_COLOR

if TYPE_CHECKING:
    from ..values import Document, Value

__all__ = ["metadata_document", "with_document"]

_KINDS = ("intensity", "labels")
_BITS = range(1, 65)


def metadata_document(metadata: ImageMetadata) -> Document:
    """Return the known fields of ``metadata`` as a JSON document.

    Its keys are those of :class:`ImageMetadata`. For example:

        header = json.dumps(metadata_document(image.metadata))
    """
    found: Document = {
        "axes": [{"name": axis.name, **_list_fields(axis)} for axis in metadata.axes]
    }
    if metadata.channels:
        found["channels"] = [_list_fields(channel) for channel in metadata.channels]
    for name in ("name", "kind", "bits"):
        value = getattr(metadata, name)
        if value != _DEFAULT[name]:
            found[name] = value
    if metadata.position is not None:
        found["position"] = _list_fields(metadata.position)
    if metadata.acquired is not None:
        found["acquired"] = metadata.acquired.isoformat()
    return found


def _list_fields(value: Axis | Channel | Position) -> Document:
    """Return the fields that differ from their default, without the type of an axis."""
    return {
        f.name: list(held) if isinstance(held := getattr(value, f.name), tuple) else held
        for f in fields(value)
        if f.name != "type" and getattr(value, f.name) != f.default
    }


_DEFAULT = {f.name: f.default for f in fields(ImageMetadata)}


def with_document(
    metadata: ImageMetadata, document: object, shape: Sequence[int] | None = None
) -> ImageMetadata:
    """Add the fields of a document to ``metadata``, if it does not have them itself.

    A stranger may have written the document, and another program may have changed the image
    afterwards. A part that is malformed, or does not fit the axes, the channels or ``shape``, is
    left out.

    Args:
        metadata: The metadata that is known without the document.
        document: The value of :func:`metadata_document`, or anything else.
        shape: The shape of the array. Without it, the result may have channels or coords that the
            array does not have.
    """
    if not isinstance(document, Mapping):
        return metadata
    changes: dict[str, Any] = {
        "axes": _axes(metadata.axes, document.get("axes"), shape),
        "channels": _channels(metadata, document.get("channels"), shape),
    }
    if not metadata.name and isinstance(document.get("name"), str):
        changes["name"] = document["name"]
    if metadata.kind == "intensity" and document.get("kind") in _KINDS:
        changes["kind"] = document["kind"]
    # type() and not isinstance(), because True is an int.
    bits = document.get("bits")
    if metadata.bits is None and type(bits) is int and bits in _BITS:
        changes["bits"] = bits
    if metadata.position is None:
        changes["position"] = _position(document.get("position"))
    if metadata.acquired is None:
        changes["acquired"] = _moment(document.get("acquired"))
    return replace(metadata, **changes)


def _axes(
    axes: tuple[Axis, ...], found: object, shape: Sequence[int] | None
) -> tuple[Axis, ...]:
    if not isinstance(found, list) or len(found) != len(axes):
        return axes
    lengths = (None,) * len(axes) if shape is None else shape
    return tuple(map(_axis, axes, found, lengths))


def _axis(axis: Axis, entry: object, length: int | None) -> Axis:
    if not isinstance(entry, Mapping) or entry.get("name") != axis.name:
        return axis
    scale, origin = _positive(entry.get("scale")), finite(entry.get("origin"))
    coords = _numbers(entry.get("coords"))
    unit = axis.unit or _unit(entry.get("unit"), axis.type)
    # A format that has only one step and origin for an axis keeps coords in the document.
    if axis.coords is None and coords is not None and _agree(coords, axis, length):
        return replace(axis, unit=unit, scale=scale, origin=origin, coords=coords)
    if axis.scale is not None:
        scale = axis.scale
    if axis.origin is not None:
        origin = axis.origin
    return replace(axis, unit=unit, scale=scale, origin=origin)


def _agree(coords: tuple[float, ...], axis: Axis, length: int | None) -> bool:
    """Return whether ``coords`` agree with the length, the scale and the origin of ``axis``."""
    # If another program has changed the axis after the document was written, the axis is right.
    if not coords or len(coords) != (length or len(coords)):
        return False
    step = (coords[-1] - coords[0]) / max(len(coords) - 1, 1)
    same_step = axis.scale is None or math.isclose(axis.scale, step, rel_tol=1e-6)
    near = 1e-6 * abs(step)
    same_start = axis.origin is None or math.isclose(axis.origin, coords[0], abs_tol=near)
    return same_step and same_start


def _unit(unit: object, kind: str | None) -> str | None:
    return spell_out(unit, kind) if isinstance(unit, str) and unit else None


def _positive(value: object) -> float | None:
    number = finite(value)
    return number if number is not None and number > 0 else None


def _numbers(values: object) -> tuple[float, ...] | None:
    numbers = [finite(value) for value in values] if isinstance(values, list) else [None]
    return None if None in numbers else tuple(n for n in numbers if n is not None)


def _channels(
    metadata: ImageMetadata, found: object, shape: Sequence[int] | None
) -> tuple[Channel, ...]:
    channels, names = metadata.channels, metadata.names
    count = len(channels) or None
    if "c" not in names:
        count = 1
    elif shape is not None:
        count = shape[names.index("c")]
    if not isinstance(found, list) or not found or len(found) != (count or len(found)):
        return channels
    own = channels or (Channel(),) * len(found)
    return tuple(
        _complete_channel(channel, entry) for channel, entry in zip(own, found, strict=True)
    )


def _complete_channel(channel: Channel, entry: object) -> Channel:
    if not isinstance(entry, Mapping):
        return channel
    changes: dict[str, Any] = {}
    for f in fields(channel):
        value = entry.get(f.name)
        # The format itself wins: another program may have changed it after the document.
        if value is None or getattr(channel, f.name) != f.default:
            continue
        if f.name in ("limits", "data_range"):
            pair = _numbers(value)
            if pair is not None and len(pair) == 2 and pair[0] <= pair[1]:
                changes[f.name] = pair
        elif f.name in ("gamma", "excitation_nm", "emission_nm"):
            if (number := _positive(value)) is not None:
                changes[f.name] = number
        elif f.name == "color":
            if isinstance(value, str) and (color := HEX_COLOR.fullmatch(value)):
                changes[f.name] = color[1].upper()
        elif isinstance(value, bool if f.name in ("visible", "inverted") else str):
            changes[f.name] = value
    return replace(channel, **changes)


def _position(found: object) -> Position | None:
    if not isinstance(found, Mapping):
        return None
    changes: dict[str, Any] = {}
    for f in fields(Position):
        value = found.get(f.name)
        if f.name in ("x", "y", "z"):
            changes[f.name] = finite(value)
        elif f.name == "unit":
            changes[f.name] = _unit(value, "space")
        elif isinstance(value, str):
            changes[f.name] = value
    return Position(**changes)


def _moment(text: Value) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
