"""Dask arrays: written from the workers, block by block, and read into Dask again."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import FileManager
from polystore_core.errors import AlreadyExistsError, NotFoundError, UnsupportedDataError
from polystore_core.files.locking import HIDDEN_PREFIX

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")
cloudpickle = pytest.importorskip("cloudpickle")

from polystore_zarr.blocks import aligned_chunks, layout_for, store_blocks  # noqa: E402
from polystore_zarr.creating import Layout  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

MIB = 1 << 20
LOCAL = ("synchronous", "threads", "processes")
fm = FileManager()
EMPTY = np.empty((0, 0))
"""With it as ``meta`` Dask does not try a function before there are blocks."""
VALUES = np.random.default_rng(3).integers(0, 60_000, (7, 300, 500), "u2")


def pixels(path: Path | str, **options: Any) -> Any:
    return fm.load(path, backend="zarr", **options)


def hidden(folder: Path) -> list[str]:
    """What a save leaves while it runs."""
    return [
        path.name
        for path in folder.rglob(f"{HIDDEN_PREFIX}*")
        if not path.name.endswith(".lock")
    ]


@pytest.fixture(scope="module", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what the clusters leave, besides the folders of their workers."""
    folder = str(tmp_path_factory.mktemp("dask"))
    with dask.config.set(temporary_directory=folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("DASK_TEMPORARY_DIRECTORY", folder)
        yield


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit=400 * MIB,
            dashboard_address=":0",
            local_directory=str(tmp_path_factory.mktemp("workers")),
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as found,
    ):
        # The workers do not have this module.
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield found


@pytest.fixture(params=[*LOCAL, "distributed"])
def scheduler(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each scheduler in turn, chosen as Dask's users choose it."""
    if request.param == "distributed":
        with request.getfixturevalue("client").as_current():
            yield request.param
    else:
        with dask.config.set(scheduler=request.param, num_workers=2):
            yield request.param


# ── every scheduler ──────────────────────────────────────────────────────────────────────


@pytest.mark.smoke
def test_every_scheduler_writes_equal_pixels(scheduler: str, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    array = da.from_array(VALUES, chunks=(2, 128, 250))

    def progress(done: int, total: int) -> None:
        calls.append((done, total))

    fm.save(array, tmp_path / "a.zarr/x", backend="zarr", progress=progress,
            chunks=(1, 64, 250), shards=(2, 128, 500))  # fmt: skip
    assert np.array_equal(pixels(tmp_path / "a.zarr/x"), VALUES)
    assert calls == [(n + 1, 12) for n in range(12)]
    assert hidden(tmp_path) == []


def test_progress_bar_shows_blocks(scheduler: str, tmp_path: Path, capfd: Any) -> None:
    pytest.importorskip("tqdm")
    fm.save(da.zeros((4, 9), chunks=(1, 9)), tmp_path / "a.zarr/x", backend="zarr", chunks=(1, 9),
            progress=True)  # fmt: skip
    assert "4/4" in capfd.readouterr().err


def test_failing_block_keeps_old_array(scheduler: str, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr/x"
    fm.save(VALUES, path, backend="zarr")

    def fail(block: Any, block_id: Any) -> Any:
        if block_id == (1, 0, 0):
            raise ArithmeticError("the third plane")
        time.sleep(0.05)
        return block

    array = da.zeros((6, 300, 500), chunks=(1, 300, 500), dtype="u2").map_blocks(
        fail, dtype="u2"
    )
    with pytest.raises(ArithmeticError, match="the third plane"):
        fm.save(array, path, backend="zarr")
    assert hidden(tmp_path) == []
    time.sleep(0.3)  # tasks that were running have ended by now
    assert hidden(tmp_path) == []
    assert np.array_equal(pixels(path), VALUES)


def test_interrupt_leaves_old_array(scheduler: str, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr/x"
    fm.save(VALUES, path, backend="zarr")

    def interrupt(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    array = da.zeros((20, 100), chunks=(1, 100))
    with pytest.raises(KeyboardInterrupt):
        fm.save(array, path, backend="zarr", chunks=(1, 100), progress=interrupt)
    assert hidden(tmp_path) == []
    time.sleep(0.3)
    assert hidden(tmp_path) == []
    assert np.array_equal(pixels(path), VALUES)


def test_pyramid_equals_numpy_path(scheduler: str, tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 60_000, (2, 777, 1031), "u2")
    options: dict[str, Any] = {
        "backend": "zarr",
        "axes": "cyx",
        "levels": 4,
        "chunks": (1, 128, 128),
    }
    calls: list[int] = []
    fm.save(values, tmp_path / "a.ome.zarr", **options)
    fm.save(da.from_array(values, chunks=(1, 300, 1031)), tmp_path / "b.ome.zarr", **options,
            progress=lambda done, total: calls.append(total - done))  # fmt: skip
    for level in range(4):
        expected = pixels(tmp_path / "a.ome.zarr", level=level)
        assert np.array_equal(pixels(tmp_path / "b.ome.zarr", level=level), expected)
    assert calls == sorted(calls, reverse=True)
    assert calls[-1] == 0


# ── memory ───────────────────────────────────────────────────────────────────────────────


def peak_mib() -> float:
    """The most memory that this process has had. (``getrusage`` tells also of its parent's.)"""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def one_gibibyte() -> Any:
    """64 planes of 16 MiB, each with its own number in it."""

    def plane(block_info: Any = None) -> Any:
        number = block_info[None]["chunk-location"][0]
        return np.full((1, 2048, 4096), number, "u2")

    return da.map_blocks(plane, chunks=((1,) * 64, 2048, 4096), dtype="u2")


def test_array_larger_than_workers(client: Any, tmp_path: Path) -> None:
    array = one_gibibyte()
    before = peak_mib()
    with client.as_current():
        fm.save(array, tmp_path / "a.zarr/x", backend="zarr")
        handle = fm.open(tmp_path / "a.zarr/x", backend="zarr")
        planes = da.from_array(handle)
        assert np.array_equal(planes.max(axis=(1, 2)).compute(), np.arange(64))
    assert peak_mib() - before < 100
    assert max(client.run(peak_mib).values()) < 400
    assert planes.npartitions <= 64


def test_pyramid_larger_than_workers(client: Any, tmp_path: Path) -> None:
    before = peak_mib()
    with client.as_current():
        fm.save(one_gibibyte(), tmp_path / "a.ome.zarr", backend="zarr", axes="zyx")
        smallest = da.from_array(fm.open(tmp_path / "a.ome.zarr", backend="zarr", level=-1))
        assert np.array_equal(smallest.min(axis=(1, 2)).compute(), np.arange(64))
    assert peak_mib() - before < 100
    assert max(client.run(peak_mib).values()) < 400


# ── clusters ─────────────────────────────────────────────────────────────────────────────


def test_killed_worker_loses_nothing(tmp_path: Path) -> None:
    # In a process of its own: what a nanny keeps of a killed worker goes when that ends.
    script = """
import os, signal, sys
import dask.array as da, distributed, numpy as np
from polystore_core import FileManager
def kill_once(block, block_id):
    if block_id == (3, 0):
        try:
            os.close(os.open(sys.argv[1] + "/killed", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            pass  # the second time it works
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return block + block_id[0]
zeros = da.zeros((6, 9), chunks=(1, 9), dtype="u1")
array = zeros.map_blocks(kill_once, meta=np.empty((0, 0), "u1"))
with (
    distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0",
                             local_directory=sys.argv[1]) as cluster,
    distributed.Client(cluster),
):
    FileManager().save(array, sys.argv[1] + "/a.zarr/x", backend="zarr", chunks=(1, 9))
""".replace("sys.argv[1]", repr(str(tmp_path)))
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, capture_output=True)
    assert (tmp_path / "killed").exists()
    assert np.array_equal(pixels(tmp_path / "a.zarr/x")[:, 7], np.arange(6))


def test_task_saves_dask_array(tmp_path: Path, client: Any) -> None:
    def save(path: str) -> Any:
        manager = FileManager()
        manager.save(da.ones((3, 4), chunks=(1, 4)), path, backend="zarr", chunks=(1, 4))
        return manager.load(path, backend="zarr").sum()

    # More of them than threads: each must let the others have its own.
    paths = [str(tmp_path / f"{n}.zarr/x") for n in range(3)]
    assert client.gather(client.map(save, paths), errors="raise") == [12.0] * 3


def test_cancelled_task_writes_nothing(tmp_path: Path) -> None:
    path, began, go_on = tmp_path / "a.zarr/x", tmp_path / "began", tmp_path / "go on"

    def slow(block: Any, block_id: Any) -> Any:
        awaited = began if block_id == (0, 0) else go_on
        if awaited is go_on:
            began.touch()
        deadline = time.monotonic() + 120
        while not awaited.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        if awaited is began:
            raise ArithmeticError
        return block

    array = da.zeros((2, 5), chunks=(1, 5)).map_blocks(slow, meta=EMPTY)
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0",
            local_directory=str(tmp_path / "workers"),
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        client.as_current(),
    ):  # fmt: skip
        with pytest.raises(ArithmeticError):
            fm.save(array, path, backend="zarr", chunks=(1, 5))
        assert hidden(tmp_path) == []
        go_on.touch()  # only now does the other task come to write
        time.sleep(0.3)
    assert hidden(tmp_path) == []
    assert not path.exists()


def test_last_write_is_awaited(tmp_path: Path) -> None:
    began, ended = threading.Event(), threading.Event()

    class Slow:
        shape, dtype, unit, directory = (2,), np.dtype("f8"), (1,), str(tmp_path)

        def __setitem__(self, region: Any, value: Any) -> None:
            began.set()
            time.sleep(0.3)
            ended.set()

    def fail(block: Any, block_id: Any) -> Any:
        if block_id == (1,):
            began.wait()
            raise ArithmeticError
        return block

    array = da.zeros(2, chunks=1).map_blocks(fail, dtype="f8")
    with dask.config.set(scheduler="threads", num_workers=2), pytest.raises(ArithmeticError):
        store_blocks(array, Slow(), lambda: None)
    assert ended.is_set()
    assert list(tmp_path.iterdir()) == []


def test_control_c_ends_threads(tmp_path: Path) -> None:
    script = """
import sys, time
import dask.array as da
from polystore_core import FileManager
def slow(block):
    time.sleep(0.05)
    return block + 1
array = da.zeros((400, 10), chunks=(1, 10)).map_blocks(slow)
FileManager().save(array, sys.argv[1], backend="zarr", chunks=(1, 10),
                   shards=False, progress=lambda done, total: print(done, flush=True))
"""
    path = tmp_path / "a.zarr/x"
    fm.save(VALUES, path, backend="zarr")
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0
    assert hidden(tmp_path) == []
    assert np.array_equal(pixels(path), VALUES)


# ── blocks and chunks ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("blocks", "options"),
    [
        (((3, 1, 3), (100, 28, 172), (250, 250)), {}),
        ((1, 50, 50), {"chunks": (1, 64, 64), "shards": (4, 128, 128)}),
        ((7, 33, 500), {"chunks": (2, 100, 100)}),
        ((2, 150, 250), {"zarr_format": 2}),
        ((2, 150, 250), {"zarr_format": 2, "chunks": 64}),
        ((7, 300, 500), {"shards": False}),
        (((1, 0, 6), 300, 500), {}),
        ((3, 77, 91), {"chunks": 40, "shards": 80, "compressor": "zstd"}),
    ],
)
def test_blocks_off_the_grid(blocks: Any, options: dict[str, Any], tmp_path: Path) -> None:
    for name, values in (("le", VALUES), ("be", VALUES.astype(">u2"))):
        path = tmp_path / "a.zarr" / name
        with dask.config.set(scheduler="threads", num_workers=4):
            fm.save(da.from_array(values, chunks=blocks), path, backend="zarr", **options)
        found = pixels(path)
        assert found.dtype == values.dtype
        assert np.array_equal(found, values)


@pytest.mark.parametrize(
    "values",
    [np.array(3.5, "f4"), np.zeros((0, 5)), np.zeros((3, 0), "u1"), np.array(["a", "bcd"] * 4),
     np.arange(9).astype("M8[s]"), np.arange(9) * 1j, np.arange(9) % 2 == 0],
    ids=lambda v: f"{v.dtype}{v.shape}",
)  # fmt: skip
def test_dask_arrays_of_all_kinds(values: Any, tmp_path: Path) -> None:
    array = da.from_array(values, chunks=(3,) if values.ndim == 1 else "auto")
    fm.save(array, tmp_path / "a.zarr/x", backend="zarr")
    found = pixels(tmp_path / "a.zarr/x")
    assert (found.dtype, found.shape) == (values.dtype, values.shape)
    assert np.array_equal(found, values)


@pytest.mark.parametrize("name", ["a.zarr/x", "a.ome.zarr"])
def test_blocks_of_unknown_size(name: str, tmp_path: Path) -> None:
    array = da.from_array(VALUES[0])
    rows = array[array[:, 0] > 5]
    with pytest.raises(UnsupportedDataError, match="compute_chunk_sizes"):
        fm.save(rows, tmp_path / name, backend="zarr")
    fm.save(rows.compute_chunk_sizes(), tmp_path / name, backend="zarr")
    assert np.array_equal(pixels(tmp_path / name), VALUES[0][VALUES[0][:, 0] > 5])


def test_blocks_that_cannot_be_stored(tmp_path: Path) -> None:
    refused = {
        "objects": da.from_array(np.array([object(), None]), chunks=2),
        "mask": da.ma.masked_equal(da.arange(10, chunks=5), 3),
        "shape": da.arange(10, chunks=5).map_blocks(lambda block: block[:1], dtype="i8"),
        "do not fit an array of uint16": da.zeros(10, chunks=5, dtype="u2").map_blocks(
            lambda b: b + 0.5, dtype="u2"
        ),
    }
    for word, array in refused.items():
        with pytest.raises(UnsupportedDataError, match=word):
            fm.save(array, tmp_path / "a.zarr/x", backend="zarr")
    assert hidden(tmp_path) == []


def test_dask_array_if_exists(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr/x"
    ones, twos = da.ones(10, chunks=5), da.full(10, 2.0, chunks=5)
    fm.save(ones, path, backend="zarr", if_exists="error")
    fm.save(twos, path, backend="zarr", if_exists="skip")
    assert pixels(path)[0] == 1
    with pytest.raises(AlreadyExistsError):
        fm.save(twos, path, backend="zarr", if_exists="error")
    fm.save(twos, path, backend="zarr")
    assert pixels(path)[0] == 2


def test_array_replaces_its_own_source(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr/x"
    fm.save(VALUES, path, backend="zarr")
    fm.save(da.from_array(fm.open(path, backend="zarr")) // 2, path, backend="zarr")
    assert np.array_equal(pixels(path), VALUES // 2)


def test_plate_from_dask(tmp_path: Path) -> None:
    plate = tmp_path / "plate.ome.zarr"
    for number, well in enumerate(("A/01", "B/03")):
        array = da.full((2, 90, 100), number, chunks=(1, 90, 50), dtype="u2")
        fm.save(array, plate / well / "0", backend="zarr", axes="cyx")
    assert pixels(plate / "B/03/0").max() == 1
    assert fm.list_dir(plate, backend="zarr") == ["A", "B"]


def test_saves_in_two_threads(tmp_path: Path) -> None:
    def save(number: int) -> None:
        array = da.full((20, 10), number, chunks=(1, 10))
        fm.save(array, tmp_path / f"a.zarr/{number}", backend="zarr", chunks=(1, 10),
                progress=lambda done, total: counts[number].append(done))  # fmt: skip

    counts: list[list[int]] = [[], [], [], []]
    threads = [threading.Thread(target=save, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [list(range(1, 21))] * 4


# ── the choice of chunks ─────────────────────────────────────────────────────────────────


def test_shards_are_the_blocks() -> None:
    array = da.zeros((10, 8000, 8000), chunks=(1, 2000, 2000), dtype="u2")
    layout = layout_for(array, Layout())
    assert layout.shards == (1, 2000, 2000)
    assert aligned_chunks(array, layout.shards) == array.chunks


def test_small_blocks_are_joined() -> None:
    array = da.zeros((1, 16384, 16384), chunks=(1, 64, 64), dtype="u2")
    layout = layout_for(array, Layout())
    assert isinstance(layout.shards, tuple)
    assert np.prod(list(map(len, aligned_chunks(array, layout.shards)))) < 100


def test_joined_blocks_stay_small() -> None:
    array = da.zeros((64, 8192, 8192), chunks=(1, 4096, 4096), dtype="u2")
    chunks = aligned_chunks(array, (32, 256, 256))
    assert max(chunks[0]) == 32
    assert 2 * np.prod([max(n) for n in chunks]) <= 128 * MIB
    assert all(n % 256 == 0 for n in chunks[1][:-1] + chunks[2][:-1])


def test_ten_thousand_blocks_are_one_graph(tmp_path: Path) -> None:
    """A graph for each block would take minutes."""
    array = da.zeros((10_000, 4, 4), chunks=(1, 4, 4), dtype="u2") + 1

    class Nowhere:
        shape, dtype, unit, directory = array.shape, array.dtype, (1, 4, 4), str(tmp_path)

        def __setitem__(self, region: Any, value: Any) -> None:
            pass

    graphs: list[int] = []
    with (
        dask.config.set(scheduler="synchronous"),
        dask.callbacks.Callback(start=lambda graph: graphs.append(len(graph))),
    ):
        store_blocks(array, Nowhere(), lambda: None)
    assert len(graphs) == 1


# ── reading into Dask ────────────────────────────────────────────────────────────────────


def test_from_array_takes_handle(scheduler: str, tmp_path: Path) -> None:
    fm.save(
        VALUES, tmp_path / "a.zarr/x", backend="zarr", chunks=(1, 64, 64), shards=(1, 128, 256)
    )
    array = da.from_array(fm.open(tmp_path / "a.zarr/x", backend="zarr"))
    assert array.npartitions < 10
    assert np.array_equal(array.compute(), VALUES)
    assert np.array_equal(array[2, ::-3, 5:9].compute(), VALUES[2, ::-3, 5:9])


def test_default_blocks_hold_shards(tmp_path: Path) -> None:
    handle = fm.create(tmp_path / "a.zarr/x", backend="zarr", shape=(64, 4096, 4096), dtype="u2",
                       chunks=(1, 512, 512), shards=(1, 2048, 2048))  # fmt: skip
    array = da.from_array(handle)
    assert array.npartitions < 64
    assert all(
        n % u == 0
        for lengths, u in zip(array.chunks, handle.unit, strict=True)
        for n in lengths
    )


def test_equal_reads_have_equal_tokens(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr/x"
    fm.save(VALUES, path, backend="zarr")
    tokens = [dask.base.tokenize(fm.open(path, backend="zarr")) for _ in range(2)]
    for _ in range(3):  # a directory may get the number that an earlier one had
        fm.save(VALUES, path, backend="zarr")
        tokens.append(dask.base.tokenize(fm.open(path, backend="zarr")))
    assert tokens[0] == tokens[1]
    assert len(set(tokens)) == 4


@pytest.mark.parametrize("change", ["save", "delete"])
def test_stale_handle_fails_in_workers(change: str, client: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr/x"
    fm.save(VALUES, path, backend="zarr")
    array = da.from_array(fm.open(path, backend="zarr"))
    if change == "save":
        fm.save(VALUES, path, backend="zarr")
    else:
        fm.delete(path, backend="zarr")
    before = client.run(os.getpid)
    with client.as_current(), pytest.raises(NotFoundError, match="open it again"):
        array.compute()
    assert client.run(os.getpid) == before  # an error in unpickling would end the worker


def test_handle_pickles_small(tmp_path: Path) -> None:
    fm.save(VALUES, tmp_path / "a.zarr/x", backend="zarr")
    handle = fm.open(tmp_path / "a.zarr/x", backend="zarr")
    assert handle[0, 0, 0] == VALUES[0, 0, 0]
    assert len(pickle.dumps(handle)) < 4000
    assert np.array_equal(pickle.loads(pickle.dumps(handle))[3, :5], VALUES[3, :5])
