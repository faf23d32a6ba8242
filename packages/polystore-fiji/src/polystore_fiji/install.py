"""The receiver among the plugins of a Fiji or ImageJ: put there, and taken away again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polystore_core import atomic_write
from polystore_core.errors import InvalidOptionError, storage_error

from .imagej import imagej_folder
from .jars import BACKEND, JAR_NAME, installed_jars, own_jar

if TYPE_CHECKING:
    import os
    from pathlib import Path

__all__ = ["install", "uninstall"]


def install(fiji: str | os.PathLike[str]) -> tuple[Path, list[Path]]:
    """Copy the receiver into ``fiji``, and return where it is and which older ones it replaced.

    ``fiji`` may be a link. Nothing outside of the folder is touched: a link with the name of the
    jar is replaced, and the file that it led to stays.

    Raises ``InvalidOptionError`` if ``fiji`` is not a Fiji or ImageJ, or a folder of plugins is a
    link to another place. Raises ``StorageError`` if its plugins cannot be written, and
    ``ReceiverUnavailableError`` if the jar was never built.
    """
    folder, own = imagej_folder(fiji), own_jar()
    target = folder / "plugins" / JAR_NAME
    older = [jar.path for jar in installed_jars(folder)]
    _check_inside(folder, [target, *older], f"copy {own.path} there yourself")
    if target.is_symlink():
        _remove([target])  # else its target would be written
    # No lock: its file would stay, and ImageJ's plugins are no place for it.
    with atomic_write(target, "wb", lock=False) as file:
        file.write(own.path.read_bytes())
    _remove([path for path in older if path != target])
    return target, older


def uninstall(fiji: str | os.PathLike[str]) -> list[Path]:
    """Remove the receiver from ``fiji``, and return what was removed: nothing else is touched.

    Raises ``InvalidOptionError`` if ``fiji`` is not a Fiji or ImageJ, or the receiver is in a
    folder that is a link to another place. Raises ``StorageError`` if it cannot be removed.
    """
    folder = imagej_folder(fiji)
    found = [jar.path for jar in installed_jars(folder)]
    _check_inside(folder, found, f"remove {' and '.join(map(str, found))} yourself")
    _remove(found)
    return found


def _check_inside(folder: Path, paths: list[Path], advice: str) -> None:
    """Raise ``InvalidOptionError`` if a link leads out of ``folder`` on the way to a path.

    Other programs may use the place behind the link.
    """
    for path in paths:
        place = path.parent.resolve()
        if not place.is_relative_to(folder.resolve()):
            link = f"{path.parent} is a link to {place}"
            expected = f"a folder with plugins of its own ({link}): {advice}"
            raise InvalidOptionError("fiji", str(folder), expected)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, BACKEND, str(path), "remove a receiver") from error
