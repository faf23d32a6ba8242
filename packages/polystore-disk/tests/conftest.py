"""Disk backends on a temporary folder, with and without a root, and the names in the folder."""

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
    """Return a backend with ``folder`` as its root."""
    backend = make_backend(root=str(folder))
    yield backend
    backend.close()


@pytest.fixture
def free(folder: Path, monkeypatch: pytest.MonkeyPatch) -> DiskBackend:
    """Return a backend without a root, and make ``folder`` the current folder."""
    monkeypatch.chdir(folder)
    return make_backend()


@pytest.fixture(params=["free", "rooted"])
def disk(request: pytest.FixtureRequest) -> DiskBackend:
    """Return each of the two backends. Relative paths mean the same files in both."""
    backend: DiskBackend = request.getfixturevalue(request.param)
    return backend


@pytest.fixture
def names(folder: Path) -> Names:
    """Return a function that lists all files below ``folder``, hidden ones included."""
    return lambda: sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def make_backend(**options: object) -> DiskBackend:
    registry = BackendRegistry()
    registry.add("store", "disk", **options)
    backend = registry["store"]
    assert isinstance(backend, DiskBackend)
    return backend
