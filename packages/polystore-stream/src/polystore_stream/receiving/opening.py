"""Open stored arrays that producers name instead of sending. Pixels are read when shown."""

from __future__ import annotations

import functools
import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import BackendRegistry, FileManager, LazyArray
from polystore_core.errors import InvalidOptionError, UnsupportedDataError

from .stack import of_each_axis

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from polystore_core import Region

    from ..wire.messages import Image

__all__ = ["Opening", "Part", "open_source"]

_PIXELS = {"t", "z", "y", "x"}
_SAMPLE = 2 << 20
"""Bytes of a source that are read at most to choose its display range."""
_KEPT = 1 << 14
"""Pixels of each plane that are kept at most."""


class Opening:
    """Open a source in its own thread: a slow disk must not keep other producers waiting."""

    # It has no lock. The thread sets _found, then is_done. The receiver's thread reads _found
    # only after it has seen is_done.

    def __init__(self, item: Image, then: Callable[[], None]) -> None:
        """Start the thread. It calls ``then`` after it has set ``is_done``."""
        self.is_done = False
        self._found: Part | BaseException
        self._item, self._then = item, then
        # A daemon thread: a file system that hangs must not keep the process from ending.
        threading.Thread(target=self._run, name="polystore-opening", daemon=True).start()

    def _run(self) -> None:
        try:
            self._found = open_source(self._item)
        except BaseException as error:  # raised again by ``result``
            self._found = error
        self.is_done = True
        self._then()

    def result(self) -> Part:
        """Return the array, or raise the error of opening it, once ``is_done`` is true."""
        if isinstance(self._found, BaseException):
            raise self._found
        return self._found


class Part(LazyArray):
    """A lazy array with all its levels open, or one index of it on some axes.

    ``sample`` is a small part of the pixels, to choose a display range without reading more. It has
    every n-th row and column of each plane (y, x). Other axes except c may be shorter, too.
    """

    def __init__(
        self,
        levels: Sequence[LazyArray],
        sample: NDArray[Any],
        fixed: Mapping[int, int] | None = None,
    ) -> None:
        """Make a part of ``levels``. ``fixed`` maps each axis that it does not have to an index."""
        self.sample = sample
        self._array = levels[0]
        self._fixed = dict(sorted((fixed or {}).items()))
        self.dtype = sample.dtype
        self.shape = self._left(levels[0].shape)
        chunks = levels[0].chunks
        self.chunks = None if chunks is None else self._left(chunks)
        self._coarser = tuple([Part([level], sample, fixed) for level in levels[1:]])

    def _left(self, values: tuple[int, ...]) -> tuple[int, ...]:
        return tuple([value for at, value in enumerate(values) if at not in self._fixed])

    @property
    def levels(self) -> tuple[LazyArray, ...]:
        return (self, *self._coarser)

    def at(self, fixed: Mapping[int, int]) -> Part:
        """Return the part at one index on some axes. All levels must have one length there."""
        sample = self.sample
        nearest = [
            fixed[axis] * length // self.shape[axis] if axis in fixed else slice(None)
            for axis, length in enumerate(sample.shape)
        ]
        levels = [level._array for level in (self, *self._coarser)]
        return Part(levels, sample[tuple(nearest)], fixed)

    def __getitem__(self, region: Region) -> NDArray[Any]:
        items: list[int | slice] = list(of_each_axis(region, self.shape))
        for axis, index in self._fixed.items():
            items.insert(axis, index)
        part: NDArray[Any] = np.asarray(self._array[tuple(items)])
        return part.astype(self.dtype, copy=False)


def open_source(item: Image) -> Part:
    """Open the array that ``item.source`` names, for reading.

    Raises:
        PolystoreError: It cannot be opened here, or is not the array that the message describes.
    """
    source = item.source
    assert source is not None
    if source.options.get("mode", "r") != "r":
        raise InvalidOptionError("mode", source.options["mode"], "'r': viewers only read")
    handle = _files().open(source.path, source.backend, **source.options)
    if not isinstance(handle, LazyArray):
        raise UnsupportedDataError(
            f"backend {source.backend!r} cannot read {source.path!r} in parts: send the pixels"
        )
    if source.order:
        handle = handle.transpose(source.order)
    found = handle.shape, handle.dtype.newbyteorder("<").str
    if found != (item.shape, item.dtype):
        raise UnsupportedDataError(
            f"{source.path!r} has shape {found[0]} and type {found[1]}, but the message says "
            f"shape {item.shape} and type {item.dtype}: it was saved again, so show it again"
        )
    axes = (*item.sliders, *item.axes)
    levels = [handle]
    for level in handle.levels[1:]:
        if not _fits(level, levels[-1], axes):
            break
        levels.append(level)
    small = next((level for level in levels if level.nbytes <= _SAMPLE), levels[-1])
    return Part(levels, _sample(small, axes).astype(item.dtype, copy=False))


@functools.cache
def _files() -> FileManager:
    return FileManager(BackendRegistry())


def _fits(level: LazyArray, finer: LazyArray, axes: Sequence[str]) -> bool:
    """Whether two levels have as many channels and slider positions."""
    pairs = zip(axes, level.shape, finer.shape, strict=True)
    return all(here == there for axis, here, there in pairs if axis not in _PIXELS)


def _sample(level: LazyArray, axes: Sequence[str]) -> NDArray[Any]:
    """Read a level, or some of its planes, or some of their rows and columns.

    Reads at most ``_SAMPLE`` bytes: first fewer planes, then fewer rows and columns.
    """
    steps = [1] * level.ndim
    planes, pixels = list[int](), list[int]()
    for at, axis in enumerate(axes):
        if axis not in ("c", "s"):
            (pixels if axis in ("y", "x") else planes).append(at)

    def length(at: int) -> int:
        return -(-level.shape[at] // steps[at])

    for among in (planes, pixels):
        while math.prod(map(length, range(level.ndim))) * level.dtype.itemsize > _SAMPLE:
            longest = max(among, key=length, default=-1)
            if longest < 0 or length(longest) < 2:
                break
            steps[longest] *= 2
    found = np.asarray(level[tuple([slice(None, None, step) for step in steps])])
    # Keep only a small part of it: a stack may have hundreds of sources.
    step = 1
    while math.prod(-(-found.shape[at] // step) for at in pixels) > _KEPT:
        step += 1
    inner = [slice(None, None, step if at in pixels else None) for at in range(found.ndim)]
    return found[tuple(inner)].copy()
