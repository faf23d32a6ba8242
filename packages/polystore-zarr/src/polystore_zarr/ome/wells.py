"""Documents of plates and wells: from attributes to attributes.

The keys and entries of other programs stay as they are.
"""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

from polystore_core.errors import InvalidOptionError

from .reading import find_in, line_name, natural, path_of, read_plate, read_well
from .values import PLACE, Attributes, Plate, Version, Well
from .writing import edit_document, version_of

if TYPE_CHECKING:
    from polystore_core import Document, Value

__all__ = [
    "check_well",
    "plate_with_wells",
    "plate_without_wells",
    "well_with_field",
    "well_without_field",
]

_ROW, _COLUMN, _FIELD = (re.compile(p) for p in ("[A-Z]{1,2}", "[0-9]{1,3}", "[A-Za-z0-9]+"))


def check_well(row: str, column: str, field: str = "0", plate: Plate | None = None) -> None:
    """Raise ``InvalidOptionError`` if this cannot be a field of a well of a plate.

    The existing rows and columns of ``plate`` can have any name.
    """
    fits = (
        bool(_ROW.fullmatch(row)) or (plate is not None and row in plate.rows),
        bool(_COLUMN.fullmatch(column)) or (plate is not None and column in plate.columns),
        bool(_FIELD.fullmatch(field)),
    )
    if not all(fits):
        raise InvalidOptionError(
            "path",
            f"{row}/{column}/{field}",
            "ROW/COLUMN/FIELD, such as 'B/03/0': one or two capital letters, one to three digits, "
            "and letters or digits",
        )


def plate_with_wells(
    attributes: Attributes,
    wells: Iterable[tuple[str, str]],
    *,
    known: Plate | None = None,
    name: str = "",
    version: Version = "0.5",
    field_count: int | None = None,
) -> Document:
    """Return the attributes of a plate with these wells.

    If the plate already has them, nothing changes. If not, rows, columns and wells are put in
    order, and all indices are set again.

    Args:
        attributes: the attributes of the plate.
        wells: the row and column of each well.
        known: the plate in ``attributes``, if the caller has read it.
        name: the name for a plate without one.
        version: the version of a new document.
        field_count: the least number of fields in a well that the document must have.

    Raises:
        InvalidOptionError: A well cannot have this name. See :func:`check_well`.
        DamagedDataError: The plate in ``attributes`` is not valid.
    """
    known = known or read_plate(attributes)
    plate, listed = _plate_parts(attributes, known)
    paths = set(() if known is None else known.wells)
    new = {}
    for row, column in wells:
        check_well(row, column, plate=known)
        if (path := f"{row}/{column}") not in paths:
            new[path] = row, column
    more: Document = {}
    if name and not plate.get("name"):
        more["name"] = name
    present = plate.get("field_count")
    # Not isinstance: `True` is an int for Python, but it is not a count.
    is_count = type(present) in (int, type(None))
    if field_count is not None and is_count and field_count > (present or 0):
        more["field_count"] = field_count
    if known is not None and not (new or more):
        return dict(attributes)
    plate |= more
    if known is not None and known.in_order and _put_in(listed, new, known):
        return edit_document(attributes, version, "plate", {**plate, "wells": listed})
    return _put_in_order(
        attributes, version, plate, [*listed, *({"path": path} for path in new)]
    )


def _put_in(listed: list[Any], new: Mapping[str, tuple[str, str]], plate: Plate) -> bool:
    """Put wells into a sorted list. Return ``False`` if one is in a new row or column.

    Sorting the list again for each new well would take longer than reading it.
    """
    if not all(row in plate.rows and column in plate.columns for row, column in new.values()):
        return False
    for path, (row, column) in new.items():
        indices = plate.rows.index(row), plate.columns.index(column)
        well = {"path": path, "rowIndex": indices[0], "columnIndex": indices[1]}
        insort(listed, well, key=PLACE)
    return True


def plate_without_wells(
    attributes: Attributes,
    wells: Iterable[tuple[str, str]],
    *,
    known: Plate | None = None,
    version: Version = "0.5",
) -> Document:
    """Return the attributes of a plate without these wells.

    Rows and columns stay. In the specification they are those of the physical plate.
    """
    plate, listed = _plate_parts(attributes, known or read_plate(attributes))
    struck = {f"{row}/{column}" for row, column in wells}
    kept = [well for well in listed if path_of(well) not in struck]
    if len(kept) == len(listed):
        return dict(attributes)
    return _put_in_order(attributes, version, plate, kept)


def _plate_parts(attributes: Attributes, known: Plate | None) -> tuple[Document, list[Value]]:
    """Return copies of a plate that was read, and of its list of wells."""
    if known is None:
        return {}, []
    plate = dict(find_in(attributes, "plate")[0])
    return plate, list(plate["wells"])


def _put_in_order(
    attributes: Attributes, version: Version, plate: Document, wells: Sequence[Value]
) -> Document:
    """Put a plate in order, and into ``attributes``. Entries of other programs follow ours."""
    ours, others = [], []
    for well in wells:
        # Wells of other programs may not be in a row and a column.
        row, _, column = (path_of(well) or "").partition("/")
        if column and "/" not in column:
            ours.append((row, column, well))
        else:
            others.append(well)
    rows = _settle_lines(plate, "rows", (row for row, _, _ in ours))
    columns = _settle_lines(plate, "columns", (column for _, column, _ in ours))
    placed = [(rows[row], columns[column], well) for row, column, well in ours]
    placed.sort(key=itemgetter(0, 1))
    plate["wells"] = [
        *(
            well
            if well.get("rowIndex") == row and well.get("columnIndex") == column
            else {**well, "rowIndex": row, "columnIndex": column}
            for row, column, well in placed
        ),
        *others,
    ]
    # Version 0.5 does not require it, but ome-zarr-models warns if it is missing.
    plate.setdefault("version", version_of(attributes, version, "plate"))
    return edit_document(attributes, version, "plate", plate)


def _settle_lines(
    plate: Document, key: Literal["rows", "columns"], used: Iterable[str]
) -> dict[str, int]:
    """Put the rows or columns of a plate in order, and add those in use. Return their indices."""
    known: dict[str, Any] = {}
    nameless = []
    for line in (*plate.get(key, ()), *({"name": name} for name in dict.fromkeys(used))):
        if (name := line_name(line)) is None:
            nameless.append(line)
        else:
            known.setdefault(name, line)
    names = sorted(known, key=natural)
    plate[key] = [*(known[name] for name in names), *nameless]
    return {name: position for position, name in enumerate(names)}


def well_with_field(
    attributes: Attributes, field: str, version: Version = "0.5", *, known: Well | None = None
) -> Document:
    """Return the attributes of a well with this field.

    ``known`` is the well in ``attributes``, if the caller has read it.

    Raises:
        InvalidOptionError: ``field`` is new, and has other characters than letters and digits.
        DamagedDataError: The well in ``attributes`` is not valid.
    """
    known = known or read_well(attributes)
    well, images = _well_parts(attributes, known)
    if known is not None and field in known.fields:
        return dict(attributes)
    check_well("A", "1", field)
    return _with_images(attributes, version, well, [*images, {"path": field}])


def well_without_field(
    attributes: Attributes, field: str, version: Version = "0.5"
) -> Document:
    """Return the attributes of a well without this field."""
    well, images = _well_parts(attributes, read_well(attributes))
    kept = [image for image in images if path_of(image) != field]
    if len(kept) == len(images):
        return dict(attributes)
    return _with_images(attributes, version, well, kept)


def _well_parts(attributes: Attributes, known: Well | None) -> tuple[Document, list[Value]]:
    """Return copies of a well that was read, and of its list of images."""
    if known is None:
        return {}, []
    well = dict(find_in(attributes, "well")[0])
    return well, list(well["images"])


def _with_images(
    attributes: Attributes, version: Version, well: Document, images: Sequence[Value]
) -> Document:
    # Entries without a path are last, and stay as they are.
    well["images"] = sorted(images, key=_by_path)
    if "version" not in well:
        well["version"] = version_of(attributes, version, "well")
    return edit_document(attributes, version, "well", well)


def _by_path(image: Value) -> tuple[bool, tuple[bool, int, str, str]]:
    path = path_of(image)
    return path is None, natural(path or "")
