import pytest

from polystore_core import BackendRegistry
from polystore_sqlite.backend import SqliteStore
from polystore_testing import NAME, SiblingTests, StorageTests, StoreTests


class TestStore(StoreTests):
    @pytest.fixture
    def bytes_store(self, tmp_path):
        return SqliteStore(str(tmp_path / "data.db"))


class TestBackend(StorageTests, SiblingTests):
    image_paths = ("a.tif", "a.ome.tif")

    @pytest.fixture
    def registry(self, tmp_path):
        registry = BackendRegistry()
        registry.add(NAME, "sqlite", file=str(tmp_path / "data.db"))
        return registry

    @pytest.fixture
    def damage(self, store):
        rows = store.instance.store
        return lambda path: rows.put(path, rows.read(path, 0, 500))
