"""``polystore plugins``."""

import sys
from contextlib import redirect_stdout
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

import typer

from polystore_cli.output import one_line, print_columns, print_json
from polystore_core import PluginState, survey

if TYPE_CHECKING:
    from polystore_core import FileManager

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


def plugins(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> None:
    """List backends and formats, and why one cannot be used."""
    files: FileManager = context.obj
    with redirect_stdout(sys.stderr):  # what a manifest prints is not part of the list
        states = list(survey(files.registry.prefer))
    if json:
        names = [field.name for field in fields(PluginState)]
        print_json([{name: getattr(state, name) for name in names} for state in states])
    elif sys.stdout.isatty():
        _print_table(states)
    else:
        print_columns(_HEADER, map(_row, states))


def _row(state: PluginState) -> tuple[str, ...]:
    about = state.why or state.summary
    row = state.kind, state.name, state.distribution, state.version, state.state, about
    return tuple(map(one_line, row))


def _print_table(states: list[PluginState]) -> None:
    """Print for a terminal: cells fold, and the reasons stand below, each once."""
    # As slow to import as typer, and nobody else needs columns that fold.
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
