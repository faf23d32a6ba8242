"""Install the receiver among the plugins of a Fiji or ImageJ, and uninstall it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polystore_core import atomic_write
from polystore_core.errors import InvalidOptionError, storage_error

from .imagej import imagej_folder
from .jars import BACKEND, JAR_NAME, find_installed_jars, find_own_jar

if TYPE_CHECKING:
    import os
    from pathlib import Path

__all__ = ["install", "uninstall"]


def install(fiji: str | os.PathLike[str]) -> tuple[Path, list[Path]]:
    """Copy the receiver into ``fiji``. Return its path, and the older receivers that it replaced.

    ``fiji`` may be a link. Files outside of the folder do not change. For example, if the jar is a
    link, the link is replaced, and its target stays.

    Raises:
        InvalidOptionError: ``fiji`` is not a Fiji or ImageJ, or its folder of plugins is a link.
        StorageError: The plugins cannot be written.
        ReceiverUnavailableError: The jar was never built.
    """
    folder, own = imagej_folder(fiji), find_own_jar()
    target = folder / "plugins" / JAR_NAME
    older = [jar.path for jar in find_installed_jars(folder)]
    _check_inside(folder, [target, *older], f"copy {own.path} there yourself")
    if target.is_symlink():
        _remove([target])  # or the write would change the target of the link
    # Do not lock: the file of the lock would stay among ImageJ's plugins.
    with atomic_write(target, "wb", lock=False) as file:
        file.write(own.path.read_bytes())
    _remove([path for path in older if path != target])
    return target, older


def uninstall(fiji: str | os.PathLike[str]) -> list[Path]:
    """Remove the receiver from ``fiji``, and return the removed files. No other file changes.

    Raises:
        InvalidOptionError: ``fiji`` is not a Fiji or ImageJ, or the folder of the receiver is a
            link.
        StorageError: The receiver cannot be removed.
    """
    folder = imagej_folder(fiji)
    found = [jar.path for jar in find_installed_jars(folder)]
    _check_inside(folder, found, f"remove {' and '.join(map(str, found))} yourself")
    _remove(found)
    return found


def _check_inside(folder: Path, paths: list[Path], advice: str) -> None:
    """Raise ``InvalidOptionError`` if a path leads out of ``folder`` through a link.

    Other programs may use the target of the link.
    """
    for path in paths:
        place = path.parent.resolve()
        if not place.is_relative_to(folder.resolve()):
            link = f"{path.parent} is a link to {place}"
            expected = f"a folder whose plugins are not a link ({link}): {advice}"
            raise InvalidOptionError("fiji", str(folder), expected)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, BACKEND, str(path), "remove a receiver") from error
