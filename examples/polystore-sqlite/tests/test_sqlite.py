import itertools
import sqlite3

import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_testing import NAME, Bound, SiblingTests, StorageTests, check_against_model


def registry_of_sqlite(file):
    registry = BackendRegistry()
    registry.add(NAME, "sqlite", file=str(file))
    return registry


class TestSqlite(StorageTests):
    @pytest.fixture
    def registry(self, tmp_path):
        return registry_of_sqlite(tmp_path / "data.db")

    @pytest.fixture
    def damage(self, tmp_path):
        def cut(path):
            database = sqlite3.connect(tmp_path / "data.db")
            with database:
                database.execute("UPDATE entry SET content = substr(content, 1, 500)")
            database.close()

        return cut


class TestSqliteSiblings(SiblingTests):
    @pytest.fixture
    def registry(self, tmp_path):
        return registry_of_sqlite(tmp_path / "data.db")


def test_equals_plain_dictionary(tmp_path):
    number = itertools.count()
    check_against_model(
        lambda: Bound(FileManager(registry_of_sqlite(tmp_path / f"{next(number)}.db"))),
        max_examples=20,
    )
