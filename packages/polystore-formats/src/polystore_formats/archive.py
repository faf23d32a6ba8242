"""Zip archives that strangers may have written: bounded before they are read, never unpacked.

``.npz``, ``.roi.zip`` and ``.pt`` are such archives. What is checked here, before any memory is
taken: the number of members, the sizes that they claim, that they are stored or deflated, and
that they do not overlap. The CRC-32 of a member is checked by ``zipfile`` when it is read to its
end. How tightly they may be packed is checked by ``limits.check_packing``.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from polystore.errors import DamagedDataError, PolystoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ARCHIVE_ERRORS", "NAME_BYTES_LIMIT", "PIECE", "open_archive", "packing_of"]

NAME_BYTES_LIMIT = 255
"""Longest name that is written, in UTF-8."""
PIECE = 1 << 20
"""Bytes to read from a member at a time: ``zipfile`` holds a piece several times over."""

ARCHIVE_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, OverflowError,
    NotImplementedError,
)  # fmt: skip
"""What ``zipfile`` raises for damaged bytes."""

_DEFLATE_RATIO = 1032  # no deflate stream expands further
_ENTRY_BYTES = 128 + NAME_BYTES_LIMIT  # in the directory, with extra fields
_END_BYTES = 22  # of the record that ends an archive
_ENCRYPTED = 0x1


@contextmanager
def open_archive(file: BinaryIO, format: str, *, max_entries: int) -> Iterator[zipfile.ZipFile]:
    """Open the archive that is the whole of ``file``, its directory checked.

    Whatever ``zipfile`` raises, also within the ``with`` block, becomes ``DamagedDataError``.
    """
    size = file.seek(0, os.SEEK_END)
    try:
        with zipfile.ZipFile(_Guarded(file, PIECE + max_entries * _ENTRY_BYTES)) as archive:
            members = archive.infolist()
            empty = size - _END_BYTES - len(archive.comment)
            if min((member.header_offset for member in members), default=empty) != 0:
                raise DamagedDataError("its directory does not fit the rest of it", format)
            if len(members) > max_entries or len(archive.NameToInfo) < len(members):
                raise DamagedDataError(f"{len(members)} members, or two of one name", format)
            for member in members:
                if not _is_possible(member, size):
                    raise DamagedDataError(
                        f"member {member.orig_filename!r} is encrypted, neither stored nor "
                        f"deflated, or claims {member.file_size} bytes that cannot be there",
                        format,
                    )
            packed = sum(member.compress_size for member in members)
            if packed > size:
                raise DamagedDataError(
                    f"its members overlap: {packed} bytes in a file of {size}", format
                )
            yield archive
    except PolystoreError:
        raise
    except ARCHIVE_ERRORS as error:
        raise DamagedDataError(str(error) or type(error).__name__, format) from error


def packing_of(archive: zipfile.ZipFile) -> list[tuple[int, int]]:
    """Return the unpacked and packed bytes of each member, for ``check_packing``."""
    return [(member.file_size, member.compress_size) for member in archive.infolist()]


def _is_possible(member: zipfile.ZipInfo, size: int) -> bool:
    ratios = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: _DEFLATE_RATIO}
    return (
        member.file_size <= member.compress_size * ratios.get(member.compress_type, -1)
        and member.header_offset + member.compress_size <= size
        and not member.flag_bits & _ENCRYPTED
        and member.filename == member.orig_filename
    )


class _Guarded:
    """The file as ``zipfile`` may use it: positions and lengths may be lies."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self._most = most
        self.tell = file.tell
        self.seekable = file.seekable

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET and offset < 0:
            raise zipfile.BadZipFile(f"something is said to start at byte {offset}")
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        if size > self._most:
            raise zipfile.BadZipFile(f"its directory is said to have {size} bytes")
        return self._file.read(size)
