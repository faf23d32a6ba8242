"""Stores in a local file system, with or without a root."""

from __future__ import annotations

import errno
import io
import os
import stat
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, TypeVar

from polystore_core import LocalStore
from polystore_core.errors import PathOutsideRootError

from . import asides, trees
from .base import Slot, Stored, StorePath, names_store
from .calls import Calls
from .copying import copy_file
from .slots import new_name
from .trees import same_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from polystore_core import Entry

    from .base import Kind, Pieces

__all__ = ["LocalFiles", "local_path", "stamp_of"]

Result = TypeVar("Result")


class LocalFiles(Calls):
    """The files of a :class:`LocalStore`. Trees are built hidden, beside the store.

    Keys are absolute paths, or relative to the root if there is one.
    """

    def __init__(self, store: LocalStore, base: LocalFiles | None = None) -> None:
        self.store = store
        self.is_store = any(map(names_store, (store.root or "").split("/")))
        self._base = base

    @property
    def base(self) -> LocalFiles:
        return self._base or self

    def kept(self) -> AbstractContextManager[LocalFiles]:
        return nullcontext(self) if self.store.root is None or self._base else self._kept()

    @contextmanager
    def _kept(self) -> Iterator[LocalFiles]:
        with self.store.batch() as store:
            yield LocalFiles(store, self)

    def full(self, key: str) -> str:
        root = self.store.root
        return key if root is None else os.path.join(root, key)

    def key_of(self, path: str) -> str:
        root = self.store.root
        if root is None:
            # Absolute, so that a handle leads to the same array in a worker, and after os.chdir.
            return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
        parts: list[str] = []
        for part in path.split("/"):
            if part == ".." and not any(map(names_store, parts)):
                if not parts:
                    raise PathOutsideRootError("", path, root)
                parts.pop()
            elif part not in ("", "."):
                parts.append(part)
        if path.startswith("/"):
            raise PathOutsideRootError("", path, root)
        return "/".join(parts)

    def resolve(self, key: str) -> str:
        return self.store.resolve(key)

    # ── reading ──────────────────────────────────────────────────────────────────────────

    def kind(self, key: str) -> Kind | None:
        try:
            mode = self.store.status(key).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return "symlink" if self.is_link(key) else None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):  # nothing can be there
                return None
            raise
        if stat.S_ISDIR(mode):
            return "directory"
        return "file" if stat.S_ISREG(mode) else "special"

    def size(self, key: str) -> int | None:
        try:
            status = self.store.status(key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def is_link(self, key: str) -> bool:
        try:
            return stat.S_ISLNK(self.lstat(key).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def read(self, key: str, most: int) -> Stored | None:
        try:
            with self.open(key) as file:
                status = os.fstat(file.fileno())
                size = status.st_size
                content = file.read(min(size, most) + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Stored(content, stamp_of(status))

    def stamp(self, key: str) -> tuple[int, ...]:
        return stamp_of(self.store.status(key))

    def modified(self, key: str) -> float | None:
        return self.store.status(key).st_mtime

    def entries(self, key: str) -> list[Entry]:
        while True:
            names = self.names(key)
            hidden = [name for name in names if asides.is_aside(name)]
            if not any(asides.settle_visible(self, key, name) for name in hidden):
                return list(self.store.entries(key))

    def pinned(self, key: str) -> AbstractContextManager[Callable[[], bool]]:
        return same_at(self, key)

    def settle(self, store: str) -> bool:
        return asides.settle(self, store)

    def found_again(self, store: str, look: Callable[[], Result | None]) -> Result | None:
        return asides.found_again(self, store, look)

    # ── files ────────────────────────────────────────────────────────────────────────────

    def write(self, key: str, pieces: Pieces, *, mode: int | None = None) -> None:
        try:
            descriptor = self.open_new(key)
        except FileNotFoundError:
            self.make_folders(os.path.dirname(key))
            descriptor = self.open_new(key)
        with io.FileIO(descriptor, "w") as file:
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(descriptor, mode)
            for piece in pieces:
                view = memoryview(piece)
                while view:  # Linux writes at most 2 GiB in one call
                    view = view[file.write(view) :]

    def replace_document(
        self, key: str, content: bytes, *, store: str, durable: bool | None
    ) -> None:
        mode = None
        with suppress(FileNotFoundError):  # of Zarr 2, and the first attributes
            mode = stat.S_IMODE(self.store.status(key).st_mode)
        # Not beside its place: other readers would take the temporary file for a member.
        with asides.building_place(self, store) as (hidden, _):
            new = f"{hidden}/{new_name()}"
            self.write(new, [content], mode=mode)
            if durable is not False:
                self.flush_file(new)
            self.rename_file(new, key)
        if durable:
            self.flush_name(key)

    def flush_name(self, key: str) -> None:
        self.flush_folder(os.path.dirname(key) or ".")

    def lock(self, key: str) -> AbstractContextManager[None]:
        return self.store.lock(key)

    # ── trees ────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def building(self, store: str, *, durable: bool | None = None) -> Iterator[Slot]:
        with asides.building_place(self, store, durable=durable) as (hidden, stays):
            yield Slot(StorePath(self, hidden), stays)

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
        if tree.files.base is not self.base:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), place)
        asides.take_place(
            self, tree.key, place, store, slot.path.key, replace=replace, durable=durable
        )

    def take_away(self, tree: str, store: str) -> None:
        asides.hide_tree(self, tree, store)

    def remove(self, tree: str) -> None:
        trees.remove(self, tree)

    def remove_empty_group(self, key: str, store: str) -> None:
        asides.remove_empty_group(self, key, store)

    def remove_empty_folder(self, key: str) -> None:
        asides.remove_empty_folder(self, key)

    def remove_link(self, key: str) -> bool:
        if not self.is_link(key):
            return False
        self.unlink(key)
        return True

    def flush_tree(self, key: str) -> None:
        trees.sync_tree(self, key)

    def link_tree(self, key: str, target: StorePath) -> None:
        """Make the same tree under a second name: files are never changed in place."""
        mode = self.lstat(key).st_mode
        if stat.S_ISDIR(mode):
            self.mkdir(target.key)
            for entry in self.entries(key):
                self.link_tree(f"{key}/{entry.name}", target / entry.name)
        elif stat.S_ISLNK(mode):
            self.store.copy_link(key, target.key)
        else:
            try:
                self.link(key, target.key)
            except (OSError, NotImplementedError):  # no hard links, or too many of them
                copy_file(StorePath(self, key), target)


def local_path(path: str | os.PathLike[str]) -> StorePath:
    """Return the place of a path in the local file system."""
    return StorePath(LocalFiles(LocalStore()), os.path.abspath(path))


def stamp_of(status: os.stat_result) -> tuple[int, ...]:
    """Return what changes if a file is replaced, or changed in place."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
