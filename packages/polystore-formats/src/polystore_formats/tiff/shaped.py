"""What our plain TIFF files say of an image: the words themselves, in tifffile's JSON description.

tifffile names files with such a description "shaped". The pixel size is in the tags as well, for
other programs. Nothing is read from these: printers have resolutions too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polystore_core import AXIS_TYPES, image_metadata
from polystore_core.errors import PolystoreError

from .words import image_words, known_sizes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from polystore_core import Channel, Document, Pixels, Value

__all__ = ["shaped_fields", "shaped_info"]

_WORDS = ("scale", "units", "channels")
_CENTIMETERS = {
    "picometer": 1e-10,
    "nanometer": 1e-7,
    "micrometer": 1e-4,
    "millimeter": 0.1,
    "centimeter": 1.0,
    "meter": 100.0,
}
_DENSITY_LIMIT = 4e9
"""The tags hold rational numbers of 32 bits."""


def shaped_fields(
    array: Pixels,
    names: str,
    *,
    scale: Value = None,
    units: Value = None,
    channels: Value = None,
) -> tuple[Document, Document]:
    """Return the pixel density as arguments of ``TiffWriter.write``, and tifffile's metadata.

    Options are those of :func:`polystore_core.image_metadata`. Raises ``InvalidOptionError``.
    """
    found = image_words(array, names, scale=scale, units=units, channels=channels)
    fields: dict[str, Any] = {}
    sizes = known_sizes(found, scale, units)
    unit_of = {axis.name: axis.unit for axis in found.axes if axis.name in sizes}
    if sizes:
        fields["scale"] = [sizes.get(axis, 1.0) for axis in names]
        fields["units"] = [unit_of.get(axis) for axis in names]
    if channels is not None:
        fields["channels"] = [_entry(channel) for channel in found.channels]
    return _density(sizes, unit_of), fields


def _entry(channel: Channel) -> Document:
    entry: dict[str, Any] = {"label": channel.name}
    if channel.color is not None:
        entry["color"] = channel.color
    low, high = channel.data_range or (None, None)
    start, end = channel.limits or (None, None)
    window = {"min": low, "max": high, "start": start, "end": end}
    if window := {key: value for key, value in window.items() if value is not None}:
        entry["window"] = window
    return entry if channel.visible else entry | {"active": False}


def _density(sizes: Mapping[str, float], unit_of: Mapping[str, str | None]) -> Document:
    density = [
        1 / (sizes[axis] * _CENTIMETERS[unit])
        for axis in "xy"
        if axis in sizes and (unit := unit_of[axis] or "") in _CENTIMETERS
    ]
    if len(density) < 2 or not all(1 / _DENSITY_LIMIT < n < _DENSITY_LIMIT for n in density):
        return {}
    return {"resolution": tuple(density), "resolutionunit": "centimeter"}


def shaped_info(metadata: Mapping[str, Value], shape: Sequence[int], dtype: Value) -> Document:
    """Return scale, units and channels as ``save`` takes them, if they are in ``metadata``."""
    words = {word: metadata[word] for word in _WORDS if word in metadata}
    axes = metadata.get("axes")
    if not words or not isinstance(axes, str) or len(axes) != len(shape):
        return {}
    shape_of = {axis: n for axis, n in zip(axes.lower(), shape, strict=True) if axis != "s"}
    ordered = [axis for axis in AXIS_TYPES if axis in shape_of]
    try:
        by_axis: dict[str, Any] = {
            word: dict(zip(axes.lower(), words[word], strict=True))
            for word in ("scale", "units")
            if word in words
        }
        for values in by_axis.values():
            values.pop("s", None)
        if "units" in by_axis:
            by_axis["units"].pop("c", None)
        image_metadata(
            [shape_of[axis] for axis in ordered],
            dtype,
            axes=ordered,
            channels=words.get("channels"),
            **by_axis,
        )
    except (PolystoreError, TypeError, ValueError):
        return {}  # another program means something else by these words
    return words
