"""Columns of a table as cells of text, and back.

A cell that starts with ``QUOTED`` had quotes in the file. It is text, also if it is "007".
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from polystore_core.errors import InvalidOptionError, UnsupportedDataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from polystore_core import Pixels, Value

__all__ = [
    "CELL_LIMIT",
    "QUOTED",
    "TEXT_BYTES_LIMIT",
    "Column",
    "cells_of",
    "check_column",
    "distinct_names",
    "infer_column",
    "no_such_column",
    "parse_column",
    "quote",
    "table",
    "unquote",
]

CELL_LIMIT = 100_000
"""The most characters of a cell that is written."""

TEXT_BYTES_LIMIT = 1 << 30
"""The most bytes of a column of text in an array, where each cell is as wide as the longest."""

QUOTED = "\0"  # text of a table has no NUL: reading and writing reject it

Column: TypeAlias = "NDArray[Any] | list[str | None]"
"""Numbers, or text in which ``None`` is a missing cell."""

_TRUTH = {
    "True": True,
    "TRUE": True,
    "true": True,
    "False": False,
    "FALSE": False,
    "false": False,
}
_MISSING = ("", "NA")  # R writes NA
_INTEGER = re.compile(r" *[+-]?(?:0|[1-9][0-9]{0,19}) *")
_FLOAT = re.compile(  # at most 15 digits before the point: float64 can tell all of these apart
    r" *[+-]?(?:0|[1-9][0-9]{0,14}|nan|inf(?:inity)?"
    r"|(?=\.?[0-9])(?:0|[1-9][0-9]*)?(?:\.[0-9]*(?:e[+-]?[0-9]+)?|e[+-]?[0-9]+)) *",
    re.IGNORECASE,
)


def quote(text: str) -> str:
    """Return the text in quotes, as RFC 4180 writes it."""
    return '"' + text.replace('"', '""') + '"'


def unquote(cell: str) -> str:
    """Return a cell without the mark that it had quotes."""
    return cell.replace(QUOTED, "")


def distinct_names(header: Sequence[str]) -> list[str]:
    """Return the names of the columns that ``pandas.read_csv`` would choose.

    A column without a name is "Unnamed: 3" by its position. A second "Area" is "Area.1". A name
    in the header is never given to another column: ``["x", "x", "x.1"]`` gives x, x.2 and x.1.
    """
    cells = [unquote(cell) for cell in header]
    names = [cell or f"Unnamed: {place}" for place, cell in enumerate(cells)]
    taken, numbers = set(names), dict.fromkeys(names, 0)
    # Columns with a name come first: an unnamed one must not take the name of a later column.
    for place in sorted(range(len(names)), key=lambda place: not cells[place]):
        name = names[place]
        number = numbers[name]
        numbers[name] = number + 1
        if number:
            while f"{name}.{number}" in taken:
                number += 1
            names[place] = f"{name}.{number}"
            taken.add(names[place])
            numbers |= {name: number + 1, names[place]: 1}
    return names


def cells_of(column: Column) -> Iterable[str]:
    """Return the cells of the file: text in quotes, numbers without."""
    if isinstance(column, np.ndarray) and column.dtype.kind != "U":
        return map(str, column.tolist())  # Python's shortest text gives back the same float
    return ("" if cell is None else quote(cell) for cell in column)


def check_column(name: object, column: Column) -> None:
    """Raise ``UnsupportedDataError`` if the column would not load with the same values."""
    if type(name) is not str or not name:
        raise UnsupportedDataError(
            f"expected a non-empty str as the name of each column, got {name!r:.80}", "csv"
        )
    text: list[Any] = []
    if isinstance(column, list):
        text = [cell for cell in column if cell is not None]
    elif column.ndim != 1:
        raise UnsupportedDataError(
            f"column {name!r} has {column.ndim} dimensions, expected 1: split it into columns",
            "csv",
        )
    elif not _is_storable(column.dtype):
        raise no_such_column(name, column.dtype)
    elif column.dtype.kind == "U":
        text = column.tolist()
        _check_width(name, text)
    for cell in (name, *text):
        if type(cell) is not str:
            raise UnsupportedDataError(
                f"column {name!r} has a cell of type {type(cell).__name__}, expected str: "
                "convert the column, for example with astype(str)",
                "csv",
            )
        # csv.reader refuses longer cells, and NUL is how reading marks quotes.
        if len(cell) > CELL_LIMIT or QUOTED in cell:
            raise UnsupportedDataError(
                f"column {name!r} has a cell with a NUL or with more than {CELL_LIMIT} characters",
                "csv",
            )
    try:
        "".join((name, *text)).encode()
    except UnicodeEncodeError as error:
        reason = f"column {name!r} has text that UTF-8 cannot encode: {error}"
        raise UnsupportedDataError(reason, "csv") from error


def _is_storable(dtype: np.dtype[Value]) -> bool:
    # isbuiltin is 2 for types of ml_dtypes, such as bfloat16.
    is_float = dtype.kind == "f" and dtype.itemsize <= 8 and dtype.isbuiltin != 2
    return dtype.kind in "biuU" or is_float


def no_such_column(name: object, dtype: object) -> UnsupportedDataError:
    """Return the error for a column whose dtype CSV does not hold."""
    return UnsupportedDataError(
        f"column {name!r} has dtype {dtype}, but CSV holds bool, integers, floats of at most "
        "64 bits and text: convert it, for example with astype(str)",
        "csv",
    )


def _check_width(name: str, text: Sequence[str]) -> None:
    width = max(map(len, text), default=0)
    # NumPy stores each cell with the width of the longest: one long cell can fill the memory.
    if len(text) * width * 4 > TEXT_BYTES_LIMIT:
        raise UnsupportedDataError(
            f"column {name!r} has {len(text)} cells of up to {width} characters, which need "
            f"{len(text) * width * 4} bytes in an array, more than {TEXT_BYTES_LIMIT}: use a "
            "pandas.DataFrame (as_='pandas' loads one)",
            "csv",
        )


def infer_column(cells: Sequence[str]) -> Column:
    """Return the cells as bool, int64, uint64, float64 or text: the first that fits all cells."""
    present = [cell for cell in cells if cell not in _MISSING]
    complete = len(present) == len(cells) > 0  # bool and integers have no missing value
    if complete and all(cell in _TRUTH for cell in present):
        return np.array([_TRUTH[cell] for cell in present])
    # "007" is not an integer: it is text such as a plate's barcode.
    if complete and all(map(_INTEGER.fullmatch, present)):
        integers = [int(cell) for cell in present]
        for dtype in (np.int64, np.uint64):
            limits = np.iinfo(dtype)
            if limits.min <= min(integers) and max(integers) <= limits.max:
                return np.array(integers, dtype)
    if all(map(_FLOAT.fullmatch, present)):
        numbers = [math.nan if cell in _MISSING else float(cell) for cell in cells]
        return np.array(numbers, np.float64)
    return _text(cells)


def parse_column(name: str, cells: Sequence[str], dtype: np.dtype[Value]) -> Column:
    """Return the cells as a column of ``dtype``.

    Raises:
        InvalidOptionError: A cell does not fit ``dtype``. Names the row.
    """
    text = _text(cells)
    if dtype.kind == "U" and dtype.itemsize == 0:
        return text
    parse = _PARSERS.get(dtype.kind)
    if parse is None:
        known = "a dtype of bool, integers, floats or text"
        raise InvalidOptionError("dtypes", {name: dtype.str}, known)
    values = []
    for row, cell in enumerate(text, 1):
        try:
            values.append(parse(cell or "", dtype))
        except (ValueError, KeyError) as error:
            expected = f"a dtype that holds {cell or ''!r:.80} (row {row})"
            raise InvalidOptionError("dtypes", {name: dtype.str}, expected) from error
    return np.array(values, dtype)


def _text(cells: Sequence[str]) -> list[str | None]:
    return [unquote(cell) if cell else None for cell in cells]


def _strict(cell: str) -> str:
    return cell.replace("_", "?")  # Python would read 1_000 as a number, other programs do not


def _parse_truth(cell: str, _: np.dtype[Value]) -> bool:
    return _TRUTH[cell]


def _parse_integer(cell: str, dtype: np.dtype[Value]) -> int:
    number, limits = int(_strict(cell)), np.iinfo(dtype)
    if not limits.min <= number <= limits.max:
        raise ValueError(cell)
    return number


def _parse_float(cell: str, dtype: np.dtype[Value]) -> float:
    number = math.nan if cell in _MISSING else float(_strict(cell))
    if float(np.finfo(dtype).max) < abs(number) < math.inf:
        raise ValueError(cell)
    return number


def _parse_text(cell: str, dtype: np.dtype[Value]) -> str:
    if len(cell) * 4 > dtype.itemsize:
        raise ValueError(cell)
    return cell


_PARSERS: dict[str, Callable[[str, np.dtype[Any]], Any]] = {
    "b": _parse_truth,
    "i": _parse_integer,
    "u": _parse_integer,
    "f": _parse_float,
    "U": _parse_text,
}


def table(columns: Mapping[str, Column]) -> Pixels:
    """Return the columns as a structured array. A missing text is ""."""
    arrays = {name: _array(name, column) for name, column in columns.items()}
    dtype = [(name, array.dtype) for name, array in arrays.items()]
    rows = np.empty(len(next(iter(arrays.values()))), dtype)
    for name, array in arrays.items():
        rows[name] = array
    return rows


def _array(name: str, column: Column) -> Pixels:
    if isinstance(column, np.ndarray):
        return column
    text = [cell or "" for cell in column]
    _check_width(name, text)
    return np.array(text, f"U{max(map(len, text), default=0) or 1}")
