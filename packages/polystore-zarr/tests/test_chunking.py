from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystore_core.errors import InvalidOptionError
from polystore_zarr.chunking import check_grid, default_chunks, default_shards

if TYPE_CHECKING:
    from collections.abc import Sequence

Shape = tuple[int, ...]
shapes = st.lists(st.integers(0, 20_000), max_size=5).map(tuple)
itemsizes = st.sampled_from([1, 2, 4, 8, 16])


def files(shape: Sequence[int], chunks: Sequence[int], itemsize: int) -> int:
    box = default_shards(shape, chunks, itemsize) or chunks
    return math.prod(-(-n // b) for n, b in zip(shape, box, strict=True))


@pytest.mark.parametrize(
    ("shape", "itemsize", "chunks", "shards"),
    [
        ((512, 512), 2, (512, 512), None),
        ((2048, 2048), 2, (1024, 1024), None),
        ((2160, 2560), 2, (1080, 640), None),
        ((1040, 1392), 2, (1040, 696), None),
        ((64, 1024, 1024), 2, (1, 1024, 1024), None),
        ((1000, 512, 512), 2, (1, 512, 512), None),
        ((256, 2048, 2048), 2, (1, 1024, 1024), (1, 2048, 2048)),
        ((9, 5000, 5000), 2, (1, 626, 1250), (1, 2504, 5000)),
        ((16384, 16384), 2, (1024, 1024), (4096, 4096)),
        ((3, 2, 30, 1024, 1024), 2, (1, 1, 1, 1024, 1024), None),
        ((2048, 2048, 3), 1, (1024, 1024, 3), None),
        ((100, 2048, 2048, 3), 1, (1, 1024, 1024, 3), (1, 2048, 2048, 3)),
        ((10**7, 3), 8, (156_250, 3), None),
        ((10**9,), 8, (488_282,), (3_906_256,)),
        ((7,), 2, (7,), None),
        ((0, 5), 2, (1, 5), None),
        ((3, 0), 4, (3, 1), None),
        ((), 2, (), None),
    ],
)
def test_default_grid_table(
    shape: Shape, itemsize: int, chunks: Shape, shards: Shape | None
) -> None:
    """Usual arrays get the chunk grid that was decided for them."""
    assert check_grid(shape, itemsize, None, None) == (chunks, shards)


@given(shapes, itemsizes)
def test_chunks_are_bounded(shape: Shape, itemsize: int) -> None:
    """No default chunk is empty, longer than its axis or larger than 4 MiB."""
    chunks = default_chunks(shape, itemsize)
    assert all(1 <= c <= max(n, 1) for c, n in zip(chunks, shape, strict=True))
    assert math.prod(chunks) * itemsize <= 4 << 20


@given(shapes, itemsizes)
def test_shards_are_bounded(shape: Shape, itemsize: int) -> None:
    """A default shard is a multiple of the chunks of at most 32 MiB, and holds at least two."""
    chunks = default_chunks(shape, itemsize)
    shards = default_shards(shape, chunks, itemsize)
    if shards is not None:
        assert all(s % c == 0 for s, c in zip(shards, chunks, strict=True))
        assert 2 * math.prod(chunks) <= math.prod(shards)
        assert math.prod(shards) * itemsize <= 32 << 20


@given(st.lists(st.integers(1, 3000), min_size=3, max_size=5).map(tuple), itemsizes)
def test_planes_stay_apart(shape: Shape, itemsize: int) -> None:
    """Neither chunks nor shards hold two planes, so planes can be written one by one."""
    shape = (*shape[:-2], shape[-2] + 4, shape[-1] + 4)
    chunks, shards = check_grid(shape, itemsize, None, None)
    assert set((shards or chunks)[:-2]) == {1}


@given(st.integers(5, 20_000), st.integers(5, 20_000), itemsizes)
def test_padding_stays_small(height: int, width: int, itemsize: int) -> None:
    """The last chunks of a plane are not mostly padding."""
    for length, chunk in zip(
        (height, width), default_chunks((height, width), itemsize), strict=True
    ):
        if length > 1000:
            assert -(-length // chunk) * chunk <= 1.1 * length


def test_large_planes_make_few_files() -> None:
    """An array of half a GiB has at most 256 files."""
    for shape in [(128, 1448, 1448), (32, 2896, 2896), (4, 8192, 8192), (16384, 16384)]:
        assert files(shape, default_chunks(shape, 2), 2) <= 256


def test_small_planes_are_grouped() -> None:
    """An array of small planes that is written in one piece has chunks of about 1 MiB."""
    assert default_chunks((1000, 64, 64), 2, by_plane=False) == (125, 64, 64)
    assert default_chunks((20, 3, 1, 256, 256), 2, by_plane=False) == (2, 3, 1, 256, 256)
    assert default_chunks((1000, 512, 512), 2, by_plane=False) == (1, 512, 512)


def test_grouped_planes_make_few_shards() -> None:
    """A shard holds several groups of planes, so 100,000 cut-outs need a few dozen files."""
    shape = (100_000, 64, 64)
    chunks, shards = check_grid(shape, 2, None, None, by_plane=False)
    assert shards == (32 * chunks[0], 64, 64)
    assert files(shape, chunks, 2) < 30


def test_one_length_applies_to_each_axis() -> None:
    """One length applies to each axis, and is cut to the shape."""
    assert check_grid((3, 700, 2000), 2, 512, None) == ((3, 512, 512), None)
    assert check_grid((), 2, 512, 1024) == ((), None)


def test_given_grid_is_used() -> None:
    """Chunks and shards that fit are used unchanged."""
    grid = check_grid((64, 1024, 1024), 2, (1, 256, 256), (2, 512, 1024))
    assert grid == ((1, 256, 256), (2, 512, 1024))


def test_false_makes_no_shards() -> None:
    """``shards=False`` makes no shards, even for many chunks."""
    assert check_grid((256, 2048, 2048), 2, None, False)[1] is None


def test_shards_fit_given_chunks() -> None:
    """Shards are chosen to fit given chunks."""
    assert check_grid((64, 1024, 1024), 2, (1, 256, 256), None)[1] == (1, 1024, 1024)


def test_chunks_divide_given_shards() -> None:
    """Chunks are chosen to fit given shards."""
    assert check_grid((64, 1040, 1392), 2, None, (4, 1040, 1392)) == (
        (1, 1040, 696),
        (4, 1040, 1392),
    )
    assert check_grid((64, 300, 300), 2, None, 1024) == ((1, 300, 300), (64, 300, 300))


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 60), st.integers(1, 5)), max_size=4)
)
def test_clipped_shards_divide(axes: list[tuple[int, int, int]]) -> None:
    """Shards that fit the chunks before both are cut to the shape still fit them after."""
    shape = tuple(n for n, _, _ in axes)
    given_chunks = tuple(c for _, c, _ in axes)
    chunks, shards = check_grid(shape, 2, given_chunks, tuple(c * k for _, c, k in axes))
    assert (shards is None) == (not axes)
    for n, c, s in zip(shape, chunks, shards or (), strict=True):
        assert 1 <= c <= max(n, 1)
        assert s % c == 0
        assert s < max(n, 1) + c


@pytest.mark.parametrize("option", ["chunks", "shards"])
@pytest.mark.parametrize(
    "value",
    [0, -1, True, 2.5, "12", "auto", (64,), (1, 2, 3), (64, 0), (64, 2.5), (64, True), {64}],
)
def test_bad_lengths_raise(option: str, value: Any) -> None:
    """Invalid lengths raise an error that says what was expected."""
    asked: dict[str, Any] = {"chunks": None, "shards": None, option: value}
    with pytest.raises(InvalidOptionError, match=f"^{option}=.*one for each of 2 axes"):
        check_grid((100, 100), 2, **asked)


def test_shards_must_divide() -> None:
    """Shards that are not multiples of the chunk lengths raise an error."""
    with pytest.raises(InvalidOptionError, match=r"multiples of the chunk lengths \(64, 64\)"):
        check_grid((100, 100), 2, 64, (128, 96))
