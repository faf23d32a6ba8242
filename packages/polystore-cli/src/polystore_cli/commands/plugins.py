"""``polystore plugins``."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import fields
from typing import TYPE_CHECKING

import click

from polystore_cli.options import json_option
from polystore_cli.output import is_terminal, one_line, print_columns, print_json
from polystore_cli.session import pass_files

if TYPE_CHECKING:
    from polystore_core import FileManager, PluginState

__all__ = ["plugins"]

_HEADER = ("kind", "name", "distribution", "version", "state", "about")
_STYLES = {
    "ok": "green",
    "unconfigured": "green",
    "missing": "yellow",
    "ignored": "bright_black",
    "broken": "red",
    "disabled": "bright_black",
    "conflicting": "yellow",
}


@click.command()
@json_option("one JSON array")
@pass_files
def plugins(files: FileManager, json: bool) -> None:
    """List backends and formats, and why one cannot be used."""
    from polystore_core import PluginState, survey

    with redirect_stdout(sys.stderr):  # the list does not contain the output of manifests
        states = list(survey(files.registry.prefer))
    if json:
        names = [field.name for field in fields(PluginState)]
        print_json([{name: getattr(state, name) for name in names} for state in states])
    elif is_terminal(sys.stdout):
        _print_table(states)
    else:
        print_columns(_HEADER, map(_row, states))


def _row(state: PluginState) -> tuple[str, ...]:
    about = state.why or state.summary
    row = state.kind, state.name, state.distribution, state.version, state.state, about
    return tuple(map(one_line, row))


def _print_table(states: list[PluginState]) -> None:
    """Print for a terminal: cells fold, and the reasons are below the table, each once."""
    # Slow to import, and only a terminal needs columns that fold.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*_HEADER, box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    for state in states:
        kind, name, distribution, version, word, _ = _row(state)
        styled = Text(word, _STYLES[state.state])
        table.add_row(kind, name, distribution, version, styled, one_line(state.summary))
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(table)
    for why in dict.fromkeys(state.why for state in states if state.why):
        console.print(f"\n{one_line(why)}")
