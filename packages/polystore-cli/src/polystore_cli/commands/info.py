"""``polystore info``."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polystore_cli.address import parse_address
from polystore_cli.output import info_document, local_time, print_json

if TYPE_CHECKING:
    from polystore_core import FileManager

__all__ = ["info"]

_LONGEST = 200  # an OME-XML document has thousands of characters


def info(
    context: typer.Context,
    address: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="A file or folder: disk:plate/a.tif")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Describe the file or folder at an address without loading it."""
    files: FileManager = context.obj
    place = parse_address(address, files.registry.names())
    found = files.info(place.path, backend=place.backend)
    document = info_document(found)
    if json:
        print_json(document)
        return
    known = {**document, "modified": found.modified and local_time(found.modified)}
    lines = list(_lines(known))
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        typer.echo(f"{name.ljust(width)}  {text}")


def _lines(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield name and text of each value that is known, nested ones as ``metadata.axes``."""
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from _lines(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", _shortened(str(value))


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    if len(line) <= _LONGEST:
        return line
    return f"{line[:_LONGEST]}… ({len(text)} characters: see --json)"
