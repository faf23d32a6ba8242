"""Zip archives that strangers may have written: ``.npz``, ``.roi.zip`` and ``.pt``.

Nothing is unpacked to a disk. This module checks the directory before memory is allocated: the
number of members, their sizes, and that they do not overlap. ``zipfile`` checks the CRC-32 of a
member at its end. ``limits.check_packing`` checks how tightly members are packed.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, BinaryIO

from polystore_core.errors import DamagedDataError, PolystoreError, UnsupportedFileError

from .decoding import wrong_start

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "ARCHIVE_ERRORS",
    "NAME_BYTES_LIMIT",
    "PIECE",
    "check_names",
    "is_hidden",
    "open_archive",
    "open_member",
    "packing_of",
]

NAME_BYTES_LIMIT = 255
"""The most bytes of a name that is written, in UTF-8. File systems have the same limit."""
PIECE = 1 << 20
"""Bytes to read from a member at a time, because ``zipfile`` makes several copies of a piece."""

ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
)
"""Errors that ``zipfile`` raises for damaged bytes."""

_DEFLATE_RATIO = 1032  # no deflate stream expands further
_STARTS = (b"PK\3\4", b"PK\5\6")
_ENTRY_BYTES = 128 + NAME_BYTES_LIMIT  # in the directory, with extra fields
_END_BYTES = 22  # of the record that ends an archive
_ENCRYPTED = 0x1
_ADVICE = "pack it again with deflate and without a password"
_RATIOS = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: _DEFLATE_RATIO}


@contextmanager
def open_archive(file: BinaryIO, format: str, *, max_entries: int) -> Iterator[zipfile.ZipFile]:
    """Open the archive ``file`` and check its directory.

    Errors of ``zipfile`` in the ``with`` block are translated as well.

    Raises:
        DamagedDataError: The file is not an archive, or its directory is not possible.
        UnsupportedFileError: It has too many members, or is of a kind that ``zipfile`` cannot read.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(8)
    if not start.startswith(_STARTS):
        raise wrong_start(start, "a zip archive", format)
    try:
        with zipfile.ZipFile(_Guarded(file, PIECE + max_entries * _ENTRY_BYTES)) as archive:
            members = archive.infolist()
            # zipfile accepts bytes before the first member, as in self-extracting programs. Here
            # they would mean that the file was joined from two, or lost its start.
            empty = size - _END_BYTES - len(archive.comment)
            if min((member.header_offset for member in members), default=empty) != 0:
                raise DamagedDataError("its directory does not match its contents", format)
            if len(members) > max_entries:
                raise UnsupportedFileError(
                    f"it has {len(members)} members, but polystore reads at most {max_entries}",
                    format,
                )
            for member in members:
                if not _is_possible(member, size):
                    raise DamagedDataError(
                        f"member {member.orig_filename!r} has an impossible name, size "
                        f"({member.file_size} bytes) or offset",
                        format,
                    )
            # Overlapping members are how a small file unpacks to petabytes (a "zip bomb").
            packed = sum(member.compress_size for member in members)
            if packed > size:
                raise DamagedDataError(
                    f"its members overlap: they have {packed} bytes in a file of {size}", format
                )
            yield archive
    except PolystoreError:
        raise
    except NotImplementedError as error:  # how zipfile says that it does not know a feature
        reason = f"zipfile does not support it ({error}): {_ADVICE}"
        raise UnsupportedFileError(reason, format) from error
    except ARCHIVE_ERRORS as error:
        reason = f"it cannot be unpacked: {str(error) or type(error).__name__}"
        raise DamagedDataError(reason, format) from error


def packing_of(members: Iterable[zipfile.ZipInfo]) -> list[tuple[int, int]]:
    """Return the unpacked and packed bytes of each member, for ``check_packing``."""
    return [(member.file_size, member.compress_size) for member in members]


def open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, format: str) -> IO[bytes]:
    """Open a member that is stored or deflated, or raise ``UnsupportedFileError``."""
    if not _is_plain(member):
        how = (
            "encrypted"
            if member.flag_bits & _ENCRYPTED
            else f"packed with method {member.compress_type}"
        )
        raise UnsupportedFileError(f"member {member.filename!r} is {how}: {_ADVICE}", format)
    return archive.open(member)


def check_names(archive: zipfile.ZipFile, format: str) -> None:
    """Raise ``UnsupportedFileError`` if two members have the same name."""
    if len(archive.NameToInfo) < len(archive.infolist()):
        raise UnsupportedFileError("two of its members have the same name: rename one", format)


def is_hidden(member: zipfile.ZipInfo) -> bool:
    """Return whether a member is a folder, or a file that macOS or Windows add to archives."""
    name = member.filename.rpartition("/")[2]
    return (
        name in ("", ".DS_Store", "Thumbs.db")
        or name.startswith("._")
        or member.filename.startswith("__MACOSX/")
    )


def _is_plain(member: zipfile.ZipInfo) -> bool:
    return member.compress_type in _RATIOS and not member.flag_bits & _ENCRYPTED


def _is_possible(member: zipfile.ZipInfo, size: int) -> bool:
    most = member.compress_size * _RATIOS.get(member.compress_type, 0)
    return (
        # No ratio is known for other methods of packing. ``open_member`` rejects them.
        (member.file_size <= most or not _is_plain(member))
        and member.header_offset + member.compress_size <= size
        and member.filename == member.orig_filename  # zipfile cuts a name at its first NUL
    )


class _Guarded:
    """The file for ``zipfile``. Rejects positions and lengths that a hostile directory claims."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self._most = most
        self.tell = file.tell
        self.seekable = file.seekable

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET and offset < 0:
            raise zipfile.BadZipFile(f"a part of it starts at byte {offset}")
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        # zipfile reads the directory with one call, of the size that the file claims.
        if size > self._most:
            raise zipfile.BadZipFile(f"its directory cannot have {size} bytes")
        return self._file.read(size)
