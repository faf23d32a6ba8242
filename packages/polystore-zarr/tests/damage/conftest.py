"""A folder for each test, and a backend with it as root."""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING

import pytest

from .stores import make_backend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from polystore_zarr.backend import ZarrBackend


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture
def backend(root: Path) -> ZarrBackend:
    return make_backend(root)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Limit the memory, so that an allocation of a size that a document announces fails."""
    if sys.platform == "win32":
        pytest.skip("system: needs limits for memory")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)
