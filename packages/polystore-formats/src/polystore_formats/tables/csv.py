"""``.csv``: tables with a header line (RFC 4180), which spreadsheets, R and pandas exchange.

CSV has no types. Numbers are written with all digits. Text is written in quotes, so that "007"
stays text. A column loads as the first of these types that fits all its cells: bool, int64,
uint64, float64, text. A number with more digits than its type can hold is text. The values are
always those that were saved. The dtypes are the same if they were bool, int64, float64 or text as
wide as its longest cell, and the table has rows. ``dtypes`` restores others. Gaps between the
fields of a structured array are not kept.

A file of another program loads with the column names of ``pandas.read_csv``: a column without a
name is "Unnamed: 0", a second "Area" is "Area.1".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np

from polystore_core import Format, is_instance, to_numpy
from polystore_core.errors import (
    InvalidOptionError,
    MissingDependencyError,
    UnsupportedDataError,
)

from ..decoding import check_encoding, decode_text
from ..limits import allocating, file_size
from .columns import (
    Column,
    cells_of,
    check_column,
    infer_column,
    no_such_column,
    parse_column,
    quote,
    table,
)
from .rows import DELIMITERS, read_cells

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import DTypeLike

    from polystore_core import Value

__all__ = ["DELIMITERS", "Csv"]

_ENCODING_ADVICE = "pass encoding=, such as 'cp1252' of Excel on Windows, or 'utf-16'"
_ROWS_AT_ONCE = 10_000


class Csv(Format):
    """NumPy structured arrays of one dimension, and pandas data frames without an index.

    An empty cell is missing: it loads as NaN among numbers, and as "" among text (as NaN in a data
    frame). CSV has no checksum. If a file was cut in its last cell or between two rows, the rest
    loads without an error.
    """

    name = "csv"

    def save(self, value: Value, file: BinaryIO, /, *, delimiter: str = ",") -> None:
        """Write the table, in UTF-8.

        Args:
            delimiter: a comma, semicolon, tab or vertical bar.
        """
        _check_option("delimiter", delimiter, DELIMITERS)
        columns = _columns(value)
        for name, column in columns.items():
            check_column(name, column)
            # Readers skip blank lines, so that the table would have fewer rows.
            if len(columns) == 1 and isinstance(column, list) and None in column:
                raise UnsupportedDataError(
                    f"column {name!r} is the only one and has a missing cell, which would be a "
                    "blank line: fill the cell, or add a column",
                    "csv",
                )
        file.write((delimiter.join(map(quote, columns)) + "\n").encode())
        rows = len(next(iter(columns.values())))
        # As text, a table takes many times its memory: only a block of rows is text at a time.
        for start in range(0, rows, _ROWS_AT_ONCE):
            block = slice(start, start + _ROWS_AT_ONCE)
            cells = [cells_of(column[block]) for column in columns.values()]
            lines = map(delimiter.join, zip(*cells, strict=True))
            file.write(("\n".join(lines) + "\n").encode())

    def load(
        self,
        file: BinaryIO,
        /,
        *,
        delimiter: str = ",",
        encoding: str = "utf-8",
        dtypes: Mapping[str, DTypeLike] | None = None,
        as_: Literal["numpy", "pandas"] = "numpy",
    ) -> Value:
        """Load the table.

        Args:
            delimiter: a comma, semicolon, tab or vertical bar.
            encoding: the text encoding, such as "cp1252" of Excel on Windows.
            dtypes: dtypes of columns by their names, such as ``{"label": "uint16"}``.
            as_: "numpy" for a structured array, "pandas" for a data frame.
        """
        _check_option("delimiter", delimiter, DELIMITERS)
        _check_option("as_", as_, ("numpy", "pandas"))
        check_encoding(encoding)
        with allocating(file_size(file), "csv", "split it, or read it in parts with pandas"):
            text = decode_text(file.read(), encoding, "csv", _ENCODING_ADVICE)
            # Excel starts a file with a byte order mark. It would be a part of the first name.
            cells = read_cells(text.removeprefix("\ufeff"), delimiter)
            columns = _parse_columns(cells, dtypes or {})
            return _frame(columns) if as_ == "pandas" else table(columns)


def _parse_columns(
    cells: Mapping[str, Sequence[str]], dtypes: Mapping[str, DTypeLike]
) -> dict[str, Column]:
    wanted = _check_dtypes(dtypes, list(cells))
    return {
        name: parse_column(name, column, wanted[name])
        if name in wanted
        else infer_column(column)
        for name, column in cells.items()
    }


def _check_option(option: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise InvalidOptionError(option, value, f"one of {', '.join(map(repr, known))}")


def _check_dtypes(
    dtypes: Mapping[str, DTypeLike], names: Sequence[str]
) -> dict[str, np.dtype[Value]]:
    for name in dtypes:
        if name not in names:
            raise InvalidOptionError(
                "dtypes", dtypes, f"names of columns ({', '.join(names):.300})"
            )
    try:
        return {name: np.dtype(dtype) for name, dtype in dtypes.items()}
    except TypeError as error:
        raise InvalidOptionError(
            "dtypes", dtypes, "dtypes of NumPy, such as 'uint16'"
        ) from error


# ── values ───────────────────────────────────────────────────────────────────────────────


def _columns(value: Value) -> dict[str, Column]:
    if is_instance(value, "pandas", "DataFrame"):
        return _columns_of_frame(value)
    if not (isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.names):
        raise UnsupportedDataError(
            f"expected a table with named columns, got {type(value).__name__}: pass a structured "
            "array of one dimension (numpy.rec.fromarrays(columns, names=…)) or a "
            "pandas.DataFrame, or save other arrays as .npy",
            "csv",
        )
    array = to_numpy(value)
    return {name: array[name] for name in value.dtype.names}


def _columns_of_frame(frame: Value) -> dict[str, Column]:
    import pandas

    # An index that is not 0, 1, 2, … holds data. Dropping it in silence would lose this data.
    if frame.index.name is not None or not frame.index.equals(pandas.RangeIndex(len(frame))):
        raise UnsupportedDataError(
            "CSV does not store the index of a data frame: save frame.reset_index(), or "
            "frame.reset_index(drop=True)",
            "csv",
        )
    if frame.columns.empty or not frame.columns.is_unique:
        raise UnsupportedDataError(
            "the data frame has no columns, or two columns with the same name", "csv"
        )
    columns: dict[str, Column] = {}
    for name, series in frame.items():
        if isinstance(series.dtype, pandas.StringDtype) or series.dtype == object:
            # A missing cell may be None, NaN, NaT or NA, and ``isna`` knows all of them.
            cells = zip(series.tolist(), series.isna().tolist(), strict=True)
            columns[name] = [None if missing else cell for cell, missing in cells]
        elif isinstance(series.dtype, np.dtype):
            columns[name] = series.to_numpy()
        else:
            raise no_such_column(name, series.dtype)
    return columns


def _frame(columns: Mapping[str, Column]) -> Value:
    try:
        import pandas
    except ModuleNotFoundError as error:
        install = "polystore-formats[pandas]"
        raise MissingDependencyError("format", "csv", ("pandas",), install) from error
    return pandas.DataFrame(dict(columns))
