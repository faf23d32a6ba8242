"""How results are printed: plain lines that other programs can read, and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import IO, Any

import typer

from polystore_core import Info

__all__ = [
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
    """Whether somebody is at a standard stream, which is ``None`` if it is closed."""
    return stream is not None and stream.isatty()


def one_line(text: str) -> str:
    """Return a stranger's text for one row: no line breaks, control codes or surrogates."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """Return text with escapes in place of line breaks, control codes and surrogates."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def print_columns(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()
) -> None:
    """Print aligned columns, never cut or wrapped; ``right`` names those set flush right."""
    table = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (
            cell.rjust(width) if title in right else cell.ljust(width)
            for title, cell, width in zip(header, row, widths, strict=True)
        )
        typer.echo("  ".join(cells).rstrip())


def print_json(document: Any) -> None:
    """Print one JSON document; what JSON cannot hold becomes its nearest relative."""
    typer.echo(json.dumps(_jsonable(document), indent=2))


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None  # NaN is not JSON
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return _jsonable(value.tolist())
    return str(value)


def info_document(info: Info) -> dict[str, Any]:
    """Return the fields of ``info`` by name."""
    document = {name: getattr(info, name) for name in Info.__slots__}
    if info.image is not None:
        from polystore_core import metadata_document  # imports NumPy

        document["image"] = metadata_document(info.image)
    return document


def local_time(moment: datetime | None) -> str:
    """Write a time as people read it, in their own time zone."""
    return "-" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M")


def warn(text: str) -> None:
    """Print a line to standard error."""
    typer.echo(text, err=True)
