"""A writer of a growing array is killed. All frames that it has acknowledged are there."""

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
"""For each kind of array."""


@pytest.mark.parametrize("options", GROWING)
def test_killed_appends_keep_acknowledged_frames(
    backend: ZarrBackend, root: Path, start: Any, options: str
) -> None:
    chance = random.Random(options)
    path, inner = ("run.ome.zarr", "/0") if options == "image" else ("run.zarr/movie", "")
    writer, last = start("append_frames", path, options), 0
    for _ in range(KILLS):
        writer.start()
        last = max([last, *writer.kill(chance)])
        if not backend.exists(path):
            assert last == 0
            continue
        array: Any = zarr.open_array(
            f"{root}/{path}{inner}", mode="r"
        )  # a reader that is not ours
        handles = [backend.open(path), array]
        if options == "image":
            handles.append(backend.open(path, level=1))
            assert handles[2].shape == (len(handles[0]), 45, 40)
        for frames in handles:
            count = frames.shape[0]
            assert last <= count <= last + 1
            for at in range(max(0, last - 10), count):
                assert (np.asarray(frames[at]) == at + 1).all()
    assert last > KILLS / 2
    expected = np.arange(1, last + 1, dtype="u2")[:, None, None]
    with backend.open(path, mode="a") as handle:  # the lock is free
        handle.append(np.full(SHAPE, len(handle) + 1, "u2"))
        assert (handle[:last] == expected).all()
    assert (zarr.open_array(f"{root}/{path}{inner}", mode="r")[:last] == expected).all()


@pytest.mark.parametrize("options", ["plain", "several", "image"])
def test_readers_see_whole_frames_while_another_process_appends(
    backend: ZarrBackend, root: Path, start: Any, options: str
) -> None:
    """The readers are those of three programs, and a handle that was opened early."""
    tensorstore = pytest.importorskip("tensorstore", reason="tensorstore is not installed")
    path, inner = ("run.ome.zarr", "/0") if options == "image" else ("run.zarr/movie", "")
    writer = start("append_frames", path, options)
    writer.start()
    for _ in range(3):
        writer.line()
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{root}/{path}{inner}"}}

    def open_all() -> list[Any]:
        bare = zarr.open_array(f"{root}/{path}{inner}", mode="r")
        return [backend.open(path), bare, tensorstore.open(spec).result()]

    early = backend.open(path)
    lengths = [len(early)]
    while len(lengths) < 40 or lengths[-1] < lengths[0] + 30:
        for frames in open_all():
            count = frames.shape[0]
            assert count >= lengths[-1]
            assert (np.asarray(frames[count - 1]) == count).all()
        lengths.append(backend.info(path).shape[0])  # type: ignore[index]
        assert (early[-1] == lengths[0]).all()
    writer.kill(random.Random(1))
