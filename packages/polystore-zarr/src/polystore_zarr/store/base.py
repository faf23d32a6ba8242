"""A place in a store, and the operations of a store that Zarr needs."""

from __future__ import annotations

import errno
import os
import re
from abc import ABC, abstractmethod
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from polystore_core import HIDDEN_PREFIX
from polystore_core.errors import DamagedDataError, UnsupportedOperationError

from .reading import read_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import BinaryIO, Literal, NoReturn

    from polystore_core import ByteStore, Entry, HeldLock, StoreFeatures

__all__ = [
    "DOCUMENTS",
    "FLUSHED",
    "MARKER",
    "NODES",
    "ZIPPED",
    "Files",
    "Slot",
    "StorePath",
    "Stored",
    "end_of_store",
    "suffix_of",
]

NODES = ("zarr.json", ".zarray", ".zgroup")
"""The files that make a folder an array or a group."""
DOCUMENTS = (*NODES, ".zattrs", ".zmetadata")
"""The files with the metadata of a node. An array or group cannot have such a name."""
MARKER = "polystore"
"""Our attribute, for facts without a field in Zarr: that all chunks were written, the byte order.

In a store that is not a folder, it also has a random id."""
FLUSHED = f"{HIDDEN_PREFIX}flushed-"
"""The start of the name of a flushed copy of the document of an array that grows."""
ZIPPED = (".zarr.zip", ".ozx")
"""Suffixes of stores in one zip file (RFC 9 of OME-NGFF)."""

Result = TypeVar("Result")

Kind: TypeAlias = "Literal['file', 'directory', 'symlink', 'special']"
Pieces: TypeAlias = "Iterable[bytes | memoryview]"


# ASCII, because IGNORECASE alone also takes "ı" for "i", which is another name.
_STORE = re.compile(
    rf"(?:\A|(?<=/))(?:[^/]+\.zarr|[^/]*(?:{'|'.join(map(re.escape, ZIPPED))}))(?=/|\Z)",
    re.ASCII | re.IGNORECASE,
)


def end_of_store(key: str) -> int | None:
    """Return the end of the first name of a store in ``key``, or ``None`` if there is none."""
    found = _STORE.search(key)
    return None if found is None else found.end()


def suffix_of(name: str) -> str:
    """Return the suffix of a store in lower case, or "" if it has none."""
    return next((s for s in (*ZIPPED, ".zarr") if name.lower().endswith(s)), "")


class StorePath(NamedTuple):
    """A place in a store: of a group, an array, a document, a chunk."""

    files: Files
    key: str

    def __truediv__(self, name: str) -> StorePath:
        key = self.key
        return StorePath(self.files, f"{key}/{name}" if key else name)

    @property
    def name(self) -> str:
        """The last name of the key."""
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> StorePath:
        """The folder of this place."""
        head, slash, _ = self.key.rpartition("/")
        return StorePath(self.files, head or ("/" if slash else ""))

    @property
    def base(self) -> StorePath:
        """The same place, for use after the operation."""
        return StorePath(self.files.base, self.key)

    def join(self, names: Sequence[str]) -> StorePath:
        """Return the place with these names below this one."""
        return StorePath(
            self.files, "/".join((self.key, *names)) if self.key else "/".join(names)
        )

    def __str__(self) -> str:
        return self.files.full(self.key)

    def __repr__(self) -> str:
        return repr(str(self))


class Stored(NamedTuple):
    """The content of a small file."""

    content: bytes
    stamp: Hashable


class Slot(NamedTuple):
    """A hidden directory that belongs to this writer, in which trees are built."""

    path: StorePath
    stays: Callable[[], bool]
    """Returns whether it is still at its path. Another one may be there, if one process deletes the
    folder around the store, and another one saves into it again."""


class Files(ABC):
    """The files of stores, by their keys: found, read, written, hidden and removed."""

    store: ByteStore
    is_store: bool = False
    """Whether the root of the files is a Zarr store itself, as in a zipped store."""

    @property
    def base(self) -> Files:
        """The same files, for use after the operation. They keep no directories open."""
        return self

    def keep_open(self) -> AbstractContextManager[Files]:
        """Give the files for one operation, which may keep directories open until its end."""
        return nullcontext(self)

    def full(self, key: str) -> str:
        """Return the name of a key for messages, such as its whole path."""
        return key

    @abstractmethod
    def key_of(self, path: str) -> str:
        """Return the key for a path of the caller. Raises ``PathOutsideRootError``."""

    # ── promises of the store ────────────────────────────────────────────────────────────

    @property
    def features(self) -> StoreFeatures:
        """The promises for arrays and groups, which are several values of the store."""
        return replace(self.store.features, links="none", nested_values=False)

    def lacking(self) -> dict[str, str]:
        """Return the operations that the store cannot do, with the feature that it lacks."""
        return {}

    def require(self, feature: str, operation: str) -> None:  # noqa: B027 - folders have it all
        """Raise ``UnsupportedOperationError`` if the store does not have ``feature``."""

    def require_new(self, operation: str) -> None:  # noqa: B027 - folders have it all
        """Raise ``UnsupportedOperationError`` if several writers could all create one new path."""

    def require_lists(self, operation: str) -> None:  # noqa: B027 - folders have it all
        """Raise ``UnsupportedOperationError`` if documents of groups cannot be changed."""

    # ── reading ──────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def kind(self, key: str) -> Kind | None:
        """Return the kind of the thing at ``key``. For a link, it is the kind of its target.

        A link without a target is a "symlink".
        """

    def is_free(self, key: str) -> bool:
        """Return whether nothing is at ``key``, also no link. ``False`` if one call cannot tell."""
        return False

    def why_missing(self, key: str) -> str:
        """Return a hint for the user if ``key`` does not exist."""
        return ""

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Return the number of bytes of a file, or ``None`` if there is none."""

    def is_link(self, key: str) -> bool:
        """Return whether a symbolic link is at ``key``."""
        return False

    @abstractmethod
    def read(self, key: str, most: int) -> Stored | None:
        """Read at most ``most + 1`` bytes of a document. Return ``None`` if it is missing."""

    def peek(self, key: str, most: int) -> bytes:
        """Read the first ``most`` bytes of a file, fast. If it fails, ``read`` may still work."""
        return self.store.read(key, 0, most)

    def open(self, key: str) -> BinaryIO:
        """Open a document, chunk or shard for reading, and never wait for it.

        Raises:
            DamagedDataError: Something else is there: a folder, a named pipe, a device.
            OSError: Nothing is there, or the system refuses.
        """
        try:
            return self.store.open(key)
        except OSError as error:
            self.refuse(key, error)

    def read_parts(self, key: str, split: Callable[[int], int]) -> tuple[bytes, bytes]:
        """Read a chunk in two parts, because cutting one piece would copy it.

        ``split`` gets the size of the chunk, and returns the size of the first part. Raises the
        errors of ``open``.
        """
        with self.open(key) as file:
            size = file.seek(0, os.SEEK_END)
            first = split(size)
            file.seek(0)
            return read_bytes(file.read, first), read_bytes(file.read, size - first)

    def refuse(self, key: str, error: OSError) -> NoReturn:
        """Raise ``error``, or ``DamagedDataError`` if something else than a file is there."""
        reason = error.strerror or str(error)
        if isinstance(error, IsADirectoryError):
            reason = "it is a folder, not a file"
        # EINVAL is a named pipe or a device (see ``open_regular``), ELOOP a circle of links.
        elif error.errno != errno.EINVAL and not (
            error.errno == errno.ELOOP and self.is_link(key)
        ):
            raise error
        raise DamagedDataError(reason, "zarr", self.full(key)) from error

    @abstractmethod
    def stamp(self, key: str) -> Hashable:
        """Return a value that changes if a file is replaced. Raises ``FileNotFoundError``."""

    def identity(self, key: str, document: str) -> Hashable:
        """Return a value that differs for another array at ``key``.

        Raises ``FileNotFoundError``.
        """
        return self.stamp(f"{key}/{document}" if key else document)

    def folder_identity(self, key: str) -> Hashable:
        """Return a value that differs for a new folder at ``key``, or ``None`` if there is none."""
        return None

    @abstractmethod
    def time_of_change(self, key: str) -> float | None:
        """Return the time of the last change, in seconds since 1970."""

    def resolve(self, key: str) -> str:
        """Return ``key`` without links, which is the same for all names of a place."""
        return key

    @abstractmethod
    def entries(self, key: str) -> list[Entry]:
        """List a folder, without hidden names and the files of file browsers.

        Waits for writers that have a tree aside for a moment, so that it is not missing.
        """

    @abstractmethod
    def pin_tree(self, key: str) -> AbstractContextManager[Callable[[], bool]]:
        """Give a function that tells whether the same tree is still at ``key``."""

    def settle(self, store: str) -> bool:
        """Wait for a writer that has a tree of ``store`` aside. Return ``False`` if none has."""
        return False

    @contextmanager
    def steady(self, store: str) -> Iterator[None]:
        """Keep writers out of a store that changes all the time."""
        with self.lock(store):
            self.settle(store)
            yield

    def find_again(self, store: str, look: Callable[[], Result | None]) -> Result | None:
        """Look again for a node that may be aside."""
        return None

    # ── files ────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def write(self, key: str, pieces: Pieces) -> None:
        """Write a file that has no readers yet, and its missing folders."""

    def replace(self, key: str, pieces: Pieces, *, durable: bool | None = None) -> None:
        """Replace a file that readers may have open. ``durable`` is that of ``ByteStore.sink``."""
        with self.store.writing(key, durable=durable) as file:
            for piece in pieces:
                file.write(piece)

    def create(
        self,
        key: str,
        content: bytes,
        *,
        durable: bool | None = None,
        slot: Slot | None = None,
    ) -> bool:
        """Write a new file. Return ``False`` if there is one already.

        ``slot`` is a hidden directory of the store, if the caller has one.
        """
        try:
            with self.store.writing(key, if_exists="error", durable=durable) as file:
                file.write(content)
        except FileExistsError:
            return False
        return True

    def delete(self, key: str) -> None:
        """Delete a file if it exists."""
        self.store.delete(key)

    @abstractmethod
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
        """Replace a document of a group. The caller is in ``changing``.

        Args:
            key: key of the document.
            content: its new bytes.
            store: key of the store.
            durable: whether it survives a power cut.
            known: the stamp of the file that was read, ``None`` if there was none.
            slot: a hidden directory of the store, if the caller has one.

        Raises:
            VersionConflictError: Another process has replaced the file since. Start again.
        """

    def changing(self, store: str) -> AbstractContextManager[object]:
        """Change documents of groups in the block, under the lock of the store if it has locks."""
        return self.lock(store)

    @abstractmethod
    def make_folders(self, key: str, *, durable: bool | None = False) -> None:
        """Make a folder and its missing parents, if the store has folders."""

    def make_folder(self, key: str, *, durable: bool | None = False) -> bool:
        """Make a folder. Return ``False`` if there may be one already."""
        self.make_folders(key, durable=durable)
        return False

    def flush_name(self, key: str) -> None:
        """Flush the name ``key``, so that it survives a power cut."""
        for error in self.store.sync([key]).values():
            raise error

    @abstractmethod
    def lock(self, key: str) -> AbstractContextManager[object]:
        """Hold the lock of a store, or of an array that is written in parts."""

    def check_growing(self) -> None:
        """Raise ``UnsupportedOperationError`` if arrays cannot grow. They can in folders."""
        reason = "append to an array in a folder, and copy it here at the end"
        raise UnsupportedOperationError("", "arrays that grow in this store", reason)

    def take_writer_lock(self, key: str) -> HeldLock:
        """Take the lock of the array at ``key`` that grows, which can have only one writer.

        Raises:
            LockTimeoutError: It has another writer. This call does not wait.
        """
        raise NotImplementedError

    def check_regions(self) -> None:  # noqa: B027 - most stores can
        """Raise ``UnsupportedOperationError`` if arrays cannot be written in parts."""

    # ── trees ────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def building(
        self, store: str, *, durable: bool | None = None
    ) -> AbstractContextManager[Slot]:
        """Give a hidden directory for building trees of ``store``. It is removed at the end."""

    @abstractmethod
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
        """Put ``tree`` at ``place``. From this moment, readers see it.

        Args:
            tree: the tree, in ``slot`` or in this store.
            place: key of its new place.
            store: key of the store.
            slot: a hidden directory of the store.
            replace: whether to replace a tree at ``place``.
            durable: ``None`` flushes a tree that replaces another, so that after a power cut the
                old or the new tree is whole.

        Raises:
            FileExistsError: Something is at ``place``, and ``replace`` is false.
            OSError: (``EXDEV``) The tree is on another disk, and must be copied.
        """

    @abstractmethod
    def take_away(self, tree: str, store: str) -> None:
        """Hide a tree of ``store``, or the store itself, in one step, and then remove it."""

    def remove_leftovers(self, key: str) -> bool:
        """Remove the chunks of a save that was killed. Return ``False`` if there are none."""
        return False

    @abstractmethod
    def remove_empty_group(self, key: str, store: str) -> None:
        """Remove a group without members.

        Raises:
            OSError: (``ENOTEMPTY``) Another process has saved into the group, which is whole.
        """

    @abstractmethod
    def remove_empty_folder(self, key: str) -> None:
        """Remove a folder around stores that has only hidden names and files of file browsers.

        Raises:
            OSError: (``ENOTEMPTY``) Another process has saved into it, or is saving.
        """

    @abstractmethod
    def link_tree(self, key: str, target: StorePath) -> None:
        """Make the same tree at ``target``, a hidden place, without copying if possible."""

    @abstractmethod
    def remove(self, tree: str) -> None:
        """Remove a tree or a file that readers cannot see."""

    def remove_link(self, key: str) -> bool:
        """Remove a symbolic link, but not its target. Return ``False`` if it is not a link."""
        return False

    def flush_tree(self, key: str) -> None:  # noqa: B027 - most stores flush as they commit
        """Flush every file and directory of a tree to the device."""
