"""Claims: whether the writer of a temporary file or folder is alive, or was killed.

A writer locks the temporary file or folder itself (``flock``). The kernel drops the lock when the
process ends, even if it is killed. So leftovers can be told from work in progress at once.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from functools import partial

__all__ = ["claim", "is_abandoned", "last_change", "own"]

# No lock: each call adds and discards a descriptor of its own, which no other thread has.
_claimed: set[int] = set()
"""The descriptors that hold a claim of this process, or try to get one."""


class claim:  # noqa: N801 - used as a function
    """Own a temporary file or folder during a ``with`` block.

    For example:

        os.mkdir(folder)
        with claim(folder) as mine:
            if mine is False:
                raise OSError("another process is cleaning up")

    The value is ``True`` if you own it now. It is ``False`` if another process owns it, or if it
    does not exist. It is ``None`` if the system cannot tell: on Windows, on some network file
    systems, and for a file that you may not open.

    The claim ends with its process. Other machines do not see it, because network file systems do
    not share the lock of a folder. Check the value even if you have created the file yourself:
    another process that cleans up may have claimed it first.

    Args:
        path: The file or folder.
        dir_fd: An open folder in which ``path`` is a name.
    """

    __slots__ = ("_dir_fd", "_held", "_path", "status")

    def __init__(self, path: str | os.PathLike[str], *, dir_fd: int | None = None) -> None:
        self._path, self._dir_fd = os.fspath(path), dir_fd
        self._held: list[int] = []
        self.status: os.stat_result | None = None
        """The status of a file or folder that you own. It is open, so its number is not reused."""

    def __enter__(self) -> bool | None:
        try:
            mine = _claim(self._path, self._dir_fd, self._held)
            if mine:
                self.status = os.fstat(self._held[0])
            return mine
        except BaseException:  # Ctrl-C too: nothing could clean up a file that stays claimed
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        while self._held:
            descriptor = self._held.pop()
            if descriptor in _claimed:  # not in a forked child, which owns nothing
                _claimed.discard(descriptor)
                _unclaim(descriptor)


def is_abandoned(path: str | os.PathLike[str], *, older_than: float = 3600.0) -> bool:
    """Return whether no process owns a temporary file or folder any more.

    If the system cannot tell, it is abandoned when it has not changed for ``older_than`` seconds.
    """
    with claim(path) as mine:
        if mine is None:  # no flock here, so only the time is left
            return last_change(path) < time.time() - older_than
        return mine


def last_change(path: str | os.PathLike[str]) -> float:
    """Return the time of the last change in a folder or of a file, in seconds since 1970."""
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
        # NFS emulates flock with a lock of bytes, which needs a descriptor that can write.
        errno.EBADF,
        errno.EINVAL,
        errno.ENOLCK,
        errno.ENOSYS,
        errno.ENOTSUP,
        errno.EOPNOTSUPP,
    )

    def _claim(path: str, dir_fd: int | None, held: list[int]) -> bool | None:
        """Append the descriptor that holds the claim to ``held``. Return the value of ``claim``."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            # In one call of C. Between two, Ctrl-C could lose the descriptor, and then the claim
            # would last as long as this process.
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
            # Others may have removed it, and created it again, before we had the lock.
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
        """Drop the claims of the parent in a forked child, without ending them."""
        for descriptor in _claimed:
            os.close(descriptor)
        _claimed.clear()

    os.register_at_fork(after_in_child=_forget_after_fork)
