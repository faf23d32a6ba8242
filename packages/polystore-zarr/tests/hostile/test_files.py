"""Pipes, devices, sockets and folders in the place of a file."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import DamagedDataError, PolystoreError, StorageError

from .loading import VALUE, chunk_files

if TYPE_CHECKING:
    from polystore_testing import Bound

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs /proc and FIFOs"),
]


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
def test_document_is_not_a_file(store: Bound, kind: str, name: str) -> None:
    """Every operation on the store raises an error, and the folder around it is still listed."""
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
def test_chunk_is_not_a_file(
    store: Bound, kind: str, layout: str, marked: bool, backend: str
) -> None:
    if backend == "fast":
        pytest.importorskip("zarrs", reason="zarrs is not installed")
        store.manager.registry.add("fast", "zarr", codec_pipeline="zarrs")
    store.save(VALUE, "a.zarr", **CHUNKED[layout])
    place = Path("a.zarr/.zattrs" if layout == "older" else "a.zarr/zarr.json")
    if not marked:  # foreign arrays do not promise that all chunks exist
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
def test_edge_is_not_a_file(store: Bound, kind: str, compressor: str, backend: str) -> None:
    """To write the chunk at the edge of an array, a pipeline may read the old chunk."""
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
def test_consolidated_is_not_a_file(store: Bound) -> None:
    """``.zmetadata`` is not read, so it may be anything."""
    store.save(VALUE, "a.zarr/a", zarr_format=2)
    put("pipe", Path("a.zarr/.zmetadata"))
    np.testing.assert_array_equal(store.load("a.zarr/a"), VALUE)
    assert store.list_files("a.zarr") == ["a.zarr/a"]
    store.save(VALUE, "a.zarr/b", zarr_format=2)
