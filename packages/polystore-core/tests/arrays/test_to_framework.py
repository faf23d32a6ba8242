"""Conversions from NumPy to a framework."""

from typing import Any

import numpy as np
import pytest

from polystore_core import framework_of, to_framework, to_numpy
from polystore_core.errors import CopyRequiredError, InvalidOptionError, UnsupportedDataError

from .samples import FRAMEWORKS, NARROW, Own, Python, Require, Speaker, aligned


@pytest.mark.parametrize("dtype", NARROW)
def test_types_survive_frameworks(framework: str, dtype: str) -> None:
    for plain in (aligned(6, dtype).reshape(2, 3), np.zeros((0, 3), dtype), np.ones((), dtype)):
        array = to_numpy(to_framework(plain, framework))
        assert (array.dtype, array.shape) == (plain.dtype, plain.shape)
        assert array.tolist() == plain.tolist()


@pytest.mark.parametrize("dtype", ["i8", "u8", "f8", "c16"])
@pytest.mark.parametrize("name", ["torch", "tensorflow"])
def test_wide_types_survive(require: Require, name: str, dtype: str) -> None:
    require(name)
    array = to_numpy(to_framework(aligned(6, dtype), name))
    assert (array.dtype, array.tolist()) == (np.dtype(dtype), aligned(6, dtype).tolist())


@pytest.mark.parametrize("dtype", ["i8", "u8", "f8", "c16"])
@pytest.mark.parametrize("copy", ["auto", "always", "never"])
def test_jax_never_narrows(jax: Any, dtype: str, copy: Any) -> None:
    with pytest.raises(UnsupportedDataError, match="JAX would narrow"):
        to_framework(aligned(6, dtype), "jax", copy=copy)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", ["i8", "u8", "f8", "c16"])
@pytest.mark.parametrize("copy", ["auto", "always", "never"])
def test_wide_jax_is_wide(dtype: str, copy: Any) -> None:
    array = to_numpy(to_framework(aligned(6, dtype), "jax", copy=copy))
    assert (array.dtype, array.tolist()) == (np.dtype(dtype), aligned(6, dtype).tolist())


WIDE = """
import numpy as np
from polystore_core import to_framework
print(to_framework(np.array([2**40]), "jax").tolist())
"""


def test_x64_variable_suffices(jax: Any, python: Python) -> None:
    done = python(WIDE, JAX_ENABLE_X64="1")
    assert done.stdout == f"[{2**40}]\n", done.stderr


def test_dtype_option_narrows(jax: Any) -> None:
    assert to_framework(aligned(6, "f8"), "jax", dtype="f4").dtype == "float32"


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(2, [("a", "i4")]),
        np.zeros(2, "M8[s]"),
        np.zeros(2, "m8[s]"),
        np.array(["a"]),
        np.array([b"a"]),
        np.zeros(2, "V3"),
        np.zeros(2, "g"),
    ],
    ids=lambda value: value.dtype.str,
)
def test_foreign_types_refused(framework: str, value: Any) -> None:
    if value.dtype.char == "g" and value.dtype.itemsize == 8:
        pytest.skip("system: long double is double here")
    with pytest.raises(UnsupportedDataError, match=f"{framework} does not have "):
        to_framework(value, framework)
    with pytest.raises((UnsupportedDataError, CopyRequiredError)):
        to_framework(value, framework, copy="never")


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_same_framework_is_same(require: Require, name: str) -> None:
    require(name)
    value = to_framework(aligned(6), name)
    assert to_framework(value, name) is value
    assert to_framework(value, name, copy="never") is value


@pytest.mark.parametrize(
    "value",
    [
        Speaker(np.ones(3)),
        np.ones(3).view(Own),
        np.ones((1, 3)).view(np.matrix),
        np.float32(1),
    ],
)
def test_numpy_is_an_ndarray(value: Any) -> None:
    assert type(to_framework(value, "numpy")) is np.ndarray


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_masked_arrays_are_refused(require: Require, name: str) -> None:
    require(name)
    with pytest.raises(UnsupportedDataError, match="would lose its mask"):
        to_framework(np.ma.array([1, 2], mask=[False, True]), name)


@pytest.mark.parametrize("value", [np.array(["x"]), np.zeros(2, [("a", "i4"), ("b", "i4")])])
def test_impossible_dtype_refused(value: Any) -> None:
    with pytest.raises(UnsupportedDataError, match="does not convert to int16"):
        to_framework(value, "numpy", dtype="i2")


@pytest.mark.parametrize("source", FRAMEWORKS)
@pytest.mark.parametrize("target", FRAMEWORKS)
def test_frameworks_convert_to_each_other(require: Require, source: str, target: str) -> None:
    require(source)
    require(target)
    value = to_framework(to_framework(aligned(6), source), target)
    assert framework_of(value) == target
    assert to_numpy(value).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("numpy", "cpu"),
        ("torch", "cpu"),
        ("torch", "cpu:0"),
        ("jax", "cpu"),
        ("jax", "cpu:0"),
        ("tensorflow", "cpu"),
        ("tensorflow", "/CPU:0"),
        ("tensorflow", "/device:CPU:0"),
    ],
)
@pytest.mark.parametrize("copy", ["auto", "never"])
def test_device_is_accepted(require: Require, name: str, device: str, copy: Any) -> None:
    require(name)
    value = to_framework(aligned(64), name, device=device, copy=copy)
    assert framework_of(value) == name


def test_numpy_has_no_gpu() -> None:
    with pytest.raises(InvalidOptionError, match=r"device='cuda:0' .* 'cpu' for NumPy arrays"):
        to_framework(aligned(4), "numpy", device="cuda:0")


@pytest.mark.parametrize("name", FRAMEWORKS)
@pytest.mark.parametrize("device", ["nonsense", "xpu:77", "GPU:77", "cpu:x"])
@pytest.mark.parametrize("copy", ["auto", "never"])
def test_missing_device_refused(require: Require, name: str, device: str, copy: Any) -> None:
    require(name)
    with pytest.raises(InvalidOptionError, match=f"device={device!r} is not valid"):
        to_framework(aligned(64), name, device=device, copy=copy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"framework": "cupyx"},
            "framework='cupyx' is not valid: expected one of numpy, cupy, jax, tensorflow, torch",
        ),
        (
            {"copy": "maybe"},
            "copy='maybe' is not valid: expected one of auto, always, never",
        ),
        ({"dtype": "floaty"}, "dtype='floaty' is not valid"),
    ],
)
def test_wrong_options_refused(options: Any, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        to_framework(aligned(4), **{"framework": "numpy"} | options)


def test_wrong_copy_refused() -> None:
    copy: Any = True
    with pytest.raises(InvalidOptionError, match="copy=True is not valid"):
        to_numpy(aligned(4), copy=copy)
