"""Run the blocks of Markdown documents, in order, in an empty folder for each document.

    python run_snippets.py [--with napari,fiji,torch] DOCUMENT...

- Python blocks share one namespace. A ``text`` block right after one is its output.
- A block of any language whose first line is ``# src/name.py`` is that file.
- A ``console`` block has commands after ``$``, each with its output. A POSIX shell runs them in an
  environment on top of this one, into which a document can install something.

Blocks may be indented, as in the tabs of a page. In outputs, "..." is any text. Lines right above
a block, which the site does not show, say how it runs:

- ``<!-- run with: napari, fiji -->``: only if ``--with`` names all of these. Viewers that the
  document opens are closed at its end.
- ``<!-- run in another terminal -->``: its command runs while the next Python block does, until it
  has printed its output. Then it gets a Ctrl-C.
- ``<!-- run until: EXPRESSION -->``: it gets a Ctrl-C as soon as the expression is true.
- ``<!-- run after: COMMAND -->``: this command gets the files that the block needs. ``CHECKOUT`` is
  the folder of this checkout.
- ``<!-- run here as: COMMAND -->``: this command runs instead. For example, a copy on
  this machine replaces a copy to another one.
- ``<!-- run below -->``: it previews lines of later blocks, and they run there.
- ``<!-- not run: REASON -->``: it is left out. tests/test_snippets.py lists the reasons.

A document makes all names that it uses, because its readers copy its blocks. Only the program that
a README compares with polystore uses others.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import threading
import time
import venv
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from types import CodeType

import numpy as np

BLOCK = re.compile(
    r"(?P<marks>(?:<!-- (?:not )?run\b[^\n]* -->\n *)*)"
    r"```(?P<language>python|toml|console)\n(?P<code>.*?) *```"
    r"(?:\n+ *```text\n(?P<output>.*?)```)?",
    re.DOTALL,
)
MARK = re.compile(r"<!-- (?P<name>(?:not )?run\b[^:\n]*?)(?:: (?P<value>[^\n]+))? -->\n")
MARKS = {
    "not run",
    "run after",
    "run below",
    "run here as",
    "run in another terminal",
    "run until",
    "run with",
}
FILE = re.compile(r"# (?P<name>[\w./-]+\.\w+)\n")
PROMPT = r"(?:desk|cluster)?\$ "
COMMAND = re.compile(
    rf"^{PROMPT}(?P<command>.*)\n(?P<output>(?:(?!{PROMPT}).*\n)*)", re.MULTILINE
)
VARYING = re.compile(r"\d+(?= passed| skipped|\\\.\d+s)|(?<=\\\.)\d+(?=s)")
"""Numbers of tests and seconds, in a pattern."""
SECONDS = re.compile(r"(?<=\\d\+)s(?=$| )")
"""After the seconds of a run that took over a minute, pytest writes "(0:01:01)"."""

PRIVATE = {"PYTHONWARNINGS", "CI", "BUILD_NUMBER", "COLUMNS", "FORCE_COLOR", "PY_COLORS"}
"""Variables that change the output of commands. Readers of a page have not set them.

Where ``CI`` is set, for example, pytest prints whole lines instead of their first 80 characters.
"""

PATIENCE = 60.0
"""Seconds after which a block that waits for something has failed. Only a hang takes so long."""


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

    @property
    def variables(self) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if key not in PRIVATE}
        return inherited | {
            "CHECKOUT": str(Path(__file__).parent.parent),
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "PIP_NO_DEPS": "1",
            "PIP_NO_BUILD_ISOLATION": "0",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # that of napari warns
            "PYTEST_PLUGINS": "pytest_timeout",
        }

    def run(self, command: str) -> str:
        """Return the output of ``command``, also if it fails."""
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.stdout

    @contextlib.contextmanager
    def another_terminal(self, command: str, shown: str) -> Iterator[None]:
        """Run ``command`` during a block, and until its output is that of the document."""
        receivers = self.count_receivers()
        # Another program of this machine may have the port of the page.
        command = re.sub(r"(--listen tcp://127\.0\.0\.1):\d+", r"\1:0", command)
        with tempfile.NamedTemporaryFile() as printed, tempfile.NamedTemporaryFile() as errors:
            process = subprocess.Popen(
                f"exec {command}",
                shell=True,
                cwd=self.folder,
                env={**self.variables, "PYTHONUNBUFFERED": "1"},  # as in a terminal
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=errors,
            )

            def has_ended() -> bool:
                return process.poll() is not None

            def output() -> str:
                return Path(printed.name).read_text("utf-8")

            try:
                wait_until(lambda: self.count_receivers() > receivers or has_ended())
                said = Path(errors.name).read_text("utf-8")
                assert not has_ended(), f"{command} has ended: {output()}{said}"
                yield
                with contextlib.suppress(TimeoutError):  # the comparison says what it printed
                    wait_until(lambda: matches(shown, output()) or has_ended())
                process.send_signal(signal.SIGINT)
                process.wait(PATIENCE)
            finally:
                process.kill()
                process.wait()
            compare(shown, output(), f"{command}\n{Path(errors.name).read_text('utf-8')}")

    def count_receivers(self) -> int:
        """Return how many connection files of receivers are there."""
        return len([*self.folder.glob("*.json"), *self.folder.glob(".viewers/*.json")])


def wait_until(condition: Callable[[], object]) -> None:
    """Return when ``condition`` is true. Raises ``TimeoutError``."""
    patience = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > patience:
            raise TimeoutError(f"waited {PATIENCE} s")
        time.sleep(0.02)


def run_until(expression: str, block: CodeType, namespace: dict[str, object]) -> None:
    """Execute a block that waits, and press Ctrl-C when ``expression`` is true."""
    ended = threading.Event()

    def press() -> None:
        try:
            wait_until(lambda: ended.is_set() or eval(expression, namespace))
        finally:
            if not ended.is_set():
                os.kill(os.getpid(), signal.SIGINT)

    user = threading.Thread(target=press)
    user.start()
    try:
        exec(block, namespace)
    except KeyboardInterrupt:
        pass
    finally:
        ended.set()
        user.join()
    assert eval(expression, namespace), f"{expression} has not become true"


def close_viewers() -> None:
    """Close all viewers that the document has opened, and wait for the end of their processes."""
    import polystore_fiji
    import polystore_napari
    from polystore_stream import discovery

    for kind, package in (("napari", polystore_napari), ("fiji", polystore_fiji)):
        for endpoint in discovery.find(kind):
            with package.connect(endpoint.name) as viewer:
                viewer.quit()
            wait_until(lambda at=endpoint: not discovery.process_runs(at.pid, at.started))


def matches(shown: str, printed: str) -> bool:
    """Return whether ``printed`` equals the output in the document, except for "..."."""
    want, got = (re.sub(r"\s+", " ", text).strip() for text in (shown, printed))
    pattern = VARYING.sub(r"\\d+", re.escape(want).replace("\\ ", " "))
    pattern = SECONDS.sub(r"s(?: \\(\\d+:\\d\\d:\\d\\d\\))?", pattern)
    return bool(re.fullmatch(re.sub(r"(\\\.){3,}", ".*", pattern), got))


def compare(shown: str, printed: str, what: str) -> None:
    """Raise ``AssertionError`` unless ``printed`` equals the output in the document."""
    if not matches(shown, printed):
        raise AssertionError(f"{what} printed\n{printed}\nbut the document shows\n{shown}")


def files_of(text: str) -> dict[str, str]:
    """Return the files that a document shows, by their names."""
    found = (FILE.match(block["code"]) for block in BLOCK.finditer(text))
    return {file["name"]: file.string[file.end() :] for file in found if file}


def marks_of(block: re.Match[str]) -> dict[str, str]:
    """Return the marks of a block, with their values."""
    marks = {mark["name"]: mark["value"] or "" for mark in MARK.finditer(block["marks"])}
    assert marks.keys() <= MARKS, f"{block['marks']}: the marks are {sorted(MARKS)}"
    return marks


def needs_of(marks: dict[str, str]) -> set[str]:
    """Return the viewers and libraries that a block with these marks needs."""
    return {need.strip() for need in marks.get("run with", "").split(",")} - {""}


def lines_of(code: str) -> list[str]:
    """Return the lines of a block without indentation and comments."""
    lines = (line.split("  #")[0].strip() for line in code.splitlines())
    return [line for line in lines if line]


def run(document: Path, having: set[str]) -> int:
    """Run the blocks of a document that need nothing but ``having``, and return their number."""
    namespace: dict[str, object] = {"__name__": "snippet"}
    if document.name == "README.md":
        namespace |= supplied()
    text = document.read_text("utf-8")
    shell = Shell(Path.cwd())
    sys.path[:0] = [str(Path("src").resolve()), str(Path.cwd())]
    preview: list[str] = []
    count = 0
    with contextlib.ExitStack() as terminals:
        for match in BLOCK.finditer(text):
            marks, language = marks_of(match), match["language"]
            code = textwrap.dedent(match["code"])
            line = text.count("\n", 0, match.start("code"))
            if "run below" in marks:
                preview += lines_of(code)
            if marks.keys() & {"not run", "run below"} or not needs_of(marks) <= having:
                continue
            preview = [one for one in preview if one not in lines_of(code)]
            if command := marks.get("run after") or marks.get("run here as"):
                compare("", shell.run(command), command)
            if "run here as" in marks:
                pass
            elif named := FILE.match(code):
                path = Path(named["name"])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(code[named.end() :], "utf-8")
            elif "run in another terminal" in marks:
                [command] = COMMAND.finditer(code)
                terminals.enter_context(
                    shell.another_terminal(command["command"], command["output"])
                )
            elif language == "console":
                for command in COMMAND.finditer(code):
                    compare(
                        command["output"], shell.run(command["command"]), command["command"]
                    )
            elif language == "python":
                printed = io.StringIO()
                block = compile("\n" * line + code, str(document), "exec")
                with contextlib.redirect_stdout(printed):
                    if expression := marks.get("run until"):
                        run_until(expression, block, namespace)
                    else:
                        exec(block, namespace)
                if match["output"] is not None:
                    compare(match["output"], printed.getvalue(), f"line {line}")
                terminals.close()
            count += 1
    assert not preview, f"no block below has the lines {preview}"
    return count


def main(arguments: list[str]) -> None:
    having: set[str] = set()
    if arguments[0] == "--with":
        having, arguments = set(arguments[1].split(",")), arguments[2:]
    documents = [Path(name).resolve() for name in arguments]
    # A shell starts a job in the background with Ctrl-C ignored, and commands inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    home = tempfile.mkdtemp()
    # Connections close when the process ends, and look into the private folder of their viewer.
    # Functions that were registered first run last.
    atexit.register(shutil.rmtree, home)
    for number, document in enumerate(documents):
        folder = Path(home, str(number))
        folder.mkdir()
        os.chdir(folder)
        # A document must not find the viewers that the user has open.
        os.environ["POLYSTORE_RUNTIME_DIR"] = str(folder / ".viewers")
        try:
            print(f"{document.name}: {run(document, having)} blocks ran")
        finally:
            if having & {"napari", "fiji"}:
                close_viewers()
            os.chdir("/")


if __name__ == "__main__":
    main(sys.argv[1:])
