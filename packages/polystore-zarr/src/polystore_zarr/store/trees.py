"""Directory trees: found, copied, flushed and removed."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from polystore_core import flush_to_device, in_threads, remove_tree, sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "copy_tree",
    "file_at",
    "flush_file",
    "is_directory",
    "is_there",
    "pinned",
    "remove",
    "remove_link",
    "sync_tree",
]

_AT_ONCE = 8
"""Files that are flushed at once, if there are more: the journal takes them in one transaction."""


def is_directory(path: str) -> bool:
    """``os.path.isdir``, but for errors: a device that fails is no missing directory."""
    return _has_kind(path, stat.S_ISDIR)


def file_at(paths: Sequence[str]) -> str | None:
    """Return the first of ``paths`` at which a file stands."""
    return next((path for path in paths if _has_kind(path, stat.S_ISREG)), None)


def _has_kind(path: str, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):  # nothing can stand there
            return False
        raise


def is_there(path: str) -> bool:
    """``os.path.lexists``, but for errors."""
    try:
        os.stat(path, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


@contextmanager
def pinned(directory: str) -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether the same directory is still at this path."""
    if sys.platform == "win32":  # opens no directories, and replaces none that is in use
        yield lambda: True
        return
    # Held open, so that its inode number is given to no other directory meanwhile.
    descriptor = os.open(directory, getattr(os, "O_PATH", os.O_RDONLY))
    try:
        before = os.fstat(descriptor)

        def same() -> bool:
            try:
                return os.path.samestat(before, os.stat(directory))
            except FileNotFoundError:
                return False

        yield same
    finally:
        os.close(descriptor)


def copy_tree(
    source: str,
    target: str,
    ignore: Callable[[str, list[str]], list[str]],
    _above: tuple[tuple[int, int], ...] = (),
) -> None:
    """Copy a tree, following links. Raises the first ``OSError`` as it is.

    ``shutil.copytree`` gathers its errors into one that has no ``errno``.
    """
    status = os.stat(source)
    identity = status.st_dev, status.st_ino
    if identity in _above:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), source)
    os.mkdir(target)
    names = os.listdir(source)
    ignored = set(ignore(source, names))
    for name in names:
        if name not in ignored:
            old, new = os.path.join(source, name), os.path.join(target, name)
            if is_directory(old):
                copy_tree(old, new, ignore, (*_above, identity))
            else:
                shutil.copyfile(old, new)


# ── flushing ─────────────────────────────────────────────────────────────────────────────


def sync_tree(tree: str) -> None:
    """Flush every file and directory of a tree to the device.

    Several threads flush the files. ``syncfs`` would be faster on an idle disk, but it also
    writes all that other processes have not flushed yet.
    """
    files: list[str] = []
    folders: list[str] = []
    for folder, _, names in os.walk(tree, onerror=_refuse):
        folders.append(folder)
        files += (os.path.join(folder, name) for name in names)
    if len(files) <= _AT_ONCE:
        for path in files:
            flush_file(path)
    else:
        with in_threads(_AT_ONCE) as run:
            for _ in run(flush_file, files):
                pass
    for folder in folders:
        sync_directory(folder)


def flush_file(path: str) -> None:
    """Flush the bytes of a file to the device; a link, pipe or device has none of its own."""
    if not stat.S_ISREG(os.stat(path, follow_symlinks=False).st_mode):
        return
    descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        flush_to_device(descriptor)
    finally:
        os.close(descriptor)


def _refuse(error: OSError) -> None:
    raise error


# ── removing ─────────────────────────────────────────────────────────────────────────────


def remove(tree: str) -> None:
    """Remove a tree, file or link that has no name for readers any more.

    Something that cannot be removed keeps its hidden name, and the next save into the store or
    ``polystore doctor`` removes it. The operation that hid it has succeeded and must not be
    reported as a failure, so no ``OSError`` is raised.
    """
    try:
        _remove(tree)
    except BaseException:  # Ctrl-C, which ends the operation, not the tidying up
        _remove(tree)
        raise


def remove_link(path: str) -> bool:
    """Remove a symbolic link, and not the tree that it leads to. ``False`` if it is not one."""
    if not os.path.islink(path):
        return False
    os.unlink(path)
    return True


def _remove(tree: str) -> None:
    with suppress(OSError):
        remove_tree(tree, timeout=0)
