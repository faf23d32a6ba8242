"""A file that replaces another when it is complete."""

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
"""How often a directory that somebody deletes at the same time is made again."""
# An unnamed file gets its name through /proc.
_HAS_UNNAMED = sys.platform == "linux" and os.path.exists("/proc/self/fd")
_NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.EPERM)


class Place(NamedTuple):
    """The place of a file: a bare name in an open directory, or a path."""

    name: str
    dir_fd: int | None = None


class _TemporaryFile(io.RawIOBase):
    """The raw file of a ``PendingFile``: opened by its first byte, and never a real file.

    A value that its format refuses therefore leaves nothing, not even a directory. NumPy
    writes into real files past Python and ignores a full disk (``fclose`` unchecked); without
    ``fileno`` it has to come through ``write``, which reports every error.
    """

    def __init__(self, opened: Callable[[], int]) -> None:
        self._opened = opened
        self._position = 0
        self.failure: OSError | None = None
        """What the system said when a write failed."""

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
        if offset == 0 and whence == os.SEEK_CUR:  # buffering asks for it, before it writes too
            return self._position
        self._position = os.lseek(self._opened(), offset, whence)
        return self._position

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        os.ftruncate(self._opened(), size)
        return size

    def close(self) -> None:
        super().close()
        self._opened = _not_open  # without the circle the buffer is free at once


def _not_open() -> int:
    raise ValueError("the file is closed")


class PendingFile(Sink):
    """New content on its way to ``path``: write ``file``, then ``seal``, then ``commit``.

    Until ``commit``, ``path`` keeps its old content. ``discard`` leaves nothing behind and must
    always be called. The methods raise plain ``OSError``. With ``exclusive``, ``commit`` raises
    ``FileExistsError`` if the path exists. ``place`` finds and holds open the directory when the
    first byte is written. The name in it is then replaced without following links.

    ``durable`` decides what survives a power cut. ``None`` flushes the bytes of a file that
    replaces another, so that the old version or the new one survives whole. ``True`` flushes
    every file. With ``sync_directory`` after ``commit``, a new name survives as well.
    ``False`` flushes nothing.
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
        self.raw = _TemporaryFile(self._get_descriptor)
        # While CPython makes a buffer it drops what `tell` raises, Ctrl-C included. No signal
        # handler runs in a `tell` that is written in C, and int() is 0.
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
        held, self._held = self._held, None
        if held is not None:
            held.__exit__(None, None, None)

    def _look(self) -> None:
        """Look for the file to replace: the one at ``path``, or the target of a link there."""
        # If it is exclusive, ``commit`` finds out, without a gap for others.
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
            # The new version of a private file must stay private before it is complete.
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
        # /proc, /sys and the roots of automounters say that a new file "does not exist".
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
                # Old kernels and some file systems (NFS, FUSE, SMB) know no unnamed files.
                # Some say EPERM for a directory that is deleted: a named file tells.
                if error.errno not in _NO_UNNAMED:
                    raise
        self._temporary = self._new_name()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | _O_BINARY
        self._keep(self._temporary, flags, mode)
        own(self._opened_files[-1])

    def _keep(self, path: str, flags: int, mode: int) -> None:
        # In one call of C: between two, Ctrl-C could lose the descriptor. One that strikes
        # during the system call, as most do, is handled right after it.
        opened = map(partial(os.open, dir_fd=self._dir_fd), (path,), (flags,), (mode,))
        self._opened_files.extend(opened)

    def _new_name(self) -> str:
        # Short and random: a name made from a 255-byte target would be too long.
        return os.path.join(self._directory, f"{HIDDEN_PREFIX}{os.urandom(8).hex()}")

    def seal(self, *, flush: bool = True) -> None:
        """Write the content out, and flush it to the device where ``durable`` asks for that.

        A batch seals many files with ``flush=False`` and calls ``flush`` on them together.
        """
        self.file.flush()
        self._get_descriptor()  # for a value without bytes
        self._inherit()
        if flush:
            self.flush()

    def _inherit(self) -> None:
        if self._replaced is not None and hasattr(os, "fchmod"):
            self._keep_owner_and_mode(self._replaced)

    @property
    def wants_flush(self) -> bool:
        """Whether ``durable`` asks for a flush that has not been made."""
        wanted = self._replaced is not None if self.durable is None else self.durable
        return wanted and not self._flushed

    def flush(self) -> None:
        """Flush the sealed content to the device, once, where ``durable`` asks for that."""
        if self.wants_flush:
            # A failed fsync is final for this file: the kernel reports it once and forgets.
            flush_to_device(self._descriptor)
            self._flushed = True

    def _keep_owner_and_mode(self, old: os.stat_result) -> None:
        """Let the same people read and write the new version. Only root gives files away."""
        new = os.fstat(self._descriptor)
        keeps_owner, keeps_group = new.st_uid == old.st_uid, new.st_gid == old.st_gid
        if not keeps_owner:
            keeps_owner = self._give(old.st_uid, -1)
        if not keeps_group:
            keeps_group = self._give(-1, old.st_gid)
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
            mode &= 0o777  # setuid and setgid were meant for the old owner
        os.fchmod(self._descriptor, mode)
        keep_acl(self._name, self._descriptor, dir_fd=self._dir_fd)

    def _give(self, owner: int, group: int) -> bool:
        try:
            os.fchown(self._descriptor, owner, group)
        except OSError as error:
            # EINVAL: an owner that this container has no number for.
            if error.errno not in (errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP):
                raise
            return False
        return True

    def commit(self) -> None:
        """Give the content its name. This is the moment at which readers see it.

        Makes the directory again if somebody has deleted it since the first byte was written.
        """
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
        """Copy the content, which went with its directory, into a new temporary file."""
        self._drop_temporary()
        # Since a chroot there may be no /proc, and unnamed files get no name.
        self._has_unnamed = self._has_unnamed and os.path.exists("/proc/self/fd")
        self._descriptor = -1
        old = self._opened_files[-1]  # which ``_close`` closes
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
            # Somebody has saved here since ``seal``: replace their file.
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
        """Close the file once, which is when network file systems report it at the latest."""
        if sys.platform == "win32":  # an open file cannot be renamed there
            self._close()
        else:
            # In one call of C: between two, Ctrl-C could lose the copy.
            for _ in map(os.close, map(os.dup, (self._descriptor,))):
                pass

    def _link_unnamed(self, name: str) -> None:
        # Any src_dir_fd makes CPython call linkat(AT_SYMLINK_FOLLOW); link(2) gives EXDEV here.
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
        """Drop the content unless it is committed, and give the directory back."""
        try:
            self.raw.close()  # or its collection would write what is still in the buffer
            self._close()
            self._drop_temporary()
        finally:
            self._leave()

    def _drop_temporary(self) -> None:
        temporary, self._temporary = self._temporary, None
        if temporary is not None:
            # Not made yet, renamed already, or not removable: what counts is told elsewhere.
            with suppress(OSError):
                os.unlink(temporary, dir_fd=self._dir_fd)

    def _close(self) -> None:
        self._descriptor = -1
        files, self._opened_files = self._opened_files, []
        for descriptor in files:  # no call before the first: Ctrl-C could lose it
            os.close(descriptor)


if sys.platform == "win32":  # pragma: no cover

    def _replace(source: str, target: str, dir_fd: int | None) -> None:  # noqa: ARG001
        for pause in (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, *[0.064] * 7):
            try:
                return os.replace(source, target)
            except PermissionError as error:
                if error.winerror not in (5, 32):  # a reader has it open; that will not be long
                    raise
            time.sleep(pause)
        return os.replace(source, target)

else:

    def _replace(source: str, target: str, dir_fd: int | None) -> None:
        os.replace(source, target, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
