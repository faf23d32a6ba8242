"""Documents read with care: those of strangers give a value or ``DamagedDataError``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn

from polystore.errors import DamagedDataError
from polystore.images import AXIS_TYPES, HEX_COLOR, Axis, Channel, Window, finite

from .values import Attributes, Level, MultiscaleImage, Plate, Well

__all__ = [
    "found_in",
    "holds",
    "mapping",
    "read_image",
    "read_labels",
    "read_plate",
    "read_series",
    "read_well",
]

_READABLE = ("0.1", "0.2", "0.3", "0.4", "0.5")
_OLD_AXES = tuple("tczyx")
"""0.1 and 0.2 know no others, and do not name them."""


def read_image(attributes: Attributes) -> MultiscaleImage | None:
    """Return the first multiscale image that a group's attributes describe, if they do.

    Versions 0.1 to 0.5. Transformations of levels and of the whole image are taken together;
    where an old document has none, the scale is 1. What is malformed in "omero", which only
    says how to show the image, is left out.

    Raises:
        DamagedDataError: the description is malformed, or of another version.
    """
    multiscales, inner, outer = found_in(attributes, "multiscales")
    if multiscales is None:
        return None
    image = mapping(_first(_list(multiscales, "multiscales")), "multiscales[0]")
    axes = _read_axes(image.get("axes"))
    version = _read_version(outer or image.get("version"), "0.4" if "axes" in image else "0.1")
    common = _list(image.get("coordinateTransformations") or [], "coordinateTransformations")
    levels = []
    for dataset in _list(image.get("datasets"), "datasets"):
        level = mapping(dataset, "datasets")
        path = _inside(level.get("path"), "datasets path")
        own = _list(level.get("coordinateTransformations") or [], "coordinateTransformations")
        levels.append(Level(path, *_composed([*own, *common], len(axes))))
    _first(levels)
    label = inner.get("image-label")
    return MultiscaleImage(
        version=version,
        axes=axes,
        levels=tuple(levels),
        channels=_read_channels(inner.get("omero")),
        name=_text(image.get("name")),
        is_label=label is not None,
        source=_label_source(label),
        count=len(multiscales),
    )


def read_plate(attributes: Attributes) -> Plate | None:
    """Return the plate that a group's attributes describe, if they do.

    Raises:
        DamagedDataError: the description is malformed, or of another version.
    """
    value, _, outer = found_in(attributes, "plate")
    if value is None:
        return None
    plate = mapping(value, "plate")
    lines = {
        key: tuple(
            _inside(mapping(line, key).get("name"), key, depth=1)
            for line in _list(plate.get(key), key)
        )
        for key in ("rows", "columns")
    }
    wells = tuple(
        _inside(mapping(well, "wells").get("path"), "wells path")
        for well in _list(plate.get("wells"), "wells")
    )
    count = plate.get("field_count")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
        _damaged("field_count is no whole number")
    return Plate(
        version=_read_version(outer or plate.get("version")),
        **lines,
        wells=wells,
        name=_text(plate.get("name")),
        field_count=count,
    )


def read_well(attributes: Attributes) -> Well | None:
    """Return the well that a group's attributes describe, if they do.

    Raises:
        DamagedDataError: the description is malformed, or of another version.
    """
    value, _, outer = found_in(attributes, "well")
    if value is None:
        return None
    well = mapping(value, "well")
    fields = tuple(
        _inside(mapping(image, "images").get("path"), "images path")
        for image in _list(well.get("images"), "images")
    )
    return Well(version=_read_version(outer or well.get("version")), fields=fields)


def read_labels(attributes: Attributes) -> tuple[str, ...] | None:
    """Return the paths of the label images that a group's attributes list, if they do.

    Raises:
        DamagedDataError: what is listed are no paths within the group.
    """
    value, _, _ = found_in(attributes, "labels")
    if value is None:
        return None
    return tuple(_inside(path, "labels path") for path in _list(value, "labels"))


def read_series(attributes: Attributes) -> tuple[str, ...] | None:
    """Return the paths of the images that the group ``OME`` lists, if it lists them.

    bioformats2raw writes such a group beside the images that it makes of one file.

    Raises:
        DamagedDataError: what is listed are no paths within the group.
    """
    value, _, _ = found_in(attributes, "series")
    if value is None:
        return None
    return tuple(_inside(path, "series path") for path in _list(value, "series"))


def holds(
    attributes: Attributes, key: Literal["plate", "well", "bioformats2raw.layout"]
) -> bool:
    """Whether a group's attributes describe a plate, a well or a collection of images.

    Groups of any store may have an attribute of such a name: as text, say.
    """
    value = found_in(attributes, key)[0]
    return isinstance(value, Mapping if key != "bioformats2raw.layout" else int)


def found_in(attributes: Attributes, key: str) -> tuple[Any, Attributes, object]:
    """Return what stands under ``key``, what it stands in, and the version of 0.5 on."""
    outer = mapping(attributes, "attributes")
    inner = outer.get("ome")
    if isinstance(inner, Mapping) and inner.get(key) is not None:
        return inner[key], inner, inner.get("version", "0.5")
    return outer.get(key), outer, None


def _damaged(reason: str) -> NoReturn:
    # Values are not shown: one that is nested deep enough cannot be.
    raise DamagedDataError(reason, "ome-zarr")


def mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        _damaged(f"{what} is of type {type(value).__name__}, not an object")
    return value


def _list(value: object, what: str) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        _damaged(f"{what} is of type {type(value).__name__}, not a list")
    return value


def _first(values: Sequence[Any]) -> Any:
    if not values:
        _damaged("an image without resolution levels")
    return values[0]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _inside(value: object, what: str, *, depth: int | None = None) -> str:
    """Return a path that stays inside its group, of ``depth`` parts if that is given."""
    if not isinstance(value, str):
        _damaged(f"{what} is of type {type(value).__name__}, not a string")
    parts = value.split("/")
    if (
        any(part in ("", ".", "..") for part in parts)
        or "\\" in value
        or "\0" in value
        or any("\ud800" <= character <= "\udfff" for character in value)
        or (depth is not None and len(parts) != depth)
    ):
        _damaged(f"{what} {value[:200]!r} is no path within the group")
    return value


def _read_version(version: object, unwritten: str = "0.4") -> str:
    version = unwritten if version is None else version
    if not isinstance(version, str):
        _damaged(f"the version is of type {type(version).__name__}, not a string")
    if version not in _READABLE:
        _damaged(f"version {version[:40]!r} of OME-NGFF: {', '.join(_READABLE)} can be read")
    return version


def _read_axes(value: object) -> tuple[Axis, ...]:
    axes = []
    for item in _OLD_AXES if value is None else _list(value, "axes"):
        axis = {"name": item} if isinstance(item, str) else mapping(item, "axes")
        name, kind, unit = (axis.get(key) for key in ("name", "type", "unit"))
        if not (isinstance(name, str) and name and _is_text(kind) and _is_text(unit)):
            _damaged("an axis whose name, type or unit is no string")
        axes.append(Axis(name, kind or AXIS_TYPES.get(name, ""), unit))
    if not 2 <= len(axes) <= 5 or len({axis.name for axis in axes}) != len(axes):
        _damaged(f"{len(axes)} axes: there must be 2 to 5, each with its own name")
    return tuple(axes)


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _composed(
    transformations: Sequence[Any], ndim: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return scale and translation of several transformations, one applied after another."""
    scale, translation = [1.0] * ndim, [0.0] * ndim
    for item in transformations:
        step = mapping(item, "coordinateTransformations")
        kind = step.get("type")
        if kind == "scale":
            numbers = _numbers(step.get("scale"), ndim)
            scale = [a * b for a, b in zip(scale, numbers, strict=True)]
            translation = [a * b for a, b in zip(translation, numbers, strict=True)]
        elif kind == "translation":
            numbers = _numbers(step.get("translation"), ndim)
            translation = [a + b for a, b in zip(translation, numbers, strict=True)]
        elif kind != "identity":
            _damaged("a transformation that is neither scale nor translation")
    if not all(map(math.isfinite, (*scale, *translation))) or 0.0 in scale:
        _damaged("transformations that leave no finite scale")
    return tuple(scale), tuple(translation)


def _numbers(value: object, ndim: int) -> list[float]:
    numbers = [finite(number) for number in _list(value, "a transformation's vector")]
    if len(numbers) != ndim or None in numbers:
        _damaged(f"a transformation that has not {ndim} finite numbers")
    return [number for number in numbers if number is not None]


def _read_channels(omero: object) -> tuple[Channel, ...]:
    listed = omero.get("channels") if isinstance(omero, Mapping) else None
    if not isinstance(listed, list | tuple):
        return ()
    return tuple(_read_channel(item if isinstance(item, Mapping) else {}) for item in listed)


def _read_channel(channel: Mapping[str, Any]) -> Channel:
    color = HEX_COLOR.fullmatch(_text(channel.get("color")))
    window = channel.get("window")
    numbers = {
        key: finite(window.get(key)) if isinstance(window, Mapping) else None
        for key in Window.__slots__
    }
    found = {key: number for key, number in numbers.items() if number is not None}
    return Channel(
        label=_text(channel.get("label")),
        color=color[1].upper() if color else None,
        window=Window(**found) if len(found) == len(numbers) else None,
        active=channel.get("active") is not False,
    )


def _label_source(label: object) -> str | None:
    source = label.get("source") if isinstance(label, Mapping) else None
    image = source.get("image") if isinstance(source, Mapping) else None
    return image if isinstance(image, str) else None
