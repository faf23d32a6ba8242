"""``ROI``: a shape with a name, a position in a stack, and properties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

from ..errors import (
    DamagedDataError,
    InvalidOptionError,
    UnsupportedDataError,
    UnsupportedFileError,
)
from .fields import check_number, freeze, is_text, pick_fields, plain_json
from .shapes import SHAPES, Shape

if TYPE_CHECKING:
    from ..values import Document, Value

__all__ = ["ROI", "VERSION", "Position"]

VERSION = 1
"""The version of the documents of :meth:`ROI.to_dict`."""


@dataclass(frozen=True, slots=True)
class Position:
    """The plane of a ROI, as indices from 0. ``None`` means all planes along an axis.

    ImageJ counts from 1, and its 0 is ``None`` here.
    """

    c: int | None = None
    z: int | None = None
    t: int | None = None

    def __post_init__(self) -> None:
        for name in ("c", "z", "t"):
            value = getattr(self, name)
            if value is not None:
                index = check_number(name, value, "an index from 0, or None", 0, Integral)
                object.__setattr__(self, name, index)


_EVERYWHERE = Position()


@dataclass(frozen=True, slots=True)
class ROI:
    """A region of interest: a shape with a name, a position and properties.

    For example:

        ROI(Rectangle(centre=(20, 30), size=(10, 8)), name="cell 1", position=Position(z=3))

    Raises:
        InvalidOptionError: A field is not valid.
        UnsupportedDataError: Coordinates, pixels or properties are not valid.
    """

    shape: Shape
    name: str = ""
    position: Position = _EVERYWHERE
    """The plane of the ROI. By default it belongs to all planes."""
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """JSON values, such as colours or the class of a cell.

    They are made immutable: lists become tuples, and objects become read-only mappings.
    """

    def __post_init__(self) -> None:
        if not isinstance(self.shape, Shape):
            raise InvalidOptionError("shape", self.shape, "a Shape, such as a Polygon")
        if not is_text(self.name):
            raise InvalidOptionError("name", self.name, "a str of valid Unicode")
        if not isinstance(self.position, Position):
            raise InvalidOptionError("position", self.position, "a Position")
        if not isinstance(self.properties, Mapping):
            raise InvalidOptionError("properties", self.properties, "a mapping")
        object.__setattr__(self, "properties", freeze(self.properties, "properties"))

    def __reduce__(self) -> tuple[type[ROI], tuple[Value, ...]]:
        # A mapping proxy does not pickle.
        return type(self), (self.shape, self.name, self.position, plain_json(self.properties))

    def to_dict(self) -> Document:
        """Return the ROI as a JSON document: "type", "version", and all fields.

        The pixels of a mask are its "shape" and "bits": row by row, eight pixels in a byte, the
        first in the highest bit (``numpy.packbits``), in base64. The "parts" of a composite are
        lists of vertices.
        """
        return {
            "type": type(self.shape).__name__.lower(),
            "version": VERSION,
            **self.shape._to_json(),
            "name": self.name,
            "position": {axis: getattr(self.position, axis) for axis in "czt"},
            "properties": plain_json(self.properties),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Value], /) -> Self:
        """Return the ROI of a document of :meth:`to_dict`.

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
    def _from_json(cls, content: Mapping[str, Value]) -> Self:
        if not isinstance(content, Mapping):
            raise UnsupportedDataError(
                f"expected an object with a 'type', got {type(content).__name__}"
            )
        # The version before the fields, because a later one may have other fields.
        kind, version = content.get("type"), content.get("version")
        if not isinstance(kind, str) or kind not in SHAPES:
            raise InvalidOptionError("type", kind, f"one of {', '.join(SHAPES)}")
        if type(version) is int and version > VERSION:
            reason = f"the ROI has version {version}, and polystore reads version {VERSION}"
            raise UnsupportedFileError(f"{reason}: upgrade polystore-core", "roi")
        if type(version) is not int or version != VERSION:
            raise InvalidOptionError(
                "version", version, f"{VERSION}, the only supported version"
            )
        own = pick_fields(content, ("name", "position", "properties"))
        position = own["position"]
        if not isinstance(position, Mapping):
            raise InvalidOptionError("position", position, "an object with c, z and t")
        shape = SHAPES[kind]._from_json(content)
        place = Position(**pick_fields(position, "czt"))
        return cls(shape, own["name"], place, own["properties"])
