import subprocess
from collections.abc import Callable

import pytest

from polystore_cli.main import app

Process = Callable[..., subprocess.CompletedProcess[str]]

COMMANDS = [[], *([name] for name in app.list_commands(None)), ["workspace", "build"]]


@pytest.mark.parametrize("width", ["20", "40", "200"])
def test_command_list_is_not_cut(process: Process, width: str) -> None:
    """Long lines of a help text are wrapped, also on a narrow terminal."""
    shown = "".join(process("--help", COLUMNS=width).stdout.split())
    for (name,) in COMMANDS[1:-1]:
        first = app.get_command(None, name).help.partition("\n\n")[0]
        assert name + "".join(first.split()) in shown
    assert "..." not in shown.replace("[ARGS]...", "")


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_help_of_a_command_is_not_cut(process: Process, arguments: list[str]) -> None:
    wide = process(*arguments, "--help", COLUMNS="200")
    narrow = process(*arguments, "--help", COLUMNS="40")
    assert (wide.returncode, narrow.returncode) == (0, 0)
    assert max(map(len, narrow.stdout.splitlines())) <= 80
    # Words may break at a hyphen, and a list has more lines if its columns do not fit.
    assert "".join(narrow.stdout.split()) == "".join(wide.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["--help"], 0),
        (["nothing"], 2),
        (["ls"], 2),
        (["ls", "--nothing", "disk:"], 2),
    ],
)
def test_exit_codes(process: Process, arguments: list[str], code: int) -> None:
    assert process(*arguments).returncode == code


def test_json_is_everywhere() -> None:
    """Each command that prints results can print them as JSON."""
    without = {"completion", "workspace"}
    for name in set(app.list_commands(None)) - without:
        command = app.get_command(None, name)
        assert "--json" in {option for param in command.params for option in param.opts}, name
