"""Multiscale pyramids, streamed: each source element is read once, each level written once.

Nothing here knows what a store is. A source has ``shape``, ``dtype`` and slicing; a target has
``unit`` and slice assignment as well, where ``unit`` is the box that must be written in one
piece: the shard, or the chunk of an array without shards.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args

import numpy as np

from polystore_core.errors import DamagedDataError, InvalidOptionError, UnsupportedDataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from polystore_core import Pixels, Value

__all__ = [
    "Method",
    "Source",
    "Target",
    "downsample",
    "halve_box",
    "level_shapes",
    "write_pyramid",
]

Method: TypeAlias = Literal["mean", "nearest"]
_METHODS = get_args(Method)
Box: TypeAlias = tuple[slice, ...]
Report: TypeAlias = Callable[[], object]
"""Called once for each unit of the first level."""

_BAND = 256 << 10
"""So many bytes are averaged at a time. Measured with 2 MiB of second-level cache: planes of
uint16 take three times as long with 1 MiB, a tenth longer with 128 KiB."""
_BLOCK = 8 << 20
"""Small units are read and written together up to so many bytes."""
_TOGETHER = 128 << 20
"""Bytes that the tiles of levels which are made together have: four units of default shards."""


class Source(Protocol):
    """A source of pixels: an array, a memory map, or a handle that reads when sliced."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Value]: ...
    def __getitem__(self, box: Box, /) -> Value: ...


class Target(Source, Protocol):
    """Takes a level, in boxes whose corners are multiples of ``unit``.

    It is read only after all of it was written.
    """

    @property
    def unit(self) -> tuple[int, ...]: ...
    def __setitem__(self, box: Box, block: Pixels, /) -> None: ...


# ── shapes ───────────────────────────────────────────────────────────────────────────────


def level_shapes(
    shape: Sequence[int],
    axes: Sequence[str],
    *,
    levels: int | None = None,
    smallest: int = 256,
) -> list[tuple[int, ...]]:
    """Return the shape of each level, the first being ``shape`` itself.

    Each level halves y and x, rounding up, and no other axis. Levels are added until y and x
    are at most ``smallest`` pixels, or there are ``levels`` of them.

    Raises:
        InvalidOptionError: for axes that do not end in y and x or do not fit ``shape``, and
            for ``levels`` below 1 or beyond the one in which the plane is a single pixel.
    """
    if tuple(axes[-2:]) != ("y", "x") or len(axes) != len(shape):
        raise InvalidOptionError(
            "axes", axes, f"{len(shape)} axes that end in y and x, for shape {tuple(shape)}"
        )
    if isinstance(smallest, bool) or not isinstance(smallest, int) or smallest < 1:
        raise InvalidOptionError("smallest", smallest, "a number of pixels of at least 1")
    shapes = [tuple(map(int, shape))]
    most = 1 + max(max(shapes[0][-2:]) - 1, 0).bit_length()
    if levels is not None and (
        isinstance(levels, bool) or not isinstance(levels, int) or not 1 <= levels <= most
    ):
        raise InvalidOptionError(
            "levels", levels, f"1 to {most} levels for {shapes[0][-2]} x {shapes[0][-1]} pixels"
        )
    while len(shapes) < levels if levels is not None else max(shapes[-1][-2:]) > smallest:
        shapes.append((*shapes[-1][:-2], *(-(-extent // 2) for extent in shapes[-1][-2:])))
    return shapes


# ── one halving ──────────────────────────────────────────────────────────────────────────


def downsample(
    block: Pixels, axes_yx: tuple[int, int] = (-2, -1), method: Method = "mean"
) -> Pixels:
    """Return ``block`` at half its size in y and x, rounded up, with the same dtype.

    ``"mean"`` averages each 2 x 2 square; at an odd edge those of its pixels that exist.
    Integers are averaged exactly and halves rounded up, towards positive infinity; booleans by
    majority, a tie being true. Floating point cannot overflow, because pixels are quartered
    before they are added (this loses only bits below the smallest normal number); NaN and
    infinity spread as in ``numpy.mean``; float16 is averaged in float32.

    ``"nearest"`` takes the first pixel of each square: for labels, and for any dtype.

    Raises:
        UnsupportedDataError: the mean of something else than numbers and booleans.
        InvalidOptionError: another ``method``.
    """
    block = np.asarray(block)
    _check_method(block.dtype, method)
    moved = np.moveaxis(block, axes_yx, (-2, -1))
    height, width = moved.shape[-2:]
    halved = np.empty((*moved.shape[:-2], -(-height // 2), -(-width // 2)), block.dtype)
    _halve(moved, halved, method)
    return np.moveaxis(halved, (-2, -1), axes_yx)


def _check_method(dtype: np.dtype[Value], method: Method) -> None:
    if method not in _METHODS:
        raise InvalidOptionError("method", method, f"one of {', '.join(_METHODS)}")
    if method == "mean" and dtype.kind not in "buifc":
        raise UnsupportedDataError(f"values of type {dtype} have no mean: use method='nearest'")


def _halve(block: Pixels, halved: Pixels, method: Method) -> None:
    """Fill ``halved`` from ``block``; both end in y and x."""
    if method == "nearest":
        halved[...] = block[..., ::2, ::2]
        return
    if block.ndim == 2:
        block, halved = block[np.newaxis], halved[np.newaxis]
    for index in np.ndindex(block.shape[:-3]):
        _average_planes(block[index], halved[index])


def _average_planes(planes: Pixels, halved: Pixels) -> None:
    """Average ``planes`` (n, y, x) in bands that stay in the processor's cache."""
    if planes.strides[-1] > planes.strides[-2]:  # stored column by column
        planes, halved = planes.swapaxes(1, 2), halved.swapaxes(1, 2)
    count, height, width = planes.shape
    row_bytes = max(1, width * planes.itemsize)
    rows = max(2, _BAND // row_bytes // 2 * 2)
    many = max(1, _BAND // max(1, height * row_bytes))
    with np.errstate(all="ignore"):  # infinity minus infinity is NaN, and no warning
        for p in range(0, count, many):
            for y in range(0, height, rows):
                band = _make_even(planes[p : p + many, y : y + rows])
                halved[p : p + many, y // 2 : (y + rows) // 2] = _average(band)


def _make_even(band: Pixels) -> Pixels:
    """Return ``band`` with even extents, native and contiguous in x: edges are doubled.

    A mean over a doubled pixel is the mean over the pixels that exist.
    """
    count, height, width = band.shape
    if not (height % 2 or width % 2) and band.dtype.isnative:
        return band if band.strides[-1] == band.itemsize else np.ascontiguousarray(band)
    evened = np.empty(
        (count, height + height % 2, width + width % 2), band.dtype.newbyteorder("=")
    )
    evened[:, :height, :width] = band
    evened[:, :height, width:] = band[:, :, -1:]
    evened[:, height:] = evened[:, height - 1 : height]
    return evened


def _average(band: Pixels) -> Pixels:
    kind, size = band.dtype.kind, band.itemsize
    if kind == "b":
        return _average(band.view(np.uint8)).view(np.bool_)
    if kind in "fc":
        return _average_floats(band)
    if size == 8:
        return _average_quarters(band)
    # Two neighbours in x are one integer of twice the width: taken apart by shifts, which are
    # contiguous, they are added half again as fast as with slices of stride 2.
    bits = 8 * size
    pairs = band.view(f"{kind}{2 * size}")
    total = pairs >> bits
    if kind == "u":
        total += pairs & ((1 << bits) - 1)
    else:
        low = pairs << bits
        low >>= bits
        total += low
    total = total[:, 0::2] + total[:, 1::2]
    total += 2
    total >>= 2
    return total.astype(band.dtype)


def _average_quarters(band: Pixels) -> Pixels:
    """Average 64-bit integers, whose sum no integer holds: four times a quarter, and a rest."""
    quarters, rests = _add(band >> 2), _add(band & 3)
    rests += 2
    rests >>= 2
    quarters += rests
    return quarters


def _average_floats(band: Pixels) -> Pixels:
    if band.dtype == np.float16:
        band = band.astype(np.float32)
    if band.dtype.kind == "f":
        return _add(band * band.dtype.type(0.25))
    # As real numbers: a complex product makes NaN of infinity.
    quarters = band.view(band.real.dtype) * band.real.dtype.type(0.25)
    return _add(quarters.view(band.dtype))


def _add(band: Pixels) -> Pixels:
    rows = band[:, 0::2] + band[:, 1::2]
    total: NDArray[Any] = rows[:, :, 0::2] + rows[:, :, 1::2]
    return total


# ── streaming ────────────────────────────────────────────────────────────────────────────


def write_pyramid(
    source: Source,
    targets: Sequence[Target],
    *,
    method: Method = "mean",
    report: Report | None = None,
) -> None:
    """Write ``source`` to ``targets[0]`` and each further level to the target after it.

    The shapes are those of :func:`level_shapes`. The last two axes are y and x. A single target
    may have any number of axes. ``report`` is called for each unit of the first level that was
    written.

    Each element of ``source`` is read once, and each unit of a level is written once, whole.
    The first levels are made tile by tile: a tile is written, halved into the tile below it,
    and dropped. Tiles are made of whole units, and together they have at most 128 MiB, or one
    unit. The other levels are made in the same way from the last of these, which is read back
    from its target. With default shards, four levels are made together, and one in 64 pixels of
    ``source`` is read back. So memory does not depend on ``source``, but on the units: 128 MiB,
    one unit while it is encoded, and one while it is read.

    Boxes are written one after another: with zarr's own pipeline, measured, threads over units
    gave nothing.

    Raises:
        InvalidOptionError: shapes or units that do not fit, or another ``method``.
        UnsupportedDataError: a dtype that has no mean.
        DamagedDataError: the source gave something else than it announced.
    """
    _check_targets(source, targets)
    if len(targets) > 1:
        _check_method(source.dtype, method)
    start = 0
    while start < len(targets):
        tiles = _tiles(targets[start:], source.dtype.itemsize)
        last = start + len(tiles) - 1
        levels = _Levels(source, targets, method, report, start, tiles)
        for box in _boxes(tiles[-1], [slice(0, extent) for extent in targets[last].shape]):
            levels.make(last, box)
        start = last + 1


@dataclass(frozen=True, slots=True)
class _Levels:
    """Levels of a pyramid that are made together."""

    source: Source
    targets: Sequence[Target]
    method: Method
    report: Report | None
    start: int
    """The first of them. The one above it is complete, and is read back."""
    tiles: Sequence[tuple[int, ...]]
    """The tile of each."""

    def make(self, level: int, box: Box) -> Pixels:
        """Write a tile of ``level``, and all tiles above it. Return its pixels."""
        if level == 0:
            pixels = _read(self.source, box)
        elif level == self.start:
            above = partial(_read, self.targets[level - 1])
            pixels = self._halve(level, box, self.tiles[0], above)
        else:
            tile = self.tiles[level - 1 - self.start]
            pixels = self._halve(level, box, tile, partial(self.make, level - 1))
        self.targets[level][box] = pixels
        if level == 0:
            _report(self.report, box, self.targets[0].unit)
        return pixels

    def _halve(
        self, level: int, box: Box, tile: Sequence[int], above: Callable[[Box], Pixels]
    ) -> Pixels:
        shape = self.targets[level - 1].shape
        return halve_box(above, shape, self.source.dtype, box, tile, self.method)


def halve_box(
    above: Callable[[Box], Pixels],
    shape: Sequence[int],
    dtype: np.dtype[Value],
    box: Box,
    tile: Sequence[int],
    method: Method,
) -> Pixels:
    """Return the pixels of a level in ``box``, made from the level above it.

    ``above`` is called with boxes of at most ``tile`` (made even in y and x), one after another,
    and returns the pixels of the level above, which has ``shape`` and ``dtype``.
    """
    before = len(box) - 2
    even = (*tile[:before], *(extent + extent % 2 for extent in tile[before:]))
    doubled = tuple(
        slice(2 * part.start, min(2 * part.stop, extent))
        for part, extent in zip(box[before:], shape[before:], strict=True)
    )
    halved = np.empty([part.stop - part.start for part in box], dtype)
    for piece in _boxes(even, (*box[:before], *doubled)):
        inside = tuple(
            slice(part.start // half - whole.start, -(-part.stop // half) - whole.start)
            for part, whole, half in zip(piece, box, (*[1] * before, 2, 2), strict=True)
        )
        _halve(above(piece), halved[inside], method)
    return halved


def _tiles(targets: Sequence[Target], itemsize: int) -> list[tuple[int, ...]]:
    """Return the tiles of as many levels as can be made together, at least of the first.

    Tiles are whole units, even in y and x, and two by two of a level cover those of the level
    below. Small units are joined.
    """
    ndim = len(targets[0].shape)
    halves = (*[1] * (ndim - 2), 2, 2) if len(targets) > 1 else (1,) * ndim
    tiles: list[tuple[int, ...]] = []
    above, extents = halves, (0,) * ndim  # of the level above
    for level, target in enumerate(targets):
        axes = zip(above, extents, halves, target.unit, target.shape, strict=True)
        tile = [
            length if part == extent else min(math.lcm(part // half, unit, half), length)
            for part, extent, half, unit, length in axes
        ]
        above, extents = _grow(tile, target.shape, itemsize, _BLOCK >> level), target.shape
        if tiles and sum(map(math.prod, (*tiles, above))) * itemsize > _TOGETHER:
            break
        tiles.append(above)
    return tiles


def _check_targets(source: Source, targets: Sequence[Target]) -> None:
    shape = tuple(source.shape)
    if not targets:
        raise InvalidOptionError("targets", targets, "at least one level")
    for level, target in enumerate(targets):
        if level:
            if len(shape) < 2:
                raise InvalidOptionError(
                    "targets", len(targets), "1 for arrays of less than two axes"
                )
            shape = (*shape[:-2], *(-(-extent // 2) for extent in shape[-2:]))
        if tuple(target.shape) != shape:
            raise InvalidOptionError(f"targets[{level}].shape", target.shape, f"{shape}")
        if len(target.unit) != len(shape) or any(extent < 1 for extent in target.unit):
            raise InvalidOptionError(
                f"targets[{level}].unit", target.unit, f"{len(shape)} extents of at least 1"
            )


def _grow(
    tile: Sequence[int], shape: Sequence[int], itemsize: int, budget: int
) -> tuple[int, ...]:
    """Return ``tile`` doubled up to about ``budget`` bytes, or to the edge of ``shape``.

    The last axes grow first: a box is then one run of rows in whatever order it is stored.
    """
    grown = list(tile)
    for axis in reversed(range(len(grown))):
        many = max(1, budget // max(1, math.prod(grown) * itemsize))
        if grown[axis] * many < shape[axis]:
            grown[axis] <<= many.bit_length() - 1
            break
        grown[axis] = shape[axis]
    return tuple(grown)


def _boxes(tile: Sequence[int], box: Iterable[slice]) -> itertools.product[Box]:
    """Cut ``box`` into tiles."""
    return itertools.product(
        *(
            [slice(at, min(at + step, part.stop)) for at in range(part.start, part.stop, step)]
            for step, part in zip((max(step, 1) for step in tile), box, strict=True)
        )
    )


def _report(report: Report | None, box: Box, unit: tuple[int, ...]) -> None:
    if report is not None:
        spans = (-(-(part.stop - part.start) // u) for part, u in zip(box, unit, strict=True))
        for _ in range(math.prod(spans)):
            report()


def _read(source: Source, box: Box) -> Pixels:
    values = np.asarray(source[box])
    expected = tuple(part.stop - part.start for part in box)
    if values.shape != expected or values.dtype != source.dtype:
        raise DamagedDataError(
            f"its source returned {values.dtype} {values.shape} for {box}, expected "
            f"{source.dtype} {expected}"
        )
    return values
