"""Conversions from a framework to NumPy."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import to_framework, to_numpy
from polystore_core.errors import CopyRequiredError, UnsupportedDataError

from .samples import (
    FRAMEWORKS,
    PLAIN,
    Mute,
    Own,
    Quantity,
    Require,
    Slotted,
    Speaker,
    Wrapping,
    quantity,
)


@pytest.mark.parametrize("dtype", PLAIN)
def test_torch_types_are_kept(torch: Any, dtype: str) -> None:
    plain = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    array = to_numpy(torch.from_numpy(plain))
    assert (array.dtype, array.tolist()) == (plain.dtype, plain.tolist())


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", PLAIN)
def test_jax_types_are_kept(jax: Any, dtype: str) -> None:
    plain = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    array = to_numpy(jax.numpy.array(plain))
    assert (array.dtype, array.tolist()) == (plain.dtype, plain.tolist())


@pytest.mark.parametrize("dtype", PLAIN)
def test_tensorflow_types_are_kept(tensorflow: Any, dtype: str) -> None:
    plain = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    array = to_numpy(tensorflow.constant(plain))
    assert (array.dtype, array.tolist()) == (plain.dtype, plain.tolist())


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((2, 3), ">f4"),
        np.zeros(3, "M8[us]"),
        np.zeros(3, [("a", "i4"), ("b", "f8")]),
        np.array(["text"]),
        np.array(7),
        np.zeros((0, 3)),
        np.zeros(3).view(Own),
        np.zeros((2, 2)).view(np.matrix),
        np.zeros(2, [("a", "i4")]).view(np.recarray),
    ],
)
def test_numpy_data_is_shared(value: Any) -> None:
    array = to_numpy(value, copy="never")
    assert type(array) is np.ndarray
    assert (array.dtype, array.shape) == (value.dtype, value.shape)
    assert value.size == 0 or np.shares_memory(array, value)


def test_memory_map_is_data(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "mapped", "u2", "w+", shape=(2, 3))
    array = to_numpy(mapped, copy="never")
    assert type(array) is np.ndarray
    assert np.shares_memory(array, mapped)


def test_dlpack_alone_suffices() -> None:
    plain = np.arange(3)
    assert np.shares_memory(to_numpy(Speaker(plain), copy="never"), plain)
    with pytest.raises(UnsupportedDataError, match="Mute cannot be read by NumPy: not today"):
        to_numpy(Mute(plain))


def test_interface_alone_suffices() -> None:
    plain = np.arange(6).reshape(2, 3)
    speaker = type("Speaker", (), {"__array_interface__": plain.__array_interface__})()
    array = to_numpy(speaker, copy="never")
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert np.shares_memory(array, plain)


def test_subclass_without_attributes_is_accepted() -> None:
    assert to_numpy(quantity(None)).tolist() == [0, 1, 2]
    assert to_numpy(np.arange(3.0).view(Slotted)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_unit_is_refused(framework: str) -> None:
    with pytest.raises(UnsupportedDataError, match="such as a unit"):
        to_framework(quantity("µm"), framework)


def test_units_of_pint_are_not_stripped(require: Require) -> None:
    value = np.arange(3.0) * require("pint").UnitRegistry().um
    with pytest.raises(UnsupportedDataError, match=r"pint\.Quantity .* save value\.magnitude"):
        to_numpy(value)


@pytest.mark.parametrize("dtype", ["f4", "?", "M8[s]"])
def test_scalar_has_no_memory_to_share(dtype: str) -> None:
    scalar = np.zeros(1, dtype)[0]
    assert to_numpy(scalar).tolist() == scalar.tolist()
    with pytest.raises(CopyRequiredError, match="does not share its memory"):
        to_numpy(scalar, copy="never")


def test_picture_is_a_copy(require: Require) -> None:
    picture = require("PIL.Image").new("L", (2, 3), 7)
    assert to_numpy(picture).tolist() == [[7, 7]] * 3
    with pytest.raises(CopyRequiredError, match=r"PIL\.Image\.Image does not share its memory"):
        to_numpy(picture, copy="never")


def masked_subclass() -> Any:
    return np.ma.array([1, 2], mask=[False, True]).view(type("Mine", (np.ma.MaskedArray,), {}))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([1, 2], "an array, got list"),
        ("text", "an array, got str"),
        (np.array([None]), "does not pickle"),
        (np.zeros(2, [("a", "O")]), "does not pickle"),
        (np.ma.array([1, 2], mask=[False, True]), "would lose its mask"),
        (masked_subclass(), "would lose its mask"),
        (quantity("µm"), r"samples\.Quantity would lose .* unit: save value\.value"),
        (quantity("", Slotted), r"Slotted would lose its attributes.* save value\.magnitude"),
        (quantity("µm", type("Tag", (Quantity,), {"value": None})), "Tag would lose"),
        (Wrapping(np.zeros(3)), r"Wrapping would lose its attributes.* save value\.magnitude"),
    ],
)
@pytest.mark.parametrize("copy", ["auto", "always", "never"])
def test_impossible_values_refused(value: Any, reason: str, copy: Any) -> None:
    with pytest.raises(UnsupportedDataError, match=reason):
        to_numpy(value, copy=copy)


def make_tensors(torch: Any) -> Iterator[tuple[str, Any, str]]:
    yield "bfloat16", torch.ones(3, dtype=torch.bfloat16), "NumPy does not have bfloat16"
    yield "float8", torch.ones(3).to(torch.float8_e5m2), "NumPy does not have float8_e5m2"
    yield "sparse", torch.eye(3).to_sparse(), r"save tensor\.to_dense\(\)"
    yield "meta", torch.ones(3, device="meta"), "without data"


@pytest.mark.parametrize("copy", ["auto", "always"])
def test_torch_values_refused(torch: Any, copy: Any) -> None:
    for _, tensor, reason in make_tensors(torch):
        with pytest.raises(UnsupportedDataError, match=reason):
            to_numpy(tensor, copy=copy)


def test_torch_views_are_resolved(torch: Any) -> None:
    value = torch.tensor([1 + 2j, 3 - 4j], requires_grad=True)
    for tensor in (value, torch.nn.Parameter(value), value * 1):
        assert to_numpy(tensor, copy="never").tolist() == [1 + 2j, 3 - 4j]
    for tensor in (value.conj(), value.conj().imag):
        with pytest.raises(CopyRequiredError, match="conjugated or negated"):
            to_numpy(tensor, copy="never")
        assert to_numpy(tensor).tolist() == tensor.tolist()


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "int4"])
def test_jax_values_refused(jax: Any, dtype: str) -> None:
    value = jax.numpy.ones(3, dtype)
    for given in (value, np.asarray(value)):
        with pytest.raises(UnsupportedDataError, match=f"NumPy does not have {dtype}"):
            to_numpy(given)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda tf: tf.ones(3, tf.bfloat16), "NumPy does not have bfloat16"),
        (lambda tf: tf.cast(tf.ones(3), tf.qint8), "NumPy does not have qint8"),
        (lambda tf: tf.constant(["text"]), "does not pickle"),
        (lambda tf: tf.ragged.constant([[1], [2, 3]]), "an array, got .*RaggedTensor"),
    ],
)
def test_tensorflow_values_refused(
    tensorflow: Any, make: Callable[[Any], Any], reason: str
) -> None:
    with pytest.raises(UnsupportedDataError, match=reason):
        to_numpy(make(tensorflow))
