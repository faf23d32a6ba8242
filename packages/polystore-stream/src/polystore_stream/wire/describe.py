"""From a value and what is said about it to a message: all that can be refused is refused here."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import numpy as np

from polystore_core import channel_colors, finite, image_metadata, to_numpy
from polystore_core.errors import InvalidOptionError, UnsupportedDataError
from polystore_core.rois import ROI, Area

from .layout import encodable
from .messages import DTYPES, Channel, Image, Policy, RoiEncoding, Rois, Wait

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .layout import Place

__all__ = ["Encoding", "Look", "check_policy", "check_wait", "described"]

Described: TypeAlias = "tuple[Image | Rois, NDArray[Any]]"

_FORMAT = "stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a caller says about an image beside its pixels: see ``StreamSink.save``."""

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

    ``split_channels``: each channel of the array is a layer. Raises ``UnsupportedDataError``
    and ``InvalidOptionError`` for what no viewer shows.
    """
    encoding = encoding or _SHARED
    text = _text(path)
    if not isinstance(look.labels, bool):
        raise InvalidOptionError("labels", look.labels, "True or False")
    if isinstance(data, ROI) or (isinstance(data, list | tuple) and all(map(_is_roi, data))):
        rois = [data] if isinstance(data, ROI) else data
        _check_only_labels(look)
        return _rois(rois, text, place, look.labels, encoding)
    pixels = to_numpy(data)
    dtype = _plain_dtype(pixels.dtype)
    if not pixels.ndim or not pixels.size:
        raise UnsupportedDataError(
            f"shape {pixels.shape} has no axes or no pixels: save an array with at least one pixel",
            _FORMAT,
        )
    about = _about(pixels.shape, dtype, look) if look.given else _plain(pixels.shape, dtype)
    if pixels.dtype.str != dtype:
        pixels = pixels.astype(dtype)
    sent = encoding.pixels(pixels, about.axes, look.labels)
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
        labels=look.labels,
        scale=about.scale,
        units=about.units,
        channels=about.channels,
        colormap=look.colormap,
        contrast_limits=about.contrast_limits,
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
    scale: tuple[float, ...] = ()
    units: tuple[str | None, ...] = ()
    channels: tuple[Channel, ...] = ()
    contrast_limits: tuple[float, float] | None = None


@functools.lru_cache(maxsize=256)
def _plain(shape: tuple[int, ...], dtype: str) -> _About:
    return _about(shape, dtype, _PLAIN)


def _about(shape: tuple[int, ...], dtype: str, look: Look) -> _About:
    try:
        found = image_metadata(
            shape,
            dtype,
            axes=look.axes,
            scale=look.scale,
            units=look.units,
            channels=look.channels,
            label=look.labels,
        )
    except UnsupportedDataError as error:
        error.format = _FORMAT
        raise
    names = "".join(found.names)
    has_samples = names.endswith("s")
    planes = found.axes[:-1] if has_samples else found.axes
    # The only channel of an image needs no colour.
    alone = len(found.channels) == 1
    colors = [found.channels[0].color] if alone else channel_colors(found.channels)
    if look.colormap is not None and (has_samples or not _is_printable(look.colormap)):
        expected = "the name of a colormap, for an image that is not RGB"
        raise InvalidOptionError("colormap", look.colormap, expected)
    return _About(
        axes=names,
        scale=() if look.scale is None else tuple([axis.scale or 1.0 for axis in planes]),
        units=() if look.units is None else tuple([axis.unit for axis in planes]),
        channels=tuple(
            Channel(label=encodable(channel.name), color=color, window=channel.limits)
            for channel, color in zip(found.channels, colors, strict=True)
        ),
        contrast_limits=_limits(look.contrast_limits),
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
