"""Time a virtual workspace next to its sources: python benchmarks/workspace.py [--entries N]

Each figure is the best round and, in brackets, the median. Every result is compared with the
saved values, outside of the timed part.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from polystore import BackendRegistry, FileManager
from polystore_workspace import Reference, Workspace

SETTLED = 0.2
"""Seconds after which a document needs one system call to prove that it is the same."""
WELLS, PLANES = 384, 500
SIDE = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--directory", default="/dev/shm")
    options = parser.parse_args()
    print("| what | time | aim |\n|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        for what, figure, aim in measured(Path(folder), options.entries, options.rounds):
            print(f"| {what} | {figure} | {aim} |", flush=True)


def measured(folder: Path, count: int, rounds: int) -> Iterator[tuple[str, str, str]]:
    fm = FileManager(BackendRegistry())
    entries = dict(scattered(fm, folder, count))
    Workspace(entries).save(folder / "ws.json")
    time.sleep(SETTLED)
    opened = [timed(lambda: opened_new(folder)) for _ in range(rounds)]
    yield f"open {count:,} entries", shown(opened, 1, "s"), "≤ 0.5 s"
    fm = opened_new(folder)
    listed = [timed(lambda: fm.list_files("B03", "ws")) for _ in range(rounds * 10)]
    many = len(fm.list_files("B03", "ws"))
    yield f"list a folder of {many:,} files", shown(listed, 1e3, "ms"), "≤ 5 ms"
    fm.registry.add("raw", "disk", root=folder)
    for path, source, region in loads():
        one, other = interleave(
            partial(fm.load, path, "ws"),
            partial(fm.load, source, "raw", **region),
            rounds * 300,
        )
        assert np.array_equal(fm.load(path, "ws"), fm.load(source, "raw", **region))
        over = (
            f"{(min(one) - min(other)) * 1e6:.0f} ({(median(one) - median(other)) * 1e6:.0f})"
        )
        text = f"{shown(one, 1e6, 'µs')}, {over} µs over the source"
        yield f"load {path}", text, "≤ 50 µs over"
    yield from batches(fm, rounds)


def opened_new(folder: Path) -> FileManager:
    registry = BackendRegistry()
    registry.add("ws", "virtual_workspace", file=folder / "ws.json")
    files = FileManager(registry)
    assert files.exists("B03/s0.tif", "ws")
    return files


def scattered(fm: FileManager, folder: Path, count: int) -> Iterator[tuple[str, Reference]]:
    """Save the sources, and yield the entries."""
    random = np.random.default_rng(0)
    plane = random.integers(0, 4000, (SIDE, SIDE), "uint16")
    stack = random.integers(0, 4000, (PLANES, SIDE // 4, SIDE // 4), "uint16")
    fm.save(plane, folder / "raw/plane.tif", "disk")
    fm.save(plane, folder / "raw/plane.npy", "disk")
    fm.save(stack, folder / "raw/stack.tif", "disk")
    fm.save(stack, folder / "raw/stack.npy", "disk")
    yield "one/z7.npy", Reference("disk", "raw/stack.npy", (7,))
    yield "one/plane.npy", Reference("disk", "raw/plane.npy")
    yield "one/plane.tif", Reference("disk", "raw/plane.tif")
    for z in range(PLANES):
        yield f"stack/z{z}.tif", Reference("disk", "raw/stack.tif", (z,))
    wells = [f"{row}{column:02d}" for row in "ABCDEFGHIJKLMNOP" for column in range(1, 25)]
    for number in range(count - PLANES - 3):
        well = wells[number % WELLS]
        yield f"{well}/s{number // WELLS}.tif", Reference("disk", "raw/plane.tif")


def loads() -> Iterator[tuple[str, str, dict[str, Any]]]:
    yield "one/plane.npy", "raw/plane.npy", {}
    yield "one/plane.tif", "raw/plane.tif", {}
    yield "one/z7.npy", "raw/stack.npy", {"region": 7}


def batches(fm: FileManager, rounds: int) -> Iterator[tuple[str, str, str]]:
    """All planes of one stack, next to the stack itself."""
    paths = [f"stack/z{z}.tif" for z in range(PLANES)]
    one, other = interleave(
        partial(fm.load_batch, paths, "ws"), partial(fm.load, "raw/stack.tif", "raw"), rounds
    )
    assert np.array_equal(fm.load_batch(paths, "ws"), fm.load("raw/stack.tif", "raw"))
    text = f"{shown(one, 1e3, 'ms')}, the stack alone {shown(other, 1e3, 'ms')}"
    yield f"load_batch of {PLANES} planes of one stack", text, ""


def interleave(
    call: Callable[[], object], other: Callable[[], object], rounds: int
) -> tuple[list[float], list[float]]:
    """Time two calls in turns: a drift of the machine hits both alike."""
    pairs = [(timed(call), timed(other)) for _ in range(rounds)]
    return [one for one, _ in pairs], [second for _, second in pairs]


def timed(call: Callable[[], object]) -> float:
    gc.collect(0)
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def shown(seconds: Any, factor: float, unit: str) -> str:
    return f"{min(seconds) * factor:.3g} ({median(seconds) * factor:.3g}) {unit}"


if __name__ == "__main__":
    main()
