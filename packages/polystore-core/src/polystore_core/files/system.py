"""Opening, renaming, removing and flushing files: the steps of an atomic replacement."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import sys
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from ..threads import in_threads
from .locking import file_lock, is_lock, remove_unused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

__all__ = [
    "MOST_LINKS",
    "describe_kind",
    "exchange",
    "flush_to_device",
    "follow_links",
    "is_missing",
    "keep_acl",
    "make_directories",
    "not_regular",
    "open_regular",
    "path_of",
    "regular_only",
    "remove_tree",
    "rename_new",
    "sync_directory",
    "sync_tree",
]

# Without O_NONBLOCK, opening a named pipe would wait for a writer for ever.
_READ = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
_TRIES = 100  # of creating or emptying a folder that others delete or fill at the same time
_FLUSHED_AT_ONCE = 8
"""Files of a tree to flush at once, because the journal writes them in one transaction."""
MOST_LINKS = 40
"""The longest chain of symbolic links, as in the kernel. A longer one counts as a loop."""

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}

_BY_DIRECTORY = os.open in os.supports_dir_fd

# The errors of file systems for an operation that they do not have.
_UNKNOWN_OPERATION = (
    errno.EINVAL,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EMLINK,
    errno.ENOTTY,
)


def open_held(
    path: str | PathLike[str], flags: int, *, mode: int = 0o777, dir_fd: int | None = None
) -> int:
    """Open a file as ``os.open`` does, so that Ctrl-C cannot lose the descriptor."""
    # Ctrl-C can strike between two calls of C, that is after a plain ``os.open``. It cannot strike
    # between the return of this function and the ``try`` of the caller.
    held: list[int] = []
    try:
        held.extend(map(partial(os.open, dir_fd=dir_fd), (path,), (flags,), (mode,)))
    except BaseException:
        for descriptor in held:
            os.close(descriptor)
        raise
    return held[0]


def open_regular(
    path: str | PathLike[str], *, dir_fd: int | None = None, follow_symlinks: bool = True
) -> int:
    """Open a regular file for reading, without ever waiting. Returns its descriptor.

    Raises ``OSError`` for anything else: ``EISDIR`` for a folder, and ``EINVAL`` for a named pipe,
    which would wait for its writer, and for a device, which may never end.
    """
    flags = _READ if follow_symlinks else _READ | os.O_NOFOLLOW
    opens = os.open if dir_fd is None else partial(os.open, dir_fd=dir_fd)
    held: list[int] = []
    try:
        # In one call of C, because between two Ctrl-C could lose the descriptor.
        held.extend(map(opens, (path,), (flags,)))
        found = os.fstat(held[0])
        if not stat.S_ISREG(found.st_mode):
            raise not_regular(found, path)
    except BaseException as error:
        for descriptor in held:
            os.close(descriptor)
        if isinstance(error, OSError) and error.errno == errno.ENXIO:
            # a socket, or a device without a driver
            raise not_regular(os.stat(path, dir_fd=dir_fd), path) from error
        raise
    return held[0]


def regular_only(path: str, _flags: int) -> int:
    """Open only regular files: ``open(path, "rb", opener=regular_only)``."""
    return open_regular(path)


def describe_kind(status: os.stat_result) -> str:
    """Return the kind of a special file in words, such as "a named pipe"."""
    return _KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file")


def not_regular(status: os.stat_result, path: str | PathLike[str]) -> OSError:
    """Return the error for a path that is not a regular file."""
    if stat.S_ISDIR(status.st_mode):
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    reason = f"it is {describe_kind(status)}, and only a regular file can hold a value"
    return OSError(errno.EINVAL, reason, os.fspath(path))


_ACL = "system.posix_acl_access"


def keep_acl(path: str, descriptor: int, *, dir_fd: int | None = None) -> None:
    """Give an open file the access control list of the file at ``path``, if it has one.

    The mode alone is not enough: its group bits are the mask of the list.
    """
    if not hasattr(os, "getxattr"):
        return
    try:
        acl = os.getxattr(path_of(path, dir_fd), _ACL, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP, errno.ENOENT, errno.EPERM):
            return
        raise
    os.setxattr(descriptor, _ACL, acl)


# ── renaming ─────────────────────────────────────────────────────────────────────────────


_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
# Python has no function for it, and neither have musl and glibc before 2.28.
_renameat2 = getattr(_libc, "renameat2", None)
_AT_FDCWD, _NOREPLACE, _EXCHANGE = -100, 1, 2


def _rename_with(
    flag: int, source: str, target: str, src_dir_fd: int | None, dst_dir_fd: int | None
) -> None:
    if _renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), target)
    result = _renameat2(
        _AT_FDCWD if src_dir_fd is None else src_dir_fd,
        os.fsencode(source),
        _AT_FDCWD if dst_dir_fd is None else dst_dir_fd,
        os.fsencode(target),
        ctypes.c_uint(flag),
    )
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), target)


def exchange(
    one: str, other: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
) -> bool:
    """Exchange the names of two files or trees in one step. Returns whether the system can."""
    try:
        _rename_with(_EXCHANGE, one, other, src_dir_fd, dst_dir_fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise
        return False
    return True


def rename_new(
    source: str, target: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
) -> None:
    """Rename a file or a folder to a new name. Raises ``FileExistsError`` if the name exists.

    Some file systems have neither ``RENAME_NOREPLACE`` nor hard links, for example exFAT through
    FUSE. There ``file_lock(target)`` excludes other callers of this function only, and a folder
    can replace an empty folder.
    """
    try:
        return _rename_with(_NOREPLACE, source, target, src_dir_fd, dst_dir_fd)
    except OSError as error:
        if error.errno not in _UNKNOWN_OPERATION:
            raise
    if stat.S_ISDIR(os.stat(source, dir_fd=src_dir_fd, follow_symlinks=False).st_mode):
        return _rename_directory(source, target, src_dir_fd, dst_dir_fd)
    try:
        os.link(
            source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=False
        )
    except OSError as error:
        if error.errno not in _UNKNOWN_OPERATION:
            raise
    except NotImplementedError:  # this system cannot link a symbolic link
        pass
    else:
        return os.unlink(source, dir_fd=src_dir_fd)
    with file_lock(target, dir_fd=dst_dir_fd):
        try:
            os.stat(target, dir_fd=dst_dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return os.rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)


def _rename_directory(
    source: str, target: str, src_dir_fd: int | None, dst_dir_fd: int | None
) -> None:
    try:
        os.rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR):  # a directory, or a file
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from error
        raise


def path_of(name: str, dir_fd: int | None) -> str:
    """Return a path for ``name``, which may be relative to an open folder (Linux only)."""
    return name if dir_fd is None else os.path.join(f"/proc/self/fd/{dir_fd}", name)


# ── removing ─────────────────────────────────────────────────────────────────────────────


def remove_tree(name: str, *, dir_fd: int | None = None, timeout: float = 30.0) -> None:
    """Remove a file, a link, or a folder with everything in it. Does not follow links.

    It also removes names that others add to a folder at the same time, up to 100 times.

    Args:
        name: A path, or a name in ``dir_fd``.
        dir_fd: An open folder.
        timeout: Seconds to wait for each lock in the tree, so that no writer loses its lock.

    Raises:
        LockTimeoutError: A lock is still held. The rest of the tree is in place.
        OSError: Something cannot be removed. ``FileNotFoundError`` is about ``name`` itself only.
    """
    # Not shutil.rmtree: it closes a descriptor twice after Ctrl-C, and raises EBADF.
    if not _BY_DIRECTORY:  # pragma: no cover - Windows
        return (shutil.rmtree if os.path.isdir(name) else os.unlink)(name)
    if not stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode):
        return os.unlink(name, dir_fd=dir_fd)
    levels: list[_Level] = []  # not by recursion, because folders may be deep
    try:
        levels.append(_Level(name, dir_fd))
        while levels:
            level = levels[-1]
            try:
                inner = level.empty(timeout)
                if inner is not None:
                    levels.append(_Level(inner, level.descriptor))
                elif level.remove():
                    os.close(levels.pop().descriptor)
            except FileNotFoundError:  # another process was faster
                if inner is not None:
                    continue
                os.close(levels.pop().descriptor)
                if not levels:
                    raise
    finally:
        for level in levels:
            os.close(level.descriptor)


class _Level:
    """A folder that is being removed, opened by its name in its open parent."""

    def __init__(self, name: str, dir_fd: int | None) -> None:
        self._name, self._dir_fd = name, dir_fd
        # O_NOFOLLOW: another process may put a link here after the listing, and the files
        # behind it must not be deleted.
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self.descriptor = open_held(name, flags, dir_fd=dir_fd)
        self._tries = 0
        self._waiting: list[str] = []
        self._list()

    def _list(self) -> None:
        # Locks are at the end, so they are popped first: without its file a lock protects nothing.
        self._waiting = sorted(os.listdir(self.descriptor), key=is_lock)

    def empty(self, timeout: float) -> str | None:
        """Remove entries up to the first folder. Return its name, or ``None``."""
        while self._waiting:
            entry = self._waiting.pop()
            with suppress(FileNotFoundError):  # another process was faster
                if is_lock(entry):
                    remove_unused(entry, dir_fd=self.descriptor, timeout=timeout)
                elif _is_directory(entry, self.descriptor):
                    return entry
                else:
                    os.unlink(entry, dir_fd=self.descriptor)
        return None

    def remove(self) -> bool:
        """Remove the folder. Return ``False`` if others have added names to it."""
        try:
            os.rmdir(self._name, dir_fd=self._dir_fd)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            self._tries += 1
            if self._tries == _TRIES:
                reason = "other writers keep saving into it: stop them first"
                raise OSError(errno.ENOTEMPTY, reason, self._name) from error
            self._list()
            return False
        return True


def _is_directory(name: str, dir_fd: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode)


# ── flushing ─────────────────────────────────────────────────────────────────────────────


def flush_to_device(descriptor: int) -> None:
    """Flush the bytes of a file through all caches, including that of the drive."""
    if sys.platform == "darwin":  # there fsync stops at the cache of the drive
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def sync_directory(directory: str | PathLike[str], *, dir_fd: int | None = None) -> None:
    """Flush the names in ``directory`` to the device. Windows does not need it."""
    if sys.platform == "win32":
        return
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = open_held(directory, flags, dir_fd=dir_fd)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some FUSE and SMB mounts cannot flush a folder. There is nothing else to try.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def sync_tree(name: str, *, dir_fd: int | None = None) -> None:
    """Flush every file and folder of a tree to the device. Does not follow links."""
    # Not syncfs: it also waits for the unflushed data of all other processes.
    folders = [name]
    files: list[str] = []
    for folder in folders:  # the list grows during the loop
        with _scan(folder, dir_fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(os.path.join(folder, entry.name))
                elif entry.is_file(follow_symlinks=False):
                    files.append(os.path.join(folder, entry.name))
    flush = partial(_flush_file, dir_fd=dir_fd)
    if len(files) <= _FLUSHED_AT_ONCE:
        for path in files:
            flush(path)
    else:
        with in_threads(_FLUSHED_AT_ONCE) as run:
            for _ in run(flush, files):
                pass
    for folder in folders:
        sync_directory(folder, dir_fd=dir_fd)


@contextmanager
def _scan(folder: str, dir_fd: int | None) -> Iterator[Iterator[os.DirEntry[str]]]:
    if dir_fd is None:
        with os.scandir(folder) as entries:
            yield entries
        return
    descriptor = open_held(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        with os.scandir(descriptor) as entries:
            yield entries
    finally:
        os.close(descriptor)


def _flush_file(path: str, *, dir_fd: int | None) -> None:
    flags = os.O_RDWR if sys.platform == "win32" else _READ
    descriptor = open_held(path, flags, dir_fd=dir_fd)
    try:
        flush_to_device(descriptor)
    finally:
        os.close(descriptor)


# ── finding ──────────────────────────────────────────────────────────────────────────────


# Tried once, because some sandboxes do not know faccessat2 and deny every name.
_ANSWERS = {os.access} <= os.supports_follow_symlinks & os.supports_effective_ids and (
    os.access("/", os.F_OK, effective_ids=True, follow_symlinks=False)
)


def is_missing(path: str, *, dir_fd: int | None = None) -> bool:
    """Return whether ``path`` does not exist, not even as a link.

    It takes half the time of ``os.stat``, which raises an error. It is only a hint: ``False`` if
    the system cannot tell, and ``True`` if the folder cannot be searched.
    """
    return _ANSWERS and not os.access(
        path, os.F_OK, dir_fd=dir_fd, effective_ids=True, follow_symlinks=False
    )


def follow_links(path: str) -> str:
    """Return the final target of a symbolic link, which may not exist.

    Raises ``OSError``. ``os.path.realpath`` ignores errors and would return the link itself.
    """
    for _ in range(MOST_LINKS):
        try:
            target = os.readlink(path)
        except OSError as error:
            # It is not a link, or does not exist.
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return path
            raise
        path = os.path.join(os.path.dirname(path), target)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def make_directories(directory: str, *, durable: bool | None = False) -> None:
    """Create a folder and its missing parents. ``durable`` makes them survive a power cut."""
    missing = []
    current = os.path.abspath(directory)
    while durable and not os.path.isdir(current):
        missing.append(current)
        current = os.path.dirname(current)
    _make(directory)
    for made in missing:
        sync_directory(os.path.dirname(made))


def _is_missing_or_directory(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return True


def _make(directory: str) -> None:
    """Create a folder and its missing parents."""
    # Not os.makedirs, which calls itself for each of them: a path may be deep.
    missing = [directory]
    for _ in range(_TRIES + 2 * len(directory)):  # up to an existing parent, and down again
        current = missing[-1]
        try:
            os.mkdir(current)
        except FileNotFoundError:  # create its parent first, which others may have deleted
            parent = os.path.dirname(current.rstrip("/"))
            if not parent or parent == current:
                break
            missing.append(parent)
            continue
        except OSError as error:
            if not os.path.isdir(current):
                if not isinstance(error, FileExistsError):
                    raise
                if _is_missing_or_directory(current):
                    continue  # others have deleted it, and perhaps created it again
                code = errno.ENOTDIR  # it is a file, so if_exists= does not help
                raise NotADirectoryError(code, os.strerror(code), directory) from error
        missing.pop()
        if not missing:
            return
    # In /proc, /sys and the roots of automounters a new folder "does not exist" each time.
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), directory)
