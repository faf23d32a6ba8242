"""Every error that polystore raises, grouped by what a caller would do about it.

::

    PolystoreError
    ├── PluginError(LookupError)            the name is wrong, or what provides it is unusable
    │   ├── BackendRequiredError(TypeError)     no backend was named
    │   ├── UnknownPluginError                  nobody provides that name
    │   ├── PluginNotInstalledError             known, but its distribution is not installed
    │   ├── PluginDisabledError                 switched off by an environment variable
    │   ├── BrokenPluginError(ImportError)      its author made a mistake
    │   ├── MissingDependencyError(ImportError) installed, but a library that it needs is not
    │   ├── MissingOptionError(TypeError)       the backend cannot be made without options
    │   ├── IncompatiblePluginError             made for another plugin API
    │   └── PluginConflictError                 two distributions declare one name
    ├── RequestError                        the call is wrong: change the call
    │   ├── UnknownOptionError(TypeError)
    │   ├── InvalidOptionError(ValueError)
    │   ├── NotAPathError(TypeError)            an array, a file object, … where a path belongs
    │   ├── BatchLengthError(ValueError)        values and paths do not pair up
    │   ├── DuplicatePathError(ValueError)      two values of a batch have one path
    │   ├── UnsupportedFormatError(ValueError)  no suffix, or one that no format claims
    │   ├── UnsupportedOperationError(io.UnsupportedOperation)
    │   └── PathOutsideRootError(ValueError)
    ├── DataError                           the value or the stored bytes are wrong
    │   ├── UnsupportedDataError(TypeError)     the format or backend cannot hold this value
    │   │   ├── RejectedError                       the viewer has looked at it, and refuses it
    │   │   └── UnsupportedFileError                the file is whole, but is not read here
    │   ├── CopyRequiredError(ValueError)       copy="never" cannot be honoured
    │   └── DamagedDataError(ValueError)        the bytes are not what they claim to be
    ├── StorageError(OSError)               the storage refused: look at ``errno``
    │   ├── NotFoundError(FileNotFoundError)
    │   ├── AlreadyExistsError(FileExistsError)
    │   ├── NotAFileError(IsADirectoryError)
    │   ├── NotADirectoryInPathError(NotADirectoryError)
    │   ├── DirectoryNotEmptyError
    │   ├── AccessDeniedError(PermissionError)
    │   ├── LockTimeoutError(TimeoutError)
    │   └── DurabilityUnknownError
    ├── ReceiverError                       a viewer, or another receiver, did not take it
    │   ├── ReceiverUnavailableError(ConnectionError)  it does not run, has died or was closed
    │   ├── ReceiverTimeoutError(TimeoutError)  it is there, but does not answer
    │   └── IncompatibleReceiverError           it speaks another protocol
    └── BatchError                          some items of a batch failed

An error is built from its fields: raise sites stay one line, and it pickles, so a worker in
another process raises the real thing.
"""

from __future__ import annotations

import errno as _errno
import io
import itertools
import os
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = [
    "AccessDeniedError",
    "AlreadyExistsError",
    "BackendRequiredError",
    "BatchError",
    "BatchLengthError",
    "BrokenPluginError",
    "CopyRequiredError",
    "DamagedDataError",
    "DataError",
    "DirectoryNotEmptyError",
    "DuplicatePathError",
    "DurabilityUnknownError",
    "IncompatiblePluginError",
    "IncompatibleReceiverError",
    "InvalidOptionError",
    "LockTimeoutError",
    "MissingDependencyError",
    "MissingOptionError",
    "NotADirectoryInPathError",
    "NotAFileError",
    "NotAPathError",
    "NotFoundError",
    "PathOutsideRootError",
    "PluginConflictError",
    "PluginDisabledError",
    "PluginError",
    "PluginNotInstalledError",
    "PolystoreError",
    "ReceiverError",
    "ReceiverTimeoutError",
    "ReceiverUnavailableError",
    "RejectedError",
    "RequestError",
    "StorageError",
    "UnknownOptionError",
    "UnknownPluginError",
    "UnsupportedDataError",
    "UnsupportedFileError",
    "UnsupportedFormatError",
    "UnsupportedOperationError",
    "explained",
    "storage_error",
]


@dataclass(eq=False)
class PolystoreError(Exception):
    """Root of the tree. Its text is built from its fields."""

    def describe(self) -> str:
        return type(self).__name__

    def __str__(self) -> str:
        return self.describe()

    def __reduce__(self) -> tuple[Callable[..., PolystoreError], tuple[Any, ...]]:
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return _rebuild, (type(self), values, getattr(self, "__notes__", []))


def _rebuild(
    cls: type[PolystoreError], values: Mapping[str, Any], notes: Sequence[str]
) -> PolystoreError:
    error = cls(**values)
    for note in notes:
        error.add_note(note)
    return error


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"


def _suggestion(name: str, known: Iterable[str]) -> str:
    import difflib

    by_lower = {text.lower(): text for text in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def shown(value: object) -> str:
    """Return the ``repr`` of a stranger's value: short, and never an exception."""
    try:
        text = repr(value)
    except Exception:  # a broken __repr__, or an int of more digits than Python prints
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:200]}…"


def told(error: BaseException) -> str:
    """Return the type and text of a stranger's exception, in one line."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # a broken __str__
        text = ""
    return f"{type(error).__name__}: {text}"


def preference(name: str, distribution: str) -> str:
    """Return the code that lets ``distribution`` answer for ``name``."""
    return f"BackendRegistry(prefer={{{name!r}: {distribution!r}}})"


# ── the name ─────────────────────────────────────────────────────────────────────────────


@dataclass(eq=False)
class PluginError(PolystoreError, LookupError):
    """A backend or format cannot be had. ``kind`` is "backend" or "format"."""

    kind: str
    name: str


@dataclass(eq=False)
class BackendRequiredError(PluginError, TypeError):
    """The call names no backend, and polystore never picks one."""

    kind: str = field(default="backend", init=False)
    name: str = field(default="", init=False)
    operation: str
    known: tuple[str, ...] = ()

    def describe(self) -> str:
        return (
            f"{self.operation}() needs backend=, the name of a backend. "
            f"Available: {_listed(self.known)}"
        )


@dataclass(eq=False)
class UnknownPluginError(PluginError):
    known: tuple[str, ...] = ()

    def describe(self) -> str:
        hint = _suggestion(self.name, self.known) or "."
        return f"no {self.kind} is called {self.name!r}{hint} Available: {_listed(self.known)}"


@dataclass(eq=False)
class PluginNotInstalledError(PluginError):
    distribution: str
    others: tuple[str, ...] = ()
    """Who declares the name as well: nobody but the user can choose them."""

    def describe(self) -> str:
        other = ""
        if self.others:
            other = (
                f". {' and '.join(self.others)} also declares that name. To use it instead: "
                f"{preference(self.name, self.others[0])}"
            )
        return (
            f"{self.kind} {self.name!r} is provided by {self.distribution}, which is not "
            f"installed: pip install {self.distribution}{other}"
        )


@dataclass(eq=False)
class PluginDisabledError(PluginError):
    distribution: str
    variable: str

    def describe(self) -> str:
        return (
            f"{self.kind} {self.name!r} (from {self.distribution}) is switched off by the "
            f"environment variable {self.variable}={os.environ.get(self.variable, '')!r}"
        )


@dataclass(eq=False)
class BrokenPluginError(PluginError, ImportError):  # type: ignore[misc]
    distribution: str
    """Its distribution, or the full name of a class of this process."""
    version: str
    """Empty for a class of this process."""
    reason: str
    place: str = ""
    """File and line of the author's mistake, if it is known."""

    def describe(self) -> str:
        reason = f"{self.reason} ({self.place})" if self.place else self.reason
        if not self.version:
            return f"{self.kind} {self.name!r} ({self.distribution}) is broken: {reason}"
        return (
            f"{self.kind} {self.name!r} is installed ({self.distribution} {self.version}) but "
            f"broken: {reason}. Reinstall or upgrade {self.distribution}, or report it to its "
            "authors"
        )


@dataclass(eq=False)
class MissingDependencyError(PluginError, ImportError):  # type: ignore[misc]
    missing: tuple[str, ...]
    install: str
    distribution: str = ""

    def describe(self) -> str:
        origin = f" from {self.distribution}" if self.distribution else ""
        return (
            f"{self.kind} {self.name!r}{origin} needs {' and '.join(self.missing)}, which is not "
            f"installed: pip install {self.install!r}"
        )


@dataclass(eq=False)
class MissingOptionError(PluginError, TypeError):
    """A backend cannot be made without options: a name of your own gives them."""

    distribution: str
    options: tuple[str, ...]

    def describe(self) -> str:
        values = ", ".join(f"{option}=…" for option in self.options)
        return (
            f"{self.kind} {self.name!r} from {self.distribution} needs {values}. Add it under a "
            f"name of your choice: registry.add('my_{self.name}', {self.name!r}, {values})"
        )


@dataclass(eq=False)
class IncompatiblePluginError(PluginError):
    distribution: str
    api: int
    supported: int

    def describe(self) -> str:
        return (
            f"{self.kind} {self.name!r} from {self.distribution} is made for plugin API "
            f"{shown(self.api)}, but this polystore supports {self.supported}. Upgrade "
            f"{'polystore-core' if self.api > self.supported else self.distribution}"
        )


@dataclass(eq=False)
class PluginConflictError(PluginError):
    distributions: tuple[str, ...]

    def describe(self) -> str:
        first, *others = self.distributions
        chosen = preference(self.name, first)
        if self.kind == "backend":
            full_name = f"Use a full name, such as '{first}:{self.name}'"
            advice = f"{full_name}, or choose one with {chosen}"
        else:
            off = f"POLYSTORE_DISABLE={','.join(others)}"
            advice = f"Choose one with {chosen}, or set the environment variable {off}"
        return (
            f"{self.kind} {self.name!r} is declared by {' and by '.join(self.distributions)}. "
            f"{advice}"
        )


# ── the call ─────────────────────────────────────────────────────────────────────────────


@dataclass(eq=False)
class RequestError(PolystoreError):
    """The call asks for something that cannot be; nothing was touched."""


@dataclass(eq=False)
class UnknownOptionError(RequestError, TypeError):
    option: str
    owner: str
    known: tuple[str, ...] = ()

    def describe(self) -> str:
        hint = _suggestion(self.option, self.known) or "."
        return f"{self.owner} has no option {self.option!r}{hint} Known: {_listed(self.known)}"


@dataclass(eq=False)
class InvalidOptionError(RequestError, ValueError):
    option: str
    value: object
    expected: str
    fault: str = ""
    """What is wrong, if it is not the value alone: "scale= needs imagej=True"."""

    def describe(self) -> str:
        if self.fault:
            return self.fault
        return f"{self.option}={shown(self.value)} is not valid: expected {self.expected}"


@dataclass(eq=False)
class NotAPathError(RequestError, TypeError):
    """Something that is not a path is in a path's place. ``got`` is the name of its type."""

    got: str
    advice: str = ""

    def describe(self) -> str:
        advice = f". {self.advice}" if self.advice else ""
        return f"expected a path (str or os.PathLike), got {self.got}{advice}"


@dataclass(eq=False)
class BatchLengthError(RequestError, ValueError):
    values: int
    paths: int

    def describe(self) -> str:
        return f"{self.values} values for {self.paths} paths: pass one path for each value"


@dataclass(eq=False)
class DuplicatePathError(RequestError, ValueError):
    path: str
    first: int
    second: int

    def describe(self) -> str:
        return (
            f"{self.path!r} is the path of two values, [{self.first}] and [{self.second}]: "
            "pass a different path for each value"
        )


@dataclass(eq=False)
class UnsupportedFormatError(RequestError, ValueError):
    path: str
    known: tuple[str, ...] = ()
    backend: str = ""

    def describe(self) -> str:
        name = self.path.rpartition("/")[2]
        stem, dot, suffix = name.rpartition(".")
        if not (dot and stem and suffix):
            trouble, hint = "has no suffix, so polystore cannot choose a format", "."
        else:
            trouble = f"ends in .{suffix}, but no installed format has that suffix"
            # Not by likeness: .czi is not a misspelt .zip, and .lif not a misspelt .tif.
            close = [name for name in self.known if _is_misspelt(suffix.lower(), name)]
            hint = f"; did you mean {close[0]!r}?" if close else "."
        known = ", ".join(f".{name}" for name in self.known) or "none"
        return f"{_where(self.backend, self.path)} {trouble}{hint} Known: {known}"


@dataclass(eq=False)
class UnsupportedOperationError(RequestError, io.UnsupportedOperation):
    backend: str
    operation: str
    reason: str = ""

    def describe(self) -> str:
        return f"backend {self.backend!r} does not support {self.operation}" + (
            f": {self.reason}" if self.reason else ""
        )


@dataclass(eq=False)
class PathOutsideRootError(RequestError, ValueError):
    backend: str
    path: str
    root: str

    def describe(self) -> str:
        return (
            f"{_where(self.backend, self.path)} is outside root {self.root!r}: use a path "
            "inside the root"
        )


def _is_misspelt(suffix: str, known: str) -> bool:
    """Whether letters of ``known`` have changed places, or are doubled or single ("tfi")."""
    return sorted(suffix) == sorted(known) or _single(suffix) == _single(known)


def _single(text: str) -> str:
    return "".join(new for old, new in itertools.pairwise(f" {text}") if old != new)


# ── the data ─────────────────────────────────────────────────────────────────────────────


def _where(backend: str, path: str) -> str:
    if backend and path:
        return f"backend {backend!r}: {path!r}"
    return repr(path) if path else f"backend {backend!r}"


@dataclass(eq=False)
class DataError(PolystoreError):
    """A value or stored bytes that cannot be what is asked.

    A format raises it with a reason alone; the backend that called the format adds ``path``
    and ``backend``.
    """

    reason: str
    format: str = ""
    path: str = ""
    backend: str = ""
    verb: ClassVar[str] = "is wrong"

    def fault(self) -> str:
        return self.verb

    def describe(self) -> str:
        place = _where(self.backend, self.path) if self.backend or self.path else ""
        kind = f"({self.format})" if self.format else ""
        return " ".join(filter(None, (place, kind, f"{self.fault()}: {self.reason}")))


@dataclass(eq=False)
class UnsupportedDataError(DataError, TypeError):
    verb = "cannot hold this value"
    operation: str = "save"
    """What was tried: a format raises it without, the backend knows."""

    def fault(self) -> str:
        tried = {"load": "loaded", "open": "opened", "describe": "described"}.get(
            self.operation
        )
        return self.verb if tried is None else f"cannot be {tried}"


@dataclass(eq=False)
class RejectedError(UnsupportedDataError):
    """A viewer refused the value when it had come; nothing that it shows has changed."""

    verb = "was rejected"


@dataclass(eq=False)
class UnsupportedFileError(UnsupportedDataError):
    """The file is whole, but polystore does not read what it holds: another program does.

    Nothing needs to be restored, deleted or acquired again.
    """

    verb = "is whole, but cannot be read here"
    operation: str = "load"

    def fault(self) -> str:
        return self.verb


@dataclass(eq=False)
class CopyRequiredError(DataError, ValueError):
    verb = "needs a copy, but copy='never' forbids one"


@dataclass(eq=False)
class DamagedDataError(DataError, ValueError):
    verb = "is damaged"


# ── the storage ──────────────────────────────────────────────────────────────────────────


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
            f"{_where(self.backend, self.path)}: cannot {self.operation}: "
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
        hint = f"; {self.hint}" if self.hint else ""
        return (
            f"{_where(self.backend, self.path)} does not exist (cannot {self.operation}){hint}"
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
        holder = f", held by {self.holder}" if self.holder else ""
        return (
            f"{self.path!r} was still locked after {self.seconds:g} s{holder}. "
            "Wait longer with timeout=, or end the process that holds the lock"
        )


@dataclass(eq=False)
class DurabilityUnknownError(StorageError):
    """The new version is in place, but the directory could not be flushed to the device."""

    advice = "the new version is in place, but a power cut may restore the old one"


_BY_ERRNO: dict[int, type[StorageError]] = {
    _errno.ENOENT: NotFoundError,
    _errno.EEXIST: AlreadyExistsError,
    _errno.EISDIR: NotAFileError,
    _errno.ENOTDIR: NotADirectoryInPathError,
    _errno.ENOTEMPTY: DirectoryNotEmptyError,
    _errno.EACCES: AccessDeniedError,
    _errno.EPERM: AccessDeniedError,
}


def storage_error(error: OSError, backend: str, path: str, operation: str) -> StorageError:
    """Translate an :class:`OSError`: the one table from ``errno`` to error class."""
    if isinstance(error, StorageError):
        return error
    code = error.errno or _errno.EIO
    reason = error.strerror or ""
    if reason == os.strerror(code):
        reason = ""
    return _BY_ERRNO.get(code, StorageError)(
        backend, path, operation, errno=code, reason=reason
    )


def explained(error: Exception, backend: str, path: str, operation: str) -> Exception:
    """Return ``error`` with backend and path, or what it stands for as ``StorageError``."""
    if isinstance(error, DataError | PathOutsideRootError | DurabilityUnknownError):
        error.backend, error.path = backend, error.path or path
        if isinstance(error, UnsupportedDataError):
            error.operation = operation
    elif isinstance(error, UnsupportedOperationError):  # a format does not know its backend
        error.backend = error.backend or backend
    elif isinstance(error, OSError) and not isinstance(error, PolystoreError):
        translated = storage_error(error, backend, path, operation)
        translated.__cause__ = error
        return translated
    return error


# ── receivers ────────────────────────────────────────────────────────────────────────────


@dataclass(eq=False)
class ReceiverError(PolystoreError):
    """What was sent did not arrive, or nobody knows whether it did."""

    backend: str
    receiver: str
    """What was meant to take it: "napari viewer 'default'"."""
    reason: str
    advice: str = ""

    def describe(self) -> str:
        advice = f"; {self.advice}" if self.advice else ""
        return f"backend {self.backend!r}: {self.receiver} {self.reason}{advice}"


@dataclass(eq=False)
class ReceiverUnavailableError(ReceiverError, ConnectionError):
    errno: int = _errno.ENOTCONN


@dataclass(eq=False)
class ReceiverTimeoutError(ReceiverError, TimeoutError):
    errno: int = _errno.ETIMEDOUT


@dataclass(eq=False)
class IncompatibleReceiverError(ReceiverError):
    pass


# ── batches ──────────────────────────────────────────────────────────────────────────────


@dataclass(eq=False)
class BatchError(PolystoreError):
    """Some items of a batch failed.

    ``failed`` maps the index of each failed item to its path and cause, ``done`` holds the
    paths that were saved or loaded, ``not_attempted`` those that were left untouched.
    """

    backend: str
    operation: str
    failed: dict[int, tuple[str, Exception]]
    done: tuple[str, ...] = ()
    not_attempted: tuple[str, ...] = field(default=())

    @property
    def failed_index(self) -> int:
        """Index of the first item that failed."""
        return min(self.failed)

    @property
    def errno(self) -> int | None:
        """``errno`` of the first item that failed, such as ``errno.ENOSPC``; or ``None``."""
        _, cause = self.failed[self.failed_index]
        return getattr(cause, "errno", None)

    def describe(self) -> str:
        total = len(self.failed) + len(self.done) + len(self.not_attempted)
        counts = f"{len(self.done)} done, {len(self.not_attempted)} not attempted"
        what = f"{self.operation} failed for {len(self.failed)} of {total}"
        lines = [f"backend {self.backend!r}: {what} ({counts}):"]
        for index in sorted(self.failed):
            path, cause = self.failed[index]
            lines.append(f"  [{index}] {path!r}: {type(cause).__name__}: {cause}")
        return "\n".join(lines)
