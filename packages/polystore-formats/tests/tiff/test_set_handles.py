"""Handles on an OME-TIFF set, errors about its files, and elements of other programs."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import FileManager
from polystore_core.errors import DamagedDataError, InvalidOptionError

from .files import assert_same, image, tifffile
from .ome_sets import Block, Picture, document, one_plane_each, pages_of, write_file, write_set

if TYPE_CHECKING:
    from pathlib import Path

fm = FileManager()
STACK = image((2, 3, 4, 9, 8))


def test_handle_keeps_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many programs give the files of each acquisition the same names, in another folder."""
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        write_set(tmp_path / str(number), one_plane_each(STACK[:1] + number))
    monkeypatch.chdir(tmp_path / "0")
    with fm.open("s_00.ome.tif", "disk") as handle:
        monkeypatch.chdir(tmp_path / "1")
        assert_same(handle[...], STACK[0])
        with pickle.loads(pickle.dumps(handle)) as copy:
            assert_same(copy[...], STACK[0])


@pytest.mark.parametrize("damaged", [1, -1])  # a file that stays open, and one that does not
def test_damaged_pixels_name_their_file(tmp_path: Path, damaged: int) -> None:
    paths = write_set(tmp_path, one_plane_each(STACK), compression="zlib")
    with tifffile.TiffFile(paths[damaged]) as whole:
        (offset,) = whole.pages[0].dataoffsets
    with paths[damaged].open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 20)
    with fm.open(paths[0], "disk") as handle:
        for read in (lambda: fm.load(paths[0], "disk"), lambda: handle[...]):
            with pytest.raises(DamagedDataError) as caught:
                read()
            assert (caught.value.backend, caught.value.path) == ("disk", str(paths[damaged]))
        assert_same(handle[0, 0, 0], STACK[0, 0, 0])


def test_annotations_of_other_programs(tmp_path: Path) -> None:
    """They may have elements that are called as those of OME."""
    picture = one_plane_each(image((1, 1, 2, 9, 8, 3)), samples=3)
    other = (
        '<Value><OME/><Channel/><Image><Pixels SizeX="?"/></Image><TiffData IFD="?"/></Value>'
    )
    notes = f"<StructuredAnnotations><XMLAnnotation>{other}</XMLAnnotation>"
    for name, pages in pages_of([picture]).items():
        about = document([picture], name)
        about = about.replace("</OME>", f"{notes}</StructuredAnnotations></OME>")
        write_file(tmp_path / name, pages, about, photometric="rgb")
    expected = picture.array[0, 0]
    path = (tmp_path / "s_00.ome.tif").rename(tmp_path / "renamed.ome.tif")
    np.testing.assert_array_equal(tifffile.imread(path)[0], expected[0])
    assert_same(fm.load(path, "disk"), expected)


@pytest.mark.parametrize("name", ["s_00.ome.tif", "two.tif"])
@pytest.mark.parametrize("series", [1.0, 2, -1, "0"])
def test_series_that_is_not_there(tmp_path: Path, name: str, series: Any) -> None:
    write_set(tmp_path, one_plane_each(STACK[:1]), Picture(STACK[1:], [Block("b.tif", 0, 12)]))
    with tifffile.TiffWriter(tmp_path / "two.tif") as writer:
        for plane in (STACK[0, 0, 0], STACK[0, 0, 0, :5]):
            writer.write(plane, photometric="minisblack")
    with pytest.raises(InvalidOptionError, match="series"):
        fm.load(tmp_path / name, "disk", series=series)


@pytest.mark.parametrize("as_", [None, "image"])
@pytest.mark.parametrize("series", ["", [], 1])
def test_plain_file_has_one_series(tmp_path: Path, series: Any, as_: str | None) -> None:
    fm.save(STACK[0, 0], tmp_path / "a.tif", "disk")
    with pytest.raises(InvalidOptionError, match="series"):
        fm.load(tmp_path / "a.tif", "disk", series=series, as_=as_)
