"""What OME-NGFF documents say, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from polystore_core import Axis, Channel, Document

__all__ = ["Attributes", "Level", "MultiscaleImage", "Plate", "Version", "Well"]

Version: TypeAlias = Literal["0.5", "0.4"]
Attributes: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of an image. Coordinate = index * scale + translation."""

    path: str
    """Path of the array, relative to the image's group; it never leaves it."""
    scale: tuple[float, ...] | None
    """``None`` where a transformation is neither scale nor translation, as is the translation."""
    translation: tuple[float, ...] | None
    transformations: tuple[Any, ...] = ()
    """As they are written, where they give no scale."""
    is_placed: bool = field(default=False, compare=False)
    """Whether a translation is written. Without one, the position of the image is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiscaleImage:
    """The first multiscale image of a group, as its document describes it."""

    version: str
    axes: tuple[Axis, ...]
    """None where the document's cannot be read."""
    levels: tuple[Level, ...]
    """From the finest to the coarsest; at least one."""
    channels: tuple[Channel, ...] = ()
    name: str = ""
    is_label: bool = False
    source: str | None = None
    """Of a label image: the path of the labelled image relative to it, as it is written."""
    count: int = 1
    """How many images the group describes."""

    def description(self, ndim: int, labels: Sequence[str] = ()) -> Document:
        """Return all this, and the names of its ``labels``, as plain values.

        ``ndim`` is the number of axes that level 0 has. If the document describes another
        number, axes, scale and units are ``None``. The scale is ``None`` too where a
        transformation is not applied, and ``transformations`` then holds all of level 0.
        """
        fits = len(self.axes) == ndim
        first = self.levels[0]
        found: dict[str, Any] = {
            "ome_version": self.version,
            "axes": [axis.name for axis in self.axes] if fits else None,
            "scale": list(first.scale) if fits and first.scale is not None else None,
            "units": [axis.unit for axis in self.axes] if fits else None,
            "channels": [channel.name for channel in self.channels],
            "labels": list(labels),
        }
        if first.transformations:
            found["transformations"] = list(first.transformations)
        return found | ({"name": self.name} if self.name else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plate:
    """A plate as its document describes it."""

    version: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    wells: tuple[str, ...]
    """Paths of the wells, such as "B/03"."""
    name: str = ""
    field_count: int | None = None
    """The largest number of fields in a well, if the document tells it."""
    in_order: bool = False
    """Whether all rows, columns and wells are in order, have our form, and fit the indices.

    Small plates are not examined."""

    def places(self, entries: Sequence[Any]) -> list[tuple[int, int]] | None:
        """Return the row and column of entries by their indices, ``None`` if one does not fit."""
        try:
            places = list(map(PLACE, entries))
            names = [(self.rows[row], self.columns[column]) for row, column in places]
            paths = list(map(PATH, entries))
        except (IndexError, KeyError, TypeError):
            return None
        fit = min(chain.from_iterable(places), default=0) >= 0
        return places if fit and list(map("/".join, names)) == paths else None

    def follow(self, start: int, stop: int, new: Sequence[Any]) -> Plate | None:
        """Return the plate with other entries instead of those from ``start`` to ``stop``.

        ``None`` if it was not in order, or is not any more.
        """
        found = self.places(new) if self.in_order else None
        if found is None:
            return None
        wells = *self.wells[:start], *map(PATH, new), *self.wells[stop:]
        before = map(self._place, wells[:start][-1:])
        after = map(self._place, self.wells[stop : stop + 1])
        around = [*before, *found, *after]
        return replace(self, wells=wells) if around == sorted(around) else None

    def _place(self, well: str) -> tuple[int, int]:
        row, _, column = well.partition("/")
        return self.rows.index(row), self.columns.index(column)


PATH, PLACE = itemgetter("path"), itemgetter("rowIndex", "columnIndex")
"""Of a well in a document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Well:
    """A well as its document describes it."""

    version: str
    fields: tuple[str, ...]
    """Paths of its images, relative to the well."""
