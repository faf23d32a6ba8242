"""The levels of an image as handles."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from polystore_core import FileManager
from polystore_core.errors import NotFoundError

STACK = np.random.default_rng(1).integers(0, 4000, (2, 1001, 600), dtype="u2")


@pytest.fixture
def fm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileManager:
    monkeypatch.chdir(tmp_path)
    return FileManager()


@pytest.mark.parametrize("ome", ["0.4", "0.5"])
def test_each_level_has_its_own_metadata(fm: FileManager, ome: str) -> None:
    scale = {"y": 0.5, "x": 0.25}
    fm.save(STACK, "x.ome.zarr", "zarr", ome=ome, axes="cyx", scale=scale, units="um")
    levels = fm.open("x.ome.zarr", "zarr").levels
    assert [level.shape for level in levels] == fm.info("x.ome.zarr", "zarr").metadata["levels"]
    assert [level.level for level in levels] == [0, 1, 2]
    for number, level in enumerate(levels):
        np.testing.assert_array_equal(level[...], fm.load("x.ome.zarr", "zarr", level=number))
        assert level.image == fm.open("x.ome.zarr", "zarr", level=number).image
        assert level.image.scale == (None, 0.5 * 2**number, 0.25 * 2**number)
    again = pickle.loads(pickle.dumps(levels[1]))
    np.testing.assert_array_equal(again[1, ::7], levels[1][1, ::7])


def test_levels_start_with_the_handle(fm: FileManager) -> None:
    fm.save(STACK, "x.ome.zarr", "zarr", axes="cyx")
    handle = fm.open("x.ome.zarr", "zarr", level=1)
    assert handle.levels[0] is handle
    assert [level.level for level in handle.levels] == [1, 2]
    fm.save(STACK, "run.zarr/a", "zarr")
    plain = fm.open("run.zarr/a", "zarr")
    assert plain.levels == (plain,)


def test_levels_of_rgb_have_samples_last(fm: FileManager) -> None:
    picture = np.random.default_rng(2).integers(0, 255, (520, 300, 3), dtype="u1")
    fm.save(picture, "rgb.ome.zarr", "zarr")
    levels = fm.open("rgb.ome.zarr", "zarr").levels
    assert [level.shape for level in levels] == [(520, 300, 3), (260, 150, 3), (130, 75, 3)]
    np.testing.assert_array_equal(levels[1][...], fm.load("rgb.ome.zarr", "zarr", level=1))
    assert [level.image.names for level in levels] == [("y", "x", "s")] * 3


def test_unreadable_levels_are_left_out(fm: FileManager) -> None:
    fm.save(STACK, "x.ome.zarr", "zarr", axes="cyx", levels=5)
    Path("x.ome.zarr/1/zarr.json").write_text("{")
    shutil.rmtree("x.ome.zarr/2")
    levels = fm.open("x.ome.zarr", "zarr").levels
    assert [level.level for level in levels] == [0, 3, 4]
    np.testing.assert_array_equal(levels[0][...], STACK)


def test_levels_that_grow_are_left_out(fm: FileManager) -> None:
    fm.save(STACK, "x.ome.zarr", "zarr", axes="cyx", levels=3)
    shutil.rmtree("x.ome.zarr/2")
    shutil.copytree("x.ome.zarr/0", "x.ome.zarr/2")
    assert [level.level for level in fm.open("x.ome.zarr", "zarr").levels] == [0, 1]


def test_levels_of_old_image_are_not_mixed_with_new(fm: FileManager) -> None:
    fm.save(STACK, "x.ome.zarr", "zarr", axes="cyx")
    handle = fm.open("x.ome.zarr", "zarr")
    fm.save(STACK + 1, "x.ome.zarr", "zarr", axes="cyx")
    with pytest.raises(NotFoundError, match="saved again"):
        _ = handle.levels
