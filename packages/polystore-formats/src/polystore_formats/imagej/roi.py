"""ROIs as the bytes of ImageJ's ``.roi`` files: ``ij.io.RoiEncoder`` and ``RoiDecoder``.

Name and position are the ROI's own. Its properties are those of ``Roi.setProperty`` (see
:mod:`.properties`). All other settings of ImageJ are in ``properties["imagej"]`` (see
:mod:`.settings`).

Shapes that ImageJ would round, or does not have, load equal: their exact form is in the
properties. It is used until ImageJ moves the ROI. A mask is written as an outline along the edges
of its pixels, and loads as the pixels inside.

If the bytes of a file are not those that polystore would write for its ROI, for example for the
arcs in a composite selection, they are kept as ``properties["imagej"]["raw"]``. They are written
again unless the ROI has changed.
"""

from __future__ import annotations

import base64
import dataclasses
import struct
from typing import TYPE_CHECKING

import numpy as np
from roifile import ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from polystore_core.errors import (
    DamagedDataError,
    PolystoreError,
    UnsupportedDataError,
    UnsupportedFileError,
)
from polystore_core.rois import ROI, Composite, Ellipse, Mask, Position, Rectangle, Shape

from ..decoding import wrong_start
from .drawing import draw
from .outlines import FILLED_LIMIT
from .properties import read_properties, write_properties
from .settings import Text, apply_settings, read_settings, wrong_setting
from .shapes import (
    as_mask,
    corners_of,
    default_kind,
    is_near,
    kind_of,
    possible_kinds,
    shape_of,
)

if TYPE_CHECKING:
    from polystore_core import Document, Value

__all__ = ["decode_roi", "encode_roi"]

# Offsets of fields, from ij.io.RoiDecoder.
_MAGIC = b"Iout"
_HEADER, _TYPE, _SUBTYPE, _SECOND_OFFSET = 64, 6, 48, 60
_SECOND_SIZE, _IMAGE_SIZE = 52, 32
_DECODE_ERRORS = (ValueError, TypeError, LookupError, ArithmeticError, struct.error)
_AXES = ("c", "z", "t")
_INDEX_LIMIT = (1 << 31) - 2


def encode_roi(roi: ROI) -> bytes:
    """Return the bytes of a ``.roi`` file.

    Raises:
        UnsupportedDataError: ImageJ cannot store a setting in ``properties["imagej"]``, or it
            does not fit the shape.
    """
    properties = roi.to_dict()["properties"]
    settings = properties.pop("imagej", {})
    if not isinstance(settings, dict):
        raise UnsupportedDataError(
            f"properties['imagej'] is a {type(settings).__name__}, expected a dict of ImageJ's "
            "settings",
            "roi",
        )
    raw, name = settings.pop("raw", None), settings.pop("raw_name", "")
    if raw is not None:
        content = _reuse_bytes(roi, raw, name, settings)
        if content is not None:
            return content
    return _encode(roi, properties, settings)


def decode_roi(content: bytes, name: str = "", *, keep_bytes: bool = True) -> ROI:
    """Return the ROI in a ``.roi`` file.

    Args:
        content: the bytes of the file.
        name: the name of the ROI if it has none in the file.
        keep_bytes: keep bytes that :func:`encode_roi` would write in another way in the
            properties of the ROI. ``False`` takes half the time.

    Raises:
        DamagedDataError: The bytes are not a ROI.
        UnsupportedDataError: The ROI has no area, too few points, or an unknown kind.
    """
    content = bytes(content)
    roi = _decode(content, name)
    if not keep_bytes:
        return roi
    try:
        is_exact = encode_roi(roi) == content
    except PolystoreError:
        is_exact = False
    if is_exact:
        return roi
    settings = {**roi.properties.get("imagej", {}), "raw": base64.b64encode(content).decode()}
    if name and _decode(content, "").name != name:
        settings["raw_name"] = name  # which is not in the bytes
    return dataclasses.replace(roi, properties={**roi.properties, "imagej": settings})


def _reuse_bytes(roi: ROI, raw: Value, name: Value, settings: Document) -> bytes | None:
    """Return the bytes that a ROI was loaded from, or ``None`` if it has changed since."""
    try:
        content = base64.b64decode(raw, validate=True)
        before = _decode(content, name)
    except (TypeError, ValueError, PolystoreError):
        return (
            None  # bytes of another version, or of a user: write the ROI from its other fields
        )
    properties = {k: v for k, v in roi.properties.items() if k != "imagej"}
    if settings:
        properties["imagej"] = settings
    return content if before == dataclasses.replace(roi, properties=properties) else None


# ── into a file ──────────────────────────────────────────────────────────────────────────


def _encode(roi: ROI, properties: Document, settings: Document) -> bytes:
    kind = settings.get("kind")
    if kind is None:
        kind = default_kind(roi.shape)
    elif kind not in (possible := possible_kinds(roi.shape)):
        raise wrong_setting("kind", kind, f"{' or '.join(possible)} for this shape")
    record = ImagejRoi()
    subpixel = settings.get("subpixel")
    if subpixel is not None and type(subpixel) is not bool:
        raise wrong_setting("subpixel", subpixel, "True or False")
    draw(record, roi.shape, kind, subpixel)
    apply_settings(record, kind, settings)
    for axis in _AXES:
        index = getattr(roi.position, axis)
        if index is not None and index > _INDEX_LIMIT:
            raise UnsupportedDataError(
                f"position {axis} is {index}, but ImageJ stores at most {_INDEX_LIMIT}", "roi"
            )
        setattr(record, f"{axis}_position", 0 if index is None else index + 1)
    record.name = Text(roi.name)
    record.props = Text(write_properties(properties, _hints(record, roi, kind)))
    return record.tobytes()


def _hints(record: ImagejRoi, roi: ROI, kind: str) -> Document:
    """Return the properties that restore the exact shape, if ImageJ's fields do not."""
    try:
        found = shape_of(record, kind)
    except PolystoreError as error:
        raise UnsupportedDataError(
            f"this {kind} is too small, or too far from the origin, for ImageJ's coordinates "
            "(float32)",
            "roi",
        ) from error
    # Build the ROI from its fields and compare, because each kind rounds in another way.
    if found == roi.shape:
        return {}
    if not isinstance(roi.shape, Mask):
        # The float64 vertices alone are smaller, and survive in shapes that ImageJ has.
        if not isinstance(roi.shape, Rectangle | Ellipse):
            floats = np.concatenate(corners_of(roi.shape)).astype(">f8").tobytes()
            hint = base64.b64encode(floats).decode("ascii")
            if _refine(found, hint) == roi.shape:
                return {"float64": hint}
        return {"shape": ROI(roi.shape).to_dict()}
    if as_mask(found) != roi.shape:
        height, width = roi.shape.pixels.shape
        raise UnsupportedDataError(
            f"the mask has {height} by {width} pixels at {roi.shape.origin}, but ImageJ's outlines "
            f"(float32) are exact up to coordinate 8,000,000 and up to {FILLED_LIMIT} pixels: "
            "crop the mask, or save it as an image",
            "roi",
        )
    return {"mask": True}


# ── from a file ──────────────────────────────────────────────────────────────────────────


def _decode(content: bytes, name: str) -> ROI:
    record = _read(content)
    kind = kind_of(record)
    properties, hints = read_properties(record.props)
    shape, default, subpixel = _shape(record, kind, hints)
    settings = read_settings(record, kind, content)
    if kind != default:
        settings = {"kind": kind, **settings}
    if subpixel is not None:
        settings["subpixel"] = subpixel
    properties.pop("imagej", None)  # a property of this name would hide ImageJ's settings
    if settings:
        properties["imagej"] = settings
    positions = {axis: getattr(record, f"{axis}_position") for axis in _AXES}
    position = Position(
        **{a: value - 1 if value > 0 else None for a, value in positions.items()}
    )
    try:
        return ROI(shape, record.name or name, position, properties)
    except UnsupportedDataError as error:
        raise UnsupportedFileError(error.reason, "roi") from error


def _read(content: bytes) -> ImagejRoi:
    if not content.startswith(_MAGIC):
        raise wrong_start(content[:8], "an ImageJ ROI", "roi")
    if len(content) < _HEADER:
        raise DamagedDataError(f"it ends at byte {len(content)}, within its header", "roi")
    if content[_TYPE] > max(ROI_TYPE) or content[_TYPE] == ROI_TYPE.NOROI:
        raise UnsupportedFileError(f"its ROI type {content[_TYPE]} is unknown", "roi")
    (second,) = struct.unpack_from(">i", content, _SECOND_OFFSET)
    if second:  # old files have no second header
        if not _HEADER <= second < len(content) - _SECOND_SIZE:
            raise DamagedDataError(
                f"its second header, at byte {second}, is outside the file", "roi"
            )
        # roifile would read beyond the file and give a shorter text, without an error.
        for offset in (16, 40):  # of the name, of the properties
            start, count = struct.unpack_from(">ii", content, second + offset)
            if count < 0 or start < 0 or (start and start + 2 * count > len(content)):
                raise DamagedDataError("it ends within its name or properties", "roi")
    (subtype,) = struct.unpack_from(">h", content, _SUBTYPE)
    if subtype == ROI_SUBTYPE.IMAGE:
        size = struct.unpack_from(">i", content, second + _IMAGE_SIZE)[0] if second else 0
        if not 0 < size <= len(content) - _HEADER:
            raise DamagedDataError(f"its image cannot have {size} bytes", "roi")
    try:
        return ImagejRoi.frombytes(content)
    except _DECODE_ERRORS as error:
        reason = f"roifile cannot decode it: {type(error).__name__}: {error}"
        raise DamagedDataError(reason, "roi") from error


def _shape(record: ImagejRoi, kind: str, hints: Document) -> tuple[Shape, str, bool | None]:
    """Return the shape, its default kind, and the setting "subpixel" (``None`` if ImageJ's)."""
    found = shape_of(record, kind)
    shape = as_mask(found) if hints.get("mask") is True else found
    if "float64" in hints:
        shape = _refine(found, hints["float64"])
    if "shape" in hints:
        shape = _exact(found, kind, hints["shape"])
    plain = ImagejRoi()
    default = draw(plain, shape, kind, None)
    is_fine = record.subpixelresolution
    return shape, default_kind(shape), is_fine if is_fine != default else None


def _refine(found: Shape, hint: Value) -> Shape:
    """Return the shape with its float64 vertices, or ``found`` if ImageJ has moved it."""
    if isinstance(found, Rectangle | Ellipse):
        return found
    parts = corners_of(found)
    try:
        exact = np.frombuffer(base64.b64decode(hint, validate=True), ">f8").reshape(-1, 2)
        if len(exact) != sum(map(len, parts)):
            return found
        if isinstance(found, Composite):
            shape: Shape = Composite(
                np.split(exact, np.cumsum([len(part) for part in parts])[:-1])
            )
        else:
            shape = type(found)(exact)  # type: ignore[call-arg]
    except (TypeError, ValueError, PolystoreError):
        return found
    return shape if is_near(shape, found) else found


def _exact(found: Shape, kind: str, hint: Value) -> Shape:
    """Return the shape that was saved, or ``found`` if ImageJ has moved it."""
    try:
        shape = ROI.from_dict(hint).shape
        if isinstance(shape, Mask) or kind not in possible_kinds(shape):
            return found
        again = ImagejRoi()
        draw(again, shape, kind, None)
        return shape if is_near(shape_of(again, kind), found) else found
    except PolystoreError:
        return found
