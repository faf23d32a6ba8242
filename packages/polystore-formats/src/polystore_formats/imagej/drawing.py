"""Write shapes into the records of ``.roi`` files.

The bounds, and the integers next to float32 coordinates, are those that ImageJ 1.53t writes.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from roifile import ROI_OPTIONS, ImagejRoi

from polystore_core.rois import Ellipse, Line, Mask, Polygon, Rectangle, Shape

from .outlines import path_of
from .shapes import KINDS, UPRIGHT, corners_of, mask_outlines, shift_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from polystore_core import Pixels

__all__ = ["draw"]

_LEAST, _MOST = -5000, 60535
"""The integers that ImageJ can read from 16 bits: it takes a value below -5000 as unsigned."""
_ELLIPSE_VERTICES = 72  # EllipseRoi.vertices


def draw(record: ImagejRoi, shape: Shape, kind: str, subpixel: bool | None) -> bool:
    """Write a shape into ``record`` as a ROI of this kind.

    Args:
        record: the record, which is changed.
        shape: the shape.
        kind: a name of ``KINDS``.
        subpixel: whether coordinates are float32 also if integers are exact. With ``None``, the
            kind decides, as in ImageJ.

    Returns:
        Whether the coordinates are float32.
    """
    record.roitype, record.subtype = KINDS[kind].code, KINDS[kind].subtype
    if kind == "composite":
        outlines = _outlines(shape)
        record.multi_coordinates = path_of(outlines).astype(np.float32)
        record.shape_roi_size = len(record.multi_coordinates)
        points = np.concatenate(outlines)
        _set_bounds(record, np.floor(points.min(axis=0)), np.ceil(points.max(axis=0)))
        is_fine = bool(subpixel)
    elif isinstance(shape, Rectangle | Ellipse) and kind in UPRIGHT:
        is_fine = _draw_box(record, shape, subpixel)
    elif isinstance(shape, Rectangle | Ellipse):
        is_fine = subpixel is not False
        _draw_turned(record, shape, kind)
    elif isinstance(shape, Line):
        is_fine = bool(subpixel)
        points = shape.coordinates[:, ::-1].astype(np.float32)
        (record.x1, record.y1), (record.x2, record.y2) = points.tolist()
        _set_line_bounds(record, points)
    else:
        vertices = (
            _outlines(shape)[0]
            if isinstance(shape, Polygon | Mask)
            else corners_of(shape)[0][:, ::-1] + shift_of(kind)
        )
        is_fine = _draw_path(record, vertices, kind, subpixel)
    if is_fine:
        record.options |= ROI_OPTIONS.SUB_PIXEL_RESOLUTION
    return is_fine


def _outlines(shape: Shape) -> list[NDArray[np.float64]]:
    """Return (x, y) coordinates from the corner of the first pixel."""
    if isinstance(shape, Mask):
        return mask_outlines(shape)
    return [part[:, ::-1] + 0.5 for part in corners_of(shape)]


def _draw_box(record: ImagejRoi, shape: Rectangle | Ellipse, subpixel: bool | None) -> bool:
    (y, x), (height, width) = shape.centre, shape.size
    left, top = x - width / 2 + 0.5, y - height / 2 + 0.5
    ends = np.array([left, top, left + width, top + height, width, height])
    is_fine = subpixel or not _are_integers(ends)
    if is_fine:
        floats = np.array([left, top, width, height], np.float32).tolist()
        record.xd, record.yd, record.widthd, record.heightd = floats
    # ImageJ casts to int, which rounds towards zero.
    low = np.trunc([left, top])
    _set_bounds(record, low, low + np.ceil([width, height]))
    return is_fine


def _are_integers(numbers: Pixels) -> bool:
    return (
        bool((numbers == np.rint(numbers)).all())
        and _LEAST <= numbers.min() <= numbers.max() <= _MOST
    )


def _draw_turned(record: ImagejRoi, shape: Rectangle | Ellipse, kind: str) -> None:
    height, width = shape.size
    # EllipseRoi starts from the longer axis, and its aspect ratio is at most 1.
    if isinstance(shape, Ellipse) and height > width:
        shape = Ellipse(shape.centre, (width, height), shape.angle + 90)
        height, width = shape.size
    corners = Rectangle(shape.centre, shape.size, shape.angle).corners[:, ::-1] + 0.5
    start, end = (corners[0] + corners[3]) / 2, (corners[1] + corners[2]) / 2
    ends = np.array([start, end], np.float32).astype(np.float64)
    (record.x1, record.y1), (record.x2, record.y2) = ends.tolist()
    parameter = height / width if kind == "ellipse" else height
    # ImageJ stores this float in the bytes of three fields that these kinds do not use.
    numbers = struct.unpack(">BBh", struct.pack(">f", parameter))
    record.arrow_style_or_aspect_ratio, record.arrow_head_size = numbers[:2]
    record.rounded_rect_arc_size = numbers[2]
    if kind == "ellipse":
        vertices = _ellipse_vertices(ends[0], ends[1], parameter)
    else:
        vertices = _rectangle_vertices(ends[0], ends[1], parameter)
    low = np.trunc(vertices.min(axis=0))
    _set_bounds(record, low, low + np.trunc(vertices.max(axis=0) - low + 0.5))
    record.integer_coordinates = np.floor(vertices - low + 0.5).astype(np.int64)
    record.subpixel_coordinates = vertices
    record.n_coordinates = len(vertices)


def _ellipse_vertices(
    start: NDArray[np.float64], end: NDArray[np.float64], ratio: float
) -> NDArray[np.float32]:
    (dx, dy), centre = end - start, (start + end) / 2
    major = math.hypot(dx, dy)
    beta = np.radians(np.arange(_ELLIPSE_VERTICES) * (360 / _ELLIPSE_VERTICES))
    u, v = np.cos(beta) * major / 2, np.sin(beta) * major * ratio / 2
    turned, radius = np.arctan2(v, u) + math.atan2(dy, dx), np.hypot(u, v)
    vertices = centre + np.stack((np.cos(turned) * radius, np.sin(turned) * radius), axis=1)
    return np.asarray(vertices, np.float32)


def _rectangle_vertices(
    start: NDArray[np.float64], end: NDArray[np.float64], width: float
) -> NDArray[np.float32]:
    dx, dy = end - start
    angle = math.atan(dx / dy) if dy else math.copysign(math.pi / 2, dx)
    aside = width / 2 * np.array([math.cos(angle), -math.sin(angle)])
    vertices = np.array([start + aside, end + aside, end - aside, start - aside, start + aside])
    return vertices.astype(np.float32)


def _draw_path(
    record: ImagejRoi, vertices: NDArray[np.float64], kind: str, subpixel: bool | None
) -> bool:
    ends = np.concatenate((vertices, vertices - vertices.min(axis=0)))
    wanted = kind == "point" if subpixel is None else subpixel
    is_fine = wanted or not _are_integers(ends)
    points: NDArray[Any] = vertices.astype(np.float32) if is_fine else vertices
    low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
    if shift_of(kind):
        _set_bounds(record, np.floor(low), np.ceil(high))
    else:
        _set_line_bounds(record, points)
    record.integer_coordinates = np.floor(points - low + 0.5).astype(np.int64)
    record.subpixel_coordinates = points if is_fine else None
    record.n_coordinates = len(points)
    return is_fine


def _set_line_bounds(record: ImagejRoi, points: Pixels) -> None:
    low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
    start = np.floor(low + 0.5)
    _set_bounds(record, start, start + np.maximum(1, np.trunc(high - start + 1)))


def _set_bounds(record: ImagejRoi, low: Pixels, high: Pixels) -> None:
    record.left, record.top = (int(value) for value in low)
    record.right, record.bottom = (int(value) for value in high)
