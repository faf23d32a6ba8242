"""A batch of values on their way into a store: encoded ahead, named in order."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..abc.store import Sink
from ..errors import PolystoreError
from ..errors.storage import durability_unknown
from ..threads import in_threads
from ..work import Progress, batch_error, progress_reporter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ..abc.backend import Path
    from ..abc.store import ByteStore
    from ..options import IfExists
    from ..values import Document, Value
    from .backend import FileBackend

__all__ = ["SaveBatch"]

# Files that are flushed at once: the journal of a file system takes them in one transaction.
_FLUSHES = 8
# Items of a batch that are encoded before the first of them gets its name.
_AHEAD = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveBatch:
    """The arguments of one ``save_batch``, all of them checked."""

    backend: FileBackend
    store: ByteStore
    data: Sequence[Value]
    paths: Sequence[Path]
    if_exists: IfExists
    durable: bool | None
    threads: int
    options: Document

    def run(self, progress: Progress) -> None:
        """Save all. Raises ``BatchError``: the items before the first failure are saved."""
        paths, backend = self.paths, self.backend
        ahead = 1 if self.durable is False and self.threads == 1 else _AHEAD
        done: list[int] = []
        started = ExitStack()

        def encode(index: int) -> Sink | Exception | None:
            try:
                sink = backend._encoded(
                    self.store,
                    self.data[index],
                    paths[index],
                    self.if_exists,
                    self.durable,
                    self.options,
                )
            except Exception as error:  # collected: BatchError carries every cause
                return error
            if sink is not None:
                started.callback(sink.discard)
            return sink

        with (
            progress_reporter(progress, len(paths), "save") as report,
            started,  # around the threads: Ctrl-C leaves the last of them at work for a while
            _mapping(self.threads) as mapped,
            _mapping(1 if self.durable is False else _FLUSHES) as flushed,
        ):
            for start in range(0, len(paths), ahead):
                window = range(start, min(start + ahead, len(paths)))
                sinks = dict(zip(window, mapped(encode, window), strict=True))
                unflushed = [i for i in window if _wants_flush(sinks[i])]
                sinks |= zip(unflushed, flushed(self._flusher(sinks), unflushed), strict=True)
                failed, named = self._name_in_order(sinks, report)
                started.close()
                done += named
                if failed:
                    raise batch_error(backend.name, "save", paths, failed, done)

    def _flusher(
        self, sinks: Mapping[int, Sink | Exception | None]
    ) -> Callable[[int], Sink | Exception | None]:
        def flush(index: int) -> Sink | Exception | None:
            sink = sinks[index]
            try:
                if isinstance(sink, Sink):
                    with self._translated(index):
                        sink.flush()
            except PolystoreError as error:
                return error
            return sink

        return flush

    def _name_in_order(
        self, sinks: Mapping[int, Sink | Exception | None], report: Callable[[], None]
    ) -> tuple[dict[int, tuple[str, Exception]], list[int]]:
        """Commit up to the first failure; return every failure, and the items that are saved.

        An item is saved, and reported, when it has its key; a durable one when that is flushed.
        """
        failed = {
            index: (os.fspath(self.paths[index]), result)
            for index, result in sinks.items()
            if isinstance(result, Exception)
        }
        named: list[int] = []
        with ExitStack() as block:
            block.enter_context(self.store.together())
            for index, result in sinks.items():
                if index in failed:
                    break
                try:
                    if isinstance(result, Sink):
                        self.backend._commit(result, self.if_exists)
                except (PolystoreError, OSError) as error:
                    failed[index] = self._failure(index, error)
                    break
                named.append(index)
                if not (isinstance(result, Sink) and self.durable):
                    report()
            try:
                block.close()
            except (PolystoreError, OSError) as error:  # none of them has its key
                first = next(index for index in named if isinstance(sinks[index], Sink))
                failed[first] = self._failure(first, error)
                named = [index for index in named if index < first]
        to_sync: dict[str, int] = {}
        if self.durable:
            saved = (index for index in named if isinstance(sinks[index], Sink))
            to_sync = {self.backend._key(self.paths[index]): index for index in saved}
        lost = self.store.sync(list(to_sync)) if to_sync else {}
        for key, index in to_sync.items():
            if key in lost:
                unknown = durability_unknown(lost[key], os.fspath(self.paths[index]))
                failed[index] = self._failure(index, unknown)
            else:
                report()
        return failed, [index for index in named if index not in failed]

    def _failure(self, index: int, error: Exception) -> tuple[str, Exception]:
        path = self.paths[index]
        return os.fspath(path), self.backend._explained(error, path, "save")

    @contextmanager
    def _translated(self, index: int) -> Iterator[None]:
        with self.backend._translated(self.paths[index], "save"):
            yield


def _wants_flush(result: Sink | Exception | None) -> bool:
    return isinstance(result, Sink) and result.wants_flush


@contextmanager
def _mapping(threads: int) -> Iterator[Callable[..., Iterator[Value]]]:
    if threads == 1:
        yield map
        return
    with in_threads(threads) as run:
        yield run
