"""Arguments for each method of a manager, and small backends."""

import re
import subprocess
from collections.abc import Callable
from enum import Enum
from types import ModuleType
from typing import Any

import numpy as np

from polystore_core import DataSink, DataSource, StorageBackend
from polystore_core.errors import NotFoundError, UnsupportedDataError

Python = Callable[..., subprocess.CompletedProcess[str]]
Require = Callable[[str], ModuleType]

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "save": (1, "a"),
    "load": ("a",),
    "save_batch": ([1], ["a"]),
    "load_batch": (["a"],),
    "open": ("a",),
    "info": ("a",),
    "exists": ("a",),
    "is_file": ("a",),
    "is_dir": ("a",),
    "is_symlink": ("a",),
    "list_files": ("a",),
    "list_image_files": ("a",),
    "list_dir": ("a",),
    "find_file_recursive": ("a", "b"),
    "collect_dirs_and_files": ("a",),
    "create": ("a",),
    "watch": ("a",),
    "ensure_directory": ("a",),
    "delete": ("a",),
    "delete_all": ("a",),
    "copy": ("a", "b"),
    "move": ("a", "b"),
    "create_symlink": ("a", "b"),
    "mirror_directory_with_symlinks": ("a", "b"),
    "transfer": ("a", "b"),
}
KEYWORDS: dict[str, dict[str, Any]] = {"create": {"shape": (2,), "dtype": "u1"}}
OPERATIONS = [name for name in ARGUMENTS if name != "transfer"]
ON_FOLDERS = {name for name in ARGUMENTS if re.search("^list_|recursive|collect|mirror", name)}


class Place(str, Enum):  # noqa: UP042 - StrEnum formats as its value
    """Formats as "Place.ONE"."""

    ONE = "one"
    TWO = "two"
    MISSPELT = "on"


class Screen(DataSink):
    """A backend that only writes, like a viewer."""

    _backend_type = "test-screen"

    def save(self, data: Any, path: Any, /, *, colour: str = "grey") -> None:
        if data is None:
            raise UnsupportedDataError("nothing to show")


class Camera(DataSource):
    """A backend that only reads."""

    _backend_type = "test-camera"

    def load(self, path: Any, /, *, exposure: float = 1) -> Any:
        if path == "dark":
            raise NotFoundError(self.name, path, "load")
        return np.full((2, 3), exposure, dtype="u1")


class MyBackend(StorageBackend):
    """The backend of the README, which accepts every option."""

    _backend_type = "test-mine"

    def __init__(self) -> None:
        self.got: list[Any] = []

    def save(self, data: Any, file_path: Any, **kwargs: Any) -> None:
        self.got.append((data, file_path, kwargs))

    def load(self, file_path: Any, **kwargs: Any) -> Any:
        return file_path, kwargs
