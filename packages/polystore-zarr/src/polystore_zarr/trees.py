"""Directory trees that come, go and change places whole.

A tree is built under a hidden name beside its store. A new one is renamed to its place, one
that replaces another changes places with it (``renameat2(RENAME_EXCHANGE)``), so that a reader
finds the old tree or the new one at every moment.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from polystore.atomic import make_directories, sync_directory
from polystore.locking import HIDDEN_PREFIX, file_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "building", "copy_tree", "file_at", "hidden_beside", "is_directory", "read_whole", "remove",
    "sync_tree", "take_place",
]  # fmt: skip

Result = TypeVar("Result")

_TRIES = 8
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def hidden_beside(store: str) -> str:
    """Return a new hidden name on the file system of ``store``, where no listing looks."""
    folder = os.path.dirname(os.path.realpath(store))
    return os.path.join(folder, HIDDEN_PREFIX + os.urandom(8).hex())


@contextmanager
def building(store: str, *, durable: bool = False) -> Iterator[str]:
    """Give a new directory to build a tree in; what is left of it goes at the end."""
    temporary = hidden_beside(store)
    folder = os.path.dirname(temporary)
    if not is_directory(folder):
        make_directories(folder, durable=durable)
    try:
        os.mkdir(temporary)  # within, so that Ctrl-C leaves nothing
        yield temporary
    finally:
        remove(temporary)


def take_place(tree: str, place: str, store: str, *, replace: bool) -> None:
    """Put ``tree`` at ``place``: the moment at which readers see it.

    Raises ``FileExistsError`` if something stands there, unless ``replace``; the old tree is
    removed then.
    """
    while True:
        try:
            os.rename(tree, place)  # fails on whatever is not an empty directory
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            if error.errno == errno.ENOTDIR and not os.path.lexists(place):
                raise  # a part of the path is a file
            if not replace:
                code = errno.EEXIST
                raise FileExistsError(code, os.strerror(code), place) from None
        try:
            with file_lock(store):  # a reader that cannot win the race holds it
                exchange(tree, place)
        except FileNotFoundError:  # deleted in between: the place is free
            continue
        # What stands under the name of the new tree now is the old one: out of sight with it.
        hidden = hidden_beside(store)
        try:
            os.rename(tree, hidden)
        finally:
            remove(hidden)
        return


if sys.platform == "linux":
    _renameat2 = ctypes.CDLL(None, use_errno=True).renameat2

    def exchange(one: str, other: str) -> None:
        """Let two trees change names, in one step."""
        flags = ctypes.c_uint(_RENAME_EXCHANGE)
        a, b = os.fsencode(one), os.fsencode(other)
        if _renameat2(_AT_FDCWD, a, _AT_FDCWD, b, flags) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
            raise OSError(code, os.strerror(code), other)
        _exchange_by_steps(one, other)  # network and FUSE file systems

else:

    def exchange(one: str, other: str) -> None:
        """Let two trees change names."""
        _exchange_by_steps(one, other)


def _exchange_by_steps(one: str, other: str) -> None:
    # Where the system cannot exchange, a reader may for a moment find nothing. After a crash
    # between the steps the old tree stands under a hidden name, which `polystore doctor` lists.
    aside = hidden_beside(one)
    os.rename(other, aside)
    try:
        os.rename(one, other)
    except BaseException:
        os.rename(aside, other)
        raise
    os.rename(aside, one)


def remove(tree: str) -> None:
    """Remove a tree, file or link that has no name for readers any more.

    What cannot be removed stays under its hidden name, where ``polystore doctor`` finds it:
    the operation that hid it has succeeded, and must not be reported as a failure.
    """
    try:
        _remove(tree)
    except BaseException:  # Ctrl-C, which ends the operation, not the tidying up
        _remove(tree)
        raise


def _remove(tree: str) -> None:
    with suppress(OSError):
        if os.path.islink(tree) or os.path.isfile(tree):
            os.unlink(tree)
        else:
            shutil.rmtree(tree, ignore_errors=True)  # the rest, where a part cannot go


def is_directory(path: str) -> bool:
    """``os.path.isdir``, but for errors: a device that fails is no missing directory."""
    return _is_there(path, stat.S_ISDIR)


def file_at(paths: Sequence[str]) -> str | None:
    """Return the first of ``paths`` at which a file stands."""
    return next((path for path in paths if _is_there(path, stat.S_ISREG)), None)


def _is_there(path: str, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):  # nothing can stand there
            return False
        raise


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


def sync_tree(tree: str) -> None:
    """Flush every file and directory of a tree to the device."""
    for folder, _, files in os.walk(tree, onerror=_refuse):
        for name in files:
            descriptor = os.open(os.path.join(folder, name), os.O_RDWR)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_directory(folder)


def _refuse(error: OSError) -> None:
    raise error


def read_whole(directory: str, store: str, read: Callable[[], Result]) -> Result:
    """Call ``read`` until the tree at ``directory`` was the same before and after it.

    A reader finds the chunks of an array by their paths, so a tree that is replaced meanwhile
    would give a mixture of both.
    """
    for _ in range(_TRIES):
        with _pinned(directory) as same:
            try:
                result = read()
            except Exception:
                if same():
                    raise
            else:
                if same():
                    return result
    with file_lock(store):
        return read()


@contextmanager
def _pinned(directory: str) -> Iterator[Callable[[], bool]]:
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
