"""Backends on a folder of their own, with and without a root, and what really stands in it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polystore_core import BackendRegistry
from polystore_disk.backend import DiskBackend

Names = Callable[[], list[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


@pytest.fixture
def rooted(folder: Path) -> Iterator[DiskBackend]:
    """A backend with ``folder`` as its root."""
    backend = make_backend(root=str(folder))
    yield backend
    backend.close()


@pytest.fixture
def free(folder: Path, monkeypatch: pytest.MonkeyPatch) -> DiskBackend:
    """A backend without a root, in a process that stands in ``folder``."""
    monkeypatch.chdir(folder)
    return make_backend()


@pytest.fixture(params=["free", "rooted"])
def disk(request: pytest.FixtureRequest) -> DiskBackend:
    """Either of them: the same relative paths, the same answers."""
    backend: DiskBackend = request.getfixturevalue(request.param)
    return backend


@pytest.fixture
def names(folder: Path) -> Names:
    """List everything below ``folder``, the hidden files as well."""
    return lambda: sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def make_backend(**options: object) -> DiskBackend:
    registry = BackendRegistry()
    registry.add("store", "disk", **options)
    backend = registry["store"]
    assert isinstance(backend, DiskBackend)
    return backend
