"""The directory of a zip archive, and the bytes of its members. A stranger may have made it."""

from __future__ import annotations

import errno
import io
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, cast

from polystore_core import HIDDEN_PREFIX, RangeReader, is_litter
from polystore_core.errors import DamagedDataError, UnsupportedFileError

from .base import NODES
from .reading import read_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = [
    "STARTS",
    "Contents",
    "Member",
    "open_member",
    "read_contents",
]

STARTS = (b"PK\3\4", b"PK\5\6")
"""The first bytes of an archive: of its first member, or of its end."""

_HEADER = struct.Struct("<4s22x2H")
_HEADER_SIGN = STARTS[0]
_ENCRYPTED, _IN_UTF8 = 0x1, 0x800
_DEFLATE_RATIO = 1032
"""Deflated bytes never expand more than this."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ADVICE = "pack it again with stored or deflated members and without a password"


class Member(NamedTuple):
    """A value in an archive."""

    name: bytes
    """The name in the archive, not decoded."""
    offset: int
    """The position of its header."""
    size: int
    packed: int
    """Bytes in the archive."""
    crc: int
    method: int
    flags: int


class Contents(NamedTuple):
    """The members of an archive, and the names in each folder, "" for its root."""

    stamp: Hashable
    """The stamp of the file."""
    members: dict[str, Member]
    folders: dict[str, dict[str, bool]]
    """For each name, whether it is a folder itself."""

    def member(self, key: str) -> Member:
        """Return a member. Raises ``FileNotFoundError``."""
        try:
            return self.members[key]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "no such member", key) from None


# ── reading ──────────────────────────────────────────────────────────────────────────────


def read_contents(file: BinaryIO, stamp: Hashable, path: str) -> Contents:
    """Read the directory of an archive with a Zarr store at its root.

    If a name is there twice, the last one is used, because zarr-python adds a changed document
    again.

    Raises:
        DamagedDataError: The file is not a zip archive, or is damaged.
        UnsupportedFileError: The Zarr store is not at the root of the archive.
        OSError: The file cannot be read.
    """
    found = _directory(file, path)
    size = file.seek(0, io.SEEK_END)
    # zipfile counts positions from the end, so without its start an archive has negative ones.
    if any(info.header_offset < 0 for info in found):
        raise DamagedDataError("the start of the zip archive is missing", "zarr", path)
    # If members could share bytes, a small archive could unpack to petabytes.
    if sum(info.compress_size for info in found) > size:
        raise DamagedDataError("the members of the zip archive overlap", "zarr", path)
    contents = Contents(stamp, {}, {"": {}})
    for info in found:
        if _is_reachable(info):
            # APPNOTE 4.4.4: bit 11 marks a name in UTF-8. The other names are in code page 437.
            name = info.filename.encode("utf-8" if info.flag_bits & _IN_UTF8 else "cp437")
            contents.members[info.filename] = Member(
                name,
                info.header_offset,
                info.file_size,
                info.compress_size,
                info.CRC,
                info.compress_type,
                info.flag_bits,
            )
            _add_name(contents.folders, info.filename)
    _check_is_zarr(contents, [info.filename for info in found], path)
    return contents


def _directory(file: BinaryIO, path: str) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.infolist()
    except NotImplementedError as error:
        raise UnsupportedFileError(
            f"the zip archive is of another kind: {error}", "zarr"
        ) from error
    except (zipfile.BadZipFile, struct.error, ValueError, OverflowError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a negative position
            raise
        reason = f"it is cut off, or not a zip archive: {error}"
        raise DamagedDataError(reason, "zarr", path) from error


def _is_reachable(info: zipfile.ZipInfo) -> bool:
    """Return whether the name of a member is a key: not a folder, not absolute, without ".."."""
    parts = info.filename.split("/")
    return (
        # zipfile cuts a name at a NUL, and changes backslashes on Windows. Then two members
        # could have the same key.
        info.filename == info.orig_filename
        and not {"", ".", ".."}.intersection(parts)
        and not any(part.startswith(HIDDEN_PREFIX) for part in parts)
        and not is_litter(parts[-1])
    )


def _add_name(folders: dict[str, dict[str, bool]], key: str) -> None:
    folder, _, name = key.rpartition("/")
    folders.setdefault(folder, {}).setdefault(name, False)
    while folder:
        folder, _, name = folder.rpartition("/")
        names = folders.setdefault(folder, {})
        # This folder is known, and so are all above it.
        if names.get(name):
            return
        names[name] = True


def _check_is_zarr(contents: Contents, names: list[str], path: str) -> None:
    if any(name in contents.members for name in NODES):
        return
    first = names[0] if names else ""
    top = first.partition("/")[0]
    if any(f"{top}/{name}" in contents.members for name in NODES):
        reason = (
            f"its Zarr store is in the folder {top!r} of the zip archive, but polystore reads a "
            "store at the root: unpack it"
        )
        raise UnsupportedFileError(reason, "zarr", path)
    what = f"its first member is {first!r:.200}" if names else "it is empty"
    raise DamagedDataError(f"the zip archive is not a Zarr store: {what}", "zarr", path)


def open_member(file: BinaryIO, member: Member, path: str) -> BinaryIO:
    """Open the unpacked bytes of a member.

    The CRC-32 is checked at the end, if the bytes are read in order.

    Args:
        file: the archive. The member owns it, and closes it.
        member: the member.
        path: its path, for errors.

    Raises:
        DamagedDataError: The member has an impossible size, or is not at its position.
        UnsupportedFileError: The member is encrypted, or packed with another method.
    """
    if member.flags & _ENCRYPTED or member.method not in _METHODS:
        how = (
            "encrypted" if member.flags & _ENCRYPTED else f"packed with method {member.method}"
        )
        reason = f"this member of a zip archive is {how}: {_ADVICE}"
        raise UnsupportedFileError(reason, "zarr", path)
    is_stored = member.method == zipfile.ZIP_STORED
    most = member.packed if is_stored else _DEFLATE_RATIO * member.packed
    # The size is not trusted, because readers take memory for it.
    if member.size > most or (is_stored and member.size < most):
        raise _damage_error(path, f"cannot have {member.size} bytes")
    stored = _Stored(file, member, _find_content(file, member, path), path)
    if is_stored:
        return cast("BinaryIO", _Opened(file, member.size, stored.read_at))
    # zipfile reads 4 KiB at a time, each of which would be a call of the system.
    packed = io.BufferedReader(RangeReader(member.packed, stored.read_packed), 1 << 16)
    unpacked = _Deflated(cast("BinaryIO", packed), member, path)
    return cast("BinaryIO", _Opened(file, member.size, unpacked.read_at))


def _find_content(file: BinaryIO, member: Member, path: str) -> int:
    # The extra field here can have another length than in the directory of the archive.
    file.seek(member.offset)
    header = file.read(_HEADER.size + len(member.name))
    if len(header) == _HEADER.size + len(member.name):
        sign, name_length, extra_length = _HEADER.unpack_from(header)
        is_same = header[_HEADER.size :] == member.name and name_length == len(member.name)
        if sign == _HEADER_SIGN and is_same:
            return member.offset + len(header) + int(extra_length)
    raise _damage_error(path, f"is not at byte {member.offset}, where it should start")


class _Opened(RangeReader):
    """An open member. Closing it closes the archive."""

    def __init__(self, file: BinaryIO, size: int, read_at: Callable[[int, int], bytes]) -> None:
        super().__init__(size, read_at)
        self._file = file

    def close(self) -> None:
        super().close()
        self._file.close()


class _Stored:
    """The stored bytes of a member."""

    def __init__(self, file: BinaryIO, member: Member, start: int, path: str) -> None:
        self._file, self._member, self._start, self._path = file, member, start, path
        self._checked = self._crc = 0

    def read_packed(self, position: int, count: int) -> bytes:
        self._file.seek(self._start + position)
        data = read_bytes(self._file.read, count)
        if not data:
            raise _damage_error(self._path, "is cut off")
        return data

    def read_at(self, position: int, count: int) -> bytes:
        data = self.read_packed(position, count)
        if position == self._checked:
            self._crc = zlib.crc32(data, self._crc)
            self._checked += len(data)
            if self._checked == self._member.size and self._crc != self._member.crc:
                raise _damage_error(self._path, "has a wrong CRC-32")
        return data


class _Deflated:
    """A deflated member. It is unpacked from its start, and again for an earlier position."""

    def __init__(self, packed: BinaryIO, member: Member, path: str) -> None:
        self._path = path
        info = zipfile.ZipInfo()
        info.compress_type, info.CRC = member.method, member.crc
        info.compress_size, info.file_size = member.packed, member.size
        # Without a ZipFile, which would read the whole directory of the archive for each member.
        self._file = zipfile.ZipExtFile(packed, "r", info)

    def read_at(self, position: int, count: int) -> bytes:
        try:
            if self._file.tell() != position:
                self._file.seek(position)
            data = self._file.read(count)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise _damage_error(self._path, f"cannot be unpacked: {error}") from error
        if not data:
            raise _damage_error(self._path, "is shorter than its size")
        return data


def _damage_error(path: str, what: str) -> DamagedDataError:
    return DamagedDataError(f"this member of a zip archive {what}", "zarr", path)
