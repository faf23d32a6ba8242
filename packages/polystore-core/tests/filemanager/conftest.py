"""File managers for the tests."""

import pytest

from polystore_core import BackendRegistry, FileManager

from .samples import Require


@pytest.fixture
def fm() -> FileManager:
    return FileManager()


@pytest.fixture
def memory(require: Require) -> FileManager:
    """Return a manager with two trees in memory, called "one" and "two"."""
    require("polystore_memory")
    registry = BackendRegistry()
    registry.add("one", "memory")
    registry.add("two", "memory")
    return FileManager(registry)
