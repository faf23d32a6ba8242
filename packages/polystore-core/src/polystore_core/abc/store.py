"""Stores of bytes: keys to bytes, each value whole or not at all.

A :class:`ByteStore` knows nothing of formats, options or arrays: ``FileBackend`` makes a backend
of it. ``stat``, ``read``, ``put``, ``delete`` and ``scan`` are all that an author must write.

Stores raise the errors of Python (``FileNotFoundError``, ``PermissionError``, ``OSError`` with an
``errno``), and ``FileBackend`` adds the name of the backend and the path. If a call has two keys,
``OSError.filename`` is the key that the error is about.

A store that can do more inherits a small class, such as :class:`Renames`, and says in a field of
``features`` who can rely on it. A store does such a thing in one step of its own, or refuses it.
With two steps, another process could see the state between them.
"""

from __future__ import annotations

import errno
import io
import os
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, Self, TypeAlias, TypeVar

from ..errors import PathOutsideRootError, UnsupportedOperationError
from ..errors.storage import durability_unknown
from ..paths import HIDDEN_PREFIX, is_litter
from .backend import Entry
from .ranges import RangeReader

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from ..values import Kind, Value

__all__ = [
    "ByteStore",
    "Folders",
    "Links",
    "Locks",
    "Renames",
    "Scope",
    "Sink",
    "Stat",
    "StoreFeatures",
    "Trees",
    "Versions",
]

Scope: TypeAlias = Literal["none", "thread", "host", "all"]
"""Who can rely on a promise: nobody, the threads of this process, the processes of this machine,
or all machines."""

IfPresent: TypeAlias = Literal["replace", "error"]

Content: TypeAlias = "bytes | bytearray | memoryview"

_BUFFER = 1 << 20


class Stat(NamedTuple):
    """The description of a key: its kind, size, time and version."""

    key: str
    kind: Kind = "file"
    """"symlink" only for a link whose target is missing or out of reach."""
    size: int | None = None
    """Bytes, of files."""
    modified: float | None = None
    """Time of the last change, in seconds since 1970."""
    target: str | None = None
    """The text of the link, if the key is one. The other fields then describe its target."""
    version: str | None = None
    """Differs from the versions of all other contents of the key. See :class:`Versions`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFeatures:
    """The promises of one store, and who can rely on them. The kit tests each promise."""

    replace: Scope = "all"
    """``put`` over a value: a reader sees the old one or the new one, whole."""
    create_only: Scope = "none"
    """``put(if_exists="error")``: of several writers of a new key exactly one wins."""
    delete: Scope = "all"
    durable: bool = False
    """Whether values can be made to survive a power cut. If so, ``sink`` obeys ``durable``."""
    nested_values: bool = True
    """Whether "a" and "a/b" may both be values, as in object stores."""
    max_value: int | None = None
    """The most bytes of one value."""
    threads: int = 1
    """How many small calls at once are faster than one after another: over a network, several."""
    renames: Scope = "none"
    links: Scope = "none"
    folders: Scope = "none"
    locks: Scope = "none"
    versions: Scope = "none"
    trees: Scope = "none"


class Sink(ABC):
    """New bytes for a key: write them into ``file``, then ``seal``, then ``commit``.

    Until ``commit`` the key keeps its old value. ``discard`` must always be called, and leaves
    nothing behind. A batch seals many sinks ahead and commits them in order.
    """

    file: BinaryIO
    """Takes the bytes. You can also read and seek in it."""

    @property
    def wants_flush(self) -> bool:
        """Whether ``durable`` asks for a ``flush`` that has not been made."""
        return False

    @abstractmethod
    def seal(self, *, flush: bool = True) -> None:
        """End the writing. A batch passes ``flush=False``, and flushes many sinks at once."""

    def flush(self) -> None:  # noqa: B027 - most stores have nothing to flush
        """Let the sealed bytes survive a power cut, if ``durable`` asks for that."""

    @abstractmethod
    def commit(self) -> None:
        """Give the bytes their key. Raises ``FileExistsError`` if it may not be replaced."""

    @abstractmethod
    def discard(self) -> None:
        """Drop the bytes if they are not committed."""


class ByteStore(ABC):
    """Maps keys such as "plate/a.tif" to bytes.

    Many threads call it at once, and so do processes that are forked after construction.
    A store pickles, and its copy is the same store in another process.
    """

    features: StoreFeatures = StoreFeatures()

    durable: bool | None = None
    """The ``durable`` of ``sink`` and ``put`` if the caller gives none."""

    def key(self, path: str, /) -> str:
        """Return the key that ``path`` means: by default without ".", "//" and "/" at the end.

        A key is a path too, and means itself. Raises ``PathOutsideRootError`` for an absolute
        path and for "..".
        """
        parts = path.split("/")
        if path.startswith("/") or ".." in parts:
            raise PathOutsideRootError("", path, repr(self))
        return "/".join(part for part in parts if part not in ("", "."))

    def identity(self, key: str, /) -> Hashable:
        """Return the same for two keys of one value. Override it if keys have aliases."""
        return key

    # ── reading ──────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def stat(self, key: str, /) -> Stat:
        """Describe the value or folder at ``key``. Raises ``FileNotFoundError``.

        A store without :class:`Folders` knows values only. "plate" is then not a key, even if
        "plate/a.tif" is one.
        """

    @abstractmethod
    def read(self, key: str, start: int = 0, stop: int | None = None, /) -> bytes:
        """Return ``value[start:stop]``, as a slice of bytes. Raises ``FileNotFoundError``."""

    @abstractmethod
    def scan(self, folder: str = "", /) -> Iterable[Stat]:
        """Yield every value below ``folder`` ("" for all), in any order.

        "plate/a.tif" is below "plate", but "plate" and "plate2/a.tif" are not. Values that
        were put before the call are among them.
        """

    def entries(self, folder: str, /) -> Iterable[Entry]:
        """Yield the names in ``folder``, in any order. Raises ``FileNotFoundError``.

        By default it finds them with ``scan``, which reads all keys below the folder.
        """
        skip = len(folder) + 1 if folder else 0
        found: dict[Entry, None] = {}
        exists = not folder
        for stat in self.scan(folder):
            exists = True
            name, slash, _ = stat.key[skip:].partition("/")
            if name and not (name.startswith(HIDDEN_PREFIX) or (is_litter(name) and not slash)):
                found[Entry(name, bool(slash), False)] = None
        if not exists:
            self.stat(folder)
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)
        return found

    def open(self, key: str, /, *, whole: bool = False) -> BinaryIO:
        """Open a value for reading. ``whole`` says that all of it will be read.

        By default one ``read`` gets all of it. If ``whole`` is false and ``stat`` gives a version
        and more than 1 MiB, there is one ``read`` for each part. It raises ``OSError``
        (``ESTALE``) if the value was replaced since ``open``, so parts of two versions never mix.
        """
        if not whole:
            found = self.stat(key)
            if found.version is not None and (found.size or 0) > _BUFFER:
                reader = RangeReader(found.size or 0, partial(self._read_version, found))
                return io.BufferedReader(reader, _BUFFER)
        return io.BytesIO(self.read(key))

    def _read_version(self, found: Stat, start: int, count: int) -> bytes:
        data = self.read(found.key, start, start + count)
        # After the read: if the version is the same, so were all bytes. No version is used twice.
        if self.stat(found.key).version != found.version:
            raise OSError(errno.ESTALE, "it was replaced while it was read", found.key)
        return data

    # ── writing ──────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def put(self, key: str, content: Content, /, *, if_exists: IfPresent = "replace") -> None:
        """Store ``content`` at ``key``, all of it or nothing. It is complete when this returns.

        ``content`` belongs to the caller, so a store that keeps it makes a copy. Raises
        ``FileExistsError`` for ``if_exists="error"`` if the key holds a value. ``FileBackend``
        does not ask for an ``if_exists`` that ``features`` does not claim.
        """

    def sink(
        self, key: str, /, *, if_exists: IfPresent = "replace", durable: bool | None = None
    ) -> Sink:
        """Start new bytes for ``key``. By default they stay in memory until ``commit``."""
        return _Kept(self, key, if_exists)

    @contextmanager
    def writing(
        self, key: str, /, *, if_exists: IfPresent = "replace", durable: bool | None = None
    ) -> Iterator[BinaryIO]:
        """Give a file for the new bytes of ``key``, which are dropped if the block raises."""
        if durable is None:
            durable = self.durable
        sink = self.sink(key, if_exists=if_exists, durable=durable)
        try:
            yield sink.file
            sink.seal()
            sink.commit()
            if durable:
                for error in self.sync([key]).values():
                    raise durability_unknown(error, key)
        finally:
            sink.discard()

    def sync(self, keys: Sequence[str], /) -> dict[str, OSError]:
        """Let committed keys survive a power cut, with one flush for many of them.

        Returns each key that may not survive, with the reason. It is called once only: a second
        flush would succeed although the first has lost something.
        """
        return {}

    @abstractmethod
    def delete(self, key: str, /) -> None:
        """Delete a value. A missing one is not an error, so that a repeated call is safe."""

    # ── the store ────────────────────────────────────────────────────────────────────────

    def batch(self) -> AbstractContextManager[Self]:
        """Give the store for the length of a batch. It may keep files open for all calls."""
        return nullcontext(self)

    def together(self) -> AbstractContextManager[Callable[[Sink], None]]:
        """Give a function that commits sinks. They must be discarded after the block.

        The keys appear at once by default. In a store where it is cheaper they appear together
        when the block ends, and none of them if the block or its end raises. The function raises
        ``FileExistsError`` as ``Sink.commit`` does.
        """
        return nullcontext(_commit)

    def needed(self, ability: type[Ability], operation: str) -> Ability:
        """Return this store as ``ability``, such as :class:`Renames`.

        Raises ``UnsupportedOperationError`` if it cannot do that, or does not claim it.
        """
        name = ability.__name__
        scope: Scope = getattr(self.features, name.lower())
        if isinstance(self, ability) and scope != "none":
            return self
        reason = f'the store {self!r} has features.{name.lower()} = "{scope}"'
        if scope != "none":
            reason += f", but it does not inherit {name}"
        raise UnsupportedOperationError("", operation, reason)

    def claims(self, ability: type[Value]) -> bool:
        """Whether this instance has ``ability``, such as :class:`Renames`."""
        scope: Scope = getattr(self.features, ability.__name__.lower())
        return scope != "none" and isinstance(self, ability)

    def close(self) -> None:  # noqa: B027 - most stores hold nothing
        """Release the files and connections of the store."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


# ── what more a store can do ─────────────────────────────────────────────────────────────


class Renames(ABC):
    """Gives a value, a link or a folder with all that it holds another key, in one step."""

    @abstractmethod
    def rename(self, source: str, target: str, /, *, if_exists: IfPresent = "replace") -> None:
        """Rename ``source``. A folder never replaces anything, and nothing replaces a folder.

        Raises ``FileNotFoundError``, ``FileExistsError``, ``IsADirectoryError``.
        """


class Folders(ABC):
    """Has folders that exist although nothing is in them. ``stat`` and ``entries`` know them."""

    @abstractmethod
    def make_folder(self, key: str, /) -> None:
        """Make a folder and its missing parents. An existing folder is not an error."""

    @abstractmethod
    def remove_folder(self, key: str, /, *, recursive: bool = False) -> None:
        """Remove a folder. One that is not empty needs ``recursive``.

        Raises ``FileNotFoundError``, and ``OSError`` (``ENOTEMPTY``).
        """


class Links(ABC):
    """Has symbolic links. ``stat``, ``open`` and ``read`` follow them, ``delete`` does not."""

    @abstractmethod
    def link(self, source: str, key: str, /, *, replace: bool = False) -> None:
        """Let ``key`` lead to ``source``, which must exist.

        Raises ``FileNotFoundError``, and ``FileExistsError`` unless ``replace``.
        """

    def link_files(
        self, source: str, target: str, names: Sequence[str], /, *, replace: bool = False
    ) -> Sequence[str]:
        """Link each of ``names`` in the folder ``target`` to the same name in ``source``.

        Returns the names that it leaves to ``link``, which links or refuses them one by one: by
        default all of them. Override it if many links at once are faster.
        """
        return names

    @abstractmethod
    def read_link(self, key: str, /) -> str | None:
        """Return the text of the link at ``key``, or ``None`` if no link is there."""

    @abstractmethod
    def copy_link(self, source: str, key: str, /) -> None:
        """Make a link at ``key`` with the text of the link at ``source``."""


class Locks(ABC):
    """Has locks that end with the process that holds them, however it ends."""

    @abstractmethod
    def lock(
        self, key: str, /, *, timeout: float | None = 30.0
    ) -> AbstractContextManager[None]:
        """Hold the lock of ``key`` for the length of a ``with`` block.

        ``timeout`` is in seconds. ``None`` waits for ever. Raises ``LockTimeoutError``.
        """


class Versions(ABC):
    """Replaces a value only if it still has the version that ``stat`` gave."""

    @abstractmethod
    def put_version(self, key: str, content: Content, /, *, version: str) -> None:
        """Replace ``key`` if its version is ``version``, in one step.

        Raises ``VersionConflictError`` if it has another one, or none.
        """


class Trees(ABC):
    """Gives many values their keys in one step: a folder that appears whole."""

    @abstractmethod
    def tree(
        self, key: str, /, *, if_exists: IfPresent = "error", durable: bool | None = None
    ) -> AbstractContextManager[str]:
        """Give the key of a hidden folder, which becomes ``key`` when the block ends.

        If the block raises, the folder is removed, and ``key`` is as before. ::

            with store.tree("run.zarr", if_exists="replace") as hidden:
                store.put(f"{hidden}/zarr.json", document)

        With "replace" the folder takes the place of a folder, value or link in one step: a reader
        finds the old one or the new one, whole. Then the old one is removed. A store that can
        replace values (``features.replace``) can replace folders.

        Raises ``FileExistsError`` for "error" if something is at ``key``, and ``OSError``
        (``ENOTSUP``) for "replace" if this needs two steps. The old one then stays.
        """


Ability = TypeVar("Ability", Renames, Folders, Links, Locks, Versions, Trees)


# ── the defaults ─────────────────────────────────────────────────────────────────────────


def _commit(sink: Sink) -> None:
    sink.commit()


class _Kept(Sink):
    """Keeps the bytes in memory and puts them at ``commit``."""

    def __init__(self, store: ByteStore, key: str, if_exists: IfPresent) -> None:
        self.file = self._content = io.BytesIO()
        self._store, self._key, self._if_exists = store, key, if_exists

    def seal(self, *, flush: bool = True) -> None:
        size, most = self._content.getbuffer().nbytes, self._store.features.max_value
        if most is not None and size > most:
            reason = (
                f"it has {size:,} bytes, but {self._store!r} holds at most {most:,} per value"
            )
            raise OSError(errno.EFBIG, reason, self._key)

    def commit(self) -> None:
        with self._content.getbuffer() as content:
            self._store.put(self._key, content, if_exists=self._if_exists)

    def discard(self) -> None:
        self._content.close()
