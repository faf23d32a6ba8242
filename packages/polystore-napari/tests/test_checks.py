"""What ``polystore doctor`` says of napari."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polystore_napari.checks import findings
from polystore_stream import discovery

if TYPE_CHECKING:
    from polystore.checks import Finding


pytestmark = pytest.mark.screen


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a screen, on which no viewer runs."""
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("DISPLAY", ":99")
    for name in ("WAYLAND_DISPLAY", "POLYSTORE_NAPARI_PYTHON"):
        monkeypatch.delenv(name, raising=False)


def found(what: str) -> Finding:
    (finding,) = (finding for finding in findings() if finding.what == what)
    return finding


def test_napari_here_is_found() -> None:
    napari = found("napari")
    assert napari.state == "ok"
    assert napari.found.endswith(sys.executable)
    assert {finding.state for finding in findings()} == {"ok"}


def test_interpreter_without_napari(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is missing in the interpreter that would be started."""
    command = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "empty")]
    subprocess.run(command, check=True)
    python = str(tmp_path / "empty/bin/python")
    monkeypatch.setenv("POLYSTORE_NAPARI_PYTHON", python)
    napari = found("napari")
    assert napari.state == "missing"
    assert napari.found == f"{python} has no napari, qtpy, vispy, polystore_napari"
    assert napari.remedy == f"{python} -m pip install polystore-napari"


def test_no_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSTORE_NAPARI_PYTHON", "/nowhere/python")
    napari = found("napari")
    assert napari.state == "missing"
    assert "/nowhere/python" in napari.found
    assert "POLYSTORE_NAPARI_PYTHON" in napari.remedy


@pytest.mark.skipif(sys.platform != "linux", reason="system: a screen is X11's on Linux")
def test_screen_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY")
    assert found("screen").state == "missing"
    assert "xvfb-run" in found("screen").remedy
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    assert found("screen").state == "ok"


def test_running_viewers_are_told() -> None:
    assert found("running").found == "none: a save starts one"
    endpoint = discovery.Endpoint(
        kind="napari", name="left", address="ipc://none", token="", pid=os.getpid()
    )
    announced = discovery.announce(endpoint)
    assert found("running").found == endpoint.title
    discovery.withdraw(announced)


def test_check_imports_no_viewer() -> None:
    code = "import sys, polystore_napari.checks; print({'napari', 'qtpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n"
