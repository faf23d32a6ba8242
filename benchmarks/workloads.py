"""Workloads. Each gets a library and a place, and returns one figure or several."""

from __future__ import annotations

import functools
import gc
import os
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from contenders import Contender, Image, Raw

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Import",
    "List",
    "Load",
    "LoadBatch",
    "MemoryLoad",
    "MemorySave",
    "Save",
    "SaveBatch",
    "Workload",
    "places",
    "seconds",
]

Shape = tuple[int, ...]


class Workload(ABC):
    """One thing to time, the same for every library."""

    def prepare(self, directory: Path) -> None:  # noqa: B027 - most need nothing
        """Write the input of all libraries and rounds."""

    @abstractmethod
    def run(self, contender: Contender, prepared: Path, fresh: Path) -> tuple[float, ...]:
        """Time one round in the empty folder ``fresh`` and return its figures.

        Durations are in seconds. Raises ``AssertionError`` where the result is wrong.
        """


def places(directory: Path | None) -> tuple[Path, Path]:
    """Return where files are written that need no disk, and where the flushed ones are."""
    disk = directory or Path(tempfile.gettempdir())
    memory = Path("/dev/shm")
    return (memory if directory is None and memory.is_dir() else disk), disk


def seconds(
    function: Callable[[], Any], clock: Callable[[], float] = time.perf_counter
) -> tuple[float, Any]:
    """Return how long one call took, and its result. Garbage collection is off during the call."""
    gc.collect()
    gc.disable()
    try:
        start = clock()
        result = function()
        return clock() - start, result
    finally:
        gc.enable()


@functools.lru_cache(maxsize=2)
def images(count: int, shape: Shape) -> list[Image]:
    """Return ``count`` uint16 images of noise, the same in every process."""
    noise = np.random.default_rng(0).integers(0, 1 << 16, (count, *shape), np.uint16)
    return [image.copy() for image in noise]


def check(found: list[Image], expected: list[Image]) -> None:
    """Refuse to report how fast something wrong was."""
    pairs = zip(found, expected, strict=True)
    if not all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs):
        raise AssertionError("the images are not those that were saved")


@dataclass(frozen=True)
class _Files(Workload):
    suffix: str
    shape: Shape
    count: int = 1

    @property
    def images(self) -> list[Image]:
        return images(self.count, self.shape)

    def paths(self, directory: Path) -> list[str]:
        return [str(directory / f"A01_s{i}_w1{self.suffix}") for i in range(self.count)]


@dataclass(frozen=True)
class SaveBatch(_Files):
    """Save images to new files in one call."""

    def run(self, contender: Contender, prepared: Path, fresh: Path) -> tuple[float, ...]:
        paths = self.paths(fresh)
        taken, _ = seconds(lambda: contender.save_batch(self.images, paths))
        check(Raw().load_batch(paths), self.images)
        return (taken,)


@dataclass(frozen=True)
class Save(_Files):
    """Save one image, to a new file or ``replacing`` another one of the same size."""

    replacing: bool = False

    def run(self, contender: Contender, prepared: Path, fresh: Path) -> tuple[float, ...]:
        (image,), (path,) = self.images, self.paths(fresh)
        if self.replacing:
            Raw().save(~image, path)
            os.sync()  # else our time would include flushing older data
        taken, _ = seconds(lambda: contender.save(image, path))
        check([Raw().load(path)], [image])
        return (taken,)


@dataclass(frozen=True)
class LoadBatch(_Files):
    """Load the files that NumPy or tifffile wrote, in one call."""

    def prepare(self, directory: Path) -> None:
        Raw().save_batch(self.images, self.paths(directory))

    def run(self, contender: Contender, prepared: Path, fresh: Path) -> tuple[float, ...]:
        paths = self.paths(prepared)
        taken, found = seconds(lambda: contender.load_batch(paths))
        check(found, self.images)
        return (taken,)


@dataclass(frozen=True)
class Load(_Files):
    """Load one file that NumPy or tifffile wrote."""

    def prepare(self, directory: Path) -> None:
        Raw().save_batch(self.images, self.paths(directory))

    def run(self, contender: Contender, prepared: Path, fresh: Path) -> tuple[float, ...]:
        (path,) = self.paths(prepared)
        taken, found = seconds(lambda: contender.load(path))
        check([found], self.images)
        return (taken,)


@dataclass(frozen=True)
class MemorySave(Workload):
    """Save one image ``calls`` times; the figure is that of one call."""

    shape: Shape
    calls: int
    copy: bool = True
    new_paths: bool = False

    def run(self, contender: Contender, prepared: Path, fresh: Path) -> tuple[float, ...]:
        save, load = contender.memory(copy=self.copy)
        (image,) = images(1, self.shape)
        save(image, "first.npy")
        if self.new_paths:
            paths = [f"A01_s{i}_w1.npy" for i in range(self.calls)]
        else:
            paths = ["first.npy"] * self.calls

        def work() -> None:
            for path in paths:
                save(image, path)

        taken, _ = seconds(work)
        check([load(paths[-1])], [image])
        return (taken / self.calls,)


@dataclass(frozen=True)
class MemoryLoad(Workload):
    """Load one image ``calls`` times; the figure is that of one call."""

    shape: Shape
    calls: int
    copy: bool = True

    def run(self, contender: Contender, prepared: Path, fresh: Path) -> tuple[float, ...]:
        save, load = contender.memory(copy=self.copy)
        (image,) = images(1, self.shape)
        save(image, "first.npy")

        def work() -> None:
            for _ in range(self.calls):
                load("first.npy")

        taken, _ = seconds(work)
        check([load("first.npy")], [image])
        return (taken / self.calls,)


@dataclass(frozen=True)
class List(Workload):
    """List a folder of ``count`` files."""

    count: int

    @property
    def names(self) -> list[str]:
        return [f"A{i % 24:02}_s{i // 24}_w1.tif" for i in range(self.count)]

    def prepare(self, directory: Path) -> None:
        for name in self.names:
            (directory / name).touch()

    def run(self, contender: Contender, prepared: Path, fresh: Path) -> tuple[float, ...]:
        taken, found = seconds(lambda: contender.list_files(str(prepared)))
        if sorted(found) != sorted(self.names):
            raise AssertionError("the names are not those of the files")
        return (taken,)


@dataclass(frozen=True)
class Import(Workload):
    """Run ``statement`` in a new interpreter; the figure is its cost over an empty script."""

    statement: str
    tries: int = 3

    def run(self, contender: Contender, prepared: Path, fresh: Path) -> tuple[float, ...]:
        empty, full = [], []
        for _ in range(self.tries):
            empty.append(_interpreter("pass", fresh))
            full.append(_interpreter(contender.statements[self.statement], fresh))
        return (min(full) - min(empty),)


def _interpreter(statement: str, directory: Path) -> float:
    command = [sys.executable, "-c", statement]
    taken, _ = seconds(lambda: subprocess.run(command, cwd=directory, check=True))
    return taken
