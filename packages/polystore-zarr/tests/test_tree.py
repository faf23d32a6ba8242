"""Names of this backend. The conformance kit tests everything else."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from polystore_core import FileManager
from polystore_core.errors import (
    AlreadyExistsError,
    DirectoryNotEmptyError,
    InvalidOptionError,
    NotADirectoryInPathError,
    NotAFileError,
)
from polystore_core.files.locking import file_lock
from polystore_testing import Bound
from polystore_zarr.backend import ZarrBackend
from polystore_zarr.store.local import local_path

IMAGE = np.arange(12, dtype="u2").reshape(3, 4)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bound:
    monkeypatch.chdir(tmp_path)
    return Bound(FileManager(), "zarr")


def test_paths_of_disk_work(store: Bound, tmp_path: Path) -> None:
    """The third step of the paper saves to the same paths that were loaded from disk."""
    fm = store.manager
    paths = [str(tmp_path / "plate" / name) for name in ("a.tif", "b.npy")]
    fm.save_batch([IMAGE, IMAGE + 1], paths, backend="disk")
    images = fm.load_batch(paths, backend="disk")
    fm.save_batch([image + 5 for image in images], paths, backend="zarr")
    np.testing.assert_array_equal(fm.load(paths[0], backend="disk"), IMAGE)
    np.testing.assert_array_equal(fm.load(paths[1], backend="zarr"), IMAGE + 6)
    assert store.list_files("plate") == ["plate/a.tif", "plate/b.npy"]


def test_store_may_be_array(store: Bound) -> None:
    store.save(IMAGE, "result.zarr")
    np.testing.assert_array_equal(store.load("result.zarr"), IMAGE)
    assert (store.is_file("result.zarr"), store.list_dir(".")) == (True, ["result.zarr"])


def test_groups_are_folders(store: Bound) -> None:
    store.save(IMAGE, "run.zarr/step1/image")
    store.ensure_directory("run.zarr/step2")
    assert store.is_dir("run.zarr/step1")
    assert store.list_dir("run.zarr") == ["step1", "step2"]
    assert store.list_files(".", recursive=True) == ["run.zarr/step1/image"]
    for folder in ("run.zarr", "run.zarr/step1", "run.zarr/step2"):
        assert json.loads(Path(folder, "zarr.json").read_text())["node_type"] == "group"


def test_two_spellings_one_array(store: Bound) -> None:
    store.save(IMAGE, "f/a.npy")
    np.testing.assert_array_equal(store.load("f/images.zarr/a.npy"), IMAGE)
    assert store.list_dir("f/images.zarr") == ["a.npy"]
    assert store.list_dir("f") == ["a.npy"]


def test_foreign_folder_store_is_listed(store: Bound) -> None:
    """``images.zarr`` may be an image itself, because other programs use this name too."""
    store.save(IMAGE, "f/images.zarr", ome=True)
    assert store.list_files("f") == ["f/images.zarr"]


@pytest.mark.parametrize("operation", ["save", "load"])
def test_group_is_not_an_array(store: Bound, operation: str) -> None:
    store.save(IMAGE, "run.zarr/a/b")
    arguments = (IMAGE, "run.zarr/a") if operation == "save" else ("run.zarr/a",)
    with pytest.raises(NotAFileError):
        getattr(store, operation)(*arguments)
    np.testing.assert_array_equal(store.load("run.zarr/a/b"), IMAGE)


def test_path_through_array_is_refused(store: Bound) -> None:
    store.save(IMAGE, "run.zarr/a")
    store.save(IMAGE, "x.ome.zarr")
    for path in ("run.zarr/a/b", "x.ome.zarr/0/b", "x.ome.zarr/b"):
        with pytest.raises(NotADirectoryInPathError) as caught:
            store.save(IMAGE, path, ome=False)
        assert "is an " in str(caught.value.__notes__)
    with pytest.raises(NotADirectoryInPathError):
        store.load("run.zarr/a/b")


def test_formats_do_not_mix(store: Bound) -> None:
    store.save(IMAGE, "old.zarr/a", zarr_format=2)
    with pytest.raises(InvalidOptionError, match=r"old\.zarr.* is a group of Zarr 2"):
        store.save(IMAGE, "old.zarr/b", zarr_format=3)
    store.save(IMAGE, "old.zarr/b")
    store.create("old.zarr/c", shape=(3,), dtype="u1")
    assert {store.info(f"old.zarr/{n}").metadata["zarr_format"] for n in "abc"} == {2}
    store.delete("old.zarr/c")
    store.save(IMAGE, "new.zarr/a")
    with pytest.raises(InvalidOptionError, match="Zarr 3"):
        store.move("old.zarr/a", "new.zarr/b")
    assert store.list_dir("new.zarr") == ["a"]
    assert store.list_dir("old.zarr") == ["a", "b"]


def test_store_in_place_of_file(store: Bound) -> None:
    Path("run.zarr").write_text("no store")
    for path in ("run.zarr", "run.zarr/a"):
        with pytest.raises((NotADirectoryInPathError, AlreadyExistsError)) as caught:
            store.save(IMAGE, path)
        assert "run.zarr" in str(caught.value)
    assert Path("run.zarr").read_text() == "no store"


def test_foreign_files_stay(store: Bound) -> None:
    """Files of other programs in a folder are not deleted, moved or copied."""
    store.save(IMAGE, "f/g/a.tif")
    Path("f/g/raw.tif").write_bytes(b"raw")
    assert store.list_files("f", recursive=True) == ["f/g/a.tif"]
    with pytest.raises(DirectoryNotEmptyError) as caught:
        store.delete("f", recursive=True)
    assert "raw.tif" in str(caught.value)
    assert "recursive=True" not in str(caught.value)  # the caller gave it
    with pytest.raises(AlreadyExistsError):
        store.move("f", "h")
    store.copy("f", "h")
    assert store.list_files("h", recursive=True) == ["h/g/a.tif"]
    assert not Path("h/g/raw.tif").exists()
    store.delete("f/g/a.tif")
    assert Path("f/g/raw.tif").read_bytes() == b"raw"


def test_folders_and_groups_are_not_converted(store: Bound) -> None:
    store.save(IMAGE, "run.zarr/g/a")
    store.save(IMAGE, "f/a")
    with pytest.raises(InvalidOptionError):
        store.copy("run.zarr/g", "h")
    with pytest.raises(InvalidOptionError):
        store.move("f", "run.zarr/f")
    store.copy("run.zarr/g", "other.zarr/deep/g")
    np.testing.assert_array_equal(store.load("other.zarr/deep/g/a"), IMAGE)


def test_arrays_change_stores(store: Bound) -> None:
    store.save(IMAGE, "a.npy")
    store.copy("a.npy", "run.zarr/x/a")
    store.move("run.zarr/x/a", "other.zarr")
    np.testing.assert_array_equal(store.load("other.zarr"), IMAGE)
    assert store.list_dir("run.zarr/x") == []


def test_other_tools_see_no_hidden_files(store: Bound) -> None:
    """Locks and unfinished trees are next to a store. Inside it, zarr would warn of them."""
    import zarr

    store.save(IMAGE, "run.zarr/a")
    store.save(IMAGE, "run.zarr/a")
    handle = store.create("run.zarr/b", shape=(8, 8), dtype="u1", chunks=4, unaligned="lock")
    handle[1:3] = 1
    group = zarr.open_group("run.zarr", mode="r")
    assert sorted(group.array_keys()) == ["a", "b"]
    assert sorted(path.name for path in Path("run.zarr").iterdir()) == ["a", "b", "zarr.json"]


def test_durable_saves_load(store: Bound) -> None:
    store.save(IMAGE, "deep/run.zarr/g/a", durable=True)
    store.save(IMAGE + 1, "deep/run.zarr/g/a", durable=True)
    np.testing.assert_array_equal(store.load("deep/run.zarr/g/a"), IMAGE + 1)


def test_saving_works_without_exchange(store: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    """Network file systems cannot exchange two names."""
    monkeypatch.setattr("polystore_core.files.system._renameat2", None)
    store.save(IMAGE, "run.zarr/a")
    store.save(IMAGE + 1, "run.zarr/a")
    np.testing.assert_array_equal(store.load("run.zarr/a"), IMAGE + 1)
    assert sorted(path.name for path in Path().iterdir()) == [".~ps-run.zarr.lock", "run.zarr"]


def test_linked_store_stays_link(store: Bound) -> None:
    """Save, copy and move replace the target of a link. The new tree is built next to it."""
    Path("elsewhere").mkdir()
    store.save(IMAGE, "elsewhere/real.zarr")
    Path("link.zarr").symlink_to("elsewhere/real.zarr")
    store.save(IMAGE + 1, "link.zarr")
    np.testing.assert_array_equal(store.load("elsewhere/real.zarr"), IMAGE + 1)
    store.save(IMAGE + 2, "x.zarr")
    store.copy("x.zarr", "link.zarr")
    np.testing.assert_array_equal(store.load("elsewhere/real.zarr"), IMAGE + 2)
    store.save(IMAGE + 3, "x.zarr")
    store.move("x.zarr", "link.zarr")
    np.testing.assert_array_equal(store.load("elsewhere/real.zarr"), IMAGE + 3)
    store.create("link.zarr", shape=(4, 4), dtype="u1", if_exists="replace")
    assert store.load("elsewhere/real.zarr").shape == (4, 4)
    assert Path("link.zarr").is_symlink()
    assert not [path for path in Path().rglob(".~ps-*") if not path.name.endswith(".lock")]


def test_links_in_a_store_stay(store: Bound) -> None:
    """The links lead to a group and an array of another store, and to a missing store."""
    store.save(IMAGE, "a.zarr/g/x")
    store.ensure_directory("b.zarr")
    Path("b.zarr/g").symlink_to("../a.zarr/g")
    Path("b.zarr/x").symlink_to("../a.zarr/g/x")
    Path("new.zarr").symlink_to("made.zarr")
    store.save(IMAGE + 1, "b.zarr/x")
    np.testing.assert_array_equal(store.load("a.zarr/g/x"), IMAGE + 1)
    store.save(IMAGE + 2, "b.zarr/g/x")
    np.testing.assert_array_equal(store.load("a.zarr/g/x"), IMAGE + 2)
    store.save(IMAGE, "new.zarr")
    np.testing.assert_array_equal(store.load("made.zarr"), IMAGE)
    assert all(Path(name).is_symlink() for name in ("b.zarr/g", "b.zarr/x", "new.zarr"))


@pytest.mark.parametrize("recursive", [False, True])
def test_delete_removes_the_link(store: Bound, recursive: bool) -> None:
    store.save(IMAGE, "real.zarr")
    store.save(IMAGE, "group.zarr/a")
    store.save(IMAGE, "folder/a.tif")
    for link, target in (("l.zarr", "real.zarr"), ("lg.zarr", "group.zarr"), ("l", "folder")):
        Path(link).symlink_to(target)
        store.delete(link, recursive=recursive)
        assert not Path(link).is_symlink()
    for path in ("real.zarr", "group.zarr/a", "folder/a.tif"):
        np.testing.assert_array_equal(store.load(path), IMAGE)


def test_move_moves_the_link(store: Bound) -> None:
    store.save(IMAGE, "real.zarr")
    store.save(IMAGE + 1, "old.zarr")
    Path("l.zarr").symlink_to("real.zarr")
    store.move("l.zarr", "old.zarr")
    assert Path("old.zarr").is_symlink()
    np.testing.assert_array_equal(store.load("old.zarr"), IMAGE)
    np.testing.assert_array_equal(store.load("real.zarr"), IMAGE)


def test_folder_in_use_is_not_deleted(store: Bound) -> None:
    """The folder looks empty, but a save into it has begun."""
    store.save(IMAGE, "f/a.tif")
    store.delete("f/a.tif")
    with file_lock("f/images.zarr!a.tif"), pytest.raises(DirectoryNotEmptyError):
        _run_in_thread(lambda: store.delete("f"))
    files, other = local_path("f/other.zarr")
    with files.building(other), pytest.raises(DirectoryNotEmptyError):
        store.delete("f")
    store.save(IMAGE, "f/a.tif")
    store.delete("f/a.tif")
    store.delete("f")
    assert not Path("f").exists()


def _run_in_thread(work: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


# ── files of file browsers ───────────────────────────────────────────────────────────────

LITTER = (".DS_Store", "._a", "Thumbs.db", "desktop.ini")


@pytest.mark.parametrize("name", [*LITTER, "THUMBS.DB", ".ds_store"])
def test_names_of_file_browsers_are_refused(store: Bound, name: str) -> None:
    store.save(IMAGE, "a.zarr/a")
    for path in (name, f"run.zarr/{name}", f"f/{name}"):
        for write in (
            lambda path=path: store.save(IMAGE, path),
            lambda path=path: store.create(path, shape=(3,), dtype="u1"),
            lambda path=path: store.copy("a.zarr/a", path),
            lambda path=path: store.move("a.zarr/a", path),
        ):
            with pytest.raises(InvalidOptionError, match="file browsers"):
                write()
    assert store.list_dir(".") == ["a.zarr"]


@pytest.mark.parametrize("recursive", [False, True])
def test_files_of_file_browsers_are_ignored(store: Bound, recursive: bool) -> None:
    """Such files are not listed or kept. A folder, group or image with them can be removed."""
    store.save(IMAGE, "f/a")
    store.save(IMAGE, "g.zarr/h/a")
    store.save(IMAGE, "i.ome.zarr")
    folders = ("f", "f/images.zarr", "f/images.zarr/a", "g.zarr", "g.zarr/h", "i.ome.zarr")
    for folder in folders:
        for name in LITTER:
            Path(folder, name).write_bytes(b"\0\5\x16\7")
    assert store.list_files(".", recursive=True) == ["f/a", "g.zarr/h/a", "i.ome.zarr"]
    np.testing.assert_array_equal(store.load("f/a"), IMAGE)
    store.save(IMAGE, "i.ome.zarr", ome=False)
    for value, folder in (("f/a", "f"), ("g.zarr/h/a", "g.zarr/h")):
        with pytest.raises(DirectoryNotEmptyError):
            store.delete(folder)
        store.delete(value)
        store.delete(folder, recursive=recursive)
        assert not Path(folder).exists()
    assert store.list_dir(".") == ["g.zarr", "i.ome.zarr"]


# ── folders that others delete ───────────────────────────────────────────────────────────


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("saved", "deleted"),
    [
        ("f/a{}", "f"),
        ("f/run.zarr/g/a{}", "f"),
        ("run.zarr/g/a{}", "run.zarr/g"),
        ("p.ome.zarr/A/01/{}", "p.ome.zarr/A"),
    ],
)
def test_folder_is_deleted_during_saves(store: Bound, saved: str, deleted: str) -> None:
    """Every save succeeds, and so does every delete that finds the folder."""
    ended = threading.Event()
    failed: list[Exception] = []

    def save(number: int) -> None:
        try:
            for _ in range(30):
                store.save(IMAGE, saved.format(number))
                try:
                    np.testing.assert_array_equal(store.load(saved.format(number)), IMAGE)
                except FileNotFoundError:
                    continue  # deleted again
        except Exception as error:
            failed.append(error)

    def delete() -> None:
        while not ended.wait(0.002):
            try:
                store.delete(deleted, recursive=True)
            except FileNotFoundError:
                continue
            except Exception as error:
                failed.append(error)

    savers = [threading.Thread(target=save, args=(number,)) for number in range(2)]
    deleter = threading.Thread(target=delete)
    for thread in (*savers, deleter):
        thread.start()
    for thread in savers:
        thread.join()
    ended.set()
    deleter.join()
    assert failed == []
    store.save(IMAGE, saved.format(0))
    np.testing.assert_array_equal(store.load(saved.format(0)), IMAGE)


def test_folder_moves_onto_itself(tmp_path: Path) -> None:
    """With a root, both paths have their own files object during the operation."""
    for backend in (ZarrBackend(), ZarrBackend(root=tmp_path)):
        folder = "f" if backend.root else str(tmp_path / "f")
        backend.ensure_directory(folder)
        backend.move(folder, folder)
        assert backend.is_dir(folder)
