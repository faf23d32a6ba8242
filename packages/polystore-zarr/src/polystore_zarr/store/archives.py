"""Stores in one zip file. They are read like folders, and written whole.

A member is never added to an archive, because a zip file cannot replace members or change their
order.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from polystore_core.errors import InvalidOptionError, PathOutsideRootError

from .archivestore import ArchiveStore, refusal
from .base import ZIPPED, Files, Stored, StorePath
from .copying import copy_file, copy_tree
from .local import LocalFiles
from .packing import comment_for, pack
from .zips import STARTS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Literal

    from polystore_core import Entry

    from .base import Kind, Pieces, Slot

__all__ = ["ArchiveFiles", "archive_at"]

_WHOLE = ("save", "copy to", "move to", "delete", "move")
"""Operations that can change a whole archive, but not a member of it."""
_NEVER = ("create", "create the directory")


def archive_at(path: StorePath) -> ArchiveFiles | None:
    """Return the files of the zipped store at a place of a local store, which may not exist yet.

    Returns ``None`` for all other places. A zip file is a store with any name.
    """
    files, key = path
    if not isinstance(files, LocalFiles):
        return None
    # Nothing but the suffix can decide about an archive that does not exist yet.
    if key.lower().endswith(ZIPPED):
        return None if _is_folder(path) else ArchiveFiles(files, key)
    try:
        is_zip = files.size(key) is not None and _starts_as_zip(path)
    except (OSError, PathOutsideRootError):
        # An operation that needs the store raises the error.
        return None
    return ArchiveFiles(files, key) if is_zip else None


def _is_folder(path: StorePath) -> bool:
    try:
        return path.files.kind(path.key) == "directory"
    except PathOutsideRootError:  # a link that leads out of the root. It can be deleted
        return False


def _starts_as_zip(path: StorePath) -> bool:
    with path.files.open(path.key) as file:
        return file.read(4) in STARTS


class ArchiveFiles(Files):
    """The files of a zipped store at ``key`` of a local store. Trees are built next to it."""

    is_store = True
    store: ArchiveStore

    def __init__(self, local: LocalFiles, key: str) -> None:
        self.store = ArchiveStore(local, key)
        self._local, self._key = local, key

    def __reduce__(self) -> tuple[type[ArchiveFiles], tuple[LocalFiles, str]]:
        # Without the directories that the present operation keeps open.
        return ArchiveFiles, (self._local.base, self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArchiveFiles) and self.full("") == other.full("")

    def __hash__(self) -> int:
        return hash(self.full(""))

    @property
    def base(self) -> ArchiveFiles:
        local = self._local
        return self if local.base is local else ArchiveFiles(local.base, self._key)

    def full(self, key: str) -> str:
        archive = self._local.full(self._key)
        return f"{archive}/{key}" if key else archive

    def key_of(self, path: str) -> str:
        return self.store.key(path)

    def resolve(self, key: str) -> str:
        archive = self._local.resolve(self._key)
        return f"{archive}/{key}" if key else archive

    # ── reading ──────────────────────────────────────────────────────────────────────────

    def kind(self, key: str) -> Kind | None:
        try:
            contents = self.store.contents()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if key in contents.folders:
            return "directory"
        return "file" if key in contents.members else None

    def size(self, key: str) -> int | None:
        try:
            return self.store.stat(key).size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, key: str, most: int) -> Stored | None:
        try:
            # Before the content. If the archive is replaced in between, the new content has the
            # old stamp, and is read again at the next use.
            stamp = self.stamp(key)
            return Stored(self.store.read(key, 0, most + 1), stamp)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def entries(self, key: str) -> list[Entry]:
        return list(self.store.entries(key))

    def stamp(self, key: str) -> Hashable:
        contents = self.store.contents()
        # A member has no stamp of its own. A new archive has another one, and offsets differ
        # within it.
        return contents.stamp, contents.member(key).offset

    def time_of_change(self, key: str) -> float | None:
        return self._local.time_of_change(self._key)

    @contextmanager
    def pin_tree(self, key: str) -> Iterator[Callable[[], bool]]:
        before = self._local.stamp(self._key)

        def is_same() -> bool:
            try:
                return self._local.stamp(self._key) == before
            except (FileNotFoundError, NotADirectoryError):
                return False

        yield is_same

    def link_tree(self, key: str, target: StorePath) -> None:
        source = StorePath(self, key)
        (copy_file if self.kind(key) == "file" else copy_tree)(source, target)

    # ── the archive as a whole ───────────────────────────────────────────────────────────

    def check(self, operation: str, inner: Sequence[str]) -> None:
        """Raise ``UnsupportedOperationError`` for operations that change a part of it."""
        if operation in _NEVER or (operation in _WHOLE and inner):
            raise refusal(self.full(""))

    def check_regions(self) -> None:
        raise refusal(self.full(""))

    def lock(self, key: str) -> AbstractContextManager[object]:
        return self._local.lock(self._key)

    def building(
        self, store: str, *, durable: bool | None = None
    ) -> AbstractContextManager[Slot]:
        return self._local.building(self._key, durable=durable)

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
        if not tree.key.startswith(f"{slot.path.key}/"):
            # The caller then copies the tree first, as from another file system.
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), place)
        comment = comment_for(tree)
        if self._key.lower().endswith(".ozx") and not comment:
            expected = "a path that ends in '.zarr.zip': '.ozx' is for OME-Zarr 0.5"
            raise InvalidOptionError("path", self.full(""), expected)
        condition: Literal["replace", "error"] = "replace" if replace else "error"
        writing = self._local.store.writing(self._key, if_exists=condition, durable=durable)
        # ``held`` is the outer one, so that the lock is released after the archive has its name.
        with ExitStack() as held, writing as file:
            pack(tree, file, comment)
            if replace and self._local.size(self._key) is not None:
                # A reader of an archive that changes all the time takes this lock in the end
                # (``steady``). Then it must not be replaced.
                held.enter_context(self._local.lock(self._key))

    def make_folders(self, key: str, *, durable: bool | None = False) -> None:
        """Do nothing. In an archive, a folder exists when something is in it."""

    def take_away(self, tree: str, store: str) -> None:
        self._local.store.delete(self._key)

    def remove_empty_group(self, key: str, store: str) -> None:
        self._local.store.delete(self._key)

    def write(self, key: str, pieces: Pieces) -> None:
        raise refusal(self.full(""))

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
        raise refusal(self.full(""))

    def remove_empty_folder(self, key: str) -> None:
        raise refusal(self.full(""))

    def remove(self, tree: str) -> None:
        raise refusal(self.full(""))

    def remove_link(self, key: str) -> bool:
        return self._local.remove_link(self._key)

    def flush_tree(self, key: str) -> None:
        self._local.flush_file(self._local.resolve(self._key))

    def flush_name(self, key: str) -> None:
        self._local.flush_name(self._key)
