"""The lists in other groups that must have an image: of its well, plate, labels or series."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from polystore_core.errors import DataError, PathOutsideRootError

from .kinds import plate_above
from .ome import Plate, check_well, read_roles
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
    """An image, and one list that must have it."""

    group: StorePath
    """The group with the list in its document."""
    kind: Kind
    name: str
    """The name in the list: of a label or a field, or "B/03" for a well."""
    image: StorePath
    """The directory of the image. For a well it is one of its fields."""


Lists: TypeAlias = "dict[tuple[StorePath, Kind], list[Entry]]"
"""The entries by group and kind."""


def lists_with(place: Address, above: Above) -> Lists:
    """Return the lists that must have the images at and below ``place``."""
    lists: Lists = {}
    for entry in _entries(place, above):
        lists.setdefault((entry.group, entry.kind), []).append(entry)
    return lists


def lists_without(place: Address, above: Above) -> Lists:
    """Return the lists that lose an entry when ``place`` is deleted."""
    lists: Lists = {}
    for (group, kind), entries in lists_with(place, above).items():
        if entries[0].image != place.node:  # a row or a well of a plate is deleted
            if kind == "well":
                gone = [replace(entry, kind="deleted well") for entry in entries]
                lists[group, "deleted well"] = gone
        elif kind != "well":  # the well stays, without this field
            lists[group, kind] = entries
    return lists


def _entries(place: Address, above: Above) -> Iterable[Entry]:
    if not place.in_store or not place.inner:
        return ()
    inner = place.inner
    if len(inner) >= 2 and inner[-2] == "labels":
        return (Entry(place.node.parent, "label", inner[-1], place.node),)
    found = []
    for depth, document in enumerate(above):
        # Converters, such as bioformats2raw, list their images in a group ``OME``.
        if document is not None and document.attributes and document.derive(read_roles).series:
            group = place.group(depth) / "OME"
            found.append(Entry(group, "series", "/".join(inner[depth:]), place.node))
    for field, plate in _fields(place, above):
        found.append(Entry(field.node.parent, "field", field.inner[-1], field.node))
        if plate is not None and len(field.inner) == plate + 3:
            well = "/".join(field.inner[plate:-1])
            found.append(Entry(field.group(plate), "well", well, field.node))
    return found


def _fields(place: Address, above: Above) -> Iterable[tuple[Address, int | None]]:
    """Return the fields of plates at and below ``place``, each with the depth of its plate.

    A plate is a group with the metadata of a plate, or the store itself if names and images are
    those of fields. A well may also be outside a plate.
    """
    try:
        found = plate_above(above)
    except DataError:
        if is_image(place.node):
            raise
        return ()
    depth, plate = (0, None) if found is None else found
    rest = place.inner[depth:]
    last = above[-1]
    is_in_well = last is not None and last.attributes and last.derive(read_roles).well
    if is_in_well and len(rest) != 3:
        return ((place, None if found is None else depth),)
    if not _is_field(plate, *rest, *("A", "1", "0")[len(rest) :]):
        return ()
    if len(rest) == 3:
        return ((place, depth),)
    return _fields_below(place, depth, plate)


def _fields_below(
    place: Address, depth: int, plate: Plate | None
) -> Iterator[tuple[Address, int]]:
    """Yield the fields of a row or a well that is copied or moved whole."""
    rest = place.inner[depth:]
    paths = [rest]
    while paths and len(paths[0]) < 3:
        folders = (place.inner[:depth] + path for path in paths)
        paths = [(*inner[depth:], name) for inner in folders for name in _folders(place, inner)]
    for path in paths:
        field = place.below(place.inner[:depth] + path)
        if _is_field(plate, *path) and is_image(field.node):
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
    """Return whether an OME-Zarr image is at a place."""
    try:
        document = read_document(image)
    except PathOutsideRootError:  # a link that leads out of the root
        return False
    return document is not None and document.is_image
