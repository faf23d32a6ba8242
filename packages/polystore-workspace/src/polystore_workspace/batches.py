"""Load many virtual paths. Each source is read once, and only the parts that are needed."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from operator import sub
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import (
    Collector,
    FileBackend,
    Image,
    LocalStore,
    Versions,
    batch_error,
    check_options,
    in_threads,
    known_options,
    no_words,
    progress_reporter,
    threads_for,
)
from polystore_core.errors import (
    BatchError,
    UnsupportedDataError,
    UnsupportedOperationError,
)

from .indices import ALL, check_indices, is_basic, narrow, spread

if TYPE_CHECKING:
    from polystore_core import (
        DataSource,
        ImageMetadata,
        LazyArray,
        Option,
        Path,
        Progress,
        Region,
        Value,
    )

    from .backend import VirtualWorkspaceBackend
    from .sources import Found

__all__ = ["Batch"]

_IN_THREADS = 1 << 22
"""For stacks of at least this many bytes, threads are faster."""
_BOX_BYTES = 1 << 25
"""The most bytes of a stack that are read at once, unless one chunk has more."""


class Batch:
    """Loads the values of ``paths``. An index is the position of a path in them.

    Locks: none. ``in_threads`` gives each group of paths to one thread, and the groups have no
    index in common. Threads only add items of dicts and lists, which is one step each.
    Only the thread of the caller changes ``_reported``.
    """

    def __init__(
        self,
        workspace: VirtualWorkspaceBackend,
        paths: Sequence[Path],
        threads: int | None,
        options: dict[str, Option],
        *,
        images: bool = False,
        collector: Collector | None = None,
    ) -> None:
        """Prepare a batch.

        Args:
            workspace: the backend.
            paths: the virtual paths.
            threads: number of threads, or ``None`` for a choice.
            options: options of ``load``.
            images: whether each value is loaded with its metadata.
            collector: takes the values, for example as the planes of one array.
        """
        self._collector = collector
        self._of, self._paths, self._threads = workspace, paths, threads
        self._region = options.pop("region", None)
        self._items = is_basic(self._region)
        self._options, self._images = options, images
        self._found: dict[int, Found] = {}
        self._values: dict[int, Any] = {}
        self._failed: dict[int, tuple[str, Exception]] = {}
        self._done: list[int] = []
        self._reported, self._thread = 0, get_ident()
        self._broken: BaseException | None = None
        """The error of the caller's function for the progress. It ends the batch."""

    def load(self, progress: Progress) -> list[Any]:
        """Return the values in the order of the paths.

        Raises:
            BatchError: Some paths could not be loaded. It has the error of each.
        """
        paths = self._paths
        with progress_reporter(progress, len(paths), "load") as self._tell:
            self._find()
            alone, shared = self._groups()
            for group in alone:
                self._load_alone(group)
                self._catch_up()
            self._load_all_shared(shared)
        if self._failed:
            self._values.clear()  # the tracebacks of the errors would keep all arrays in memory
            raise batch_error(self._of.name, "load", paths, self._failed, self._done)
        return [self._values[index] for index in range(len(paths))]

    def _find(self) -> None:
        workspace = self._of.workspace  # one document for all paths
        for index, path in enumerate(self._paths):
            try:
                self._found[index] = self._of._find(path, "load", workspace)
            except Exception as error:  # collected: BatchError has the error of each path
                self._failed[index] = (os.fspath(path), error)
        self._catch_up()

    def _groups(self) -> tuple[list[list[int]], list[list[int]]]:
        """Return groups of paths that do not share their sources, and of paths that share one.

        The paths of a group of the first kind have the same backend and the same indices, so that
        the backend can load them as a batch.
        """
        by_source: dict[Any, list[int]] = {}
        for index, found in self._found.items():
            # By id, because backends need not be hashable. ``_found`` keeps them alive.
            by_source.setdefault((id(found.source), found.address), []).append(index)
        alone: dict[Any, list[int]] = {}
        for group in by_source.values():
            if len(group) == 1:
                found = self._found[group[0]]
                alone.setdefault((id(found.source), found.entry.indices), []).extend(group)
        return list(alone.values()), [group for group in by_source.values() if len(group) > 1]

    # ── progress ─────────────────────────────────────────────────────────────────────────

    def _report(self, *_: int) -> None:
        self._reported += 1
        try:
            self._tell()
        except BaseException as error:  # also Ctrl-C. It is not an error of a path
            self._broken = error
            raise

    def _catch_up(self) -> None:
        """Report what is done, in the thread of the caller."""
        while get_ident() == self._thread and self._reported < len(self._done) + len(
            self._failed
        ):
            self._report()

    def _put(self, index: int, value: Value) -> None:
        if self._collector is not None:
            value = self._collector.put(index, value)
        self._keep(index, value)

    def _keep(self, index: int, value: Value) -> None:
        self._values[index] = value
        self._done.append(index)

    def _copy_part(self, index: int, part: Value) -> Value:
        """Copy a part of a shared value, into the memory of the collector if it gives some.

        Without a copy, one plane would keep the whole stack in memory.
        """
        if self._collector is not None and isinstance(part, np.ndarray):
            memory = self._collector.memory(index, part.shape, part.dtype)
            if memory is not None:
                memory[...] = part
                return memory
        if isinstance(part, Image):
            return part.with_data(np.array(part.data))
        if isinstance(part, np.ndarray | np.generic):
            return np.array(part)
        return copy.deepcopy(part)

    def _fail(self, index: int, error: Exception) -> None:
        path = self._paths[index]
        told = self._of._sources.translate_error(error, path, self._found[index], "load")
        if told is not error:
            told.__cause__ = error  # it is not raised here, so "from" cannot set the cause
        self._failed[index] = (os.fspath(path), told)

    # ── sources that one path needs ──────────────────────────────────────────────────────

    def _load_one(self, group: list[int]) -> None:
        for index in group:
            try:
                self._put(index, self._load_part(self._found[index], self._region))
            except Exception as error:
                self._fail(index, error)
            self._catch_up()

    def _load_part(self, found: Found, region: Region | None) -> Value:
        load = found.load_image if self._images else found.load
        return load(region, dict(self._options))

    def _load_alone(self, group: list[int]) -> None:
        """Load one region of many sources of one backend, in its threads."""
        if self._images or (len(group) == 1 and self._collector is None):
            self._load_one(group)
            return
        found = self._found[group[0]]
        options = found.options(self._options)
        if found.entry.indices or self._region is not None:
            named, is_open = known_options(type(found.source).load)
            # An ellipsis covers the other axes, and their number differs between sources.
            is_alike = ... not in self._items or None not in found.entry.indices
            if not (is_alike and (is_open or "region" in named)):
                self._load_one(group)
                return
            options["region"] = narrow(found.entry.indices, self._items)
        load: Callable[..., list[Any]] = found.source.load_batch
        if self._collector is not None:
            load = partial(_load_into, found.source, _Part(self._collector, group))
        # Backends of others may have no such option: the number of threads is only a wish.
        if self._threads and "threads" in known_options(type(found.source).load_batch)[0]:
            options["threads"] = self._threads
        owner = f"load_batch() of backend {found.entry.backend!r}"
        check_options(type(found.source).load_batch, options, owner)
        addresses = [self._found[index].address for index in group]
        failed: dict[int, Exception] = {}
        try:
            values = load(addresses, progress=self._report, **options)
        except BatchError as error:
            failed = {place: cause for place, (_, cause) in error.failed.items()}
            values = [None] * len(group)
        except Exception as error:  # of the whole batch, such as a file system that is gone
            if error is self._broken:
                raise
            failed = dict.fromkeys(range(len(group)), error)
        for place, index in enumerate(group):
            if place in failed:
                self._fail(index, failed[place])
            else:
                self._keep(index, values[place])

    # ── sources that several paths need ──────────────────────────────────────────────────

    def _load_all_shared(self, groups: list[list[int]]) -> None:
        threads = self._threads
        if threads is None and len(groups) > 1:
            threads = threads_for(self._nbytes(groups[0]), _IN_THREADS)
        with in_threads(threads or 1) if (threads or 1) > 1 else nullcontext(map) as run:
            for _ in run(self._load_shared, groups):
                self._catch_up()

    def _nbytes(self, group: list[int]) -> int:
        found = self._found[group[0]]
        try:
            info = found.source.info(found.address)
            return math.prod(info.shape or ()) * np.dtype(info.dtype).itemsize
        except Exception:  # loading the source raises the error again, with the path
            return 0

    def _load_shared(self, group: list[int]) -> None:
        try:
            handle = self._handle(group)
            if handle is None:
                self._load_whole(group)
                return
            with handle:
                words = handle.image if self._images else None
                if self._images and words is None:
                    raise no_words()
                for box in self._boxes(group, handle):
                    self._load_box(box, handle, words)
        except Exception as error:
            if error is self._broken:
                raise
            for index in group:
                if index not in self._values and index not in self._failed:
                    self._fail(index, error)

    def _handle(self, group: list[int]) -> LazyArray | None:
        """Return a lazy handle, if all paths of the group have an index for the same axes."""
        found = self._found[group[0]]
        axes = {_axes(self._found[index]) for index in group}
        is_plain = len(axes) == 1 and any(axes) and not found.options(self._options)
        if not (is_plain and _reads_parts(found.source)):
            return None
        try:
            return found.source.open(found.address)
        except (UnsupportedOperationError, UnsupportedDataError):
            return None  # the format, or this value, can only be loaded whole

    def _boxes(self, group: list[int], handle: LazyArray) -> Iterator[list[int]]:
        """Yield groups of paths that are read at once: of the same chunk, or of chunks in a row.

        Each chunk is decoded once, and one call for several chunks can use threads.
        """
        chunks = [max(n, 1) for n in handle.chunks or (1,) * handle.ndim]
        cells: dict[tuple[int, ...], list[int]] = {}
        for index in group:
            found = self._found[index]
            try:
                check_indices(found.entry.indices, handle.shape)
            except IndexError as error:
                self._fail(index, error)
                continue
            parts = zip(_axes(found), _numbers(found), strict=True)
            cells.setdefault(tuple([n // chunks[axis] for axis, n in parts]), []).append(index)
        axes = _axes(self._found[group[0]])
        lengths = [chunks[n] if n in axes else handle.shape[n] for n in range(handle.ndim)]
        most = max(_BOX_BYTES // max(math.prod(lengths) * handle.dtype.itemsize, 1), 1)
        box: list[int] = []
        count = 0
        before: tuple[int, ...] = ()
        for cell in sorted(cells):
            # In a row along the last axis with an index: together they are one box.
            is_next = count and (*before[:-1], before[-1] + 1) == cell
            if box and not (is_next and count < most):
                yield box
                box, count = [], 0
            box += cells[cell]
            count, before = count + 1, cell
        if box:
            yield box

    def _load_box(
        self, group: list[int], handle: LazyArray, words: ImageMetadata | None
    ) -> None:
        """Read the smallest box with all planes of a group, and cut them out."""
        found = self._found[group[0]]
        try:
            parts = spread(found.entry.indices, self._items, handle.ndim)
            axes = _axes(found)
            chosen = [_numbers(self._found[index]) for index in group]
            first = [min(numbers) for numbers in zip(*chosen, strict=True)]
            last = [max(numbers) for numbers in zip(*chosen, strict=True)]
            box = list(parts)
            for axis, low, high in zip(axes, first, last, strict=True):
                box[axis] = slice(low, high + 1)
            block = np.asarray(handle[tuple(box)])
            # A block of one plane needs no copy, if it is not a view of memory of others.
            is_own = len(group) == 1 and block.flags.owndata and self._collector is None
            for index, numbers in zip(group, chosen, strict=True):
                at = dict(zip(axes, map(sub, numbers, first), strict=True))
                pick = tuple(
                    [at.get(n, ALL) for n, part in enumerate(box) if isinstance(part, slice)]
                )
                part = block[pick]
                value = part if is_own else self._copy_part(index, part)
                if words is not None:
                    own = dict(zip(axes, numbers, strict=True))
                    region = tuple([own.get(n, item) for n, item in enumerate(parts)])
                    value = Image(value, words.select(region, handle.shape))
                self._put(index, value)
        except Exception as error:
            for index in group:
                if index not in self._values:
                    self._fail(index, error)
        self._catch_up()

    def _load_whole(self, group: list[int]) -> None:
        """Load the source once, and cut all parts out of its value."""
        found, is_alone = self._found[group[0]], True
        whole = found._replace(entry=found.entry._replace(indices=()))
        loaded = self._load_part(whole, None)
        value = loaded.data if isinstance(loaded, Image) else loaded
        cuts = [bool(self._found[i].entry.indices or self._items) for i in group]
        if not isinstance(value, np.ndarray) and any(cuts):
            self._load_one(group)  # not a NumPy array, so only its backend can cut it
            return
        for index, cut in zip(group, cuts, strict=True):
            try:
                if cut:
                    indices = self._found[index].entry.indices
                    part = loaded[tuple(spread(indices, self._items, value.ndim))]
                    # The caller accepts memory that is shared with the other parts.
                    is_kept = self._options.get("copy") == "never"
                else:
                    part, is_kept, is_alone = loaded, is_alone, False
                self._put(index, part if is_kept else self._copy_part(index, part))
            except Exception as error:
                self._fail(index, error)
        self._catch_up()


class _Part(Collector):
    """Takes the items of a batch of one backend, which are the items ``group`` of the whole."""

    def __init__(self, whole: Collector, group: Sequence[int]) -> None:
        self._whole, self._group = whole, group

    def memory(self, index: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Value:
        return self._whole.memory(self._group[index], shape, dtype)

    def put(self, index: int, value: Value) -> Value:
        return self._whole.put(self._group[index], value)


def _load_into(
    source: DataSource, part: _Part, paths: Sequence[str], **options: Any
) -> list[Value]:
    return source.load_batch_into(paths, part, **options)


def _reads_parts(source: DataSource) -> bool:
    """Return whether a handle reads a part of a file without reading all of it each time."""
    # Without versions, a handle must read the whole value for each region, or mix two of them.
    if not isinstance(source, FileBackend):
        return True
    return isinstance(source.store, LocalStore) or source.store.claims(Versions)


def _axes(found: Found) -> tuple[int, ...]:
    """Return the axes of the source for which the entry has an index."""
    return tuple([n for n, index in enumerate(found.entry.indices) if index is not None])


def _numbers(found: Found) -> list[int]:
    """Return the indices of the axes that ``_axes`` returns."""
    return [index for index in found.entry.indices if index is not None]
