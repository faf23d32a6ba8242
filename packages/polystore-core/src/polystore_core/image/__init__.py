"""Images and their metadata, the same for every format, backend and viewer."""

from __future__ import annotations

from .documents import metadata_document, with_document
from .image import Image, array_and_words, no_words
from .metadata import AXIS_TYPES, Axis, Channel, ImageKind, ImageMetadata, Position, finite
from .units import SPACE_UNITS, TIME_UNITS, spell_out
from .words import HEX_COLOR, by_axis, channel_colors, image_metadata
from .xarrays import is_dataarray, of_dataarray, to_xarray

__all__ = [
    "AXIS_TYPES",
    "HEX_COLOR",
    "SPACE_UNITS",
    "TIME_UNITS",
    "Axis",
    "Channel",
    "Image",
    "ImageKind",
    "ImageMetadata",
    "Position",
    "array_and_words",
    "by_axis",
    "channel_colors",
    "finite",
    "image_metadata",
    "is_dataarray",
    "metadata_document",
    "no_words",
    "of_dataarray",
    "spell_out",
    "to_xarray",
    "with_document",
]
