"""Arrays on a GPU are saved, loaded, staged, and shared between frameworks."""

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import FileManager, framework_of, to_framework, to_numpy
from polystore_core.errors import CopyRequiredError, InvalidOptionError
from polystore_core.frameworks import framework

from .conftest import gpus

CUDA = "cuda:0"


def move_to_gpu(name: str, array: Any) -> Any:
    value = to_framework(array, name, device=CUDA)
    assert framework_of(value) == name
    assert framework(name).device_of(value) != "cpu"
    return value


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u2", "i4", "f2", "f4", "c8"])
def test_values_round_trip(name: str, dtype: str) -> None:
    array = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    for given in (array, array[:, ::-1], array.T, array[0, 0, 0, ...], array[:0]):
        back = to_numpy(move_to_gpu(name, given))
        assert (back.dtype, back.tolist()) == (given.dtype, given.tolist())


@pytest.mark.parametrize("place", ["a.npy", "a.zarr", "a.tif"])
def test_gpu_arrays_are_saved(fm: FileManager, tmp_path: Path, name: str, place: str) -> None:
    array = np.arange(64, dtype="u2").reshape(8, 8)
    path, backend = tmp_path / place, "zarr" if place.endswith("zarr") else "disk"
    fm.save(move_to_gpu(name, array), path, backend)
    assert fm.load(path, backend).tolist() == array.tolist()
    loaded = fm.load(path, backend, framework=name, device=CUDA)
    assert framework(name).device_of(loaded) != "cpu"
    assert to_numpy(loaded).tolist() == array.tolist()


def test_memory_keeps_the_device(fm: FileManager, name: str) -> None:
    value = move_to_gpu(name, np.arange(6, dtype="f4"))
    fm.save(value, "a", "memory")
    loaded = fm.load("a", "memory")
    assert framework(name).device_of(loaded) == framework(name).device_of(value)
    assert to_numpy(loaded).tolist() == [0, 1, 2, 3, 4, 5]
    assert fm.load("a", "memory", copy="never", framework=name) is not None


def test_never_option_refuses_copies_to_and_from_gpu(name: str) -> None:
    with pytest.raises(CopyRequiredError):
        to_framework(np.zeros(64, "f4"), name, device=CUDA, copy="never")
    with pytest.raises(CopyRequiredError):
        to_numpy(move_to_gpu(name, np.zeros(64, "f4")), copy="never")


@pytest.mark.parametrize("device", ["cuda:99", "cuda:x", "xpu:0"])
def test_missing_gpu_is_refused(name: str, device: str) -> None:
    with pytest.raises(InvalidOptionError, match=f"device='{device}'"):
        to_framework(np.zeros(4, "f4"), name, device=device)


@pytest.mark.parametrize(("source", "target"), list(permutations(["torch", "cupy", "jax"], 2)))
def test_frameworks_share_gpu_memory(source: str, target: str) -> None:
    if not (gpus(source) and gpus(target)):
        pytest.skip(f"system: {source} and {target} do not both find an NVIDIA GPU")
    value = move_to_gpu(source, np.arange(256, dtype="f4"))
    moved = framework(target).from_device(value, device=None, copy="auto")
    assert moved is not None  # The array did not pass through the host.
    assert framework(target).device_of(moved) != "cpu"
    assert to_numpy(moved).tolist() == list(range(256))


@pytest.mark.parametrize("stack", [False, True])
@pytest.mark.parametrize("threads", [1, 4])
def test_batches_are_staged(
    fm: FileManager, images: Any, name: str, stack: bool, threads: int
) -> None:
    paths, expected = images
    asked = {"framework": name, "device": CUDA, "threads": threads}
    found = fm.load_batch(paths, "disk", stack=stack, **asked)
    assert len(found) == len(paths)
    for value, image in zip(found, expected, strict=True):
        assert framework(name).device_of(value) != "cpu"
        assert np.array_equal(to_numpy(value), image)


def test_staged_batches_convert(fm: FileManager, images: Any, name: str) -> None:
    paths, expected = images
    asked = {"framework": name, "device": CUDA, "dtype": "f4"}
    found = fm.load_batch(paths, "disk", stack=True, **asked)
    assert np.array_equal(to_numpy(found), expected.astype("f4"))


def test_results_are_ready_for_gpu_work(fm: FileManager, images: Any, name: str) -> None:
    paths, expected = images
    for _ in range(5):
        found = fm.load_batch(paths, "disk", stack=True, framework=name, device=CUDA)
        assert int(found.sum()) == int(expected.sum())
