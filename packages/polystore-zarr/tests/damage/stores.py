"""Values, layouts and backends for the tests of damaged and hostile stores."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import BackendRegistry
from polystore_core.errors import DataError, StorageError
from polystore_zarr.backend import ZarrBackend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHAPE = (40, 36)
VALUE = (np.arange(1, 1 + SHAPE[0] * SHAPE[1]).reshape(SHAPE)).astype(np.uint16)
"""No pixel is the fill value."""

needs_root = pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="system: needs root"
)
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX names")

# Each way to store arrays. The first two use our own code, and the others use zarr.
LAYOUTS: dict[str, dict[str, Any]] = {
    "chunks": {"chunks": 16, "shards": False},
    "shards": {"chunks": 8, "shards": (24, 24)},
    "zstd": {"chunks": 16, "shards": False, "compressor": "zstd"},
    "zstd shards": {"chunks": 8, "shards": (24, 24), "compressor": "zstd"},
    "none": {"chunks": 16, "shards": False, "compressor": "none"},
    "older": {"chunks": 16, "zarr_format": 2, "compressor": "zstd"},
}
layouts = pytest.mark.parametrize("layout", LAYOUTS)


def make_backend(root: object) -> ZarrBackend:
    registry = BackendRegistry()
    registry.add("store", "zarr", root=str(root))
    backend = registry["store"]
    assert isinstance(backend, ZarrBackend)
    return backend


def chunk_files(node: Path) -> list[Path]:
    """Return the files that hold the pixels of an array."""
    names = ("zarr.json", ".zarray", ".zattrs", ".zgroup")
    return sorted(p for p in node.rglob("*") if p.is_file() and p.name not in names)


def read_all_files(root: Path) -> dict[str, bytes]:
    """Return all files except those of the locks."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def try_load(load: Callable[[], Any]) -> Any:
    """Return the loaded value, or the error that was raised instead."""
    try:
        return load()
    except (DataError, StorageError) as error:
        return error
