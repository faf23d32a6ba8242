"""``DiskBackend``: files of the local file system, which are replaced atomically."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polystore_core import FileBackend, LocalStore

if TYPE_CHECKING:
    from polystore_core import Path

__all__ = ["DiskBackend"]


class DiskBackend(FileBackend):
    """Files of the local file system. The suffix of a path chooses the format.

    For example:

        registry.add("raw", "disk", root="/mnt/raw", durable=True)

    Args:
        root: Paths are relative to this folder, and cannot leave it. By default they are any paths
            of the operating system.
        durable: Whether values survive a power cut, if ``save`` gets no ``durable`` of its own.
            See ``FileBackend``.
    """

    store: LocalStore

    def __init__(self, *, root: Path | None = None, durable: bool | None = None) -> None:
        super().__init__(LocalStore(root, durable=durable))
        self.root = self.store.root
        # Set here for users. FileBackend takes the default from the store itself.
        self.durable = durable

    def __repr__(self) -> str:
        root = "" if self.root is None else f", root={self.root!r}"
        return f"<DiskBackend {self.name or 'disk'!r}{root}>"
