"""Receivers and producers of one test find each other, and nobody else."""

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
    """Give the test a private folder of sockets, of a name that the kernel takes as theirs."""
    folder = Path(tempfile.mkdtemp(prefix="ps-"))
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def nothing_stays(runtime_directory: Path) -> Iterator[None]:
    """Demand that no process, file, shared memory or open file outlives the test."""
    _open_what_stays()
    known, opened = _list_names(runtime_directory), _count_open()
    yield
    gc.collect()
    for kind in ("script", "toy"):  # whoever looks removes what killed receivers left
        discovery.find(kind)
    deadline = time.monotonic() + 60
    while (_list_names(runtime_directory) - known or _count_open() > opened) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.02)
    assert not _list_names(runtime_directory) - known
    assert _count_open() <= opened


def _open_what_stays() -> None:
    """Open what ZeroMQ and multiprocessing keep for as long as the process lives."""
    resource_tracker.ensure_running()
    with context().socket(zmq.PAIR) as one, context().socket(zmq.PAIR) as other:
        one.bind("inproc://warm")
        other.connect("inproc://warm")
        other.send(bytes(1 << 18), copy=False)  # the first without a copy opens more
        one.recv()


def _list_names(folder: Path) -> set[str]:
    files = {str(folder / name) for name in left_in(folder)}
    # Others use shared memory too, at the same time.
    shared = {str(path) for path in Path("/dev/shm").glob("polystore-ring-*")}
    children = {
        f"process {pid}: {_command(pid)}"
        for task in Path("/proc/self/task").glob("*/children")
        for pid in task.read_text().split()
    }
    # multiprocessing keeps one helper for as long as this very process lives.
    return files | shared | {child for child in children if "resource_tracker" not in child}


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:  # it has just ended
        return ""


def _count_open() -> int:
    return len(os.listdir("/proc/self/fd"))
