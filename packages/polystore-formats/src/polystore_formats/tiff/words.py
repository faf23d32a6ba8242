"""The words of an image, between the options of ``Tiff.save``, the file and ``Tiff.info``.

ImageJ, OME and plain files write them in different ways. Each puts the words that it has no field
for into a document of our own, next to its fields. Reading begins with the fields: another program
may have changed them.
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
"""So many descriptions are parsed once, if they have at most so many bytes: loading an image costs
little more than its pixels, and files of one experiment say the same."""
_CLOSE = 1e-9
"""A size is the same after a TIFF tag, which is a fraction of 32-bit integers, up to so much."""


# ── from a caller ────────────────────────────────────────────────────────────────────────


def axis_names(
    shape: Sequence[int], axes: Sequence[str] | None, channels: Value, samples: int | None
) -> tuple[str, ...]:
    """Return the name of each axis; ``samples`` is the axis of colours, -1 or -3.

    Raises ``InvalidOptionError`` for more than 3 axes without names, because there is a choice.
    """
    if axes is not None:
        names = list(axes)
        if samples is not None and names[samples] == "c":
            names[samples] = "s"
        return tuple(names)
    count = len(channels) if isinstance(channels, Sequence) else -1
    stacks = {2: "yx", 3: "cyx" if count == shape[0] else "zyx"}
    planes = stacks.get(len(shape) - (samples is not None))
    if planes is None:
        expected = f"names for {len(shape)} dimensions, such as 'tzcyx'"
        raise InvalidOptionError("axes", axes, expected)
    if samples is None:
        return tuple(planes)
    return tuple(f"{planes}s" if samples == -1 else f"{planes[:-2]}syx")


def bare_axes(names: Sequence[str]) -> tuple[Axis, ...]:
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
    """Return the words of an array with the axes ``names``, checked.

    Options are those of :func:`polystore_core.image_metadata`, but the axes have any order. Axes
    that no image has are accepted without options. Raises ``InvalidOptionError``.
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
    """Return scale, units and channels as ``save`` takes them, as far as they are known.

    A size that is not known is 1, without a unit. ``has_labels``: a channel without a name has
    the label "".
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
    """Return the document of the words that are not ``held`` by fields of the file."""
    rest = image.without(held)
    if all(channel == Channel() for channel in image.channels):
        rest = replace(
            rest, channels=image.channels
        )  # fields do not hold that nothing is known
    return metadata_document(rest) if rest.words() or rest.channels else None


def recall(found: ImageMetadata, document: Value, shape: Sequence[int]) -> ImageMetadata:
    """Complete the words in the fields of a file by those of our ``document``.

    Where both say the same of an axis or a position, the document is more exact. Where another
    program has changed the size of an axis, the document says nothing of this axis.
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
        if is_same and axis.scale is not None:
            origin = axis.origin
            if origin is not None and _is_close(origin, axis, exact.origin, exact):
                origin = None
            axis = replace(axis, unit=None, scale=None, origin=origin)
        axes.append(axis)
        entries.append(entry if is_same else {})
    place, exact_place = found.position, noted.position
    if place and exact_place and _coordinates(place) == _coordinates(exact_place):
        place = None
    opened = replace(found, axes=(*axes, *found.axes[len(axes) :]), position=place)
    return with_document(opened, {**document, "axes": entries}, shape)


def _coordinates(place: Position) -> tuple[float | None, ...]:
    return place.x, place.y, place.z


def _is_close(number: float, axis: Axis, other: float | None, of: Axis) -> bool:
    """Whether a number of ``axis`` is the same as that of another, up to its precision."""
    unit = axis.unit
    if unit is None and of.unit not in SPACE_UNITS + TIME_UNITS:
        unit = of.unit  # it is not read from fields, only from the document
    same = None if other is None else convert_unit(other, of.unit, unit)
    tolerance = _CLOSE * (axis.scale or 0.0)
    return same is not None and math.isclose(number, same, rel_tol=_CLOSE, abs_tol=tolerance)
