"""Pack a tree into one zip archive.

RFC-9 of OME-NGFF (https://ngff.openmicroscopy.org/rfc/9/) has the rules for OME-Zarr.
"""

from __future__ import annotations

import io
import struct
import zipfile
from typing import TYPE_CHECKING

from polystore_core import encode_json

from .copying import pieces_of
from .nodes import read_document

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from .base import StorePath

__all__ = ["comment_for", "pack"]

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")


def pack(tree: StorePath, file: BinaryIO, comment: bytes) -> None:
    """Write the files of a tree as a zip archive, documents first, without compressing again."""
    skip = len(tree.key) + 1
    keys = (found.key[skip:] for found in tree.files.store.scan(tree.key))
    with zipfile.ZipFile(file, "w") as archive:
        archive.comment = comment
        # Sorted, because the order in a folder depends on the file system.
        for key in sorted(keys, key=_order):
            _add(archive, key, pieces_of(tree / key))
    _end_as_zip64(file, archive)


def _add(archive: zipfile.ZipFile, key: str, pieces: Iterable[bytes]) -> None:
    info = zipfile.ZipInfo(key)  # the date is always 1980, so that equal trees give equal bytes
    # zipfile takes the system from Python: on Windows, an equal tree would give other bytes.
    # Without a mode, it writes 0600, and only the owner could read the unpacked files.
    info.create_system, info.external_attr = 3, 0o100644 << 16
    # The size is not known yet, and zipfile fails at 2 GiB without this.
    with archive.open(info, "w", force_zip64=True) as member:
        for piece in pieces:
            member.write(piece)


def _end_as_zip64(file: BinaryIO, archive: zipfile.ZipFile) -> None:
    """Rewrite the end of an archive as zip64, which RFC-9 requires.

    ``zipfile`` does this only for large archives.
    """
    comment, count = archive.comment, len(archive.filelist)
    end = file.seek(0, io.SEEK_END) - _END.size - len(comment)
    file.seek(end - _LOCATOR.size)
    # A large archive ends as zip64 already.
    if file.read(4) == b"PK\6\7":
        return
    file.seek(end)
    start = archive.start_dir
    # 44 bytes of this record follow its size. Version 4.5 is the first one with zip64.
    file.write(_END64.pack(b"PK\6\6", 44, 45, 45, 0, 0, count, count, end - start, start))
    file.write(_LOCATOR.pack(b"PK\6\7", 0, end, 1))
    most16, most32 = 0xFFFF, 0xFFFFFFFF  # these values mean: see the zip64 record
    file.write(_END.pack(b"PK\5\6", 0, 0, most16, most16, most32, most32, len(comment)))
    file.write(comment)


def _order(key: str) -> tuple[bool, int, str]:
    """Return a sort key: documents first, the outer ones before the inner ones.

    A reader over a network gets all documents with one request.
    """
    is_document = key.rpartition("/")[2] == "zarr.json"
    return not is_document, key.count("/") if is_document else 0, key


def comment_for(tree: StorePath) -> bytes:
    """Return the comment that marks a packed OME-Zarr, or ``b""`` for other trees."""
    document = read_document(tree)
    ome = None if document is None else document.attributes.get("ome")
    if document is None or document.zarr_format != 3 or not isinstance(ome, dict):
        return b""
    sorted_so = {"centralDirectory": {"jsonFirst": True}}
    return encode_json({"ome": {"version": ome.get("version", "0.5"), "zipFile": sorted_so}})
