"""The store of the disk backend passes the tests of stores."""

import pytest

from polystore_core import LocalStore
from polystore_testing import StoreTests, overrides
from polystore_testing.storage import OUTSIDE


class TestRooted(StoreTests):
    @pytest.fixture
    def bytes_store(self, tmp_path):
        (tmp_path / "root").mkdir()
        return LocalStore(tmp_path / "root")


class TestFree(StoreTests):
    """A store without a root, in the current folder of the process."""

    @pytest.fixture
    def bytes_store(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        return LocalStore()

    @overrides("without a root, paths are those of the system")
    @pytest.mark.parametrize("path", OUTSIDE)
    def test_nothing_leaves_root(self, bytes_store, path):
        assert bytes_store.key(path) == path
