"""Options of a backend on the command line: ``-o NAME=VALUE``."""

import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from .address import AddressError

__all__ = ["SaveOptions", "parse_options"]

SaveOptions = Annotated[
    list[str] | None,
    typer.Option(
        "-o", metavar="NAME=VALUE", help="Option of save: -o compression=zlib -o colormap=magma"
    ),
]


def parse_options(texts: Iterable[str] | None) -> dict[str, Any]:
    """Return the options by name; a value that is no JSON is text."""
    return dict(map(_parsed, texts or ()))


def _parsed(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise AddressError(f"-o {text!r} has no value: write -o NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
