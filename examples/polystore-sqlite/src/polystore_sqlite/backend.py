"""Values in one SQLite file. SQLite replaces a row whole or not at all, also after a crash."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from polystore_core import ByteStore, FileBackend, Stat, StoreFeatures, full_path

COLUMNS = "version INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE, content"


class SqliteStore(ByteStore):
    """One row for each key. SQLite counts the versions of a row."""

    features = StoreFeatures(
        replace="host", create_only="host", delete="host", durable=True, max_value=10**9
    )

    def __init__(self, file: str) -> None:
        self.file = file

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Open a connection for one transaction. Threads and forks cannot share one."""
        try:
            with closing(sqlite3.connect(self.file, timeout=30)) as db, db:
                # The default can lose a commit: https://sqlite.org/pragma.html#pragma_synchronous
                db.execute("PRAGMA synchronous = EXTRA")
                db.execute(f"CREATE TABLE IF NOT EXISTS entry ({COLUMNS})")
                yield db
        except sqlite3.Error as error:  # such as "database is locked"
            raise OSError(f"{error}: {self.file!r}") from error

    def _rows(self, statement: str, *values: Any) -> list[Any]:
        with self._transaction() as db:
            return db.execute(statement, values).fetchall()

    def stat(self, key: str, /) -> Stat:
        row = "SELECT length(content), version FROM entry WHERE key = ?"
        for size, version in self._rows(row, key):
            return Stat(key, size=size, version=str(version))
        raise FileNotFoundError(key)

    def read(self, key: str, start: int = 0, stop: int | None = None, /) -> bytes:
        with self._transaction() as db:
            db.execute("BEGIN")  # so that both calls see the same version
            for (row,) in db.execute("SELECT version FROM entry WHERE key = ?", (key,)):
                return bytes(db.blobopen("entry", "content", row, readonly=True)[start:stop])
        raise FileNotFoundError(key)

    def scan(self, folder: str = "", /) -> list[Stat]:
        below = "SELECT key, length(content) FROM entry WHERE key > ? AND key < ?"
        ends = (f"{folder}/", f"{folder}0") if folder else ("", b"")  # b"" is above every text
        return [Stat(key, size=size) for key, size in self._rows(below, *ends)]

    def put(self, key: str, content: Any, /, *, if_exists: str = "replace") -> None:
        verb = "REPLACE" if if_exists == "replace" else "INSERT OR IGNORE"
        row = f"{verb} INTO entry (key, content) VALUES (?, ?) RETURNING key"
        if not self._rows(row, key, content):
            raise FileExistsError(key)

    def delete(self, key: str, /) -> None:
        self._rows("DELETE FROM entry WHERE key = ?", key)


class SqliteBackend(FileBackend):
    """Formats over a ``SqliteStore``. ``file`` is made at the first value."""

    def __init__(self, *, file: str) -> None:
        super().__init__(SqliteStore(full_path(file, "file")))
