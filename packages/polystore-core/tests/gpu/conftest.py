"""Tests on an NVIDIA GPU: nox -s gpu."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import FileManager

HERE = Path(__file__).parent


def gpus(name: str) -> int:
    """Return the number of GPUs that a framework finds."""
    if importlib.util.find_spec(name) is None:
        return 0
    module = importlib.import_module(name)
    if name == "torch":
        return int(module.cuda.device_count())
    if name == "cupy":
        try:
            return int(module.cuda.runtime.getDeviceCount())
        except module.cuda.runtime.CUDARuntimeError:
            return 0
    return sum(device.platform in ("gpu", "cuda") for device in module.devices())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.gpu)
            item.add_marker(pytest.mark.frameworks)


@pytest.fixture(params=["torch", "cupy", "jax"])
def name(request: pytest.FixtureRequest) -> str:
    """Return a framework that finds a GPU."""
    found: str = request.param
    if not gpus(found):
        pytest.skip(f"system: {found} finds no NVIDIA GPU")
    return found


@pytest.fixture
def fm() -> FileManager:
    return FileManager()


@pytest.fixture
def images(fm: FileManager, tmp_path: Path) -> tuple[list[str], Any]:
    """Return the paths of 40 images, and all images as one array."""
    random = np.random.default_rng(1)
    stack = random.integers(0, 60_000, (40, 64, 48)).astype("i4")
    paths = [str(tmp_path / f"{n}.npy") for n in range(len(stack))]
    fm.save_batch(list(stack), paths, "disk")
    return paths, stack
