"""Values in one SQLite file, encoded by whatever formats are installed.

SQLite is what makes it atomic: a value is one row, replaced in one transaction.
"""

from __future__ import annotations

import io
import os
import posixpath
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import (
    Info,
    LazyArray,
    Opener,
    StorageBackend,
    check_if_exists,
    check_new,
    check_options,
    checked,
    full_path,
    natural_order,
)
from polystore_core import formats as shared_formats
from polystore_core.errors import (
    AlreadyExistsError,
    DataError,
    DirectoryNotEmptyError,
    InvalidOptionError,
    NotADirectoryInPathError,
    NotAFileError,
    NotFoundError,
    PathOutsideRootError,
    StorageError,
    UnsupportedFormatError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from polystore_core import Format, Formats, IfExists, Option, Path, Region, Value

FOLDER, MISSING = "folder", "missing"  # what stands at a path where no bytes do


class SqliteBackend(StorageBackend):
    """One table, path to bytes; folders are rows without bytes."""

    def __init__(self, *, file: str) -> None:
        self.file = full_path(file, "file")

    @property
    def _formats(self) -> Formats:
        """Those that the user prefers, or all if you made the backend yourself."""
        return self.context.formats or shared_formats()

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """Open a connection for one transaction: they may not be shared by threads or forks."""
        database = sqlite3.connect(self.file, timeout=30)
        try:
            with database:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS entry (path TEXT PRIMARY KEY, content)"
                )
                database.execute("BEGIN IMMEDIATE")
                yield database
        finally:
            database.close()

    def save(
        self, data: Value, path: Path, /, *, if_exists: IfExists = "replace", **options: Option
    ) -> None:
        check_if_exists(if_exists)
        place = self._checked(check_new(path))
        chosen = self._format(place)
        check_options(type(chosen).save, options, f"save() of {chosen.name!r}", "if_exists")
        content = io.BytesIO()
        with self._explained(place):
            chosen.save(data, content, **options)
        with self._database() as database:
            found = _find(database, place)
            if found == FOLDER:
                raise NotAFileError(self.name, place, "save")
            if found != MISSING and if_exists == "error":
                raise AlreadyExistsError(self.name, place, "save")
            if found == MISSING or if_exists == "replace":
                self._make_folders(database, posixpath.dirname(place), place)
                _put(database, place, content.getvalue())

    def load(self, path: Path, /, *, region: Region | None = None, **options: Option) -> Value:
        place = self._checked(path)
        content = self._content(place, "load")
        chosen = self._formats.of(place, backend=self.name)
        check_options(type(chosen).load, options, f"load() of {chosen.name!r}", "region")
        decode: Callable[..., Any] = chosen.load
        with self._explained(place):
            value = decode(io.BytesIO(content), *self._given(chosen, place), **options)
        return value if region is None else np.array(value[region])

    def open(self, path: Path, /) -> LazyArray:
        return _Stored(self, os.fspath(path), self.info(path))

    def info(self, path: Path, /) -> Info:
        place = self._checked(path)
        try:
            content = self._content(place, "describe")
        except NotAFileError:
            return Info(path=os.fspath(path), kind="directory")
        chosen = self._formats.of(place, backend=self.name)
        describe: Callable[..., dict[str, Any]] = chosen.info
        with self._explained(place):
            described = describe(io.BytesIO(content), *self._given(chosen, place))
        return Info(
            path=os.fspath(path),
            kind="file",
            size=len(content),
            format=chosen.name,
            **described,
        )

    def is_file(self, path: Path, /) -> bool:
        return isinstance(self._found(path), bytes)

    def is_dir(self, path: Path, /) -> bool:
        return self._found(path) == FOLDER

    def _found(self, path: Path) -> bytes | str:
        with self._database() as database:
            return _find(database, self._checked(path))

    def list_dir(self, path: Path, /) -> list[str]:
        place = self._checked(path)
        with self._database() as database:
            found = _find(database, place)
            if isinstance(found, bytes):
                raise NotADirectoryInPathError(self.name, place, "list")
            if found == MISSING:
                raise self._missing(database, place, "list")
            paths = _inside(database, place)
        return natural_order({_below(inner, place).split("/")[0] for inner in paths})

    def ensure_directory(self, path: Path, /) -> None:
        with self._database() as database:
            place = self._checked(path)
            self._make_folders(database, place, place)

    def delete(self, path: Path, /, *, recursive: bool = False) -> None:
        place = self._checked(path)
        if not place:
            raise InvalidOptionError("path", os.fspath(path), "a path inside the root folder")
        with self._database() as database:
            if _find(database, place) == MISSING:
                raise self._missing(database, place, "delete")
            inside = _inside(database, place)
            if inside and not recursive:
                raise DirectoryNotEmptyError(self.name, place, "delete")
            gone = [(other,) for other in (place, *inside)]
            database.executemany("DELETE FROM entry WHERE path = ?", gone)

    def copy(self, source: Path, target: Path, /, *, if_exists: IfExists = "replace") -> None:
        origin, place = self._checked(source), self._checked(check_new(target))
        with self._database() as database:
            found = _find(database, origin)
            if found == MISSING:
                raise self._missing(database, origin, "copy")
            inside = _inside(database, origin)
        if found != FOLDER:
            self.save(self.load(origin), place, if_exists=if_exists)
            return
        if f"{place}/".startswith(f"{origin}/"):
            raise InvalidOptionError("target", place, "a path outside the source folder")
        with self._database() as database:
            if _find(database, place) != MISSING:
                raise AlreadyExistsError(self.name, place, "copy a folder")
            self._make_folders(database, place, place)
            for other in inside:
                found = _find(database, other)
                _put(database, f"{place}/{_below(other, origin)}", _content_of(found))

    def _identity(self, path: Path) -> str:
        return self._checked(path)

    # ── rows ─────────────────────────────────────────────────────────────────────────────

    def _checked(self, path: Path) -> str:
        text = checked(path)
        if text.startswith("/") or ".." in text.split("/"):
            raise PathOutsideRootError(self.name, text, self.file)
        return posixpath.normpath(text).removeprefix(".")

    def _format(self, place: str) -> Format:
        try:
            return self._formats.of(place, backend=self.name)
        except UnsupportedFormatError:
            with self._database() as database:
                if _find(database, place) == FOLDER:
                    raise NotAFileError(self.name, place, "save") from None
            raise

    def _content(self, place: str, operation: str) -> bytes:
        with self._database() as database:
            found = _find(database, place)
            if found == MISSING:
                raise self._missing(database, place, operation)
        if not isinstance(found, bytes):
            raise NotAFileError(self.name, place, operation)
        return found

    def _open_path(self, path: str) -> io.BytesIO:
        return io.BytesIO(self._content(self._checked(path), "open"))

    def _given(self, chosen: Format, place: str) -> tuple[Opener, ...]:
        """Return what ``load`` and ``info`` of a format get besides the open file."""
        opener = Opener(self._open_path, place, self.name)
        return (opener,) if chosen.reads_siblings else ()

    def _missing(
        self, database: sqlite3.Connection, place: str, operation: str
    ) -> StorageError:
        parent = posixpath.dirname(place)
        while parent:
            if isinstance(_find(database, parent), bytes):
                return NotADirectoryInPathError(self.name, place, operation)
            parent = posixpath.dirname(parent)
        return NotFoundError(self.name, place, operation)

    def _make_folders(self, database: sqlite3.Connection, folder: str, path: str) -> None:
        while folder:
            if isinstance(_find(database, folder), bytes):
                raise NotADirectoryInPathError(self.name, path, "save")
            _put(database, folder, None)
            folder = posixpath.dirname(folder)

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            error.backend, error.path = self.name, error.path or path
            raise


class _Stored(LazyArray):
    """A row is read whole; the handle only saves the memory until then."""

    def __init__(self, backend: SqliteBackend, path: str, info: Info) -> None:
        assert info.shape is not None
        self._backend, self._path, self._info = backend, path, info
        self.shape, self.dtype = info.shape, np.dtype(info.dtype)

    def __getitem__(self, region: Region) -> Value:
        return self._backend.load(self._path, region=region)


def _find(database: sqlite3.Connection, path: str) -> bytes | str:
    """Return the bytes of a file, or ``FOLDER``, or ``MISSING``."""
    if not path:
        return FOLDER
    row = database.execute("SELECT content FROM entry WHERE path = ?", (path,)).fetchone()
    if row is None:
        return MISSING
    content: bytes | None = row[0]
    return FOLDER if content is None else content


def _content_of(found: bytes | str) -> bytes | None:
    return found if isinstance(found, bytes) else None


def _put(database: sqlite3.Connection, path: str, content: bytes | None) -> None:
    database.execute("INSERT OR REPLACE INTO entry VALUES (?, ?)", (path, content))


def _inside(database: sqlite3.Connection, folder: str) -> list[str]:
    rows = database.execute("SELECT path FROM entry").fetchall()
    return [path for (path,) in rows if not folder or path.startswith(f"{folder}/")]


def _below(path: str, folder: str) -> str:
    return path[len(folder) + 1 :] if folder else path
