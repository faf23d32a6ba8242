"""Work on many items in one call: their order, progress, threads and failures."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from .errors import (
    BatchError,
    BatchLengthError,
    DuplicatePathError,
    InvalidOptionError,
    MissingDependencyError,
    PolystoreError,
)
from .paths import check_path
from .threads import in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from .values import Value

__all__ = [
    "Progress",
    "check_lengths",
    "plain_path",
    "progress_reporter",
    "run_batch",
    "threads_for",
]

Progress: TypeAlias = "bool | Callable[[int, int], None]"
"""``True`` shows a bar. A function is called with (done, total) after each item."""

Result = TypeVar("Result")


def run_batch(
    backend: str,
    operation: str,
    paths: Sequence[str | os.PathLike[str]],
    work: Callable[[int], Result],
    *,
    progress: Progress = False,
    stop_at_failure: bool = False,
    threads: int = 1,
) -> list[Result]:
    """Call ``work(index)`` for every path and return the results in order.

    For example, in ``load_batch`` of a backend:

        return run_batch(self.name, "load", paths, lambda i: self.load(paths[i]), threads=8)

    Args:
        backend: Name of the backend, for the error.
        operation: "load" or "save", for the error and the bar.
        paths: The paths of the items.
        work: Called with the index of each item, from any thread.
        progress: ``True`` shows a bar. A function is called with (done, total).
        stop_at_failure: Whether to skip the items after a failure.
        threads: Number of threads.

    Raises:
        BatchError: Some items failed. It has the path and the error of each.
    """
    check_paths(paths)
    outer = sys.exception()  # its frames are still running, so they must not be cleared
    results: list[Any] = [None] * len(paths)
    failed: dict[int, tuple[str, Exception]] = {}
    done: list[int] = []

    def attempt(index: int) -> int:
        if not (failed and stop_at_failure):
            try:
                results[index] = work(index)
                done.append(index)
            except Exception as error:  # collected, because BatchError has every cause
                _free_locals(error, outer)
                failed[index] = (os.fspath(paths[index]), error)
        return index

    with progress_reporter(progress, len(paths), operation) as report:
        if threads > 1 and len(paths) > 1:
            with in_threads(threads) as run:
                for _ in run(attempt, range(len(paths))):
                    report()
        else:
            for index in range(len(paths)):
                attempt(index)
                report()
    if failed:
        results.clear()  # the traceback of the error would keep all loaded arrays in memory
        raise batch_error(backend, operation, paths, failed, done)
    return results


_SUSPENDS = 0x20 | 0x80 | 0x200
"""``co_flags`` of generators, coroutines and asynchronous generators."""


def _free_locals(error: BaseException, outer: BaseException | None) -> None:
    """Clear the local variables in the tracebacks of an error and its causes.

    A batch keeps each error, and its traceback would keep the bytes and arrays of the failed item
    in memory. The lines of the traceback stay. ``outer`` is the error that the caller is handling
    already. It and its causes are not changed.
    """
    causes: list[BaseException | None] = [error]
    seen = {id(None), id(outer)}
    unless_running = suppress(RuntimeError)
    while causes:
        cause = causes.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        causes += (cause.__cause__, cause.__context__)
        trace, calls = cause.__traceback__, 0
        # If one error object is raised for each item, its traceback grows each time.
        while trace is not None and calls < 100:
            frame = trace.tb_frame
            # Clearing would close a waiting generator.
            if not frame.f_code.co_flags & _SUSPENDS:
                with unless_running:
                    frame.clear()
            trace, calls = trace.tb_next, calls + 1


def threads_for(nbytes: int, worth: int) -> int:
    """Return the number of threads to use: one for items of less than ``worth`` bytes."""
    return min(os.cpu_count() or 1, 8) if nbytes >= worth else 1


def batch_error(
    backend: str,
    operation: str,
    paths: Sequence[str | os.PathLike[str]],
    failed: dict[int, tuple[str, Exception]],
    done: Sequence[int],
) -> BatchError:
    """Build the error from the failures and the indices of the items that were done."""
    finished = set(done)
    return BatchError(
        backend,
        operation,
        dict(sorted(failed.items())),
        done=tuple(os.fspath(paths[i]) for i in sorted(finished)),
        not_attempted=tuple(
            os.fspath(path)
            for i, path in enumerate(paths)
            if i not in finished and i not in failed
        ),
    )


def check_paths(
    paths: Sequence[str | os.PathLike[str]], data: Sequence[Value] | None = None
) -> None:
    """Check that ``paths`` is a list of paths, and not one path, whose letters would be paths.

    ``data`` is the list of values to save.

    Raises:
        InvalidOptionError: It is one path, or has no length.
        NotAPathError: An item is not a path.
    """
    if isinstance(paths, str | bytes | os.PathLike) or not hasattr(paths, "__len__"):
        raise InvalidOptionError("paths", paths, "a list of paths")
    for index, path in enumerate(paths):
        if path.__class__ is not str:
            check_path(path, *data[index : index + 1] if isinstance(data, list | tuple) else ())


def plain_path(path: str | os.PathLike[str]) -> str:
    """Return ``path`` in its shortest form: ``"./f//a.npy"`` becomes ``"f/a.npy"``."""
    text = os.fspath(path)
    if "//" not in text and "./" not in text and not text.endswith(("/", ".")):
        return text
    top = "/" if text.startswith("/") else ""
    return top + "/".join(part for part in text.split("/") if part not in ("", "."))


def check_lengths(
    data: Sequence[Value],
    paths: Sequence[str | os.PathLike[str]],
    identity: Callable[[str | os.PathLike[str]], Hashable] = plain_path,
) -> None:
    """Check that each value has a path, and that the paths are different.

    Args:
        data: The values to save.
        paths: Their paths.
        identity: Returns the same for two paths of one value.

    Raises:
        BatchLengthError: There are not as many paths as values.
        DuplicatePathError: Two values have the same path.
    """
    check_paths(paths, data)
    if not hasattr(data, "__len__"):
        raise InvalidOptionError("data", data, "a list of values, one for each path")
    if len(data) != len(paths):
        raise BatchLengthError(len(data), len(paths))
    seen: dict[Hashable, int] = {}
    for index, path in enumerate(paths):
        try:
            first = seen.setdefault(identity(path), index)
        except (PolystoreError, OSError, TypeError, ValueError):
            continue  # the path is not valid, and ``save`` raises a better error for it
        if first != index:
            raise DuplicatePathError(os.fspath(path), first, index)


@contextmanager
def progress_reporter(
    progress: Progress, total: int, label: str, *, unit: str = "item"
) -> Iterator[Callable[[], None]]:
    """Return a function to call after each item.

    For example:

        with progress_reporter(progress, len(paths), "load") as report:
            for path in paths:
                load(path)
                report()

    Args:
        progress: ``True`` shows a bar. A function is called with (done, total).
        total: Number of items.
        label: The text next to the bar.
        unit: The name of one item.
    """
    if progress is False or progress is None:
        yield _nothing
        return
    if progress is True:
        try:
            from tqdm.auto import tqdm
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                "option", "progress=True", ("tqdm",), "polystore-core[progress]"
            ) from error
        with tqdm(total=total, desc=label, unit=unit) as bar:
            yield bar.update
        return
    if not callable(progress):
        raise InvalidOptionError(
            "progress", progress, "True, False or a function (done, total)"
        )
    finished = 0

    def report() -> None:
        nonlocal finished
        finished += 1
        progress(finished, total)

    yield report


def _nothing() -> None:
    pass
