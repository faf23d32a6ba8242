"""Stores that wait, never end, or grow when they are read: an error at once, in flat memory.

Memory is what a process of its own has used at most (VmHWM), so that no test depends on time.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import shutil
import socket
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import google_crc32c
import numcodecs
import numpy as np
import pytest
import zarr

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import (
    DamagedDataError,
    PolystoreError,
    StorageError,
    UnsupportedFileError,
)
from polystore_testing import Bound

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs /proc and FIFOs"),
]

SIDE = 1024
VALUE = (np.arange(SIDE * SIDE) % 251).astype("u1").reshape(SIDE, SIDE)
BOMB = 256 << 20
FLAT = 100 << 10
"""KiB by which reading a chunk of 1 MiB may raise the memory of a process."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bound:
    monkeypatch.chdir(tmp_path)
    return Bound(FileManager(BackendRegistry()), "zarr")


def chunk_files(path: str) -> list[Path]:
    names = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")
    return sorted(p for p in Path(path).rglob("*") if p.is_file() and p.name not in names)


# ── a process of its own ─────────────────────────────────────────────────────────────────


def load_each(paths: list[str], backend: str) -> dict[str, Any]:
    """Load every path; return what came, and by how many KiB memory rose at most."""
    warnings.simplefilter("ignore")
    registry = BackendRegistry()
    registry.add("fast", "zarr", codec_pipeline="zarrs")
    fm = FileManager(registry)
    for compressor in ("blosc", "zstd"):
        fm.save(VALUE, "warm.zarr", backend=backend, compressor=compressor)
        fm.load("warm.zarr", backend=backend)
    found = {}
    for path in paths:
        Path("/proc/self/clear_refs").write_text("5")
        before = memory()
        try:
            value = fm.load(path, backend=backend)
            said = [str(value.shape), ""]
        except PolystoreError as error:
            said = [type(error).__name__, str(error)]
        found[path] = [*said, memory() - before]
    return found


def memory() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM")


def in_child(paths: list[str], backend: str = "zarr") -> dict[str, Any]:
    command = [sys.executable, __file__, json.dumps(paths), backend]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


# ── bombs ────────────────────────────────────────────────────────────────────────────────

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
    """Zstandard data of zeros whose header does not tell how many."""
    block = struct.pack("<I", (128 << 10) << 3 | 1 << 1)[:3] + b"\0"
    blocks = [block] * (size >> 17)
    blocks[-1] = struct.pack("<I", (128 << 10) << 3 | 1 << 1 | 1)[:3] + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x58" + b"".join(blocks)


def document_3(codec: str, *, sharded: bool) -> dict[str, Any]:
    names = {"gzip": "gzip", "zstd": "zstd", "blosc": "blosc"}
    configuration: dict[str, Any] = {
        "gzip": {"level": 1}, "zstd": {"level": 3, "checksum": False},
        "blosc": {"cname": "zstd", "clevel": 9, "shuffle": "noshuffle", "typesize": 1,
                  "blocksize": 0},
    }.get(codec, {})  # fmt: skip
    codecs = [
        {"name": "bytes"},
        {"name": names.get(codec, f"numcodecs.{codec}"), "configuration": configuration},
    ]
    if sharded:
        index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        codecs = [{"name": "sharding_indexed", "configuration": {
            "chunk_shape": [SIDE, SIDE // 2], "codecs": codecs, "index_codecs": index,
            "index_location": "end"}}]  # fmt: skip
    return {
        "zarr_format": 3, "node_type": "array", "shape": [SIDE, SIDE], "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [SIDE, SIDE]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0, "codecs": codecs, "attributes": {},
    }  # fmt: skip


def document_2(codec: str) -> dict[str, Any]:
    return {
        "zarr_format": 2, "shape": [SIDE, SIDE], "chunks": [SIDE, SIDE], "dtype": "|u1",
        "compressor": {"id": codec}, "fill_value": 0, "order": "C", "filters": None,
        "dimension_separator": ".",
    }  # fmt: skip


def shard(inner: bytes) -> bytes:
    """One inner chunk of two, and the index."""
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
    """A chunk gives no more than its array says, whichever codec and pipeline reads it."""
    if backend == "fast":
        pytest.importorskip("zarrs", reason="zarrs is not installed")
    found = in_child(place_bombs(), backend)
    assert len(found) == 3 * len(BOMBS)
    for path, (kind, said, rose) in found.items():
        assert kind == "DamagedDataError", (path, kind, said)
        assert rose < FLAT, (path, said, rose)


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr:UserWarning")
@pytest.mark.filterwarnings("ignore:Array is unsupported by ZarrsCodecPipeline:UserWarning")
@pytest.mark.parametrize("layout", ["3", "3 sharded", "2"])
@pytest.mark.parametrize("name", BOMBS)
def test_honest_chunk_is_read(store: Bound, name: str, layout: str) -> None:
    """The same codecs give what they were given: also in several streams, and without a size."""
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
    """A chunk file of a terabyte, which takes no space on the disk, is an error at once."""
    paths = []
    layouts: dict[str, dict[str, Any]] = {
        "blosc": {}, "none": {"compressor": "none"}, "zstd": {"compressor": "zstd"},
        "shards": {"chunks": 128, "shards": (512, 512)},
        "zstd shards": {"chunks": 128, "shards": (512, 512), "compressor": "zstd"},
        "two": {"zarr_format": 2}, "two none": {"zarr_format": 2, "compressor": "none"},
    }  # fmt: skip
    for name, options in layouts.items():
        store.save(VALUE, f"{name}.zarr", **options)
        os.truncate(chunk_files(f"{name}.zarr")[0], 1 << 40)
        paths.append(f"{name}.zarr")
    for backend in ("zarr", "fast"):
        for path, (kind, said, rose) in in_child(paths, backend).items():
            assert kind == "DamagedDataError", (path, kind, said)
            assert rose < FLAT, (path, said, rose)


def test_index_of_shard_is_bounded(store: Bound) -> None:
    """A shard of billions of inner chunks would have an index of gigabytes."""
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


# ── codecs that grow or run ──────────────────────────────────────────────────────────────


@pytest.mark.timeout(120)
def test_filters_make_nothing_large(store: Bound) -> None:
    """Filters of Zarr 2 and text that claim gigabytes, and one that runs code."""
    wide = "<U20000000"
    cases: dict[str, dict[str, Any]] = {
        "astype": {"filters": [{"id": "astype", "encode_dtype": "|u1", "decode_dtype": wide}]},
        "categorize": {"filters": [{"id": "categorize", "labels": ["a"], "dtype": wide,
                                    "astype": "|u1"}]},
        "delta": {"filters": [{"id": "delta", "dtype": "|u1", "astype": wide}]},
        "text": {"dtype": "|O", "fill_value": "", "filters": [{"id": "vlen-utf8"}]},
        "bytes": {"dtype": "|O", "fill_value": "", "filters": [{"id": "vlen-bytes"}]},
        "code": {"dtype": "|O", "fill_value": "",
                 "filters": [{"id": "vlen-utf8"}, {"id": "pickle"}]},
        "code 2": {"compressor": {"id": "pickle"}},
    }  # fmt: skip
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
    found = in_child([f"{name}.zarr" for name in cases])
    for path, (kind, said, rose) in found.items():
        assert kind in ("DamagedDataError", "UnsupportedFileError"), (path, kind, said)
        assert rose < FLAT, (path, said, rose)
    assert not Path("ran").exists()


def test_text_is_still_read(store: Bound) -> None:
    text = np.array([["a", "bc"], ["", "ü" * 1000]], dtype=np.dtypes.StringDType())
    for zarr_format in (2, 3):
        array = zarr.create_array(f"{zarr_format}.zarr", shape=text.shape, dtype=text.dtype,
                                  zarr_format=zarr_format)  # type: ignore[arg-type] # fmt: skip
        array[:] = text
        np.testing.assert_array_equal(store.load(f"{zarr_format}.zarr"), text)


# ── shapes that are lies ─────────────────────────────────────────────────────────────────


def sparse_array(path: str, shape: list[int], chunks: list[int], **change: Any) -> None:
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
        sparse_array(f"{name}.zarr", shape, chunks, **codecs)
        handle = store.open(f"{name}.zarr")
        assert handle.shape == tuple(shape)
        assert handle[(slice(3),) * len(shape)].any() == 0
    found = in_child([f"{name}.zarr" for name in LIES])
    for path, (kind, said, rose) in found.items():
        assert kind == "StorageError", (path, kind, said)
        assert "TiB" in said
        assert "load a region" in said
        assert rose < FLAT, (path, said, rose)


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
    """Of a billion chunks that could be, those that are there are read, and no others sought."""
    sparse_array("a.zarr", [1 << 16, 1 << 15], [1, 4], **change, fill_value=0)
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
    assert in_child(["a.zarr"])["a.zarr"][2] < FLAT


def test_many_chunks_of_other_fill(store: Bound) -> None:
    sparse_array("a.zarr", [1 << 10, 1 << 10], [1, 4], fill_value=7)
    array = zarr.open_array("a.zarr", mode="r+")
    array[5, 8:16] = 0
    found = store.load("a.zarr")
    assert found[5, 8:16].tolist() == [0] * 8
    assert int((found == 7).sum()) == (1 << 20) - 8


@pytest.mark.timeout(120)
def test_chunk_dwarfs_array(store: Bound) -> None:
    """A chunk of gigabytes in an array of a few bytes is not made for it."""
    large, blob = [1 << 15, 1 << 14], numcodecs.Zstd(level=3).encode(bytes(1 << 29))
    zstd = {"name": "zstd", "configuration": {"level": 3, "checksum": False}}
    for name, codecs in (("zstd", [{"name": "bytes"}, zstd]), ("none", [{"name": "bytes"}])):
        sparse_array(f"{name}.zarr", [4, 4], large, codecs=codecs)
        Path(f"{name}.zarr/c/0").mkdir(parents=True)
        chunk = Path(f"{name}.zarr/c/0/0")
        chunk.write_bytes(blob if name == "zstd" else b"")
    os.truncate("none.zarr/c/0/0", 1 << 29)
    for path, (kind, said, rose) in in_child(["zstd.zarr", "none.zarr"]).items():
        assert kind == "UnsupportedFileError", (path, said)
        assert "chunks of 512 MiB, but the array has only 16 bytes" in said
        assert rose < FLAT, (path, rose)
    sparse_array("honest.zarr", [4, 4], [4096, 4096], fill_value=3)
    assert store.load("honest.zarr").tolist() == [[3] * 4] * 4


# ── files that are none ──────────────────────────────────────────────────────────────────


def put(kind: str, path: Path) -> None:
    """Put something other than a regular file at ``path``."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "itself":
        path.symlink_to(path.name)
    elif kind == "folder":
        path.mkdir()
    else:
        here = os.getcwd()
        with socket.socket(socket.AF_UNIX) as sock:
            os.chdir(path.parent)
            sock.bind(path.name)
            os.chdir(here)


KINDS = ("pipe", "zero", "socket", "folder", "itself")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["zarr.json", ".zarray", ".zgroup", ".zattrs"])
def test_document_is_no_file(store: Bound, kind: str, name: str) -> None:
    """Every operation on the store ends with an error, and the folder around it is listed."""
    is_3 = name == "zarr.json"
    store.save(VALUE, "f/good.zarr")
    store.save(VALUE, "f/bad.zarr/a", zarr_format=3 if is_3 else 2, attributes={"a": 1})
    node = "f/bad.zarr" if name == ".zgroup" else "f/bad.zarr/a"
    put(kind, Path(node, name))
    for use in (
        lambda: store.load(node),
        lambda: store.open(node),
        lambda: store.info(node),
        lambda: store.save(VALUE, node),
        lambda: store.save(VALUE, node, if_exists="error"),
        lambda: store.save(VALUE, f"{node}/below"),
        lambda: store.copy(node, "f/copy.zarr"),
    ):
        with pytest.raises(PolystoreError):
            use()
    assert store.exists(node)
    assert not store.is_dir(node)
    assert store.list_files("f/bad.zarr/a" if node == "f" else "f") is not None
    assert "f/good.zarr" in store.list_files("f")
    if name == ".zgroup":
        assert "f/bad.zarr" in store.list_files("f")
    else:
        assert store.list_files("f/bad.zarr") == ["f/bad.zarr/a"]
    store.save(VALUE, "f/other.zarr")
    np.testing.assert_array_equal(store.load("f/good.zarr"), VALUE)


CHUNKED: dict[str, dict[str, Any]] = {
    "blosc": {"chunks": 512},
    "shards": {"chunks": 128, "shards": (512, 512)},
    "zstd": {"chunks": 512, "compressor": "zstd"},
    "zstd shards": {"chunks": 128, "shards": (512, 512), "compressor": "zstd"},
    "older": {"chunks": 512, "zarr_format": 2},
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", CHUNKED)
@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("backend", ["zarr", "fast"])
def test_chunk_is_no_file(
    store: Bound, kind: str, layout: str, marked: bool, backend: str
) -> None:
    if backend == "fast":
        pytest.importorskip("zarrs", reason="zarrs is not installed")
        store.manager.registry.add("fast", "zarr", codec_pipeline="zarrs")
    store.save(VALUE, "a.zarr", **CHUNKED[layout])
    place = Path("a.zarr/.zattrs" if layout == "older" else "a.zarr/zarr.json")
    if not marked:  # of others, who do not promise that all chunks are there
        fields = json.loads(place.read_text())
        (fields if layout == "older" else fields["attributes"]).pop("polystore")
        place.write_text(json.dumps(fields))
    put(kind, chunk_files("a.zarr")[0])
    for region in (..., np.s_[:10, :10], np.s_[3:5]):
        with pytest.raises((DamagedDataError, StorageError)):
            store.manager.load("a.zarr", backend=backend, region=region)
    with pytest.raises((DamagedDataError, StorageError)):
        store.manager.save(
            VALUE[:3, :3], "a.zarr", backend=backend, region=np.s_[:3, :3], unaligned="lock"
        )
    good = store.manager.load("a.zarr", backend=backend, region=np.s_[600:, 600:])
    np.testing.assert_array_equal(good, VALUE[600:, 600:])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "zero"])
@pytest.mark.parametrize("compressor", ["zstd", "gzip", "none"])
@pytest.mark.parametrize("backend", ["zarr", "fast"])
def test_edge_is_no_file(store: Bound, kind: str, compressor: str, backend: str) -> None:
    """To write the chunk at the edge of an array, a pipeline may read what is there."""
    store.manager.registry.add("fast", "zarr", codec_pipeline="zarrs")
    value = VALUE[:1000, :1000]
    store.save(value, "a.zarr", chunks=512, compressor=compressor)
    put(kind, Path("a.zarr/c/1/1"))
    try:
        store.manager.save(
            value[512:, 512:], "a.zarr", backend=backend, region=np.s_[512:, 512:]
        )
    except PolystoreError:
        return
    np.testing.assert_array_equal(store.load("a.zarr"), value)


@pytest.mark.timeout(60)
def test_consolidated_is_no_file(store: Bound) -> None:
    """``.zmetadata`` is not read, so it may be anything."""
    store.save(VALUE, "a.zarr/a", zarr_format=2)
    put("pipe", Path("a.zarr/.zmetadata"))
    np.testing.assert_array_equal(store.load("a.zarr/a"), VALUE)
    assert store.list_files("a.zarr") == ["a.zarr/a"]
    store.save(VALUE, "a.zarr/b", zarr_format=2)


# ── documents that are much ──────────────────────────────────────────────────────────────


@pytest.mark.timeout(120)
def test_documents_are_large(store: Bound) -> None:
    """A million keys, wells or levels are read, or an error, and never a hang."""
    store.save(VALUE[:8, :8], "a.zarr/a")
    many = {f"key {n}": n for n in range(1_000_000)}
    for attributes in (
        many,
        {"ome": {"version": "0.5", "plate": {"rows": [], "columns": [],
                                             "wells": [{"path": f"A/{n}"} for n in range(10**5)]}}},
        {"ome": {"version": "0.5", "multiscales": [{"axes": ["y", "x"], "datasets": [
            {"path": f"{n}"} for n in range(10**5)]}]}},
    ):  # fmt: skip
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


if __name__ == "__main__":
    print(json.dumps(load_each(json.loads(sys.argv[1]), sys.argv[2])))
