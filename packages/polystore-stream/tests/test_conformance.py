"""The backend ``streaming`` passes the kit's tests for streams, with a process that listens."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_testing import NAME, StreamReceiver, StreamTests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# A question travels as an image does, so it arrives after everything sent before it.
LISTENER = """
import pickle, sys
from polystore_stream import receive

held = {}
with receive() as incoming:
    print("ready", flush=True)
    for item in incoming:
        if item.path.startswith("?"):
            pickle.dump(held.get(item.path.removeprefix("?")), sys.stdout.buffer)
            sys.stdout.flush()
        else:
            held[item.path] = item.data
"""


class Listener(StreamReceiver):
    """A script that keeps the last value of each path."""

    def __init__(self) -> None:
        self.registry = BackendRegistry()
        self.restart()

    def restart(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", LISTENER], stdout=subprocess.PIPE
        )
        assert self.output.readline() == b"ready\n"

    @property
    def output(self) -> Any:
        assert self.process.stdout is not None
        return self.process.stdout

    def load(self, path: str) -> NDArray[Any] | None:
        question = np.zeros((1, 1), "u1")
        FileManager(self.registry).save(question, f"?{path}", backend="streaming")
        answer: NDArray[Any] | None = pickle.load(self.output)
        return answer

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.output.close()

    def close(self) -> None:
        self.registry.close()
        if self.process.returncode is None:
            self.kill()


class TestStreaming(StreamTests):
    @pytest.fixture
    def registry(self) -> Iterator[BackendRegistry]:
        registry = BackendRegistry()
        registry.add(NAME, "streaming")
        with registry:
            yield registry

    @pytest.fixture
    def receiver(self, runtime_directory: object) -> Iterator[Listener]:
        listener = Listener()
        yield listener
        listener.close()
