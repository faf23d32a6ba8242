"""Processes that write until they are killed, and checks of the files that they leave.

Each process runs this file as a script, so this file imports nothing next to it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import BackendRegistry
from polystore_core.errors import StorageError
from polystore_core.files.atomic import find_leftovers
from polystore_zarr.backend import ZarrBackend
from polystore_zarr.ome import read_plate, read_well
from polystore_zarr.store.local import local_path
from polystore_zarr.store.nodes import read_document

if TYPE_CHECKING:
    import random

SHAPE = (90, 80)
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
    """Fill a value with its number. Numbers start at 1, because 0 means missing."""
    return np.full(shape, number, np.uint16)


def number_of(value: Any) -> int:
    """Return the number of a value, which must be whole."""
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
    """Return the version at ``path``, which must be the same on all levels."""
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


Say = Callable[[str], None]


def overwrite(say: Say, root: str, kind: str) -> None:
    """Report each version after it is saved."""
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
    """Save one field after the other into a plate that does not exist at first."""
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


GROWING: dict[str, dict[str, Any]] = {
    "plain": {},
    "several": {"chunks": (4, 30, 40), "shards": False},
    "sharded": {"chunks": (2, 30, 40), "shards": (4, 90, 80)},
    "older": {"zarr_format": 2},
    "image": {"axes": "tyx", "levels": 2},
}
"""Options of growing arrays, and of a time series."""


def append_frames(say: Say, root: str, path: str, options: str) -> None:
    """Append frames whose value is their index plus 1, and report each of them."""
    backend = make_backend(root)
    shape, layout = (None, *SHAPE), GROWING[options]
    with backend.create(path, shape=shape, dtype="u2", if_exists="skip", **layout) as handle:
        say(f"opened {len(handle)}")
        while True:
            handle.append(version(len(handle) + 1))
            say(f"appended {len(handle)}")
            if len(handle) % 7 == 0:
                handle.flush()


def be_interrupted(say: Say, root: str) -> None:
    """Overwrite until SIGINT arrives, report it, and wait for the next line of input.

    CPython drops an interrupt that arrives in the callback of a weak reference, such as asyncio has
    for each task of zarr-python, and calls ``sys.unraisablehook``.
    """

    def report_lost(unraisable: Any) -> None:
        sys.__unraisablehook__(unraisable)
        if unraisable.exc_type is KeyboardInterrupt:
            say("forgotten 1")

    sys.unraisablehook = report_lost
    backend = make_backend(root)
    number = 1
    while True:
        # The traceback refers to the interrupted frames. Report the interrupt when it is gone.
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
    """Do the work in a new process for each line of input. Only that process is killed."""
    scratch = Path(arguments[0], "warm-up")
    backend = make_backend(scratch)  # import all modules of a save in advance
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


class Writer:
    """A process that can be started, killed and started again."""

    def __init__(self, work: str, *arguments: object) -> None:
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, work, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=environment,
        )
        self.pid = 0
        self.expect("ready")

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")

    def start(self) -> None:
        self.go_on()
        self.pid = self.expect("pid")

    def line(self) -> tuple[str, int]:
        assert self.process.stdout is not None
        said, number = self.process.stdout.readline().decode().split()
        return said, int(number)

    def expect(self, expected: str) -> int:
        said, number = self.line()
        assert said == expected
        return number

    def kill(self, chance: random.Random, *, most: int = 3) -> list[int]:
        """Kill the process at a random moment, after a few of its reports.

        Returns the numbers that it reported, in order.
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


def save_once(say: Say, root: str, kind: str) -> None:
    """Wait until the test is ready, then save once and report the result."""
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


def find_hidden(root: Path) -> set[str]:
    """Return the files that writers have left behind, except lock files."""
    return {
        str(path)
        for path in root.rglob(".~ps-*")
        if ".~ps-" not in str(path.parent) and not path.name.endswith(".lock")
    }


def check_leftovers(root: Path, *, most: int) -> None:
    """Check that at most ``most`` temporary trees are left, and that each of them can be found."""
    left = find_hidden(root)
    assert len(left) <= most
    time.sleep(0.02)  # the clock of the file system is coarse
    assert set(find_leftovers(root, older_than=0)) == left
    partial = [path for path in root.rglob("*.partial") if ".~ps-" not in str(path)]
    assert partial == []


def fields_of(plate: Path) -> set[str]:
    """Return the fields in the folders of a plate, such as 'B/03/0'."""
    found = plate.glob("[A-Z]*/[0-9]*/*/zarr.json")
    return {str(path.parent.relative_to(plate)) for path in found}


def listed_fields(plate: Path) -> set[str]:
    """Return the fields that the documents of a plate list."""
    document = read_document(local_path(plate))
    described = document and read_plate(document.attributes)
    found = set()
    for path in described.wells if described else ():
        row, column = path.split("/")
        assert row in described.rows
        assert column in described.columns
        well = read_document(local_path(plate / path))
        assert well is not None, f"the well {path} is listed and missing"
        fields = read_well(well.attributes)
        assert fields is not None, f"the well {path} has no document"
        found |= {f"{path}/{field}" for field in fields.fields}
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
