"""The ``polystore`` command: global options, and how an error is printed."""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from .helping import Group
from .output import describe_error, is_terminal, printable, warn

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["app"]

COMMANDS = (
    "ls",
    "info",
    "stats",
    "cat",
    "cp",
    "mv",
    "rm",
    "view",
    "workspace",
    "demo",
    "plugins",
    "formats",
    "options",
    "doctor",
    "completion",
)
"""The command ``x`` is the function ``x`` of the module ``commands.x``, in the order of --help."""
# 128 + SIGINT: shells use it for a program that Ctrl-C has ended.
INTERRUPTED = 130


class Commands(Group):
    """Imports a command when it is called, and turns an error into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            module = importlib.import_module(f".commands.{cmd_name}", __package__)
            self.add_command(getattr(module, cmd_name))
        return super().get_command(ctx, cmd_name)

    def __call__(self, *args: Any, **extra: Any) -> Any:
        """Run as a program. Collecting garbage would take an eighth of the time of a short one."""
        gc.set_threshold(50_000)  # imports make thousands of objects, and all of them stay
        try:
            return super().__call__(*args, **extra)
        except KeyboardInterrupt:  # click is not there yet, or not any more
            sys.exit(INTERRUPTED)
        finally:
            gc.freeze()  # Python ends with a collection, which then has nothing to look at

    def main(self, *args: Any, **extra: Any) -> Any:
        if any(name.endswith("POLYSTORE_COMPLETE") for name in os.environ):
            from . import completion  # noqa: F401 - it registers our shells with click
        return super().main(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                ctx.close()  # closes the backends here, so that their errors are printed as others
        except KeyboardInterrupt:  # click would print "Aborted!" and exit with 1
            raise click.exceptions.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise  # click ends in silence
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            code = _exit_code(error)
            # A bug keeps its traceback, because its message alone does not say where it is.
            if ctx.params["debug"] or not code:
                raise
            parts = [f"error: {describe_error(error)}"]
            if is_terminal(sys.stderr):  # a program that reads errors gets one line for each
                parts += getattr(error, "__notes__", ())
            for line in "\n".join(parts).split("\n"):
                warn(printable(line))
            raise click.exceptions.Exit(code) from error


def _exit_code(error: Exception) -> int:
    """Return the exit code for an error of the user or the storage, and 0 for a bug."""
    from polystore_core import PolystoreError  # a run without errors need not import it here

    from .address import AddressError

    if isinstance(error, AddressError):
        return 2
    return 1 if isinstance(error, PolystoreError | OSError) else 0


def _print_versions(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:  # noqa: ARG001
    # A shell that completes a word parses the whole line, and must not get versions.
    if wanted and not ctx.resilient_parsing:
        from importlib import metadata

        for distribution in ("polystore-cli", "polystore-core"):
            click.echo(f"{distribution} {metadata.version(distribution)}")
        ctx.exit()


@click.group(cls=Commands, no_args_is_help=True)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="TOML file with your own backends.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option(
    "--version",
    is_flag=True,
    callback=_print_versions,
    is_eager=True,
    expose_value=False,
    help="Show versions.",
)
def app(config: Path | None, debug: bool) -> None:  # noqa: ARG001 - others read them
    """Load, save, copy and look at data in every backend, by its address: disk:plate/a.tif."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # File names that are not UTF-8 are printed as the bytes that they are.
            stream.reconfigure(errors="surrogateescape")
