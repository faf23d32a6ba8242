"""The metadata of the first series of a TIFF file, for ``info``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tifffile

from .described import hyperstack_of
from .header import is_ome
from .layout import describe_level
from .reading import find_pixels
from .series import (
    find_pages,
    find_series,
    full_shape,
    lend,
    missing_planes,
    translate_errors,
)
from .set_pixels import set_pixels
from .set_xml import OWN
from .sets import find_missing_metadata, find_set
from .words import tell

if TYPE_CHECKING:
    from enum import IntEnum

    from polystore_core import Document, Opener

    from .header import Header
    from .hyperstack import Hyperstack
    from .sets import TiffSet

__all__ = ["describe"]

# As the option ``compression`` calls them. tifffile has the names NONE and ADOBE_DEFLATE.
_CODECS = {1: None, 8: "zlib"}
_X_RESOLUTION = 282
_UNITS = {2: "inch", 3: "cm", 4: "mm", 5: "um"}
_DESCRIPTION_LIMIT = 1000


def describe(header: Header, opener: Opener | None) -> Document:
    """Return the result of ``Tiff.info``."""
    lost: Document = {}
    if opener is not None:
        # Without the file that describes its set, a file still says what it has itself.
        name = find_missing_metadata(header, opener)
        if name is not None:
            lost = {"missing_files": [name]}
        elif (found := find_set(header, opener)) is not None:
            return _describe_set(header, found)
    with translate_errors(), lend(header.file) as file:
        series = find_series(header, file, 0)
        key = series.keyframe
        hyperstack = hyperstack_of(header, header.pages[0])
        image = describe_level(header, series, series, 0)
        metadata = {
            "kind": series.kind,
            "axes": full_shape(header, series)[0],
            "pages": len(header.pages),
            "series": len(key.parent.series),
            **_coding(key),
            "levels": [full_shape(header, level)[1] for level in series.levels],
            **_resolution(key, header, hyperstack),
            **tell(image, has_labels=hyperstack is None),
        }
        if hyperstack is not None:
            metadata |= hyperstack.extras(image)
        missing = missing_planes(header)
        if missing is not None:
            metadata["missing_planes"] = missing
        metadata |= _description(key) | lost
    pixels = find_pixels(header.file)
    return {
        "shape": pixels.shape,
        "dtype": pixels.dtype.str,
        "image": image,
        "metadata": metadata,
    }


def _describe_set(header: Header, found: TiffSet) -> Document:
    pixels = set_pixels(found, None, 0)
    words, image = pixels.words(), pixels.image
    smaller = [set_pixels(found, None, level).shape for level in range(1, pixels.levels)]
    pages = image.pages_of(OWN)
    with translate_errors(), lend(header.file) as file:
        key, _ = find_pages(header, file, [pages[0] if pages else 0], 0)
        metadata = {
            "kind": "ome",
            "axes": pixels.letters,
            "pages": len(header.pages),
            "series": len(found.images),
            **_coding(key),
            "levels": [pixels.shape, *smaller],
            **_ome_resolution(found.text, image.number),
            **tell(words, has_labels=True),
            "files": len(image.files()),
            "missing_files": found.missing_files(image),
            **_description(key),
        }
    return {
        "shape": pixels.shape,
        "dtype": pixels.dtype.str,
        "image": words,
        "metadata": metadata,
    }


def _coding(page: tifffile.TiffPage) -> Document:
    codec = page.compression
    return {
        "compression": _CODECS.get(codec, _name(tifffile.COMPRESSION, codec)),
        "photometric": _name(tifffile.PHOTOMETRIC, page.photometric),
    }


def _description(page: tifffile.TiffPage) -> Document:
    text = page.description
    # tifffile's own description only repeats the shape.
    if not text or text.startswith('{"shape"'):
        return {}
    return {"description": text[:_DESCRIPTION_LIMIT]}


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
        sizes = _ome_resolution(header.descriptions[0].decode(errors="replace"), 0)
        if sizes:
            return sizes
    # tifffile writes (1, 1) without a unit into files whose resolution is not known.
    if _X_RESOLUTION not in page.tags or (unit is None and page.resolution == (1, 1)):
        return {}
    return {"resolution": page.resolution, "resolution_unit": unit}


def _ome_resolution(text: str, number: int) -> Document:
    from .ome_xml import ome_pixels, ome_resolution

    found = ome_pixels(text, number)
    return {} if found is None else ome_resolution(found[2])
