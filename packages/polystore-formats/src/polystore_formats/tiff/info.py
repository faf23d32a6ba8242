"""What a TIFF file says about its first series besides shape and dtype."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import tifffile

from .imagej import COLOR_MAP, imagej_info, plain_unit
from .series import OME_PIXELS, find_series, lent, missing_planes, stumbling

if TYPE_CHECKING:
    from enum import IntEnum

    from polystore_core import Document

    from .header import Header

__all__ = ["describe"]

_CODECS = {1: None, 8: "zlib"}
_X_RESOLUTION = 282
_UNITS = {2: "inch", 3: "cm", 4: "mm", 5: "um"}
_OME_SCALE = re.compile(r"\bPhysicalSize([XY])(Unit)?\s*=\s*[\"']([^\"']*)[\"']")
_OME_UNITS = {"µm": "um", "in": "inch"}
_DESCRIPTION_LIMIT = 1000


def describe(header: Header) -> Document:
    """Return what the file says about its first series besides shape and dtype."""
    with stumbling(), lent(header.file) as file:
        series = find_series(header, file, 0)
        key = series.keyframe
        tif = key.parent
        metadata = {
            "kind": series.kind,
            "axes": series.axes,
            "pages": len(header.pages),
            "series": len(tif.series),
            "compression": _CODECS.get(
                key.compression, _name(tifffile.COMPRESSION, key.compression)
            ),
            "photometric": _name(tifffile.PHOTOMETRIC, key.photometric),
            **_scale(tif, key),
        }
        missing = missing_planes(header)
        if missing is not None:
            metadata["missing_planes"] = missing
        if tif.is_imagej and tif.imagej_metadata:
            found = tif.imagej_metadata
            colors = key.tags.valueof(COLOR_MAP)
            metadata |= imagej_info(found, series.axes, series.shape, key.resolution, colors)
        if key.description and not key.description.startswith('{"shape"'):
            metadata["description"] = key.description[:_DESCRIPTION_LIMIT]
        return metadata


def _name(names: type[IntEnum], value: int) -> str:
    return next((name.name.lower() for name in names if name == value), str(value))


def _scale(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Document:
    """Return ``resolution`` and ``resolution_unit`` as ``save`` takes them."""
    if tif.is_ome:
        pixels = OME_PIXELS.search(page.description)
        found = {a + u: v for a, u, v in _OME_SCALE.findall(pixels[0] if pixels else "")}
        if {"X", "Y"} <= found.keys():
            unit = found.get("XUnit", "µm")
            return {
                "resolution": (1 / float(found["X"]), 1 / float(found["Y"])),
                "resolution_unit": _OME_UNITS.get(unit, unit),
            }
    unit = _UNITS.get(page.resolutionunit)
    if tif.is_imagej and tif.imagej_metadata:
        unit = plain_unit(tif.imagej_metadata.get("unit", unit))
    if _X_RESOLUTION not in page.tags or (unit is None and page.resolution == (1, 1)):
        return {}
    return {"resolution": page.resolution, "resolution_unit": unit}
