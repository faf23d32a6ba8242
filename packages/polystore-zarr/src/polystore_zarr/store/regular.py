"""Opening the files of a store for reading: documents, chunks and shards."""

from __future__ import annotations

import errno
import io
import os

from polystore_core import open_regular
from polystore_core.errors import DamagedDataError

__all__ = ["is_zip", "open_file", "read_bytes"]


def open_file(path: str) -> io.FileIO:
    """Open a document, chunk or shard for reading, and never wait for it.

    Raises:
        DamagedDataError: there is something else: a folder, a named pipe, a device.
        OSError: there is nothing, or the system refuses.
    """
    try:
        return io.FileIO(open_regular(path))
    except IsADirectoryError:
        raise DamagedDataError("it is a folder, not a file", "zarr", path) from None
    except OSError as error:
        is_link = error.errno == errno.ELOOP and os.path.islink(path)
        if error.errno != errno.EINVAL and not is_link:
            raise
        raise DamagedDataError(error.strerror or str(error), "zarr", path) from error


def is_zip(path: str) -> bool:
    """Whether a file is a zip archive, as zipped Zarr stores are."""
    try:
        with open_file(path) as file:
            return file.read(4) in (b"PK\3\4", b"PK\5\6")
    except (DamagedDataError, OSError):  # no regular file, or nobody may read it
        return False


def read_bytes(file: io.FileIO, length: int) -> bytes:
    """Read ``length`` bytes, fewer at the end of the file. One call gives at most 2 GiB."""
    first = file.read(length)
    if len(first) == length or not first:
        return first
    pieces, left = [first], length - len(first)
    while left and (piece := file.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
