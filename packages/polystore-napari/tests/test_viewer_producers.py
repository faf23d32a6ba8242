"""Several producers and threads that save into one real napari."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from polystore_stream import Layout, RemoteViewer

from .pixels import plane

if TYPE_CHECKING:
    from polystore_core import FileManager
    from polystore_testing.display import Display

pytestmark = [
    pytest.mark.screen,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]


PRODUCER = """
import sys
import numpy as np
from polystore_core import BackendRegistry, FileManager

name, count = sys.argv[1], int(sys.argv[2])
with BackendRegistry() as registry:
    registry.add("screen", "napari_stream", viewer="shared", launch=False)
    files = FileManager(registry)
    for index in range(count):
        image = np.full((500, 700), index, "u2")
        files.save(image, "slice.npy", at={"producer": name, "z": index}, backend="screen")
        if not index:
            print("begun", flush=True)
"""


def produce(name: str, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "error", "-c", PRODUCER, name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_two_producers_share_viewer(files: FileManager, viewer: RemoteViewer) -> None:
    """Two processes fill one stack at the same time."""
    for producer in [produce("one", 20), produce("two", 20)]:
        producer.communicate(timeout=60)
        assert producer.returncode == 0
    (layer,) = [layer for layer in viewer.layers() if layer["axes"][0] == "producer"]
    assert layer["shape"] == [2, 20, 500, 700]
    assert layer["coordinates"][0] == ["one", "two"]


def test_killed_producer_does_no_harm(files: FileManager, viewer: RemoteViewer) -> None:
    """If a producer is killed during a series, the viewer still serves the others."""
    producer = produce("killed", 1_000_000)
    assert producer.stdout is not None
    assert producer.stdout.readline() == b"begun\n"
    time.sleep(0.3)
    os.kill(producer.pid, signal.SIGKILL)
    producer.communicate()
    files.save(plane(9), "after.npy", backend="screen", wait="shown")
    assert viewer.pixels("after.npy")[0, 0] == 9


def test_threads_wait_together(files: FileManager, viewer: RemoteViewer) -> None:
    """Several threads wait until their frame of one path is shown, and all of them return."""

    def show(thread: int) -> None:
        for step in range(10):
            files.save(plane(10 * thread + step), "threads.npy", backend="screen", wait="shown")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(show, range(4)))
    assert viewer.pixels("threads.npy")[0, 0] % 10 == 9


def test_hidden_window_blocks_nothing(
    files: FileManager, viewer: RemoteViewer, display: Display
) -> None:
    """A window that is not on the screen is not painted, and saves do not wait for it."""
    options: dict[str, Any] = {
        "names": "{well}_s{site}.npy",
        "layout": Layout(window=("well",)),
    }
    files.save(plane(1), "E03_s1.npy", backend="screen", wait="shown", **options)
    display.hide("E03")
    for value in (2, 3):
        files.save(plane(value), "E03_s1.npy", backend="screen", wait="shown", **options)
    assert viewer.pixels("E03_s1.npy", window="E03")[0, 0] == 3


@pytest.mark.timeout(240)
def test_many_windows_block_nothing(files: FileManager, viewer: RemoteViewer) -> None:
    """While a batch opens its windows, other saves and questions are served."""
    files.save(plane(1), "main.npy", backend="screen")
    wells = [f"F{number:02}" for number in range(8)]
    options: dict[str, Any] = {
        "names": "{well}_s{site}.npy",
        "layout": Layout(window=("well",)),
    }
    answers = []

    def ask_about_all(other: RemoteViewer) -> None:
        shown = {layer["window"] for layer in other.layers()}
        answers.append(("all", shown & {*wells}))

    with (
        RemoteViewer(viewer.endpoint, timeout=120) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        files.save_batch(
            [plane(2)] * 8, [f"{well}_s1.npy" for well in wells], backend="screen", **options
        )
        files.save(plane(3), f"{wells[-1]}_s1.npy", backend="screen", **options)
        asked = pool.submit(ask_about_all, other)
        files.save(plane(4), "main.npy", backend="screen", wait="shown")
        answers.append(("main", viewer.pixels("main.npy")[0, 0]))
        asked.result()
    assert answers == [("main", 4), ("all", {*wells})]
    assert viewer.pixels(f"{wells[-1]}_s1.npy", window=wells[-1])[0, 0] == 3
