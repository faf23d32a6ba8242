"""Backends over the small stores, each with a space of its own."""

import uuid

import pytest

from polystore_core import BackendRegistry, FileBackend, LocalStore


@pytest.fixture
def on():
    """Make a backend called "x" on a new store of a class."""
    registries = []

    def made(kind, **values):
        store = kind(uuid.uuid4().hex[:8])
        store.values.update(values)
        registry = BackendRegistry()
        registry.add("x", FileBackend(store))
        registries.append(registry)  # a context holds its registry weakly
        return registry["x"]

    return made


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "folder"
    made.mkdir()
    return made


@pytest.fixture(params=["free", "rooted"])
def store(request, folder, monkeypatch):
    """A local store on ``folder``: the same relative keys, with a root and without."""
    monkeypatch.chdir(folder)
    with_root = {"root": folder} if request.param == "rooted" else {}
    made = LocalStore(**with_root)
    yield made
    made.close()
