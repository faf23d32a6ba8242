"""A file of an OME-TIFF set gives its whole series, as ``tifffile.imread`` gives it."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings

from polystore_core import FileManager, Image
from polystore_core.errors import (
    BatchError,
    DamagedDataError,
    InvalidOptionError,
    UnsupportedFileError,
)
from polystore_testing.examples import examples

from .files import TIFF, assert_same, image, tifffile
from .ome_sets import (
    Block,
    Picture,
    document,
    one_plane_each,
    pages_of,
    uuid_of,
    write_file,
    write_set,
)
from .test_parts import regions

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

fm = FileManager()
STACK = image((2, 3, 4, 9, 8))


def load(path: Path, **options: Any) -> NDArray[Any]:
    array: NDArray[Any] = fm.load(path, "disk", **options)
    return array


def check_set(paths: list[Path], expected: NDArray[Any]) -> None:
    """Each file gives the series: by load, open, info, as an image and in parts."""
    for path in paths:
        np.testing.assert_array_equal(tifffile.imread(path), expected)  # the oracle
        assert_same(load(path), expected)
        found = fm.load(path, "disk", as_="image")
        assert isinstance(found, Image)
        assert_same(found.data, expected)
        info = fm.info(path, "disk")
        assert (info.shape, info.dtype, info.image) == (
            expected.shape,
            expected.dtype.str,
            found.metadata,
        )
        assert info.metadata["missing_files"] == []
        part = (..., slice(1, 7, 2), slice(None, None, -1))
        assert_same(load(path, region=part), np.ascontiguousarray(expected[part]))
        with fm.open(path, "disk") as handle:
            assert (handle.shape, handle.dtype) == (expected.shape, expected.dtype)
            assert handle.image == found.metadata
            assert_same(handle[-1], expected[-1])
            with pickle.loads(pickle.dumps(handle)) as copy:
                assert_same(copy[part], np.ascontiguousarray(expected[part]))


FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "zlib": {"compression": "zlib"},
    "tiles": {"tile": (16, 16)},
    "big-endian": {"byteorder": ">"},
    "big-endian-lzw": {"byteorder": ">", "compression": "lzw", "predictor": True},
    "bigtiff": {"bigtiff": True},
}


@pytest.mark.parametrize("form", FORMS)
def test_one_plane_in_each_file(tmp_path: Path, form: str) -> None:
    paths = write_set(tmp_path, one_plane_each(STACK[:1]), **FORMS[form])
    order = FORMS[form].get("byteorder", "<")
    check_set(paths[::5], STACK[0].astype(f"{order}u2"))


@pytest.mark.parametrize("order", ["XYZCT", "XYZTC", "XYCZT", "XYCTZ", "XYTCZ", "XYTZC"])
def test_orders_of_planes(tmp_path: Path, order: str) -> None:
    blocks = [Block(f"f{n}.ome.tif", n * 5, min(5, 24 - n * 5)) for n in range(5)]
    paths = write_set(tmp_path, Picture(STACK, blocks, order))
    check_set(paths[::2], STACK)
    axes = "".join(axis.name for axis in fm.info(paths[0], "disk").image.axes)
    assert axes == order[::-1].lower()


SPLITS = {
    "pages from an offset": [Block("a.ome.tif", 0, 9, 2), Block("b.ome.tif", 9, 15, 1)],
    "two blocks of one file": [
        Block("a.ome.tif", 0, 9, 6),
        Block("b.ome.tif", 9, 9),
        Block("a.ome.tif", 18, 6),
    ],
    "no number of planes": [
        Block("a.ome.tif", 0, 9, attributes=""),
        Block("b.ome.tif", 9, 15, attributes=""),
    ],
    "one block for each plane": [
        Block("ab"[n // 12] + ".ome.tif", n, 1, n % 12, "IFD") for n in range(24)
    ],
    "planes in turns": [Block("ab"[n % 2] + ".ome.tif", n, 1, 11 - n // 2) for n in range(24)],
    "in a folder below": [Block("a.ome.tif", 0, 12), Block("more/b.ome.tif", 12, 12)],
}


@pytest.mark.parametrize("form", ["plain", "zlib"])
@pytest.mark.parametrize("name", SPLITS)
def test_pages_of_files(tmp_path: Path, name: str, form: str) -> None:
    paths = write_set(tmp_path, Picture(STACK, SPLITS[name]), **FORMS[form])
    check_set([path for path in paths if path.parent == tmp_path], STACK)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
def test_types(tmp_path: Path, dtype: str) -> None:
    array = STACK.astype(dtype)
    blocks = [Block("a.ome.tif", 0, 12), Block("b.ome.tif", 12, 12)]
    check_set(write_set(tmp_path, Picture(array, blocks)), array)


@pytest.mark.parametrize("form", ["plain", "zlib"])
def test_rgb(tmp_path: Path, form: str) -> None:
    array = image((1, 1, 4, 9, 8, 3), "u1")
    picture = one_plane_each(array, samples=3)
    paths = write_set(tmp_path, picture, photometric="rgb", **FORMS[form])
    check_set(paths[1:3], array[0, 0])


def test_planar_rgb(tmp_path: Path) -> None:
    array = image((1, 1, 4, 9, 8, 3), "u1")
    planar = Picture(array, one_plane_each(array).blocks, samples=3)
    for name, pages in pages_of([planar]).items():
        pages = {number: np.moveaxis(page, -1, 0) for number, page in pages.items()}
        options = {"photometric": "rgb", "planarconfig": "separate"}
        write_file(tmp_path / name, pages, document([planar], name), **options)
    check_set([tmp_path / "s_00.ome.tif"], np.moveaxis(array[0, 0], -1, 1).copy())


def test_files_with_other_byte_order(tmp_path: Path) -> None:
    picture = one_plane_each(STACK[:1, :1])
    for n, (name, pages) in enumerate(pages_of([picture]).items()):
        write_file(tmp_path / name, pages, document([picture], name), byteorder="<>"[n % 2])
    assert_same(load(tmp_path / "s_00.ome.tif"), STACK[0, 0])
    assert_same(load(tmp_path / "s_01.ome.tif"), STACK[0, 0].astype(">u2"))


@pytest.mark.parametrize("form", ["plain", "zlib"])
def test_any_region(tmp_path: Path, form: str) -> None:
    path = write_set(tmp_path, Picture(STACK, SPLITS["planes in turns"]), **FORMS[form])[0]
    with fm.open(path, "disk") as handle:

        @settings(max_examples=examples(60), database=None, deadline=None)
        @given(regions(STACK.shape))
        def check(region: Any) -> None:
            expected = np.array(STACK[region], STACK.dtype)
            assert_same(load(path, region=region), expected)
            assert_same(handle[region], expected)

        check()


def test_more_files_than_stay_open(tmp_path: Path) -> None:
    array = image((5, 3, 4, 9, 8))
    path = write_set(tmp_path, one_plane_each(array))[30]
    assert_same(load(path), array)
    with fm.open(path, "disk") as handle, ThreadPoolExecutor(4) as pool:
        wanted = [(t, c, z) for t in range(5) for c in range(3) for z in range(4)]
        for place, plane in zip(wanted, pool.map(handle.__getitem__, wanted), strict=True):
            assert_same(plane, array[place])


def test_region_opens_only_its_files(tmp_path: Path) -> None:
    paths = write_set(tmp_path, one_plane_each(STACK))
    for n, path in enumerate(paths):
        if n not in (0, 12, 13):
            path.unlink()
    assert_same(load(paths[0], region=np.s_[1, 0, :2]), STACK[1, 0, :2])
    with fm.open(paths[12], "disk") as handle:
        assert_same(handle[1, 0, 1, ::2], STACK[1, 0, 1, ::2])
        with pytest.raises(UnsupportedFileError, match=r"'s_14\.ome\.tif' .* is missing"):
            handle[1, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="system: does not list open files")
def test_files_are_closed(tmp_path: Path) -> None:
    paths = positions(tmp_path)

    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = count()
    load(paths[0])
    load(paths[0], series=1)
    fm.load(paths[0], "disk", as_="image", series=2)
    fm.info(paths[3], "disk")
    for options in ({}, {"region": 100}, {"series": 1, "region": 100}, {"level": 1}):
        if options:
            with pytest.raises((IndexError, InvalidOptionError)):
                load(paths[0], **options)
            with pytest.raises((IndexError, InvalidOptionError)):
                fm.load(paths[0], "disk", as_="image", **options)
        with fm.open(paths[0], "disk", series=1) as handle:
            handle[...]
    paths[3].write_bytes(b"II*\0 damaged")
    with pytest.raises(DamagedDataError, match="p1_b"):
        load(paths[2])
    assert count() == before


# ── the file alone, and missing files ────────────────────────────────────────────────────


def test_multifile_false_gives_planes_of_file(tmp_path: Path) -> None:
    path = write_set(tmp_path, Picture(STACK, SPLITS["no number of planes"]))[0]
    own = STACK.reshape(-1, 9, 8)[:9]
    assert_same(load(path, multifile=False), own)
    assert_same(load(path, multifile=False, region=3), own[3])
    assert_same(fm.load(path, "disk", as_="image", multifile=False).data, own)
    with fm.open(path, "disk", multifile=False) as handle:
        assert_same(handle[2:4], own[2:4])
        with pickle.loads(pickle.dumps(handle)) as copy:
            assert copy.shape == own.shape


def test_format_without_opener_loads_planes_of_file(tmp_path: Path) -> None:
    path = write_set(tmp_path, Picture(STACK, SPLITS["no number of planes"]))[1]
    assert_same(TIFF.load(io.BytesIO(path.read_bytes())), STACK.reshape(-1, 9, 8)[9:])


def test_missing_file_is_named(tmp_path: Path) -> None:
    paths = write_set(tmp_path, one_plane_each(STACK[:1, :1]))
    paths[2].unlink()
    for read in (
        load,
        lambda path: fm.load(path, "disk", as_="image"),
        lambda path: fm.open(path, "disk")[...],
    ):
        with pytest.raises(UnsupportedFileError) as caught:
            read(paths[0])
        assert caught.value.path == str(paths[0])
        assert "'s_02.ome.tif'" in str(caught.value)
        assert "multifile=False" in str(caught.value)
    info = fm.info(paths[0], "disk")
    assert info.shape == STACK.shape[2:]
    assert (info.metadata["files"], info.metadata["missing_files"]) == (4, ["s_02.ome.tif"])
    assert_same(load(paths[0], region=np.s_[:2]), STACK[0, 0, :2])
    assert_same(load(paths[0], multifile=False), STACK[0, 0, 0])
    paths[2].write_bytes(paths[3].read_bytes()[:200])
    with pytest.raises(DamagedDataError) as damaged:
        load(paths[0])
    assert damaged.value.path == str(paths[2])


def test_file_copied_alone(tmp_path: Path) -> None:
    path = write_set(tmp_path, one_plane_each(STACK[:1, :1]))[1]
    alone = tmp_path / "alone" / path.name
    alone.parent.mkdir()
    shutil.copy(path, alone)
    with pytest.raises(UnsupportedFileError, match=r"'s_00\.ome\.tif' .* is missing"):
        load(alone)
    assert fm.info(alone, "disk").metadata["missing_files"] == [
        f"s_0{n}.ome.tif" for n in (0, 2, 3)
    ]
    assert_same(load(alone, multifile=False), STACK[0, 0, 1])


def test_renamed_file_is_found_by_uuid(tmp_path: Path) -> None:
    paths = write_set(tmp_path, one_plane_each(STACK[:1, :1]))
    renamed = paths[1].rename(tmp_path / "renamed.ome.tif")
    assert_same(load(renamed), STACK[0, 0])
    with pytest.raises(UnsupportedFileError, match=r"'s_01\.ome\.tif' .* is missing"):
        load(paths[0])


@pytest.mark.parametrize("count", [2, 4])
def test_file_that_does_not_name_itself(tmp_path: Path, count: int) -> None:
    """OME asks for the names of other files only."""
    picture = one_plane_each(STACK[:1, :1, :count])
    for name, pages in pages_of([picture]).items():
        named = f'<UUID FileName="{name}">{uuid_of(name)}</UUID>'
        write_file(tmp_path / name, pages, document([picture], name).replace(named, ""))
    check_set([*tmp_path.iterdir()], STACK[0, 0, :count])
    (tmp_path / "s_01.ome.tif").unlink()
    with pytest.raises(UnsupportedFileError, match=r"'s_01\.ome\.tif' .* is missing"):
        load(tmp_path / "s_00.ome.tif")


@pytest.mark.parametrize("form", ["plain", "zlib"])
def test_planes_that_were_never_written(tmp_path: Path, form: str) -> None:
    """An acquisition of two files ended early: neither zeros nor fewer planes are returned."""
    blocks = [Block("a.ome.tif", 0, 12), Block("b.ome.tif", 12, 12)]
    picture = Picture(STACK, blocks)
    for name, pages in pages_of([picture]).items():
        there = {page: plane for page, plane in pages.items() if page < 10}
        write_file(tmp_path / name, there, document([picture], name), **FORMS[form])
    path = tmp_path / "b.ome.tif"
    with pytest.raises(UnsupportedFileError, match="plane t=0, c=2, z=2 into page 10 of the"):
        load(path)
    assert_same(load(path, region=np.s_[1, :2]), STACK[1, :2])
    picture = Picture(STACK, [blocks[0], Block("b.ome.tif", 12, 10)])
    path = write_set(tmp_path, picture, **FORMS[form])[0]
    with pytest.raises(UnsupportedFileError, match="plane t=1, c=2, z=2 into no file"):
        load(path)
    with fm.open(path, "disk") as handle:
        assert_same(handle[:, 1], STACK[:, 1])


# ── several series, levels, companions ───────────────────────────────────────────────────


def positions(folder: Path) -> list[Path]:
    """Write a set of two positions of two files each, and one image in both files."""
    first = Picture(STACK, [Block("p0_a.ome.tif", 0, 12), Block("p0_b.ome.tif", 12, 12)])
    second = Picture(
        STACK[:, :1] + 7, [Block("p1_a.ome.tif", 0, 4), Block("p1_b.ome.tif", 4, 4)], "XYCZT"
    )
    third = Picture(
        STACK[:1, :1, :2, :6] + 9,
        [Block(f"p1_{f}.ome.tif", n, 1, 4) for n, f in enumerate("ab")],
    )
    return write_set(folder, first, second, third)


def test_file_stands_for_its_own_series(tmp_path: Path) -> None:
    paths = positions(tmp_path)
    series = [STACK, STACK[:, 0] + 7, STACK[0, 0, :2, :6] + 9]
    for n, path in enumerate(paths):
        own = series[n // 2]
        assert_same(load(path), own)
        info = fm.info(path, "disk")
        assert (info.shape, info.metadata["series"]) == (own.shape, 3)
        assert info.image.name == f"image {n // 2}"
        with fm.open(path, "disk") as handle:
            assert handle.shape == own.shape
        for number, expected in enumerate(series):
            np.testing.assert_array_equal(tifffile.imread(path, series=number), expected)
            assert_same(load(path, series=number), expected)
            found = fm.load(path, "disk", as_="image", series=number)
            assert found.metadata.name == f"image {number}"
            with fm.open(path, "disk", series=number) as handle:
                assert_same(handle[-1], expected[-1])
        with pytest.raises(InvalidOptionError, match="0 to 2"):
            load(path, series=3)
    found = fm.load_batch(paths, "disk")
    assert [array.shape for array in found] == [series[n // 2].shape for n in range(4)]


def test_series_needs_only_its_files(tmp_path: Path) -> None:
    paths = positions(tmp_path)
    paths[0].unlink()
    assert_same(load(paths[2]), STACK[:, 0] + 7)
    assert fm.info(paths[2], "disk").metadata["missing_files"] == []
    with pytest.raises(UnsupportedFileError, match="p0_a"):
        load(paths[2], series=0)
    with pytest.raises(BatchError, match="p0_a"):
        fm.load_batch(paths[1:], "disk")


@pytest.mark.parametrize("form", ["plain", "zlib"])
def test_levels(tmp_path: Path, form: str) -> None:
    array = image((1, 1, 4, 64, 48))
    paths = write_set(tmp_path, one_plane_each(array), levels=2, **FORMS[form])
    sizes = [(4, 64, 48), (4, 32, 24), (4, 16, 12)]
    assert fm.info(paths[2], "disk").metadata["levels"] == sizes
    for level in range(-3, 3):
        step = 2 ** (level % 3)
        expected = array[0, 0, :, ::step, ::step].copy()
        np.testing.assert_array_equal(tifffile.imread(paths[1], level=level), expected)
        assert_same(load(paths[1], level=level), expected)
        with fm.open(paths[3], "disk", level=level) as handle:
            assert_same(handle[1:, 2:9], expected[1:, 2:9])
    with pytest.raises(InvalidOptionError, match="0 to 2"):
        load(paths[0], level=3)


def companion(folder: Path, name: str = "x.companion.ome") -> list[Path]:
    """Write a set whose metadata is in a file of its own, or in the first TIFF."""
    folder.mkdir(exist_ok=True)
    picture = one_plane_each(STACK[:1])
    written = []
    for file, pages in pages_of([picture]).items():
        only = f'<BinaryOnly MetadataFile="{name}" UUID="{uuid_of(name)}"/>'
        stub = f'<?xml version="1.0"?><OME UUID="{uuid_of(file)}">{only}</OME>'
        about = document([picture], file) if file == name else stub
        write_file(folder / file, pages, about)
        written.append(folder / file)
    if name.endswith(".ome"):
        (folder / name).write_text(document([picture], name))
    return written


@pytest.mark.parametrize("name", ["x.companion.ome", "s_00.ome.tif"])
def test_metadata_in_another_file(tmp_path: Path, name: str) -> None:
    paths = companion(tmp_path, name)
    for path in paths[::4]:
        assert_same(load(path), STACK[0])
        found = fm.info(path, "disk")
        assert found.shape == STACK[0].shape
        assert [channel.name for channel in found.image.channels] == ["c0", "c1", "c2"]
    renamed = paths[5].rename(tmp_path / "renamed.ome.tif")
    with pytest.raises(UnsupportedFileError, match=r"'s_05\.ome\.tif' .* is missing"):
        load(paths[3])
    assert_same(load(renamed), STACK[0])


def test_missing_companion_is_named(tmp_path: Path) -> None:
    paths = companion(tmp_path)
    (tmp_path / "x.companion.ome").unlink()
    for read in (load, lambda path: fm.open(path, "disk")):
        with pytest.raises(UnsupportedFileError, match=r"x\.companion\.ome.*multifile=False"):
            read(paths[2])
    info = fm.info(paths[2], "disk")
    assert (info.shape, info.metadata["missing_files"]) == ((9, 8), ["x.companion.ome"])
    assert_same(load(paths[2], multifile=False), STACK[0].reshape(-1, 9, 8)[2])


# ── other operations ─────────────────────────────────────────────────────────────────────


def test_copies_of_one_file(tmp_path: Path) -> None:
    paths = write_set(tmp_path / "set", one_plane_each(STACK[:1, :1]))
    fm.copy(paths[1], tmp_path / "copy.ome.tif", "disk")
    assert (tmp_path / "copy.ome.tif").read_bytes() == paths[1].read_bytes()
    (tmp_path / "copy.ome.tif").unlink()
    fm.transfer(
        tmp_path / "set",
        tmp_path / "there",
        source_backend="disk",
        target_backend="disk",
        verify="bytes",
    )
    for path in paths:
        assert (tmp_path / "there" / path.name).read_bytes() == path.read_bytes()
    assert_same(load(tmp_path / "there" / "s_03.ome.tif"), STACK[0, 0])


@pytest.mark.parametrize("form", ["plain", "zlib"])
def test_folder_is_converted_plane_by_plane(tmp_path: Path, form: str) -> None:
    """Each file has its own planes. With the series, n files would take n times the room."""
    paths = write_set(tmp_path / "set", one_plane_each(STACK[:1, :1]), **FORMS[form])
    for where in ("there", "again"):
        fm.transfer(
            tmp_path / "set",
            tmp_path / where,
            source_backend="disk",
            target_backend="disk",
            verify="values",
        )
        for number, path in enumerate(paths):
            assert_same(load(tmp_path / where / path.name), STACK[0, 0, number])
        # A file whose set is incomplete is converted as well.
        paths.pop().unlink()


def test_file_is_converted_with_its_set(tmp_path: Path) -> None:
    path = write_set(tmp_path / "set", one_plane_each(STACK[:1, :1]))[2]
    target = tmp_path / "whole.tif"
    fm.transfer(path, target, source_backend="disk", target_backend="disk", verify="values")
    assert_same(load(target), STACK[0, 0])
    fm.transfer(path, target, source_backend="disk", target_backend="disk", alone=True)
    assert_same(load(target), STACK[0, 0, 2])


def test_folder_without_its_companion_is_converted(tmp_path: Path) -> None:
    paths = companion(tmp_path / "set")
    (tmp_path / "set" / "x.companion.ome").unlink()
    there = tmp_path / "there"
    fm.transfer(tmp_path / "set", there, source_backend="disk", target_backend="disk")
    assert_same(load(there / paths[3].name), STACK[0].reshape(-1, 9, 8)[3])


def test_set_becomes_one_file(tmp_path: Path) -> None:
    path = write_set(tmp_path / "set", one_plane_each(STACK))[0]
    whole = fm.load(path, "disk", as_="image")
    fm.save(whole, tmp_path / "whole.ome.tif", "disk")
    assert_same(load(tmp_path / "whole.ome.tif"), STACK)
    found = fm.load(tmp_path / "whole.ome.tif", "disk", as_="image")
    assert found.metadata == whole.metadata
