"""Who owns a temporary file or directory: a living writer, or one that was killed.

A writer locks the temporary file or directory itself (``flock``). The kernel drops the lock
when the process ends, however it ends, so anybody can tell its leftovers from work that goes
on, without waiting for them to grow old.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from functools import partial

__all__ = ["claim", "is_abandoned", "last_change", "own"]

_claimed: set[int] = set()
"""Descriptors that hold a claim of this process, or are being tried."""


class claim:  # noqa: N801 - used as a function
    """Own a temporary file or directory for the length of a ``with`` block.

    Gives ``True`` if it is now yours, ``False`` if somebody else owns it or it does not exist,
    and ``None`` if the system cannot tell (Windows, some network file systems, a file that
    you may not open). The claim ends when its process ends. It is known on this machine only:
    network file systems do not pass on the lock of a directory.

    ``dir_fd`` is an open directory, and ``path`` then a name in it.

    If you make a file and then claim it, check the answer: another process that cleans up may
    have claimed it first.
    """

    __slots__ = ("_dir_fd", "_held", "_path", "status")

    def __init__(self, path: str | os.PathLike[str], *, dir_fd: int | None = None) -> None:
        self._path, self._dir_fd = os.fspath(path), dir_fd
        self._held: list[int] = []
        self.status: os.stat_result | None = None
        """Of the file or directory that is yours. It stays open: no other one gets its number."""

    def __enter__(self) -> bool | None:
        try:
            mine = _claim(self._path, self._dir_fd, self._held)
            if mine:
                self.status = os.fstat(self._held[0])
            return mine
        except BaseException:  # Ctrl-C too: what stays claimed could not be tidied up
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        while self._held:
            descriptor = self._held.pop()
            if descriptor in _claimed:  # a forked child owns nothing
                _claimed.discard(descriptor)
                _unclaim(descriptor)


def is_abandoned(path: str | os.PathLike[str], *, older_than: float = 3600.0) -> bool:
    """Tell whether a temporary file or directory has lost its owner.

    Where the system cannot tell, something that has not changed for ``older_than`` seconds is
    abandoned.
    """
    with claim(path) as mine:
        if mine is None:
            return last_change(path) < time.time() - older_than
        return mine


def last_change(path: str | os.PathLike[str]) -> float:
    """Return the time (seconds since 1970) of the youngest file of a tree, or of a file."""
    status = os.stat(path, follow_symlinks=False)
    times = [status.st_mtime]
    if stat.S_ISDIR(status.st_mode):
        times += (last_change(os.path.join(path, name)) for name in os.listdir(path))
    return max(times)


if sys.platform == "win32":  # pragma: no cover

    def _claim(path: str, _dir_fd: int | None, _held: list[int]) -> bool | None:
        return None if os.path.lexists(path) else False

    def _unclaim(descriptor: int) -> None:
        os.close(descriptor)

    def own(descriptor: int) -> None:
        """Claim an open temporary file until it is closed."""

else:
    import fcntl

    _NO_CLAIM = (
        errno.EBADF,
        errno.EINVAL,
        errno.ENOLCK,
        errno.ENOSYS,
        errno.ENOTSUP,
        errno.EOPNOTSUPP,
    )

    def _claim(path: str, dir_fd: int | None, held: list[int]) -> bool | None:
        """Put the descriptor that holds the claim into ``held``, and answer ``claim``."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            # In one call of C: between two, Ctrl-C could lose the descriptor, and with it the
            # claim would last as long as this process.
            held.extend(map(partial(os.open, dir_fd=dir_fd), (path,), (flags,)))
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO):
                return None
            raise
        descriptor = held[0]
        _claimed.add(descriptor)
        mine: bool | None = False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It may have been removed, and made again, before we had the lock.
            found = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
            mine = os.path.samestat(os.fstat(descriptor), found)
        except (BlockingIOError, FileNotFoundError):
            pass
        except OSError as error:
            if error.errno not in _NO_CLAIM:
                raise
            mine = None
        if not mine:
            _claimed.discard(descriptor)
            os.close(held.pop())
        return mine

    def own(descriptor: int) -> None:
        """Claim an open temporary file until it is closed."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, *_NO_CLAIM):
                raise

    def _unclaim(descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may have it open as well
        finally:
            os.close(descriptor)

    def _forget_after_fork() -> None:
        """In a forked child: drop the parent's claims, without ending them."""
        for descriptor in _claimed:
            os.close(descriptor)
        _claimed.clear()

    os.register_at_fork(after_in_child=_forget_after_fork)
