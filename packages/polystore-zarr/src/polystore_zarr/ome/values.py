"""The content of OME-NGFF documents as values."""

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
    """Path of the array, relative to the group of the image. It never leads outside."""
    scale: tuple[float, ...] | None
    """Pixel size. ``None``, like the translation, if there are other transformations."""
    translation: tuple[float, ...] | None
    transformations: tuple[Any, ...] = ()
    """All transformations in the document, if they give no scale."""
    is_placed: bool = field(default=False, compare=False)
    """Whether the document has a translation. If not, the position of the image is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiscaleImage:
    """The first multiscale image in the document of a group."""

    version: str
    axes: tuple[Axis, ...]
    """The axes, or ``()`` if they cannot be read."""
    levels: tuple[Level, ...]
    """At least one level, from the finest to the coarsest."""
    channels: tuple[Channel, ...] = ()
    name: str = ""
    is_label: bool = False
    source: str | None = None
    """For a label image: the path of the labelled image, relative to it, as in the document."""
    count: int = 1
    """The number of images in the document."""

    def description(self, ndim: int, labels: Sequence[str] = ()) -> Document:
        """Return the fields as plain values, for ``Info.metadata``.

        Args:
            ndim: the number of axes of level 0. If the document has another number, axes, scale
                and units are ``None``. The scale is also ``None`` if there are other
                transformations, which are then in ``transformations``.
            labels: the names of its label images.
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
    """A plate, from its document."""

    version: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    wells: tuple[str, ...]
    """Paths of the wells, such as "B/03"."""
    name: str = ""
    field_count: int | None = None
    """The largest number of fields in a well, if the document has it."""
    in_order: bool = False
    """Whether all rows, columns and wells are in order, have our form, and fit the indices.

    ``False`` for small plates, which are not examined."""

    def places(self, entries: Sequence[Any]) -> list[tuple[int, int]] | None:
        """Return the row and column of entries by their indices, or ``None`` if one is wrong."""
        try:
            places = list(map(PLACE, entries))
            names = [(self.rows[row], self.columns[column]) for row, column in places]
            paths = list(map(PATH, entries))
        except (IndexError, KeyError, TypeError):
            return None
        # Python counts a negative index from the end, so it would name a wrong row without an
        # error.
        fit = min(chain.from_iterable(places), default=0) >= 0
        return places if fit and list(map("/".join, names)) == paths else None

    def follow(self, start: int, stop: int, new: Sequence[Any]) -> Plate | None:
        """Return the plate with the entries ``new`` in place of those from ``start`` to ``stop``.

        Returns ``None`` if the plate is not in order, before or after.
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
"""Functions that get the path, and the indices, of a well in a document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Well:
    """A well, from its document."""

    version: str
    fields: tuple[str, ...]
    """Paths of its images, relative to the well."""
