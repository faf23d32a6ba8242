"""The storage reported an error: look at ``errno``."""

from __future__ import annotations

import errno as _errno
import os
from dataclasses import dataclass
from typing import ClassVar

from .base import PolystoreError, describe_error
from .data import DataError, UnsupportedDataError, where
from .requests import PathOutsideRootError, UnsupportedOperationError

__all__ = [
    "AccessDeniedError",
    "AlreadyExistsError",
    "DirectoryNotEmptyError",
    "DurabilityUnknownError",
    "LockTimeoutError",
    "NotADirectoryInPathError",
    "NotAFileError",
    "NotFoundError",
    "StorageError",
    "VersionConflictError",
    "storage_error",
    "with_context",
]


@dataclass(eq=False)
class StorageError(PolystoreError, OSError):
    """The operating system or the storage reported an error. ``errno`` says which."""

    backend: str
    path: str
    operation: str
    errno: int = 0
    reason: str = ""
    """The problem, if ``errno`` alone does not explain it."""
    advice: ClassVar[str] = ""

    @property
    def filename(self) -> str:
        """The path, as for every ``OSError``."""
        return self.path

    @property
    def strerror(self) -> str:  # type: ignore[override]
        """The reason in words, as for every ``OSError``."""
        return self.reason or (os.strerror(self.errno) if self.errno else "")

    def describe(self) -> str:
        advice = "" if self.reason else self.advice or _ADVICE.get(self.errno, "")
        return (
            f"{where(self.backend, self.path)}: cannot {self.operation}: "
            f"{self.strerror or 'unknown reason'}" + (f"; {advice}" if advice else "")
        )


_ADVICE = {
    _errno.ENOSPC: "free space on the disk and try again. The old version is untouched",
    _errno.EDQUOT: "free space in your quota and try again. The old version is untouched",
    _errno.EROFS: "the file system is mounted read-only: use another one",
    _errno.EMFILE: "close some files, or raise the limit with `ulimit -n`",
    _errno.ENAMETOOLONG: "use a shorter name",
    _errno.ELOOP: "the symbolic links form a loop",
}


@dataclass(eq=False)
class NotFoundError(StorageError, FileNotFoundError):
    """The path does not exist."""

    errno: int = _errno.ENOENT
    hint: str = ""

    def describe(self) -> str:
        hint = self.hint or self.reason
        hint = f"; {hint}" if hint else ""
        return (
            f"{where(self.backend, self.path)} does not exist (cannot {self.operation}){hint}"
        )


@dataclass(eq=False)
class AlreadyExistsError(StorageError, FileExistsError):
    """The path exists already, and the call does not allow to replace it."""

    errno: int = _errno.EEXIST
    advice = 'if_exists="replace" replaces it, "skip" keeps it'


@dataclass(eq=False)
class NotAFileError(StorageError, IsADirectoryError):
    """The path is a folder, and the operation needs a file."""

    errno: int = _errno.EISDIR
    advice = "load the files in it with list_files() and load_batch(), or name a file in it"


@dataclass(eq=False)
class NotADirectoryInPathError(StorageError, NotADirectoryError):
    """A part of the path is a file, and only a folder can have something in it."""

    errno: int = _errno.ENOTDIR
    advice = "a part of the path is a file, not a directory"


@dataclass(eq=False)
class DirectoryNotEmptyError(StorageError):
    """The folder is not empty, and ``recursive=True`` was not given."""

    errno: int = _errno.ENOTEMPTY
    advice = "recursive=True deletes it and everything in it"


@dataclass(eq=False)
class AccessDeniedError(StorageError, PermissionError):
    """You have no permission to read or write this path."""

    errno: int = _errno.EACCES
    advice = "check the owner and the permissions of the path and of its directory"


@dataclass(eq=False)
class LockTimeoutError(StorageError, TimeoutError):
    """Another process or thread held the lock for longer than ``timeout``."""

    errno: int = _errno.ETIMEDOUT
    seconds: float = 0.0
    holder: str = ""

    def describe(self) -> str:
        if self.reason:
            return super().describe()
        holder = f", held by {self.holder}" if self.holder else ""
        return (
            f"{self.path!r} was still locked after {self.seconds:g} s{holder}. "
            "Wait longer with timeout=, or end the process that holds the lock"
        )


@dataclass(eq=False)
class DurabilityUnknownError(StorageError):
    """The new version was saved, but the folder could not be flushed to the disk.

    A power cut may restore the old version.
    """

    advice = "the new version is in place, but a power cut may restore the old one"

    def describe(self) -> str:
        text = super().describe()
        return f"{text}; {self.advice}" if self.reason else text


@dataclass(eq=False)
class VersionConflictError(StorageError):
    """Another writer has replaced the value since you read its version."""

    errno: int = _errno.EAGAIN
    current: str | None = None
    """The present version, or ``None`` if the value does not exist any more."""

    def describe(self) -> str:
        place = where(self.backend, self.path)
        if self.current is None:
            return f"{place} does not exist any more: save it as a new value, or leave it"
        return (
            f"{place} has changed since you read it (its version is {self.current} now): load it "
            "again, and repeat your change"
        )


_BY_ERRNO: dict[int, type[StorageError]] = {
    _errno.ENOENT: NotFoundError,
    _errno.EEXIST: AlreadyExistsError,
    _errno.EISDIR: NotAFileError,
    _errno.ENOTDIR: NotADirectoryInPathError,
    _errno.ENOTEMPTY: DirectoryNotEmptyError,
    _errno.EACCES: AccessDeniedError,
    _errno.EPERM: AccessDeniedError,
}


_BY_CLASS: dict[type[OSError], int] = {
    FileNotFoundError: _errno.ENOENT,
    FileExistsError: _errno.EEXIST,
    IsADirectoryError: _errno.EISDIR,
    NotADirectoryError: _errno.ENOTDIR,
    PermissionError: _errno.EACCES,
    TimeoutError: _errno.ETIMEDOUT,
}
_SAYS_WHY = (PermissionError, TimeoutError)
"""The text of these is a reason. The text of the others is a path: ``FileNotFoundError(key)``."""


def storage_error(error: OSError, backend: str, path: str, operation: str) -> StorageError:
    """Return the error of polystore for an ``OSError``.

    Args:
        error: The error of Python or of the operating system.
        backend: Name of the backend.
        path: The path that the caller gave.
        operation: The operation that failed, such as "load".

    Returns:
        The subclass for its ``errno``, such as :class:`NotFoundError` for ``ENOENT``. A
        ``StorageError`` is returned as it is.
    """
    if isinstance(error, StorageError):  # of another backend, or of a store that names the key
        return error
    code = error.errno or 0
    reason = error.strerror or ""
    if not code:  # raised by Python, not by the system
        code = next((code for kind, code in _BY_CLASS.items() if isinstance(error, kind)), 0)
        says_why = not code or (isinstance(error, _SAYS_WHY) and str(error))
        reason = describe_error(error) if says_why else ""
    code = code or _errno.EIO
    if reason == os.strerror(code):  # says no more than errno, so the advice is better
        reason = ""
    return _BY_ERRNO.get(code, StorageError)(
        backend, path, operation, errno=code, reason=reason
    )


def durability_unknown(
    error: Exception, path: str, operation: str = "save"
) -> DurabilityUnknownError:
    """Return the error for a value that was saved, but whose flush failed with ``error``."""
    if isinstance(error, DurabilityUnknownError):
        return error
    code = getattr(error, "errno", None) or 0
    unknown = DurabilityUnknownError(
        "", path, operation, code, "" if code else describe_error(error)
    )
    unknown.__cause__ = error
    return unknown


def with_context(error: Exception, backend: str, path: str, operation: str) -> Exception:
    """Complete an error with the backend, the path and the operation.

    Use it where a backend catches the error of a format or a store::

        except Exception as error:
            raise with_context(error, self.name, path, "load")

    Returns:
        ``error`` itself, completed. An ``OSError`` becomes a ``StorageError`` with the error as its
        cause. Other errors are returned as they are.
    """
    if isinstance(error, DataError | PathOutsideRootError | DurabilityUnknownError):
        # An error that is complete is that of another backend, from which a value was read.
        if error.backend and error.path:
            return error
        error.backend, error.path = backend, error.path or path
        if isinstance(error, UnsupportedDataError):
            error.operation = operation
    elif isinstance(error, UnsupportedOperationError | StorageError):
        error.backend = error.backend or backend  # formats and stores do not know it
    elif isinstance(error, OSError) and not isinstance(error, PolystoreError):
        translated = storage_error(error, backend, path, operation)
        translated.__cause__ = error
        return translated
    return error
