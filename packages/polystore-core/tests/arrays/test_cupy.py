"""CuPy without a GPU: its row is imported, and errors name the missing part.

The other tests of CuPy are in tests/gpu.
"""

import importlib.util

import numpy as np
import pytest

from polystore_core import FileManager, is_array, to_framework
from polystore_core.errors import BatchError, InvalidOptionError, MissingDependencyError
from polystore_core.frameworks import framework, framework_names

HAS_CUPY = importlib.util.find_spec("cupy") is not None


def test_row_is_listed() -> None:
    assert "cupy" in framework_names()
    assert not is_array([1])


@pytest.mark.skipif(HAS_CUPY, reason="system: CuPy is installed")
def test_missing_cupy_is_reported() -> None:
    fm = FileManager()
    fm.save(np.zeros(3), "a", "memory")
    for call in (
        lambda: to_framework(np.zeros(3), "cupy"),
        lambda: fm.load("a", "memory", framework="cupy", device="cuda:0"),
        lambda: fm.load_batch(["a"], "memory", framework="cupy"),
        lambda: fm.open("a", "memory").load(framework="cupy"),
    ):
        with pytest.raises(
            (MissingDependencyError, BatchError), match=r"pip install 'polystore\[cupy\]'"
        ):
            call()


@pytest.mark.skipif(
    not HAS_CUPY, reason="system: CuPy is not installed, it needs an NVIDIA GPU"
)
@pytest.mark.parametrize("device", [None, "cuda", "cuda:0", "cpu", "cuda:x"])
def test_missing_gpu_is_reported(device: str | None) -> None:
    row = framework("cupy")
    if row.devices():
        pytest.skip("system: there is a GPU")
    for copy in ("auto", "never", "always"):
        with pytest.raises(InvalidOptionError, match=r"a GPU and its driver .*, for cupy"):
            row.from_numpy(np.zeros(3), device=device, copy=copy, donate=False)
