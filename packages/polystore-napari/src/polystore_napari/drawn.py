"""ROIs read back from the layers of napari, as a user has left them; imports neither napari nor Qt.

**What napari forgets.** A Shapes layer rounds to float32, and no layer keeps a position or
properties. So a layer's features say with which of its ``rois`` a row began. Where the data
still agree, that very shape comes back; where a user has moved or edited it, the data count, and
name, properties and the rest of the position are kept.

**What a user adds** to a layer stays there when the pipeline saves its ROIs again:
:func:`added_rois` finds it, and :func:`.to_layers` takes it next to the new ROIs.
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

__all__ = ["Features", "added_rois", "from_layer"]


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
        known: ``rois`` of what :func:`.to_layers` gave for this layer.
        to_pixels: maps coordinates of the data, shape (n, D), to those of the image, such as
            :meth:`.RoiLayer.to_pixels`; by default they are the same.

    Raises:
        UnsupportedDataError: a shape that lies in no plane of y and x, a plane before the
            first, coordinates that are no numbers, or labels whose pixels are not the image's.
        InvalidOptionError: an unknown type, or axes that do not fit the data.
    """
    layer = _Layer(features, tuple(axes), tuple(known), to_pixels or np.asarray)
    return [roi for _, roi in layer.rois(type, data, shape_types)]


def added_rois(
    found: RoiLayer,
    data: Sequence[Pixels] | Pixels,
    shape_types: Sequence[str],
    features: Features,
    to_pixels: Callable[[Pixels], Pixels],
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
        data: Sequence[Pixels] | Pixels,
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
        self, shape_types: Sequence[str], data: Sequence[Pixels]
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
            belongs = is_part((kind, outline), origin)
            groups.setdefault((planes[0], numbers[row], None if belongs else row), []).append(
                row
            )
            outlines.append((kind, outline))
        for (plane, number, _), rows in groups.items():
            origin = self._origin(number)
            for some in _copies(rows, origin):
                shape = from_outlines([outlines[row] for row in some], origin)
                yield number, self._roi(shape, plane, number, [names[row] for row in some])

    def _points(self, data: Pixels) -> Iterator[tuple[int, ROI]]:
        names, numbers = self._column("name", len(data)), self._numbers(len(data))
        planes, coordinates = self._placed(data)
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

    def _placed(self, vertices: Pixels) -> tuple[list[Plane], NDArray[np.float64]]:
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
        others = {axis: indices.pop(axis) for axis in indices.keys() - POSITIONED}
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


def _copies(rows: list[int], origin: Shape | None) -> Iterator[list[int]]:
    # A composite and its copy, taken as one, would cut holes into each other.
    count = len(origin.parts) if isinstance(origin, Composite) else len(rows)
    step = count if len(rows) % count == 0 else len(rows)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
