"""Stores that are not folders: in memory, in an archive, and stores of objects.

A tree is built in a temporary folder, so that the store gets nothing before all checks are done.
Then it appears in one step if the store has ``Trees``. If not, its documents are put last. Without
its document an array does not exist, so that no reader finds a part of it. Such a store cannot
replace a tree, because a reader would mix the chunks of both.
"""

from __future__ import annotations

import dataclasses
import errno
import os
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal

from polystore_core import Folders, Locks, Renames, Trees, Versions
from polystore_core.errors import (
    DamagedDataError,
    NotFoundError,
    PathOutsideRootError,
    VersionConflictError,
)

from .base import NODES, Files, Slot, Stored, StorePath
from .claims import CLAIM
from .copying import copy_tree
from .keyed import delete_keys, delete_tree, keys_below, lacks, put_tree, refuse_members
from .layout import split_key
from .local import local_path
from .scratch import scratch_folder
from .uploads import Upload, is_document

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from contextlib import AbstractContextManager

    from polystore_core import ByteStore, Entry, StoreFeatures

    from .base import Kind, Pieces

__all__ = ["ObjectFiles"]

_NOTHING = (FileNotFoundError, NotADirectoryError)

_WRITING = ("save", "save_batch", "copy", "move")
_DELETING = ("delete", "delete_all")
_FOLDERS = ("ensure_directory",)


class ObjectFiles(Files):
    """The values of any :class:`ByteStore`."""

    def __init__(self, store: ByteStore) -> None:
        self.store = store

    def __reduce__(self) -> tuple[type[ObjectFiles], tuple[ByteStore]]:
        return type(self), (self.store,)

    def key_of(self, path: str) -> str:
        try:
            return self.store.key(path)
        except PathOutsideRootError as error:
            error.backend = (
                ""  # the caller adds the name of this backend, not of the store's own
            )
            raise

    # ── promises of the store ────────────────────────────────────────────────────────────

    @property
    def features(self) -> StoreFeatures:
        features = super().features
        if not self.store.claims(Trees):
            features = dataclasses.replace(features, replace="none")
        return features

    def lacking(self) -> dict[str, str]:
        features, claims = self.store.features, self.store.claims
        lacking: dict[str, str] = {}
        if not claims(Folders):
            lacking |= dict.fromkeys(_FOLDERS, "folders")
        if features.delete == "none":
            lacking |= dict.fromkeys(_DELETING, "delete")
            if not claims(Renames):
                lacking["move"] = "delete"
        if features.replace == "none":
            lacking["create"] = "replace"
        # Without both, no value can be written at all.
        if features.replace == features.create_only == "none":
            lacking |= dict.fromkeys((*_WRITING, *_FOLDERS), "create_only")
        return lacking

    def require(self, feature: str, operation: str) -> None:
        if getattr(self.store.features, feature) in ("none", False):
            raise lacks(self.store, operation, feature)

    def require_new(self, operation: str) -> None:
        # Under a lock, looking and putting are one step.
        if not (self.store.claims(Trees) or self.store.claims(Locks)):
            self.require("create_only", operation)

    def check_regions(self) -> None:
        self.require("replace", "writing a region")

    def require_lists(self, operation: str) -> None:
        self.require("replace", operation)
        if not (self.store.claims(Locks) or self.store.claims(Versions)):
            raise lacks(self.store, operation, "locks", "versions")

    # ── reading ──────────────────────────────────────────────────────────────────────────

    def kind(self, key: str) -> Kind | None:
        """Return the kind. In a store without folders, each key has directories above it."""
        if not key:
            return "directory"
        try:
            kind = self.store.stat(key).kind
        except _NOTHING:
            kind = None
        # Without trees, the folder of an array exists before the array does.
        if (kind or "directory") != "directory" or (kind and self.store.claims(Trees)):
            return kind
        # The first key of a large array may be far from its zarr.json, but not from .zarray.
        is_folder = self.size(f"{key}/zarr.json") is not None or self._holds_more(key)
        is_folder = is_folder or (kind is not None and not split_key(key)[0])
        return "directory" if is_folder else None

    def _holds_more(self, key: str) -> bool:
        """Return whether ``key`` has more than the chunks of a save that has not ended."""
        for name in keys_below(self.store, key):
            if is_document(name) or not split_key(name)[0]:
                names = (CLAIM, ".zarray", ".zgroup")  # a claim hides only its own place
                sizes = [self.size(f"{key}/{name}") for name in names]
                return sizes[0] is None or sizes[1:] != [None, None]
        return False

    def why_missing(self, key: str) -> str:
        try:
            self.store.stat(key)
        except FileNotFoundError as error:
            return error.hint if isinstance(error, NotFoundError) else ""
        return ""

    def size(self, key: str) -> int | None:
        try:
            found = self.store.stat(key)
        except _NOTHING:
            return None
        if found.kind != "file":
            return None
        # A store may not know sizes. As 0, a chunk that is there would count as missing.
        return len(self.store.read(key)) if found.size is None else found.size

    def read(self, key: str, most: int) -> Stored | None:
        try:
            # The version first. If the value changes in between, new bytes have an old version,
            # and a later write fails. The opposite would overwrite a value that nobody has read.
            version = self.store.stat(key).version
            content = self.store.read(key, 0, most + 1)
        except _NOTHING:
            return None
        except IsADirectoryError:
            raise DamagedDataError("it is a folder, not a file", "zarr", key) from None
        # Without versions, a document is the same as long as its bytes are.
        return Stored(content, version or _digest(content))

    def stamp(self, key: str) -> str:
        return self.store.stat(key).version or _digest(self.store.read(key))

    def identity(self, key: str, document: str) -> Hashable:
        found = self._documents(key)
        if not any(found):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key)
        return found[0] if len(found) == 1 else found

    def _documents(self, key: str) -> tuple[str | None, ...]:
        """Return the stamps of the documents. In Zarr 2, attributes have the id of an array."""
        prefix = f"{key}/" if key else ""
        found = self._stamp_or_none(f"{prefix}zarr.json")
        if found is not None:
            return (found,)
        return tuple(
            self._stamp_or_none(prefix + name) for name in (".zarray", ".zgroup", ".zattrs")
        )

    def _stamp_or_none(self, key: str) -> str | None:
        try:
            return self.stamp(key)
        except _NOTHING:
            return None

    def time_of_change(self, key: str) -> float | None:
        prefix = f"{key}/" if key else ""
        for each in (*([key] if key else []), *(prefix + name for name in NODES)):
            with suppress(*_NOTHING):
                if (found := self.store.stat(each).modified) is not None:
                    return found
        return None

    def entries(self, key: str) -> list[Entry]:
        return list(self.store.entries(key))

    @contextmanager
    def pin_tree(self, key: str) -> Iterator[Callable[[], bool]]:
        # The same documents mean the same tree, because each upload puts a random id into them.
        before = self._documents(key)
        if not any(before) and self.kind(key) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key)
        yield lambda: self._documents(key) == before

    @contextmanager
    def steady(self, store: str) -> Iterator[None]:
        if not self.store.claims(Locks):
            raise OSError(errno.ESTALE, "others save it again and again: try again", store)
        with self.lock(store):
            yield

    # ── files ────────────────────────────────────────────────────────────────────────────

    def write(self, key: str, pieces: Pieces) -> None:
        self.replace(key, pieces)

    def create(
        self,
        key: str,
        content: bytes,
        *,
        durable: bool | None = None,
        slot: Slot | None = None,
    ) -> bool:
        if self.store.features.create_only != "none":
            return super().create(key, content, durable=durable)
        if self.size(key) is not None:
            return False
        self.replace(key, [content], durable=durable)
        return True

    def delete(self, key: str) -> None:
        if self.store.features.delete != "none":
            self.store.delete(key)
        elif self.size(key) is not None:
            self.require("delete", f"deleting {key!r}")

    def replace_document(
        self,
        key: str,
        content: bytes,
        *,
        store: str,
        durable: bool | None,
        known: Hashable,
        slot: Slot | None = None,
    ) -> None:
        if self.store.claims(Locks):
            # The caller holds the lock, so that no other writer can have changed the document.
            self.replace(key, [content], durable=durable)
            return
        versions = self.store.require(Versions, "changing a document")
        if isinstance(known, str):
            versions.put_version(key, content, version=known)
        else:
            try:
                self.store.put(key, content, if_exists="error")
            except FileExistsError:
                raise VersionConflictError("", key, "save", current="") from None
        if durable:
            self.flush_name(key)

    def changing(self, store: str) -> AbstractContextManager[object]:
        self.require_lists("changing the list of a group")
        return self.lock(store) if self.store.claims(Locks) else nullcontext()

    def make_folders(self, key: str, *, durable: bool | None = False) -> None:
        """Make a folder, if the store has folders. In others, it exists with its content."""
        if self.store.claims(Folders):
            self.store.require(Folders, "ensure_directory").make_folder(key)

    def lock(self, key: str) -> AbstractContextManager[object]:
        return self.store.require(Locks, "lock").lock(key)

    # ── trees ────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def building(self, store: str, *, durable: bool | None = None) -> Iterator[Slot]:
        with scratch_folder() as folder:
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
        if tree.files.base is self:
            self._rename(tree.key, place, store, durable)
        elif self.store.claims(Trees):
            self._put_tree(tree, place, store, replace=replace, durable=durable)
        else:
            put_tree(self.store, tree, place, replace=replace, durable=durable)

    def _rename(self, tree: str, place: str, store: str, durable: bool | None) -> None:
        with self._lock_if_any(store):
            if not self.store.claims(Renames) or self.kind(place) is not None:
                # The caller then copies the tree, as between two file systems.
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), place)
            self.store.require(Renames, "move").rename(tree, place, if_exists="error")
        if durable:
            self.flush_name(place)

    def _lock_if_any(self, store: str) -> AbstractContextManager[object]:
        return self.lock(store) if self.store.claims(Locks) else nullcontext()

    def _put_tree(
        self, tree: StorePath, place: str, store: str, *, replace: bool, durable: bool | None
    ) -> None:
        trees = self.store.require(Trees, "save")
        condition: Literal["replace", "error"] = "replace" if replace else "error"
        # The lock is held only for the last step, because an upload can take hours.
        with (
            ExitStack() as locked,
            trees.tree(place, if_exists=condition, durable=durable) as hidden,
        ):
            upload = Upload(self.store, tree, hidden, durable=durable)
            upload.put_chunks()
            upload.put_documents()
            locked.enter_context(self._lock_if_any(store))

    # ── deleting ─────────────────────────────────────────────────────────────────────────

    def take_away(self, tree: str, store: str) -> None:
        if not self.store.claims(Trees):
            delete_tree(self.store, tree)
            return
        with self._lock_if_any(store):
            if self.store.claims(Folders):
                self.store.require(Folders, "delete").remove_folder(tree, recursive=True)
            else:
                self.remove(tree)

    def remove(self, tree: str) -> None:
        # The key itself comes too, because a file has no keys below it.
        delete_keys(self.store, [*keys_below(self.store, tree), tree])

    def remove_leftovers(self, key: str) -> bool:
        is_empty = not any(True for _ in keys_below(self.store, key))
        # With trees, a killed save leaves nothing at its place.
        if is_empty or self.store.claims(Trees):
            return False
        delete_tree(self.store, key)
        return True

    def remove_empty_group(self, key: str, store: str) -> None:
        if not self.store.claims(Trees):
            delete_tree(self.store, key, only_empty=True)
            return
        with self._lock_if_any(store):
            refuse_members(key, keys_below(self.store, key))
            self.take_away(key, store)

    def remove_empty_folder(self, key: str) -> None:
        if self.store.claims(Folders):
            with suppress(*_NOTHING):
                self.store.require(Folders, "delete").remove_folder(key)

    # ── copying and flushing ─────────────────────────────────────────────────────────────

    def link_tree(self, key: str, target: StorePath) -> None:
        copy_tree(StorePath(self, key), target)

    def flush_name(self, key: str) -> None:
        if self.store.features.durable:
            super().flush_name(key)

    def flush_tree(self, key: str) -> None:
        if self.store.features.durable:
            for error in self.store.sync(list(keys_below(self.store, key))).values():
                raise error


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
