"""The words of an image that a viewer can show, and the way of all of them there and back."""

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
    "held_words",
    "named_as_shown",
    "pack_words",
    "shown_names",
    "shown_size",
    "shown_unit",
    "with_limits",
    "without_wide_limits",
]

_ORDER = "".join(AXIS_TYPES)
_UNITS = {"space": SPACE_UNITS, "time": TIME_UNITS}


def arrange(
    shape: tuple[int, ...], dtype: np.dtype[Any], words: ImageMetadata
) -> tuple[tuple[int, ...] | None, ImageMetadata]:
    """Return the order in which a viewer has the axes, if that is another, and the words of it."""
    names = shown_names(words.names)
    if {"y", "x"} <= set(names) <= AXIS_TYPES.keys():
        order = tuple(sorted(range(len(names)), key=lambda at: _ORDER.index(names[at])))
        if _is_possible([shape[at] for at in order], dtype, [names[at] for at in order]):
            return (
                (None, words)
                if list(order) == sorted(order)
                else (order, words.transpose(order))
            )
    return None, words


def shown_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that viewers know axes by: an unknown axis is z, or t if z is taken.

    Two unknown axes are t and z. If there are more, the names are returned as they are.
    """
    unknown = [name for name in names if name not in AXIS_TYPES]
    free = [letter for letter in "tz" if letter not in names]
    if not {"y", "x"} <= set(names) or len(unknown) > len(free):
        return names
    letters = dict(zip(reversed(unknown), reversed(free), strict=False))
    return tuple([letters.get(name, name) for name in names])


def named_as_shown(
    words: ImageMetadata, shape: Sequence[int], dtype: np.dtype[Any]
) -> ImageMetadata:
    """Return the words in the names of axes that viewers know.

    To view an image is not to store it: if a viewer does not know some axes, the image is shown as
    an array without names would be. The axes that have the same place there keep their words.
    """
    names = shown_names(words.names)
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


def without_wide_limits(words: ImageMetadata, dtype: np.dtype[Any]) -> ImageMetadata:
    """Leave out limits of the whole range of more than 8 bits: nobody has chosen them."""
    if dtype.kind not in "ui" or dtype.itemsize == 1 or not words.channels:
        return words
    whole = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    channels = [replace(c, limits=None) if c.limits == whole else c for c in words.channels]
    return replace(words, channels=tuple(channels))


def with_limits(
    words: ImageMetadata, shape: Sequence[int], limits: tuple[float, float] | None
) -> ImageMetadata:
    """Return the words of an image whose channels are all shown with ``limits``."""
    names = words.names
    if limits is None or words.kind == "labels" or names[-1] == "s":
        return words
    count = shape[names.index("c")] if "c" in names else 1
    channels = words.channels or (Channel(),) * count
    return replace(words, channels=tuple([replace(c, limits=limits) for c in channels]))


def shown_size(axis: Axis) -> float | None:
    """Return the size of a pixel along an axis: of irregular coords their mean distance."""
    return axis.scale if axis.coords is None else _mean_step(axis.coords)


def shown_unit(axis: Axis) -> str | None:
    """Return the unit of an axis if viewers know it."""
    return axis.unit if axis.unit in _UNITS.get(axis.type or "", ()) else None


def _mean_step(coords: Sequence[float]) -> float | None:
    step = (coords[-1] - coords[0]) / (len(coords) - 1) if len(coords) > 1 else 0.0
    return step if step > 0 else None


# ── there and back ───────────────────────────────────────────────────────────────────────


def pack_words(shown: ImageMetadata, own: ImageMetadata) -> str:
    """Return all words as JSON, which a viewer keeps unread; "" if there are none.

    Axes have the names of ``own``: a viewer shows some by other names.
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


def held_words(answer: Any, shape: Sequence[int]) -> ImageMetadata:
    """Return the words of a viewer's answer to "pixels": as saved, but for its user's changes.

    ``shape`` is that of the pixels.

    Raises ``DamagedDataError``.
    """
    try:
        axes = tuple(Axis(letter, AXIS_TYPES[letter]) for letter in answer["axes"])
        words = json.loads(answer.get("words") or "null")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"the viewer's answer does not say what the axes are: {answer!r:.200}"
        raise DamagedDataError(reason, "message") from error
    if len(axes) != len(shape):
        raise DamagedDataError(f"axes {answer['axes']!r} do not fit shape {shape}", "message")
    # The changes come first: the image's own words fill only what is left.
    changed = with_document(ImageMetadata(axes=axes), answer.get("changes"), shape)
    return with_document(_renamed(changed, words), words, shape)


def _renamed(changed: ImageMetadata, words: Any) -> ImageMetadata:
    """Return the user's changes in the image's own names of axes."""
    try:
        names = [str(entry["name"]) for entry in words["axes"]]
    except (KeyError, TypeError):  # there are no words
        return changed
    if len(names) != len(changed.axes) or len({*names}) < len(names):  # a stranger's
        return changed
    axes = [
        axis if axis.name == name else replace(axis, name=name, type=AXIS_TYPES.get(name))
        for axis, name in zip(changed.axes, names, strict=True)
    ]
    channels = changed.channels if _have_same_c(names, changed.names) else ()
    return replace(changed, axes=tuple(axes), channels=channels)
