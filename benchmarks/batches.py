"""A thousand small files as one array, next to reading them into one array by hand.

``python benchmarks/batches.py FOLDER [ROUNDS]`` writes the files into FOLDER. The cases take turns.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from polystore_core import FileManager

COUNT, SHAPE = 1000, (64, 64)


def by_hand(paths: list[str]) -> np.ndarray:
    """Parse each header, then read into the array."""
    stack = np.empty((len(paths), *SHAPE), np.uint16)
    for row, path in zip(stack, paths, strict=True):
        with open(path, "rb", buffering=0) as file:
            npy.read_magic(file)
            shape, _, dtype = npy.read_array_header_1_0(file)
            assert (shape, dtype) == (row.shape, row.dtype)
            file.readinto(row.data)
    return stack


def unchecked(paths: list[str]) -> np.ndarray:
    """Skip the header, as if all files were known to be alike."""
    stack = np.empty((len(paths), *SHAPE), np.uint16)
    for row, path in zip(stack, paths, strict=True):
        with open(path, "rb", buffering=0) as file:
            file.seek(128)
            file.readinto(row.data)
    return stack


def by_numpy(paths: list[str]) -> np.ndarray:
    stack = np.empty((len(paths), *SHAPE), np.uint16)
    for row, path in zip(stack, paths, strict=True):
        row[...] = np.load(path)
    return stack


def main(folder: str, rounds: int = 15) -> None:
    paths = [str(Path(folder, f"{n:04}.npy")) for n in range(COUNT)]
    for n, path in enumerate(paths):
        np.save(path, np.full(SHAPE, n, np.uint16))
    fm = FileManager()
    cases: dict[str, Callable[[], object]] = {
        "by hand, each header parsed": lambda: by_hand(paths),
        "by hand, headers skipped": lambda: unchecked(paths),
        "np.load, copied into the array": lambda: by_numpy(paths),
        "load_batch": lambda: fm.load_batch(paths, backend="disk"),
        "load_batch, stack=True": lambda: fm.load_batch(paths, backend="disk", stack=True),
    }
    if rounds < 0:  # a version without stack=True
        del cases["load_batch, stack=True"]
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(abs(rounds)):
        for name, case in cases.items():
            start = time.perf_counter()
            case()
            times[name].append(time.perf_counter() - start)
    base = statistics.median(times["by hand, each header parsed"])
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"| {name} | {1e3 * median:.1f} ms | {median / base:.2f} |")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
