"""What a caller and an image say of its looks, checked and in the words of a message."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import Channel, by_axis, channel_colors, finite, image_metadata
from polystore_core.errors import InvalidOptionError, UnsupportedDataError

from .layout import encodable
from .seen import (
    arrange,
    named_as_shown,
    pack_words,
    shown_names,
    shown_size,
    shown_unit,
    with_limits,
    without_wide_limits,
)

if TYPE_CHECKING:
    from polystore_core import ImageMetadata

__all__ = ["FORMAT", "About", "Look", "look_of"]

FORMAT = "stream"
"""The name of the format in errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a caller says about an image besides its pixels: see ``StreamSink.save``."""

    labels: bool = False
    axes: str | Sequence[str] | None = None
    scale: Sequence[float] | Mapping[str, float] | None = None
    units: str | Mapping[str, str] | None = None
    channels: Sequence[str | Mapping[str, Any]] | None = None
    colormap: str | None = None
    contrast_limits: Sequence[float] | None = None

    @property
    def given(self) -> list[str]:
        """Names of what is said: an array among it has no answer to ``==``."""
        return [
            name for name in self.__slots__ if getattr(self, name) is not getattr(_PLAIN, name)
        ]


_PLAIN = Look()


@dataclass(frozen=True, slots=True)
class About:
    """What a message says of the looks of an image."""

    axes: str
    order: tuple[int, ...] | None = None
    """How the array must be transposed for them."""
    labels: bool = False
    scale: tuple[float, ...] = ()
    units: tuple[str | None, ...] = ()
    channels: tuple[Channel, ...] = ()
    contrast_limits: tuple[float, float] | None = None
    words: str = ""


def look_of(
    shape: tuple[int, ...], dtype: str, look: Look, words: ImageMetadata | None
) -> About:
    """Return what is said of an image by a caller, else by its own words.

    Raises ``UnsupportedDataError`` and ``InvalidOptionError`` for an image that no viewer shows.
    """
    if look.given:
        return _about(shape, dtype, look, words)
    try:
        return _plain(shape, dtype, words)
    except TypeError:  # words that a caller has made with lists have no hash
        return _about(shape, dtype, _PLAIN, words)


@functools.lru_cache(maxsize=256)
def _plain(shape: tuple[int, ...], dtype: str, words: ImageMetadata | None) -> About:
    return _about(shape, dtype, _PLAIN, words)


def _about(
    shape: tuple[int, ...], dtype: str, look: Look, words: ImageMetadata | None
) -> About:
    try:
        order, own = _own_words(shape, np.dtype(dtype), look, words)
        if order is not None and words is not None:
            shape = tuple([shape[at] for at in order])
            look = replace(look, scale=by_axis(look.scale, shown_names(words.names)))
        found = _found(shape, np.dtype(dtype), look, own)
    except UnsupportedDataError as error:
        error.format = FORMAT
        raise
    names = "".join(found.names)
    has_samples = names.endswith("s")
    if look.colormap is not None and (has_samples or not _is_printable(look.colormap)):
        expected = "the name of a colormap, for an image that is not RGB"
        raise InvalidOptionError("colormap", look.colormap, expected)
    scale, units = _sizes(found, look)
    limits = _limits(look.contrast_limits)
    return About(
        axes=names,
        order=order,
        labels=found.kind == "labels",
        scale=scale,
        units=units,
        channels=_channels(found),
        contrast_limits=limits,
        words=pack_words(
            with_limits(found, shape, limits),
            found if own is None or look.axes is not None else own,
        ),
    )


def _own_words(
    shape: tuple[int, ...], dtype: np.dtype[Any], look: Look, words: ImageMetadata | None
) -> tuple[tuple[int, ...] | None, ImageMetadata | None]:
    """Return the order in which a viewer has the axes, and what the image says in it."""
    if words is None:
        return None, None
    order = None
    if look.axes is None:
        order, words = arrange(shape, dtype, words)
    words = without_wide_limits(words, dtype)
    if dtype.kind not in "ui":  # numbers that were computed from labels
        words = words.without({"kind"})
    return order, words


def _found(
    shape: tuple[int, ...], dtype: np.dtype[Any], look: Look, words: ImageMetadata | None
) -> ImageMetadata:
    """Return all that is said of the image, in the names of axes that viewers know."""
    if words is not None and look.axes is None:
        words = named_as_shown(words, shape, dtype)
    return image_metadata(
        shape,
        dtype,
        axes=look.axes,
        scale=look.scale,
        units=look.units,
        channels=look.channels,
        label=look.labels or (words is not None and words.kind == "labels"),
        like=words,
    )


def _sizes(
    found: ImageMetadata, look: Look
) -> tuple[tuple[float, ...], tuple[str | None, ...]]:
    """Return scale and units: empty where nothing is said of them, and a viewer keeps its own.

    A unit without a size is left out unless the caller gives it. A viewer would show one
    micrometer where the size is unknown.
    """
    planes = [axis for axis in found.axes if axis.name != "s"]
    sizes = [shown_size(axis) for axis in planes]
    units = [
        shown_unit(axis) if size or look.units is not None else None
        for axis, size in zip(planes, sizes, strict=True)
    ]
    has_scale = look.scale is not None or any(sizes)
    has_units = look.units is not None or any(units)
    return (
        tuple([size or 1.0 for size in sizes]) if has_scale else (),
        tuple(units) if has_units else (),
    )


def _channels(found: ImageMetadata) -> tuple[Channel, ...]:
    # The only channel of an image needs no colour.
    alone = len(found.channels) == 1
    colors = [found.channels[0].color] if alone else channel_colors(found.channels)
    return tuple(map(_shown, found.channels, colors))


def _shown(channel: Channel, color: str | None) -> Channel:
    """Return the words of a channel that a viewer shows: those of its optics stay in ``words``."""
    limits = channel.limits
    return Channel(
        name=encodable(channel.name),
        color=color,
        limits=limits if limits is not None and limits[0] < limits[1] else None,
        data_range=channel.data_range,
        visible=channel.visible,
        gamma=channel.gamma,
        inverted=channel.inverted,
    )


def _is_printable(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()  # lone surrogates are not


def _limits(limits: Any) -> tuple[float, float] | None:
    if limits is None:
        return None
    given = limits.tolist() if isinstance(limits, np.ndarray) else limits
    given = given if isinstance(given, Sequence) and len(given) == 2 else ()
    match [finite(n.item() if isinstance(n, np.generic) else n) for n in given]:
        case [float(low), float(high)] if low < high:
            return low, high
    expected = "two finite numbers, the lower one first, such as (0, 255)"
    raise InvalidOptionError("contrast_limits", limits, expected)
