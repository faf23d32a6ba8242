"""The metadata of an image, between the options of ``Tiff.save``, the file and ``Tiff.info``.

ImageJ, OME and plain files write it in different ways. Metadata without a field is in a document
of our own, next to the fields. Reading begins with the fields, because another program may have
changed them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from polystore_core import (
    AXIS_TYPES,
    SPACE_UNITS,
    TIME_UNITS,
    Axis,
    Channel,
    ImageMetadata,
    by_axis,
    image_metadata,
    metadata_document,
    with_document,
)
from polystore_core.errors import InvalidOptionError

from .units import convert_unit

if TYPE_CHECKING:
    import numpy as np

    from polystore_core import Document, Position, Value

__all__ = [
    "CACHED",
    "CACHED_BYTES",
    "axis_names",
    "bare_axes",
    "image_words",
    "note",
    "recall",
    "tell",
]

CACHED, CACHED_BYTES = 16, 1 << 18
"""The number of descriptions in each cache, and the most bytes of one. The files of an experiment
have equal descriptions, and parsing one can take longer than reading the pixels."""
_CLOSE = 1e-9
"""Two sizes are the same if they differ by this part. TIFF tags are fractions of 32 bits."""


# ── from a caller ────────────────────────────────────────────────────────────────────────


def axis_names(
    shape: Sequence[int], axes: Sequence[str] | None, channels: Value, samples: int | None
) -> tuple[str, ...]:
    """Return the name of each axis.

    Args:
        shape: the shape of the array.
        axes: names of the caller.
        channels: the option ``channels``, which decides between cyx and zyx.
        samples: the axis of colours, -1 or -3.

    Raises:
        InvalidOptionError: More than 3 axes have no names, so their meaning is not clear.
    """
    if axes is not None:
        names = list(axes)
        # Colour samples in one page are not channels: viewers show them as one picture.
        if samples is not None and names[samples] == "c":
            names[samples] = "s"
        return tuple(names)
    count = len(channels) if isinstance(channels, Sequence) else -1
    # With four dimensions, tzyx, tcyx and zcyx are equally likely, so nothing is guessed.
    stacks = {2: "yx", 3: "cyx" if count == shape[0] else "zyx"}
    planes = stacks.get(len(shape) - (samples is not None))
    if planes is None:
        expected = f"names for {len(shape)} dimensions, such as 'tzcyx'"
        raise InvalidOptionError("axes", axes, expected)
    if samples is None:
        return tuple(planes)
    return tuple(f"{planes}s" if samples == -1 else f"{planes[:-2]}syx")


def bare_axes(names: Sequence[str]) -> tuple[Axis, ...]:
    """Return axes with these names, and nothing else known."""
    return tuple([Axis(name, AXIS_TYPES.get(name)) for name in names])


def image_words(
    shape: Sequence[int],
    dtype: np.dtype[Value],
    names: tuple[str, ...],
    *,
    like: ImageMetadata | None = None,
    scale: Value = None,
    units: Value = None,
    channels: Value = None,
) -> ImageMetadata:
    """Return the metadata of an array with the axes ``names``.

    The options are those of :func:`polystore_core.image_metadata`, but the axes can be in any
    order. Axes that images do not have are accepted if no other option is given.

    Raises:
        InvalidOptionError: An option does not fit the array.
    """
    planes = [name for name in names if name != "s"]
    ordered = [axis for axis in AXIS_TYPES if axis in planes]
    shape_of = dict(zip(names, shape, strict=True))
    if len(ordered) < len(planes) or not {"y", "x"} <= shape_of.keys():
        if (scale, units, channels) != (None, None, None):
            expected = "some of t, c, z, y, x and s, which scale=, units= and channels= need"
            raise InvalidOptionError("axes", "".join(names), expected)
        if like is None or like.names != names:
            return ImageMetadata(axes=bare_axes(names))
        return image_metadata(shape, dtype, like=like, any_axes=True)
    found = image_metadata(
        [shape_of[axis] for axis in ordered],
        dtype,
        axes=ordered,
        scale=by_axis(scale, names),
        units=units,
        channels=channels,
        like=like,
    )
    axis_of = {axis.name: axis for axis in (*found.axes, Axis("s", "sample"))}
    return replace(found, axes=tuple([axis_of[name] for name in names]))


# ── to a caller ──────────────────────────────────────────────────────────────────────────


def tell(image: ImageMetadata, *, has_labels: bool = True) -> Document:
    """Return the known scale, units and channels in the form of the options of ``save``.

    Args:
        image: the metadata. A pixel size that is not known becomes 1, without a unit.
        has_labels: whether a channel without a name gets the label "".
    """
    found: dict[str, Any] = {}
    if any(size is not None for size in image.scale):
        found["scale"] = [1.0 if size is None else size for size in image.scale]
        found["units"] = [axis.unit if axis.scale is not None else None for axis in image.axes]
    if any(channel != Channel() for channel in image.channels):
        found["channels"] = [_entry(channel, has_labels) for channel in image.channels]
    return found


def _entry(channel: Channel, has_labels: bool) -> Document:
    entry: dict[str, Any] = {}
    if channel.name or has_labels:
        entry["label"] = channel.name
    if channel.color is not None:
        entry["color"] = channel.color
    low, high = channel.data_range or (None, None)
    start, end = channel.limits or (None, None)
    window = {"min": low, "max": high, "start": start, "end": end}
    if window := {key: value for key, value in window.items() if value is not None}:
        entry["window"] = window
    return entry if channel.visible else entry | {"active": False}


# ── from a file ──────────────────────────────────────────────────────────────────────────


def note(image: ImageMetadata, held: set[str]) -> Document | None:
    """Return the document with the metadata that the fields of the file do not hold.

    Args:
        image: the metadata.
        held: the names of metadata that the fields hold exactly.
    """
    rest = image.without(held)
    if all(channel == Channel() for channel in image.channels):
        # A file cannot have fields of channels about which nothing is known.
        rest = replace(rest, channels=image.channels)
    return metadata_document(rest) if rest.words() or rest.channels else None


def recall(found: ImageMetadata, document: Value, shape: Sequence[int]) -> ImageMetadata:
    """Complete the metadata in the fields of a file with that of our ``document``.

    If both have the same value for an axis or a position, the document is used, because it is more
    exact. If another program has changed the size of an axis, its entry in the document is ignored.
    """
    if not isinstance(document, Mapping):
        return found
    bare = ImageMetadata(axes=bare_axes(found.names))
    known = {key: document.get(key) for key in ("axes", "position")}
    noted = with_document(bare, known, shape)
    axes: list[Axis] = []
    entries: list[Value] = []
    given = document.get("axes")
    given = given if isinstance(given, list) and len(given) == len(noted.axes) else []
    for axis, exact, entry in zip(found.axes, noted.axes, given, strict=False):
        is_same = axis.scale is None or _is_close(axis.scale, axis, exact.scale, exact)
        # with_document fills only empty fields, so the field is emptied for the exact value.
        if is_same and axis.scale is not None:
            origin = axis.origin
            if origin is not None and _is_close(origin, axis, exact.origin, exact):
                origin = None
            axis = replace(axis, unit=None, scale=None, origin=origin)
        axes.append(axis)
        entries.append(entry if is_same else {})
    # OME-XML has one unit for a position, so equal numbers mean that it has not moved.
    place, exact_place = found.position, noted.position
    if place and exact_place and _coordinates(place) == _coordinates(exact_place):
        place = None
    opened = replace(found, axes=(*axes, *found.axes[len(axes) :]), position=place)
    return with_document(opened, {**document, "axes": entries}, shape)


def _coordinates(place: Position) -> tuple[float | None, ...]:
    return place.x, place.y, place.z


def _is_close(number: float, axis: Axis, other: float | None, of: Axis) -> bool:
    """Return whether a number of ``axis`` equals one of another axis, as exactly as tags are."""
    unit = axis.unit
    if unit is None and of.unit not in SPACE_UNITS + TIME_UNITS:
        unit = of.unit  # no field has such a unit, so only the document can have it
    same = None if other is None else convert_unit(other, of.unit, unit)
    tolerance = _CLOSE * (axis.scale or 0.0)
    return same is not None and math.isclose(number, same, rel_tol=_CLOSE, abs_tol=tolerance)
