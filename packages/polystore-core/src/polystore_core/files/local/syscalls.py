"""System calls on a :class:`Place`, which is a name in an open folder."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from ...errors import LockTimeoutError
from ...errors.storage import durability_unknown
from ...paths import HIDDEN_PREFIX
from ..claims import is_abandoned
from ..locking import is_lock, remove_unused
from ..system import (
    flush_to_device,
    open_held,
    open_regular,
    path_of,
    remove_tree,
    rename_new,
    sync_directory,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..pending import Place

__all__ = [
    "flush_bytes",
    "flush_name",
    "lstat",
    "make_link",
    "open_directory",
    "read_link",
    "read_rest",
    "remove",
    "remove_leftover",
    "rename",
    "scan_directory",
]


def lstat(place: Place) -> os.stat_result:
    """Stat the name itself, not the target of a link."""
    return os.stat(place.name, dir_fd=place.dir_fd, follow_symlinks=False)


@contextmanager
def open_directory(place: Place) -> Iterator[int]:
    """Open a folder, but not the target of a link."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = open_held(place.name, flags, dir_fd=place.dir_fd)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def scan_directory(
    place: Place,
) -> Iterator[tuple[Iterator[os.DirEntry[str]], os.stat_result | None]]:
    """Return the entries of a folder, and its status (``None`` on Windows)."""
    if sys.platform == "win32":
        with os.scandir(place.name) as found:
            yield found, None
        return
    with open_directory(place) as descriptor, os.scandir(descriptor) as found:
        yield found, os.fstat(descriptor)


def make_link(target: str, place: Place, *, replace: bool) -> None:
    """Create a symbolic link with the text ``target``. ``replace`` does it in one step."""
    if not replace:
        os.symlink(target, place.name, dir_fd=place.dir_fd)
        return
    # A link cannot replace a name itself, but a rename over the name can.
    folder = os.path.dirname(place.name)
    temporary = os.path.join(folder, HIDDEN_PREFIX + os.urandom(8).hex())
    os.symlink(target, temporary, dir_fd=place.dir_fd)
    try:
        os.replace(temporary, place.name, src_dir_fd=place.dir_fd, dst_dir_fd=place.dir_fd)
    except BaseException:
        os.unlink(temporary, dir_fd=place.dir_fd)
        raise


def read_link(place: Place) -> str:
    """Return the text of a symbolic link."""
    return os.readlink(place.name, dir_fd=place.dir_fd)


def read_rest(descriptor: int, count: int = -1) -> bytes:
    """Return ``count`` bytes from the present position of an open file, or all of them."""
    with open(descriptor, "rb", closefd=False) as file:
        return file.read(count)


def rename(old: Place, new: Place, *, replace: bool) -> None:
    """Rename a file, a link or a folder. A folder cannot replace anything."""
    if replace:
        os.rename(old.name, new.name, src_dir_fd=old.dir_fd, dst_dir_fd=new.dir_fd)
    else:  # another process may have taken the name after we looked
        rename_new(old.name, new.name, src_dir_fd=old.dir_fd, dst_dir_fd=new.dir_fd)


def flush_bytes(place: Place, status: os.stat_result) -> None:
    """Flush a file that replaces another, so that one of them survives whole."""
    if stat.S_ISREG(status.st_mode):
        with open(place.name, "rb", opener=partial(_open_place, dir_fd=place.dir_fd)) as file:
            flush_to_device(file.fileno())


def _open_place(name: str, _: int, *, dir_fd: int | None) -> int:
    return open_regular(name, dir_fd=dir_fd, follow_symlinks=False)


def flush_name(place: Place, key: str, operation: str) -> None:
    """Flush the folder of ``key``, so that the name survives a power cut."""
    try:
        sync_directory(os.path.dirname(place.name) or ".", dir_fd=place.dir_fd)
    except OSError as error:
        raise durability_unknown(error, key, operation) from error


def remove_leftover(name: str, dir_fd: int) -> bool:
    """Remove a lock file or a leftover of a killed writer. Return ``False`` if it is in use."""
    if is_lock(name):
        try:
            remove_unused(name, dir_fd=dir_fd)
        except LockTimeoutError:
            return False
        return True
    # A folder ".aside" may hold the only copy of a value, which its backend puts back.
    if name.endswith(".aside") or not is_abandoned(path_of(name, dir_fd)):
        return False
    remove_tree(name, dir_fd=dir_fd)
    return True


def remove(place: Place) -> None:
    """Remove a file, a link, or a folder with everything in it."""
    remove_tree(place.name, dir_fd=place.dir_fd)
