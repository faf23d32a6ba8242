"""Work in threads: order, failures, nesting, and no running work after the block."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from polystore_core.threads import in_threads

pytestmark = pytest.mark.timeout(120)


def test_order_is_kept() -> None:
    with in_threads(3) as run:
        assert list(run(lambda n: n * n, range(100))) == [n * n for n in range(100)]


def test_work_is_done_in_threads() -> None:
    together = threading.Barrier(4, timeout=60)  # Passes only if four threads work at once.
    with in_threads(4) as run:
        list(run(lambda _: together.wait(), range(4)))


def test_items_are_taken_a_few_ahead() -> None:
    taken: list[int] = []

    def items() -> Any:
        for number in range(1000):
            taken.append(number)
            yield number

    with in_threads(2) as run:
        results = run(str, items())
        assert next(results) == "0"
        assert len(taken) < 10


def test_failure_is_raised_in_order() -> None:
    def work(number: int) -> int:
        if number == 5:
            raise KeyError(number)
        return number

    with in_threads(4) as run:
        results = run(work, range(50))
        assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
        with pytest.raises(KeyError, match="5"):
            next(results)
    with in_threads(4) as run:
        assert list(run(str, range(3))) == ["0", "1", "2"]


def test_no_work_runs_after_the_block() -> None:
    at_work, begun = 0, threading.Semaphore(0)
    lock, go_on = threading.Lock(), threading.Event()

    def work(number: int) -> None:
        nonlocal at_work
        with lock:
            at_work += 1
        begun.release()
        go_on.wait(60)
        with lock:
            at_work -= 1

    def use() -> None:
        with in_threads(2) as run:
            results = run(work, iter(lambda: 1, None))
            threading.Thread(target=lambda: (begun.acquire(), go_on.set())).start()
            next(results)
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        use()
    assert at_work == 0


def test_work_in_threads_may_use_threads() -> None:
    def outer(number: int) -> int:
        with in_threads(2) as run:
            return sum(run(inner, range(number, number + 9)))

    def inner(number: int) -> int:
        with in_threads(2) as run:
            return sum(run(int, [number] * 3))

    with in_threads(2) as run:
        found = list(run(outer, range(20)))
    assert found == [3 * sum(range(n, n + 9)) for n in range(20)]


def test_many_callers_at_once() -> None:
    found: dict[int, list[int]] = {}

    def call(caller: int) -> None:
        with in_threads(5) as run:
            found[caller] = list(run(lambda n: n + caller, range(200)))

    callers = [threading.Thread(target=call, args=(n,)) for n in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == {n: list(range(n, n + 200)) for n in range(8)}


AT_EXIT = """
import atexit
from polystore_core.threads import in_threads

@atexit.register
def late():
    with in_threads(3) as run:
        print(sum(run(int, range(10))))
"""


def test_threads_at_exit() -> None:
    """Before Python 3.12, threads can start at exit. Later versions refuse it."""
    ended = subprocess.run(
        [sys.executable, "-c", AT_EXIT], capture_output=True, text=True, timeout=100
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "45\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="system: needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_has_its_own_threads() -> None:
    with in_threads(2) as run:
        list(run(int, range(9)))
    child = os.fork()
    if child == 0:
        with in_threads(2) as run:
            os._exit(0 if list(run(int, range(9))) == list(range(9)) else 1)
    assert os.waitpid(child, 0)[1] == 0


INTERRUPTED = """
import os, random, signal, sys, threading, time
from polystore_core.threads import in_threads

chance, at_work = random.Random(int(sys.argv[1])), 0

def work(number):
    global at_work
    at_work += 1  # the GIL protects this counter well enough
    hash(bytes(chance.randrange(2000)))
    at_work -= 1

def strike():
    time.sleep(chance.uniform(0, 0.01))
    os.kill(os.getpid(), signal.SIGINT)

with in_threads(4) as run:
    list(run(work, range(9)))
for _ in range(300):
    try:
        striking = threading.Thread(target=strike)
        striking.start()
        while True:
            with in_threads(4) as run:
                for _ in run(work, range(50)):
                    pass
    except KeyboardInterrupt:
        pass
    striking.join()
print("all reached")
"""


@pytest.mark.faults
def test_interrupts_reach_caller() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "1"], capture_output=True, text=True, timeout=100
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "all reached\n", "")
