"""``LocalStore``: files of the local file system as a store of bytes."""

from __future__ import annotations

import copy
import errno
import io
import os
import stat
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from ...abc.backend import Entry
from ...abc.store import (
    ByteStore,
    Folders,
    IfPresent,
    Links,
    Locks,
    Renames,
    Stat,
    StoreFeatures,
    Trees,
)
from ...errors import (
    InvalidOptionError,
    PathOutsideRootError,
    PolystoreError,
    StorageError,
)
from ...errors.storage import durability_unknown
from ...paths import HIDDEN_PREFIX, full_path, join
from ..claims import claim
from ..locking import file_lock
from ..pending import PendingFile, Place
from ..system import (
    follow_links,
    is_missing,
    sync_directory,
)
from .kept import KeptPlaces
from .names import (
    about,
    is_litter_entry,
    is_same,
    link_to,
    refuse_inside,
    remove_hidden,
    replace_by_tree,
    tidy_up,
)
from .places import FreePlaces, Places, RootedPlaces
from .syscalls import (
    flush_bytes,
    flush_name,
    lstat,
    make_link,
    read_link,
    read_rest,
    remove,
    rename,
    scan_directory,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from ...abc.store import Content

__all__ = ["LocalStore"]

_SMALL = 1 << 16
"""Files up to this size (64 KiB) are read by one call."""
_TRIES = 100
"""How often to list a folder again if others replace it."""
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class _File(io.FileIO):
    """A file that can be collected without a warning, because Dask drops copies of handles."""

    # A method in C: errors of one in Python, as Ctrl-C, would be lost.
    __del__ = io.FileIO.close


class LocalStore(ByteStore, Renames, Folders, Links, Locks, Trees):
    """Files of the local file system. Keys are paths.

    For example:

        backend = FileBackend(LocalStore("/data/run"))

    Args:
        root: Keys are relative to this folder, and no key or link leads outside. By default keys
            are any paths.
        durable: Which files survive a power cut. ``None`` flushes files that replace others,
            ``True`` all files and new names, and ``False`` nothing.
    """

    features = StoreFeatures(
        replace="host",
        create_only="host",
        delete="host",
        durable=True,
        nested_values=False,
        renames="host",
        links="host",
        folders="host",
        locks="host",
        trees="host",
    )

    def __init__(
        self, root: str | os.PathLike[str] | None = None, *, durable: bool | None = None
    ) -> None:
        self.root = None if root is None else full_path(root)
        self.durable = durable
        self._places: Places = FreePlaces() if self.root is None else RootedPlaces(self.root)
        self._identify_folder: Callable[[str], Hashable] = _identify_folder

    def key(self, path: str, /) -> str:
        return path  # ``places`` checks that it does not lead out of the root

    def identity(self, key: str, /) -> Hashable:
        path = key if self.root is None else os.path.join(self.root, key)
        if not is_missing(path):
            path = follow_links(path)
        folder, name = os.path.split(path)
        return self._identify_folder(folder), name

    def at(
        self,
        key: str,
        /,
        *,
        follow: bool = True,
        create: bool = False,
        durable: bool | None = False,
    ) -> AbstractContextManager[Place]:
        """Return the place of ``key`` for system calls of your own.

        For example:

            with store.at("plate/a.txt") as place:
                os.utime(place.name, dir_fd=place.dir_fd, follow_symlinks=False)

        Always pass ``follow_symlinks=False`` or ``O_NOFOLLOW``, because another process may put a
        link there. ``dir_fd`` is open until the block ends, and in a ``batch`` also for the next
        call. The options and errors are those of ``Places.at``.
        """
        return self._places.at(key, follow=follow, create=create, durable=durable)

    @property
    def places(self) -> Places:
        """The places of keys, for many system calls of your own."""
        return self._places

    def keep_places(self) -> Places:
        """Return places that keep the folders below a root open until you close them."""
        places = self._places
        return KeptPlaces(places) if isinstance(places, RootedPlaces) else places

    # ── reading ──────────────────────────────────────────────────────────────────────────

    def stat(self, key: str, /) -> Stat:
        found = self._places.stat(key, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode):
            return _describe(key, found)
        target = self.read_link(key)
        try:
            return _describe(key, self._places.stat(key), target)
        except OSError as error:
            if error.errno not in _NOTHING_THERE:
                raise
            return Stat(key, "symlink", target=target)

    def open(self, key: str, /, *, whole: bool = False) -> BinaryIO:
        # The file object has the descriptor from the start, so Ctrl-C cannot lose it.
        file = _File(key, "r", opener=self._open)
        if whole and (size := os.fstat(file.fileno()).st_size) <= _SMALL:
            with file:
                # One byte more finds a file without a size (/proc), or one that has grown.
                data = os.read(file.fileno(), size + 1)
                return io.BytesIO(data if len(data) == size else data + file.readall())
        return cast("BinaryIO", file)

    def _open(self, key: str, _flags: int) -> int:
        return self._places.open(key)

    def read(self, key: str, start: int = 0, stop: int | None = None, /) -> bytes:
        held: list[int] = []
        try:
            # In one call of C, because between two Ctrl-C could lose the descriptor.
            held.extend(map(self._places.open, (key,)))
            descriptor = held[0]
            size = os.fstat(descriptor).st_size
            if not size:  # it is empty, or in /proc, where files have no size
                return read_rest(descriptor)[start:stop]
            first, last, _ = slice(start, stop).indices(size)
            count = max(last - first, 0)
            if first:
                os.lseek(descriptor, first, os.SEEK_SET)
            data = os.read(descriptor, count)
            if len(data) < count:  # Linux reads at most 2 GiB in one call
                data += read_rest(descriptor, count - len(data))
            return data
        finally:
            for descriptor in held:
                os.close(descriptor)

    def scan(self, folder: str = "", /) -> Iterator[Stat]:
        waiting = [folder]
        gone = suppress(FileNotFoundError, NotADirectoryError)  # deleted after it was listed
        while waiting:
            inner = waiting.pop()
            entries: Iterable[Entry] = ()
            with gone:
                entries = self.entries(inner)
            for entry in entries:
                key = join(inner, entry.name)
                if not entry.is_dir:
                    with gone:
                        yield self._stat_inside(key, entry)
                elif not entry.is_symlink:
                    waiting.append(key)

    def _stat_inside(self, key: str, entry: Entry) -> Stat:
        try:
            return self.stat(key)
        except (PathOutsideRootError, PermissionError):  # one bad link must not end the scan
            if not entry.is_symlink:
                raise
            return Stat(key, "symlink", target=self.read_link(key))

    def entries(self, folder: str, /) -> Iterable[Entry]:
        path = folder or "."
        for _ in range(_TRIES):
            with self._places.at(path) as place, scan_directory(place) as (found, status):
                entries = [
                    Entry(entry.name, self._leads_to_dir(folder, entry), entry.is_symlink())
                    for entry in found
                    if not (entry.name.startswith(HIDDEN_PREFIX) or is_litter_entry(entry))
                ]
                # If ``tree`` has replaced the folder by now, some names are missing: list again.
                if status is None or os.path.samestat(status, self._places.stat(path)):
                    return entries
        reason = f"it was replaced {_TRIES} times while it was listed: stop the writers"
        raise OSError(errno.ESTALE, reason, folder)

    def _leads_to_dir(self, folder: str, entry: os.DirEntry[str]) -> bool:
        try:
            if self.root is None or not entry.is_symlink():
                return entry.is_dir()
            # Not entry.is_dir(), which would follow the link out of the root.
            return stat.S_ISDIR(self._places.stat(join(folder, entry.name)).st_mode)
        except PathOutsideRootError:
            return False
        except OSError as error:  # one bad link must not hide the other names
            if error.errno not in (*_NOTHING_THERE, errno.EACCES):
                raise
            return False

    # ── writing ──────────────────────────────────────────────────────────────────────────

    def put(self, key: str, content: Content, /, *, if_exists: IfPresent = "replace") -> None:
        with self.writing(key, if_exists=if_exists) as file:
            file.write(content)

    def sink(
        self, key: str, /, *, if_exists: IfPresent = "replace", durable: bool | None = None
    ) -> PendingFile:
        if durable is None:
            durable = self.durable
        place = partial(self._places.at, key, create=True, durable=durable)
        return PendingFile(
            key,
            durable=durable,
            exclusive=if_exists == "error",
            place=None if self.root is None else place,
        )

    def sync(self, keys: Sequence[str], /) -> dict[str, OSError]:
        failed: dict[str, OSError] = {}
        flushed: dict[tuple[int, int], OSError | None] = {}
        for key in keys:
            try:
                with self._places.at(key) as place:
                    folder = os.path.dirname(place.name) or "."
                    found = os.stat(folder, dir_fd=place.dir_fd)
                    identity = found.st_dev, found.st_ino
                    # By device and inode, because a folder may have several paths.
                    if identity not in flushed:
                        flushed[identity] = _flush(Place(folder, place.dir_fd))
                    error = flushed[identity]
            except (OSError, PathOutsideRootError) as reason:
                failed[key] = durability_unknown(reason, key)
            else:
                if error is not None:
                    failed[key] = durability_unknown(error, key)
        return failed

    def delete(self, key: str, /) -> None:
        with suppress(FileNotFoundError), self._places.at(key, follow=False) as place:
            os.unlink(place.name, dir_fd=place.dir_fd)

    # ── names ────────────────────────────────────────────────────────────────────────────

    def make_folder(self, key: str, /) -> None:
        with self._places.at(join(key, "_"), follow=False, create=True, durable=self.durable):
            pass  # the place of a name in the folder exists, and so does the folder

    def remove_folder(self, key: str, /, *, recursive: bool = False) -> None:
        with self._places.at(key, follow=False) as place:
            if recursive:
                remove(place)
                return
            remove_hidden(place)
            # Not a tree: that would also delete files that others have saved after we looked.
            os.rmdir(place.name, dir_fd=place.dir_fd)

    def rename(self, source: str, target: str, /, *, if_exists: IfPresent = "replace") -> None:
        replace = if_exists == "replace"
        with ExitStack() as held:
            with about(source):
                old = held.enter_context(self._places.at(source, follow=False))
                moved = lstat(old)
            if stat.S_ISDIR(moved.st_mode) and source != target:
                refuse_inside(source, target)
            with (
                about(target),
                self._places.at(target, follow=False, create=True, durable=self.durable) as new,
            ):
                try:
                    present = lstat(new)
                except FileNotFoundError:
                    present = None
                if present is not None:
                    if is_same(moved, present, target, replace):
                        return
                    if stat.S_ISLNK(moved.st_mode):
                        self._refuse_own_file(source, present, target)
                if present is not None and self.durable is not False:
                    flush_bytes(old, moved)
                try:
                    rename(old, new, replace=replace and not stat.S_ISDIR(moved.st_mode))
                except OSError as error:
                    if error.errno != errno.EXDEV or not stat.S_ISLNK(moved.st_mode):
                        raise
                    make_link(read_link(old), new, replace=replace)
                    os.unlink(old.name, dir_fd=old.dir_fd)
                if self.durable:
                    flush_name(new, target, "move")

    def _refuse_own_file(self, link: str, present: os.stat_result, target: str) -> None:
        """Raise if a link would replace its own target, and only the link would be left."""
        try:
            found = self._places.stat(link)
        except (OSError, PathOutsideRootError):
            return
        if os.path.samestat(found, present):
            expected = f"a path other than that of the file to which {link!r} leads"
            raise InvalidOptionError("target", target, expected)

    def link(self, source: str, key: str, /, *, replace: bool = False) -> None:
        with about(source):
            found = self._places.stat(source)
        with about(key), self._places.at(key, follow=False, create=True) as place:
            link_to(self._places.link_text(source, key), found, place, key, replace)

    def link_files(
        self, source: str, target: str, names: Sequence[str], /, *, replace: bool = False
    ) -> list[str]:
        left = []
        any_old, any_new = join(source, "_"), join(target, "_")
        with (
            self._places.at(any_old, follow=False) as old,
            self._places.at(any_new, follow=False, create=True) as new,
        ):
            text = self._places.link_text(source, any_new)
            for name in names:
                origin = Place(f"{old.name[:-1]}{name}", old.dir_fd)
                place = Place(f"{new.name[:-1]}{name}", new.dir_fd)
                try:
                    found = lstat(origin)
                    if stat.S_ISLNK(found.st_mode):  # it may lead outside of the root
                        left.append(name)
                    else:
                        link_to(f"{text}/{name}", found, place, name, replace)
                except (OSError, PolystoreError):  # ``link`` raises the same error
                    left.append(name)
        return left

    def read_link(self, key: str, /) -> str | None:
        try:
            with self._places.at(key, follow=False) as place:
                return read_link(place)
        except OSError as error:
            # EINVAL means that it is not a link.
            if error.errno not in (errno.EINVAL, *_NOTHING_THERE):
                raise
            return None

    def copy_link(self, source: str, key: str, /) -> None:
        with self._places.at(source, follow=False) as old, self._places.at(key) as new:
            make_link(read_link(old), new, replace=False)

    def lock(
        self, key: str, /, *, timeout: float | None = 30.0
    ) -> AbstractContextManager[None]:
        if self.root is None:
            return file_lock(key, timeout=timeout)
        return self._lock(key, timeout)

    @contextmanager
    def _lock(self, key: str, timeout: float | None) -> Iterator[None]:
        with ExitStack() as held:
            place = held.enter_context(self._places.at(key, create=True))
            try:
                held.enter_context(file_lock(place.name, timeout=timeout, dir_fd=place.dir_fd))
            except StorageError as error:
                error.path = key
                raise
            yield

    @contextmanager
    def tree(
        self, key: str, /, *, if_exists: IfPresent = "error", durable: bool | None = None
    ) -> Iterator[str]:
        """Return the key of a hidden folder, which becomes ``key`` when the block ends.

        "replace" needs Linux and a file system that can exchange two names (ext4, XFS, Btrfs, tmpfs
        and others). With ``durable=None`` the new files are flushed if they replace something.
        """
        if durable is None:
            durable = self.durable
        name = HIDDEN_PREFIX + os.urandom(8).hex()
        with self._places.at(key, follow=False, create=True, durable=durable) as place:
            hidden = Place(os.path.join(os.path.dirname(place.name), name), place.dir_fd)
            if if_exists == "error":
                with suppress(FileNotFoundError):
                    lstat(place)
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), key)
            try:
                os.mkdir(hidden.name, dir_fd=hidden.dir_fd)
                with claim(hidden.name, dir_fd=hidden.dir_fd):
                    yield join(os.path.dirname(key), name)
                    if if_exists == "error":
                        rename(hidden, place, replace=False)
                    else:
                        replace_by_tree(hidden, place, key, durable)
                if durable:
                    flush_name(place, key, "copy")
            finally:
                tidy_up(hidden)  # it is the new tree if the block raised, else the old one

    # ── the store ────────────────────────────────────────────────────────────────────────

    @contextmanager
    def batch(self) -> Iterator[Self]:
        store = copy.copy(self)
        # The names of a plate are in one folder.
        store._identify_folder = cache(_identify_folder)
        store._places = self.keep_places()
        try:
            yield store
        finally:
            if store._places is not self._places:
                store._places.close()

    def close(self) -> None:
        self._places.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{'' if self.root is None else f' {self.root!r}'}>"


def _identify_folder(folder: str) -> Hashable:
    try:
        found = os.stat(folder or ".")
    except FileNotFoundError:
        return os.path.realpath(folder)
    return found.st_dev, found.st_ino


def _describe(key: str, found: os.stat_result, target: str | None = None) -> Stat:
    if stat.S_ISDIR(found.st_mode):
        return Stat(key, "directory", None, found.st_mtime, target)
    return Stat(key, "file", found.st_size, found.st_mtime, target)


def _flush(folder: Place) -> OSError | None:
    try:
        sync_directory(folder.name, dir_fd=folder.dir_fd)
    except OSError as error:
        return error
    return None
