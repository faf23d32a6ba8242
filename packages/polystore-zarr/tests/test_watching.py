"""``FileManager.watch`` over zarr, with arrays that grow while it runs."""

import subprocess
import sys
import threading
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
    time.sleep(0.02)  # the array has the frame, but it is not written yet
    array[n] = n + 1
"""


def test_array_that_another_program_resizes(tmp_path: Path) -> None:
    """The array gets longer before its frame is written. The frame arrives when it is complete."""
    path = tmp_path / "run.zarr" / "movie"
    watch = FileManager().watch(path, backend="zarr", settle=3)
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


def test_metadata_of_a_frame(tmp_path: Path) -> None:
    fm = FileManager()
    path = tmp_path / "run.ome.zarr"
    movie = np.arange(2 * 3 * 8 * 8, dtype="u2").reshape(2, 3, 8, 8)
    fm.save(movie, path, "zarr", axes="tcyx", scale={"y": 0.5, "x": 0.5}, units="um")
    _, item = fm.watch(path, backend="zarr", timeout=0)
    image = item.load(as_="image")
    assert np.array_equal(image.data, movie[1])
    assert "".join(axis.name for axis in image.metadata.axes) == "cyx"


def test_damaged_document_raises(tmp_path: Path) -> None:
    fm = FileManager()
    path = tmp_path / "run.zarr" / "movie"
    fm.save(np.zeros((2, 8, 8), "u1"), path, "zarr")
    watch = fm.watch(path, backend="zarr", settle=0.2)
    assert [item.index for item in islice(watch, 2)] == [0, 1]
    (path / "zarr.json").write_text('{"zarr_format": 3')
    with pytest.raises(DamagedDataError):
        next(watch)


def test_array_saved_again_raises(tmp_path: Path) -> None:
    fm = FileManager()
    path = tmp_path / "run.zarr" / "movie"
    fm.save(np.zeros((2, 8, 8), "u1"), path, "zarr")
    watch = fm.watch(path, backend="zarr", settle=0)
    assert [item.index for item in islice(watch, 2)] == [0, 1]
    fm.save(np.ones((3, 8, 8), "u1"), path, "zarr")
    with pytest.raises(
        StorageError, match="while it was watched, it was replaced by another array"
    ):
        next(watch)


# ── arrays that grow ─────────────────────────────────────────────────────────────────────

GROWING = """
import sys
import numpy as np
from polystore_core import FileManager

fm, path, start, stop = FileManager(), sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if start:
    handle = fm.open(path, backend="zarr", mode="a")
else:
    handle = fm.create(path, shape=(None, 24, 32), dtype="uint16", backend="zarr")
for n in range(len(handle), stop):
    handle.append(np.full((24, 32), n + 1, "uint16"))
    print(n, flush=True)
print("done", flush=True)
sys.stdin.readline()
"""


def test_killed_writer_and_the_next(tmp_path: Path) -> None:
    """Each frame arrives once, whole and in order, also from the writer after a kill."""
    path, found, acknowledged = tmp_path / "run.zarr" / "movie", [], 0
    stop = threading.Event()
    watch = FileManager().watch(path, backend="zarr", stop=stop)

    def follow() -> None:
        for item in watch:
            found.append((item.index, int(item.load().min()), int(item.load().max())))

    follower = threading.Thread(target=follow)
    follower.start()
    for kills in range(3):
        with _writer(path, acknowledged, 10_000) as writer:
            for line in islice(writer.stdout, 40 + kills):
                acknowledged = int(line) + 1
            writer.kill()
    with _writer(path, acknowledged, acknowledged + 20) as writer:
        lines = list(iter(writer.stdout.readline, "done\n"))
        stop.set()
        follower.join()
        writer.kill()
    assert found == [(n, n + 1, n + 1) for n in range(int(lines[-1]) + 1)]
    assert len(found) >= acknowledged


def _writer(path: Path, start: int, stop: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", GROWING, path, str(start), str(stop)]
    return subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_replaced_growing_array_raises(tmp_path: Path) -> None:
    """The new array has the same frames, and more of them."""
    fm, path = FileManager(), tmp_path / "run.zarr" / "movie"
    with fm.create(path, shape=(None, 8, 8), dtype="u1", backend="zarr") as handle:
        handle.extend(np.zeros((40, 8, 8), "u1"))
    watch = fm.watch(path, backend="zarr")
    first = list(islice(watch, 3))
    assert [item.index for item in first] == [0, 1, 2]
    with fm.create(
        path, shape=(None, 8, 8), dtype="u1", backend="zarr", if_exists="replace"
    ) as handle:
        handle.extend(np.ones((50, 8, 8), "u1"))
    with pytest.raises(
        StorageError, match="while it was watched, it was replaced by another array"
    ):
        list(watch)


def test_time_series_that_grows(tmp_path: Path) -> None:
    """Each frame of an image arrives with its metadata, while the levels of the image grow."""
    fm, path = FileManager(), tmp_path / "run.ome.zarr"
    words = {"axes": "tcyx", "scale": {"y": 0.5, "x": 0.5}, "units": "um"}
    with fm.create(path, "zarr", shape=(None, 2, 300, 300), dtype="u2", **words) as handle:
        watch = fm.watch(path, backend="zarr")
        for n in range(5):
            handle.append(np.full((2, 300, 300), n, "u2"))
            image = next(watch).load(as_="image")
            assert np.array_equal(image.data, np.full((2, 300, 300), n, "u2"))
            assert "".join(axis.name for axis in image.metadata.axes) == "cyx"
            assert image.metadata.axes[-1].scale == 0.5
