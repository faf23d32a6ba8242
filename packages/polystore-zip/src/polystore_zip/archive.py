"""The file of a zip archive: its directory, and the bytes of its members."""

from __future__ import annotations

import errno
import io
import os
import threading
import zipfile
import zlib
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from polystore_core import Entry, RangeReader, open_regular
from polystore_core.errors import DamagedDataError, UnsupportedFileError

from .records import (
    DEFLATED,
    ENCRYPTED,
    STARTS,
    STORED,
    End,
    Member,
    content_span,
    descriptor_size,
    find_ends,
    header_size,
    parse_entries,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["PIECE", "ArchiveFile", "Contents", "Directory", "Mark", "crc_of", "read_directory"]

PIECE = 1 << 20
"""Bytes that are read at a time."""
_TRIES = 1000
"""How often an archive is read again if another program changes it at the same time."""
_BUFFER = 1 << 16


class Mark(NamedTuple):
    """Identifies one state of a file: it changes when the file does."""

    device: int
    inode: int
    size: int
    modified: int

    @classmethod
    def of(cls, found: os.stat_result) -> Mark:
        """Return the mark of a file with this status."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def is_same_file(self, other: Mark) -> bool:
        """Return whether both marks are of one file, in any two states."""
        return self[:2] == other[:2]


class Directory(NamedTuple):
    """The directory of an archive at the time when the file had this mark."""

    file: ArchiveFile
    mark: Mark
    end: End
    raw: bytes
    contents: Contents

    def member(self, key: str) -> Member:
        """Return the member of this key. Raises ``FileNotFoundError``."""
        try:
            return self.contents.members[key]
        except KeyError:
            raise FileNotFoundError(key) from None

    def open(self, key: str) -> BinaryIO:
        """Open the unpacked bytes of a member.

        Raises:
            FileNotFoundError: The archive has no member with this key.
            DamagedDataError: Two members have this name, or the member is not at its place.
            UnsupportedFileError: The member is encrypted, or packed with another method.
        """
        member = self.member(key)
        if key in self.contents.twice:
            raise self.damage_error("two members have this name: rename one of them")
        file = self.file
        # The directory and the header before the content both have the name. If they differ, the
        # directory is of another archive, or points into the middle of a member.
        span = content_span(member, file.read_at(member.offset, header_size(member)))
        if span is None or (member.method == STORED and member.size != member.packed):
            raise self.damage_error(
                f"it is not at byte {member.offset:,}, where it should start"
            )
        if member.flags & ENCRYPTED or member.method not in (STORED, DEFLATED):
            packing = f"packed with method {member.method}"
            how = "encrypted" if member.flags & ENCRYPTED else packing
            reason = f"it is {how}: pack it again with deflate and without a password"
            raise UnsupportedFileError(reason, "zip")
        part = _part(member.packed, lambda at, count: file.read_at(span[0] + at, count))
        if member.method == DEFLATED:
            part = _part(member.size, _Unpacked(part, member).read_at)
        return io.BufferedReader(part, _BUFFER)

    def damage_error(self, reason: str) -> DamagedDataError:
        """Return the error for damage, with the name of the archive."""
        return DamagedDataError(f"{reason} (in the archive {self.file.name!r})", "zip")

    def copy_at(self, position: int) -> bytes:
        """Return the bytes of this directory and its end, to be written at another position."""
        return self.raw + self.end._replace(offset=position).pack()

    def is_still_there(self) -> bool:
        """Return whether its end is still at the same position of the file."""
        # A file system counts time in ticks. Two quick changes can have the same mark.
        end = self.end.pack()
        found = self.file.read_at(self.end.offset + self.end.size, len(end))
        return found == end or self.mark.size == 0

    def free_from(self) -> int:
        """Return the position after which there are only directories."""
        last = self.contents.last
        # The directory of another program can be far behind the last member, or before it. The
        # header of the last member tells where its content really ends.
        if last is None:
            return self.end.offset
        span = content_span(last, self.file.read_at(last.offset, header_size(last)))
        if span is None:
            return self.end.offset
        return min(span[1] + descriptor_size(last), self.end.offset)


class Contents:
    """Members by key, and the names in each folder. Entries are added, and never removed.

    Threads change it without a lock. Each change is one step (a ``setdefault``, or one item of a
    dict), and it does not matter if two threads add the same members.
    """

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.twice: set[str] = set()
        self.folders: dict[str, dict[Entry, None]] = {"": {}}
        self.last: Member | None = None

    def add(self, entries: Iterable[tuple[str | None, Member]]) -> None:
        """Add members by their keys. Those without a key only count for ``last``."""
        for key, member in entries:
            if self.last is None or member.offset > self.last.offset:
                self.last = member
            if key is not None:
                if self.members.setdefault(key, member) != member:
                    self.twice.add(key)
                self._add_name(key)

    def _add_name(self, key: str) -> None:
        folder, _, name = key.rpartition("/")
        entry = Entry(name, False, False)
        # Stops at the first folder that is known: then all folders above it are known too.
        while entry not in self.folders.setdefault(folder, {}):
            self.folders[folder][entry] = None
            if not folder:
                break
            folder, _, name = folder.rpartition("/")
            entry = Entry(name, True, False)

    def check_new(self, key: str) -> None:
        """Raise ``OSError`` if something is at ``key``, or a value is where its folder would be."""
        if key in self.members:
            raise FileExistsError(key)
        if key in self.folders:
            raise IsADirectoryError(key)
        while key := key.rpartition("/")[0]:
            if key in self.members:
                raise NotADirectoryError(key)

    def below(self, folder: str) -> Iterator[str]:
        """Yield the key of each member below ``folder``."""
        waiting = [folder]
        while waiting:
            inner = waiting.pop()
            # A copy, because another thread may add names during the loop.
            for entry in list(self.folders.get(inner, ())):
                key = f"{inner}/{entry.name}" if inner else entry.name
                if entry.is_dir:
                    waiting.append(key)
                else:
                    yield key


def read_directory(path: str, known: Directory | None) -> Directory:
    """Read the directory of the archive at ``path``.

    If ``known``, an older version of the directory, is the start of the new one, only the rest is
    parsed. Adding a member to an archive of 100,000 members then takes no longer.

    Raises:
        OSError: The file cannot be read.
        DamagedDataError: The file is not an archive.
    """
    for _ in range(_TRIES):
        # A new file for each try: another program may have replaced the archive.
        file = ArchiveFile(path, "r", opener=lambda path, _: open_regular(path))
        mark = Mark.of(os.fstat(file.fileno()))
        if known is not None and not known.mark.is_same_file(mark):
            known = None
        found = _last_directory(file, mark.size, known.raw if known else b"")
        if Mark.of(os.fstat(file.fileno())) != mark:
            continue  # another program was writing: the directory may be half of it
        if found is None:
            raise _not_an_archive(file)
        end, raw, start, entries = found
        contents = known.contents if known and start else Contents()
        contents.add(entries)
        return Directory(file, mark, end, raw, contents)
    raise OSError(errno.EBUSY, "other programs change it all the time: try again", path)


def _last_directory(
    file: ArchiveFile, size: int, known: bytes
) -> tuple[End, bytes, int, list[tuple[str | None, Member]]] | None:
    """Find the last complete directory. Return ``None`` if there is none.

    A save that was killed may have left bytes behind it.

    Returns:
        The end of the directory, its bytes, the position in them where the entries start that are
        not ``known``, and these entries.
    """
    if size == 0:  # its writer was killed before the first byte
        return End(0, 0, 0), b"", 0, []
    # Without the start of an archive, a search through the whole file would find the ends of
    # archives that are inside other files.
    everywhere = file.read_at(0, 4) in STARTS
    for end in find_ends(file.read_at, size, everywhere=everywhere):
        raw = file.read_at(end.offset, end.size)
        start = len(known) if raw.startswith(known) else 0
        try:
            return end, raw, start, list(parse_entries(raw, start))
        except ValueError:
            continue
    return None


def _not_an_archive(file: ArchiveFile) -> DamagedDataError:
    start = file.read_at(0, 8)
    reason = f"not a zip archive (it starts with {start!r})"
    if start[:4] in STARTS:
        reason = "it has no directory: it was cut short, or is not complete yet"
    return DamagedDataError(reason, "zip", path=str(file.name))


# ── bytes ────────────────────────────────────────────────────────────────────────────────


class ArchiveFile(io.FileIO):
    """A file that is read at given positions, so that threads can share it.

    Handles on members keep it open. The garbage collector closes it after the last of them.
    """

    def __del__(self) -> None:
        self.close()

    def read_at(self, position: int, count: int) -> bytes:
        """Return ``count`` bytes, or fewer where the file ends."""
        data = _pread(self, count, position)
        while len(data) < count:  # Linux reads at most 2 GiB in one call
            more = _pread(self, count - len(data), position + len(data))
            if not more:
                break
            data += more
        return data

    def write_at(self, position: int, data: bytes) -> int:
        """Write all of ``data``, and return the number of bytes."""
        self.seek(position)
        written = 0
        with memoryview(data) as view:
            while written < len(view):
                written += self.write(view[written:])
        return written


if hasattr(os, "pread"):

    def _pread(file: ArchiveFile, count: int, position: int) -> bytes:
        return os.pread(file.fileno(), count, position)

else:  # pragma: no cover - Windows
    _reading = threading.Lock()

    def _pread(file: ArchiveFile, count: int, position: int) -> bytes:
        with _reading:
            file.seek(position)
            return file.read(count)


def _part(size: int, read_at: Callable[[int, int], bytes]) -> RangeReader:
    """Return ``size`` bytes as a file. It raises ``DamagedDataError`` if there are fewer."""

    def read(position: int, count: int) -> bytes:
        data = read_at(position, count)
        if not data:
            raise DamagedDataError("the archive ends in the middle of it", "zip")
        return data

    return RangeReader(size, read)


class _Unpacked:
    """A deflated member. It is unpacked from its start, and again for an earlier position."""

    def __init__(self, packed: RangeReader, member: Member) -> None:
        info = zipfile.ZipInfo()
        info.compress_type, info.CRC = member.method, member.crc
        info.compress_size, info.file_size = member.packed, member.size
        file = cast("BinaryIO", io.BufferedReader(packed, _BUFFER))
        self._file = zipfile.ZipExtFile(file, "r", info)

    def read_at(self, position: int, count: int) -> bytes:
        try:
            if self._file.tell() != position:
                self._file.seek(position)
            return self._file.read(count)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DamagedDataError(f"it cannot be unpacked: {error}", "zip") from error


def crc_of(file: BinaryIO) -> int:
    """Return the CRC-32 of the rest of ``file``."""
    crc = 0
    while piece := file.read(PIECE):
        crc = zlib.crc32(piece, crc)
    return crc
