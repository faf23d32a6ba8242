"""Many files as one labelled array, whose blocks are read when Dask computes them."""

from __future__ import annotations

import math
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from .errors import (
    InvalidOptionError,
    MissingDependencyError,
    PolystoreError,
    UnsupportedDataError,
    UnsupportedOperationError,
)
from .filemanager import FileManager
from .image import Axis, Image, ImageMetadata, image_metadata, to_xarray
from .model.arrays import is_array, to_numpy
from .model.casting import convert
from .model.names import NameTemplate
from .values import natural_order
from .work import Progress, check_paths, run_batch

if TYPE_CHECKING:
    import xarray

    from .abc.backend import Path
    from .values import Pixels, Value

__all__ = ["stack"]

_MOST_BYTES = 1 << 26
"""A larger file is read in several blocks, where its format reads parts."""
_READERS = 8
"""Threads that read headers where one would mostly wait for the storage."""
_SAMPLE = 8
"""Headers from which it is seen whether they are worth threads."""
_MOST_DIGITS = 18
"""Longer runs of digits do not fit into 64 bits, and stay text."""

_Labels: TypeAlias = "tuple[int | str, ...]"
"""The place of a file in a stack: the value of each field of its name."""


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
    scale and units. Origins are left out, because each file has its own. ::

        plate = stack(paths, backend="disk", names="{well}_s{site}_w{channel}.tif")
        plate.sel(well="B03", channel=2).mean(["y", "x"]).compute()

    A block is a file, or a part of a file above 64 MiB where the format reads parts. Threads,
    processes and the workers of a cluster read the blocks with ``files``, a file manager with
    the default registry if it is not given. Values in the memory backend exist in one process
    only.

    All files must have the shape, element type, axes, scale, units and channels of the first.
    ``check="first"`` reads the header of the first file. Each block then checks its own file
    when it is read. ``check="all"`` reads the header of every file now, in threads, and
    ``progress`` reports them. ``missing`` fills the combinations of values that have no file,
    for example ``missing=0``.

    Raises:
        InvalidOptionError: no paths, a name that does not fit, two files with the same values,
            a combination without a file, or a field that is called as an axis of the files.
        UnsupportedDataError: a file is not an array, or differs from the first file. Computing
            raises it too.
        BatchError: ``check="all"`` finds files that cannot be read, or that differ.
        MissingDependencyError: Dask or xarray is not installed.
    """
    _check_installed()
    check_paths(paths)
    if check not in ("first", "all"):
        raise InvalidOptionError("check", check, "'first' or 'all'")
    template = names if isinstance(names, NameTemplate) else NameTemplate(names)
    texts = [os.fspath(path) for path in paths]
    grid = _Grid.of(texts, template)
    if missing is None:
        grid.check_complete()
    manager = FileManager() if files is None else files
    first = _Header.of(manager, texts[0], backend)
    grid.check_axes(first.words.names)
    if check == "all":

        def compare(index: int) -> None:
            first.check(_Header.of(manager, texts[index], backend))

        threads = _threads_for(compare, range(1, len(texts)))
        run_batch(backend, "stack", texts, compare, progress=progress, threads=threads)
    filling = None if missing is None else _checked_filling(missing, first.dtype)
    reader = _Reader(manager, backend, first, filling, (socket.gethostname(), os.getpid()))
    return _labelled(grid, reader)


def _check_installed() -> None:
    try:
        import dask.array  # noqa: F401
        import xarray  # noqa: F401
    except ModuleNotFoundError as error:
        lacks = (str(error.name).partition(".")[0],)
        raise MissingDependencyError(
            "function", "stack", lacks, "polystore-core[dask]"
        ) from error


def _checked_filling(missing: float, dtype: np.dtype[Any]) -> Pixels:
    try:
        return convert(np.asarray(missing), dtype)
    except UnsupportedDataError as error:
        expected = f"a value of the files' element type {dtype}"
        raise InvalidOptionError("missing", missing, expected) from error


def _threads_for(read: Callable[[int], None], indices: Sequence[int]) -> int:
    """Return how many threads read headers faster: one where the system has the files in memory.

    Threads that wait for nothing but each other take twice the time of one.
    """
    began, worked = time.perf_counter(), time.thread_time()
    for index in indices[:_SAMPLE]:
        with suppress(Exception):  # the batch meets it again, and names the path
            read(index)
    waits = time.perf_counter() - began > 2 * (time.thread_time() - worked)
    return _READERS if waits else 1


# ── from names to places ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where each file is in the stack, along the fields of its name."""

    template: NameTemplate
    labels: tuple[_Labels, ...]
    """The values of each field, in order."""
    found: Mapping[_Labels, str]

    @classmethod
    def of(cls, paths: Sequence[str], template: NameTemplate) -> _Grid:
        if not paths:
            raise InvalidOptionError("paths", paths, "at least one path")
        if not template.fields:
            raise InvalidOptionError("names", template.template, "a template with a field")
        parsed = [tuple(template.parse(path).values()) for path in paths]
        columns = [_typed(column) for column in zip(*parsed, strict=True)]
        found: dict[_Labels, str] = {}
        for path, place in zip(paths, zip(*columns, strict=True), strict=True):
            if place in found:
                same = _told(template.fields, place)
                fault = (
                    f"{found[place]!r} and {path!r} both have {same}: leave out one of them, or "
                    f"add the field that tells them apart to names={template.template!r}"
                )
                raise InvalidOptionError("paths", path, "different fields", fault)
            found[place] = path
        return cls(template, tuple(_ordered(column) for column in columns), found)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(map(len, self.labels))

    def check_complete(self) -> None:
        """Raise ``InvalidOptionError`` where a combination of labels has no file."""
        total = math.prod(self.shape)
        if total == len(self.found):
            return
        holes = (place for place in product(*self.labels) if place not in self.found)
        some = "; ".join(_told(self.template.fields, place) for place in islice(holes, 5))
        fault = (
            f"{total - len(self.found):,} of {total:,} combinations have no file: {some}"
            f"{'' if total - len(self.found) <= 5 else '; …'}. Pass missing=0 to fill them with "
            "zeros, or leave out the files of other combinations"
        )
        raise InvalidOptionError("paths", len(self.found), "a file for each", fault)

    def check_axes(self, names: Sequence[str]) -> None:
        """Raise ``InvalidOptionError`` for a field that is called as an axis of the files."""
        both = [name for name in self.template.fields if name in names]
        if both:
            fault = (
                f"{{{both[0]}}} in names={self.template.template!r} is also an axis of the files "
                f"({', '.join(names)}): call the field by another name"
            )
            raise InvalidOptionError("names", self.template.template, "other names", fault)


def _typed(column: Sequence[str]) -> Sequence[int] | Sequence[str]:
    if all(text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS for text in column):
        return [int(text) for text in column]
    return column


def _ordered(column: Sequence[Any]) -> _Labels:
    different = set(column)
    return tuple(sorted(different) if isinstance(column[0], int) else natural_order(different))


def _told(fields: Sequence[str], place: _Labels) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in zip(fields, place, strict=True))


# ── what all files agree on ──────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Header:
    """What a file says of its array: shape, element type, and words."""

    path: str
    backend: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    words: ImageMetadata
    is_image: bool
    """Whether the file itself says what its axes are."""

    @classmethod
    def of(cls, files: FileManager, path: str, backend: str) -> _Header:
        """Read the header. A file is loaded if its format or backend has no headers."""
        with suppress(UnsupportedOperationError):
            info = files.info(path, backend)
            dtype = _of_numpy(info.dtype)
            if info.shape is not None and dtype is not None:
                return cls.made(path, backend, info.shape, dtype, info.image)
        pixels = _array(files.load(path, backend), path, backend)
        return cls.made(path, backend, pixels.shape, pixels.dtype, None)

    @classmethod
    def made(
        cls,
        path: str,
        backend: str,
        shape: Sequence[int],
        dtype: np.dtype[Any],
        words: ImageMetadata | None,
    ) -> _Header:
        """Return a header whose element type has the byte order of this machine."""
        shape, dtype = tuple(shape), dtype.newbyteorder("=")
        chosen = _usual_words(shape, dtype) if words is None else words
        return cls(path, backend, shape, dtype, chosen, words is not None)

    def check(self, other: _Header) -> None:
        """Raise ``UnsupportedDataError`` with both values and paths where ``other`` differs."""
        theirs = other._facts()
        for word, mine in self._facts().items():
            if not _is_equal(mine, theirs[word]):
                reason = (
                    f"it has {word} {theirs[word]}, but {self.path!r}, the first file of the "
                    f"stack, has {mine}"
                )
                raise UnsupportedDataError(reason, "", other.path, other.backend, "stack")

    def _facts(self) -> dict[str, Any]:
        words = self.words
        has_channels = "c" in words.names
        return {
            "shape": self.shape,
            "dtype": self.dtype,
            "axes": words.names,
            "scale": words.scale,
            "units": words.units,
            "channels": tuple(c.name for c in words.channels) if has_channels else (),
        }


def _of_numpy(dtype: str | None) -> np.dtype[Any] | None:
    """Return the element type, ``None`` for one that only another framework has."""
    with suppress(TypeError):
        return None if dtype is None else np.dtype(dtype)
    return None


def _usual_words(shape: tuple[int, ...], dtype: np.dtype[Any]) -> ImageMetadata:
    """Return the axes that an array has if nobody names them: yx, zyx, …; else as xarray does."""
    if 2 <= len(shape) <= 5:
        return image_metadata(shape, dtype)
    return ImageMetadata(axes=tuple(Axis(f"dim_{number}") for number in range(len(shape))))


def _is_equal(mine: Any, other: Any) -> bool:
    if mine == other:
        return True
    is_long = isinstance(mine, tuple) and len(mine) == len(other)
    return is_long and all(map(_is_close, mine, other))


def _is_close(one: object, other: object) -> bool:
    """Compare two scales. Programs write the same one with more digits, or fewer."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-6)
    return one == other


def _array(value: Value, path: str, backend: str) -> Pixels:
    if not is_array(value):
        reason = f"expected an array, got {type(value).__name__}"
        raise UnsupportedDataError(reason, "", path, backend, "stack")
    return to_numpy(value)


# ── blocks ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one block reads: a file, or a part of it."""

    path: str | None
    """``None`` where there is no file."""
    shape: tuple[int, ...]
    box: tuple[slice, ...] | None = None
    """The part; ``None`` for the whole file."""


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one block. It goes to the workers with each task, so it holds no list of paths."""

    files: FileManager
    backend: str
    first: _Header
    filling: Pixels | None
    home: tuple[str, int]
    """Host and process in which the stack was made."""

    def __call__(self, block: Pixels) -> Pixels:
        piece: _Piece = block.item()
        shape = (1,) * (block.ndim - len(piece.shape)) + piece.shape
        if piece.path is None:
            assert self.filling is not None
            return np.full(shape, self.filling, self.first.dtype)
        try:
            pixels = self._read(piece.path, piece.box)
        except Exception as error:  # raised again: it gets a note
            self._explain(error, piece.path)
            raise
        return pixels.astype(self.first.dtype, copy=False).reshape(shape)

    def _read(self, path: str, box: tuple[slice, ...] | None) -> Pixels:
        if box is not None:
            with self.files.open(path, self.backend) as handle:
                self._check(path, handle.shape, handle.dtype, handle.image)
                return np.asarray(handle[box])
        if not self.first.is_image:
            pixels = _array(self.files.load(path, self.backend), path, self.backend)
            self._check(path, pixels.shape, pixels.dtype, None)
            return pixels
        try:
            image = self.files.load(path, self.backend, as_="image")
        except UnsupportedDataError:  # the file may say nothing of its axes
            self.first.check(_Header.of(self.files, path, self.backend))
            raise
        pixels = to_numpy(image.data)
        self._check(path, pixels.shape, pixels.dtype, image.metadata)
        return pixels

    def _check(
        self,
        path: str,
        shape: Sequence[int],
        dtype: np.dtype[Any],
        words: ImageMetadata | None,
    ) -> None:
        self.first.check(_Header.made(path, self.backend, shape, dtype, words))

    def _explain(self, error: Exception, path: str) -> None:
        """Say which file failed, and in which process if that is another one."""
        if not isinstance(error, PolystoreError):
            error.add_note(f"while reading {path!r} from backend {self.backend!r}")
        host, process = here = socket.gethostname(), os.getpid()
        if here != self.home:
            error.add_note(
                f"process {process} on {host} was reading {path!r} in the folder {os.getcwd()!r}: "
                "this process needs the same files and the same packages"
            )


def _labelled(grid: _Grid, reader: _Reader) -> xarray.DataArray:
    """Return the DataArray of a grid whose blocks ``reader`` reads."""
    import dask.array

    first = reader.first
    chunks = _file_chunks(reader)
    pieces: Pixels = np.empty((*grid.shape, *map(len, chunks)), object)
    spots = [{label: n for n, label in enumerate(labels)} for labels in grid.labels]
    is_whole = math.prod(map(len, chunks)) <= 1
    for number, box in _boxes(chunks):
        shape = tuple(part.stop - part.start for part in box)
        part = None if is_whole else box
        if len(grid.found) < math.prod(grid.shape):
            pieces[(slice(None),) * len(spots) + number] = _Piece(None, shape, part)
        for place, path in grid.found.items():
            spot = tuple(along[label] for along, label in zip(spots, place, strict=True))
            pieces[spot + number] = _Piece(path, shape, part)
    name = f"polystore-stack-{uuid.uuid4().hex}"  # not of the paths: their files may change
    data = dask.array.from_array(pieces, chunks=1, name=f"{name}-pieces").map_blocks(
        reader,
        name=name,
        dtype=first.dtype,
        chunks=(*((1,) * length for length in grid.shape), *chunks),
        meta=np.empty((0,) * pieces.ndim, first.dtype),
    )
    fields = tuple(Axis(field) for field in grid.template.fields)
    own = tuple(replace(axis, origin=None) for axis in first.words.axes)
    channels = first.words.channels if "c" in first.words.names else ()
    array: Any = to_xarray(Image(data, ImageMetadata(axes=fields + own, channels=channels)))
    labels = zip(grid.template.fields, map(list, grid.labels), strict=True)
    return array.assign_coords(dict(labels))


def _file_chunks(reader: _Reader) -> tuple[tuple[int, ...], ...]:
    """Return the lengths of the blocks of one file along each of its axes."""
    first = reader.first
    whole = tuple((length,) for length in first.shape)
    if math.prod(first.shape) * first.dtype.itemsize <= _MOST_BYTES:
        return whole
    try:
        with reader.files.open(first.path, reader.backend) as handle:
            unit = handle.chunks or (1,) * handle.ndim
    except (UnsupportedOperationError, UnsupportedDataError):
        return whole  # its format is only loaded whole
    block = list(first.shape)
    for axis, step in enumerate(unit):
        most = _MOST_BYTES // first.dtype.itemsize
        if math.prod(block) <= most:
            break
        fitting = most // (math.prod(block) // block[axis])
        block[axis] = min(block[axis], max(fitting // step, 1) * step)
    return tuple(
        tuple(min(step, length - start) for start in range(0, length, step))
        for length, step in zip(first.shape, block, strict=True)
    )


def _boxes(
    chunks: tuple[tuple[int, ...], ...],
) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Yield the number of each block of a file, and its part."""
    along: list[list[tuple[int, slice]]] = []
    for lengths in chunks:
        starts = np.cumsum((0, *lengths)).tolist()
        along.append([(n, slice(starts[n], starts[n + 1])) for n in range(len(lengths))])
    for parts in product(*along):
        yield tuple(n for n, _ in parts), tuple(part for _, part in parts)
