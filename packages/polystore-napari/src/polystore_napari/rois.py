"""Convert ROIs to the data of napari's layers. Imports neither napari nor Qt.

:mod:`.shapes` turns each shape into rows, and :mod:`.drawn` reads the layers back.

=================================== ===================================================
Rectangle, Ellipse                  shapes: ``rectangle``, ``ellipse``: four corners
Polygon, Polyline, Line             shapes: ``polygon``, ``path``, ``line``
Composite                           shapes: a ``polygon`` for each part
a polygon that napari cannot fill   shapes: a ``path`` that ends where it begins
Points                              points: a row for each
Mask                                labels: a label for each, overlaps in other layers
=================================== ===================================================

Both sides count (y, x) from the centre of the first pixel, so coordinates are not shifted.

**Planes.** napari aligns the axes of layers at the last one. If the position of a ROI has a slider
axis, its layer has all axes from that one on. If the position does not have a later axis, that axis
is called "" and stretched by :data:`STRETCH`, so that its only plane fills the slider. For example,
a ROI with t and without z in a window of t, z, y, x has the axes ("t", "", "y", "x"). A ROI without
a plane goes to a layer of y and x.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from polystore_core.errors import UnsupportedDataError
from polystore_core.rois import ROI, Mask, Points, Position, Shape
from polystore_stream.viewers.outlines import to_outlines

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from polystore_core import Pixels

__all__ = [
    "MOST_LABELS_LAYERS",
    "MOST_PIXELS",
    "MOST_VERTICES",
    "POSITIONED",
    "STRETCH",
    "LayerType",
    "Plane",
    "RoiLayer",
    "to_layers",
]

STRETCH = 2.0**73
"""Scale of an axis called "". napari shows a shape near its plane, but a mouse can select it only
exactly in the plane. With this scale, 1 + position / STRETCH is exactly 1.0 for up to a million
planes, so every position is in the plane."""
MOST_PIXELS = 2**31
"""Most pixels of the labels layers for some masks, with all their planes."""
MOST_LABELS_LAYERS = 16
"""Most labels layers for masks that overlap. Each one takes a quarter of a second to add."""
MOST_VERTICES = 2**19
"""Most vertices of one shapes layer. They keep napari busy for 5 to 20 seconds."""
_VERTICES_OF_A_SHAPE = 8
"""A shape takes as long as this many vertices, in addition to its own."""

POSITIONED = ("c", "z", "t")
"""Axes that the position of a ROI can have."""

LayerType: TypeAlias = Literal["shapes", "points", "labels"]
Plane: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoiLayer:
    """The data of one napari layer that shows some ROIs.

    If you assign ``features`` to an existing layer, napari resets its ``feature_defaults`` to the
    last row. Assign ``feature_defaults`` afterwards, or the next shape that a user draws gets the
    name of that ROI.
    """

    type: LayerType
    data: Sequence[NDArray[np.float64]] | NDArray[Any]
    """Shapes: vertices of each, shape (n, D). Points: shape (n, D). Labels: an image."""
    axes: tuple[str, ...]
    """Axes of the data: sliders, "y" and "x". "" is an axis whose only plane is always shown."""
    features: dict[str, NDArray[Any]]
    """Shapes and points: "name" and "roi" (an index into ``rois``) of each row. Labels: "index"
    (the label, which is the index into ``rois`` plus 1) and "name", the background first."""
    rois: tuple[ROI, ...]
    """The ROIs of the rows: the ``known`` of :func:`.from_layer`."""
    saved: int
    """Number of ``rois`` that the pipeline has saved. They are the first. The others are the
    user's."""
    shape_types: tuple[str, ...] = ()
    """Type of each item of a shapes layer's data."""
    translate: tuple[float, ...]
    """Position of the first pixel on each axis, in pixels of the image. Axes "" are not scaled."""

    @property
    def scale(self) -> tuple[float, ...]:
        """Scale of each axis, relative to the image. Axes "" are not multiplied."""
        return tuple(1.0 if axis else STRETCH for axis in self.axes)

    @property
    def feature_defaults(self) -> dict[str, object]:
        """Features of a shape that a user draws. It is not one of ``rois``."""
        return {} if self.type == "labels" else {"name": "", "roi": -1}

    @property
    def arguments(self) -> dict[str, object]:
        """Arguments of napari's ``add_shapes``, ``add_points`` or ``add_labels``.

        They fit an image with pixels of size 1.
        """
        given: dict[str, object] = {
            "data": self.data,
            "features": self.features,
            "scale": self.scale,
            "translate": self.translate,
        }
        if self.type == "shapes":
            given["shape_type"] = list(self.shape_types)
        if self.type != "labels":
            given["feature_defaults"] = self.feature_defaults
        return given

    def with_lines(self, chosen: Collection[int]) -> RoiLayer:
        """Return a shapes layer with the polygons in the rows ``chosen`` as closed paths."""
        rows = enumerate(zip(self.data, self.shape_types, strict=True))
        drawn = [
            (np.concatenate((vertices, vertices[:1])), "path")
            if kind == "polygon" and row in chosen
            else (vertices, kind)
            for row, (vertices, kind) in rows
        ]
        return replace(
            self,
            data=[vertices for vertices, _ in drawn],
            shape_types=tuple(kind for _, kind in drawn),
        )

    def to_pixels(self, coordinates: Pixels) -> NDArray[np.float64]:
        """Convert coordinates of the layer's data, shape (n, D), to pixels of the image."""
        moved: NDArray[np.float64] = coordinates * np.array(self.scale) + self.translate
        return moved


def to_layers(
    rois: Iterable[ROI],
    sliders: Sequence[str] = (),
    *,
    shape: tuple[int, int] | None = None,
    added: Iterable[ROI] = (),
) -> list[RoiLayer]:
    """Return as few layers as possible that show the ROIs, in the order of their first ROIs.

    Args:
        rois: ROIs of the pipeline.
        sliders: Names of the window's axes before y and x. An axis of a position that is not a
            slider, such as "c" when channels are layers, is kept and not shown.
        shape: Height and width of the image. Labels layers cover at least this area.
        added: ROIs of the user. They come after ``rois`` in their layers.

    Raises:
        UnsupportedDataError: Masks need more than :data:`MOST_PIXELS` or
            :data:`MOST_LABELS_LAYERS`, shapes have more than :data:`MOST_VERTICES`, or a shape
            is of an unknown class.
    """
    groups: dict[tuple[LayerType, tuple[str, ...]], tuple[list[ROI], list[ROI]]] = {}
    for number, some in enumerate((rois, added)):
        for roi in some:
            kind = _layer_type(roi.shape), _axes(roi, sliders)
            groups.setdefault(kind, ([], []))[number].append(roi)
    layers: list[RoiLayer] = []
    for (layer_type, axes), (saved, own) in groups.items():
        members, count = saved + own, len(saved)
        if layer_type == "labels":
            layers += _labels(members, count, axes, shape or (0, 0))
        else:
            layers.append(_vertices(layer_type, members, count, axes))
    return layers


def _layer_type(shape: Shape) -> LayerType:
    if isinstance(shape, Mask):
        return "labels"
    return "points" if isinstance(shape, Points) else "shapes"


def _axes(roi: ROI, sliders: Sequence[str]) -> tuple[str, ...]:
    names = [axis if _index(roi.position, axis) is not None else "" for axis in sliders]
    first = next((at for at, name in enumerate(names) if name), len(names))
    return (*names[first:], "y", "x")


def _index(position: Position, axis: str) -> int | None:
    index: int | None = getattr(position, axis) if axis in POSITIONED else None
    return index


def _plane(roi: ROI, axes: Sequence[str], stretched: int) -> Plane:
    """Return the coordinates before y and x. An axis called "" has the coordinate ``stretched``."""
    indices = (_index(roi.position, axis) for axis in axes[:-2])
    return tuple(stretched if index is None else index for index in indices)


def _vertices(
    type: LayerType, rois: Sequence[ROI], saved: int, axes: tuple[str, ...]
) -> RoiLayer:
    """Return a shapes layer with a row for each outline, or a points layer with one per point."""
    outlines = [(number, *o) for number, roi in enumerate(rois) for o in to_outlines(roi.shape)]
    data = [_lift(outline, _plane(rois[at], axes, 1)) for at, _, outline in outlines]
    is_shapes = type == "shapes"
    if is_shapes:
        _check_vertices(data)
    lengths = [1 if is_shapes else len(rows) for rows in data]
    numbers = np.repeat([number for number, _, _ in outlines], lengths)
    return RoiLayer(
        type=type,
        data=data if is_shapes else np.concatenate(data),
        axes=axes,
        features={"name": _make_column([rois[at].name for at in numbers]), "roi": numbers},
        rois=tuple(rois),
        saved=saved,
        shape_types=tuple(kind for _, kind, _ in outlines) if is_shapes else (),
        translate=tuple(0.0 if axis else -STRETCH for axis in axes),
    )


def _check_vertices(outlines: Sequence[NDArray[np.float64]]) -> None:
    count = sum(map(len, outlines))
    if count + _VERTICES_OF_A_SHAPE * len(outlines) > MOST_VERTICES:
        raise UnsupportedDataError(
            f"{len(outlines)} outlines have {count} vertices, but a napari layer draws at most "
            f"{MOST_VERTICES} (each outline counts for {_VERTICES_OF_A_SHAPE} more): save areas "
            "with labels=True, or save fewer at a time"
        )


def _lift(outline: NDArray[np.float64], plane: Plane) -> NDArray[np.float64]:
    lifted = np.empty((len(outline), len(plane) + 2))
    lifted[:, :-2], lifted[:, -2:] = plane, outline
    return lifted


def _make_column(texts: Sequence[str]) -> NDArray[np.object_]:
    # Give napari an array: np.asarray of a list would use the width of the longest text for each
    # row, and drop NUL characters at the end.
    column = np.empty(len(texts), object)
    column[:] = texts
    return column


def _labels(
    rois: Sequence[ROI], saved: int, axes: tuple[str, ...], shape: tuple[int, int]
) -> Iterator[RoiLayer]:
    """Yield labels layers. Each mask goes to the first layer where its pixels are free."""
    # First compute the box of all masks in all planes, because every layer must have its size. Then
    # put one mask after another into the first image that is free at its pixels.
    masks = [roi.shape for roi in rois if isinstance(roi.shape, Mask)]
    planes = np.array([_plane(roi, axes, 0) for roi in rois], np.int64).reshape(len(rois), -1)
    starts = np.column_stack((planes, [mask.origin for mask in masks]))
    ends = np.column_stack((planes, [mask.pixels.shape for mask in masks]))
    ends[:, :-2] += 1
    ends[:, -2:] += starts[:, -2:]
    low, high = starts.min(axis=0), ends.max(axis=0)
    low[-2:], high[-2:] = np.minimum(low[-2:], 0), np.maximum(high[-2:], shape)
    lengths = _lengths(high - low)
    dtype = np.uint16 if len(rois) < 2**16 else np.uint32
    images: list[tuple[NDArray[Any], list[int]]] = []
    for number, (mask, start) in enumerate(zip(masks, (starts - low).tolist(), strict=True)):
        window = _window(start, mask.pixels.shape)
        free = (
            at for at, (image, _) in enumerate(images) if not image[window][mask.pixels].any()
        )
        at = next(free, len(images))
        if at == len(images):
            _check_layers(at + 1, lengths)
            images.append((np.zeros(lengths, dtype), []))
        image, numbers = images[at]
        numbers.append(number)
        image[window][mask.pixels] = len(numbers)
    for image, numbers in images:
        members = [rois[number] for number in numbers]
        yield RoiLayer(
            type="labels",
            data=image,
            axes=axes,
            features={
                "index": np.arange(len(members) + 1),
                "name": _make_column(["", *(roi.name for roi in members)]),
            },
            rois=tuple(members),
            saved=sum(number < saved for number in numbers),
            translate=tuple(low.astype(float).tolist()),
        )


def _window(start: Sequence[int], size: tuple[int, ...]) -> tuple[int | slice, ...]:
    *plane, y, x = start
    return (*plane, slice(y, y + size[0]), slice(x, x + size[1]))


def _lengths(lengths: NDArray[np.int64]) -> tuple[int, ...]:
    found: list[int] = lengths.tolist()
    if math.prod(found) > MOST_PIXELS:
        raise UnsupportedDataError(
            f"the masks and the planes between them are {' x '.join(map(str, found))} pixels, but "
            f"a labels layer shows at most {MOST_PIXELS}: save masks of fewer planes at a time, "
            "or save polygons"
        )
    return tuple(found)


def _check_layers(count: int, lengths: tuple[int, ...]) -> None:
    if count > MOST_LABELS_LAYERS or count * math.prod(lengths) > MOST_PIXELS:
        size = " x ".join(map(str, lengths))
        raise UnsupportedDataError(
            f"the masks overlap and need at least {count} labels layers of {size} pixels, but "
            f"polystore adds at most {MOST_LABELS_LAYERS} layers and {MOST_PIXELS} pixels: save "
            "fewer masks at a time, or save polygons"
        )
