"""``polystore doctor``."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from polystore_cli.options import json_option
from polystore_cli.output import local_time, one_line, print_columns, print_json, warn
from polystore_cli.session import open_files

if TYPE_CHECKING:
    from polystore_core import Finding, PluginState

__all__ = ["doctor"]

_LEFTOVERS = ("size", "modified", "path")
_FINDINGS = ("name", "what", "state", "found; remedy")


@click.command()
@click.argument(
    "directory", metavar="[DIR]", required=False, type=click.Path(exists=True, file_okay=False)
)
@click.option("--remove", is_flag=True, help="Remove the files that are listed.")
@click.option(
    "--older-than",
    type=click.FloatRange(min=0),
    default=3600.0,
    metavar="SECONDS",
    help="Skip younger files: their writers may still live.",
)
@json_option("one JSON array")
@click.pass_context
def doctor(
    context: click.Context, directory: str | None, remove: bool, older_than: float, json: bool
) -> None:
    """Check what the backends need on this machine, or list leftovers of killed writers in DIR.

    The exit code is 1 if something is missing that you use: a backend that the file for --config
    or the variable POLYSTORE_PLUGINS names. It is also 1 if an installed plugin is broken.
    Everything else that is missing is a note.
    """
    if directory is not None:
        _clean_up(directory, older_than, remove=remove, json=json)
    elif remove:
        raise click.UsageError("--remove needs a folder: polystore doctor DIR --remove")
    else:
        _check(context, json=json)


def _check(context: click.Context, *, json: bool) -> None:
    """Print what the plugins have found. Exits with 1 if something is missing that is used."""
    from polystore_core import findings

    registry = open_files(context).registry
    with redirect_stdout(sys.stderr):  # the list does not contain the output of plugins
        known = list(findings(registry.prefer))
    used = _find_used(context)
    found = [(plugin, _weigh(plugin, finding, used)) for plugin, finding in known]
    if json:
        print_json([_document(*item) for item in found])
    else:
        print_columns(_FINDINGS, [_line(*item) for item in found])
    if any(finding.state == "missing" for _, finding in found):
        raise click.exceptions.Exit(1)


def _find_used(context: click.Context) -> set[str]:
    """Return the plugins that the user names: names, distributions, or ``distribution:name``."""
    named = {name.strip() for name in os.environ.get("POLYSTORE_PLUGINS", "").split(",")}
    config = context.find_root().params["config"]
    if config is not None:
        import tomllib

        # The registry knows only the names that the user gave, and not the plugins behind them.
        with open(config, "rb") as file:
            document = tomllib.load(file)
        named |= {options["backend"] for options in document.get("backends", {}).values()}
        named |= set(document.get("prefer", {}))
    return named - {""}


def _weigh(plugin: PluginState, finding: Finding, used: set[str]) -> Finding:
    """Turn a missing thing into a note, unless the user names it. Broken plugins stay errors."""
    names = {plugin.name, plugin.distribution, f"{plugin.distribution}:{plugin.name}"}
    is_broken = finding.what in ("plugin", "check") and plugin.state != "missing"
    if finding.state != "missing" or is_broken or names & used:
        return finding
    return replace(finding, state="note")


def _line(plugin: PluginState, finding: Finding) -> tuple[str, ...]:
    about = "; ".join(filter(None, (finding.found, finding.remedy)))
    return tuple(map(one_line, (plugin.name, finding.what, finding.state, about)))


def _document(plugin: PluginState, finding: Finding) -> dict[str, str]:
    named = {name: getattr(plugin, name) for name in ("kind", "name", "distribution")}
    return {**named, **asdict(finding)}


def _clean_up(directory: str, older_than: float, *, remove: bool, json: bool) -> None:
    from polystore_core import claim, find_leftovers
    from polystore_core.errors import storage_error

    try:
        found = {
            # A leftover may be a link, whose target is not a leftover.
            path: os.stat(path, follow_symlinks=False)
            for path in find_leftovers(directory, older_than=older_than)
        }
        if remove:
            for path in list(found):
                with claim(path) as mine:
                    if mine is False:  # since it was found, it was removed or is in use again
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
    from polystore_core import remove_tree
    from polystore_core.errors import storage_error

    try:
        with suppress(FileNotFoundError):  # another process was faster
            remove_tree(path)
    except OSError as error:
        raise storage_error(error, "", path, "clean up") from error


def _row(path: str, status: os.stat_result) -> tuple[str, ...]:
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    return str(status.st_size), local_time(modified), path
