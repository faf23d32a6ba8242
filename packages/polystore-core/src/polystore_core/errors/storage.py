"""The storage refused: look at ``errno``."""

from __future__ import annotations

import errno as _errno
import os
from dataclasses import dataclass
from typing import ClassVar

from .base import PolystoreError, told
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
    """The operating system refused. ``errno`` and ``filename`` are those of the cause."""

    backend: str
    path: str
    operation: str
    errno: int = 0
    reason: str = ""
    """What is wrong, where ``errno`` alone does not tell."""
    advice: ClassVar[str] = ""

    @property
    def filename(self) -> str:
        return self.path

    @property
    def strerror(self) -> str:  # type: ignore[override]
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
    errno: int = _errno.EEXIST
    advice = 'if_exists="replace" replaces it, "skip" keeps it'


@dataclass(eq=False)
class NotAFileError(StorageError, IsADirectoryError):
    errno: int = _errno.EISDIR
    advice = "load the files in it with list_files() and load_batch(), or name a file in it"


@dataclass(eq=False)
class NotADirectoryInPathError(StorageError, NotADirectoryError):
    errno: int = _errno.ENOTDIR
    advice = "a part of the path is a file, not a directory"


@dataclass(eq=False)
class DirectoryNotEmptyError(StorageError):
    errno: int = _errno.ENOTEMPTY
    advice = "recursive=True deletes it and everything in it"


@dataclass(eq=False)
class AccessDeniedError(StorageError, PermissionError):
    errno: int = _errno.EACCES
    advice = "check the owner and the permissions of the path and of its directory"


@dataclass(eq=False)
class LockTimeoutError(StorageError, TimeoutError):
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
    """The new version is in place, but the directory could not be flushed to the device."""

    advice = "the new version is in place, but a power cut may restore the old one"

    def describe(self) -> str:
        text = super().describe()
        return f"{text}; {self.advice}" if self.reason else text


@dataclass(eq=False)
class VersionConflictError(StorageError):
    """Somebody has replaced the value since its version was read."""

    errno: int = _errno.EAGAIN
    current: str | None = None
    """The version that it has now. ``None`` if it does not exist any more."""

    def describe(self) -> str:
        place = where(self.backend, self.path)
        if self.current is None:
            return f"{place} does not exist any more: save it as a new value, or leave it"
        return (
            f"{place} has another version by now ({self.current}): load it again, and repeat "
            "your change"
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
    """Translate an :class:`OSError`: the one table from ``errno`` to error class."""
    if isinstance(error, StorageError):
        return error
    code = error.errno or 0
    reason = error.strerror or ""
    if not code:  # raised by Python, not by the system
        code = next((code for kind, code in _BY_CLASS.items() if isinstance(error, kind)), 0)
        says_why = not code or (isinstance(error, _SAYS_WHY) and str(error))
        reason = told(error) if says_why else ""
    code = code or _errno.EIO
    if reason == os.strerror(code):
        reason = ""
    return _BY_ERRNO.get(code, StorageError)(
        backend, path, operation, errno=code, reason=reason
    )


def durability_unknown(
    error: Exception, path: str, operation: str = "save"
) -> DurabilityUnknownError:
    """Return the error for a value that is in place, and whose flush failed with ``error``."""
    if isinstance(error, DurabilityUnknownError):
        return error
    code = getattr(error, "errno", None) or 0
    unknown = DurabilityUnknownError("", path, operation, code, "" if code else told(error))
    unknown.__cause__ = error
    return unknown


def with_context(error: Exception, backend: str, path: str, operation: str) -> Exception:
    """Return ``error`` with backend and path, or the ``StorageError`` that it means."""
    if isinstance(error, DataError | PathOutsideRootError | DurabilityUnknownError):
        if error.backend and error.path:  # of another backend, from which a value was read
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
