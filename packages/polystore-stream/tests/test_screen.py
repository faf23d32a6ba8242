"""Check for a screen before a viewer is started."""

from __future__ import annotations

import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polystore_core.errors import ReceiverUnavailableError
from polystore_stream.checks import check_screen, missing_screen, screen

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux")

BOTH = ("DISPLAY", "WAYLAND_DISPLAY")


@pytest.fixture(autouse=True)
def dark(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine without a screen: the empty folder for its sockets."""
    for name in BOTH:
        monkeypatch.delenv(name, raising=False)
    # The name of a socket has at most 107 bytes: TMPDIR may be long.
    with tempfile.TemporaryDirectory(prefix="ps-", dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


def test_missing_variables_are_named() -> None:
    assert missing_screen("DISPLAY") == "DISPLAY is not set"
    assert missing_screen(*BOTH) == "DISPLAY and WAYLAND_DISPLAY are not set"
    assert missing_screen() == "", "no screen is needed"


@pytest.mark.parametrize(
    ("display", "problem"),
    [
        (":4711", "No such file or directory"),
        ("unix/:4711.0", "No such file or directory"),
        ("localhost:4711.0", "Connection refused"),
        ("no display", "expected the name of a display, such as ':0'"),
        ("99", "expected the name of a display, such as ':0'"),
        (":", "expected the name of a display, such as ':0'"),
        (":99999999", "No such file or directory"),
        ("localhost:99999999", ""),
    ],
)
def test_display_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, display: str, problem: str
) -> None:
    """A display without a server is named, with the reason."""
    monkeypatch.setenv("DISPLAY", display)
    found = missing_screen(*BOTH)
    assert found.startswith(f"DISPLAY={display} does not answer: ")
    assert found.endswith(problem)


def test_socket_of_a_killed_server_is_not_a_screen(
    monkeypatch: pytest.MonkeyPatch, dark: Path
) -> None:
    """The socket file of a killed server is not a screen."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(dark / "wayland-7"))
        monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-7")
        assert missing_screen(*BOTH).endswith("Connection refused")


def test_screen_is_found_without_a_connection(
    monkeypatch: pytest.MonkeyPatch, dark: Path
) -> None:
    """Find a screen without a connection, because an X server may end with its last one."""
    for variable, value, name in (
        ("DISPLAY", ":4711", "\0/tmp/.X11-unix/X4711"),
        ("WAYLAND_DISPLAY", "wayland-7", str(dark / "wayland-7")),
    ):
        monkeypatch.setenv(variable, value)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(name)
            server.listen()
            server.setblocking(False)
            assert missing_screen(variable) == ""
            with pytest.raises(BlockingIOError):
                server.accept()


def test_one_screen_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A display by TCP is found, as with ssh -X. A second display need not answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1] - 6000
        monkeypatch.setenv("DISPLAY", f"127.0.0.1:{number}.0")
        monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-7")
        assert missing_screen(*BOTH) == ""


def test_doctor_and_error_agree() -> None:
    finding = screen("DISPLAY", advice="; or sit down before it")
    with pytest.raises(ReceiverUnavailableError) as caught:
        check_screen("out", "toy", "DISPLAY", advice="; or sit down before it")
    assert (finding.found, finding.remedy) == ("DISPLAY is not set", caught.value.advice)
    assert caught.value.reason == "needs a screen, and DISPLAY is not set"
    assert "xvfb-run" in finding.remedy
