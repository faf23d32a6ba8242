"""Print results: plain lines that other programs can read, and JSON."""

from __future__ import annotations

import re
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from polystore_core import Info

__all__ = [
    "describe_error",
    "dtype_in_words",
    "info_document",
    "is_terminal",
    "local_time",
    "one_line",
    "print_columns",
    "print_json",
    "printable",
    "warn",
]


def is_terminal(stream: IO[Any] | None) -> bool:
    """Whether a standard stream is a terminal. It is ``None`` if it is closed."""
    return stream is not None and stream.isatty()


def one_line(text: str) -> str:
    """Return the text of a plugin for one row, without line breaks and control codes."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """Return text with escapes in place of line breaks, control codes and surrogates."""
    # Names come from strangers, and a control code could change the terminal of the reader.
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def print_columns(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()
) -> None:
    """Print aligned columns, never cut or wrapped. ``right`` names the right-aligned ones."""
    table = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = (
            cell.rjust(width) if title in right else cell.ljust(width)
            for title, cell, width in zip(header, row, widths, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    click.echo("\n".join(lines))


def print_json(document: Any) -> None:
    """Print one JSON document. A value that JSON does not have becomes the nearest that it has."""
    import json

    click.echo(json.dumps(_to_json(document), indent=2))


def _to_json(value: Any) -> Any:
    from collections.abc import Mapping
    from datetime import datetime

    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None  # JSON has no NaN and no infinity
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_to_json(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return _to_json(value.tolist())
    return str(value)


def info_document(info: Info) -> dict[str, Any]:
    """Return the fields of ``info`` by name."""
    document = {name: getattr(info, name) for name in type(info).__slots__}
    if info.image is not None:
        from polystore_core import metadata_document  # imports NumPy

        document["image"] = metadata_document(info.image)
    return document


_DTYPE = re.compile(r"([<>|=]?)([biufc])(\d+)")
_KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}


def dtype_in_words(dtype: str) -> str:
    """Return "uint16" for "<u2", and "uint16 big-endian" for ">u2". Others stay as they are."""
    found = _DTYPE.fullmatch(dtype)
    if found is None:
        return dtype
    order, kind, size = found.groups()
    name = "bool" if kind == "b" else f"{_KINDS[kind]}{8 * int(size)}"
    return f"{name} big-endian" if order == ">" else name


def local_time(moment: datetime | None) -> str:
    """Write a time as people read it, in their own time zone."""
    return "-" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M")


def describe_error(error: Exception) -> str:
    """Return the text of an error, with a remedy for the command line instead of Python."""
    from polystore_core.errors import BatchError, NotAFileError  # help needs no errors

    if isinstance(error, BatchError):
        return error.describe(most=None)  # nobody can look at `failed`, so name every failure
    if isinstance(error, NotAFileError) and not error.reason:
        address = f"{error.backend}:{error.path}"
        return f"{address} is a folder: name the files in it, such as '{address}/*'"
    return str(error)


def warn(text: str) -> None:
    """Print a line to standard error."""
    click.echo(text, err=True)
