"""``polystore doctor``."""

import os
import sys
from contextlib import redirect_stdout, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polystore_cli.output import local_time, one_line, print_columns, print_json, warn
from polystore_core import (
    Finding,
    PluginState,
    claim,
    find_leftovers,
    findings,
    remove_tree,
)
from polystore_core.errors import storage_error

if TYPE_CHECKING:
    from polystore_core import FileManager

__all__ = ["doctor"]

_LEFTOVERS = ("size", "modified", "path")
_FINDINGS = ("name", "what", "state", "found; what helps")


def doctor(
    context: typer.Context,
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", exists=True, file_okay=False, help="A folder of the file system."
        ),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what is found.")] = False,
    older_than: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", help="Skip younger files: their writers may still live."
        ),
    ] = 3600.0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """Check what the backends need on this machine, or list leftovers of killed writers in DIR."""
    if directory is not None:
        _clean_up(directory, older_than, remove=remove, json=json)
    elif remove:
        raise typer.BadParameter("--remove needs a folder: polystore doctor DIR --remove")
    else:
        files: FileManager = context.obj
        with redirect_stdout(sys.stderr):  # what a plugin prints is not part of the list
            found = list(findings(files.registry.prefer))
        if json:
            print_json([_document(*item) for item in found])
        else:
            print_columns(_FINDINGS, [_line(*item) for item in found])
        if any(finding.state == "missing" for _, finding in found):
            raise typer.Exit(1)


def _line(plugin: PluginState, finding: Finding) -> tuple[str, ...]:
    about = "; ".join(filter(None, (finding.found, finding.remedy)))
    return tuple(map(one_line, (plugin.name, finding.what, finding.state, about)))


def _document(plugin: PluginState, finding: Finding) -> dict[str, str]:
    named = {name: getattr(plugin, name) for name in ("kind", "name", "distribution")}
    return {**named, **asdict(finding)}


def _clean_up(directory: Path, older_than: float, *, remove: bool, json: bool) -> None:
    try:
        found = {
            path: os.stat(path, follow_symlinks=False)
            for path in find_leftovers(directory, older_than=older_than)
        }
        if remove:
            for path in list(found):
                with claim(path) as mine:
                    if mine is False:  # removed, or in use again since it was found
                        del found[path]
                    else:
                        _remove(path)
    except OSError as error:
        raise storage_error(error, "", error.filename, "clean up") from error
    rows = [_row(*item) for item in found.items()]
    if json:
        print_json([dict(zip(_LEFTOVERS, row, strict=True)) for row in rows])
    elif rows:
        print_columns(_LEFTOVERS, rows, right=("size",))
    count = f"{len(found)} leftover{'' if len(found) == 1 else 's'}"
    total = f"{count}, {sum(status.st_size for status in found.values())} bytes"
    warn(f"{total}: {'removed' if remove else 'remove them with --remove'}" if found else count)


def _remove(path: str) -> None:
    """Remove a file, or a tree that was not finished. Its errors name ``path`` in full."""
    try:
        with suppress(FileNotFoundError):  # another process was faster
            remove_tree(path)
    except OSError as error:
        raise storage_error(error, "", path, "clean up") from error


def _row(path: str, status: os.stat_result) -> tuple[str, ...]:
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    return str(status.st_size), local_time(modified), path
