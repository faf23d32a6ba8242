"""Files that are replaced whole: a reader sees the old content or the new, never a mixture.

The new content goes into a temporary file of the same directory and takes the name only when
it is complete. On Linux that file has no name until then (``O_TMPFILE``), so a killed writer
leaves nothing behind.
"""

from __future__ import annotations

import io
import os
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, TYPE_CHECKING, Any, Literal, TextIO, overload

from ..errors import (
    InvalidOptionError,
    storage_error,
)
from ..paths import HIDDEN_PREFIX, check_local
from .claims import is_abandoned, last_change
from .locking import file_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..values import Option, Value


from .json import encode, plain_json, read_json
from .pending import PendingFile

__all__ = ["atomic_update_json", "atomic_write", "atomic_write_json", "find_leftovers"]


@overload
def atomic_write(
    path: str | os.PathLike[str],
    mode: Literal["w"] = ...,
    *,
    encoding: str = ...,
    newline: str | None = ...,
    durable: bool | None = ...,
    lock: bool = ...,
    timeout: float | None = ...,
) -> AbstractContextManager[TextIO]: ...
@overload
def atomic_write(
    path: str | os.PathLike[str],
    mode: Literal["wb"],
    *,
    durable: bool | None = ...,
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
    durable: bool | None = True,
    lock: bool = True,
    timeout: float | None = 30.0,
) -> Iterator[IO[Value]]:
    """Open a file that replaces ``path`` when the ``with`` block ends, and only if it succeeds.

    ``lock`` holds ``file_lock(path)`` until then, so that it does not overtake an
    ``atomic_update_json`` of another worker; ``timeout`` in seconds is for that lock.
    ``durable=True`` flushes file and directory to the device before it returns, ``None`` and
    ``False`` are as for ``PendingFile``. Missing directories are created.

    Raises ``StorageError`` (``errno`` set) with the old content untouched, and
    ``InvalidOptionError`` for a URL and for "~".
    """
    check_local(path)
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
    data: Value,
    path: str | os.PathLike[str],
    *,
    indent: int | None = 2,
    durable: bool | None = True,
    timeout: float | None = 30.0,
) -> None:
    """Replace ``path`` by ``data`` as UTF-8 JSON, under the file's lock.

    Tuples are written as lists, and scalars of NumPy as numbers.

    Raises ``UnsupportedDataError``, before anything is touched, for what JSON cannot hold: keys
    that are not strings, NaN and infinity included.
    """
    text = encode(plain_json(data, path), path, indent)
    with atomic_write(path, "wb", durable=durable, timeout=timeout) as file:
        file.write(text)


def atomic_update_json(
    path: str | os.PathLike[str],
    update: Callable[[Value], Value],
    *,
    default: Option = None,
    indent: int | None = None,
    durable: bool | None = True,
    timeout: float | None = 30.0,
    check: bool = True,
) -> Value:
    """Replace the JSON document at ``path`` by ``update(document)``, under the file's lock.

    ``update`` gets ``default`` (``{}`` when that is ``None``) where there is no file yet; what
    it raises reaches the caller unchanged. Tuples become lists, and scalars of NumPy numbers.
    Returns the new document. ``check=False`` spares the walk through it, while others wait, where
    ``update`` adds only what JSON gives back equal. NaN that the file has then stays.

    Raises ``DamagedDataError`` for a file that is not JSON: it is left alone, never taken for
    missing. ``LockTimeoutError`` after ``timeout`` seconds.
    """
    check_local(path)
    with file_lock(path, timeout=timeout):
        document = update(read_json(path, {} if default is None else default))
        if check:
            document = plain_json(document, path)
        text = encode(document, path, indent, check=check)
        with atomic_write(path, "wb", durable=durable, lock=False) as file:
            file.write(text)
    return document


def find_leftovers(
    directory: str | os.PathLike[str], *, older_than: float = 3600.0
) -> Iterator[str]:
    """Yield temporary files and folders below ``directory`` that a killed writer left behind.

    Yields only those that have not changed for ``older_than`` seconds and that no living
    process of this machine owns (``claim``). Lock files are not leftovers.
    Neither is a folder ``.~ps-*.aside``: it may hold the only copy of a value, and the backend
    that made it puts the value back. Raises ``StorageError`` for a folder that cannot be read.
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
                if (
                    not name.endswith((".lock", ".aside"))
                    and last_change(path) < before
                    and is_abandoned(path, older_than=older_than)
                ):
                    yield path
            except FileNotFoundError:  # its writer lives, and has just finished
                continue
