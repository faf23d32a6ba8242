"""Every operation that takes the path of an array, for paths that lead outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest

from polystore_core.errors import PathOutsideRootError

from .trees import NEW, SHAPE, call_batch_of_one

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from polystore_zarr.backend import ZarrBackend

    Operation: TypeAlias = Callable[[ZarrBackend, str], Any]

READS: dict[str, Operation] = {
    "load": lambda zarr, path: zarr.load(path),
    "load_region": lambda zarr, path: zarr.load(path, region=np.s_[:20, 3]),
    "load_batch": lambda zarr, path: call_batch_of_one(lambda: zarr.load_batch([path])),
    "load_threads": lambda zarr, path: call_batch_of_one(
        lambda: zarr.load_batch([path], threads=2)
    ),
    "open": lambda zarr, path: zarr.open(path)[...],
    "info": lambda zarr, path: zarr.info(path),
    "exists": lambda zarr, path: zarr.exists(path),
    "is_file": lambda zarr, path: zarr.is_file(path),
    "is_dir": lambda zarr, path: zarr.is_dir(path),
    "list_dir": lambda zarr, path: zarr.list_dir(path),
    "list_files": lambda zarr, path: zarr.list_files(path, recursive=True),
    "collect": lambda zarr, path: zarr.collect_dirs_and_files(path),
    "copy_from": lambda zarr, path: zarr.copy(path, "stolen.zarr"),
}
WRITES: dict[str, Operation] = {
    "save": lambda zarr, path: zarr.save(NEW, path, chunks=16),
    "save_new": lambda zarr, path: zarr.save(NEW, path, if_exists="error"),
    "save_missing": lambda zarr, path: zarr.save(NEW, path, if_exists="skip"),
    "save_durably": lambda zarr, path: zarr.save(NEW, path, durable=True),
    "save_image": lambda zarr, path: zarr.save(NEW, path, ome=True, levels=2),
    "save_batch": lambda zarr, path: call_batch_of_one(lambda: zarr.save_batch([NEW], [path])),
    "region": lambda zarr, path: zarr.save(NEW[:16, :16], path, region=np.s_[:16, :16]),
    "region_locked": lambda zarr, path: zarr.save(
        NEW[:5, :5], path, region=np.s_[:5, :5], unaligned="lock"
    ),
    "open_to_write": lambda zarr, path: _write(zarr.open(path, mode="r+")),
    "create": lambda zarr, path: _write(
        zarr.create(path, shape=SHAPE, dtype="u2", chunks=16, if_exists="replace")
    ),
    "copy_to": lambda zarr, path: zarr.copy("inside.zarr", path),
    "move_to": lambda zarr, path: zarr.move("inside.zarr", path),
}
# These act on the name itself. If it is a link that leads out, they act on the link.
NAMES: dict[str, Operation] = {
    "delete": lambda zarr, path: zarr.delete(path),
    "delete_all": lambda zarr, path: zarr.delete_all(path),
    "move_from": lambda zarr, path: zarr.move(path, "stolen.zarr"),
}
EVERYTHING = READS | WRITES | NAMES


def _write(handle: Any) -> None:
    handle[...] = NEW


def check_refused(
    backend: ZarrBackend,
    operations: Mapping[str, Operation],
    path: str,
    *others: type[Exception],
) -> None:
    """Check that each operation raises ``PathOutsideRootError``, or one of ``others``."""
    for name, operation in operations.items():
        try:
            with pytest.raises((PathOutsideRootError, *others)) as caught:
                operation(backend, path)
            if not others:
                check_names(caught.value, backend, path)
        except BaseException as error:
            error.add_note(f"{name} of {path!r}")
            raise


def check_names(error: Any, backend: ZarrBackend, path: str) -> None:
    """Check that the error names the path of the caller or a link on it, but not the target."""
    assert (error.backend, error.root) == (backend.name, backend.root)
    assert "outside" not in error.path or "outside" in path
    assert not error.path.startswith("/") or path.startswith("/")
