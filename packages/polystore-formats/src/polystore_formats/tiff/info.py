"""The metadata of the first series of a TIFF file, for ``info``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tifffile

from .described import hyperstack_of
from .header import is_ome
from .layout import describe_level
from .series import find_series, full_shape, lend, missing_planes, translate_errors
from .words import tell

if TYPE_CHECKING:
    from enum import IntEnum

    from polystore_core import Document, ImageMetadata

    from .header import Header
    from .hyperstack import Hyperstack

__all__ = ["describe"]

# As the option ``compression`` calls them. tifffile has the names NONE and ADOBE_DEFLATE.
_CODECS = {1: None, 8: "zlib"}
_X_RESOLUTION = 282
_UNITS = {2: "inch", 3: "cm", 4: "mm", 5: "um"}
_DESCRIPTION_LIMIT = 1000


def describe(header: Header) -> tuple[Document, ImageMetadata]:
    """Return the document for ``Info.metadata``, and the metadata of the image."""
    with translate_errors(), lend(header.file) as file:
        series = find_series(header, file, 0)
        key = series.keyframe
        tif = key.parent
        hyperstack = hyperstack_of(header, header.pages[0])
        image = describe_level(header, series, series, 0)
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
            **_resolution(key, header, hyperstack),
            **tell(image, has_labels=hyperstack is None),
        }
        if hyperstack is not None:
            metadata |= hyperstack.extras(image)
        missing = missing_planes(header)
        if missing is not None:
            metadata["missing_planes"] = missing
        # tifffile's own description only repeats the shape.
        if key.description and not key.description.startswith('{"shape"'):
            metadata["description"] = key.description[:_DESCRIPTION_LIMIT]
        return metadata, image


def _name(names: type[IntEnum], value: int) -> str:
    return next((name.name.lower() for name in names if name == value), str(value))


def _resolution(
    page: tifffile.TiffPage, header: Header, hyperstack: Hyperstack | None
) -> Document:
    """Return ``resolution`` and ``resolution_unit`` in the form of the options of ``save``."""
    unit = _UNITS.get(page.resolutionunit)
    if hyperstack is not None:
        unit = hyperstack.unit() or unit
    elif header.descriptions and is_ome(header.descriptions[0]):
        from .ome_xml import ome_pixels, ome_resolution

        found = ome_pixels(header.descriptions[0].decode(errors="replace"))
        if found is not None and (sizes := ome_resolution(found[2])):
            return sizes
    # tifffile writes (1, 1) without a unit into files whose resolution is not known.
    if _X_RESOLUTION not in page.tags or (unit is None and page.resolution == (1, 1)):
        return {}
    return {"resolution": page.resolution, "resolution_unit": unit}
