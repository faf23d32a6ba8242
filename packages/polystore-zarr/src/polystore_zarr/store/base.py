"""A place in a store, and all that Zarr needs of the store around it."""

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
"""Files that make a folder an array or a group."""
DOCUMENTS = (*NODES, ".zattrs", ".zmetadata")
"""Files in which Zarr describes a node: no array or group can have such a name."""
MARKER = "polystore"
"""The attribute for facts that Zarr has no place for: all chunks were written, the byte order.

In a store that is not a folder it also has a random id."""
FLUSHED = f"{HIDDEN_PREFIX}flushed-"
"""The start of the name of a copy: the document of an array that grows, as it was flushed."""
ZIPPED = (".zarr.zip", ".ozx")
"""Suffixes of stores in one zip file (RFC 9 of OME-NGFF)."""

Result = TypeVar("Result")

Kind: TypeAlias = "Literal['file', 'directory', 'symlink', 'special']"
Pieces: TypeAlias = "Iterable[bytes | memoryview]"


_STORE = re.compile(
    rf"(?:\A|(?<=/))(?:[^/]+\.zarr|[^/]*(?:{'|'.join(map(re.escape, ZIPPED))}))(?=/|\Z)",
    re.ASCII | re.IGNORECASE,
)


def end_of_store(key: str) -> int | None:
    """Return where the first name of a store ends in ``key``, ``None`` if there is none."""
    found = _STORE.search(key)
    return None if found is None else found.end()


def suffix_of(name: str) -> str:
    """Return the suffix of a store in lower case, "" if it has none."""
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
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> StorePath:
        head, slash, _ = self.key.rpartition("/")
        return StorePath(self.files, head or ("/" if slash else ""))

    @property
    def base(self) -> StorePath:
        """The same place, for use after the operation."""
        return StorePath(self.files.base, self.key)

    def join(self, names: Sequence[str]) -> StorePath:
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
    """A hidden directory that belongs to us, in which trees are built."""

    path: StorePath
    stays: Callable[[], bool]
    """Whether it is still there. Another one is at its path if one process has deleted the folder
    around the store, and another one has saved into it again."""


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
        """Give the files for the length of an operation, which may keep directories open."""
        return nullcontext(self)

    def full(self, key: str) -> str:
        """Return the name of a key for people."""
        return key

    @abstractmethod
    def key_of(self, path: str) -> str:
        """Return the key that a path of the caller means. Raises ``PathOutsideRootError``."""

    # ── what the store promises ──────────────────────────────────────────────────────────

    @property
    def features(self) -> StoreFeatures:
        """The promises of arrays and groups, which are more than one value of the store."""
        return replace(self.store.features, links="none", nested_values=False)

    def lacking(self) -> dict[str, str]:
        """Return the operations that the store cannot do, with the feature that it lacks."""
        return {}

    def require(self, feature: str, operation: str) -> None:  # noqa: B027 - folders have it all
        """Raise ``UnsupportedOperationError`` if the store does not have ``feature``."""

    def require_new(self, operation: str) -> None:  # noqa: B027 - folders have it all
        """Raise ``UnsupportedOperationError`` if several writers of a new path could all win."""

    def require_lists(self, operation: str) -> None:  # noqa: B027 - folders have it all
        """Raise ``UnsupportedOperationError`` if documents of groups cannot be changed."""

    # ── reading ──────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def kind(self, key: str) -> Kind | None:
        """Return the kind of the thing at ``key``, for a link that of its target.

        A link that leads nowhere is a "symlink".
        """

    def is_free(self, key: str) -> bool:
        """Whether nothing is at ``key``, not even a link. ``False`` if one call cannot tell."""
        return False

    def why_missing(self, key: str) -> str:
        """Return a hint for the user if ``key`` is not there."""
        return ""

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Return the number of bytes of a file, ``None`` if there is none."""

    def is_link(self, key: str) -> bool:
        return False

    @abstractmethod
    def read(self, key: str, most: int) -> Stored | None:
        """Read a document, but no more than ``most`` bytes and one. ``None`` if it is missing."""

    def peek(self, key: str, most: int) -> bytes:
        """Read the first ``most`` bytes of a file, fast. Any error may mean that ``read`` can."""
        return self.store.read(key, 0, most)

    def open(self, key: str) -> BinaryIO:
        """Open a document, chunk or shard for reading, and never wait for it.

        Raises:
            DamagedDataError: there is something else: a folder, a named pipe, a device.
            OSError: there is nothing, or the system refuses.
        """
        try:
            return self.store.open(key)
        except OSError as error:
            self.refuse(key, error)

    def read_parts(self, key: str, split: Callable[[int], int]) -> tuple[bytes, bytes]:
        """Read a chunk in two parts: to cut them out of one piece would copy it.

        ``split`` gets the size of the chunk, and returns that of the first part. Raises as
        ``open`` does.
        """
        with self.open(key) as file:
            size = file.seek(0, os.SEEK_END)
            first = split(size)
            file.seek(0)
            return read_bytes(file.read, first), read_bytes(file.read, size - first)

    def refuse(self, key: str, error: OSError) -> NoReturn:
        """Raise ``error``, or ``DamagedDataError`` if something there cannot be opened."""
        reason = error.strerror or str(error)
        if isinstance(error, IsADirectoryError):
            reason = "it is a folder, not a file"
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
        """Return a value that differs for a new folder at ``key``; ``None`` if nothing does."""
        return None

    @abstractmethod
    def time_of_change(self, key: str) -> float | None:
        """Return the time of the last change, in seconds since 1970."""

    def resolve(self, key: str) -> str:
        """Return ``key`` without links: the same for all names of a place."""
        return key

    @abstractmethod
    def entries(self, key: str) -> list[Entry]:
        """List a folder, without hidden names and the files of file browsers.

        Waits for writers that have moved a tree aside for a moment. It would be missing otherwise.
        """

    @abstractmethod
    def pin_tree(self, key: str) -> AbstractContextManager[Callable[[], bool]]:
        """Give a function that tells whether the same tree is still at ``key``."""

    def settle(self, store: str) -> bool:
        """Wait for a writer that has a tree of ``store`` aside. ``False`` if none has."""
        return False

    @contextmanager
    def steady(self, store: str) -> Iterator[None]:
        """Keep writers out of a store that changes all the time."""
        with self.lock(store):
            self.settle(store)
            yield

    def find_again(self, store: str, look: Callable[[], Result | None]) -> Result | None:
        """Look again for something that may be aside."""
        return None

    # ── files ────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def write(self, key: str, pieces: Pieces) -> None:
        """Write a file that has no readers yet, and its missing folders."""

    def replace(self, key: str, pieces: Pieces, *, durable: bool | None = None) -> None:
        """Replace a file that others may be reading; ``durable`` is that of ``ByteStore.sink``."""
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
        """Write a file; ``False`` if there is one. ``slot`` is a building place of the store."""
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

        ``known`` is the stamp of the file that was read, ``None`` if there was none. Raises
        ``VersionConflictError`` if there is another one by now: begin again. ``slot`` is a
        building place of the store, if the caller has one.
        """

    def changing(self, store: str) -> AbstractContextManager[object]:
        """Change documents of groups: under the lock of a store, if it has one."""
        return self.lock(store)

    @abstractmethod
    def make_folders(self, key: str, *, durable: bool | None = False) -> None:
        """Make a folder and its missing parents, where the store has folders."""

    def make_folder(self, key: str, *, durable: bool | None = False) -> bool:
        """Make a folder; ``False`` if there may be one already."""
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
        """Raise ``UnsupportedOperationError`` unless arrays can grow, as they do in folders."""
        reason = "append to an array in a folder, and copy it here at the end"
        raise UnsupportedOperationError("", "arrays that grow in this store", reason)

    def take_writer_lock(self, key: str) -> HeldLock:
        """Take the lock of the array at ``key``, if arrays can grow: each has one writer.

        Raises ``LockTimeoutError`` at once if it has another one.
        """
        raise NotImplementedError

    def check_regions(self) -> None:  # noqa: B027 - most stores can
        """Raise ``UnsupportedOperationError`` if arrays cannot be written in parts."""

    # ── trees ────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def building(
        self, store: str, *, durable: bool | None = None
    ) -> AbstractContextManager[Slot]:
        """Give a hidden directory to build trees for ``store`` in; it is removed at the end."""

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
        """Put ``tree`` at ``place``: the moment at which readers see it.

        ``tree`` is in ``slot``, or in this store. With ``durable=None`` a tree that replaces
        another is flushed first, so that after a power cut either is there whole.

        Raises ``FileExistsError`` if something is there, unless ``replace``, and ``OSError``
        (``EXDEV``) if the tree must be copied there.
        """

    @abstractmethod
    def take_away(self, tree: str, store: str) -> None:
        """Let a tree of ``store``, or the store itself, disappear in one step, and remove it."""

    def remove_leftovers(self, key: str) -> bool:
        """Remove the chunks of a save that was killed. ``False`` if there are none."""
        return False

    @abstractmethod
    def remove_empty_group(self, key: str, store: str) -> None:
        """Remove a group in which no array, image or group is left.

        Raises ``OSError`` (``ENOTEMPTY``) if another process has saved into it. Then the group
        is whole again.
        """

    @abstractmethod
    def remove_empty_folder(self, key: str) -> None:
        """Remove a folder around stores that holds hidden names and files of file browsers only.

        Raises ``OSError`` (``ENOTEMPTY``) if another process has saved into it, or is saving.
        """

    @abstractmethod
    def link_tree(self, key: str, target: StorePath) -> None:
        """Make the same tree at ``target``, in a building place, without copying if possible."""

    @abstractmethod
    def remove(self, tree: str) -> None:
        """Remove a tree or a file that no reader sees."""

    def remove_link(self, key: str) -> bool:
        """Remove a symbolic link, and not the tree that it leads to. ``False`` if it is not one."""
        return False

    def flush_tree(self, key: str) -> None:  # noqa: B027 - most stores flush as they commit
        """Flush every file and directory of a tree to the device."""
