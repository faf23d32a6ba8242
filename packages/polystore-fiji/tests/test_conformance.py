"""The kit's tests of streams, run against a real ImageJ without windows."""

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
pytestmark = pytest.mark.faults  # the tests kill viewers and start them again


@pytest.fixture(scope="module")
def process(runtime: object) -> Iterator[ViewerProcess]:
    launch = partial(polystore_fiji.launch, VIEWER, headless=True)
    viewer = ViewerProcess(launch, partial(polystore_fiji.connect, VIEWER))
    yield viewer
    viewer.kill()


class TestFiji(StreamTests):
    # 32-bit float, ImageJ's largest type, cannot hold all their numbers exactly.
    no_exact_type: ClassVar[frozenset[str]] = frozenset({"uint32", "uint64"})

    @pytest.fixture
    def registry(self) -> Iterator[BackendRegistry]:
        registry = BackendRegistry()
        registry.add(NAME, "fiji_stream", viewer=VIEWER, headless=True)
        with registry:
            yield registry

    @pytest.fixture
    def receiver(self, process: ViewerProcess) -> ViewerProcess:
        return process.reset()
