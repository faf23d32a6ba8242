"""Stores that are not folders: in memory, in an archive, and stores of objects.

A tree is built in a temporary folder, so that nothing reaches the store before all is known to be
right. It then appears in one step if the store has ``Trees``. Otherwise its documents come last:
without its document an array does not exist, so nobody finds a part of it. Such a store cannot
replace a tree, because a reader would mix the chunks of both.
"""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Literal

from polystore_core import Folders, Locks, Renames, Trees
from polystore_core.errors import UnsupportedOperationError

from .base import DOCUMENTS, Files, Slot, Stored, StorePath
from .copying import copy_tree, pieces_of
from .local import local_path

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Hashable, Iterator
    from contextlib import AbstractContextManager

    from polystore_core import ByteStore, Entry

    from .base import Kind, Pieces

__all__ = ["ObjectFiles"]

_TOGETHER = 256
"""Files that are committed at once."""
_NOTHING = (FileNotFoundError, NotADirectoryError)


class ObjectFiles(Files):
    """The values of any :class:`ByteStore`.

    ``_mutex`` is the lock of a store that has none: other processes do not know it.
    """

    def __init__(self, store: ByteStore) -> None:
        self.store = store
        self._mutex = threading.RLock()

    def __reduce__(self) -> tuple[type[ObjectFiles], tuple[ByteStore]]:
        return type(self), (self.store,)

    def key_of(self, path: str) -> str:
        return self.store.key(path)

    # ── reading ──────────────────────────────────────────────────────────────────────────

    def kind(self, key: str) -> Kind | None:
        try:
            return self.store.stat(key).kind
        except _NOTHING:
            pass
        try:
            return "directory" if any(True for _ in self.store.scan(key)) else None
        except _NOTHING:
            return None

    def size(self, key: str) -> int | None:
        try:
            return self.store.stat(key).size
        except _NOTHING:
            return None

    def read(self, key: str, most: int) -> Stored | None:
        try:
            stamp = self.stamp(key)
            return Stored(self.store.read(key, 0, most + 1), stamp)
        except _NOTHING:
            return None

    def stamp(self, key: str) -> Hashable:
        found = self.store.stat(key)
        if found.version is not None:
            return found.version
        return found.size, found.modified, self.store.read(key)

    def modified(self, key: str) -> float | None:
        return next(filter(None, (self._modified(f"{key}/{name}") for name in DOCUMENTS)), None)

    def _modified(self, key: str) -> float | None:
        try:
            return self.store.stat(key).modified
        except _NOTHING:
            return None

    def entries(self, key: str) -> list[Entry]:
        return list(self.store.entries(key))

    @contextmanager
    def pinned(self, key: str) -> Iterator[Callable[[], bool]]:
        before = self._documents(key)
        if not any(before) and self.kind(key) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key)
        yield lambda: self._documents(key) == before

    def _documents(self, key: str) -> list[Hashable]:
        found: list[Hashable] = []
        for name in DOCUMENTS:
            try:
                found.append(self.stamp(f"{key}/{name}" if key else name))
            except _NOTHING:
                found.append(None)
        return found

    # ── files ────────────────────────────────────────────────────────────────────────────

    def write(self, key: str, pieces: Pieces) -> None:
        self.store.put(key, b"".join(pieces))

    def replace(self, key: str, pieces: Pieces, *, durable: bool | None = None) -> None:
        self._need("replace", "changing a file")
        super().replace(key, pieces, durable=durable)

    def replace_document(
        self,
        key: str,
        content: bytes,
        *,
        store: str,
        durable: bool | None,
        slot: Slot | None = None,
    ) -> None:
        self.replace(key, [content], durable=durable)

    def _need(self, feature: str, operation: str) -> None:
        if getattr(self.store.features, feature) == "none":
            reason = f'the store {self.store!r} has features.{feature} = "none"'
            raise UnsupportedOperationError("", operation, reason)

    def make_folders(self, key: str, *, durable: bool | None = False) -> None:
        """A folder is there as soon as something is in it."""

    def lock(self, key: str) -> AbstractContextManager[object]:
        store = self.store
        return store.needed(Locks, "lock").lock(key) if store.claims(Locks) else self._mutex

    # ── trees ────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def building(self, store: str, *, durable: bool | None = None) -> Iterator[Slot]:
        with tempfile.TemporaryDirectory(prefix="polystore-") as folder:
            yield Slot(local_path(folder), lambda: True)

    def take_place(
        self,
        tree: StorePath,
        place: str,
        store: str,
        slot: Slot,
        *,
        replace: bool,
        durable: bool | None,
    ) -> None:
        with self.lock(store):
            if tree.files is self:
                self._rename(tree.key, place)
            elif self.store.claims(Trees):
                trees = self.store.needed(Trees, "saving a tree")
                condition: Literal["replace", "error"] = "replace" if replace else "error"
                with trees.tree(place, if_exists=condition, durable=durable) as hidden:
                    self.upload(tree, hidden, durable)
            else:
                left = self._make_room(place, replace=replace)
                self.upload(tree, place, durable, left)

    def _rename(self, tree: str, place: str) -> None:
        if not self.store.claims(Renames) or self.kind(place) is not None:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), place)
        self.store.needed(Renames, "move").rename(tree, place, if_exists="error")

    def _make_room(self, place: str, *, replace: bool) -> set[str]:
        """Remove what a killed writer has left. Raise if there is a whole tree.

        Returns the keys that could not be removed.
        """
        if any(self._documents(place)):
            if not replace:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), place)
            reason = f'the store {self.store!r} has features.trees = "none": delete it first'
            raise UnsupportedOperationError("", "replacing an array", reason)
        left = {found.key for found in self.store.scan(place)}
        if self.store.features.delete == "none":
            return left
        for key in left:
            self.store.delete(key)
        return set()

    def upload(
        self, tree: StorePath, place: str, durable: bool | None, left: Container[str] = ()
    ) -> None:
        """Copy a tree: the chunks first, and the documents after them, the outer ones last.

        Files in ``left`` are there already. They must be the same.
        """
        keys = sorted(_files_below(tree, ""), key=_order)
        for start in range(0, len(keys), _TOGETHER):
            put: list[str] = []
            with ExitStack() as sinks, self.store.together() as commit:
                for inner in keys[start : start + _TOGETHER]:
                    key = f"{place}/{inner}" if place else inner
                    if key in left:
                        self._check_same(tree / inner, key)
                        continue
                    sink = self.store.sink(key, if_exists=self._condition, durable=durable)
                    sinks.callback(sink.discard)
                    for piece in pieces_of(tree / inner):
                        sink.file.write(piece)
                    sink.seal()
                    commit(sink)
                    put.append(key)
            if durable:
                for error in self.store.sync(put).values():
                    raise error

    @property
    def _condition(self) -> Literal["replace", "error"]:
        return "replace" if self.store.features.create_only == "none" else "error"

    def _check_same(self, source: StorePath, key: str) -> None:
        if b"".join(pieces_of(source)) != self.store.read(key):
            reason = "a save that was killed has left a part of another array here"
            raise FileExistsError(errno.EEXIST, reason, key)

    def take_away(self, tree: str, store: str) -> None:
        self._need("delete", "delete")
        if self.store.claims(Folders):
            self.store.needed(Folders, "delete").remove_folder(tree, recursive=True)
        else:
            self.remove(tree)

    def remove(self, tree: str) -> None:
        keys = [found.key for found in self.store.scan(tree)]
        for key in sorted(keys, key=_order, reverse=True):  # without its document it is gone
            self.store.delete(key)

    def remove_empty_group(self, key: str, store: str) -> None:
        self._need("delete", "delete")
        with self.lock(store):
            documents = {f"{key}/{name}" for name in DOCUMENTS}
            if any(found.key not in documents for found in self.store.scan(key)):
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), key)
            self.take_away(key, store)

    def remove_empty_folder(self, key: str) -> None:
        if self.store.claims(Folders):
            self.store.needed(Folders, "delete").remove_folder(key)

    def link_tree(self, key: str, target: StorePath) -> None:
        copy_tree(StorePath(self, key), target)


def _files_below(tree: StorePath, inner: str) -> Iterator[str]:
    for entry in tree.files.entries((tree / inner if inner else tree).key):
        below = f"{inner}/{entry.name}" if inner else entry.name
        if entry.is_dir:
            yield from _files_below(tree, below)
        else:
            yield below


def _order(key: str) -> tuple[bool, int]:
    """Sort chunks before documents, and inner documents before outer ones."""
    return key.rpartition("/")[2] in DOCUMENTS, -key.count("/")
