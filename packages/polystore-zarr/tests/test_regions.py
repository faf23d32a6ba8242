"""Parts of arrays: which are read and written, which calls are refused, and which bytes stay."""

from __future__ import annotations

import pickle
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices

from polystore_core import FileManager
from polystore_core.errors import (
    AlreadyExistsError,
    DamagedDataError,
    InvalidOptionError,
    NotFoundError,
    UnsupportedDataError,
    UnsupportedOperationError,
)
from polystore_testing.examples import examples
from polystore_testing.values import make_measured
from polystore_zarr.backend import ZarrBackend

if TYPE_CHECKING:
    from pathlib import Path

fm = FileManager()
VALUES = np.random.default_rng(5).integers(0, 60_000, (5, 60, 70), "u2")
GRIDS: dict[str, dict[str, Any]] = {
    "chunks": {"chunks": (1, 16, 16), "shards": False},
    "shards": {"chunks": (1, 8, 8), "shards": (1, 16, 16)},
    "zarr 2": {"chunks": (1, 16, 16), "zarr_format": 2},
    "zstd": {"chunks": (1, 8, 8), "shards": (1, 16, 16), "compressor": "zstd"},
}


@pytest.fixture(params=GRIDS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An array whose unit is always 1 x 16 x 16, for our own chunk code and for that of zarr."""
    path = tmp_path / "a.zarr/x"
    fm.save(VALUES, path, backend="zarr", **GRIDS[request.param])
    return path


def chunk_files(path: Path) -> dict[str, Path]:
    """Return the files of an array. Their keys are positions in the grid, such as "0/1/2"."""
    files = (file for file in path.rglob("*") if file.is_file())
    # Only the name of a chunk is a number.
    return {"/".join(file.parts[-3:]): file for file in files if file.name.isdigit()}


# ── reading ──────────────────────────────────────────────────────────────────────────────


@settings(
    max_examples=examples(60),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(index=basic_indices(VALUES.shape, allow_newaxis=False))
def test_indexing_follows_numpy(path: Path, index: Any) -> None:
    found = fm.open(path, backend="zarr")[index]
    assert found.shape == VALUES[index].shape
    assert found.dtype == VALUES.dtype
    assert np.array_equal(found, VALUES[index])
    assert np.array_equal(fm.load(path, backend="zarr", region=index), VALUES[index])


def test_reading_opens_only_its_chunks(path: Path) -> None:
    for place, file in chunk_files(path).items():
        if place not in ("2/0/1", "2/1/1"):
            file.write_bytes(b"damaged")
    region = np.s_[2, 5:32, 16:32]
    assert np.array_equal(fm.load(path, backend="zarr", region=region), VALUES[region])
    with pytest.raises(DamagedDataError):
        fm.load(path, backend="zarr", region=np.s_[2, 5:33, 16:32])


def test_steps_skip_whole_chunks(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr/x"
    fm.save(np.arange(90), path, backend="zarr", chunks=10)
    for name in set(map(str, range(9))) - {"0", "4", "8"}:
        (path / "c" / name).write_bytes(b"damaged")
    handle = fm.open(path, backend="zarr")
    assert handle[::40].tolist() == [0, 40, 80]


@pytest.mark.parametrize("index", [5, (0, 0, 70), (0, 0, 0, 0), (..., ...)])
def test_index_out_of_range(path: Path, index: Any) -> None:
    with pytest.raises(IndexError):
        fm.open(path, backend="zarr")[index]


@pytest.mark.parametrize("index", [[0, 1], None, True, "x", np.array([1])])
def test_advanced_indexing_is_refused(path: Path, index: Any) -> None:
    with pytest.raises(InvalidOptionError, match="integers, slices"):
        fm.open(path, backend="zarr")[index]


# ── handles ──────────────────────────────────────────────────────────────────────────────


def test_handle_is_like_an_array(path: Path) -> None:
    with fm.open(path, backend="zarr") as handle:
        assert (handle.shape, handle.dtype, handle.ndim) == (VALUES.shape, VALUES.dtype, 3)
        assert (len(handle), handle.size, handle.nbytes) == (5, VALUES.size, VALUES.nbytes)
        assert np.array_equal(np.asarray(handle), VALUES)
        assert np.array_equal(np.asarray(handle, "f4"), VALUES.astype("f4"))
        assert np.array_equal(list(handle)[3], VALUES[3])
        assert handle[0, 10:20].flags.writeable


def test_xarray_accepts_a_handle(path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    array = xarray.DataArray(fm.open(path, backend="zarr"), dims=("z", "y", "x"))
    assert np.array_equal(array.isel(z=2, x=slice(3, 9)), VALUES[2, :, 3:9])


def test_pickled_handle_holds_the_path(path: Path) -> None:
    reader = fm.open(path, backend="zarr")
    writer = fm.open(path, backend="zarr", mode="r+")
    assert reader[1, 2, 3] == VALUES[1, 2, 3]
    again = pickle.loads(pickle.dumps(reader))
    assert np.array_equal(again[1], VALUES[1])
    pickle.loads(pickle.dumps(writer))[0] = VALUES[4]
    assert np.array_equal(again[0], VALUES[4])


def test_pickle_of_gone_array(path: Path) -> None:
    pickled = pickle.dumps(fm.open(path, backend="zarr"))
    fm.delete(path, backend="zarr")
    handle = pickle.loads(pickled)  # this reads no file
    with pytest.raises(NotFoundError, match="open it again"):
        handle[0]


def test_stale_handle_is_refused(path: Path) -> None:
    handle = fm.open(path, backend="zarr", mode="r+")
    for _ in range(4):  # a later folder may get the inode number of an earlier one
        fm.save(
            VALUES,
            path,
            backend="zarr",
            chunks=(1, 16, 16),
            shards=False,
            zarr_format=fm.info(path, backend="zarr").metadata["zarr_format"],
        )
        with pytest.raises(NotFoundError, match="open it again"):
            handle[0]
        with pytest.raises(NotFoundError, match="open it again"):
            handle[0] = 1
    assert np.array_equal(fm.load(path, backend="zarr"), VALUES)


def test_handle_in_many_threads(path: Path) -> None:
    handle = fm.open(path, backend="zarr")
    wrong: list[int] = []

    def read(number: int) -> None:
        for step in range(10):
            if not np.array_equal(handle[number, step:], VALUES[number, step:]):
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_levels_of_pyramids(tmp_path: Path) -> None:
    fm.save(VALUES, tmp_path / "a.ome.zarr", backend="zarr", axes="zyx", levels=3)
    shapes = [fm.open(tmp_path / "a.ome.zarr", backend="zarr", level=n).shape for n in range(3)]
    assert shapes == [(5, 60, 70), (5, 30, 35), (5, 15, 18)]
    for level in (3, -4):
        with pytest.raises(InvalidOptionError, match="0 to 2"):
            fm.open(tmp_path / "a.ome.zarr", backend="zarr", level=level)
    with pytest.raises(UnsupportedOperationError, match="pyramid"):
        fm.open(tmp_path / "a.ome.zarr", backend="zarr", mode="r+")
    with pytest.raises(UnsupportedOperationError, match="pyramid"):
        fm.save(VALUES[0], tmp_path / "a.ome.zarr", backend="zarr", region=0)


def test_level_of_plain_array(path: Path) -> None:
    with pytest.raises(InvalidOptionError, match="not a pyramid"):
        fm.load(path, backend="zarr", level=1)


@pytest.mark.parametrize("mode", ["w", "x", "", None])
def test_unknown_mode_is_refused(mode: Any, path: Path) -> None:
    with pytest.raises(InvalidOptionError, match=r"'r', 'r\+' or 'a'"):
        fm.open(path, backend="zarr", mode=mode)


# ── writing ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "region",
    [
        np.s_[2],
        np.s_[1:3, 16:48, 32:],
        np.s_[..., 64:],
        np.s_[:, 48:60, :16],
        np.s_[0, 0:16, 0:16],
        np.s_[::-1],
        np.s_[3:0:-1, 31:15:-1],
        ...,
        np.s_[2:2],
        (),
        np.s_[-1, -12:],
    ],
    ids=str,
)
def test_aligned_regions_are_written(region: Any, path: Path) -> None:
    expected = VALUES.copy()
    expected[region] = expected[region] // 3
    before = {place: file.stat().st_ino for place, file in chunk_files(path).items()}
    fm.save(expected[region], path, backend="zarr", region=region)
    assert np.array_equal(fm.load(path, backend="zarr"), expected)
    touched = np.zeros(VALUES.shape, bool)
    touched[region] = True
    for place, file in chunk_files(path).items():
        z, y, x = map(int, place.split("/"))
        inside = touched[z, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16].any()
        assert (file.stat().st_ino == before[place]) is not inside


@pytest.mark.parametrize(
    ("region", "box"),
    [
        (np.s_[0, 3:16, 0:16], "0:1, 0:16, 0:16"),
        (np.s_[1:3, 16:50, 60:], "1:3, 16:60, 48:70"),
        (np.s_[0, 59, 69], "0:1, 48:60, 64:70"),
        (np.s_[0, ::2], "0:1, 0:60, 0:70"),
        (np.s_[0, :15:-1, 1:], "0:1, 16:60, 0:70"),
    ],
)
def test_unaligned_regions_are_refused(region: Any, box: str, path: Path) -> None:
    new = np.zeros_like(VALUES[region])
    with pytest.raises(InvalidOptionError) as caught:
        fm.save(new, path, backend="zarr", region=region)
    assert f"[{box}]" in str(caught.value)
    assert "(1, 16, 16)" in str(caught.value)
    assert "unaligned='lock'" in str(caught.value)
    with pytest.raises(InvalidOptionError, match="unaligned"):
        fm.open(path, backend="zarr", mode="r+")[region] = new
    assert np.array_equal(fm.load(path, backend="zarr"), VALUES)
    fm.save(new, path, backend="zarr", region=region, unaligned="lock")
    expected = VALUES.copy()
    expected[region] = 0
    assert np.array_equal(fm.load(path, backend="zarr"), expected)


def test_unaligned_writes_under_lock(path: Path) -> None:
    def write(column: int) -> None:
        handle = fm.open(path, backend="zarr", mode="r+", unaligned="lock")
        for z in range(5):
            handle[z, :20, column] = np.full(20, column, "u2")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = fm.load(path, backend="zarr")
    assert np.array_equal(found[:, :20, :8], np.broadcast_to(np.arange(8), (5, 20, 8)))
    assert np.array_equal(found[..., 8:], VALUES[..., 8:])


def test_unknown_unaligned_is_refused(path: Path) -> None:
    for call in (fm.save, fm.open):
        arguments = (VALUES[0], path) if call == fm.save else (path,)
        extra: dict[str, Any] = {"region": 0} if call == fm.save else {}
        with pytest.raises(InvalidOptionError, match="'refuse' or 'lock'"):
            call(*arguments, backend="zarr", unaligned="allow", **extra)


@pytest.mark.parametrize("kind", ["f4", "u4", "i2", "i8", "f8", "c8", "U3", "M8[s]"])
def test_casts_are_refused(kind: str, path: Path) -> None:
    with pytest.raises(UnsupportedDataError, match="convert them"):
        fm.save(np.zeros((60, 70), kind), path, backend="zarr", region=0)
    assert np.array_equal(fm.load(path, backend="zarr"), VALUES)


@pytest.mark.parametrize("value", [np.ma.zeros((60, 70), "u2"), make_measured()])
def test_parts_lose_no_mask_or_unit(value: Any, path: Path) -> None:
    with pytest.raises(UnsupportedDataError, match=r"a.zarr/x.* would lose"):
        fm.save(value, path, backend="zarr", region=0)
    assert np.array_equal(fm.load(path, backend="zarr"), VALUES)


def test_whole_numbers_are_not_rounded(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr" / "b"
    fm.save(np.zeros(3), path, backend="zarr")
    fm.save(np.array([2**53]), path, backend="zarr", region=np.s_[:1], unaligned="lock")
    with pytest.raises(UnsupportedDataError, match="is 9007199254740993 and would become"):
        fm.save(np.array([2**53 + 1]), path, backend="zarr", region=np.s_[:1], unaligned="lock")
    assert fm.load(path, backend="zarr").tolist() == [2**53, 0, 0]


def test_safe_casts_are_made(path: Path) -> None:
    fm.save(np.ones((60, 70), "u1"), path, backend="zarr", region=0)
    fm.save(np.ones((60, 70), ">u2"), path, backend="zarr", region=1)
    assert np.array_equal(fm.load(path, backend="zarr", region=np.s_[:2]), np.ones((2, 60, 70)))


@pytest.mark.parametrize("value", [-1, 70_000, 1.5, float("nan"), 1j])
def test_numbers_that_do_not_fit(value: Any, path: Path) -> None:
    with pytest.raises((UnsupportedDataError, OverflowError)):
        fm.open(path, backend="zarr", mode="r+")[0] = value
    assert np.array_equal(fm.load(path, backend="zarr"), VALUES)


def test_handle_broadcasts_values(path: Path) -> None:
    handle = fm.open(path, backend="zarr", mode="r+")
    handle[0] = 7
    handle[1] = np.arange(70, dtype="u2")
    assert (handle[0] == 7).all()
    assert np.array_equal(handle[1, 33], np.arange(70))
    with pytest.raises(UnsupportedDataError, match="shape"):
        handle[2] = np.zeros(71, "u2")


def test_save_does_not_broadcast(path: Path) -> None:
    with pytest.raises(UnsupportedDataError, match=r"\(70,\).*\(60, 70\)"):
        fm.save(np.zeros(70, "u2"), path, backend="zarr", region=0)


def test_reading_handle_refuses_writes(path: Path) -> None:
    with pytest.raises(TypeError, match=r"r\+"):
        fm.open(path, backend="zarr")[0] = 1


def test_region_of_missing_array(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        fm.save(VALUES, tmp_path / "a.zarr/x", backend="zarr", region=...)
    assert list(tmp_path.iterdir()) == []


# ── create ───────────────────────────────────────────────────────────────────────────────


def test_created_array_reads_fill(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "shape": (40, 50),
        "dtype": "f4",
        "chunks": 20,
        "fill_value": -1.5,
    }
    handle = fm.create(tmp_path / "a.zarr/x", backend="zarr", **options)
    assert (handle[...] == -1.5).all()
    handle[20:, :20] = np.ones((20, 20), "f4")
    found = fm.load(tmp_path / "a.zarr/x", backend="zarr")
    assert (found[20:, :20] == 1).all()
    assert (found[:20] == -1.5).all()
    info = fm.info(tmp_path / "a.zarr/x", backend="zarr")
    assert (info.shape, info.metadata["fill_value"]) == ((40, 50), -1.5)


def test_create_if_exists(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr/x"
    options: dict[str, Any] = {"backend": "zarr", "shape": (4, 5), "dtype": "u2"}
    fm.create(path, **options)[...] = 3
    with pytest.raises(AlreadyExistsError):
        fm.create(path, **options)
    same = fm.create(path, **options, if_exists="skip")
    assert (same[...] == 3).all()
    same[...] = 4
    for other in ({"shape": (5, 4)}, {"dtype": "i2"}, {"dtype": ">u2"}):
        with pytest.raises(AlreadyExistsError):
            fm.create(path, **{**options, **other}, if_exists="skip")
    assert (fm.load(path, backend="zarr") == 4).all()
    assert (fm.create(path, **options, if_exists="replace")[...] == 0).all()


@pytest.mark.parametrize("shape", [(-1, 3), (2.5,), "ab", None])
def test_create_needs_a_valid_shape(shape: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidOptionError, match="shape"):
        fm.create(tmp_path / "a.zarr/x", backend="zarr", shape=shape, dtype="u1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(), 3, (0,), (2, 0, 3)])
def test_create_of_odd_shapes(shape: Any, tmp_path: Path) -> None:
    handle = fm.create(tmp_path / "a.zarr/x", backend="zarr", shape=shape, dtype="i4")
    handle[...] = 5
    expected = np.full(shape, 5, "i4")
    assert np.array_equal(fm.load(tmp_path / "a.zarr/x", backend="zarr"), expected)
    assert handle[...].shape == expected.shape


def test_slabs_from_many_threads(tmp_path: Path) -> None:
    handle = fm.create(
        tmp_path / "a.zarr/x",
        backend="zarr",
        shape=(16, 64, 64),
        dtype="u2",
        chunks=(1, 16, 16),
        shards=(2, 64, 64),
    )

    def write(number: int) -> None:
        handle[2 * number : 2 * number + 2] = np.full((2, 64, 64), number + 1, "u2")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = fm.load(tmp_path / "a.zarr/x", backend="zarr")
    assert np.array_equal(found[:, 3, 5], np.repeat(np.arange(1, 9), 2))


def test_zero_dimensional_handle(tmp_path: Path) -> None:
    fm.save(np.array(2.5), tmp_path / "a.zarr/x", backend="zarr")
    handle = fm.open(tmp_path / "a.zarr/x", backend="zarr", mode="r+")
    assert (handle[()], handle[...], float(np.asarray(handle))) == (2.5, 2.5, 2.5)
    handle[()] = 3.5
    assert fm.load(tmp_path / "a.zarr/x", backend="zarr") == 3.5
    with pytest.raises(TypeError, match="without dimensions"):
        len(handle)


@given(data=st.data())
@settings(max_examples=examples(40))
def test_locked_writes_follow_numpy(data: st.DataObject, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("any") / "a.zarr/x"
    expected = np.arange(11 * 13, dtype="i4").reshape(11, 13)
    shards = data.draw(st.sampled_from([False, (4, 6)]))
    fm.save(expected, path, backend="zarr", chunks=(2, 3), shards=shards)
    handle = fm.open(path, backend="zarr", mode="r+", unaligned="lock")
    for number in range(3):
        index = data.draw(basic_indices(expected.shape, allow_newaxis=False))
        new = (
            -np.arange(expected[index].size, dtype="i4").reshape(expected[index].shape) - number
        )
        expected[index] = new
        handle[index] = new
    assert np.array_equal(fm.load(path, backend="zarr"), expected)


def test_links_share_the_lock(tmp_path: Path) -> None:
    """All names of an array share one lock, also through a linked store, group or array."""
    backend = ZarrBackend()
    backend.create(f"{tmp_path}/a.zarr/g/x", shape=(64, 64), dtype="u2", chunks=32)
    (tmp_path / "b.zarr").symlink_to("a.zarr")
    (tmp_path / "c.zarr").mkdir()
    (tmp_path / "c.zarr/g").symlink_to("../a.zarr/g")
    (tmp_path / "c.zarr/x").symlink_to("../a.zarr/g/x")
    for name in ("a.zarr/g/x", "b.zarr/g/x", "c.zarr/g/x", "c.zarr/x"):
        handle = backend.open(f"{tmp_path}/{name}", mode="r+", unaligned="lock")
        handle[3:5, 3:5] = 1
    assert [path.name for path in tmp_path.glob(".~ps-*")] == [".~ps-a.zarr!g!x.lock"]


def test_interrupt_of_read_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during a read of an array that was saved again is not reported as "saved again"."""
    backend = ZarrBackend(root=tmp_path)
    backend.save(np.ones((8, 8)), "a.zarr")
    handle = backend.open("a.zarr")
    backend.save(np.ones((8, 8)), "a.zarr")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "empty", interrupt)
    with pytest.raises(KeyboardInterrupt):
        handle[:]
