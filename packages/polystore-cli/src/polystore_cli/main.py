"""The ``polystore`` command: global options, and what an error looks like."""

import io
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from polystore_core import BackendRegistry, FileManager, PolystoreError
from polystore_core.errors import BatchError

from .address import AddressError
from .commands import cp, demo, doctor, info, ls, plugins, view, workspace
from .output import warn

__all__ = ["app"]


class Commands(TyperGroup):
    """Runs a command and turns an error into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # typer ends in silence
        except (AddressError, PolystoreError, OSError) as error:
            if ctx.params["debug"]:
                raise
            # Here nobody can look at `failed`.
            named = error.describe(most=None) if isinstance(error, BatchError) else error
            warn(f"error: {named}")
            raise typer.Exit(2 if isinstance(error, AddressError) else 1) from error


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (plugins.plugins, ls.ls, info.info, cp.cp, view.view, doctor.doctor, demo.demo):
    app.command()(command)
app.add_typer(workspace.workspace, name="workspace")


def _print_version(wanted: bool) -> None:
    if wanted:
        for distribution in ("polystore-cli", "polystore-core"):
            typer.echo(f"{distribution} {metadata.version(distribution)}")
        raise typer.Exit


@app.callback()
def polystore(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="TOML file with your own backends."),
    ] = None,
    debug: Annotated[  # noqa: ARG001 - Commands.invoke reads it
        bool, typer.Option("--debug", help="Show tracebacks.")
    ] = False,
    version: Annotated[  # noqa: ARG001 - its callback did all
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show versions."
        ),
    ] = False,
) -> None:
    """Say where data is with one word: disk:plate/a.tif, memory:x, …"""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names that are not UTF-8 come out as the bytes that they are.
        sys.stdout.reconfigure(errors="surrogateescape")
    registry = BackendRegistry() if config is None else BackendRegistry.from_file(config)
    context.obj = FileManager(context.with_resource(registry))
