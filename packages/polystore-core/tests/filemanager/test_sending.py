"""Batches sent to a device, through a stage that transfers as late as it may."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import FileManager, framework_of, to_numpy
from polystore_core.abc.framework import Stage
from polystore_core.errors import BatchError, CopyRequiredError, InvalidOptionError
from polystore_core.frameworks.staging import Ring

from ..plugins.samples import Install

FAR = """
import numpy as np
from polystore_core import Framework
from polystore_core.errors import CopyRequiredError

class Provided(Framework):
    name = "acme_far"
    make_stage = None

    def to_numpy(self, value, /, *, copy):
        return value.inside

    def from_numpy(self, array, /, *, device, copy, donate):
        if device not in (None, "far:0"):
            raise self.no_such_device(device)
        if copy == "never":
            raise CopyRequiredError("the array would move to far:0")
        return Far(np.array(array))

    def device_of(self, value, /):
        return "far:0"

    def stage(self, *, device):
        self.from_numpy(np.zeros(0), device=device, copy="auto", donate=True)
        return Provided.make_stage(Far)

class Far:
    def __init__(self, inside):
        self.inside = inside

    def __dlpack__(self, **options):
        raise BufferError("it is far")
"""


class Late(Stage):
    """Transfers only when the caller waits for it."""

    def __init__(self, make: Any) -> None:
        self.allocated = 0
        self.make, self.ring = make, Ring(self._allocate)

    def _allocate(self, nbytes: int) -> Any:
        self.allocated += 1
        return np.empty(nbytes, np.uint8)

    def lend(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        return self.ring.lend(shape, dtype)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        return Target(self.make(np.empty(shape, dtype)))

    def send(self, array: Any, target: Any) -> None:
        staged = self.ring.stage(array)

        def transfer() -> None:
            target.value.inside[...] = staged

        self.ring.take_back(staged, transfer)

    def finish(self) -> None:
        self.ring.finish()


class Target:
    def __init__(self, value: Any) -> None:
        self.value = value
        self.inside = value.inside
        self.__dlpack__ = value.__dlpack__

    def __getitem__(self, index: Any) -> Any:
        return Target(type(self.value)(self.inside[index]))


@pytest.fixture
def stages(install: Install) -> list[Late]:
    from polystore_core.frameworks import framework

    group = "polystore.frameworks"
    install("acme-far", "acme_far", group=group, code=FAR)
    made: list[Late] = []

    def make(far: Any) -> Late:
        made.append(Late(far))
        return made[-1]

    type(framework("acme_far")).make_stage = staticmethod(make)  # type: ignore[attr-defined]
    return made


@pytest.fixture
def saved_batch(tmp_path: Path) -> tuple[FileManager, list[str], Any]:
    fm = FileManager()
    stack = np.arange(30 * 12, dtype="i4").reshape(30, 3, 4)
    paths = [str(tmp_path / f"{n}.npy") for n in range(30)]
    fm.save_batch(list(stack), paths, "disk")
    return fm, paths, stack


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("dtype", [None, "f8", ">i4"])
@pytest.mark.parametrize("stack", [False, True])
def test_batch_is_sent_whole(
    stages: list[Late], saved_batch: Any, stack: bool, dtype: str | None, threads: int
) -> None:
    fm, paths, expected = saved_batch
    asked = {"framework": "acme_far", "device": "far:0", "dtype": dtype, "threads": threads}
    found = fm.load_batch(paths, "disk", stack=stack, **asked)
    values = [found[n].inside for n in range(30)]
    assert [value.tolist() for value in values] == expected.tolist()
    assert values[0].dtype == np.dtype(dtype or "i4").newbyteorder("=")
    assert stages[0].allocated < 15


def test_jagged_stack_is_refused(stages: list[Late], saved_batch: Any) -> None:
    fm, paths, _ = saved_batch
    fm.save(np.zeros((2, 2), "i4"), paths[7], "disk")
    with pytest.raises(BatchError, match=r"this one is int32 \(2, 2\), but .*0\.npy") as caught:
        fm.load_batch(paths, "disk", stack=True, framework="acme_far")
    assert [path for path, _ in caught.value.failed.values()] == [paths[7]]
    found = fm.load_batch(paths, "disk", framework="acme_far")
    assert found[7].inside.shape == (2, 2)


def test_missing_file_delays_no_other(stages: list[Late], saved_batch: Any) -> None:
    fm, paths, _ = saved_batch
    with pytest.raises(BatchError, match="1 of 31"):
        fm.load_batch([*paths[:5], "none.npy", *paths[5:]], "disk", framework="acme_far")


def test_dicts_are_converted(stages: list[Late], saved_batch: Any, tmp_path: Path) -> None:
    fm, _, _ = saved_batch
    fm.save({"a": np.arange(3)}, tmp_path / "a.npz", "disk")
    (found,) = fm.load_batch([tmp_path / "a.npz"], "disk", framework="acme_far")
    assert framework_of(found["a"]) == "acme_far"
    assert to_numpy(found["a"]).tolist() == [0, 1, 2]


def test_device_and_copy_are_checked(stages: list[Late], saved_batch: Any) -> None:
    fm, paths, _ = saved_batch
    with pytest.raises(InvalidOptionError, match="device='far:7'"):
        fm.load_batch(paths, "disk", framework="acme_far", device="far:7")
    with pytest.raises(BatchError) as caught:
        fm.load_batch(paths, "disk", framework="acme_far", copy="never")
    assert isinstance(caught.value.failed[0][1], CopyRequiredError)
