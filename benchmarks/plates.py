"""Plates as one lazy image: how long it takes to open one, to read it, and the memory.

$ python benchmarks/plates.py /tmp/plates --wells 384 --side 2048
$ python benchmarks/plates.py /tmp/plates --wells 384 --fields 9 --side 64

The plate is made once, in the folder that is named first. Its pixels are smooth and compress well:
this times how fields are found and put together. Each figure is from a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polystore import FileManager

READS: dict[str, Callable[[Any], object] | None] = {
    "open": None,
    "coarsest level, whole": lambda plate: plate.levels[-1][...],
    "coarsest level, whole, twice": lambda plate: [
        level[...] for level in [plate.levels[-1]] * 2
    ],
    "1,024 x 1,024 of level 0": lambda plate: plate[..., 1500:2524, 1500:2524],
    "256 x 256 of the coarsest level": lambda plate: plate.levels[-1][..., :256, :256],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wells", type=int, default=384)
    parser.add_argument("--fields", type=int, default=1)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    given = parser.parse_args()
    path = given.folder / f"{given.wells}x{given.fields}x{given.side}.ome.zarr"
    if given.read:
        print(json.dumps(measured(path, given.read)))
        return
    if not path.exists():
        make(path, given.wells, given.fields, given.side)
    plate = FileManager().open(path, "zarr")
    print(f"{plate!r}, {plate.nbytes / 2**30:.2f} GiB without the coarser levels\n")
    print("| | s | MiB more |\n| --- | --: | --: |")
    for name in READS:
        found = [run(name) for _ in range(3)]
        seconds = " · ".join(f"{one['seconds']:.3f}" for one in found)
        print(f"| {name} | {seconds} | {max(one['mib'] for one in found):.0f} |", flush=True)


def run(name: str) -> dict[str, Any]:
    command = [sys.executable, *sys.argv, "--read", name]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def measured(path: Path, name: str) -> dict[str, float]:
    """Time one read, with the opening for "open" alone. Memory is the growth of the peak."""
    files = FileManager()
    files.info("/", backend="zarr")  # first: the imports are not measured
    before, start = peak(), time.perf_counter()
    plate = files.open(path, "zarr")
    if (read := READS[name]) is not None:
        start = time.perf_counter()
        read(plate)
    return {"seconds": time.perf_counter() - start, "mib": peak() - before}


def peak() -> float:
    """Return the most memory that the process has had, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


class Fields(Sequence[Any]):
    """Smooth images, made when they are saved."""

    def __init__(self, count: int, side: int) -> None:
        rows, columns = np.ogrid[:side, :side]
        self._length = count
        self.first = (rows // 16 + columns // 16).astype(np.uint16)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        return self.first + np.uint16(index)


def make(path: Path, wells: int, fields: int, side: int) -> None:
    places = [f"{chr(65 + well // 24)}/{well % 24 + 1:02}" for well in range(wells)]
    paths = [f"{path}/{place}/{field}" for place in places for field in range(fields)]
    FileManager().save_batch(Fields(len(paths), side), paths, "zarr")


if __name__ == "__main__":
    main()
