"""Rows of the frameworks: variables, memory that two frameworks share, and types of ml_dtypes."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from polystore_core import as_dtype, framework_of, is_array, to_framework, to_numpy
from polystore_core.errors import CopyRequiredError, PolystoreError

from .samples import FRAMEWORKS, Require, aligned

# ── variables of TensorFlow ──────────────────────────────────────────────────────────────


def test_variables_are_arrays(tensorflow: Any) -> None:
    variable = tensorflow.Variable([1.0, 2.0])
    assert is_array(variable)
    assert framework_of(variable) == "tensorflow"
    assert not is_array(tensorflow.Variable)
    for name in ("numpy", "tensorflow"):
        assert to_numpy(to_framework(variable, name)).tolist() == [1, 2]


def test_assignment_keeps_earlier_result(tensorflow: Any) -> None:
    variable = tensorflow.Variable(tensorflow.range(64.0))
    before = to_numpy(variable, copy="never")
    variable.assign_add(tensorflow.ones(64))
    assert before[:2].tolist() == [0, 1]
    variable[:1].assign([99.0])
    assert before[:2].tolist() == [0, 1]
    assert to_numpy(variable)[:2].tolist() == [99, 2]


@pytest.mark.parametrize("target", ["torch", "jax"])
def test_variables_reach_other_frameworks(
    tensorflow: Any, require: Require, target: str
) -> None:
    require(target)
    variable = tensorflow.Variable(tensorflow.range(64.0))
    converted = to_framework(variable, target)
    variable.assign(tensorflow.zeros(64))
    assert to_numpy(converted).tolist() == [*range(64)]


# ── memory that two frameworks share ─────────────────────────────────────────────────────

MUTABLE = ("numpy", "torch")
IMMUTABLE = ("jax", "tensorflow")


def address(value: Any) -> int:
    data: int = to_numpy(value, copy="never").ctypes.data
    return data


@pytest.mark.parametrize(
    ("source", "target"), [*permutations(MUTABLE, 2), *permutations(IMMUTABLE, 2)]
)
@pytest.mark.parametrize("copy", ["auto", "never"])
def test_similar_frameworks_share(
    require: Require, source: str, target: str, copy: Any
) -> None:
    require(source)
    require(target)
    value = to_framework(aligned(64), source)
    assert address(to_framework(value, target, copy=copy)) == address(value)
    apart = to_framework(value, target, copy="always")
    assert address(apart) != address(value)


@pytest.mark.parametrize("source", MUTABLE)
@pytest.mark.parametrize("target", IMMUTABLE)
def test_mutable_memory_is_shared_on_demand(require: Require, source: str, target: str) -> None:
    require(source)
    require(target)
    value = to_framework(aligned(64), source)
    assert address(to_framework(value, target, copy="never")) == address(value)
    assert address(to_framework(value, target, donate=True)) == address(value)
    assert address(to_framework(value, target)) != address(value)


@pytest.mark.parametrize("source", IMMUTABLE)
def test_immutable_memory_is_never_changed(require: Require, torch: Any, source: str) -> None:
    require(source)
    value = to_framework(aligned(64), source)
    to_framework(value, "torch").add_(1)
    assert to_numpy(value)[0] == 0
    with pytest.raises(CopyRequiredError):
        to_framework(value, "torch", copy="never")


@pytest.mark.parametrize("dtype", ["?", "u2", "i1", "f2", "c8"])
@pytest.mark.parametrize(("source", "target"), [*permutations(IMMUTABLE, 2)])
def test_immutables_keep_types(require: Require, source: str, target: str, dtype: str) -> None:
    require(source)
    require(target)
    plain = aligned(64, dtype)
    for array in (plain, plain[:0], plain[:1].reshape(()), plain.reshape(8, 8)[:, ::2]):
        found = to_numpy(to_framework(to_framework(array, source), target))
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.tolist() == array.tolist()


def test_jax_refuses_wide_tensors(jax: Any, tensorflow: Any) -> None:
    with pytest.raises(PolystoreError, match="JAX would narrow float64"):
        to_framework(tensorflow.constant(np.ones(64)), "jax")


def test_slices_of_tensors_survive(jax: Any, tensorflow: Any) -> None:
    rows = tensorflow.reshape(tensorflow.range(300.0), (20, 15))
    for start in range(1, 5):
        part = rows[start:]  # Part of the memory of rows, at any address.
        assert to_numpy(to_framework(part, "jax")).tolist() == part.numpy().tolist()


# ── bfloat16 and float8 ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("source", FRAMEWORKS)
@pytest.mark.parametrize("target", FRAMEWORKS)
def test_added_types_convert_between_frameworks(
    require: Require, source: str, target: str, dtype: str
) -> None:
    for name in (source, target, "ml_dtypes"):
        require(name)
    plain = np.array([[0, 1, -2], [0.5, 3, -0.0]]).astype(as_dtype(dtype))
    for array in (plain, plain.T, plain[:0], plain[1, 1].reshape(()), plain[::-1]):
        found = to_numpy(to_framework(to_framework(array, source), target), extended=True)
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e5m2"])
def test_torch_shares_added_types(torch: Any, require: Require, dtype: str) -> None:
    require("ml_dtypes")
    array = np.zeros(64, as_dtype(dtype))
    tensor = to_framework(array, "torch", copy="never")
    tensor[3] = 2
    assert array[3] == 2
    assert np.shares_memory(to_numpy(tensor, copy="never", extended=True), array)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_dtype_option_takes_added_type(require: Require, name: str) -> None:
    require(name)
    require("ml_dtypes")
    value = to_framework(aligned(4), name, dtype="bfloat16")
    assert to_numpy(value, extended=True).dtype.name == "bfloat16"
