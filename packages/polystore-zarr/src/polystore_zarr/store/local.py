"""Stores in a local file system, with or without a root."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

from polystore_core import LocalStore, rename_new, try_lock
from polystore_core.errors import LockTimeoutError, PathOutsideRootError, VersionConflictError

from . import asides, trees
from .base import Stored, StorePath, end_of_store
from .calls import Calls, new_file
from .copying import copy_file
from .reading import read_bytes
from .slots import new_name
from .trees import same_at

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from contextlib import AbstractContextManager

    from polystore_core import Entry, HeldLock

    from .base import Kind, Pieces, Slot

__all__ = ["LocalFiles", "local_path", "stamp_of"]

Result = TypeVar("Result")


class LocalFiles(Calls):
    """The files of a :class:`LocalStore`. Trees are built in hidden folders next to the store.

    Keys are absolute paths, or relative to the root if there is one. An object with a ``base`` is
    for one operation in one thread, because it keeps directories open.
    """

    def __init__(self, store: LocalStore, base: LocalFiles | None = None) -> None:
        self.store, self._base = store, base
        self._locks: dict[str, str] = {}
        if base is None:
            self.places = store.places
            # The root may be a store itself, and all paths are then nodes in it.
            self.is_store = end_of_store(store.root or "") is not None
        else:
            self.places, self.is_store = store.keep_places(), base.is_store

    @property
    def base(self) -> LocalFiles:
        return self._base or self

    def keep_open(self) -> AbstractContextManager[LocalFiles]:
        return nullcontext(self) if self._base else LocalFiles(self.store, self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.places.close()

    def lock_of(self, store: str) -> str:
        if self._base is None:
            return super().lock_of(store)
        # The same lock for the whole operation, also if a link above changes in between.
        lock = self._locks.get(store)
        if lock is None:
            lock = self._locks[store] = super().lock_of(store)
        return lock

    def full(self, key: str) -> str:
        root = self.store.root
        return key if root is None else os.path.join(root, key)

    def key_of(self, path: str) -> str:
        root = self.store.root
        if root is None:
            # Absolute, so that a handle means the same array in a worker, and after os.chdir.
            return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
        parts: list[str] = []
        for part in path.split("/"):
            # Inside a store, ".." is kept here, and `address` refuses it.
            if part == ".." and end_of_store("/".join(parts)) is None:
                if not parts:
                    raise PathOutsideRootError("", path, root)
                parts.pop()
            elif part not in ("", "."):
                parts.append(part)
        if path.startswith("/"):
            raise PathOutsideRootError("", path, root)
        return "/".join(parts)

    def resolve(self, key: str) -> str:
        return self.places.resolve(key)

    # ── reading ──────────────────────────────────────────────────────────────────────────

    def kind(self, key: str) -> Kind | None:
        try:
            mode = self.places.stat(key).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return "symlink" if self.is_link(key) else None
        except OSError as error:
            # Nothing can be at a name that is too long, or at a link that leads to itself.
            if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
                return None
            raise
        if stat.S_ISDIR(mode):
            return "directory"
        return "file" if stat.S_ISREG(mode) else "special"

    def size(self, key: str) -> int | None:
        try:
            status = self.places.stat(key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def is_link(self, key: str) -> bool:
        try:
            return stat.S_ISLNK(self.places.stat(key, follow_symlinks=False).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def read(self, key: str, most: int) -> Stored | None:
        held: list[int] = []
        try:
            # One call in C. Between two calls in Python, Ctrl-C could lose the descriptor.
            held.extend(map(self.places.open, (key,)))
            found = os.fstat(held[0])
            # One byte more than allowed tells the caller that the file is too large.
            content = os.read(held[0], min(found.st_size, most) + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self.refuse(key, error)
        finally:
            for descriptor in held:
                os.close(descriptor)
        return Stored(content, stamp_of(found))

    def read_parts(self, key: str, split: Callable[[int], int]) -> tuple[bytes, bytes]:
        # Without a file object, which makes more system calls. Each call releases Python's lock,
        # and this thread may have to wait for it again.
        held: list[int] = []
        try:
            held.extend(map(self.places.open, (key,)))
            size = os.fstat(held[0]).st_size
            first, read = split(size), partial(os.read, held[0])
            return read_bytes(read, first), read_bytes(read, size - first)
        except OSError as error:
            self.refuse(key, error)
        finally:
            for descriptor in held:
                os.close(descriptor)

    def stamp(self, key: str) -> tuple[int, ...]:
        # The same as ``stamp_of``, inline because it is called often.
        found = self.places.stat(key)
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _stamp_or_none(self, key: str) -> tuple[int, ...] | None:
        try:
            return self.stamp(key)
        except FileNotFoundError:
            return None

    def folder_identity(self, key: str) -> Hashable:
        try:
            found = self.places.stat(key)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def time_of_change(self, key: str) -> float | None:
        return self.places.stat(key).st_mtime

    def entries(self, key: str) -> list[Entry]:
        # Repeat until no tree was aside, because it would be missing in the listing.
        while True:
            names = self.names(key)
            hidden = [name for name in names if asides.is_aside(name)]
            if not any(asides.settle_visible(self, key, name) for name in hidden):
                return list(self.store.entries(key))

    def pin_tree(self, key: str) -> AbstractContextManager[Callable[[], bool]]:
        return same_at(self, key)

    def settle(self, store: str) -> bool:
        return asides.settle(self, store)

    def find_again(self, store: str, look: Callable[[], Result | None]) -> Result | None:
        return asides.find_again(self, store, look)

    # ── files ────────────────────────────────────────────────────────────────────────────

    def write(self, key: str, pieces: Pieces, *, mode: int | None = None) -> None:
        try:
            file = self.places.run(new_file, key)
        except FileNotFoundError:
            self.make_missing(os.path.dirname(key))
            file = self.places.run(new_file, key)
        except FileExistsError:  # it may be a hard link to a file that readers see
            self.unlink(key)
            file = self.places.run(new_file, key)
        with file:
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), mode)
            for piece in pieces:
                view = memoryview(piece)
                while view:  # Linux writes at most 2 GiB in one call
                    view = view[file.write(view) :]

    def create(
        self,
        key: str,
        content: bytes,
        *,
        durable: bool | None = None,
        slot: Slot | None = None,
    ) -> bool:
        if slot is None:
            return super().create(key, content, durable=durable)
        # The slot is there already, and no reader looks into it.
        new = f"{slot.path.key}/{new_name()}"
        self.write(new, [content])
        if durable:
            self.flush_file(new)
        try:
            self.places.run_both(rename_new, new, key)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno != errno.EXDEV:  # EXDEV: the group is on another disk than the store
                raise
            return super().create(key, content, durable=durable)
        if durable:
            self.flush_name(key)
        return True

    def make_folder(self, key: str, *, durable: bool | None = False) -> bool:
        try:
            self.mkdir(key)
        except FileExistsError:
            return False
        if durable:
            self.flush_name(key)
        return True

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
        if slot is None:
            with asides.building_place(self, store) as slot:
                self.replace_document(
                    key, content, store=store, durable=durable, known=known, slot=slot
                )
            return
        mode = None
        with suppress(FileNotFoundError):  # .zattrs of Zarr 2 may not exist yet
            # Otherwise a private document would be public, or the other way round.
            mode = stat.S_IMODE(self.places.stat(key).st_mode)
        # Not next to the document: other programs would take the temporary file for a member.
        new = f"{slot.path.key}/{new_name()}"
        self.write(new, [content], mode=mode)
        # Before it gets its name: after a power cut, a name could otherwise have no bytes.
        if durable is not False:
            self.flush_file(new)
        # A write between this look and the rename is still lost: only a common lock excludes it.
        if self._stamp_or_none(key) != known:  # a program that does not use our lock changed it
            raise VersionConflictError("", key, "save", current="")
        self.places.run_both(os.replace, new, key)
        if durable:
            self.flush_name(key)

    def flush_name(self, key: str) -> None:
        self.flush_folder(os.path.dirname(key) or ".")

    def lock(self, key: str) -> AbstractContextManager[None]:
        return self.store.lock(key)

    def check_growing(self) -> None:
        pass

    def take_writer_lock(self, key: str) -> HeldLock:
        # In the folder of the array, where other programs list no files, and so that the lock
        # disappears together with the array.
        with self.places.at(f"{key}/writer") as place:
            try:
                return try_lock(place.name, dir_fd=place.dir_fd)
            except LockTimeoutError as error:
                holder = error.holder or "another process"
                error.path, error.operation = self.full(key), "append"
                error.reason = f"it has a writer, {holder}: close that handle first"
                raise

    # ── trees ────────────────────────────────────────────────────────────────────────────

    def building(
        self, store: str, *, durable: bool | None = None
    ) -> AbstractContextManager[Slot]:
        return asides.building_place(self, store, durable=durable)

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
        if tree.files is not self and tree.files.base is not self.base:
            # The caller then copies the tree, as between two file systems.
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
        """Make the same tree with hard links, which is safe because files never change in place."""
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
    """Return a value that changes if a file is replaced, or changed in place."""
    # With the ctime, because programs such as rsync set the mtime to that of another file.
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
