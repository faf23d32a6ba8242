import io
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core.errors import (
    BatchError,
    BatchLengthError,
    InvalidOptionError,
    MissingDependencyError,
    NotAPathError,
)
from polystore_core.work import check_lengths, run_batch

PATHS = ["a", "b", "c", "d"]


def fail_at(*indices: int) -> Callable[[int], int]:
    def work(index: int) -> int:
        if index in indices:
            raise ValueError(f"item {index}")
        return index * 10

    return work


@pytest.mark.parametrize("threads", [1, 3])
def test_results_keep_order(threads: int) -> None:
    later = threading.Event()

    def work(index: int) -> int:
        if threads > 1 and index == 0:
            assert later.wait(60)  # The first item ends after the last one.
        if index == 3:
            later.set()
        return index

    assert run_batch("disk", "load", PATHS, work, threads=threads) == [0, 1, 2, 3]


def test_empty_batch_is_fine() -> None:
    assert run_batch("disk", "load", [], fail_at()) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_all_items_are_tried(threads: int) -> None:
    with pytest.raises(BatchError) as caught:
        run_batch("disk", "load", [Path("a"), *PATHS[1:]], fail_at(0, 2), threads=threads)
    error = caught.value
    assert {i: (path, str(cause)) for i, (path, cause) in error.failed.items()} == {
        0: ("a", "item 0"),
        2: ("c", "item 2"),
    }
    assert (error.done, error.not_attempted) == (("b", "d"), ())


def test_stop_leaves_later_items() -> None:
    with pytest.raises(BatchError) as caught:
        run_batch("disk", "save", PATHS, fail_at(1, 2), stop_at_failure=True)
    error = caught.value
    assert list(error.failed) == [error.failed_index] == [1]
    assert (error.done, error.not_attempted) == (("a",), ("c", "d"))


class Pixels:
    """An array that can be weakly referenced, to see when it is freed."""


@pytest.mark.parametrize("threads", [1, 3])
def test_failures_keep_no_arrays(threads: int) -> None:
    alive: weakref.WeakSet[Pixels] = weakref.WeakSet()

    def decode(index: int) -> Pixels:
        pixels = Pixels()
        alive.add(pixels)
        if index % 2:
            raise ValueError(index)
        return pixels

    def work(index: int) -> Pixels:
        try:
            return decode(index)
        except ValueError as error:
            raw = Pixels()
            alive.add(raw)
            raise OSError("damaged") from error

    with pytest.raises(BatchError) as caught:
        run_batch("disk", "load", PATHS, work, threads=threads)
    assert not alive
    _, cause = caught.value.failed[3]
    lines = [frame.name for frame in traceback.extract_tb(cause.__traceback__)]
    assert lines[-1] == "work"
    assert cause.__cause__ is not None
    assert [f.name for f in traceback.extract_tb(cause.__cause__.__traceback__)] == [
        "work",
        "decode",
    ]


def test_batch_never_clears_error_of_caller() -> None:
    def outer() -> None:
        plate = "p7"
        raise KeyError(plate)

    with pytest.raises(KeyError) as caught:
        outer()
    try:
        raise caught.value
    except KeyError:
        with pytest.raises(BatchError):
            run_batch("disk", "load", PATHS, fail_at(0))
    assert caught.traceback[-1].locals["plate"] == "p7"


def test_failure_leaves_generators_open() -> None:
    def planes() -> Iterator[Exception | int]:
        try:
            raise ValueError("plane 0 is damaged")
        except ValueError as error:
            yield error
        yield 1

    source = planes()

    def work(index: int) -> None:
        error = next(source)
        assert isinstance(error, Exception)
        raise error

    with pytest.raises(BatchError):
        run_batch("disk", "load", ["a"], work)
    assert next(source) == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_interrupt_ends_batch(threads: int) -> None:
    started: list[int] = []

    def work(index: int) -> None:
        started.append(index)
        if index == 0:
            raise KeyboardInterrupt
        time.sleep(0.1)  # All items together would take longer than the test may.

    with pytest.raises(KeyboardInterrupt):
        run_batch("disk", "load", ["a"] * 20_000, work, threads=threads)
    assert len(started) < 20_000


@pytest.mark.parametrize("paths", ["abc", b"abc", Path("abc"), iter(["a"]), None])
def test_single_path_is_refused(paths: Any) -> None:
    with pytest.raises(InvalidOptionError, match="expected a list of paths"):
        run_batch("disk", "load", paths, fail_at())
    with pytest.raises(InvalidOptionError, match="expected a list of paths"):
        check_lengths([1], paths)


@pytest.mark.parametrize("item", [np.zeros(3), io.BytesIO(), None, 7, ["a"]])
def test_items_must_be_paths(item: Any) -> None:
    name = type(item).__name__
    with pytest.raises(NotAPathError, match=rf"expected a path .*, got .*{name}"):
        run_batch("disk", "load", ["a", item], fail_at())
    with pytest.raises(NotAPathError, match="The arguments are swapped"):
        check_lengths(["a", "b"], [item, item])


@pytest.mark.parametrize("data", [[], [1], [1, 2, 3]])
def test_lengths_must_match(data: list[int]) -> None:
    with pytest.raises(BatchLengthError, match=f"{len(data)} values for 2 paths"):
        check_lengths(data, ["a", "b"])


def test_values_must_be_list() -> None:
    data: Any = iter([1])
    with pytest.raises(InvalidOptionError, match="expected a list of values"):
        check_lengths(data, ["a"])


@pytest.mark.parametrize("threads", [1, 3])
def test_progress_is_reported(threads: int) -> None:
    seen: list[tuple[int, int]] = []
    run_batch(
        "disk",
        "load",
        PATHS,
        fail_at(),
        threads=threads,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_failing_progress_ends_batch() -> None:
    def fail(done: int, total: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_batch("disk", "load", PATHS, fail_at(), progress=fail)


def test_progress_shows_bar(
    require: Callable[[str], object], capsys: pytest.CaptureFixture[str]
) -> None:
    require("tqdm")
    run_batch("disk", "load", PATHS, fail_at(), progress=True)
    assert "load: 100%" in capsys.readouterr().err


def test_bar_needs_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(
        MissingDependencyError, match=r"pip install 'polystore-core\[progress\]'"
    ):
        run_batch("disk", "load", PATHS, fail_at(), progress=True)


def test_progress_must_be_callable() -> None:
    progress: Any = "yes"
    with pytest.raises(InvalidOptionError, match="progress='yes'"):
        run_batch("disk", "load", PATHS, fail_at(), progress=progress)
