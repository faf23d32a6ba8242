"""Batches, conversions and paths of a manager."""

import inspect
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import FileManager
from polystore_core.errors import (
    BatchError,
    BatchLengthError,
    InvalidOptionError,
    NotAPathError,
    NotFoundError,
    UnsupportedDataError,
)

from .samples import ARGUMENTS, KEYWORDS, Require

# ── batches ──────────────────────────────────────────────────────────────────────────────


def test_batch_stops_at_failure(fm: FileManager) -> None:
    with pytest.raises(BatchError) as caught:
        fm.save_batch([1, None, 2], ["a", "b", "c"], backend="test-screen")
    error = caught.value
    assert (error.done, error.failed_index, error.not_attempted) == (("a",), 1, ("c",))


def test_batch_lengths_must_match(fm: FileManager) -> None:
    with pytest.raises(BatchLengthError, match="1 values for 2 paths"):
        fm.save_batch([1], ["a", "b"], backend="test-screen")


def test_batch_tries_all_loads(fm: FileManager) -> None:
    with pytest.raises(BatchError) as caught:
        fm.load_batch(["dark", "a", "dark"], backend="test-camera")
    assert list(caught.value.failed) == [0, 2]
    assert type(caught.value.failed[0][1]) is NotFoundError


# ── conversion ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", ["f4", "f8", np.float64, np.dtype("f8"), float])
def test_dtype_converts(fm: FileManager, memory: FileManager, dtype: Any) -> None:
    loaded = fm.load("a", backend="test-camera", dtype=dtype)
    assert (type(loaded), loaded.dtype) == (np.ndarray, np.dtype(dtype))
    memory.save(np.arange(3, dtype="u1"), "a", backend="one")
    for stack in (False, True):
        found = memory.load_batch(["a"], "one", dtype=dtype, stack=stack)
        assert found[0].dtype == np.dtype(dtype)
    (loaded,) = fm.load_batch(["a"], backend="test-camera", dtype="u2")
    assert loaded.dtype == "u2"


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (300, "u1", r"the element at \[0, 0\] is 300 and would become 44"),
        (1.7, "i4", r"the element at \[0, 0\] is 1\.7 and would become 1"),
        (np.nan, "u1", r"the element at \[0, 0\] is nan"),
        (0.1, "f4", "casting='same_kind' to round"),
    ],
)
def test_conversion_is_exact(memory: FileManager, value: Any, dtype: str, message: str) -> None:
    memory.save(np.full((2, 2), value), "a/b.npy", backend="one")
    with pytest.raises(UnsupportedDataError, match=message) as caught:
        memory.load("a/b.npy", backend="one", dtype=dtype)
    assert str(caught.value).startswith("backend 'one': 'a/b.npy' cannot be loaded: ")
    with pytest.raises(BatchError, match=message) as batch:
        memory.load_batch(["a/b.npy"], backend="one", dtype=dtype)
    assert str(batch.value.failed[0][1]) == str(caught.value)
    for loaded in (
        memory.load("a/b.npy", backend="one", dtype=dtype, casting="unsafe"),
        *memory.load_batch(["a/b.npy"], backend="one", dtype=dtype, casting="unsafe"),
    ):
        assert loaded.dtype == dtype


@pytest.mark.parametrize("dtype", [None, "f4"])
def test_casting_is_checked(memory: FileManager, dtype: Any) -> None:
    memory.save(np.zeros(3), "a", backend="one")
    with pytest.raises(InvalidOptionError, match="casting='safe' is not valid"):
        memory.load("a", backend="one", dtype=dtype, casting="safe")  # type: ignore[arg-type]


@pytest.mark.frameworks
def test_failed_conversion_names_path(memory: FileManager, require: Require) -> None:
    require("torch")
    memory.save(np.array(["text"]), "a/b.npy", backend="one")
    with pytest.raises(
        UnsupportedDataError, match=r"backend 'one': 'a/b\.npy' cannot be loaded"
    ):
        memory.load("a/b.npy", backend="one", framework="torch")


# ── paths ────────────────────────────────────────────────────────────────────────────────


def test_swapped_arguments_are_reported(memory: FileManager) -> None:
    swapped: Any = np.zeros(3)
    for path in ("a.npy", Path("a.npy")):
        with pytest.raises(
            NotAPathError, match="The arguments are swapped: pass the value first"
        ):
            memory.save(path, swapped, backend="one")
        with pytest.raises(
            NotAPathError, match="The arguments are swapped: pass the value first"
        ):
            memory.save_batch([path], [swapped], backend="one")
    assert memory.list_dir(".", backend="one") == []


@pytest.mark.parametrize("operation", ARGUMENTS)
@pytest.mark.parametrize(
    "path", [io.BytesIO(), np.zeros(3), None, 7], ids=lambda p: type(p).__name__
)
def test_other_types_are_refused_as_paths(
    memory: FileManager, operation: str, path: Any
) -> None:
    named = inspect.signature(getattr(memory, operation)).parameters
    backends = {name: "one" for name in named if name.endswith("backend")}
    before, given = ARGUMENTS[operation][:-1], ARGUMENTS[operation][-1]
    last = [path] if isinstance(given, list) else path
    with pytest.raises(NotAPathError, match="expected a path") as caught:
        getattr(memory, operation)(*before, last, **KEYWORDS.get(operation, {}), **backends)
    assert ("write them to a file first" in str(caught.value)) == isinstance(path, io.BytesIO)


@pytest.mark.frameworks
def test_framework_converts(fm: FileManager, require: Require) -> None:
    torch = require("torch")
    loaded = fm.load("a", backend="test-camera", framework="torch", dtype="f4", device="cpu")
    assert (type(loaded), loaded.dtype) == (torch.Tensor, torch.float32)
    (loaded,) = fm.load_batch(["a"], backend="test-camera", framework="torch")
    assert (type(loaded), loaded.dtype) == (torch.Tensor, torch.uint8)


@pytest.mark.parametrize("framework", ["", "cupyx"])
def test_unknown_framework_refused(fm: FileManager, framework: str) -> None:
    with pytest.raises(InvalidOptionError, match=f"framework={framework!r} is not valid"):
        fm.load("a", backend="test-camera", framework=framework)


@pytest.mark.frameworks
def test_device_alone_keeps_framework(memory: FileManager, require: Require) -> None:
    torch = require("torch")
    memory.save(torch.ones(3), "a", backend="one")
    assert type(memory.load("a", backend="one", device="cpu")) is torch.Tensor
    memory.save(np.ones(3), "b", backend="one")
    with pytest.raises(InvalidOptionError, match="device='cuda:0' is not valid"):
        memory.load("b", backend="one", device="cuda:0")


def test_text_cannot_be_converted(memory: FileManager) -> None:
    memory.save("text", "a", backend="one")
    with pytest.raises(UnsupportedDataError, match="need an array, got str"):
        memory.load("a", backend="one", framework="numpy")
    with pytest.raises(BatchError) as caught:
        memory.load_batch(["a"], backend="one", framework="numpy")
    assert type(caught.value.failed[0][1]) is UnsupportedDataError
