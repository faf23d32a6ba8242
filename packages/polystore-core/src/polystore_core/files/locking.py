"""``file_lock``: one exclusive lock for each file, for threads and processes.

The lock is held on a separate file next to the file that it protects. The lock file is created once
and is not removed afterwards. If it were removed while others wait, a waiter would lock a file
without a name, and two processes would then hold "the" lock. A waiter blocks in the kernel
(``flock``, first come, first served) and does not poll. The lock of a killed process is free at
once.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING
from weakref import ref

from ..errors import LockTimeoutError, storage_error
from ..paths import HIDDEN_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "HeldLock",
    "file_lock",
    "is_lock",
    "lock_name",
    "lock_path",
    "remove_unused",
    "try_lock",
]

_TRIES = 100
"""How often to create a folder again that others delete at the same time."""

# A fixed length, so that a shorter name of a holder overwrites a longer one completely.
_HOLDER_BYTES = 96


def lock_path(path: str | os.PathLike[str]) -> str:
    """Return the path of the lock file of ``path``.

    All names of one file (symbolic links, relative paths) have the same lock file.
    """
    directory, name = os.path.split(os.path.realpath(path))
    return os.path.join(directory, lock_name(name))


def lock_name(name: str) -> str:
    """Return the name of the lock file of ``name``, which is in the same folder."""
    # A name has at most 255 bytes, and that of the lock is longer.
    if len(os.fsencode(name)) > 200:
        import hashlib

        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f"{HIDDEN_PREFIX}{name}.lock"


def is_lock(name: str) -> bool:
    """Return whether ``name``, without its folder, is the name of a lock file."""
    return name.startswith(HIDDEN_PREFIX) and name.endswith(".lock")


# The locks of this process. _held maps (lock file, thread) to an open file, so that a thread can
# enter its own lock again. _opened has all files that a forked child must close. Neither needs a
# lock: a thread uses only keys of its own.
# They are file objects and not descriptors. If Ctrl-C strikes between two lines, the object is
# dropped and closes its file, and the lock is free.
_held: dict[tuple[object, int], io.FileIO] = {}
_opened: dict[int, ref[io.FileIO]] = {}  # by descriptor: a number is reused, so it stays small


@contextmanager
def file_lock(
    path: str | os.PathLike[str], *, timeout: float | None = 30.0, dir_fd: int | None = None
) -> Iterator[None]:
    """Hold the exclusive lock of ``path`` during a ``with`` block.

    For example:

        with file_lock("results.csv", timeout=60):
            append_row("results.csv", row)

    A thread that holds the lock can enter it again.

    Args:
        path: The file to protect. It need not exist, and its folder is created.
        timeout: Seconds to wait. ``None`` waits for ever.
        dir_fd: An open folder in which ``path`` is a name, and not a link. The lock stays in this
            folder even if the folder is moved.

    Raises:
        LockTimeoutError: Another thread or process holds the lock. The error names it.
        StorageError: The lock file cannot be opened, for example because the disk is full.
    """
    if dir_fd is None:
        place, folder = lock_path(path), None
    else:
        place, status = lock_name(os.fspath(path)), os.fstat(dir_fd)
        folder = status.st_dev, status.st_ino
    mine = (place, folder), threading.get_ident()
    if mine in _held:
        yield
        return
    # monotonic, because the clock of a machine may be set while a thread waits.
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        _held[mine] = _acquire(place, deadline, dir_fd)
    except TimeoutError:
        raise _timeout_error(path, place, timeout, dir_fd) from None
    except OSError as error:
        raise storage_error(error, "", place, "lock") from error
    try:
        yield
    finally:
        file = _held.pop(mine, None)
        if file is not None:  # it is None in a child that was forked in the body
            _release(file)


class HeldLock:
    """A lock that is held until ``release``, which another thread may call. See ``try_lock``."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file

    @property
    def is_held(self) -> bool:
        """Whether it is still held. ``False`` after ``release`` and in a forked child."""
        return not self._file.closed

    def release(self) -> None:
        """Release the lock. You may call it again."""
        if self.is_held:
            _release(self._file)

    __del__ = release  # for an owner that forgets the lock


def try_lock(path: str | os.PathLike[str], *, dir_fd: int | None = None) -> HeldLock:
    """Get the lock of ``path`` without waiting, and keep it until ``release``.

    For example:

        lock = try_lock("movie.zarr")
        ...
        lock.release()

    A second call raises, even in the same thread. ``dir_fd`` is that of ``file_lock``.

    Raises:
        LockTimeoutError: Another thread or process holds the lock. The error names it.
        StorageError: The lock file cannot be opened.
    """
    place = lock_path(path) if dir_fd is None else lock_name(os.fspath(path))
    try:
        return HeldLock(_acquire(place, time.monotonic(), dir_fd))
    except TimeoutError:
        raise _timeout_error(path, place, 0, dir_fd) from None
    except OSError as error:
        raise storage_error(error, "", place, "lock") from error


def remove_unused(name: str, *, dir_fd: int | None = None, timeout: float = 0.0) -> None:
    """Remove a lock file when no other thread or process holds it.

    If it were removed while it is held, the next caller would lock a new file, and two would hold
    "the" lock.

    Raises:
        LockTimeoutError: It was still held after ``timeout`` seconds.
    """
    flags = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(name, flags | os.O_RDWR, dir_fd=dir_fd)
    except PermissionError:  # it belongs to another user, and flock needs no write permission
        descriptor = os.open(name, flags | os.O_RDONLY, dir_fd=dir_fd)
    with io.FileIO(descriptor) as file:
        status = os.fstat(descriptor)
        # flock treats two opens of one file as two owners. So if this thread holds the lock, it
        # must not lock again, or it would wait for itself.
        mine = any(
            thread == threading.get_ident()
            and os.path.samestat(status, os.fstat(held.fileno()))
            for (_, thread), held in list(_held.items())
        )
        if not mine:
            try:
                _lock(file, time.monotonic() + timeout)
            except TimeoutError:
                raise LockTimeoutError("", name, "delete", seconds=timeout) from None
        try:
            os.unlink(name, dir_fd=dir_fd)
        finally:
            if not mine:
                _release(file)


def _timeout_error(
    path: str | os.PathLike[str], place: str, timeout: float | None, dir_fd: int | None
) -> LockTimeoutError:
    try:
        with open(place, "rb", opener=partial(os.open, dir_fd=dir_fd)) as file:
            holder = file.read(_HOLDER_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        holder = ""  # report the time-out anyway: the name of the holder only helps
    return LockTimeoutError("", os.fspath(path), "lock", seconds=timeout or 0.0, holder=holder)


def _acquire(place: str, deadline: float | None, dir_fd: int | None) -> io.FileIO:
    while True:
        file = _open(place, dir_fd)
        # Before the lock is held, because a child that is forked while this thread waits must
        # close its copy, too. Otherwise it would keep the lock of a parent that is killed.
        _opened[file.fileno()] = ref(file)
        _lock(file, deadline)
        try:
            if _still_there(file, place, dir_fd):
                _write_holder(file)
                return file
        except BaseException:
            _release(file)
            raise
        _release(file)  # the lock file was removed while we waited: start over with the new one


def _open(place: str, dir_fd: int | None) -> io.FileIO:
    flags = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    opens = os.open if dir_fd is None else partial(os.open, dir_fd=dir_fd)
    for _ in range(_TRIES):
        try:
            return io.FileIO(opens(place, flags | os.O_RDWR), "r+")
        except FileNotFoundError:
            pass
        except PermissionError:
            # Another user has created it. flock needs no write permission, so reading is enough.
            return io.FileIO(opens(place, flags | os.O_RDONLY))
        try:
            # O_EXCL tells who has created the file, because only the creator may change its mode.
            made = opens(place, flags | os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:  # another process was faster
            continue
        except FileNotFoundError:
            if dir_fd is not None:  # the folder was deleted, and must not be created elsewhere
                raise
            os.makedirs(os.path.dirname(place), exist_ok=True)
            continue
        file = io.FileIO(made, "r+")
        try:
            _share(file, os.path.dirname(place) if dir_fd is None else dir_fd)
        except FileNotFoundError:  # another process has deleted the folder
            file.close()
            continue
        except BaseException:
            file.close()
            raise
        return file
    # In /proc, /sys and the roots of automounters a new file "does not exist" each time.
    reason = "the file system does not allow new files in this directory"
    raise PermissionError(errno.EPERM, reason, place)


def _share(file: io.FileIO, folder: str | int) -> None:
    """Let all users who can write into ``folder`` use the lock, for any umask and group."""
    if not hasattr(os, "fchmod"):
        return
    shared, own = os.stat(folder), os.fstat(file.fileno())
    if shared.st_gid != own.st_gid:
        with suppress(PermissionError):  # not a member of the group: only we can use the lock
            os.fchown(file.fileno(), -1, shared.st_gid)
            own = os.fstat(file.fileno())
    theirs = 0o066 if shared.st_gid == own.st_gid else 0o006
    mode = stat.S_IMODE(own.st_mode) | (shared.st_mode & theirs)
    if mode != stat.S_IMODE(own.st_mode):
        with suppress(PermissionError):  # some file systems have no modes
            os.fchmod(file.fileno(), mode)


def _still_there(file: io.FileIO, place: str, dir_fd: int | None) -> bool:
    try:
        found = os.stat(place, dir_fd=dir_fd, follow_symlinks=False)
        return os.path.samestat(os.fstat(file.fileno()), found)
    except FileNotFoundError:
        return False


def _write_holder(file: io.FileIO) -> None:
    if not file.writable():  # the lock file of another user
        return
    host = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    text = f"process {os.getpid()} on {host}"
    try:
        file.seek(0)
        file.write(text.encode()[:_HOLDER_BYTES].ljust(_HOLDER_BYTES))
    except OSError as error:
        # A full disk: the lock works anyway.
        if error.errno not in (
            errno.ENOSPC,
            errno.EDQUOT,
        ):
            raise


if sys.platform == "win32":  # pragma: no cover - mandatory byte locks, no blocking wait
    import portalocker

    def _lock(file: io.FileIO, deadline: float | None) -> None:
        pause = 0.001
        while True:
            try:
                portalocker.lock(file, portalocker.LOCK_EX | portalocker.LOCK_NB)
                return
            except portalocker.AlreadyLocked:
                if deadline is not None and time.monotonic() >= deadline:
                    file.close()
                    raise TimeoutError from None
            except BaseException:
                file.close()
                raise
            time.sleep(pause)
            pause = min(pause * 2, 0.02)

    def _release(file: io.FileIO) -> None:
        file.close()

else:
    import fcntl

    def _release(file: io.FileIO) -> None:
        # A forked child has the same open file, so closing alone would leave the lock with it.
        try:
            fcntl.flock(file, fcntl.LOCK_UN)
        finally:
            file.close()

    def _lock(file: io.FileIO, deadline: float | None) -> None:
        """Lock ``file``, or close it and raise (``TimeoutError`` at the deadline)."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if deadline is None or time.monotonic() < deadline:
                _wait(file, deadline)
            else:
                file.close()
                raise TimeoutError from None
        except BaseException:
            file.close()
            raise

    def _wait(file: io.FileIO, deadline: float | None) -> None:
        """Block in the kernel in a separate thread, because ``flock`` has no timeout."""
        # mutex guards abandoned, and decides which of the two threads releases the file.
        mutex = threading.Lock()
        finished = threading.Event()
        abandoned = False
        failure: OSError | None = None

        def block() -> None:
            nonlocal failure
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                failure = error
            with mutex:
                finished.set()
                if abandoned:  # the lock came too late: the next waiter gets it at once
                    _release(file)

        try:
            # A daemon, because nothing can end its flock. Otherwise Python could not exit after a
            # time-out while another process still holds the lock.
            threading.Thread(target=block, name="polystore-lock", daemon=True).start()
            finished.wait(None if deadline is None else max(deadline - time.monotonic(), 0))
            with mutex:
                abandoned = not finished.is_set()
        except BaseException:  # Ctrl-C: exactly one of the two threads must release the file
            with mutex:
                if finished.is_set() and not abandoned:
                    _release(file)
                abandoned = True
            raise
        if abandoned:
            raise TimeoutError
        if failure is not None:
            file.close()
            raise failure

    def _forget_after_fork() -> None:
        """Drop the locks of the parent in a forked child, without unlocking them."""
        for opened in _opened.values():
            if (file := opened()) is not None:
                file.close()
        _held.clear()

    os.register_at_fork(after_in_child=_forget_after_fork)
