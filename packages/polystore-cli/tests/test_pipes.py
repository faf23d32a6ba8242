"""One command prints addresses, and another reads them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from polystore_core import FileManager

Run = Callable[..., Result]


@pytest.fixture
def plate(files: FileManager) -> None:
    for name in ("z1.npy", "z2.npy", "A 1/z10.npy"):
        files.save(np.zeros((3, 4), "u2"), f"plate/{name}", backend="disk")


@pytest.mark.usefixtures("plate")
def test_full_prints_addresses(run: Run) -> None:
    assert run("ls", "--full", "disk:plate").stdout == (
        "disk:plate/A 1\ndisk:plate/z1.npy\ndisk:plate/z2.npy\n"
    )
    assert run("ls", "--full", "-r", "--json", "disk:plate").stdout.split('"')[1::2] == [
        "disk:plate/A 1/z10.npy",
        "disk:plate/z1.npy",
        "disk:plate/z2.npy",
    ]


@pytest.mark.usefixtures("plate")
def test_full_names_a_file(run: Run) -> None:
    assert run("ls", "--full", "disk:plate/z1.npy").stdout == "disk:plate/z1.npy\n"
    assert run("ls", "disk:plate/z1.npy").stdout == "plate/z1.npy\n"


@pytest.mark.usefixtures("plate")
@pytest.mark.parametrize("null", [(), ("-0",)])
def test_cp_reads_addresses(run: Run, null: tuple[str, ...]) -> None:
    listed = run("ls", "--full", "-r", *null, "disk:plate")
    result = run("cp", *null, "-", "disk:out/", stdin=listed.stdout_bytes)
    assert (result.exit_code, result.stderr) == (0, "")
    assert run("ls", "disk:out").stdout == "z1.npy\nz2.npy\nz10.npy\n"


@pytest.mark.usefixtures("plate")
def test_every_command_reads_addresses(run: Run) -> None:
    listed = run("ls", "--full", "-r", "-0", "disk:plate").stdout_bytes
    shown = run("view", "-", "-0", "--dry-run", "--viewer", "streaming", stdin=listed)
    assert shown.stdout.count("3 x 4 uint16") == 3
    assert run("stats", "-", "-0", stdin=listed).stdout.count("3x4") == 3
    assert len(run("cat", "-", "-0", stdin=listed).stdout_bytes) == 3 * (128 + 24)
    moved = run("mv", "-", "-0", "disk:out/", stdin=listed)
    assert (moved.exit_code, moved.stderr) == (0, "")
    listed = run("ls", "--full", "-0", "disk:out").stdout_bytes
    assert run("rm", "-", "-0", stdin=listed).exit_code == 0
    assert run("ls", "disk:out").stdout == ""


def test_standard_input_has_no_patterns(run: Run, files: FileManager) -> None:
    for name in ("a1.txt", "a[1].txt", "*.txt"):
        files.save("text", name, backend="disk")
    assert run("rm", "-", stdin="disk:*.txt\n").exit_code == 0
    assert run("ls", "disk:.").stdout == "a1.txt\na[1].txt\n"


@pytest.mark.parametrize(
    ("arguments", "stdin", "trouble"),
    [
        (("rm", "-"), "", "standard input has no addresses: write one in each line"),
        (("rm", "-", "-0"), "\0", "standard input has no addresses: end each with a NUL byte"),
        (("rm", "-0", "disk:a"), "", "-0 needs -"),
        (("rm", "-"), "a.txt", "'a.txt' does not name a backend"),
        (("ls", "-0", "-l", "disk:."), "", "-0 prints names alone"),
        (("ls", "--sizes", "disk:."), "", "--sizes needs -l"),
    ],
)
def test_wrong_input_is_explained(
    run: Run, files: FileManager, arguments: tuple[str, ...], stdin: str, trouble: str
) -> None:
    result = run(*arguments, stdin=stdin)
    assert result.exit_code in (1, 2)
    assert trouble in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="system: names are UTF-8")
def test_undecodable_names_pass_through(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    for name in (b"/\xff.txt", b"/two\nlines.txt"):
        with open(folder + name, "wb") as file:
            file.write(b"text")
    command = [sys.executable, "-m", "polystore_cli"]
    listed = subprocess.run(
        [*command, "ls", "--full", "-0", "disk:."], cwd=folder, capture_output=True, timeout=60
    )
    assert listed.stdout == b"disk:two\nlines.txt\0disk:\xff.txt\0"
    copied = subprocess.run(
        [*command, "cp", "-0", "-", "disk:out/"],
        cwd=folder,
        input=listed.stdout,
        capture_output=True,
        timeout=60,
    )
    assert (copied.returncode, copied.stderr) == (0, b"")
    assert sorted(os.listdir(folder + b"/out")) == [b"two\nlines.txt", b"\xff.txt"]
