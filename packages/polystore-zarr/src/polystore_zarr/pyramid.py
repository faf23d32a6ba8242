"""Multiscale pyramids, streamed: each source element is read once, each level written once.

Nothing here knows what a store is. A source has ``shape``, ``dtype`` and slicing; a target has
``shape``, ``unit`` and slice assignment, where ``unit`` is what must be written in one piece:
the shard, or the chunk of an array without shards.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    "level_shapes",
    "write_blocks",
    "write_pyramid",
]

Method: TypeAlias = Literal["mean", "nearest"]
_METHODS = get_args(Method)
Box: TypeAlias = tuple[slice, ...]
Report: TypeAlias = Callable[[], object]
"""Called once for each unit of the first level."""

_BAND = 1 << 20
"""So many bytes are averaged at a time. Measured on 16 MiB planes with 1 MiB of second-level
cache: without bands a third of the speed, with bands of 64 KiB two thirds."""
_BLOCK = 8 << 20
"""Small units are read and written together up to so many bytes."""


class Source(Protocol):
    """What pixels come from: an array, a memory map, or a handle that reads when sliced."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Value]: ...
    def __getitem__(self, box: Box, /) -> Value: ...


class Target(Protocol):
    """What a level is written to, in boxes whose corners are multiples of ``unit``."""

    @property
    def shape(self) -> tuple[int, ...]: ...
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
    shapes = [tuple(int(extent) for extent in shape)]
    most = 1 + max(max(extent - 1, 0).bit_length() for extent in shapes[0][-2:])
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
                band = _evened(planes[p : p + many, y : y + rows])
                halved[p : p + many, y // 2 : (y + rows) // 2] = _averaged(band)


def _evened(band: Pixels) -> Pixels:
    """Return ``band`` with even extents, native and contiguous in x: edges stand twice.

    A mean over a pixel that stands twice is the mean over the pixels that exist.
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


def _averaged(band: Pixels) -> Pixels:
    kind, size = band.dtype.kind, band.itemsize
    if kind == "b":
        return _averaged(band.view(np.uint8)).view(np.bool_)
    if kind in "fc":
        return _averaged_floats(band)
    if size == 8:
        return _averaged_quarters(band)
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


def _averaged_quarters(band: Pixels) -> Pixels:
    """Average 64-bit integers, whose sum no integer holds: four times a quarter, and a rest."""
    quarters, rests = _added(band >> 2), _added(band & 3)
    rests += 2
    rests >>= 2
    quarters += rests
    return quarters


def _averaged_floats(band: Pixels) -> Pixels:
    if band.dtype == np.float16:
        band = band.astype(np.float32)
    if band.dtype.kind == "f":
        return _added(band * band.dtype.type(0.25))
    # As real numbers: a complex product makes NaN of infinity.
    quarters = band.view(band.real.dtype) * band.real.dtype.type(0.25)
    return _added(quarters.view(band.dtype))


def _added(band: Pixels) -> Pixels:
    rows = band[:, 0::2] + band[:, 1::2]
    total: NDArray[Any] = rows[:, :, 0::2] + rows[:, :, 1::2]
    return total


# ── streaming ────────────────────────────────────────────────────────────────────────────


def write_blocks(source: Source, target: Target, report: Report | None = None) -> None:
    """Copy ``source`` to ``target``, of any number of axes, unit by unit.

    Small units are copied together; no more than 8 MiB or one unit is held. ``report`` is
    called for each unit that was written.

    Raises:
        InvalidOptionError: the shapes differ, or a unit does not fit them.
        DamagedDataError: the source gave something else than it announced.
    """
    _check_targets(source, [target])
    shape = tuple(source.shape)
    block = _grown(target.unit, shape, source.dtype.itemsize)
    for box in _boxes(block, shape):
        target[box] = _read(source, box)
        _report(report, box, target.unit)


def write_pyramid(
    source: Source,
    targets: Sequence[Target],
    *,
    method: Method = "mean",
    report: Report | None = None,
) -> None:
    """Write ``source`` to ``targets[0]`` and each further level to the target after it.

    The shapes are those of :func:`level_shapes`; the last two axes are y and x. The source is
    read in rows of units, all the way across: each element once, and no strip of a file twice.
    Memory stays within that row (if slicing the source copies it) and one row of each level
    below, together about as much again; rows under 8 MiB are taken several at a time. Where
    the units of two levels differ on an axis before y, their least common multiple is taken.
    ``report`` is called for each unit of the first level that was written.

    Boxes are written one after another and all the way across: with zarr's own pipeline,
    measured, threads over units gave nothing.

    Raises:
        InvalidOptionError: shapes or units that do not fit, or another ``method``.
        UnsupportedDataError: a dtype that has no mean.
        DamagedDataError: the source gave something else than it announced.
    """
    _check_targets(source, targets)
    if len(targets) == 1:
        write_blocks(source, targets[0], report)
        return
    _check_method(source.dtype, method)
    shape, itemsize = tuple(source.shape), source.dtype.itemsize
    leading = [
        min(extent, math.lcm(*(target.unit[axis] for target in targets)))
        for axis, extent in enumerate(shape[:-2])
    ]
    block = _grown((*leading, _even(targets[0].unit[-2]), shape[-1]), shape, itemsize)
    levels = [
        _Level.of(target, block[:-2], source.dtype, _BLOCK >> depth)
        for depth, target in enumerate(targets[1:], 1)
    ]
    for box in _boxes(block, shape):
        rows = _read(source, box)
        targets[0][box] = rows
        _descend(levels, box[:-2], rows, method)
        _report(report, box, targets[0].unit)


@dataclass(slots=True)
class _Level:
    """A level below the first while it is written."""

    target: Target
    rows: NDArray[Any]
    """As many rows as are written at a time, with the axes before them."""
    start: int = 0
    """The first of ``rows`` in the target."""
    filled: int = 0

    @classmethod
    def of(
        cls, target: Target, leading: tuple[int, ...], dtype: np.dtype[Value], budget: int
    ) -> _Level:
        height, width = target.shape[-2:]
        unit = _even(target.unit[-2])
        unit_bytes = math.prod(leading) * unit * width * dtype.itemsize
        step = min(height, unit * max(1, budget // max(1, unit_bytes)))
        return cls(target, np.empty((*leading, step, width), dtype))


def _descend(levels: Sequence[_Level], leading: Box, rows: Pixels, method: Method) -> None:
    """Halve ``rows`` of the level above into ``levels[0]``, and write what became complete.

    Rows come in even numbers, because units do, or they are the last of their plane.
    """
    if not levels:
        return
    level = levels[0]
    buffer = level.rows[tuple(slice(part.stop - part.start) for part in leading)]
    height, width = level.target.shape[-2:]
    taken = 0
    while taken < rows.shape[-2]:
        piece = rows[..., taken : taken + 2 * (buffer.shape[-2] - level.filled), :]
        taken += piece.shape[-2]
        filled = level.filled + -(-piece.shape[-2] // 2)
        _halve(piece, buffer[..., level.filled : filled, :], method)
        level.filled = filled
        end = level.start + filled
        if filled == buffer.shape[-2] or end == height:
            complete = buffer[..., :filled, :]
            level.target[(*leading, slice(level.start, end), slice(0, width))] = complete
            level.start, level.filled = end % height, 0  # the next plane begins at 0
            _descend(levels[1:], leading, complete, method)


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


def _even(unit: int) -> int:
    """Two units where one has an odd height, so that no 2 x 2 square lies in two boxes."""
    return unit * (1 + unit % 2)


def _grown(
    unit: Sequence[int], shape: tuple[int, ...], itemsize: int, budget: int = _BLOCK
) -> tuple[int, ...]:
    """Return a multiple of ``unit`` of about ``budget`` bytes, or to the edge of ``shape``.

    The last axes grow first: a box is then one run of rows in whatever order it is stored.
    """
    block = [min(part, extent) for part, extent in zip(unit, shape, strict=True)]
    for axis in reversed(range(len(block))):
        many = budget // max(1, math.prod(block) * itemsize)
        block[axis] = min(shape[axis], block[axis] * max(1, many))
        if block[axis] < shape[axis]:
            break
    return tuple(block)


def _boxes(block: tuple[int, ...], shape: tuple[int, ...]) -> itertools.product[Box]:
    return itertools.product(
        *(
            [slice(start, min(start + part, extent)) for start in range(0, extent, part or 1)]
            for part, extent in zip(block, shape, strict=True)
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
