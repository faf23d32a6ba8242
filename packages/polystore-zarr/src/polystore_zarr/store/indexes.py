"""The indexes of shards that a handle has read. They are kept for its next reads."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from typing import BinaryIO

    from numpy.typing import NDArray

    from polystore_core import Value

__all__ = ["ShardIndexes", "ShardVersion", "version_of"]

_MOST_BYTES = 16 << 20
"""The index of a million inner chunks. A larger one is kept alone."""

ShardVersion: TypeAlias = tuple[int, int, int, bytes]


def version_of(file: BinaryIO, checksum_bytes: int) -> ShardVersion:
    """Return a value that differs if a shard was replaced or written again.

    The system reuses inode numbers, and its clock may not move between two writes. So the checksum
    of the index, which is the last ``checksum_bytes`` of the file, is part of the version.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - checksum_bytes))
    checksum = file.read(checksum_bytes)
    try:
        status = os.fstat(file.fileno())
    except OSError:  # not a file of the system
        return 0, size, 0, checksum
    return status.st_ino, size, status.st_mtime_ns, checksum


class ShardIndexes:
    """Decoded indexes by the name of the shard. The least recently used is dropped first.

    Locks: ``_lock`` guards ``_kept`` and ``_nbytes``. A pickled object is empty.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[ShardVersion, NDArray[Value]]] = OrderedDict()
        self._nbytes = 0

    def get(self, name: str, version: ShardVersion) -> NDArray[Value] | None:
        """Return the index of a shard, or ``None`` if this version is not kept."""
        with self._lock:
            found = self._kept.get(name)
            if found is None or found[0] != version:
                return None
            self._kept.move_to_end(name)
            return found[1]

    def keep(self, name: str, version: ShardVersion, index: NDArray[Value]) -> None:
        """Keep the index of a shard, and drop others beyond 16 MiB in total."""
        with self._lock:
            before = self._kept.pop(name, None)
            self._nbytes += index.nbytes - (0 if before is None else before[1].nbytes)
            self._kept[name] = version, index
            while self._nbytes > _MOST_BYTES and len(self._kept) > 1:
                _, (_, dropped) = self._kept.popitem(last=False)
                self._nbytes -= dropped.nbytes

    def __reduce__(self) -> tuple[type[ShardIndexes], tuple[()]]:
        return ShardIndexes, ()
