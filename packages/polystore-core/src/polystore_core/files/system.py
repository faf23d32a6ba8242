"""Opening, renaming and flushing files: the steps from which atomic replacement is made."""

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

# Without O_NONBLOCK, opening a named pipe would wait for its writer for ever.
_READ = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
_TRIES = 100
"""How often a directory is made or emptied again that others delete or fill at the same time."""
_FLUSHED_AT_ONCE = 8
"""Files of a tree, if there are more: the journal takes them in one transaction."""
MOST_LINKS = 40
"""As the kernel: a longer chain of symbolic links is taken for a circle."""

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}

_BY_DIRECTORY = os.open in os.supports_dir_fd

# What a file system says of an operation that it does not have.
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
    """Do as ``os.open``, but Ctrl-C cannot lose the descriptor.

    It can strike between two calls of C: after ``os.open``, but not between the end of this
    function and ``try`` or ``append``.
    """
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
    """Open a regular file for reading and return its descriptor, without ever waiting.

    A named pipe waits for its writer, and a device may never end: both raise ``OSError``
    (``EINVAL``), as a directory does (``EISDIR``).
    """
    flags = _READ if follow_symlinks else _READ | os.O_NOFOLLOW
    opens = os.open if dir_fd is None else partial(os.open, dir_fd=dir_fd)
    held: list[int] = []
    try:
        # In one call of C: between two, Ctrl-C could lose the descriptor.
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
    """For ``open(path, "rb", opener=regular_only)``: refuse what is not a regular file."""
    return open_regular(path)


def describe_kind(status: os.stat_result) -> str:
    """Name what ``status`` belongs to: "a named pipe"."""
    return _KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file")


def not_regular(status: os.stat_result, path: str | PathLike[str]) -> OSError:
    """Return the error for a path at which something other than a regular file is."""
    if stat.S_ISDIR(status.st_mode):
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    reason = f"it is {describe_kind(status)}, and only a regular file can hold a value"
    return OSError(errno.EINVAL, reason, os.fspath(path))


_ACL = "system.posix_acl_access"


def keep_acl(path: str, descriptor: int, *, dir_fd: int | None = None) -> None:
    """Give an open file the access control list of the file at ``path``, if that has one.

    Without it the mode alone would be kept, whose group bits then mean something else: they are
    the mask of the list.
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


_renameat2 = ctypes.CDLL(None, use_errno=True).renameat2 if sys.platform == "linux" else None
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
    """Let two files or trees change names in one step; ``False`` where the system cannot."""
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
    """Rename a file or a directory to a name that nobody has. Raises ``FileExistsError``.

    Where the file system has neither ``RENAME_NOREPLACE`` nor hard links (exFAT through FUSE),
    ``file_lock(target)`` keeps out every other caller of this function. A directory can replace
    an empty directory there.
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
    except NotImplementedError:  # no way to link a link on this system
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
    """Return a path for ``name``, which may be relative to an open directory (Linux only)."""
    return name if dir_fd is None else os.path.join(f"/proc/self/fd/{dir_fd}", name)


# ── removing ─────────────────────────────────────────────────────────────────────────────


def remove_tree(name: str, *, dir_fd: int | None = None, timeout: float = 30.0) -> None:
    """Remove a file, a link, or a directory with all that it holds. Follows no link.

    Waits up to ``timeout`` seconds for each lock in it, so that nobody who updates a file there
    loses the lock. Raises ``LockTimeoutError`` then, with the rest of the tree in place. Removes
    also the names that others add to a directory while it is being removed, up to 100 times.

    ``shutil.rmtree`` closes a descriptor twice when Ctrl-C strikes, and the caller gets EBADF
    instead of ``KeyboardInterrupt``. Raises ``OSError``, and ``FileNotFoundError`` only for
    ``name`` itself.
    """
    if not _BY_DIRECTORY:  # pragma: no cover - Windows
        return (shutil.rmtree if os.path.isdir(name) else os.unlink)(name)
    if not stat.S_ISDIR(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode):
        return os.unlink(name, dir_fd=dir_fd)
    levels: list[_Level] = []  # no recursion: folders may be deep
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
            except FileNotFoundError:  # somebody else was faster
                if inner is not None:
                    continue
                os.close(levels.pop().descriptor)
                if not levels:
                    raise
    finally:
        for level in levels:
            os.close(level.descriptor)


class _Level:
    """A directory that is being removed, open by its bare name in its open parent."""

    def __init__(self, name: str, dir_fd: int | None) -> None:
        self._name, self._dir_fd = name, dir_fd
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self.descriptor = open_held(name, flags, dir_fd=dir_fd)
        self._tries = 0
        self._waiting: list[str] = []
        self._list()

    def _list(self) -> None:
        # Locks first: a lock whose file is deleted already keeps nobody out.
        self._waiting = sorted(os.listdir(self.descriptor), key=is_lock)

    def empty(self, timeout: float) -> str | None:
        """Remove entries up to the first directory. Return its name, or ``None``."""
        while self._waiting:
            entry = self._waiting.pop()
            with suppress(FileNotFoundError):  # somebody else was faster
                if is_lock(entry):
                    remove_unused(entry, dir_fd=self.descriptor, timeout=timeout)
                elif _is_directory(entry, self.descriptor):
                    return entry
                else:
                    os.unlink(entry, dir_fd=self.descriptor)
        return None

    def remove(self) -> bool:
        """Remove the directory. Return ``False`` if others have added names to it."""
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
    """Flush a file's bytes through every cache, the drive's included."""
    if sys.platform == "darwin":  # fsync there stops at the drive's cache
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def sync_directory(directory: str | PathLike[str], *, dir_fd: int | None = None) -> None:
    """Flush the names in ``directory`` to the device (nothing to do on Windows)."""
    if sys.platform == "win32":
        return
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = open_held(directory, flags, dir_fd=dir_fd)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some FUSE and SMB mounts
            raise
    finally:
        os.close(descriptor)


def sync_tree(name: str, *, dir_fd: int | None = None) -> None:
    """Flush every file and directory of a tree to the device. Follows no link.

    ``syncfs`` would be faster on an idle disk, but it also writes all that other processes have
    not flushed yet.
    """
    folders = [name]
    files: list[str] = []
    for folder in folders:  # the list grows while it is read
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


# Try it: some sandboxes do not know faccessat2, and deny every name.
_ANSWERS = {os.access} <= os.supports_follow_symlinks & os.supports_effective_ids and (
    os.access("/", os.F_OK, effective_ids=True, follow_symlinks=False)
)


def is_missing(path: str, *, dir_fd: int | None = None) -> bool:
    """Whether nothing is at ``path``, not even a link. ``False`` if the system cannot tell.

    It takes half the time of ``os.stat``, which raises an error. It is only a hint: it is also
    ``True`` if the directory cannot be searched.
    """
    return _ANSWERS and not os.access(
        path, os.F_OK, dir_fd=dir_fd, effective_ids=True, follow_symlinks=False
    )


def follow_links(path: str) -> str:
    """Return where the symbolic link ``path`` leads in the end, existing or not.

    Raises ``OSError``, which ``os.path.realpath`` passes over: it would name the link itself.
    """
    for _ in range(MOST_LINKS):
        try:
            target = os.readlink(path)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):  # no link, or nothing at all
                return path
            raise
        path = os.path.join(os.path.dirname(path), target)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def make_directories(directory: str, *, durable: bool | None = False) -> None:
    """Create ``directory`` and its missing parents; ``durable`` makes their names last."""
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
    """Make a directory and its missing parents. ``os.makedirs`` calls itself for each of them."""
    missing = [directory]
    for _ in range(_TRIES + 2 * len(directory)):  # up to what exists, and down again
        current = missing[-1]
        try:
            os.mkdir(current)
        except FileNotFoundError:  # make its parent first, which somebody may have deleted
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
                    continue  # deleted, and perhaps made again, by others
                code = errno.ENOTDIR  # a file: if_exists= does not help
                raise NotADirectoryError(code, os.strerror(code), directory) from error
        missing.pop()
        if not missing:
            return
    # /proc, /sys and the roots of automounters say that a new directory "does not exist".
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), directory)
