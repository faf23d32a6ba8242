"""Zarr over a zip archive: an array is added as a whole, even if its writer is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import LazyArray
from polystore_zarr.backend import ZarrBackend
from polystore_zip.backend import ZipStore

from .places import PARTS, PLACES, SHAPE, Place, number, number_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from polystore_core import Region


@pytest.fixture
def place(folder: Path) -> Place:
    return Place(PLACES["zip"], folder)


class WatchedPixels(LazyArray):
    """Pixels that call a function when they are read, in the middle of a save."""

    shape = SHAPE
    dtype = np.dtype(np.uint16)

    def __init__(self, then: Callable[[], object]) -> None:
        self.then = then

    def __getitem__(self, region: Region) -> Any:
        self.then()
        return number(2)[region]


def test_array_is_added_in_one_step(place: Place, folder: Path) -> None:
    place.z.save(number(1), "g.zarr/a", **PARTS)
    looks: list[set[str]] = []

    def look() -> None:
        found = ZipStore(folder / "scan.zip").scan("g.zarr/b")
        looks.append({stat.key for stat in found})

    place.z.save(WatchedPixels(look), "g.zarr/b", **PARTS)
    assert looks
    assert not any(looks), "chunks were in the archive before their array"
    assert number_of(place.z.load("g.zarr/b")) == 2


def test_failing_array_adds_nothing(place: Place) -> None:
    place.z.save(number(1), "g.zarr/a", **PARTS)
    before = place.content()

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        place.z.save(WatchedPixels(fail), "g.zarr/b", **PARTS)
    assert place.content() == before


@pytest.mark.parametrize("options", [PARTS, {"chunks": 4, "shards": False}])
def test_array_costs_one_directory(
    place: Place, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """An array costs one directory and its flushes. One for each chunk would take minutes."""
    place.z.save(number(1), "g.zarr/a", **PARTS)
    flushes: list[int] = []
    for name in ("fsync", "fdatasync"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda file, real=real: (flushes.append(file), real(file))
        )
    place.z.save(number(2), "g.zarr/b", **options)
    assert len(flushes) <= 6, "two for the array, and a few for new groups"


def test_other_programs_read_the_archive(place: Place, folder: Path) -> None:
    place.z.save_batch([number(1), number(2)], ["g.zarr/a", "g.zarr/h/b"])
    with zipfile.ZipFile(folder / "scan.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
    assert {"g.zarr/zarr.json", "g.zarr/a/zarr.json", "g.zarr/h/b/zarr.json"} <= set(names)
    assert len(names) == len(set(names))


def test_archive_holds_files_and_arrays(place: Place) -> None:
    place.fm.save({"note": 1}, "note.json", "archive")
    place.z.save(number(1), "f/a.tif", **PARTS)
    assert place.fm.load("note.json", "archive") == {"note": 1}
    assert place.z.list_files(".", recursive=True) == ["f/a.tif"]
    assert number_of(place.z.load("f/a.tif")) == 1


KILLED = """
import sys
import numpy as np
from polystore_zarr.backend import ZarrBackend
from polystore_zip.backend import ZipStore

zarr = ZarrBackend(store=ZipStore(sys.argv[1]))
zarr.save(np.full((40, 36), 1, np.uint16), "g.zarr/warm", chunks=16, shards=False)
print("begin", flush=True)
for number in range(2, 1000):
    value = np.full((400, 360), number, np.uint16)
    zarr.save(value, f"g.zarr/{number}", chunks=16, shards=False)
"""
KILLS = 8


@pytest.mark.faults
@pytest.mark.timeout(120)
@pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX signals")
def test_killed_writer_leaves_whole_arrays(place: Place, folder: Path) -> None:
    """Each listed array is whole, and further arrays can be saved."""
    file = folder / "scan.zip"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(folder)}
    for kill in range(KILLS):
        command = [sys.executable, "-c", KILLED, str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.05 + 0.03 * kill)
            writer.kill()
        again = ZarrBackend(store=ZipStore(file))
        names = again.list_dir("g.zarr")
        for name in names:
            assert number_of(again.load(f"g.zarr/{name}")) == (
                1 if name == "warm" else int(name)
            )
        again.save(number(5), f"g.zarr/{len(names) + 1}", **PARTS)
        with zipfile.ZipFile(file) as archive:
            assert archive.testzip() is None
        file.unlink()


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_processes_add_to_one_archive(place: Place, folder: Path) -> None:
    import multiprocessing

    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(3) as pool:
        pool.starmap(_add, [(str(folder / "scan.zip"), seed) for seed in range(1, 7)])
    for seed in range(1, 7):
        for name in ("a", "b"):
            assert number_of(place.z.load(f"g.zarr/{seed}/{name}")) == seed


def _add(file: str, seed: int) -> None:
    zarr = ZarrBackend(store=ZipStore(file))
    zarr.save_batch([number(seed)] * 2, [f"g.zarr/{seed}/a", f"g.zarr/{seed}/b"], **PARTS)
