"""The libraries that are compared: each used as its users would, behind the same few calls."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONTENDERS", "Contender", "Incumbent", "Polystore", "Raw"]

Image = NDArray[Any]
Memory = tuple[Callable[[Image, str], object], Callable[[str], Image]]

_SAVE = "numpy.zeros((64, 64), 'u2')"


class Contender(ABC):
    """One library. Nothing of it is imported before the first call that needs it."""

    statements: ClassVar[Mapping[str, str]]
    """The code with which a script imports the "package", the "names", or for a first "save"."""

    @abstractmethod
    def save(self, image: Image, path: str) -> None: ...

    @abstractmethod
    def load(self, path: str) -> Image: ...

    @abstractmethod
    def save_batch(self, images: Sequence[Image], paths: Sequence[str]) -> None: ...

    @abstractmethod
    def load_batch(self, paths: Sequence[str]) -> list[Image]: ...

    @abstractmethod
    def list_files(self, directory: str) -> list[str]: ...

    @abstractmethod
    def memory(self, *, copy: bool) -> Memory:
        """Return save and load of an empty store in memory; ``copy`` isolates the two sides."""

    def metadata_writer(self) -> Any:
        raise NotImplementedError


class Raw(Contender):
    """NumPy, tifffile, a dictionary and a loop."""

    statements: ClassVar = {
        "names": "import numpy",
        "save": f"import numpy; numpy.save('a.npy', {_SAVE})",
    }

    def save(self, image: Image, path: str) -> None:
        if path.endswith(".npy"):
            np.save(path, image)
        else:
            self._tifffile.imwrite(path, image)

    def load(self, path: str) -> Image:
        image: Image = np.load(path) if path.endswith(".npy") else self._tifffile.imread(path)
        return image

    @cached_property
    def _tifffile(self) -> Any:
        return import_module("tifffile")

    def save_batch(self, images: Sequence[Image], paths: Sequence[str]) -> None:
        for image, path in zip(images, paths, strict=True):
            self.save(image, path)

    def load_batch(self, paths: Sequence[str]) -> list[Image]:
        return [self.load(path) for path in paths]

    def list_files(self, directory: str) -> list[str]:
        return sorted(os.listdir(directory))

    def memory(self, *, copy: bool) -> Memory:
        store: dict[str, Image] = {}

        def save(image: Image, path: str) -> None:
            store[path] = image.copy() if copy else image

        def load(path: str) -> Image:
            return store[path].copy() if copy else store[path]

        return save, load


class _Managed(Contender):
    """The part that polystore and its predecessor share: a FileManager."""

    manager: Any

    def save(self, image: Image, path: str) -> None:
        self.manager.save(image, path, backend="disk")

    def load(self, path: str) -> Image:
        image: Image = self.manager.load(path, backend="disk")
        return image

    def save_batch(self, images: Sequence[Image], paths: Sequence[str]) -> None:
        self.manager.save_batch(images, paths, backend="disk")

    def load_batch(self, paths: Sequence[str]) -> list[Image]:
        images: list[Image] = self.manager.load_batch(paths, backend="disk")
        return images

    def list_files(self, directory: str) -> list[str]:
        return [Path(file).name for file in self.manager.list_files(directory, backend="disk")]

    def metadata_writer(self) -> Any:
        return import_module("polystore").AtomicMetadataWriter()


class Polystore(_Managed):
    """This repository."""

    statements: ClassVar = {
        "package": "import polystore",
        "names": "from polystore import FileManager, BackendRegistry",
        "save": "import numpy; from polystore import FileManager, BackendRegistry; "
        f"FileManager(BackendRegistry()).save({_SAVE}, 'a.npy', backend='disk')",
    }

    @cached_property
    def manager(self) -> Any:
        from polystore import BackendRegistry, FileManager

        return FileManager(BackendRegistry())

    def memory(self, *, copy: bool) -> Memory:
        from polystore import BackendRegistry, FileManager

        manager = FileManager(BackendRegistry())
        options: dict[str, Any] = {"backend": "memory"} | ({} if copy else {"copy": "never"})
        return partial(manager.save, **options), partial(manager.load, **options)


class DurablePolystore(Polystore):
    """This repository, with every save flushed to the device."""

    def save(self, image: Image, path: str) -> None:
        self.manager.save(image, path, backend="disk", durable=True)


class UnflushedPolystore(Polystore):
    """This repository, with no save flushed to the device."""

    def save(self, image: Image, path: str) -> None:
        self.manager.save(image, path, backend="disk", durable=False)


class Incumbent(_Managed):
    """The published ``polystore``: its registry is a dictionary that the user fills."""

    statements: ClassVar = {
        "package": "import polystore",
        "names": "from polystore import FileManager, DiskBackend, MemoryBackend",
        "save": "import numpy; from polystore import FileManager, DiskBackend; "
        f"FileManager({{'disk': DiskBackend()}}).save({_SAVE}, 'a.npy', backend='disk')",
    }

    @cached_property
    def manager(self) -> Any:
        published = import_module("polystore")
        return published.FileManager({"disk": published.DiskBackend()})

    def memory(self, *, copy: bool) -> Memory:
        published = import_module("polystore")
        manager = published.FileManager({"memory": published.MemoryBackend()})
        # It has no copying store: it always keeps and returns the caller's object.
        return partial(manager.save, backend="memory"), partial(manager.load, backend="memory")


CONTENDERS: Mapping[str, type[Contender]] = {
    "raw": Raw,
    "polystore": Polystore,
    "durable": DurablePolystore,
    "unflushed": UnflushedPolystore,
    "incumbent": Incumbent,
}
