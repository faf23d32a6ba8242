"""Temporary folders for building trees of stores that are not folders."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING

from polystore_core import claim

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["scratch_folder"]

_PREFIX = "polystore-zarr-"


@contextmanager
def scratch_folder() -> Iterator[str]:
    """Give a new folder, and hold its claim until the block or the process ends."""
    _sweep(tempfile.gettempdir())
    while True:
        with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder, claim(folder) as mine:
            if mine is not False:  # ``False``: the sweep of another process was faster
                yield folder
                return


@cache
def _sweep(parent: str) -> None:
    """Remove the folders of killed processes, once in each process."""
    try:
        names = os.listdir(parent)
    except PermissionError:  # a folder that users can write into, but not list
        return
    for name in names:
        folder = os.path.join(parent, name)
        if name.startswith(_PREFIX) and _is_ours(folder):
            with claim(folder) as mine:
                if mine:
                    # A file that cannot be removed must not stop the save that has called this.
                    shutil.rmtree(folder, ignore_errors=True)


def _is_ours(folder: str) -> bool:
    with suppress(FileNotFoundError):
        # All users share /tmp, and root could delete the folders of others.
        return not hasattr(os, "getuid") or os.lstat(folder).st_uid == os.getuid()
    return False
