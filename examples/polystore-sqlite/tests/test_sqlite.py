import numpy as np
import pytest

from polystore_core import FileManager
from polystore_core.errors import StorageError
from polystore_sqlite.backend import SqliteBackend


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("image.db", r"file is not a database: '.*image\.db'"),
        ("missing/data.db", r"unable to open database file: '.*data\.db'"),
    ],
)
def test_other_files_are_explained(tmp_path, file, reason):
    (tmp_path / "image.db").write_bytes(b"II*\0" * 1000)
    fm = FileManager()
    fm.registry.add("rows", SqliteBackend(file=str(tmp_path / file)))
    for operation in (fm.load, fm.exists, fm.delete):
        with pytest.raises(StorageError, match=reason):
            operation("a.npy", "rows")
    with pytest.raises(StorageError, match=reason):
        fm.save(np.zeros(3), "a.npy", "rows")
    assert (tmp_path / "image.db").read_bytes() == b"II*\0" * 1000
