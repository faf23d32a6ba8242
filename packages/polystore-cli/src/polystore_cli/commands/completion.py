"""``polystore completion``."""

from __future__ import annotations

import click

from polystore_cli.completion import SHELLS

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(tuple(SHELLS)))
def completion(shell: str) -> None:
    """Print the script with which a shell completes commands, options, backends and paths.

    \b
    bash: eval "$(polystore completion bash)"      in ~/.bashrc
    zsh:  eval "$(polystore completion zsh)"       in ~/.zshrc, after compinit
    fish: polystore completion fish | source       in ~/.config/fish/config.fish
    """
    from polystore_cli.main import app

    click.echo(SHELLS[shell](app, {}, "polystore", "_POLYSTORE_COMPLETE").source(), nl=False)
