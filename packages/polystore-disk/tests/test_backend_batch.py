"""A batch is its items in order, with any number of threads."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core.errors import (
    BatchError,
    DuplicatePathError,
    DurabilityUnknownError,
    UnsupportedDataError,
)
from polystore_disk.backend import DiskBackend
from polystore_testing.values import assert_same, image

Names = Callable[[], list[str]]

THREADS = [None, 1, 2, 8]
LARGE = (400, 500)  # Large enough to be worth a thread.
PATHS = [f"f{n % 3}/{n}.{suffix}" for n, suffix in enumerate(["npy", "tif"] * 35)]


@pytest.fixture(params=[(4, 5), LARGE], ids=["small", "large"])
def images(request: pytest.FixtureRequest) -> list[Any]:
    return [image(n, request.param) for n in range(len(PATHS))]


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("durable", [False, True])
def test_batch_round_trips(
    disk: DiskBackend, images: list[Any], threads: int | None, durable: bool
) -> None:
    seen: list[tuple[int, int]] = []
    disk.save_batch(
        images,
        PATHS,
        threads=threads,
        durable=durable,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, len(PATHS)) for done in range(1, len(PATHS) + 1)]
    seen.clear()
    found = disk.load_batch(
        PATHS, threads=threads, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(done, len(PATHS)) for done in range(1, len(PATHS) + 1)]
    for value, expected in zip(found, images, strict=True):
        assert_same(value, expected)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("bad", [0, 1, 31, 32, 33, 69])
def test_failure_keeps_prefix(
    disk: DiskBackend, names: Names, threads: int | None, durable: bool, bad: int
) -> None:
    """Items before the failed one are saved. Items after it keep their old values."""
    disk.save_batch([image(1)] * len(PATHS), PATHS)
    values = [image(2) if n != bad else "no image" for n in range(len(PATHS))]
    before = names()
    with pytest.raises(BatchError) as caught:
        disk.save_batch(values, PATHS, threads=threads, durable=durable)
    assert caught.value.failed_index == bad
    assert caught.value.done == tuple(PATHS[:bad])
    path, cause = caught.value.failed[bad]
    assert (path, type(cause)) == (PATHS[bad], UnsupportedDataError)
    for n, path in enumerate(PATHS):
        assert_same(disk.load(path), image(2 if n < bad else 1))
    assert names() == before


@pytest.mark.parametrize("threads", THREADS)
def test_error_names_every_unread_path(
    disk: DiskBackend, folder: Path, threads: int | None
) -> None:
    disk.save_batch([image()] * len(PATHS), PATHS)
    (folder / PATHS[3]).unlink()
    (folder / PATHS[40]).write_bytes(b"cut")
    with pytest.raises(BatchError) as caught:
        disk.load_batch(PATHS, threads=threads)
    assert [path for path, _ in caught.value.failed.values()] == [PATHS[3], PATHS[40]]
    assert len(caught.value.done) == len(PATHS) - 2


@pytest.mark.parametrize("twin", ["a.npy", "./a.npy", "link/a.npy", "b.npy"])
def test_one_path_twice(disk: DiskBackend, folder: Path, twin: str) -> None:
    """The second value would silently replace the first one."""
    (folder / "link").symlink_to(".")
    disk.save(image(9), "a.npy")
    (folder / "b.npy").symlink_to("a.npy")
    with pytest.raises(DuplicatePathError, match=r"\[0\] and \[2\]"):
        disk.save_batch([image(1), image(2), image(3)], ["a.npy", "new.npy", twin])
    assert_same(disk.load("a.npy"), image(9))
    assert not disk.exists("new.npy")


def test_unusable_path_in_batch(disk: DiskBackend) -> None:
    """The search for duplicate paths ignores an invalid path, and the save reports it."""
    with pytest.raises(BatchError) as caught:
        disk.save_batch([image(1), image(2), image(3)], ["a.npy", "", ""])
    assert caught.value.failed_index == 1
    assert_same(disk.load("a.npy"), image(1))


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("if_exists", ["error", "skip"])
def test_existing_in_batch(
    disk: DiskBackend, threads: int, durable: bool, if_exists: Any
) -> None:
    disk.save(image(9), "2.npy")
    paths = [f"{n}.npy" for n in range(5)]
    values = [image(n) for n in range(5)]
    if if_exists == "skip":
        disk.save_batch(values, paths, threads=threads, durable=durable, if_exists="skip")
    else:
        with pytest.raises(BatchError) as caught:
            disk.save_batch(values, paths, threads=threads, durable=durable, if_exists="error")
        assert caught.value.not_attempted == ("3.npy", "4.npy")
    assert_same(disk.load("2.npy"), image(9))
    assert disk.exists("4.npy") == (if_exists == "skip")


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_batch_keeps_nothing_open(
    disk: DiskBackend,
    names: Names,
    threads: int,
    error: type[BaseException],
    descriptors: Callable[[], int],
) -> None:
    class Interrupting:
        """An array that raises ``error`` when its content is read."""

        @property
        def __array_interface__(self) -> Any:
            raise error

    disk.save(image(), "0.npy")
    before = descriptors()
    values = [image(n) for n in range(20)] + [Interrupting()] + [image(n) for n in range(20)]
    paths = [f"{n}.npy" for n in range(len(values))]
    with pytest.raises((error, BatchError)):
        disk.save_batch(values, paths, threads=threads, durable=True)
    assert descriptors() <= before
    assert not [name for name in names() if ".~ps-" in name]


@pytest.mark.skipif(sys.platform != "linux", reason="system: needs /proc")
@pytest.mark.parametrize("threads", [1, 4])
def test_batch_stays_under_limit(
    disk: DiskBackend, threads: int, descriptors: Callable[[], int]
) -> None:
    """A durable batch of 3,000 items never has more than some of its files open."""
    most = 0

    def watch(done: int, total: int) -> None:
        nonlocal most
        most = max(most, descriptors())

    values = [np.zeros(3)] * 3000
    paths = [f"a/b/c/d/{n}.npy" for n in range(3000)]
    before = descriptors()
    disk.save_batch(values, paths, durable=True, threads=threads, progress=watch)
    assert most - before < 300
    assert descriptors() <= before + 1  # One descriptor more, for the root.
    assert len(disk.list_dir("a/b/c/d")) == 3000


def test_progress_bar_is_shown(disk: DiskBackend, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    disk.save_batch([image()] * 3, ["a.npy", "b.npy", "c.npy"], progress=True)
    assert "3/3" in capsys.readouterr().err
    disk.load_batch(["a.npy", "b.npy"], progress=True)
    assert "2/2" in capsys.readouterr().err


def test_failing_progress_stops_batch(disk: DiskBackend, names: Names) -> None:
    def cancel(done: int, total: int) -> None:
        if done == 3:
            raise StopIteration("enough")

    with pytest.raises((StopIteration, RuntimeError)):
        disk.save_batch(
            [image()] * 9, [f"{n}.npy" for n in range(9)], progress=cancel, threads=1
        )
    assert names() == ["0.npy", "1.npy", "2.npy"]


@pytest.mark.parametrize("operation", ["save", "load"])
def test_empty_batch_does_nothing(disk: DiskBackend, names: Names, operation: str) -> None:
    if operation == "save":
        disk.save_batch([], [])
    else:
        assert disk.load_batch([]) == []
    assert names() == []


def test_failed_flush_is_reported(
    disk: DiskBackend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a folder cannot be flushed, its files are in place but do not count as done."""
    disk.ensure_directory("bad")
    fsync, bad = os.fsync, (folder / "bad").stat().st_ino

    def fail(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == bad:
            raise OSError(5, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(BatchError) as caught:
        disk.save_batch([image()] * 3, ["a.npy", "bad/b.npy", "c.npy"], durable=True)
    assert caught.value.done == ("a.npy", "c.npy")
    _, error = caught.value.failed[1]
    assert isinstance(error, DurabilityUnknownError)
    assert (error.errno, error.path, error.backend) == (5, "bad/b.npy", "store")
    assert "the new version is in place" in str(error)
    assert_same(disk.load("bad/b.npy"), image())
