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
from typing import Any

from polystore.errors import InvalidOptionError
from polystore.locking import file_lock

from .layout import Address
from .nodes import Document, read_document, write_attributes
from .ome import (
    Version,
    add_label,
    check_well,
    plate_with_well,
    plate_without_well,
    remove_label,
    well_with_field,
    well_without_field,
)

__all__ = ["join_members", "leave_members"]

Change = Callable[..., dict[str, Any]]


def join_members(place: Address, *, durable: bool) -> None:
    """Enter what stands at ``place`` into the documents of the groups above it.

    Whether it stands there is asked under the lock: somebody may delete it meanwhile, or save
    it again, and whoever comes last leaves the documents as things are.
    """
    _forget_copies(place, durable)
    if _is_label(place):
        _change(place, 1, _entered(place, add_label, remove_label), durable)
        return
    paths = list(_fields(place))
    if place.in_store and len(place.inner) == 3 and _is_field(*place.inner):
        paths = [(place.inner[0], place.inner[1], place.inner[2])]
    for row, column, field in paths:
        well = Address(place.path, place.store, (row, column, field), "")
        _change(well, 1, _entered(well, well_with_field, well_without_field), durable)
        if _stands(well):
            name = os.path.basename(place.store).partition(".")[0]
            _change(well, 3, partial(_with_well, well, name), durable)


def _stands(place: Address) -> bool:
    document = read_document(place.node)
    return document is not None and document.is_image


def _entered(place: Address, enter: Change, strike: Change) -> Change:
    """Return the change of a document that lists ``place`` if, and only if, it stands there."""

    def change(attributes: dict[str, Any], version: Version) -> dict[str, Any]:
        return (enter if _stands(place) else strike)(attributes, place.inner[-1], version)

    return change


def _with_well(
    place: Address, name: str, attributes: dict[str, Any], version: Version
) -> dict[str, Any]:
    if not _stands(place):
        return attributes
    return plate_with_well(attributes, *place.inner[:2], name=name, version=version)


def leave_members(place: Address, *, durable: bool) -> None:
    """Strike what is or was at ``place`` from the documents of the groups above it."""
    _forget_copies(place, durable)
    if _is_label(place):
        _change(place, 1, partial(_named, remove_label, place.inner[-1]), durable)
    elif place.in_store and len(place.inner) == 3 and _is_field(*place.inner):
        _change(place, 1, partial(_named, well_without_field, place.inner[-1]), durable)
    elif len(place.inner) in (1, 2):
        for row, column, field in _fields(place):
            plate = Address(place.path, place.store, (row, column, field), "")
            _change(plate, 3, partial(_without_well, row, column), durable)


def _forget_copies(place: Address, durable: bool) -> None:
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


def _forget_copy(directory: str, store: str, durable: bool) -> None:
    document = read_document(directory)
    if document is not None:
        kept = {k: v for k, v in document.fields.items() if k != "consolidated_metadata"}
        document = replace(document, fields=kept)
        write_attributes(directory, document, document.attributes, store=store, durable=durable)


def _is_label(place: Address) -> bool:
    return place.in_store and len(place.inner) >= 2 and place.inner[-2] == "labels"


def _is_field(*parts: str) -> bool:
    try:
        check_well(*parts)
    except InvalidOptionError:
        return False
    return True


def _fields(place: Address) -> Iterator[tuple[str, str, str]]:
    """Yield the fields of a plate that stand at and below ``place``: images, three deep."""
    if not place.in_store or not 1 <= len(place.inner) <= 3:
        return
    if not _is_field(*place.inner, *("1", "0")[len(place.inner) - 1 :]):
        return  # not even the row is one
    paths = [place.inner]
    while paths and len(paths[0]) < 3:
        paths = [(*path, name) for path in paths for name in _folders(place.store, path)]
    for row, column, field in paths:
        document = read_document(os.path.join(place.store, row, column, field))
        if document is not None and document.is_image and _is_field(row, column, field):
            yield row, column, field


def _folders(store: str, inner: tuple[str, ...]) -> list[str]:
    folder = os.path.join(store, *inner)
    try:
        with os.scandir(folder) as found:
            return [entry.name for entry in found if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _named(change: Change, name: str, attributes: dict[str, Any], version: Version) -> Any:
    return change(attributes, name, version)


def _without_well(
    row: str, column: str, attributes: dict[str, Any], version: Version
) -> dict[str, Any]:
    return plate_without_well(attributes, row, column, version=version)


def _change(
    place: Address,
    above: int,
    change: Callable[[dict[str, Any], Version], dict[str, Any]],
    durable: bool,
) -> None:
    """Change the document of the group so many levels above, unless it says so already."""
    directory = os.path.join(place.store, *place.inner[:-above])

    def changed() -> tuple[Document, dict[str, Any]] | None:
        document = read_document(directory)
        if document is None or document.kind != "group":
            return None
        version: Version = "0.4" if document.zarr_format == 2 else "0.5"
        attributes = change(document.attributes, version)
        return None if attributes == document.attributes else (document, attributes)

    if changed() is None:
        return  # many save into one well again and again, and nobody has to wait
    with file_lock(place.store):
        if (found := changed()) is not None:
            write_attributes(directory, *found, store=place.store, durable=durable)
