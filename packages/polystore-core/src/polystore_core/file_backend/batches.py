"""``SaveBatch``: saves many values. It encodes them ahead and commits them in order."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from ..errors import PolystoreError
from ..errors.storage import durability_unknown
from ..threads import in_threads
from ..work import Progress, batch_error, progress_reporter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ..abc.backend import Path
    from ..abc.store import ByteStore, Sink
    from ..options import IfExists
    from ..values import Document, Value
    from .backend import FileBackend

__all__ = ["SaveBatch"]

# Files to flush at once: the journal of a file system writes them in one transaction.
_FLUSHES = 8
# Files that wait for each other so that they are flushed together.
_WINDOW = 32
Encoded: TypeAlias = "Sink | Exception | None"
"""An item before it is committed. ``None`` if the present value stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveBatch:
    """One call of ``save_batch``, with its checked arguments."""

    # _open holds the sinks that are not discarded yet, by index. Threads add to it without a lock,
    # because each has an index of its own. Only the calling thread removes from it.

    backend: FileBackend
    store: ByteStore
    data: Sequence[Value]
    paths: Sequence[Path]
    if_exists: IfExists
    durable: bool | None
    threads: int
    options: Document
    _open: dict[int, Sink] = field(default_factory=dict, init=False)

    def run(self, progress: Progress) -> None:
        """Save all items. Raises ``BatchError``, with the items before the first failure saved."""
        items = range(len(self.paths))
        done: list[int] = []
        with (
            progress_reporter(progress, len(items), "save") as report,
            self._discarding(),  # outside of the threads, because after Ctrl-C one may still work
            _mapping(self.threads) as mapped,
        ):
            for window in self._windows(mapped(self._encode, items)):
                errors = self._name_in_order(window, done, report)
                if errors:
                    failed = {i: (os.fspath(self.paths[i]), errors[i]) for i in errors}
                    raise batch_error(self.backend.name, "save", self.paths, failed, done)

    def _encode(self, index: int) -> Encoded:
        try:
            sink = self.backend._encode(
                self.store,
                self.data[index],
                self.paths[index],
                self.if_exists,
                self.durable,
                self.options,
            )
        except Exception as error:  # returned, because BatchError has every cause
            return error
        if sink is not None:
            self._open[index] = sink
        return sink

    def _windows(self, results: Iterable[Encoded]) -> Iterator[dict[int, Encoded]]:
        """Yield the items that are committed together.

        A file that needs no flush does not wait for others. A failure ends its window, so that the
        items before it are committed.
        """
        window: dict[int, Encoded] = {}
        last = len(self.paths) - 1
        for index, result in enumerate(results):
            is_alone = not window and not _needs_flush(result)
            window[index] = result
            if (
                is_alone
                or index == last
                or len(window) == _WINDOW
                or isinstance(result, Exception)
            ):
                if not is_alone:
                    self._flush(window)
                yield window
                window = {}

    def _flush(self, window: dict[int, Encoded]) -> None:
        """Flush the sinks that need it. The error of a flush replaces its sink in ``window``."""
        waiting = [index for index, result in window.items() if _needs_flush(result)]
        with _mapping(_FLUSHES if len(waiting) > 1 else 1) as mapped:
            window |= zip(waiting, mapped(self._flush_one, waiting), strict=True)

    def _flush_one(self, index: int) -> Encoded:
        sink = self._open[index]
        try:
            sink.flush()
        except (PolystoreError, OSError) as error:
            return self._complete_error(error, index)
        return sink

    def _name_in_order(
        self, window: Mapping[int, Encoded], done: list[int], report: Callable[[], None]
    ) -> dict[int, Exception]:
        """Commit up to the first failure, add to ``done``, and return all failures.

        An item is done, and reported, after its commit. A durable item is done after ``sync``.
        """
        named, errors = self._commit(window)
        # Items that were skipped have no sink, and nothing to flush.
        if self.durable:
            errors |= self._sync([index for index in named if window[index] is not None])
        for index in named:
            sink = window[index]
            if sink is not None and not isinstance(sink, Exception):
                sink.discard()
                del self._open[index]
            if index not in errors:
                done.append(index)
                report()
        return errors

    def _commit(self, window: Mapping[int, Encoded]) -> tuple[list[int], dict[int, Exception]]:
        named: list[int] = []
        errors: dict[int, Exception] = {}
        try:
            with self.store.together() as commit:
                for index, result in window.items():
                    if isinstance(result, Exception):
                        errors[index] = result
                    elif not errors and self._has_key(index, result, commit, errors):
                        named.append(index)
        except (PolystoreError, OSError) as error:  # the store has committed none of them
            first = next((i for i in named if window[i] is not None), min(window))
            errors[first] = self._complete_error(error, first)
            named = [index for index in named if index < first]
        return named, errors

    def _has_key(
        self,
        index: int,
        sink: Sink | None,
        commit: Callable[[Sink], None],
        errors: dict[int, Exception],
    ) -> bool:
        """Commit one item. If it fails, add its error and return ``False``."""
        try:
            if sink is not None:
                self.backend._commit(partial(commit, sink), self.if_exists)
        except (PolystoreError, OSError) as error:
            errors[index] = self._complete_error(error, index)
            return False
        return True

    def _sync(self, items: Sequence[int]) -> dict[int, Exception]:
        """Flush the names of durable items. Return an error for each that may be lost."""
        keys = {index: self.backend._key(self.paths[index]) for index in items}
        lost = self.store.sync(list(keys.values())) if keys else {}
        return {
            i: self._complete_error(durability_unknown(lost[key], os.fspath(self.paths[i])), i)
            for i, key in keys.items()
            if key in lost
        }

    def _complete_error(self, error: Exception, index: int) -> Exception:
        return self.backend._complete_error(error, self.paths[index], "save")

    @contextmanager
    def _discarding(self) -> Iterator[None]:
        try:
            yield
        finally:
            with ExitStack() as left:  # closes the others if one fails
                for sink in list(self._open.values()):
                    left.callback(sink.discard)


def _needs_flush(result: Encoded) -> bool:
    # Not isinstance(result, Sink): for an abstract class it takes longer than everything else here.
    return result is not None and not isinstance(result, Exception) and result.wants_flush


@contextmanager
def _mapping(threads: int) -> Iterator[Callable[..., Iterator[Value]]]:
    if threads == 1:
        yield map
        return
    with in_threads(threads) as run:
        yield run
