"""Write and read the records of a zip archive (PKWARE's APPNOTE). Pure functions, without files.

An archive has members (a header, then the content), a directory with one entry for each member,
and an end with the position of the directory. Numbers that do not fit are in zip64 fields.
"""

from __future__ import annotations

import re
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

from polystore_core import HIDDEN_PREFIX, is_litter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "DEFLATED",
    "ENCRYPTED",
    "STARTS",
    "STORED",
    "End",
    "Member",
    "content_span",
    "descriptor_size",
    "fault_of_key",
    "find_ends",
    "header_size",
    "key_of",
    "new_member",
    "parse_entries",
]

STARTS = (b"PK\3\4", b"PK\5\6")
"""The first bytes of an archive: of its first member, or of its end."""
STORED, DEFLATED = 0, 8
ENCRYPTED = 0x1

_HEADER = struct.Struct("<4s5H3I2H")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_HEADER_SIGN, _ENTRY_SIGN, _END_SIGN = b"PK\3\4", b"PK\1\2", b"PK\5\6"
_END64_SIGN, _LOCATOR_SIGN = b"PK\6\6", b"PK\6\7"
_MOST16, _MOST32 = 0xFFFF, 0xFFFFFFFF

# The system of the program that wrote an entry: "version made by", APPNOTE 4.4.2.
_UNIX, _WINDOWS = 3, (0, 10, 11, 14)
_IN_UTF8, _HAS_DESCRIPTOR = 0x800, 0x8
_DESCRIPTOR_BYTES = 24
_PLAIN_FILE = 0o100644 << 16
_DRIVE = re.compile("[A-Za-z]:/")

_END_SEARCH = _END.size + _MOST16
"""The most bytes of an end with its comment."""
_PIECE = 1 << 20
_LAST_SECOND = (1 << 31) - 1  # of the field in which the time is


class Member(NamedTuple):
    """One entry of the directory."""

    name: bytes
    """The name in the archive, not decoded."""
    offset: int
    """The position of its header."""
    size: int
    """Unpacked bytes."""
    packed: int
    """Bytes in the archive."""
    crc: int
    method: int = STORED
    flags: int = 0
    dated: int = 0
    """Date and time in the format of DOS, in an unknown time zone."""
    utc: int | None = None
    """Seconds since 1970, if the archive has an extended timestamp."""

    @property
    def modified(self) -> float | None:
        """The time of the last change, in seconds since 1970. ``None`` for an impossible date."""
        if self.utc is not None:
            return self.utc
        day, clock = divmod(self.dated, 1 << 16)
        date = (day >> 9) + 1980, day >> 5 & 15, day & 31
        try:
            return time.mktime((*date, clock >> 11, clock >> 5 & 63, clock % 32 * 2, 0, 0, -1))
        except (OverflowError, ValueError):
            return None

    def header(self) -> bytes:
        """Return the bytes before the content."""
        wide = self.size >= _MOST32
        sizes = (_MOST32, _MOST32) if wide else (self.size, self.size)
        extra = struct.pack("<2H2Q", 1, 16, self.size, self.size) if wide else b""
        extra += self._date_field()
        return (
            _HEADER.pack(
                _HEADER_SIGN,
                45 if wide else 20,
                self.flags,
                STORED,
                self.dated & _MOST16,
                self.dated >> 16,
                self.crc,
                *sizes,
                len(self.name),
                len(extra),
            )
            + self.name
            + extra
        )

    def entry(self) -> bytes:
        """Return the entry of a stored member in the directory."""
        # The zip64 field has only the numbers whose 32-bit fields are full, in this order.
        wide = [n for n in (self.size, self.size, self.offset) if n >= _MOST32]
        extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        extra += self._date_field()
        version = 45 if wide else 20
        return (
            _ENTRY.pack(
                _ENTRY_SIGN,
                _UNIX << 8 | version,
                version,
                self.flags,
                STORED,
                self.dated & _MOST16,
                self.dated >> 16,
                self.crc,
                min(self.size, _MOST32),
                min(self.size, _MOST32),
                len(self.name),
                len(extra),
                0,
                0,
                0,
                _PLAIN_FILE,
                min(self.offset, _MOST32),
            )
            + self.name
            + extra
        )

    def _date_field(self) -> bytes:
        return struct.pack("<2HBi", 0x5455, 5, 1, min(self.utc or 0, _LAST_SECOND))


def new_member(key: str, size: int, crc: int) -> Member:
    """Return a stored member with the present time, at offset 0."""
    now = int(time.time())
    date = time.localtime(now)
    day = max(date.tm_year - 1980, 0) << 9 | date.tm_mon << 5 | date.tm_mday
    clock = date.tm_hour << 11 | date.tm_min << 5 | date.tm_sec // 2
    flags = 0 if key.isascii() else _IN_UTF8  # without the flag, readers assume code page 437
    return Member(key.encode(), 0, size, size, crc, STORED, flags, day << 16 | clock, now)


def fault_of_key(key: str) -> str:
    """Return why a member cannot have this key, or "" if it can."""
    try:
        name = key.encode()
    except UnicodeEncodeError as error:
        return f"names in a zip archive are Unicode ({error})"
    if len(name) > _MOST16:
        return f"names in a zip archive have at most {_MOST16:,} bytes, this one {len(name):,}"
    if key_of(name, _IN_UTF8, _UNIX) != key:
        return "programs that unpack zip archives do not accept it, or leave it out"
    return ""


def content_span(member: Member, header: bytes) -> tuple[int, int] | None:
    """Return the start and stop of the content, or ``None`` if ``header`` is of another member.

    Args:
        member: the member.
        header: the ``header_size`` bytes from ``member.offset`` on.
    """
    if len(header) < header_size(member) or header[_HEADER.size :] != member.name:
        return None
    sign, *_, name_bytes, extra_bytes = _HEADER.unpack_from(header)
    if sign != _HEADER_SIGN or name_bytes != len(member.name):
        return None
    # The extra fields of the header may be longer or shorter than those in the directory.
    start = member.offset + len(header) + extra_bytes
    return start, start + member.packed


def header_size(member: Member) -> int:
    """Return the number of bytes that ``content_span`` needs."""
    return _HEADER.size + len(member.name)


def descriptor_size(member: Member) -> int:
    """Return the most bytes of a data descriptor after the content."""
    return _DESCRIPTOR_BYTES if member.flags & _HAS_DESCRIPTOR else 0


# ── the directory ────────────────────────────────────────────────────────────────────────


def parse_entries(raw: bytes, start: int = 0) -> Iterator[tuple[str | None, Member]]:
    """Yield the key of each member, and the member. The key is ``None`` for one without a key.

    Raises:
        ValueError: ``raw`` has other bytes than entries.
    """
    while start < len(raw):
        if len(raw) < start + _ENTRY.size:
            raise ValueError(start)
        sign, made, _, flags, method, clock, day, crc, *rest = _ENTRY.unpack_from(raw, start)
        packed, size, name_bytes, extra_bytes, comment_bytes, _, _, _, offset = rest
        at_extra = start + _ENTRY.size + name_bytes
        stop = at_extra + extra_bytes + comment_bytes
        if sign != _ENTRY_SIGN or stop > len(raw):
            raise ValueError(start)
        name = raw[start + _ENTRY.size : at_extra]
        utc = None
        if extra_bytes:
            extra = raw[at_extra : at_extra + extra_bytes]
            size, packed, offset, utc = _from_fields(extra, size, packed, offset)
        dated = day << 16 | clock
        yield (
            key_of(name, flags, made >> 8),
            Member(name, offset, size, packed, crc, method, flags, dated, utc),
        )
        start = stop


def _from_fields(
    extra: bytes, size: int, packed: int, offset: int
) -> tuple[int, int, int, int | None]:
    """Return size, packed, offset and time, with the numbers of the extra fields."""
    utc = None
    while len(extra) >= 4:
        kind, count = struct.unpack_from("<2H", extra)
        field, extra = extra[4 : 4 + count], extra[4 + count :]
        if kind == 1:
            wide = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
            size, packed, offset = (
                next(wide, n) if n == _MOST32 else n for n in (size, packed, offset)
            )
        # The extended timestamp of Info-ZIP, in UTC. DOS dates have no time zone.
        elif kind == 0x5455 and len(field) >= 5 and field[0] & 1:
            utc = struct.unpack_from("<i", field, 1)[0]
    return size, packed, offset, utc


def key_of(name: bytes, flags: int, host: int) -> str | None:
    """Return the key of a member with this name, or ``None`` if it has no key.

    Folders, the files of file browsers, and names that lead out of the archive have no key.
    """
    text = _decode_name(name, flags, host)
    if host in _WINDOWS:  # some programs on Windows write backslashes
        text = text.replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if (
        not parts
        or text.startswith("/")
        or text.endswith("/")
        or ".." in parts
        or "\0" in text
        or _DRIVE.match(text)
        or parts[0] == "__MACOSX"
        or is_litter(parts[-1])
        or any(part.lower().startswith(HIDDEN_PREFIX) for part in parts)
    ):
        return None
    return "/".join(parts)


def _decode_name(name: bytes, flags: int, host: int) -> str:
    if flags & _IN_UTF8 or host == _UNIX:  # macOS writes UTF-8 without the flag
        try:
            return name.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return name.decode("cp437")


# ── the end ──────────────────────────────────────────────────────────────────────────────


class End(NamedTuple):
    """The fields of the end of an archive."""

    offset: int
    """The position of the directory."""
    size: int
    """Bytes of the directory."""
    members: int
    """The number of members, modulo 65,536 if another program wrote it like this."""
    comment: bytes = b""
    stop: int = 0
    """The end of the archive."""

    def pack(self) -> bytes:
        """Return the bytes that follow the directory."""
        end64 = b""
        if self.members >= _MOST16 or self.offset >= _MOST32 or self.size >= _MOST32:
            where = (self.members, self.members, self.size, self.offset)
            end64 = _END64.pack(_END64_SIGN, _END64.size - 12, 45, 45, 0, 0, *where)
            end64 += _LOCATOR.pack(_LOCATOR_SIGN, 0, self.offset + self.size, 1)
        count, size = min(self.members, _MOST16), min(self.size, _MOST32)
        offset = min(self.offset, _MOST32)
        end = _END.pack(_END_SIGN, 0, 0, count, count, size, offset, len(self.comment))
        return end64 + end + self.comment


def find_ends(
    read: Callable[[int, int], bytes], size: int, *, everywhere: bool
) -> Iterator[End]:
    """Yield each end in an archive, the last one first.

    An end is only valid if its directory is right before it. So the end of an archive that is a
    member of this one is skipped, because its positions start at the member.

    Args:
        read: a function that takes a position and a number of bytes.
        size: bytes of the archive.
        everywhere: whether to search the whole file, or only the last 64 KiB like other programs.
    """
    stop = size
    last = 0 if everywhere else max(size - _END_SEARCH, 0)
    piece = _END_SEARCH
    while stop > last:
        start = max(stop - piece, last)
        # Blocks overlap by the size of a record, so that none is cut in two.
        block = read(start, stop - start + _END.size - 1)
        at = block.rfind(_END_SIGN, 0, stop - start + len(_END_SIGN) - 1)
        while at >= 0:
            record = block[at : at + _END.size]
            if len(record) == _END.size and (end := _end_at(read, start + at, record, size)):
                yield end
            at = block.rfind(_END_SIGN, 0, at + len(_END_SIGN) - 1)
        stop, piece = start, _PIECE


def _end_at(
    read: Callable[[int, int], bytes], place: int, record: bytes, file_size: int
) -> End | None:
    _, disk, other_disk, _, count, size, offset, comment_bytes = _END.unpack(record)
    directory_stop, stop = place, place + _END.size + comment_bytes
    # Some programs write the long end also if the numbers fit into the short one.
    locator = read(max(place - _LOCATOR.size, 0), _LOCATOR.size)
    if locator.startswith(_LOCATOR_SIGN) and len(locator) == _LOCATOR.size:
        directory_stop = _LOCATOR.unpack(locator)[2]
        end64 = read(min(directory_stop, file_size), _END64.size)
        if not end64.startswith(_END64_SIGN) or len(end64) < _END64.size:
            return None
        *_, count, size, offset = _END64.unpack(end64)
    if disk or other_disk or offset + size != directory_stop or stop > file_size:
        return None
    comment = read(place + _END.size, comment_bytes) if comment_bytes else b""
    return End(offset, size, count, comment, stop)
