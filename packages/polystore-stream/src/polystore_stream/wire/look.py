"""Check the options and the metadata of an image, and convert them to fields of a message."""

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
    choose_names,
    drop_wide_limits,
    find_size,
    find_unit,
    pack_words,
    rename_axes,
    with_limits,
)

if TYPE_CHECKING:
    from polystore_core import ImageMetadata

__all__ = ["FORMAT", "About", "Look", "look_of"]

FORMAT = "stream"
"""The name of the format in errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The options of a caller for an image. See ``StreamSink.save``."""

    labels: bool = False
    axes: str | Sequence[str] | None = None
    scale: Sequence[float] | Mapping[str, float] | None = None
    units: str | Mapping[str, str] | None = None
    channels: Sequence[str | Mapping[str, Any]] | None = None
    colormap: str | None = None
    contrast_limits: Sequence[float] | None = None

    @property
    def given(self) -> list[str]:
        """Names of the options that differ from their defaults."""
        # Compare with ``is``: ``==`` of an array does not give one answer.
        return [
            name for name in self.__slots__ if getattr(self, name) is not getattr(_PLAIN, name)
        ]


_PLAIN = Look()


@dataclass(frozen=True, slots=True)
class About:
    """The fields of a message about the look of an image."""

    axes: str
    order: tuple[int, ...] | None = None
    """Order in which the array must be transposed to have these axes."""
    labels: bool = False
    scale: tuple[float, ...] = ()
    units: tuple[str | None, ...] = ()
    channels: tuple[Channel, ...] = ()
    contrast_limits: tuple[float, float] | None = None
    words: str = ""


def look_of(
    shape: tuple[int, ...], dtype: str, look: Look, words: ImageMetadata | None
) -> About:
    """Return the fields for an image, from the caller's options and the image's metadata.

    Args:
        shape: Shape of the array.
        dtype: Element type as NumPy writes it, such as "<u2".
        look: Options of the caller. They replace the metadata.
        words: Metadata of the image, or ``None``.

    Raises:
        UnsupportedDataError: No viewer can show the image.
        InvalidOptionError: An option is wrong.
    """
    if look.given:
        return _describe_look(shape, dtype, look, words)
    try:
        return _plain(shape, dtype, words)
    except TypeError:  # a caller's metadata with lists cannot be hashed for the cache
        return _describe_look(shape, dtype, _PLAIN, words)


@functools.lru_cache(maxsize=256)
def _plain(shape: tuple[int, ...], dtype: str, words: ImageMetadata | None) -> About:
    return _describe_look(shape, dtype, _PLAIN, words)


def _describe_look(
    shape: tuple[int, ...], dtype: str, look: Look, words: ImageMetadata | None
) -> About:
    try:
        order, own = _find_own_words(shape, np.dtype(dtype), look, words)
        if order is not None and words is not None:
            shape = tuple([shape[at] for at in order])
            look = replace(look, scale=by_axis(look.scale, choose_names(words.names)))
        found = _find_words(shape, np.dtype(dtype), look, own)
    except UnsupportedDataError as error:
        error.format = FORMAT
        raise
    names = "".join(found.names)
    has_samples = names.endswith("s")
    if look.colormap is not None and (has_samples or not _is_printable(look.colormap)):
        expected = "the name of a colormap, and an image that is not RGB"
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


def _find_own_words(
    shape: tuple[int, ...], dtype: np.dtype[Any], look: Look, words: ImageMetadata | None
) -> tuple[tuple[int, ...] | None, ImageMetadata | None]:
    """Return the order in which a viewer has the axes, and the image's metadata in that order."""
    if words is None:
        return None, None
    order = None
    if look.axes is None:
        order, words = arrange(shape, dtype, words)
    words = drop_wide_limits(words, dtype)
    if dtype.kind not in "ui":  # floats that were computed from labels are not labels
        words = words.without({"kind"})
    return order, words


def _find_words(
    shape: tuple[int, ...], dtype: np.dtype[Any], look: Look, words: ImageMetadata | None
) -> ImageMetadata:
    """Return the metadata from options and image, with the axis names that viewers know."""
    if words is not None and look.axes is None:
        words = rename_axes(words, shape, dtype)
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
    """Return scale and units. Each is empty if it is unknown, and the viewer keeps its own.

    A unit without a size is left out unless the caller gives it. Otherwise a viewer would show a
    pixel size of one micrometer for an unknown size.
    """
    planes = [axis for axis in found.axes if axis.name != "s"]
    sizes = [find_size(axis) for axis in planes]
    units = [
        find_unit(axis) if size or look.units is not None else None
        for axis, size in zip(planes, sizes, strict=True)
    ]
    has_scale = look.scale is not None or any(sizes)
    has_units = look.units is not None or any(units)
    return (
        tuple([size or 1.0 for size in sizes]) if has_scale else (),
        tuple(units) if has_units else (),
    )


def _channels(found: ImageMetadata) -> tuple[Channel, ...]:
    # A single channel does not need a colour to tell it from others.
    alone = len(found.channels) == 1
    colors = [found.channels[0].color] if alone else channel_colors(found.channels)
    return tuple(map(_reduce_channel, found.channels, colors))


def _reduce_channel(channel: Channel, color: str | None) -> Channel:
    """Return the part of a channel's metadata that viewers show. ``words`` has all of it."""
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
    return isinstance(value, str) and value.isprintable()  # False for lone surrogates


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
