"""Dask arrays larger than memory, killed workers, and cancelled tasks."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import FileManager

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

from polystore_zarr.blocks import store_blocks  # noqa: E402
from polystore_zarr.store.local import local_path  # noqa: E402

from .values import EMPTY, VALUES, find_hidden, fm, peak_mib, pixels  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def one_gibibyte() -> Any:
    """Return 64 planes of 16 MiB. Each plane is filled with its own number."""

    def plane(block_info: Any = None) -> Any:
        number = block_info[None]["chunk-location"][0]
        return np.full((1, 2048, 4096), number, "u2")

    return da.map_blocks(plane, chunks=((1,) * 64, 2048, 4096), dtype="u2")


def test_array_larger_than_workers(client: Any, tmp_path: Path) -> None:
    array = one_gibibyte()
    before = peak_mib()
    with client.as_current():
        fm.save(array, tmp_path / "a.zarr/x", backend="zarr")
        handle = fm.open(tmp_path / "a.zarr/x", backend="zarr")
        planes = da.from_array(handle)
        assert np.array_equal(planes.max(axis=(1, 2)).compute(), np.arange(64))
    assert peak_mib() - before < 100
    assert max(client.run(peak_mib).values()) < 400
    assert planes.npartitions <= 64


def test_pyramid_larger_than_workers(client: Any, tmp_path: Path) -> None:
    before = peak_mib()
    with client.as_current():
        fm.save(one_gibibyte(), tmp_path / "a.ome.zarr", backend="zarr", axes="zyx")
        smallest = da.from_array(fm.open(tmp_path / "a.ome.zarr", backend="zarr", level=-1))
        assert np.array_equal(smallest.min(axis=(1, 2)).compute(), np.arange(64))
    assert peak_mib() - before < 100
    assert max(client.run(peak_mib).values()) < 400


def test_killed_worker_loses_nothing(tmp_path: Path) -> None:
    # This runs in its own process. Its end frees all that a nanny keeps of a killed worker.
    script = """
import os, signal, sys
import dask.array as da, distributed, numpy as np
from polystore_core import FileManager
def kill_once(block, block_id):
    if block_id == (3, 0):
        try:
            os.close(os.open(sys.argv[1] + "/killed", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            pass  # the second time it works
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return block + block_id[0]
zeros = da.zeros((6, 9), chunks=(1, 9), dtype="u1")
array = zeros.map_blocks(kill_once, meta=np.empty((0, 0), "u1"))
with (
    distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0",
                             local_directory=sys.argv[1]) as cluster,
    distributed.Client(cluster),
):
    FileManager().save(array, sys.argv[1] + "/a.zarr/x", backend="zarr", chunks=(1, 9))
""".replace("sys.argv[1]", repr(str(tmp_path)))
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, capture_output=True)
    assert (tmp_path / "killed").exists()
    assert np.array_equal(pixels(tmp_path / "a.zarr/x")[:, 7], np.arange(6))


def test_task_saves_dask_array(tmp_path: Path, client: Any) -> None:
    def save(path: str) -> Any:
        manager = FileManager()
        manager.save(da.ones((3, 4), chunks=(1, 4)), path, backend="zarr", chunks=(1, 4))
        return manager.load(path, backend="zarr").sum()

    # There are more tasks than threads, so a waiting task must give its thread to the others.
    paths = [str(tmp_path / f"{n}.zarr/x") for n in range(3)]
    assert client.gather(client.map(save, paths), errors="raise") == [12.0] * 3


def test_cancelled_task_writes_nothing(tmp_path: Path) -> None:
    path, began, go_on = tmp_path / "a.zarr/x", tmp_path / "began", tmp_path / "go on"

    def slow(block: Any, block_id: Any) -> Any:
        awaited = began if block_id == (0, 0) else go_on
        if awaited is go_on:
            began.touch()
        deadline = time.monotonic() + 120
        while not awaited.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        if awaited is began:
            raise ArithmeticError
        return block

    array = da.zeros((2, 5), chunks=(1, 5)).map_blocks(slow, meta=EMPTY)
    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            dashboard_address=":0",
            local_directory=str(tmp_path / "workers"),
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        client.as_current(),
    ):
        with pytest.raises(ArithmeticError):
            fm.save(array, path, backend="zarr", chunks=(1, 5))
        assert find_hidden(tmp_path) == []
        go_on.touch()  # only now can the other task write
        time.sleep(0.3)
    assert find_hidden(tmp_path) == []
    assert not path.exists()


def test_last_write_is_awaited(tmp_path: Path) -> None:
    began, ended = threading.Event(), threading.Event()

    class Slow:
        shape, dtype, unit, directory = (2,), np.dtype("f8"), (1,), local_path(tmp_path)

        def __setitem__(self, region: Any, value: Any) -> None:
            began.set()
            time.sleep(0.3)
            ended.set()

    def fail(block: Any, block_id: Any) -> Any:
        if block_id == (1,):
            began.wait()
            raise ArithmeticError
        return block

    array = da.zeros(2, chunks=1).map_blocks(fail, dtype="f8")
    with dask.config.set(scheduler="threads", num_workers=2), pytest.raises(ArithmeticError):
        store_blocks(array, Slow(), lambda: None)
    assert ended.is_set()
    assert list(tmp_path.iterdir()) == []


def test_control_c_ends_threads(tmp_path: Path) -> None:
    script = """
import sys, time
import dask.array as da
from polystore_core import FileManager
def slow(block):
    time.sleep(0.05)
    return block + 1
array = da.zeros((400, 10), chunks=(1, 10)).map_blocks(slow)
FileManager().save(array, sys.argv[1], backend="zarr", chunks=(1, 10),
                   shards=False, progress=lambda done, total: print(done, flush=True))
"""
    path = tmp_path / "a.zarr/x"
    fm.save(VALUES, path, backend="zarr")
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0
    assert find_hidden(tmp_path) == []
    assert np.array_equal(pixels(path), VALUES)
