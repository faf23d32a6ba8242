import itertools
import sqlite3

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import StorageError
from polystore_sqlite.backend import SqliteStore
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


@pytest.mark.parametrize("content", [b"", b"0123456"])
def test_parts_are_slices(tmp_path, content):
    store = SqliteStore(str(tmp_path / "data.db"))
    store.put("a", content)
    ends = [None, *range(-9, 10)]
    for start, stop in itertools.product(ends[1:], ends):
        assert store.read("a", start, stop) == content[start:stop]


def test_scan_takes_whole_names(tmp_path):
    store = SqliteStore(str(tmp_path / "data.db"))
    keys = {"p/a", "p/é/b", "p", "p2/a", "p0", "P/a", "p-", "_/a", "%/a", "\U0010ffff"}
    for key in keys:
        store.put(key, b"x")
    assert {stat.key for stat in store.scan("p")} == {"p/a", "p/é/b"}
    assert {stat.key for stat in store.scan("_")} == {"_/a"}
    assert {stat.key for stat in store.scan()} == keys


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("image.db", r"file is not a database: '.*image\.db'"),
        ("missing/data.db", r"unable to open database file: '.*data\.db'"),
    ],
)
def test_other_files_are_explained(tmp_path, file, reason):
    (tmp_path / "image.db").write_bytes(b"II*\0" * 1000)
    store = Bound(FileManager(registry_of_sqlite(tmp_path / file)))
    for operation in (store.load, store.exists, store.delete):
        with pytest.raises(StorageError, match=reason):
            operation("a.npy")
    with pytest.raises(StorageError, match=reason):
        store.save(np.zeros(3), "a.npy")
    assert (tmp_path / "image.db").read_bytes() == b"II*\0" * 1000
