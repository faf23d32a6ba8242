"""``polystore demo``."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from polystore_cli.output import print_json, printable, warn

if TYPE_CHECKING:
    from polystore_cli.demo import Report, Step
    from polystore_core import FileManager

__all__ = ["demo"]


def demo(
    context: typer.Context,
    folder: Annotated[
        str, typer.Option(metavar="FOLDER", help="Where the results go.")
    ] = "polystore-demo",
    viewer: Annotated[
        str | None,
        typer.Option(metavar="VIEWER", help="napari, fiji, or the backend of another viewer."),
    ] = None,
    no_viewer: Annotated[
        bool, typer.Option("--no-viewer", help="Open no viewer, and write pictures only.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make images, find nuclei in them, and show the results: a tour that needs no data.

    A viewer is opened if one is installed and there is a screen. The viewer stays open.
    """
    if no_viewer and viewer is not None:
        raise typer.BadParameter("--viewer and --no-viewer exclude each other")
    from polystore_cli.demo import run_demo  # imports NumPy, which help does not need

    files: FileManager = context.obj
    if json:
        print_json(asdict(run_demo(files, folder, viewer=viewer, show=not no_viewer)))
        return
    _print_report(run_demo(files, folder, viewer=viewer, show=not no_viewer, tell=_print_step))


def _print_step(step: "Step") -> None:
    typer.echo(printable(f"{step.seconds:6.2f} s  {step.what:48} {step.where}"))


def _print_report(report: "Report") -> None:
    for note in report.notes:
        warn(f"note: {printable(note)}")
    counts = ", ".join(f"{well} {count}" for well, count in report.nuclei.items())
    typer.echo(f"\nNuclei in each well: {counts}")
    typer.echo("The same in your own code:\n")
    typer.echo("".join(f"    {line}".rstrip() + "\n" for line in report.code.splitlines()))
    typer.echo("Go on with https://polystore.readthedocs.io/quickstart/")
