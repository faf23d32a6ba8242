"""One zip archive as a backend: values are added to it, and never replaced or deleted.

An archive ends with its directory, so a program that adds a member must write a new directory. If
it writes over the old one and is killed, all members are lost. Here a complete directory is at
the end of the file at every instant, except while a copy of it is written there:

1. A copy of the directory is written to the end, with a hole before it that has room for the rest.
2. The new members and the new directory are written into the hole.
3. The file is cut off behind the new directory.

The hole starts where the old directory is, so that nothing is left behind. This needs two
flushes, or a power cut could take both directories. If the old directory is small compared with
the new members, the hole starts behind it, and nothing must be flushed.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import zlib
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from polystore_core import (
    ByteStore,
    Entry,
    FileBackend,
    PendingFile,
    Sink,
    Stat,
    StoreFeatures,
    file_lock,
    flush_to_device,
    full_path,
    make_directories,
    not_regular,
    sync_directory,
)
from polystore_core.errors import InvalidOptionError, UnsupportedOperationError

from .archive import PIECE, ArchiveFile, Contents, Directory, Mark, crc_of, read_directory
from .records import STORED, Member, fault_of_key, new_member

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Literal, TypeAlias

    from polystore_core import Path

    IfPresent: TypeAlias = Literal["replace", "error"]
    Content: TypeAlias = bytes | bytearray | memoryview

__all__ = ["ZipBackend", "ZipStore"]

_LOCK_SECONDS = 600.0
"""The longest wait for other writers, which hold the lock while they copy their values."""
_LEFT_BEHIND = 8
"""An old directory is left in the file if it has at most 1/8 of the bytes that are added."""
_OPEN_FILES = 64
"""Members that are added together and have a temporary file each. The others share one."""
_PAGE = 4096
"""Systems write this in one step: a short directory is at the end at once, or not at all."""
_SMALL = 1 << 24
"""Values up to this size are read into memory at once."""


class ZipBackend(FileBackend):
    """Save values into one zip archive, and load them, by the suffix of the path.

    The first save makes the archive.

    Args:
        file: path of the archive.
        durable: the default for ``save``: whether a value survives a power cut.
    """

    store: ZipStore

    def __init__(self, *, file: Path, durable: bool | None = None) -> None:
        super().__init__(ZipStore(file, durable=durable))
        self.file = self.store.file
        self.durable = durable

    def __repr__(self) -> str:
        return f"<ZipBackend {self.name or 'zip'!r}, file={self.file!r}>"


class ZipStore(ByteStore):
    """The members of one zip archive. Ours are stored. Other programs may deflate theirs.

    Locks:

    - The bytes of the archive: the lock of the file (``file_lock``), held while members are added.
      Readers need no lock, because a complete directory is always at the end.
    - ``_known``, the directory that was read last: no lock. Threads replace the whole object. An
      old version is still correct, because its members keep their positions.
    """

    features = StoreFeatures(
        replace="none", create_only="host", delete="none", durable=True, nested_values=False
    )

    def __init__(self, file: Path, *, durable: bool | None = None) -> None:
        self.file = full_path(file, "file")
        self.durable = durable
        self._known: Directory | None = None

    def __repr__(self) -> str:
        return f"<ZipStore {self.file!r}>"

    def __reduce__(self) -> tuple[Callable[..., ZipStore], tuple[()]]:
        return partial(ZipStore, self.file, durable=self.durable), ()

    # ── reading ──────────────────────────────────────────────────────────────────────────

    def stat(self, key: str, /) -> Stat:
        return _describe(key, self._directory().member(key))

    def scan(self, folder: str = "", /) -> Iterator[Stat]:
        found = self._contents()
        return (_describe(key, found.members[key]) for key in found.below(folder))

    def entries(self, folder: str, /) -> Iterable[Entry]:
        found = self._contents().folders.get(folder)
        if found is not None:
            return list(found)
        self.stat(folder)
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)

    def read(self, key: str, start: int = 0, stop: int | None = None, /) -> bytes:
        directory = self._directory()
        member = directory.member(key)
        with directory.open(key) as file:
            first, last, _ = slice(start, stop).indices(member.size)
            file.seek(first)
            data = file.read(max(last - first, 0))
        if len(data) == member.size:
            _check_crc(directory, member, zlib.crc32(data))
        return data

    def open(self, key: str, /, *, whole: bool = False) -> BinaryIO:
        """Open a member. ``whole`` checks its CRC-32, which a part of a member does not have."""
        directory = self._directory()
        member = directory.member(key)
        if whole and member.size <= _SMALL:
            return io.BytesIO(self.read(key))
        file = directory.open(key)
        if whole and member.method == STORED:  # zipfile checks deflated members
            _check_crc(directory, member, crc_of(file))
            file.seek(0)
        return file

    def _directory(self) -> Directory:
        """Return the directory as it is now. Raises ``FileNotFoundError`` without an archive."""
        try:
            mark = Mark.of(os.stat(self.file))
        except FileNotFoundError:
            reason = f"the archive {self.file!r} does not exist: the first save makes it"
            raise FileNotFoundError(errno.ENOENT, reason, self.file) from None
        known = self._known
        if known is None or known.mark != mark:
            known = self._known = read_directory(self.file, known)
        return known

    def _contents(self) -> Contents:
        try:
            return self._directory().contents
        except FileNotFoundError:  # no value was saved yet
            return Contents()

    # ── writing ──────────────────────────────────────────────────────────────────────────

    def put(self, key: str, content: Content, /, *, if_exists: IfPresent = "error") -> None:
        with self.writing(key, if_exists=if_exists, durable=self.durable) as file:
            file.write(content)

    def sink(
        self, key: str, /, *, if_exists: IfPresent = "error", durable: bool | None = None
    ) -> Sink:
        if fault := fault_of_key(key):
            raise InvalidOptionError("path", key, f"another name: {fault}")
        return _NewMember(self, key, durable)

    def sync(self, keys: Sequence[str], /) -> dict[str, OSError]:
        try:
            with ArchiveFile(self.file, "r+") as file:
                flush_to_device(file.fileno())
            sync_directory(os.path.dirname(self.file))
        except OSError as error:
            return dict.fromkeys(keys, error)
        return {}

    def delete(self, key: str, /) -> None:
        reason = f'the store {self!r} has features.delete = "none"'
        raise UnsupportedOperationError("", "delete", reason)

    @contextmanager
    def together(self) -> Iterator[Callable[[Sink], None]]:
        """Give a function that commits a sink. All are added at the end, with one directory."""
        with ExitStack() as locked:
            group = _Group()
            yield partial(self._add, group, locked)
            if group.directory is not None and group.added:
                self._append(group.directory, group.added)

    def _add(self, group: _Group, locked: ExitStack, sink: Sink) -> None:
        assert isinstance(sink, _NewMember)
        if group.directory is None:
            make_directories(os.path.dirname(self.file), durable=sink.durable)
            locked.enter_context(file_lock(self.file, timeout=_LOCK_SECONDS))
            group.directory = self._directory_or_new()
        # Under the lock: since the sink was opened, another process may have added this key.
        group.directory.contents.check_new(sink.key)
        group.contents.check_new(sink.key)
        group.contents.add([(sink.key, sink.member)])
        group.added.append(sink)
        if len(group.added) > _OPEN_FILES:
            if group.shared is None:
                group.shared = PendingFile(self.file, durable=False, exclusive=True)
                locked.callback(group.shared.discard)
            sink.move_into(group.shared.file)

    def _directory_or_new(self) -> Directory:
        # O_NONBLOCK: opening a named pipe would wait for ever. It is refused below.
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        flags |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with ArchiveFile(os.open(self.file, flags, 0o666), "r+") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise not_regular(found, self.file)
        if not self._directory().is_still_there():
            self._known = None
        return self._directory()

    def _append(self, old: Directory, sinks: list[_NewMember]) -> None:
        """Write members and a directory, in the steps of the module's docstring."""
        with ArchiveFile(self.file, "r+") as file:
            if Mark.of(os.fstat(file.fileno())) != old.mark:
                reason = "another program has changed it at the same time: try again"
                raise OSError(errno.EBUSY, reason, self.file)
            size = old.mark.size
            free = old.free_from()
            added = sum(sink.member.size for sink in sinks)
            # Bytes behind the directory may be members of a program that was killed, which a
            # repair tool can find. They are not overwritten.
            in_place = old.end.stop == size and (size - free) * _LEFT_BEHIND > added
            flushed = in_place and any(sink.durable is not False for sink in sinks)
            new, tail = _with_members(old, sinks, free if in_place else size)
            # At a page border, so that a kill cannot leave a part of a short directory.
            behind = -(-max(new.end.stop, size) // _PAGE) * _PAGE
            changed = False
            try:
                file.write_at(behind, old.copy_at(behind))
                _flush(file, flushed)  # before the old directory is overwritten
                changed = in_place
                for sink in sinks:
                    sink.write_to(file)
                file.write_at(new.end.offset, tail)
                _flush(file, flushed)  # before the copy at the end is cut off
            except BaseException:
                if not changed:  # the old directory is whole. If it is not, the copy stays
                    file.truncate(size)
                raise
            file.truncate(new.end.stop)
            # Only now: readers of this process must not see members that may not be written.
            new.contents.add((sink.key, sink.member) for sink in sinks)
            self._known = new._replace(mark=Mark.of(os.fstat(file.fileno())))


class _Group:
    """Members that are added together."""

    def __init__(self) -> None:
        self.directory: Directory | None = None
        self.added: list[_NewMember] = []
        self.shared: PendingFile | None = None
        self.contents = Contents()


class _NewMember(Sink):
    """A value that waits in a temporary file next to the archive."""

    member: Member

    def __init__(self, store: ZipStore, key: str, durable: bool | None) -> None:
        self._store, self.key, self.durable = store, key, durable
        self._pending = PendingFile(store.file, durable=durable, exclusive=True)
        self.file = self._pending.file
        self._start = 0
        self._waited = False

    @property
    def wants_flush(self) -> bool:
        """Whether it waits for other sinks: many need only one directory, and one flush."""
        return not self._waited

    def flush(self) -> None:
        self._waited = True

    def seal(self, *, flush: bool = True) -> None:
        size = self.file.seek(0, os.SEEK_END)
        self.file.seek(0)
        # Before the lock is taken, because reading a large value again takes long.
        self.member = new_member(self.key, size, crc_of(self.file))

    def commit(self) -> None:
        with self._store.together() as commit:
            commit(self)

    def write_to(self, file: ArchiveFile) -> None:
        """Write the header and the content at the offset of the member."""
        position = self.member.offset
        position += file.write_at(position, self.member.header())
        for piece in self._pieces():
            position += file.write_at(position, piece)

    def move_into(self, shared: BinaryIO) -> None:
        """Copy the sealed bytes to the end of another file, and close the temporary one."""
        start = shared.seek(0, os.SEEK_END)
        for piece in self._pieces():
            shared.write(piece)
        self._pending.discard()
        self.file, self._start = shared, start

    def _pieces(self) -> Iterator[bytes]:
        self.file.seek(self._start)
        left = self.member.size
        while left and (piece := self.file.read(min(left, PIECE))):
            left -= len(piece)
            yield piece

    def discard(self) -> None:
        self._pending.discard()


def _with_members(
    old: Directory, sinks: Iterable[_NewMember], offset: int
) -> tuple[Directory, bytes]:
    """Set the offset of each member. Return the new directory, and its bytes with the end."""
    entries = [old.raw]
    for sink in sinks:
        sink.member = sink.member._replace(offset=offset)
        entries.append(sink.member.entry())
        offset += len(sink.member.header()) + sink.member.size
    raw = b"".join(entries)
    members = old.end.members + len(entries) - 1
    end = old.end._replace(offset=offset, size=len(raw), members=members)
    tail = raw + end.pack()
    return old._replace(raw=raw, end=end._replace(stop=offset + len(tail))), tail


def _flush(file: ArchiveFile, wanted: bool) -> None:
    if wanted:
        flush_to_device(file.fileno())


def _check_crc(directory: Directory, member: Member, found: int) -> None:
    if found != member.crc:
        raise directory.damage_error("its bytes do not match their checksum, a CRC-32")


def _describe(key: str, member: Member) -> Stat:
    return Stat(key, "file", member.size, member.modified)
