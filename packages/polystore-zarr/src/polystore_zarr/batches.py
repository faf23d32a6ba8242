"""Batches of arrays. They are encoded ahead and saved in order, or read in threads."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from polystore_core import in_threads, threads_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from polystore_core import Pixels, Value

    from .arrays import ZarrArray
    from .store.base import Slot, StorePath
    from .store.chunkfiles import ChunkFiles, EncodedFile
    from .store.nodes import Document
    from .views import Samples

__all__ = ["Opened", "SaveBatch", "read_in_threads", "saving_batch"]

_IN_THREADS = 1 << 16
"""A batch encodes arrays of at least this many bytes in threads."""
_MOST_AHEAD = 64 << 20
"""Bytes of arrays that are encoded before their turn. Larger arrays use threads themselves."""

_MOST_SLOTS = 16
"""The most hidden directories of a batch at a time. Each needs at least one open file."""

_SHARE, _MOST_SHARED = 8 << 20, 64
"""The bytes, and the most arrays, that each thread reads before more arrays are opened."""


class _Kind(NamedTuple):
    """The way in which arrays of one shape and element type are stored."""

    document: Document
    files: ChunkFiles


@dataclass(frozen=True, slots=True)
class _Ahead:
    """An array that a thread has encoded."""

    value: Pixels
    kind: _Kind
    files: list[EncodedFile]


class SaveBatch:
    """The state that all saves of a batch share.

    A thread encodes an array in the way in which the last array of its shape and element type was
    stored. If the array is then stored in another way, the bytes are dropped. So the result is
    always that of one save after another.

    Locks: none. Only the calling thread changes the fields. Other threads only read ``_kinds``.
    """

    def __init__(self, data: Sequence[Value], stack: ExitStack, *, watched: bool) -> None:
        self.documents: dict[StorePath, Document] = {}
        """The documents of groups that were read last."""
        self._data = data
        self._stack = stack
        self._places: dict[StorePath, Slot] = {}
        self._building = stack.enter_context(ExitStack())
        self._kinds: dict[object, _Kind] = {}
        self._index = 0
        self._encoded: Iterator[tuple[int, _Ahead | None]] | None = None
        self._ahead: _Ahead | None = None
        # Items are read ahead only if their memory cannot change. A lazy sequence may reuse it
        # for the next item, and so may a caller who gets a call after each save.
        self._is_known = isinstance(data, list | tuple | np.ndarray) and not watched
        self._most = 0

    def value(self, index: int) -> Value:
        """Return the value to save now."""
        # Bytes that were not used: the last item was stored in another way, or not at all. The
        # kinds that were learned are then wrong for the next items too.
        if self._ahead is not None:
            self._kinds.clear()
        self._index, self._ahead = index, None
        for found, ahead in self._encoded or ():
            if found == index:
                self._ahead = ahead
                break
        return self._data[index] if self._ahead is None else self._ahead.value

    def write(self, value: Value, document: Document, directory: StorePath) -> bool:
        """Write the chunks of an array. Return ``False`` if no thread has encoded them."""
        ahead = self._ahead
        if ahead is None or ahead.value is not value:
            return False
        if ahead.kind.document.fields != document.fields:
            return False
        for name, pieces in ahead.files:
            directory.files.write((directory / name).key, pieces)
        self._ahead = None
        return True

    def learn(self, value: Pixels, document: Document, files: ChunkFiles | None) -> None:
        """Encode the next arrays like this one."""
        if files is None or not self._is_known or value.dtype != files.dtype:
            return
        self._kinds[value.shape, value.dtype] = _Kind(document, files)
        # This thread saves at the same time.
        threads = threads_for(value.nbytes, _IN_THREADS) - 1
        if self._encoded is None and threads:
            run = self._stack.enter_context(in_threads(threads))
            # The number of items that wait at once.
            self._most = _MOST_AHEAD // (2 * threads + 1)
            start, end = self._index + 1, len(self._data)
            self._encoded = iter(run(self._encode, chain((-1,), range(start, end))))
            next(self._encoded)  # the threads begin

    def _encode(self, index: int) -> tuple[int, _Ahead | None]:
        value = self._data[index] if index >= 0 else None
        if type(value) is not np.ndarray or not _IN_THREADS <= value.nbytes <= self._most:
            return index, None
        kind = self._kinds.get((value.shape, value.dtype))
        if kind is None:
            return index, None
        return index, _Ahead(value, kind, kind.files.encode(value))

    def building(self, store: StorePath, *, durable: bool | None) -> Slot:
        """Return the hidden directory for all new arrays of a store."""
        place = self._places.get(store)
        if place is None or not place.stays():
            # All are closed together, because an ExitStack cannot close only one.
            if place is not None or len(self._places) == _MOST_SLOTS:
                self._places.clear()
                self._building.close()
            opened = store.files.building(store.key, durable=durable)
            self._places[store] = place = self._building.enter_context(opened)
        return place


@contextmanager
def saving_batch(data: Sequence[Value], *, watched: bool) -> Iterator[SaveBatch]:
    """Give the state of a batch. At the end, its threads have stopped and hidden files are gone.

    Args:
        data: the values.
        watched: whether code of the caller runs between the saves, which may change the arrays.
    """
    with ExitStack() as stack:
        yield SaveBatch(data, stack, watched=watched)


# ── loading ──────────────────────────────────────────────────────────────────────────────

Opened: TypeAlias = "tuple[ZarrArray | Samples | None, int]"
"""A handle, and the index of its path."""

_Map: TypeAlias = "Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]"


@contextmanager
def read_in_threads(
    opened: Iterator[Opened], read: Callable[[Opened], Value], threads: int
) -> Iterator[Iterator[Value | Exception]]:
    """Give the result of ``read`` for each array in order, or its exception.

    The calling thread reads the documents of some arrays. Then all threads, also this one, read
    pixels, one task for each thread. They do not alternate, because a thread that waits for
    another thread, or for Python's lock, may also have to wait for a processor. That takes as long
    as reading five arrays.
    """

    def attempt(one: Opened) -> Value:
        try:
            return read(one)
        except Exception as error:  # the caller raises it, in the order of the paths
            return error

    def attempt_all(share: list[Opened]) -> list[Value]:
        return [attempt(one) for one in share]

    def others(shares: list[list[Opened]], own: list[Value]) -> Iterator[list[Opened]]:
        yield from shares[:-1]
        own += attempt_all(shares[-1])  # while the other threads read theirs

    def results(run: _Map) -> Iterator[Value]:
        while shares := _next_shares(opened, threads):
            own: list[Value] = []
            yield from chain.from_iterable(run(attempt_all, others(shares, own)))
            yield from own

    with in_threads(threads - 1) as run:
        yield results(run)


def _next_shares(opened: Iterator[Opened], threads: int) -> list[list[Opened]]:
    """Open the next arrays, and cut them into one share for each thread, by their bytes."""
    starts: list[tuple[int, Opened]] = []
    nbytes = 0
    for one in opened:
        starts.append((nbytes, one))
        nbytes += 0 if one[0] is None else one[0].nbytes
        is_enough = nbytes >= threads * _SHARE or len(starts) == threads * _MOST_SHARED
        if is_enough and len(starts) >= threads:
            break
    shares: list[list[Opened]] = [[] for _ in range(threads)]
    for start, one in starts:
        shares[min(start * threads // max(nbytes, 1), threads - 1)].append(one)
    return [share for share in shares if share]
