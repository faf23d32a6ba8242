"""How blocks of Dask become chunks and shards."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import AlreadyExistsError, UnsupportedDataError

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

from polystore_zarr.blocks import align_chunks, layout_for, store_blocks  # noqa: E402
from polystore_zarr.creating import Layout  # noqa: E402
from polystore_zarr.store.local import local_path  # noqa: E402

from .values import MIB, VALUES, find_hidden, fm, pixels  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("blocks", "options"),
    [
        (((3, 1, 3), (100, 28, 172), (250, 250)), {}),
        ((1, 50, 50), {"chunks": (1, 64, 64), "shards": (4, 128, 128)}),
        ((7, 33, 500), {"chunks": (2, 100, 100)}),
        ((2, 150, 250), {"zarr_format": 2}),
        ((2, 150, 250), {"zarr_format": 2, "chunks": 64}),
        ((7, 300, 500), {"shards": False}),
        (((1, 0, 6), 300, 500), {}),
        ((3, 77, 91), {"chunks": 40, "shards": 80, "compressor": "zstd"}),
    ],
)
def test_blocks_off_the_grid(blocks: Any, options: dict[str, Any], tmp_path: Path) -> None:
    for name, values in (("le", VALUES), ("be", VALUES.astype(">u2"))):
        path = tmp_path / "a.zarr" / name
        with dask.config.set(scheduler="threads", num_workers=4):
            fm.save(da.from_array(values, chunks=blocks), path, backend="zarr", **options)
        found = pixels(path)
        assert found.dtype == values.dtype
        assert np.array_equal(found, values)


@pytest.mark.parametrize(
    "values",
    [
        np.array(3.5, "f4"),
        np.zeros((0, 5)),
        np.zeros((3, 0), "u1"),
        np.array(["a", "bcd"] * 4),
        np.arange(9).astype("M8[s]"),
        np.arange(9) * 1j,
        np.arange(9) % 2 == 0,
    ],
    ids=lambda v: f"{v.dtype}{v.shape}",
)
def test_dask_arrays_of_all_kinds(values: Any, tmp_path: Path) -> None:
    array = da.from_array(values, chunks=(3,) if values.ndim == 1 else "auto")
    fm.save(array, tmp_path / "a.zarr/x", backend="zarr")
    found = pixels(tmp_path / "a.zarr/x")
    assert (found.dtype, found.shape) == (values.dtype, values.shape)
    assert np.array_equal(found, values)


@pytest.mark.parametrize("name", ["a.zarr/x", "a.ome.zarr"])
def test_blocks_of_unknown_size(name: str, tmp_path: Path) -> None:
    array = da.from_array(VALUES[0])
    rows = array[array[:, 0] > 5]
    with pytest.raises(UnsupportedDataError, match="compute_chunk_sizes"):
        fm.save(rows, tmp_path / name, backend="zarr")
    fm.save(rows.compute_chunk_sizes(), tmp_path / name, backend="zarr")
    assert np.array_equal(pixels(tmp_path / name), VALUES[0][VALUES[0][:, 0] > 5])


def test_blocks_that_cannot_be_stored(tmp_path: Path) -> None:
    refused = {
        "objects": da.from_array(np.array([object(), None]), chunks=2),
        "mask": da.ma.masked_equal(da.arange(10, chunks=5), 3),
        "shape": da.arange(10, chunks=5).map_blocks(lambda block: block[:1], dtype="i8"),
        "do not fit an array of uint16": da.zeros(10, chunks=5, dtype="u2").map_blocks(
            lambda b: b + 0.5, dtype="u2"
        ),
    }
    for word, array in refused.items():
        with pytest.raises(UnsupportedDataError, match=word):
            fm.save(array, tmp_path / "a.zarr/x", backend="zarr")
    assert find_hidden(tmp_path) == []


def test_dask_array_if_exists(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr/x"
    ones, twos = da.ones(10, chunks=5), da.full(10, 2.0, chunks=5)
    fm.save(ones, path, backend="zarr", if_exists="error")
    fm.save(twos, path, backend="zarr", if_exists="skip")
    assert pixels(path)[0] == 1
    with pytest.raises(AlreadyExistsError):
        fm.save(twos, path, backend="zarr", if_exists="error")
    fm.save(twos, path, backend="zarr")
    assert pixels(path)[0] == 2


def test_array_replaces_its_own_source(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr/x"
    fm.save(VALUES, path, backend="zarr")
    fm.save(da.from_array(fm.open(path, backend="zarr")) // 2, path, backend="zarr")
    assert np.array_equal(pixels(path), VALUES // 2)


def test_plate_from_dask(tmp_path: Path) -> None:
    plate = tmp_path / "plate.ome.zarr"
    for number, well in enumerate(("A/01", "B/03")):
        array = da.full((2, 90, 100), number, chunks=(1, 90, 50), dtype="u2")
        fm.save(array, plate / well / "0", backend="zarr", axes="cyx")
    assert pixels(plate / "B/03/0").max() == 1
    assert fm.list_dir(plate, backend="zarr") == ["A", "B"]


def test_saves_in_two_threads(tmp_path: Path) -> None:
    def save(number: int) -> None:
        array = da.full((20, 10), number, chunks=(1, 10))
        fm.save(
            array,
            tmp_path / f"a.zarr/{number}",
            backend="zarr",
            chunks=(1, 10),
            progress=lambda done, total: counts[number].append(done),
        )

    counts: list[list[int]] = [[], [], [], []]
    threads = [threading.Thread(target=save, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [list(range(1, 21))] * 4


def test_shards_are_the_blocks() -> None:
    array = da.zeros((10, 8000, 8000), chunks=(1, 2000, 2000), dtype="u2")
    layout = layout_for(array, Layout())
    assert layout.shards == (1, 2000, 2000)
    assert align_chunks(array, layout.shards) == array.chunks


def test_small_blocks_are_joined() -> None:
    array = da.zeros((1, 16384, 16384), chunks=(1, 64, 64), dtype="u2")
    layout = layout_for(array, Layout())
    assert isinstance(layout.shards, tuple)
    assert np.prod(list(map(len, align_chunks(array, layout.shards)))) < 100


def test_joined_blocks_stay_small() -> None:
    array = da.zeros((64, 8192, 8192), chunks=(1, 4096, 4096), dtype="u2")
    chunks = align_chunks(array, (32, 256, 256))
    assert max(chunks[0]) == 32
    assert 2 * np.prod([max(n) for n in chunks]) <= 128 * MIB
    assert all(n % 256 == 0 for n in chunks[1][:-1] + chunks[2][:-1])


def test_ten_thousand_blocks_are_one_graph(tmp_path: Path) -> None:
    """One graph for each block would take minutes."""
    array = da.zeros((10_000, 4, 4), chunks=(1, 4, 4), dtype="u2") + 1

    class Nowhere:
        shape, dtype, unit, directory = (
            array.shape,
            array.dtype,
            (1, 4, 4),
            local_path(tmp_path),
        )

        def __setitem__(self, region: Any, value: Any) -> None:
            pass

    graphs: list[int] = []
    with (
        dask.config.set(scheduler="synchronous"),
        dask.callbacks.Callback(start=lambda graph: graphs.append(len(graph))),
    ):
        store_blocks(array, Nowhere(), lambda: None)
    assert len(graphs) == 1
