"""Read ROIs back from the layers of napari, with a user's edits. Imports neither napari nor Qt.

**Edits.** A Shapes layer rounds to float32, and no layer keeps a position or properties. So the
features of a layer say which of its ``rois`` each row was made from. If the data still agree with
that ROI, it is returned unchanged. If a user has moved or edited the shape, the new shape is
returned with the name, properties and the rest of the position of the ROI.

**Added ROIs.** ROIs that a user has added to a layer stay there when the pipeline saves its ROIs
again. :func:`find_added_rois` finds them, and :func:`.to_layers` adds them to the new ROIs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from polystore_core.errors import InvalidOptionError, UnsupportedDataError
from polystore_core.rois import ROI, Composite, Polygon, Shape

from .rois import POSITIONED
from .shapes import from_labels, from_outlines, is_part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from polystore_core import Pixels, Value
    from polystore_stream.viewers.outlines import Outline

    from .rois import LayerType, Plane, RoiLayer

__all__ = ["Features", "find_added_rois", "from_layer"]


class Features(Protocol):
    """Columns by name: a ``dict``, or the data frame of ``layer.features``."""

    def __contains__(self, name: str, /) -> bool: ...
    def __getitem__(self, name: str, /) -> Value: ...


def from_layer(
    type: LayerType,
    data: Sequence[Pixels] | Pixels,
    shape_types: Sequence[str],
    features: Features,
    axes: Sequence[str],
    *,
    known: Sequence[ROI] = (),
    to_pixels: Callable[[Pixels], Pixels] | None = None,
) -> list[ROI]:
    """Return the ROIs that a layer holds now, in the order of its rows.

    A ROI that a user has added does not have a name. A copy of a known ROI also has its features,
    so it gets the name, the properties and the rest of the position of that ROI. All added points
    on one plane are one ROI, and so are all pixels of one label on one plane. If a position cannot
    hold an axis, the index on it becomes a property with the name of the axis.

    Args:
        type: Type of the layer.
        data: ``layer.data``.
        shape_types: ``layer.shape_type`` of a shapes layer, or ``()``.
        features: ``layer.features``.
        axes: Names of the data's axes, y and x last. "" for an axis without a slider.
        known: The ``rois`` that :func:`.to_layers` returned for this layer.
        to_pixels: Maps coordinates of the data, shape (n, D), to coordinates of the image. An
            example is :meth:`.RoiLayer.to_pixels`. By default they are the same.

    Raises:
        UnsupportedDataError: A shape is not in a plane of y and x, a plane is before the first
            one, a coordinate is not a number, or the pixels of labels do not match the image.
        InvalidOptionError: The type is unknown, or the axes do not fit the data.
    """
    layer = _Layer(features, tuple(axes), tuple(known), to_pixels or np.asarray)
    return [roi for _, roi in layer.rois(type, data, shape_types)]


def find_added_rois(
    found: RoiLayer,
    data: Sequence[Pixels] | Pixels,
    shape_types: Sequence[str],
    features: Features,
    to_pixels: Callable[[Pixels], Pixels],
) -> list[ROI]:
    """Return the ROIs that a user has added to the layer of ``found``, copies included.

    The other arguments and the errors are those of :func:`from_layer`.
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
        data: Sequence[Pixels] | Pixels,
        shape_types: Sequence[str],
    ) -> Iterator[tuple[int, ROI]]:
        """Yield the index of the known ROI that a ROI was made from, or -1, and the ROI."""
        match type:
            case "shapes":
                return self._shapes(shape_types, list(data))
            case "points":
                return self._points(np.asarray(data))
            case "labels":
                return self._labels(np.asarray(data))
        raise InvalidOptionError("type", type, "'shapes', 'points' or 'labels'")

    def has_rows_of(self, found: RoiLayer) -> bool:
        """Whether the layer has exactly the rows that the pipeline has saved."""
        numbers = found.features["roi"].tolist()
        return found.saved == len(found.rois) and self._column("roi", 0) == numbers

    def _shapes(
        self, shape_types: Sequence[str], data: Sequence[Pixels]
    ) -> Iterator[tuple[int, ROI]]:
        names, numbers = self._column("name", len(data)), self._numbers(len(data))
        outlines: list[Outline] = []
        groups: dict[tuple[Plane, int, int | None], list[int]] = {}
        for row, (kind, vertices) in enumerate(zip(shape_types, data, strict=True)):
            planes, outline = self._place(vertices)
            if len(set(planes)) > 1:
                raise UnsupportedDataError(
                    f"{kind} {row} of the layer is in several planes of y and x, but a ROI is in "
                    "one plane: draw it while y and x are shown, or delete it"
                )
            origin = self._origin(numbers[row])
            if kind == "path" and isinstance(origin, Polygon | Composite):
                kind, outline = "polygon", _open_path(outline)
            # Rows of one composite form one group. Every other row is a ROI, so its own number
            # keeps it apart.
            belongs = is_part((kind, outline), origin)
            groups.setdefault((planes[0], numbers[row], None if belongs else row), []).append(
                row
            )
            outlines.append((kind, outline))
        for (plane, number, _), rows in groups.items():
            origin = self._origin(number)
            for some in _split_copies(rows, origin):
                shape = from_outlines([outlines[row] for row in some], origin)
                yield number, self._roi(shape, plane, number, [names[row] for row in some])

    def _points(self, data: Pixels) -> Iterator[tuple[int, ROI]]:
        names, numbers = self._column("name", len(data)), self._numbers(len(data))
        planes, coordinates = self._place(data)
        groups: dict[tuple[Plane, int], list[int]] = {}
        for row, plane in enumerate(planes):
            groups.setdefault((plane, numbers[row]), []).append(row)
        for (plane, number), rows in groups.items():
            shape = from_outlines([("points", coordinates[rows])], self._origin(number))
            yield number, self._roi(shape, plane, number, [names[row] for row in rows])

    def _labels(self, data: Pixels) -> Iterator[tuple[int, ROI]]:
        names: dict[object, object] = {}
        if "index" in self.features:
            indices = np.asarray(self.features["index"]).tolist()
            names = dict(zip(indices, self._column("name", len(indices)), strict=True))
        for at in np.ndindex(data.shape[:-2]):
            if data[at].any():
                plane, origin = self._first_pixel(at, data.shape[-2:])
                for label, mask in from_labels(data[at], origin):
                    number = label - 1 if 0 < label <= len(self.known) else -1
                    yield number, self._roi(mask, plane, number, [names.get(label)])

    def _column(self, name: str, count: int) -> list[object]:
        found: list[object] = []
        if name in self.features:
            found = np.asarray(self.features[name], object).tolist()
        return [*found, *[None] * (count - len(found))]

    def _numbers(self, count: int) -> list[int]:
        """Return the index of the known ROI that each row was made from, or -1."""
        values = self._column("roi", count)
        # If a row has no value, a data frame converts the integers to float64.
        return [
            int(value)
            if isinstance(value, int | float) and 0 <= value < len(self.known)
            else -1
            for value in values
        ]

    def _origin(self, number: int) -> Shape | None:
        return self.known[number].shape if number >= 0 else None

    def _place(self, vertices: Pixels) -> tuple[list[Plane], NDArray[np.float64]]:
        """Return the plane of each vertex, and their (y, x)."""
        if vertices.shape[-1] != len(self.axes):
            expected = f"one name for each of the {vertices.shape[-1]} axes of the data"
            raise InvalidOptionError("axes", self.axes, expected)
        pixels = np.asarray(self.to_pixels(vertices.astype(np.float64)), np.float64)
        # A slider may be between two planes while a user draws, so round to the nearest plane. The
        # coordinate on an axis called "" has no meaning.
        planes = np.rint(pixels[:, :-2])
        planes[:, [not axis for axis in self.axes[:-2]]] = 0
        is_placed = np.isfinite(pixels).all(axis=1) & (planes >= 0).all(axis=1)
        if not is_placed.all():
            raise UnsupportedDataError(
                f"a vertex or pixel is at {pixels[~is_placed][0].tolist()} on the axes "
                f"{self.axes}, which is outside all planes: move it or delete it"
            )
        return [tuple(map(int, plane)) for plane in planes.tolist()], pixels[:, -2:]

    def _first_pixel(self, at: Plane, size: tuple[int, ...]) -> tuple[Plane, tuple[int, int]]:
        # Convert three corners. If they keep their distances in pixels, every pixel of the layer
        # is a pixel of the image.
        height, width = size
        steps = np.array([(0, 0), (height - 1, 0), (0, width - 1)])
        planes, corners = self._place(np.array([(*at, *step) for step in steps.tolist()]))
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
        others = {axis: indices.pop(axis) for axis in indices.keys() - POSITIONED}
        new_names = (n for n in names if isinstance(n, str) and n != before.name)
        return ROI(
            shape,
            next(new_names, before.name),
            replace(before.position, **indices),
            {**before.properties, **others},
        )


def _open_path(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vertices of a polygon that is drawn as a closed path."""
    return path[:-1] if len(path) > 3 and (path[0] == path[-1]).all() else path


def _split_copies(rows: list[int], origin: Shape | None) -> Iterator[list[int]]:
    # If a composite and its copy were one composite, they would cut holes into each other.
    count = len(origin.parts) if isinstance(origin, Composite) else len(rows)
    step = count if len(rows) % count == 0 else len(rows)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
