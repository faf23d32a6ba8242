"""Missing, cut or garbage chunks and shards raise an error. They never give a wrong array."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polystore_core.errors import DamagedDataError
from polystore_testing.examples import examples

from .stores import LAYOUTS, SHAPE, VALUE, chunk_files, layouts, try_load

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from polystore_zarr.backend import ZarrBackend


@layouts
@pytest.mark.parametrize("damage", ["missing", "empty", "folder"])
def test_chunk_without_bytes(
    backend: ZarrBackend, root: Path, layout: str, damage: str
) -> None:
    """A missing chunk of a saved array is damage. It is not read as the fill value."""
    backend.save(VALUE, "a.zarr/a", **LAYOUTS[layout])
    reads: list[Callable[[], Any]] = [
        lambda: backend.load("a.zarr/a"),
        lambda: backend.open("a.zarr/a")[...],
        lambda: backend.load("a.zarr/a", region=(slice(1, None, 3), slice(2, None, 5))),
    ]
    for chunk in chunk_files(root / "a.zarr/a"):
        data = chunk.read_bytes()
        chunk.unlink()
        if damage == "empty":
            chunk.touch()
        elif damage == "folder":
            chunk.mkdir()
        for read in reads:
            with pytest.raises(DamagedDataError):
                read()
        if damage == "folder":
            chunk.rmdir()
        chunk.write_bytes(data)
    np.testing.assert_array_equal(backend.load("a.zarr/a"), VALUE)


@layouts
def test_chunk_cut_anywhere(backend: ZarrBackend, root: Path, layout: str) -> None:
    """A chunk or shard that ends early is damage."""
    backend.save(VALUE, "a.zarr/a", **LAYOUTS[layout])
    chunk = chunk_files(root / "a.zarr/a")[0]
    data = chunk.read_bytes()
    for length in sorted({*range(0, len(data), max(len(data) // 60, 1)), len(data) - 1}):
        chunk.write_bytes(data[:length])
        with pytest.raises(DamagedDataError):
            backend.load("a.zarr/a")
    chunk.write_bytes(data)
    np.testing.assert_array_equal(backend.load("a.zarr/a"), VALUE)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "older"])
def test_bits_flip_anywhere(backend: ZarrBackend, root: Path, layout: str) -> None:
    """The checksum of a chunk or shard finds a flipped bit."""
    backend.save(VALUE, "a.zarr/a", **LAYOUTS[layout])
    chunk = chunk_files(root / "a.zarr/a")[0]
    data = chunk.read_bytes()
    for position in sorted({*range(0, len(data), max(len(data) // 150, 1)), len(data) - 1}):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        chunk.write_bytes(flipped)
        found = try_load(lambda: backend.load("a.zarr/a"))
        if isinstance(found, np.ndarray):  # bytes between the parts of a shard are unused
            np.testing.assert_array_equal(found, VALUE)
            assert "shards" in layout
        else:
            assert isinstance(found, DamagedDataError)


@settings(
    max_examples=examples(60),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    layout=st.sampled_from([*LAYOUTS]),
    garbage=st.binary(max_size=400) | st.sampled_from([b"\xff" * 4096, b"\0" * 4096]),
)
def test_garbage_is_not_a_chunk(
    backend: ZarrBackend, root: Path, layout: str, garbage: bytes
) -> None:
    """Any garbage in place of a chunk raises an error, without a large allocation."""
    path = f"{layout}.zarr"
    if not (root / path).exists():
        backend.save(VALUE, path, **LAYOUTS[layout])
    chunk_files(root / path)[0].write_bytes(garbage)
    with pytest.raises(DamagedDataError):
        backend.load(path)


def test_holes_are_fill_values(backend: ZarrBackend, root: Path) -> None:
    """A chunk that was never written is the fill value, after ``create`` and in foreign arrays."""
    backend.create("a.zarr/made", shape=SHAPE, dtype="u2", chunks=16, fill_value=7)
    theirs = zarr.create_array(
        str(root / "a.zarr/theirs"), shape=SHAPE, dtype="u2", chunks=(16, 16), fill_value=7
    )
    theirs[16:32, 16:32] = 3
    expected = np.full(SHAPE, 7, np.uint16)
    np.testing.assert_array_equal(backend.load("a.zarr/made"), expected)
    expected[16:32, 16:32] = 3
    np.testing.assert_array_equal(backend.load("a.zarr/theirs"), expected)


def test_damaged_level_is_reported(backend: ZarrBackend, root: Path) -> None:
    """Damage in one level of a pyramid does not affect its other levels or other fields."""
    backend.save(VALUE, "p.ome.zarr/A/01/0", levels=2)
    backend.save(VALUE, "p.ome.zarr/A/01/1", levels=2)
    chunk_files(root / "p.ome.zarr/A/01/0/1")[0].unlink()
    np.testing.assert_array_equal(backend.load("p.ome.zarr/A/01/0"), VALUE)
    np.testing.assert_array_equal(backend.load("p.ome.zarr/A/01/1"), VALUE)
    with pytest.raises(DamagedDataError):
        backend.load("p.ome.zarr/A/01/0", level=1)
    shutil.rmtree(root / "p.ome.zarr/A/01/0/1")
    with pytest.raises(DamagedDataError, match="level '1' of the pyramid is missing"):
        backend.load("p.ome.zarr/A/01/0", level=-1)
    assert backend.info("p.ome.zarr/A/01/0").metadata["levels"] == [SHAPE, None]
    assert backend.list_dir("p.ome.zarr/A/01") == ["0", "1"]
    backend.save(VALUE, "p.ome.zarr/A/01/0", levels=2)
    assert backend.load("p.ome.zarr/A/01/0", level=1).shape == (20, 18)
