"""Files of the local file system: each one is replaced whole, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polystore_core import FileBackend, LocalStore

if TYPE_CHECKING:
    from polystore_core import Path

__all__ = ["DiskBackend"]


class DiskBackend(FileBackend):
    """Save and load by the suffix of the path.

    Without ``root`` paths are the operating system's; with it they are relative to it, and
    nothing outside can be reached. ``durable`` is the default of ``save``.
    """

    store: LocalStore

    def __init__(self, *, root: Path | None = None, durable: bool | None = None) -> None:
        super().__init__(LocalStore(root, durable=durable))
        self.root = self.store.root
        self.durable = durable

    def __repr__(self) -> str:
        root = "" if self.root is None else f", root={self.root!r}"
        return f"<DiskBackend {self.name or 'disk'!r}{root}>"
