"""Chunks, shards and filters that claim or give more than their array holds."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import numcodecs
import numpy as np
import pytest
import zarr

from polystore_core.errors import UnsupportedFileError

from .loading import FLAT, SIDE, VALUE, chunk_files, document_2, document_3, load_in_child

if TYPE_CHECKING:
    from polystore_testing import Bound

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs /proc and FIFOs"),
]

BOMB = 256 << 20

PART = bytes(BOMB // 16)
BOMBS = {
    "gzip": lambda: gzip.compress(PART, 9) * 16,
    "bz2": lambda: bz2.compress(PART) * 16,
    "lzma": lambda: lzma.compress(PART, preset=0) * 16,
    "zlib": lambda: zlib.compress(bytes(BOMB), 9),
    "zstd": lambda: numcodecs.Zstd(level=3).encode(bytes(BOMB)),
    "zstd frames": lambda: numcodecs.Zstd(level=3).encode(PART) * 16,
    "zstd unknown": lambda: unknown_size(BOMB),
    "blosc": lambda: numcodecs.Blosc(cname="zstd", clevel=9).encode(bytes(BOMB)),
    "lz4": lambda: numcodecs.LZ4().encode(bytes(BOMB)),
}


def unknown_size(size: int) -> bytes:
    """Return Zstandard data of zeros whose header does not give the size."""
    block = struct.pack("<I", (128 << 10) << 3 | 1 << 1)[:3] + b"\0"
    blocks = [block] * (size >> 17)
    blocks[-1] = struct.pack("<I", (128 << 10) << 3 | 1 << 1 | 1)[:3] + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x58" + b"".join(blocks)


def shard(inner: bytes) -> bytes:
    """Return a shard with one of two inner chunks, and the index."""
    index = struct.pack("<4Q", 0, len(inner), 2**64 - 1, 2**64 - 1)
    return inner + index + google_crc32c.value(index).to_bytes(4, "little")


def place_bombs() -> list[str]:
    paths = []
    for name, make in BOMBS.items():
        codec, bomb = name.split()[0], make()
        for layout in ("3", "3 sharded", "2"):
            path = Path(f"{name} {layout}.zarr")
            path.mkdir()
            if layout == "2":
                (path / ".zarray").write_text(json.dumps(document_2(codec)))
                (path / "0.0").write_bytes(bomb)
            else:
                fields = document_3(codec, sharded="sharded" in layout)
                (path / "zarr.json").write_text(json.dumps(fields))
                (path / "c/0").mkdir(parents=True)
                (path / "c/0/0").write_bytes(shard(bomb) if "sharded" in layout else bomb)
            paths.append(str(path))
    return paths


@pytest.mark.timeout(300)
@pytest.mark.parametrize("backend", ["zarr", "fast"])
def test_bomb_is_not_decompressed(store: Bound, backend: str) -> None:
    """A chunk is unpacked only to the size of its array, for every codec and pipeline."""
    if backend == "fast":
        pytest.importorskip("zarrs", reason="zarrs is not installed")
    found = load_in_child(place_bombs(), backend)
    assert len(found) == 3 * len(BOMBS)
    for path, (kind, text, rose) in found.items():
        assert kind == "DamagedDataError", (path, kind, text)
        assert rose < FLAT, (path, text, rose)


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr:UserWarning")
@pytest.mark.filterwarnings("ignore:Array is unsupported by ZarrsCodecPipeline:UserWarning")
@pytest.mark.parametrize("layout", ["3", "3 sharded", "2"])
@pytest.mark.parametrize("name", BOMBS)
def test_valid_chunk_is_read(store: Bound, name: str, layout: str) -> None:
    """The same codecs return valid data, even in several streams or without a size."""
    codec = name.split()[0]
    shape = (SIDE, SIDE // 2) if "sharded" in layout else (SIDE, SIDE)
    data = np.random.default_rng(1).integers(0, 256, shape, dtype="u1")  # grows a little
    data[: SIDE // 4] = 7
    path = Path("a.zarr")
    path.mkdir()
    if name == "zstd unknown":
        data[...] = 0
        encoded = unknown_size(data.nbytes)
    elif name == "zstd frames":
        half = data.tobytes()[: data.nbytes // 2], data.tobytes()[data.nbytes // 2 :]
        encoded = b"".join(numcodecs.Zstd().encode(part) for part in half)
    else:
        encoded = bytes(numcodecs.get_codec({"id": codec}).encode(data.tobytes()))
    if layout == "2":
        (path / ".zarray").write_text(json.dumps(document_2(codec)))
        (path / "0.0").write_bytes(encoded)
    else:
        fields = document_3(codec, sharded="sharded" in layout)
        (path / "zarr.json").write_text(json.dumps(fields))
        (path / "c/0").mkdir(parents=True)
        (path / "c/0/0").write_bytes(shard(encoded) if "sharded" in layout else encoded)
    store.manager.registry.add("fast", "zarr", codec_pipeline="zarrs")
    for backend in ("zarr", "fast"):
        found = store.manager.load("a.zarr", backend=backend)
        np.testing.assert_array_equal(found[:, : shape[1]], data)
        assert not found[:, shape[1] :].any()


@pytest.mark.timeout(300)
def test_sparse_file_is_not_read(store: Bound) -> None:
    """A chunk file of a terabyte that takes no space on the disk raises an error at once."""
    paths = []
    layouts: dict[str, dict[str, Any]] = {
        "blosc": {},
        "none": {"compressor": "none"},
        "zstd": {"compressor": "zstd"},
        "shards": {"chunks": 128, "shards": (512, 512)},
        "zstd shards": {"chunks": 128, "shards": (512, 512), "compressor": "zstd"},
        "two": {"zarr_format": 2},
        "two none": {"zarr_format": 2, "compressor": "none"},
    }
    for name, options in layouts.items():
        store.save(VALUE, f"{name}.zarr", **options)
        os.truncate(chunk_files(f"{name}.zarr")[0], 1 << 40)
        paths.append(f"{name}.zarr")
    for backend in ("zarr", "fast"):
        for path, (kind, text, rose) in load_in_child(paths, backend).items():
            assert kind == "DamagedDataError", (path, kind, text)
            assert rose < FLAT, (path, text, rose)


def test_index_of_shard_is_bounded(store: Bound) -> None:
    """A shard of billions of inner chunks is refused, because its index would take gigabytes."""
    store.save(VALUE, "a.zarr", chunks=128, shards=(512, 512))
    place = Path("a.zarr/zarr.json")
    fields = json.loads(place.read_text())
    fields["shape"] = [1 << 20, 1 << 20]
    fields["chunk_grid"]["configuration"]["chunk_shape"] = [1 << 20, 1 << 20]
    fields["codecs"][0]["configuration"]["chunk_shape"] = [4, 4]
    place.write_text(json.dumps(fields))
    os.truncate("a.zarr/c/0/0", 1 << 42)
    with pytest.raises(UnsupportedFileError, match="inner chunks"):
        store.load("a.zarr", region=np.s_[:1, :1])


@pytest.mark.timeout(120)
def test_filters_allocate_nothing_large(store: Bound) -> None:
    """Filters of Zarr 2 and text may claim gigabytes, and one filter would run code."""
    wide = "<U20000000"
    cases: dict[str, dict[str, Any]] = {
        "astype": {"filters": [{"id": "astype", "encode_dtype": "|u1", "decode_dtype": wide}]},
        "categorize": {
            "filters": [{"id": "categorize", "labels": ["a"], "dtype": wide, "astype": "|u1"}]
        },
        "delta": {"filters": [{"id": "delta", "dtype": "|u1", "astype": wide}]},
        "text": {"dtype": "|O", "fill_value": "", "filters": [{"id": "vlen-utf8"}]},
        "bytes": {"dtype": "|O", "fill_value": "", "filters": [{"id": "vlen-bytes"}]},
        "code": {
            "dtype": "|O",
            "fill_value": "",
            "filters": [{"id": "vlen-utf8"}, {"id": "pickle"}],
        },
        "code 2": {"compressor": {"id": "pickle"}},
    }
    for name, change in cases.items():
        path = Path(f"{name}.zarr")
        path.mkdir()
        fields = {**document_2("zstd"), "compressor": None, **change}
        (path / ".zarray").write_text(json.dumps(fields))
        data = (
            struct.pack("<I", 2**30) + bytes(64) if name in ("text", "bytes") else bytes(4096)
        )
        if name.startswith("code"):
            data = b"cos\nsystem\n(S'touch ran'\ntR."
        (path / "0.0").write_bytes(data)
    found = load_in_child([f"{name}.zarr" for name in cases])
    for path, (kind, text, rose) in found.items():
        assert kind in ("DamagedDataError", "UnsupportedFileError"), (path, kind, text)
        assert rose < FLAT, (path, text, rose)
    assert not Path("ran").exists()


def test_text_is_still_read(store: Bound) -> None:
    text = np.array([["a", "bc"], ["", "ü" * 1000]], dtype=np.dtypes.StringDType())
    for zarr_format in (2, 3):
        array = zarr.create_array(
            f"{zarr_format}.zarr", shape=text.shape, dtype=text.dtype, zarr_format=zarr_format
        )  # type: ignore[arg-type]
        array[:] = text
        np.testing.assert_array_equal(store.load(f"{zarr_format}.zarr"), text)
