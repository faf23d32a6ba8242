"""From a value and what is said about it to a message: all that can be refused is refused here."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import numpy as np

from polystore_core import array_and_words, channel_colors, finite, image_metadata, to_numpy
from polystore_core.errors import InvalidOptionError, UnsupportedDataError
from polystore_core.rois import ROI, Area

from .layout import encodable
from .messages import DTYPES, Channel, Image, Policy, RoiEncoding, Rois, Wait
from .seen import (
    arrange,
    pack_words,
    shown_size,
    shown_unit,
    with_limits,
    without_wide_limits,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from polystore_core import ImageMetadata

    from .layout import Place

__all__ = ["Encoding", "Look", "check_policy", "check_wait", "described"]

Described: TypeAlias = "tuple[Image | Rois, NDArray[Any]]"

_FORMAT = "stream"


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


def check_wait(wait: Wait | None) -> None:
    """Raise ``InvalidOptionError`` for anything but "received", "shown" and ``None``."""
    if wait is not None and wait not in get_args(Wait):
        raise InvalidOptionError("wait", wait, "'received', 'shown' or None")


def check_policy(policy: Policy) -> None:
    if policy not in get_args(Policy):
        raise InvalidOptionError("policy", policy, f"one of {', '.join(get_args(Policy))}")


class Encoding:
    """What a value is on its way: the viewers' own types are for those that have others."""

    def pixels(self, pixels: NDArray[Any], axes: str, labels: bool) -> NDArray[Any]:
        """Return pixels of a type that the viewer has. Raises ``UnsupportedDataError``."""
        return pixels

    def rois(self, rois: Sequence[ROI]) -> tuple[RoiEncoding, bytes]:
        """Return a payload, and what it is called."""
        document = json.dumps([roi.to_dict() for roi in rois], separators=(",", ":"))
        return "json", document.encode("utf-8")


_SHARED = Encoding()


def described(
    data: Any,
    path: str | os.PathLike[str],
    place: Place,
    look: Look,
    split_channels: bool,
    encoding: Encoding | None = None,
) -> Described:
    """Return the message for a value, and its pixels (of ROIs: what they are encoded as).

    The words of an Image or a DataArray hold where ``look`` does not say another. If
    ``split_channels`` is true, each channel of the array is a layer.

    Raises ``UnsupportedDataError`` and ``InvalidOptionError`` for a value that no viewer shows.
    """
    encoding = encoding or _SHARED
    text = _text(path)
    if not isinstance(look.labels, bool):
        raise InvalidOptionError("labels", look.labels, "True or False")
    if isinstance(data, ROI) or (isinstance(data, list | tuple) and all(map(_is_roi, data))):
        rois = [data] if isinstance(data, ROI) else data
        _check_only_labels(look)
        return _rois(rois, text, place, look.labels, encoding)
    array, words = array_and_words(data)
    pixels = to_numpy(array)
    dtype = _plain_dtype(pixels.dtype)
    if not pixels.ndim or not pixels.size:
        raise UnsupportedDataError(
            f"shape {pixels.shape} has no axes or no pixels: save an array with at least one pixel",
            _FORMAT,
        )
    about = _look_of(pixels.shape, dtype, look, words)
    if about.order is not None:
        pixels = pixels.transpose(about.order)
    if pixels.dtype.str != dtype:
        pixels = pixels.astype(dtype)
    sent = encoding.pixels(pixels, about.axes, about.labels)
    image = Image(
        path=text,
        nbytes=sent.nbytes,
        window=place.window,
        layer=place.layer,
        title=place.title,
        at=place.at,
        channel=place.channel,
        group=place.group,
        group_title=place.group_title,
        shape=sent.shape,
        dtype=sent.dtype.str,
        original="" if sent.dtype == pixels.dtype else dtype,
        axes=about.axes,
        layers="c" if split_channels and "c" in about.axes else "",
        labels=about.labels,
        scale=about.scale,
        units=about.units,
        channels=about.channels,
        colormap=look.colormap,
        contrast_limits=about.contrast_limits,
        words=about.words,
    )
    return image, sent


def _is_roi(value: object) -> bool:
    return isinstance(value, ROI)


def _text(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    if not isinstance(text, str) or not text:
        raise InvalidOptionError("path", path, "a non-empty str or os.PathLike")
    return encodable(text)


def _rois(
    rois: Sequence[ROI], path: str, place: Place, labels: bool, encoding: Encoding
) -> Described:
    for roi in rois if labels else ():
        if not isinstance(roi.shape, Area):
            kind = type(roi.shape).__name__
            raise UnsupportedDataError(
                f"labels=True fills areas, and a {kind} has no area", _FORMAT
            )
    name, content = encoding.rois(rois)
    payload = np.frombuffer(content or b"\0", np.uint8)
    message = Rois(
        path=path,
        nbytes=payload.nbytes,
        window=place.window,
        layer=place.layer,
        title=place.title,
        at=place.at,
        count=len(rois),
        labels=labels,
        encoding=name,
    )
    return message, payload


def _check_only_labels(look: Look) -> None:
    for name in look.given:
        if name != "labels":
            expected = "no value for ROIs: only images have this option"
            raise InvalidOptionError(name, getattr(look, name), expected)


def _plain_dtype(dtype: np.dtype[Any]) -> str:
    text = dtype.newbyteorder("<").str
    if text in DTYPES:
        return text
    kind = dtype.kind
    if kind == "c":
        advice = "show np.abs(…), np.angle(…) or .real"
    elif kind == "f":
        advice = "convert it with .astype('float64')"
    elif dtype.names:
        advice = "show one field of it"
    else:
        advice = "convert them to bool, integers or floats"
    raise UnsupportedDataError(f"viewers do not show pixels of {dtype}: {advice}", _FORMAT)


@dataclass(frozen=True, slots=True)
class _About:
    axes: str
    order: tuple[int, ...] | None = None
    """How the array must be transposed for them."""
    labels: bool = False
    scale: tuple[float, ...] = ()
    units: tuple[str | None, ...] = ()
    channels: tuple[Channel, ...] = ()
    contrast_limits: tuple[float, float] | None = None
    words: str = ""


def _look_of(
    shape: tuple[int, ...], dtype: str, look: Look, words: ImageMetadata | None
) -> _About:
    if look.given:
        return _about(shape, dtype, look, words)
    try:
        return _plain(shape, dtype, words)
    except TypeError:  # words that a caller has made with lists have no hash
        return _about(shape, dtype, _PLAIN, words)


@functools.lru_cache(maxsize=256)
def _plain(shape: tuple[int, ...], dtype: str, words: ImageMetadata | None) -> _About:
    return _about(shape, dtype, _PLAIN, words)


def _about(
    shape: tuple[int, ...], dtype: str, look: Look, words: ImageMetadata | None
) -> _About:
    try:
        order, found = _found(shape, np.dtype(dtype), look, words)
        shape = shape if order is None else tuple([shape[at] for at in order])
    except UnsupportedDataError as error:
        error.format = _FORMAT
        raise
    names = "".join(found.names)
    has_samples = names.endswith("s")
    if look.colormap is not None and (has_samples or not _is_printable(look.colormap)):
        expected = "the name of a colormap, for an image that is not RGB"
        raise InvalidOptionError("colormap", look.colormap, expected)
    scale, units = _sizes(found, look)
    limits = _limits(look.contrast_limits)
    return _About(
        axes=names,
        order=order,
        labels=found.kind == "labels",
        scale=scale,
        units=units,
        channels=_channels(found),
        contrast_limits=limits,
        words=pack_words(with_limits(found, shape, limits)),
    )


def _found(
    shape: tuple[int, ...], dtype: np.dtype[Any], look: Look, words: ImageMetadata | None
) -> tuple[tuple[int, ...] | None, ImageMetadata]:
    """Return the order in which a viewer has the axes, and all that is said of the image."""
    order = None
    if words is not None and look.axes is None:
        order, words = arrange(shape, dtype, words)
    if words is not None:
        words = without_wide_limits(words, dtype)
        if dtype.kind not in "ui":  # numbers that were computed from labels
            words = words.without({"kind"})
    return order, image_metadata(
        shape if order is None else [shape[at] for at in order],
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
    return tuple(
        Channel(label=encodable(channel.name), color=color, window=_window(channel.limits))
        for channel, color in zip(found.channels, colors, strict=True)
    )


def _window(limits: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return limits that a viewer can show: between two equal ones is no intensity."""
    return limits if limits is not None and limits[0] < limits[1] else None


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
