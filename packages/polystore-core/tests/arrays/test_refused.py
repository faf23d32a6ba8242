"""Framework values without plain numbers: each error says what to save instead."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from polystore_core import is_array, to_framework, to_numpy
from polystore_core.errors import CopyRequiredError, InvalidOptionError, UnsupportedDataError

from .samples import Python, Require, aligned


def make_nested(torch: Any, layout: str) -> Any:
    parts = [torch.ones(2), torch.ones(3)]
    return torch.nested.nested_tensor(parts, layout=getattr(torch, layout))


def make_fake(torch: Any) -> Any:
    with torch._subclasses.FakeTensorMode():
        return torch.ones(3)


# Sparse CSR, nested and quantised tensors warn.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda torch: torch.eye(3).to_sparse(), r"sparse .* save tensor\.to_dense\(\)"),
        (lambda torch: torch.eye(3).to_sparse_csr(), r"sparse .* save tensor\.to_dense\(\)"),
        (
            lambda torch: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8),
            r"quantised .* save tensor\.dequantize\(\)",
        ),
        (lambda torch: torch.ones(3, device="meta"), "without data .* a tensor that has data"),
        (make_fake, "without data .* a tensor that has data"),
        (lambda torch: make_nested(torch, "strided"), r"nested .* tensor\.unbind\(\)"),
        (lambda torch: make_nested(torch, "jagged"), r"nested .* tensor\.unbind\(\)"),
        (
            lambda torch: torch.empty(3, dtype=torch.float4_e2m1fn_x2),
            r"NumPy cannot read torch\.Tensor \(torch\.float4_e2m1fn_x2\)",
        ),
    ],
)
@pytest.mark.parametrize("copy", ["auto", "always", "never"])
def test_torch_says_what_to_save(
    torch: Any, make: Callable[[Any], Any], reason: str, copy: Any
) -> None:
    with pytest.raises(UnsupportedDataError, match=reason):
        to_numpy(make(torch), copy=copy)


def test_torch_func_is_refused(torch: Any) -> None:
    def save(part: Any) -> Any:
        with pytest.raises(UnsupportedDataError, match=r"inside torch\.func .* result of"):
            to_numpy(part)
        return part.sum()

    torch.vmap(save)(torch.ones(3, 2))
    torch.func.grad(save)(torch.ones(3))


def test_jax_tracers_are_refused(jax: Any) -> None:
    def trace(part: Any) -> Any:
        for convert in (to_numpy, lambda value: to_framework(value, "numpy")):
            with pytest.raises(UnsupportedDataError, match="while JAX traces a function"):
                convert(part)
        return part.sum()

    jax.jit(trace)(jax.numpy.ones(3))
    jax.grad(trace)(jax.numpy.ones(3))


def test_jax_keys_are_refused(jax: Any) -> None:
    with pytest.raises(UnsupportedDataError, match=r"save jax\.random\.key_data\(keys\)"):
        to_numpy(jax.random.key(0))
    assert to_numpy(jax.random.key_data(jax.random.key(0))).dtype == "u4"


def test_deleted_jax_arrays_are_refused(jax: Any) -> None:
    value = jax.numpy.ones(3)
    value.delete()
    with pytest.raises(UnsupportedDataError, match="deleted or donated"):
        to_numpy(value)


@pytest.mark.parametrize("dtype", ["int4", "uint4"])
@pytest.mark.parametrize("extended", [True, False])
def test_half_bytes_are_refused(jax: Any, dtype: str, extended: bool) -> None:
    with pytest.raises(UnsupportedDataError, match=f"not have {dtype}: convert .* to int8"):
        to_numpy(jax.numpy.ones(3, dtype), extended=extended)


SHARDED = """
import jax, numpy as np
from polystore_core import to_framework, to_numpy
from polystore_core.errors import CopyRequiredError
places = jax.devices()
mesh = jax.sharding.Mesh(np.array(places), ("x",))
halves = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
value = jax.device_put(np.arange(8, dtype="f4"), halves)
assert len(value.devices()) == 2
assert to_numpy(value).tolist() == [*range(8)]
try:
    to_numpy(value, copy="never")
except CopyRequiredError as error:
    print(error)
moved = to_framework(np.ones(3, "f4"), "jax", device="cpu:1")
print(moved.devices() == {places[1]})
"""


def test_sharded_jax_is_gathered(jax: Any, python: Python) -> None:
    done = python(SHARDED, XLA_FLAGS="--xla_force_host_platform_device_count=2")
    reason, moved = done.stdout.splitlines() or [done.stderr, ""]
    assert "the array is on cpu:0, cpu:1" in reason
    assert moved == "True"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda tf: tf.ragged.constant([[1], [2, 3]]), r"save tensor\.to_tensor\(\)"),
        (lambda tf: tf.sparse.from_dense([[1, 0]]), r"save tensorflow\.sparse\.to_dense"),
        (lambda tf: tf.IndexedSlices(tf.ones(2), [0, 1]), r"convert_to_tensor\(slices\)"),
        (lambda tf: tf.Variable(["text"]), "does not pickle"),
    ],
)
def test_tensorflow_says_what_to_save(
    tensorflow: Any, make: Callable[[Any], Any], reason: str
) -> None:
    with pytest.raises(UnsupportedDataError, match=reason):
        to_numpy(make(tensorflow))


def test_symbolic_tensors_are_refused(tensorflow: Any) -> None:
    @tensorflow.function(autograph=False)  # autograph=True would leave files.
    def trace(part: Any) -> Any:
        with pytest.raises(UnsupportedDataError, match=r"inside a tensorflow\.function"):
            to_numpy(part)
        return part

    trace(tensorflow.ones(3))


def test_other_values_are_not_arrays(tensorflow: Any, torch: Any, jax: Any) -> None:
    for value in (tensorflow.data.Dataset.range(3), torch.nn.Linear(1, 1), jax.devices()[0]):
        assert not is_array(value)
        with pytest.raises(UnsupportedDataError, match="expected an array, got"):
            to_numpy(value)


def test_meta_is_not_a_device(torch: Any) -> None:
    with pytest.raises(InvalidOptionError, match=r"device='meta' .* one of cpu"):
        to_framework(aligned(4), "torch", device="meta")


@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow"])
def test_devices_are_named(require: Require, name: str) -> None:
    require(name)
    with pytest.raises(InvalidOptionError, match=rf"expected one of cpu.*, for {name}"):
        to_framework(aligned(4), name, device="cuda:77")


def test_numpy_has_no_device() -> None:
    with pytest.raises(InvalidOptionError, match="pass framework= as well"):
        to_framework(aligned(4), "numpy", device="cuda:0")


@pytest.mark.parametrize("name", ["torch", "tensorflow"])
def test_foreign_dtype_gets_numpy_name(require: Require, name: str) -> None:
    for dtype in ("float16", "bfloat16"):
        foreign = getattr(require(name), dtype)
        with pytest.raises(InvalidOptionError, match=f"a NumPy dtype, such as '{dtype}'"):
            to_framework(aligned(4), name, dtype=foreign)


def test_conjugated_views_need_a_copy(torch: Any) -> None:
    value = torch.tensor([1 + 2j]).conj()
    with pytest.raises(CopyRequiredError, match="conjugated or negated"):
        to_numpy(value, copy="never")
    assert np.array_equal(to_numpy(value), [1 - 2j])
