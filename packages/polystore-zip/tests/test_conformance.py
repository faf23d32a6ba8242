import pytest

from polystore_core import BackendRegistry
from polystore_testing import NAME, LinkTests, SiblingTests, StorageTests, StoreTests
from polystore_zip.backend import ZipStore


class TestZip(StorageTests, LinkTests, SiblingTests):
    @pytest.fixture
    def registry(self, tmp_path):
        registry = BackendRegistry()
        registry.add(NAME, "zip", file=tmp_path / "scan.zip")
        return registry

    @pytest.fixture
    def damage(self, tmp_path):
        def change(path):
            file = tmp_path / "scan.zip"
            content = bytearray(file.read_bytes())
            content[content.index(path.encode()) + 1000] ^= 1
            file.write_bytes(content)

        return change


class TestZipStore(StoreTests):
    @pytest.fixture
    def bytes_store(self, tmp_path):
        return ZipStore(tmp_path / "scan.zip")
