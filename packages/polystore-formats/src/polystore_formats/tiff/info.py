"""What a TIFF file says about its first series besides shape and dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tifffile

from .header import is_ome
from .imagej import COLOR_MAP, imagej_info, plain_unit
from .ome import ome_info, ome_pixels, ome_resolution
from .series import find_series, full_shape, lent, missing_planes, stumbling
from .shaped import shaped_info

if TYPE_CHECKING:
    from enum import IntEnum

    from polystore_core import Document

    from .header import Header

__all__ = ["describe"]

_CODECS = {1: None, 8: "zlib"}
_X_RESOLUTION = 282
_UNITS = {2: "inch", 3: "cm", 4: "mm", 5: "um"}
_NO_UNIT = 1
_DESCRIPTION_LIMIT = 1000


def describe(header: Header) -> Document:
    """Return what the file says about its first series besides shape and dtype."""
    with stumbling(), lent(header.file) as file:
        series = find_series(header, file, 0)
        key = series.keyframe
        tif = key.parent
        metadata = {
            "kind": series.kind,
            "axes": full_shape(header, series)[0],
            "pages": len(header.pages),
            "series": len(tif.series),
            "compression": _CODECS.get(
                key.compression, _name(tifffile.COMPRESSION, key.compression)
            ),
            "photometric": _name(tifffile.PHOTOMETRIC, key.photometric),
            "levels": [full_shape(header, level)[1] for level in series.levels],
            **_resolution(tif, key),
            **_words(header, series),
        }
        missing = missing_planes(header)
        if missing is not None:
            metadata["missing_planes"] = missing
        if key.description and not key.description.startswith('{"shape"'):
            metadata["description"] = key.description[:_DESCRIPTION_LIMIT]
        return metadata


def _name(names: type[IntEnum], value: int) -> str:
    return next((name.name.lower() for name in names if name == value), str(value))


def _resolution(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Document:
    """Return ``resolution`` and ``resolution_unit`` as ``save`` takes them."""
    unit = _UNITS.get(page.resolutionunit)
    if tif.is_imagej and tif.imagej_metadata:
        unit = plain_unit(tif.imagej_metadata.get("unit", unit))
    if _X_RESOLUTION not in page.tags or (unit is None and page.resolution == (1, 1)):
        return {}
    return {"resolution": page.resolution, "resolution_unit": unit}


def _words(header: Header, series: tifffile.TiffPageSeries) -> Document:
    """Return scale, units and channels, and what else ImageJ says.

    A resolution in inches or centimetres alone says nothing of pixels: printers have one too.
    """
    key, tif = series.keyframe, series.keyframe.parent
    if tif.is_imagej and tif.imagej_metadata:
        found = tif.imagej_metadata
        is_size = "unit" in found or key.resolutionunit == _NO_UNIT
        resolution = key.resolution if is_size else (1.0, 1.0)
        colors = key.tags.valueof(COLOR_MAP)
        return imagej_info(found, series.axes, series.shape, resolution, colors)
    if header.descriptions and is_ome(header.descriptions[0]):
        pixels = ome_pixels(header.descriptions[0].decode(errors="replace"))
        if pixels is not None:
            axes, shape = full_shape(header, series)
            words = ome_info(pixels, axes.lower(), shape)
            return ome_resolution(pixels) | words
    if series.kind == "shaped" and tif.shaped_metadata:
        return shaped_info(tif.shaped_metadata[0], series.shape, series.dtype)
    return {}
