"""Zip archives of other tools, and functions that read ours."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

if TYPE_CHECKING:
    from collections.abc import Iterable

SHAPE = (40, 36)
VALUE = np.arange(1, 1 + SHAPE[0] * SHAPE[1], dtype=np.uint16).reshape(SHAPE)
PARTS: dict[str, Any] = {"chunks": 16, "shards": False}
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
NAMES = ["x.zarr.zip", "x.ozx", "X.OZX", "x.ome.zarr.zip", "y.zarr"]


def zip_array(file: Any, *, compression: int = STORED, zarr_format: int = 3) -> None:
    """Write ``VALUE`` into a zip, as zarr-python does."""
    with zarr.storage.ZipStore(file, mode="w", compression=compression) as store:
        array = zarr.create_array(
            store, shape=SHAPE, dtype="u2", chunks=(16, 16), zarr_format=zarr_format
        )
        array[...] = VALUE


def zip_group(file: Any, *, compression: int = STORED) -> None:
    """Write the groups "" and "h", and three arrays."""
    with warnings.catch_warnings():
        # zarr-python writes the documents of groups twice.
        warnings.filterwarnings("ignore", "Duplicate name", UserWarning)
        with zarr.storage.ZipStore(file, mode="w", compression=compression) as store:
            group = zarr.create_group(store)
            for name, add in (("a", 0), ("h/b", 1), ("h/c", 2)):
                array = group.create_array(name, shape=SHAPE, dtype="u2", chunks=(16, 16))
                array[...] = VALUE + add


def zip_folder(folder: Any, file: Any, *, prefix: str = "", compression: int = STORED) -> None:
    """Write a folder as "zip -r" does, with entries for its folders."""
    with zipfile.ZipFile(file, "w", compression) as archive:
        for path in sorted(Path(folder).rglob("*")):
            archive.write(path, prefix + str(path.relative_to(folder)))


def zip_members(file: Any, members: Iterable[tuple[str, bytes]]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate name", UserWarning)
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members:
                archive.writestr(name, content)


def members_of(file: Any) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def comment_of(file: Any) -> Any:
    with zipfile.ZipFile(file) as archive:
        return json.loads(archive.comment) if archive.comment else None


def read_all_files(folder: Any) -> dict[str, bytes]:
    """Return all files except those of the locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def find_hidden(folder: Any) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".~ps-")]
