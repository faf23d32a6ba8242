"""Try each operation as a user without permissions. This file runs as a script."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from polystore_core.errors import PolystoreError
from polystore_memory.backend import MemoryBackend
from polystore_zarr.backend import ZarrBackend

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY = 65534


def do_as_nobody(folder: str) -> dict[str, list[Any]]:
    os.chdir(folder)
    backend = ZarrBackend()
    value = backend.load("a.zarr/a")
    backend.save(value, "warm.zarr/a")
    backend.load("warm.zarr/a")
    backend.delete("warm.zarr", recursive=True)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    tempfile.tempdir = os.path.join(folder, "unlisted")
    in_memory = ZarrBackend(store=MemoryBackend().store)
    in_memory.save(value, "a.zarr/a")  # the tree is built in a temporary folder
    attempts: dict[str, Callable[[], Any]] = {
        "load array": lambda: backend.load("a.zarr/closed"),
        "load chunk": lambda: backend.load("a.zarr/no_chunk"),
        "load chunks": lambda: backend.load("a.zarr/no_chunks"),
        "load zstd": lambda: backend.load("a.zarr/no_chunks_zstd"),
        "load store": lambda: backend.load("closed.zarr/a"),
        "info": lambda: backend.info("a.zarr/closed"),
        "exists": lambda: backend.exists("closed.zarr/a"),
        "list": lambda: backend.list_dir("closed.zarr"),
        "save over": lambda: backend.save(value, "a.zarr/a"),
        "save new": lambda: backend.save(value, "a.zarr/new"),
        "save store": lambda: backend.save(value, "new.zarr/a"),
        "save field": lambda: backend.save(value, "plate.ome.zarr/B/04/0"),
        "create": lambda: backend.create("new.zarr/a", shape=(3,), dtype="u1"),
        "region": lambda: backend.save(value, "a.zarr/a", region=(slice(40), slice(36))),
        "delete": lambda: backend.delete("a.zarr/a"),
        "move": lambda: backend.move("a.zarr/a", "a.zarr/b"),
        "copy": lambda: backend.copy("a.zarr/a", "a.zarr/b"),
        "make": lambda: backend.ensure_directory("a.zarr/g"),
    }
    found: dict[str, list[Any]] = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            found[name] = ["done", 0, ""]
        except PolystoreError as error:
            found[name] = [type(error).__name__, getattr(error, "errno", 0), str(error)]
    found["readable"] = [bool((backend.load("a.zarr/a") == value).all()), 0, ""]
    found["listed"] = [backend.list_dir("killed.zarr"), 0, ""]
    return found


if __name__ == "__main__":
    print(json.dumps(do_as_nobody(sys.argv[1])))
