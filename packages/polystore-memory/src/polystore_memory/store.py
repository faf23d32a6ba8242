"""``MemoryStore``: the values of a memory backend that are ``bytes``, as a store of bytes."""

from __future__ import annotations

import io
import itertools
import posixpath
import threading
import uuid
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO
from weakref import WeakValueDictionary

from polystore_core import (
    HIDDEN_PREFIX,
    ByteStore,
    Entry,
    Folders,
    Locks,
    Renames,
    Stat,
    StoreFeatures,
    Trees,
    Versions,
    is_litter,
)
from polystore_core.errors import (
    AlreadyExistsError,
    DirectoryNotEmptyError,
    InvalidOptionError,
    LockTimeoutError,
    NotADirectoryInPathError,
    NotAFileError,
    UnsupportedDataError,
    VersionConflictError,
)

from .backend import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Literal

    from polystore_core import Value

    IfPresent = Literal["replace", "error"]
    Content = bytes | bytearray | memoryview

__all__ = ["MemoryStore"]

_numbers = itertools.count(1)
"""The next version of a value. Each number is used once."""

_living: WeakValueDictionary[str, MemoryBackend] = WeakValueDictionary()
"""Backends whose stores were pickled, so that unpickling here returns the same store."""


class MemoryStore(ByteStore, Renames, Folders, Locks, Versions, Trees):
    """The values of a :class:`MemoryBackend` as bytes. ``backend.store`` returns it.

    It reads values of ``backend.save`` that are ``bytes``. For other values, reading raises
    ``UnsupportedDataError``, but you can list, replace, rename and delete them. The store follows
    links, but cannot create them.
    """

    # Locks: every method holds the lock of the backend, so all threads see each change whole. The
    # locks of ``lock`` are held without it.

    features = StoreFeatures(
        replace="thread",
        create_only="thread",
        delete="thread",
        nested_values=False,
        renames="thread",
        folders="thread",
        locks="thread",
        versions="thread",
        trees="thread",
    )

    def __init__(self, backend: MemoryBackend) -> None:
        self._backend = backend

    def key(self, path: str, /) -> str:
        with self._backend._lock:
            return self._backend._canonical(path, follow=False)

    # ── reading ──────────────────────────────────────────────────────────────────────────

    def stat(self, key: str, /) -> Stat:
        backend = self._backend
        with backend._lock:
            target = backend._links.get(backend._canonical(key, follow=False))
            place = backend._canonical(key)
            if place in backend._folders:
                return Stat(key, "directory", target=target)
            if place in backend._files:
                value = backend._files[place]
                size = len(value) if isinstance(value, bytes) else None
                return Stat(key, "file", size, target=target, version=self._version(place))
            if target is not None:
                return Stat(key, "symlink", target=target)
            raise backend._missing(key, "describe")

    def _version(self, place: str) -> str:
        return str(self._backend._versions.setdefault(place, next(_numbers)))

    def read(self, key: str, start: int = 0, stop: int | None = None, /) -> bytes:
        value = self._value(key)
        if not isinstance(value, bytes):
            reason = (
                f"it is a {type(value).__name__}, but a store of bytes holds only bytes: load it "
                "from the backend itself"
            )
            name = self._backend.name
            raise UnsupportedDataError(reason, path=key, backend=name, operation="load")
        return value[start:stop]  # without a copy, if it is the whole value

    def _value(self, key: str) -> Value:
        backend = self._backend
        with backend._lock:
            place = backend._canonical(key)
            if place in backend._files:
                return backend._files[place]
            if place in backend._folders:
                raise NotAFileError(backend.name, key, "read")
            raise backend._missing(key, "read")

    def open(self, key: str, /, *, whole: bool = False) -> BinaryIO:
        return io.BytesIO(self.read(key))

    def scan(self, folder: str = "", /) -> Iterable[Stat]:
        backend = self._backend
        found: list[Stat] = []
        waiting = [folder]
        with backend._lock:
            while waiting:
                inner = waiting.pop()
                with suppress(FileNotFoundError, NotADirectoryError):
                    for entry in self.entries(inner):
                        key = posixpath.join(inner, entry.name)
                        if not entry.is_dir:
                            found.append(self.stat(key))
                        elif not entry.is_symlink:
                            waiting.append(key)
        return found

    def entries(self, folder: str, /) -> Iterable[Entry]:
        backend = self._backend
        with backend._lock:
            found = backend._entries(self._folder(folder, "list"))
        return [entry for entry in found if entry.is_dir or not is_litter(entry.name)]

    def _folder(self, key: str, operation: str, *, follow: bool = True) -> str:
        """Return the canonical path of a folder. Raises if the key is not a folder."""
        backend = self._backend
        place = backend._canonical(key, follow=follow)
        if place in backend._folders:
            return place
        if place in backend._files or place in backend._links:
            raise NotADirectoryInPathError(backend.name, key, operation)
        raise backend._missing(key, operation)

    # ── writing ──────────────────────────────────────────────────────────────────────────

    def put(self, key: str, content: Content, /, *, if_exists: IfPresent = "replace") -> None:
        value = bytes(content)  # without a copy, if it is bytes already
        with self._backend._lock:
            self._backend._place(self._backend._canonical(key), value, if_exists)

    def put_version(self, key: str, content: Content, /, *, version: str) -> None:
        value = bytes(content)
        backend = self._backend
        with backend._lock:
            place = backend._canonical(key)
            current = self._version(place) if place in backend._files else None
            if current != version:
                raise VersionConflictError(backend.name, key, "save", current=current)
            backend._set(place, value)

    def delete(self, key: str, /) -> None:
        backend = self._backend
        with backend._lock:
            place = backend._canonical(key, follow=False)
            if place in backend._folders:
                raise NotAFileError(backend.name, key, "delete")
            if self._is_taken(place):
                self._remove(place)

    # ── names ────────────────────────────────────────────────────────────────────────────

    def make_folder(self, key: str, /) -> None:
        backend = self._backend
        with backend._lock:
            place = backend._canonical(key)
            if place in backend._files:
                raise NotADirectoryInPathError(backend.name, key, "create the directory")
            backend._make_folder(place)

    def remove_folder(self, key: str, /, *, recursive: bool = False) -> None:
        backend = self._backend
        with backend._lock:
            place = self._folder(key, "delete", follow=False)
            if backend._folders[place] and not recursive:
                raise DirectoryNotEmptyError(backend.name, key, "delete")
            self._remove(place)

    def _remove(self, place: str) -> None:
        """Remove a value, a link, or a folder with everything in it."""
        backend = self._backend
        if place in ("", "/"):
            raise InvalidOptionError("key", place, "a key inside the root folder")
        backend._forget(backend._tree(place))
        backend._detach(place)

    def rename(self, source: str, target: str, /, *, if_exists: IfPresent = "replace") -> None:
        backend = self._backend
        with backend._lock:
            origin = backend._canonical(source, follow=False)
            if not self._is_taken(origin):
                raise backend._missing(source, "move")
            backend._move(origin, backend._canonical(target, follow=False), if_exists)

    def _is_taken(self, place: str) -> bool:
        backend = self._backend
        return any(place in kept for kept in (backend._files, backend._links, backend._folders))

    @contextmanager
    def tree(
        self, key: str, /, *, if_exists: IfPresent = "error", durable: bool | None = None
    ) -> Iterator[str]:
        backend = self._backend
        hidden = HIDDEN_PREFIX + uuid.uuid4().hex
        with backend._lock:
            self._free(key, if_exists)
            # Not in the set of its parent, so it is not listed.
            backend._folders[hidden] = set()
        try:
            yield hidden
            with backend._lock:
                # Again, because others may have used the place while the block filled the tree.
                place = self._free(key, if_exists)
                if self._is_taken(place):
                    self._remove(place)
                backend._move(hidden, place, "error")
        finally:
            with backend._lock:
                backend._forget(backend._tree(hidden))

    def _free(self, key: str, if_exists: IfPresent) -> str:
        place = self._backend._canonical(key, follow=False)
        if if_exists == "error" and self._is_taken(place):
            raise AlreadyExistsError(self._backend.name, key, "make the folder")
        return place

    @contextmanager
    def lock(self, key: str, /, *, timeout: float | None = 30.0) -> Iterator[None]:
        backend = self._backend
        with backend._lock:
            lock = backend._locks.setdefault(backend._canonical(key), threading.RLock())
        if not lock.acquire(timeout=-1 if timeout is None else timeout):
            raise LockTimeoutError(backend.name, key, "lock", seconds=timeout or 0.0)
        try:
            yield
        finally:
            lock.release()

    # ── the store ────────────────────────────────────────────────────────────────────────

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MemoryStore) and other._backend is self._backend

    def __hash__(self) -> int:
        return hash(self._backend)

    def __reduce__(self) -> tuple[object, ...]:
        backend = self._backend
        with backend._lock:
            tokens = [token for token, living in list(_living.items()) if living is backend]
            token = tokens[0] if tokens else uuid.uuid4().hex
            _living[token] = backend
        return _restore, (token, backend.root, backend._process)


def _restore(token: str, root: str | None, process: int) -> MemoryStore:
    """Unpickle a store: the same one in the process that created it, an empty one in others."""
    backend = _living.get(token)
    if backend is None:
        backend = _living[token] = MemoryBackend(root=root)
        backend._process = process  # its errors then say that values stay in their process
    return backend.store
