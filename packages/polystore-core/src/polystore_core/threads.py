"""``in_threads``: work in threads. Ctrl-C is never lost, and never leaves a lock locked.

``concurrent.futures`` has two faults here. If Ctrl-C strikes directly after
``Condition.__enter__`` has locked, the lock stays locked (python/cpython#73888), so a worker and
then the caller wait for ever. If it strikes in a callback of a weak reference, which runs when a
pool is collected, it is forgotten. Here the caller uses locks and queues of C only.

Each block starts new threads. Linux starts a new thread on an idle processor. A thread that waits
is often woken on the processor of its waker, where it is delayed for milliseconds.
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
    """One call, made by the thread that claims it first."""

    # Locks: the thread that takes _claim keeps it, and only this thread writes _result and _error.
    # It releases _done afterwards, and others read the two fields only then.

    __slots__ = ("_claim", "_done", "_error", "_item", "_result", "_work", "is_done")

    def __init__(self, work: Callable[[Value], Value], item: Value) -> None:
        self._work, self._item = work, item
        self._claim, self._done = _thread.allocate_lock(), _thread.allocate_lock()
        self._done.acquire()
        self._result: Any = None
        self._error: BaseException | None = None
        self.is_done = False

    def claim(self) -> bool:
        """Take the task. Returns ``False`` if another thread has it."""
        return self._claim.acquire(blocking=False)

    def run(self) -> None:
        """Make the call, and keep its result or its error."""
        try:
            self._result = self._work(self._item)
        except BaseException as error:  # ``result`` raises it
            self._error = error
        finally:
            self.is_done = True
            self._done.release()

    def wait(self) -> None:
        """Wait until the call is done."""
        # After Ctrl-C it may be called a second time, and ``_done`` is released only once.
        if not self.is_done:
            self._done.acquire()

    def result(self) -> Value:
        """Return the result of the call, or raise its error."""
        try:
            if self._error is not None:
                raise self._error
            return self._result
        finally:
            self._error = None  # breaks a cycle: error, traceback, this frame, this task


@contextmanager
def in_threads(workers: int) -> Iterator[_Map]:
    """Return a ``map`` that uses threads and keeps the order of its results.

    For example:

        with in_threads(8) as run:
            for image in run(read, paths):
                process(image)

    It reads a few items ahead, not all. When the block ends, for any reason, no thread works on an
    item any more. Work in threads may use ``in_threads`` itself.

    Args:
        workers: Number of threads.
    """
    tasks: SimpleQueue[_Task | None] = SimpleQueue()
    waiting: list[_Task] = []

    def take() -> Value:
        first = waiting[0]
        # Removed after the wait. If Ctrl-C ends the wait, the ``finally``
        # below waits for it again.
        first.wait()
        del waiting[0]
        return first.result()

    def run(work: Callable[[Value], Value], items: Iterable[Value]) -> Iterator[Value]:
        for item in items:
            task = _Task(work, item)
            # In this order. If Ctrl-C strikes in between, the ``finally`` below must know each
            # task that a thread may have taken.
            waiting.append(task)
            tasks.put(task)
            # Twice the workers: enough to keep them busy, and few enough to fit into memory.
            if len(waiting) > 2 * workers:
                yield take()
        while waiting:
            yield take()

    try:
        yield run if _start(workers, tasks) else map
    finally:
        # After an error or Ctrl-C: tasks that no thread has claimed are dropped, others end.
        for task in waiting:
            if not task.claim():
                task.wait()
        for _ in range(workers):  # also for threads that have not started yet, after Ctrl-C
            tasks.put(None)


def _start(workers: int, tasks: SimpleQueue[_Task | None]) -> bool:
    """Start threads that work until they get ``None``. Return whether there is at least one."""
    for number in range(workers):
        try:
            _thread.start_new_thread(_serve, (tasks,))
        except RuntimeError:  # fewer threads are enough. None starts when the interpreter ends
            return number > 0
    return True


def _serve(tasks: SimpleQueue[_Task | None]) -> None:
    while task := tasks.get():
        if task.claim():
            task.run()
        del task  # frees its item and its result while this thread waits
