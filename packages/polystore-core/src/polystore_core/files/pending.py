"""``PendingFile``: a file that replaces another one when it is complete."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
import time
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ..abc.store import Sink
from ..errors import DurabilityUnknownError
from ..paths import HIDDEN_PREFIX
from .claims import own
from .system import (
    flush_to_device,
    follow_links,
    is_missing,
    keep_acl,
    make_directories,
    not_regular,
    rename_new,
    sync_directory,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..values import Value


__all__ = ["PendingFile", "Place"]


_O_BINARY = getattr(os, "O_BINARY", 0)
_TRIES = 100
"""How often to create a folder again that others delete at the same time."""
# An unnamed file gets its name through /proc.
_HAS_UNNAMED = sys.platform == "linux" and os.path.exists("/proc/self/fd")
_NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.EPERM)


class Place(NamedTuple):
    """Where a file is: a name in an open folder, or a path.

    For example:

        os.stat(place.name, dir_fd=place.dir_fd, follow_symlinks=False)
    """

    name: str
    dir_fd: int | None = None
    """The descriptor of the folder, or ``None`` if ``name`` is a path."""


class _TemporaryFile(io.RawIOBase):
    """The raw file of a ``PendingFile``. It is opened when the first byte is written.

    So a value that its format rejects leaves nothing, not even a folder. It has no ``fileno``,
    because NumPy would write to a real file itself, and ignore a full disk (it does not check
    ``fclose``). Now it must call ``write``, which reports every error.
    """

    def __init__(self, opened: Callable[[], int]) -> None:
        self._opened = opened
        self._position = 0
        self.failure: OSError | None = None
        """The error of a failed write. It tells our errors from those of a caller's code."""

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Value) -> int:
        view = memoryview(buffer).cast("B")
        data = os.read(self._opened(), len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def write(self, data: Value) -> int:
        view = memoryview(data).cast("B")
        written = 0
        try:
            descriptor = self._opened()
            while written < len(view):  # Linux writes at most 2 GiB in one call
                written += os.write(descriptor, view[written:])
        except OSError as error:
            self.failure = error
            raise
        finally:
            self._position += written
        return written

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        # The buffer asks for it before the first byte.
        if offset == 0 and whence == os.SEEK_CUR:
            return self._position
        self._position = os.lseek(self._opened(), offset, whence)
        return self._position

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        os.ftruncate(self._opened(), size)
        return size

    def close(self) -> None:
        super().close()
        self._opened = (
            _not_open  # breaks the reference cycle, so that the buffer is free at once
        )


def _not_open() -> int:
    raise ValueError("the file is closed")


class PendingFile(Sink):
    """New content for ``path``, which keeps its old content until ``commit``.

    For example:

        pending = PendingFile("a.bin")
        try:
            pending.file.write(content)
            pending.seal()
            pending.commit()
        finally:
            pending.discard()

    ``discard`` must always be called, and leaves nothing behind. The methods raise ``OSError``.

    Args:
        path: The file to replace or create.
        durable: Which content survives a power cut. ``None`` flushes a file that replaces another,
            so that the old version or the new one survives whole. ``True`` flushes every file; call
            ``sync_directory`` after ``commit``, so that a new name survives as well. ``False``
            flushes nothing.
        exclusive: Whether ``commit`` raises ``FileExistsError`` if the path exists.
        place: A function that opens the folder when the first byte is written. The name in it is
            replaced without following links.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durable: bool | None = None,
        exclusive: bool = False,
        place: Callable[[], AbstractContextManager[Place]] | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.durable = durable
        self.exclusive = exclusive
        self._place = place
        self._held: AbstractContextManager[Place] | None = None
        self._has_unnamed = _HAS_UNNAMED
        self._name = self.path
        self._dir_fd: int | None = None
        self._directory = ""
        self._replaced: os.stat_result | None = None
        self._temporary: str | None = None
        self._descriptor = -1
        self._opened_files: list[int] = []
        self._flushed = False
        # _opened_files has every descriptor until it is closed. After a new start there are two.
        self.raw = _TemporaryFile(self._get_descriptor)
        # BufferedRandom calls `tell` and drops its errors, Ctrl-C included. int() returns 0 and is
        # written in C, so no signal handler runs in it.
        self.raw.tell = int  # type: ignore[method-assign]
        self.file = io.BufferedRandom(self.raw, 1 << 16)
        del self.raw.tell

    def _get_descriptor(self) -> int:
        if self._descriptor < 0:
            self._find_directory()
            self._open()
            self._descriptor = self._opened_files[-1]
        return self._descriptor

    def _find_directory(self) -> None:
        self._leave()
        self._name = self.path
        if self._place is not None:
            held = self._place()
            self._name, self._dir_fd = held.__enter__()
            self._held = held
        self._look()

    def _leave(self) -> None:
        # Forgotten first, so that after an error a second call cannot close the folder twice.
        held, self._held = self._held, None
        if held is not None:
            held.__exit__(None, None, None)

    def _look(self) -> None:
        """Look for the file to replace: the one at ``path``, or the target of a link."""
        # An exclusive file needs no look: ``commit`` finds out in the same step that names it.
        is_new = self.exclusive or is_missing(self._name, dir_fd=self._dir_fd)
        self._replaced = None if is_new else self._present()
        self._directory = os.path.dirname(self._name)

    def _present(self) -> os.stat_result | None:
        try:
            present = os.stat(self._name, dir_fd=self._dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISLNK(present.st_mode):
            if self._dir_fd is not None:
                return None
            self._name = follow_links(self._name)
            try:
                present = os.stat(self._name)
            except FileNotFoundError:
                return None
        if not stat.S_ISREG(present.st_mode):
            raise not_regular(present, self._name)
        return present

    def _open(self) -> None:
        for _ in range(_TRIES):
            # The new version of a private file must be private before it is complete, too.
            mode = 0o666 if self._replaced is None else 0o600
            try:
                return self._open_temporary(mode)
            except FileNotFoundError:
                if self._place is not None:
                    self._find_directory()
                elif self._directory:
                    make_directories(self._directory, durable=self.durable)
                else:
                    raise
        # In /proc, /sys and the roots of automounters a new file "does not exist" each time.
        reason = "the file system does not allow new files in this directory"
        raise PermissionError(errno.EPERM, reason, self._name)

    def _open_temporary(self, mode: int) -> None:
        self._temporary = None
        if sys.platform == "linux" and self._has_unnamed:
            try:
                flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
                self._keep(self._directory or ".", flags, mode)
                return
            except OSError as error:
                # Old kernels and some file systems (NFS, FUSE, SMB) have no unnamed files. Some
                # report EPERM for a deleted folder, and opening a named file finds that out.
                if error.errno not in _NO_UNNAMED:
                    raise
        self._temporary = self._new_name()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | _O_BINARY
        self._keep(self._temporary, flags, mode)
        # Only a file with a name needs a claim, because nobody can find an unnamed one.
        own(self._opened_files[-1])

    def _keep(self, path: str, flags: int, mode: int) -> None:
        # In one call of C, because between two Ctrl-C could lose the descriptor. If it strikes
        # during the system call, its handler runs after this line.
        opened = map(partial(os.open, dir_fd=self._dir_fd), (path,), (flags,), (mode,))
        self._opened_files.extend(opened)

    def _new_name(self) -> str:
        # Random and short: with the name of the target it could exceed 255 bytes.
        return os.path.join(self._directory, f"{HIDDEN_PREFIX}{os.urandom(8).hex()}")

    def seal(self, *, flush: bool = True) -> None:
        """End the writing, and flush the content if ``durable`` needs that.

        A batch seals many files with ``flush=False``, and flushes them together.
        """
        self.file.flush()
        self._get_descriptor()  # opens the file of a value without bytes
        self._inherit()
        if flush:
            self.flush()

    def _inherit(self) -> None:
        if self._replaced is not None and hasattr(os, "fchmod"):
            self._keep_owner_and_mode(self._replaced)

    @property
    def wants_flush(self) -> bool:
        """Whether ``durable`` needs a flush that has not been made yet."""
        wanted = self._replaced is not None if self.durable is None else self.durable
        return wanted and not self._flushed

    def flush(self) -> None:
        """Flush the sealed content to the device once, if ``durable`` needs that."""
        if self.wants_flush:
            # Never again after a failure: the kernel reports it once, and a second fsync succeeds.
            flush_to_device(self._descriptor)
            self._flushed = True

    def _keep_owner_and_mode(self, old: os.stat_result) -> None:
        """Keep who can read and write the file. Only root can change the owner of a file."""
        new = os.fstat(self._descriptor)
        keeps_owner, keeps_group = new.st_uid == old.st_uid, new.st_gid == old.st_gid
        if not keeps_owner:
            # In two calls, because one call fails as a whole. Only root may give a file away, but
            # everybody may give it to one of their groups.
            keeps_owner = self._give(old.st_uid, -1)
        if not keeps_group:
            keeps_group = self._give(-1, old.st_gid)
        # If the owner or the group cannot be kept, people of the old ones fall back to the bits of
        # the next class. Losing a right to read raises. Losing a right to write does not.
        mode = stat.S_IMODE(old.st_mode)
        owner, group, others = mode >> 6, mode >> 3, mode
        lost = 0
        if not keeps_owner:
            lost |= owner & ~(group if keeps_group else others)
        if not keeps_group:
            lost |= group & ~others
        if lost & 4:
            reason = (
                f"user {old.st_uid} or group {old.st_gid} could no longer read it, because the "
                "new file would belong to you and its mode excludes others"
            )
            raise PermissionError(errno.EPERM, reason, self._name)
        if not (keeps_owner and keeps_group):
            mode &= 0o777  # setuid and setgid would now give rights of another user
        # After the new owner is set, because such a change clears setuid and setgid.
        os.fchmod(self._descriptor, mode)
        keep_acl(self._name, self._descriptor, dir_fd=self._dir_fd)

    def _give(self, owner: int, group: int) -> bool:
        try:
            os.fchown(self._descriptor, owner, group)
        except OSError as error:
            # EINVAL is an owner that has no number in this container.
            if error.errno not in (errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP):
                raise
            return False
        return True

    def commit(self) -> None:
        """Give the content its name. From now on readers see it.

        If the folder was deleted after the first byte was written, it is created again.
        """
        # Each time that others delete the folder, the content is copied into a new one.
        for _ in range(_TRIES):
            try:
                self._commit()
                break
            except FileNotFoundError:
                if self._descriptor < 0:
                    raise
                self._start_over()
        else:
            self._commit()
        self._close()

    def _start_over(self) -> None:
        """Copy the content into a new temporary file, because its folder was deleted."""
        self._drop_temporary()
        # After a chroot there may be no /proc, and then an unnamed file cannot be named.
        self._has_unnamed = self._has_unnamed and os.path.exists("/proc/self/fd")
        self._descriptor = -1
        old = self._opened_files[-1]  # ``_close`` closes it later
        with open(old, "rb", buffering=0, closefd=False) as content:
            content.seek(0)
            descriptor = self._get_descriptor()
            while data := content.read(1 << 20):
                view = memoryview(data)
                while view:
                    view = view[os.write(descriptor, view) :]
        self._flushed = False
        self._inherit()
        self.flush()

    def _commit(self) -> None:
        if self._replaced is None:
            if self._temporary is None:
                try:
                    self._link_unnamed(self._name)
                except FileExistsError:
                    if self.exclusive:
                        raise
                else:
                    return
            # Another writer has saved here after ``seal``: replace that file.
            self._look()
            self._inherit()
        self.flush()
        if self._temporary is None:
            self._temporary = self._new_name()
            self._link_unnamed(self._temporary)
        self._report_full_disk()
        if self.exclusive:
            rename_new(
                self._temporary, self._name, src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd
            )
        else:
            _replace(self._temporary, self._name, self._dir_fd)
        self._temporary = None

    def _report_full_disk(self) -> None:
        """Close the file once, because network file systems may report a full disk only then."""
        if sys.platform == "win32":  # an open file cannot be renamed there
            self._close()
        else:
            # In one call of C, because between two Ctrl-C could lose the copy.
            for _ in map(os.close, map(os.dup, (self._descriptor,))):
                pass

    def _link_unnamed(self, name: str) -> None:
        # With any src_dir_fd CPython calls linkat(AT_SYMLINK_FOLLOW). link(2) would fail (EXDEV).
        os.link(
            f"/proc/self/fd/{self._descriptor}",
            name,
            src_dir_fd=self._descriptor,
            dst_dir_fd=self._dir_fd,
            follow_symlinks=True,
        )

    def sync_directory(self) -> None:
        """Make the new name survive a power cut. Raises ``DurabilityUnknownError``."""
        try:
            sync_directory(self._directory or ".", dir_fd=self._dir_fd)
        except OSError as error:
            raise DurabilityUnknownError(
                "", self.path, "save", errno=error.errno or 0
            ) from error

    def discard(self) -> None:
        """Drop the content unless it is committed, and close the folder."""
        try:
            self.raw.close()  # otherwise the collector would write the rest of the buffer
            self._close()
            self._drop_temporary()
        finally:
            self._leave()

    def _drop_temporary(self) -> None:
        temporary, self._temporary = self._temporary, None
        if temporary is not None:
            # It may not exist yet, be renamed already, or not be removable. No error helps here.
            with suppress(OSError):
                os.unlink(temporary, dir_fd=self._dir_fd)

    def _close(self) -> None:
        self._descriptor = -1
        files, self._opened_files = self._opened_files, []
        for descriptor in files:  # no call before the first one, or Ctrl-C could lose it
            os.close(descriptor)


if sys.platform == "win32":  # pragma: no cover

    def _replace(source: str, target: str, dir_fd: int | None) -> None:  # noqa: ARG001
        for pause in (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, *[0.064] * 7):
            try:
                return os.replace(source, target)
            except PermissionError as error:
                if error.winerror not in (5, 32):  # a reader has it open, usually for a moment
                    raise
            time.sleep(pause)
        return os.replace(source, target)

else:

    def _replace(source: str, target: str, dir_fd: int | None) -> None:
        os.replace(source, target, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
