"""Kill a process that replaces one file again and again, and see what a reader finds.

    python benchmarks/kills.py [--kills N] [--output FILE.md]

The writer saves arrays of ones and of twos in turn. After SIGKILL the array must be all ones or
all twos. Each line counts how often it was that, could not be read, or was something else: a
mixture, or another shape.
"""

from __future__ import annotations

import argparse
import platform
import random
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

SHAPE = (16, 1024, 1024)
"""32 MiB of uint16."""
NAMES = ("old or new", "unreadable", "wrong")
WRITERS = {
    "numpy.save": ("import numpy", "numpy.save('a.npy', value)", "numpy.load('a.npy')"),
    "polystore, .npy": (
        "from polystore import FileManager; fm = FileManager()",
        "fm.save(value, 'b.npy', 'disk')",
        "fm.load('b.npy', 'disk')",
    ),
    "tifffile.imwrite": (
        "import tifffile",
        "tifffile.imwrite('c.tif', value)",
        "tifffile.imread('c.tif')",
    ),
    "polystore, .tif": (
        "from polystore import FileManager; fm = FileManager()",
        "fm.save(value, 'd.tif', 'disk')",
        "fm.load('d.tif', 'disk')",
    ),
    "zarr, array[:] = value": (
        "import zarr; array = zarr.open('e.zarr', mode='r+')",
        "array[:] = value",
        "zarr.open('e.zarr', mode='r')[:]",
    ),
    "polystore, Zarr": (
        "from polystore import FileManager; fm = FileManager()",
        "fm.save(value, 'f.zarr', 'zarr', chunks=(1, 256, 256), shards=False)",
        "fm.load('f.zarr', 'zarr')",
    ),
}
WRITE = """
import numpy
{setup}
values = [numpy.full({shape}, number, 'uint16') for number in (1, 2)]
while True:
    for value in values:
        {save}
    print(flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    libraries = ("numpy", "tifffile", "zarr", "polystore")
    used = ", ".join(f"{name} {version(name)}" for name in libraries)
    python = f"Python {platform.python_version()}"
    lines = [
        f"{options.kills} kills each, {SHAPE} of uint16, {python}, {used}.",
        "",
        f"| writer | {' | '.join(NAMES)} |",
        "| --- | --: | --: | --: |",
    ]
    for name, (setup, save, load) in WRITERS.items():
        counts = count(options.kills, setup, save, load)
        lines.append(f"| {name} | {' | '.join(str(counts[kind]) for kind in NAMES)} |")
        print(lines[-1], flush=True)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", "utf-8")


def count(kills: int, setup: str, save: str, load: str) -> dict[str, int]:
    counts = dict.fromkeys(NAMES, 0)
    moments = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        if "zarr.open" in setup:
            import zarr

            chunks = (1, 256, 256)
            zarr.create_array(
                Path(folder, "e.zarr"), shape=SHAPE, chunks=chunks, dtype="uint16"
            )
        for _ in range(kills):
            code = WRITE.format(setup=setup, save=save, shape=SHAPE)
            with subprocess.Popen(
                [sys.executable, "-c", code], cwd=folder, stdout=subprocess.PIPE
            ) as writer:
                assert writer.stdout is not None
                writer.stdout.readline()  # both values were saved once
                time.sleep(moments.uniform(0, 0.2))
                writer.kill()
            counts[look(folder, setup, load)] += 1
    return counts


def look(folder: str, setup: str, load: str) -> str:
    """Return what a reader in a new process finds."""
    code = (
        f"import numpy\n{setup.replace('r+', 'r')}\nvalue = {load}\n"
        f"whole = value.shape == {SHAPE} and value.min() == value.max()\n"
        "print('old or new' if whole else 'wrong')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else "unreadable"


if __name__ == "__main__":
    main()
