"""Threads that stay for the length of the process.

A pool for each call loses Ctrl-C now and then: when its threads are collected, CPython calls
Python code from weak references, and forgets a KeyboardInterrupt that strikes there.
"""

from __future__ import annotations

import os
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["in_threads"]

_pools: dict[int, Executor] = {}
"""By their number of threads; they are made at their first use."""


@contextmanager
def in_threads(
    workers: int,
) -> Iterator[Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]]:
    """Give a ``map`` that uses ``workers`` threads and keeps the order of its results.

    It takes a few items ahead, not all at once. When the block ends, for any reason,
    nothing is at work any more.
    """
    pool = _pools.get(workers)
    if pool is None:
        pool = _pools.setdefault(workers, ThreadPoolExecutor(workers, "polystore-zarr"))
    waiting: list[Future[Any]] = []

    def run(work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 2 * workers:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()

    try:
        yield run
    finally:
        for future in waiting:
            future.cancel()
        wait(waiting)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)  # a child has none of these threads
