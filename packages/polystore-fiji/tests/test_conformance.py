"""The table of every stream, executed against a real ImageJ without windows."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import pytest

import polystore_fiji
from polystore_core import BackendRegistry
from polystore_testing import NAME, StreamTests, ViewerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

VIEWER = "kit"
pytestmark = pytest.mark.faults  # it kills viewers, and starts each again


@pytest.fixture(scope="module")
def running(runtime: object) -> Iterator[ViewerProcess]:
    launch = partial(polystore_fiji.launch, VIEWER, headless=True)
    viewer = ViewerProcess(launch, partial(polystore_fiji.connect, VIEWER))
    yield viewer
    viewer.kill()


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
    def receiver(self, running: ViewerProcess) -> ViewerProcess:
        return running.reset()
