"""Many files as one lazy array: its labels, its blocks, and files that do not fit."""

from __future__ import annotations

import pickle
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import (
    Axis,
    BackendRegistry,
    FileManager,
    Image,
    ImageMetadata,
    StorageBackend,
    block_paths,
    stack,
)
from polystore_core.errors import (
    BatchError,
    InvalidOptionError,
    MissingDependencyError,
    NotFoundError,
    UnsupportedDataError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Python

    Plate = Callable[..., list[str]]

dask = pytest.importorskip("dask")
pytest.importorskip("xarray")

NAMES = "{well}_s{site}_w{channel}.tif"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def fm() -> FileManager:
    return FileManager()


@pytest.fixture
def plate(tmp_path: Path, fm: FileManager) -> Plate:
    """Return a function that saves one image for each path, filled with the number of the path."""

    def save(*names: str, shape: tuple[int, ...] = (4, 6), **words: Any) -> list[str]:
        paths = [str(tmp_path / name) for name in names]
        options: dict[str, Any] = {"scale": (0.5, 0.25), "units": "um", **words}
        for number, path in enumerate(paths):
            value: Any = np.full(shape, number, "u2")
            if Path(path).suffix == ".tif":
                value = Image.of(value, **options)
            fm.save(value, path, backend="disk")
        return paths

    return save


def grid(wells: str = "B02 B10 B2", sites: int = 2) -> list[str]:
    return [
        f"{w}_s{s}_w{c}.tif" for s in range(1, sites + 1) for w in wells.split() for c in "ab"
    ]


def test_labels_are_taken_from_names(plate: Plate) -> None:
    paths = plate(*grid("B10 B9"))
    found = stack(paths, backend="disk", names=NAMES)
    assert found.dims == ("well", "site", "channel", "y", "x")
    assert found.well.values.tolist() == ["B9", "B10"]  # In natural order.
    assert found.site.values.tolist() == [1, 2]
    assert found.channel.values.tolist() == ["a", "b"]
    assert (found.dtype, found.chunksizes["well"], found.chunksizes["x"]) == (
        "u2",
        (1, 1),
        (6,),
    )
    assert found.y.values.tolist() == [0, 0.5, 1, 1.5]
    assert found.x.attrs == {"units": "micrometer"}
    for number, path in enumerate(paths):
        well, site, channel = Path(path).stem.split("_")
        block = found.sel(well=well, site=int(site[1:]), channel=channel[1:])
        assert (block.values == number).all()


def test_blocks_read_their_file_alone(plate: Plate) -> None:
    paths = plate(*grid("B02", 2))
    found = stack(paths, backend="disk", names=NAMES)
    for path in paths[:3]:
        Path(path).unlink()
    assert (found.sel(site=2, channel="b").values == 3).all()
    with pytest.raises(NotFoundError, match=r"B02_s[12]_w[ab]\.tif"):
        found.compute()


def test_relative_paths_keep_their_folder(plate: Plate, tmp_path: Path) -> None:
    plate("a_1.tif", "a_2.tif", "other/a_2.tif")
    with chdir(tmp_path):
        found = stack(["a_1.tif", Path("a_2.tif")], backend="disk", names="a_{n}.tif")
    with chdir(tmp_path / "other"):
        assert found[:, 0, 0].values.tolist() == [0, 1]
        assert block_paths(found.data, (1, 0, 0)) == ["a_2.tif"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"shape": (5, 6)}, r"it has shape \(5, 6\), but '.*w1\.tif', .* has \(4, 6\)"),
        ({"scale": (0.5, 0.3)}, r"scale \(0\.5, 0\.3\), but .* \(0\.5, 0\.25\)"),
        ({"units": "nm"}, r"units \('nanometer', .* but .*'micrometer'"),
        ({"shape": (3, 4, 6), "scale": (1, 0.5, 0.25)}, r"shape \(3, 4, 6\), but .* \(4, 6\)"),
        ({"shape": (24,)}, r"shape \(24,\), but .* \(4, 6\)"),
    ],
)
def test_files_that_differ(plate: Plate, other: Any, message: str, tmp_path: Path) -> None:
    first, *_ = plate("A1_s1_w1.tif")
    if other.get("shape") == (24,):  # A plain array, which does not name its axes.
        second = str(tmp_path / "A1_s1_w2.npy")
        FileManager().save(np.zeros(24, "u2"), second, backend="disk")
    else:
        (second,) = plate("A1_s1_w2.tif", **other)
    names = "{well}_s{site}_w{channel}.*"
    found = stack([first, second], backend="disk", names=names)
    assert (found.sel(channel=1).values == 0).all()
    with pytest.raises(UnsupportedDataError, match=message) as caught:
        found.compute()
    assert caught.value.path == second
    with pytest.raises(BatchError, match=message) as all_of_them:
        stack([first, second], backend="disk", names=names, check="all")
    assert [path for path, _ in all_of_them.value.failed.values()] == [second]


def test_element_types_that_differ(tmp_path: Path, fm: FileManager) -> None:
    paths = [str(tmp_path / f"t{n}.npy") for n in range(3)]
    for path, dtype in zip(paths, ("<u2", ">u2", "f4"), strict=True):
        fm.save(np.ones((2, 3), dtype), path, backend="disk")
    found = stack(paths, backend="disk", names="t{time}.npy")
    assert found.dims == ("time", "y", "x")
    assert found[:2].values.sum() == 12  # Another byte order does not count as a difference.
    with pytest.raises(UnsupportedDataError, match=r"dtype float32, but '.*t0\.npy'.* uint16"):
        found.compute()


def test_metadata_of_other_files_only(plate: Plate) -> None:
    paths = plate("a_1.npy", "a_2.tif")
    message = r"scale \(0\.5, 0\.25\), but '.*a_1\.npy', .* has \(None, None\)"
    found = stack(paths, backend="disk", names="a_{n}.*")
    with pytest.raises(UnsupportedDataError, match=message):
        found.compute()
    with pytest.raises(BatchError, match=message):
        stack(paths, backend="disk", names="a_{n}.*", check="all")


def test_structures_are_stacked(tmp_path: Path, fm: FileManager) -> None:
    value = np.array([(1, 0.5), (2, 1.5)], [("a", "u1"), ("b", ">f4")])
    fm.save(value, tmp_path / "t1.npy", backend="disk")
    found = stack([tmp_path / "t1.npy"], backend="disk", names="t{t}.npy", check="all")
    assert found.values[0].tolist() == value.tolist()


def test_scale_with_other_digits_agrees(plate: Plate) -> None:
    paths = plate("a_1.tif") + plate("a_2.tif", scale=(0.50000001, 0.25))
    assert stack(paths, backend="disk", names="a_{site}.tif", check="all").sum().compute() == 0


@pytest.mark.parametrize(
    ("files", "names", "message"),
    [
        ([], NAMES, "at least one path"),
        (["A1_s1_w1.tif", "A1_s1.tif"], NAMES, r"A1_s1\.tif.* expected '_w'"),
        (["a.tif"], "*.tif", "a template with a field"),
        (
            ["a_1.tif", "a_01.tif"],
            "a_{site}.tif",
            r"a_1\.tif' and '.*a_01\.tif' both have site=1",
        ),
        (["a_1.tif"] * 2, "a_{site}.tif", r"a_1\.tif' and '.*a_1\.tif' both have site=1"),
        (["a_1.tif"], "a_{y}.tif", r"\{y\} .* is also an axis of the files \(y, x\)"),
        (
            [f"A{n}_{n}.tif" for n in range(1, 4)],
            "{well}_{site}.tif",
            r"6 of 9 combinations have no file: well='A1', site=2; .*; …\. Pass missing=0",
        ),
    ],
)
def test_impossible_names(plate: Plate, files: list[str], names: str, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        stack(plate(*files), backend="disk", names=names)


def test_missing_files_are_filled(plate: Plate) -> None:
    paths = plate("A1_1.tif", "A2_2.tif")
    found = stack(paths, backend="disk", names="{well}_{site}.tif", missing=7)
    assert found[..., 0, 0].values.tolist() == [[0, 7], [7, 1]]
    for value in (-1, [1, 2, 3]):
        with pytest.raises(InvalidOptionError, match=r"missing=.*one value of .* uint16"):
            stack(paths, backend="disk", names="{well}_{site}.tif", missing=value)  # type: ignore[arg-type]


def test_endless_combinations_are_refused() -> None:
    paths = [f"a{n}_b{n}_c{n}.tif" for n in range(200)]
    message = "200 files make 8,000,000 combinations .a: 200, b: 200, c: 200."
    with pytest.raises(InvalidOptionError, match=message):
        stack(paths, backend="disk", names="a{a}_b{b}_c{c}.tif", missing=0)


def test_different_times_are_left_out(fm: FileManager) -> None:
    for site, times in {"1": (0.0, 1.0, 5.0), "2": (0.0, 2.0, 7.0)}.items():
        axes = (Axis("t", "time", "second", coords=times), Axis("y"), Axis("x"))
        image = Image(np.zeros((3, 4, 6), "u2"), ImageMetadata(axes=axes))
        fm.save(image, f"site{site}", backend="memory")
    found = stack(
        ["site1", "site2"], backend="memory", names="site{site}", files=fm, check="all"
    )
    assert (found.dims, list(found.coords)) == (("site", "t", "y", "x"), ["site"])


def test_large_file_is_read_in_parts(tmp_path: Path, fm: FileManager) -> None:
    paths = [str(tmp_path / f"t{n}.npy") for n in range(2)]
    fm.save(
        np.broadcast_to(np.arange(5, dtype="u1"), (17, 1 << 20, 5)), paths[0], backend="disk"
    )
    fm.save(np.zeros((17, 1 << 20, 4), "u1"), paths[1], backend="disk")
    found = stack(paths, backend="disk", names="t{t}.npy")
    assert found.chunksizes["z"] == (12, 5)
    assert found[0, 13, -1].values.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(UnsupportedDataError, match=r"\(17, 1048576, 4\), but '.*t0.npy'"):
        found[1, 13, -1].compute()


def test_own_axes_and_channels_follow(plate: Plate) -> None:
    paths = plate(
        "s1.tif",
        "s2.tif",
        shape=(2, 4, 6),
        scale=(1, 0.5, 0.5),
        axes="cyx",
        channels=["a", "b"],
    )
    found = stack(paths, backend="disk", names="s{site}.tif", check="all")
    assert found.dims == ("site", "c", "y", "x")
    assert found.c.values.tolist() == ["a", "b"]
    assert (found.sel(site=2, c="b").values == 1).all()
    other = plate(
        "s2.tif", shape=(2, 4, 6), scale=(1, 0.5, 0.5), axes="cyx", channels=["a", "c"]
    )
    with pytest.raises(
        UnsupportedDataError, match=r"channels \('a', 'c'\), but .*\('a', 'b'\)"
    ):
        stack([paths[0], *other], backend="disk", names="s{site}.tif").compute()


class Shelf(StorageBackend):
    """A class of the test process, which other processes do not have."""

    _backend_type = "shelf of test_stacking"

    def load(self, path: Any, /) -> Any:
        return np.ones(3) if "1" in str(path) else {"no": "array"}

    def save(self, data: Any, path: Any, /) -> None: ...


def test_backend_without_headers() -> None:
    found = stack(["a1", "a10"], backend=Shelf._backend_type, names="a{site}")
    assert (found.dims, found.values.tolist()) == (("site", "dim_0"), [[1, 1, 1]] * 2)
    with pytest.raises(UnsupportedDataError, match="'a2' cannot be stacked: expected an array"):
        stack(["a2"], backend=Shelf._backend_type, names="a{site}")


def test_blocks_are_read_in_other_processes(
    plate: Plate, python: Python, tmp_path: Path
) -> None:
    plate("a_1.tif", "a_2.tif")
    registry = BackendRegistry()
    with chdir(tmp_path.parent):  # The other process has another current folder.
        registry.add("raw", "disk", root=tmp_path.name)
    files = FileManager(registry)
    paths = ["a_1.tif", "a_2.tif"]
    for name, array in {
        "here": stack(paths, backend="raw", names="a_{n}.tif", files=files),
        "there": stack(["1"], backend=Shelf._backend_type, names="{n}"),
    }.items():
        (tmp_path / name).write_bytes(pickle.dumps(array))
    code = """
import pickle, sys
from pathlib import Path
here, there = (pickle.loads(Path(path).read_bytes()) for path in sys.argv[1:])
print(int(here.sum().compute(scheduler="threads")))
there.compute(scheduler="synchronous")
"""
    ended = python(code, tmp_path / "here", tmp_path / "there")
    assert ended.stdout == "24\n"
    failure = "UnknownPluginError: no backend is called 'shelf of test_stacking'"
    assert failure in ended.stderr
    assert "was reading '1' in the folder '/'" in ended.stderr
    assert "this process needs the same files and the same packages" in ended.stderr


def test_graph_is_small_and_needs_one_header(plate: Plate) -> None:
    """The task of a block holds only its own path, and no other file needs to exist."""
    (first,) = plate("t0.tif")
    paths = [first.replace("t0", f"t{n}") for n in range(2_000)]
    found = stack(paths, backend="disk", names="t{t}.tif")
    assert len(pickle.dumps(found)) < 200 * len(paths) + 10_000


def test_files_of_a_block(plate: Plate) -> None:
    paths = plate("A1_1.tif", "A1_2.tif", "A2_2.tif")
    found = (stack(paths, backend="disk", names="{well}_{site}.tif", missing=0) + 1).data
    assert block_paths(found, (0, 1, 0, 0)) == [paths[1]]
    assert block_paths(found, (1, 0, 0, 0)) == []
    assert block_paths(found.rechunk((2, 2, 4, 3)), (0, 0, 0, 1)) == paths
    assert block_paths(found.persist(), (0, 0, 0, 0)) == []
    for block in ((0, 2, 0, 0), (0, -1, 0, 0), (0, 1)):
        with pytest.raises(
            InvalidOptionError, match=r"one number below each of \(2, 2, 1, 1\)"
        ):
            block_paths(found, block)


def test_progress_of_headers(plate: Plate) -> None:
    message: list[tuple[int, int]] = []
    paths = plate(*grid())
    stack(
        paths, backend="disk", names=NAMES, check="all", progress=lambda *n: message.append(n)
    )
    assert message == [(n, 12) for n in range(1, 13)]


def test_missing_library_is_reported(python: Python) -> None:
    code = "import sys; sys.modules['xarray'] = None; from polystore_core import stack; "
    message = python(f"{code} stack([], backend='disk', names='a')").stderr
    assert f"errors.{MissingDependencyError.__name__}: " in message
    assert message.endswith(f"See {MissingDependencyError.page}\n")
    assert "function 'stack' needs xarray" in message
    assert "pip install 'polystore-core[dask]'" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [({"check": "none"}, "'first' or 'all'"), ({"files": BackendRegistry()}, "a FileManager")],
)
def test_wrong_options_are_refused(options: Any, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        stack(["a"], backend="disk", names="{a}", **options)
