"""Stacks of files: the time to make one, and the time to save one from a cluster.

$ python benchmarks/stacking.py /tmp/stacks --gib 4

The files are made once, in the folder that is named first: planes of 2 MiB of ``uint16``, uneven
light with the noise of a camera. Each save is by a new cluster of two workers, each of 1 GiB and
one thread: read the files, subtract a background, write shards of 16 planes. polystore and a
script by hand (Dask, tifffile and zarr-python, with the same chunks, shards and codecs) take turns.
"speed" is the time by hand over that of polystore.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import dask
import dask.array as da
import distributed
import numpy as np
import tifffile
import zarr

import polystore
from polystore import FileManager, Image

SIDE, CHANNELS, DEPTH = 1024, 2, 32
NAMES = "t{t}_c{c}_z{z}.tif"
CHUNKS, SHARDS = (1, 1, 1, 256, 256), (1, 1, 16, SIDE, SIDE)
LEVELS = 3
BACKGROUND = 200
fm = FileManager()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gib", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    dask.config.set(temporary_directory=str(given.folder))
    measure_making(given.folder / "small")
    paths = planes(given.folder / "planes", round(given.gib * 512))
    print(f"\n| {len(paths) / 512:g} GiB | s | speed | MiB a worker | MiB of the client |")
    print("| --- | --: | --: | --: | --: |")
    for title, levels in (("one array", 1), (f"{LEVELS} levels", LEVELS)):
        found: dict[str, list[tuple[float, ...]]] = {"polystore": [], "by hand": []}
        for _ in range(given.rounds):
            for name, save in (("by hand", by_hand), ("polystore", by_polystore)):
                found[name].append(on_a_cluster(save, paths, given.folder / "out", levels))
        rates = zip(found["by hand"], found["polystore"], strict=True)
        speed = f"{median(hand[0] / ours[0] for hand, ours in rates):.2f}"
        for name, rows in found.items():
            seconds = " · ".join(f"{row[0]:.1f}" for row in rows)
            worker, client = (max(row[n] for row in rows) for n in (1, 2))
            ratio = speed if name == "polystore" else ""
            print(f"| {title}: {name} | {seconds} | {ratio} | {worker:.0f} | {client:.0f} |")


# ── making a stack ───────────────────────────────────────────────────────────────────────


def measure_making(folder: Path) -> None:
    names = "{well}_s{site}_w{channel}.tif"
    wells = [f"{row}{column:02}" for row in "ABCDE" for column in range(1, 11)]
    paths = [
        str(folder / f"{well}_s{site}_w{channel}.tif")
        for well in wells
        for site in range(1, 6)
        for channel in range(1, 5)
    ]
    image = Image.of(np.zeros((64, 64), "u2"), axes="yx", scale=(0.5, 0.5), units="um")
    fm.save_batch([image] * len(paths), paths, backend="disk")
    print(f"| a stack of {len(paths):,} files | ms |\n| --- | --: |")
    for check in ("first", "all"):
        rounds = []
        for _ in range(8):
            began = time.perf_counter()
            polystore.stack(paths, backend="disk", names=names, check=check)
            rounds.append(time.perf_counter() - began)
        best, middle = min(rounds[1:]) * 1e3, median(rounds[1:]) * 1e3
        print(f"| check={check!r} | {best:.1f} ({middle:.1f}) |")
    shutil.rmtree(folder)


# ── saving one ───────────────────────────────────────────────────────────────────────────


def planes(folder: Path, count: int) -> list[str]:
    """Return the paths of ``count`` planes: of 16 different ones."""
    per_time = CHANNELS * DEPTH
    places = [(n // per_time, n // DEPTH % CHANNELS, n % DEPTH) for n in range(count)]
    paths = [folder / NAMES.format(t=t, c=c, z=z) for t, c, z in places]
    random = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(SIDE), np.arange(SIDE)) / 8
    different = [random.poisson(ramp + 300).astype("u2") for _ in range(16)]
    for number, path in enumerate(paths):
        if not path.exists():
            image = Image.of(different[number % 16], axes="yx", scale=(0.5, 0.5), units="um")
            fm.save(image, path, backend="disk")
    return [str(path) for path in paths]


def on_a_cluster(
    save: Callable[[list[str], Path, int], None], paths: list[str], out: Path, levels: int
) -> tuple[float, float, float]:
    """Return seconds, and the peaks of memory of the workers and of this process, in MiB."""
    shutil.rmtree(out, ignore_errors=True)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit="1GiB", dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        before = client.run(warm_up)
        mine = resident()
        began = time.perf_counter()
        save(paths, out / "a.ome.zarr", levels)
        seconds = time.perf_counter() - began
        peaks = client.run(peak)
        if peaks.keys() != before.keys():
            sys.exit(f"{save.__name__}: a worker was killed")
    for level in range(levels):
        check(paths, out / "a.ome.zarr" / str(level), 2**level)
    shutil.rmtree(out)
    return seconds, max(peaks.values()), peak() - mine


def check(paths: list[str], path: Path, factor: int) -> None:
    """Compare one plane with its file."""
    plane = flattened(tifffile.imread(paths[DEPTH + 3])).astype("f8")
    size = SIDE // factor
    expected = plane.reshape(size, factor, size, factor).mean((1, 3))
    found = zarr.open_array(path, mode="r")[0, 1, 3]
    assert np.abs(found - expected).max() <= 1, path  # rounded once for each level


def by_polystore(paths: list[str], out: Path, levels: int) -> None:
    array = polystore.stack(paths, backend="disk", names=NAMES)
    flat = array.copy(data=array.data.map_blocks(flattened, dtype="u2"))
    if levels == 1:
        fm.save(flat, out / "0", backend="zarr", ome=False, chunks=CHUNKS, shards=SHARDS)
    else:
        fm.save(flat, out, backend="zarr", chunks=CHUNKS, shards=SHARDS, levels=levels)


def by_hand(paths: list[str], out: Path, levels: int) -> None:
    read = dask.delayed(tifffile.imread)
    blocks = [da.from_delayed(read(path), (SIDE, SIDE), "u2") for path in paths]
    array = da.stack(blocks).reshape((-1, CHANNELS, DEPTH, SIDE, SIDE))
    flat = array.map_blocks(flattened, dtype="u2")
    for level in range(levels):
        shape = flat.shape
        target = zarr.create_array(
            out / str(level),
            shape=shape,
            dtype="u2",
            chunks=CHUNKS,
            shards=tuple(min(s, n) for s, n in zip(SHARDS, shape, strict=True)),
            compressors=codecs(out.parent),
        )
        assert target.shards is not None
        da.store(flat.rechunk(target.shards), target, lock=False)
        flat = da.from_zarr(target, chunks=target.shards)
        flat = da.coarsen(np.mean, flat, {3: 2, 4: 2}).round().astype("u2")


def codecs(folder: Path) -> Any:
    """Return the compressors that polystore chooses."""
    probe = folder / "probe.zarr/a"
    fm.save(np.zeros(CHUNKS, "u2"), probe, backend="zarr", if_exists="skip")
    return zarr.open_array(probe, mode="r").compressors


def flattened(block: Any) -> Any:
    return np.maximum(block, BACKGROUND) - np.uint16(BACKGROUND)


def warm_up() -> bool:
    """Import all that the workers need."""
    zarr.config.get("async.concurrency")
    return FileManager().exists("/", backend="zarr") and fm.exists("/", backend="disk")


def peak() -> float:
    """Return the most memory that the process has had, in MiB."""
    return status("VmHWM")


def resident() -> float:
    return status("VmRSS")


def status(word: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(word))


if __name__ == "__main__":
    main()
