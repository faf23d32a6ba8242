"""Open files (descriptors) that ZeroMQ needs all at once."""

from __future__ import annotations

import errno
import io
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import zmq

from polystore.errors import storage_error

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NONE_LEFT", "spare_descriptors"]

NONE_LEFT = (errno.EMFILE, errno.ENFILE)
"""The process, or the machine, can open no more files."""
_NEEDED = 16
"""A context, its sockets and their monitor open 9 (a producer) to 13 (a receiver)."""


@contextmanager
def spare_descriptors(backend: str, operation: str) -> Iterator[None]:
    """Run a block that opens sockets of ZeroMQ, if enough files can be opened for it.

    ZeroMQ ends the whole process where it can open some of its descriptors and not all.
    Raises ``StorageError`` with the errno ``EMFILE`` or ``ENFILE`` instead.
    """
    try:
        spare: list[io.FileIO] = []
        try:
            for _ in range(_NEEDED):
                spare.append(io.FileIO(os.devnull))
        finally:
            for file in spare:
                file.close()
        yield
    except (OSError, zmq.ZMQError) as error:
        if error.errno not in NONE_LEFT:
            raise
        raise storage_error(OSError(error.errno, ""), backend, "", operation) from error
