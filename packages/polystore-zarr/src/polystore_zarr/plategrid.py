"""The positions of the fields of a plate in its picture, and which of them exist."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from polystore_core import in_threads, natural_order, threads_for
from polystore_core.errors import DataError, PathOutsideRootError

from .ome import check_well, read_plate, read_roles, read_well
from .store.nodes import read_document, read_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .ome import Plate
    from .store.base import StorePath
    from .store.nodes import Node

__all__ = [
    "PlateGrid",
    "find_unlisted",
    "is_plate",
    "map_in_threads",
    "missing_members",
    "way_to_pixels",
]

Item = TypeVar("Item")
Result = TypeVar("Result")
Place: TypeAlias = tuple[int, int]
"""Row and column in the picture."""


def is_plate(node: Node) -> bool:
    """Return whether a node is the group of a plate."""
    document = node.document
    return (
        document is not None
        and document.kind == "group"
        and bool(document.attributes)
        and document.derive(read_roles).plate
        and not document.is_image
    )


def way_to_pixels(node: Node, path: str) -> str | None:
    """Return how to read the pixels of a plate or well, or ``None`` for other groups."""
    if is_plate(node):
        return "it is a plate: open() gives one lazy image of it, and its levels"
    document = node.document
    try:
        well = document.derive(read_well) if document and document.kind == "group" else None
    except DataError:
        return None
    if well is None or not well.fields:
        return None
    field = f"{path.rstrip('/')}/{well.fields[0]}"
    return f"it is a well: name one of its fields, such as {field!r}"


@dataclass(frozen=True, slots=True)
class PlateGrid:
    """The wells and fields in the documents of a plate and of its wells.

    The rows and columns are those from the first to the last one with a well.
    """

    name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    fields: tuple[str, ...]
    """The names of the fields of all wells, in natural order."""
    wells: Mapping[Place, tuple[str, ...]]
    """The fields of each existing well, by rows."""
    missing: tuple[str, ...] = ()
    """Paths of wells in the list that have no document, or no row or column."""
    failures: Mapping[str, Exception] = field(default_factory=dict)
    """The wells whose documents cannot be read, by path."""

    @classmethod
    def of(cls, node: Node) -> PlateGrid:
        """Read the documents of all wells.

        Raises:
            DamagedDataError: The document of the plate is not valid.
            UnsupportedFileError: Its version is newer.
        """
        assert node.document is not None
        plate = node.document.derive(read_plate)
        assert plate is not None
        listed = _places(plate)
        wells: dict[Place, tuple[str, ...]] = {}
        missing = [path for path in plate.wells if path not in listed]
        failures: dict[str, Exception] = {}
        for path, found in zip(listed, _fields(node.directory, list(listed)), strict=True):
            if isinstance(found, Exception):
                failures[path] = found
            elif found is None:
                missing.append(path)
            else:
                wells[listed[path]] = found
        rows, columns = (_extent([place[axis] for place in listed.values()]) for axis in (0, 1))
        return cls(
            name=plate.name,
            rows=plate.rows[rows.start : rows.stop],
            columns=plate.columns[columns.start : columns.stop],
            fields=tuple(natural_order({name for names in wells.values() for name in names})),
            wells={
                (row - rows.start, column - columns.start): wells[row, column]
                for row, column in sorted(wells)
            },
            missing=tuple(missing),
            failures=failures,
        )

    def well(self, place: Place) -> str:
        """Return the path of a well in the plate."""
        return f"{self.rows[place[0]]}/{self.columns[place[1]]}"

    def paths(self) -> Iterator[str]:
        """Yield the path of each field, one well after another."""
        for place, names in self.wells.items():
            for name in names:
                yield f"{self.well(place)}/{name}"

    def empty_fields(self) -> list[str]:
        """Return the paths of fields that are in the lists of other wells, but not of their own."""
        return [
            f"{self.well(place)}/{name}"
            for place, names in self.wells.items()
            for name in self.fields
            if name not in names
        ]


def _places(plate: Plate) -> dict[str, Place]:
    """Return the row and column of each well, by the names in its path."""
    # The indices in the document are not used: some programs write wrong ones.
    # If a name is in the list twice, its first position counts.
    rows = {name: number for number, name in reversed(list(enumerate(plate.rows)))}
    columns = {name: number for number, name in reversed(list(enumerate(plate.columns)))}
    places = {}
    for path in plate.wells:
        row, _, column = path.partition("/")
        if row in rows and column in columns:
            places[path] = rows[row], columns[column]
    return places


def _extent(numbers: list[int]) -> range:
    return range(min(numbers), max(numbers) + 1) if numbers else range(0)


_FEW = 64
"""Documents of this many wells are read in threads. On a local disk, one takes 50 us."""


def _fields(plate: StorePath, wells: list[str]) -> list[tuple[str, ...] | Exception | None]:
    """Return the fields of each well, or ``None`` for a well without a document."""
    base = plate.base  # threads must not share directories that one operation keeps open

    def read(well: str) -> tuple[str, ...] | Exception | None:
        try:
            document = read_document(base / well)
            found = None if document is None else document.derive(read_well)
        except (DataError, OSError, PathOutsideRootError) as error:
            return error
        # Documents of other programs may list a field twice.
        return None if found is None else tuple(dict.fromkeys(found.fields))

    return map_in_threads(read, wells, threads_for(len(wells), _FEW))


def map_in_threads(
    work: Callable[[Item], Result], items: Sequence[Item], threads: int
) -> list[Result]:
    """Return the results of ``work`` in order. With one thread, this is the caller's."""
    if threads < 2 or len(items) < 2:
        return list(map(work, items))
    with in_threads(min(threads, len(items))) as run:
        return list(run(work, items))


# ── members that exist ───────────────────────────────────────────────────────────────────


def missing_members(plate: StorePath, grid: PlateGrid) -> list[str]:
    """Return the paths of wells and fields in the lists that do not exist."""
    lost = [path for path in grid.paths() if read_kind(plate / path) is None]
    return natural_order([*grid.missing, *lost])


def find_unlisted(plate: StorePath, grid: PlateGrid) -> list[str]:
    """Return the paths of fields that exist, but are in no list."""
    listed = set(grid.paths())
    found = []
    for row in _folders(plate):
        for column in _folders(plate / row):
            for name in _folders(plate / row / column):
                path = f"{row}/{column}/{name}"
                if path not in listed and _can_be_field(row, column, name):
                    found.append(path)
    return natural_order(path for path in found if read_kind(plate / path) == "image")


def _folders(folder: StorePath) -> list[str]:
    try:
        return [entry.name for entry in folder.files.entries(folder.key) if entry.is_dir]
    except (OSError, PathOutsideRootError):
        return []


def _can_be_field(row: str, column: str, name: str) -> bool:
    try:
        check_well(row, column, name)
    except ValueError:
        return False
    return True
