"""bfloat16 and float8 in Zarr 3, compared with tensorstore in both directions."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import FileManager
from polystore_core.errors import UnsupportedDataError
from polystore_testing import Bound

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
NAMES = [
    "bfloat16",
    "float8_e3m4",
    "float8_e4m3b11fnuz",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
]
LAYOUTS: dict[str, dict[str, Any]] = {
    "default": {},
    "plain": {"compressor": None, "checksum": False, "chunks": (5, 7)},
    "shards": {"chunks": (8, 8), "shards": (16, 16)},
    "zstd": {"compressor": "zstd", "chunks": (16, 5)},
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bound:
    monkeypatch.chdir(tmp_path)
    return Bound(FileManager(), "zarr")


def numbers(name: str, shape: tuple[int, ...] = (16, 16)) -> Any:
    """Return every pattern of 8 bits, including infinities and NaN."""
    dtype = np.dtype(getattr(ml_dtypes, name))
    count = int(np.prod(shape))
    step = 1 if dtype.itemsize == 1 else 257
    return (np.arange(count) * step).astype(f"u{dtype.itemsize}").view(dtype).reshape(shape)


def with_tensorstore(path: Path, **options: Any) -> Any:
    tensorstore = pytest.importorskip("tensorstore", reason="tensorstore is not installed")
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
    metadata = options.pop("metadata", None)
    return tensorstore.open(
        {**spec, **({"metadata": metadata} if metadata else {})}, **options
    ).result()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_arrays_round_trip(name: str, layout: str, store: Bound, tmp_path: Path) -> None:
    array = numbers(name)
    store.save(array, "a.zarr/x", **LAYOUTS[layout])
    found = store.load("a.zarr/x")
    assert found.dtype == array.dtype
    assert found.tobytes() == array.tobytes()
    assert store.load("a.zarr/x", region=np.s_[3:9, ::2]).tobytes() == (
        array[3:9, ::2].tobytes()
    )
    assert store.info("a.zarr/x").dtype == name
    assert store.info("a.zarr/x").metadata["fill_value"] == pytest.approx(0)
    document = json.loads((tmp_path / "a.zarr/x/zarr.json").read_text())
    assert document["data_type"] == name
    wide = store.load("a.zarr/x", dtype="float32")
    np.testing.assert_array_equal(wide, array.astype("float32"))
    other = with_tensorstore(tmp_path / "a.zarr/x").read().result()
    assert other.dtype == array.dtype
    assert other.tobytes() == array.tobytes()


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("name", NAMES)
def test_arrays_of_tensorstore_load(
    name: str, endian: str, store: Bound, tmp_path: Path
) -> None:
    array = numbers(name)
    configuration = {"endian": endian} if name == "bfloat16" else {}
    metadata = {
        "data_type": name,
        "shape": [16, 16],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [5, 7]}},
        "codecs": [{"name": "bytes", "configuration": configuration}],
    }
    other = with_tensorstore(tmp_path / "a.zarr", metadata=metadata, create=True)
    other[:10] = array[:10]
    found = store.load("a.zarr")
    assert found.dtype == array.dtype
    assert found[:10].tobytes() == array[:10].tobytes()
    assert found.tobytes() == other.read().result().tobytes()  # the rest was never written


@pytest.mark.parametrize(
    "fill", ["NaN", "0x7fc1", "Infinity", "-Infinity", 1.5, -2, 0.0, "0xc000"]
)
def test_fill_values_equal_those_of_tensorstore(
    fill: str | float, store: Bound, tmp_path: Path
) -> None:
    metadata = {"data_type": "bfloat16", "shape": [3], "fill_value": fill}
    other = with_tensorstore(tmp_path / "a.zarr", metadata=metadata, create=True)
    stored = json.loads((tmp_path / "a.zarr/zarr.json").read_text())["fill_value"]
    assert store.load("a.zarr").tobytes() == other.read().result().tobytes()
    # For some bit patterns tensorstore writes a number, which has the same meaning.
    described = store.info("a.zarr").metadata["fill_value"]
    assert described == (stored if stored != "0x7fc1" else fill)


@pytest.mark.parametrize("fill", [np.nan, np.inf, -1.5])
def test_fill_values_can_be_given(fill: float, store: Bound, tmp_path: Path) -> None:
    handle = store.create("a.zarr/x", shape=(4, 4), dtype="bfloat16", fill_value=fill)
    assert handle.dtype == ml_dtypes.bfloat16
    expected = np.full((4, 4), fill, ml_dtypes.bfloat16)
    assert store.load("a.zarr/x").tobytes() == expected.tobytes()
    other = with_tensorstore(tmp_path / "a.zarr/x").read().result()
    assert other.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["bfloat16", "float8_e5m2", "float8_e8m0fnu"])
def test_parts_are_written(name: str, store: Bound) -> None:
    array = numbers(name)
    handle = store.create("a.zarr/x", shape=(16, 16), dtype=array.dtype, chunks=(8, 8))
    handle[:8] = array[:8]
    store.save(array[8:], "a.zarr/x", region=np.s_[8:])
    assert store.load("a.zarr/x").tobytes() == array.tobytes()
    handle[:8, :8] = 2
    assert store.open("a.zarr/x")[0, 0] == 2
    with pytest.raises(UnsupportedDataError, match=f"do not fit an array of {name}"):
        handle[:8, :8] = np.ones((8, 8), "float32")


def test_arrays_grow(store: Bound) -> None:
    frames = numbers("bfloat16", (4, 8, 8))
    with store.create("a.zarr/x", shape=(None, 8, 8), dtype="bfloat16") as movie:
        movie.append(frames[0])
        movie.extend(frames[1:])
    assert store.load("a.zarr/x").tobytes() == frames.tobytes()
    with (
        store.open("a.zarr/x", mode="a") as movie,
        pytest.raises(UnsupportedDataError, match="element type float32"),
    ):
        movie.append(np.zeros((8, 8), "float32"))


def test_batches_and_copies_keep_the_type(store: Bound) -> None:
    arrays = [numbers("bfloat16"), numbers("float8_e4m3fn")]
    store.save_batch(arrays, ["a.zarr/x", "a.zarr/y"])
    found = store.load_batch(["a.zarr/x", "a.zarr/y"])
    assert [each.tobytes() for each in found] == [each.tobytes() for each in arrays]
    store.copy("a.zarr/x", "b.zarr/x")
    assert store.load("b.zarr/x").dtype == ml_dtypes.bfloat16
    store.save(store.open("a.zarr/x"), "c.zarr/x", chunks=(4, 16))
    assert store.load("c.zarr/x").tobytes() == arrays[0].tobytes()
    assert store.load("a.zarr/x", region=np.s_[1]).shape == (16,)


def test_dask_arrays_are_written(store: Bound) -> None:
    dask = pytest.importorskip("dask.array", reason="dask is not installed")
    array = numbers("bfloat16")
    store.save(dask.from_array(array, chunks=(8, 8)), "a.zarr/x")
    assert store.load("a.zarr/x").tobytes() == array.tobytes()
    lazy = dask.from_array(store.open("a.zarr/x"))
    assert lazy.compute().tobytes() == array.tobytes()


def test_zarrs_pipeline_falls_back_to_zarr(tmp_path: Path) -> None:
    pytest.importorskip("zarrs", reason="zarrs is not installed")
    fm = FileManager()
    fm.registry.add("fast", "zarr", codec_pipeline="zarrs")
    array = numbers("float8_e5m2")
    fm.save(array, tmp_path / "a.zarr/x", "fast", compressor="zstd")
    assert fm.load(tmp_path / "a.zarr/x", "fast").tobytes() == array.tobytes()


@pytest.mark.frameworks
def test_arrays_of_frameworks_are_saved(store: Bound) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    jax = pytest.importorskip("jax.numpy", reason="jax is not installed")
    tensorflow = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    values = [
        torch.tensor([1.5, -2], dtype=torch.bfloat16),
        jax.array([1.5, -2], jax.bfloat16),
        tensorflow.constant([1.5, -2], tensorflow.bfloat16),
    ]
    for value in values:
        store.save(value, "a.zarr/x")
        found = store.load("a.zarr/x")
        assert found.dtype == ml_dtypes.bfloat16
        assert found.tolist() == [1.5, -2]
    tensor = store.load("a.zarr/x", framework="torch")
    assert tensor.dtype == torch.bfloat16
    assert torch.equal(tensor, values[0])


@pytest.mark.parametrize("name", ["bfloat16", "float8_e5m2"])
def test_formats_without_the_type_refuse_it(name: str, store: Bound, tmp_path: Path) -> None:
    array = numbers(name)
    with pytest.raises(UnsupportedDataError, match=f"Zarr 2 cannot have type {name}"):
        store.save(array, "a.zarr/x", zarr_format=2)
    with pytest.raises(
        UnsupportedDataError, match=f"cannot have {name} pixels: pass ome=False"
    ):
        store.save(array, "a.ome.zarr")
    table = np.zeros(3, [("a", array.dtype)])
    with pytest.raises(UnsupportedDataError, match=f"A field cannot have type {name}"):
        store.save(table, "a.zarr/x")
    with pytest.raises(UnsupportedDataError, match="does not have int4"):
        store.save(np.zeros(3, ml_dtypes.int4), "a.zarr/x")
    assert not store.exists("a.zarr/x")
    assert not store.exists("a.ome.zarr")


WITHOUT = """
import sys
sys.modules["ml_dtypes"] = None
from polystore_core import FileManager
from polystore_core.errors import MissingDependencyError
fm = FileManager()
print(fm.load("a.zarr/plain", "zarr").tolist())
try:
    fm.load("a.zarr/half", "zarr")
except MissingDependencyError as error:
    print(error)
"""


def test_without_ml_dtypes_the_error_says_what_to_install(store: Bound) -> None:
    store.save(numbers("bfloat16"), "a.zarr/half")
    store.save(np.arange(2), "a.zarr/plain")
    child = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=120
    )
    assert child.returncode == 0, child.stderr
    first, second = child.stdout.splitlines()
    assert first == "[0, 1]"
    assert "pip install 'polystore[ml_dtypes]'" in second
