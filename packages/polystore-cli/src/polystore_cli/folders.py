"""Count the files and folders in a folder, and their bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from polystore_core import FileManager

    from .address import Address

__all__ = ["Content", "measure_folder"]


class Content(NamedTuple):
    """The content of a folder, at any depth."""

    folders: int
    files: int
    size: int | None
    """Bytes of all files. ``None`` if the backend does not tell the size of each."""


def measure_folder(files: FileManager, folder: Address) -> Content:
    """Count the folders and files below ``folder``, and add up the sizes. Opens no file."""
    from polystore_core import FileBackend

    backend = files.registry[folder.backend]
    folders, paths = files.collect_dirs_and_files(
        folder.path, backend=folder.backend, recursive=True
    )
    size: int | None = 0
    for path in paths:
        # info() would open each file and read its header.
        if isinstance(backend, FileBackend):
            one = backend.store.stat(backend.store.key(path)).size
        else:
            one = files.info(path, backend=folder.backend).size
        size = None if size is None or one is None else size + one
    return Content(len(folders), len(paths), size)
