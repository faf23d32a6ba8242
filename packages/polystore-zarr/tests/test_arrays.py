"""How arrays are stored: element types, codecs, formats and codec pipelines."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import DamagedDataError, InvalidOptionError, UnsupportedDataError

if TYPE_CHECKING:
    from pathlib import Path

fm = FileManager()
VALUES = np.random.default_rng(7).integers(0, 60_000, (3, 100, 120), "u2")
KINDS = {
    "bool": np.arange(30) % 3 == 0,
    "int8": np.arange(-15, 15, dtype="i1"),
    "uint64": np.arange(30, dtype="u8") + 2**63,
    "float16": np.linspace(-1, 1, 30).astype("f2"),
    "nan": np.array([np.nan, np.inf, -np.inf, -0.0] * 5),
    "complex64": (np.arange(30) * (1 - 2j)).astype("c8"),
    "complex128": np.arange(30) * (1 - 2j),
    "big-endian": np.arange(30, dtype=">i4"),
    "big-endian floats": np.arange(30, dtype=">f8"),
    "text": np.array(["a", "bcd", "", "äöü"] * 5),
    "bytes": np.array([b"a", b"bcd", b""] * 5),
    "dates": np.array(["2024-02-29", "NaT"] * 5, "M8[s]"),
    "durations": np.arange(10).astype("m8[ms]"),
}


@pytest.mark.parametrize("zarr_format", [3, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_element_types_round_trip(kind: str, zarr_format: int, tmp_path: Path) -> None:
    values = KINDS[kind]
    path = tmp_path / "a.zarr/x"
    fm.save(values, path, backend="zarr", chunks=7, zarr_format=zarr_format)
    found = fm.load(path, backend="zarr")
    assert found.dtype == values.dtype
    assert found.tobytes() == values.tobytes()
    part = fm.open(path, backend="zarr")[8:2:-2]
    assert part.dtype == values.dtype
    assert part.tobytes() == values[8:2:-2].tobytes()


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((0,)),
        np.zeros((3, 0, 2), "u1"),
        np.array(7, ">u2"),
        np.zeros((1,) * 6, "u1"),
        np.asfortranarray(VALUES),
        VALUES[::2, ::-1, 3:],
        np.broadcast_to(np.uint8(3), (50, 60)),
    ],
    ids=lambda v: f"{v.shape}",
)
def test_shapes_and_strides_round_trip(values: Any, tmp_path: Path) -> None:
    fm.save(values, tmp_path / "a.zarr/x", backend="zarr")
    found = fm.load(tmp_path / "a.zarr/x", backend="zarr")
    assert (found.shape, found.dtype) == (values.shape, values.dtype)
    assert np.array_equal(found, values)
    assert found.flags.writeable


@pytest.mark.parametrize("zarr_format", [3, 2])
@pytest.mark.parametrize("shards", [None, (1, 50, 60)])
@pytest.mark.parametrize("compressor", ["blosc", "zstd", "gzip", "none"])
def test_every_compressor_round_trips(
    compressor: str, shards: Any, zarr_format: int, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "chunks": (1, 25, 30),
        "shards": shards,
        "zarr_format": zarr_format,
    }
    path = tmp_path / "a.zarr/x"
    if shards and zarr_format == 2:
        with pytest.raises(InvalidOptionError, match="shards"):
            fm.save(VALUES, path, backend="zarr", compressor=compressor, **options)
        return
    fm.save(VALUES, path, backend="zarr", compressor=compressor, **options)
    assert np.array_equal(fm.load(path, backend="zarr"), VALUES)
    array = zarr.open_array(path, mode="r")
    assert np.array_equal(array[...], VALUES)
    assert (array.chunks, array.shards) == ((1, 25, 30), shards)
    size = fm.info(path, backend="zarr").size
    assert size is not None
    if compressor != "none":
        assert size < VALUES.nbytes * 1.1


def test_size_of_few_files_only(tmp_path: Path) -> None:
    """``info`` adds up the file sizes of an array, unless it has many files."""
    few, many = tmp_path / "a.zarr/few", tmp_path / "a.zarr/many"
    fm.save(np.zeros((8, 8), np.uint8), few, backend="zarr", chunks=(1, 8))
    files = [path for path in few.rglob("*") if path.is_file()]
    assert fm.info(few, backend="zarr").size == sum(path.stat().st_size for path in files)
    fm.save(np.zeros((40, 30), np.uint8), many, backend="zarr", chunks=1, shards=False)
    info = fm.info(many, backend="zarr")
    assert (info.kind, info.shape, info.size) == ("file", (40, 30), None)


def test_unknown_compressor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptionError, match="compressor"):
        fm.save(VALUES, tmp_path / "a.zarr/x", backend="zarr", compressor="zip")
    assert not (tmp_path / "a.zarr").exists()


@pytest.mark.parametrize("checksum", [True, False])
def test_checksum_finds_damage(checksum: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr/x"
    fm.save(VALUES, path, backend="zarr", compressor="none", checksum=checksum, shards=False)
    chunk = next(p for p in path.rglob("*") if p.is_file() and p.name.isdigit())
    data = bytearray(chunk.read_bytes())
    data[100] ^= 1
    chunk.write_bytes(data)
    if checksum:
        with pytest.raises(DamagedDataError):
            fm.load(path, backend="zarr")
    else:
        assert (fm.load(path, backend="zarr") != VALUES).sum() == 1


@pytest.mark.parametrize("zarr_format", [3, 2])
def test_attributes_and_fill_value_round_trip(zarr_format: int, tmp_path: Path) -> None:
    attributes = {"plate": "B03", "exposure": 0.25, "stains": ["DAPI", None], "ä": {"b": True}}
    path = tmp_path / "a.zarr/x"
    fm.save(
        VALUES,
        path,
        backend="zarr",
        attributes=attributes,
        fill_value=9,
        zarr_format=zarr_format,
    )
    info = fm.info(path, backend="zarr")
    assert info.metadata["attributes"] == attributes
    assert info.metadata["fill_value"] == 9
    assert info.metadata["zarr_format"] == zarr_format
    assert (info.shape, info.dtype) == (VALUES.shape, "<u2")
    assert zarr.open_array(path, mode="r").attrs["plate"] == "B03"


@pytest.mark.parametrize("attributes", [{"a": object()}, {"a": float("nan")}, {1: 2}, [1], "x"])
def test_attributes_that_are_not_json(attributes: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr/x"
    fm.save(VALUES, path, backend="zarr")
    try:
        fm.save(VALUES * 0, path, backend="zarr", attributes=attributes)
    except (InvalidOptionError, UnsupportedDataError):
        assert np.array_equal(fm.load(path, backend="zarr"), VALUES)
    else:  # a value that Zarr can write is read back
        assert repr(fm.info(path, backend="zarr").metadata["attributes"]) == repr(attributes)


def test_zarr_2_without_fill(tmp_path: Path) -> None:
    handle = fm.create(
        tmp_path / "a.zarr/x", backend="zarr", shape=(4, 4), dtype="u2", zarr_format=2
    )
    assert (handle[...] == 0).all()


def test_arrays_by_others_are_read(tmp_path: Path) -> None:
    store = zarr.open_group(tmp_path / "a.zarr", mode="w")
    codec = zarr.codecs.BytesCodec(endian="big")
    store.create_array("default", data=VALUES, chunks=(1, 33, 50))
    store.create_array(
        "big",
        shape=VALUES.shape,
        dtype="u2",
        chunks=(2, 50, 50),
        serializer=codec,
        compressors=None,
    )[...] = VALUES
    store.create_array("empty", shape=(4, 5), dtype="f4", fill_value=np.nan)
    for name in ("default", "big"):
        assert np.array_equal(fm.load(tmp_path / "a.zarr" / name, backend="zarr"), VALUES)
    assert np.isnan(fm.load(tmp_path / "a.zarr/empty", backend="zarr")).all()


# ── the codec pipeline ───────────────────────────────────────────────────────────────────


@pytest.fixture
def fast() -> FileManager:
    pytest.importorskip("zarrs")
    registry = BackendRegistry()
    registry.add("fast", "zarr", codec_pipeline="zarrs")
    return FileManager(registry)


@pytest.mark.parametrize("shards", [None, (1, 50, 60)])
@pytest.mark.parametrize("compressor", ["blosc", "zstd", "gzip", "none"])
def test_pipelines_give_equal_arrays(
    fast: FileManager, compressor: str, shards: Any, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "chunks": (1, 25, 30),
        "shards": shards,
        "compressor": compressor,
    }
    fast.save(VALUES, tmp_path / "a.zarr/x", backend="fast", **options)
    fm.save(VALUES, tmp_path / "a.zarr/y", backend="zarr", **options)
    for name in "xy":
        for manager, backend in ((fast, "fast"), (fm, "zarr")):
            found = manager.load(tmp_path / "a.zarr" / name, backend=backend)
            assert np.array_equal(found, VALUES)
    handle = fast.open(tmp_path / "a.zarr/x", backend="fast", mode="r+")
    handle[1, 50:, 60:] = VALUES[0, 50:, 60:]
    assert np.array_equal(
        handle[1, 49:, 59::-3],
        fm.load(tmp_path / "a.zarr/x", backend="zarr", region=np.s_[1, 49:, 59::-3]),
    )


def test_pipeline_reports_damage(fast: FileManager, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr/x"
    fast.save(VALUES, path, backend="fast", chunks=(1, 50, 60), shards=False)
    chunks = sorted(p for p in path.rglob("*") if p.is_file() and p.name.isdigit())
    chunks[0].write_bytes(chunks[0].read_bytes()[:-7])
    chunks[1].unlink()
    for region in (np.s_[0, 0, 0], np.s_[0, 0, 60]):
        with pytest.raises(DamagedDataError):
            fast.load(path, backend="fast", region=region)


def test_pipeline_applies_to_its_backend_only(fast: FileManager, tmp_path: Path) -> None:
    before = zarr.config.get("codec_pipeline.path")
    seen: list[str] = []

    def work(manager: FileManager, backend: str) -> None:
        for number in range(10):
            path = tmp_path / f"{backend}.zarr/{number}"
            manager.save(VALUES[0], path, backend=backend, compressor="zstd")
            array = manager.open(path, backend=backend)._array  # type: ignore[attr-defined]
            seen.append(f"{backend} {type(array._async_array.codec_pipeline).__name__}")

    threads = [threading.Thread(target=work, args=a) for a in ((fast, "fast"), (fm, "zarr"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen) == {"fast ZarrsCodecPipeline", "zarr BatchedCodecPipeline"}
    assert zarr.config.get("codec_pipeline.path") == before


FORKED = """
import os, sys, warnings
import numpy as np
from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import UnsupportedOperationError
warnings.simplefilter("ignore")  # about forking with threads: the test does so on purpose
registry = BackendRegistry()
registry.add("fast", "zarr", codec_pipeline="zarrs")
fm = FileManager(registry)
fm.save(np.ones((200, 200)), sys.argv[1], backend="fast", chunks=50)
handle = fm.open(sys.argv[1], backend="fast")
handle[...]
uses = {
    "load": lambda: fm.load(sys.argv[1], backend="fast"),
    "handle": lambda: handle[...],
    "save": lambda: fm.save(np.ones((200, 200)), sys.argv[1], backend="fast", chunks=50),
}
child = os.fork()
if child == 0:
    try:
        uses[sys.argv[2]]()
    except UnsupportedOperationError as error:
        os._exit(7 if "forked" in str(error) else 8)
    os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="system: no fork")
@pytest.mark.parametrize("use", ["load", "handle", "save"])
def test_forked_child_gets_error(fast: FileManager, use: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", FORKED, str(tmp_path / "a.zarr/x"), use],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.communicate(timeout=60)[0].strip() == "7"
    finally:  # a child that hangs must not stay
        import os
        import signal
        from contextlib import suppress

        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_unknown_pipeline_is_refused() -> None:
    registry = BackendRegistry()
    registry.add("fast", "zarr", codec_pipeline="rust")
    with pytest.raises(Exception, match="codec_pipeline"):
        FileManager(registry).exists("a.zarr", backend="fast")
