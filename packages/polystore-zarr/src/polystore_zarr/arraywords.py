"""The metadata of a plain array: into its document, and back.

Zarr 3 has a field for the names of axes. In Zarr 2, they are in an attribute, by xarray's
convention. The rest is in the attribute "polystore", in the form of ``metadata_document``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import (
    AXIS_TYPES,
    Axis,
    ImageMetadata,
    dtype_name,
    image_metadata,
    with_document,
)

from .creating import DIMENSIONS
from .ome import lower_names, words_left
from .store.base import MARKER

if TYPE_CHECKING:
    from collections.abc import Sequence

    import zarr

    from polystore_core import Value
    from polystore_core.errors import DamagedDataError

    from .images import ImageOptions
    from .store.nodes import Document

__all__ = [
    "array_words",
    "check_words",
    "describe_array",
    "explain_tail",
    "mark_words",
    "restore_dtype",
]


def check_words(
    value: Value, words: ImageMetadata | None, options: ImageOptions
) -> ImageMetadata | None:
    """Return the metadata in the options of a caller, completed by that of the value.

    Returns ``None`` if neither has any. Raises ``InvalidOptionError``.
    """
    if words is None and options.given() is None:
        return None
    axes = options.axes
    if axes is None and words is None:
        axes = options.usual_axes(value.shape)
    return image_metadata(
        value.shape,
        value.dtype,
        axes=axes,
        scale=options.scale,
        units=options.units,
        channels=options.channels,
        like=words,
        any_axes=True,
    )


def mark_words(metadata: ImageMetadata) -> dict[str, Any]:
    """Return the entries for the attribute "polystore" of an array."""
    left = words_left(metadata)
    return {"image": left} if left else {}


def array_words(document: Document, shape: Sequence[int]) -> ImageMetadata | None:
    """Return the metadata of an array, or ``None`` if its axes have no names."""
    attributes = document.attributes
    names = document.fields.get("dimension_names") or attributes.get(DIMENSIONS)
    # Any program can write these fields, so wrong ones mean no names and not an error.
    if not isinstance(names, list) or len(names) != len(shape) or not names:
        return None
    if not all(isinstance(name, str) and name for name in names):
        return None
    names = lower_names(names)
    # Zarr allows equal names, but an image selects by its names.
    if len(set(names)) < len(names):
        return None
    found = ImageMetadata(axes=tuple([Axis(name, AXIS_TYPES.get(name)) for name in names]))
    marks = attributes.get(MARKER)
    said = marks.get("image") if isinstance(marks, Mapping) else None
    return found if said is None else with_document(found, said, shape)


def restore_dtype(stored: np.dtype[Value], marked: object) -> np.dtype[Value]:
    """Return the dtype that was saved. Zarr 3 stores no byte order, so ``marked`` has it."""
    if not (isinstance(marked, str) and marked):
        return stored
    try:
        dtype = np.dtype(marked)
    except TypeError:
        return stored
    # The mark only adds a byte order. Another type is left by a program that wrote the array
    # again and kept our attribute.
    return dtype if dtype.newbyteorder("=") == stored.newbyteorder("=") else stored


def explain_tail(error: DamagedDataError, document: Document, end: int) -> None:
    """Add to an error that some frames before ``end`` were not flushed, if this is the case."""
    flushed = document.marks.get("flushed")
    if isinstance(flushed, int) and flushed < end:
        error.reason += (
            f". Frames from {flushed} on were not flushed, so a power cut may have damaged them: "
            "open the array with mode='a' to cut them off"
        )


def describe_array(
    array: zarr.Array[Value],
    dtype: np.dtype[Value],
    chunks: tuple[int, ...],
    shards: tuple[int, ...] | None,
    *,
    grows: bool,
) -> dict[str, Any]:
    """Return the dtype and the metadata of an array, for ``Info``."""
    found: dict[str, Any] = dict(array.metadata.to_dict())
    attributes = dict(found.get("attributes") or {})
    attributes.pop(MARKER, None)
    metadata = {
        "zarr_format": array.metadata.zarr_format,
        "chunks": chunks,
        "shards": shards,
        "compressors": [
            codec.to_dict() if hasattr(codec, "to_dict") else codec.get_config()
            for codec in array.compressors
        ],
        "fill_value": found["fill_value"],
        "attributes": attributes,
    }
    if grows:
        metadata["grows"] = True
    names = found.get("dimension_names")
    if names:
        metadata["dimension_names"] = tuple(names)
    # "T" is the code of NumPy's text. NumPy itself cannot read the ``str`` of this dtype.
    return {"dtype": "T" if dtype.kind == "T" else dtype_name(dtype), "metadata": metadata}
