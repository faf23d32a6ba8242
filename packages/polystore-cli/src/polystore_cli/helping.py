"""Groups of commands whose lists of commands are not cut."""

from __future__ import annotations

import click

__all__ = ["Group"]


class Group(click.Group):
    """Lists each command with its whole first sentence, which click cuts at 45 characters."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            command.short_help = " ".join((command.help or "").partition("\n\n")[0].split())
        return command
