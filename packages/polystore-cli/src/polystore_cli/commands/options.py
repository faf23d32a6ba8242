"""``polystore options``."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import click

from polystore_cli.options import PLUGIN, json_option
from polystore_cli.output import one_line, print_columns, print_json
from polystore_cli.session import pass_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polystore_core import FileManager

__all__ = ["options"]

_HEADER = ("for", "option", "default", "about")


@click.command()
@click.argument("name", type=PLUGIN)
@json_option("one JSON object")
@pass_files
def options(files: FileManager, name: str, json: bool) -> None:
    """List the options that save and load take, with their defaults.

    NAME is a suffix such as tif or ome.tif, or a backend such as zarr. A file on disk takes the
    options of its suffix and those of disk. Pass an option of save as -o NAME=VALUE.
    """
    from polystore_cli.explaining import explain_options
    from polystore_core import FileManager

    also = [method.__doc__ or "" for method in (FileManager.save, FileManager.load)]
    found = {kind: list(explain_options(owner, *also)) for kind, owner in _owners(files, name)}
    if json:
        print_json(
            {
                kind: [one._asdict() | {"default": _plain(one.default)} for one in known]
                for kind, known in found.items()
            }
        )
        return
    for number, (kind, known) in enumerate(found.items()):
        if number:
            click.echo()
        click.echo(f"{kind} {name}{'' if known else ': save and load have no options'}")
        rows = [
            (one.operation, one.name, _text(one.default), one_line(one.about)) for one in known
        ]
        if rows:
            print_columns(_HEADER, rows)


def _owners(files: FileManager, name: str) -> Iterator[tuple[str, type]]:
    """Yield the classes that the name has: a format, a backend, or both.

    Raises ``UnknownPluginError`` if there is none.
    """
    from polystore_core.errors import UnknownPluginError, UnsupportedFormatError

    suffix = name.lower().lstrip(".")
    is_backend = name in files.registry
    try:
        yield "format", type(files.registry.formats.of(f"file.{suffix}"))
    except UnsupportedFormatError as error:
        if not is_backend:
            known = (*error.known, *files.registry.names())
            raise UnknownPluginError("format", suffix, known) from None
    if is_backend:
        yield "backend", files.registry.class_of(name)


def _plain(default: Any) -> Any:
    """Return a default for JSON. A required option has none."""
    if default is inspect.Parameter.empty:
        return None
    return default if isinstance(default, str | int | float | None) else repr(default)


def _text(default: Any) -> str:
    if default is inspect.Parameter.empty:
        return "required"
    return default if isinstance(default, str) and default else repr(default)
