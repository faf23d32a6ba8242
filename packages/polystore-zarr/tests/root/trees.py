"""Two trees of the same names: one in the root, and one outside that no call may touch."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import BackendRegistry
from polystore_core.errors import BatchError
from polystore_zarr.backend import ZarrBackend

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHAPE = (48, 48)
OURS = np.arange(1, 1 + SHAPE[0] * SHAPE[1], dtype=np.uint16).reshape(SHAPE)
SECRET = 44_444
"""The value of each pixel of the tree outside, and of no pixel inside."""
NEW = np.full(SHAPE, 9, np.uint16)

needs_dir_fd = pytest.mark.skipif(
    os.open not in os.supports_dir_fd or sys.platform == "win32",
    reason="system: needs files that are opened relative to a directory",
)

# Arrays that our own code reads, and arrays that zarr-python reads.
PLAIN: dict[str, Any] = {"chunks": 16, "shards": False}
SHARDED: dict[str, Any] = {"chunks": 8, "shards": (16, 16)}
THROUGH_ZARR: dict[str, Any] = {"chunks": 16, "zarr_format": 2, "compressor": "gzip"}
IMAGE: dict[str, Any] = {"chunks": 16, "levels": 2}


def make_backend(root: object, **options: object) -> ZarrBackend:
    registry = BackendRegistry()
    registry.add("store", "zarr", root=str(root), **options)
    backend = registry["store"]
    assert isinstance(backend, ZarrBackend)
    return backend


def plant(root: Path, value: Any) -> None:
    """Save every kind of node that a test can replace by a link."""
    backend = make_backend(root)
    save = partial(backend.save, value)
    save("f/a.zarr", **PLAIN)
    save("f/a.tif", **PLAIN)
    save("f/sub/b.tif", **PLAIN)
    save("a.zarr", **PLAIN)
    save("g.zarr/h/a", **PLAIN)
    save("g.zarr/h/sharded", **SHARDED)
    save("old.zarr/h/a", **THROUGH_ZARR, attributes={"told": int(value.flat[0])})
    save("i.ome.zarr", **IMAGE)
    save("i.ome.zarr/labels/n", **IMAGE)
    save("p.ome.zarr/B/03/0", **IMAGE)
    save("p.ome.zarr/B/03/1", **IMAGE)
    save("inside.zarr", **PLAIN)
    save("apart.zarr/a", **PLAIN)


def divert(root: Path, outside: Path, name: str) -> Path:
    """Replace ``name`` in the root by a link to the same name outside."""
    link = root / name
    link.rename(root.parent / "replaced")
    link.symlink_to(outside / name)
    return link


def snapshot(folder: Path) -> dict[str, tuple[bytes | str, int]]:
    """Return the content and the modification time of all names, including hidden ones."""

    def content(path: Path) -> bytes | str:
        if path.is_symlink():
            return os.readlink(path)
        return path.read_bytes() if path.is_file() else "folder"

    found = {".": ("folder", folder.stat().st_mtime_ns)}
    for path in folder.rglob("*"):
        found[str(path.relative_to(folder))] = content(path), path.lstat().st_mtime_ns
    return found


def content(folder: Path) -> dict[str, bytes | str]:
    """Return the content of all names except locks, which any call may make."""
    found = snapshot(folder)
    return {name: what for name, (what, _) in found.items() if not name.endswith(".lock")}


def check_no_secret(value: object) -> None:
    if isinstance(value, np.ndarray):
        assert not (value == SECRET).any(), "pixels outside the root were read"


def call_batch_of_one(batch: Callable[[], Any]) -> Any:
    """Call a batch of one item, and raise the error of that item."""
    try:
        return batch()
    except BatchError as error:
        raise error.failed[0][1]  # noqa: B904 - as the single operation would
