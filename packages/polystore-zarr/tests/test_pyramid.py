"""Halving, level shapes and streaming, with limits for reads, writes and memory."""

from __future__ import annotations

import math
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from polystore_core.errors import DamagedDataError, InvalidOptionError, UnsupportedDataError
from polystore_testing.examples import examples
from polystore_zarr.pyramid import downsample, level_shapes, write_pyramid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

NUMBERS = ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16"]


def exact_mean(block: NDArray[Any]) -> NDArray[Any]:
    """Average 2 x 2 squares with Python's integers. This is slow, but it is the definition."""
    *leading, height, width = block.shape
    halved = np.empty((*leading, -(-height // 2), -(-width // 2)), block.dtype)
    for index in np.ndindex(halved.shape):
        *before, y, x = index
        square = block[(*before, slice(2 * y, 2 * y + 2), slice(2 * x, 2 * x + 2))]
        values = [int(value) for value in square.ravel()]
        halved[index] = (2 * sum(values) + len(values)) // (2 * len(values))
    return halved


class RecordingTarget:
    """A target that keeps each write, and refuses a box that is not made of whole units.

    Only boxes that were written can be read.
    """

    def __init__(self, shape: Sequence[int], unit: Sequence[int], dtype: Any) -> None:
        self.shape, self.unit = tuple(shape), tuple(unit)
        self.dtype = np.dtype(dtype)
        self.values = np.zeros(self.shape, dtype)
        self.times = np.zeros(self.shape, np.uint8)

    def __setitem__(self, box: tuple[slice, ...], block: NDArray[Any]) -> None:
        for part, unit, extent in zip(box, self.unit, self.shape, strict=True):
            assert part.start % unit == 0
            assert part.stop % unit == 0 or part.stop == extent
        assert block.shape == self.values[box].shape
        assert block.dtype == self.values.dtype
        self.values[box] = block
        self.times[box] += 1

    def __getitem__(self, box: tuple[slice, ...]) -> NDArray[Any]:
        assert (self.times[box] == 1).all()
        return self.values[box].copy()


class RecordingSource:
    """A source that counts the reads of each element, and returns copies as a file would."""

    def __init__(self, values: NDArray[Any], unit: Sequence[int]) -> None:
        self.values, self.unit = values, unit
        self.times = np.zeros(values.shape, np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    def __getitem__(self, box: tuple[slice, ...]) -> NDArray[Any]:
        for part, unit, extent in zip(box, self.unit, self.shape, strict=True):
            assert part.start % unit == 0
            assert part.stop % unit == 0 or part.stop == extent
        self.times[box] += 1
        return self.values[box].copy()


# ── shapes ───────────────────────────────────────────────────────────────────────────────


def test_levels_halve_plane() -> None:
    """Only y and x are halved, rounding up, until both are at most the smallest extent."""
    assert level_shapes((3, 5, 1025, 700), "czyx", smallest=256) == [
        (3, 5, 1025, 700),
        (3, 5, 513, 350),
        (3, 5, 257, 175),
        (3, 5, 129, 88),
    ]


def test_small_plane_stays_alone() -> None:
    """A small plane has one level, and so has an empty plane."""
    assert level_shapes((256, 256), "yx") == [(256, 256)]
    assert level_shapes((0, 7), ["y", "x"]) == [(0, 7)]


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_most_levels_reach_pixel(height: int, width: int) -> None:
    """The greatest number of levels ends at a single pixel. One more level is refused."""
    most = 1 + max(max(height - 1, 0).bit_length(), max(width - 1, 0).bit_length())
    shapes = level_shapes((height, width), "yx", levels=most)
    assert len(shapes) == most == len(set(shapes))
    assert max(shapes[-1]) <= 1
    with pytest.raises(InvalidOptionError, match=f"1 to {most} levels"):
        level_shapes((height, width), "yx", levels=most + 1)


@pytest.mark.parametrize(
    "options",
    [{"levels": 0}, {"levels": -1}, {"levels": True}, {"levels": 2.0}, {"smallest": 0}],
)
def test_impossible_levels_are_refused(options: dict[str, Any]) -> None:
    """Levels and the smallest extent are whole numbers of at least 1."""
    with pytest.raises(InvalidOptionError):
        level_shapes((64, 64), "yx", **options)


@pytest.mark.parametrize("axes", ["xy", "zy", "zyx", ("y",)])
def test_wrong_axes_are_refused(axes: Sequence[str]) -> None:
    """The number of axes is that of the shape, and the last two axes are y and x."""
    with pytest.raises(InvalidOptionError, match="end in y and x"):
        level_shapes((64, 64), axes)


# ── one halving ──────────────────────────────────────────────────────────────────────────


@given(
    st.sampled_from(["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", ">u2", ">i4"]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=4, max_side=6))
    )
)
def test_integers_average_exactly(block: NDArray[Any]) -> None:
    """Integers of every width are averaged without overflow, and halves are rounded up."""
    halved = downsample(block)
    assert halved.dtype == block.dtype
    np.testing.assert_array_equal(halved, exact_mean(block))


@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=3, max_side=5)))
def test_booleans_follow_majority(block: NDArray[Any]) -> None:
    """A square is true if at least half of its pixels are true."""
    np.testing.assert_array_equal(downsample(block), exact_mean(block.astype(int)).astype(bool))


@given(
    st.sampled_from(["f4", "f8"]).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            st.tuples(st.integers(1, 4), st.integers(1, 4)).map(lambda s: (2 * s[0], 2 * s[1])),
            elements={"min_value": -1e6, "max_value": 1e6, "allow_subnormal": False},
        )
    )
)
def test_floats_average_like_numpy(block: NDArray[Any]) -> None:
    """Floating point means equal those of numpy.mean, up to the order of additions."""
    height, width = block.shape
    squares = block.reshape(height // 2, 2, width // 2, 2).astype(np.float64)
    tolerance = np.finfo(block.dtype).eps
    np.testing.assert_allclose(
        downsample(block), squares.mean((1, 3)), rtol=4 * tolerance, atol=1e6 * tolerance
    )


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "c16", "g"])
def test_largest_floats_stay_finite(dtype: str) -> None:
    """The mean of four equal numbers is that number, even if it is very large."""
    largest = np.finfo(np.dtype(dtype)).max
    block = np.full((5, 6), largest, dtype)
    np.testing.assert_array_equal(downsample(block), np.full((3, 3), largest, dtype))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "c16"])
def test_nan_and_infinity_spread(dtype: str) -> None:
    """NaN and infinity reach only their own square, and cause no warning."""
    block = np.ones((4, 6), dtype)
    block[0, 0], block[2, 2], block[2, 4], block[3, 5] = np.nan, np.inf, np.inf, -np.inf
    halved = downsample(block)
    np.testing.assert_array_equal(
        np.isnan(halved), [[True, False, False], [False, False, True]]
    )
    np.testing.assert_array_equal(np.isinf(halved), [[False] * 3, [False, True, False]])


def test_nearest_takes_first_pixel() -> None:
    """Labels of any dtype keep their values, because each square becomes its first pixel."""
    labels = np.arange(15).astype("M8[s]").reshape(3, 5)
    np.testing.assert_array_equal(downsample(labels, method="nearest"), labels[::2, ::2])


@pytest.mark.parametrize("dtype", NUMBERS)
def test_memory_layout_changes_nothing(dtype: str) -> None:
    """Strided, reversed and column-ordered blocks give the same result as a contiguous block."""
    whole = np.random.default_rng(0).integers(0, 2 if dtype == "?" else 99, (3, 22, 34))
    whole = whole.astype(dtype)
    for block in (whole[:, ::2, ::3], whole[:, ::-1, ::-1], whole.T, whole[:, 1:, 1:]):
        expected = downsample(np.ascontiguousarray(block))
        np.testing.assert_array_equal(downsample(block), expected)


def test_other_axes_are_halved() -> None:
    """Any two axes can be halved."""
    block = np.arange(6 * 4 * 8, dtype=np.uint16).reshape(6, 4, 8)
    expected = downsample(block.transpose(1, 0, 2)).transpose(1, 0, 2)
    np.testing.assert_array_equal(downsample(block, (0, 2)), expected)


def test_bands_leave_no_seam() -> None:
    """A plane that is averaged in several bands equals the plain mean, edges included."""
    block = np.random.default_rng(1).integers(0, 65536, (2, 1501, 1027), np.uint16)
    padded = np.pad(block, ((0, 0), (0, 1), (0, 1)), mode="edge").astype(np.uint64)
    sums = padded[:, ::2] + padded[:, 1::2]
    expected = (sums[..., ::2] + sums[..., 1::2] + 2) // 4
    np.testing.assert_array_equal(downsample(block), expected)


def test_empty_block_stays_empty() -> None:
    """A plane without pixels is halved to a plane without pixels."""
    assert downsample(np.empty((3, 0, 5), np.float32)).shape == (3, 0, 3)
    assert downsample(np.empty((0, 4, 5), np.uint8)).shape == (0, 2, 3)


def test_mean_of_text_is_refused() -> None:
    """Values without a mean are refused, and the error names a method that works."""
    with pytest.raises(UnsupportedDataError, match="'nearest'"):
        downsample(np.full((2, 2), "a"))
    with pytest.raises(InvalidOptionError, match="mean, nearest"):
        downsample(np.zeros((2, 2)), method="median")  # type: ignore[arg-type]


# ── streaming ────────────────────────────────────────────────────────────────────────────


@st.composite
def pyramids(draw: st.DrawFn) -> tuple[NDArray[Any], list[tuple[int, ...]], list[list[int]]]:
    """Draw pixels, the shape of each level, and the unit of each level."""
    leading = draw(st.lists(st.integers(1, 5), max_size=2))
    shape = (*leading, draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    shapes = level_shapes(shape, "tzyx"[-len(shape) :], smallest=draw(st.integers(1, 12)))
    units = [[draw(st.integers(1, 14)) for _ in shape] for _ in shapes]
    dtype = draw(st.sampled_from(["u1", "u2", "i4", "?"]))
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 99, shape)
    return values.astype(dtype), shapes, units


@settings(max_examples=examples(150))
@given(
    pyramids(),
    st.sampled_from([1, 64, 500, 8 << 20]),
    st.sampled_from([1, 900, 5000, 96 << 20]),
)
def test_levels_equal_repeated_halving(pyramid: Any, budget: int, together: int) -> None:
    """Each element is read once and written once, in whole units, and each level is correct.

    This also holds where levels do not fit into memory together. Such a level is made from the one
    above, which is read back.
    """
    values, shapes, units = pyramid
    source = RecordingSource(values, units[0])
    targets = [RecordingTarget(s, u, values.dtype) for s, u in zip(shapes, units, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("polystore_zarr.pyramid._BLOCK", budget)
        patch.setattr("polystore_zarr.pyramid._TOGETHER", together)
        write_pyramid(source, targets)
    assert (source.times == 1).all()
    expected = values
    for target in targets:
        assert (target.times == 1).all()
        np.testing.assert_array_equal(target.values, expected)
        expected = exact_mean(expected).astype(values.dtype)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 12)), max_size=4),
    st.sampled_from([1, 40, 8 << 20]),
)
def test_any_array_is_copied(extents: list[tuple[int, int]], budget: int) -> None:
    """Arrays of any number of axes, even empty ones, are copied once and in whole units."""
    shape, unit = [n for n, _ in extents], [u for _, u in extents]
    values = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    source, target = RecordingSource(values, unit), RecordingTarget(shape, unit, np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("polystore_zarr.pyramid._BLOCK", budget)
        write_pyramid(source, [target])
    assert (source.times == 1).all()
    assert (target.times == 1).all()
    np.testing.assert_array_equal(target.values, values)


def test_labels_keep_their_values() -> None:
    """With method "nearest", every value of a level occurs in the source."""
    labels = np.random.default_rng(0).choice([0, 7, 900], (2, 70, 50)).astype(np.uint16)
    targets = [
        RecordingTarget(s, (1, 16, 16), "u2")
        for s in level_shapes(labels.shape, "zyx", levels=4)
    ]
    write_pyramid(labels, targets, method="nearest")
    for factor, target in zip((1, 2, 4, 8), targets, strict=True):
        np.testing.assert_array_equal(target.values, labels[:, ::factor, ::factor])


def test_progress_counts_units() -> None:
    """The report is called once for each unit of the first level, even for a partial unit."""
    values = np.zeros((3, 2100, 2048), np.uint16)
    shapes = level_shapes(values.shape, "zyx")
    targets = [RecordingTarget(shape, (2, 512, 512), "u2") for shape in shapes]
    reports: list[None] = []
    write_pyramid(values, targets, report=lambda: reports.append(None))
    assert len(reports) == 2 * 5 * 4
    write_pyramid(values, targets[:1], report=lambda: reports.append(None))
    assert len(reports) == 2 * (2 * 5 * 4)


class GeneratedSource:
    """A source whose pixels are made when they are read."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.dtype = shape, np.dtype(np.uint16)

    def __getitem__(self, box: tuple[slice, ...]) -> NDArray[Any]:
        return np.ones(tuple(part.stop - part.start for part in box), np.uint16)


class ForgetfulTarget(GeneratedSource):
    """A target that accepts each block and keeps none."""

    def __init__(self, shape: tuple[int, ...], unit: tuple[int, ...]) -> None:
        super().__init__(shape)
        self.unit = unit

    def __setitem__(self, box: tuple[slice, ...], block: NDArray[Any]) -> None:
        assert block.size


@pytest.mark.parametrize(
    ("shape", "unit"),
    [
        ((4096, 8192), (512, 512)),
        ((512, 65536), (512, 512)),
        ((65536, 512), (512, 512)),
        ((1024, 32768), (1024, 1024)),
        ((4096, 8192), (75, 131)),
        ((32, 1024, 1024), (1, 1024, 1024)),
        ((2, 4, 4, 1024, 1024), (1, 2, 3, 512, 512)),
    ],
)
def test_memory_stays_bounded(shape: tuple[int, ...], unit: tuple[int, ...]) -> None:
    """Streaming 64 MiB takes the memory of three blocks, for one plane or many, wide or high."""
    axes = "tczyx"[-len(shape) :]
    targets = [ForgetfulTarget(level, unit) for level in level_shapes(shape, axes)]
    assert _peak(lambda: write_pyramid(GeneratedSource(shape), targets)) < 3 * (8 << 20)


def test_memory_depends_on_the_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plane twice as wide and high takes no more memory, because few levels are held at once."""
    monkeypatch.setattr("polystore_zarr.pyramid._BLOCK", 1 << 16)
    monkeypatch.setattr("polystore_zarr.pyramid._TOGETHER", 3 << 19)
    unit = (512, 512)  # 512 KiB, so that three levels fit together
    peaks = []
    for side in (2048, 4096, 8192):
        shapes = level_shapes((side, side), "yx")
        targets = [ForgetfulTarget(level, unit) for level in shapes]
        peaks.append(_peak(lambda t=targets, s=side: write_pyramid(GeneratedSource((s, s)), t)))
    assert max(peaks) < 6 << 20, peaks


def _peak(call: Callable[[], None]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_wrong_targets_are_refused() -> None:
    """Shapes that are not a pyramid and units that do not fit are refused before any read."""
    plane = np.zeros((8, 8), np.uint8)
    for shapes, unit in (
        ([(8, 9)], (4, 4)),
        ([(8, 8), (4, 5)], (4, 4)),
        ([(8, 8)], (4,)),
        ([(8, 8)], (0, 4)),
        ([], (4, 4)),
    ):
        with pytest.raises(InvalidOptionError):
            write_pyramid(plane, [RecordingTarget(s, unit, "u1") for s in shapes])
    with pytest.raises(InvalidOptionError, match="two axes"):
        write_pyramid(plane[0], [RecordingTarget((8,), (4,), "u1") for _ in range(2)])
    with pytest.raises(UnsupportedDataError):
        write_pyramid(
            plane.astype("S1"),
            [RecordingTarget(s, (4, 4), "S1") for s in ((8, 8), (4, 4))],
        )


def test_source_with_too_few_pixels_raises() -> None:
    """A source that returns fewer pixels than it announced raises an error."""

    class ShortSource(GeneratedSource):
        def __getitem__(self, box: tuple[slice, ...]) -> NDArray[Any]:
            return super().__getitem__(box)[:1]

    with pytest.raises(DamagedDataError, match="returned uint16"):
        write_pyramid(ShortSource((8, 8)), [ForgetfulTarget((8, 8), (4, 4))])
