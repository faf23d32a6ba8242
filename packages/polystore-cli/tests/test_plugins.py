import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Process = Callable[..., subprocess.CompletedProcess[str]]
Install = Callable[..., None]

HEAVY = {"numpy", "tifffile", "torch", "pandas", "imagecodecs", "rich", "tqdm"}
BACKENDS = {"polystore_disk.backend", "polystore_memory.backend", "acme_raw.backend"}


def rows(process: Process, *options: str, **variables: str) -> dict[str, dict[str, Any]]:
    done = process(*options, "plugins", "--json", **variables)
    assert (done.returncode, done.stderr) == (0, "")
    return {f"{row['distribution']}:{row['name']}": row for row in json.loads(done.stdout)}


def test_usable_plugin_is_ok(process: Process, install: Install) -> None:
    install("acme-raw", "raw", summary="camera files")
    assert rows(process)["acme-raw:raw"] == {
        "kind": "backend",
        "name": "raw",
        "distribution": "acme-raw",
        "version": "2.5",
        "state": "ok",
        "why": "",
        "summary": "camera files",
    }


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({"manifest": "1 / 0"}, "ZeroDivisionError: division by zero"),
        ({"manifest": "import nowhere"}, "No module named 'nowhere'"),
        ({"manifest": ""}, "returns None for 'raw'"),
        ({"api": 99}, "needs plugin API 99, but polystore-core"),
    ],
)
def test_faulty_plugin_is_broken(
    process: Process, install: Install, fault: dict[str, Any], why: str
) -> None:
    install("acme-raw", "raw", **fault)
    row = rows(process)["acme-raw:raw"]
    assert row["state"] == "broken"
    assert why in row["why"]


def test_broken_plugin_leaves_the_others(process: Process, install: Install) -> None:
    install("acme-bad", "bad", manifest="raise SystemError('everything')")
    install("acme-raw", "raw")
    assert rows(process)["acme-raw:raw"]["state"] == "ok"


FAULTS = [
    {"api": "'1'"},
    {"api": "10 ** 5000"},
    {"manifest": "raise BaseException('all')"},
    {"manifest": "import os, sys; sys.exit(9)"},
    {"manifest": "print('hello')\n1 / 0"},
    {"backend": "x = 1"},
    {"backend": "class Backend: pass"},
    {"backend": "from polystore_core import DataSink\nclass Backend(DataSink): pass"},
    {"backend": "def Backend(): ..."},
    {"backend": "class Backend("},
]


@pytest.mark.parametrize(
    ("command", "state", "status"), [("plugins", "broken", 0), ("doctor", "missing", 1)]
)
def test_faults_break_their_rows(
    process: Process, install: Install, command: str, state: str, status: int
) -> None:
    names = [f"bad{number}" for number in range(len(FAULTS))]
    for name, fault in zip(names, FAULTS, strict=True):
        install(f"acme-{name}", name, **fault)
    install("acme-raw", "raw")
    done = process(command, "--json", POLYSTORE_PLUGINS=",".join([*names, "raw"]))
    assert (done.returncode, {*done.stderr.split()}) == (status, {"hello"})
    states = {row["name"]: row["state"] for row in json.loads(done.stdout)}
    assert {name: states[name] for name in names} == dict.fromkeys(names, state)
    assert states["raw"] == "ok"


def test_odd_text_stays_in_its_row(process: Process, install: Install) -> None:
    install("acme-raw", "raw", summary="two\\nlines \\ud800 \\x1b[31mred")
    done = process("plugins")
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = (line for line in done.stdout.splitlines() if "acme-raw" in line)
    assert line.endswith("two lines \\ud800 \\x1b[31mred")


def test_taken_name_is_ignored(process: Process, install: Install) -> None:
    """Another package that declares our name changes nothing, not even when it is broken."""
    install("acme-disk", "disk", manifest="1 / 0")
    found = rows(process)
    assert found["polystore-disk:disk"]["state"] == "ok"
    row = found["acme-disk:disk"]
    assert row["state"] == "ignored"
    assert "polystore-disk is preferred for backend 'disk'" in row["why"]
    assert "BackendRegistry(prefer={'disk': 'acme-disk'})" in row["why"]
    done = process("doctor", "--json", POLYSTORE_PLUGINS="disk")
    (finding,) = (r for r in json.loads(done.stdout) if r["distribution"] == "acme-disk")
    assert (finding["state"], finding["found"]) == ("note", f"ignored: {row['why']}")


def test_missing_library_is_missing(process: Process, install: Install) -> None:
    manifest = MANIFEST.replace("REQUIRES", "('nowhere',)")
    install("acme-raw", "raw", manifest=manifest)
    row = rows(process)["acme-raw:raw"]
    assert row["state"] == "missing"
    assert "needs nowhere, which is not installed: pip install 'acme-raw[x]'" in row["why"]


MANIFEST = """
from polystore_core import BackendSpec, hookimpl

@hookimpl
def polystore_backend(name):
    return BackendSpec(name=name, target="a:B", api=1, requires=REQUIRES, install="acme-raw[x]")
"""


def test_config_settles_conflict(process: Process, install: Install, tmp_path: Path) -> None:
    install("acme-disk", "disk")
    config = tmp_path / "polystore.toml"
    config.write_text('[prefer]\ndisk = "acme-disk"\n')
    assert rows(process, "--config", str(config))["acme-disk:disk"]["state"] == "ok"


@pytest.mark.parametrize("denied", ["raw", "acme-raw", "acme-raw:raw"])
def test_denied_plugin_is_disabled(process: Process, install: Install, denied: str) -> None:
    install("acme-raw", "raw")
    row = rows(process, POLYSTORE_DISABLE=denied)["acme-raw:raw"]
    assert row["state"] == "disabled"
    assert "POLYSTORE_DISABLE" in row["why"]


def test_listing_imports_little(process: Process, install: Install, tmp_path: Path) -> None:
    install("acme-raw", "raw")
    # Python runs this module at start-up. It reports the imports of the command at the end.
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import atexit, sys\natexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    )
    done = process("plugins")
    imported = set(done.stderr.split())
    assert "acme_raw.plugin" in imported
    assert not imported & (HEAVY | BACKENDS)


def test_lines_are_never_cut(process: Process, install: Install) -> None:
    install("acme-raw", "raw", summary="long " * 100 + "end")
    done = process("plugins", COLUMNS="40")
    (line,) = (line for line in done.stdout.splitlines() if "acme-raw" in line)
    assert line.split()[:5] == ["backend", "raw", "acme-raw", "2.5", "ok"]
    assert line.endswith("end")


def read_screen(screen: int) -> str:
    text = b""
    with contextlib.suppress(OSError):  # Linux: the terminal has no users any more
        while chunk := os.read(screen, 1 << 16):
            text += chunk
    os.close(screen)
    return re.sub(r"\x1b\[[\d;]*m", "", text.decode())


@pytest.mark.skipif(sys.platform == "win32", reason="system: no pseudo-terminal")
@pytest.mark.parametrize("width", [80, 120])
def test_terminal_shows_all(process: Process, install: Install, width: int) -> None:
    install("acme-raw", "raw", summary=f"camera files [of] {'#' * 70}")
    install("acme-bad", "bad", manifest="import nowhere")
    screen, terminal = os.openpty()
    process("plugins", stdout=terminal, COLUMNS=str(width), TERM="xterm")
    os.close(terminal)
    lines = read_screen(screen).splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(" ".join(lines).split())
    assert "backend 'bad' is installed (acme-bad 2.5) but broken" in words
    assert "camera files [of]" in words
    assert words.count("#") == 70
