"""``stack``: many files as one labelled array. Dask reads its blocks when it computes them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import InvalidOptionError, MissingDependencyError, UnsupportedDataError
from ..file_backend.names import start_folder
from ..filemanager import FileManager
from ..model.casting import convert
from ..model.names import NameTemplate
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
"""Threads that read headers, if one thread would mostly wait for the storage."""
_SAMPLE = 8
"""Headers to read first, to find out whether reading waits."""


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
    """Return many files as one lazy, labelled array.

    For example:

        plate = stack(paths, backend="disk", names="{well}_s{site}_w{channel}.tif")
        plate.sel(well="B03", channel=2).mean(["y", "x"]).compute()

    Each field of the template is an axis, in the order of the template. Its coordinates are the
    values in natural order: integers if all values are digits, otherwise text. The axes of the
    files follow, with scale and units. Origins and irregular coordinates, such as times, are left
    out, because they are different in each file.

    A block is a file, or a part of a file above 64 MiB if the format can read parts. All files must
    have the same shape, dtype, axes, scale, units and channels as the first one.

    Args:
        paths: The files. Relative paths start at the working folder of this call.
        backend: Name of the backend.
        names: A :class:`NameTemplate`, or its text.
        files: The file manager that reads the blocks, also in processes and on a cluster. By
            default it is a new one. Values in the ``memory`` backend need yours, and exist in one
            process only.
        check: "first" reads the header of the first file, and each other file is checked when it is
            read. "all" reads all headers now, in threads if that is faster.
        missing: The value for combinations that have no file, such as 0.
        progress: Reports the headers for "all". ``True`` shows a bar. A function is called with
            (done, total).

    Raises:
        InvalidOptionError: There are no paths, a name does not fit, two files have the same values,
            a combination has no file, a field has the name of an axis of the files, or there are
            more than a million combinations without a file.
        UnsupportedDataError: A file is not an array, or differs from the first one. Computing also
            raises it.
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
    folder = start_folder(getattr(manager.registry[backend], "store", None))
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


def _convert_filling(missing: float, dtype: np.dtype[Any]) -> Pixels:
    expected = f"one value of the files' element type {dtype}"
    if np.ndim(missing):
        raise InvalidOptionError("missing", missing, expected)
    try:
        return convert(np.asarray(missing), dtype)
    except UnsupportedDataError as error:
        raise InvalidOptionError("missing", missing, expected) from error


def _threads_for(read: Callable[[int], None], indices: Sequence[int]) -> int:
    """Return the number of threads with which headers are read fastest."""
    # If the system has the files in memory, threads only wait for each other, and eight take twice
    # as long as one.
    began, worked = time.perf_counter(), time.thread_time()
    for index in indices[:_SAMPLE]:
        with suppress(Exception):  # the batch reads the file again, and has the error
            read(index)
    waits = time.perf_counter() - began > 2 * (time.thread_time() - worked)
    return _READERS if waits else 1
