"""An object store that claims little, and keeps it, passes without an override."""

import os

import pytest
from objectstore import Objects, ObjectStore

from polystore_core import BackendRegistry, FileBackend
from polystore_testing import NAME, LinkTests, SiblingTests, StorageTests, StoreTests


class TestObjects(StorageTests, LinkTests):
    @pytest.fixture(params=["instance", "name"])
    def registry(self, tmp_path, request):
        registry = BackendRegistry()
        folder = tmp_path / "bucket"
        if request.param == "name":
            registry.add(NAME, Objects._backend_type, folder=str(folder))
        else:
            registry.add(NAME, FileBackend(ObjectStore(folder)))
        return registry

    @pytest.fixture
    def damage(self, tmp_path):
        return lambda path: os.truncate(tmp_path / "bucket" / path.encode().hex(), 500)


class TestObjectSiblings(SiblingTests):
    @pytest.fixture
    def registry(self, tmp_path):
        registry = BackendRegistry()
        registry.add(NAME, Objects._backend_type, folder=str(tmp_path / "bucket"))
        return registry


class TestObjectStore(StoreTests):
    @pytest.fixture
    def bytes_store(self, tmp_path):
        return ObjectStore(tmp_path / "bucket")
