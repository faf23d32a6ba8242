"""``polystore demo``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from polystore_cli.options import json_option
from polystore_cli.output import print_json, printable, warn
from polystore_cli.session import pass_files

if TYPE_CHECKING:
    from polystore_cli.demo import Report, Step
    from polystore_core import FileManager

__all__ = ["demo"]


@click.command()
@click.option(
    "--folder", default="polystore-demo", metavar="FOLDER", help="Where the results go."
)
@click.option(
    "--viewer", metavar="VIEWER", help="napari, fiji, or the backend of another viewer."
)
@click.option("--no-viewer", is_flag=True, help="Open no viewer, and write pictures only.")
@json_option("one JSON object")
@pass_files
def demo(
    files: FileManager, folder: str, viewer: str | None, no_viewer: bool, json: bool
) -> None:
    """Make images, find nuclei in them, and show the results: a tour that needs no data.

    A viewer is opened if one is installed and there is a screen. The viewer stays open.
    """
    if no_viewer and viewer is not None:
        raise click.UsageError("--viewer and --no-viewer exclude each other")
    from polystore_cli.demo import run_demo  # imports NumPy, which help does not need

    if json:
        print_json(asdict(run_demo(files, folder, viewer=viewer, show=not no_viewer)))
        return
    _print_report(run_demo(files, folder, viewer=viewer, show=not no_viewer, tell=_print_step))


def _print_step(step: Step) -> None:
    click.echo(printable(f"{step.seconds:6.2f} s  {step.what:48} {step.where}"))


def _print_report(report: Report) -> None:
    for note in report.notes:
        warn(f"note: {printable(note)}")
    counts = ", ".join(f"{well} {count}" for well, count in report.nuclei.items())
    click.echo(f"\nNuclei in each well: {counts}")
    click.echo(f"Overview of all images: {printable(report.picture)}")
    click.echo("The same in your own code:\n")
    click.echo("".join(f"    {line}".rstrip() + "\n" for line in report.code.splitlines()))
    click.echo("Go on with https://polystore.readthedocs.io/quickstart/")
