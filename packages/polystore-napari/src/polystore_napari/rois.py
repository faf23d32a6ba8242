"""ROIs as napari layers hold them, and back; imports neither napari nor Qt.

=================================== ===================================================
Rectangle, Ellipse                  shapes: ``rectangle``, ``ellipse``: four corners
Polygon, Polyline, Line             shapes: ``polygon``, ``path``, ``line``
Composite                           shapes: a ``polygon`` for each part
a polygon that napari cannot fill   shapes: a ``path`` that ends where it begins
Points                              points: a row for each
Mask                                labels: a label for each; what overlaps is another layer
=================================== ===================================================

Both sides count (y, x) from the centre of the first pixel, so no coordinate is shifted.

**Planes.** napari aligns the axes of layers at the last one. A ROI that belongs to a plane of
slider axes goes to a layer with the axes from the first of these on. Where it has no plane of
a later one, that axis is called "" and stretched by :data:`STRETCH`: its only plane then fills
the slider. A ROI of no plane goes to a layer of y and x.

**What napari forgets.** A Shapes layer rounds to float32, and no layer keeps a position or
properties. So a layer's features say with which of its ``rois`` a row began. Where the data
still agree, that very shape comes back; where a user has moved or edited it, the data count, and
name, properties and the rest of the position are kept.

**What a user adds** to a layer stays there when the pipeline saves its ROIs again:
:func:`added_rois` finds it, and :func:`to_layers` takes it next to the new ROIs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from polystore_core.errors import InvalidOptionError, UnsupportedDataError
from polystore_core.rois import (
    ROI,
    Composite,
    Ellipse,
    Line,
    Mask,
    Points,
    Polygon,
    Polyline,
    Position,
    Rectangle,
    Shape,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

__all__ = [
    "MOST_LABELS_LAYERS",
    "MOST_PIXELS",
    "MOST_VERTICES",
    "STRETCH",
    "Features",
    "LayerType",
    "RoiLayer",
    "added_rois",
    "from_layer",
    "outlines_of",
    "to_layers",
]

STRETCH = 2.0**73
"""Scale of an axis called "". napari shows a shape near its plane, but lets a mouse take it only
exactly there: 1 plus a slider's position / STRETCH is 1.0, up to a million planes."""
MOST_PIXELS = 2**31
"""Of the labels layers that some masks need, all their planes together."""
MOST_LABELS_LAYERS = 16
"""Of masks that cover each other: each layer takes a window a quarter of a second."""
MOST_VERTICES = 2**19
"""Of one shapes layer: they take napari 5 to 20 seconds, in which it answers nobody."""
_VERTICES_OF_A_SHAPE = 8
"""A shape takes napari as long as so many vertices, besides its own."""

_POSITIONED = ("c", "z", "t")

LayerType: TypeAlias = Literal["shapes", "points", "labels"]
Plane: TypeAlias = tuple[int, ...]
Outline: TypeAlias = tuple[str, NDArray[np.float64]]
"""A type of napari's shapes, and (y, x) of its vertices."""


class Features(Protocol):
    """Columns by name: a ``dict``, or the data frame of ``layer.features``."""

    def __contains__(self, name: str, /) -> bool: ...
    def __getitem__(self, name: str, /) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoiLayer:
    """What one napari layer holds to show some ROIs.

    ``features`` that are assigned to an existing layer reset its ``feature_defaults`` to the
    last row: assign those afterwards, or what a user draws next takes that ROI's name.
    """

    type: LayerType
    data: Sequence[NDArray[np.float64]] | NDArray[Any]
    """Shapes: vertices of each, shape (n, D). Points: shape (n, D). Labels: an image."""
    axes: tuple[str, ...]
    """Of the data: sliders, "y" and "x"; "" for one that is shown on each plane."""
    features: dict[str, NDArray[Any]]
    """Shapes and points: "name" and "roi" (an index into ``rois``) of each row. Labels: "index"
    (the label, which is one more than that into ``rois``) and "name", the background first."""
    rois: tuple[ROI, ...]
    """What the rows came from: the ``known`` of :func:`from_layer`."""
    saved: int
    """How many of ``rois`` the pipeline has saved: the first. The user has added the others."""
    shape_types: tuple[str, ...] = ()
    """Of each item of a shapes layer's data."""
    translate: tuple[float, ...]
    """Of each axis, in pixels: where labels begin. Of "", as it is."""

    @property
    def scale(self) -> tuple[float, ...]:
        """Of each axis, to be multiplied with the image's; of "", as it is."""
        return tuple(1.0 if axis else STRETCH for axis in self.axes)

    @property
    def feature_defaults(self) -> dict[str, object]:
        """The features of what a user draws: no ROI yet. A labels layer has none."""
        return {} if self.type == "labels" else {"name": "", "roi": -1}

    @property
    def arguments(self) -> dict[str, object]:
        """For napari's ``add_shapes``, ``add_points`` or ``add_labels``, over pixels of size 1."""
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
        """Return a shapes layer where the polygons in ``chosen`` rows are closed paths."""
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

    def to_pixels(self, coordinates: NDArray[Any]) -> NDArray[np.float64]:
        """Return where coordinates of the layer's data, shape (n, D), lie in the image."""
        moved: NDArray[np.float64] = coordinates * np.array(self.scale) + self.translate
        return moved


# ── to napari ────────────────────────────────────────────────────────────────────────────


def to_layers(
    rois: Iterable[ROI],
    sliders: Sequence[str] = (),
    *,
    shape: tuple[int, int] | None = None,
    added: Iterable[ROI] = (),
) -> list[RoiLayer]:
    """Return the layers that show the ROIs: few, and in the order of their first ROIs.

    Args:
        rois: to be shown.
        sliders: names of the window's axes before y and x; what a ROI's position says about
            others, such as "c" where channels are layers, is kept and not shown.
        shape: height and width of the image, which labels layers cover at least.
        added: ROIs of the user, which come after ``rois`` in their layers.

    Raises:
        UnsupportedDataError: masks that need more than :data:`MOST_PIXELS` or
            :data:`MOST_LABELS_LAYERS`, shapes of more than :data:`MOST_VERTICES`, or a shape
            that is unknown here.
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
    index: int | None = getattr(position, axis) if axis in _POSITIONED else None
    return index


def _plane(roi: ROI, axes: Sequence[str], stretched: int) -> Plane:
    """Return the leading coordinates; ``stretched`` is that of an axis called ""."""
    indices = (_index(roi.position, axis) for axis in axes[:-2])
    return tuple(stretched if index is None else index for index in indices)


def outlines_of(shape: Shape) -> list[Outline]:
    """Return the rows that a shape has in a layer."""
    match shape:
        case Rectangle():
            return [("rectangle", shape.corners)]
        case Ellipse():
            return [("ellipse", Rectangle(shape.centre, shape.size, shape.angle).corners)]
        case Polygon():
            return [("polygon", shape.coordinates)]
        case Composite():
            return [("polygon", part.coordinates) for part in shape.parts]
        case Polyline():
            return [("path", shape.coordinates)]
        case Line():
            return [("line", shape.coordinates)]
        case Points():
            return [("points", shape.coordinates)]
    raise UnsupportedDataError(
        f"napari cannot show a {type(shape).__name__}: use another shape, such as a Polygon"
    )


def _vertices(
    type: LayerType, rois: Sequence[ROI], saved: int, axes: tuple[str, ...]
) -> RoiLayer:
    """A shapes layer has a row for each outline, a points layer one for each point."""
    outlines = [(number, *o) for number, roi in enumerate(rois) for o in outlines_of(roi.shape)]
    data = [_lifted(outline, _plane(rois[at], axes, 1)) for at, _, outline in outlines]
    is_shapes = type == "shapes"
    if is_shapes:
        _check_vertices(data)
    lengths = [1 if is_shapes else len(rows) for rows in data]
    numbers = np.repeat([number for number, _, _ in outlines], lengths)
    return RoiLayer(
        type=type,
        data=data if is_shapes else np.concatenate(data),
        axes=axes,
        features={"name": _texts([rois[at].name for at in numbers]), "roi": numbers},
        rois=tuple(rois),
        saved=saved,
        shape_types=tuple(kind for _, kind, _ in outlines) if is_shapes else (),
        translate=tuple(0.0 if axis else -STRETCH for axis in axes),
    )


def _check_vertices(outlines: Sequence[NDArray[np.float64]]) -> None:
    count = sum(map(len, outlines))
    if count + _VERTICES_OF_A_SHAPE * len(outlines) > MOST_VERTICES:
        raise UnsupportedDataError(
            f"{len(outlines)} outlines have {count} vertices, and a napari layer draws at most "
            f"{MOST_VERTICES} (each outline counts for {_VERTICES_OF_A_SHAPE} more): save areas "
            "with labels=True, or save fewer at a time"
        )


def _lifted(outline: NDArray[np.float64], plane: Plane) -> NDArray[np.float64]:
    lifted = np.empty((len(outline), len(plane) + 2))
    lifted[:, :-2], lifted[:, -2:] = plane, outline
    return lifted


def _texts(texts: Sequence[str]) -> NDArray[np.object_]:
    # napari calls np.asarray on a list: each row as wide as the longest, and no NUL at the end.
    column = np.empty(len(texts), object)
    column[:] = texts
    return column


def _labels(
    rois: Sequence[ROI], saved: int, axes: tuple[str, ...], shape: tuple[int, int]
) -> Iterator[RoiLayer]:
    """Each mask goes to the first image where its pixels are free."""
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
                "name": _texts(["", *(roi.name for roi in members)]),
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
            f"the masks and the planes between them are {' x '.join(map(str, found))} pixels, and "
            f"a labels layer shows at most {MOST_PIXELS}: save masks of fewer planes at a time, "
            "or save polygons"
        )
    return tuple(found)


def _check_layers(count: int, lengths: tuple[int, ...]) -> None:
    if count > MOST_LABELS_LAYERS or count * math.prod(lengths) > MOST_PIXELS:
        size = " x ".join(map(str, lengths))
        raise UnsupportedDataError(
            f"the masks overlap and need at least {count} labels layers of {size} pixels, and "
            f"polystore adds at most {MOST_LABELS_LAYERS} layers and {MOST_PIXELS} pixels: save "
            "fewer masks at a time, or save polygons"
        )


# ── from napari ──────────────────────────────────────────────────────────────────────────


def from_layer(
    type: LayerType,
    data: Sequence[NDArray[Any]] | NDArray[Any],
    shape_types: Sequence[str],
    features: Features,
    axes: Sequence[str],
    *,
    known: Sequence[ROI] = (),
    to_pixels: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
) -> list[ROI]:
    """Return the ROIs that a layer holds now, in its order.

    What a user has added has no name, unless it took the features of a known ROI, as a copy
    does; then it takes name, properties and the rest of the position as well. Added points are
    one ROI on each plane, and so is each label. A plane of an axis that no position has becomes
    a property of that name.

    Args:
        type: of the layer.
        data: ``layer.data``.
        shape_types: ``layer.shape_type`` of a shapes layer; ``()`` for others.
        features: ``layer.features``.
        axes: names of the data's axes, y and x last; "" for one that is no slider's.
        known: ``rois`` of what :func:`to_layers` gave for this layer.
        to_pixels: maps coordinates of the data, shape (n, D), to those of the image, such as
            :meth:`RoiLayer.to_pixels`; by default they are the same.

    Raises:
        UnsupportedDataError: a shape that lies in no plane of y and x, a plane before the
            first, coordinates that are no numbers, or labels whose pixels are not the image's.
        InvalidOptionError: an unknown type, or axes that do not fit the data.
    """
    layer = _Layer(features, tuple(axes), tuple(known), to_pixels or np.asarray)
    return [roi for _, roi in layer.rois(type, data, shape_types)]


def added_rois(
    found: RoiLayer,
    data: Sequence[NDArray[Any]] | NDArray[Any],
    shape_types: Sequence[str],
    features: Features,
    to_pixels: Callable[[NDArray[Any]], NDArray[Any]],
) -> list[ROI]:
    """Return the ROIs that a user has added to the layer of ``found``, copies included.

    The other arguments, and what is raised, are those of :func:`from_layer`.
    """
    layer = _Layer(features, found.axes, found.rois, to_pixels)
    if found.type == "labels":
        data = np.asarray(data)
        data = np.where(data > found.saved, data, 0)
    elif layer.has_rows_of(found):
        return []
    added, seen = [], set[int]()
    for number, roi in layer.rois(found.type, data, shape_types):
        if not 0 <= number < found.saved or number in seen:
            added.append(roi)
        seen.add(number)
    return added


@dataclass(frozen=True, slots=True)
class _Layer:
    features: Features
    axes: tuple[str, ...]
    known: tuple[ROI, ...]
    to_pixels: Callable[[NDArray[Any]], NDArray[Any]]

    def rois(
        self,
        type: LayerType,
        data: Sequence[NDArray[Any]] | NDArray[Any],
        shape_types: Sequence[str],
    ) -> Iterator[tuple[int, ROI]]:
        """Yield each ROI, and which of the known ones it began with, or -1."""
        match type:
            case "shapes":
                return self._shapes(shape_types, list(data))
            case "points":
                return self._points(np.asarray(data))
            case "labels":
                return self._labels(np.asarray(data))
        raise InvalidOptionError("type", type, "'shapes', 'points' or 'labels'")

    def has_rows_of(self, found: RoiLayer) -> bool:
        """Whether no row was added or taken away, and the pipeline has saved all of them."""
        numbers = found.features["roi"].tolist()
        return found.saved == len(found.rois) and self._column("roi", 0) == numbers

    def _shapes(
        self, shape_types: Sequence[str], data: Sequence[NDArray[Any]]
    ) -> Iterator[tuple[int, ROI]]:
        names, numbers = self._column("name", len(data)), self._numbers(len(data))
        outlines: list[Outline] = []
        groups: dict[tuple[Plane, int, int | None], list[int]] = {}
        for row, (kind, vertices) in enumerate(zip(shape_types, data, strict=True)):
            planes, outline = self._placed(vertices)
            if len(set(planes)) > 1:
                raise UnsupportedDataError(
                    f"{kind} {row} of the layer is in several planes of y and x, and a ROI is in "
                    "one: draw it while y and x are shown, or delete it"
                )
            origin = self._origin(numbers[row])
            if kind == "path" and isinstance(origin, Polygon | Composite):
                kind, outline = "polygon", _opened(outline)
            is_part = _is_part((kind, outline), origin)
            groups.setdefault((planes[0], numbers[row], None if is_part else row), []).append(
                row
            )
            outlines.append((kind, outline))
        for (plane, number, _), rows in groups.items():
            origin = self._origin(number)
            for some in _copies(rows, origin):
                shape = _shape([outlines[row] for row in some], origin)
                yield number, self._roi(shape, plane, number, [names[row] for row in some])

    def _points(self, data: NDArray[Any]) -> Iterator[tuple[int, ROI]]:
        names, numbers = self._column("name", len(data)), self._numbers(len(data))
        planes, coordinates = self._placed(data)
        groups: dict[tuple[Plane, int], list[int]] = {}
        for row, plane in enumerate(planes):
            groups.setdefault((plane, numbers[row]), []).append(row)
        for (plane, number), rows in groups.items():
            shape = _shape([("points", coordinates[rows])], self._origin(number))
            yield number, self._roi(shape, plane, number, [names[row] for row in rows])

    def _labels(self, data: NDArray[Any]) -> Iterator[tuple[int, ROI]]:
        names: dict[object, object] = {}
        if "index" in self.features:
            indices = np.asarray(self.features["index"]).tolist()
            names = dict(zip(indices, self._column("name", len(indices)), strict=True))
        for at in np.ndindex(data.shape[:-2]):
            if data[at].any():
                plane, origin = self._first_pixel(at, data.shape[-2:])
                for label, mask in _masks(data[at], origin):
                    number = label - 1 if 0 < label <= len(self.known) else -1
                    yield number, self._roi(mask, plane, number, [names.get(label)])

    def _column(self, name: str, count: int) -> list[object]:
        found: list[object] = []
        if name in self.features:
            found = np.asarray(self.features[name], object).tolist()
        return [*found, *[None] * (count - len(found))]

    def _numbers(self, count: int) -> list[int]:
        """Return the index of the known ROI that each row began with, or -1."""
        values = self._column("roi", count)
        # A data frame makes float64 of integers where a row has none.
        return [
            int(value)
            if isinstance(value, int | float) and 0 <= value < len(self.known)
            else -1
            for value in values
        ]

    def _origin(self, number: int) -> Shape | None:
        return self.known[number].shape if number >= 0 else None

    def _placed(self, vertices: NDArray[Any]) -> tuple[list[Plane], NDArray[np.float64]]:
        """Return the plane of each vertex, and their (y, x)."""
        if vertices.shape[-1] != len(self.axes):
            expected = f"one name for each of the {vertices.shape[-1]} axes of the data"
            raise InvalidOptionError("axes", self.axes, expected)
        pixels = np.asarray(self.to_pixels(vertices.astype(np.float64)), np.float64)
        planes = np.rint(pixels[:, :-2])
        planes[:, [not axis for axis in self.axes[:-2]]] = 0
        is_placed = np.isfinite(pixels).all(axis=1) & (planes >= 0).all(axis=1)
        if not is_placed.all():
            raise UnsupportedDataError(
                f"a vertex or pixel is at {pixels[~is_placed][0].tolist()} on the axes "
                f"{self.axes}, which is outside all planes: move or delete it"
            )
        return [tuple(map(int, plane)) for plane in planes.tolist()], pixels[:, -2:]

    def _first_pixel(self, at: Plane, size: tuple[int, ...]) -> tuple[Plane, tuple[int, int]]:
        height, width = size
        steps = np.array([(0, 0), (height - 1, 0), (0, width - 1)])
        planes, corners = self._placed(np.array([(*at, *step) for step in steps.tolist()]))
        y, x = np.rint(corners[0]).astype(int).tolist()
        if not np.allclose(corners, steps + np.array((y, x)), rtol=0, atol=0.01):
            raise UnsupportedDataError(
                "the pixels of the labels layer do not match those of the image: give both layers "
                "the same scale, and move them by whole pixels"
            )
        return planes[0], (y, x)

    def _roi(self, shape: Shape, plane: Plane, number: int, names: Sequence[object]) -> ROI:
        before = self.known[number] if number >= 0 else ROI(shape)
        indices = {
            axis: index for axis, index in zip(self.axes[:-2], plane, strict=True) if axis
        }
        others = {axis: indices.pop(axis) for axis in indices.keys() - _POSITIONED}
        new_names = (n for n in names if isinstance(n, str) and n != before.name)
        return ROI(
            shape,
            next(new_names, before.name),
            replace(before.position, **indices),
            {**before.properties, **others},
        )


def _opened(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vertices of a polygon that is drawn as a closed path."""
    return path[:-1] if len(path) > 3 and (path[0] == path[-1]).all() else path


def _is_part(outline: Outline, origin: Shape | None) -> bool:
    kind, coordinates = outline
    is_area = kind in ("polygon", "rectangle") and len(coordinates) > 2
    return is_area and isinstance(origin, Composite)


def _copies(rows: list[int], origin: Shape | None) -> Iterator[list[int]]:
    # A composite and its copy, taken as one, would cut holes into each other.
    count = len(origin.parts) if isinstance(origin, Composite) else len(rows)
    step = count if len(rows) % count == 0 else len(rows)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _shape(outlines: Sequence[Outline], origin: Shape | None) -> Shape:
    """Return the origin if that is what the layer still shows, else what it shows now."""
    if origin is not None and _agree(outlines, outlines_of(origin)):
        return origin
    if all(_is_part(outline, origin) for outline in outlines):
        return Composite(coordinates for _, coordinates in outlines)
    ((kind, coordinates),) = outlines
    match kind:
        case "rectangle" | "ellipse":
            angle = origin.angle if isinstance(origin, Rectangle | Ellipse) else 0.0
            return _box(kind, coordinates, angle)
        case "polygon" if len(coordinates) > 2:
            return Polygon(coordinates)
        case "line" | "polygon":
            return Line(coordinates)
        case "path":
            return Polyline(coordinates)
        case "points":
            return Points(coordinates)
    known = "one of rectangle, ellipse, polygon, path, line"
    raise InvalidOptionError("shape_types", kind, known)


def _agree(these: Sequence[Outline], those: Sequence[Outline]) -> bool:
    return len(these) == len(those) and all(
        a == b and x.shape == y.shape and (np.abs(x - y) <= _precision(y)).all()
        for (a, x), (b, y) in zip(these, those, strict=True)
    )


def _precision(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of float32, in which Shapes layers store, and what no mouse moves."""
    precision: NDArray[np.float64] = np.abs(coordinates) * 2.0**-23 + 1e-6
    return precision


def _box(kind: str, corners: NDArray[np.float64], angle: float) -> Shape:
    """Return a rectangle or ellipse, described by the angle that is nearest to ``angle``.

    The corners of both need not be square, as scaling several turned shapes at once skews them:
    a skewed rectangle is a polygon, a skewed ellipse is another ellipse.
    """
    sides = np.diff(corners[:3], axis=0)
    tolerance = 4 * float(_precision(corners).max())
    gap = np.abs(corners[0] - corners[1] + corners[2] - corners[3]).max()
    is_square = abs(sides[0] @ sides[1]) <= tolerance * np.hypot(*sides.T).sum()
    if kind == "ellipse" and not is_square:
        _, lengths, directions = np.linalg.svd(sides)
        sides = lengths[:, None] * directions
    width, height = np.hypot(*sides.T).tolist()
    if min(width, height) == 0 or (
        kind == "rectangle" and not (is_square and gap <= tolerance)
    ):
        return Polygon(corners)
    found = math.degrees(math.atan2(-sides[0, 0], sides[0, 1]))
    quarters = round((angle - found) / 90)
    size = (width, height) if quarters % 2 else (height, width)
    made = Ellipse if kind == "ellipse" else Rectangle
    return made(corners.mean(axis=0).tolist(), size, found + 90 * quarters)


def _masks(labels: NDArray[Any], origin: tuple[int, int]) -> Iterator[tuple[int, Mask]]:
    """Return each label of a plane, and its pixels."""
    y, x = np.nonzero(labels)
    values = labels[y, x]
    order = np.argsort(values, kind="stable")
    found, starts = np.unique(values[order], return_index=True)
    for label, at in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
        top, left = int(y[at].min()), int(x[at].min())
        pixels = np.zeros((y[at].max() - top + 1, x[at].max() - left + 1), np.bool_)
        pixels[y[at] - top, x[at] - left] = True
        yield label, Mask(pixels, (origin[0] + top, origin[1] + left))
