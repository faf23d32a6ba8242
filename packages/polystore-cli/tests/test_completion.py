"""Completion in installed shells, and the answers of the command."""

import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from polystore_cli.completion import SHELLS
from polystore_cli.main import app

Run = Callable[..., Result]

WORDS = [
    ("polystore l", {"ls"}),
    ("polystore ls --rec", {"--recursive"}),
    ("polystore ls mem", {"memory:"}),
    ("polystore ls disk:", {"disk:plate/", "disk:a.txt"}),
    ("polystore ls disk:pl", {"disk:plate/"}),
    ("polystore ls disk:plate/", {"disk:plate/my file.txt", "disk:plate/z2.txt"}),
    ("polystore cp disk:a.txt disk:pl", {"disk:plate/"}),
    ("polystore view pl", {"plate/"}),
    ("polystore cp a b --if-exists ", {"replace", "error", "skip"}),
    ("polystore cp a b --if-exists=s", {"--if-exists=skip"}),
    ("polystore options np", {"npy", "npz"}),
    ("polystore completion z", {"zsh"}),
    ("polystore doctor pl", {"plate/"}),
    ("polystore --config=a", {"--config=a.txt"}),
    ("polystore ls nothing:x", set()),
    ("polystore ls disk:nothing/x", set()),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "plate").mkdir()
    for name in ("a.txt", "plate/my file.txt", "plate/z2.txt", ".hidden"):
        (tmp_path / name).write_text("text")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complete(shell: str, line: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the answer of the command to a shell."""
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_WORDBREAKS", " \t\n\"'><=;|&(:")
    return SHELLS[shell](app, {}, "polystore", "_POLYSTORE_COMPLETE").complete().splitlines()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("line", "found"), WORDS)
def test_words_are_completed(
    line: str, found: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = complete("fish", line, monkeypatch)
    assert {one.partition("\t")[0] for one in answers} == found


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("line", "found"), WORDS)
def test_zsh_gets_quoted_words(
    line: str, found: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = complete("zsh", line, monkeypatch)
    assert {shlex.split(one)[0] for one in answers} == found


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("polystore ls disk:plate/m", [r"plate/my\ file.txt"]),
        ('polystore ls "disk:plate/m', ["disk:plate/my file.txt"]),
        ("polystore cp a b --if-exists=s", ["skip"]),
        ("polystore ls mem", ["memory:"]),
    ],
)
def test_bash_gets_the_rest_of_a_word(
    line: str, answers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bash splits words at ":" and "=", and replaces the text after the last of them."""
    assert complete("bash", line, monkeypatch) == answers


@pytest.mark.usefixtures("folder")
def test_config_adds_backends(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = folder / "ps.toml"
    config.write_text("[backends.raw]\nbackend = 'disk'\nroot = 'plate'\n")
    assert complete("fish", "polystore --config ps.toml ls raw:z", monkeypatch) == [
        "raw:z2.txt"
    ]


def test_fish_shows_whole_help(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (answer,) = complete("fish", "polystore work", monkeypatch)
    assert answer == "workspace\tMake the documents of virtual workspaces."


@pytest.mark.parametrize("shell", SHELLS)
def test_script_is_printed(run: Run, shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert f"_POLYSTORE_COMPLETE={shell}_complete" in result.stdout


def test_other_shells_are_refused(run: Run) -> None:
    assert run("completion", "tcsh").exit_code == 2


# ── a real shell ──────────────────────────────────────────────────────────────────────────

STARTS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}
# The terminal also shows the keys, so they must not contain the text that is awaited.
SET_UP = {
    "bash": "PS1='rea''dy> '\n",
    "zsh": "PS1='rea''dy> '; autoload -U compinit && compinit -u -d .dump\n",
}


class Terminal:
    """A shell in a terminal, in ``folder``, with a program ``polystore`` on its path."""

    def __init__(self, shell: str, folder: Path) -> None:
        import pty

        program = folder / "bin" / "polystore"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m polystore_cli "$@"\n')
        program.chmod(0o755)
        path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
        self.process, self.screen = pty.fork()
        if self.process == 0:
            environment = {**os.environ, "PATH": path, "TERM": "dumb", "HOME": str(folder)}
            os.execvpe(STARTS[shell][0], STARTS[shell], environment)
        self.type(SET_UP[shell], "ready> ")
        self.type(f'eval "$(polystore completion {shell})"\n', "ready> ")

    def type(self, keys: str, until: str) -> None:
        """Press keys, and wait for a text on the screen."""
        os.write(self.screen, keys.encode())
        shown = ""
        while until not in shown:
            waiting, _, _ = select.select([self.screen], [], [], 30)
            assert waiting, f"{shown!r} has no {until!r}"
            shown += os.read(self.screen, 1 << 16).decode(errors="replace")

    def close(self) -> None:
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self.screen)


@pytest.fixture(params=STARTS)
def terminal(request: pytest.FixtureRequest, folder: Path) -> Iterator[Terminal]:
    if sys.platform == "win32" or shutil.which(request.param) is None:
        pytest.skip(f"system: {request.param} not installed")
    terminal = Terminal(request.param, folder)
    yield terminal
    terminal.close()


def test_tab_completes_an_address(terminal: Terminal) -> None:
    """A folder is completed without a space, so that the next tab completes its content."""
    terminal.type("polystore c", "polystore c")
    terminal.type("at dis\t", "disk:")
    terminal.type("pl\t", "plate/")
    terminal.type("m\t", r"my\ file.txt ")
    terminal.type("--js\t", "--json ")
    terminal.type("\n", '"value": "text"')


@pytest.mark.skipif(shutil.which("fish") is None, reason="system: fish not installed")
@pytest.mark.usefixtures("folder")
def test_fish_completes_an_address(folder: Path) -> None:
    program = folder / "polystore"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m polystore_cli "$@"\n')
    program.chmod(0o755)
    script = (
        "polystore completion fish | source; complete -C 'polystore ls disk:pl'; "
        "complete -C 'polystore ls disk:plate/'"
    )
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        env={**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        *("disk:plate/", "disk:plate/my file.txt", "disk:plate/z2.txt")
    ]
