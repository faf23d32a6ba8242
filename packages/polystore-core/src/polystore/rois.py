"""Regions of interest as plain values: what every viewer and every file of ROIs has in common.

**Coordinates** are ``(y, x)`` in pixels of the image, and a pixel's *centre* has integers: the
first pixel is centred on (0, 0) and spans -0.5 to 0.5 on both axes; y grows downwards. That is
the convention of napari (``layer.data``) and of scikit-image: theirs need no change.

ImageJ writes ``(x, y)`` and counts *areas* from the corner of the first pixel, but *lines and
points* from its centre (``Roi.useLineSubpixelConvention`` in its source), so::

    areas            y = Y - 0.5, x = X - 0.5      polygon, rectangle, oval, composite
    lines and points y = Y,       x = X            line, polyline, angle, point

**Angles** are in degrees, counter-clockwise as seen on the screen (ImageJ, scikit-image): the
offset (dy, dx) from the centre becomes (dy cos a - dx sin a, dy sin a + dx cos a).

**Which pixels are inside**: those whose centre is, by the even-odd rule. A centre that lies on
an outline of straight edges is inside if what touches it on the right is (on a horizontal
edge: what is below), so shapes that share an edge share no pixel. This is also Java's rule
(``java.awt.Shape``, "insideness").

All values are immutable, compare by content, hash and pickle. Nothing here knows a viewer or a
file: each conversion stands beside the foreign type.
"""

from __future__ import annotations

import binascii
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import numpy as np

from .errors import DamagedDataError, InvalidOptionError, UnsupportedDataError

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

Pair: TypeAlias = tuple[float, float]
Bounds: TypeAlias = tuple[float, float, float, float]
"""y0, x0, y1, x1 in pixels. An area of whole pixels ends half a pixel beyond their centres."""


# ── shapes ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, eq=False)
class Shape(ABC):
    """Where a ROI is. Positions and lengths are in pixels, as the module says."""

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

    def _values(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _to_json(self) -> dict[str, Any]:
        return {name: _plain(value) for name, value in self._values().items()}

    @classmethod
    def _from_json(cls, content: Mapping[str, Any]) -> Self:
        _check_keys(content, (field.name for field in fields(cls)))
        return cls(**content)

    def _key(self) -> tuple[object, ...]:
        # No coordinate is NaN or -0.0: the same numbers are the same bytes.
        return tuple(
            (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
            for value in self._values().values()
        )

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((type(self), self._key()))

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        # Without it, a pickled array would come back writable.
        return type(self), tuple(self._values().values())


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
        height, width = _integers("shape", shape, "a height and a width in pixels", least=0)
        y0, x0, y1, x1 = self.bounds
        rows, columns = _window(y0, y1, height), _window(x0, x1, width)
        mask = np.zeros((height, width), np.bool_)
        mask[rows, columns] = self._inside(rows, columns)
        return mask

    @abstractmethod
    def _inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Rasterise a window that lies within the bounds; it may be empty."""


@dataclass(frozen=True, slots=True, eq=False, init=False, repr=False)
class _Path(Shape):
    """A shape that is given by its vertices."""

    coordinates: NDArray[np.float64]
    """(y, x) of each vertex: shape (n, 2), read-only."""
    _least: ClassVar[int] = 1

    def __init__(self, coordinates: ArrayLike) -> None:
        self._set(coordinates=_coordinates(coordinates, self._least))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({np.array2string(self.coordinates, separator=', ')})"

    @property
    def bounds(self) -> Bounds:
        return _bounds(self.coordinates)

    def translated(self, dy: float, dx: float) -> Self:
        return type(self)(self.coordinates + _pair("dy, dx", (dy, dx)))


class Points(_Path):
    """Positions that belong together, such as the points of one counter; at least one."""

    __slots__ = ()


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
        return abs(float(np.dot(y, np.roll(x, -1)) - np.dot(x, np.roll(y, -1)))) / 2

    def _inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        return _even_odd(_edges(self.coordinates), rows, columns)


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Line(Shape):
    """A straight line with a direction."""

    start: Pair
    """(y, x)"""
    end: Pair

    def __init__(self, start: Iterable[float], end: Iterable[float]) -> None:
        self._set(start=_pair("start", start), end=_pair("end", end))

    @property
    def bounds(self) -> Bounds:
        return _bounds(np.array((self.start, self.end)))

    def translated(self, dy: float, dx: float) -> Self:
        return type(self)(_moved(self.start, dy, dx), _moved(self.end, dy, dx))


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Rectangle(Area):
    """A rectangle, turned around its centre.

    Rows 2 to 4 and columns 10 to 15 are ``Rectangle(centre=(3, 12.5), size=(3, 6))``.
    """

    centre: Pair
    """(y, x)"""
    size: Pair
    """Height and width before it is turned: positive."""
    angle: float
    """Degrees, counter-clockwise; kept as given, so 360 is not 0."""

    def __init__(
        self, centre: Iterable[float], size: Iterable[float], angle: float = 0.0
    ) -> None:
        self._set(
            centre=_pair("centre", centre),
            size=_pair("size", size, positive=True),
            angle=_number("angle", angle),
        )

    @property
    def corners(self) -> NDArray[np.float64]:
        """The (y, x) of the corners, shape (4, 2).

        Before turning: top left, top right, bottom right, bottom left. In this order napari's
        Shapes layer gives and takes a rectangle.
        """
        height, width = self.size
        dy = np.array((-height, -height, height, height)) / 2
        dx = np.array((-width, width, width, -width)) / 2
        cos, sin = _direction(self.angle)
        return np.stack((dy * cos - dx * sin, dy * sin + dx * cos), axis=1) + self.centre

    @property
    def bounds(self) -> Bounds:
        return _bounds(self.corners)

    @property
    def area(self) -> float:
        return self.size[0] * self.size[1]

    def translated(self, dy: float, dx: float) -> Self:
        return type(self)(_moved(self.centre, dy, dx), self.size, self.angle)

    def _inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        return _even_odd(_edges(self.corners), rows, columns)


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Ellipse(Area):
    """An ellipse, turned around its centre. A pixel centre on its outline is outside."""

    centre: Pair
    """(y, x)"""
    radii: Pair
    """Half of the height and of the width before it is turned: positive."""
    angle: float
    """Degrees, counter-clockwise; kept as given, so 360 is not 0."""

    def __init__(
        self, centre: Iterable[float], radii: Iterable[float], angle: float = 0.0
    ) -> None:
        self._set(
            centre=_pair("centre", centre),
            radii=_pair("radii", radii, positive=True),
            angle=_number("angle", angle),
        )

    @property
    def bounds(self) -> Bounds:
        (y, x), (ry, rx), (cos, sin) = self.centre, self.radii, _direction(self.angle)
        dy, dx = math.hypot(ry * cos, rx * sin), math.hypot(ry * sin, rx * cos)
        return y - dy, x - dx, y + dy, x + dx

    @property
    def area(self) -> float:
        return math.pi * self.radii[0] * self.radii[1]

    def translated(self, dy: float, dx: float) -> Self:
        return type(self)(_moved(self.centre, dy, dx), self.radii, self.angle)

    def _inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        (y, x), (ry, rx), (cos, sin) = self.centre, self.radii, _direction(self.angle)
        dy = np.arange(rows.start, rows.stop)[:, None] - y
        dx = np.arange(columns.start, columns.stop)[None, :] - x
        v, u = dy * cos + dx * sin, dx * cos - dy * sin
        inside: NDArray[np.bool_] = (v * rx) ** 2 + (u * ry) ** 2 < (ry * rx) ** 2
        return inside


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Mask(Area):
    """A set of pixels, at least one; two masks are equal if they hold the same pixels."""

    pixels: NDArray[np.bool_]
    """Trimmed to the rows and columns that have pixels: shape (height, width), read-only."""
    origin: tuple[int, int]
    """(y, x) of ``pixels[0, 0]`` in the image."""

    def __init__(self, pixels: ArrayLike, origin: Iterable[int] = (0, 0)) -> None:
        given = np.asarray(pixels)
        if given.dtype != np.bool_ or given.ndim != 2:
            raise UnsupportedDataError(
                f"pixels: {given.dtype} of shape {given.shape}, where a mask is bool of shape "
                "(height, width): compare first, such as pixels > 0"
            )
        rows, columns = given.any(axis=1).nonzero()[0], given.any(axis=0).nonzero()[0]
        if not rows.size:
            raise UnsupportedDataError("pixels: none is True, and an empty mask is nowhere")
        y, x = _integers("origin", origin, "the row and the column of a pixel")
        trimmed = given[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        self._set(
            pixels=np.frombuffer(trimmed.tobytes(), np.bool_).reshape(trimmed.shape),
            origin=(y + int(rows[0]), x + int(columns[0])),
        )

    @property
    def bounds(self) -> Bounds:
        (y, x), (height, width) = self.origin, self.pixels.shape
        return y - 0.5, x - 0.5, y + height - 0.5, x + width - 0.5

    @property
    def area(self) -> float:
        return float(np.count_nonzero(self.pixels))

    def translated(self, dy: float, dx: float) -> Self:
        """Return the mask moved by ``dy`` and ``dx``: whole pixels, or ``InvalidOptionError``."""
        if not all(step.is_integer() for step in _pair("dy, dx", (dy, dx))):
            raise InvalidOptionError("dy, dx", (dy, dx), "whole pixels: a mask has no others")
        return type(self)(self.pixels, (self.origin[0] + int(dy), self.origin[1] + int(dx)))

    def _inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        y, x = self.origin
        return self.pixels[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]

    def _to_json(self) -> dict[str, Any]:
        bits = binascii.b2a_base64(np.packbits(self.pixels).tobytes(), newline=False)
        return {
            "origin": list(self.origin),
            "shape": list(self.pixels.shape),
            "bits": bits.decode("ascii"),
        }

    @classmethod
    def _from_json(cls, content: Mapping[str, Any]) -> Self:
        _check_keys(content, ("origin", "shape", "bits"))
        what = "the height and the width of the bits"
        height, width = _integers("shape", content["shape"], what, least=1)
        try:
            packed = binascii.a2b_base64(content["bits"], strict_mode=True)
        except (TypeError, ValueError) as error:
            raise UnsupportedDataError(f"bits: no base64: {error}") from error
        if len(packed) != -(-height * width // 8):
            raise UnsupportedDataError(f"bits: {len(packed)} bytes for {height} × {width} bits")
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=height * width)
        return cls(bits.astype(np.bool_).reshape(height, width), content["origin"])


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Composite(Area):
    """One region of several outlines, joined by the even-odd rule: pieces, holes, islands.

    Neither a polygon nor, with its sub-pixel outlines, a mask can hold it. ImageJ has such a
    selection for anything with a hole, OGC calls it a multipolygon.
    """

    parts: tuple[Polygon, ...]
    """At least one."""

    def __init__(self, parts: Iterable[Polygon]) -> None:
        found = tuple(parts) if isinstance(parts, Iterable) else ()
        if not found or not all(type(part) is Polygon for part in found):
            raise InvalidOptionError("parts", parts, "one Polygon or more")
        self._set(parts=found)

    @property
    def bounds(self) -> Bounds:
        return _bounds(np.concatenate([part.coordinates for part in self.parts]))

    @property
    def area(self) -> float:
        """In square pixels, for outlines that cross neither themselves nor each other.

        An outline within an odd number of others is a hole.
        """
        sized = sorted(((part.area, i) for i, part in enumerate(self.parts)), reverse=True)
        outlines = [self.parts[i].coordinates for area, i in sized if area > 0]
        edges = [_edges(outline) for outline in outlines]
        joined = np.concatenate(edges, axis=1) if edges else np.empty((4, 0))
        total, before = 0.0, 0  # only what is larger can be around it
        for (area, _), own in zip(sized, edges, strict=False):
            y, x = _inner_point(own)
            is_hole = np.count_nonzero(_crossings(joined[:, :before], y) <= x) % 2
            total += -area if is_hole else area
            before += own.shape[1]
        return total

    def translated(self, dy: float, dx: float) -> Self:
        return type(self)(part.translated(dy, dx) for part in self.parts)

    def _inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        return _even_odd(_edges(*(part.coordinates for part in self.parts)), rows, columns)

    def _to_json(self) -> dict[str, Any]:
        return {"parts": [part.coordinates.tolist() for part in self.parts]}

    @classmethod
    def _from_json(cls, content: Mapping[str, Any]) -> Self:
        _check_keys(content, ("parts",))
        parts = content["parts"]
        if not isinstance(parts, list):
            raise InvalidOptionError("parts", parts, "a list of lists of vertices")
        return cls(map(Polygon, parts))


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
                index = _integer(name, value, "the index of a plane, from 0, or None", least=0)
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

        A mask's pixels are "bits": row by row, eight to a byte, the first the highest
        (``numpy.packbits``), in base64. A composite's "parts" are lists of vertices.
        """
        return {
            "type": type(self.shape).__name__.lower(),
            "version": VERSION,
            **self.shape._to_json(),
            "name": self.name,
            "position": {axis: getattr(self.position, axis) for axis in ("c", "z", "t")},
            "properties": _plain(self.properties),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], /) -> Self:
        """Return the ROI that :meth:`to_dict` wrote.

        Raises:
            DamagedDataError: a key is missing, unknown, or its value cannot be.
        """
        try:
            return cls._from_json(content)
        except InvalidOptionError as error:  # its text shows the value, which may be anything
            reason = f"{error.option!r} is not {error.expected}"
            raise DamagedDataError(reason, "roi") from error
        except UnsupportedDataError as error:
            raise DamagedDataError(error.reason, "roi") from error

    @classmethod
    def _from_json(cls, content: Mapping[str, Any]) -> Self:
        if not isinstance(content, Mapping):
            raise UnsupportedDataError(f"a {type(content).__name__} is no object with a 'type'")
        rest = dict(content)
        kind, version = rest.pop("type", None), rest.pop("version", None)
        if not isinstance(kind, str) or kind not in _SHAPES:
            raise InvalidOptionError("type", kind, f"one of {', '.join(_SHAPES)}")
        if type(version) is not int or version != VERSION:
            raise InvalidOptionError("version", version, f"{VERSION}, all that is known here")
        own = {
            name: rest.pop(name) for name in ("name", "position", "properties") if name in rest
        }
        _check_keys(own, ("name", "position", "properties"))
        position = own["position"]
        if not isinstance(position, Mapping):
            raise InvalidOptionError("position", position, "an object of c, z and t")
        _check_keys(position, ("c", "z", "t"))
        shape = _SHAPES[kind]._from_json(rest)
        return cls(shape, own["name"], Position(**position), own["properties"])


# ── what may stand in a field ────────────────────────────────────────────────────────────


def _number(name: str, value: object, expected: str = "", *, least: float = -LIMIT) -> float:
    # Compared before it is converted: NaN fails, and an int may be too large for a float.
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not least <= value <= LIMIT:  # type: ignore[operator]
        raise InvalidOptionError(
            name, value, expected or f"a number from {-LIMIT:g} to {LIMIT:g}"
        )
    return float(value) + 0.0  # type: ignore[arg-type]


def _pair(name: str, value: Iterable[float], *, positive: bool = False) -> Pair:
    sign = "positive " if positive else ""
    expected = f"two {sign}numbers, for y and x, of at most {LIMIT:g}"
    try:
        y, x = value
    except (TypeError, ValueError):
        raise InvalidOptionError(name, value, expected) from None
    pair = _number(name, y, expected), _number(name, x, expected)
    if positive and min(pair) <= 0:
        raise InvalidOptionError(name, value, expected)
    return pair


def _moved(point: Pair, dy: float, dx: float) -> Pair:
    by = _pair("dy, dx", (dy, dx))
    return point[0] + by[0], point[1] + by[1]


def _integer(name: str, value: object, expected: str, *, least: float = -LIMIT) -> int:
    if (
        not isinstance(value, Integral)
        or isinstance(value, bool)
        or not least <= value <= LIMIT
    ):
        raise InvalidOptionError(name, value, expected)
    return int(value)


def _integers(
    name: str, value: Iterable[int], expected: str, *, least: float = -LIMIT
) -> tuple[int, int]:
    try:
        y, x = value
    except (TypeError, ValueError):
        raise InvalidOptionError(name, value, expected) from None
    return _integer(name, y, expected, least=least), _integer(name, x, expected, least=least)


def _coordinates(value: ArrayLike, least: int) -> NDArray[np.float64]:
    """Return a copy that cannot be made writable: its memory is that of ``bytes``."""
    try:
        given = np.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnsupportedDataError(f"coordinates: no array of numbers: {error}") from error
    if given.dtype.kind not in "iuf" or given.ndim != 2 or given.shape[1] != 2:
        raise UnsupportedDataError(
            f"coordinates: {given.dtype} of shape {given.shape}, where numbers of shape (n, 2) "
            "are needed: the y and the x of each vertex"
        )
    if len(given) < least:
        raise UnsupportedDataError(f"coordinates: {len(given)} vertices, of at least {least}")
    array = given.astype(np.float64) + 0.0
    fits = (np.abs(array) <= LIMIT).all(axis=1)  # NaN does not
    if not fits.all():
        at = int(np.argmin(fits))
        raise UnsupportedDataError(
            f"coordinates: [{at}] is {array[at].tolist()}, beyond {LIMIT:g} or no number"
        )
    return np.frombuffer(array.tobytes(), np.float64).reshape(array.shape)


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:  # half of a surrogate pair, which no JSON file can hold
        return False


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
        f"{where:.200}: this {type(value).__name__} is nothing that JSON holds: finite numbers of "
        "at most 64 bits, text, true, false, null, lists and objects of these, 32 levels deep"
    )


def _plain(value: Any) -> Any:
    """Return the lists and dicts that JSON knows for what is frozen."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value


def _check_keys(content: Mapping[str, Any], expected: Iterable[str]) -> None:
    known = set(expected)
    for key in sorted(known - content.keys()):
        raise UnsupportedDataError(f"the key {key!r} is missing")
    for key in content.keys() - known:
        raise UnsupportedDataError(f"the key {key!r:.80} is unknown here")


# ── geometry ─────────────────────────────────────────────────────────────────────────────


def _bounds(points: NDArray[np.float64]) -> Bounds:
    (y0, x0), (y1, x1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return y0, x0, y1, x1


def _direction(angle: float) -> Pair:
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


def _x_at(edges: NDArray[np.float64], y: float | NDArray[np.float64]) -> NDArray[np.float64]:
    y0, x0, y1, x1 = edges
    # Multiplied first: dividing first can overflow, and misses crossings at whole pixels.
    x: NDArray[np.float64] = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    return x


def _even_odd(edges: NDArray[np.float64], rows: slice, columns: slice) -> NDArray[np.bool_]:
    """Count, for each pixel centre of the window, the edges that its row crosses up to it."""
    first = np.clip(np.ceil(edges[0]), rows.start, rows.stop).astype(np.intp)
    count = np.clip(np.ceil(edges[2]), rows.start, rows.stop).astype(np.intp) - first
    before = np.cumsum(count) - count
    row = np.arange(count.sum()) + np.repeat(first - before, count)
    x = _x_at(np.repeat(edges, count, axis=1), row.astype(np.float64))
    column = np.clip(np.ceil(x), columns.start, columns.stop).astype(np.intp)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    crossed = np.zeros((height, width + 1), np.uint8)  # wraps at 256, which keeps what is odd
    np.add.at(crossed, (row - rows.start, column - columns.start), 1)
    counts = np.cumsum(crossed[:, :-1], axis=1, dtype=np.uint8)
    return (counts & 1).astype(np.bool_)


def _inner_point(edges: NDArray[np.float64]) -> Pair:
    """Return the (y, x) of a point inside of an outline that has an area."""
    levels = np.unique(edges[::2])
    at = int(np.argmax(np.diff(levels)))
    # Between neighbours in float64 the mean may be the upper one, which nothing crosses.
    y = min((levels[at] + levels[at + 1]) / 2, np.nextafter(levels[at + 1], levels[at]))
    x = np.sort(_crossings(edges, y))
    widest = 2 * int(np.argmax(x[1::2] - x[::2]))
    return float(y), float((x[widest] + x[widest + 1]) / 2)
