"""Start, end, crash and restart of napari."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import polystore_napari
from polystore_core.errors import ReceiverUnavailableError
from polystore_stream import Layout, discovery
from polystore_stream.checks import viewers
from polystore_stream.logs import explain_end, find_log
from polystore_testing.processes import becomes, left_in, pipeline, runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from polystore_core import FileManager
    from polystore_testing.display import Display

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
    pytest.mark.usefixtures("cleanup"),
]

PLANE = np.full((64, 64), 7, "u1")


@pytest.fixture
def cleanup(desktop: Path) -> Iterator[None]:
    """End the viewers of a test, which outlive their pipelines, and check that no file is left."""
    yield
    for endpoint in discovery.find("napari"):
        with suppress(ProcessLookupError):
            os.kill(endpoint.pid, signal.SIGKILL)
        assert becomes(lambda pid=endpoint.pid: not runs(pid))  # type: ignore[misc]
    discovery.find("napari")  # removes the files of killed viewers
    assert left_in(desktop) == []


def save(files: FileManager, path: str = "a.npy", **options: Any) -> None:
    files.save(PLANE, path, backend="screen", **options)


def ends_cleanly(pid: int, folder: Path) -> bool:
    """Return whether a viewer ends and removes its files."""
    return becomes(lambda: not runs(pid)) and left_in(folder) == []


def test_first_save_starts_viewer(desktop: Path) -> None:
    """A save starts the viewer. After its end only the user starts it again."""
    with pipeline("napari_stream") as files:
        save(files, wait="shown")
        with polystore_napari.connect() as viewer:
            assert np.array_equal(viewer.pixels("a.npy"), PLANE)
            assert find_log(viewer.endpoint).exists()
            viewer.quit()
        assert ends_cleanly(viewer.endpoint.pid, desktop)
        for _ in range(2):
            with pytest.raises(ReceiverUnavailableError) as caught:
                save(files)
        assert "napari 'default' no longer runs: it was closed by quit(); start it" in str(
            caught.value
        )
        assert "polystore: it was closed by quit()" in find_log(viewer.endpoint).read_text()
        assert "start it: polystore_napari.launch(), or python -m" in str(caught.value)
        endpoint = polystore_napari.launch()
        assert endpoint.pid != viewer.endpoint.pid
        save(files, "again.npy")
        with polystore_napari.connect() as viewer:
            assert np.array_equal(viewer.pixels("again.npy"), PLANE)


def test_first_image_is_seen_whole() -> None:
    """The panels that open with the first layer take room, so the view is fitted after that."""
    wide = np.full((20, 2000), 200, np.uint8)
    with pipeline("napari_stream", viewer="wide") as files:
        files.save(wide, "a.npy", "screen", wait="shown", at={"z": 0}, contrast_limits=(0, 100))
        with polystore_napari.connect("wide") as viewer:

            def is_whole() -> bool:
                columns = (viewer.screenshot()[..., :3].min(axis=2) > 200).any(axis=0)
                return bool(columns.any() and not columns[0] and not columns[-1])

            assert becomes(is_whole)
            viewer.quit()


@pytest.mark.faults
@pytest.mark.parametrize("wait", ["shown", None])
def test_kill_ends_saves(wait: Any) -> None:
    """If the viewer is killed during a save, the save raises an error and does not hang."""
    endpoint = polystore_napari.launch("victim")
    large = np.ones((1500, 1500), "u2")

    def stream(files: FileManager) -> None:
        with suppress(ReceiverUnavailableError):
            while True:
                files.save(large, "a.npy", backend="screen", wait=wait)

    with pipeline("napari_stream", viewer="victim") as files, ThreadPoolExecutor(1) as pool:
        files.save(large, "a.npy", backend="screen")
        failing = pool.submit(stream, files)
        time.sleep(0.5)
        os.kill(endpoint.pid, signal.SIGKILL)
        failing.result(timeout=60)
        with pytest.raises(ReceiverUnavailableError, match="--name 'victim'"):
            save(files)


@pytest.mark.faults
def test_crash_is_explained() -> None:
    """After a crash the next save names the signal, and the log has Python's stack."""
    with pipeline("napari_stream", viewer="crash") as files:
        save(files)
        (endpoint,) = discovery.find("napari", "crash")
        os.kill(endpoint.pid, signal.SIGSEGV)
        assert becomes(lambda: not discovery.process_runs(endpoint.pid, endpoint.started))
        with pytest.raises(ReceiverUnavailableError) as caught:
            save(files)
    # The save sees the end of the process, or sees the end of the connection before it.
    assert "it ended with signal 11 (SIGSEGV)" in str(caught.value)
    assert f"The end of its log ({find_log(endpoint)}):" in str(caught.value)
    assert "Fatal Python error: Segmentation fault" in find_log(endpoint).read_text()


@pytest.mark.faults
def test_restart_after_kill() -> None:
    """After a kill the user starts another viewer, which receives the next save."""
    with pipeline("napari_stream", viewer="phoenix") as files:
        save(files)
        (endpoint,) = discovery.find("napari", "phoenix")
        os.kill(endpoint.pid, signal.SIGKILL)
        assert becomes(lambda: not runs(endpoint.pid))
        with pytest.raises(ReceiverUnavailableError, match=r"no longer runs|it died"):
            save(files)
        polystore_napari.launch("phoenix")
        save(files, wait="shown")


def test_two_viewers_by_name(desktop: Path) -> None:
    """Two names are two viewers. A signal closes one of them without leaving files."""
    with (
        pipeline("napari_stream", viewer="left") as left,
        pipeline("napari_stream", viewer="right") as right,
    ):
        save(left, "left.npy")
        save(right, "right.npy")
        for name in ("left", "right"):
            with polystore_napari.connect(name) as viewer:
                assert [layer["name"] for layer in viewer.layers()] == [name]
        pids = {endpoint.name: endpoint.pid for endpoint in discovery.find("napari")}
        for name, number in (("left", signal.SIGTERM), ("right", signal.SIGINT)):
            os.kill(pids[name], number)
            assert becomes(lambda name=name: not runs(pids[name]))  # type: ignore[misc]
        assert left_in(desktop) == []
        with pytest.raises(
            ReceiverUnavailableError, match=r"it was closed by signal 15 \(SIGTERM"
        ):
            save(left)


def test_closed_viewer_ends(desktop: Path, display: Display) -> None:
    """If the user closes the window, the viewer ends, and the next save raises an error."""
    with pipeline("napari_stream", viewer="closed") as files:
        save(files, wait="shown")
        (endpoint,) = discovery.find("napari", "closed")
        display.press_close("napari: closed")
        assert ends_cleanly(endpoint.pid, desktop)
        with pytest.raises(ReceiverUnavailableError, match="was closed by its user"):
            save(files)
        assert [end.found for end in viewers("napari") if " 'closed' " in end.found] == [
            f"{endpoint.title}, 0 min ago: it was closed by its user"
        ]


@pytest.mark.timeout(180)
def test_own_viewer_has_a_log(desktop: Path) -> None:
    """A viewer that its user started writes a log of its own, with the reason of its end."""
    command = [sys.executable, "-m", "polystore_napari", "--name", "own"]
    with subprocess.Popen(command) as process:
        assert becomes(lambda: discovery.find("napari", "own"))
        (endpoint,) = discovery.find("napari", "own")
        with pipeline("napari_stream", viewer="own", launch=False) as files:
            save(files, wait="shown")
        # The log starts after the announcement, and before the first value is shown.
        assert find_log(endpoint).read_text().startswith("polystore: started 20")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert explain_end(endpoint) == ("it was closed by signal 15 (SIGTERM)", "")


def test_main_window_closes_receiver(desktop: Path, display: Display) -> None:
    """Without its main window the viewer refuses saves, and other windows stay open."""
    options = {"names": "{well}_s{site}.npy", "layout": Layout(window=("well",))}
    with pipeline("napari_stream", viewer="main") as files:
        save(files)
        save(files, "B03_s1.npy", wait="shown", **options)
        (endpoint,) = discovery.find("napari", "main")
        display.press_close("napari: main")
        assert becomes(lambda: not discovery.find("napari", "main"))
        with pytest.raises(ReceiverUnavailableError):
            save(files, "B03_s1.npy", **options)
        assert runs(endpoint.pid)
        assert becomes(lambda: "B03" in display.titles())
        display.press_close("B03")
        assert ends_cleanly(endpoint.pid, desktop)


def test_cancelled_close_changes_nothing(
    desktop: Path, display: Display, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """If the user presses the close button and then cancels, viewer and stream go on."""
    settings = tmp_path / "napari.yaml"
    settings.write_text("application:\n  confirm_close_window: true\n")
    monkeypatch.setenv("NAPARI_CONFIG", str(settings))
    with pipeline("napari_stream", viewer="asks") as files:
        save(files, wait="shown")
        display.press_close("napari: asks")
        display.press_close("Close Window?")  # closing the question means no
        assert becomes(lambda: "Close Window?" not in display.titles())
        for _ in range(3):
            save(files, wait="shown")
        with polystore_napari.connect("asks") as viewer:
            assert np.array_equal(viewer.pixels("a.npy"), PLANE)


def test_viewer_on_the_network(desktop: Path) -> None:
    """A viewer that listens on the network prints the path of a file that connects to it."""
    command = [sys.executable, "-u", "-m", "polystore_napari", "--name", "far"]
    process = subprocess.Popen(
        [*command, "--listen", "tcp://127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout as output:
        connection = output.readline().rpartition(" ")[2].strip()
        with pipeline("napari_stream", connection=connection) as files:
            save(files, wait="shown")
        with polystore_napari.connect("far") as viewer:
            assert viewer.endpoint.address.startswith("tcp://")
            assert np.array_equal(viewer.pixels("a.npy"), PLANE)
            taken = subprocess.run(command, capture_output=True, text=True, timeout=60)
            viewer.quit()
    assert process.wait(60) == 0
    assert taken.returncode == 2
    assert "error: name='far' is not valid" in taken.stderr
    assert left_in(desktop) == []


@pytest.mark.parametrize("value", ["", ":4711", "localhost:4711", "no display"])
def test_missing_screen_is_explained(
    desktop: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Without a screen that answers, napari is not started, and the error gives advice."""
    monkeypatch.setenv("DISPLAY", value)
    with (
        pipeline("napari_stream", viewer="blind") as files,
        pytest.raises(ReceiverUnavailableError) as caught,
    ):
        save(files)
    assert "napari 'blind' needs a screen, and " in str(caught.value)
    assert f"DISPLAY={value} does not" in str(caught.value) or not value
    assert "log in with ssh -X" in caught.value.advice
    assert "xvfb-run -a python" in caught.value.advice
    assert left_in(desktop) == []


def test_command_needs_a_screen(
    desktop: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The viewer's own process checks the screen, too, since another interpreter may set one."""
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\n')
    script.chmod(0o755)
    with pipeline("napari_stream", viewer="wrapped", python=str(script)) as files:
        monkeypatch.delenv("DISPLAY")
        with pytest.raises(ReceiverUnavailableError) as caught:
            save(files)
        assert "napari 'wrapped' ended with status 2 while it was starting" in str(caught.value)
        assert "napari needs a screen, and DISPLAY and WAYLAND_DISPLAY are not set" in str(
            caught.value
        )
    assert left_in(desktop) == []


def test_offscreen_needs_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    """Qt's offscreen platform works with OpenGL from a display, and is refused without one."""
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    with pipeline("napari_stream", viewer="offscreen") as files:
        save(files, wait="shown")
        with polystore_napari.connect("offscreen") as viewer:
            assert np.array_equal(viewer.pixels("a.npy"), PLANE)
            viewer.quit()
    monkeypatch.delenv("DISPLAY")
    with (
        pipeline("napari_stream", viewer="offscreen") as files,
        pytest.raises(ReceiverUnavailableError, match="DISPLAY is not set"),
    ):
        save(files)


def test_missing_viewer_is_reported() -> None:
    """With launch=False the error names the command that starts the viewer."""
    with (
        pipeline("napari_stream", viewer="absent", launch=False) as files,
        pytest.raises(ReceiverUnavailableError) as caught,
    ):
        save(files)
    assert "napari 'absent' does not run" in str(caught.value)
    assert "or python -m polystore_napari --name 'absent'" in str(caught.value)
    with pytest.raises(ReceiverUnavailableError, match="does not run"):
        polystore_napari.connect("absent")


def test_missing_python_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing interpreter from an option or a variable is named."""
    with pytest.raises(ReceiverUnavailableError, match=r"cannot be started.*'/no/python'"):
        polystore_napari.launch("other", python="/no/python")
    monkeypatch.setenv("POLYSTORE_NAPARI_PYTHON", "/no/such")
    with (
        pipeline("napari_stream", viewer="other") as files,
        pytest.raises(ReceiverUnavailableError, match=r"cannot be started.*'/no/such'"),
    ):
        save(files)


def test_python_without_napari_is_reported(tmp_path: Path) -> None:
    """An interpreter without napari reports the missing module."""
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    with (
        pipeline("napari_stream", viewer="other", python=str(bare)) as files,
        pytest.raises(ReceiverUnavailableError, match="No module named"),
    ):
        save(files)
