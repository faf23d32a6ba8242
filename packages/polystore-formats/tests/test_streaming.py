"""Dask arrays and handles are written in parts, with equal files and little memory."""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystore_core import FileManager, formats
from polystore_core.errors import UnsupportedDataError
from polystore_formats import streaming
from polystore_testing.values import assert_same

if TYPE_CHECKING:
    from pathlib import Path

require = (
    importlib.import_module
    if os.environ.get("POLYSTORE_REQUIRE_ALL") == "1"
    else pytest.importorskip
)
dask = require("dask.array")
TIFF: Any = formats().of("x.tif")
NPY: Any = formats().of("x.npy")


def image(shape: tuple[int, ...], dtype: str) -> Any:
    return np.random.default_rng(0).integers(0, 2 if dtype == "?" else 200, shape).astype(dtype)


def make_dask(array: Any) -> Any:
    """Return a Dask array with some chunks in each direction."""
    return dask.from_array(array, chunks=tuple(max(1, n // 2) for n in array.shape))


def encode(chosen: Any, value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    chosen.save(value, file, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"tile": (16, 32)},
        {"tile": (16, 32), "compression": "lzw"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("shape", "dtype", "kind"),
    [
        ((40, 50), ">u2", {}),
        ((5, 3, 40, 50), "u2", {"axes": "tcyx", "ome": True}),
        ((3, 40, 50), "u2", {"imagej": True}),
        ((4, 40, 50, 3), "u1", {}),
        ((4, 3, 40, 50), "u1", {"photometric": "rgb"}),
        ((4, 40, 50), "?", {}),
    ],
)
def test_tiff_is_the_same(shape: Any, dtype: str, kind: Any, options: Any) -> None:
    array = image(shape, dtype)
    data = encode(TIFF, make_dask(array), **kind, **options)
    assert_same(TIFF.load(io.BytesIO(data)), array)
    assert len(data) == len(encode(TIFF, array, **kind, **options)) or "tile" in options


@pytest.mark.parametrize("shape", [(), (7,), (0, 3), (5, 4, 3)])
def test_npy_is_the_same(shape: tuple[int, ...]) -> None:
    array = image(shape, "f4")
    assert encode(NPY, make_dask(array)) == encode(NPY, array)


@given(st.data(), st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_parts_make_up_the_array(data: st.DataObject, shape: list[int]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    chunks = tuple(data.draw(st.integers(1, n)) for n in shape)
    whole = data.draw(st.integers(0, len(shape)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "_BUDGET", data.draw(st.integers(1, 900)))
        found = list(streaming.parts(dask.from_array(array, chunks=chunks), whole))
    assert np.concatenate([part.ravel() for part in found]).tolist() == array.ravel().tolist()
    last = tuple(shape[len(shape) - whole :])
    assert all(part.shape[part.ndim - whole :] == last for part in found)


@pytest.mark.parametrize("source", ["npy", "tif"])
@pytest.mark.parametrize("target", ["npy", "tif", "ome.tif"])
def test_handles_are_saved(tmp_path: Path, source: str, target: str) -> None:
    fm, array = FileManager(), image((3, 4, 5), "u2")
    fm.save(array, tmp_path / f"a.{source}", "disk")
    with fm.open(tmp_path / f"a.{source}", "disk") as handle:
        fm.save(handle, tmp_path / f"b.{target}", "disk")
    assert_same(fm.load(tmp_path / f"b.{target}", "disk"), array)


def test_wrong_dask_arrays_are_refused(tmp_path: Path) -> None:
    array = dask.from_array(image((6, 5), "u2"), chunks=2)
    unknown = array[array[:, 0] > 3]
    wrong = array.map_blocks(lambda block: block[:1], dtype="u2", chunks=array.chunks)
    for value, reason in ((unknown, "compute_chunk_sizes"), (wrong, "has shape")):
        for name in ("a.npy", "a.tif"):
            with pytest.raises(UnsupportedDataError, match=reason):
                FileManager().save(value, tmp_path / name, "disk")
    assert not list(tmp_path.iterdir())


PROGRAM = """
import sys, resource
import dask.array
from polystore_core import FileManager
options = {"compression": "zlib"} if sys.argv[2] == "zlib" else {}
value = dask.array.ones((256, 2048, 1024), dtype="u2", chunks=(8, 2048, 1024))
fm = FileManager()
fm.save(value[:2], sys.argv[1], "disk", durable=False, **options)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
fm.save(value, sys.argv[1], "disk", durable=False, **options)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("name", "codec"), [("a.npy", ""), ("a.tif", ""), ("a.tif", "zlib")])
def test_memory_is_bounded(tmp_path: Path, name: str, codec: str) -> None:
    """A GiB is written with far less memory."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / name), codec]
    found = subprocess.run(
        command, capture_output=True, encoding="utf-8", check=True, timeout=110
    )
    assert int(found.stdout) < 250
    (tmp_path / name).unlink()
