"""Stores with few claims, which they keep, pass without an override."""

import os

import pytest
from objectstore import Archive, Objects, ObjectStore, Plain

from polystore_core import BackendRegistry, FileBackend
from polystore_testing import NAME, LinkTests, SiblingTests, StorageTests, StoreTests

pytestmark = pytest.mark.slow


class Backend(StorageTests, LinkTests):
    """A backend on ``self.store_type``."""

    @pytest.fixture
    def registry(self, tmp_path):
        registry = BackendRegistry()
        registry.add(NAME, FileBackend(self.store_type(tmp_path / "bucket")))
        return registry

    @pytest.fixture
    def damage(self, tmp_path):
        return lambda path: os.truncate(tmp_path / "bucket" / path.encode().hex(), 500)


class TestObjects(Backend):
    store_type = ObjectStore


class TestArchive(Backend):
    store_type = Archive


class TestPlain(Backend):
    store_type = Plain


class TestNamed(Backend):
    """A backend class with a name."""

    @pytest.fixture
    def registry(self, tmp_path):
        registry = BackendRegistry()
        registry.add(NAME, Objects._backend_type, folder=str(tmp_path / "bucket"))
        return registry


class TestSiblings(SiblingTests):
    @pytest.fixture
    def registry(self, tmp_path):
        registry = BackendRegistry()
        registry.add(NAME, Objects._backend_type, folder=str(tmp_path / "bucket"))
        return registry


class TestObjectStore(StoreTests):
    @pytest.fixture
    def bytes_store(self, tmp_path):
        return ObjectStore(tmp_path / "bucket")


class TestArchiveStore(StoreTests):
    @pytest.fixture
    def bytes_store(self, tmp_path):
        return Archive(tmp_path / "bucket")


class TestPlainStore(StoreTests):
    @pytest.fixture
    def bytes_store(self, tmp_path):
        return Plain(tmp_path / "bucket")
