"""Atomic writes: a reader sees the old content of a file or the new one, never a mixture.

The new content is written into a temporary file in the same folder, which is renamed when it is
complete. On Linux this file has no name until then (``O_TMPFILE``), so that a killed writer leaves
nothing behind.
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
    """Open a file that replaces ``path`` when the ``with`` block ends without an error.

    For example:

        with atomic_write("report.html") as file:
            file.write(page)

    Args:
        path: The file to replace. Missing folders are created.
        mode: "w" for text or "wb" for bytes.
        encoding: The encoding of text.
        newline: As for ``open``.
        durable: ``True`` also makes the file survive a power cut. ``None`` and ``False`` are as for
            ``PendingFile``.
        lock: Whether to hold ``file_lock(path)``, so that no ``atomic_update_json`` of another
            worker is lost.
        timeout: Seconds to wait for the lock. ``None`` waits for ever.

    Raises:
        StorageError: The file cannot be written. The old content is untouched.
        LockTimeoutError: Another process holds the lock.
        InvalidOptionError: The path is a URL or starts with "~".
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
                # A text wrapper has a buffer of its own, and ``seal``
                # flushes only the binary file.
                file.flush()
                pending.seal()
                pending.commit()
                if durable:
                    pending.sync_directory()
        except OSError as error:
            if error is not pending.raw.failure:  # an error of the body, which stays as it is
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
    """Replace a file by ``data`` as UTF-8 JSON, while holding its lock.

    Tuples become lists, and scalars of NumPy become numbers. For example:

        atomic_write_json({"shape": image.shape, "mean": image.mean()}, "image.json")

    Args:
        data: A dict, a list or a scalar.
        path: The file to replace.
        indent: Spaces of each level, or ``None`` for one line.
        durable: As for ``atomic_write``.
        timeout: Seconds to wait for the lock. ``None`` waits for ever.

    Raises:
        UnsupportedDataError: JSON cannot hold the data, for example NaN, infinity, or a key that is
            not a string. Nothing was written.
        StorageError: The file cannot be written.
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
    """Replace the JSON document at ``path`` by ``update(document)``, while holding its lock.

    For example, from many workers at once:

        atomic_update_json("done.json", lambda done: {**done, well: True})

    Args:
        path: The file. It is created if it does not exist.
        update: A function of the old document that returns the new one. Its errors are not changed.
        default: The old document if there is no file. ``None`` means ``{}``.
        indent: Spaces of each level, or ``None`` for one line.
        durable: As for ``atomic_write``.
        timeout: Seconds to wait for the lock. ``None`` waits for ever.
        check: ``False`` is faster for a large document, because the new one is not checked. Use it
            only if ``update`` adds values that JSON can hold. NaN in the file then stays.

    Returns:
        The new document.

    Raises:
        DamagedDataError: The file is not JSON. It is left as it is.
        UnsupportedDataError: JSON cannot hold the new document.
        LockTimeoutError: Another process holds the lock.
        StorageError: The file cannot be read or written.
    """
    check_local(path)
    # The lock is held from the read to the write, or the update of another worker would be lost.
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
    """Yield the temporary files and folders that killed writers left below ``directory``.

    For example:

        for path in find_leftovers("run"):
            print(path)

    A leftover has not changed for ``older_than`` seconds, and no process of this machine owns it
    (see ``claim``). Lock files are not leftovers, nor are folders ``.~ps-*.aside``. Such a folder
    may hold the only copy of a value, and its backend puts the value back.

    Raises:
        StorageError: A folder cannot be read.
    """
    before = time.time() - older_than

    def refuse(error: OSError) -> None:
        raise storage_error(error, "", str(error.filename), "look for leftovers") from error

    for folder, folders, names in os.walk(directory, onerror=refuse):
        hidden = [name for name in (*folders, *names) if name.startswith(HIDDEN_PREFIX)]
        # In place, so that os.walk does not enter hidden folders, which are one leftover each.
        folders[:] = [name for name in folders if name not in hidden]
        for name in hidden:
            path = os.path.join(folder, name)
            try:
                if (
                    # The age comes first. ``is_abandoned`` claims the file for a moment, and a
                    # writer that has just created it must not lose this race.
                    not name.endswith((".lock", ".aside"))
                    and last_change(path) < before
                    and is_abandoned(path, older_than=older_than)
                ):
                    yield path
            except FileNotFoundError:  # its writer has just finished
                continue
