"""Regions of interest as plain values: what every viewer and every file of ROIs has in common.

**Coordinates** are ``(y, x)`` in pixels, and a pixel's *centre* has integers: the first pixel is
centred on (0, 0) and spans -0.5 to 0.5 on both axes; y grows downwards. That is the convention
of napari (``layer.data``) and of scikit-image: theirs need no change.

ImageJ writes ``(x, y)`` and counts *areas* from the corner of the first pixel, but *lines and
points* from its centre (``Roi.useLineSubpixelConvention`` in its source)::

    areas            y = Y - 0.5, x = X - 0.5      polygon, rectangle, oval, composite, angle
    lines and points y = Y,       x = X            line, polyline, point

**Angles** are in degrees, counter-clockwise as seen on the screen (ImageJ, scikit-image): the
offset (dy, dx) from the centre becomes (dy cos a - dx sin a, dy sin a + dx cos a).

**Inside** are the pixels whose centre is, by the even-odd rule. A centre on a straight edge is
inside if what touches it on the right is (on a level edge: what is below), so shapes that share
an edge share no pixel. This is Java's rule too (``java.awt.Shape``, "insideness").

All values are immutable, compare by content, hash and pickle. Nothing here knows a viewer or a
file: each conversion stands beside the foreign type.
"""

from __future__ import annotations

import binascii
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import numpy as np

from .errors import (
    DamagedDataError,
    InvalidOptionError,
    UnsupportedDataError,
    UnsupportedFileError,
    shown,
)
from .model.arrays import is_array, to_numpy

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "LIMIT",
    "ROI",
    "VERSION",
    "Area",
    "Bounds",
    "Composite",
    "Ellipse",
    "Line",
    "Mask",
    "Points",
    "Polygon",
    "Polyline",
    "Position",
    "Rectangle",
    "Shape",
]

VERSION = 1
"""Of the form that :meth:`ROI.to_dict` writes."""
LIMIT = 1e12
"""Largest coordinate, length or angle: float64 still resolves 0.0001 pixel there."""

Bounds: TypeAlias = tuple[float, float, float, float]
"""y0, x0, y1, x1 in pixels. An area of whole pixels ends half a pixel beyond their centres."""
_Pair: TypeAlias = tuple[float, float]
_SURROGATES = re.compile("[\ud800-\udfff]")
"""Halves of characters, which UTF-8 cannot hold."""


# ── shapes ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, eq=False)
class Shape(ABC):
    """Where a ROI is."""

    @property
    @abstractmethod
    def bounds(self) -> Bounds:
        """The upright box around the shape: y0, x0, y1, x1."""

    @abstractmethod
    def translated(self, dy: float, dx: float) -> Self:
        """Return the shape moved by ``dy`` and ``dx`` pixels."""

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    def _to_json(self) -> dict[str, Any]:
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def _from_json(cls, content: Mapping[str, Any]) -> Self:
        return cls(**_known(content, [field.name for field in fields(cls)]))

    def _key(self) -> tuple[object, ...]:
        # No coordinate is NaN or -0.0: the same numbers are the same bytes.
        return tuple(
            (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
            for value in self._values()
        )

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((type(self), self._key()))

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), self._values()  # an array that pickle restores could be written


class Area(Shape):
    """A shape that has an inside."""

    __slots__ = ()

    @property
    @abstractmethod
    def area(self) -> float:
        """In square pixels."""

    def to_mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return which pixels of an image of ``shape`` (height, width) have their centre inside.

        What lies outside of the image is cut off.
        """
        height, width = _pair("shape", shape, "a height and a width in pixels", 0, Integral)
        y0, x0, y1, x1 = self.bounds
        rows, columns = _window(y0, y1, height), _window(x0, x1, width)
        mask = np.zeros((height, width), np.bool_)
        mask[rows, columns] = self._inside(rows, columns)
        return mask

    @abstractmethod
    def _inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Rasterise a window that lies within the bounds; it may be empty."""


@dataclass(frozen=True, slots=True, eq=False, init=False)
class _Path(Shape):
    coordinates: NDArray[np.float64]
    """(y, x) of each vertex: shape (n, 2), read-only."""
    _least: ClassVar[int] = 1
    _most: ClassVar[float] = math.inf

    def __init__(self, coordinates: ArrayLike) -> None:
        self._set(coordinates=_coordinates(coordinates, self._least, self._most))

    @property
    def bounds(self) -> Bounds:
        return _bounds(self.coordinates)

    def translated(self, dy: float, dx: float) -> Self:
        return type(self)(self.coordinates + _step(dy, dx))


class Points(_Path):
    """Positions that belong together, such as the points of one counter; at least one."""

    __slots__ = ()


class Line(_Path):
    """A straight line from the first of two points to the second."""

    __slots__ = ()
    _least = _most = 2


class Polyline(_Path):
    """An open line through at least two vertices; ImageJ's angle is one of three."""

    __slots__ = ()
    _least = 2


class Polygon(_Path, Area):
    """A closed outline of at least three vertices; the last is joined to the first."""

    __slots__ = ()
    _least = 3

    @property
    def area(self) -> float:
        """In square pixels, by the shoelace formula.

        Where the outline crosses itself, parts that turn the other way count as negative.
        """
        y, x = (self.coordinates - self.coordinates[0]).T
        return abs(float(np.sum(y * np.roll(x, -1) - x * np.roll(y, -1)))) / 2

    def _inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        return _even_odd(_edges(self.coordinates), rows, columns)


@dataclass(frozen=True, slots=True, eq=False, init=False)
class _Box(Area):
    centre: _Pair
    """(y, x)"""
    size: _Pair
    """Height and width before it is turned: positive."""
    angle: float
    """Degrees, counter-clockwise; kept as given, so 360 is not 0."""

    def __init__(
        self, centre: Iterable[float], size: Iterable[float], angle: float = 0.0
    ) -> None:
        self._set(
            centre=_pair("centre", centre, "y and x in pixels"),
            size=_pair("size", size, "a height and a width above 0", math.ulp(0.0)),
            angle=_number("angle", angle, "a finite number of degrees"),
        )

    def translated(self, dy: float, dx: float) -> Self:
        by = _step(dy, dx)
        return type(self)(
            (self.centre[0] + by[0], self.centre[1] + by[1]), self.size, self.angle
        )


class Rectangle(_Box):
    """A rectangle, turned around its centre.

    Rows 2 to 4 and columns 10 to 15 are ``Rectangle(centre=(3, 12.5), size=(3, 6))``.
    """

    __slots__ = ()

    @property
    def corners(self) -> NDArray[np.float64]:
        """(y, x) of the corners, shape (4, 2), as napari's Shapes layer gives and takes them.

        Before turning: top left, top right, bottom right, bottom left.
        """
        (height, width), (cos, sin) = self.size, _direction(self.angle)
        dy = np.array((-height, -height, height, height)) / 2
        dx = np.array((-width, width, width, -width)) / 2
        return np.stack((dy * cos - dx * sin, dy * sin + dx * cos), axis=1) + self.centre

    @property
    def bounds(self) -> Bounds:
        return _bounds(self.corners)

    @property
    def area(self) -> float:
        return self.size[0] * self.size[1]

    def _inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        return _even_odd(_edges(self.corners), rows, columns)


class Ellipse(_Box):
    """An ellipse, turned around its centre; ``size`` is that of its box: twice the radii.

    A pixel centre that lies on the outline is outside.
    """

    __slots__ = ()

    @property
    def bounds(self) -> Bounds:
        (y, x), (height, width), (cos, sin) = self.centre, self.size, _direction(self.angle)
        dy = math.hypot(height * cos, width * sin) / 2
        dx = math.hypot(height * sin, width * cos) / 2
        return y - dy, x - dx, y + dy, x + dx

    @property
    def area(self) -> float:
        return math.pi * self.size[0] * self.size[1] / 4

    def _inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        (y, x), (height, width), (cos, sin) = self.centre, self.size, _direction(self.angle)
        dy = np.arange(rows.start, rows.stop)[:, None] - y
        dx = np.arange(columns.start, columns.stop)[None, :] - x
        v, u = width * (dy * cos + dx * sin), height * (dx * cos - dy * sin)
        inside: NDArray[np.bool_] = v * v + u * u < (height * width / 2) ** 2
        return inside


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Mask(Area):
    """A set of pixels, at least one; two masks are equal if they hold the same pixels."""

    pixels: NDArray[np.bool_]
    """Trimmed to the rows and columns that have pixels: shape (height, width), read-only."""
    origin: tuple[int, int]
    """(y, x) of ``pixels[0, 0]`` in the image."""

    def __init__(self, pixels: ArrayLike, origin: Iterable[int] = (0, 0)) -> None:
        given = _array("pixels", pixels)
        if given.dtype != np.bool_ or given.ndim != 2:
            raise UnsupportedDataError(
                f"pixels has dtype {given.dtype} and shape {given.shape}, but a mask needs dtype "
                "bool and shape (height, width): compare first, for example pixels > 0"
            )
        rows, columns = np.flatnonzero(given.any(axis=1)), np.flatnonzero(given.any(axis=0))
        if not rows.size:
            raise UnsupportedDataError("pixels has no True element: a mask needs at least one")
        y, x = _pair("origin", origin, "row and column of a pixel", kind=Integral)
        trimmed = given[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        self._set(pixels=_sealed(trimmed), origin=(y + int(rows[0]), x + int(columns[0])))

    @property
    def bounds(self) -> Bounds:
        (y, x), (height, width) = self.origin, self.pixels.shape
        return y - 0.5, x - 0.5, y + height - 0.5, x + width - 0.5

    @property
    def area(self) -> float:
        return float(np.count_nonzero(self.pixels))

    def translated(self, dy: float, dx: float) -> Self:
        """Return the mask moved by whole pixels; ``InvalidOptionError`` for others."""
        by = _step(dy, dx)
        if not (by[0].is_integer() and by[1].is_integer()):
            raise InvalidOptionError("dy, dx", by, "whole pixels for a mask")
        return type(self)(self.pixels, (self.origin[0] + int(dy), self.origin[1] + int(dx)))

    def _inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        y, x = self.origin
        return self.pixels[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]

    def _to_json(self) -> dict[str, Any]:
        bits = binascii.b2a_base64(np.packbits(self.pixels).tobytes(), newline=False)
        shape = list(self.pixels.shape)
        return {"origin": list(self.origin), "shape": shape, "bits": bits.decode("ascii")}

    @classmethod
    def _from_json(cls, content: Mapping[str, Any]) -> Self:
        content = _known(content, ("origin", "shape", "bits"))
        shape = _pair("shape", content["shape"], "height and width of the bits", 1, Integral)
        count = shape[0] * shape[1]
        try:
            packed = binascii.a2b_base64(content["bits"], strict_mode=True)
        except (TypeError, ValueError) as error:
            raise UnsupportedDataError(f"bits is not base64: {error}") from error
        if len(packed) != -(-count // 8):
            raise UnsupportedDataError(
                f"bits has {len(packed)} bytes, but {count} pixels need {-(-count // 8)}"
            )
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=count)
        return cls(bits.astype(np.bool_).reshape(shape), content["origin"])


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Composite(Area):
    """One region of several outlines, joined by the even-odd rule: pieces, holes, islands.

    ImageJ has such a selection for whatever has a hole or several pieces; no polygon can hold
    it, and a mask would round its outlines to pixels.
    """

    parts: tuple[Polygon, ...]
    """At least one; made from polygons or from their coordinates."""

    def __init__(self, parts: Iterable[Polygon | ArrayLike]) -> None:
        if not isinstance(parts, Iterable):
            raise InvalidOptionError("parts", parts, "a list of polygons")
        found = tuple(p if isinstance(p, Polygon) else Polygon(p) for p in parts)
        if not found:
            raise InvalidOptionError("parts", found, "at least one polygon")
        self._set(parts=found)

    @property
    def bounds(self) -> Bounds:
        return _bounds(np.concatenate([part.coordinates for part in self.parts]))

    @property
    def area(self) -> float:
        """In square pixels, for outlines that cross neither themselves nor each other.

        An outline within an odd number of others is a hole.
        """
        total, larger = 0.0, np.empty((4, 0))  # only what is larger can be around an outline
        for part in sorted(self.parts, key=lambda part: part.area, reverse=True):
            if part.area > 0:
                edges = _edges(part.coordinates)
                y, x = _inner_point(edges)
                is_hole = np.count_nonzero(_crossings(larger, y) <= x) % 2
                total += -part.area if is_hole else part.area
                larger = np.concatenate((larger, edges), axis=1)
        return total

    def translated(self, dy: float, dx: float) -> Self:
        return type(self)(part.translated(dy, dx) for part in self.parts)

    def _inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        return _even_odd(_edges(*(part.coordinates for part in self.parts)), rows, columns)


_SHAPES: dict[str, type[Shape]] = {
    shape.__name__.lower(): shape
    for shape in (Points, Line, Polyline, Polygon, Rectangle, Ellipse, Mask, Composite)
}


# ── the ROI ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Position:
    """The plane that a ROI belongs to, counted from 0; ``None``: every plane of that axis.

    ImageJ counts from 1, and its 0 is ``None`` here.
    """

    c: int | None = None
    z: int | None = None
    t: int | None = None

    def __post_init__(self) -> None:
        for name in ("c", "z", "t"):
            value = getattr(self, name)
            if value is not None:
                index = _number(name, value, "an index from 0, or None", 0, Integral)
                object.__setattr__(self, name, index)


_EVERYWHERE = Position()


@dataclass(frozen=True, slots=True)
class ROI:
    """A region of interest: a shape, and what is known about it.

    Raises:
        InvalidOptionError: a field that cannot be.
        UnsupportedDataError: coordinates, pixels or properties that cannot be.
    """

    shape: Shape
    name: str = ""
    position: Position = _EVERYWHERE
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Whatever JSON can hold, such as colours, the class of a cell or what only one viewer
    knows; frozen: lists become tuples, objects read-only mappings."""

    def __post_init__(self) -> None:
        if not isinstance(self.shape, Shape):
            raise InvalidOptionError("shape", self.shape, "a Shape, such as a Polygon")
        if not _is_text(self.name):
            raise InvalidOptionError("name", self.name, "a str of valid Unicode")
        if not isinstance(self.position, Position):
            raise InvalidOptionError("position", self.position, "a Position")
        if not isinstance(self.properties, Mapping):
            raise InvalidOptionError("properties", self.properties, "a mapping")
        object.__setattr__(self, "properties", _frozen(self.properties, "properties"))

    def __reduce__(self) -> tuple[type[ROI], tuple[Any, ...]]:
        # A mapping proxy does not pickle.
        return type(self), (self.shape, self.name, self.position, _plain(self.properties))

    def to_dict(self) -> dict[str, Any]:
        """Return the ROI as JSON has it: "type" and "version", the shape's fields, the rest.

        A mask's pixels are its "shape" and "bits": row by row, eight to a byte, the first the
        highest (``numpy.packbits``), in base64. A composite's "parts" are lists of vertices.
        """
        return {
            "type": type(self.shape).__name__.lower(),
            "version": VERSION,
            **self.shape._to_json(),
            "name": self.name,
            "position": {axis: getattr(self.position, axis) for axis in "czt"},
            "properties": _plain(self.properties),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], /) -> Self:
        """Return the ROI that :meth:`to_dict` wrote.

        Unknown keys are ignored.

        Raises:
            DamagedDataError: a key is missing, or its value is not valid.
            UnsupportedFileError: a later version of polystore wrote it.
        """
        try:
            return cls._from_json(content)
        except UnsupportedFileError:
            raise
        except InvalidOptionError as error:  # its text shows the value, which may be anything
            reason = f"{error.option!r} must be {error.expected}"
            raise DamagedDataError(reason, "roi") from error
        except UnsupportedDataError as error:
            raise DamagedDataError(error.reason, "roi") from error

    @classmethod
    def _from_json(cls, content: Mapping[str, Any]) -> Self:
        if not isinstance(content, Mapping):
            raise UnsupportedDataError(
                f"expected an object with a 'type', got {type(content).__name__}"
            )
        kind, version = content.get("type"), content.get("version")
        if not isinstance(kind, str) or kind not in _SHAPES:
            raise InvalidOptionError("type", kind, f"one of {', '.join(_SHAPES)}")
        if type(version) is int and version > VERSION:
            reason = f"the ROI has version {version}, and polystore reads version {VERSION}"
            raise UnsupportedFileError(f"{reason}: upgrade polystore-core", "roi")
        if type(version) is not int or version != VERSION:
            raise InvalidOptionError(
                "version", version, f"{VERSION}, the only supported version"
            )
        own = _known(content, ("name", "position", "properties"))
        position = own["position"]
        if not isinstance(position, Mapping):
            raise InvalidOptionError("position", position, "an object with c, z and t")
        shape = _SHAPES[kind]._from_json(content)
        place = Position(**_known(position, "czt"))
        return cls(shape, own["name"], place, own["properties"])


# ── what may stand in a field ────────────────────────────────────────────────────────────


def _number(
    name: str, value: Any, expected: str, least: float = -LIMIT, kind: Any = Real
) -> Any:
    if isinstance(value, np.generic):
        value = value.item()  # a float16 would overflow beside LIMIT
    # Compared before it is converted: NaN fails, and an int may be too large for a float.
    if not isinstance(value, kind) or isinstance(value, bool) or not least <= value <= LIMIT:
        raise InvalidOptionError(name, value, f"{expected} (at most {LIMIT:g})")
    return int(value) if kind is Integral else float(value) + 0.0


def _pair(
    name: str, value: Any, expected: str, least: float = -LIMIT, kind: Any = Real
) -> tuple[Any, Any]:
    try:
        y, x = value
    except (TypeError, ValueError):
        raise InvalidOptionError(name, value, f"two numbers: {expected}") from None
    return _number(name, y, expected, least, kind), _number(name, x, expected, least, kind)


def _step(dy: float, dx: float) -> _Pair:
    return _pair("dy, dx", (dy, dx), "a distance in pixels")


def _array(name: str, value: ArrayLike) -> NDArray[Any]:
    try:
        return to_numpy(value) if is_array(value) else np.asarray(value)
    except UnsupportedDataError as error:
        raise UnsupportedDataError(f"{name}: {error.reason}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise UnsupportedDataError(f"{name} is not an array: {error}") from error


def _sealed(array: NDArray[Any]) -> NDArray[Any]:
    """Return a copy that cannot be made writable: its memory is that of ``bytes``."""
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


def _coordinates(value: ArrayLike, least: int, most: float) -> NDArray[np.float64]:
    given = _array("coordinates", value)
    if given.dtype.kind not in "iuf" or given.ndim != 2 or given.shape[1] != 2:
        raise UnsupportedDataError(
            f"coordinates has dtype {given.dtype} and shape {given.shape}: expected numbers of "
            "shape (n, 2), the y and x of each vertex"
        )
    if not least <= len(given) <= most:
        count = f"at least {least}" if most > least else least
        raise UnsupportedDataError(f"coordinates has {len(given)} vertices: expected {count}")
    with np.errstate(over="ignore"):
        array = given.astype(np.float64) + 0.0
    fits = (np.abs(array) <= LIMIT).all(axis=1)  # NaN does not
    if not fits.all():
        at = int(np.argmin(fits))
        raise UnsupportedDataError(
            f"coordinates[{at}] is {array[at].tolist()}: expected numbers of at most {LIMIT:g}"
        )
    return _sealed(array)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not _SURROGATES.search(value)


def _frozen(value: Any, where: str, depth: int = 32) -> Any:
    """Return an immutable copy of what JSON can hold; ``where`` names it in errors."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool) or _is_text(value):
        return value
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if depth and isinstance(value, list | tuple):
        return tuple(_frozen(v, f"{where}[{i}]", depth - 1) for i, v in enumerate(value))
    if depth and isinstance(value, Mapping) and all(map(_is_text, value)):
        inner = {key: _frozen(v, f"{where}[{key!r}]", depth - 1) for key, v in value.items()}
        return MappingProxyType(inner)
    raise UnsupportedDataError(
        f"{where:.200} is {shown(value)}: expected finite numbers of at most 64 bits, valid "
        "Unicode, bool, None, or lists and mappings of these, at most 32 levels deep"
    )


def _plain(value: Any) -> Any:
    """Return what JSON knows for what stands in a field."""
    if isinstance(value, Polygon):
        value = value.coordinates
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value


def _known(content: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the values of ``names``. Raises for one that is missing, ignores all others."""
    found = {name: content[name] for name in names if name in content}
    for name in names:
        if name not in found:
            raise UnsupportedDataError(f"the key {name!r} is missing")
    return found


# ── geometry ─────────────────────────────────────────────────────────────────────────────


def _bounds(points: NDArray[np.float64]) -> Bounds:
    (y0, x0), (y1, x1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return y0, x0, y1, x1


def _direction(angle: float) -> _Pair:
    """Cosine and sine of an angle in degrees, exact where it is a multiple of 90."""
    quarters, rest = divmod(angle, 90.0)
    cos, sin = math.cos(math.radians(rest)), math.sin(math.radians(rest))
    for _ in range(int(quarters) % 4):
        cos, sin = -sin, cos
    return cos, sin


def _window(low: float, high: float, length: int) -> slice:
    """The pixels of an axis whose centres are from ``low`` to ``high``."""
    start = min(max(math.ceil(low), 0), length)
    return slice(start, min(max(math.floor(high) + 1, start), length))


def _edges(*outlines: NDArray[np.float64]) -> NDArray[np.float64]:
    """The y0, x0, y1, x1 of each edge, shape (4, n): y0 < y1, as no row crosses a level one.

    Neighbours thus compute the very same crossings on the edge that they share.
    """
    start = np.concatenate(outlines)
    end = np.concatenate([np.roll(outline, -1, axis=0) for outline in outlines])
    up = end[:, :1] < start[:, :1]
    edges = np.concatenate((np.where(up, end, start), np.where(up, start, end)), axis=1).T
    return edges[:, edges[0] < edges[2]]


def _crossings(edges: NDArray[np.float64], y: float) -> NDArray[np.float64]:
    """The x at which edges cross the height ``y``; an edge owns its upper end alone."""
    return _x_at(edges[:, (edges[0] <= y) & (y < edges[2])], y)


def _x_at(edges: NDArray[np.float64], y: float | NDArray[Any]) -> NDArray[np.float64]:
    y0, x0, y1, x1 = edges
    # Divided first, it could overflow, and would miss crossings at whole pixels.
    x: NDArray[np.float64] = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    return x


def _even_odd(edges: NDArray[np.float64], rows: slice, columns: slice) -> NDArray[np.bool_]:
    """Count, for each pixel centre of the window, the edges that its row crosses up to it."""
    first = np.clip(np.ceil(edges[0]), rows.start, rows.stop).astype(np.intp)
    count = np.clip(np.ceil(edges[2]), rows.start, rows.stop).astype(np.intp) - first
    row = np.arange(count.sum()) + np.repeat(first - np.cumsum(count) + count, count)
    x = _x_at(np.repeat(edges, count, axis=1), row)
    column = np.clip(np.ceil(x), columns.start, columns.stop).astype(np.intp)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    crossed = np.zeros((height, width + 1), np.uint8)  # wraps at 256, which keeps what is odd
    np.add.at(crossed, (row - rows.start, column - columns.start), 1)
    counts = np.cumsum(crossed[:, :-1], axis=1, dtype=np.uint8)
    return (counts & 1).astype(np.bool_)


def _inner_point(edges: NDArray[np.float64]) -> _Pair:
    """Return the (y, x) of a point inside of an outline that has an area."""
    levels = np.unique(edges[::2])
    at = int(np.argmax(np.diff(levels)))
    # Between neighbours in float64 the mean may be the upper one, which nothing crosses.
    y = min((levels[at] + levels[at + 1]) / 2, np.nextafter(levels[at + 1], levels[at]))
    x = np.sort(_crossings(edges, y))
    widest = 2 * int(np.argmax(x[1::2] - x[::2]))
    return float(y), float((x[widest] + x[widest + 1]) / 2)
