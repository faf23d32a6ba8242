"""Build the message for a value. All validation happens here and in ``look``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import numpy as np

from polystore_core import AXIS_TYPES, array_and_words, by_axis, to_numpy
from polystore_core.errors import InvalidOptionError, UnsupportedDataError
from polystore_core.rois import ROI, Area

from .layout import encodable
from .look import FORMAT, About, Look, look_of
from .messages import DTYPES, Image, Policy, RoiEncoding, Rois, Source, Wait
from .stores import title_field

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from polystore_core import ImageMetadata

    from .layout import Place

__all__ = [
    "Encoding",
    "Look",
    "check_policy",
    "check_wait",
    "describe_source",
    "describe_value",
]

Described: TypeAlias = "tuple[Image | Rois, NDArray[Any]]"


def check_wait(wait: Wait | None) -> None:
    """Raise ``InvalidOptionError`` unless ``wait`` is "received", "shown" or ``None``."""
    if wait is not None and wait not in get_args(Wait):
        raise InvalidOptionError("wait", wait, "'received', 'shown' or None")


def check_policy(policy: Policy) -> None:
    """Raise ``InvalidOptionError`` unless ``policy`` is one of the policies."""
    if policy not in get_args(Policy):
        raise InvalidOptionError("policy", policy, f"one of {', '.join(get_args(Policy))}")


class Encoding:
    """How values are encoded. A viewer with fewer element types has a subclass."""

    def pixels(self, pixels: NDArray[Any], axes: str, labels: bool) -> tuple[NDArray[Any], str]:
        """Return the pixels in a type that the viewer has, and the type that ``load`` returns.

        Raises ``UnsupportedDataError`` if the viewer cannot hold the values exactly.
        """
        return pixels, pixels.dtype.str

    def rois(self, rois: Sequence[ROI]) -> tuple[RoiEncoding, bytes]:
        """Return the name of an encoding, and the ROIs encoded so."""
        document = json.dumps([roi.to_dict() for roi in rois], separators=(",", ":"))
        return "json", document.encode("utf-8")


_SHARED = Encoding()


def describe_value(
    data: Any,
    path: str | os.PathLike[str],
    place: Place,
    look: Look,
    split_channels: bool,
    encoding: Encoding | None = None,
) -> Described:
    """Return the message for a value, and its payload: pixels, or encoded ROIs.

    The metadata of an Image or a DataArray applies unless ``look`` replaces it.

    Args:
        data: Array, Image, ROI, or list of ROIs.
        path: Name of the value in the viewer.
        place: Layer, sliders and window.
        look: Options of the call.
        split_channels: Whether each channel of the array becomes a layer.
        encoding: Encoding of the viewer, if it has its own.

    Raises:
        UnsupportedDataError: No viewer can show the value.
        InvalidOptionError: An option of ``look`` is wrong.
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
    if words is not None and look.axes is None:
        array, look, words = _without_single(array, look, words)
    pixels = to_numpy(array)
    dtype = _plain_dtype(pixels.dtype)
    _check_pixels(pixels.shape)
    is_mask = _is_mask(dtype, look, words)
    shown = "|u1" if is_mask else dtype  # viewers have only labels of integers
    about = look_of(pixels.shape, shown, look, words)
    if about.order is not None:
        pixels = pixels.transpose(about.order)
    if pixels.dtype.str != shown:
        pixels = pixels.astype(shown)
    sent, original = encoding.pixels(pixels, about.axes, about.labels)
    original = dtype if is_mask else original
    image = _image(
        text,
        place,
        look,
        about,
        words,
        split_channels,
        shape=sent.shape,
        dtype=sent.dtype.str,
        nbytes=sent.nbytes,
        original="" if sent.dtype.str == original else original,
    )
    return image, sent


def _without_single(
    array: Any, look: Look, words: ImageMetadata
) -> tuple[Any, Look, ImageMetadata]:
    """Remove axes t and z of length 1 if unknown axes need their letters.

    Viewers know only t, z, c, y, x and s. They show an unknown axis as z or t.
    """
    names, shape = words.names, array.shape
    unknown = [name for name in names if name not in AXIS_TYPES]
    taken = [at for at, name in enumerate(names) if name in ("t", "z")]
    excess = len(unknown) + len(taken) - 2
    single = [at for at in taken if shape[at] == 1][:excess]
    if not unknown or excess < 1 or len(single) < excess:
        return array, look, words
    scale = look.scale
    if isinstance(scale, Mapping):
        scale = {name: scale[name] for name in scale.keys() - {names[at] for at in single}}
    elif scale is not None and len(scale) == len(names):
        scale = [size for at, size in enumerate(scale) if at not in single]
    region = tuple([0 if at in single else slice(None) for at in range(len(names))])
    return array[region], replace(look, scale=scale), words.select(region, shape)


def describe_source(
    data: Any,
    path: str | os.PathLike[str],
    place: Place,
    look: Look,
    split_channels: bool,
) -> Image | None:
    """Return the message that names a lazy array, or ``None`` if no other process can open it.

    Axes that viewers do not know become sliders. Raises the errors of ``describe_value``.
    """
    array, words = array_and_words(data)
    source, shape = array.source, array.shape
    text, dtype = _text(path), _plain_dtype(array.dtype)
    _check_pixels(shape)
    is_mask = _is_mask(dtype, look, words)
    lead: list[int] = []
    rest = list(range(len(shape)))
    if words is not None and look.axes is None and {"y", "x"} <= {*words.names}:
        lead = [at for at in rest if words.names[at] not in AXIS_TYPES]
    sliders: tuple[str, ...] = ()
    if words is not None and lead:
        rest = [at for at in rest if at not in lead]
        sliders = tuple([words.names[at] for at in lead])
        look = replace(look, scale=by_axis(look.scale, words.names))
        words = replace(words, axes=tuple([words.axes[at] for at in rest]))
    shown = "|u1" if is_mask else dtype
    about = look_of(tuple([shape[at] for at in rest]), shown, look, words)
    order = (*lead, *(rest if about.order is None else [rest[at] for at in about.order]))
    if source is None or encodable(source.path) != source.path:
        return None
    if is_mask:  # viewers have only labels of integers, so the pixels must be converted
        return None
    if not all(sliders) or {*sliders} & {name for name, _ in place.at}:
        return None
    options = {name: value for name, value in source.options.items() if name != "mode"}
    named = Source(
        backend=source.backend,
        path=source.path,
        options=options,
        order=order if list(order) != sorted(order) else (),
    )
    return _image(
        text,
        place,
        look,
        about,
        words,
        split_channels,
        shape=tuple([shape[at] for at in order]),
        dtype=dtype,
        source=named,
        sliders=sliders,
    )


def _image(
    path: str,
    place: Place,
    look: Look,
    about: About,
    words: ImageMetadata | None,
    split_channels: bool,
    *,
    shape: tuple[int, ...],
    dtype: str,
    nbytes: int = 0,
    original: str = "",
    source: Source | None = None,
    sliders: tuple[str, ...] = (),
) -> Image:
    return Image(
        path=path,
        nbytes=nbytes,
        window=place.window,
        layer=place.layer,
        title=_title(place, words),
        at=place.at,
        channel=place.channel,
        group=place.group,
        group_title=place.group_title,
        shape=shape,
        dtype=dtype,
        original=original,
        source=source,
        sliders=sliders,
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


def _is_mask(dtype: str, look: Look, words: ImageMetadata | None) -> bool:
    return dtype == "|b1" and (look.labels or (words is not None and words.kind == "labels"))


def _check_pixels(shape: tuple[int, ...]) -> None:
    if not shape or 0 in shape:
        raise UnsupportedDataError(
            f"cannot show an array of shape {shape}: expected at least one axis and one pixel",
            FORMAT,
        )


def _is_roi(value: object) -> bool:
    return isinstance(value, ROI)


def _title(place: Place, words: ImageMetadata | None) -> str:
    if words is None or place.layer is not None:
        return place.title
    return encodable(title_field(place.title, words.position))


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
                f"labels=True fills areas, but a {kind} has no area: save it without labels=True",
                FORMAT,
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
            expected = "no value for ROIs, because only images have this option"
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
    raise UnsupportedDataError(f"viewers cannot show pixels of type {dtype}: {advice}", FORMAT)
