"""Threads that save, delete, move and list in one folder do not disturb each other."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from polystore_core.errors import DirectoryNotEmptyError, NotFoundError, StorageError
from polystore_disk.backend import DiskBackend
from polystore_testing.values import image

SECONDS = 3.0
PATHS = [f"f/{folder}/{name}.npy" for folder in "ab" for name in range(5)]


def run_together(*works: Callable[[random.Random], Any]) -> None:
    """Run each work in its own thread, again and again for some seconds, at least once."""
    end = time.monotonic() + SECONDS

    def repeat(work: Callable[[random.Random], Any]) -> None:
        chance = random.Random(threading.get_ident())
        work(chance)
        while time.monotonic() < end:
            work(chance)

    with ThreadPoolExecutor(len(works)) as pool:
        list(pool.map(repeat, works))


@pytest.mark.faults
def test_listing_never_fails(disk: DiskBackend, folder: Path) -> None:
    disk.save(image(), "f/stays.npy")

    def save(chance: random.Random) -> None:
        path = chance.choice(PATHS)
        disk.save(image(), path, if_exists=chance.choice(["replace", "skip"]))

    def rename(chance: random.Random) -> None:
        with suppress(NotFoundError):  # Another thread deleted the source.
            disk.move(chance.choice(PATHS), chance.choice(PATHS))

    def delete(chance: random.Random) -> None:
        with suppress(NotFoundError):
            disk.delete(chance.choice(PATHS))

    def list_all(chance: random.Random) -> None:
        found = [*disk.list_files(".", recursive=True), *disk.list_dir("f")]
        found += [name for names in disk.collect_dirs_and_files("f") for name in names]
        assert "f/stays.npy" in found
        assert not [name for name in found if ".~ps-" in name]

    run_together(save, save, rename, delete, list_all, list_all)
    assert not list(folder.rglob(".~ps-*"))


@pytest.mark.faults
def test_empty_folder_race(disk: DiskBackend, folder: Path) -> None:
    """Deleting an empty folder never deletes a file that is saved at the same time."""

    def save(number: int) -> Callable[[random.Random], None]:
        def work(chance: random.Random) -> None:
            path = f"f/{number}.npy"
            try:
                disk.save(image(), path)
            except StorageError:  # The folder was deleted during the save, which reports it.
                return
            disk.load(path)
            disk.delete(path)

        return work

    def delete(chance: random.Random) -> None:
        with suppress(NotFoundError, DirectoryNotEmptyError):
            disk.delete("f")

    run_together(save(1), save(2), delete, delete)


@pytest.mark.faults
def test_save_makes_deleted_folder_again(disk: DiskBackend, folder: Path) -> None:
    """Deleting a folder with all its content never makes a ``save`` below it fail."""

    def save(number: int) -> Callable[[random.Random], None]:
        def work(chance: random.Random) -> None:
            disk.save(image(), f"f/g/{number}.npy")
            disk.save_batch([image()] * 3, [f"f/h/{number}-{n}.npy" for n in range(3)])

        return work

    def delete(chance: random.Random) -> None:
        with suppress(NotFoundError):
            disk.delete("f", recursive=True)

    run_together(save(1), save(2), delete)
    disk.save(image(), "f/a.npy")
    disk.delete("f", recursive=True)
    assert list(folder.iterdir()) == []


def test_folders_may_be_deep(disk: DiskBackend) -> None:
    """No function calls itself for each folder: Python allows about 1,000 nested calls."""
    deep = "/".join(["a"] * 1100)
    disk.save("x", f"{deep}/text.txt")
    disk.copy("a", "b")
    assert disk.list_files("b", recursive=True) == [f"b{deep[1:]}/text.txt"]
    disk.delete("a", recursive=True)
    disk.delete("b", recursive=True)
    assert disk.list_dir(".") == []
