"""``copy="never"`` gives the memory of the kept value, or raises."""

from itertools import product

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager, to_framework, to_numpy
from polystore_core.errors import (
    BatchError,
    CopyRequiredError,
    InvalidOptionError,
    UnsupportedDataError,
)

FRAMEWORKS = ["numpy", "torch", "jax"]
REGIONS = [None, np.s_[1:3], np.s_[..., ::2], np.s_[::-1], np.s_[1], np.s_[1, 2], np.s_[...]]


@pytest.fixture
def fm():
    return FileManager(BackendRegistry())


def kept(kind):
    """Return an array of 4 × 16 float32, aligned to 64 bytes."""
    memory = np.zeros(4 * 16 * 4 + 64, np.uint8)
    array = memory[-memory.ctypes.data % 64 :][:256].view("f4").reshape(4, 16)
    array[:] = np.arange(64).reshape(4, 16)
    if kind == "fortran":
        return np.asfortranarray(array)
    if kind == "matrix":
        return array.view(np.matrix)
    return array if kind == "numpy" else to_framework(array, kind)


@pytest.mark.frameworks
@pytest.mark.parametrize("kind", [*FRAMEWORKS, "fortran", "matrix"])
@pytest.mark.parametrize("framework", [None, *FRAMEWORKS])
def test_never_shares_or_raises(fm, kind, framework):
    for module in {kind, framework} & {"torch", "jax"}:
        pytest.importorskip(module, reason=f"{module} is not installed")
    value = kept(kind)
    fm.save(value, "a", backend="memory", copy="never")
    shared = 0
    for dtype, region, device in product([None, "f4", ">f4", "f8"], REGIONS, [None, "cpu"]):
        asked = {"framework": framework, "dtype": dtype, "region": region, "device": device}
        for found in (one_or_none(fm, **asked), one_of_batch_or_none(fm, **asked)):
            assert found is None or np.shares_memory(to_numpy(found), to_numpy(value)), asked
            shared += found is not None
    assert shared or kind != framework


def one_or_none(fm, **asked):
    try:
        return fm.load("a", backend="memory", copy="never", **asked)
    except (CopyRequiredError, UnsupportedDataError):
        return None


def one_of_batch_or_none(fm, **asked):
    try:
        return fm.load_batch(["a"], backend="memory", copy="never", **asked)[0]
    except BatchError as error:
        _, cause = error.failed[0]
        if isinstance(cause, CopyRequiredError | UnsupportedDataError):
            return None
        raise


@pytest.mark.frameworks
@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_kept_array_is_not_copied_unasked(fm, framework):
    pytest.importorskip(framework, reason=f"{framework} is not installed")
    fm.save(kept("numpy"), "a.npy", backend="memory")
    with pytest.raises(CopyRequiredError, match=r"backend 'memory': 'a\.npy' needs a copy"):
        fm.load("a.npy", backend="memory", copy="never", framework=framework)
    assert fm.load("a.npy", backend="memory", framework=framework)[1, 2] == 18


def test_other_dtype_is_a_copy(fm):
    fm.save(kept("numpy"), "a.npy", backend="memory")
    with pytest.raises(CopyRequiredError, match="converting float32 to float64"):
        fm.load("a.npy", backend="memory", copy="never", dtype="f8")


def test_element_is_a_copy(fm):
    fm.save(kept("numpy"), "a.npy", backend="memory")
    assert fm.load("a.npy", backend="memory", region=(1, 2)) == 18
    with pytest.raises(CopyRequiredError, match="is one element"):
        fm.load("a.npy", backend="memory", region=(1, 2), copy="never")
    view = fm.load("a.npy", backend="memory", region=(1, 2, ...), copy="never")
    assert (view.shape, view) == ((), 18)


@pytest.mark.parametrize("region", [[0, 1], np.array([True] * 4), (slice(2), [0])])
@pytest.mark.parametrize("copy", ["always", "never"])
def test_regions_are_basic(fm, region, copy):
    fm.save(kept("numpy"), "a.npy", backend="memory")
    with pytest.raises(InvalidOptionError, match="integers, slices"):
        fm.load("a.npy", backend="memory", region=region, copy=copy)


@pytest.mark.parametrize("value", [7, {"a": 1}, None])
@pytest.mark.parametrize("copy", ["always", "never"])
def test_region_needs_parts(fm, value, copy):
    fm.save(value, "a", backend="memory")
    with pytest.raises(
        UnsupportedDataError, match=r"'a' cannot be loaded: region=0 does not fit"
    ):
        fm.load("a", backend="memory", region=0, copy=copy)


@pytest.mark.parametrize("backend", ["disk", "zarr"])
@pytest.mark.parametrize("options", [{}, {"framework": "numpy"}, {"dtype": "f8"}])
def test_files_give_memory_of_your_own(fm, tmp_path, backend, options):
    pytest.importorskip(f"polystore_{backend}", reason=f"polystore-{backend} is not installed")
    path = tmp_path / "a.zarr" / "b.npy"
    fm.save(kept("numpy"), path, backend=backend)
    for copy in ("auto", "always", "never"):
        if copy == "never" and "dtype" in options:
            with pytest.raises(CopyRequiredError, match=r"converting .* makes a new array"):
                fm.load(path, backend=backend, copy=copy, **options)
        else:
            found = fm.load(path, backend=backend, copy=copy, **options)
            assert found.flags.writeable
            assert found.tolist() == kept("numpy").tolist()
