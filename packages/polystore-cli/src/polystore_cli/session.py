"""The backends of one call of the command."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from polystore_core import FileManager

__all__ = ["open_files", "pass_files"]


def open_files(context: click.Context) -> FileManager:
    """Return the file manager of this call, with the backends of ``--config``.

    It is made when it is first needed, because the help needs none. It is closed at the end.
    """
    # A shell that completes a word calls no command, so --config is read from the parameters.
    top = context.find_root()
    if top.obj is None:
        from polystore_core import BackendRegistry, FileManager

        config = top.params.get("config")
        registry = BackendRegistry() if config is None else BackendRegistry.from_file(config)
        top.obj = FileManager(top.with_resource(registry))
    files: FileManager = top.obj
    return files


def pass_files(function: Callable[..., None]) -> Callable[..., None]:
    """Pass the file manager to a command, as its first argument."""

    @click.pass_context
    # click takes the name and the help text of a command from its function.
    @functools.wraps(function)
    def call(context: click.Context, /, **given: Any) -> None:
        function(open_files(context), **given)

    return call
