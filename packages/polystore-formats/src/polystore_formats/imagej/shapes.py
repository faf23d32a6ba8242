"""ImageJ's kinds of ROI, and their shapes.

ImageJ has x before y. Coordinates of areas and angles start at the corner of the first pixel.
Those of other lines and points start at its centre (``Roi.useLineSubpixelConvention``). Vertices
are 16-bit integers from the upper left of the bounds. A ROI with sub-pixel resolution has them in
float32 as well.
"""

from __future__ import annotations

import functools
import math
import struct
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from roifile import ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from polystore_core.errors import (
    DamagedDataError,
    InvalidOptionError,
    UnsupportedDataError,
    UnsupportedFileError,
)
from polystore_core.rois import (
    Composite,
    Ellipse,
    Line,
    Mask,
    Points,
    Polygon,
    Polyline,
    Rectangle,
    Shape,
)

from .outlines import fill, read_path, trace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from polystore_core import Value

__all__ = [
    "KINDS",
    "UPRIGHT",
    "as_mask",
    "corners_of",
    "default_kind",
    "is_near",
    "kind_of",
    "mask_outlines",
    "possible_kinds",
    "shape_of",
    "shift_of",
]


class _Kind(NamedTuple):
    """ImageJ's numbers for a kind, and the shapes that it can have."""

    code: ROI_TYPE
    subtype: ROI_SUBTYPE
    shapes: tuple[type[Shape], ...]
    """The default kind of a shape is the first one in ``KINDS`` that has it."""


_NO = ROI_SUBTYPE.UNDEFINED
KINDS = {
    "polygon": _Kind(ROI_TYPE.POLYGON, _NO, (Polygon, Mask)),
    "freehand": _Kind(ROI_TYPE.FREEHAND, _NO, (Polygon, Mask)),
    "traced": _Kind(ROI_TYPE.TRACED, _NO, (Polygon, Mask)),
    "composite": _Kind(ROI_TYPE.RECT, _NO, (Composite, Mask)),
    "rectangle": _Kind(ROI_TYPE.RECT, _NO, (Rectangle,)),
    "text": _Kind(ROI_TYPE.RECT, ROI_SUBTYPE.TEXT, (Rectangle,)),
    "image": _Kind(ROI_TYPE.RECT, ROI_SUBTYPE.IMAGE, (Rectangle,)),
    "rotated rectangle": _Kind(ROI_TYPE.FREEHAND, ROI_SUBTYPE.ROTATED_RECT, (Rectangle,)),
    "oval": _Kind(ROI_TYPE.OVAL, _NO, (Ellipse,)),
    "ellipse": _Kind(ROI_TYPE.FREEHAND, ROI_SUBTYPE.ELLIPSE, (Ellipse,)),
    "line": _Kind(ROI_TYPE.LINE, _NO, (Line,)),
    "arrow": _Kind(ROI_TYPE.LINE, ROI_SUBTYPE.ARROW, (Line,)),
    "polyline": _Kind(ROI_TYPE.POLYLINE, _NO, (Polyline,)),
    "freeline": _Kind(ROI_TYPE.FREELINE, _NO, (Polyline,)),
    "angle": _Kind(ROI_TYPE.ANGLE, _NO, (Polyline,)),
    "point": _Kind(ROI_TYPE.POINT, _NO, (Points,)),
}
"""ImageJ's kinds of ROI."""
_BY_TYPE = {
    (kind.code, kind.subtype): name for name, kind in KINDS.items() if name != "composite"
}
UPRIGHT = ("rectangle", "text", "image", "oval")
_SAME_PLACE = 1e-3  # pixels: more than float32 rounds, less than anybody moves a ROI


def kind_of(record: ImagejRoi) -> str:
    """Return the kind of a ROI. Raises ``UnsupportedDataError`` for an unknown one."""
    if record.composite:
        return "composite"
    # A subtype that this type does not have is ignored, as ImageJ ignores it.
    subtypes = (record.subtype, ROI_SUBTYPE.UNDEFINED)
    for subtype in subtypes:
        if (record.roitype, subtype) in _BY_TYPE:
            return _BY_TYPE[record.roitype, subtype]
    raise UnsupportedDataError(f"its ROI type {int(record.roitype)} is unknown", "roi")


def default_kind(shape: Shape) -> str:
    """Return the kind that a shape has if its settings name no other."""
    if isinstance(shape, Mask):
        return "traced" if len(mask_outlines(shape)) == 1 else "composite"
    if isinstance(shape, Rectangle | Ellipse) and shape.angle:
        return "rotated rectangle" if isinstance(shape, Rectangle) else "ellipse"
    return next(name for name, kind in KINDS.items() if type(shape) in kind.shapes)


@functools.lru_cache(maxsize=1)  # encode_roi needs the outlines of one mask several times
def mask_outlines(mask: Mask) -> list[NDArray[np.float64]]:
    """Return the outlines along a mask's pixels: (x, y) from the corner of the first pixel."""
    y, x = mask.origin
    return [loop[:, ::-1] + (x, y) for loop in trace(mask.pixels)]


def possible_kinds(shape: Shape) -> list[str]:
    """Return the kinds of ROI that a shape can have."""
    known = [name for name, kind in KINDS.items() if type(shape) in kind.shapes]
    if isinstance(shape, Rectangle | Ellipse) and shape.angle:
        return [name for name in known if name not in UPRIGHT]
    if isinstance(shape, Mask) and default_kind(shape) == "composite":
        return ["composite"]
    return known


def shape_of(record: ImagejRoi, kind: str) -> Shape:
    """Return the shape of a ROI of this kind.

    Raises:
        DamagedDataError: A coordinate is not a finite number.
        UnsupportedFileError: The shape has no area, or too few vertices.
    """
    try:
        return _shape(record, kind)
    except DamagedDataError:
        raise
    except InvalidOptionError as error:
        raise UnsupportedFileError(
            f"its {kind} has wrong {error.option}: expected {error.expected}", "roi"
        ) from error
    except UnsupportedDataError as error:
        raise UnsupportedFileError(f"its {kind} is not valid: {error.reason}", "roi") from error
    except ValueError as error:
        raise DamagedDataError(str(error), "roi") from error


def _shape(record: ImagejRoi, kind: str) -> Shape:
    shift = shift_of(kind)
    if kind == "composite":
        outlines = read_path(_finite(record.multi_coordinates))
        return Composite(outline[:, ::-1] - shift for outline in outlines)
    if kind in UPRIGHT:
        x, y = record.left, record.top  # integers, less exact than the floats below
        # roifile reads a side of length 0 as one of length 65536.
        width, height = (record.right - x) % 65536, (record.bottom - y) % 65536
        if record.subpixelrect:
            box = [record.xd, record.yd, record.widthd, record.heightd]
            x, y, width, height = _finite(box).tolist()
        made = Ellipse if kind == "oval" else Rectangle
        return made((y + height / 2 - shift, x + width / 2 - shift), (height, width))
    if kind in ("line", "arrow", "ellipse", "rotated rectangle"):
        x1, y1, x2, y2 = _finite([record.x1, record.y1, record.x2, record.y2]).tolist()
        if kind in ("line", "arrow"):
            return Line([[y1, x1], [y2, x2]])
        along, across = math.hypot(x2 - x1, y2 - y1), _read_parameter(record)
        centre = ((y1 + y2) / 2 - shift, (x1 + x2) / 2 - shift)
        angle = math.degrees(math.atan2(y1 - y2, x2 - x1))
        if kind == "ellipse":
            return Ellipse(centre, (along * across, along), angle)
        return Rectangle(centre, (across, along), angle)
    path = next(made for made in (Polygon, Polyline, Points) if made in KINDS[kind].shapes)
    return path(_finite(_vertices(record))[:, ::-1] - shift)


def shift_of(kind: str) -> float:
    """Return the distance in pixels from ImageJ's origin for this kind to that of our shapes."""
    lines = ("line", "arrow", "polyline", "freeline", "point")
    return 0.0 if kind in lines else 0.5


def _finite(numbers: Value) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # a signalling NaN
        array = np.asarray(numbers, np.float64)
    if not np.isfinite(array).all():
        raise DamagedDataError("it has coordinates that are not finite", "roi")
    return array


def _vertices(record: ImagejRoi) -> Value:
    if record.subpixel_coordinates is not None:
        return record.subpixel_coordinates
    if record.integer_coordinates is None:
        raise DamagedDataError("it has no vertices", "roi")
    return record.integer_coordinates + np.array((record.left, record.top))


def _read_parameter(record: ImagejRoi) -> float:
    numbers = struct.pack(
        ">BBh",
        record.arrow_style_or_aspect_ratio,
        record.arrow_head_size,
        record.rounded_rect_arc_size,
    )
    (value,) = struct.unpack(">f", numbers)
    return float(_finite(value))


def as_mask(shape: Shape) -> Shape:
    """Return the mask inside outlines along pixel edges, or ``shape`` if it has others."""
    parts = shape.parts if isinstance(shape, Composite) else (shape,)
    outlines = [part.coordinates + 0.5 for part in parts if isinstance(part, Polygon)]
    filled = fill(outlines) if outlines else None
    return shape if filled is None or not filled[0].any() else Mask(*filled)


def is_near(one: Shape, other: Shape) -> bool:
    """Return whether two shapes are equal up to the precision of float32."""
    if type(one) is not type(other):
        return False
    pairs = list(zip(corners_of(one), corners_of(other), strict=False))
    return len(corners_of(one)) == len(corners_of(other)) and all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-6, atol=_SAME_PLACE) for a, b in pairs
    )


def corners_of(shape: Shape) -> list[NDArray[np.float64]]:
    """Return the (y, x) vertices of each part of a shape."""
    if isinstance(shape, Rectangle | Ellipse):
        return [Rectangle(shape.centre, shape.size, shape.angle).corners]
    if isinstance(shape, Composite):
        return [part.coordinates for part in shape.parts]
    assert isinstance(shape, Points | Line | Polyline | Polygon)
    return [shape.coordinates]
