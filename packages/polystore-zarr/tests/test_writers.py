"""Many processes and threads write one store at once. No value is lost, and none are mixed."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import random
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import (
    AlreadyExistsError,
    DirectoryNotEmptyError,
    NotFoundError,
    StorageError,
)
from polystore_zarr.backend import ZarrBackend
from polystore_zarr.ome import read_labels, read_plate, read_well
from polystore_zarr.store.local import local_path
from polystore_zarr.store.nodes import read_document

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="system: needs fork"),
]

SHAPE = (48, 40)
SECONDS = 1.5
LIMIT = 250.0
"""The test ends after this many seconds, for example if processes wait for each other."""


def version(number: int, shape: tuple[int, ...] = SHAPE) -> Any:
    """Fill a value with its number. Numbers start at 1, because 0 means missing."""
    return np.full(shape, number, np.uint16)


def number_of(value: Any) -> int:
    number = int(value.flat[0])
    assert number > 0
    assert (value == number).all(), "a mixture of versions"
    return number


def make_backend(root: object, **options: object) -> ZarrBackend:
    registry = BackendRegistry()
    registry.add("store", "zarr", root=str(root), **options)
    backend = registry["store"]
    assert isinstance(backend, ZarrBackend)
    return backend


def field_path(number: int) -> str:
    """Return the path of a field. The fields are spread over eight wells of a plate."""
    return f"plate.ome.zarr/{'AB'[number % 2]}/{number // 2 % 4 + 1:02}/{number}"


# ── the work of each process ─────────────────────────────────────────────────────────────

Wait = Callable[[], object]


def save_fields(root: str, number: int, count: int, wait: Wait) -> int:
    backend = make_backend(root)
    wait()
    for field in range(number, 32, count):
        backend.save(version(field + 1), field_path(field), chunks=24, levels=2)
    return 0


def save_images(root: str, number: int, count: int, wait: Wait) -> int:
    """Save images of one store, arrays of another, and files of a folder, at new paths."""
    backend = make_backend(root)
    wait()
    for image in range(number, 24, count):
        backend.save(version(image + 1), f"many.ome.zarr/image{image}", levels=1)
        backend.save(version(image + 1), f"run.zarr/a{image % 3}/b/{image}")
        backend.save(version(image + 1), f"folder/{image}.tif")
    return 0


def save_labels(root: str, number: int, count: int, wait: Wait) -> int:
    backend = make_backend(root)
    wait()
    for label in range(number, 16, count):
        backend.save(version(label + 1), f"image.ome.zarr/labels/l{label}", levels=1)
    return 0


def save_and_list(root: str, number: int, count: int, wait: Wait) -> int:
    """Half of the processes save fields. During that time the others list and load the plate."""
    if number % 2:
        return save_fields(root, number // 2, count // 2, wait)
    backend = make_backend(root)
    seen = 0
    wait()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end or seen < 32:
        try:
            found = backend.list_files("plate.ome.zarr", recursive=True)
        except NotFoundError:  # no field is saved yet
            assert seen == 0
            continue
        assert len(found) >= seen, "a field is missing"
        assert not [path for path in found if ".~ps-" in path]
        seen = len(found)
        for path in random.sample(found, min(3, seen)):
            assert number_of(backend.load(path)) == int(path.split("/")[-1]) + 1
            backend.info(path)
    return seen


def save_again(root: str, number: int, count: int, wait: Wait) -> int:
    """Half of the processes save one image again and again, and the others read it."""
    backend = make_backend(root)
    path = "image.ome.zarr"
    rounds = 0
    wait()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end or rounds < 2:
        rounds += 1
        if number % 2:
            backend.save(version(rounds), path, chunks=8, levels=2)
            backend.save(version(rounds), "a.zarr/a", chunks=8, shards=(24, 24))
        else:
            number_of(backend.load(path))
            number_of(backend.load(path, level=1))
            number_of(backend.load("a.zarr/a", region=(slice(3, 33), slice(2, 30))))
            assert backend.info(path).shape == SHAPE
            assert backend.exists(path)
            assert backend.list_dir(".") == ["a.zarr", "image.ome.zarr"]
            with suppress(NotFoundError):  # the array was saved again
                number_of(backend.open("a.zarr/a")[...])
    return rounds


def write_aligned(root: str, number: int, count: int, wait: Wait) -> int:
    """All processes create one array, and each writes its own rows of chunks."""
    backend = make_backend(root)
    wait()
    handle = backend.create(
        "new.zarr/g/a", shape=(64, 64), dtype="u2", chunks=8, if_exists="skip"
    )
    for row in range(number, 8, count):
        for column in range(8):
            handle[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = 1 + row * 8 + column
    return 0


def write_unaligned(root: str, number: int, count: int, wait: Wait) -> int:
    """Every process writes its own pixels into all chunks."""
    backend = make_backend(root)
    wait()
    handle = backend.create("new.zarr/a", shape=(16, 16), dtype="u2", chunks=8, shards=(16, 16),
                            if_exists="skip", unaligned="lock")  # fmt: skip
    for pixel in range(number, 16, count):
        handle[pixel, :] = 1 + pixel
        backend.save(
            version(1 + pixel, (16, 1)),
            "other.zarr/a",
            unaligned="lock",
            region=(slice(None), slice(pixel, pixel + 1)),
        )
    return 0


def save_exclusively(root: str, number: int, count: int, wait: Wait) -> int:
    backend = make_backend(root)
    wait()
    won = 0
    for place in range(8):
        paths = [f"x{place}.ome.zarr", f"y.ome.zarr/A/01/{place}", f"z{place}.zarr/a"]
        for bit, path in enumerate(paths):
            with suppress(AlreadyExistsError):
                backend.save(version(number + 1), path, if_exists="error")
                won += 1 << (3 * place + bit)
    return won


def churn(root: str, number: int, count: int, wait: Wait) -> int:
    """Save, move, delete and list a few fields of one plate at random."""
    backend = make_backend(root)
    chance = random.Random(number)
    paths = [f"plate.ome.zarr/A/0{1 + n % 2}/{n}" for n in range(6)]
    wait()
    end = time.monotonic() + SECONDS
    rounds = 0
    while time.monotonic() < end or rounds < 2:
        rounds += 1
        act = chance.randrange(5)
        path = chance.choice(paths)
        if act < 2:
            backend.save(version(1 + number), path, levels=1)
        elif act == 2:
            with suppress(NotFoundError):
                backend.delete(path)
        elif act == 3:
            with suppress(NotFoundError):
                backend.move(path, chance.choice(paths))
        else:
            found = backend.list_files(".", recursive=True)
            assert "plate.ome.zarr/B/01/stays" in found
            assert not [name for name in found if ".~ps-" in name]
            with suppress(NotFoundError):
                number_of(backend.load(path))
    return rounds


def use_pickled(root: str, number: int, count: int, wait: Wait) -> int:
    """Use a FileManager and handles that another process has pickled."""
    manager, reading, writing = pickle.loads(Path(root, "pickled").read_bytes())
    wait()
    assert number_of(reading[...]) == 3
    assert number_of(reading[::3, 4]) == 3
    writing[number * 8 : number * 8 + 8] = number + 1
    manager.save(version(number + 1), f"by.zarr/{number}", backend="store")
    return number_of(manager.load("read.zarr/a", backend="store"))


WORKS = {work.__name__: work for work in (
    save_fields, save_images, save_labels, save_and_list, save_again, write_aligned,
    write_unaligned, save_exclusively, churn, use_pickled,
)}  # fmt: skip


def work_in_process(
    work: str, root: str, number: int, count: int, gate: Any, results: Any
) -> None:
    try:
        results.put((number, WORKS[work](root, number, count, gate.wait), ""))
    except BaseException:  # the other process reports it
        gate.abort()
        results.put((number, 0, traceback.format_exc()))


def main(method: str, count: str, work: str, root: str) -> None:
    """Start ``count`` processes, and print what each of them returned."""
    backend = make_backend(Path(root, "warm-up"))
    ways: list[dict[str, Any]] = [{}, {"zarr_format": 2}]
    for options in ways:  # the second goes through zarr's own threads
        path = f"{len(options)}.zarr/a"
        backend.save(version(1), path, **options)
        backend.load(path)
    shutil.rmtree(Path(root, "warm-up"))
    context = multiprocessing.get_context(method)
    gate, results = context.Barrier(int(count)), context.Queue()
    processes = [
        context.Process(
            target=work_in_process,
            args=(work, root, number, int(count), gate, results),
            daemon=True,
        )
        for number in range(int(count))
    ]
    for process in processes:
        process.start()
    answers = sorted(results.get(timeout=LIMIT) for _ in processes)
    for process in processes:
        process.join(LIMIT)
    print(json.dumps(answers))


# ── the tests ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture
def backend(root: Path) -> ZarrBackend:
    return make_backend(root)


def run_together(work: Callable[..., int], root: Path, method: str, count: int) -> list[int]:
    """Run ``work`` in many processes or threads at once."""
    if method == "thread":
        gate = threading.Barrier(count)

        def run(number: int) -> int:
            try:
                return work(str(root), number, count, gate.wait)
            except BaseException:
                gate.abort()
                raise

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(run, range(count)))
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    ran = subprocess.run(
        [sys.executable, __file__, method, str(count), work.__name__, str(root)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env=environment,
    )
    assert ran.returncode == 0, ran.stderr
    answers = json.loads(ran.stdout)
    failures = "\n".join(text for *_, text in answers)
    assert not failures.strip(), failures
    return [answer for _, answer, _ in answers]


def check_nothing_left(root: Path) -> None:
    left = [path for path in root.rglob("*") if path.name.startswith(".~ps-")]
    assert not [path for path in left if path.suffix != ".lock"]
    assert not list(root.rglob("*.partial"))


def check_plate(plate: Path) -> set[str]:
    """Return the fields of a plate. Its documents must list exactly these fields."""
    found = plate.glob("[A-Z]*/[0-9]*/*/zarr.json")
    stored = {str(path.parent.relative_to(plate)) for path in found}
    document = read_document(local_path(plate))
    described = document and read_plate(document.attributes)
    assert described
    listed = set()
    for path in described.wells:
        well = read_document(local_path(plate / path))
        fields = well and read_well(well.attributes)
        assert fields
        listed |= {f"{path}/{field}" for field in fields.fields}
    assert listed == stored
    assert list(described.rows) == sorted({path.split("/")[0] for path in described.wells})
    return listed


WAYS = [("spawn", 4), ("fork", 8), ("thread", 8)]
ways = pytest.mark.parametrize(("method", "count"), WAYS, ids=[way for way, _ in WAYS])
without_spawn = pytest.mark.parametrize(("method", "count"), WAYS[1:], ids=["fork", "thread"])


@ways
@pytest.mark.smoke
def test_fields_are_not_lost(backend: ZarrBackend, root: Path, method: str, count: int) -> None:
    """A new plate that many processes fill at once has all fields, and its documents list them."""
    run_together(save_fields, root, method, count)
    paths = [field_path(number) for number in range(32)]
    for number, path in enumerate(paths):
        assert number_of(backend.load(path, level=1)) == number + 1
    listed = {f"plate.ome.zarr/{name}" for name in check_plate(root / "plate.ome.zarr")}
    assert listed == set(paths)
    check_nothing_left(root)


@without_spawn
def test_images_are_not_lost(backend: ZarrBackend, root: Path, method: str, count: int) -> None:
    """New stores and folders that many processes save into at once hold all values."""
    run_together(save_images, root, method, count)
    for number in range(24):
        for path in (
            f"many.ome.zarr/image{number}",
            f"run.zarr/a{number % 3}/b/{number}",
            f"folder/{number}.tif",
        ):
            assert number_of(backend.load(path)) == number + 1
    assert len(backend.list_files(".", recursive=True)) == 3 * 24
    check_nothing_left(root)


@ways
def test_labels_are_not_lost(backend: ZarrBackend, root: Path, method: str, count: int) -> None:
    """Labels that many processes save at once are all listed."""
    backend.save(version(1), "image.ome.zarr", levels=1)
    run_together(save_labels, root, method, count)
    document = read_document(local_path(root / "image.ome.zarr/labels"))
    assert document is not None
    assert set(read_labels(document.attributes) or ()) == {f"l{n}" for n in range(16)}
    for number in range(16):
        assert number_of(backend.load(f"image.ome.zarr/labels/l{number}")) == number + 1
    check_nothing_left(root)


@without_spawn
def test_readers_see_whole_fields(root: Path, method: str, count: int) -> None:
    """A process that lists and loads a plate during saves sees no error and no partial field."""
    run_together(save_and_list, root, method, count)
    check_plate(root / "plate.ome.zarr")


@ways
def test_versions_never_mix(backend: ZarrBackend, root: Path, method: str, count: int) -> None:
    """Many processes save one image while others read it. Each read gives one whole version."""
    backend.save(version(1), "image.ome.zarr", chunks=8, levels=2)
    backend.save(version(1), "a.zarr/a", chunks=8, shards=(24, 24))
    run_together(save_again, root, method, count)
    number_of(backend.load("image.ome.zarr"))
    check_nothing_left(root)


@without_spawn
def test_regions_are_not_lost(
    backend: ZarrBackend, root: Path, method: str, count: int
) -> None:
    """Four processes create one array and write aligned regions of it. All regions are stored."""
    run_together(write_aligned, root, method, 4)
    found = backend.load("new.zarr/g/a")
    expected = np.arange(1, 65).reshape(8, 8).repeat(8, 0).repeat(8, 1)
    np.testing.assert_array_equal(found, expected)
    check_nothing_left(root)


@without_spawn
def test_locked_regions_add_up(
    backend: ZarrBackend, root: Path, method: str, count: int
) -> None:
    """Four processes write into the same chunks under the lock. No pixel is lost."""
    backend.create("other.zarr/a", shape=(16, 16), dtype="u2", chunks=8)
    run_together(write_unaligned, root, method, 4)
    expected = np.broadcast_to(np.arange(1, 17)[:, None], (16, 16))
    np.testing.assert_array_equal(backend.load("new.zarr/a"), expected)
    np.testing.assert_array_equal(backend.load("other.zarr/a"), expected.T)
    check_nothing_left(root)


@ways
def test_one_process_wins(backend: ZarrBackend, root: Path, method: str, count: int) -> None:
    """With ``if_exists="error"``, exactly one of the processes succeeds at each path."""
    won = run_together(save_exclusively, root, method, count)
    everything = (1 << 24) - 1
    assert sum(won) == everything
    for one in won:
        assert sum(other & one for other in won) == one
    check_nothing_left(root)


@without_spawn
def test_churn_leaves_correct_documents(
    backend: ZarrBackend, root: Path, method: str, count: int
) -> None:
    """After concurrent saves, moves and deletes of the same fields, the documents are correct."""
    backend.save(version(1), "plate.ome.zarr/B/01/stays", levels=1)
    run_together(churn, root, method, 4)
    assert "B/01/stays" in check_plate(root / "plate.ome.zarr")
    check_nothing_left(root)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_handles_travel_pickled(backend: ZarrBackend, root: Path, method: str) -> None:
    """A FileManager and open handles work in other processes."""
    registry = BackendRegistry()
    registry.add("store", "zarr", root=str(root))
    manager = FileManager(registry)
    manager.save(version(3), "read.zarr/a", backend="store", chunks=16)
    writing = backend.create("write.zarr/a", shape=(32, 8), dtype="u2", chunks=8)
    handles = (manager, backend.open("read.zarr/a"), writing)
    (root / "pickled").write_bytes(pickle.dumps(handles))
    assert run_together(use_pickled, root, method, 4) == [3] * 4
    np.testing.assert_array_equal(writing[:, 0], np.arange(1, 5).repeat(8))
    for number in range(4):
        assert number_of(backend.load(f"by.zarr/{number}")) == number + 1


def test_empty_group_race(backend: ZarrBackend, root: Path) -> None:
    """The removal of an empty group never deletes a value that is saved at the same time."""
    end = time.monotonic() + SECONDS

    def save(number: int) -> int:
        rounds = 0
        while time.monotonic() < end or not rounds:
            with suppress(StorageError):  # the group was deleted, and the save reports it
                backend.save(version(1), f"s.zarr/g/{number}")
                rounds += 1
                backend.load(f"s.zarr/g/{number}")
                backend.delete(f"s.zarr/g/{number}")
        return rounds

    def delete(number: int) -> int:
        rounds = 0
        while time.monotonic() < end or not rounds:
            with suppress(NotFoundError, DirectoryNotEmptyError):
                backend.delete("s.zarr/g")
                rounds += 1
        return rounds

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(save, 1), pool.submit(save, 2), pool.submit(delete, 0)]
        assert all(future.result() for future in futures)


if __name__ == "__main__":
    main(*sys.argv[1:])
