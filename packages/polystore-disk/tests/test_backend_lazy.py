"""Handles read only the requested region, keep their version, and can be pickled."""

import mmap
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from polystore_core import LazyArray
from polystore_core.errors import NotFoundError
from polystore_disk.backend import DiskBackend
from polystore_testing.values import assert_same, image

SHAPE = (6, 70, 80)
REGIONS = [0, -1, slice(2, 5), (1, slice(3, 60, 7)), (..., 4), (slice(None), 5, slice(None, 9))]


@pytest.fixture
def require() -> Callable[[str], ModuleType]:
    def import_module(name: str) -> ModuleType:
        module: ModuleType = pytest.importorskip(name, reason=f"{name} is not installed")
        return module

    return import_module


@pytest.fixture(params=["npy", "tif"])
def path(request: pytest.FixtureRequest) -> str:
    return f"f/a.{request.param}"


@pytest.mark.parametrize("region", REGIONS)
def test_part_equals_part(disk: DiskBackend, path: str, region: Any) -> None:
    disk.save(image(1, SHAPE), path)
    expected = image(1, SHAPE)[region]
    assert_same(disk.load(path, region=region), expected)
    with disk.open(path) as handle:
        assert handle.shape == SHAPE
        assert handle.dtype == np.uint16
        np.testing.assert_array_equal(handle[region], expected)


def test_npy_is_mapped(disk: DiskBackend, folder: Path) -> None:
    """A sparse file of one terabyte opens at once, and its end can be read."""
    header = np.lib.format.header_data_from_array_1_0(np.empty((0,), np.uint8))
    count = 1 << 40
    with (folder / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header | {"shape": (count,)})
        start = file.tell()
        file.truncate(start + count)
        file.seek(-1, os.SEEK_END)
        file.write(b"\x07")
    with disk.open("a.npy") as handle:
        assert handle.shape == (count,)
        end = handle[-3:]
        assert end.tolist() == [0, 0, 7]
        assert isinstance(base(end), mmap.mmap)
    assert disk.load("a.npy", region=-1) == 7


def base(array: Any) -> Any:
    while isinstance(array, np.ndarray):
        array = array.base
    return array


def test_handle_keeps_version(disk: DiskBackend, path: str) -> None:
    disk.save(image(1, SHAPE), path)
    handle = disk.open(path)
    disk.save(image(2, (3, 4)), path)
    np.testing.assert_array_equal(handle[...], image(1, SHAPE))
    disk.delete(path)
    np.testing.assert_array_equal(handle[2], image(1, SHAPE)[2])
    handle.close()


def test_handle_is_read_only(disk: DiskBackend, path: str) -> None:
    disk.save(image(1, SHAPE), path)
    with disk.open(path) as handle:
        with pytest.raises(TypeError, match="read-only"):
            handle[0] = 1
        part = handle[0]
        if path.endswith("npy"):
            with pytest.raises(ValueError, match="read-only"):
                part[0] = 1
    assert_same(disk.load(path), image(1, SHAPE))


def test_closed_handle_raises(disk: DiskBackend, path: str) -> None:
    disk.save(image(1, SHAPE), path)
    handle = disk.open(path)
    handle.close()
    with pytest.raises(ValueError, match="closed"):
        handle[0]


def test_missing_file_raises_at_once(disk: DiskBackend, path: str) -> None:
    with pytest.raises(NotFoundError):
        disk.open(path)


def test_handle_pickles(disk: DiskBackend, path: str) -> None:
    disk.save(image(1, SHAPE), path)
    with disk.open(path) as handle, pickle.loads(pickle.dumps(handle)) as copy:
        np.testing.assert_array_equal(copy[3], image(1, SHAPE)[3])


def test_handle_works_in_workers(disk: DiskBackend, path: str) -> None:
    disk.save(image(1, SHAPE), path)
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer)[1].sum())"
    with disk.open(path) as handle:
        worker = subprocess.run(
            [sys.executable, "-c", code], input=pickle.dumps(handle), capture_output=True
        )
    assert int(worker.stdout) == image(1, SHAPE)[1].sum()


def plane_sum(handle: LazyArray, plane: int) -> int:
    return int(handle[plane].sum())


def test_threads_share_handle(disk: DiskBackend, path: str) -> None:
    disk.save(image(1, SHAPE), path)
    sums = [int(image(1, SHAPE)[n].sum()) for n in range(6)]
    with disk.open(path) as handle, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: plane_sum(handle, n % 6), range(120))) == sums * 20


@pytest.mark.skipif(sys.platform == "win32", reason="system: needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_handle_survives_fork(disk: DiskBackend, path: str) -> None:
    disk.save(image(1, SHAPE), path)
    expected = int(image(1, SHAPE)[4].sum())
    with disk.open(path) as handle:
        plane_sum(handle, 0)
        child = os.fork()
        if child == 0:
            os._exit(0 if plane_sum(handle, 4) == expected else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert plane_sum(handle, 4) == expected


def test_dask_takes_handle(
    disk: DiskBackend, path: str, require: Callable[[str], ModuleType]
) -> None:
    dask_array = require("dask.array")
    disk.save(image(1, SHAPE), path)
    with disk.open(path) as handle:
        lazy = dask_array.from_array(handle, chunks=(2, 70, 80))
        assert lazy.numblocks == (3, 1, 1)
        mean = lazy.astype("float64").mean(axis=0).compute(scheduler="threads")
        np.testing.assert_allclose(mean, image(1, SHAPE).astype(float).mean(axis=0))
        np.testing.assert_array_equal(
            dask_array.from_array(handle)[1, 3:5].compute(), image(1, SHAPE)[1, 3:5]
        )


def test_xarray_takes_handle(
    disk: DiskBackend, path: str, require: Callable[[str], ModuleType]
) -> None:
    xarray = require("xarray")
    disk.save(image(1, SHAPE), path)
    with disk.open(path) as handle:
        data = xarray.DataArray(handle, dims=("z", "y", "x"))
        np.testing.assert_array_equal(data.isel(z=2).values, image(1, SHAPE)[2])
        assert int(data.max()) == int(image(1, SHAPE).max())


def test_handle_is_array_like(disk: DiskBackend, path: str) -> None:
    disk.save(image(1, SHAPE), path)
    with disk.open(path) as handle:
        np.testing.assert_array_equal(np.asarray(handle), image(1, SHAPE))
        assert np.asarray(handle, dtype="float32").dtype == np.float32
        assert len(handle) == SHAPE[0]
