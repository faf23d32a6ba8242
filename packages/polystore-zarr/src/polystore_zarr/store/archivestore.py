"""The members of a zip file, as a store of bytes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from polystore_core import ByteStore, Entry, Stat, StoreFeatures
from polystore_core.errors import UnsupportedOperationError

from .local import LocalFiles, stamp_of
from .reading import read_bytes
from .zips import Contents, open_member, read_contents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO, Literal

__all__ = ["ArchiveStore", "refusal"]

_ADVICE = (
    "a zipped store is written whole, by one save or copy. Copy it to a folder such as 'x.zarr', "
    "change that, and copy it back. Or add members with registry.add('archive', 'zip', file=…) "
    "and a backend 'zarr' with store='archive'"
)

_known: dict[str, Contents] = {}
"""The contents of archives by the names of their files, from the last reading by this process.

No file is kept open, because an open file keeps a deleted archive on the disk. No lock is needed,
because threads store whole entries.
"""
_MOST_KNOWN, _MOST_MEMBERS = 16, 1 << 18


class ArchiveStore(ByteStore):
    """The members of a zip file, for reading. The file is opened again for each member.

    So the store pickles as its path, and reads a new archive that has replaced the old one.
    """

    features = StoreFeatures(replace="none", delete="none")

    def __init__(self, files: LocalFiles, key: str) -> None:
        self.files, self.file = files, key

    def __repr__(self) -> str:
        return f"<ArchiveStore {self.files.full(self.file)!r}>"

    def contents(self) -> Contents:
        """Return the present members.

        Raises:
            FileNotFoundError: The archive does not exist.
            DamagedDataError: The file is not a zip archive, or is damaged.
            UnsupportedFileError: The archive is not a Zarr store at its root.
        """
        known = _known.get(self.files.full(self.file))
        if known is not None and known.stamp == self.files.stamp(self.file):
            return known
        with self.files.open(self.file) as file:
            return self._contents_of(file)

    def _contents_of(self, file: BinaryIO) -> Contents:
        # The stamp of the open file, because another archive may have its name by now. Members
        # would then be read at the offsets of the wrong archive.
        name, stamp = self.files.full(self.file), stamp_of(os.fstat(file.fileno()))
        known = _known.get(name)
        if known is None or known.stamp != stamp:
            known = read_contents(file, stamp, name)
            known_members = sum(len(contents.members) for contents in list(_known.values()))
            if len(_known) >= _MOST_KNOWN or known_members > _MOST_MEMBERS:
                _known.clear()
            _known[name] = known
        return known

    def stat(self, key: str, /) -> Stat:
        return Stat(key, size=self.contents().member(key).size)

    def open(self, key: str, /, *, whole: bool = False) -> BinaryIO:
        file = self.files.open(self.file)
        try:
            member = self._contents_of(file).member(key)
            return open_member(file, member, f"{self.files.full(self.file)}/{key}")
        # Nothing owns the file yet, and an open one keeps a deleted archive on the disk.
        except BaseException:
            file.close()
            raise

    def read(self, key: str, start: int = 0, stop: int | None = None, /) -> bytes:
        with self.open(key) as file:
            size = file.seek(0, os.SEEK_END)
            first, last, _ = slice(start, stop).indices(size)
            file.seek(first)
            return read_bytes(file.read, max(last - first, 0))

    def scan(self, folder: str = "", /) -> Iterator[Stat]:
        contents = self.contents()
        waiting = [folder]
        for inner in waiting:  # the list grows during the loop
            for name, is_folder in contents.folders.get(inner, {}).items():
                key = f"{inner}/{name}" if inner else name
                if is_folder:
                    waiting.append(key)
                else:
                    yield Stat(key, size=contents.members[key].size)

    def entries(self, folder: str, /) -> Iterable[Entry]:
        contents = self.contents()
        names = contents.folders.get(folder)
        if names is None:
            # It raises FileNotFoundError if nothing is there, not even a value.
            contents.member(folder)
            raise NotADirectoryError(folder)
        return [Entry(name, is_folder, False) for name, is_folder in names.items()]

    def put(
        self,
        key: str,
        content: bytes | bytearray | memoryview,
        /,
        *,
        if_exists: Literal["replace", "error"] = "replace",
    ) -> None:
        raise refusal(self.files.full(self.file))

    def delete(self, key: str, /) -> None:
        raise refusal(self.files.full(self.file))


def refusal(archive: str) -> UnsupportedOperationError:
    """Return the error for a change of a part of an archive."""
    return UnsupportedOperationError("", f"changing a part of {archive!r}", _ADVICE)
