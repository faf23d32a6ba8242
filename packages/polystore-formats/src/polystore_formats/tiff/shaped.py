"""The metadata of an image in our plain TIFF files: JSON in tifffile's description.

tifffile calls files with such a description "shaped". The pixel size is also in the tags for the
resolution, for other programs. It is not read from there, because printers use these tags too.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polystore_core import ImageMetadata, metadata_document, with_document

from .units import convert_unit
from .words import CACHED, CACHED_BYTES, bare_axes, note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polystore_core import Document, Value

__all__ = ["Shaped", "shaped_description", "shaped_fields"]

_DENSITY_LIMIT = 4e9
"""The tags hold rational numbers of 32 bits."""


def shaped_fields(image: ImageMetadata) -> tuple[Document, Document]:
    """Return the pixel density as arguments of ``TiffWriter.write``, and tifffile's metadata."""
    document = note(image, set())
    if document is None and any(len(name) > 1 for name in image.names):
        # In tifffile's description, axes are single letters.
        document = metadata_document(image)
    fields = {} if document is None else {"polystore": document}
    sizes = {axis.name: axis for axis in image.axes if axis.scale is not None}
    density = [
        1 / size
        for name in "xy"
        if name in sizes
        and (size := convert_unit(sizes[name].scale or 0, sizes[name].unit, "centimeter"))
    ]
    # The tags need both numbers, and cannot hold numbers of any size.
    if len(density) < 2 or not all(1 / _DENSITY_LIMIT < n < _DENSITY_LIMIT for n in density):
        return {}, fields
    return {"resolution": tuple(density), "resolutionunit": "centimeter"}, fields


@dataclass(frozen=True, slots=True, eq=False)
class Shaped:
    """A description that tifffile wrote."""

    axes: str | None
    """A letter for each axis."""
    document: Value
    """Our metadata, if the file has it."""

    def image(self, names: tuple[str, ...], shape: tuple[int, ...]) -> ImageMetadata:
        """Return the metadata of an image. ``names`` are used if the file names no axes."""
        own = () if self.axes else _own_names(self.document)
        return _image(self, own if len(own) == len(names) else names, shape)


def _own_names(document: Value) -> tuple[str, ...]:
    """Return the names of the axes in our document, or ``()`` if they are not all different."""
    axes = document.get("axes") if isinstance(document, dict) else None
    entries = axes if isinstance(axes, list) else []
    given = [entry.get("name") for entry in entries if isinstance(entry, dict)]
    names = {name: None for name in given if isinstance(name, str) and name}
    return tuple(names) if len(names) == len(entries) else ()


def shaped_description(descriptions: Sequence[bytes]) -> Shaped | None:
    """Return the first description that tifffile wrote."""
    for description in descriptions:
        if description.startswith(b'{"shape":'):
            parse = _parse if len(description) <= CACHED_BYTES else _parse.__wrapped__
            return parse(description)
    return None


@functools.lru_cache(maxsize=CACHED)
def _parse(description: bytes) -> Shaped | None:
    try:
        found = json.loads(description)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    axes = found.get("axes")
    return Shaped(axes if isinstance(axes, str) else None, found.get("polystore"))


@functools.lru_cache(maxsize=CACHED)
def _image(
    description: Shaped, names: tuple[str, ...], shape: tuple[int, ...]
) -> ImageMetadata:
    return with_document(ImageMetadata(axes=bare_axes(names)), description.document, shape)
