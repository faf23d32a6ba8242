"""Every scheduler writes and reads the same Dask arrays."""

from __future__ import annotations

import os
import pickle
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import NotFoundError

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

from .values import VALUES, find_hidden, fm, pixels  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.mark.smoke
def test_every_scheduler_writes_equal_pixels(scheduler: str, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    array = da.from_array(VALUES, chunks=(2, 128, 250))

    def progress(done: int, total: int) -> None:
        calls.append((done, total))

    fm.save(
        array,
        tmp_path / "a.zarr/x",
        backend="zarr",
        progress=progress,
        chunks=(1, 64, 250),
        shards=(2, 128, 500),
    )
    assert np.array_equal(pixels(tmp_path / "a.zarr/x"), VALUES)
    assert calls == [(n + 1, 12) for n in range(12)]
    assert find_hidden(tmp_path) == []


def test_progress_bar_shows_blocks(scheduler: str, tmp_path: Path, capfd: Any) -> None:
    pytest.importorskip("tqdm")
    fm.save(
        da.zeros((4, 9), chunks=(1, 9)),
        tmp_path / "a.zarr/x",
        backend="zarr",
        chunks=(1, 9),
        progress=True,
    )
    assert "4/4" in capfd.readouterr().err


def test_failing_block_keeps_old_array(scheduler: str, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr/x"
    fm.save(VALUES, path, backend="zarr")

    def fail(block: Any, block_id: Any) -> Any:
        if block_id == (1, 0, 0):
            raise ArithmeticError("the third plane")
        time.sleep(0.05)
        return block

    array = da.zeros((6, 300, 500), chunks=(1, 300, 500), dtype="u2").map_blocks(
        fail, dtype="u2"
    )
    with pytest.raises(ArithmeticError, match="the third plane"):
        fm.save(array, path, backend="zarr")
    assert find_hidden(tmp_path) == []
    time.sleep(0.3)  # tasks that were running have ended by now
    assert find_hidden(tmp_path) == []
    assert np.array_equal(pixels(path), VALUES)


def test_interrupt_leaves_old_array(scheduler: str, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr/x"
    fm.save(VALUES, path, backend="zarr")

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    array = da.zeros((20, 100), chunks=(1, 100))
    with pytest.raises(KeyboardInterrupt):
        fm.save(array, path, backend="zarr", chunks=(1, 100), progress=interrupt)
    assert find_hidden(tmp_path) == []
    time.sleep(0.3)
    assert find_hidden(tmp_path) == []
    assert np.array_equal(pixels(path), VALUES)


def test_pyramid_equals_numpy_path(scheduler: str, tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 60_000, (2, 777, 1031), "u2")
    options: dict[str, Any] = {
        "backend": "zarr",
        "axes": "cyx",
        "levels": 4,
        "chunks": (1, 128, 128),
    }
    calls: list[int] = []
    fm.save(values, tmp_path / "a.ome.zarr", **options)
    fm.save(
        da.from_array(values, chunks=(1, 300, 1031)),
        tmp_path / "b.ome.zarr",
        **options,
        progress=lambda done, total: calls.append(total - done),
    )
    for level in range(4):
        expected = pixels(tmp_path / "a.ome.zarr", level=level)
        assert np.array_equal(pixels(tmp_path / "b.ome.zarr", level=level), expected)
    assert calls == sorted(calls, reverse=True)
    assert calls[-1] == 0


def test_from_array_accepts_a_handle(scheduler: str, tmp_path: Path) -> None:
    fm.save(
        VALUES, tmp_path / "a.zarr/x", backend="zarr", chunks=(1, 64, 64), shards=(1, 128, 256)
    )
    array = da.from_array(fm.open(tmp_path / "a.zarr/x", backend="zarr"))
    assert array.npartitions < 10
    assert np.array_equal(array.compute(), VALUES)
    assert np.array_equal(array[2, ::-3, 5:9].compute(), VALUES[2, ::-3, 5:9])


def test_default_blocks_hold_shards(tmp_path: Path) -> None:
    handle = fm.create(
        tmp_path / "a.zarr/x",
        backend="zarr",
        shape=(64, 4096, 4096),
        dtype="u2",
        chunks=(1, 512, 512),
        shards=(1, 2048, 2048),
    )
    array = da.from_array(handle)
    assert array.npartitions < 64
    assert all(
        n % u == 0
        for lengths, u in zip(array.chunks, handle.unit, strict=True)
        for n in lengths
    )


def test_equal_reads_have_equal_tokens(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr/x"
    fm.save(VALUES, path, backend="zarr")
    tokens = [dask.base.tokenize(fm.open(path, backend="zarr")) for _ in range(2)]
    for _ in range(3):  # a folder may get the inode number of an earlier one
        fm.save(VALUES, path, backend="zarr")
        tokens.append(dask.base.tokenize(fm.open(path, backend="zarr")))
    assert tokens[0] == tokens[1]
    assert len(set(tokens)) == 4


@pytest.mark.parametrize("change", ["save", "delete"])
def test_stale_handle_fails_in_workers(change: str, client: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr/x"
    fm.save(VALUES, path, backend="zarr")
    array = da.from_array(fm.open(path, backend="zarr"))
    if change == "save":
        fm.save(VALUES, path, backend="zarr")
    else:
        fm.delete(path, backend="zarr")
    before = client.run(os.getpid)
    with client.as_current(), pytest.raises(NotFoundError, match="open it again"):
        array.compute()
    assert client.run(os.getpid) == before  # an error in unpickling would end the worker


def test_pickled_handle_is_small(tmp_path: Path) -> None:
    fm.save(VALUES, tmp_path / "a.zarr/x", backend="zarr")
    handle = fm.open(tmp_path / "a.zarr/x", backend="zarr")
    assert handle[0, 0, 0] == VALUES[0, 0, 0]
    assert len(pickle.dumps(handle)) < 4000
    assert np.array_equal(pickle.loads(pickle.dumps(handle))[3, :5], VALUES[3, :5])
