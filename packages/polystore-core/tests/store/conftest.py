"""Backends on the small stores, each with its own space."""

import uuid

import pytest

from polystore_core import BackendRegistry, FileBackend, LocalStore


@pytest.fixture
def make_backend():
    """Return a function that makes a backend called "x" on a new store of a class."""
    registries = []

    def make(kind, **values):
        store = kind(uuid.uuid4().hex[:8])
        store.values.update(values)
        registry = BackendRegistry()
        registry.add("x", FileBackend(store))
        registries.append(registry)  # A context holds its registry weakly.
        return registry["x"]

    return make


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "folder"
    made.mkdir()
    return made


@pytest.fixture(params=["free", "rooted"])
def store(request, folder, monkeypatch):
    """Return a local store on ``folder``, with a root and without, for the same relative keys."""
    monkeypatch.chdir(folder)
    with_root = {"root": folder} if request.param == "rooted" else {}
    made = LocalStore(**with_root)
    yield made
    made.close()
