"""Shapes and chunks that do not fit into memory, and documents with a million entries."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np
import pytest
import zarr

from polystore_core.errors import DamagedDataError, PolystoreError, UnsupportedFileError

from .loading import FLAT, VALUE, document_3, load_in_child

if TYPE_CHECKING:
    from polystore_testing import Bound

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs /proc and FIFOs"),
]


def make_sparse_array(path: str, shape: list[int], chunks: list[int], **change: Any) -> None:
    Path(path).mkdir()
    fields = document_3("gzip", sharded=False)
    grid = {"name": "regular", "configuration": {"chunk_shape": chunks}}
    Path(path, "zarr.json").write_text(
        json.dumps({**fields, "shape": shape, "chunk_grid": grid, **change})
    )


LIES = {
    "plane": ([1 << 21, 1 << 21], [64, 64]),
    "line": ([1 << 41], [1]),
    "row": ([1, 1 << 41], [1, 1]),
    "cube": ([1 << 16] * 3, [1, 1, 1]),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("plain", [True, False])
def test_size_that_does_not_fit_is_named(store: Bound, plain: bool) -> None:
    codecs = {"codecs": [{"name": "bytes"}]} if plain else {}
    for name, (shape, chunks) in LIES.items():
        make_sparse_array(f"{name}.zarr", shape, chunks, **codecs)
        handle = store.open(f"{name}.zarr")
        assert handle.shape == tuple(shape)
        assert handle[(slice(3),) * len(shape)].any() == 0
    found = load_in_child([f"{name}.zarr" for name in LIES])
    for path, (kind, text, rose) in found.items():
        assert kind == "StorageError", (path, kind, text)
        assert "TiB" in text
        assert "load a region" in text
        assert rose < FLAT, (path, text, rose)


@pytest.mark.timeout(60)  # the product of so many lengths would take minutes
def test_million_dimensions_are_refused(store: Bound) -> None:
    lengths = [9] * 1_000_000
    make_sparse_array("a.zarr", lengths, lengths)
    for read in (store.load, store.open, store.info):
        with pytest.raises(UnsupportedFileError, match="1000000 dimensions"):
            read("a.zarr")
    assert store.list_files(".") == ["a.zarr"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "change",
    [
        {"codecs": [{"name": "bytes"}]},
        {},
        {"chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}}},
        {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}}},
        {"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "/"}}},
    ],
)
def test_few_chunks_of_many(store: Bound, change: dict[str, Any]) -> None:
    """Of a billion possible chunks, the existing ones are read, and no others are looked up."""
    make_sparse_array("a.zarr", [1 << 16, 1 << 15], [1, 4], **change, fill_value=0)
    array = zarr.open_array("a.zarr", mode="r+")
    array[5, 8:16] = np.arange(1, 9)
    array[60_000, 32_764:] = 9
    for name in ("extra", "c/5/x", "c/01"):
        Path("a.zarr", name).parent.mkdir(parents=True, exist_ok=True)
        Path("a.zarr", name).touch()
    found = store.load("a.zarr")
    assert found[5, 8:16].tolist() == list(range(1, 9))
    assert found[60_000, 32_764:].tolist() == [9] * 4
    assert int(found.sum(dtype="u8")) == 36 + 36
    part = store.load("a.zarr", region=np.s_[::5, 3:30_000:3])
    np.testing.assert_array_equal(part, found[::5, 3:30_000:3])
    assert load_in_child(["a.zarr"])["a.zarr"][2] < FLAT


def test_many_missing_chunks_have_the_fill_value(store: Bound) -> None:
    make_sparse_array("a.zarr", [1 << 10, 1 << 10], [1, 4], fill_value=7)
    array = zarr.open_array("a.zarr", mode="r+")
    array[5, 8:16] = 0
    found = store.load("a.zarr")
    assert found[5, 8:16].tolist() == [0] * 8
    assert int((found == 7).sum()) == (1 << 20) - 8


@pytest.mark.timeout(120)
def test_chunk_is_far_larger_than_array(store: Bound) -> None:
    """A chunk of gigabytes in an array of a few bytes is not allocated."""
    large, blob = [1 << 15, 1 << 14], numcodecs.Zstd(level=3).encode(bytes(1 << 29))
    zstd = {"name": "zstd", "configuration": {"level": 3, "checksum": False}}
    for name, codecs in (("zstd", [{"name": "bytes"}, zstd]), ("none", [{"name": "bytes"}])):
        make_sparse_array(f"{name}.zarr", [4, 4], large, codecs=codecs)
        Path(f"{name}.zarr/c/0").mkdir(parents=True)
        chunk = Path(f"{name}.zarr/c/0/0")
        chunk.write_bytes(blob if name == "zstd" else b"")
    os.truncate("none.zarr/c/0/0", 1 << 29)
    for path, (kind, text, rose) in load_in_child(["zstd.zarr", "none.zarr"]).items():
        assert kind == "UnsupportedFileError", (path, text)
        assert "chunks of 512 MiB, but the array has only 16 bytes" in text
        assert rose < FLAT, (path, rose)
    make_sparse_array("honest.zarr", [4, 4], [4096, 4096], fill_value=3)
    assert store.load("honest.zarr").tolist() == [[3] * 4] * 4


@pytest.mark.timeout(120)
def test_documents_are_large(store: Bound) -> None:
    """A million keys, wells or levels are read or raise an error. They never cause a hang."""
    store.save(VALUE[:8, :8], "a.zarr/a")
    many = {f"key {n}": n for n in range(1_000_000)}
    for attributes in (
        many,
        {
            "ome": {
                "version": "0.5",
                "plate": {
                    "rows": [],
                    "columns": [],
                    "wells": [{"path": f"A/{n}"} for n in range(10**5)],
                },
            }
        },
        {
            "ome": {
                "version": "0.5",
                "multiscales": [
                    {"axes": ["y", "x"], "datasets": [{"path": f"{n}"} for n in range(10**5)]}
                ],
            }
        },
    ):
        Path("b.zarr").mkdir(exist_ok=True)
        Path("b.zarr/zarr.json").write_text(
            json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes})
        )
        assert "b.zarr" in store.list_dir(".")
        for use in (store.load, store.info):
            with pytest.raises(PolystoreError):
                use("b.zarr/a")
    with pytest.raises(DamagedDataError):
        store.load("b.zarr")
