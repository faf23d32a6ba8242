"""The kit's tests of streams, run against a real napari."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

import polystore_napari
from polystore_core import BackendRegistry
from polystore_testing import NAME, StreamTests, ViewerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

VIEWER = "kit"
pytestmark = pytest.mark.faults  # the tests kill viewers and start them again


@pytest.fixture(scope="module")
def process(desktop: object) -> Iterator[ViewerProcess]:
    launch = partial(polystore_napari.launch, VIEWER)
    viewer = ViewerProcess(launch, partial(polystore_napari.connect, VIEWER))
    yield viewer
    viewer.kill()


class TestNapari(StreamTests):
    @pytest.fixture
    def registry(self) -> Iterator[BackendRegistry]:
        registry = BackendRegistry()
        registry.add(NAME, "napari_stream", viewer=VIEWER)
        with registry:
            yield registry

    @pytest.fixture
    def receiver(self, process: ViewerProcess) -> ViewerProcess:
        return process.reset()
