"""Time each operation at three sizes, and fit how its time grows with N.

The slope of log(time) over log(N) is 1 where twice the work takes twice as long, and 2 where it
takes four times as long.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import re
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import mean

import numpy as np
from cases_growth import GROWTHS
from report import machine, markdown, number, processor
from worker import versions
from workloads import places, seconds
from workloads_growth import Growth, make_site

__all__: list[str] = []

HERE = Path(__file__).parent
ENOUGH, MOST = 3, 12
"""Rounds of a row within its bound, and of any other."""
PATIENCE = 4.0
"""Seconds after which a row gets no further round."""
HEADINGS = ("operation", "backend", "N", "ms", "slope", "bound", "met", "peak MiB")
RULE = ("---",) * 2 + ("--:",) * 4 + ("---", "--:")

NOTES = """\
A time is the processor time for all N items, the best of several rounds. With durable=True it is
the time that passes. The slope of log(time) over log(N) is fitted to the three sizes: 1 is linear,
2 quadratic. In rows "among N others" the work stays the same while N grows. The peak is the memory
that Python allocates during the work.
"""


@dataclass(frozen=True)
class Line:
    """One operation on one backend."""

    growth: Growth
    backend: str
    sizes: Sequence[int]
    times: Sequence[float] = ()
    """Seconds, for each size."""
    peaks: Sequence[float] = ()
    """Bytes, for each size."""
    error: str = ""

    @property
    def slope(self) -> float:
        return fit_slope(self.sizes, self.times)

    @property
    def met(self) -> bool:
        return not self.error and self.slope <= self.growth.at_most

    def columns(self) -> tuple[str, ...]:
        times = " · ".join(number(taken * 1e3) for taken in self.times)
        return (
            self.growth.title,
            self.backend,
            " · ".join(f"{size:,}" for size in self.sizes),
            self.error.replace("|", "\\|").replace("\n", " ") or times,
            "" if self.error else f"{self.slope:.2f}",
            f"≤ {self.growth.at_most:g}",
            "yes" if self.met else "**no**",
            " · ".join(number(peak / 2**20) for peak in self.peaks),
        )


def fit_slope(sizes: Sequence[int], times: Sequence[float]) -> float:
    """Fit the exponent of the growth."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def measure(growth: Growth, backend: str, parent: Path) -> Line:
    """Time all rounds of a row, one size after the other in each."""
    sizes = [growth.on[backend] * factor for factor in (1, 4, 16)]
    jobs = [Job(growth, backend, parent, size) for size in sizes]
    try:
        with ExitStack() as stack:
            times = best_times([job.clock(stack) for job in jobs], growth, sizes)
        peaks = [job.peak() for job in jobs] if growth.peak else []
    except Exception as error:  # any failure is a result, and the table shows it
        return Line(growth, backend, sizes, error=f"{type(error).__name__}: {error}"[:120])
    return Line(growth, backend, sizes, times, peaks)


def best_times(
    clocks: Sequence[Callable[[], float]], growth: Growth, sizes: Sequence[int]
) -> list[float]:
    """Return the best time of each size, in seconds. A slope above its bound gets more rounds.

    A round repeats a small size until it has done as much work as with a large one: a short
    measurement would more often find the machine at rest than a long one. Where each needs a
    process, that takes too long.
    """
    end = time.perf_counter() + PATIENCE
    best = [math.inf] * len(clocks)
    for rounds in range(1, MOST + 1):
        for index, (clock, size) in enumerate(zip(clocks, sizes, strict=True)):
            repeats = 1 if growth.alone else sizes[-1] // size
            best[index] = min(best[index], mean(clock() for _ in range(repeats)))
        is_settled = rounds >= ENOUGH and fit_slope(sizes, best) <= growth.at_most
        if is_settled or time.perf_counter() > end:
            break
    return best


@dataclass(frozen=True)
class Job:
    """One size of a row."""

    growth: Growth
    backend: str
    parent: Path
    size: int

    @contextmanager
    def prepare(self) -> Iterator[Callable[[], object]]:
        """Give the work, with a place of its own."""
        with make_site(self.backend, self.parent) as site:
            yield partial(self.growth.work, site, self.growth.setup(site, self.size))

    def seconds(self, work: Callable[[], object]) -> float:
        """Time one round: a flush in seconds that pass, all else in those of the processor."""
        return seconds(work, time.perf_counter if self.growth.flushed else time.process_time)[0]

    def clock(self, stack: ExitStack) -> Callable[[], float]:
        """Return a function that times one round. ``stack`` keeps a place for all rounds."""
        if self.growth.alone:
            return partial(
                time_alone, GROWTHS.index(self.growth), self.backend, self.parent, self.size
            )
        if self.growth.fresh:
            return self.time_once
        work = stack.enter_context(self.prepare())
        return partial(self.seconds, work)

    def time_once(self) -> float:
        """Return the seconds of a round in a new place."""
        with self.prepare() as work:
            return self.seconds(work)

    def peak(self) -> float:
        """Return how many bytes Python held at most during the work, above those before."""
        with self.prepare() as work:
            tracemalloc.start()
            try:
                work()
                return tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()


def time_alone(index: int, backend: str, parent: Path, size: int) -> float:
    """Time a round in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        return executor.submit(time_here, index, backend, parent, size).result()


def time_here(index: int, backend: str, parent: Path, size: int) -> float:
    """Do that in this process. ``index`` is the row: its functions do not pickle."""
    return Job(GROWTHS[index], backend, parent, size).time_once()


def main() -> int:
    options = _options()
    memory, disk = places(options.directory)
    described = machine({"polystore": versions()}, {"files": memory, "durable batches": disk})
    lines = []
    for growth in GROWTHS:
        for backend in growth.on:
            if all(word in f"{growth.title} | {backend}" for word in options.only):
                print(f"{growth.title} | {backend}", file=sys.stderr, flush=True)
                lines.append(measure(growth, backend, disk if growth.flushed else memory))
    rows = [HEADINGS, RULE, *(line.columns() for line in lines)]
    text = f"{described}\n\n{markdown(rows)}\n\n{NOTES}"
    print(text)
    output = options.output or _results()
    output.write_text(text, encoding="utf-8")
    print(f"written to {output}", file=sys.stderr)
    return int(not all(line.met for line in lines))


def _results() -> Path:
    """Return a file for today and this machine, such as 2026-11-28-growth-xeon-2-cores.md."""
    words = re.sub(r"\(\w+\)", "", processor()).lower().split()
    name = re.sub(r"\W+", "-", words[min(1, len(words) - 1)]) if words else "unknown"
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    return HERE / "results" / f"{today}-growth-{name}-{os.cpu_count()}-cores.md"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--output", type=Path, help="write the table to this file (default: in results/)")
    add(
        "--only",
        action="append",
        default=[],
        metavar="TEXT",
        help='run the rows that contain this, such as "copy" or "| memory"; may be repeated',
    )
    add("--directory", type=Path, help="write files there (default: /dev/shm)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
