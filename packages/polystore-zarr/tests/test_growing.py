"""Arrays that grow: one writer appends while others read."""

from __future__ import annotations

import gc
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import (
    AlreadyExistsError,
    DamagedDataError,
    InvalidOptionError,
    LockTimeoutError,
    NotFoundError,
    UnsupportedDataError,
    UnsupportedOperationError,
)

FRAME = (40, 30)
LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "several": {"chunks": (4, 16, 16)},
    "sharded": {"chunks": (2, 20, 15), "shards": (4, 40, 30)},
    "zstd": {"compressor": "zstd", "chunks": (3, 40, 30)},
    "older": {"zarr_format": 2},
}


def frame(number: int, dtype: str = "u2") -> Any:
    return np.full(FRAME, number, dtype)


def frames(count: int, start: int = 0) -> Any:
    return np.stack([frame(n) for n in range(start, start + count)])


@pytest.fixture(params=["root", "plain"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> FileManager:
    registry = BackendRegistry()
    if request.param == "root":
        registry.add("z", "zarr", root=str(tmp_path))
    else:
        registry.add("z", "zarr")
        os.chdir(tmp_path)
    return FileManager(registry)


@pytest.fixture(autouse=True)
def _restore_folder() -> Any:
    before = Path.cwd()
    yield
    os.chdir(before)


def make(files: FileManager, path: str = "run.zarr/movie", **options: Any) -> Any:
    return files.create(path, "z", shape=(None, *FRAME), dtype="u2", **options)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_readers_see_whole_frames(files: FileManager, tmp_path: Path, layout: str) -> None:
    """Our readers and bare zarr see whole frames only.

    An open handle keeps its shape, and can read while the array grows.
    """
    with make(files, **LAYOUTS[layout]) as handle:
        early = files.open("run.zarr/movie", "z")
        assert handle.shape == early.shape == (0, *FRAME)
        assert early[...].shape == (0, *FRAME)
        for count in range(1, 10):
            handle.append(frame(count - 1))
            assert handle.shape == files.info("run.zarr/movie", "z").shape == (count, *FRAME)
            if count == 3:
                early = files.open("run.zarr/movie", "z")
            bare: Any = zarr.open_array(tmp_path / "run.zarr/movie", mode="r")
            assert bare.shape == (count, *FRAME)
            assert (bare[count - 1] == count - 1).all()
        handle.extend(frames(5, 9))
        handle.extend([frame(14), frame(15)])
        handle.extend([])
        assert early.shape == (3, *FRAME)
        assert (early[...] == frames(3)).all()
        assert (handle[...] == frames(16)).all()
    assert (files.load("run.zarr/movie", "z") == frames(16)).all()
    assert (files.load("run.zarr/movie", "z", region=np.s_[7]) == frame(7)).all()


def test_appending_continues_later(files: FileManager) -> None:
    make(files).close()
    for count in range(0, 6, 2):
        with files.open("run.zarr/movie", "z", mode="a") as handle:
            handle.append(frame(count))
        with make(files, if_exists="skip") as handle:
            handle.append(frame(count + 1))
    assert (files.load("run.zarr/movie", "z") == frames(6)).all()
    with pytest.raises(AlreadyExistsError):
        make(files)
    with pytest.raises(AlreadyExistsError):
        files.create("run.zarr/movie", "z", shape=(None, 3), dtype="u2", if_exists="skip")
    with make(files, if_exists="replace") as handle:  # no lock was left behind
        assert len(handle) == 0


def test_bad_frames_are_refused_before_any_byte(files: FileManager, tmp_path: Path) -> None:
    with make(files) as handle:
        handle.append(frame(0))
        before = sorted(tmp_path.rglob("*"))
        for bad in (frame(1)[1:], frames(1), 3, None, "a", [[1], [2, 3]], [[1] * 30] * 40):
            with pytest.raises(UnsupportedDataError):
                handle.append(bad)
        for dtype in ("u1", "i2", "f4", "u4", "bool"):  # even if the values would fit
            with pytest.raises(UnsupportedDataError, match=r"dtype='uint16'\)") as caught:
                handle.append(frame(1, dtype))
            assert np.dtype(dtype).name in str(caught.value)
        for bad in (frame(1), [frame(1), frame(2)[1:]], frames(2).astype("u1"), None, 3):
            with pytest.raises(UnsupportedDataError):
                handle.extend(bad)
        assert sorted(tmp_path.rglob("*")) == before
        handle.append(frame(1, ">u2"))
        handle.extend(handle)  # a handle reads like any sequence of frames
        assert (handle[2:] == frames(2)).all()
        os.chdir(tmp_path.parent)  # its path may be relative
        handle.extend(list(frames(2)))
        assert (handle[4:] == frames(2)).all()
    with files.create("run.zarr/values", "z", shape=(None,), dtype="u1") as values:
        values.extend([1, 255])
        with pytest.raises(UnsupportedDataError):
            values.append(256)
        assert values[...].tolist() == [1, 255]
    with files.create("run.zarr/empty", "z", shape=(None, 0, 3), dtype="u1") as empty:
        empty.append(np.empty((0, 3), "u1"))
        assert empty[...].shape == (1, 0, 3)


def test_second_writer_is_refused(files: FileManager, tmp_path: Path) -> None:
    with make(files) as handle:
        handle.append(frame(0))
        me = f"process {os.getpid()} "
        for again in (
            lambda: files.open("run.zarr/movie", "z", mode="a"),
            lambda: make(files, if_exists="skip"),
            lambda: make(files, if_exists="replace"),
            lambda: files.save(frame(1), "run.zarr/movie", "z"),
        ):
            with pytest.raises(LockTimeoutError, match=me):
                again()
        path = str(tmp_path / "run.zarr/movie")
        code = (
            "import sys; from polystore_zarr.backend import ZarrBackend; "
            "ZarrBackend().open(sys.argv[1], mode='a')"
        )
        other = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, check=False
        )
        assert f"it has a writer, {me}" in other.stderr
        handle.append(frame(1))
    files.save(frame(1), "run.zarr/movie", "z")
    with pytest.raises(ValueError, match="closed"):
        handle.append(frame(2))


def test_dropped_handle_releases_the_lock(files: FileManager) -> None:
    handle = make(files)
    handle.append(frame(0))
    del handle
    gc.collect()
    with files.open("run.zarr/movie", "z", mode="a") as again:
        assert (again[...] == frames(1)).all()


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)", "import os; os._exit(0)"])
def test_program_that_does_not_close(tmp_path: Path, end: str) -> None:
    """All frames are stored, the lock is free, and the end of the program prints nothing."""
    code = f"""if True:
        import sys, numpy
        from polystore_core import FileManager
        files = FileManager()
        handle = files.create(sys.argv[1], "zarr", shape=(None, 3), dtype="u1")
        handle.extend(numpy.ones((5, 3), "u1"))
        {end}"""
    path = str(tmp_path / "run.zarr/movie")
    command = [sys.executable, "-Wall", "-Xdev", "-c", code, path]
    other = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (other.returncode, other.stdout, other.stderr) == (0, "", "")
    with FileManager().open(path, "zarr", mode="a") as handle:
        assert (handle[...] == np.ones((5, 3))).all()


@pytest.mark.skipif(sys.platform == "win32", reason="system: needs fork")
def test_forked_child_does_not_append(files: FileManager) -> None:
    with make(files) as handle:
        child = os.fork()
        if not child:
            try:
                handle.append(frame(0))
            except ValueError:
                handle.close()  # does not release the lock of the parent
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        with pytest.raises(LockTimeoutError):
            files.open("run.zarr/movie", "z", mode="a")
        handle.append(frame(0))


def test_fixed_arrays_do_not_grow(files: FileManager) -> None:
    files.save(frames(2), "run.zarr/fixed", "z")
    fixed = files.open("run.zarr/fixed", "z")
    for call in (lambda: fixed.append(frame(0)), lambda: fixed.extend(frames(1)), fixed.flush):
        with pytest.raises(UnsupportedOperationError, match=r"'run.zarr/fixed'.*shape=") as e:
            call()
        assert e.value.backend == "z"
    with pytest.raises(
        UnsupportedOperationError, match=r"'run.zarr/fixed'.*fixed shape.*shape=\(None"
    ):
        files.open("run.zarr/fixed", "z", mode="a")
    with pytest.raises(NotFoundError):
        files.open("run.zarr/none", "z", mode="a")
    for shape in ((3, None), (None, None), (None, -1), None):
        with pytest.raises((InvalidOptionError, TypeError)):
            files.create("run.zarr/a", "z", shape=shape, dtype="u2")


def test_other_stores_are_refused(tmp_path: Path) -> None:
    registry = BackendRegistry()
    registry.add("z", "zarr", store="memory")
    for files, path in (
        (FileManager(registry), "run.zarr/movie"),
        (FileManager(), str(tmp_path / "run.zarr.zip/movie")),
    ):
        backend = "z" if path.startswith("run") else "zarr"
        with pytest.raises(UnsupportedOperationError):
            files.create(path, backend, shape=(None, 4), dtype="u1")
        assert not files.exists(path, backend)


def test_replaced_array_is_noticed(files: FileManager) -> None:
    """If an array was deleted, moved or replaced, its writer does not write into another one."""
    for change in ("delete", "move"):
        with make(files, if_exists="replace") as handle:
            handle.append(frame(0))
            reader = files.open("run.zarr/movie", "z")
            if change == "delete":
                files.delete("run.zarr/movie", "z")
                files.save(frames(3, 5), "run.zarr/movie", "z")
            else:
                files.move("run.zarr/movie", "run.zarr/moved", "z")
            with pytest.raises(NotFoundError, match="open it again"):
                handle.append(frame(1))
            with pytest.raises(NotFoundError, match="open it again"):
                reader[0]
    assert (files.load("run.zarr/moved", "z") == frames(1)).all()
    assert files.exists("run.zarr/movie", "z") is False


def test_copies_grow_too(files: FileManager) -> None:
    with make(files) as handle:
        handle.extend(frames(3))
        files.copy("run.zarr/movie", "other.zarr/movie", "z")
        handle.append(frame(3))
        with files.open("other.zarr/movie", "z", mode="a") as other:  # a lock of its own
            other.append(frame(9))
    assert (files.load("run.zarr/movie", "z") == frames(4)).all()
    assert (files.load("other.zarr/movie", "z", region=np.s_[3]) == 9).all()


def test_handle_pickles_as_reader(files: FileManager) -> None:
    with make(files) as handle:
        handle.extend(frames(3))
        reader = pickle.loads(pickle.dumps(handle))
        assert (reader[...] == frames(3)).all()
        with pytest.raises(UnsupportedOperationError):
            reader.append(frame(3))


def test_interrupted_append_is_forgotten(
    files: FileManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error may come before or after the commit. The next frame then follows the last one."""
    with make(files) as handle:
        handle.append(frame(0))
        rename, moments = os.replace, ["before", "after"]

        def fail(*args: Any, **options: Any) -> None:
            if moments.pop(0) == "after":
                rename(*args, **options)
            raise KeyboardInterrupt

        for _ in range(2):
            monkeypatch.setattr(os, "replace", fail)
            with pytest.raises(KeyboardInterrupt):
                handle.append(frame(1))
            monkeypatch.undo()
        handle.append(frame(2))
        assert (handle[...] == frames(3)).all()


def test_incomplete_tail_is_cut(files: FileManager, tmp_path: Path) -> None:
    """A power cut may leave an empty document, and chunks without their bytes."""
    array = tmp_path / "run.zarr/movie"
    with make(files) as handle:
        handle.extend(frames(4))
        handle.flush()
        handle.extend(frames(4, 4))
        document = (array / "zarr.json").read_text()
    text = (array / "zarr.json").read_text()
    (array / "zarr.json").write_text(document)
    (array / "c/6/0/0").write_bytes(b"")
    with pytest.raises(DamagedDataError, match="Frames from 4 on were not flushed"):
        files.load("run.zarr/movie", "z")
    intact = (array / "c/2/0/0").read_bytes()
    (array / "c/2/0/0").write_bytes(b"")
    with pytest.raises(
        DamagedDataError
    ) as caught:  # a flushed chunk, which survives a power cut
        files.load("run.zarr/movie", "z", region=np.s_[:3])
    assert "flushed" not in str(caught.value)
    (array / "c/2/0/0").write_bytes(intact)
    assert (files.load("run.zarr/movie", "z", region=np.s_[:6]) == frames(6)).all()
    with files.open("run.zarr/movie", "z", mode="a") as handle:
        assert len(handle) == 6
        handle.append(frame(6))
    assert (files.load("run.zarr/movie", "z") == frames(7)).all()
    for damage in ("", text[:90], "\0" * 300):
        (array / "zarr.json").write_text(damage)
        assert (files.load("run.zarr/movie", "z") == frames(7)).all()
    (tmp_path / "run.zarr/zarr.json").write_text("{")  # the document of the group is not needed
    with files.open("run.zarr/movie", "z", mode="a") as handle:
        assert zarr.open_array(array, mode="r").shape == (7, *FRAME)
        handle.append(frame(7))


def test_bad_mark_cuts_nothing(files: FileManager, tmp_path: Path) -> None:
    document = tmp_path / "run.zarr/movie/zarr.json"
    with make(files) as handle:
        handle.append(frame(0))
    for count, mark in enumerate((-3, 10**30, True, "x", None), 1):
        text = json.loads(document.read_text())
        text["attributes"]["polystore"]["flushed"] = mark
        document.write_text(json.dumps(text))
        with files.open("run.zarr/movie", "z", mode="a") as handle:
            assert len(handle) == count
            handle.append(frame(count))
    assert (files.load("run.zarr/movie", "z") == frames(6)).all()


def test_durable_flushes_each_append(files: FileManager, tmp_path: Path) -> None:
    with make(files, durable=True) as handle:
        handle.append(frame(0))
        copy = next((tmp_path / "run.zarr/movie").glob(".~ps-flushed-zarr.json")).read_bytes()
        assert copy == (tmp_path / "run.zarr/movie/zarr.json").read_bytes()
        assert b'"flushed":1' in copy.replace(b" ", b"")


@pytest.mark.parametrize("ome", ["0.5", "0.4"])
def test_time_series_grow_with_their_levels(
    files: FileManager, tmp_path: Path, ome: Any
) -> None:
    """The levels equal those of an image that is saved whole, and no reader sees longer ones."""
    words: dict[str, Any] = {
        "axes": "tcyx",
        "scale": {"t": 2.0, "y": 0.5, "x": 0.5},
        "units": {"t": "second", "y": "micrometer", "x": "micrometer"},
        "channels": ["DAPI", "GFP"],
        "levels": 3,
    }
    values = np.random.default_rng(1).integers(0, 60000, (6, 2, 101, 90)).astype("u2")
    shape = (None, *values.shape[1:])
    path = "plate.ome.zarr/B/03/0"
    with files.create(path, "z", shape=shape, dtype="u2", ome=ome, **words) as handle:
        handle.extend(values[:3])
        reader = files.open(path, "z")
        handle.append(values[3])
        assert files.info(path, "z").metadata["levels"][1] == (4, 2, 51, 45)
        assert [level.shape[0] for level in handle.levels] == [4, 4, 4]
        assert [level.shape[0] for level in reader.levels] == [
            3,
            3,
            3,
        ]  # these stay as they are
        assert (reader.levels[2][2] == files.load(path, "z", level=2)[2]).all()
        with pytest.raises(LockTimeoutError):
            files.save(values, path, "z", axes="tcyx")
    with files.open(path, "z", mode="a") as handle:
        handle.extend(values[4:])
        assert handle.image == files.info(path, "z").image
    files.save(values, "whole.ome.zarr", "z", ome=ome, **words)
    for level in range(3):
        whole = files.load("whole.ome.zarr", "z", level=level)
        assert (files.load(path, "z", level=level) == whole).all()
        bare: Any = zarr.open_array(tmp_path / path / str(level), mode="r")
        assert (bare[...] == whole).all()
    image = files.load(path, "z", as_="image")
    assert image.metadata == files.load("whole.ome.zarr", "z", as_="image").metadata
    assert files.list_dir("plate.ome.zarr/B/03", "z") == ["0"]


@pytest.mark.parametrize("axes", ["zcyx", "tzyx s", "tyxs", None])
def test_images_grow_along_time_only(files: FileManager, axes: str | None) -> None:
    with pytest.raises(InvalidOptionError, match="axes"):
        files.create("a.ome.zarr", "z", shape=(None, 9, 9, 3), dtype="u1", axes=axes)
    assert not files.exists("a.ome.zarr", "z")


def test_one_level_does_not_grow(files: FileManager) -> None:
    with files.create(
        "a.ome.zarr", "z", shape=(None, 64, 64), dtype="u2", axes="tyx", levels=2
    ) as handle:
        handle.append(np.ones((64, 64), "u2"))
    for level in (0, 1):
        with pytest.raises(UnsupportedOperationError, match="level of an image"):
            files.open(f"a.ome.zarr/{level}", "z", mode="a")
    with pytest.raises(InvalidOptionError, match="all levels"):
        files.open("a.ome.zarr", "z", mode="a", level=1)
    assert files.info("a.ome.zarr", "z").metadata["levels"] == [(1, 64, 64), (1, 32, 32)]


@pytest.mark.parametrize("length", [None, 2])
def test_coarse_level_is_read_without_the_finest(
    files: FileManager, tmp_path: Path, length: int | None
) -> None:
    values = np.arange(2 * 64 * 64, dtype="u2").reshape(2, 64, 64)
    words: dict[str, Any] = {"axes": "tyx", "levels": 2}
    if length is None:
        with files.create("a.ome.zarr", "z", shape=(None, 64, 64), dtype="u2", **words) as h:
            h.extend(values)
    else:
        files.save(values, "a.ome.zarr", "z", **words)
    expected = files.load("a.ome.zarr", "z", level=1)
    for damage in ("{", '{"zarr_format": 3, "node_type": "array"}'):
        for document in (tmp_path / "a.ome.zarr/0").glob("*zarr.json"):
            document.write_text(damage)
        assert (files.load("a.ome.zarr", "z", level=1) == expected).all()


def test_longer_level_is_cut(files: FileManager, tmp_path: Path) -> None:
    """A writer that is killed between two documents leaves one frame too many in coarse levels."""
    with files.create(
        "a.ome.zarr", "z", shape=(None, 64, 64), dtype="u2", axes="tyx", levels=2
    ) as h:
        h.extend(np.zeros((2, 64, 64), "u2"))
        before = (tmp_path / "a.ome.zarr/0/zarr.json").read_bytes()
        h.append(np.ones((64, 64), "u2"))
    (tmp_path / "a.ome.zarr/0/zarr.json").write_bytes(before)
    assert files.load("a.ome.zarr", "z", level=1).shape == (2, 32, 32)
    assert files.open("a.ome.zarr", "z").levels[1].shape == (2, 32, 32)
    assert files.info("a.ome.zarr", "z").metadata["levels"] == [(2, 64, 64), (2, 32, 32)]
    with files.open("a.ome.zarr", "z", mode="a") as h:
        assert zarr.open_array(tmp_path / "a.ome.zarr/1", mode="r").shape == (2, 32, 32)
        h.append(np.full((64, 64), 7, "u2"))
    assert (files.load("a.ome.zarr", "z", level=1)[2] == 7).all()


def test_plain_arrays_have_axes_and_scales(files: FileManager) -> None:
    with make(files, axes="tyx", scale=(4, 2, 3)) as handle:
        handle.append(frame(0))
        assert handle.image is not None
        assert [axis.scale for axis in handle.image.axes] == [4, 2, 3]
