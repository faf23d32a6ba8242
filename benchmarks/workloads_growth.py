"""The work that is timed at three sizes, and the places where it happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np

from polystore import BackendRegistry

__all__ = [
    "BACKENDS",
    "FILES",
    "ON_DISK",
    "VALUE",
    "Growth",
    "Site",
    "Work",
    "between",
    "each",
    "make_site",
    "scale_sizes",
    "target_of",
]

FILES = {"memory": 400, "disk": 64, "disk, root=": 64}
"""The backends, and the smallest N on each: its time is well above the fixed costs."""
ON_DISK = {backend: FILES[backend] for backend in ("disk", "disk, root=")}
BACKENDS = {**FILES, "zarr": 8}

VALUE = np.arange(4, dtype=np.uint16)
FEW = {"zarr": 10}
"""Files in a folder that stays the same while N others grow. The default is 100."""


def scale_sizes(factor: float, backends: dict[str, int]) -> dict[str, int]:
    """Return backends with larger sizes, or with smaller ones."""
    return {backend: max(4, round(size * factor)) for backend, size in backends.items()}


@dataclass
class Site:
    """A new registry, and an empty folder of one of its backends."""

    backend: str
    directory: str
    """An empty folder of the file system."""

    def __post_init__(self) -> None:
        self.registry = BackendRegistry()
        name = {"core": "memory", "disk, root=": "rooted"}.get(self.backend, self.backend)
        if name == "rooted":
            self.registry.add(name, "disk", root=self.directory)
        self.folder = {
            "memory": "tree/from",
            "rooted": "tree/from",
            "zarr": f"{self.directory}/tree.zarr/from",
        }.get(name, f"{self.directory}/tree/from")
        self._name = name
        self.kept: list[object] = []

    @cached_property
    def store(self) -> Any:
        """The backend. Its methods have more options than those of ``StorageBackend``."""
        return self.registry[self._name]

    def paths(self, count: int, folder: str = "") -> list[str]:
        """Return paths without anything there."""
        return [f"{self.folder}{folder}/f{i}.npy" for i in range(count)]

    def save(self, paths: Sequence[str]) -> list[str]:
        """Save a small array at each path, and return the paths."""
        self.store.save_batch([VALUE] * len(paths), paths)
        return list(paths)

    def files(self, count: int) -> list[str]:
        """Return the paths of ``count`` files in one folder."""
        return self.save(self.paths(count))

    def box(self, count: int) -> list[str]:
        """Return the path of a folder of ``count`` files."""
        self.save(self.paths(count, "/box"))
        return [f"{self.folder}/box"]

    def boxes(self, count: int) -> list[str]:
        """Return the paths of ``count`` folders of three files."""
        boxes = [f"/box{i}" for i in range(count)]
        self.save([path for box in boxes for path in self.paths(3, box)])
        return [self.folder + box for box in boxes]

    def tree(self, count: int) -> list[str]:
        """Return the path of the folder that holds ``count`` folders of three files."""
        self.boxes(count)
        return [self.folder]

    def deep(self, count: int) -> list[str]:
        """Return a path without anything there, ``count`` folders deep."""
        return [f"{self.folder}/top" + "/d" * count]

    def deep_box(self, count: int) -> list[str]:
        """Return the path of a folder with one file, ``count`` folders below it."""
        self.save([f"{path}/f.npy" for path in self.deep(count)])
        return [f"{self.folder}/top"]

    def among(self, count: int) -> list[str]:
        """Return the path of a folder of few files, with ``count`` others next to it."""
        self.files(count)
        return self.box(FEW.get(self.backend, 100))

    def few(self, count: int) -> list[str]:
        """Return the paths of few files, with ``count`` others in their folder."""
        self.files(count)
        return self.save([f"{self.folder}/g{i}.npy" for i in range(FEW.get(self.backend, 100))])

    def names(self, count: int) -> list[str]:
        """Return backend names that are not in use."""
        return [f"raw{i}" for i in range(count)]

    def added(self, count: int) -> list[str]:
        """Add ``count`` names to the registry, and return them."""
        for name in self.names(count):
            self.registry.add(name, "memory")
        return self.names(count)


Work: TypeAlias = Callable[[Site, Any], object]


@dataclass(frozen=True)
class Growth:
    """One row: ``work`` on the result of ``setup``, timed at sizes N, 4 N and 16 N."""

    title: str
    setup: Callable[[Site, int], Any]
    work: Work
    on: dict[str, int]
    """The backends, and the smallest N of each."""
    fresh: bool = False
    """``work`` changes the place: each round has a new one."""
    at_most: float = 1.2
    """Bound on the slope."""
    peak: bool = False
    """Report the peak of the memory that Python allocates as well."""
    flushed: bool = False
    """On a real disk rather than in memory."""
    alone: bool = False
    """Each round is in a new process, which has no plugins yet."""


def each(operation: str, **options: Any) -> Work:
    """Call an operation for each path."""

    def work(on: Site, paths: Sequence[str]) -> None:
        call = getattr(on.store, operation)
        for path in paths:
            call(path, **options)

    return work


def between(operation: str, **options: Any) -> Work:
    """Call an operation for each path and its target."""

    def work(on: Site, paths: Sequence[str]) -> None:
        call = getattr(on.store, operation)
        for path in paths:
            call(path, target_of(path), **options)

    return work


def target_of(path: str) -> str:
    """Return the same path in another folder."""
    head, _, tail = path.rpartition("/from/")
    return f"{head}/to/{tail}"


@contextmanager
def make_site(backend: str, parent: Path) -> Iterator[Site]:
    """Give an empty place, and remove it with all that is in it."""
    with TemporaryDirectory(prefix="growth-", dir=parent) as directory:
        site = Site(backend, directory)
        with site.registry:
            yield site
