"""How long the command takes to start, next to Python itself.

    python benchmarks/command_line.py [ROUNDS]

Each figure is the processor time of a whole process, the median of 20 rounds. The rounds of all
commands take turns, so that other work on the machine hits all of them. Prints a Markdown table.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from statistics import median

from report import machine

PYTHON = sys.executable
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "python -c 'import click'": ["-c", "import click"],
    "python -c 'import numpy'": ["-c", "import numpy"],
    "polystore --help": ["-m", "polystore_cli", "--help"],
    "polystore ls --help": ["-m", "polystore_cli", "ls", "--help"],
    "polystore ls disk:plate": ["-m", "polystore_cli", "ls", "disk:plate"],
    "polystore ls --full 'disk:plate/*.txt'": [
        *("-m", "polystore_cli", "ls", "--full", "disk:plate/*.txt")
    ],
    "polystore ls -l disk:plate": ["-m", "polystore_cli", "ls", "-l", "disk:plate"],
    "a completion of disk:pl": ["-m", "polystore_cli"],
}
MODULES = ("numpy", "pydantic", "rich")
FILES = 96


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plate = Path(folder) / "plate"
        plate.mkdir()
        for number in range(FILES):
            (plate / f"w{number}.txt").write_text("text")
        times: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for number in range(rounds + 1):
            for name in COMMANDS:
                taken = run(name, folder)
                if number:  # the first one compiles modules
                    times[name].append(taken)
        imported = {name: find_imported(name, folder) for name in COMMANDS}
    print_table({name: median(taken) for name, taken in times.items()}, imported, rounds)


def run(name: str, folder: str) -> float:
    """Run a command, and return its processor time in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [PYTHON, *COMMANDS[name]],
        cwd=folder,
        env=environment(name),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def environment(name: str) -> dict[str, str]:
    if not name.startswith("a completion"):
        return dict(os.environ)
    line = {"COMP_LINE": "polystore ls disk:pl", "_POLYSTORE_COMPLETE": "fish_complete"}
    return {**os.environ, **line}


def find_imported(name: str, folder: str) -> list[str]:
    """Return which slow modules a command imports."""
    done = subprocess.run(
        [PYTHON, "-X", "importtime", *COMMANDS[name]],
        cwd=folder,
        env=environment(name),
        capture_output=True,
        text=True,
        check=True,
    )
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    return [module for module in MODULES if module in modules]


def print_table(times: dict[str, float], imported: dict[str, list[str]], rounds: int) -> None:
    bare = times["python -c pass"]
    distributions = len(list(metadata.distributions()))
    versions = {
        "here": {"Python": platform.python_version(), "click": metadata.version("click")}
    }
    print(f"{machine(versions, {'files': Path(tempfile.gettempdir())})}\n")
    print(
        f"{distributions} distributions are installed, and the folder has {FILES} files. Processor "
        f"time of a whole process in ms, the median of {rounds} rounds.\n"
    )
    print("| | ms | over bare Python | ratio | imports |\n| --- | --: | --: | --: | --- |")
    for name, taken in times.items():
        over = (taken - bare) * 1000
        modules = ", ".join(imported[name]) or "-"
        print(
            f"| `{name}` | {taken * 1000:.0f} | {over:.0f} | {taken / bare:.1f} | {modules} |"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
