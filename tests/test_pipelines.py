"""The example pipelines run, as users run them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import zarr

ROOT = Path(__file__).parent.parent
PLATE = ROOT.parent / "shared/data/plate-cellomics"


def find_workers(script: int, scratch: Path) -> Iterator[psutil.Process]:
    """Find the workers of Dask that a script has started. Each locks its folder in ``scratch``."""
    for process in psutil.Process(script).children():
        if any(file.path.startswith(str(scratch)) for file in process.open_files()):
            yield process


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "kills", [False, pytest.param(True, marks=pytest.mark.faults)], ids=["", "kills a worker"]
)
def test_cluster_makes_a_plate(tmp_path: Path, *, kills: bool) -> None:
    """The script itself compares each mask. Here only zarr reads the arrays of the workers."""
    folder = [PLATE] if PLATE.is_dir() else []  # without it, the script makes a plate
    script = ROOT / "examples/pipelines/cluster.py"
    printed = []
    with subprocess.Popen(
        [sys.executable, "-u", script, *folder, "--output", "out"],
        cwd=tmp_path,
        env={**os.environ, "DASK_TEMPORARY_DIRECTORY": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line)
            if kills and line == "a script received masks/0\n":
                next(find_workers(process.pid, tmp_path / "dask-scratch-space")).kill()
    assert process.returncode == 0, "".join(printed)
    assert kills == any("Restarting worker" in line for line in printed)
    out = tmp_path / "out"
    wells = sorted(json.loads((out / "metadata.json").read_text())["subdirectories"])
    assert len(wells) == (24 if folder else 6)
    frames = zarr.open_array(out / "wells.zarr/masks", mode="r")[...]
    assert len(frames) == len(wells)
    for well, frame in zip(wells, frames, strict=True):
        fields = [
            zarr.open_array(out / f"masks.ome.zarr/{well[0]}/{well[1:]}/{field}/0", mode="r")
            for field in range(3)
        ]
        assert {(field.chunks, field.shards) for field in fields} == {((128, 128), (512, 512))}
        assert np.array_equal(np.hstack([field[...] for field in fields]), frame)
        assert set(np.unique(frame)) == {0, 255}
