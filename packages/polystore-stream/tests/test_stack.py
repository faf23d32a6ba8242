import threading
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from polystore_core.errors import InvalidOptionError, UnsupportedDataError
from polystore_stream.receiving.stack import Stack, StackView

SHAPES = [(("t", "z"), (2, 3)), (("z",), (4,)), ((), (2, 3)), (("t", "c", "z"), ())]


def block(value: int, shape=(2, 3)) -> np.ndarray:
    return value + np.arange(np.prod(shape, dtype=int), dtype=np.uint16).reshape(shape)


def series(count: int) -> Stack:
    stack = Stack(("z",), (2, 3), np.uint16)
    for n in range(count):
        stack.put((str(n),), block(10 * n))
    return stack


def gappy(sliders, shape) -> Stack:
    """Give each slider three coordinates, and put every other block."""
    stack = Stack(sliders, shape, np.uint16)
    for number, place in enumerate(np.ndindex(*[3] * len(sliders))):
        if number % 2 == 0:
            stack.put(tuple(map(str, place)), block(100 * number + 1, shape))
    return stack


@pytest.fixture
def da() -> ModuleType:
    return pytest.importorskip("dask.array", reason="dask is not installed")


def same_memory(a: np.ndarray, b: np.ndarray) -> bool:
    return a.__array_interface__["data"][0] == b.__array_interface__["data"][0]


# ── content ───────────────────────────────────────────────────────────────────────────────


def test_empty_stack_has_shape() -> None:
    stack = Stack(("t", "z"), (2, 3), "<u2")
    assert (stack.block_shape, stack.dtype, stack.nbytes, len(stack)) == ((2, 3), "<u2", 0, 0)
    assert stack.coordinates == ((), ())
    assert np.asarray(stack.snapshot()).shape == (0, 0, 2, 3)


def test_blocks_are_counted() -> None:
    stack = series(3)
    assert (len(stack), stack.nbytes) == (3, 3 * 12)
    assert ("1",) in stack
    assert ("3",) not in stack
    assert "3 blocks" in repr(stack)


def test_coordinates_in_natural_order() -> None:
    stack = Stack(("z",), (), int)
    for text in ("10", "2", "A/9", "1", "A/10"):
        stack.put((text,), np.array(1))
    assert stack.coordinates == (("1", "2", "10", "A/9", "A/10"),)
    assert stack.index(("10",)) == (2,)


def test_index_needs_no_block() -> None:
    stack = Stack(("t", "z"), (), int)
    stack.put(("0", "0"), np.array(1))
    stack.put(("1", "1"), np.array(2))
    assert stack.index(("0", "1")) == (0, 1)
    with pytest.raises(KeyError, match="2"):
        stack.index(("0", "2"))


@given(st.permutations([(str(t), str(z)) for t in range(3) for z in (1, 2, 10)]))
def test_order_does_not_matter(order) -> None:
    stack = Stack(("t", "z"), (2,), np.int64)
    for t, z in order:
        stack.put((t, z), np.array([int(t), int(z)]))
    expected = [[[t, z] for z in (1, 2, 10)] for t in range(3)]
    np.testing.assert_array_equal(stack.snapshot(), expected)


def test_growing_copies_nothing() -> None:
    stack = Stack(("t",), (2, 3), np.uint16)
    blocks = [block(n) for n in range(1000)]
    for n, one in enumerate(blocks):
        stack.put((str(n),), one)
        assert same_memory(stack.snapshot()[n], one)
    view = stack.snapshot()
    assert all(same_memory(view[n], one) for n, one in enumerate(blocks))


def test_unused_coordinate_is_removed() -> None:
    stack = Stack(("t", "z"), (), int)
    for coords in [("0", "0"), ("0", "1"), ("1", "1")]:
        stack.put(coords, np.array(1))
    stack.remove(("0", "0"))
    assert stack.coordinates == (("0", "1"), ("1",))
    assert len(stack) == 2
    with pytest.raises(KeyError):
        stack.remove(("0", "0"))


def test_removed_block_can_be_put_again() -> None:
    stack = series(3)
    stack.put(("1",), block(5))
    stack.remove(("1",))
    assert stack.coordinates == (("0", "2"),)
    stack.put(("1",), block(6))
    np.testing.assert_array_equal(stack.snapshot()[1], block(6))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (np.zeros((3, 2), np.uint16), ["2 × 3 of uint16", "3 × 2 of uint16"]),
        (np.zeros((2, 3), np.uint8), ["2 × 3 of uint16", "2 × 3 of uint8"]),
        (np.zeros((), np.uint8), ["a number of uint8", "another layer"]),
    ],
)
def test_other_blocks_are_refused(other: np.ndarray, words: list[str]) -> None:
    stack = series(1)
    with pytest.raises(UnsupportedDataError) as caught:
        stack.put(("7",), other)
    assert all(word in str(caught.value) for word in words)
    assert stack.coordinates == (("0",),)


@pytest.mark.parametrize("coords", [(), ("1", "2"), "1", ["1"], (1,)])
def test_other_coordinates_are_refused(coords) -> None:
    with pytest.raises(InvalidOptionError, match="coords"):
        series(1).put(coords, block(1))


def test_no_sliders_one_block() -> None:
    stack = Stack((), (2, 3), np.uint16)
    stack.put((), block(1))
    view = stack.snapshot()
    stack.put((), block(2))
    assert len(stack) == 1
    np.testing.assert_array_equal(view, block(2))


def test_reset_leaves_old_views() -> None:
    stack = series(2)
    view = stack.snapshot()
    stack.reset((4,), np.float32)
    stack.put(("1",), np.ones(4, np.float32))
    assert (stack.block_shape, stack.dtype, stack.coordinates) == ((4,), np.float32, (("1",),))
    np.testing.assert_array_equal(view, [block(0), block(10)])


# ── slices ────────────────────────────────────────────────────────────────────────────────


def keys(view: StackView) -> st.SearchStrategy:
    return arrays.basic_indices(view.shape, allow_newaxis=False, allow_ellipsis=True)


def with_numpy_integers(key):
    items = key if isinstance(key, tuple) else (key,)
    return tuple(np.int16(item) if isinstance(item, int) else item for item in items)


@given(st.sampled_from(SHAPES), st.data())
def test_slices_as_numpy(kind, data) -> None:
    view = gappy(*kind).snapshot()
    key = data.draw(keys(view))
    if data.draw(st.booleans()):
        key = with_numpy_integers(key)
    expected = np.asarray(view)[key]
    found = view[key]
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(found, expected)


def test_indices_of_numpy() -> None:
    view = series(3).snapshot()
    np.testing.assert_array_equal(view[np.int64(1), np.uint8(1)], block(10)[1])
    np.testing.assert_array_equal(view[-1, ..., -1], block(20)[:, -1])


@pytest.mark.parametrize("key", [3, -4, (0, 2), (0, 0, 0, 0), (slice(None), 5), (..., ...)])
def test_out_of_range_as_numpy(key) -> None:
    view = series(3).snapshot()
    with pytest.raises(IndexError):
        np.asarray(view)[key]
    with pytest.raises(IndexError):
        view[key]


@pytest.mark.parametrize(
    "key", [None, (0, None), [0, 1], np.array([0]), True, np.True_, (0, [1]), 0.0, "z"]
)
def test_advanced_indexing_is_refused(key) -> None:
    with pytest.raises(InvalidOptionError, match="integers, slices"):
        series(3).snapshot()[key]


def test_one_block_is_not_copied() -> None:
    stack = Stack(("t", "z"), (2, 3), np.uint16)
    one = block(1)
    stack.put(("0", "0"), one)
    view = stack.snapshot()
    assert same_memory(view[0, 0], one)
    assert np.shares_memory(view[0, 0, :, 1:], one)
    assert not np.shares_memory(view[0], one)


def test_gaps_are_zero() -> None:
    stack = Stack(("t", "z"), (2, 3), np.uint16)
    stack.put(("0", "0"), block(1))
    stack.put(("1", "1"), block(1))
    view = stack.snapshot()
    gap = view[0, 1]
    assert not gap.any()
    assert not gap.flags.writeable
    assert same_memory(gap, view[1, 0])
    assert not view[:, ::-1].diagonal().any()


def test_view_is_read_only() -> None:
    with pytest.raises(TypeError, match="read-only"):
        series(1).snapshot()[0] = 1


def test_replaced_block_is_seen() -> None:
    stack = series(2)
    view = stack.snapshot()
    stack.put(("1",), block(77))
    np.testing.assert_array_equal(view[1], block(77))


def test_view_keeps_its_indices() -> None:
    stack = series(3)
    view = stack.snapshot()
    before = np.asarray(view)
    stack.put(("1.5",), block(500))
    stack.put(("0.5",), block(500))
    assert view.shape == (3, 2, 3)
    assert view.coordinates == (("0", "1", "2"),)
    np.testing.assert_array_equal(view, before)
    assert stack.snapshot().coordinates == (("0", "0.5", "1", "1.5", "2"),)


def test_removed_block_reads_zero() -> None:
    stack = series(2)
    view = stack.snapshot()
    stack.remove(("1",))
    assert view.shape == (2, 2, 3)
    assert not view[1].any()


@pytest.mark.parametrize("kind", SHAPES)
def test_view_becomes_array(kind) -> None:
    view = gappy(*kind).snapshot()
    array = np.asarray(view)
    assert (array.shape, array.dtype) == (view.shape, view.dtype)
    assert np.asarray(view, np.float32).dtype == np.float32
    again = np.array(view, copy=True)
    assert not np.shares_memory(again, array)
    np.testing.assert_array_equal(again, array)


def test_copy_only_where_needed() -> None:
    alone = Stack((), (2, 3), np.uint16)
    one = block(1)
    alone.put((), one)
    assert np.shares_memory(alone.snapshot().__array__(copy=False), one)
    with pytest.raises(ValueError, match="copy"):
        series(2).snapshot().__array__(copy=False)


@pytest.mark.parametrize("kind", SHAPES[:3])
@pytest.mark.parametrize("chunked", [True, False])
def test_dask_takes_view(da: ModuleType, kind, chunked: bool) -> None:
    view = gappy(*kind).snapshot()
    lazy = da.from_array(view, **({"chunks": view.chunks} if chunked else {}))
    if chunked:
        assert lazy.numblocks == view.shape[: len(kind[0])] + (1,) * len(kind[1])
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), np.asarray(view))


def test_dask_sees_changes(da: ModuleType) -> None:
    stack = series(2)
    before = da.from_array(stack.snapshot())
    stack.put(("1",), block(9))
    assert da.from_array(stack.snapshot()).name != before.name


def test_putting_while_slicing() -> None:
    stack = Stack(("t", "z"), (4, 4), np.int64)
    stack.put(("0", "1500"), np.full((4, 4), 1500))
    looking, done = threading.Event(), threading.Event()
    wrong: list[str] = []
    looks = 0

    def put() -> None:
        # Otherwise all blocks are there before the other thread starts.
        looking.wait(60)
        # Downwards, so that each new coordinate sorts before all others.
        for z in reversed(range(1500)):
            stack.put((str(z % 7), str(z)), np.full((4, 4), z))
        done.set()

    def look() -> None:
        nonlocal looks
        while not done.is_set():
            view = stack.snapshot()
            ts, zs = view.coordinates
            z = looks % len(zs)
            t = ts.index(str(int(zs[z]) % 7)) if zs[z] != "1500" else ts.index("0")
            for found in (view[t, z], view[:, z][t], view[t, z:][0]):
                if not (found == int(zs[z])).all():
                    wrong.append(f"{found[0, 0]} instead of {zs[z]}")
            looks += 1
            looking.set()

    threads = [threading.Thread(target=put), threading.Thread(target=look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done.is_set()
    assert looks > 1
    assert not wrong
