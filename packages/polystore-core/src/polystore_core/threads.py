"""Work in threads, such that Ctrl-C is neither lost nor leaves a lock behind.

Not ``concurrent.futures``: a KeyboardInterrupt that strikes its caller just after
``Condition.__enter__`` has taken the lock leaves it taken (python/cpython#73888), so a worker
and then the caller wait for ever; and one that strikes in a weak reference's callback, which
runs when a pool is collected, is forgotten. Here the caller touches locks and queues in C only.

Threads are new for each block. Linux puts a new thread on an idle processor, but may put one that
waits behind the thread that wakes it, for milliseconds: in virtual machines it often does.
"""

from __future__ import annotations

import _thread
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .values import Value

__all__ = ["in_threads"]

_Map: TypeAlias = "Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]"


class _Task:
    """One call, done by the thread that claims it first."""

    # Locks: _claim belongs for good to the thread that took it, which alone writes _result and
    # _error. _done is free once they are written, and only then they are read.

    __slots__ = ("_claim", "_done", "_error", "_item", "_result", "_work", "is_done")

    def __init__(self, work: Callable[[Value], Value], item: Value) -> None:
        self._work, self._item = work, item
        self._claim, self._done = _thread.allocate_lock(), _thread.allocate_lock()
        self._done.acquire()
        self._result: Any = None
        self._error: BaseException | None = None
        self.is_done = False

    def claim(self) -> bool:
        """Take the task; ``False`` where another thread has it."""
        return self._claim.acquire(blocking=False)

    def run(self) -> None:
        try:
            self._result = self._work(self._item)
        except BaseException as error:  # it is raised where the result is asked for
            self._error = error
        finally:
            self.is_done = True
            self._done.release()

    def wait(self) -> None:
        if not self.is_done:
            self._done.acquire()

    def result(self) -> Value:
        try:
            if self._error is not None:
                raise self._error
            return self._result
        finally:
            self._error = None  # its traceback holds this frame, which holds this task


@contextmanager
def in_threads(workers: int) -> Iterator[_Map]:
    """Give a ``map`` that uses ``workers`` threads and keeps the order of its results.

    It takes a few items ahead, not all at once. When the block ends, for any reason,
    nothing is at work any more. Work that is itself done in threads may use threads.
    """
    tasks: SimpleQueue[_Task | None] = SimpleQueue()
    waiting: list[_Task] = []

    def take() -> Value:
        first = waiting[0]
        first.wait()
        del waiting[0]
        return first.result()

    def run(work: Callable[[Value], Value], items: Iterable[Value]) -> Iterator[Value]:
        for item in items:
            task = _Task(work, item)
            waiting.append(task)
            tasks.put(task)
            if len(waiting) > 2 * workers:
                yield take()
        while waiting:
            yield take()

    try:
        yield run if _start(workers, tasks) else map
    finally:
        for task in waiting:
            if not task.claim():
                task.wait()
        for _ in range(workers):  # an interrupt may come before all have started
            tasks.put(None)


def _start(workers: int, tasks: SimpleQueue[_Task | None]) -> bool:
    """Start threads that work until they are given ``None``. Return whether there is one."""
    for number in range(workers):
        try:
            _thread.start_new_thread(_serve, (tasks,))
        except RuntimeError:  # fewer will do; none starts when the interpreter is ending
            return number > 0
    return True


def _serve(tasks: SimpleQueue[_Task | None]) -> None:
    while task := tasks.get():
        if task.claim():
            task.run()
        del task  # and what it refers to
