"""The receiver among the plugins of a Fiji or ImageJ: put there, and taken away again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polystore_core import atomic_write
from polystore_core.errors import storage_error

from .imagej import imagej_folder
from .jars import BACKEND, JAR_NAME, installed_jars, own_jar

if TYPE_CHECKING:
    import os
    from pathlib import Path

__all__ = ["install", "uninstall"]


def install(fiji: str | os.PathLike[str]) -> tuple[Path, list[Path]]:
    """Copy the receiver into ``fiji``, and return where it is and which older ones it replaced.

    Raises ``InvalidOptionError`` where that is no Fiji or ImageJ, ``StorageError`` where its
    plugins cannot be written, ``ReceiverUnavailableError`` where the jar was never built.
    """
    folder, own = imagej_folder(fiji), own_jar()
    target = folder / "plugins" / JAR_NAME
    older = [jar.path for jar in installed_jars(folder)]
    # No lock: its file would stay, and ImageJ's plugins are no place for it.
    with atomic_write(target, "wb", lock=False) as file:
        file.write(own.path.read_bytes())
    _remove([path for path in older if path != target])
    return target, older


def uninstall(fiji: str | os.PathLike[str]) -> list[Path]:
    """Remove the receiver from ``fiji``, and return what was removed: nothing else is touched.

    Raises ``InvalidOptionError`` where that is no Fiji or ImageJ, ``StorageError`` where it
    cannot be removed.
    """
    found = [jar.path for jar in installed_jars(imagej_folder(fiji))]
    _remove(found)
    return found


def _remove(paths: list[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, BACKEND, str(path), "remove a receiver") from error
