"""Our own code for chunks and shards, compared with zarr-python in both directions."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from polystore_core import FileManager
from polystore_core.errors import DamagedDataError
from polystore_testing.examples import examples
from polystore_zarr.store.chunkfiles import ChunkFiles
from polystore_zarr.store.indexes import ShardIndexes
from polystore_zarr.store.local import local_path

GRIDS = [
    pytest.param((37, 50), (8, 16), None, id="chunks"),
    pytest.param((37, 50), (8, 16), (16, 32), id="shards"),
    pytest.param((5, 40, 60), (1, 16, 16), (2, 32, 48), id="planes"),
    pytest.param((100,), (7,), (21,), id="line"),
    pytest.param((64, 64), (64, 64), (64, 64), id="one-chunk-shard"),
    pytest.param((), (), None, id="0-d"),
    pytest.param((0, 3), (1, 3), None, id="empty"),
]
TYPES = ["u1", "?", "i2", ">u2", "u8", "f2", ">f4", "f8", "c8", "c16"]
fm = FileManager()


def array_of(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.asarray(np.random.default_rng(1).integers(0, 200, shape)).astype(dtype)


def files_of(path: Path) -> ChunkFiles:
    found = ChunkFiles.of(local_path(path), json.loads((path / "zarr.json").read_text()))
    assert found is not None, "the array went through zarr, so nothing would be compared"
    return found


@pytest.mark.parametrize("compressor", ["blosc", "blosc-zstd", "none"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("shape", "chunks", "shards"), GRIDS)
def test_zarr_reads_our_arrays(tmp_path, shape, chunks, shards, dtype, compressor) -> None:
    array = array_of(shape, dtype)
    path = tmp_path / "a.zarr"
    fm.save(
        array,
        path,
        backend="zarr",
        chunks=chunks or None,
        shards=shards or False,
        compressor=compressor,
    )
    files_of(path)
    np.testing.assert_array_equal(zarr.open_array(path, mode="r")[...], array)
    loaded = fm.load(path, backend="zarr")
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype == array.dtype


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("shape", "chunks", "shards"), GRIDS[:5])
def test_we_read_arrays_of_zarr(tmp_path, shape, chunks, shards, dtype) -> None:
    array = array_of(shape, dtype)
    codecs = [zarr.codecs.BloscCodec(cname="zstd", shuffle="shuffle", typesize=array.itemsize)]
    stored = zarr.create_array(
        tmp_path / "a.zarr",
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        shards=shards,
        compressors=codecs,
    )
    stored[...] = array
    if not dtype.startswith(">"):  # our code leaves other byte orders to zarr
        files_of(tmp_path / "a.zarr")
    np.testing.assert_array_equal(fm.load(tmp_path / "a.zarr", backend="zarr"), array)


@pytest.mark.parametrize(("shape", "chunks", "shards"), GRIDS[:3])
def test_fill_values_of_others(tmp_path, shape, chunks, shards) -> None:
    """In foreign arrays, a chunk that was never written reads as the fill value."""
    codecs = [zarr.codecs.BloscCodec(typesize=2)]
    stored = zarr.create_array(
        tmp_path / "a.zarr",
        shape=shape,
        dtype="u2",
        chunks=chunks,
        shards=shards,
        compressors=codecs,
        fill_value=7,
    )
    stored[tuple(slice(0, 1) for _ in shape)] = 9
    files_of(tmp_path / "a.zarr")
    expected = np.full(shape, 7, "u2")
    expected[tuple(slice(0, 1) for _ in shape)] = 9
    np.testing.assert_array_equal(fm.load(tmp_path / "a.zarr", backend="zarr"), expected)


@settings(max_examples=examples(150))
@given(data=st.data())
def test_any_part_equals_numpy(data, tmp_path_factory) -> None:
    shape = data.draw(npst.array_shapes(min_dims=1, max_dims=3, max_side=20))
    chunks = tuple(data.draw(st.integers(1, n)) for n in shape)
    shards = data.draw(st.sampled_from([None, 1, 2, 3]))
    shards = None if shards is None else tuple(shards * n for n in chunks)
    array = array_of(shape, "u2")
    path = tmp_path_factory.mktemp("part") / "a.zarr"
    handle = fm.create(
        path, shape=shape, dtype="u2", chunks=chunks, shards=shards or False, backend="zarr"
    )
    handle[...] = array
    files = files_of(path)
    region = data.draw(npst.basic_indices(shape, allow_newaxis=False))
    np.testing.assert_array_equal(fm.load(path, backend="zarr", region=region), array[region])
    ranges = [range(n)[:: data.draw(st.integers(1, 4))] for n in shape]
    part = tuple(slice(None, None, r.step) for r in ranges)
    np.testing.assert_array_equal(files.read(ranges, complete=False), array[part])
    np.testing.assert_array_equal(zarr.open_array(path, mode="r")[...], array)


def test_parts_of_shards_read_little(tmp_path, monkeypatch) -> None:
    array = np.random.default_rng(0).integers(0, 2**16, (512, 512), dtype="u2")
    fm.save(array, tmp_path / "a.zarr", backend="zarr", chunks=64, shards=512)
    files = files_of(tmp_path / "a.zarr")
    before = _bytes_read()
    found = files.read([range(64, 128), range(64)], complete=True)
    np.testing.assert_array_equal(found, array[64:128, :64])
    assert _bytes_read() - before < 20_000, "one chunk and the index, of 512 KiB"


def save_sharded(path: Path, array: np.ndarray, **options: Any) -> None:
    fm.save(array, path, backend="zarr", chunks=2, shards=array.shape, **options)


def test_index_is_read_once(tmp_path) -> None:
    """A handle keeps the index of a shard, here 1 MiB, for its next reads."""
    array = np.arange(512 * 512, dtype="u4").reshape(512, 512)
    save_sharded(tmp_path / "a.zarr", array)
    handle = fm.open(tmp_path / "a.zarr", backend="zarr")
    assert handle[0, 0] == 0
    before = _bytes_read()
    assert [handle[i, 7] for i in range(20)] == array[:20, 7].tolist()
    assert _bytes_read() - before < 20_000


def test_index_of_a_replaced_shard_is_not_used(tmp_path) -> None:
    """If a shard is written again, here or through another handle, its new bytes are read."""
    array = np.zeros((64, 64), "u2")
    save_sharded(tmp_path / "a.zarr", array)
    reader = fm.open(tmp_path / "a.zarr", backend="zarr")
    writer = fm.open(tmp_path / "a.zarr", backend="zarr", mode="r+")
    rng = np.random.default_rng(0)
    for number in range(1, 20):
        array = rng.integers(0, number, (64, 64), "u2")  # compressed to other lengths
        writer[...] = array
        np.testing.assert_array_equal(writer[...], array)
        np.testing.assert_array_equal(reader[...], array)
        assert reader[3, 5] == array[3, 5]


def test_index_of_a_shard_written_in_place_is_not_used(tmp_path) -> None:
    """A shard may be a different one even if its file, size and time are the same."""
    old = np.zeros((8, 8), "u1")
    save_sharded(tmp_path / "a.zarr", old, compressor="none")
    shard = tmp_path / "a.zarr/c/0/0"
    handle = fm.open(tmp_path / "a.zarr", backend="zarr")
    np.testing.assert_array_equal(handle[...], old)
    status = shard.stat()
    data = bytearray(shard.read_bytes())
    index = np.frombuffer(data[-16 * 16 - 4 : -4], "<u8").reshape(4, 4, 2).copy()
    index[0, 0] = 2**64 - 1  # as if that chunk had never been written
    encoded = index.tobytes()
    checksum = google_crc32c.value(encoded).to_bytes(4, "little")
    with shard.open("r+b") as file:
        file.write(data[: -16 * 16 - 4] + encoded + checksum)
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DamagedDataError, match="is missing"):
        handle[0, 0]


def test_cache_of_indexes_has_a_limit() -> None:
    """The least recently used indexes are dropped. A huge index is kept alone."""
    kept = ShardIndexes()
    version = (1, 2, 3, b"crc")
    for number in range(5):
        kept.keep(f"{number}", version, np.zeros((3 << 20) // 8, "<u8"))
    assert kept.get("0", version) is not None
    kept.keep("5", version, np.zeros((3 << 20) // 8, "<u8"))
    assert [n for n in range(6) if kept.get(f"{n}", version) is None] == [1]
    assert kept.get("5", (1, 2, 4, b"crc")) is None
    kept.keep("huge", version, np.zeros((64 << 20) // 8, "<u8"))
    assert [n for n in range(6) if kept.get(f"{n}", version) is not None] == []
    assert kept.get("huge", version) is not None
    assert pickle.loads(pickle.dumps(kept)).get("huge", version) is None


def _bytes_read() -> int:
    counters = Path("/proc/self/io")
    if not counters.exists():
        pytest.skip("system: no /proc/self/io")
    return int(counters.read_text().split()[1])


@pytest.mark.parametrize("shards", [None, (32, 32)], ids=["chunks", "shards"])
@pytest.mark.parametrize("compressor", ["blosc", "none"])
def test_every_flipped_bit_is_noticed(tmp_path, shards, compressor) -> None:
    array = array_of((32, 32), "u2")
    path = tmp_path / "a.zarr"
    fm.save(
        array, path, backend="zarr", chunks=16, shards=shards or False, compressor=compressor
    )
    for chunk in (p for p in (path / "c").rglob("*") if p.is_file()):
        whole = chunk.read_bytes()
        for position in range(0, len(whole), 7):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << position % 8
            chunk.write_bytes(flipped)
            with pytest.raises(DamagedDataError):
                fm.load(path, backend="zarr")
        for cut in (0, 1, len(whole) // 2, len(whole) - 1):
            chunk.write_bytes(whole[:cut])
            with pytest.raises(DamagedDataError):
                fm.load(path, backend="zarr")
        chunk.write_bytes(whole)
    np.testing.assert_array_equal(fm.load(path, backend="zarr"), array)


@pytest.mark.parametrize(
    "change",
    [
        {"chunk_grid": {"name": "odd", "configuration": {"chunk_shape": [4]}}},
        {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}}},
        {"chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}}},
        {"storage_transformers": [{"name": "x"}]},
        {"data_type": "string"},
        {"fill_value": "NaN"},
        {"shape": [-1]},
        {"shape": "4"},
        {"chunk_grid": None},
        {"codecs": [{"name": "transpose"}, {"name": "bytes"}]},
        {"codecs": [{"name": "bytes", "configuration": {"endian": "big"}}]},
        {"codecs": []},
    ],
)
def test_rare_arrays_go_through_zarr(tmp_path, change: dict[str, Any]) -> None:
    fm.save(array_of((4,), "u2"), tmp_path / "a.zarr", backend="zarr")
    fields = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
    assert ChunkFiles.of(local_path("a"), fields) is not None
    assert ChunkFiles.of(local_path("a"), {**fields, **change}) is None
