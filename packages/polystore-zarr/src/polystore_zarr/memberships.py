"""The lists of other groups that an image belongs in: of its well, plate, labels or series."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from polystore_core.errors import DataError, PathOutsideRootError

from .kinds import plate_above
from .ome import Plate, check_well, holds
from .store.nodes import read_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .store.base import StorePath
    from .store.layout import Address
    from .store.nodes import Document

__all__ = ["Above", "Entry", "Kind", "Lists", "is_image", "lists_with", "lists_without"]

Above: TypeAlias = "Sequence[Document | None]"
"""The documents of the groups above a path, the store first."""

Kind: TypeAlias = Literal["label", "series", "field", "well", "deleted well"]


@dataclass(frozen=True, slots=True)
class Entry:
    """An image, and one list that it belongs in."""

    group: StorePath
    """The directory whose document has the list."""
    kind: Kind
    name: str
    """The name in the list: of a label or a field, or "B/03" for a well."""
    image: StorePath
    """The directory of the image. For a well it is one of its fields."""


Lists: TypeAlias = "dict[tuple[StorePath, Kind], list[Entry]]"
"""The entries by group and kind."""


def lists_with(place: Address, above: Above) -> Lists:
    """Return the lists that have the images at and below ``place``."""
    return _grouped(_entries(place, above))


def lists_without(place: Address, above: Above) -> Lists:
    """Return the lists that lose an entry when ``place`` is deleted."""
    lists: Lists = {}
    for (group, kind), entries in lists_with(place, above).items():
        if entries[0].image != place.node:  # a row or a well of a plate is deleted
            if kind == "well":
                gone = [replace(entry, kind="deleted well") for entry in entries]
                lists[group, "deleted well"] = gone
        elif kind != "well":  # it stays, without this field
            lists[group, kind] = entries
    return lists


def _grouped(entries: Iterable[Entry]) -> Lists:
    lists: Lists = {}
    for entry in entries:
        lists.setdefault((entry.group, entry.kind), []).append(entry)
    return lists


def _entries(place: Address, above: Above) -> Iterator[Entry]:
    if _is_label(place):
        yield Entry(place.node.parent, "label", place.inner[-1], place.node)
        return
    yield from _series(place, above)
    for field, depth in _fields(place, above):
        yield Entry(field.node.parent, "field", field.inner[-1], field.node)
        if depth is not None and len(field.inner) == depth + 3:
            yield Entry(field.group(depth), "well", "/".join(field.inner[depth:-1]), field.node)


def _is_label(place: Address) -> bool:
    return place.in_store and len(place.inner) >= 2 and place.inner[-2] == "labels"


def _series(place: Address, above: Above) -> Iterator[Entry]:
    """Yield the lists of images that converters write into a group ``OME``."""
    for depth, document in enumerate(above if place.in_store else ()):
        if document is not None and holds(document.attributes, "bioformats2raw.layout"):
            group = place.group(depth) / "OME"
            yield Entry(group, "series", "/".join(place.inner[depth:]), place.node)


def _fields(place: Address, above: Above) -> Iterator[tuple[Address, int | None]]:
    """Yield the fields of plates at and below ``place``, each with how deep its plate is.

    A plate is a group that says so, or else the store itself, if names and images are those
    of fields. A well may also be in no plate.
    """
    if not place.in_store or not place.inner:
        return
    try:
        found = plate_above(above)
    except DataError:
        if is_image(place.node):
            raise
        return
    depth, plate = (0, None) if found is None else found
    rest = place.inner[depth:]
    if above[-1] is not None and holds(above[-1].attributes, "well") and len(rest) != 3:
        yield place, None if found is None else depth
        return
    paths = [rest] if _is_field(plate, *rest, *("A", "1", "0")[len(rest) :]) else []
    while paths and len(paths[0]) < 3:
        folders = (place.inner[:depth] + path for path in paths)
        paths = [(*inner[depth:], name) for inner in folders for name in _folders(place, inner)]
    for path in paths:
        field = place.below(place.inner[:depth] + path)
        if _is_field(plate, *path) and (path == rest or is_image(field.node)):
            yield field, depth


def _is_field(plate: Plate | None, *parts: str) -> bool:
    try:
        row, column, field = parts
        check_well(row, column, field, plate)
    except ValueError:
        return False
    return True


def _folders(place: Address, inner: tuple[str, ...]) -> list[str]:
    files, key = place.below(inner).node
    try:
        return [entry.name for entry in files.store.entries(key) if entry.is_dir]
    except (FileNotFoundError, NotADirectoryError, PathOutsideRootError):
        return []


def is_image(image: StorePath) -> bool:
    try:
        document = read_document(image)
    except PathOutsideRootError:  # a link, which lists nothing
        return False
    return document is not None and document.is_image
