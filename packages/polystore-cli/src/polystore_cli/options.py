"""Arguments and options that several commands have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.types import StringParamType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from click.shell_completion import CompletionItem

__all__ = [
    "ADDRESS",
    "IF_EXISTS",
    "PATH",
    "PLUGIN",
    "Decorator",
    "addresses_argument",
    "dry_run_option",
    "json_option",
    "null_option",
    "parse_options",
    "pattern_option",
    "save_option",
]

if TYPE_CHECKING:
    Decorator = Callable[[Callable[..., None]], Callable[..., None]]

IF_EXISTS = click.Choice(("replace", "error", "skip"))


class AddressType(StringParamType):
    """An address. The shell completes its backend, and then its path."""

    name = "address"

    def __init__(self, *, backend_is_optional: bool = False) -> None:
        self.backend_is_optional = backend_is_optional

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from .completion import complete_paths  # only a shell asks

        return complete_paths(ctx, incomplete, with_local=self.backend_is_optional)


class PluginType(StringParamType):
    """A suffix or a backend. The shell completes it."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from .completion import complete_plugins

        return complete_plugins(ctx, incomplete)


ADDRESS = AddressType()
PATH = AddressType(backend_is_optional=True)
PLUGIN = PluginType()


def json_option(what: str) -> Decorator:
    """Add ``--json``; ``what`` it prints: "one JSON array"."""
    return click.option("--json", is_flag=True, help=f"Print {what}.")


def dry_run_option(what: str) -> Decorator:
    """Add ``--dry-run`` with the help text ``what``."""
    return click.option("--dry-run", is_flag=True, help=what)


addresses_argument = click.argument(
    "addresses", metavar="ADDRESS...", type=ADDRESS, nargs=-1, required=True
)
null_option = click.option(
    "null", "-0", "--null", is_flag=True, help="With -, addresses end with a NUL byte."
)
pattern_option = click.option("--pattern", metavar="PATTERN", help="Only names like '*.tif'.")
save_option = click.option(
    "options",
    "-o",
    "--option",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of save: -o compression=zlib -o colormap=magma",
)


def parse_options(texts: Iterable[str]) -> dict[str, Any]:
    """Return the options by name. A value that is not JSON is text."""
    return dict(map(_parse_option, texts))


def _parse_option(text: str) -> tuple[str, Any]:
    import json

    from .address import AddressError

    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise AddressError(f"-o {text!r} has no value: write -o NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
