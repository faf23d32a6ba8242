"""``polystore formats``."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import click

from polystore_cli.options import json_option
from polystore_cli.output import one_line, print_columns, print_json
from polystore_cli.session import pass_files

if TYPE_CHECKING:
    from polystore_core import FileManager

__all__ = ["formats"]

_HEADER = ("suffix", "distribution", "state", "about")


@click.command()
@json_option("one JSON array")
@pass_files
def formats(files: FileManager, json: bool) -> None:
    """List the suffixes that save and load know, with their formats.

    polystore options SUFFIX lists what save and load take for one of them.
    """
    from polystore_core import survey

    with redirect_stdout(sys.stderr):  # the list does not contain the output of manifests
        found = [one for one in survey(files.registry.prefer) if one.kind == "format"]
    if json:
        print_json(
            [
                {
                    "suffix": f".{one.name}",
                    "distribution": one.distribution,
                    "state": one.state,
                    "why": one.why,
                    "summary": one.summary,
                }
                for one in found
            ]
        )
        return
    rows = [
        tuple(
            map(one_line, (f".{one.name}", one.distribution, one.state, one.why or one.summary))
        )
        for one in found
    ]
    print_columns(_HEADER, rows)
