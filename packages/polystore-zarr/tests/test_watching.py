"""``FileManager.watch`` over zarr: arrays that grow while we follow them."""

import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from polystore_core import FileManager
from polystore_core.errors import DamagedDataError, StorageError

pytestmark = pytest.mark.timeout(120)

BARE = """
import sys, time
import numpy as np, zarr
array = zarr.create_array(
    sys.argv[1], shape=(0, 24, 32), chunks=(1, 24, 32), dtype="uint16", fill_value=0
)
for n in range(int(sys.argv[2])):
    array.resize((n + 1, 24, 32))
    time.sleep(0.02)  # the frame is there, and is not written
    array[n] = n + 1
"""


def test_array_that_another_program_resizes(tmp_path: Path) -> None:
    """It is longer before its frame is written: the frame is given when it is complete."""
    path = tmp_path / "run.zarr" / "movie"
    watch = FileManager().watch(path, backend="zarr")
    with subprocess.Popen([sys.executable, "-c", BARE, path, "40"]) as writer:
        found = [(item.index, item.load()) for item in islice(watch, 40)]
    assert writer.returncode == 0
    assert [index for index, _ in found] == list(range(40))
    for index, frame in found:
        assert np.array_equal(frame, np.full((24, 32), index + 1, "uint16"))


def test_arrays_of_a_folder(tmp_path: Path) -> None:
    fm = FileManager()
    watch = fm.watch(tmp_path / "plate", backend="zarr", pattern="*.tif", settle=0)
    image = np.arange(12, dtype="u2").reshape(3, 4)
    fm.save_batch(
        [image, image + 1, image],
        [tmp_path / "plate" / n for n in ("10.tif", "9.tif", "a")],
        "zarr",
    )
    first = list(islice(watch, 2))
    assert [Path(item.path).name for item in first] == ["9.tif", "10.tif"]
    assert not any(item.is_frame for item in first)
    fm.save(image + 2, tmp_path / "plate" / "8.tif", "zarr")
    third = next(watch)
    assert np.array_equal(third.load(region=1), (image + 2)[1])


def test_words_of_a_frame(tmp_path: Path) -> None:
    fm = FileManager()
    path = tmp_path / "run.ome.zarr"
    movie = np.arange(2 * 3 * 8 * 8, dtype="u2").reshape(2, 3, 8, 8)
    fm.save(movie, path, "zarr", axes="tcyx", scale={"y": 0.5, "x": 0.5}, units="um")
    _, item = fm.watch(path, backend="zarr", timeout=0)
    image = item.load(as_="image")
    assert np.array_equal(image.data, movie[1])
    assert "".join(axis.name for axis in image.metadata.axes) == "cyx"


def test_document_that_stays_damaged(tmp_path: Path) -> None:
    fm = FileManager()
    path = tmp_path / "run.zarr" / "movie"
    fm.save(np.zeros((2, 8, 8), "u1"), path, "zarr")
    watch = fm.watch(path, backend="zarr", settle=0.2)
    assert [item.index for item in islice(watch, 2)] == [0, 1]
    (path / "zarr.json").write_text('{"zarr_format": 3')
    with pytest.raises(DamagedDataError):
        next(watch)


def test_array_that_is_saved_again(tmp_path: Path) -> None:
    fm = FileManager()
    path = tmp_path / "run.zarr" / "movie"
    fm.save(np.zeros((2, 8, 8), "u1"), path, "zarr")
    watch = fm.watch(path, backend="zarr", settle=0)
    assert [item.index for item in islice(watch, 2)] == [0, 1]
    fm.save(np.zeros((3, 8, 9), "u1"), path, "zarr")
    with pytest.raises(StorageError, match="it was replaced while it was watched"):
        next(watch)
