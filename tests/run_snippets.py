"""Run the blocks of Markdown documents, in order, in an empty folder for each document.

    python run_snippets.py DOCUMENT...

- Python blocks share one namespace. A ``text`` block right after one is its output.
- A block of any language whose first line is ``# src/name.py`` is that file.
- A ``console`` block has commands after ``$``, each with its output. A POSIX shell runs them in an
  environment on top of this one, into which a document can install something.

Blocks may be indented, as in the tabs of a page. In outputs, "..." is any text. A block behind the
line ``<!-- not run: reason -->`` is left out.
A document makes all names that it uses, because its readers copy its blocks. Only the program that
a README compares with polystore uses others.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import venv
from functools import cached_property
from pathlib import Path

import numpy as np

BLOCK = re.compile(
    r"(<!-- not run: [^\n]+ -->\n)? *"
    r"```(?P<language>python|toml|console)\n(?P<code>.*?) *```"
    r"(?:\n+ *```text\n(?P<output>.*?)```)?",
    re.DOTALL,
)
FILE = re.compile(r"# (?P<name>[\w./-]+\.\w+)\n")
COMMAND = re.compile(r"^\$ (?P<command>.*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.MULTILINE)
VARYING = re.compile(r"\d+(?= passed| skipped|\\\.\d+s)|(?<=\\\.)\d+(?=s)")
"""Numbers of tests and seconds, in a pattern."""
SECONDS = re.compile(r"(?<=\\d\+)s(?=$| )")
"""After the seconds of a run that took over a minute, pytest writes "(0:01:01)"."""

PRIVATE = {"PYTHONWARNINGS", "CI", "BUILD_NUMBER", "COLUMNS", "FORCE_COLOR", "PY_COLORS"}
"""Variables that change what commands print. Readers of a page have not set them.

Where ``CI`` is set, for example, pytest prints whole lines instead of their first 80 characters.
"""


def supplied() -> dict[str, object]:
    """Return the names of a program that a README compares with polystore."""
    return {"data": np.arange(4), "path": "result.npy", "backend": "disk", "cache": {}}


class Shell:
    """Runs commands in a folder, in an environment into which they can install."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def programs(self) -> Path:
        """A folder of programs that run in an environment on top of this one."""
        home = self.folder / ".environment"
        venv.create(home, symlinks=True)
        packages = sysconfig.get_path("purelib")
        [own] = home.glob("lib/python*/site-packages")
        # After "_name.pth" and "name.pth" of the packages installed here, which are found first.
        (own / "~below.pth").write_text(f"import site; site.addsitedir({packages!r})\n")
        for name in ("pip", "polystore", "pytest"):
            program = home / "bin" / name
            program.write_text(f'#!/bin/sh\nexec "{home}/bin/python" -m {name} "$@"\n')
            program.chmod(0o755)
        return home / "bin"

    def run(self, command: str) -> str:
        """Return the output of ``command``, also if it fails."""
        settings = {
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "PIP_NO_DEPS": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # that of napari warns
            "PYTEST_PLUGINS": "pytest_timeout",
            "POLYSTORE_RUNTIME_DIR": str(self.folder / ".viewers"),
        }
        inherited = {key: value for key, value in os.environ.items() if key not in PRIVATE}
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.folder,
            env={**inherited, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.stdout


def compare(shown: str, printed: str, what: str) -> None:
    """Raise ``AssertionError`` unless ``printed`` equals the output in the document."""
    want, got = (re.sub(r"\s+", " ", text).strip() for text in (shown, printed))
    pattern = VARYING.sub(r"\\d+", re.escape(want).replace("\\ ", " "))
    pattern = SECONDS.sub(r"s(?: \\(\\d+:\\d\\d:\\d\\d\\))?", pattern)
    if not re.fullmatch(re.sub(r"(\\\.){3,}", ".*", pattern), got):
        raise AssertionError(f"{what} printed\n{printed}\nbut the document shows\n{shown}")


def files_of(text: str) -> dict[str, str]:
    """Return the files that a document shows, by their names."""
    found = (FILE.match(block["code"]) for block in BLOCK.finditer(text))
    return {file["name"]: file.string[file.end() :] for file in found if file}


def run(document: Path) -> int:
    namespace: dict[str, object] = {"__name__": "snippet"}
    if document.name == "README.md":
        namespace |= supplied()
    text = document.read_text("utf-8")
    shell = Shell(Path.cwd())
    sys.path[:0] = [str(Path("src").resolve()), str(Path.cwd())]
    count = 0
    for match in BLOCK.finditer(text):
        if match.group(1):
            continue
        language, code = match["language"], textwrap.dedent(match["code"])
        line = text.count("\n", 0, match.start("code"))
        if named := FILE.match(code):
            path = Path(named["name"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code[named.end() :], "utf-8")
        elif language == "console":
            for command in COMMAND.finditer(code):
                compare(command["output"], shell.run(command["command"]), command["command"])
        elif language == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile("\n" * line + code, str(document), "exec"), namespace)
            if match["output"] is not None:
                compare(match["output"], printed.getvalue(), f"line {line}")
        count += 1
    return count


if __name__ == "__main__":
    for name in sys.argv[1:]:
        document = Path(name).resolve()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            print(f"{document.name}: {run(document)} blocks ran")
            os.chdir("/")
