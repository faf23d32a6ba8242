"""Documents of images, labels, wells and plates: from attributes to attributes.

What is added to a document of others leaves every key in place that is not ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from polystore.errors import InvalidOptionError
from polystore.images import ImageMetadata, Window

from .reading import found_in, mapping, read_labels, read_plate, read_well
from .values import Attributes, Version

__all__ = [
    "add_label",
    "check_well",
    "image_document",
    "labels_document",
    "plate_with_well",
    "plate_without_well",
    "remove_label",
    "well_with_field",
    "well_without_field",
]

_VERSIONS = get_args(Version)


def image_document(
    metadata: ImageMetadata,
    levels: Sequence[tuple[str, Sequence[float]]],
    *,
    version: Version = "0.5",
    kind: Literal["image", "label"] = "image",
    method: Literal["mean", "nearest"] | None = None,
) -> dict[str, Any]:
    """Return the attributes of an image's group.

    ``levels`` are the paths of the arrays, finest first, each with how many pixels of level 0
    one of its pixels spans along each axis. The centre of such a pixel lies (factor - 1) / 2
    pixels further than that of the first one of level 0, and so says the translation; also
    for ``method="nearest"`` (the default for labels), so that labels lie on their image.
    """
    _check_version(version)
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
                "coordinateTransformations": _transformations(metadata.scale, factors, index),
            }
            for index, (path, factors) in enumerate(levels)
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
    if version == "0.4":
        multiscale = {"version": version} | multiscale
    inner: dict[str, Any] = {"multiscales": [multiscale]}
    if kind == "label":
        inner["image-label"] = {"version": version, "source": {"image": "../../"}}
    elif metadata.channels:
        inner["omero"] = _omero(metadata, version)
    return inner if version == "0.4" else {"ome": {"version": version} | inner}


def _transformations(
    scale: tuple[float, ...], factors: Sequence[float], index: int
) -> list[dict[str, Any]]:
    pairs = list(zip(scale, map(float, factors), strict=True))
    found: list[dict[str, Any]] = [
        {"type": "scale", "scale": [base * factor for base, factor in pairs]}
    ]
    if index:
        shift = [base * (factor - 1) / 2 for base, factor in pairs]
        found.append({"type": "translation", "translation": shift})
    return found


def _omero(metadata: ImageMetadata, version: Version) -> dict[str, Any]:
    channels = []
    for channel in metadata.channels:
        found: dict[str, Any] = {"label": channel.label, "active": channel.active}
        if channel.color is not None:
            found["color"] = channel.color
        if channel.window is not None:
            window = {key: getattr(channel.window, key) for key in Window.__slots__}
            found["window"] = {
                key: int(value) if value.is_integer() else value
                for key, value in window.items()
            }
        channels.append(found | {"coefficient": 1, "family": "linear", "inverted": False})
    grey = all(channel.color in (None, "FFFFFF") for channel in metadata.channels)
    omero: dict[str, Any] = {
        "name": metadata.name,
        "channels": channels,
        "rdefs": {"model": "greyscale" if grey else "color"},
    }
    return omero if version == "0.5" else omero | {"version": version}


def labels_document(names: Iterable[str], version: Version = "0.5") -> dict[str, Any]:
    """Return the attributes of the group ``labels``, which lists the label images in it."""
    return _edited({}, version, "labels", list(dict.fromkeys(names)))


def add_label(attributes: Attributes, name: str, version: Version = "0.5") -> dict[str, Any]:
    """Return the attributes of a group ``labels`` with ``name`` listed, once."""
    present = read_labels(attributes) or ()
    return _edited(attributes, version, "labels", list(dict.fromkeys((*present, name))))


def remove_label(attributes: Attributes, name: str, version: Version = "0.5") -> dict[str, Any]:
    """Return the attributes of a group ``labels`` without ``name``."""
    present = read_labels(attributes) or ()
    return _edited(attributes, version, "labels", [label for label in present if label != name])


# ── plates and wells, written ────────────────────────────────────────────────────────────

_ROW, _COLUMN, _FIELD = (re.compile(p) for p in ("[A-Z]{1,2}", "[0-9]{1,3}", "[A-Za-z0-9]+"))


def check_well(row: str, column: str, field: str = "0") -> None:
    """Raise ``InvalidOptionError`` for what cannot be a field of a well of a plate."""
    parts = zip((_ROW, _COLUMN, _FIELD), (row, column, field), strict=True)
    if not all(pattern.fullmatch(part) for pattern, part in parts):
        raise InvalidOptionError(
            "path", f"{row}/{column}/{field}",
            "row, column and field, such as 'B/03/0': one or two capital letters, up to three "
            "digits, and letters or digits",
        )  # fmt: skip


def plate_with_well(
    attributes: Attributes,
    row: str,
    column: str,
    *,
    name: str = "",
    version: Version = "0.5",
    field_count: int | None = None,
) -> dict[str, Any]:
    """Return the attributes of a plate that has this well; the same if it has it already.

    Rows, columns and wells are put in order, and all indices made anew. ``name`` is given to
    a plate without one; ``field_count`` is raised to the one given.

    Raises:
        InvalidOptionError: no such well can be: see :func:`check_well`.
        DamagedDataError: ``attributes`` hold a malformed plate.
    """
    check_well(row, column)
    plate, wells = _plate_parts(attributes)
    path = f"{row}/{column}"
    wells.setdefault(path, {"path": path})
    if name and not plate.get("name"):
        plate["name"] = name
    if field_count is not None:
        plate["field_count"] = max(field_count, plate.get("field_count") or 0)
    return _settled(attributes, version, plate, wells)


def plate_without_well(
    attributes: Attributes, row: str, column: str, *, version: Version = "0.5"
) -> dict[str, Any]:
    """Return the attributes of a plate without this well.

    Its row and column stay: the specification lists those of the physical plate, used or not.
    """
    plate, wells = _plate_parts(attributes)
    wells.pop(f"{row}/{column}", None)
    return _settled(attributes, version, plate, wells)


def _plate_parts(attributes: Attributes) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return copies of a checked plate, and of its wells by path."""
    if read_plate(attributes) is None:
        return {}, {}
    plate = dict(found_in(attributes, "plate")[0])
    wells: dict[str, dict[str, Any]] = {}
    for well in plate["wells"]:
        wells.setdefault(well["path"], dict(well))
    return plate, wells


def _settled(
    attributes: Attributes,
    version: Version,
    plate: dict[str, Any],
    wells: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """Put a plate in order and into ``attributes``."""
    places = [path.split("/") for path in wells]
    index: dict[str, dict[str, int]] = {}
    for key, part in (("rows", 0), ("columns", 1)):
        known: dict[str, Any] = {}
        for line in (*plate.get(key, ()), *({"name": place[part]} for place in places)):
            known.setdefault(line["name"], line)
        names = sorted(known, key=_natural)
        plate[key] = [known[name] for name in names]
        index[key] = {name: position for position, name in enumerate(names)}
    for well, (row, column) in zip(wells.values(), places, strict=True):
        well |= {"rowIndex": index["rows"][row], "columnIndex": index["columns"][column]}
    plate["wells"] = sorted(wells.values(), key=lambda w: (w["rowIndex"], w["columnIndex"]))
    # Also within 0.5, whose text does not ask for it: ome-zarr-models warns where it is missing.
    plate.setdefault("version", _written_as(attributes, version, "plate"))
    return _edited(attributes, version, "plate", plate)


def _natural(name: str) -> tuple[bool, int, str, str]:
    """Sort key: numbers by value, then letters as A … Z, AA …."""
    number = name.isascii() and name.isdigit()
    significant = name.lstrip("0") if number else name
    return not number, len(significant), significant, name


def well_with_field(
    attributes: Attributes, field: str, version: Version = "0.5"
) -> dict[str, Any]:
    """Return the attributes of a well that has this field; the same if it has it already.

    Raises:
        InvalidOptionError: ``field`` is not made of letters and digits.
        DamagedDataError: ``attributes`` hold a malformed well.
    """
    check_well("A", "1", field)
    well, images = _well_parts(attributes)
    images.setdefault(field, {"path": field})
    return _with_images(attributes, version, well, images)


def well_without_field(
    attributes: Attributes, field: str, version: Version = "0.5"
) -> dict[str, Any]:
    """Return the attributes of a well without this field."""
    well, images = _well_parts(attributes)
    images.pop(field, None)
    return _with_images(attributes, version, well, images)


def _well_parts(attributes: Attributes) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    if read_well(attributes) is None:
        return {}, {}
    well = dict(found_in(attributes, "well")[0])
    return well, {image["path"]: image for image in reversed(well["images"])}


def _with_images(
    attributes: Attributes,
    version: Version,
    well: dict[str, Any],
    images: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    well["images"] = [images[path] for path in sorted(images, key=_natural)]
    well.setdefault("version", _written_as(attributes, version, "well"))
    return _edited(attributes, version, "well", well)


# ── where things stand in a document ─────────────────────────────────────────────────────


def _check_version(version: Any) -> None:
    if version not in _VERSIONS:
        raise InvalidOptionError("version", version, f"one of {', '.join(_VERSIONS)}")


def _written_as(attributes: Attributes, version: Version, key: str) -> Version:
    """Return the version that a document already has, else ``version``."""
    _check_version(version)
    if isinstance(attributes.get("ome"), Mapping):
        return "0.5"
    return "0.4" if key in attributes else version


def _edited(
    attributes: Attributes, version: Version, key: str, value: object
) -> dict[str, Any]:
    """Return ``attributes`` with ``value`` where a document of its version has ``key``."""
    if _written_as(attributes, version, key) == "0.4":
        return {**attributes, key: value}
    inner = mapping(attributes.get("ome", {}), "ome")
    return {**attributes, "ome": {"version": "0.5", **inner, key: value}}
