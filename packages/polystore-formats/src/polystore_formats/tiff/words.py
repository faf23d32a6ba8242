"""The words of :func:`polystore_core.image_metadata`, as ``Tiff.save`` takes them.

ImageJ, OME and plain files write them in different ways, and check them in this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from polystore_core import AXIS_TYPES, image_metadata
from polystore_core.errors import InvalidOptionError

if TYPE_CHECKING:
    from polystore_core import ImageMetadata, Pixels, Value

__all__ = ["axis_names", "image_words", "known_sizes"]


def axis_names(array: Pixels, axes: str | None, channels: Value, samples: int | None) -> str:
    """Return one small letter for each axis; ``samples`` is the axis of colours, -1 or -3.

    Raises ``InvalidOptionError`` for more than 3 axes without names, because there is a choice.
    """
    if axes is not None:
        names = list(axes.lower())
        if samples is not None and names[samples] == "c":
            names[samples] = "s"
        return "".join(names)
    count = len(channels) if isinstance(channels, Sequence) else -1
    stacks = {2: "yx", 3: "cyx" if count == array.shape[0] else "zyx"}
    planes = stacks.get(array.ndim - (samples is not None))
    if planes is None:
        expected = f"names for {array.ndim} dimensions, such as 'tzcyx'"
        raise InvalidOptionError("axes", axes, expected)
    if samples is None:
        return planes
    return f"{planes}s" if samples == -1 else f"{planes[:-2]}syx"


def image_words(
    array: Pixels, names: str, *, scale: Value, units: Value, channels: Value
) -> ImageMetadata:
    """Return the words, checked, of the axes in ``names`` but "s", in the order t, c, z, y, x."""
    planes = names.replace("s", "")
    ordered = [axis for axis in AXIS_TYPES if axis in planes]
    if len(ordered) < len(planes):
        expected = "some of t, c, z, y, x and s, which scale=, units= and channels= need"
        raise InvalidOptionError("axes", names, expected)
    shape = dict(zip(names, array.shape, strict=True))
    return image_metadata(
        [shape[axis] for axis in ordered],
        array.dtype,
        axes=ordered,
        scale=_by_axis(scale, names, planes),
        units=units,
        channels=channels,
    )


def _by_axis(scale: Value, names: str, planes: str) -> Value:
    if isinstance(scale, Sequence | np.ndarray) and len(scale) in (len(names), len(planes)):
        letters = names if len(scale) == len(names) else planes
        sizes = zip(letters, scale, strict=True)
        return {axis: value for axis, value in sizes if axis in planes}
    return scale


def known_sizes(found: ImageMetadata, scale: Value, units: Value) -> dict[str, float]:
    """Return the sizes that are known.

    Raises ``InvalidOptionError`` for a unit without any size.
    """
    if scale is None and units is not None:
        fault = "units= needs scale=: a unit says nothing without a size"
        raise InvalidOptionError("units", units, "None", fault)
    return {axis.name: axis.scale for axis in found.axes if axis.scale is not None}
