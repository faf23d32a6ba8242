"""Documents of images and labels: from attributes to attributes.

If a document of another program is changed, all its other keys stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from polystore_core import ImageMetadata, channel_colors
from polystore_core.errors import InvalidOptionError, UnsupportedFileError

from ..store.base import MARKER
from .reading import find_in, mapping
from .values import Attributes, Version

if TYPE_CHECKING:
    from polystore_core import Document, Value

__all__ = [
    "add_label",
    "add_series",
    "edit_document",
    "image_document",
    "keep_attributes",
    "labels_document",
    "remove_label",
    "remove_series",
    "version_of",
]

_VERSIONS = get_args(Version)


def image_document(
    metadata: ImageMetadata,
    levels: Sequence[tuple[str, Sequence[float]]],
    *,
    version: Version = "0.5",
    kind: Literal["image", "label"] = "image",
    method: Literal["mean", "nearest"] | None = None,
) -> Document:
    """Return the attributes of the group of an image.

    The translation of a level is the centre of its first pixel, which is (factor - 1) / 2 pixels
    from the centre of the first pixel of level 0. This also holds for ``method="nearest"``, so
    that labels are on their image. The specification requires a scale: an unknown scale is 1, and
    an unknown origin is 0. For irregular coords, these are the mean step and the first value.

    Args:
        metadata: the metadata of level 0.
        levels: the path of each array, finest first, and how many pixels of level 0 one of its
            pixels spans along each axis.
        version: the version of OME-NGFF.
        kind: whether it is a label image.
        method: the method of the pyramid. The default for labels is "nearest".
    """
    _check_version(version)
    sizes, origin = [], []
    for axis in metadata.axes:
        step, start = axis.scale, axis.origin
        if axis.coords:
            first, last = axis.coords[0], axis.coords[-1]
            start = first if start is None else start
            if step is None and last > first:
                step = (last - first) / (len(axis.coords) - 1)
        sizes.append(1.0 if step is None else step)
        origin.append(start)
    method = method or ("nearest" if kind == "label" else "mean")
    multiscale: dict[str, Any] = {
        "name": metadata.name,
        "axes": [
            {"name": axis.name, "type": axis.type} | ({"unit": axis.unit} if axis.unit else {})
            for axis in metadata.axes
        ],
        "datasets": [
            {
                "path": path,
                "coordinateTransformations": _transformations(sizes, factors, origin),
            }
            for path, factors in levels
        ],
        "type": method,
        "metadata": {
            "method": "polystore_zarr.pyramid.downsample",
            "kwargs": {"method": method},
            "description": "2 x 2 pixels of the level above, averaged"
            if method == "mean"
            else "the first of 2 x 2 pixels of the level above",
        },
    }
    # From 0.5 on, one version is next to "multiscales" for all images in the list.
    if version == "0.4":
        multiscale = {"version": version} | multiscale
    inner: dict[str, Any] = {"multiscales": [multiscale]}
    if kind == "label":
        # The labels are in the group "labels" of their image, so the image is two levels up.
        inner["image-label"] = {"version": version, "source": {"image": "../../"}}
    elif metadata.channels:
        inner["omero"] = _omero(metadata, version)
    return inner if version == "0.4" else {"ome": {"version": version} | inner}


def _transformations(
    scale: Sequence[float], factors: Sequence[float], origin: Sequence[float | None]
) -> list[Document]:
    triples = list(zip(scale, map(float, factors), origin, strict=True))
    found: list[dict[str, Any]] = [
        {"type": "scale", "scale": [base * factor for base, factor, _ in triples]}
    ]
    shift = [(start or 0.0) + base * (factor - 1) / 2 for base, factor, start in triples]
    # A known origin of 0 is written too. Without a translation the origin counts as unknown.
    if any(shift) or origin.count(None) < len(origin):
        found.append({"type": "translation", "translation": shift})
    return found


def _omero(metadata: ImageMetadata, version: Version) -> Document:
    channels = []
    colors = channel_colors(metadata.channels)
    for channel, color in zip(metadata.channels, colors, strict=True):
        found: dict[str, Any] = {
            "label": channel.name,
            "active": channel.visible,
            "color": color,
        }
        if channel.limits is not None and channel.data_range is not None:
            (low, high), (start, end) = channel.data_range, channel.limits
            window = {"min": low, "max": high, "start": start, "end": end}
            found["window"] = {
                key: int(value) if value.is_integer() else value
                for key, value in window.items()
            }
        channels.append(
            found | {"coefficient": 1, "family": "linear", "inverted": channel.inverted}
        )
    grey = all(color == "FFFFFF" for color in colors)
    omero: dict[str, Any] = {
        "name": metadata.name,
        "channels": channels,
        "rdefs": {"model": "greyscale" if grey else "color"},
    }
    return omero if version == "0.5" else omero | {"version": version}


def keep_attributes(
    old: Attributes, new: Attributes, *, channels: bool, windows: Sequence[bool]
) -> Document:
    """Return the attributes ``new`` of an image with additional keys of ``old``.

    Keys that ``new`` does not have are kept in the image, its label and its channels. Examples
    are the colours of labels, or the wavelength of a channel.

    Args:
        old: the attributes of the old image.
        new: the result of :func:`image_document`.
        channels: whether the old channels are kept.
        windows: for each channel, whether its old display range is kept.
    """
    before, after = _inner(old), dict(_inner(new))
    above = _without(before["multiscales"][0], _OF_OLD_LEVELS)
    after["multiscales"] = [{**above, **after["multiscales"][0]}]
    if "image-label" in after and isinstance(before.get("image-label"), Mapping):
        label = before["image-label"]
        # Another program may have linked these labels to an image at another place.
        source = {"source": label["source"]} if "source" in label else {}
        after["image-label"] = {**label, **after["image-label"], **source}
    if channels and "omero" in after:
        after["omero"] = _keep_omero(before["omero"], after["omero"], windows)
    if before is not old and "ome" in new:
        after = {**_without(before, _OF_IMAGES), **after}
    around = _without(old, (*_OF_IMAGES, "ome", MARKER))
    if "ome" not in new:
        return {**around, **after}
    marks = {MARKER: new[MARKER]} if MARKER in new else {}
    return {**around, "ome": after, **marks}


_OF_OLD_LEVELS = ("axes", "coordinateTransformations", "version")
"""The keys that describe the old levels. The new document has its own."""
_OF_IMAGES = ("multiscales", "omero", "image-label")


def _without(value: Mapping[str, Value], keys: Iterable[str]) -> Document:
    return {key: inner for key, inner in value.items() if key not in keys}


def _inner(attributes: Attributes) -> Mapping[str, Value]:
    """Return the object with the image: the attributes, or the part "ome" of them."""
    return find_in(attributes, "multiscales")[1]


def _keep_omero(
    old: Mapping[str, Value], new: Mapping[str, Value], windows: Sequence[bool]
) -> Value:
    channels = [
        before if window or "window" not in after else {**before, "window": after["window"]}
        for before, after, window in zip(old["channels"], new["channels"], windows, strict=True)
    ]
    return {**old, "channels": channels}


def labels_document(names: Iterable[str], version: Version = "0.5") -> Document:
    """Return the attributes of the group ``labels``, which lists the label images in it."""
    return edit_document({}, version, "labels", list(dict.fromkeys(names)))


def add_label(attributes: Attributes, name: str, version: Version = "0.5") -> Document:
    """Return the attributes of a group ``labels`` with ``name`` in its list, once.

    Raises:
        UnsupportedFileError: ``labels`` is not a list.
    """
    return _listing(
        attributes, version, "labels", [*(_list_of(attributes, "labels") or ()), name]
    )


def remove_label(attributes: Attributes, name: str, version: Version = "0.5") -> Document:
    """Return the attributes of a group ``labels`` without ``name``."""
    present = _list_of(attributes, "labels")
    return _listing(attributes, version, "labels", present, without=name)


def add_series(attributes: Attributes, path: str, version: Version = "0.5") -> Document:
    """Return the attributes of a group ``OME`` with ``path``, if it has a list of images.

    bioformats2raw writes such a group next to the images from one file.
    """
    present = _list_of(attributes, "series")
    added = None if present is None else [*present, path]
    return _listing(attributes, version, "series", added)


def remove_series(attributes: Attributes, path: str, version: Version = "0.5") -> Document:
    """Return the attributes of a group ``OME`` without ``path``."""
    present = _list_of(attributes, "series")
    return _listing(attributes, version, "series", present, without=path)


def _list_of(attributes: Attributes, key: str) -> Sequence[Value] | None:
    """Return a list of names. Entries of other programs are not changed."""
    value = find_in(attributes, key)[0]
    if value is None or isinstance(value, list | tuple):
        return value
    reason = f"its attribute {key!r} is not a list, so polystore cannot change it"
    raise UnsupportedFileError(reason, "ome-zarr")


def _listing(
    attributes: Attributes,
    version: Version,
    key: str,
    names: Sequence[Value] | None,
    *,
    without: str | None = None,
) -> Document:
    """Return ``attributes`` with a list of ``names``, each once and in order."""
    if names is None:
        return dict(attributes)
    kept: list[Any] = []
    for name in names:
        if name != without and (not isinstance(name, str) or name not in kept):
            kept.append(name)
    return edit_document(attributes, version, key, kept)


# ── places in a document ─────────────────────────────────────────────────────────────────


def _check_version(version: Value) -> None:
    if version not in _VERSIONS:
        raise InvalidOptionError("version", version, f"one of {', '.join(_VERSIONS)}")


def version_of(attributes: Attributes, version: Version, key: str) -> Version:
    """Return the version of a document, or ``version`` if it has none."""
    _check_version(version)
    if isinstance(attributes.get("ome"), Mapping):
        return "0.5"
    return "0.4" if key in attributes else version


def edit_document(
    attributes: Attributes, version: Version, key: str, value: object
) -> Document:
    """Return ``attributes`` with ``value`` under ``key``, at the place for their version."""
    if version_of(attributes, version, key) == "0.4":
        return {**attributes, key: value}
    inner = mapping(attributes.get("ome", {}), "ome")
    return {**attributes, "ome": {"version": "0.5", **inner, key: value}}
