"""The store that zarr writes into: its writing ends with the call that began it."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .files import write_atomically, write_file
from .localstore import RegularStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zarr.core.buffer import Buffer

    from polystore_core import Option

__all__ = ["WritingStore"]


class WritingStore(RegularStore):
    """A folder, for the length of one call.

    zarr writes from threads of its own, which go on after Ctrl-C or a full disk has ended the
    call in ours, and would make a folder again that we have just removed. Each file is replaced
    whole and under no second name, which a killed writer would leave behind.

    ``_changed`` guards ``_writing`` (files that are being written) and ``_ended``.
    """

    def __init__(self, root: str, *, seen: bool, durable: bool | None = None) -> None:
        super().__init__(root)
        self._seen = seen
        self._durable = durable
        self._changed = threading.Condition()
        self._writing = 0
        self._ended = False

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Wait for what is being written, and refuse the rest, if the body fails."""
        try:
            yield
        except BaseException:
            with self._changed:
                self._ended = True
                self._changed.wait_for(lambda: self._writing == 0)
            raise

    async def _open(self, *, mode: Option = None) -> None:
        # zarr makes the folder here, in its own thread: again, if Ctrl-C has ended the call and
        # the folder is removed. A file that is written makes the folders that it needs.
        self._is_open = True

    async def set(self, key: str, value: Buffer, *options: Option) -> None:
        await asyncio.to_thread(self._write, key, value)

    def set_sync(self, key: str, value: Buffer, *options: Option) -> None:
        self._write(key, value)

    def _write(self, key: str, value: Buffer) -> None:
        with self._changed:
            if self._ended:
                raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED), key)
            self._writing += 1
        try:
            data: Any = value.as_numpy_array()
            path, pieces = os.path.join(self.root, key), [memoryview(data)]
            if self._seen:
                write_atomically(path, pieces, durable=self._durable)
            else:
                write_file(path, pieces)
        finally:
            with self._changed:
                self._writing -= 1
                self._changed.notify_all()
