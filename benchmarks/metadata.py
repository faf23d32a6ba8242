"""Many processes that merge into one metadata file, and how long each of them waits."""

from __future__ import annotations

import functools
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from workloads import Workload

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from contenders import Contender

__all__ = ["Merge"]

PROCESSES = 8

_start: threading.Barrier


@dataclass(frozen=True)
class Merge(Workload):
    """``merge_subdirectory_metadata`` from 8 processes, ``work`` seconds between two merges.

    Figures: entries that are in the file at the end, merges per second, the 99th percentile of
    the waits and the longest one.
    """

    merges: int
    work: float = 0.0

    def run(self, contender: Contender, prepared: Path, fresh: Path) -> tuple[float, ...]:
        path = fresh / "polystore_metadata.json"
        job = functools.partial(_merge, type(contender), str(path), self.merges, self.work)
        spans = list(_crew().map(job, range(PROCESSES)))
        survivors = len(json.loads(path.read_text())["subdirectories"])
        begins, ends, waits = zip(*spans, strict=True)
        rate = PROCESSES * self.merges / (max(ends) - min(begins))
        all_waits = np.concatenate(waits)
        return survivors, rate, float(np.percentile(all_waits, 99)), float(max(all_waits))


@functools.cache
def _crew() -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    return ProcessPoolExecutor(
        PROCESSES, mp_context=context, initializer=_enlist, initargs=(barrier,)
    )


def _enlist(barrier: threading.Barrier) -> None:
    global _start
    _start = barrier


def _merge(
    contender: type[Contender], path: str, merges: int, work: float, process: int
) -> tuple[float, float, list[float]]:
    """Return when this process began and ended, and how long each merge took."""
    writer = contender().metadata_writer()
    _start.wait()
    begin = time.monotonic()
    waits = []
    for number in range(merges):
        update = {f"process{process}_{number}": {"available_backends": {"disk": True}}}
        asked = time.monotonic()
        writer.merge_subdirectory_metadata(path, update)
        waits.append(time.monotonic() - asked)
        if work:
            time.sleep(work)
    return begin, time.monotonic(), waits
