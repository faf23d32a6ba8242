"""Values that are saved, and what a save leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import FileManager
from polystore_core.files.locking import HIDDEN_PREFIX

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
fm = FileManager()
EMPTY = np.empty((0, 0))
"""With it as ``meta`` Dask does not try a function before there are blocks."""
VALUES = np.random.default_rng(3).integers(0, 60_000, (7, 300, 500), "u2")


def pixels(path: Path | str, **options: Any) -> Any:
    return fm.load(path, backend="zarr", **options)


def hidden(folder: Path) -> list[str]:
    """What a save leaves while it runs."""
    return [
        path.name
        for path in folder.rglob(f"{HIDDEN_PREFIX}*")
        if not path.name.endswith(".lock")
    ]


def peak_mib() -> float:
    """The most memory that this process has had. (``getrusage`` tells also of its parent's.)"""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
