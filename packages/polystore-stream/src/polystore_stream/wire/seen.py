"""Convert the metadata of an image for a viewer, and convert a viewer's answer back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import (
    AXIS_TYPES,
    SPACE_UNITS,
    TIME_UNITS,
    Axis,
    Channel,
    ImageMetadata,
    image_metadata,
    metadata_document,
    with_document,
)
from polystore_core.errors import DamagedDataError, InvalidOptionError, UnsupportedDataError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "arrange",
    "choose_names",
    "drop_wide_limits",
    "find_size",
    "find_unit",
    "pack_words",
    "read_held_words",
    "rename_axes",
    "with_limits",
]

_ORDER = "".join(AXIS_TYPES)
_UNITS = {"space": SPACE_UNITS, "time": TIME_UNITS}


def arrange(
    shape: tuple[int, ...], dtype: np.dtype[Any], words: ImageMetadata
) -> tuple[tuple[int, ...] | None, ImageMetadata]:
    """Return the order in which a viewer has the axes, and the metadata in that order.

    The order is ``None`` if the axes have it already, or cannot have it.
    """
    names = choose_names(words.names)
    if {"y", "x"} <= set(names) <= AXIS_TYPES.keys():
        order = tuple(sorted(range(len(names)), key=lambda at: _ORDER.index(names[at])))
        if _is_possible([shape[at] for at in order], dtype, [names[at] for at in order]):
            return (
                (None, words)
                if list(order) == sorted(order)
                else (order, words.transpose(order))
            )
    return None, words


def choose_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of axes that viewers know. An unknown axis becomes z, or t if z is taken.

    Two unknown axes become t and z. If there are more, the names stay as they are.
    """
    unknown = [name for name in names if name not in AXIS_TYPES]
    free = [letter for letter in "tz" if letter not in names]
    if not {"y", "x"} <= set(names) or len(unknown) > len(free):
        return names
    letters = dict(zip(reversed(unknown), reversed(free), strict=False))
    return tuple([letters.get(name, name) for name in names])


def rename_axes(
    words: ImageMetadata, shape: Sequence[int], dtype: np.dtype[Any]
) -> ImageMetadata:
    """Return the metadata with names of axes that viewers know.

    Viewing does not need exact metadata. If the names cannot be mapped, the image gets the names
    of an array without metadata. An axis that keeps its name keeps its scale and unit, too.
    """
    names = choose_names(words.names)
    if not {"y", "x"} <= set(names) <= AXIS_TYPES.keys() or not _is_possible(
        shape, dtype, names
    ):
        names = image_metadata(shape, dtype).names
    if names == words.names:
        return words
    axes = [
        axis if axis.name == name else Axis(name, AXIS_TYPES[name])
        for axis, name in zip(words.axes, names, strict=True)
    ]
    channels = words.channels if _have_same_c(words.names, names) else ()
    return replace(words, axes=tuple(axes), channels=channels)


def _have_same_c(names: Sequence[str], others: Sequence[str]) -> bool:
    return [name == "c" for name in names] == [name == "c" for name in others]


def _is_possible(shape: Sequence[int], dtype: np.dtype[Any], names: Sequence[str]) -> bool:
    try:
        image_metadata(shape, dtype, axes=names)
    except (InvalidOptionError, UnsupportedDataError):
        return False
    return True


def drop_wide_limits(words: ImageMetadata, dtype: np.dtype[Any]) -> ImageMetadata:
    """Drop display limits that span the whole range of a type of more than 8 bits.

    Programs write them if no limits were chosen, and the image would look black.
    """
    if dtype.kind not in "ui" or dtype.itemsize == 1 or not words.channels:
        return words
    whole = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    channels = [replace(c, limits=None) if c.limits == whole else c for c in words.channels]
    return replace(words, channels=tuple(channels))


def with_limits(
    words: ImageMetadata, shape: Sequence[int], limits: tuple[float, float] | None
) -> ImageMetadata:
    """Return the metadata of an image with ``limits`` as the display range of all channels."""
    names = words.names
    if limits is None or words.kind == "labels" or names[-1] == "s":
        return words
    count = shape[names.index("c")] if "c" in names else 1
    channels = words.channels or (Channel(),) * count
    return replace(words, channels=tuple([replace(c, limits=limits) for c in channels]))


def find_size(axis: Axis) -> float | None:
    """Return the pixel size along an axis. For irregular coordinates, return the mean distance."""
    return axis.scale if axis.coords is None else _mean_step(axis.coords)


def find_unit(axis: Axis) -> str | None:
    """Return the unit of an axis, or ``None`` if viewers do not know it."""
    return axis.unit if axis.unit in _UNITS.get(axis.type or "", ()) else None


def _mean_step(coords: Sequence[float]) -> float | None:
    step = (coords[-1] - coords[0]) / (len(coords) - 1) if len(coords) > 1 else 0.0
    return step if step > 0 else None


# ── there and back ───────────────────────────────────────────────────────────────────────


def pack_words(shown: ImageMetadata, own: ImageMetadata) -> str:
    """Return all metadata as JSON, which a viewer keeps unread. "" if there is nothing to say.

    The axes have the names of ``own``, because a viewer may show them by other names.
    """
    words = replace(
        shown,
        axes=tuple(map(_own_axis, shown.axes, own.axes)),
        channels=shown.channels or own.channels,
    )
    has_words = words.words() or any(channel != Channel() for channel in words.channels)
    if not has_words and words.names == shown.names:
        return ""
    return json.dumps(metadata_document(words), separators=(",", ":"))


def _own_axis(shown: Axis, own: Axis) -> Axis:
    if shown.name == own.name:
        return shown
    says_nothing = shown == Axis(shown.name, shown.type)
    return own if says_nothing else replace(shown, name=own.name, type=own.type)


def read_held_words(answer: Any, shape: Sequence[int]) -> ImageMetadata:
    """Return the metadata in a viewer's answer to "pixels", with the changes of its user.

    ``shape`` is the shape of the pixels. Raises ``DamagedDataError``.
    """
    try:
        axes = tuple(Axis(letter, AXIS_TYPES[letter]) for letter in answer["axes"])
        words = json.loads(answer.get("words") or "null")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"the viewer's answer does not say what the axes are: {answer!r:.200}"
        raise DamagedDataError(reason, "message") from error
    if len(axes) != len(shape):
        raise DamagedDataError(f"axes {answer['axes']!r} do not fit shape {shape}", "message")
    # Apply the changes first: with_document fills only metadata that is not set yet.
    changed = with_document(ImageMetadata(axes=axes), answer.get("changes"), shape)
    return with_document(_rename_changes(changed, words), words, shape)


def _rename_changes(changed: ImageMetadata, words: Any) -> ImageMetadata:
    """Return the user's changes with the image's own names of axes."""
    try:
        names = [str(entry["name"]) for entry in words["axes"]]
    except (KeyError, TypeError):  # the image has no metadata
        return changed
    if len(names) != len(changed.axes) or len({*names}) < len(names):  # not written by us
        return changed
    axes = [
        axis if axis.name == name else replace(axis, name=name, type=AXIS_TYPES.get(name))
        for axis, name in zip(changed.axes, names, strict=True)
    ]
    channels = changed.channels if _have_same_c(names, changed.names) else ()
    return replace(changed, axes=tuple(axes), channels=channels)
