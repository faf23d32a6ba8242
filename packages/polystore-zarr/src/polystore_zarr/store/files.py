"""Single files of a store: new ones, and those that somebody may be reading."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from polystore_core import PendingFile

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["write_atomically", "write_file"]


def _opened(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)
    flags |= getattr(os, "O_BINARY", 0)
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, flags, 0o666)


def write_file(path: str, pieces: Sequence[bytes | memoryview]) -> None:
    """Write a file that nobody reads yet, and its missing folders."""
    with io.FileIO(_opened(path), "w") as file:
        for piece in pieces:
            view = memoryview(piece)
            while view:  # Linux writes at most 2 GiB in one call
                view = view[file.write(view) :]


def write_atomically(
    path: str, pieces: Sequence[bytes | memoryview], *, durable: bool | None = None
) -> None:
    """Replace a file that others may be reading; ``durable`` is that of ``PendingFile``."""
    pending = PendingFile(path, durable=durable)
    try:
        for piece in pieces:
            pending.file.write(piece)
        pending.seal()
        pending.commit()
        if durable:
            pending.sync_directory()
    finally:
        pending.discard()
