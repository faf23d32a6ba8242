"""The example pipelines run, as users run them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

ROOT = Path(__file__).parent.parent
PLATE = ROOT.parent / "shared/data/plate-cellomics"


@pytest.mark.timeout(300)
def test_cluster_makes_a_plate(tmp_path):
    """The script itself compares each mask. Here, Zarr alone reads what the workers wrote."""
    folder = [PLATE] if PLATE.is_dir() else []  # else the script makes a plate
    script = ROOT / "examples/pipelines/cluster.py"
    done = subprocess.run(
        [sys.executable, script, *folder, "--output", "out"],
        cwd=tmp_path,
        env={**os.environ, "DASK_TEMPORARY_DIRECTORY": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
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
