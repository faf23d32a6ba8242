"""Arrays of every framework are saved to every place, and load in any framework."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore import BackendRegistry, FileManager, framework_of, to_framework, to_numpy

FRAMEWORKS = ("numpy", "torch", "jax", "tensorflow")
PLACES = {
    "npy": ("disk", ".npy"),
    "tif": ("disk", ".tif"),
    "memory": ("memory", ""),
    "zarr": ("zarr", ".zarr"),
    "zip": ("archive", ".npy"),
}
pytestmark = pytest.mark.frameworks


@pytest.fixture
def fm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    with BackendRegistry() as registry:
        registry.add("archive", "zip", file="scan.zip")
        yield FileManager(registry)


def values(name: str) -> dict[str, Any]:
    """Return a plain tensor of the framework, and tensors that only it has."""
    plain = np.arange(24, dtype="u2").reshape(2, 3, 4)
    found = {"plain": to_framework(plain, name)}
    if name == "torch":
        import torch

        leaf = torch.arange(24.0).reshape(2, 3, 4).requires_grad_()
        found |= {"leaf": leaf, "computed": leaf * 2, "parameter": torch.nn.Parameter(leaf)}
        found["transposed"] = leaf.permute(2, 0, 1)
    if name == "tensorflow":
        import tensorflow as tf

        found["variable"] = tf.Variable(tf.reshape(tf.range(24.0), (2, 3, 4)))
    return found


@pytest.mark.parametrize("target", FRAMEWORKS)
@pytest.mark.parametrize("source", FRAMEWORKS)
@pytest.mark.parametrize("place", PLACES)
def test_tensors_come_back(fm: FileManager, place: str, source: str, target: str) -> None:
    backend, suffix = PLACES[place]
    for name, value in values(source).items():
        path = name + suffix
        expected = to_numpy(value).copy()
        fm.save(value, path, backend)
        found = fm.load(path, backend, framework=target, device="cpu")
        assert framework_of(found) == target
        assert to_numpy(found).dtype == expected.dtype
        assert np.array_equal(to_numpy(found), expected)


@pytest.mark.parametrize("source", FRAMEWORKS)
@pytest.mark.parametrize("stack", [False, True])
@pytest.mark.parametrize("backend", ["disk", "zarr", "archive", "memory"])
def test_batches_come_back(fm: FileManager, backend: str, source: str, stack: bool) -> None:
    given = [to_framework(np.full((3, 4), n, "u2"), source) for n in range(3)]
    paths = [f"{n}.zarr" if backend == "zarr" else f"{n}.npy" for n in range(3)]
    fm.save_batch(given, paths, backend)
    found = fm.load_batch(paths, backend, framework=source, stack=stack)
    assert {framework_of(one) for one in ([found] if stack else found)} == {source}
    assert [int(to_numpy(one)[0, 0]) for one in found] == [0, 1, 2]


@pytest.mark.parametrize("source", FRAMEWORKS)
def test_archives_hold_tensors(fm: FileManager, source: str) -> None:
    given = values(source)
    fm.save(given, "a.npz", "disk")
    found = fm.load("a.npz", "disk", framework=source)
    for name, value in given.items():
        assert framework_of(found[name]) == source
        assert np.array_equal(to_numpy(found[name]), to_numpy(value))
