"""Write pyramids as a stream: each element is read once, and each level is written once.

This module does not use stores. A source has ``shape``, ``dtype`` and slicing. A target also has
slice assignment and ``unit``, the box that must be written in one piece: a shard, or a chunk of an
array without shards.
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
"""This many bytes are averaged at a time. Measured with 2 MiB of second-level cache: planes of
uint16 take three times as long with 1 MiB, and a tenth longer with 128 KiB."""
_BLOCK = 8 << 20
"""Small units are read and written together, up to this many bytes."""
_TOGETHER = 128 << 20
"""The most bytes of the tiles of levels that are made together: four units of default shards."""


class Source(Protocol):
    """A source of pixels: an array, a memory map, or a handle that reads when sliced."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""

    @property
    def dtype(self) -> np.dtype[Value]:
        """The type of the elements."""

    def __getitem__(self, box: Box, /) -> Value: ...


class Target(Source, Protocol):
    """Takes a level, in boxes whose corners are multiples of ``unit``.

    It is read only after all of it was written.
    """

    @property
    def unit(self) -> tuple[int, ...]:
        """The box that must be written in one piece."""

    def __setitem__(self, box: Box, block: Pixels, /) -> None: ...


# ── shapes ───────────────────────────────────────────────────────────────────────────────


def level_shapes(
    shape: Sequence[int],
    axes: Sequence[str],
    *,
    levels: int | None = None,
    smallest: int = 256,
) -> list[tuple[int, ...]]:
    """Return the shape of each level. The first is ``shape`` itself.

    Each level has half the length of y and x, rounded up. Levels are added until y and x have at
    most ``smallest`` pixels, or the number of levels is ``levels``.

    Raises:
        InvalidOptionError: The axes do not end in y and x or do not fit ``shape``, or ``levels``
            is below 1, or more than the levels until a plane is one pixel.
    """
    if tuple(axes[-2:]) != ("y", "x") or len(axes) != len(shape):
        raise InvalidOptionError(
            "axes", axes, f"{len(shape)} axes that end in y and x, for shape {tuple(shape)}"
        )
    if isinstance(smallest, bool) or not isinstance(smallest, int) or smallest < 1:
        raise InvalidOptionError("smallest", smallest, "a number of pixels of at least 1")
    shapes = [tuple(map(int, shape))]
    # bit_length counts the halvings, rounded up, until one pixel is left, without floats.
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

    The method "mean" averages each 2 x 2 square, or the existing pixels of it at an odd edge.
    Integers are averaged exactly, and halves are rounded up, towards positive infinity. For
    booleans the majority decides, and a tie is true. Floats cannot overflow, because pixels are
    divided by four before they are added. This loses only bits below the smallest normal number.
    NaN and infinity spread as in ``numpy.mean``. float16 is averaged in float32.

    The method "nearest" takes the first pixel of each square, for labels and any dtype.

    Args:
        block: the pixels.
        axes_yx: the axes y and x.
        method: "mean" or "nearest".

    Raises:
        UnsupportedDataError: Values of this type have no mean.
        InvalidOptionError: The method is another one.
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
    """Fill ``halved`` from ``block``. The last axes of both are y and x."""
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
    with np.errstate(all="ignore"):  # infinity minus infinity is NaN, without a warning
        for p in range(0, count, many):
            for y in range(0, height, rows):
                band = _make_even(planes[p : p + many, y : y + rows])
                halved[p : p + many, y // 2 : (y + rows) // 2] = _average(band)


def _make_even(band: Pixels) -> Pixels:
    """Return ``band`` with even lengths, native byte order, and contiguous in x.

    Pixels at an odd edge are doubled. The mean is then the mean of the existing pixels.
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
        # As numbers: 2 of 4 give 0.5, which is rounded up to 1. So a tie is true.
        return _average(band.view(np.uint8)).view(np.bool_)
    if kind in "fc":
        return _average_floats(band)
    if size == 8:
        return _average_quarters(band)
    # Two neighbours in x are read as one integer of twice the width. Taking them apart by shifts,
    # on contiguous memory, is half again as fast as adding slices of stride 2.
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
    # Half of four is added before the division, so that halves are rounded up.
    total += 2
    total >>= 2
    return total.astype(band.dtype)


def _average_quarters(band: Pixels) -> Pixels:
    """Average 64-bit integers. Their sum does not fit into an integer, so quarters are added."""
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
    """Write ``source`` to ``targets[0]``, and each further level to the next target.

    The shapes are those of :func:`level_shapes`. The last two axes are y and x. A single target
    can have any number of axes.

    Each element of ``source`` is read once, and each unit of a level is written once, whole. The
    first levels are made tile by tile: a tile is written, halved into the tile below, and dropped.
    A tile has whole units. Together, the tiles have at most 128 MiB, or one unit. The other levels
    are made in the same way from the last of these levels, which is read back from its target.

    With default shards, four levels are made together, and one in 64 pixels is read back. So the
    memory does not depend on ``source``. It is 128 MiB, one unit while it is encoded, and one
    while it is read. Boxes are written one after another, because threads over units were not
    faster with zarr's own pipeline.

    Args:
        source: the pixels of the first level.
        targets: the arrays of the levels.
        method: "mean" or "nearest".
        report: called for each unit of the first level that was written.

    Raises:
        InvalidOptionError: Shapes or units do not fit, or the method is another one.
        UnsupportedDataError: Values of this dtype have no mean.
        DamagedDataError: The source returned another shape or dtype than it announced.
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
    """The first of these levels. The level above it is complete, and is read back."""
    tiles: Sequence[tuple[int, ...]]
    """The tile of each level."""

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
    """Return the pixels of a level in ``box``, made from the level above.

    Args:
        above: returns the pixels of the level above in a box. It is called with one box after
            another, of at most ``tile`` (made even in y and x).
        shape: the shape of the level above.
        dtype: the dtype of both levels.
        box: the box.
        tile: the largest box to read.
        method: "mean" or "nearest".
    """
    before = len(box) - 2
    even = (*tile[:before], *(extent + extent % 2 for extent in tile[before:]))
    doubled = tuple(
        # At an odd edge, the last pixel has no second one next to it.
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
    """Return the tiles of as many levels as can be made together, but at least one.

    Tiles have whole units, with even lengths in y and x. Two by two tiles of a level are a tile of
    the level below. Small units are joined.
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

    The last axes grow first, so that a box is one run of rows in the file.
    """
    grown = list(tile)
    for axis in reversed(range(len(grown))):
        many = max(1, budget // max(1, math.prod(grown) * itemsize))
        if grown[axis] * many < shape[axis]:
            # Doubled, so that two by two tiles still are a tile of the level below.
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
