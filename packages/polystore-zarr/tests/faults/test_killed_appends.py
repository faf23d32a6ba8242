"""A writer of an array that grows is killed: all frames that it has acknowledged are there."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from .writers import GROWING, SHAPE

if TYPE_CHECKING:
    from pathlib import Path

    from polystore_zarr.backend import ZarrBackend

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

KILLS = 30
"""Of each kind of array."""


@pytest.mark.parametrize("options", GROWING)
def test_killed_appends_keep_acknowledged_frames(
    backend: ZarrBackend, root: Path, start: Any, options: str
) -> None:
    chance = random.Random(options)
    path, writer, last = "run.zarr/movie", start("append_frames", "run.zarr/movie", options), 0
    for _ in range(KILLS):
        writer.start()
        last = max([last, *writer.kill(chance)])
        if not backend.exists(path):
            assert last == 0
            continue
        array: Any = zarr.open_array(root / path, mode="r")  # a reader that does not know us
        for frames in (backend.open(path), array):
            count = frames.shape[0]
            assert last <= count <= last + 1
            for at in range(max(0, last - 10), count):
                assert (np.asarray(frames[at]) == at + 1).all()
    assert last > KILLS / 2
    expected = np.arange(1, last + 1, dtype="u2")[:, None, None]
    with backend.open(path, mode="a") as handle:  # the lock is free
        handle.append(np.full(SHAPE, len(handle) + 1, "u2"))
        assert (handle[:last] == expected).all()
    assert (zarr.open_array(root / path, mode="r")[:last] == expected).all()
