"""The metadata of an image: from the attributes of its group, and back.

OME-NGFF has fields for some metadata. It also requires fields that may be unknown: a scale, a
colour, the display range of a channel. So an attribute "polystore" of the group has more, in the
form of ``metadata_document``:

- ``image``: metadata without a field in NGFF, such as the wavelength of a channel.
- ``filled``: values that the writer made up for required fields. They are not loaded as metadata.
  If another program changes such a field, its value is loaded.
- ``samples``: the name of the axis, "c", whose channels are the samples of RGB. The image is
  loaded with the samples on its last axis, as it was saved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import (
    AXIS_TYPES,
    Axis,
    Channel,
    ImageMetadata,
    metadata_document,
    spell_out,
    with_document,
)

from ..store.base import MARKER

if TYPE_CHECKING:
    from polystore_core import Document, Value

    from .values import Attributes, Level, MultiscaleImage

__all__ = [
    "fit_metadata",
    "image_words",
    "lower_names",
    "samples_first",
    "samples_last",
    "with_marks",
    "words_left",
]

_OF_AXIS = {f.name: f.default for f in fields(Axis) if f.name not in ("name", "type")}
_OF_CHANNEL = {f.name: f.default for f in fields(Channel)}
"""The fields of an axis and of a channel, with their values if unknown."""


def image_words(
    attributes: Attributes,
    image: MultiscaleImage,
    shape: Sequence[int],
    dtype: np.dtype[Value],
    level: int = 0,
) -> ImageMetadata | None:
    """Return the metadata of a level of an image.

    Args:
        attributes: the attributes of the group.
        image: the image that was read from ``attributes``.
        shape: the shape of the array of the level.
        dtype: its element type.
        level: the number of the level.

    Returns:
        ``None`` if the axes cannot be read, or their number is not that of the array.
    """
    if len(image.axes) != len(shape):
        return None
    marks = _marks(attributes)
    found = _standard(image, dtype, _source(attributes))
    order = samples_last(attributes, image, shape)
    if order:
        found = replace(found.transpose(order), channels=())
        found = replace(found, axes=(*found.axes[:-1], Axis("s", "sample")))
        shape = [shape[n] for n in order]
    found = fit_metadata(found, shape)
    if marks:
        found = _without_filled(found, marks.get("filled"))
        found = with_document(found, marks.get("image"), shape)
    if level:
        factors = _factors(image.levels[0], image.levels[level], len(shape))
        found = found.level([factors[n] for n in order] if order else factors)
    return found


def _standard(image: MultiscaleImage, dtype: np.dtype[Value], source: str) -> ImageMetadata:
    """Return the metadata of level 0 in the fields of NGFF."""
    first = image.levels[0]
    names = lower_names([axis.name for axis in image.axes])
    axes = []
    for number, (axis, name) in enumerate(zip(image.axes, names, strict=True)):
        scale = None if first.scale is None else first.scale[number]
        # The specification requires a scale, so writers that know none put 1 without a unit.
        if scale is not None and (scale <= 0 or (scale == 1 and axis.unit is None)):
            scale = None
        origin = first.translation[number] if first.translation and first.is_placed else None
        kind = AXIS_TYPES.get(name, axis.type or None)
        unit = axis.unit and spell_out(axis.unit, kind)
        axes.append(Axis(name, kind, unit, scale, origin))
    channels = [_channel(channel, dtype) for channel in image.channels]
    return ImageMetadata(
        axes=tuple(axes),
        channels=() if image.is_label else tuple(channels),
        name=image.name,
        kind="labels" if image.is_label else "intensity",
        source={"ngff": source},
    )


def _channel(channel: Channel, dtype: np.dtype[Value]) -> Channel:
    """Leave out display ranges that span the whole type, or whose start is above the end."""
    changes: dict[str, Any] = {}
    if channel.limits is not None:
        # For 8 bits, the whole range is a usual display range.
        is_whole = dtype.kind in "ui" and dtype.itemsize > 1
        whole = (np.iinfo(dtype).min, np.iinfo(dtype).max) if is_whole else None
        if channel.limits == whole or channel.limits[0] > channel.limits[1]:
            changes["limits"] = None
    if channel.data_range is not None and channel.data_range[0] > channel.data_range[1]:
        changes["data_range"] = None
    return replace(channel, **changes) if changes else channel


def lower_names(names: Sequence[str]) -> Sequence[str]:
    """Return names in lower case if all are axes of images, such as "Z", "Y", "X"."""
    small = [name.lower() for name in names]
    is_known = AXIS_TYPES.keys() >= set(small) and len(set(small)) == len(small)
    return small if is_known else names


def _factors(first: Level, level: Level, ndim: int) -> list[float]:
    """Return how many pixels of level 0 one pixel of ``level`` spans, or 1 if unknown."""
    if first.scale is None or level.scale is None:
        return [1.0] * ndim
    return [b / a for a, b in zip(first.scale, level.scale, strict=True)]


def fit_metadata(metadata: ImageMetadata, shape: Sequence[int]) -> ImageMetadata:
    """Return the metadata without channels and coords that do not fit an array of ``shape``."""
    names = metadata.names
    if metadata.channels:
        count = shape[names.index("c")] if "c" in names else 1
        if len(metadata.channels) != count:
            metadata = replace(metadata, channels=())
    if any(
        axis.coords is not None and len(axis.coords) != length
        for axis, length in zip(metadata.axes, shape, strict=True)
    ):
        metadata = metadata.without({"coords"})
    return metadata


def _source(attributes: Attributes) -> str:
    inner = attributes.get("ome")
    if not (isinstance(inner, Mapping) and "multiscales" in inner):
        inner = {
            key: attributes[key]
            for key in ("multiscales", "omero", "image-label")
            if key in attributes
        }
    return json.dumps(inner, ensure_ascii=False)


# ── our own attribute ────────────────────────────────────────────────────────────────────


def with_marks(
    attributes: Document,
    metadata: ImageMetadata,
    standard: ImageMetadata,
    *,
    is_rgb: bool,
) -> Document:
    """Return ``attributes`` with our own attribute, if they differ from ``metadata``.

    Args:
        attributes: the attributes for NGFF.
        metadata: the metadata that must load.
        standard: the metadata that was read from ``attributes``, with the same axes.
        is_rgb: whether the channels are samples of RGB.
    """
    same = {
        word
        for word in metadata.words() | standard.words()
        if _value_of(metadata, word) == _value_of(standard, word)
    }
    if "coords" not in same:  # coords are read together with scale and origin
        same -= {"scale", "origin"}
    marks: Document = {"samples": "c"} if is_rgb else {}
    for key, words in (("image", metadata), ("filled", standard)):
        if document := words_left(words.without(same)):
            marks[key] = document
    return {**attributes, MARKER: marks} if marks else attributes


def words_left(metadata: ImageMetadata) -> Document:
    """Return the metadata as a document, without axes that have only names."""
    document = metadata_document(metadata)
    if all(len(axis) == 1 for axis in document["axes"]):
        # Their names are in the document of Zarr or NGFF already.
        del document["axes"]
    return document


def _value_of(metadata: ImageMetadata, word: str) -> object:
    if word in _OF_AXIS:
        return [getattr(axis, word) for axis in metadata.axes]
    of_image, _, of_channel = word.partition(".")
    if of_channel:
        return [getattr(channel, of_channel) for channel in metadata.channels]
    return getattr(metadata, of_image)


def _without_filled(metadata: ImageMetadata, filled: object) -> ImageMetadata:
    """Return ``metadata`` without values that the writer filled in and nobody has changed."""
    if not isinstance(filled, Mapping):
        return metadata
    changes: dict[str, Any] = {}
    for part, words in (("axes", _OF_AXIS), ("channels", _OF_CHANNEL)):
        values, entries = getattr(metadata, part), filled.get(part)
        if isinstance(entries, list) and len(entries) == len(values):
            pairs = zip(values, entries, strict=True)
            changes[part] = tuple([_less(value, entry, words) for value, entry in pairs])
    # The name came from the path, so it is not a word of the image.
    if metadata.name == filled.get("name"):
        changes["name"] = ""
    return replace(metadata, **changes) if changes else metadata


def _less(value: Any, entry: object, words: Mapping[str, Any]) -> Any:
    """Return an axis or channel without the values that ``entry`` has too."""
    changes = {}
    given = entry if isinstance(entry, Mapping) else {}
    for word in words.keys() & given.keys():
        put = given[word]
        # Ranges are tuples, which JSON does not have.
        if getattr(value, word) == (tuple(put) if isinstance(put, list) else put):
            changes[word] = words[word]
    return replace(value, **changes) if changes else value


def _marks(attributes: Attributes) -> Mapping[str, Value]:
    marks = attributes.get(MARKER)
    return marks if isinstance(marks, Mapping) else {}


# ── samples of RGB ───────────────────────────────────────────────────────────────────────


def samples_last(
    attributes: Attributes, image: MultiscaleImage, shape: Sequence[int]
) -> tuple[int, ...]:
    """Return the order of axes that puts channels of RGB last, or ``()`` for other images."""
    marks = _marks(attributes)
    names = [axis.name for axis in image.axes]
    if not marks or marks.get("samples") != "c" or "c" not in names or "s" in names:
        return ()
    at = names.index("c")
    # Another program may have changed the array, and kept our attribute.
    if len(names) != len(shape) or shape[at] not in (3, 4):
        return ()
    return (*(n for n in range(len(names)) if n != at), at)


def samples_first(metadata: ImageMetadata) -> tuple[tuple[int, ...], ImageMetadata]:
    """Return the order of axes, and the metadata, for storing RGB samples as channels."""
    last = len(metadata.axes) - 1
    # The specification wants the order time, channel, space.
    first = 1 if metadata.names[0] == "t" else 0
    order = (*range(first), last, *range(first, last))
    axes = [replace(axis) for axis in metadata.axes[:-1]]
    axes.insert(first, Axis("c", "channel"))
    return order, replace(metadata, axes=tuple(axes), channels=())
