"""Files of the local file system: each one is replaced whole, or not at all."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from polystore_core import (
    Format,
    IfExists,
    Info,
    LazyArray,
    Opener,
    PendingFile,
    Progress,
    batch_error,
    check_if_exists,
    check_lengths,
    check_new,
    check_options,
    checked,
    in_threads,
    is_array,
    known_options,
    owner,
    progress_reporter,
    run_batch,
    threads_for,
)
from polystore_core import formats as shared_formats
from polystore_core.errors import (
    DamagedDataError,
    InvalidOptionError,
    NotAFileError,
    PluginError,
    PolystoreError,
    UnsupportedDataError,
    UnsupportedFormatError,
)

from .places import open_file
from .tree import DiskTree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from polystore_core import Document, Option, Path, Region, Value

__all__ = ["DiskBackend"]

# Files up to this size are read by one call.
_SMALL = 1 << 16
# Bytes from which threads gain: below, a file in the page cache is read faster than a thread
# takes it over, and writing has more to do for each byte.
_LOAD_IN_THREADS = 1 << 22
_SAVE_IN_THREADS = 1 << 19
# Files that are flushed at once: the journal of a file system takes them in one transaction.
_FLUSHES = 8
# Items of a batch that are encoded before the first of them gets its name.
_AHEAD = 32


class DiskBackend(DiskTree):
    """Save and load by the suffix of the path.

    Without ``root`` paths are the operating system's; with it they are relative to it, and
    nothing outside can be reached.

    ``durable`` is the default of ``save`` and decides what survives a power cut. ``None``: the
    old value or the new one, where one replaces the other. ``True``: every value whose ``save``
    has returned, new names included. ``False`` flushes nothing.
    """

    def _format_of(self, path: Path) -> Format:
        context = self.context
        return (context.formats or shared_formats()).of(path, backend=context.name)

    # ── one value ────────────────────────────────────────────────────────────────────────

    def save(
        self,
        data: Value,
        path: Path,
        /,
        *,
        if_exists: IfExists = "replace",
        durable: bool | None = None,
        **options: Option,
    ) -> None:
        pending = self._encoded(data, path, if_exists, durable, options)
        if pending is None:
            return
        with self._translated(path, "save"):
            try:
                pending.flush()
                self._commit(pending, if_exists)
                if pending.durable:
                    pending.sync_directory()
            finally:
                pending.discard()

    def _encoded(
        self,
        data: Value,
        path: Path,
        if_exists: IfExists,
        durable: bool | None,
        options: Document,
    ) -> PendingFile | None:
        """Write ``data``, unflushed and unnamed; ``None`` if the present value is to stay."""
        check_if_exists(if_exists)
        with self._translated(path, "save", check_new) as text:
            chosen = self._format(text, "save")
            if options:
                _check(chosen, "save", options, "if_exists", "durable")
            durable = self.durable if durable is None else durable
            pending = self._pending(text, if_exists, durable=durable)
            if pending is None:
                return None
            try:
                encode: Callable[..., None] = chosen.save
                encode(data, pending.file, **options)
                pending.seal(flush=False)
            except BaseException:
                pending.discard()
                raise
            return pending

    def load(self, path: Path, /, *, region: Region | None = None, **options: Option) -> Value:
        # No context managers of our own here: a plate is ten thousand small files.
        try:
            text = checked(path)
            chosen = self._format(text, "load")
            if options:
                _check(chosen, "load", options, "region")
            given = (self._opener(text),) if chosen.reads_siblings else ()
            if region is None:
                return _decoded(chosen, open_file(self._places, text, _SMALL), given, options)
            with open_file(self._places, text) as file:
                if "region" in known_options(type(chosen).load)[0]:
                    return _decoded(chosen, file, given, {"region": region, **options})
                return _part(_decoded(chosen, file, given, options), region)
        except (PolystoreError, OSError) as error:
            raise self._explained(error, path, "load")  # noqa: B904 - it carries its cause

    def open(self, path: Path, /) -> LazyArray:
        with self._translated(path, "open") as text:
            chosen = self._format(text, "open")
            return chosen.open(self._opener(text))

    def _opener(self, text: str) -> Opener:
        return Opener(partial(open_file, self._places), text, self.name)

    def info(self, path: Path, /) -> Info:
        with self._translated(path, "describe") as text:
            link = self._link_target(text)
            found = self._stat(text)
            if found is None and link is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), text)
            if found is None:
                return Info(path=text, kind="symlink", target=link)
            modified = datetime.fromtimestamp(found.st_mtime, UTC)
            if stat.S_ISDIR(found.st_mode):
                return Info(path=text, kind="directory", modified=modified, target=link)
            return Info(
                path=text,
                kind="file",
                size=found.st_size,
                modified=modified,
                target=link,
                **self._described(text),
            )

    def _described(self, text: str) -> Document:
        try:
            chosen = self._format_of(text)
        except (UnsupportedFormatError, PluginError):
            return {}  # a file all the same: its size and date are known
        info: Callable[..., dict[str, Any]] = chosen.info
        given = (self._opener(text),) if chosen.reads_siblings else ()
        with open_file(self._places, text) as file:
            try:
                return {"format": chosen.name, **info(file, *given)}
            except chosen.decode_errors as error:
                if isinstance(error, PolystoreError):
                    raise
                raise DamagedDataError(f"it cannot be decoded: {error}", chosen.name) from error

    def _format(self, text: str, operation: str) -> Format:
        try:
            return self._format_of(text)
        except UnsupportedFormatError:
            if not self.is_dir(text):
                raise
        other = _claimed_suffix(text)
        reason = f"it is a folder: try backend={other!r}" if other else ""
        raise NotAFileError(self.name, text, operation, reason=reason)

    def _converts(self, source: str, target: str) -> bool:
        old, new = _claimed_suffix(source), _claimed_suffix(target)
        if old == new or not self.is_file(source):
            return False
        if owner("format", old) and owner("format", new):
            one, other = (self._format_of(path) for path in (source, target))
            return one.name != other.name
        if self.is_dir(target):
            raise NotAFileError(self.name, target, "write")
        expected = f"the suffix .{old}" if old else "a suffix that no format has"
        expected += f", as in {source!r}, because the file is not converted"
        if owner("backend", new):
            expected += f". To convert it, use transfer() to backend {new!r}"
        raise InvalidOptionError("target", target, expected)

    # ── many values ──────────────────────────────────────────────────────────────────────

    def load_batch(
        self,
        paths: Sequence[Path],
        /,
        *,
        progress: Progress = False,
        threads: int | None = None,
        **options: Option,
    ) -> list[Value]:
        """``threads=None`` takes several where the files are large enough to gain from it."""
        if threads is None and len(paths) > 1:
            first = self._stat(paths[0])
            threads = threads_for(first.st_size if first else 0, _LOAD_IN_THREADS)
        return run_batch(
            self.name,
            "load",
            paths,
            lambda i: self.load(paths[i], **options),
            progress=progress,
            threads=threads or 1,
        )

    def save_batch(
        self,
        data: Sequence[Value],
        paths: Sequence[Path],
        /,
        *,
        progress: Progress = False,
        if_exists: IfExists = "replace",
        durable: bool | None = None,
        threads: int | None = None,
        **options: Option,
    ) -> None:
        """Encode some items ahead, in threads where that is faster, then name them in order.

        Whichever thread was faster, a failure leaves every earlier item saved and every later
        one untouched. Files that must be flushed are flushed together, and so is each directory
        of a durable batch.
        """
        check_lengths(data, paths, self._identity)
        durable = self.durable if durable is None else durable
        if threads is None and len(paths) > 1:
            threads = threads_for(getattr(data[0], "nbytes", 0), _SAVE_IN_THREADS)
        ahead = 1 if durable is False and (threads or 1) == 1 else _AHEAD
        done: list[int] = []
        started = ExitStack()

        def encode(index: int) -> PendingFile | Exception | None:
            try:
                pending = self._encoded(data[index], paths[index], if_exists, durable, options)
            except Exception as error:  # collected: BatchError carries every cause
                return error
            if pending is not None:
                started.callback(pending.discard)
            return pending

        def flush(index: int) -> PendingFile | Exception | None:
            pending: PendingFile | Exception | None = encoded[index]
            try:
                if isinstance(pending, PendingFile):
                    with self._translated(paths[index], "save"):
                        pending.flush()
            except PolystoreError as error:
                return error
            return pending

        with (
            progress_reporter(progress, len(paths), "save") as report,
            started,  # around the threads: Ctrl-C leaves the last of them at work for a while
            _mapping(threads or 1) as mapped,
            _mapping(1 if durable is False else _FLUSHES) as flushed,
        ):
            for start in range(0, len(paths), ahead):
                window = range(start, min(start + ahead, len(paths)))
                encoded = dict(zip(window, mapped(encode, window), strict=True))
                unflushed = [i for i in window if _wants_flush(encoded[i])]
                encoded |= zip(unflushed, flushed(flush, unflushed), strict=True)
                failed, named = self._name_in_order(encoded, paths, if_exists, report)
                started.close()
                done += named
                if failed:
                    raise batch_error(self.name, "save", paths, failed, done)

    def _name_in_order(
        self,
        encoded: Mapping[int, PendingFile | Exception | None],
        paths: Sequence[Path],
        if_exists: IfExists,
        report: Callable[[], None],
    ) -> tuple[dict[int, tuple[str, Exception]], list[int]]:
        """Commit up to the first failure; return every failure, and the items that are saved.

        An item is saved, and reported, when it has its name; a durable one when that is flushed.
        """
        failed = {
            index: (os.fspath(paths[index]), result)
            for index, result in encoded.items()
            if isinstance(result, Exception)
        }
        named: list[int] = []
        to_flush: dict[tuple[int, int], dict[int, PendingFile]] = {}
        for index, result in encoded.items():
            if index in failed:
                break
            try:
                with self._translated(paths[index], "save"):
                    if isinstance(result, PendingFile):
                        self._commit(result, if_exists)
                        if result.durable:
                            to_flush.setdefault(result.directory(), {})[index] = result
            except PolystoreError as error:
                failed[index] = (os.fspath(paths[index]), error)
                break
            named.append(index)
            if not (isinstance(result, PendingFile) and result.durable):
                report()
        for together in to_flush.values():
            last, pending = max(together.items())
            try:
                with self._translated(paths[last], "save"):
                    pending.sync_directory()
            except PolystoreError as error:
                failed |= {index: (os.fspath(paths[index]), error) for index in together}
            else:
                for _ in together:
                    report()
        return failed, [index for index in named if index not in failed]


def _claimed_suffix(path: str) -> str:
    """Return the longest suffix that a format or a backend (zarr) is named after, or ""."""
    suffix = path.rpartition("/")[2].partition(".")[2].lower()
    while suffix and not (owner("format", suffix) or owner("backend", suffix)):
        suffix = suffix.partition(".")[2]
    return suffix


def _check(chosen: Format, operation: str, options: Document, *known: str) -> None:
    method = getattr(type(chosen), operation)
    check_options(method, options, f"{operation}() of format {chosen.name!r}", *known)


def _decoded(
    chosen: Format, file: BinaryIO, given: tuple[Opener, ...], options: Document
) -> Value:
    load: Callable[..., Any] = chosen.load
    try:
        with file:
            return load(file, *given, **options)
    except (PolystoreError, OSError):
        raise
    except MemoryError as error:
        reason = "it does not fit into memory: load a region=, or use open() and read parts"
        raise UnsupportedDataError(reason, chosen.name) from error
    except chosen.decode_errors as error:
        raise DamagedDataError(f"it cannot be decoded: {error}", chosen.name) from error


def _part(value: Value, region: Region) -> Value:
    if not is_array(value):
        raise UnsupportedDataError(f"region= needs an array, got {type(value).__name__}")
    return np.array(value[region])


def _wants_flush(result: PendingFile | Exception | None) -> bool:
    return isinstance(result, PendingFile) and result.wants_flush


@contextmanager
def _mapping(threads: int) -> Iterator[Callable[..., Iterator[Value]]]:
    if threads == 1:
        yield map
        return
    with in_threads(threads) as run:
        yield run
