"""The documents of groups that list their members: plates, wells, labels, consolidated metadata.

They are changed under the lock of the store by whoever saves, moves or deletes a member, so
that many processes fill one plate at once and none is lost.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from polystore_core import file_lock
from polystore_core.errors import DataError

from .kinds import plate_above
from .ome import (
    Plate,
    Version,
    add_label,
    add_series,
    check_well,
    holds,
    plate_with_well,
    plate_without_well,
    read_plate,
    read_well,
    remove_label,
    remove_series,
    well_with_field,
    well_without_field,
)
from .store.layout import Address
from .store.nodes import Document, read_document, write_attributes

if TYPE_CHECKING:
    from polystore_core import Value

__all__ = ["join_members", "leave_members"]

_TRIES = 8

Change = Callable[..., dict[str, Any]]


def join_members(place: Address, *, durable: bool | None) -> None:
    """Enter what stands at ``place`` into the documents of the groups above it.

    Whether it stands there is asked under the lock: somebody may delete it meanwhile, or save
    it again, and whoever comes last leaves the documents as things are.
    """
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):  # somebody deletes the groups: look again
            _join(place, durable)
            return
    _join(place, durable)


def _join(place: Address, durable: bool | None) -> None:
    _forget_copies(place, durable)
    if _is_label(place):
        _change(place, 1, _entered(place, add_label, remove_label), durable)
        return
    _change_series(place, add_series if _stands(place) else remove_series, durable)
    for field, depth in _fields(place):
        _change(field, 1, _entered(field, well_with_field, well_without_field), durable)
        if _stands(field) and depth is not None and len(field.inner) == depth + 3:
            plate = len(field.inner) - depth
            _change(field, plate, partial(_with_well, field, depth), durable)


def _stands(place: Address) -> bool:
    document = read_document(place.node)
    return document is not None and document.is_image


def _entered(place: Address, enter: Change, strike: Change) -> Change:
    """Return the change of a document that lists ``place`` if, and only if, it stands there."""

    def change(attributes: dict[str, Any], version: Version) -> dict[str, Any]:
        return (enter if _stands(place) else strike)(attributes, place.inner[-1], version)

    return change


def _with_well(
    field: Address, depth: int, attributes: dict[str, Any], version: Version
) -> dict[str, Any]:
    if not _stands(field):
        return attributes
    name = os.path.basename(field.store if not depth else field.inner[depth - 1])
    plate = read_plate(attributes)
    count = None
    if plate is not None and plate.field_count is not None:
        document = read_document(os.path.dirname(field.node))
        well = None if document is None else read_well(document.attributes)
        count = None if well is None else len(well.fields)
    row, column, _ = field.inner[depth:]
    return plate_with_well(
        attributes, row, column, name=name.partition(".")[0], version=version, field_count=count
    )


def leave_members(place: Address, *, durable: bool | None) -> None:
    """Strike what is or was at ``place`` from the documents of the groups above it."""
    _forget_copies(place, durable)
    if _is_label(place):
        _change(place, 1, partial(_named, remove_label, place.inner[-1]), durable)
        return
    _change_series(place, remove_series, durable)
    for field, depth in _fields(place):
        if field.inner == place.inner:
            _change(place, 1, partial(_named, well_without_field, place.inner[-1]), durable)
        elif depth is not None:
            row, column, _ = field.inner[depth:]
            above = len(field.inner) - depth
            _change(field, above, partial(_without_well, row, column), durable)


def _forget_copies(place: Address, durable: bool | None) -> None:
    """Remove consolidated metadata: copies, in the groups above, of documents that changed.

    Readers believe them unseen: they would miss what is new, and read new chunks by old shapes.
    """
    for directory in place.groups():
        document = read_document(directory)
        if document is not None and document.zarr_format == 2:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, ".zmetadata"))
        elif document is not None and document.fields.get("consolidated_metadata"):
            with file_lock(place.store):
                _forget_copy(directory, place.store, durable)


def _forget_copy(directory: str, store: str, durable: bool | None) -> None:
    document = read_document(directory)
    if document is not None:
        kept = {k: v for k, v in document.fields.items() if k != "consolidated_metadata"}
        document = replace(document, fields=kept)
        write_attributes(directory, document, document.attributes, store=store, durable=durable)


def _change_series(place: Address, change: Change, durable: bool | None) -> None:
    """Change the lists of images that converters write into a group ``OME``."""
    for depth, directory in enumerate(place.groups() if place.in_store else ()):
        document = read_document(directory)
        if document is not None and holds(document.attributes, "bioformats2raw.layout"):
            listing = Address(place.path, place.store, (*place.inner[:depth], "OME", ""), "")
            path = "/".join(place.inner[depth:])
            _change(listing, 1, partial(_named, change, path), durable)


def _is_label(place: Address) -> bool:
    return place.in_store and len(place.inner) >= 2 and place.inner[-2] == "labels"


def _fields(place: Address) -> Iterator[tuple[Address, int | None]]:
    """Yield the fields of plates at and below ``place``, each with how deep its plate is.

    A plate is a group that says so, or else the store itself, if names and images are those
    of fields. A well may also be in no plate.
    """
    if not place.in_store or not place.inner:
        return
    above = tuple(read_document(directory) for directory in place.groups())
    try:
        found = plate_above(above)
    except DataError:
        if _stands(place):
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
        field = Address(place.path, place.store, place.inner[:depth] + path, "")
        if _is_field(plate, *path) and (path == rest or _stands(field)):
            yield replace(field, folder=field.node), depth


def _is_field(plate: Plate | None, *parts: str) -> bool:
    try:
        row, column, field = parts
        check_well(row, column, field, plate)
    except ValueError:
        return False
    return True


def _folders(place: Address, inner: tuple[str, ...]) -> list[str]:
    folder = os.path.join(place.store, *inner)
    try:
        with os.scandir(folder) as found:
            return [entry.name for entry in found if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _named(change: Change, name: str, attributes: dict[str, Any], version: Version) -> Value:
    return change(attributes, name, version)


def _without_well(
    row: str, column: str, attributes: dict[str, Any], version: Version
) -> dict[str, Any]:
    return plate_without_well(attributes, row, column, version=version)


def _change(
    place: Address,
    above: int,
    change: Callable[[dict[str, Any], Version], dict[str, Any]],
    durable: bool | None,
) -> None:
    """Change the document of the group so many levels above, unless it says so already."""
    directory = os.path.join(place.store, *place.inner[:-above])

    def changed() -> tuple[Document, dict[str, Any]] | None:
        document = read_document(directory)
        if document is None or document.kind != "group":
            return None
        version: Version = "0.4" if document.zarr_format == 2 else "0.5"
        try:
            attributes = change(document.attributes, version)
        except DataError:  # it lists images in a way that we cannot change
            if _stands(place):
                raise
            return None
        return None if attributes == document.attributes else (document, attributes)

    if changed() is None:
        return  # many save into one well again and again, and nobody has to wait
    with file_lock(place.store):
        if (found := changed()) is not None:
            write_attributes(directory, *found, store=place.store, durable=durable)
