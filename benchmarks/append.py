"""Append frames one by one, and compare with writing them into an array of known length.

    python benchmarks/append.py [--frames N]

Each line is the best round and, in brackets, the median. Rounds interleave. After each round the
array is compared with the frames, outside of the timed part.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import zarr
from workloads_zarr import microscope_tile

from polystore import FileManager

SIDE = 512
FRAMES = 4
"""Different ones, which are written again and again."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--directory", default="/dev/shm")
    options = parser.parse_args()
    stack = np.stack([microscope_tile(number, SIDE) for number in range(FRAMES)])
    rates: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, writer in WRITERS.items():
            with tempfile.TemporaryDirectory(dir=options.directory) as folder:
                rate = measured(writer, Path(folder), stack, options.frames)
            rates.setdefault(name, []).append(rate)
    print(
        "| frames of 512 x 512 uint16, one by one | frames/s | ÷ region write |\n|---|---|---|"
    )
    region = rates["polystore, regions of an array of known length"]
    for name, found in rates.items():
        ratios = f"{max(found) / max(region):.2f} ({median(found) / median(region):.2f})"
        print(f"| {name} | {max(found):,.0f} ({median(found):,.0f}) | {ratios} |")


def measured(writer: Callable[..., Any], folder: Path, stack: Any, count: int) -> float:
    path = folder / "run.zarr/movie"
    write = writer(path, count)
    write(stack[0])  # work of the first frame only
    gc.collect()
    begin = time.perf_counter()
    for at in range(1, count):
        write(stack[at % FRAMES])
    took = time.perf_counter() - begin
    if close := getattr(write, "__self__", None):
        close.close()
    level_0 = path / "0" if (path / "0").exists() else path
    found: Any = zarr.open_array(level_0, mode="r")
    for at in {0, count // 2, count - 1}:
        assert np.array_equal(found[at], stack[at % FRAMES])
    assert found.shape == (count, SIDE, SIDE)
    return (count - 1) / took


def append(path: Path, _: int, **options: Any) -> Callable[[Any], None]:
    shape = (None, SIDE, SIDE)
    handle = FileManager().create(path, "zarr", shape=shape, dtype="uint16", **options)
    return handle.append


def append_image(path: Path, count: int) -> Callable[[Any], None]:
    return append(path, count, ome=True, axes="tyx")


def append_durably(path: Path, count: int) -> Callable[[Any], None]:
    return append(path, count, durable=True)


def write_regions(path: Path, count: int) -> Callable[[Any], None]:
    handle = FileManager().create(
        path, "zarr", shape=(count, SIDE, SIDE), dtype="uint16", shards=False
    )
    places: Iterator[int] = iter(range(count))

    def write(frame: Any) -> None:
        handle[next(places)] = frame

    return write


def resize_zarr(path: Path, _: int) -> Callable[[Any], None]:
    append(path, 0).__self__.close()  # type: ignore[attr-defined]  # the same codecs
    array: Any = zarr.open_array(path, mode="r+")

    def write(frame: Any) -> None:
        at = array.shape[0]
        array.resize((at + 1, SIDE, SIDE))
        array[at] = frame

    return write


def resize_tensorstore(path: Path, _: int) -> Callable[[Any], None]:
    append(path, 0).__self__.close()  # type: ignore[attr-defined]
    file = {"driver": "file", "path": str(path), "file_io_sync": False}
    tensorstore: Any = import_module("tensorstore")
    opened = [tensorstore.open({"driver": "zarr3", "kvstore": file}).result()]

    def write(frame: Any) -> None:
        at = opened[0].shape[0]
        opened[0] = opened[0].resize(exclusive_max=[at + 1, SIDE, SIDE]).result()
        opened[0][at].write(frame).result()

    return write


WRITERS: dict[str, Callable[..., Any]] = {
    "polystore, append": append,
    "polystore, append to an OME-Zarr series of two levels": append_image,
    "polystore, append with durable=True": append_durably,
    "polystore, regions of an array of known length": write_regions,
    "zarr-python, resize and write": resize_zarr,
    "tensorstore, resize and write": resize_tensorstore,
}


if __name__ == "__main__":
    main()
