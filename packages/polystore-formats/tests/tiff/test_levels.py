"""Levels of pyramids in SubIFDs, as tifffile writes and reads them."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest

from polystore_core import FileManager
from polystore_core.errors import InvalidOptionError, UnknownOptionError

from .files import TIFF, assert_same, decode_tiff, encode_tiff, image, special, tifffile

LEVELS = [image((3, 128, 96)), image((3, 64, 48), seed=1), image((3, 32, 24), seed=2)]


def pyramid(**options: Any) -> Any:
    def write(writer: Any) -> None:
        writer.write(LEVELS[0], subifds=2, photometric="minisblack", **options)
        for level in LEVELS[1:]:
            writer.write(level, subfiletype=1, photometric="minisblack", **options)

    return write


FILES = {
    "plain": special(pyramid()),
    "tiles": special(pyramid(tile=(32, 32), compression="zlib")),
    "ome": special(pyramid(tile=(32, 32), metadata={"axes": "CYX"}), ome=True, bigtiff=True),
    "big_endian": special(pyramid(tile=(32, 32)), byteorder=">"),
}


@pytest.mark.parametrize("name", FILES)
def test_each_level_loads(tmp_path: Any, name: str) -> None:
    fm, path = FileManager(), tmp_path / "a.tif"
    path.write_bytes(FILES[name])
    assert fm.info(path, "disk").metadata["levels"] == [level.shape for level in LEVELS]
    for number, level in enumerate(LEVELS):
        expected = level.astype(level.dtype.newbyteorder(">" if name == "big_endian" else "<"))
        np.testing.assert_array_equal(tifffile.imread(path, level=number), level)
        for chosen in (number, number - len(LEVELS)):
            assert_same(fm.load(path, "disk", level=chosen), expected)
            with fm.open(path, "disk", level=chosen) as handle:
                assert handle.shape == level.shape
                assert_same(handle[1, 5:20, ::3], expected[1, 5:20, ::3])
        part = fm.load(path, "disk", level=number, region=np.s_[2, 3:9])
        assert_same(part, expected[2, 3:9])


def test_handle_on_a_level_is_pickled(tmp_path: Any) -> None:
    fm, path = FileManager(), tmp_path / "a.tif"
    path.write_bytes(FILES["tiles"])
    with fm.open(path, "disk", level=2) as handle, pickle.loads(pickle.dumps(handle)) as other:
        assert_same(other[...], LEVELS[2])


@pytest.mark.parametrize("level", [3, -4, 1.0, "0", None])
def test_missing_level_is_refused(tmp_path: Any, level: Any) -> None:
    fm, path = FileManager(), tmp_path / "a.tif"
    path.write_bytes(FILES["ome"])
    for read in (fm.load, fm.open):
        with pytest.raises(InvalidOptionError, match="0 to 2, because the image has 3 levels"):
            read(path, "disk", level=level)


def test_image_without_levels_has_one() -> None:
    data = encode_tiff(LEVELS[0])
    assert TIFF.info(io.BytesIO(data))["metadata"]["levels"] == [LEVELS[0].shape]
    for found in (decode_tiff(data, level=0), decode_tiff(data, level=-1)):
        assert_same(found, LEVELS[0])
    with pytest.raises(InvalidOptionError, match="the image has 1 level"):
        decode_tiff(data, level=1)


def test_open_has_the_options_of_its_format(tmp_path: Any) -> None:
    fm = FileManager()
    for suffix, options in (("npy", {"level": 0}), ("tif", {"levl": 0})):
        fm.save(LEVELS[0], tmp_path / f"a.{suffix}", "disk")
        with pytest.raises(UnknownOptionError):
            fm.open(tmp_path / f"a.{suffix}", "disk", **options)
