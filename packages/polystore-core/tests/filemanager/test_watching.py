"""``FileManager.watch`` follows folders and arrays while others write them."""

import pickle
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from polystore_core import Arrival, BackendRegistry, FileManager
from polystore_core.errors import (
    BackendRequiredError,
    InvalidOptionError,
    NotAPathError,
    NotFoundError,
    StorageError,
    UnsupportedOperationError,
)

from .samples import Require

Start: TypeAlias = Callable[..., Any]
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def disk(require: Require, tmp_path: Path) -> FileManager:
    """Return a manager whose backend "raw" is the folder ``tmp_path``."""
    require("polystore_disk")
    require("polystore_formats")
    registry = BackendRegistry()
    registry.add("raw", "disk", root=tmp_path)
    return FileManager(registry)


def get_names(items: Iterator[Arrival]) -> list[str]:
    return [item.path.rpartition("/")[2] for item in items]


# ── folders ──────────────────────────────────────────────────────────────────────────────


def test_existing_files_are_sorted_and_new_ones_follow(
    disk: FileManager, tmp_path: Path
) -> None:
    for name in ("a10", "a9", ".~ps-hidden", ".a8.json", "b1"):
        (tmp_path / f"{name}.json").write_text('"old"')
    for name in ("a1.json.part", "a1.tmp", "._a1.json"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder.json").mkdir()
    with disk.watch(".", backend="raw", pattern="*a*", settle=0) as watch:
        first = list(islice(watch, 2))
        assert [(item.index, item.path) for item in first] == [(0, "a9.json"), (1, "a10.json")]
        disk.save("new", "a1.json", backend="raw")
        disk.save("new", "b2.json", backend="raw")
        third = next(watch)
    assert (third.index, third.path, third.backend) == (2, "a1.json", "raw")
    assert third.load() == "new"
    assert list(watch) == []


def test_folder_that_does_not_exist_yet(
    disk: FileManager, start: Start, tmp_path: Path
) -> None:
    writer = start(
        "import sys; from polystore_core import BackendRegistry, FileManager\n"
        "registry = BackendRegistry(); registry.add('raw', 'disk', root=sys.argv[1])\n"
        "fm = FileManager(registry)\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for n in range(300): fm.save(n, f'run/{n}.json', backend='raw')\n",
        tmp_path,
    )
    assert writer.read_line() == "ready"
    watch = disk.watch("run", backend="raw", settle=0)
    writer.go_on()
    found = [(item.index, item.load()) for item in islice(watch, 300)]
    assert [index for index, _ in found] == list(range(300))
    assert sorted(value for _, value in found) == list(range(300))


def test_folders_inside(disk: FileManager, tmp_path: Path) -> None:
    """An instrument makes one folder for each well, even while a watch runs."""
    disk.save(1, "run/B03/a.json", backend="raw")
    disk.save(2, "run/b.json", backend="raw")
    disk.save(3, "run/.hidden/c.json", backend="raw")
    disk.save(4, "elsewhere/d.json", backend="raw")
    (tmp_path / "run" / "link").symlink_to(tmp_path / "elsewhere")
    options: dict[str, Any] = {"backend": "raw", "settle": 0, "timeout": 0, "pattern": "*.json"}
    assert [item.path for item in disk.watch("run", **options)] == ["run/b.json"]
    with disk.watch("run", **options | {"timeout": None}, recursive=True) as watch:
        found = [next(watch) for _ in range(2)]
        assert {item.path: item.load() for item in found} == {
            "run/B03/a.json": 1,
            "run/b.json": 2,
        }
        shutil.rmtree(tmp_path / "run" / "B03")
        disk.save(5, "run/C11/field/1.json", backend="raw")
        item = next(watch)
        assert (item.index, item.path, item.load()) == (2, "run/C11/field/1.json", 5)


def test_file_is_returned_when_its_writer_ends(disk: FileManager, tmp_path: Path) -> None:
    """Another program writes the file in place, and each look of the watch sees more of it."""
    image = np.arange(60_000, dtype="<u2").reshape(200, 300)
    disk.save(image, "source.npy", backend="raw")
    content = (tmp_path / "source.npy").read_bytes()
    parts = iter(range(0, len(content), 6_000))
    (tmp_path / "run").mkdir()
    with open(tmp_path / "run" / "written.npy", "wb", 0) as file:

        def write() -> bool:
            part = next(parts, len(content))
            file.write(content[part : part + 6_000])
            return False

        (item,) = islice(disk.watch("run", backend="raw", settle=0.01, stop=write), 1)
    assert np.array_equal(item.load(), image)


def test_existing_files_settle_in_natural_order(
    memory: FileManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is natural even if a slow first look sees the files at different times."""
    for n in range(5):
        memory.save(n, f"run/{n}.json", "one")
    source: Any = memory.registry["one"]
    info, delays = source.info, iter([0.02] * 5)

    def describe(path: str) -> Any:
        time.sleep(next(delays, 0))
        return info(path)

    monkeypatch.setattr(source, "info", describe)
    watch = memory.watch("run", backend="one", settle=0.1, poll=0.005, timeout=0)
    assert get_names(watch) == [f"{n}.json" for n in range(5)]


def test_timeout_waits_for_unfinished_file(disk: FileManager, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("1")
    assert get_names(disk.watch(".", backend="raw", timeout=0, settle=0.2)) == ["a.json"]
    (tmp_path / "dangling.json").symlink_to("nowhere.json")
    (tmp_path / "just_made.json").touch()
    assert get_names(disk.watch(".", backend="raw", timeout=0, settle=0.2)) == ["a.json"]


def test_deleted_file_counts_as_new_again(disk: FileManager) -> None:
    disk.save(1, "run/a.json", backend="raw")
    watch = disk.watch("run", backend="raw", settle=0)
    assert next(watch).load() == 1
    disk.delete("run", backend="raw", recursive=True)
    assert watch._look().new == []
    disk.save(2, "run/a.json", backend="raw")
    again = next(watch)
    assert (again.index, again.path, again.load()) == (1, "run/a.json", 2)


def test_start_counts_files(disk: FileManager) -> None:
    for n in range(5):
        disk.save(n, f"{n}.json", backend="raw")
    found = disk.watch(".", backend="raw", start=3, settle=0, timeout=0)
    assert [(item.index, item.path) for item in found] == [(3, "3.json"), (4, "4.json")]


def test_folder_that_becomes_a_file(disk: FileManager, tmp_path: Path) -> None:
    disk.save(1, "run/a.json", backend="raw")
    watch = disk.watch("run", backend="raw", settle=0)
    next(watch)
    disk.delete("run", backend="raw", recursive=True)
    (tmp_path / "run").write_text("")
    with pytest.raises(NotADirectoryError, match="it was a folder"):
        next(watch)


@pytest.mark.parametrize("library", ["watchdog", None])
def test_change_of_folder_wakes_watch(
    disk: FileManager, require: Require, monkeypatch: pytest.MonkeyPatch, library: str | None
) -> None:
    """With watchdog, a watch that looks once an hour reacts at once.

    Without watchdog, only a look finds the change.
    """
    if library is None:
        monkeypatch.setitem(sys.modules, "watchdog", None)
    else:
        require(library)
    disk.save(0, "run/0.json", backend="raw")
    with disk.watch("run", backend="raw", poll=3600 if library else 0.01, settle=0) as watch:
        for n in range(5):
            timer = threading.Timer(0.05, disk.save, (n, f"run/{n}.json", "raw"))
            timer.start()
            assert next(watch).load() == n
            timer.join()


# ── arrays ───────────────────────────────────────────────────────────────────────────────


def test_frames_of_an_array(memory: FileManager) -> None:
    movie = np.arange(5 * 4 * 6, dtype="u2").reshape(5, 4, 6)
    watch = memory.watch("movie", backend="one", start=1)
    writer = threading.Timer(0.05, memory.save, (movie[:3], "movie", "one"))
    writer.start()
    first = list(islice(watch, 2))
    memory.save(movie, "movie", "one")
    found = first + list(islice(watch, 2))
    writer.join()
    assert [item.index for item in found] == [1, 2, 3, 4]
    assert {item.path for item in found} == {"movie"}
    for item in found:
        assert np.array_equal(item.load(), movie[item.index])
    assert np.array_equal(found[0].load(region=slice(1, 3)), movie[1, 1:3])
    part = found[0].load(region=(..., 2), dtype="f4")
    assert part.dtype == "f4"
    assert np.array_equal(part, movie[1, :, 2])


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (np.zeros((3, 4), "u1"), "it had 5 frames, and now it has 3"),
        (
            np.zeros((9, 5), "u1"),
            r"frames were \|u1 of shape \(4,\), and now they are \|u1 of shape \(5,\)",
        ),
        (np.zeros((9, 4), "u2"), r"\|u1 of shape \(4,\), and now they are <u2 of shape \(4,\)"),
    ],
)
def test_replaced_or_truncated_array_raises(
    memory: FileManager, other: np.ndarray[Any, Any], reason: str
) -> None:
    memory.save(np.zeros((5, 4), "u1"), "movie", "one")
    watch = memory.watch("movie", backend="one")
    assert [item.index for item in islice(watch, 5)] == [0, 1, 2, 3, 4]
    memory.save(other, "movie", "one")
    with pytest.raises(StorageError, match=reason) as caught:
        next(watch)
    assert (caught.value.backend, caught.value.path) == ("one", "movie")


def test_array_replaced_before_its_first_frame(memory: FileManager) -> None:
    memory.save(np.zeros((2, 4), "u1"), "movie", "one")
    watch = memory.watch("movie", backend="one", start=5)
    assert watch._look().new == range(5, 5)
    memory.save(np.zeros((0, 4), "u2"), "movie", "one")
    assert watch._look().new == range(5, 5)
    memory.save(np.zeros((7, 5), "u2"), "movie", "one")
    assert [item.index for item in islice(watch, 2)] == [5, 6]


def test_deleted_array_raises(memory: FileManager) -> None:
    memory.save(np.zeros((5, 4), "u1"), "movie", "one")
    watch = memory.watch("movie", backend="one")
    next(watch)
    memory.delete("movie", "one")
    list(islice(watch, 4))  # These frames were found before.
    with pytest.raises(NotFoundError, match="it was deleted or moved while it was watched"):
        next(watch)


def test_array_without_frames_and_patterns(memory: FileManager) -> None:
    memory.save(np.array(7), "number", "one")
    with pytest.raises(StorageError, match="has no axes"):
        next(memory.watch("number", backend="one"))
    memory.save(np.zeros((5, 4), "u1"), "movie", "one")
    with pytest.raises(InvalidOptionError, match="pattern= selects files of a folder"):
        next(memory.watch("movie", backend="one", pattern="*.tif"))


# ── the end of a watch ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["event", "function"])
def test_stop_returns_all_existing_files(disk: FileManager, kind: str) -> None:
    """A file that must still settle is returned, and then no other one."""
    stop = threading.Event()
    watch = disk.watch(
        ".", backend="raw", settle=0.1, stop=stop if kind == "event" else stop.is_set
    )
    disk.save(1, "1.json", backend="raw")
    assert next(watch).load() == 1
    disk.save(2, "2.json", backend="raw")
    stop.set()
    assert get_names(watch) == ["2.json"]
    disk.save(3, "3.json", backend="raw")
    assert get_names(watch) == []


def test_stop_leaves_out_later_files(memory: FileManager, disk: FileManager) -> None:
    """The loop ends although the writer is as fast as the loop."""
    memory.save(np.zeros((2, 4), "u1"), "movie", "one")
    lengths = []
    for item in memory.watch("movie", backend="one", stop=lambda: True):
        memory.save(np.zeros((item.index + 3, 4), "u1"), "movie", "one")
        lengths.append(item.index + 1)
    assert lengths == [1, 2]
    disk.save(0, "run/0.json", backend="raw")
    stopped = iter([True, False, False])
    for item in disk.watch("run", backend="raw", settle=0, stop=lambda: next(stopped)):
        disk.save(0, f"run/{item.index + 1}.json", backend="raw")
        lengths.append(item.index)
    assert lengths == [1, 2, 0]


def test_timeout_is_shorter_than_a_pause(disk: FileManager) -> None:
    assert get_names(disk.watch("run", backend="raw", poll=3600, timeout=0.1)) == []
    disk.save(0, "run/0.json", backend="raw")
    watch = disk.watch("run", backend="raw", poll=3600, timeout=0.1, settle=0.1)
    assert get_names(watch) == ["0.json"]


@pytest.mark.parametrize("end", ["stop", "close"])
def test_another_thread_ends_waiting_watch(disk: FileManager, end: str) -> None:
    stop = threading.Event()
    watch = disk.watch("run", backend="raw", poll=3600, stop=stop)
    timer = threading.Timer(0.05, stop.set if end == "stop" else watch.close)
    timer.start()
    assert list(watch) == []
    timer.join()


@pytest.mark.skipif(sys.platform == "win32", reason="system: sends SIGINT")
def test_ctrl_c_ends_a_wait(start: Start, require: Require, tmp_path: Path) -> None:
    require("polystore_disk")
    follower = start(
        "import sys; from polystore_core import FileManager\n"
        "watch = FileManager().watch(sys.argv[1], backend='disk', poll=3600)\n"
        "try: print('ready', flush=True); next(watch)\n"
        "except KeyboardInterrupt: print('interrupted', flush=True)\n",
        tmp_path,
    )
    assert follower.read_line() == "ready"
    follower.send_signal(signal.SIGINT)
    assert follower.read_line() == "interrupted"


def test_items_pickle(disk: FileManager) -> None:
    disk.save({"a": 1}, "a.json", backend="raw")
    (item,) = disk.watch(".", backend="raw", timeout=0, settle=0)
    copy = pickle.loads(pickle.dumps(item))
    assert copy == item
    assert copy.load() == {"a": 1}
    assert repr(item) == "Arrival(index=0, path='a.json', backend='raw', is_frame=False)"


@pytest.mark.parametrize("backend", ["disk", "zarr"])
def test_change_of_the_current_directory(
    require: Require, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """A relative path keeps its meaning for the whole loop, and later for its items."""
    require(f"polystore_{backend}")
    fm, movie = FileManager(), np.arange(24).reshape(2, 3, 4)
    monkeypatch.chdir(tmp_path)
    fm.save(movie, "run/movie.npy", backend)
    with (
        fm.watch("run", backend=backend, settle=0) as files,
        fm.watch("run/movie.npy", backend=backend, settle=0) as frames,
    ):
        monkeypatch.chdir("/")
        (item,) = islice(files, 1)
        assert item.path == "run/movie.npy"
        for found, expected in ((item, movie), *zip(islice(frames, 2), movie, strict=True)):
            assert np.array_equal(found.load(), expected)


# ── bad input ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "options",
    [
        {"start": -1},
        {"start": True},
        {"start": 1.5},
        {"start": np.array([1, 2])},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"poll": "fast"},
        {"settle": -0.5},
        {"stop": 3},
        {"pattern": "**/*.tif"},
    ],
)
def test_bad_options(fm: FileManager, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOptionError, match=next(iter(options))):
        fm.watch("a", backend="test-camera", **options)


def test_bad_calls(fm: FileManager) -> None:
    with pytest.raises(UnsupportedOperationError, match="it only writes"):
        fm.watch("a", backend="test-screen")
    with pytest.raises(BackendRequiredError, match="watch"):
        fm.watch("a")  # type: ignore[call-arg]
    with pytest.raises(NotAPathError):
        fm.watch(np.zeros(3), backend="test-camera")  # type: ignore[arg-type]
    with pytest.raises(UnsupportedOperationError, match=r"'test-camera' does not support info"):
        next(fm.watch("a", backend="test-camera"))
