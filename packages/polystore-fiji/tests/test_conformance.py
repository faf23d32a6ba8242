"""The table of every stream, executed against a real ImageJ without windows."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

import polystore_fiji
from polystore import BackendRegistry
from polystore.errors import RejectedError
from polystore_stream.discovery import process_runs
from polystore_testing import NAME, StreamReceiver, StreamTests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

VIEWER = "kit"
pytestmark = pytest.mark.faults  # it kills viewers, and starts each again


class ImageJ(StreamReceiver):
    """An ImageJ in a process of its own; one serves all tests until one kills it."""

    def __init__(self) -> None:
        self.restart()

    def held(self, path: str) -> NDArray[Any] | None:
        with polystore_fiji.connect(VIEWER) as viewer:
            try:
                return viewer.pixels(path)
            except RejectedError:
                return None

    def kill(self) -> None:
        os.kill(self.endpoint.pid, signal.SIGKILL)
        while process_runs(self.endpoint.pid, self.endpoint.started):
            time.sleep(0.01)

    def restart(self) -> None:
        self.endpoint = polystore_fiji.launch(VIEWER, headless=True)


@pytest.fixture(scope="module")
def running(runtime: object) -> Iterator[ImageJ]:
    imagej = ImageJ()
    yield imagej
    imagej.kill()


class TestFiji(StreamTests):
    # What of them is no exact number in 32-bit float, ImageJ's largest type.
    no_exact_type: ClassVar[frozenset[str]] = frozenset({"uint32", "uint64"})

    @pytest.fixture
    def registry(self) -> Iterator[BackendRegistry]:
        registry = BackendRegistry()
        registry.add(NAME, "fiji_stream", viewer=VIEWER, headless=True)
        with registry:
            yield registry

    @pytest.fixture
    def receiver(self, running: ImageJ) -> ImageJ:
        if not process_runs(running.endpoint.pid, running.endpoint.started):
            running.restart()
        with polystore_fiji.connect(VIEWER) as viewer:
            viewer.clear()
        return running
