"""Files that are replaced whole: a reader sees the old content or the new, never a mixture.

The new content goes into a temporary file of the same directory and takes the name only when
it is complete. On Linux that file has no name until then (``O_TMPFILE``), so a killed writer
leaves nothing behind.
"""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import sys
import time
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, TextIO, overload

from .errors import (
    DamagedDataError,
    DurabilityUnknownError,
    InvalidOptionError,
    UnsupportedDataError,
    storage_error,
)
from .locking import HIDDEN_PREFIX, file_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "PendingFile",
    "Place",
    "atomic_update_json",
    "atomic_write",
    "atomic_write_json",
    "find_leftovers",
    "sync_directory",
]

_O_BINARY = getattr(os, "O_BINARY", 0)
_JSON_BYTES_LIMIT = 64 * 1024 * 1024
_MOST_LINKS = 40  # as the kernel: a longer chain is taken for a circle


class Place(NamedTuple):
    """Where a file's name stands: a bare name in an open directory, or a path."""

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
        self._empty = True
        self.failure: OSError | None = None
        """What the system said when a write failed."""

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = os.read(self._opened(), len(view))
        view[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        written = 0
        try:
            descriptor = self._opened()
            self._empty = False
            while written < len(view):  # Linux writes at most 2 GiB in one call
                written += os.write(descriptor, view[written:])
        except OSError as error:
            self.failure = error
            raise
        return written

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if offset == 0 and self._empty:  # buffering asks for the position before it writes
            return 0
        return os.lseek(self._opened(), offset, whence)

    def truncate(self, size: int | None = None) -> int:
        size = self.tell() if size is None else size
        os.ftruncate(self._opened(), size)
        return size

    def close(self) -> None:
        super().close()
        self._opened = _not_open  # without the circle the buffer is free at once


def _not_open() -> int:
    raise ValueError("the file is closed")


class PendingFile:
    """New content on its way to ``path``: write ``file``, then ``seal``, then ``commit``.

    Until ``commit``, ``path`` holds what it held before; ``discard`` leaves nothing behind and
    must always be called. The methods raise plain ``OSError``; ``exclusive`` refuses
    (``FileExistsError``) where something stands. ``place`` finds and holds open the directory
    when the first byte is written; the name in it is then replaced without following links.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durable: bool = False,
        exclusive: bool = False,
        place: Callable[[], AbstractContextManager[Place]] | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.durable = durable
        self.exclusive = exclusive
        self._place = place
        self._held = ExitStack()
        self._name = self.path
        self._dir_fd: int | None = None
        self._directory = ""
        self._replaced: os.stat_result | None = None
        self._temporary: str | None = None
        self._descriptor = -1
        self.raw = _TemporaryFile(self._opened)
        self.file = io.BufferedRandom(self.raw, 1 << 16)

    def _opened(self) -> int:
        if self._descriptor < 0:
            if self._place is not None:
                self._name, self._dir_fd = self._held.enter_context(self._place())
            self._replaced = self._look()
            self._directory = os.path.dirname(self._name)
            self._descriptor = self._open()
        return self._descriptor

    def _look(self) -> os.stat_result | None:
        """Stat what stands at ``path``; a symbolic link's target is what gets replaced."""
        if self.exclusive:
            return None  # ``commit`` finds out, without a gap for others
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
        if stat.S_ISDIR(present.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self._name)
        return present

    def _open(self) -> int:
        # What replaces a private file must not be readable by others before it is complete.
        mode = 0o666 if self._replaced is None else 0o600
        while True:
            try:
                return self._open_temporary(mode)
            except FileNotFoundError:
                if self._dir_fd is not None or not self._directory:
                    raise
                make_directories(self._directory, durable=self.durable)

    def _open_temporary(self, mode: int) -> int:
        if sys.platform == "linux":
            try:
                flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
                return os.open(self._directory or ".", flags, mode, dir_fd=self._dir_fd)
            except OSError as error:
                # Old kernels and some file systems (NFS, FUSE, SMB) know no unnamed files.
                if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                    raise
        self._temporary = self._new_name()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | _O_BINARY
        return os.open(self._temporary, flags, mode, dir_fd=self._dir_fd)

    def _new_name(self) -> str:
        # Short and random: a name made from a 255-byte target would be too long.
        return os.path.join(self._directory, f"{HIDDEN_PREFIX}{os.urandom(8).hex()}")

    def seal(self) -> None:
        """Flush the content, to the device when ``durable``."""
        self._opened()
        self.file.flush()
        if self._replaced is not None and hasattr(os, "fchmod"):
            self._keep_owner_and_mode(self._replaced)
        if self.durable:
            # A failed fsync is final for this file: the kernel reports it once and forgets.
            _fsync(self._descriptor)
        if self._temporary is not None:
            self._close()  # network file systems report a full disk here at the latest

    def _keep_owner_and_mode(self, old: os.stat_result) -> None:
        new = os.fstat(self._descriptor)
        if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
            try:
                os.fchown(self._descriptor, old.st_uid, old.st_gid)
            except PermissionError:
                # Only root gives files away. In a directory shared by two users the new
                # version belongs to whoever wrote it; its mode still lets the same people in.
                os.fchmod(self._descriptor, stat.S_IMODE(old.st_mode) & 0o777)
                return
        os.fchmod(self._descriptor, stat.S_IMODE(old.st_mode))

    def commit(self) -> None:
        """Give the content its name. This is the moment at which readers see it."""
        if self._temporary is None:
            if self._replaced is None and self._named(self._name):
                return
            self._temporary = self._new_name()
            self._link_unnamed(self._temporary)
            self._close()
        if self.exclusive:
            os.link(self._temporary, self._name, src_dir_fd=self._dir_fd,
                    dst_dir_fd=self._dir_fd)  # fmt: skip
            return
        _replace(self._temporary, self._name, self._dir_fd)
        self._temporary = None

    def _named(self, name: str) -> bool:
        """Link the unnamed file straight to ``name`` unless something has come to stand there."""
        try:
            self._link_unnamed(name)
        except FileExistsError:
            if self.exclusive:
                raise
            return False
        self._close()
        return True

    def _link_unnamed(self, name: str) -> None:
        # Any src_dir_fd makes CPython call linkat(AT_SYMLINK_FOLLOW); link(2) gives EXDEV here.
        os.link(
            f"/proc/self/fd/{self._descriptor}",
            name,
            src_dir_fd=self._descriptor,
            dst_dir_fd=self._dir_fd,
            follow_symlinks=True,
        )

    def directory(self) -> tuple[int, int]:
        """Identify the directory that ``sync_directory`` flushes, once for many files."""
        found = os.stat(self._directory or ".", dir_fd=self._dir_fd)
        return found.st_dev, found.st_ino

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
        with self._held:
            self.raw.close()  # or its collection would write what is still in the buffer
            self._close()
            temporary, self._temporary = self._temporary, None
            if temporary is not None:
                # Not made yet, renamed already, or not removable: what counts is told elsewhere.
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=self._dir_fd)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _fsync(descriptor: int) -> None:
    if sys.platform == "darwin":  # fsync there stops at the drive's cache
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


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


def sync_directory(directory: str | os.PathLike[str], *, dir_fd: int | None = None) -> None:
    """Flush the names in ``directory`` to the device (nothing to do on Windows)."""
    if sys.platform == "win32":
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some FUSE and SMB mounts
            raise
    finally:
        os.close(descriptor)


def follow_links(path: str) -> str:
    """Return where the symbolic link ``path`` leads in the end, existing or not.

    Raises ``OSError``, which ``os.path.realpath`` passes over: it would name the link itself.
    """
    for _ in range(_MOST_LINKS):
        try:
            target = os.readlink(path)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):  # no link, or nothing at all
                return path
            raise
        path = os.path.join(os.path.dirname(path), target)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def make_directories(directory: str, *, durable: bool = False) -> None:
    """Create ``directory`` and its missing parents; ``durable`` makes their names last."""
    missing = []
    current = os.path.abspath(directory)
    while durable and not os.path.isdir(current):
        missing.append(current)
        current = os.path.dirname(current)
    try:
        os.makedirs(directory, exist_ok=True)
    except FileExistsError as error:  # a file, which if_exists= is not about
        code = errno.ENOTDIR
        raise NotADirectoryError(code, os.strerror(code), directory) from error
    for made in missing:
        sync_directory(os.path.dirname(made))


@overload
def atomic_write(
    path: str | os.PathLike[str],
    mode: Literal["w"] = ...,
    *,
    encoding: str = ...,
    newline: str | None = ...,
    durable: bool = ...,
    lock: bool = ...,
    timeout: float | None = ...,
) -> AbstractContextManager[TextIO]: ...
@overload
def atomic_write(
    path: str | os.PathLike[str],
    mode: Literal["wb"],
    *,
    durable: bool = ...,
    lock: bool = ...,
    timeout: float | None = ...,
) -> AbstractContextManager[io.BufferedRandom]: ...
@contextmanager  # type: ignore[misc]
def atomic_write(
    path: str | os.PathLike[str],
    mode: Literal["w", "wb"] = "w",
    *,
    encoding: str = "utf-8",
    newline: str | None = None,
    durable: bool = True,
    lock: bool = True,
    timeout: float | None = 30.0,
) -> Iterator[IO[Any]]:
    """Open a file that replaces ``path`` when the ``with`` block ends, and only if it succeeds.

    ``lock`` holds ``file_lock(path)`` meanwhile, so that no ``atomic_update_json`` of another
    worker is overtaken; ``timeout`` in seconds is for that lock. ``durable`` flushes file and
    directory to the device before it returns. Missing directories are created.

    Raises ``StorageError`` (``errno`` set) with the old content untouched.
    """
    if mode not in ("w", "wb"):
        raise InvalidOptionError("mode", mode, "'w' (text) or 'wb' (bytes)")
    with file_lock(path, timeout=timeout) if lock else nullcontext():
        pending = PendingFile(path, durable=durable)
        try:
            file: IO[Any] = pending.file
            if mode == "w":
                file = io.TextIOWrapper(pending.file, encoding=encoding, newline=newline)
            yield file
            with _storage_errors(path, "write"):
                file.flush()
                pending.seal()
                pending.commit()
                if durable:
                    pending.sync_directory()
        except OSError as error:
            if error is not pending.raw.failure:  # the body's own
                raise
            raise storage_error(error, "", os.fspath(path), "write") from error
        finally:
            pending.discard()


@contextmanager
def _storage_errors(path: str | os.PathLike[str], operation: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(error, "", os.fspath(path), operation) from error


def atomic_write_json(
    data: Any,
    path: str | os.PathLike[str],
    *,
    indent: int | None = 2,
    durable: bool = True,
    timeout: float | None = 30.0,
) -> None:
    """Replace ``path`` by ``data`` as UTF-8 JSON, under the file's lock.

    Raises ``UnsupportedDataError``, before anything is touched, for what JSON cannot hold: keys
    that are no strings, NaN and infinity included.
    """
    text = _encode(data, path, indent)
    with atomic_write(path, "wb", durable=durable, timeout=timeout) as file:
        file.write(text)


def atomic_update_json(
    path: str | os.PathLike[str],
    update: Callable[[Any], Any],
    *,
    default: Any = None,
    indent: int | None = None,
    durable: bool = True,
    timeout: float | None = 30.0,
    check: bool = True,
) -> Any:
    """Replace the JSON document at ``path`` by ``update(document)``, under the file's lock.

    ``update`` gets ``default`` (``{}`` when that is ``None``) where there is no file yet; what
    it raises reaches the caller unchanged. Returns the new document. ``check=False`` spares the
    walk through it, while others wait, where ``update`` adds only what JSON gives back equal.

    Raises ``DamagedDataError`` for a file that is no JSON: it is left alone, never taken for
    missing. ``LockTimeoutError`` after ``timeout`` seconds.
    """
    with file_lock(path, timeout=timeout):
        document = update(_read_json(path, {} if default is None else default))
        text = _encode(document, path, indent, check=check)
        with atomic_write(path, "wb", durable=durable, lock=False) as file:
            file.write(text)
    return document


def _read_json(path: str | os.PathLike[str], default: Any) -> Any:
    try:
        with open(path, "rb") as file:
            text = file.read(_JSON_BYTES_LIMIT + 1)
    except FileNotFoundError:
        return default
    except OSError as error:
        raise storage_error(error, "", os.fspath(path), "read") from error
    if len(text) > _JSON_BYTES_LIMIT:
        raise DamagedDataError(
            f"larger than {_JSON_BYTES_LIMIT} bytes, which no metadata document is",
            "json",
            os.fspath(path),
        )
    return decode_json(text, path)


def decode_json(text: bytes, path: str | os.PathLike[str] = "") -> Any:
    """Parse UTF-8 JSON strictly: no NaN, no infinity, no key twice in one object.

    Raises ``DamagedDataError``.
    """
    try:
        return json.loads(
            text.decode("utf-8"),
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique_keys,
        )
    except (ValueError, RecursionError) as error:
        raise DamagedDataError(str(error), "json", os.fspath(path)) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(
            "a key stands twice in one object, and one of the values would be lost"
        )
    return found


def _encode(
    data: Any, path: str | os.PathLike[str], indent: int | None, *, check: bool = True
) -> bytes:
    try:
        return encode_json(data, indent, check=check)
    except UnsupportedDataError as error:
        error.path = os.fspath(path)
        raise


def encode_json(data: Any, indent: int | None = None, *, check: bool = True) -> bytes:
    """Encode strictly: ``UnsupportedDataError`` for whatever would not load as it was saved."""
    try:
        if check and type(data) not in _JSON_SCALARS:
            _check_json(data)
        text = json.dumps(data, allow_nan=False, ensure_ascii=False, indent=indent)
        return text.encode("utf-8") + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise UnsupportedDataError(str(error), "json") from error


def _check_json(data: Any) -> None:
    """Refuse what ``json`` would change in silence: keys that are no strings, tuples, …"""
    kind = type(data)
    if kind is dict:
        for key in data:
            if type(key) is not str:
                raise TypeError(f"the key {key!r} is no string")
    elif kind is not list:
        raise TypeError(f"JSON has no {kind.__name__}: {data!r:.80}")
    for value in data.values() if kind is dict else data:
        if type(value) not in _JSON_SCALARS:
            _check_json(value)


_JSON_SCALARS = frozenset({str, int, float, bool, type(None)})


def find_leftovers(
    directory: str | os.PathLike[str], *, older_than: float = 3600.0
) -> Iterator[str]:
    """Yield temporary files and folders below ``directory`` that a killed writer left behind.

    Only what nobody has written into for ``older_than`` seconds; lock files are no leftovers.
    Raises ``StorageError`` for a folder that cannot be read.
    """
    before = time.time() - older_than

    def refuse(error: OSError) -> None:
        raise storage_error(error, "", str(error.filename), "look for leftovers") from error

    for folder, folders, names in os.walk(directory, onerror=refuse):
        hidden = [name for name in (*folders, *names) if name.startswith(HIDDEN_PREFIX)]
        folders[:] = [name for name in folders if name not in hidden]
        for name in hidden:
            path = os.path.join(folder, name)
            try:
                if not name.endswith(".lock") and _last_change(path) < before:
                    yield path
            except FileNotFoundError:  # its writer lives, and has just finished
                continue


def _last_change(path: str) -> float:
    """Return the time of the youngest file of a tree, or of the file at ``path``."""
    status = os.stat(path, follow_symlinks=False)
    times = [status.st_mtime]
    if stat.S_ISDIR(status.st_mode):
        times += (_last_change(os.path.join(path, name)) for name in os.listdir(path))
    return max(times)
