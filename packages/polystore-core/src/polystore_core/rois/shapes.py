"""The shapes of regions, and the pixels inside them."""

from __future__ import annotations

import binascii
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from ..errors import (
    InvalidOptionError,
    UnsupportedDataError,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..values import Document, Value


from .fields import (
    check_array,
    check_coordinates,
    check_number,
    check_pair,
    check_step,
    pick_fields,
    plain_json,
    seal,
)
from .geometry import (
    Bounds,
    Pair,
    bounds_of,
    crossings,
    direction,
    edges_of,
    even_odd,
    inner_point,
    pixel_window,
)

__all__ = [
    "SHAPES",
    "Area",
    "Composite",
    "Ellipse",
    "Line",
    "Mask",
    "Points",
    "Polygon",
    "Polyline",
    "Rectangle",
    "Shape",
]


@dataclass(frozen=True, slots=True, eq=False)
class Shape(ABC):
    """The shape of a ROI: points, a line or an area."""

    @property
    @abstractmethod
    def bounds(self) -> Bounds:
        """The box around the shape, parallel to the axes: y0, x0, y1, x1 in pixels."""

    @abstractmethod
    def translate(self, dy: float, dx: float) -> Self:
        """Return the shape moved by ``dy`` and ``dx`` pixels."""

    def _set(self, **values: object) -> None:
        # Shapes are frozen dataclasses, whose own __setattr__ raises.
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _values(self) -> tuple[Value, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    def _to_json(self) -> Document:
        return {field.name: plain_json(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def _from_json(cls, content: Mapping[str, Value]) -> Self:
        return cls(**pick_fields(content, [field.name for field in fields(cls)]))

    def _key(self) -> tuple[object, ...]:
        # Bytes can be compared, because no coordinate is NaN or -0.0. They can also be hashed.
        return tuple(
            (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
            for value in self._values()
        )

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((type(self), self._key()))

    def __reduce__(self) -> tuple[type[Self], tuple[Value, ...]]:
        return type(self), self._values()  # calls __init__, or the array would be writable


class Area(Shape):
    """A shape with an inside, such as a polygon."""

    __slots__ = ()

    @property
    @abstractmethod
    def area(self) -> float:
        """The area in square pixels."""

    def to_mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return a mask of the pixels whose centre is inside.

        For example:

            mean = image[roi.shape.to_mask(image.shape)].mean()

        Args:
            shape: Height and width of the image. The part of the shape outside is cut off.
        """
        height, width = check_pair(
            "shape", shape, "a height and a width in pixels", 0, Integral
        )
        y0, x0, y1, x1 = self.bounds
        rows, columns = pixel_window(y0, y1, height), pixel_window(x0, x1, width)
        mask = np.zeros((height, width), np.bool_)
        mask[rows, columns] = self._inside(rows, columns)
        return mask

    @abstractmethod
    def _inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Return the mask of a window within the bounds, which may be empty."""


@dataclass(frozen=True, slots=True, eq=False, init=False)
class _Path(Shape):
    coordinates: NDArray[np.float64]
    """(y, x) of each vertex, in a read-only array of the shape (n, 2)."""
    _least: ClassVar[int] = 1
    _most: ClassVar[float] = math.inf

    def __init__(self, coordinates: ArrayLike) -> None:
        self._set(coordinates=check_coordinates(coordinates, self._least, self._most))

    @property
    def bounds(self) -> Bounds:
        return bounds_of(self.coordinates)

    def translate(self, dy: float, dx: float) -> Self:
        return type(self)(self.coordinates + check_step(dy, dx))


class Points(_Path):
    """One or more points that belong together, such as those of one counter in ImageJ."""

    __slots__ = ()


class Line(_Path):
    """A straight line from the first of two points to the second."""

    __slots__ = ()
    _least = _most = 2


class Polyline(_Path):
    """An open line through two or more vertices. An angle of ImageJ has three."""

    __slots__ = ()
    _least = 2


class Polygon(_Path, Area):
    """A closed outline of three or more vertices. The last one is joined to the first one."""

    __slots__ = ()
    _least = 3

    @property
    def area(self) -> float:
        """The area in square pixels, by the shoelace formula.

        If the outline crosses itself, parts in the other direction count as negative.
        """
        # Relative to the first vertex, because large coordinates would cost digits of the result.
        y, x = (self.coordinates - self.coordinates[0]).T
        return abs(float(np.sum(y * np.roll(x, -1) - x * np.roll(y, -1)))) / 2

    def _inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        return even_odd(edges_of(self.coordinates), rows, columns)


@dataclass(frozen=True, slots=True, eq=False, init=False)
class _Box(Area):
    centre: Pair
    """(y, x) of the centre."""
    size: Pair
    """Height and width before the rotation, greater than 0."""
    angle: float
    """Degrees, counter-clockwise. It is kept as you give it, so 360 is not 0."""

    def __init__(
        self, centre: Iterable[float], size: Iterable[float], angle: float = 0.0
    ) -> None:
        self._set(
            centre=check_pair("centre", centre, "y and x in pixels"),
            # ulp(0) is the smallest float above 0: a box without an area has no inside.
            size=check_pair("size", size, "a height and a width above 0", math.ulp(0.0)),
            angle=check_number("angle", angle, "a finite number of degrees"),
        )

    def translate(self, dy: float, dx: float) -> Self:
        by = check_step(dy, dx)
        return type(self)(
            (self.centre[0] + by[0], self.centre[1] + by[1]), self.size, self.angle
        )


class Rectangle(_Box):
    """A rectangle, which can be rotated around its centre.

    For example, rows 2 to 4 and columns 10 to 15:

        Rectangle(centre=(3, 12.5), size=(3, 6))
    """

    __slots__ = ()

    @property
    def corners(self) -> NDArray[np.float64]:
        """(y, x) of the corners, in an array of the shape (4, 2), as in a Shapes layer of napari.

        Their order before the rotation is top left, top right, bottom right, bottom left.
        """
        (height, width), (cos, sin) = self.size, direction(self.angle)
        dy = np.array((-height, -height, height, height)) / 2
        dx = np.array((-width, width, width, -width)) / 2
        return np.stack((dy * cos - dx * sin, dy * sin + dx * cos), axis=1) + self.centre

    @property
    def bounds(self) -> Bounds:
        return bounds_of(self.corners)

    @property
    def area(self) -> float:
        return self.size[0] * self.size[1]

    def _inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        return even_odd(edges_of(self.corners), rows, columns)


class Ellipse(_Box):
    """An ellipse, which can be rotated around its centre. ``size`` is twice the radii.

    The centre of a pixel that is exactly on the outline is outside.
    """

    __slots__ = ()

    @property
    def bounds(self) -> Bounds:
        (y, x), (height, width), (cos, sin) = self.centre, self.size, direction(self.angle)
        dy = math.hypot(height * cos, width * sin) / 2
        dx = math.hypot(height * sin, width * cos) / 2
        return y - dy, x - dx, y + dy, x + dx

    @property
    def area(self) -> float:
        return math.pi * self.size[0] * self.size[1] / 4

    def _inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        (y, x), (height, width), (cos, sin) = self.centre, self.size, direction(self.angle)
        dy = np.arange(rows.start, rows.stop)[:, None] - y
        dx = np.arange(columns.start, columns.stop)[None, :] - x
        v, u = width * (dy * cos + dx * sin), height * (dx * cos - dy * sin)
        inside: NDArray[np.bool_] = v * v + u * u < (height * width / 2) ** 2
        return inside


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Mask(Area):
    """A set of one or more pixels. Two masks are equal if they have the same pixels.

    For example:

        Mask(labels == 7)
    """

    pixels: NDArray[np.bool_]
    """The mask, cut to the rows and columns with pixels: shape (height, width), read-only."""
    origin: tuple[int, int]
    """(y, x) of ``pixels[0, 0]`` in the image."""

    def __init__(self, pixels: ArrayLike, origin: Iterable[int] = (0, 0)) -> None:
        given = check_array("pixels", pixels)
        if given.dtype != np.bool_ or given.ndim != 2:
            raise UnsupportedDataError(
                f"pixels has dtype {given.dtype} and shape {given.shape}, but a mask needs dtype "
                "bool and shape (height, width): compare first, for example pixels > 0"
            )
        # Cut off the margins, so that masks with the same pixels are equal.
        rows, columns = np.flatnonzero(given.any(axis=1)), np.flatnonzero(given.any(axis=0))
        if not rows.size:
            raise UnsupportedDataError("pixels has no True element: a mask needs at least one")
        y, x = check_pair("origin", origin, "row and column of a pixel", kind=Integral)
        trimmed = given[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        self._set(pixels=seal(trimmed), origin=(y + int(rows[0]), x + int(columns[0])))

    @property
    def bounds(self) -> Bounds:
        (y, x), (height, width) = self.origin, self.pixels.shape
        return y - 0.5, x - 0.5, y + height - 0.5, x + width - 0.5

    @property
    def area(self) -> float:
        return float(np.count_nonzero(self.pixels))

    def translate(self, dy: float, dx: float) -> Self:
        """Return the mask moved by whole pixels. Raises ``InvalidOptionError`` for fractions."""
        by = check_step(dy, dx)
        if not (by[0].is_integer() and by[1].is_integer()):
            raise InvalidOptionError("dy, dx", by, "whole pixels for a mask")
        return type(self)(self.pixels, (self.origin[0] + int(dy), self.origin[1] + int(dx)))

    def _inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        y, x = self.origin
        return self.pixels[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]

    def _to_json(self) -> Document:
        bits = binascii.b2a_base64(np.packbits(self.pixels).tobytes(), newline=False)
        shape = list(self.pixels.shape)
        return {"origin": list(self.origin), "shape": shape, "bits": bits.decode("ascii")}

    @classmethod
    def _from_json(cls, content: Mapping[str, Value]) -> Self:
        content = pick_fields(content, ("origin", "shape", "bits"))
        shape = check_pair(
            "shape", content["shape"], "height and width of the bits", 1, Integral
        )
        count = shape[0] * shape[1]
        try:
            packed = binascii.a2b_base64(content["bits"], strict_mode=True)
        except (TypeError, ValueError) as error:
            raise UnsupportedDataError(f"bits is not base64: {error}") from error
        # Before unpackbits, which would fill missing bits with zeros.
        if len(packed) != -(-count // 8):
            raise UnsupportedDataError(
                f"bits has {len(packed)} bytes, but {count} pixels need {-(-count // 8)}"
            )
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=count)
        return cls(bits.astype(np.bool_).reshape(shape), content["origin"])


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Composite(Area):
    """One region of several outlines: parts, holes and islands, by the even-odd rule.

    ImageJ has such a selection for a region with a hole or with several parts. A polygon cannot
    represent it, and a mask would round its outlines to pixels.
    """

    parts: tuple[Polygon, ...]
    """One or more polygons. You can also pass their coordinates."""

    def __init__(self, parts: Iterable[Polygon | ArrayLike]) -> None:
        if not isinstance(parts, Iterable):
            raise InvalidOptionError("parts", parts, "a list of polygons")
        found = tuple(p if isinstance(p, Polygon) else Polygon(p) for p in parts)
        if not found:
            raise InvalidOptionError("parts", found, "at least one polygon")
        self._set(parts=found)

    @property
    def bounds(self) -> Bounds:
        return bounds_of(np.concatenate([part.coordinates for part in self.parts]))

    @property
    def area(self) -> float:
        """The area in square pixels, if no outline crosses itself or another one.

        An outline inside an odd number of others is a hole.
        """
        total, larger = 0.0, np.empty((4, 0))  # only a larger outline can contain another one
        # From the largest part: when its turn comes, all outlines that can contain it are known.
        for part in sorted(self.parts, key=lambda part: part.area, reverse=True):
            if part.area > 0:
                edges = edges_of(part.coordinates)
                y, x = inner_point(edges)
                is_hole = np.count_nonzero(crossings(larger, y) <= x) % 2
                total += -part.area if is_hole else part.area
                larger = np.concatenate((larger, edges), axis=1)
        return total

    def translate(self, dy: float, dx: float) -> Self:
        return type(self)(part.translate(dy, dx) for part in self.parts)

    def _inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        return even_odd(edges_of(*(part.coordinates for part in self.parts)), rows, columns)


SHAPES: dict[str, type[Shape]] = {
    shape.__name__.lower(): shape
    for shape in (Points, Line, Polyline, Polygon, Rectangle, Ellipse, Mask, Composite)
}
