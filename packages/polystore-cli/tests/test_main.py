import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]
Process = Callable[..., subprocess.CompletedProcess[str]]
Install = Callable[..., None]

FAILING = """
import os, signal, time
from polystore_core import StorageBackend
from polystore_core.errors import DamagedDataError

class Backend(StorageBackend):
    def load(self, path):
        if path == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        if path == "bug":
            raise AssertionError("a bug")
        raise DamagedDataError("cut short", path=path, backend=self.name)

    def save(self, data, path): ...
"""


def test_version_names_both(run: Run) -> None:
    assert run("--version").stdout == (
        f"polystore-cli {metadata.version('polystore-cli')}\n"
        f"polystore-core {metadata.version('polystore-core')}\n"
    )


def test_help_names_every_command(process: Process) -> None:
    done = process("--help")
    assert done.returncode == 0
    for command in ("plugins", "ls", "info", "cp", "doctor"):
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls", "a.tif"],
        ["info", "C:\\x"],
        ["cp", "a.tif", "disk:b.tif"],
        ["cp", "disk:a.tif"],
        ["cp", "disk:a.tif", "disk:b.tif", "--if-exists", "perhaps"],
        ["cp", "disk:a.tif", "disk:b.tif", "-o", "compression"],
        ["lss"],
        ["--config", "nowhere.toml", "plugins"],
    ],
)
def test_wrong_use_exits_2(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "rror: " in result.stderr


def test_missing_backend_gets_a_suggestion(run: Run) -> None:
    assert (
        run("ls", "a.tif").stderr
        == "error: 'a.tif' does not name a backend: write disk:a.tif\n"
    )


def test_unknown_backend_suggests_one(run: Run) -> None:
    result = run("ls", "memry:a")
    assert result.exit_code == 1
    assert "no backend is called 'memry'; did you mean 'memory'?" in result.stderr


def test_disabled_backend_is_explained(process: Process) -> None:
    done = process("ls", "memory:", POLYSTORE_DISABLE="memory")
    assert done.returncode == 1
    assert "switched off by the environment variable POLYSTORE_DISABLE" in done.stderr


def test_error_is_one_line(process: Process, install: Install) -> None:
    install("acme-bad", "bad", backend=FAILING)
    done = process("cp", "bad:a", "memory:b")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("\nerror: backend 'bad': 'a' is damaged: cut short\n")


def test_debug_shows_traceback(process: Process, install: Install) -> None:
    install("acme-bad", "bad", backend=FAILING)
    done = process("--debug", "cp", "bad:a", "memory:b")
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert "DamagedDataError" in done.stderr


def test_bug_shows_traceback(process: Process, install: Install) -> None:
    install("acme-bad", "bad", backend=FAILING)
    done = process("cp", "bad:bug", "memory:b")
    assert done.returncode == 1
    assert "AssertionError: a bug" in done.stderr


def test_interrupt_exits_130(process: Process, install: Install) -> None:
    install("acme-bad", "bad", backend=FAILING)
    done = process("cp", "bad:interrupt", "memory:b")
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


CLOSING = """
import os, signal, time
from polystore_core import StorageBackend

class Backend(StorageBackend):
    def load(self, path): return "text"
    def save(self, data, path): ...

    def close(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
"""


def test_interrupt_at_the_end_is_quiet(process: Process, install: Install) -> None:
    install("acme-bad", "bad", backend=CLOSING)
    done = process("cat", "bad:a")
    assert (done.returncode, done.stdout, done.stderr) == (130, "text", "")


def test_interrupt_while_modules_are_imported(process: Process, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "click.py").write_text("raise KeyboardInterrupt")
    done = process("--help")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_closed_pipe_is_quiet(process: Process) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = process("plugins", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="system: has no /dev/full")
def test_full_disk_is_reported(process: Process) -> None:
    with open("/dev/full", "wb") as full:
        done = process("plugins", stdout=full)
    assert done.returncode != 0
    assert "error: [Errno 28] No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_conflict_is_settled_by_full_name(process: Process, install: Install) -> None:
    for distribution in ("acme-raw", "zeta-raw"):
        install(distribution, "raw", backend=FAILING)
    assert "declared by acme-raw and by zeta-raw" in process("ls", "raw:").stderr
    assert "'zeta-raw:raw' does not support list_dir" in process("ls", "zeta-raw:raw:").stderr


def test_shadowed_backend_has_a_full_name(process: Process, install: Install) -> None:
    install("acme-memory", "memory", backend=FAILING)
    assert process("ls", "memory:").returncode == 0
    assert process("ls", "polystore-memory:memory:").returncode == 0
    assert (
        "'acme-memory:memory' does not support list_dir"
        in process("ls", "acme-memory:memory:").stderr
    )


def test_config_adds_backends(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("hello\n")
    config = tmp_path / "polystore.toml"
    config.write_text(f"[backends.raw]\nbackend = 'disk'\nroot = '{tmp_path / 'data'}'\n")
    assert run("--config", config, "ls", "raw:").stdout == "a.txt\n"


@pytest.mark.parametrize(
    ("text", "trouble"),
    [("not toml", "is damaged"), ("[bakends.raw]", "did you mean 'backends'?")],
)
def test_wrong_config_is_one_line(run: Run, tmp_path: Path, text: str, trouble: str) -> None:
    config = tmp_path / "polystore.toml"
    config.write_text(text)
    result = run("--config", config, "plugins")
    assert result.exit_code == 1
    assert trouble in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="system: no pseudo-terminal")
def test_page_of_the_error_follows_in_a_terminal(tmp_path: Path) -> None:
    screen, terminal = os.openpty()
    subprocess.run(
        [sys.executable, "-m", "polystore_cli", "info", f"disk:{tmp_path}/a.tif"],
        stderr=terminal,
        check=False,
    )
    os.close(terminal)
    lines = os.read(screen, 1 << 16).decode().splitlines()
    os.close(screen)
    assert "does not exist" in lines[0]
    assert lines[1:] == ["See https://polystore.readthedocs.io/errors/#notfounderror"]


def test_control_codes_in_errors_are_escaped(run: Run) -> None:
    """The name of a file could change the colours of a terminal, or its title."""
    result = run("info", "a\x1b[31m.tif")
    assert result.exit_code == 2
    assert "\x1b" not in result.stderr
    assert result.stderr.count(r"a\x1b[31m.tif") == 2
