"""Give each test a folder of its own, so that only its receivers and producers meet."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import time
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zmq

from polystore_stream import discovery
from polystore_stream.sending.link import context
from polystore_testing.processes import left_in

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def runtime_directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the test a private folder with a name short enough for the path of a socket."""
    folder = Path(tempfile.mkdtemp(prefix="ps-"))
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def leak_check(runtime_directory: Path) -> Iterator[None]:
    """Check that no process, file, shared memory or open file outlives the test."""
    _open_permanent_files()
    known, opened = _list_names(runtime_directory), _count_open_files()
    yield
    gc.collect()
    # A search removes the files of killed receivers.
    for kind in ("script", "toy"):
        discovery.find(kind)
    deadline = time.monotonic() + 60
    while (_list_names(runtime_directory) - known or _count_open_files() > opened) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.02)
    assert not _list_names(runtime_directory) - known
    assert _count_open_files() <= opened


def _open_permanent_files() -> None:
    """Open the files that ZeroMQ and multiprocessing keep for the life of the process."""
    resource_tracker.ensure_running()
    with context().socket(zmq.PAIR) as one, context().socket(zmq.PAIR) as other:
        one.bind("inproc://warm")
        other.connect("inproc://warm")
        # The first message that is sent without a copy opens more.
        other.send(bytes(1 << 18), copy=False)
        one.recv()


def _list_names(folder: Path) -> set[str]:
    files = {str(folder / name) for name in left_in(folder)}
    # Other processes may use shared memory at the same time.
    shared = {str(path) for path in Path("/dev/shm").glob("polystore-ring-*")}
    children = {
        f"process {pid}: {_read_command(pid)}"
        for task in Path("/proc/self/task").glob("*/children")
        for pid in task.read_text().split()
    }
    # multiprocessing keeps one helper for the life of this process.
    return files | shared | {child for child in children if "resource_tracker" not in child}


def _read_command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:  # the process has just ended
        return ""


def _count_open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
