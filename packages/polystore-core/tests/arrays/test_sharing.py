"""Memory that is shared, copied or refused."""

from typing import Any

import numpy as np
import pytest

from polystore_core import to_framework, to_numpy
from polystore_core.errors import CopyRequiredError

from .samples import FRAMEWORKS, Require, aligned, read_only


@pytest.mark.parametrize("copy", ["auto", "never"])
def test_to_numpy_shares(framework: str, copy: Any) -> None:
    value = to_framework(aligned(64), framework)
    first, second = to_numpy(value, copy=copy), to_numpy(value, copy=copy)
    assert np.shares_memory(first, second)
    assert first.flags.writeable == (framework == "torch")


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_always_shares_nothing(require: Require, name: str) -> None:
    require(name)
    value = to_framework(aligned(64), name)
    copy = to_numpy(value, copy="always")
    assert not np.shares_memory(copy, to_numpy(value))
    assert copy.flags.writeable
    again = to_framework(value, name, copy="always")
    assert again is not value
    assert not np.shares_memory(to_numpy(again), to_numpy(value))


def test_torch_shares_with_numpy(torch: Any) -> None:
    for copy in ("auto", "never"):
        array = aligned(64, offset=4)
        tensor = to_framework(array, "torch", copy=copy)
        array[0] = 99
        assert tensor[0] == 99


@pytest.mark.parametrize("size", [16, 1 << 20])
@pytest.mark.parametrize("name", ["jax", "tensorflow"])
def test_immutables_share_on_demand(require: Require, name: str, size: int) -> None:
    require(name)
    array = aligned(size)
    shared = to_framework(array, name, copy="never")
    apart = [to_framework(array, name, copy=copy) for copy in ("auto", "always")]
    assert np.shares_memory(to_numpy(shared), array)
    array[1] = 99
    assert [float(value[1]) for value in apart] == [1, 1]


def test_torch_never_changes_jax_memory(torch: Any, jax: Any) -> None:
    value = jax.numpy.arange(64, dtype="f4")
    to_framework(value, "torch").add_(100)
    assert float(value[0]) == 0
    with pytest.raises(CopyRequiredError, match="read-only"):
        to_framework(value, "torch", copy="never")


CANNOT_SHARE = {
    "read-only": lambda: read_only(aligned(64)),
    "broadcast": lambda: np.broadcast_to(aligned(1), (4,)),
    "negative strides": lambda: aligned(64)[::-1],
    "odd address": lambda: aligned(64, offset=1),
    "big-endian": lambda: aligned(64, ">f4"),
}
CANNOT_SHARE_IMMUTABLY = CANNOT_SHARE | {
    "address": lambda: aligned(64, offset=4),
    "steps": lambda: aligned(64)[::2],
    "columns": lambda: aligned(64).reshape(8, 8).T,
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("torch", kind) for kind in CANNOT_SHARE),
        *((name, kind) for name in ("jax", "tensorflow") for kind in CANNOT_SHARE_IMMUTABLY),
    ],
)
def test_never_refuses_to_copy(require: Require, name: str, kind: str) -> None:
    require(name)
    array = CANNOT_SHARE_IMMUTABLY[kind]()
    with pytest.raises(CopyRequiredError, match="copy='never' forbids one"):
        to_framework(array, name, copy="never")
    for copy in ("auto", "always"):
        assert to_numpy(to_framework(array, name, copy=copy)).tolist() == array.tolist()


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_conversion_needs_copy(require: Require, name: str) -> None:
    require(name)
    with pytest.raises(CopyRequiredError, match="converting float32 to int32"):
        to_framework(aligned(4), name, dtype="i4", copy="never")
