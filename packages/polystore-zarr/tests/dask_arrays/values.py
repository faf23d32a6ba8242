"""Values to save, and checks of files and memory."""

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
"""As ``meta``, it stops Dask from trying a function before there are blocks."""
VALUES = np.random.default_rng(3).integers(0, 60_000, (7, 300, 500), "u2")


def pixels(path: Path | str, **options: Any) -> Any:
    return fm.load(path, backend="zarr", **options)


def find_hidden(folder: Path) -> list[str]:
    """Return the temporary names that a save makes while it runs."""
    return [
        path.name
        for path in folder.rglob(f"{HIDDEN_PREFIX}*")
        if not path.name.endswith(".lock")
    ]


def peak_mib() -> float:
    """Return the peak memory of this process. ``getrusage`` would include that of its parent."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
