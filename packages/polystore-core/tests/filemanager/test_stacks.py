"""``load_batch(stack=True)`` returns one array, which is filled as the items are loaded."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import Collector, FileBackend, FileManager, LocalStore, run_batch
from polystore_core.collecting import collect
from polystore_core.conversion import Conversion
from polystore_core.errors import (
    BatchError,
    CopyRequiredError,
    InvalidOptionError,
    NotFoundError,
    UnsupportedDataError,
)

if TYPE_CHECKING:
    from .samples import Require


@pytest.fixture
def files(memory: FileManager) -> FileManager:
    """Return a manager with four equal-sized arrays, "0.npy" to "3.npy"."""
    for n in range(4):
        memory.save(np.full((2, 3), n, "u2"), f"{n}.npy", backend="one")
    return memory


NAMES = [f"{n}.npy" for n in range(4)]


def test_items_keep_their_order(files: FileManager) -> None:
    paths = ["3.npy", "0.npy", "3.npy", "1.npy"]
    stacked = files.load_batch(paths, backend="one", stack=True)
    assert (stacked.shape, stacked.dtype) == ((4, 2, 3), "u2")
    assert stacked[:, 0, 0].tolist() == [3, 0, 3, 1]
    stacked[0] = 9  # The stack is new memory for the caller.
    assert files.load("3.npy", backend="one").tolist() == [[3] * 3] * 2


@pytest.mark.parametrize("value", [np.array(7, "i4"), np.zeros((0, 3)), np.array(["a", "bc"])])
def test_any_array_stacks(memory: FileManager, value: Any) -> None:
    memory.save(value, "a", backend="one")
    stacked = memory.load_batch(["a", "a"], backend="one", stack=True)
    assert (stacked.shape, stacked.dtype) == ((2, *value.shape), value.dtype)
    np.testing.assert_array_equal(stacked, np.stack([value, value]))


def test_byte_order_is_native(memory: FileManager) -> None:
    memory.save(np.arange(3, dtype=">u2"), "a", backend="one")
    memory.save(np.arange(3, dtype="<u2"), "b", backend="one")
    stacked = memory.load_batch(["a", "b"], backend="one", stack=True)
    assert stacked.dtype.isnative
    assert stacked.tolist() == [[0, 1, 2]] * 2


def test_other_shape_is_reported(files: FileManager) -> None:
    files.save(np.zeros((5, 3), "u2"), "long.npy", backend="one")
    with pytest.raises(BatchError) as caught:
        files.load_batch(["0.npy", "long.npy", "1.npy"], backend="one", stack=True)
    ((path, cause),) = caught.value.failed.values()
    assert path == "long.npy"
    assert isinstance(cause, UnsupportedDataError)
    for message in ("uint16 (5, 3)", "'0.npy' is uint16 (2, 3)", "without stack=True"):
        assert message in str(cause)


def test_mixed_types_need_dtype(files: FileManager) -> None:
    files.save(np.full((2, 3), 0.5), "half.npy", backend="one")
    paths = ["0.npy", "half.npy"]
    with pytest.raises(BatchError, match="pass dtype= to convert all of them"):
        files.load_batch(paths, backend="one", stack=True)
    stacked = files.load_batch(paths, backend="one", stack=True, dtype="f8")
    assert stacked[:, 0, 0].tolist() == [0, 0.5]
    with pytest.raises(BatchError, match=r"the element at \[0, 0\] is 0\.5") as caught:
        files.load_batch(paths, backend="one", stack=True, dtype="u2")
    assert list(caught.value.failed) == [1]
    unsafe = files.load_batch(paths, backend="one", stack=True, dtype="u2", casting="unsafe")
    assert not unsafe.any()


@pytest.mark.parametrize("value", [{"a": np.zeros(3)}, "text"], ids=["dict", "str"])
def test_other_values_do_not_stack(memory: FileManager, value: Any) -> None:
    memory.save(value, "a", backend="one")
    with pytest.raises(
        BatchError, match=f"stack=True needs arrays, got {type(value).__name__}"
    ):
        memory.load_batch(["a"], backend="one", stack=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stack": 1}, "stack=1 is not valid: expected True or False"),
        ({"stack": True, "dtype": "no"}, "dtype='no' is not valid"),
        ({"stack": True, "casting": "safe"}, "casting='safe' is not valid"),
        ({"stack": True, "framework": "no"}, "framework='no' is not valid"),
        ({"stack": True, "device": "no"}, "device='no' is not valid"),
        ({"stack": True, "as_": "image"}, "stack=True does not work with as_='image'"),
    ],
)
def test_options_are_checked_first(files: FileManager, options: Any, message: str) -> None:
    seen: list[int] = []
    with pytest.raises(InvalidOptionError) as caught:
        files.load_batch(
            NAMES, backend="one", progress=lambda done, _: seen.append(done), **options
        )
    assert message in str(caught.value)
    assert not seen


def test_empty_list_has_no_shape(memory: FileManager) -> None:
    with pytest.raises(InvalidOptionError, match="stack=True needs at least one path"):
        memory.load_batch([], backend="one", stack=True)


def test_too_large_is_one_error(memory: FileManager) -> None:
    """No array in memory can claim this size, but the header of a file can."""

    def load(collector: Collector) -> list[Any]:
        def put_one(index: int) -> Any:
            return collector.put(index, collector.memory(index, (1 << 20, 1 << 20), dtype))

        dtype = np.dtype("u1")
        return run_batch("one", "load", ["a", "b", "c", "d"], put_one)

    with pytest.raises(UnsupportedDataError) as caught:
        collect(Conversion("one"), ["a", "b", "c", "d"], load, stack=True)
    assert str(caught.value).startswith("backend 'one': 'a' cannot be loaded: ")
    message = (
        f"a stack of 4 arrays (uint8 (1048576, 1048576)) needs {1 << 42} bytes (4096.0 GiB)"
    )
    assert message in str(caught.value)


def test_never_option_refuses_copies_in_memory(files: FileManager) -> None:
    with pytest.raises(BatchError) as caught:
        files.load_batch(NAMES, backend="one", stack=True, copy="never")
    assert len(caught.value.failed) == 4
    assert all(type(e) is CopyRequiredError for _, e in caught.value.failed.values())


def test_failure_frees_the_stack(files: FileManager, monkeypatch: pytest.MonkeyPatch) -> None:
    from polystore_core import collecting

    made: list[weakref.ref[Any]] = []
    allocate = collecting.allocate_aligned

    def allocate_aligned(*given: Any) -> Any:
        array = allocate(*given)
        made.append(weakref.ref(array))
        return array

    monkeypatch.setattr(collecting, "allocate_aligned", allocate_aligned)
    with pytest.raises(BatchError) as caught:
        files.load_batch(["0.npy", "missing.npy"], backend="one", stack=True)
    gc.collect()
    assert len(made) == 1
    assert made[0]() is None
    assert [type(e) for _, e in caught.value.failed.values()] == [NotFoundError]


def test_progress_runs_in_calling_thread(files: FileManager) -> None:
    seen: list[tuple[int, int, int]] = []
    files.load_batch(
        NAMES,
        backend="one",
        stack=True,
        progress=lambda done, total: seen.append((done, total, threading.get_ident())),
    )
    assert seen == [(n, 4, threading.get_ident()) for n in (1, 2, 3, 4)]


def test_interrupt_ends_the_batch(files: FileManager) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.load_batch(NAMES, backend="one", stack=True, progress=interrupt)
    assert files.load_batch(NAMES, backend="one", stack=True).shape == (4, 2, 3)


@pytest.mark.frameworks
@pytest.mark.parametrize("framework", ["torch", "jax", "tensorflow"])
def test_stack_converts_to_frameworks(
    files: FileManager, require: Require, framework: str
) -> None:
    require(framework)
    stacked = files.load_batch(NAMES, backend="one", stack=True, framework=framework)
    assert type(stacked).__module__.partition(".")[0].replace("jaxlib", "jax") == framework
    assert np.asarray(stacked).tolist() == [[[n] * 3] * 2 for n in range(4)]


@pytest.mark.frameworks
def test_narrowing_is_one_error(memory: FileManager, require: Require) -> None:
    require("jax")
    memory.save(np.zeros(3), "a", backend="one")
    with pytest.raises(UnsupportedDataError, match="JAX would narrow float64"):
        memory.load_batch(["a", "a"], backend="one", stack=True, framework="jax")


@pytest.mark.frameworks
def test_extended_types_stack(memory: FileManager, require: Require) -> None:
    ml_dtypes: Any = require("ml_dtypes")
    torch: Any = require("torch")
    memory.save(torch.ones(3, dtype=torch.bfloat16), "a", backend="one")
    stacked = memory.load_batch(["a", "a"], backend="one", stack=True)
    assert (stacked.shape, stacked.dtype) == ((2, 3), ml_dtypes.bfloat16)
    tensor = memory.load_batch(["a", "a"], backend="one", stack=True, framework="torch")
    assert tensor.dtype == torch.bfloat16


class _Keeping(Collector):
    """Hands out memory, and ``put`` returns whether the value is in that memory."""

    def __init__(self) -> None:
        self.lent: dict[int, Any] = {}

    def memory(self, index: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        self.lent[index] = np.empty(shape, dtype)
        return self.lent[index]

    def put(self, index: int, value: Any) -> bool:
        return self.lent.get(index) is value


@pytest.mark.parametrize("region", [None, np.s_[1], np.s_[:, 1:]])
@pytest.mark.parametrize("length", [3, 1 << 16], ids=["small", "large"])
def test_npy_is_read_in_place(tmp_path: Any, region: Any, length: int) -> None:
    backend = FileBackend(LocalStore(root=str(tmp_path)))
    backend.save(np.arange(2 * length, dtype="u4").reshape(2, length), "a.npy")
    found = _Keeping()
    options = {} if region is None else {"region": region}
    assert backend.load_batch_into(["a.npy"] * 2, found, threads=2, **options) == [True] * 2
    for array in found.lent.values():
        np.testing.assert_array_equal(array, backend.load("a.npy", **options))
