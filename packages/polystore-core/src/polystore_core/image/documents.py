"""Metadata as a JSON object, for the words that a format has no place of its own for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..errors import PolystoreError
from .metadata import Axis, Channel, ImageMetadata, Position, finite

if TYPE_CHECKING:
    from ..values import Document, Value

__all__ = ["metadata_document", "with_document"]

_KINDS = ("intensity", "labels")


def metadata_document(metadata: ImageMetadata) -> Document:
    """Return what ``metadata`` says, without what is unknown: keys as in :class:`ImageMetadata`."""
    found: Document = {"axes": [{"name": axis.name, **_spoken(axis)} for axis in metadata.axes]}
    channels = [_spoken(channel) for channel in metadata.channels]
    if any(channels):
        found["channels"] = channels
    for name in ("name", "kind", "bits"):
        value = getattr(metadata, name)
        if value != _DEFAULT[name]:
            found[name] = value
    if metadata.position is not None:
        found["position"] = _spoken(metadata.position)
    if metadata.acquired is not None:
        found["acquired"] = metadata.acquired.isoformat()
    return found


def _spoken(value: Axis | Channel | Position) -> Document:
    """Return the fields with another value than the default, but for the type of an axis."""
    return {
        f.name: list(held) if isinstance(held := getattr(value, f.name), tuple) else held
        for f in fields(value)
        if f.name != "type" and getattr(value, f.name) != f.default
    }


_DEFAULT = {f.name: f.default for f in fields(ImageMetadata)}


def with_document(metadata: ImageMetadata, document: object) -> ImageMetadata:
    """Return ``metadata`` with the words of a document that it does not have itself.

    A stranger may have written the document, and another program may have changed the image
    since: a part that is malformed, or does not fit the axes or channels, is left out.
    """
    if not isinstance(document, Mapping):
        return metadata
    changes: dict[str, Any] = {
        "axes": _axes(metadata.axes, document.get("axes")),
        "channels": _channels(metadata, document.get("channels")),
    }
    if not metadata.name and isinstance(document.get("name"), str):
        changes["name"] = document["name"]
    if metadata.kind == "intensity" and document.get("kind") in _KINDS:
        changes["kind"] = document["kind"]
    if metadata.bits is None and type(document.get("bits")) is int:
        changes["bits"] = document["bits"]
    if metadata.position is None:
        changes["position"] = _position(document.get("position"))
    if metadata.acquired is None:
        changes["acquired"] = _moment(document.get("acquired"))
    try:
        return replace(metadata, **changes)
    except PolystoreError:
        return metadata


def _axes(axes: tuple[Axis, ...], found: object) -> tuple[Axis, ...]:
    if not isinstance(found, list) or len(found) != len(axes):
        return axes
    return tuple(_axis(axis, entry) for axis, entry in zip(axes, found, strict=True))


def _axis(axis: Axis, entry: object) -> Axis:
    if not isinstance(entry, Mapping) or entry.get("name", axis.name) != axis.name:
        return axis
    unit, scale, origin = axis.unit, axis.scale, axis.origin
    if unit is None and isinstance(entry.get("unit"), str):
        unit = entry["unit"]
    if scale is None and (size := finite(entry.get("scale"))) is not None and size > 0:
        scale = size
    if origin is None:
        origin = finite(entry.get("origin"))
    coords = axis.coords or _numbers(entry.get("coords"))
    return replace(axis, unit=unit, scale=scale, origin=origin, coords=coords)


def _numbers(values: object) -> tuple[float, ...] | None:
    numbers = [finite(value) for value in values] if isinstance(values, list) else [None]
    return None if None in numbers else tuple(n for n in numbers if n is not None)


def _channels(metadata: ImageMetadata, found: object) -> tuple[Channel, ...]:
    channels = metadata.channels
    if not isinstance(found, list) or not found or (channels and len(channels) != len(found)):
        return channels
    own = channels or (Channel(),) * len(found)
    return tuple(_completed(channel, entry) for channel, entry in zip(own, found, strict=True))


def _completed(channel: Channel, entry: object) -> Channel:
    if not isinstance(entry, Mapping):
        return channel
    changes: dict[str, Any] = {}
    for f in fields(channel):
        value = entry.get(f.name)
        if value is None or getattr(channel, f.name) != f.default:
            continue
        if f.name in ("limits", "data_range"):
            pair = _numbers(value)
            if pair is not None and len(pair) == 2 and pair[0] <= pair[1]:
                changes[f.name] = pair
        elif f.name in ("gamma", "excitation_nm", "emission_nm"):
            if (number := finite(value)) is not None and number > 0:
                changes[f.name] = number
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
        elif isinstance(value, str):
            changes[f.name] = value
    return Position(**changes)


def _moment(text: Value) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
