"""Stores of bytes: a mapping from keys to bytes, where each value is whole or not there at all.

A :class:`ByteStore` does not know formats, options or arrays: ``FileBackend`` makes a backend of
it. You must write ``stat``, ``read``, ``put``, ``delete`` and ``scan`` only.

Raise the errors of Python (``FileNotFoundError``, ``PermissionError``, ``OSError`` with an
``errno``). ``FileBackend`` adds the name of the backend and the path. If a call has two keys, set
``OSError.filename`` to the key that the error is about.

If your store can do more, inherit a small class, such as :class:`Renames`, and set a field of
``features`` to say who can rely on it. Such an operation is one step of your storage. If it needs
two, do not claim it, because another process could see the state between them.
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
"""Who can rely on a promise.

"thread" means the threads of this process, "host" the processes of this machine, and "all" all
machines. "none" means that there is no promise.
"""

IfPresent: TypeAlias = Literal["replace", "error"]

Content: TypeAlias = "bytes | bytearray | memoryview"

_BUFFER = 1 << 20
"""The bytes of one read of a large value: 1 MiB, so that a network costs few requests."""


class Stat(NamedTuple):
    """The description of a key: its kind, size, time and version."""

    key: str
    kind: Kind = "file"
    """"file", "directory", or "symlink" for a link whose target is missing or not accessible."""
    size: int | None = None
    """The bytes of a file."""
    modified: float | None = None
    """The time of the last change, in seconds since 1970."""
    target: str | None = None
    """The text of the link, if the key is one. The other fields then describe its target."""
    version: str | None = None
    """A text that is different for each content of the key. See :class:`Versions`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFeatures:
    """The promises of one store, and who can rely on them.

    ``polystore-testing`` tests each promise that you make. For example:

        features = StoreFeatures(create_only="host", renames="host", max_value=1 << 30)
    """

    replace: Scope = "all"
    """``put`` over a value: a reader sees the old value or the new one, always whole."""
    create_only: Scope = "none"
    """``put(if_exists="error")``: of several writers of a new key, exactly one succeeds."""
    delete: Scope = "all"
    """``delete``: a reader sees the value or nothing."""
    durable: bool = False
    """Whether values can survive a power cut. If so, ``sink`` obeys ``durable``."""
    nested_values: bool = True
    """Whether "a" and "a/b" can both be values, as in object stores."""
    max_value: int | None = None
    """The maximum bytes of one value, or ``None``."""
    threads: int = 1
    """How many small calls to make at once. Over a network several are faster than one."""
    renames: Scope = "none"
    """Who can rely on :class:`Renames`. The fields below are the same for other classes."""
    links: Scope = "none"
    folders: Scope = "none"
    locks: Scope = "none"
    versions: Scope = "none"
    trees: Scope = "none"


class Sink(ABC):
    """New bytes for a key. The key keeps its old value until ``commit``.

    For example:

        sink = store.sink("plate/a.tif")
        try:
            sink.file.write(content)
            sink.seal()
            sink.commit()
        finally:
            sink.discard()

    ``discard`` must always be called, and leaves nothing behind. A batch seals many sinks ahead and
    commits them in order.
    """

    file: BinaryIO
    """The file to write the bytes into. You can also read and seek in it."""

    @property
    def wants_flush(self) -> bool:
        """Whether ``durable`` needs a ``flush`` that has not been made yet."""
        return False

    @abstractmethod
    def seal(self, *, flush: bool = True) -> None:
        """End the writing. A batch passes ``flush=False`` and flushes many sinks at once."""

    def flush(self) -> None:  # noqa: B027 - most stores have nothing to flush
        """Make the sealed bytes survive a power cut, if ``durable`` needs that."""

    @abstractmethod
    def commit(self) -> None:
        """Store the bytes at the key. Raises ``FileExistsError`` if it must not be replaced."""

    @abstractmethod
    def discard(self) -> None:
        """Drop the bytes unless they are committed."""


class ByteStore(ABC):
    """A mapping from keys such as "plate/a.tif" to bytes.

    Many threads call it at once, and so do processes that are forked after it was created. It can
    be pickled, and the copy is the same store in another process.
    """

    features: StoreFeatures = StoreFeatures()
    """The promises of this store."""

    durable: bool | None = None
    """The default of ``durable`` for ``sink`` and ``put``."""

    def key(self, path: str, /) -> str:
        """Return the key of ``path``: by default without ".", "//" and "/" at the end.

        The key of a key is itself. Raises ``PathOutsideRootError`` for an absolute path and for
        "..".
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

        A store without :class:`Folders` has values only. "plate" is then not a key, even if
        "plate/a.tif" is one.
        """

    @abstractmethod
    def read(self, key: str, start: int = 0, stop: int | None = None, /) -> bytes:
        """Return ``value[start:stop]``, as a slice of bytes. Raises ``FileNotFoundError``."""

    @abstractmethod
    def scan(self, folder: str = "", /) -> Iterable[Stat]:
        """Yield every value below ``folder`` ("" for all), in any order.

        "plate/a.tif" is below "plate", but "plate" and "plate2/a.tif" are not. All values that
        were stored before the call must be included.
        """

    def entries(self, folder: str, /) -> Iterable[Entry]:
        """Yield the names in ``folder``, in any order. Raises ``FileNotFoundError``.

        By default it finds them with ``scan``, which reads all keys below the folder.
        """
        skip = len(folder) + 1 if folder else 0
        # A dict and not a set, so that the order is that of the store. "plate" occurs many times.
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
        """Open a value for reading. ``whole`` means that all of it will be read.

        By default one ``read`` gets all bytes. If ``whole`` is false, and ``stat`` returns a
        version and more than 1 MiB, each part is a ``read`` of its own. It raises ``OSError``
        (``ESTALE``) if the value was replaced after ``open``, so that two versions never mix.
        """
        if not whole:
            found = self.stat(key)
            if found.version is not None and (found.size or 0) > _BUFFER:
                reader = RangeReader(found.size or 0, partial(self._read_version, found))
                return io.BufferedReader(reader, _BUFFER)
        return io.BytesIO(self.read(key))

    def _read_version(self, found: Stat, start: int, count: int) -> bytes:
        data = self.read(found.key, start, start + count)
        # Checked after the read: if the version is the same now, so were the bytes.
        if self.stat(found.key).version != found.version:
            raise OSError(errno.ESTALE, "it was replaced while it was read", found.key)
        return data

    # ── writing ──────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def put(self, key: str, content: Content, /, *, if_exists: IfPresent = "replace") -> None:
        """Store ``content`` at ``key``, all of it or nothing. It is complete when this returns.

        The caller may reuse the memory of ``content``, so copy it if you keep it. Raises
        ``FileExistsError`` if ``if_exists="error"`` and the key has a value. ``FileBackend`` passes
        only an ``if_exists`` that ``features`` claims.
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
        """Open a file for the new bytes of ``key``. They are dropped if the block raises."""
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
        """Make committed keys survive a power cut, with one flush for many of them.

        Returns the keys that may not survive, each with its error. It is called once only, because
        a second flush can succeed although the first has lost data.
        """
        return {}

    @abstractmethod
    def delete(self, key: str, /) -> None:
        """Delete a value. A missing key is not an error, so that a repeated call is safe."""

    # ── the store ────────────────────────────────────────────────────────────────────────

    def batch(self) -> AbstractContextManager[Self]:
        """Return the store for the time of a batch. It may keep files open for all calls."""
        return nullcontext(self)

    def together(self) -> AbstractContextManager[Callable[[Sink], None]]:
        """Return a function that commits sinks. Discard the sinks after the block.

        By default each key appears at once. A store where it is cheaper shows all of them when the
        block ends, and none if the block raises. The function raises ``FileExistsError`` as
        ``Sink.commit`` does.
        """
        return nullcontext(_commit)

    def require(self, ability: type[Ability], operation: str) -> Ability:
        """Return this store as ``ability``, such as :class:`Renames`.

        Raises ``UnsupportedOperationError`` if it does not inherit the class, or does not claim it.
        """
        name = ability.__name__
        scope: Scope = getattr(self.features, name.lower())
        # Both are needed: a subclass may inherit an ability that its instance cannot promise.
        if isinstance(self, ability) and scope != "none":
            return self
        reason = f'the store {self!r} has features.{name.lower()} = "{scope}"'
        if scope != "none":
            reason += f", but it does not inherit {name}"
        raise UnsupportedOperationError("", operation, reason)

    def claims(self, ability: type[Value]) -> bool:
        """Return whether this store inherits and claims ``ability``, such as :class:`Renames`."""
        scope: Scope = getattr(self.features, ability.__name__.lower())
        return scope != "none" and isinstance(self, ability)

    def close(self) -> None:  # noqa: B027 - most stores hold nothing
        """Release the files and connections of the store."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


# ── optional abilities ───────────────────────────────────────────────────────────────────


class Renames(ABC):
    """For a store that renames a value, a link or a whole folder in one step."""

    @abstractmethod
    def rename(self, source: str, target: str, /, *, if_exists: IfPresent = "replace") -> None:
        """Rename ``source`` to ``target``.

        A folder never replaces anything, and nothing replaces a folder.

        Raises ``FileNotFoundError``, ``FileExistsError``, ``IsADirectoryError``.
        """


class Folders(ABC):
    """For a store that has empty folders. ``stat`` and ``entries`` find them."""

    @abstractmethod
    def make_folder(self, key: str, /) -> None:
        """Create a folder and its missing parents. An existing folder is not an error."""

    @abstractmethod
    def remove_folder(self, key: str, /, *, recursive: bool = False) -> None:
        """Remove a folder. One that is not empty needs ``recursive``.

        Raises ``FileNotFoundError``, and ``OSError`` (``ENOTEMPTY``).
        """


class Links(ABC):
    """For a store with symbolic links. ``stat``, ``open`` and ``read`` follow them."""

    @abstractmethod
    def link(self, source: str, key: str, /, *, replace: bool = False) -> None:
        """Create a link at ``key`` that leads to ``source``, which must exist.

        Raises ``FileNotFoundError``, and ``FileExistsError`` unless ``replace``.
        """

    def link_files(
        self, source: str, target: str, names: Sequence[str], /, *, replace: bool = False
    ) -> Sequence[str]:
        """Link each of ``names`` in the folder ``target`` to the same name in ``source``.

        Override it if many links at once are faster. Returns the names that it did not link: by
        default all of them. The caller links these one by one.
        """
        return names

    @abstractmethod
    def read_link(self, key: str, /) -> str | None:
        """Return the text of the link at ``key``, or ``None`` if it is not a link."""

    @abstractmethod
    def copy_link(self, source: str, key: str, /) -> None:
        """Create a link at ``key`` with the text of the link at ``source``."""


class Locks(ABC):
    """For a store with locks. A lock ends with the process that holds it, even if it is killed."""

    @abstractmethod
    def lock(
        self, key: str, /, *, timeout: float | None = 30.0
    ) -> AbstractContextManager[None]:
        """Hold the lock of ``key`` during a ``with`` block.

        ``timeout`` is in seconds. ``None`` waits for ever. Raises ``LockTimeoutError``.
        """


class Versions(ABC):
    """For a store that replaces a value only if it still has the version that you read."""

    @abstractmethod
    def put_version(self, key: str, content: Content, /, *, version: str) -> None:
        """Replace ``key`` in one step, if its version is ``version``.

        Raises ``VersionConflictError`` if it has another version, or does not exist.
        """


class Trees(ABC):
    """For a store that shows a folder with many values in one step."""

    @abstractmethod
    def tree(
        self, key: str, /, *, if_exists: IfPresent = "error", durable: bool | None = None
    ) -> AbstractContextManager[str]:
        """Return the key of a hidden folder, which becomes ``key`` when the block ends.

        For example:

            with store.tree("run.zarr", if_exists="replace") as hidden:
                store.put(f"{hidden}/zarr.json", document)

        If the block raises, the folder is removed, and ``key`` is as before. With "replace" the
        folder replaces a folder, value or link in one step: a reader finds the old one or the new
        one, always whole. A store that can replace values (``features.replace``) can replace
        folders.

        Raises ``FileExistsError`` for "error" if ``key`` exists, and ``OSError`` (``ENOTSUP``) for
        "replace" if it would need two steps. ``key`` is then as before.
        """


Ability = TypeVar("Ability", Renames, Folders, Links, Locks, Versions, Trees)


# ── defaults ─────────────────────────────────────────────────────────────────────────────


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
