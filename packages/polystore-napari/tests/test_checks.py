"""The findings of ``polystore doctor`` about napari."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from polystore_napari.backend import screen_variables
from polystore_napari.checks import findings
from polystore_stream import discovery

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from polystore_core.plugins.checks import Finding


pytestmark = pytest.mark.screen


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with a screen that answers, on which no viewer runs."""
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", str(tmp_path / "run"))
    for name in ("WAYLAND_DISPLAY", "QT_QPA_PLATFORM", "POLYSTORE_NAPARI_PYTHON"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("DISPLAY", f"127.0.0.1:{server.getsockname()[1] - 6000}")
        yield


def find_finding(what: str) -> Finding:
    (finding,) = (finding for finding in findings() if finding.what == what)
    return finding


def test_napari_here_is_found() -> None:
    napari = find_finding("napari")
    assert napari.state == "ok"
    assert napari.found.endswith(sys.executable)
    assert {finding.state for finding in findings()} == {"ok"}


def test_interpreter_without_napari(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages are reported as missing from the interpreter that would be started."""
    command = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "empty")]
    subprocess.run(command, check=True)
    python = str(tmp_path / "empty/bin/python")
    monkeypatch.setenv("POLYSTORE_NAPARI_PYTHON", python)
    napari = find_finding("napari")
    assert napari.state == "missing"
    assert napari.found == f"{python} does not have napari, qtpy, vispy, polystore_napari"
    assert napari.remedy == f"{python} -m pip install polystore-napari"


def test_no_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSTORE_NAPARI_PYTHON", "/nowhere/python")
    napari = find_finding("napari")
    assert napari.state == "missing"
    assert "/nowhere/python" in napari.found
    assert "POLYSTORE_NAPARI_PYTHON" in napari.remedy


@pytest.mark.skipif(sys.platform != "linux", reason="system: a screen is X11's on Linux")
def test_screen_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY")
    assert find_finding("screen").state == "missing"
    assert "xvfb-run" in find_finding("screen").remedy
    monkeypatch.setenv("DISPLAY", ":4711")
    assert find_finding("screen").found.startswith("DISPLAY=:4711 does not answer: ")
    monkeypatch.setenv("QT_QPA_PLATFORM", "eglfs")
    assert find_finding("screen").state == "ok"


@pytest.mark.parametrize(
    ("platform", "variables"),
    [
        ("", ("DISPLAY", "WAYLAND_DISPLAY")),
        ("xcb", ("DISPLAY",)),
        ("wayland-egl", ("WAYLAND_DISPLAY",)),
        ("wayland;xcb", ("WAYLAND_DISPLAY", "DISPLAY")),
        ("offscreen", ("DISPLAY",)),
        ("eglfs:/dev/fb0", ()),
        ("xcb;eglfs", ()),
    ],
)
def test_platform_selects_screens(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: tuple[str, ...]
) -> None:
    """QT_QPA_PLATFORM decides which screens napari can use, or that it needs none."""
    monkeypatch.setenv("QT_QPA_PLATFORM", platform)
    assert screen_variables() == variables


def test_running_viewers_are_listed() -> None:
    assert find_finding("running").found == "none: a save starts one"
    endpoint = discovery.Endpoint(
        kind="napari", name="left", address="ipc://none", token="", pid=os.getpid()
    )
    announced = discovery.announce(endpoint)
    assert find_finding("running").found == endpoint.title
    discovery.withdraw(announced)


def test_check_imports_no_viewer() -> None:
    code = "import sys, polystore_napari.checks; print({'napari', 'qtpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n"
