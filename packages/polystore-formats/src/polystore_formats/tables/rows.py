"""The names and cells of a CSV file as text. Cells that had quotes start with ``QUOTED``."""

from __future__ import annotations

import csv
import io
import itertools
import re
from typing import TYPE_CHECKING

from polystore_core.errors import DamagedDataError, UnsupportedFileError

from .columns import QUOTED, distinct_names

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DELIMITERS", "read_cells"]

DELIMITERS = (",", ";", "\t", "|")

_ROWS_AT_ONCE = 10_000
_DECLARATION = re.compile(r"sep=(.)(?:\r\n|\r|\n|\Z)", re.IGNORECASE)
"""A first line such as ``sep=;``, from which Excel takes the delimiter."""


def read_cells(text: str, delimiter: str) -> dict[str, list[str]]:
    """Return the cells of each column by its name.

    All rows may have one cell more than the header. If the last cells are all empty, each row ends
    with a delimiter, and they are dropped. Or else the first cells are the names of rows, which
    ``write.table`` of R writes without a name in the header: the column is "Unnamed: 0".

    Raises:
        DamagedDataError: The text has NUL characters, or ends in a row or in quotes.
        UnsupportedFileError: The text is whole, but has another delimiter, or rows with more or
            fewer cells than the others.
    """
    nul = text.find(QUOTED)
    if nul >= 0:
        line = text.count("\n", 0, nul) + 1
        raise DamagedDataError(f"line {line} has a NUL character", "csv")
    rows = _rows(_without_declaration(text, delimiter), delimiter)
    header = next(rows, None)
    if header is None:
        raise DamagedDataError("it is empty: expected a header line", "csv")
    first = next(rows, None)
    _check_delimiter(header, first, delimiter)
    columns: list[list[str]] = [[] for _ in first or header]
    rows = itertools.chain([] if first is None else [first], rows)
    while block := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        for column, part in zip(columns, zip(*block, strict=True), strict=True):
            column.extend(part)
    if len(columns) > len(header):
        if any(columns[-1]):
            header.insert(0, "")
        else:
            columns.pop()
    return dict(zip(distinct_names(header), columns, strict=True))


def _without_declaration(text: str, delimiter: str) -> str:
    declared = _DECLARATION.match(text)
    if declared is None:
        return text
    if declared[1] != delimiter:
        raise _line_error(
            1, f"declares the delimiter {declared[1]!r}: pass delimiter={declared[1]!r}"
        )
    return text[declared.end() :]


def _check_delimiter(header: list[str], first: list[str] | None, delimiter: str) -> None:
    """Raise an error for a table that has one column only because its delimiter is another."""
    if first is None or len(header) > 1 or QUOTED in header[0]:
        return
    # Read as one column, such a table would load without an error, with cells like "1;2;3".
    for other in DELIMITERS:
        if other in header[0] and any(other in cell for cell in first):
            raise _line_error(1, f"has no {delimiter!r}: pass delimiter={other!r}")


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the header and the rows, without blank lines. Check the number of cells."""
    is_cut = not text.endswith(("\n", "\r"))
    if '"' in text:
        # csv.reader does not tell which cells had quotes, so each of them is marked before. The
        # quantifiers are possessive: a hostile text cannot make the search slow.
        opening = rf'((?:\A|[\r\n{re.escape(delimiter)}])")'
        text = re.sub(rf'{opening}((?:[^"]++|"")*+")', rf"\1{QUOTED}\2", text)
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header = width = 0
    try:
        for row in filter(None, reader):
            if not header:
                header = len(row)
            elif not width:
                width = header + (len(row) == header + 1)
            expected = width or header
            if len(row) != expected:
                # A short last row without a line end means that the file was cut.
                if len(row) < expected and is_cut and lines.tell() == len(text):
                    raise DamagedDataError(f"it ends within line {reader.line_num}", "csv")
                reason = f"has {len(row)} cells, expected {expected}"
                raise _line_error(reader.line_num, reason)
            yield row
    except csv.Error as error:
        if str(error) == "unexpected end of data":
            reason = f"it ends within quotes, in line {reader.line_num}"
            raise DamagedDataError(reason, "csv") from error
        raise _line_error(reader.line_num, f"is not valid CSV: {error}") from error


def _line_error(line: int, reason: str) -> UnsupportedFileError:
    return UnsupportedFileError(f"line {line} {reason}", "csv")
