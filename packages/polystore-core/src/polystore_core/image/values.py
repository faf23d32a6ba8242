"""Values that carry the words of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import UnsupportedDataError
from .image import Image
from .xarrays import is_dataarray, of_dataarray

if TYPE_CHECKING:
    from ..values import Value
    from .metadata import ImageMetadata

__all__ = ["array_and_words", "no_words"]


def array_and_words(value: Value) -> tuple[Value, ImageMetadata | None]:
    """Return the array in ``value`` and what it says of itself: of an Image or a DataArray.

    Any other value is returned as it is, with ``None``. What writes images calls this first, and
    passes the words to :func:`image_metadata` as ``like``.

    Raises ``InvalidOptionError`` for a DataArray with coords that no image has.
    """
    if type(value) is np.ndarray:
        return value, None
    if isinstance(value, Image):
        return value.data, value.metadata
    if is_dataarray(value):
        return value.data, of_dataarray(value)
    return value, None


def no_words(format_name: str = "") -> UnsupportedDataError:
    """Return the error for an array that says nothing of its axes."""
    reason = (
        "it does not say what its axes are: load it without as_=, and name them with "
        "Image.of(array, axes=…)"
    )
    return UnsupportedDataError(reason, format_name, operation="load")
