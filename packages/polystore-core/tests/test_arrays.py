import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from polystore_core import framework_of, is_array, to_framework, to_numpy
from polystore_core.errors import (
    CopyRequiredError,
    InvalidOptionError,
    MissingDependencyError,
    UnsupportedDataError,
)
from polystore_core.model.arrays import FRAMEWORKS

Python = Callable[..., subprocess.CompletedProcess[str]]
Require = Callable[[str], ModuleType]

FOREIGN = [name for name in FRAMEWORKS if name != "numpy"]
PLAIN = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
NARROW = [dtype for dtype in PLAIN if dtype not in ("i8", "u8", "f8", "c16")]


@pytest.fixture
def torch(require: Require) -> Any:
    return require("torch")


@pytest.fixture
def jax(require: Require) -> Any:
    return require("jax")


@pytest.fixture
def tensorflow(require: Require) -> Any:
    return require("tensorflow")


@pytest.fixture(params=FOREIGN)
def framework(request: pytest.FixtureRequest) -> str:
    request.getfixturevalue(request.param)
    name: str = request.param
    return name


@pytest.fixture
def x64(jax: Any) -> Iterator[None]:
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def aligned(count: int, dtype: str = "f4", offset: int = 0) -> NDArray[Any]:
    """Count up in memory that begins ``offset`` bytes behind a multiple of 64."""
    size = count * np.dtype(dtype).itemsize
    memory = np.zeros(size + 128, np.uint8)
    begin = -memory.ctypes.data % 64 + offset
    array = memory[begin : begin + size].view(dtype)
    array[:] = np.arange(count).astype(dtype)
    return array


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array


# ── what an array is ─────────────────────────────────────────────────────────────────────


class Speaker:
    """Speaks DLPack and nothing else."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class Mute(Speaker):
    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("not today")


class Own(np.ndarray):
    pass


class Quantity(np.ndarray):
    """Carries a unit, as those of astropy and unyt do."""

    unit = None

    def __array_finalize__(self, source: Any) -> None:
        self.unit = getattr(source, "unit", None)

    @property
    def value(self) -> NDArray[Any]:
        return self.view(np.ndarray)


class Slotted(np.ndarray):
    __slots__ = ("magnitude",)


class Wrapping:
    """Replaces the arithmetic of NumPy, and hands on the rest, as pint does."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.magnitude = array

    def __array_ufunc__(self, *arguments: Any, **options: Any) -> Any:
        raise TypeError("another unit")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.magnitude, name)


def quantity(unit: str | None, kind: Any = Quantity) -> Any:
    value = np.arange(3.0).view(kind)
    setattr(value, "magnitude" if kind is Slotted else "unit", unit)
    return value


@pytest.mark.parametrize(
    ("value", "framework"),
    [
        (np.zeros(3), "numpy"),
        (np.zeros(3).view(Own), "numpy"),
        (np.float32(1), "numpy"),
        (Speaker(np.zeros(3)), "numpy"),
        (np.ndarray, None),
        (Speaker, None),
        ([1, 2], None),
        ("text", None),
        (b"bytes", None),
        (memoryview(b"bytes"), None),
        (None, None),
        (1.5, None),
    ],
)
def test_arrays_are_recognised(value: object, framework: str | None) -> None:
    assert is_array(value) == (framework is not None)
    assert framework_of(value) == framework


def test_framework_is_recognised(framework: str) -> None:
    assert framework_of(to_framework(np.zeros(3, "f4"), framework)) == framework


def test_subclass_keeps_framework(torch: Any) -> None:
    mine = type("Mine", (torch.Tensor,), {"__module__": "elsewhere"})
    assert framework_of(torch.zeros(3).as_subclass(mine)) == "torch"


# ── to NumPy ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", PLAIN)
def test_torch_types_arrive(torch: Any, dtype: str) -> None:
    plain = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    array = to_numpy(torch.from_numpy(plain))
    assert (array.dtype, array.tolist()) == (plain.dtype, plain.tolist())


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", PLAIN)
def test_jax_types_arrive(jax: Any, dtype: str) -> None:
    plain = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    array = to_numpy(jax.numpy.array(plain))
    assert (array.dtype, array.tolist()) == (plain.dtype, plain.tolist())


@pytest.mark.parametrize("dtype", PLAIN)
def test_tensorflow_types_arrive(tensorflow: Any, dtype: str) -> None:
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
def test_numpy_data_stays(value: Any) -> None:
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


def test_subclass_that_carries_nothing_is_data() -> None:
    assert to_numpy(quantity(None)).tolist() == [0, 1, 2]
    assert to_numpy(np.arange(3.0).view(Slotted)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_unit_reaches_no_framework(framework: str) -> None:
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
        (quantity("µm"), r"test_arrays\.Quantity would lose .* unit: save value\.value"),
        (quantity("", Slotted), r"Slotted would lose its attributes.* save value\.magnitude"),
        (quantity("µm", type("Tag", (Quantity,), {"value": None})), "Tag would lose"),
        (Wrapping(np.zeros(3)), r"Wrapping would lose its attributes.* save value\.magnitude"),
    ],
)
@pytest.mark.parametrize("copy", ["auto", "always", "never"])
def test_impossible_values_refused(value: Any, reason: str, copy: Any) -> None:
    with pytest.raises(UnsupportedDataError, match=reason):
        to_numpy(value, copy=copy)


def in_torch(torch: Any) -> Iterator[tuple[str, Any, str]]:
    yield "bfloat16", torch.ones(3, dtype=torch.bfloat16), "NumPy does not have bfloat16"
    yield "float8", torch.ones(3).to(torch.float8_e5m2), "Float8_e5m2"
    yield "gradient", torch.ones(3, requires_grad=True), r"save tensor\.detach\(\)"
    yield "parameter", torch.nn.Parameter(torch.ones(3)), r"save tensor\.detach\(\)"
    yield "sparse", torch.eye(3).to_sparse(), r"Use Tensor\.to_dense\(\)"
    yield "conjugated", torch.ones(3, dtype=torch.complex64).conj(), "resolve_conj"
    yield "meta", torch.ones(3, device="meta"), "no data"


@pytest.mark.parametrize("copy", ["auto", "always"])
def test_torch_values_refused(torch: Any, copy: Any) -> None:
    for _, tensor, reason in in_torch(torch):
        with pytest.raises(UnsupportedDataError, match=reason):
            to_numpy(tensor, copy=copy)


def test_other_device_needs_copy(torch: Any) -> None:
    with pytest.raises(CopyRequiredError, match="the tensor is on meta"):
        to_numpy(torch.ones(3, device="meta"), copy="never")


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


# ── shared memory ────────────────────────────────────────────────────────────────────────


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


def test_torch_leaves_jax_alone(torch: Any, jax: Any) -> None:
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


# ── to a framework ───────────────────────────────────────────────────────────────────────


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
def test_jax_narrows_nothing(jax: Any, dtype: str, copy: Any) -> None:
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


def test_asked_dtype_narrows(jax: Any) -> None:
    assert to_framework(aligned(6, "f8"), "jax", dtype="f4").dtype == "float32"


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(2, [("a", "i4")]), np.zeros(2, "M8[s]"), np.zeros(2, "m8[s]"), np.array(["a"]),
        np.array([b"a"]), np.zeros(2, "V3"), np.zeros(2, "g"),
    ],
    ids=lambda value: value.dtype.str,
)  # fmt: skip
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


@pytest.mark.parametrize("value", [
    Speaker(np.ones(3)), np.ones(3).view(Own), np.ones((1, 3)).view(np.matrix), np.float32(1),
])  # fmt: skip
def test_numpy_is_an_ndarray(value: Any) -> None:
    assert type(to_framework(value, "numpy")) is np.ndarray


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_masks_reach_no_framework(require: Require, name: str) -> None:
    require(name)
    with pytest.raises(UnsupportedDataError, match="would lose its mask"):
        to_framework(np.ma.array([1, 2], mask=[False, True]), name)


@pytest.mark.parametrize("value", [np.array(["x"]), np.zeros(2, [("a", "i4"), ("b", "i4")])])
def test_impossible_dtype_refused(value: Any) -> None:
    with pytest.raises(UnsupportedDataError, match="does not convert to int16"):
        to_framework(value, "numpy", dtype="i2")


@pytest.mark.parametrize("source", FRAMEWORKS)
@pytest.mark.parametrize("target", FRAMEWORKS)
def test_frameworks_convert_crosswise(require: Require, source: str, target: str) -> None:
    require(source)
    require(target)
    value = to_framework(to_framework(aligned(6), source), target)
    assert framework_of(value) == target
    assert to_numpy(value).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("name", "device"), [
    ("numpy", "cpu"), ("torch", "cpu"), ("torch", "cpu:0"), ("jax", "cpu"), ("jax", "cpu:0"),
    ("tensorflow", "cpu"), ("tensorflow", "/CPU:0"), ("tensorflow", "/device:CPU:0"),
])  # fmt: skip
@pytest.mark.parametrize("copy", ["auto", "never"])
def test_device_is_taken(require: Require, name: str, device: str, copy: Any) -> None:
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
    ("options", "said"),
    [
        (
            {"framework": "cupyx"},
            "framework='cupyx' is not valid: expected one of numpy, torch",
        ),
        (
            {"copy": "maybe"},
            "copy='maybe' is not valid: expected one of auto, always, never",
        ),
        ({"dtype": "floaty"}, "dtype='floaty' is not valid"),
    ],
)
def test_wrong_options_refused(options: Any, said: str) -> None:
    with pytest.raises(InvalidOptionError, match=said):
        to_framework(aligned(4), **{"framework": "numpy"} | options)


def test_wrong_copy_refused() -> None:
    copy: Any = True
    with pytest.raises(InvalidOptionError, match="copy=True is not valid"):
        to_numpy(aligned(4), copy=copy)


# ── imports ──────────────────────────────────────────────────────────────────────────────

IMPORTED = """
import sys
import numpy as np
from polystore_core import framework_of, is_array, to_framework, to_numpy
array = np.zeros(3)
is_array(array), framework_of(array), to_numpy(array), to_framework(array, "numpy")
to_framework([1] and array, "numpy", dtype="f4", device="cpu", copy="always")
print({name for name in ("torch", "jax", "tensorflow", "cupy") if name in sys.modules})
"""


def test_nothing_else_is_imported(python: Python) -> None:
    done = python(IMPORTED)
    assert (done.stderr, done.stdout) == ("", "set()\n")


@pytest.mark.parametrize("name", FOREIGN)
def test_missing_framework_is_told(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=rf"pip install 'polystore\[{name}\]'"):
        to_framework(aligned(4), name)


BROKEN = """
import numpy as np
from polystore_core import to_framework
try:
    to_framework(np.zeros(3), "torch")
except ModuleNotFoundError as error:
    print(type(error).__name__, error.name)
"""


def test_broken_framework_is_broken(python: Python, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import nowhere")
    done = python(BROKEN, PYTHONPATH=str(tmp_path))
    assert done.stdout == "ModuleNotFoundError nowhere\n"


# ── what would end the process ───────────────────────────────────────────────────────────

TRAPS = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from polystore_core import to_framework, to_numpy
from polystore_core.errors import PolystoreError

def refused(call):
    try:
        call()
    except PolystoreError:
        return True
"""
TORCH_TRAPS = (
    TRAPS
    + """
np.arange(64, dtype="f4").tofile(sys.argv[1])
mapped = np.memmap(sys.argv[1], "f4", "r")
to_framework(mapped, "torch").add_(1)  # a segmentation fault if it were shared
assert mapped[1] == 1
assert refused(lambda: to_framework(mapped, "torch", copy="never"))
print("memory map", flush=True)

flipped = np.arange(12.0).reshape(3, 4)[::-1, ::-1]
assert to_framework(flipped, "torch").sum() == 66  # an abort in torch.from_dlpack
print("negative strides", flush=True)

odd = np.zeros(65, "u1")[1:].view("f8")
assert to_framework(odd, "torch").add_(1).sum() == 8
print("odd address", flush=True)

overlapping = np.lib.stride_tricks.as_strided(np.arange(4.0), (3, 2), (8, 8))
assert to_numpy(to_framework(overlapping, "torch")).tolist() == overlapping.tolist()
print("overlap", flush=True)

def lend():
    return to_framework(np.full(1000, 7.0), "torch"), to_numpy(to_framework(np.ones(9), "torch"))

lent, given = lend()
junk = [np.zeros(1000) for _ in range(1000)]
assert lent.sum() == 7000 and given.sum() == 9
print("lifetime", flush=True)
"""
)
TENSORFLOW_TRAPS = (
    TRAPS
    + """
import tensorflow as tf
assert refused(lambda: to_numpy(tf.constant(["text"])))  # an abort in DLPack
print("text", flush=True)

memory = np.zeros(4096 + 128, "u1")
begin = -memory.ctypes.data % 64
for offset in (4, 8, 16, 32, 64):
    array = memory[begin + offset :][:4096].view("f4")
    try:
        tensor = to_framework(array, "tensorflow", copy="never")
    except PolystoreError:
        continue
    assert offset == 64
    tf.reduce_sum(tf.nn.relu(tensor + tensor) * tensor)  # an abort on other addresses
print("address", flush=True)

def lend():
    return to_numpy(tf.fill(1000, 7.0))

lent = lend()
junk = [tf.zeros(1000) for _ in range(1000)]
assert lent.sum() == 7000
print("lifetime", flush=True)
"""
)


@pytest.mark.parametrize(
    ("name", "code", "survived"),
    [
        ("torch", TORCH_TRAPS, "memory map, negative strides, odd address, overlap, lifetime"),
        ("tensorflow", TENSORFLOW_TRAPS, "text, address, lifetime"),
    ],
)
def test_process_survives_traps(
    require: Require, python: Python, tmp_path: Path, name: str, code: str, survived: str
) -> None:
    require(name)
    done = python(code, tmp_path / "mapped")
    assert ", ".join(done.stdout.splitlines()) == survived, done.stderr
    assert done.returncode == 0
