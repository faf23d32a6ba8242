"""Writers that are killed or interrupted, full disks, and system calls that fail."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import BackendRegistry
from polystore_core.errors import BatchError, NotFoundError, StorageError
from polystore_core.files.atomic import find_leftovers
from polystore_zarr.backend import ZarrBackend
from polystore_zarr.nodes import read_document
from polystore_zarr.ome import read_labels, read_plate, read_well

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

SHAPE = (90, 80)
KILLS = 22
"""Of each kind of value."""
INTERRUPTS = 15
ITEMS = [f"f/{n}.tif" for n in range(8)]

# Paths and options of the values that are saved again and again.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("run.zarr/step/plain", {"chunks": 16, "shards": False}),
    "sharded": ("run.zarr/step/sharded", {"chunks": 16, "shards": (48, 48)}),
    "pyramid": ("p.ome.zarr", {"chunks": 32, "levels": 3}),
    "field": ("plate.ome.zarr/B/03/0", {"chunks": 32, "levels": 2}),
    "label": ("labelled.ome.zarr/labels/cells", {"chunks": 32, "levels": 2}),
    "file": ("folder/a.tif", {"chunks": 32}),
    "older": ("old.zarr/step/a", {"chunks": 16, "zarr_format": 2}),
}


def version(number: int, shape: tuple[int, ...] = SHAPE) -> Any:
    """A value that tells its number everywhere. Numbers start at 1: 0 is what is missing."""
    return np.full(shape, number, np.uint16)


def number_of(value: Any) -> int:
    """The number of a value that is whole."""
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


def save(backend: ZarrBackend, kind: str, number: int, **options: Any) -> None:
    path, layout = KINDS[kind]
    backend.save(version(number), path, **layout, **options)


def saved_number(backend: ZarrBackend, path: str) -> int:
    """The version that stands at ``path``, the same on all levels."""
    info = backend.info(path)
    shapes = (info.metadata or {}).get("levels", [SHAPE])
    numbers = set()
    for level, shape in enumerate(shapes):
        value = backend.load(path, level=level)
        assert value.shape == shape
        numbers.add(number_of(value))
    assert len(numbers) == 1, f"levels of versions {numbers}"
    assert value.shape == tuple(-(-n // 2 ** (len(shapes) - 1)) for n in SHAPE)
    return numbers.pop()


# ── what runs in the other process ───────────────────────────────────────────────────────

Say = Callable[[str], None]


def overwrite(say: Say, root: str, kind: str) -> None:
    """Say each version after it is saved."""
    backend = make_backend(root)
    path, number = KINDS[kind][0], 1
    if backend.exists(path):
        number += saved_number(backend, path)
    while True:
        save(backend, kind, number)
        say(f"saved {number}")
        number += 1


def well_of(number: int) -> str:
    return f"{'ABCDEFGH'[number % 8]}/{number // 8 % 6 + 1:02}"


def fill_plate(say: Say, root: str) -> None:
    """Save one field after the other into a plate that is not there at first."""
    backend = make_backend(root)
    number = len(fields_of(Path(root, "plate.ome.zarr")))
    while True:
        number += 1
        backend.save(version(number), field_path(number), chunks=32, levels=2)
        say(f"saved {number}")


def field_path(number: int) -> str:
    return f"plate.ome.zarr/{well_of(number)}/{number}"


def overwrite_batch(say: Say, root: str) -> None:
    backend = make_backend(root)
    number = 1 + number_of(backend.load(ITEMS[0]))
    while True:
        backend.save_batch([version(number)] * len(ITEMS), ITEMS, chunks=32)
        say(f"batch {number}")
        number += 1


def pass_around(say: Say, root: str, *paths: str) -> None:
    """Save at the first path, move to the second, copy to the third, delete the second."""
    backend = make_backend(root)
    first, second, third = paths
    steps: list[Callable[[], None]] = [
        lambda: backend.save(version(7), first, chunks=32),
        lambda: backend.move(first, second),
        lambda: backend.copy(second, third),
        lambda: backend.delete(second),
        lambda: backend.delete(third),
    ]
    while True:
        for number, step in enumerate(steps):
            step()
            say(f"done {number}")


def write_regions(say: Say, root: str) -> None:
    handle = make_backend(root).open("r.zarr/a", mode="r+", unaligned="lock")
    number = 1 + int(handle[...].max())
    while True:
        handle[5:59, 7:61] = number
        say(f"wrote {number}")
        number += 1


def be_interrupted(say: Say, root: str) -> None:
    """Overwrite until SIGINT comes, say so, and wait to be told to go on.

    CPython forgets an interrupt that strikes in the callback of a weak reference, such as
    asyncio has for each task of zarr-python, and tells ``sys.unraisablehook``.
    """

    def forgotten(unraisable: Any) -> None:
        sys.__unraisablehook__(unraisable)
        if unraisable.exc_type is KeyboardInterrupt:
            say("forgotten 1")

    sys.unraisablehook = forgotten
    backend = make_backend(root)
    number = 1
    while True:
        # The traceback holds what the interrupted frames held: say it when that is gone.
        with suppress(KeyboardInterrupt):
            say("ready 1")
            while True:
                number += 1
                for kind in KINDS:
                    save(backend, kind, number)
                backend.save_batch([version(number)] * len(ITEMS), ITEMS, chunks=16)
        say("interrupted 1")
        sys.stdin.readline()


def main(work: str, *arguments: str) -> None:
    """Do the work in a fresh process for every line of input; only that one is killed."""
    scratch = Path(arguments[0], "warm-up")
    backend = make_backend(scratch)  # import what a save needs before the clock runs
    for path in ("a.zarr/a", "a.ome.zarr"):
        backend.save(version(1), path, chunks=16)
        backend.load(path)
    shutil.rmtree(scratch)

    def say(line: str) -> None:
        os.write(1, f"{line}\n".encode())

    say("ready 0")
    while sys.stdin.readline():
        child = os.fork()
        if child == 0:
            say(f"pid {os.getpid()}")
            try:
                globals()[work](say, *arguments)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        os.waitpid(child, 0)
        say("ended 0")


# ── what watches it ──────────────────────────────────────────────────────────────────────


class Writer:
    """The other process: started, killed and started again."""

    def __init__(self, work: str, *arguments: object) -> None:
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, work, *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment,
        )  # fmt: skip
        self.pid = 0
        self.says("ready")

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")

    def start(self) -> None:
        self.go_on()
        self.pid = self.says("pid")

    def line(self) -> tuple[str, int]:
        assert self.process.stdout is not None
        said, number = self.process.stdout.readline().decode().split()
        return said, int(number)

    def says(self, expected: str) -> int:
        said, number = self.line()
        assert said == expected
        return number

    def kill(self, chance: random.Random, *, most: int = 3) -> list[int]:
        """Kill it at a random moment after some things were said.

        Returns the numbers that it said, in order.
        """
        said = [self.line()[1] for _ in range(chance.randint(0, most))]
        time.sleep(chance.uniform(0, 0.03))
        os.kill(self.pid, signal.SIGKILL)
        said += [number for _, number in iter(self.line, ("ended", 0))]
        self.pid = 0
        return said

    def end(self) -> None:
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture
def backend(root: Path) -> ZarrBackend:
    return make_backend(root)


@pytest.fixture
def start(root: Path) -> Iterator[Callable[..., Writer]]:
    started: list[Writer] = []

    def begin(work: str, *arguments: object) -> Writer:
        started.append(Writer(work, root, *arguments))
        return started[-1]

    yield begin
    for writer in started:
        writer.end()


def hidden(root: Path) -> set[str]:
    """What writers have left behind, but for lock files."""
    return {
        str(path)
        for path in root.rglob(".~ps-*")
        if ".~ps-" not in str(path.parent) and not path.name.endswith(".lock")
    }


def check_leftovers(root: Path, *, most: int) -> None:
    """Few temporary trees (one for each kill at most), and each of them can be found."""
    left = hidden(root)
    assert len(left) <= most
    time.sleep(0.02)  # the clock of the file system is coarse
    assert set(find_leftovers(root, older_than=0)) == left
    partial = [path for path in root.rglob("*.partial") if ".~ps-" not in str(path)]
    assert partial == []


def fields_of(plate: Path) -> set[str]:
    """The fields that really stand in a plate, such as 'B/03/0'."""
    found = plate.glob("[A-Z]*/[0-9]*/*/zarr.json")
    return {str(path.parent.relative_to(plate)) for path in found}


def listed_fields(plate: Path) -> set[str]:
    """The fields that the documents of a plate tell of."""
    document = read_document(str(plate))
    described = document and read_plate(document.attributes)
    found = set()
    for path in described.wells if described else ():
        row, column = path.split("/")
        assert row in described.rows
        assert column in described.columns
        well = read_document(str(plate / path))
        assert well is not None, f"the well {path} is listed and missing"
        fields = read_well(well.attributes)
        assert fields is not None, f"the well {path} has no document"
        found |= {f"{path}/{field}" for field in fields.fields}
    return found


# ── killed ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
def test_killed_save_is_whole(backend: ZarrBackend, root: Path, start: Any, kind: str) -> None:
    """What was said to be saved is there, or the version after it, and the next save works."""
    chance = random.Random(kind)
    if kind == "label":
        backend.save(version(1), "labelled.ome.zarr", chunks=32, levels=2)
    path = KINDS[kind][0]
    writer, last = start("overwrite", kind), 0
    for _ in range(KILLS):
        writer.start()
        said = (writer.kill(chance) or [last])[-1]
        if backend.exists(path):
            found = saved_number(backend, path)
            assert said <= found <= said + 1
        else:
            assert said == 0
            found = 0
        save(backend, kind, found + 1)  # the locks are free
        last = found + 1
        assert saved_number(backend, path) == last
    assert last > 2 * KILLS
    check_leftovers(root, most=2 * KILLS)
    if kind == "field":
        assert listed_fields(root / "plate.ome.zarr") == {"B/03/0"}
    if kind == "label":
        labels = read_document(str(root / "labelled.ome.zarr/labels"))
        assert labels is not None
        assert read_labels(labels.attributes) == ("cells",)
        assert saved_number(backend, "labelled.ome.zarr") == 1


def test_killed_first_save_counts(backend: ZarrBackend, root: Path, start: Any) -> None:
    """However often it is killed, a new plate lists each field that was said to be saved."""
    chance = random.Random(2)
    writer, last = start("fill_plate"), 0
    for _ in range(KILLS):
        writer.start()
        last = (writer.kill(chance, most=2) or [last])[-1]
        plate = root / "plate.ome.zarr"
        wanted = {f"{well_of(n)}/{n}" for n in range(1, last + 1)}
        next_field = {f"{well_of(last + 1)}/{last + 1}"}
        assert wanted <= fields_of(plate) <= wanted | next_field
        assert wanted <= listed_fields(plate) <= fields_of(plate)
        for name in sorted(fields_of(plate)):
            assert saved_number(backend, f"plate.ome.zarr/{name}") == int(name.split("/")[2])
        if next_field <= fields_of(plate):
            last += 1
            backend.save(version(last), field_path(last), chunks=32, levels=2)
            assert listed_fields(plate) == wanted | next_field
    assert last >= KILLS
    check_leftovers(root, most=KILLS)


def test_killed_batch_is_prefix(backend: ZarrBackend, root: Path, start: Any) -> None:
    """Each item of a batch is whole, and none is newer than the one before it."""
    chance = random.Random(3)
    backend.save_batch([version(1)] * len(ITEMS), ITEMS, chunks=32)
    writer, last = start("overwrite_batch"), 1
    for _ in range(KILLS // 2):
        writer.start()
        last = (writer.kill(chance, most=1) or [last])[-1]
        found = [number_of(value) for value in backend.load_batch(ITEMS)]
        assert found == sorted(found, reverse=True)
        assert last <= found[-1] <= found[0] <= last + 1
        last = found[0]
        backend.save_batch([version(last)] * len(ITEMS), ITEMS, chunks=32)
    assert backend.list_dir("f") == [Path(item).name for item in ITEMS]
    check_leftovers(root, most=KILLS)


@pytest.mark.parametrize(
    "paths",
    [
        ("m.zarr/a", "m.zarr/g/b", "m.zarr/c"),
        ("plate.ome.zarr/A/01/0", "plate.ome.zarr/B/02/1", "plate.ome.zarr/A/01/2"),
    ],
    ids=["plain", "plate"],
)
def test_killed_moves_lose_nothing(
    backend: ZarrBackend, root: Path, start: Any, paths: tuple[str, ...]
) -> None:
    """A killed move, copy or delete has happened or not."""
    first, second, third = paths
    states = [{first}, {second}, {second, third}, {third}, set()]
    chance = random.Random(4)
    writer = start("pass_around", *paths)
    for _ in range(KILLS):
        for path in paths:
            with suppress(NotFoundError):
                backend.delete(path)
        writer.start()
        last = (writer.kill(chance, most=8) or [len(states) - 1])[-1]
        found = {path for path in paths if backend.exists(path)}
        assert found in (states[last], states[(last + 1) % 5])
        for path in found:
            assert saved_number(backend, path) == 7
        if "plate" in first:
            plate = root / "plate.ome.zarr"
            assert listed_fields(plate) <= fields_of(plate), "a missing field is listed"
            settled = states[last] & states[(last + 1) % 5]
            assert {path.removeprefix("plate.ome.zarr/") for path in settled} <= listed_fields(
                plate
            )
    check_leftovers(root, most=KILLS)


def test_killed_region_keeps_chunks(backend: ZarrBackend, root: Path, start: Any) -> None:
    """Each chunk that a killed region write touched is old or new, and the lock is free."""
    backend.create("r.zarr/a", shape=(64, 64), dtype="u2", chunks=16)
    chance = random.Random(5)
    writer, last = start("write_regions"), 0
    for _ in range(KILLS):
        writer.start()
        last = (writer.kill(chance) or [last])[-1]
        found = backend.load("r.zarr/a")
        for y in range(0, 64, 16):
            for x in range(0, 64, 16):
                part = found[max(y, 5) : min(y + 16, 59), max(x, 7) : min(x + 16, 61)]
                assert set(np.unique(part)) <= {last, last + 1}
                assert len(np.unique(part)) == 1
        found[5:59, 7:61] = 0
        assert not found.any()
        last += 1
        backend.save(version(last, (54, 54)), "r.zarr/a", unaligned="lock",
                     region=(slice(5, 59), slice(7, 61)))  # fmt: skip
    check_leftovers(root, most=KILLS)


# ── interrupted ──────────────────────────────────────────────────────────────────────────


def test_interrupts_reach_caller(backend: ZarrBackend, root: Path, start: Any) -> None:
    """Ctrl-C ends a save with KeyboardInterrupt, and nothing goes on behind its back."""
    chance = random.Random(6)
    backend.save(version(1), "labelled.ome.zarr", chunks=32, levels=2)
    for kind in KINDS:
        save(backend, kind, 1)
    backend.save_batch([version(1)] * len(ITEMS), ITEMS, chunks=32)
    writer = start("be_interrupted")
    writer.start()
    for number in range(INTERRUPTS):
        if number:
            writer.go_on()
        writer.says("ready")
        time.sleep(chance.uniform(0, 0.12))
        said = "forgotten"
        while said == "forgotten":
            os.kill(writer.pid, signal.SIGINT)
            said = writer.line()[0]
        assert said == "interrupted"
        assert not hidden(root)
        for kind in KINDS:
            saved_number(backend, KINDS[kind][0])
        found = [number_of(value) for value in backend.load_batch(ITEMS)]
        assert found == sorted(found, reverse=True)
        assert not hidden(root)
    check_leftovers(root, most=0)


# ── no space, no names, no descriptors ───────────────────────────────────────────────────

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a file system in memory, with the options of tmpfs."""
    mounted: list[Path] = []

    def make(**options: object) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        text = ",".join(f"{name}={value}" for name, value in options.items())
        command = ["mount", "-t", "tmpfs", "-o", text, "tmpfs", str(place)]
        tried = subprocess.run(command, capture_output=True, text=True)
        if tried.returncode:
            pytest.skip(f"system: no tmpfs can be mounted: {tried.stderr.strip()}")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path, *, pages_left: int) -> None:
    """Fill a disk up to some pages of 4 KiB."""
    with (disk / "filler").open("wb", buffering=0) as file:
        for _ in range(max(os.statvfs(disk).f_bavail - pages_left, 0)):
            file.write(bytes(4096))


def check_reason(error: StorageError, path: str) -> None:
    assert (error.errno, error.path) == (errno.ENOSPC, path)
    assert "free space on the disk and try again" in str(error)


def arrays(root: Path) -> list[str]:
    """Everything but groups, locks and their folders: what a failed save must not leave."""
    found = []
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_dir() or name.endswith(".lock") or name == "filler":
            continue
        document = read_document(str(path.parent)) if path.name == "zarr.json" else None
        if document is None or document.kind == "array" or document.is_image:
            found.append(name)
    return sorted(found)


@pytest.mark.parametrize("kind", ["plain", "sharded", "pyramid", "field"])
@pytest.mark.parametrize("over", [False, True], ids=["new", "over"])
def test_full_disk_keeps_old(mount: Mount, kind: str, over: bool) -> None:
    """At every fill level: all of the new version or all of the old, and the reason."""
    place = mount(size="1m")
    backend, path, failures = make_backend(place), KINDS[kind][0], 0
    levels = range(0, 96, 4)
    for pages_left in levels:
        if over:
            save(backend, kind, 1)
        fill(place, pages_left=pages_left)
        before = arrays(place)
        try:
            save(backend, kind, 2)
        except StorageError as error:
            failures += 1
            check_reason(error, path)
            assert arrays(place) == before
            assert not hidden(place)
            assert not over or saved_number(backend, path) == 1
            assert over or not backend.exists(path)
        else:
            assert saved_number(backend, path) == 2
        (place / "filler").unlink()
        save(backend, kind, 3)
        assert saved_number(backend, path) == 3
        backend.delete(path.split("/", maxsplit=1)[0], recursive=True)
    assert not arrays(place)
    assert 1 < failures < len(levels)


def test_full_disk_stops_batch(mount: Mount) -> None:
    """What a batch could save is saved, and the rest has left nothing."""
    place = mount(size="1m")
    backend = make_backend(place)
    paths = [f"f/{n}.tif" for n in range(60)]
    noise = np.random.default_rng(1).integers(0, 65535, (100, 100), np.uint16)
    with pytest.raises(BatchError, match="free space on the disk") as caught:
        backend.save_batch([noise] * len(paths), paths, chunks=50)
    done = list(caught.value.done)
    assert done == paths[: len(done)]
    assert [f"f/{name}" for name in backend.list_dir("f")] == done
    assert not hidden(place)


def test_full_disk_copies_nothing(mount: Mount) -> None:
    """A copy that does not fit is not begun, as far as anybody can see."""
    place = mount(size="600k")
    backend = make_backend(place)
    backend.save(version(1, (600, 300)), "a.zarr/g/x", chunks=100, compressor="none",
                 shards=False)  # fmt: skip
    fill(place, pages_left=12)
    before = arrays(place)
    for source, target in (
        ("a.zarr/g/x", "a.zarr/y"),
        ("a.zarr/g", "b.zarr"),
        ("a.zarr", "c.zarr"),
    ):
        with pytest.raises(StorageError) as caught:
            backend.copy(source, target)
        assert caught.value.errno == errno.ENOSPC
        assert arrays(place) == before
        assert not hidden(place)


@pytest.mark.parametrize("kind", ["plain", "pyramid", "field"])
def test_no_more_names(mount: Mount, kind: str) -> None:
    """A disk without free inodes is a full disk, whatever file is the last."""
    place = mount(size="4m", nr_inodes=130)
    backend, path, failures = make_backend(place), KINDS[kind][0], 0
    save(backend, kind, 1)
    for left in range(0, 60, 6):
        names = os.statvfs(place).f_favail - left
        for n in range(names):
            (place / f"filler{n}").touch()
        try:
            save(backend, kind, 2)
        except StorageError as error:
            failures += 1
            check_reason(error, path)
            assert saved_number(backend, path) == 1
            assert not hidden(place)
        else:
            assert saved_number(backend, path) == 2
        for n in range(names):
            (place / f"filler{n}").unlink()
        save(backend, kind, 1)
    assert failures


def test_read_only_disk(mount: Mount) -> None:
    """Everything that writes says that the disk is read-only, and reading works."""
    place = mount(size="1m")
    backend = make_backend(place)
    save(backend, "field", 1)
    save(backend, "plain", 1)
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    path = KINDS["plain"][0]
    attempts: list[Callable[[], Any]] = [
        lambda: save(backend, "plain", 2),
        lambda: save(backend, "field", 2),
        lambda: backend.save(version(2), "plate.ome.zarr/C/01/0"),
        lambda: backend.create("new.zarr/a", shape=(3, 3), dtype="u1"),
        lambda: backend.save(version(2, (16, 16)), path, region=(slice(16), slice(16))),
        lambda: backend.delete(path),
        lambda: backend.delete(KINDS["field"][0]),
        lambda: backend.move(path, "b.zarr/a"),
        lambda: backend.copy(path, "b.zarr/a"),
        lambda: backend.ensure_directory("c.zarr/g"),
    ]
    for attempt in attempts:
        with pytest.raises(StorageError, match="mounted read-only") as caught:
            attempt()
        assert caught.value.errno == errno.EROFS
    assert saved_number(backend, path) == saved_number(backend, KINDS["field"][0]) == 1
    assert listed_fields(place / "plate.ome.zarr") == {"B/03/0"}


def test_no_more_descriptors(backend: ZarrBackend, root: Path) -> None:
    """With few descriptors left nothing changes, and with one more it works."""
    save(backend, "field", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    kinds = []
    for spare in range(40):  # a tree that replaces another is flushed by several threads
        highest = max(map(int, os.listdir("/proc/self/fd")))
        taken = len(os.listdir("/proc/self/fd")) - 1
        fillers = [os.dup(0) for _ in range(highest + 1 - taken)]  # close the gaps
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (max(fillers, default=highest) + 1 + spare, hard)
        )
        try:
            save(backend, "field", 2)
            kinds.append(0)
        except StorageError as error:
            kinds.append(error.errno)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for filler in fillers:
                os.close(filler)
        assert saved_number(backend, KINDS["field"][0]) == (1 if kinds[-1] else 2)
        # With so few descriptors not even the old tree can be removed.
        assert hidden(root) == set(find_leftovers(root, older_than=-1))
        save(backend, "field", 1)
    assert kinds[0] == errno.EMFILE
    assert kinds[-1] == 0
    assert set(kinds) == {0, errno.EMFILE}


# ── every call of Python's fails once ────────────────────────────────────────────────────

# What changes something, and what tells what stands there. Not `unlink` and `rmdir` of our own
# temporary trees: if they cannot be removed, they stay, and `find_leftovers` lists them.
CALLS = [
    "open", "write", "fsync", "link", "replace", "rename", "mkdir", "fchmod", "stat", "fstat",
    "read", "scandir", "listdir",
]  # fmt: skip
CODES = [errno.ENOSPC, errno.EIO, errno.EMFILE]

Operation = Callable[[ZarrBackend], Any]
FIELD, IMAGE = "plate.ome.zarr/B/03/0", "p.ome.zarr"

OPERATIONS: dict[str, Operation] = {
    "save over": lambda b: b.save(version(2), "g.zarr/a", chunks=48),
    "save new": lambda b: b.save(version(2), "new.zarr/x/y", chunks=48),
    "save file": lambda b: b.save(version(2), "f/new.tif", chunks=48),
    "save durably": lambda b: b.save(version(2), "g.zarr/a", chunks=48, durable=True),
    "save exclusively": lambda b: b.save(version(2), "g.zarr/n", chunks=48, if_exists="error"),
    "save image": lambda b: b.save(version(2), IMAGE, levels=2),
    "save field": lambda b: b.save(version(2), FIELD, levels=2),
    "save new field": lambda b: b.save(version(2), "plate.ome.zarr/C/01/0", levels=2),
    "save label": lambda b: b.save(version(2), f"{IMAGE}/labels/cells"),
    "create": lambda b: b.create("new.zarr/a", shape=(4, 4), dtype="u1"),
    "copy": lambda b: b.copy("g.zarr/a", "h.zarr/a"),
    "copy folder": lambda b: b.copy("g.zarr", "h.zarr/g"),
    "move": lambda b: b.move("g.zarr/a", "g.zarr/b"),
    "move field": lambda b: b.move(FIELD, "plate.ome.zarr/C/01/0"),
    "move folder": lambda b: b.move("g.zarr", "h.zarr/g"),
    "delete": lambda b: b.delete("g.zarr/a"),
    "delete field": lambda b: b.delete(FIELD),
    "delete folder": lambda b: b.delete("g.zarr", recursive=True),
    "make folder": lambda b: b.ensure_directory("n.zarr/x/y"),
}
READS: dict[str, Operation] = {
    "load": lambda b: b.load("g.zarr/a").tolist(),
    "load file": lambda b: b.load("f/a.tif").tolist(),
    "load field": lambda b: b.load(FIELD, level=1).tolist(),
    "info": lambda b: str(b.info(FIELD)),
    "exists": lambda b: [
        b.exists(path) for path in ("g.zarr/a", "f/a.tif", "f/missing", FIELD)
    ],
    "is_dir": lambda b: [
        b.is_dir(path) for path in ("g.zarr", "f", "missing", "plate.ome.zarr/B")
    ],
    "list": lambda b: b.list_files(".", recursive=True),
    "open": lambda b: b.open("g.zarr/a")[3:5].tolist(),
}


class Fault:
    """Lets the n-th of the watched calls fail, in whatever thread it is made."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = -1
        self.code = 0
        self.lock = threading.Lock()
        for name in CALLS:
            patch.setattr(os, name, self.watched(getattr(os, name)))

    def watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched_call(*args: Any, **options: Any) -> Any:
            with self.lock:
                if self.left >= 0 and not _asked_by_makedirs():
                    self.left -= 1
                    if self.left < 0:
                        raise OSError(self.code, os.strerror(self.code))
            return call(*args, **options)

        return watched_call


def _asked_by_makedirs() -> bool:
    """``os.makedirs`` asks ``os.path.isdir``, which takes a failure for an answer."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.endswith("genericpath.py>"):
        frame = frame.f_back
    return frame.f_code.co_name in ("makedirs", "isdir", "exists") and "makedirs" in (
        frame.f_code.co_name,
        frame.f_back.f_code.co_name if frame.f_back else "",
    )


@pytest.fixture
def fault() -> Iterator[Fault]:
    with pytest.MonkeyPatch.context() as patch:
        yield Fault(patch)


def prepare(backend: ZarrBackend, root: Path) -> None:
    """Put back what every operation finds."""
    for path in root.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in ("g.zarr/a", "g.zarr/b", "f/a.tif"):
        backend.save(version(1), path, chunks=48)
    backend.save(version(1), IMAGE, levels=2)
    backend.save(version(1), FIELD, levels=2)
    backend.save(version(1), "plate.ome.zarr/B/03/1", levels=2)


def standing(backend: ZarrBackend) -> dict[str, int]:
    """Every array and image, with its version."""
    found = {}
    for path in backend.list_files(".", recursive=True):
        value = backend.load(path)
        found[path] = number_of(value) if value.any() else 0
    return found


def failure_of(operation: Operation, backend: ZarrBackend) -> Exception | None:
    try:
        operation(backend)
    except StorageError as error:
        return error
    return None


@pytest.mark.parametrize("name", OPERATIONS)
def test_old_or_new_stands(backend: ZarrBackend, root: Path, fault: Fault, name: str) -> None:
    """Whatever call fails: the operation has happened or not, and the error says why."""
    operation = OPERATIONS[name]
    prepare(backend, root)
    old = standing(backend)
    operation(backend)
    new = standing(backend)
    dirty, reached = True, True
    point = -1
    while reached:
        point += 1
        code = CODES[point % len(CODES)]
        if dirty:
            prepare(backend, root)
        fault.code, fault.left = code, point
        failure = failure_of(operation, backend)
        reached, fault.left = fault.left < 0, -1
        said = f"{failure!r} at call {point}"
        assert failure is None or getattr(failure, "errno", 0) == code, said
        found = standing(backend)
        assert found in (old, new), said
        assert failure or found == new, said
        # One fault is one failure: either the operation failed, or the removal of what it hid.
        assert len(hidden(root)) <= (failure is None), said
        plate = root / "plate.ome.zarr"
        assert listed_fields(plate) <= fields_of(plate), said
        if failure is None:
            assert listed_fields(plate) == fields_of(plate), said
        dirty = found != old or "field" in name or "label" in name
    assert point > 2


@pytest.mark.parametrize("name", READS)
def test_reading_never_lies(backend: ZarrBackend, root: Path, fault: Fault, name: str) -> None:
    """A fault is no missing file, no fill value, no empty folder and no other value."""
    operation = READS[name]
    prepare(backend, root)
    expected = operation(backend)
    point, reached = -1, True
    while reached:
        point += 1
        fault.code = CODES[point % len(CODES)]
        found: list[Any] = []
        fault.left = point
        failure = failure_of(lambda b: found.append(operation(b)), backend)  # noqa: B023
        reached, fault.left = fault.left < 0, -1
        said = f"{failure!r} at call {point}"
        assert failure is None or getattr(failure, "errno", 0) == fault.code, said
        assert failure or found == [expected], said
    assert point


# ── calls that fail in the kernel ────────────────────────────────────────────────────────

KERNEL_CALLS = {
    "openat": "EMFILE", "write": "ENOSPC", "mkdir": "EDQUOT", "rename": "EIO",
    "renameat2": "EIO", "linkat": "ENOSPC", "fsync": "EIO", "newfstatat": "EIO",
    "flock": "ENOLCK", "fchmod": "EPERM", "getdents64": "EIO", "ftruncate": "EIO",
}  # fmt: skip
POINTS = (1, 2, 3, 5, 8, 13)
STRACED = ("field", "sharded", "label")


def save_once(say: Say, root: str, kind: str) -> None:
    """Wait until somebody watches, then save once and say how it went."""
    backend = make_backend(root)
    say("waiting 0")
    sys.stdin.readline()
    try:
        save(backend, kind, 2, durable=True)
    except StorageError as error:
        say(f"failed {error.errno}")
    else:
        say("saved 2")
    os._exit(0)


@pytest.mark.skipif(shutil.which("strace") is None, reason="system: needs strace")
@pytest.mark.parametrize("kind", STRACED)
def test_kernel_refuses_once(
    backend: ZarrBackend, root: Path, start: Any, kind: str, tmp_path: Path
) -> None:
    """The n-th of a system call fails in each thread: old or new, and nothing damaged."""
    backend.save(version(1), "labelled.ome.zarr", chunks=32, levels=2)
    writer = start("save_once", kind)
    outcomes = set()
    for call, code in KERNEL_CALLS.items():
        for point in POINTS:
            save(backend, kind, 1)
            writer.start()
            writer.says("waiting")
            strace = subprocess.Popen(
                ["strace", "-f", "-o", str(tmp_path / "log"), "-e", f"trace={call}",
                 "-e", f"inject={call}:error={code}:when={point}", "-p", str(writer.pid)],
                stderr=subprocess.PIPE,
            )  # fmt: skip
            assert strace.stderr is not None
            said = strace.stderr.readline().decode()
            if "attached" not in said:
                strace.communicate()
                writer.go_on()
                pytest.skip(f"system: strace cannot attach: {said.strip()}")
            writer.go_on()
            # What fails may also be the telling.
            outcome, number = [("silent", 0), *iter(writer.line, ("ended", 0))][-1]
            writer.pid = 0
            strace.communicate()
            injected = "INJECTED" in (tmp_path / "log").read_text()
            said = f"{call} {point}: {outcome} {number}"
            outcomes.add((call, outcome)) if injected else None
            if outcome == "failed":
                assert injected, said
                assert number == getattr(errno, code), said
            found = saved_number(backend, KINDS[kind][0])
            assert found == 2 if outcome == "saved" else found in (1, 2), said
            if not injected:
                break
    assert {outcome for _, outcome in outcomes} >= {"failed"}
    assert len(outcomes) > 6
    check_leftovers(root, most=len(KERNEL_CALLS))  # where the removal itself was refused


if __name__ == "__main__":
    main(*sys.argv[1:])
