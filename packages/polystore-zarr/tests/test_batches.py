"""A batch gives the same files, values and errors as single saves or loads."""

import os
import signal
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import BackendRegistry
from polystore_core.errors import (
    BatchError,
    DamagedDataError,
    NotADirectoryInPathError,
    NotFoundError,
    UnsupportedDataError,
)
from polystore_testing.values import assert_same, image
from polystore_zarr.backend import ZarrBackend

LARGE = (200, 300)
"""A shape that is large enough for threads to encode and read the array."""


def plane(number: int, shape: tuple[int, ...] = LARGE, dtype: str = "u2") -> Any:
    return np.random.default_rng(number).integers(0, 200, shape).astype(dtype)


MIXED = [
    *(plane(n) for n in range(4)),
    *(plane(n, (400, 300)) for n in range(3)),
    plane(4),
    plane(5, dtype="f4"),
    plane(6, dtype=">u2"),
    plane(7)[::2],
    plane(8).T,
    plane(9).T,
    plane(10, (8, 8)),
    plane(11, ()),
    plane(12, (0, 3)),
    plane(13, (3, 200, 300)),
    plane(14),
    np.ma.masked_equal(plane(15), 3).filled(),
    plane(16),
]


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".~ps-")
    }


def hidden_in(folder: Path) -> list[str]:
    """List the hidden names of polystore, except the locks, which stay."""
    found = (path.name for path in folder.rglob(".~ps-*"))
    return [name for name in found if not name.endswith(".lock")]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compressor": "none"},
        {"compressor": "zstd"},
        {"checksum": False},
        {"chunks": 64, "shards": 128},
        {"zarr_format": 2},
        {"attributes": {"a": [1]}},
        {"ome": True, "levels": 2},
    ],
    ids=lambda options: ",".join(options) or "defaults",
)
def test_files_equal_those_of_single_saves(tmp_path: Path, options: dict[str, Any]) -> None:
    values = [v for v in MIXED if v.ndim > 1 and v.size] if "levels" in options else MIXED
    if "chunks" in options:
        values = [v for v in MIXED if v.ndim]
    paths = [f"run.zarr/{n}" for n in range(len(values))]
    batch, single = (ZarrBackend(root=tmp_path / name) for name in ("batch", "single"))
    batch.save_batch(values, paths, **options)
    for value, path in zip(values, paths, strict=True):
        single.save(value, path, **options)
    assert files_in(tmp_path / "batch") == files_in(tmp_path / "single")
    assert hidden_in(tmp_path) == []
    for value, found in zip(values, batch.load_batch(paths), strict=True):
        assert_same(found, value)


class ReusedBuffer(Sequence[Any]):
    """A sequence that makes each item on demand, in one piece of memory."""

    def __init__(self) -> None:
        self.memory = plane(0)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: Any) -> Any:
        self.memory[...] = index
        return self.memory


def test_items_that_share_memory(tmp_path: Path) -> None:
    backend = ZarrBackend(root=tmp_path)
    paths = [f"run.zarr/{n}" for n in range(6)]
    backend.save_batch(ReusedBuffer(), paths)
    assert [int(value.max()) for value in backend.load_batch(paths)] == list(range(6))


def test_caller_changes_arrays_between_saves(tmp_path: Path) -> None:
    """A callback may refill one buffer for each array, as between single saves."""
    backend = ZarrBackend(root=tmp_path)
    buffer = np.zeros(LARGE, "u2")

    def fill(done: int, _: int) -> None:
        buffer[...] = done

    paths = [f"run.zarr/{n}" for n in range(12)]
    backend.save_batch([buffer] * 12, paths, progress=fill)
    found = [(int(v.min()), int(v.max())) for v in backend.load_batch(paths)]
    assert found == [(n, n) for n in range(12)]


def test_array_of_arrays(tmp_path: Path) -> None:
    backend = ZarrBackend(root=tmp_path)
    stack: Any = plane(1, (5, *LARGE))
    paths = [f"run.zarr/{n}" for n in range(5)]
    backend.save_batch(stack, paths)
    assert_same(np.stack(backend.load_batch(paths)), stack)


@pytest.mark.parametrize("bad", [0, 1, 5, 9])
def test_failure_keeps_earlier_items_only(tmp_path: Path, bad: int) -> None:
    backend = ZarrBackend(root=tmp_path)
    values: list[Any] = [plane(n) for n in range(10)]
    values[bad] = np.array([object()])
    paths = [f"run.zarr/{n}" for n in range(10)]
    done: list[int] = []
    with pytest.raises(BatchError) as caught:
        backend.save_batch(values, paths, progress=lambda n, _: done.append(n))
    assert caught.value.done == tuple(paths[:bad])
    assert caught.value.not_attempted == tuple(paths[bad + 1 :])
    ((path, error),) = caught.value.failed.values()
    assert path == paths[bad]
    assert isinstance(error, UnsupportedDataError)
    assert [backend.exists(path) for path in paths] == [n < bad for n in range(10)]
    assert hidden_in(tmp_path) == []


def test_items_depend_on_earlier_ones(tmp_path: Path) -> None:
    backend = ZarrBackend(root=tmp_path)
    labels = plane(1).astype("u4")
    paths = ["x.ome.zarr", "x.ome.zarr/labels/cells", "x.ome.zarr/labels/nuclei"]
    backend.save_batch([plane(0), labels, labels], paths)
    assert backend.info(paths[0]).metadata["labels"] == ["cells", "nuclei"]
    with pytest.raises(BatchError) as caught:
        backend.save_batch(
            [plane(0), plane(1), plane(2)], [f"y.zarr/{n}" for n in ("a", "b", "a/x")]
        )
    ((_, error),) = caught.value.failed.values()
    assert isinstance(error, NotADirectoryInPathError)


def test_group_changes_during_batch(tmp_path: Path) -> None:
    """Another writer replaces the document of the group. The batch then reads it again."""
    backend = ZarrBackend(root=tmp_path)
    other = tmp_path / "other.zarr"
    ZarrBackend().save(plane(0), other / "a", zarr_format=2)

    def replace(done: int, _: int) -> None:
        if done == 3:
            os.rename(tmp_path / "run.zarr", tmp_path / "was.zarr")
            os.rename(other, tmp_path / "run.zarr")

    paths = [f"run.zarr/{n}" for n in range(6)]
    backend.save_batch([plane(n) for n in range(6)], paths, progress=replace)
    formats = [backend.info(path).metadata["zarr_format"] for path in paths[3:]]
    assert formats == [2, 2, 2]
    assert [backend.exists(path) for path in paths[:3]] == [False] * 3


def test_folder_is_deleted_during_batch(tmp_path: Path) -> None:
    backend = ZarrBackend(root=tmp_path)
    folder = tmp_path / "f"

    def delete(done: int, _: int) -> None:
        if done == 3:
            os.rename(folder, tmp_path / "gone")

    paths = [f"f/run.zarr/{n}" for n in range(6)]
    backend.save_batch([plane(n) for n in range(6)], paths, progress=delete)
    assert sorted(backend.list_files("f/run.zarr")) == paths[3:]
    assert hidden_in(folder) == []


def test_skip_keeps_existing_arrays(tmp_path: Path) -> None:
    backend = ZarrBackend(root=tmp_path)
    paths = [f"run.zarr/{n}" for n in range(12)]
    old = [2, 3, 4, 8]
    backend.save_batch([plane(100 + n) for n in old], [paths[n] for n in old])
    values = [plane(n) for n in range(12)]
    backend.save_batch(values, paths, if_exists="skip")
    for n, found in enumerate(backend.load_batch(paths)):
        assert_same(found, plane(100 + n) if n in old else values[n])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="system: counts in /proc")
@pytest.mark.parametrize("rooted", [True, False])
def test_many_stores_take_few_descriptors(tmp_path: Path, rooted: bool) -> None:
    """A plate with a folder for each well has more stores than a process may open files."""
    backend = ZarrBackend(root=tmp_path) if rooted else ZarrBackend()
    prefix = "" if rooted else f"{tmp_path}/"
    most: list[int] = []

    def look(done: int, _: int) -> None:
        most.append(len(os.listdir("/proc/self/fd")))

    paths = [f"{prefix}plate/{n}/image" for n in range(400)]
    backend.save_batch([plane(0, (4, 4))] * 400, paths, progress=look)
    assert max(most) < most[0] + 150
    assert len(backend.load_batch(paths)) == 400
    assert [name for n in range(400) for name in hidden_in(tmp_path / f"plate/{n}")] == []


def test_replacing_leaves_no_old_arrays(tmp_path: Path) -> None:
    backend = ZarrBackend(root=tmp_path)
    paths = [f"run.zarr/{n}" for n in range(5)]
    backend.save_batch([plane(n) for n in range(5)], paths)
    most: list[int] = []
    values = [plane(n, (300, 200)) for n in range(5)]

    def look(done: int, _: int) -> None:
        most.append(len(hidden_in(tmp_path)))

    backend.save_batch(values, paths, progress=look)
    assert max(most) == 0, "an old array takes space until the end of the batch"
    for value, found in zip(values, backend.load_batch(paths), strict=True):
        assert_same(found, value)


def test_memory_is_bounded(tmp_path: Path) -> None:
    noise = (
        np.random.default_rng(0).integers(0, 256, 12 << 20, np.uint8).reshape(3, 4 << 10, -1)
    )
    backend = ZarrBackend(root=tmp_path)
    backend.save(noise, "run.zarr/first", chunks=noise.shape, shards=False)
    tracemalloc.start()
    try:
        backend.save_batch(
            [noise] * 16,
            [f"run.zarr/{n}" for n in range(16)],
            chunks=noise.shape,
            shards=False,
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 << 20, f"{peak >> 20} MiB of the 192 MiB that the arrays have"


@pytest.mark.skipif(sys.platform == "win32", reason="system: has no timer that sends a signal")
# CPython drops an interrupt that arrives in a ``__del__``, and the save continues.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(4))
def test_ctrl_c_leaves_whole_arrays(tmp_path: Path, seed: int) -> None:
    """A real signal arrives at any moment. The first items are saved, and no hidden name stays."""
    values = [plane(n) for n in range(16)]
    backend = ZarrBackend(root=tmp_path)
    backend.save_batch(values, [f"warm.zarr/{n}" for n in range(16)])
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    interrupted = 0
    try:
        for number, delay in enumerate(np.random.default_rng(seed).uniform(1e-4, 0.02, 15)):
            store = f"{number}.zarr"
            paths = [f"{store}/{n}" for n in range(16)]
            signal.setitimer(signal.ITIMER_REAL, delay)
            try:
                backend.save_batch(values, paths)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
            saved = [path for path in paths if backend.exists(path)]
            assert saved == paths[: len(saved)]
            for value, found in zip(values, backend.load_batch(saved), strict=False):
                assert_same(found, value)
            assert hidden_in(tmp_path) == []
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted


def test_batch_in_another_store() -> None:
    """Trees for a byte store are built in a local folder, and no copy stays there."""
    backend = ZarrBackend(store=BackendRegistry()["memory"].store)  # type: ignore[attr-defined]
    values = [plane(n) for n in range(6)]
    paths = [f"run.zarr/{n}" for n in range(6)]
    kept: list[int] = []

    def look(done: int, _: int) -> None:
        folders = Path(tempfile.gettempdir()).glob("polystore-*")
        kept.append(sum(1 for folder in folders for _ in folder.rglob("zarr.json")))

    backend.save_batch(values, paths, progress=look)
    assert kept == [0] * 6
    for value, found in zip(values, backend.load_batch(paths), strict=True):
        assert_same(found, value)


# ── loading ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def stored_batch(tmp_path: Path) -> Iterator[tuple[ZarrBackend, list[str]]]:
    backend = ZarrBackend(root=tmp_path)
    paths = [f"run.zarr/{n}" for n in range(40)]
    backend.save_batch([plane(n) for n in range(40)], paths)
    return backend, paths


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_load_collects_errors_by_item(
    stored_batch: Any, tmp_path: Path, threads: int | None
) -> None:
    backend, paths = stored_batch
    chunk = tmp_path / "run.zarr/7/c/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    (tmp_path / "run.zarr/30/c/0/0").unlink()
    backend.delete(paths[21])
    done: list[int] = []
    with pytest.raises(BatchError) as caught:
        backend.load_batch(paths, threads=threads, progress=lambda n, _: done.append(n))
    found = {path: type(error) for path, error in caught.value.failed.values()}
    assert found == {
        paths[7]: DamagedDataError,
        paths[21]: NotFoundError,
        paths[30]: DamagedDataError,
    }
    assert done == list(range(1, 41))


def test_load_keeps_order(stored_batch: Any) -> None:
    backend, paths = stored_batch
    order = np.random.default_rng(3).permutation(40)
    for threads in (None, 1, 2):
        found = backend.load_batch([paths[n] for n in order], threads=threads)
        for n, value in zip(order, found, strict=True):
            assert_same(value, plane(int(n)))


def test_load_of_arrays_and_images(tmp_path: Path) -> None:
    backend = ZarrBackend(root=tmp_path)
    values = [image(1), plane(2), plane(3), plane(4), plane(5, (700, 900)), plane(6)]
    paths = ["a.zarr", "x.ome.zarr", "o.zarr/a", "p.ome.zarr/B/03/0", "s.zarr/a", "q.zarr/a"]
    for value, path in zip(values, paths, strict=True):
        options: dict[str, Any] = {"zarr_format": 2} if path == "o.zarr/a" else {}
        backend.save(value, path, **options)
    for threads in (1, 2):
        for value, found in zip(
            values, backend.load_batch(paths, threads=threads), strict=True
        ):
            assert_same(found, value)


def test_array_is_replaced_between_opening_and_reading(stored_batch: Any) -> None:
    """Handles are opened early. Some of their arrays are saved again before they are read."""
    backend, paths = stored_batch
    new = plane(99, (100, 700))

    class Last:
        def __fspath__(self) -> str:  # called when the others are open
            for path in paths[:-1]:
                backend.save(new, path)
            return paths[-1]

    *found, last = backend.load_batch([*paths[:-1], Last()], threads=2)
    assert_same(last, plane(39))
    for value in found:
        assert_same(value, new)


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_load_cuts_unequal_arrays_into_shares(tmp_path: Path, threads: int) -> None:
    """The arrays have more bytes than threads read at once, and some arrays are missing."""
    backend = ZarrBackend(root=tmp_path)
    sides = [1, 2500, 3, 1200, 700, 1, 2, 2200, 5, 1800] * 2
    values = [plane(n, (side, side)) for n, side in enumerate(sides)]
    paths = [f"run.zarr/{n}" for n in range(len(sides))]
    backend.save_batch(values, paths)
    for value, found in zip(values, backend.load_batch(paths, threads=threads), strict=True):
        assert_same(found, value)
    missing = ["run.zarr/none", *paths[:3], "run.zarr/no", "run.zarr/not"]
    with pytest.raises(BatchError) as caught:
        backend.load_batch(missing, threads=threads)
    assert sorted(caught.value.failed) == [0, 4, 5]


# ── listing ──────────────────────────────────────────────────────────────────────────────


def test_listing_follows_changed_documents(tmp_path: Path) -> None:
    """A known document is not read again. Another document in its place is read."""
    backend = ZarrBackend(root=tmp_path)
    for name in "abc":
        backend.save(plane(1, (8, 8)), f"run.zarr/{name}")
        backend.ensure_directory(f"run.zarr/group-{name}")
    folders = [f"group-{name}" for name in "abc"]
    kinds = {entry.name: entry.is_dir for entry in backend.scan("run.zarr")}
    assert kinds == dict.fromkeys("abc", False) | dict.fromkeys(folders, True)
    array, group = (tmp_path / "run.zarr" / name / "zarr.json" for name in ("a", "group-a"))
    array.write_bytes(group.read_bytes())
    (tmp_path / "run.zarr/b/zarr.json").write_text('{"zarr_format": 3, "node_type"')
    (tmp_path / "run.zarr/c/zarr.json").unlink()
    kinds = {entry.name: entry.is_dir for entry in backend.scan("run.zarr")}
    assert kinds == {"a": True, "b": False, "c": True} | dict.fromkeys(folders, True)
