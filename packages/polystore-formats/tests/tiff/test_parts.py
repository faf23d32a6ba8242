"""Regions and handles of TIFF files read only the bytes that they need."""

from __future__ import annotations

import functools
import io
import itertools
import multiprocessing
import os
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from polystore_core.errors import DamagedDataError, InvalidOptionError
from polystore_testing.examples import examples

from .files import (
    KINDS,
    PLAIN,
    SPECIAL,
    TIFF,
    ZLIB,
    Counting,
    assert_same,
    decode_tiff,
    encode_tiff,
    foreign,
    image,
    tifffile,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def regions(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    return hnp.basic_indices(shape, allow_ellipsis=True, allow_newaxis=False)


PARTED = {
    **{name: encode_tiff(array, **options) for name, (array, options) in KINDS.items()},
    **{name: data for name, data in SPECIAL.items() if "jpeg" not in name},
    "far_apart": foreign(image((3, 20, 3000)), rowsperstrip=2),
    "planar": foreign(image((3, 60, 70)), planarconfig="separate", tile=(16, 32)),
    "samples": foreign(image((60, 70, 5)), planarconfig="contig", compression="zlib"),
}


@pytest.mark.parametrize("name", PARTED)
def test_region_equals_index(name: str) -> None:
    data = PARTED[name]
    whole = decode_tiff(data)
    handle = TIFF.open(lambda: io.BytesIO(data))

    @settings(max_examples=examples(60), database=None)
    @given(regions(whole.shape))
    def check(region: Any) -> None:
        expected = np.array(whole[region], whole.dtype)
        assert_same(decode_tiff(data, region=region), expected)
        assert_same(handle[region], expected)

    check()
    handle.close()


@pytest.mark.parametrize("region", [100, (0, 0, 0), (..., ...), (..., 200), -98])
def test_wrong_region_is_index_error(region: Any) -> None:
    for data in (PLAIN, ZLIB):
        with pytest.raises(IndexError):
            decode_tiff(data, region=region)


@pytest.mark.parametrize("region", [None, [1, 2], (None, 1), True, np.array([1]), "a"])
def test_advanced_region_is_refused(region: Any) -> None:
    if region is not None:
        with pytest.raises(InvalidOptionError, match="integers, slices"):
            decode_tiff(PLAIN, region=region)
    else:
        assert_same(decode_tiff(PLAIN, region=None), image((97, 131)))


@pytest.mark.parametrize(
    ("shape", "options", "region"),
    [
        ((4000, 1000), {}, slice(700, 710)),
        ((4000, 1000), {}, (slice(700, 710), slice(None, None, -2))),
        ((400, 100, 100), {}, (slice(3, 9), 5)),
        ((40, 1000, 1000), {}, (slice(None), 5, slice(9, 19))),
        ((4000, 1000), {"compression": "zlib"}, slice(700, 710)),
        ((4000, 1000), {"compression": "lzw", "predictor": True}, (710, slice(5))),
        ((4000, 1000), {"tile": (64, 64)}, (slice(700, 710), slice(100, 110))),
        ((4000, 1000), {"tile": (64, 64), "compression": "zlib"}, (700, slice(90, 500))),
        ((100, 300, 300), {}, 50),
        ((100, 300, 300), {"compression": "zlib"}, 50),
        ((100, 300, 300), {"imagej": True}, 50),
        ((100, 300, 300), {"ome": True}, -1),
        ((100, 300, 300), {"tile": (64, 64)}, (50, slice(10), slice(10))),
    ],
)
def test_region_reads_little(
    shape: tuple[int, ...], options: dict[str, Any], region: Any
) -> None:
    array = np.random.default_rng(0).integers(0, 4000, shape, "<u2")
    file = Counting(encode_tiff(array, **options))
    assert_same(TIFF.load(file, region=region), array[region])
    assert file.count < 0.05 * len(file.getvalue())


def test_large_files_decode_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tifffile.TIFF, "MAXWORKERS", 4)
    array = image((2, 1700, 1600))
    data = encode_tiff(array, compression="zlib")
    threads = threading.active_count()
    assert_same(decode_tiff(data), array)
    assert threading.active_count() == threads
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 1
    with pytest.raises(DamagedDataError):
        decode_tiff(bytes(damaged))


@pytest.fixture(params=[{}, {"compression": "zlib"}, {"tile": (32, 32)}], ids=str)
def stored_stack(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, NDArray[Any]]:
    """Give a function that opens a saved stack, and the stack."""
    array = image((6, 200, 300))
    path = tmp_path / "stack.tif"
    path.write_bytes(encode_tiff(array, **request.param))
    return functools.partial(open, path, "rb"), array


def test_handle_knows_shape(stored_stack: tuple[Any, NDArray[Any]]) -> None:
    opener, array = stored_stack
    with TIFF.open(opener) as handle:
        assert (handle.shape, handle.dtype) == (array.shape, array.dtype)
        assert_same(np.asarray(handle), array)


@pytest.mark.parametrize(
    ("options", "chunks"),
    [
        ({}, None),
        ({"compression": "zlib"}, (1, 200, 300)),
        ({"tile": (32, 48)}, (1, 32, 48)),
    ],
)
def test_chunks_are_pieces(options: dict[str, Any], chunks: Any) -> None:
    data = encode_tiff(image((6, 200, 300)), **options)
    with TIFF.open(lambda: io.BytesIO(data)) as handle:
        assert handle.chunks == chunks


def test_handle_serves_threads(stored_stack: tuple[Any, NDArray[Any]]) -> None:
    opener, array = stored_stack
    with TIFF.open(opener) as handle, ThreadPoolExecutor(8) as pool:
        rows = [(plane, slice(row, row + 3)) for plane in range(6) for row in range(0, 200, 3)]
        for region, found in zip(rows, pool.map(handle.__getitem__, rows), strict=True):
            assert_same(found, array[region])


def test_handle_pickles(stored_stack: tuple[Any, NDArray[Any]]) -> None:
    opener, array = stored_stack
    with TIFF.open(opener) as handle, pickle.loads(pickle.dumps(handle)) as copy:
        assert_same(copy[2], array[2])


def test_closed_handle_refuses(stored_stack: tuple[Any, NDArray[Any]]) -> None:
    handle = TIFF.open(stored_stack[0])
    handle.close()
    handle.close()
    with pytest.raises(ValueError, match="closed"):
        handle[0]


def test_handle_keeps_version(stored_stack: tuple[Any, NDArray[Any]], tmp_path: Path) -> None:
    opener, array = stored_stack
    with TIFF.open(opener) as handle:
        (tmp_path / "new").write_bytes(encode_tiff(image((6, 200, 300), seed=9)))
        os.replace(tmp_path / "new", tmp_path / "stack.tif")
        assert_same(handle[3], array[3])


@pytest.mark.skipif(sys.platform == "win32", reason="system: Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_reads_with_its_own_file(stored_stack: tuple[Any, NDArray[Any]]) -> None:
    """In a shared file, parent and child would move each other's position."""
    opener, array = stored_stack
    with TIFF.open(opener) as handle:
        context = multiprocessing.get_context("fork")
        child = context.Process(target=_read_many, args=(handle, array))
        child.start()
        _read_many(handle, array)
        child.join(60)
        assert child.exitcode == 0


def _read_many(handle: Any, array: NDArray[Any]) -> None:
    for _, plane, row in itertools.product(range(5), range(6), range(0, 200, 20)):
        assert_same(handle[plane, row], array[plane, row])


def test_damaged_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "damaged.tif"
    path.write_bytes(PLAIN[:-1])
    opened = []

    def opener() -> Any:
        opened.append(open(path, "rb"))  # noqa: SIM115 - the handle's to close
        return opened[-1]

    with pytest.raises(DamagedDataError):
        TIFF.open(opener)
    assert opened[0].closed
