"""``stack``: many files as one labelled array, whose blocks are read when Dask computes them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import InvalidOptionError, MissingDependencyError, UnsupportedDataError
from ..filemanager import FileManager
from ..files.local import LocalStore
from ..model.casting import convert
from ..model.names import NameTemplate
from ..paths import working_folder
from ..work import Progress, check_paths, run_batch
from .blocks import Reader, build_array
from .grid import Grid
from .headers import Header

if TYPE_CHECKING:
    import xarray

    from ..abc.backend import Path
    from ..values import Pixels

__all__ = ["stack"]

_READERS = 8
"""Threads that read headers where one would mostly wait for the storage."""
_SAMPLE = 8
"""Headers that are read first, to see whether reading waits."""


def stack(
    paths: Sequence[Path],
    *,
    backend: str,
    names: str | NameTemplate,
    files: FileManager | None = None,
    check: Literal["first", "all"] = "first",
    missing: float | None = None,
    progress: Progress = False,
) -> xarray.DataArray:
    """Return the files at ``paths`` as one lazy, labelled array.

    ``names`` is a :class:`NameTemplate`, such as ``"{well}_s{site}_w{channel}.tif"``. Each of its
    fields is an axis, in the order of the template. The coordinates are the values in natural
    order: integers where all values are digits, else text. The axes of the files follow, with
    scale and units. Origins and irregular coordinates, such as times, are left out, because each
    file has its own. ::

        plate = stack(paths, backend="disk", names="{well}_s{site}_w{channel}.tif")
        plate.sel(well="B03", channel=2).mean(["y", "x"]).compute()

    A block is a file, or a part of a file above 64 MiB where the format reads parts. Threads,
    processes and the workers of a cluster read the blocks with ``files``, a file manager with
    the default registry if it is not given. Relative paths mean the working directory of this
    call. Values in the memory backend need ``files``, and exist in one process only.

    All files must have the shape, element type, axes, scale, units and channels of the first.
    ``check="first"`` reads the header of the first file. Each block then checks its own file
    when it is read. ``check="all"`` reads the header of every file now, in threads if that is
    faster, and ``progress`` reports them. ``missing`` fills the combinations of values that
    have no file, for example ``missing=0``.

    Raises:
        InvalidOptionError: no paths, a name that does not fit, two files with the same values,
            a combination without a file, a field that has the name of an axis of the files, or
            more than a million combinations with ``missing``.
        UnsupportedDataError: a file is not an array, or differs from the first file. Computing
            raises it too.
        BatchError: ``check="all"`` finds files that cannot be read, or that differ.
        MissingDependencyError: Dask or xarray is not installed.
    """
    _check_installed()
    check_paths(paths)
    if check not in ("first", "all"):
        raise InvalidOptionError("check", check, "'first' or 'all'")
    if not isinstance(files, FileManager | None):
        raise InvalidOptionError("files", files, "a FileManager")
    template = names if isinstance(names, NameTemplate) else NameTemplate(names)
    texts = [os.fspath(path) for path in paths]
    grid = Grid.of(texts, template)
    if missing is None:
        grid.check_complete()
    else:
        grid.check_size()
    manager = FileManager() if files is None else files
    first = Header.of(manager, texts[0], backend)
    grid.check_axes(first.words.names)
    if check == "all":

        def compare(index: int) -> None:
            first.check(Header.of(manager, texts[index], backend))

        threads = _threads_for(compare, range(1, len(texts)))
        run_batch(backend, "stack", texts, compare, progress=progress, threads=threads)
    filling = None if missing is None else _convert_filling(missing, first.dtype)
    home = (socket.gethostname(), os.getpid())
    folder = _working_folder(manager, backend)
    return build_array(grid, Reader(manager, backend, first, filling, home, folder))


def _check_installed() -> None:
    try:
        import dask.array  # noqa: F401
        import xarray  # noqa: F401
    except ModuleNotFoundError as error:
        lacks = (str(error.name).partition(".")[0],)
        raise MissingDependencyError(
            "function", "stack", lacks, "polystore-core[dask]"
        ) from error


def _working_folder(files: FileManager, backend: str) -> str:
    """Return the working directory if relative paths of the backend depend on it, else "".

    Workers often have another one, in which a file of the same name may be.
    """
    store = getattr(files.registry[backend], "store", None)
    return working_folder() if isinstance(store, LocalStore) and store.root is None else ""


def _convert_filling(missing: float, dtype: np.dtype[Any]) -> Pixels:
    expected = f"one value of the files' element type {dtype}"
    if np.ndim(missing):
        raise InvalidOptionError("missing", missing, expected)
    try:
        return convert(np.asarray(missing), dtype)
    except UnsupportedDataError as error:
        raise InvalidOptionError("missing", missing, expected) from error


def _threads_for(read: Callable[[int], None], indices: Sequence[int]) -> int:
    """Return how many threads read headers fastest.

    If the system has the files in memory, threads wait for each other only, and eight take twice
    the time of one.
    """
    began, worked = time.perf_counter(), time.thread_time()
    for index in indices[:_SAMPLE]:
        with suppress(Exception):  # the batch reads it again, and collects the error
            read(index)
    waits = time.perf_counter() - began > 2 * (time.thread_time() - worked)
    return _READERS if waits else 1
