"""Let threads and processes use one store at once, and kill processes while they use it."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias

from .laws import SHARED

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Barrier

    from polystore_core import ByteStore, Scope

__all__ = ["CONTESTANTS", "Meet", "contests", "in_process", "kill_while"]

CONTESTANTS = 3
_HANG = 120
"""Seconds to wait for a contestant. Only a hang takes so long."""

Meet: TypeAlias = Callable[[], Any]
"""A function that returns when every contestant has called it."""
Work: TypeAlias = Callable[..., Any]
"""A function of the store, the number of the contestant, ``meet``, and more arguments."""

_gate: Barrier | None = None


def contests(
    scope: Scope, work: Work, store: ByteStore, *arguments: object
) -> Iterator[tuple[str, list[Any]]]:
    """Let threads work at once, and then processes if ``scope`` includes them.

    Yields a word, which only this contest has, and the results of the contestants. The word is also
    the last argument of ``work``.
    """
    gate = threading.Barrier(CONTESTANTS, timeout=_HANG)
    with ThreadPoolExecutor(CONTESTANTS) as pool:
        yield from _submit("threads", pool, _work_at, gate, work, store, *arguments)
    if scope not in SHARED:
        return
    # Spawn, not fork: a forked process would share open files and locks with this one.
    spawn = multiprocessing.get_context("spawn")
    shared = spawn.Barrier(CONTESTANTS, timeout=_HANG)
    with ProcessPoolExecutor(
        CONTESTANTS, mp_context=spawn, initializer=_keep, initargs=(shared,)
    ) as processes:
        yield from _submit("processes", processes, _work_here, work, store, *arguments)


def _submit(
    word: str, pool: Any, call: Work, *arguments: object
) -> Iterator[tuple[str, list[Any]]]:
    jobs = [pool.submit(call, number, *arguments, word) for number in range(CONTESTANTS)]
    yield word, [job.result() for job in jobs]


def _keep(gate: Barrier) -> None:
    global _gate  # a barrier can be passed to a process only while the process starts
    _gate = gate


def _work_here(number: int, work: Work, store: ByteStore, *arguments: object) -> Any:
    return _work_at(number, _gate, work, store, *arguments)


def _work_at(number: int, gate: Any, work: Work, store: ByteStore, *arguments: object) -> Any:
    try:
        return work(store, number, gate.wait, *arguments)
    except BaseException:
        gate.abort()  # or the others would wait for this one
        raise


def in_process(work: Callable[..., Any], store: ByteStore, *arguments: object) -> Any:
    """Call ``work`` in another process, and return its result."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(work, store, *arguments).result()


def kill_while(
    work: Callable[..., Any], store: ByteStore, *arguments: object, told: int
) -> Any:
    """Kill a process in the middle of ``work``, and return everything that it has reported.

    The last argument of ``work`` is a function that reports a value. The process is killed after
    ``told`` reports, if it has not ended before.
    """
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_tell, args=(there, work, store, *arguments))
    process.start()
    # Close our copy of the other end, or recv would wait for ever after the process has died.
    there.close()
    heard = []
    with here:
        try:
            for item in _lines(here):
                heard.append(item)
                # Read on after the kill: reports that were sent before it are still in the pipe.
                if len(heard) == told:
                    process.kill()
        finally:
            # If a report could not be read, the process still runs, and join would never end.
            process.kill()
            process.join()
            process.close()
    return heard


def _lines(pipe: Connection) -> Iterator[Any]:
    try:
        while True:
            yield pipe.recv()
    except EOFError:  # the process has ended
        return


def _tell(pipe: Connection, work: Callable[..., Any], *arguments: object) -> None:
    work(*arguments, pipe.send)
