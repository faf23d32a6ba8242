"""Stores that wait, never end, or grow when they are read. They raise an error at once, in flat
memory.

Memory is measured as the peak of a separate process (VmHWM), so that no test depends on time. That
process runs this file as a script.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import PolystoreError

SIDE = 1024
VALUE = (np.arange(SIDE * SIDE) % 251).astype("u1").reshape(SIDE, SIDE)
FLAT = 100 << 10
"""KiB that reading a chunk of 1 MiB may add to the memory of a process."""


def chunk_files(path: str) -> list[Path]:
    names = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")
    return sorted(p for p in Path(path).rglob("*") if p.is_file() and p.name not in names)


def load_each(paths: list[str], backend: str) -> dict[str, Any]:
    """Load every path. Return each result, and by how many KiB memory rose at most."""
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
            result = [str(value.shape), ""]
        except PolystoreError as error:
            result = [type(error).__name__, str(error)]
        found[path] = [*result, memory() - before]
    return found


def memory() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM")


def load_in_child(paths: list[str], backend: str = "zarr") -> dict[str, Any]:
    command = [sys.executable, __file__, json.dumps(paths), backend]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def document_3(codec: str, *, sharded: bool) -> dict[str, Any]:
    names = {"gzip": "gzip", "zstd": "zstd", "blosc": "blosc"}
    configuration: dict[str, Any] = {
        "gzip": {"level": 1},
        "zstd": {"level": 3, "checksum": False},
        "blosc": {
            "cname": "zstd",
            "clevel": 9,
            "shuffle": "noshuffle",
            "typesize": 1,
            "blocksize": 0,
        },
    }.get(codec, {})
    codecs = [
        {"name": "bytes"},
        {"name": names.get(codec, f"numcodecs.{codec}"), "configuration": configuration},
    ]
    if sharded:
        index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        codecs = [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [SIDE, SIDE // 2],
                    "codecs": codecs,
                    "index_codecs": index,
                    "index_location": "end",
                },
            }
        ]
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [SIDE, SIDE],
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [SIDE, SIDE]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": codecs,
        "attributes": {},
    }


def document_2(codec: str) -> dict[str, Any]:
    return {
        "zarr_format": 2,
        "shape": [SIDE, SIDE],
        "chunks": [SIDE, SIDE],
        "dtype": "|u1",
        "compressor": {"id": codec},
        "fill_value": 0,
        "order": "C",
        "filters": None,
        "dimension_separator": ".",
    }


if __name__ == "__main__":
    print(json.dumps(load_each(json.loads(sys.argv[1]), sys.argv[2])))
