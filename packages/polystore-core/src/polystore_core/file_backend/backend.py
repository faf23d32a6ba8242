"""``FileBackend``: a backend over any store of bytes. The suffix of a path chooses the format."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from ..abc.format import Format, Opener
from ..abc.store import ByteStore, Folders
from ..errors import (
    DamagedDataError,
    InvalidOptionError,
    NotAFileError,
    PluginError,
    PolystoreError,
    UnsupportedDataError,
    UnsupportedFormatError,
    UnsupportedOperationError,
)
from ..errors.storage import durability_unknown
from ..options import IfExists, check_if_exists, check_options, known_options
from ..paths import check_new, require_local
from ..plugins.declared import owner
from ..plugins.registry import formats as shared_formats
from ..values import Info
from ..work import Progress, check_lengths, check_paths, run_batch, threads_for
from .batches import SaveBatch
from .names import NamesOfStore, find_suffix, start_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..abc.array import LazyArray
    from ..abc.backend import Path
    from ..abc.collector import Collector
    from ..abc.format import Memory
    from ..abc.store import Sink
    from ..image import Image
    from ..values import Document, Option, Region, Value

__all__ = ["FileBackend"]

# Bytes of an item from which threads are faster. A smaller file in the page cache is read sooner
# than a thread starts. The limit for saving is lower, because encoding takes longer for each byte.
_LOAD_IN_THREADS = 1 << 22
_SAVE_IN_THREADS = 1 << 19


class FileBackend(NamesOfStore):
    """A backend over a store of bytes. The suffix of a path chooses the format.

    For example, a whole backend:

        class ShelfBackend(FileBackend):
            def __init__(self, *, path: str) -> None:
                super().__init__(ShelfStore(path))

    A call that needs more than the store promises in its ``features`` raises
    ``UnsupportedOperationError`` before anything is changed.

    The option ``format="tif"`` of ``save``, ``load``, ``open`` and batches is for a path whose
    suffix is another one, or missing. ``info`` looks only at the suffix.

    The option ``durable`` of ``save`` says which values survive a power cut, if the store can make
    them durable. ``None`` keeps the old value or the new one if one replaces the other. ``True``
    keeps every value whose ``save`` has returned, also under a new name. ``False`` flushes nothing.
    The default is ``store.durable``.

    Args:
        store: The store of bytes. ``close`` closes it.
    """

    def __init__(self, store: ByteStore) -> None:
        if not isinstance(store, ByteStore):
            raise InvalidOptionError("store", store, "a ByteStore, such as LocalStore()")
        self.store = store

    def _format_of(self, path: Path) -> Format:
        context = self.context
        return (context.formats or shared_formats()).of(path, backend=context.name)

    def _format_at(self, path: Path, operation: str, given: Option = None) -> Format:
        """Return the format of ``path`` and the option ``format``, as ``load`` chooses it."""
        with self._translate_errors(path, operation):
            text = require_local(path)
            return self._format(text, self.store.key(text), operation, {"format": given})

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
        if durable is None:
            durable = self.store.durable
        sink = self._encode(self.store, data, path, if_exists, durable, options)
        if sink is None:
            return
        try:
            try:
                # An inner block, so that an error of ``discard`` is completed as well.
                sink.flush()
                self._commit(sink.commit, if_exists)
                if durable:
                    for error in self.store.sync([self._key(path)]).values():
                        raise durability_unknown(error, os.fspath(path))
            finally:
                sink.discard()
        except (PolystoreError, OSError) as error:
            raise self._complete_error(error, path, "save")  # noqa: B904 - it carries its cause

    def _encode(
        self,
        store: ByteStore,
        data: Value,
        path: Path,
        if_exists: IfExists,
        durable: bool | None,
        options: Document,
    ) -> Sink | None:
        """Write ``data`` into a new sink, not yet flushed or named.

        Returns ``None`` if the present value stays.
        """
        check_if_exists(if_exists)
        try:
            text = check_new(path)
            key = store.key(text)
            chosen = self._format(text, key, "save", options)
            if options:
                options = _check_format_options(chosen, "save", options, "if_exists", "durable")
            # Before the first byte, so that a refused call changes nothing.
            if durable and not store.features.durable:
                self._refuse_durable()
            condition = self._condition(text, if_exists, "save")
            if condition is None:
                return None
            sink = store.sink(key, if_exists=condition, durable=durable)
            try:
                encode: Callable[..., None] = chosen.save
                encode(data, sink.file, **options)
                sink.seal(flush=False)
            except BaseException:  # Ctrl-C too: the temporary file must not stay
                sink.discard()
                raise
            return sink
        except (PolystoreError, OSError) as error:
            raise self._complete_error(error, path, "save")  # noqa: B904 - it carries its cause

    def _refuse_durable(self) -> None:
        reason = f"the store {self.store!r} has features.durable = False: leave durable= out"
        raise UnsupportedOperationError(self.name, "durable=True", reason)

    def _commit(self, commit: Callable[[], None], if_exists: IfExists) -> None:
        try:
            commit()
        except FileExistsError:
            if if_exists == "replace":  # it was free when we looked
                self._require_scope(self.store.features.replace, "replacing a value", "replace")
            if if_exists != "skip":  # another writer was first: "skip" keeps its value
                raise

    def load(self, path: Path, /, *, region: Region | None = None, **options: Option) -> Value:
        return self._load(self.store, path, region, options, None)

    def load_image(
        self, path: Path, /, *, region: Region | None = None, **options: Option
    ) -> Image:
        if region is not None:
            options["region"] = region
        with self._translate_errors(path, "load"):
            text = require_local(path)
            key = self.store.key(text)
            chosen = self._format(text, key, "load", options)
            options = _check_format_options(chosen, "load_image", options)
            given = (self._opener(text),) if chosen.reads_siblings else ()
            file = _open_value(self.store, key, whole=True)
            image: Image = _decode(chosen, file, given, options, chosen.load_image)
            return image

    def _load(
        self,
        store: ByteStore,
        path: Path,
        region: Region | None,
        options: Document,
        memory: Memory | None,
    ) -> Value:
        """Load a value into an array that ``memory`` returns, or into a new one."""
        # No context managers of ours here: they cost more than reading one of ten thousand files.
        try:
            text = require_local(path)
            key = store.key(text)
            chosen = self._format(text, key, "load", options)
            if options:
                options = _check_format_options(chosen, "load", options, "region")
            given: tuple[Any, ...] = (self._opener(text),) if chosen.reads_siblings else ()
            load: Callable[..., Any] = chosen.load
            # A format without ``region`` loads all of the array, and the part is cut out here.
            is_cut = region is not None and "region" not in known_options(type(chosen).load)[0]
            if region is not None and not is_cut:
                options = {"region": region, **options}
            if memory is not None and not is_cut:
                load, given = chosen.load_into, (memory, *given)
            try:
                file = _open_value(store, key, whole=region is None)
                value = _decode(chosen, file, given, options, load)
            except OSError as error:
                # A value that was replaced between two parts is read again, this time at once.
                if region is None or error.errno != errno.ESTALE:
                    raise
                value = _decode(
                    chosen, _open_value(store, key, whole=True), given, options, load
                )
            return value if region is None or not is_cut else _cut(value, region)
        except (PolystoreError, OSError) as error:
            raise self._complete_error(error, path, "load")  # noqa: B904 - it carries its cause

    def open(self, path: Path, /, **options: Option) -> LazyArray:
        with self._translate_errors(path, "open"):
            text = require_local(path)
            chosen = self._format(text, self.store.key(text), "open", options)
            if options:
                options = _check_format_options(chosen, "open", options)
            lend: Callable[..., LazyArray] = chosen.open
            return lend(self._opener(text, start_folder(self.store)), **options)

    def _opener(self, text: str, folder: str = "") -> Opener:
        return Opener(partial(_open_path, self.store, folder), text, self.name)

    def info(self, path: Path, /) -> Info:
        return self._info(path, alone=False)

    def info_alone(self, path: Path, /) -> Info:
        return self._info(path, alone=True)

    def options_alone(self, path: Path, /, *, format: Option = None) -> Mapping[str, Option]:
        try:
            return self._format_at(path, "load", format).alone
        except PolystoreError:
            return {}  # ``load`` raises the error

    def _info(self, path: Path, *, alone: bool) -> Info:
        with self._translate_errors(path, "describe"):
            text = require_local(path)
            key = self.store.key(text)
            found = self._stat(key)
            if found.kind == "symlink":
                return Info(path=text, kind="symlink", target=found.target)
            modified = found.modified
            return Info(
                path=text,
                kind=found.kind,
                size=found.size,
                modified=None if modified is None else datetime.fromtimestamp(modified, UTC),
                target=found.target,
                **(self._describe(text, key, alone=alone) if found.kind == "file" else {}),
            )

    def _describe(self, text: str, key: str, *, alone: bool) -> Document:
        try:
            chosen = self._format_of(text)
        except (UnsupportedFormatError, PluginError):
            return {}  # still a file, with a size and a date
        info: Callable[..., dict[str, Any]] = chosen.info
        # Without the opener, a format describes the file alone, if it can.
        has_opener = chosen.reads_siblings and not (alone and chosen.alone)
        given = (self._opener(text),) if has_opener else ()
        with self.store.open(key) as file:
            try:
                return {"format": chosen.name, **info(file, *given)}
            except chosen.decode_errors as error:
                if isinstance(error, PolystoreError):
                    raise
                raise DamagedDataError(f"it cannot be decoded: {error}", chosen.name) from error

    def _format(self, text: str, key: str, operation: str, options: Document) -> Format:
        """Return the format of the option ``format``, or else of the suffix."""
        if options and (given := options.get("format")) is not None:
            return self._find_format(given)
        try:
            return self._format_of(text)
        except UnsupportedFormatError:
            # A Zarr store is a folder. "no format has that suffix" would not help its user.
            found = self._find(text, self._stat)
            if found is None or found.kind != "directory":
                raise
        other = find_suffix(text)
        reason = f"it is a folder: try backend={other!r}" if other else ""
        raise NotAFileError(self.name, text, operation, reason=reason)

    def _find_format(self, given: Value) -> Format:
        known: tuple[str, ...] = ()
        if isinstance(given, str) and "/" not in given:
            try:
                return self._format_of(f"file.{given}")
            except UnsupportedFormatError as error:
                known = error.known
        expected = f"the suffix of a format, such as 'tif' ({', '.join(known)})"
        raise InvalidOptionError("format", given, expected)

    def _converts(self, source: str, target: str) -> bool:
        old, new = find_suffix(source), find_suffix(target)
        if old == new or not self.is_file(source):
            return False
        # By owner and not by installed plugins: a copy must mean the same on each machine.
        if owner("format", old) and owner("format", new):
            one, other = (self._format_of(path) for path in (source, target))
            return not other.includes(one)
        if self.is_dir(target):
            raise NotAFileError(self.name, target, "write")
        expected = f"the suffix .{old}" if old else "a suffix that no format has"
        expected += f", as in {source!r}, because the file is not converted"
        if owner("backend", new):
            expected += f". To convert it, use transfer() to backend {new!r}"
        elif old and not new:
            expected += ": no format has the suffix of the target"
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
        """Load many values. ``threads=None`` uses several threads if that is faster."""
        return self._load_all(paths, None, progress, threads, options)

    def load_batch_into(
        self,
        paths: Sequence[Path],
        collector: Collector,
        /,
        *,
        progress: Progress = False,
        threads: int | None = None,
        **options: Option,
    ) -> list[Value]:
        return self._load_all(paths, collector, progress, threads, options)

    def _load_all(
        self,
        paths: Sequence[Path],
        collector: Collector | None,
        progress: Progress,
        threads: int | None,
        options: Document,
    ) -> list[Value]:
        check_paths(paths)
        if threads is None and len(paths) > 1:
            size = 0
            # Loading it raises the same, for BatchError.
            with suppress(PolystoreError, OSError):
                size = self.store.stat(self.store.key(require_local(paths[0]))).size or 0
            threads = max(self.store.features.threads, threads_for(size, _LOAD_IN_THREADS))
        region = options.pop("region", None)  # an option of load, but not of every format
        with self._translate_errors("", "load"), self.store.batch() as store:

            def load(index: int) -> Value:
                return self._load(store, paths[index], region, options, None)

            def load_into(index: int) -> Value:
                assert collector is not None
                memory = partial(collector.memory, index)
                value = self._load(store, paths[index], region, options, memory)
                return collector.put(index, value)

            return run_batch(
                self.name,
                "load",
                paths,
                load if collector is None else load_into,
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
        """Save many values in order. Items are encoded ahead, in threads if that is faster.

        After a failure, earlier items are saved and later ones are not, even if a thread has
        encoded them already. Files that must be flushed are flushed together, and each folder of a
        durable batch is flushed once for many files.
        """
        self._require_writable("save_batch")
        with self._translate_errors("", "save"), self.store.batch() as store:
            check_lengths(
                data, paths, lambda path: store.identity(store.key(require_local(path)))
            )
            if threads is None and len(paths) > 1:
                size = getattr(data[0], "nbytes", 0)
                threads = max(store.features.threads, threads_for(size, _SAVE_IN_THREADS))
            SaveBatch(
                backend=self,
                store=store,
                data=data,
                paths=paths,
                if_exists=if_exists,
                durable=store.durable if durable is None else durable,
                threads=threads or 1,
                options=options,
            ).run(progress)

    def close(self) -> None:
        self.store.close()

    def __repr__(self) -> str:
        name = self.name or self._backend_type
        return f"<{type(self).__name__} {f'{name!r} ' if name else ''}on {self.store!r}>"


def _open_path(store: ByteStore, folder: str, path: str) -> BinaryIO:
    return _open_value(store, store.key(os.path.join(folder, path)))


def _open_value(store: ByteStore, key: str, *, whole: bool = False) -> BinaryIO:
    """Open a value. Raises ``IsADirectoryError`` for a folder, even in a store without folders."""
    try:
        return store.open(key, whole=whole)
    except FileNotFoundError:
        if store.claims(Folders) or not any(True for _ in store.scan(key)):
            raise
        raise IsADirectoryError(key) from None


def _check_format_options(
    chosen: Format, operation: str, options: Document, *known: str
) -> Document:
    """Return the options without ``format``. Raises ``UnknownOptionError``."""
    method = getattr(type(chosen), operation)
    check_options(method, options, f"{operation}() of format {chosen.name!r}", *known, "format")
    return {name: value for name, value in options.items() if name != "format"}


def _decode(
    chosen: Format,
    file: BinaryIO,
    given: tuple[Any, ...],
    options: Document,
    load: Callable[..., Any],
) -> Value:
    """Call ``load``, a method of ``chosen``, and translate the errors of its library."""
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


def _cut(value: Value, region: Region) -> Value:
    import numpy as np  # listing a folder and copying bytes need no arrays

    from ..model.arrays import is_array

    if not is_array(value):
        raise UnsupportedDataError(f"region= needs an array, got {type(value).__name__}")
    return np.array(value[region])  # a copy, so that the whole array can be freed
