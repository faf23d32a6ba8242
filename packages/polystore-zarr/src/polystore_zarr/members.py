"""The documents of groups that list their members: plates, wells, labels, consolidated metadata.

Each call that saves, moves or deletes a member changes them under the lock of the store. In a store
without locks, it replaces only the version that was read. So many processes can fill one plate at
the same time, and no field is lost. A call with many members writes each document once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from functools import cache, partial
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, TypeAlias

from polystore_core.errors import (
    DataError,
    UnsupportedOperationError,
    VersionConflictError,
    with_context,
)

from .memberships import Above, Entry, Kind, Lists, is_image, lists_with, lists_without
from .ome import (
    Version,
    add_label,
    add_series,
    plate_with_wells,
    plate_without_wells,
    read_plate,
    read_well,
    remove_label,
    remove_series,
    well_with_field,
    well_without_field,
)
from .store.entries import is_directory
from .store.nodes import read_document, write_attributes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from polystore_core import Value

    from .ome import Plate
    from .store.base import Slot, StorePath
    from .store.layout import Address
    from .store.nodes import Document

__all__ = ["check_members", "gathering_members", "join_members", "leave_members"]

_TRIES = 8

_CONFLICTS, _PAUSE = 200, 0.02
"""How often a change is tried if others replace the document, and the mean pause in seconds."""

_SECONDS = 1.0
"""The longest time in seconds until a member of a batch is listed. If a batch is killed, only the
members of this time are not listed."""

IsThere: TypeAlias = "Callable[[StorePath], bool]"
"""A function that tells whether an image is at a place."""

_EDITS: dict[str, Any] = {
    "label": (add_label, remove_label),
    "series": (add_series, remove_series),
    "field": (well_with_field, well_without_field),
}


def check_members(place: Address, *, is_image: bool) -> None:
    """Raise ``UnsupportedOperationError`` if the groups above could not list ``place``.

    Some stores cannot safely change a document that other processes change too.
    """
    try:
        place.node.files.require_lists("listing a member in a group")
    except UnsupportedOperationError:
        above = [read_document(directory) for directory in place.groups()]
        if any(map(_has_copy, place.groups(), above)) or (
            is_image and lists_with(place, above)
        ):
            raise


def _has_copy(directory: StorePath, document: Document | None) -> bool:
    if document is None or document.zarr_format == 3:
        return document is not None and bool(document.fields.get("consolidated_metadata"))
    cannot_delete = "delete" in directory.files.lacking()
    return cannot_delete and directory.files.size((directory / ".zmetadata").key) is not None


def join_members(
    place: Address,
    *,
    durable: bool | None,
    above: Above | None = None,
    slot: Slot | None = None,
) -> None:
    """Add the images at and below ``place`` to the documents of the groups above.

    The images are looked up under the lock. Another process may delete or save them at the same
    time, and the last process under the lock writes the final state.

    Args:
        place: the path of the images.
        durable: whether the documents survive a power cut.
        above: documents that the caller has read, with ``None`` for groups that it has made.
        slot: a hidden directory of the store, if the caller has one.
    """
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):  # another process deletes the groups: look again
            _join(place, durable, above, slot)
            return
    _join(place, durable, above, slot)


def _join(place: Address, durable: bool | None, above: Above | None, slot: Slot | None) -> None:
    known: dict[StorePath, Document | None] = {}
    for directory, document in zip_longest(place.groups(), above or ()):
        is_made = above is not None and document is None
        known[directory] = None if is_made else read_document(directory, document)
    assert place.store is not None
    _forget_copies(place.store, known, durable)
    lists = lists_with(place, list(known.values()))
    for key in list(lists):
        if _is_settled(key, lists[key], known):
            del lists[key]
    # Often the entries are already listed, for example when a field is saved again. Then there
    # is no need to wait for the lock.
    if lists and (gathered := _gathered.get()) is not None:
        gathered.add(place.store, durable, lists)
    elif lists:
        _write(place.store, durable, lists, is_image, slot)


def leave_members(place: Address, *, durable: bool | None) -> None:
    """Remove the images at and below ``place`` from the documents of the groups above it."""
    known = {directory: read_document(directory) for directory in place.groups()}
    assert place.store is not None
    _forget_copies(place.store, known, durable)
    if lists := lists_without(place, tuple(known.values())):
        _write(place.store, durable, lists, lambda _: False)


def _forget_copies(
    store: StorePath, known: Mapping[StorePath, Document | None], durable: bool | None
) -> None:
    """Remove consolidated metadata, which has copies of documents, from the groups above.

    Readers use only the copies. They would miss new members, and use old shapes for new chunks.
    """
    for directory, document in known.items():
        if document is not None and document.zarr_format == 2:
            directory.files.delete((directory / ".zmetadata").key)
        elif document is not None and document.fields.get("consolidated_metadata"):
            _change(store, partial(_forget_copy, directory, store, durable))


def _forget_copy(directory: StorePath, store: StorePath, durable: bool | None) -> None:
    document = read_document(directory)
    if document is not None:
        kept = {k: v for k, v in document.fields.items() if k != "consolidated_metadata"}
        document = replace(document, fields=kept)
        write_attributes(directory, document, document.attributes, store=store, durable=durable)


def _change(store: StorePath, change: Callable[[], None]) -> None:
    """Call ``change`` under the lock of a store.

    Without locks, retry it if another process replaced a document that it has read.
    """
    with store.files.changing(store.key):
        for left in reversed(range(_CONFLICTS)):
            try:
                change()
                return
            except VersionConflictError:
                if not left:
                    raise
                # Random, so that two processes do not meet again in each try.
                time.sleep(2 * _PAUSE * random.random())


def _retry(call: Callable[..., None], *given: Value) -> None:
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):  # another process deletes the groups: look again
            call(*given)
            return
    call(*given)


# ── batches ──────────────────────────────────────────────────────────────────────────────


class _Gathered:
    """The lists that a batch has not written yet, by store. One thread uses it."""

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._stores: dict[tuple[StorePath, bool | None], Lists] = {}
        self._written = float("-inf")

    def add(self, store: StorePath, durable: bool | None, lists: Lists) -> None:
        """Add lists, and write all if the last writing was a second ago."""
        pending = self._stores.setdefault((store.base, durable), {})
        for (group, kind), entries in lists.items():
            kept = [replace(e, group=e.group.base, image=e.image.base) for e in entries]
            pending.setdefault((group.base, kind), []).extend(kept)
        if time.monotonic() - self._written >= _SECONDS:
            self.write()

    def write(self) -> None:
        """Write the lists. If some cannot be written, or Ctrl-C stops it, they are kept."""
        failures: list[Exception] = []
        for (store, durable), lists in list(self._stores.items()):
            try:
                _retry(_write, store, durable, lists, is_image)
                # Another process may have made copies since the members were saved.
                groups = dict.fromkeys(chain(*(_above(store, group) for group, _ in lists)))
                _forget_copies(store, {g: read_document(g) for g in groups}, durable)
                # Only a list that was written is forgotten, so that the next call writes the
                # others again.
                del self._stores[store, durable]
            except Exception as error:
                failures.append(with_context(error, self._backend, str(store), "save"))
        self._written = time.monotonic()
        if failures:
            raise failures[0]


def _above(store: StorePath, group: StorePath) -> Iterator[StorePath]:
    """Yield a group and those above it, up to the store."""
    while group != store:
        yield group
        group = group.parent
    yield store


_gathered: ContextVar[_Gathered | None] = ContextVar("_gathered", default=None)


@contextmanager
def gathering_members(backend: str) -> Iterator[None]:
    """Write the documents of groups once for all members that the body saves in this thread.

    They are written for the first member, then once a second, and at the end. Errors at the end
    name ``backend``.
    """
    if _gathered.get() is not None:
        yield
        return
    gathered = _Gathered(backend)
    token = _gathered.set(gathered)
    try:
        yield
        gathered.write()
    except BaseException:
        with suppress(Exception):  # raise the first failure
            gathered.write()
        raise
    finally:
        _gathered.reset(token)


# ── writing the lists ────────────────────────────────────────────────────────────────────


def _is_settled(
    key: tuple[StorePath, Kind],
    entries: Sequence[Entry],
    known: dict[StorePath, Document | None],
) -> bool:
    """Return whether a list already has ``entries``. ``False`` if only the lock can tell."""
    group, kind = key
    document = known[group] if group in known else read_document(group)
    if document is None:
        return group not in known
    names = {entry.name for entry in entries}
    if kind == "field":
        with suppress(DataError):
            well = document.derive(read_well)
            if well is None or not names.issubset(well.fields):
                return False  # it is new
    if kind == "well" and (plate := _plate_in(document)) is not None:
        if not names.issubset(plate.wells):
            return False  # it is new
        if plate.field_count is not None and not all(map(_is_listed, entries)):
            return False  # with new fields, the count in the plate may have to grow
        if plate.field_count is None and plate.name:
            return True
    return _change_lists(document, entries, is_directory) is None


def _plate_in(document: Document) -> Plate | None:
    with suppress(DataError):
        return document.derive(read_plate)
    return None


def _counts_fields(document: Document) -> bool:
    plate = _plate_in(document)
    return plate is not None and plate.field_count is not None


def _is_listed(entry: Entry) -> bool:
    return entry.image.name in _fields_in(entry.image.parent)


def _fields_in(well: StorePath) -> tuple[str, ...]:
    document = read_document(well)
    found = None if document is None else read_well(document.attributes)
    return () if found is None else found.fields


def _write(
    store: StorePath,
    durable: bool | None,
    lists: Lists,
    is_there: IsThere,
    slot: Slot | None = None,
) -> None:
    """Write each document once, unless it has these entries already."""

    def write() -> None:
        looked = cache(is_there)
        # Plates come after wells, because a plate may have the count of fields in its wells.
        for (group, _), entries in sorted(lists.items(), key=lambda item: "well" in item[0][1]):
            document = read_document(group)
            attributes = None if document is None else _change_lists(document, entries, looked)
            if document is not None and attributes is not None:
                write_attributes(
                    group, document, attributes, store=store, durable=durable, slot=slot
                )

    _change(store, write)


def _change_lists(
    document: Document, entries: Sequence[Entry], is_there: IsThere
) -> dict[str, Any] | None:
    """Return the attributes of a group with these entries, or ``None`` if nothing changes."""
    if document.kind != "group":
        return None
    version: Version = "0.4" if document.zarr_format == 2 else "0.5"
    try:
        if entries[0].kind in _EDITS:
            enter, strike = _EDITS[entries[0].kind]
            attributes = document.attributes
            if entries[0].kind == "field":
                enter = partial(enter, known=document.derive(read_well))
            for entry in entries:
                edit = enter if is_there(entry.image) else strike
                attributes = edit(attributes, entry.name, version)
                # `known` is the list before the first change, so only the first entry can use it.
                enter, strike = _EDITS[entry.kind]
        else:
            attributes = _change_plate(document, entries, is_there, version)
    except DataError:  # the list has a form that we cannot change
        if any(is_image(entry.image) for entry in entries):
            raise
        return None
    return None if attributes == document.attributes else attributes


def _change_plate(
    document: Document, entries: Sequence[Entry], is_there: IsThere, version: Version
) -> dict[str, Any]:
    plate = document.derive(read_plate)
    if entries[0].kind == "deleted well":
        wells = _places(entry.name for entry in entries)
        return plate_without_wells(document.attributes, wells, known=plate, version=version)
    images = {entry.name: entry.image for entry in entries if is_there(entry.image)}
    if not images:
        return document.attributes
    # A plate without a name gets that of its folder, without the suffixes.
    name = str(entries[0].group).rpartition("/")[2].partition(".")[0]
    count = None
    if _counts_fields(document):
        count = max(len(_fields_in(image.parent)) for image in images.values())
    return plate_with_wells(
        document.attributes,
        _places(images),
        known=plate,
        name=name,
        version=version,
        field_count=count,
    )


def _places(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        row, _, column = name.partition("/")
        yield row, column
