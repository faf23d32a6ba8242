"""Stores without trees and locks. A save or a deletion of a path claims that path."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
import tempfile
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from objectstore import ObjectStore, Plain

from polystore_core import LazyArray, Locks, StoreFeatures, file_lock
from polystore_core.errors import (
    AlreadyExistsError,
    DirectoryNotEmptyError,
    NotFoundError,
    StorageError,
    UnsupportedOperationError,
)
from polystore_zarr.backend import ZarrBackend
from polystore_zarr.store.scratch import scratch_folder

from .places import PARTS, SHAPE, number, number_of
from .recording import Recording, is_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from polystore_core import Region

PATHS: dict[str, dict[str, Any]] = {
    "g.zarr/a": PARTS,
    "o.zarr/old": {**PARTS, "zarr_format": 2},
    "f/a.tif": PARTS,
    "i.ome.zarr": {"chunks": 16, "levels": 2},
}
every_path = pytest.mark.parametrize("path", PATHS)


@pytest.fixture
def store(tmp_path: Path) -> Recording:
    return Recording(tmp_path / "bucket")


@pytest.fixture
def zarr(store: Recording) -> ZarrBackend:
    return ZarrBackend(store=store)


@pytest.fixture
def other(store: Recording) -> ZarrBackend:
    return ZarrBackend(store=Recording(store.folder))


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder that must be empty after each test, even after an error."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert os.listdir(folder) == []


def content(store: ObjectStore) -> dict[str, bytes]:
    return {stat.key: ObjectStore.read(store, stat.key) for stat in store.scan()}


def at_document(store: Recording, call: Callable[[], object]) -> None:
    """Call once, when all chunks are put and a document is about to be put."""

    def before(request: str, key: str) -> None:
        if (
            request == "put"
            and is_document(key)
            and any("/c/" in k or "/0/0" in k for k in keys())
        ):
            store.before = lambda *_: None
            call()

    def keys() -> list[str]:
        return [stat.key for stat in store.scan()]

    store.before = before


# ── a killed process ─────────────────────────────────────────────────────────────────────


class Killing(ObjectStore):
    """Kills its process at a request."""

    def __init__(self, folder: Any, request: str, name: str) -> None:
        super().__init__(folder)
        self.request, self.name = request, name

    def _kill_at(self, request: str, key: str) -> None:
        if request == self.request and self.name in key:
            os.kill(os.getpid(), signal.SIGKILL)

    def put(self, key: str, content: Any, *, if_exists: str = "replace") -> None:
        self._kill_at("put", key)
        super().put(key, content, if_exists=if_exists)

    def delete(self, key: str) -> None:
        self._kill_at("delete", key)
        super().delete(key)


def _save(store: Any, path: str, temporary: str) -> None:
    tempfile.tempdir = temporary
    ZarrBackend(store=store).save(number(1), path, **PATHS[path])


def _delete(store: Any, path: str, temporary: str) -> None:
    tempfile.tempdir = temporary
    ZarrBackend(store=store).delete(path)


def kill_process(work: Callable[..., None], store: Killing, path: str, temporary: Path) -> None:
    folder = temporary.parent / "of the killed"
    folder.mkdir(exist_ok=True)
    process = multiprocessing.get_context("spawn").Process(
        target=work, args=(store, path, str(folder))
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX signals")
@pytest.mark.timeout(120)
@every_path
@pytest.mark.parametrize("last", [".zarray", "zarr.json", "1/1", "1/zarr.json"])
def test_killed_save(
    zarr: ZarrBackend, store: Recording, temporary_folder: Path, path: str, last: str
) -> None:
    """The chunks of a killed save are not listed. They stay until the path is deleted."""
    zarr.save(number(9), "g.zarr/other", **PARTS)
    zarr.save(number(9), "f/b.tif", **PARTS)
    before = content(store)
    if (last == ".zarray") != (path == "o.zarr/old") and "1/1" not in last:
        last = ".zattrs" if path == "o.zarr/old" else "1/1"
    if path != "i.ome.zarr" and last == "1/zarr.json":
        last = "1/1"
    name = "a.tif" if path == "f/a.tif" else path
    killing = Killing(store.folder, "put", last)
    kill_process(_save, killing, path, temporary_folder)
    left = content(store).keys() - before.keys()
    assert any(name in key for key in left)
    assert not zarr.exists(path)
    assert path not in zarr.list_files(".", recursive=True)
    with pytest.raises(NotFoundError):
        zarr.load(path)
    for if_exists in ("replace", "error", "skip"):
        with pytest.raises(AlreadyExistsError, match=r"delete .* first"):
            zarr.save(number(2), path, if_exists=if_exists, **PATHS[path])
    zarr.delete(path)
    zarr.save(number(2), path, **PATHS[path])
    assert number_of(zarr.load(path)) == 2
    zarr.delete(path)
    assert {key for key in content(store) if not is_document(key)} == {
        key for key in before if not is_document(key)
    }


@pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX signals")
@pytest.mark.timeout(120)
def test_temporary_folders_of_killed_processes(
    store: Recording, temporary_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next process removes the folders of killed processes, but none that is in use."""
    kill_process(_save, Killing(store.folder, "put", "1/1"), "g.zarr/a", temporary_folder)
    folder = temporary_folder.parent / "of the killed"
    left = os.listdir(folder)
    assert len(left) == 2  # the array, and the claim
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with scratch_folder() as first, scratch_folder() as second:
        assert {*map(os.path.basename, (first, second))} == {*os.listdir(folder)}
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(_save, (ObjectStore(store.folder), "f/a.tif", str(folder)))
        assert os.path.isdir(first)
        assert os.path.isdir(second)
    assert os.listdir(folder) == []


@pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX signals")
@pytest.mark.timeout(120)
@every_path
def test_killed_deletion(
    zarr: ZarrBackend, store: Recording, temporary_folder: Path, path: str
) -> None:
    """The path is gone for readers, and the next deletion removes the rest."""
    zarr.save(number(1), path, **PATHS[path])
    kill_process(_delete, Killing(store.folder, "delete", "1/1"), path, temporary_folder)
    assert any("1/1" in key for key in content(store))
    assert not zarr.exists(path)
    zarr.delete(path)
    assert not any("1/1" in key or ".~ps" in key for key in content(store))
    zarr.save(number(2), path, **PATHS[path])
    assert number_of(zarr.load(path)) == 2


def test_chunks_without_a_claim(zarr: ZarrBackend, store: Recording) -> None:
    """Chunks of another program are not ours. Only an explicit deletion removes them."""
    store.put("g.zarr/zarr.json", b'{"zarr_format": 3, "node_type": "group"}')
    store.put("g.zarr/a/c/0/0", b"pixels")
    for if_exists in ("replace", "error", "skip"):
        with pytest.raises(DirectoryNotEmptyError, match="delete the path first"):
            zarr.save(number(1), "g.zarr/a", if_exists=if_exists)
    assert store.read("g.zarr/a/c/0/0") == b"pixels"
    assert not zarr.exists("g.zarr/a")
    assert zarr.list_dir("g.zarr") == []
    zarr.delete("g.zarr/a")
    zarr.save(number(1), "g.zarr/a")
    assert number_of(zarr.load("g.zarr/a")) == 1


# ── a running process ────────────────────────────────────────────────────────────────────


@every_path
def test_save_refuses_other_writers(
    zarr: ZarrBackend, store: Recording, other: ZarrBackend, path: str
) -> None:
    caught: list[StorageError] = []

    def interfere() -> None:
        for if_exists in ("replace", "error", "skip"):
            with pytest.raises(AlreadyExistsError, match=f"process {os.getpid()} on") as found:
                other.save(number(2, (8, 8)), path, if_exists=if_exists, ome=None)
            caught.append(found.value)
        with pytest.raises(StorageError, match=f"process {os.getpid()} on") as found:
            other.delete(path)
        assert found.value.errno == errno.EBUSY
        caught.append(found.value)
        assert not other.exists(path)

    at_document(store, interfere)
    zarr.save(number(1), path, **PATHS[path])
    assert [error.path for error in caught] == [path] * 4
    assert number_of(other.load(path)) == 1
    assert not any(".~ps" in key for key in content(store))


@pytest.mark.parametrize("path", ["g.zarr/a", "g.zarr/h/a"])
def test_group_is_not_deleted_while_it_gets_a_member(
    zarr: ZarrBackend, store: Recording, other: ZarrBackend, path: str
) -> None:
    zarr.save(number(7), "g.zarr/h/b", **PARTS)
    before = content(store)

    def interfere() -> None:
        with pytest.raises(StorageError, match="is saving or deleting") as caught:
            other.delete("g.zarr", recursive=True)
        assert caught.value.errno == errno.EBUSY
        assert before.items() <= content(store).items()

    at_document(store, interfere)
    zarr.save(number(1), path, **PARTS)
    assert number_of(other.load(path)) == 1
    assert number_of(other.load("g.zarr/h/b")) == 7
    other.delete("g.zarr", recursive=True)
    assert content(store) == {}


def test_group_gets_no_member_while_it_is_deleted(
    zarr: ZarrBackend, store: Recording, other: ZarrBackend
) -> None:
    zarr.save(number(7), "g.zarr/h/a", **PARTS)
    tried: list[str] = []

    def interfere(request: str, key: str) -> None:
        if request == "delete" and "/c/" in key and not tried:
            tried.append(key)
            with pytest.raises(StorageError, match=r"is saving or deleting 'g\.zarr'"):
                other.save(number(2), "g.zarr/h/a", **PARTS)

    store.before = interfere
    zarr.delete("g.zarr", recursive=True)
    assert tried
    assert not [key for key in content(store) if not is_document(key)]
    other.save(number(2), "g.zarr/h/a", **PARTS)
    assert number_of(other.load("g.zarr/h/a")) == 2


def test_save_ends_if_its_claim_is_deleted(zarr: ZarrBackend, store: Recording) -> None:
    """A process on another machine cannot see whether this one runs, and may delete its claim."""

    def interfere(request: str, key: str) -> None:
        if request == "put" and key.endswith("/c/2/2"):
            for stat in list(store.scan("g.zarr/a")):
                ObjectStore.delete(store, stat.key)
            ObjectStore.put(store, "g.zarr/a/c/0/0", b"of another array")

    store.before = interfere
    with pytest.raises(StorageError, match="another process has deleted it"):
        zarr.save(number(1), "g.zarr/a", **PARTS)
    assert store.read("g.zarr/a/c/0/0") == b"of another array"
    assert not zarr.exists("g.zarr/a")


# ── errors and Ctrl-C ────────────────────────────────────────────────────────────────────


@every_path
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_failed_save_leaves_nothing(
    zarr: ZarrBackend, store: Recording, path: str, error: BaseException
) -> None:
    zarr.save(number(9), "g.zarr/other", **PARTS)
    zarr.save(number(9), "f/b.tif", **PARTS)
    failing = 0

    def fail(request: str, key: str) -> None:
        nonlocal left
        left -= request == "put"
        if left == 0:
            left = -1
            raise error

    while True:
        failing += 1
        left = failing
        store.before = fail
        try:
            zarr.save(number(1), path, **PATHS[path])
        except (KeyboardInterrupt, StorageError):
            store.before = lambda *_: None
            assert not zarr.is_file(path)
            found = [key for key in content(store) if "other" not in key and "b.tif" not in key]
            assert [
                key for key in found if key.rpartition("/")[2] not in ("zarr.json", ".zgroup")
            ] == []
        else:
            break
    store.before = lambda *_: None
    assert failing > 9
    assert number_of(zarr.load(path)) == 1


class Failing(LazyArray):
    shape, dtype = SHAPE, np.dtype("u2")

    def __getitem__(self, region: Region) -> Any:
        raise KeyboardInterrupt


def test_ctrl_c_while_pixels_are_made(zarr: ZarrBackend, store: Recording) -> None:
    with pytest.raises(KeyboardInterrupt):
        zarr.save(Failing(), "g.zarr/a")
    assert not any("/a/" in key for key in content(store))


# ── arrays that are deleted and saved again ──────────────────────────────────────────────


@every_path
def test_same_array_saved_again_is_another_one(zarr: ZarrBackend, path: str) -> None:
    """The array has the same pixels, and the same documents except for a random id."""
    zarr.save(number(1), path, **PATHS[path])
    handle = zarr.open(path)
    zarr.delete(path)
    with pytest.raises(NotFoundError):
        handle[:4]
    zarr.save(number(1), path, **PATHS[path])
    with pytest.raises(NotFoundError, match="open it again"):
        handle[:4]
    assert "polystore" not in zarr.info(path).metadata["attributes"]
    assert number_of(zarr.open(path)[:4]) == 1


@every_path
def test_copy_is_another_array(zarr: ZarrBackend, store: Recording, path: str) -> None:
    zarr.save(number(1), path, attributes={"mine": 1}, **PATHS[path])
    zarr.copy(path, "c.zarr/a")
    assert (
        zarr.info("c.zarr/a").metadata["attributes"] == zarr.info(path).metadata["attributes"]
    )
    assert number_of(zarr.load("c.zarr/a")) == 1
    texts = [v for k, v in content(store).items() if b'"polystore": {' in v]
    assert len(texts) == len(set(texts)) > 1


@pytest.mark.parametrize("request_number", range(1, 8))
def test_image_changes_while_it_is_read(
    zarr: ZarrBackend, store: Recording, other: ZarrBackend, request_number: int
) -> None:
    options: dict[str, Any] = {"chunks": 16, "levels": 1, "channels": None}
    zarr.save(number(1), "i.ome.zarr", **options)
    left = request_number

    def change(request: str, key: str) -> None:
        nonlocal left
        left -= request == "read"
        if left == 0:
            left = -1
            other.delete("i.ome.zarr")
            other.save(number(2), "i.ome.zarr", **options)

    store.before = change
    assert number_of(zarr.load("i.ome.zarr")) in (1, 2)


# ── other kinds of stores ────────────────────────────────────────────────────────────────


class Locked(ObjectStore, Locks):
    """Has locks and threads, but no conditional writes."""

    features = StoreFeatures(locks="host", threads=4)

    def put(self, key: str, content: Any, *, if_exists: str = "replace") -> None:
        assert if_exists == "replace", "the store was asked for a feature it does not claim"
        super().put(key, content)

    def put_version(self, key: str, content: Any, *, version: str) -> None:
        raise AssertionError("the store was asked for a feature it does not claim")

    @contextmanager
    def lock(self, key: str, *, timeout: float | None = 30.0) -> Iterator[None]:
        with file_lock(self.folder / f"x{key.encode().hex()}.", timeout=timeout):
            yield


@pytest.fixture
def lock_backend(tmp_path: Path) -> ZarrBackend:
    return ZarrBackend(store=Locked(tmp_path / "bucket"))


def _save_field(backend: ZarrBackend, well: str) -> None:
    backend.save(number(1), f"p.ome.zarr/{well}/0", chunks=16, levels=1)


def _save_seed(backend: ZarrBackend, seed: int) -> bool:
    try:
        backend.save(number(seed, (8 * seed, 40)), "g.zarr/a", chunks=8, if_exists="error")
    except AlreadyExistsError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_locks_without_trees(lock_backend: ZarrBackend) -> None:
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(3) as pool:
        wells = ["A/01", "A/02", "B/01", "B/02"]
        pool.map(partial(_save_field, lock_backend), wells)
        won = pool.map(partial(_save_seed, lock_backend), [1, 2, 3])
    assert lock_backend.info("p.ome.zarr").kind == "directory"
    assert len(lock_backend.list_files("p.ome.zarr", recursive=True)) == 4
    assert sum(won) == 1
    assert number_of(lock_backend.load("g.zarr/a")) == won.index(True) + 1
    corner = np.s_[:3, :5]
    lock_backend.save(number(5, (3, 5)), "g.zarr/a", region=corner, unaligned="lock")
    assert number_of(lock_backend.load("g.zarr/a", region=corner)) == 5


@pytest.mark.parametrize("kind", [Locked, Plain])
def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path, kind: Any) -> None:
    """Under a lock, or with one writing process, leftovers belong to a killed process."""
    zarr = ZarrBackend(store=kind(tmp_path / "bucket"))
    zarr.save(number(7), "g.zarr/a", **PARTS)
    zarr.store.delete("g.zarr/a/zarr.json")
    zarr.store.put("g.zarr/a/.~ps-claim", b"of a killed process")
    assert not zarr.exists("g.zarr/a")
    zarr.save(number(2, (8, 8)), "g.zarr/a", **PARTS)
    assert number_of(zarr.load("g.zarr/a")) == 2
    assert sorted(content(zarr.store)) == [
        "g.zarr/a/c/0/0",
        "g.zarr/a/zarr.json",
        "g.zarr/zarr.json",
    ]


def test_sqlite(tmp_path: Path) -> None:
    """The store of the example in the docs has rows, which are replaced one by one."""
    sqlite = pytest.importorskip("polystore_sqlite.backend", reason="the example is not here")
    zarr = ZarrBackend(store=sqlite.SqliteStore(str(tmp_path / "a.db")))
    zarr.save(number(1), "g.zarr/a", durable=True, **PARTS)
    zarr.save(number(2, (16, 36)), "g.zarr/a", region=np.s_[16:32])
    assert number_of(zarr.load("g.zarr/a")[16:32]) == 2
    with pytest.raises(UnsupportedOperationError, match=r"features\.trees"):
        zarr.save(number(3), "g.zarr/a")
    with pytest.raises(UnsupportedOperationError, match=r"features\.versions"):
        zarr.save(number(3), "p.ome.zarr/A/01/0")
    assert zarr.list_files(".", recursive=True) == ["g.zarr/a"]
    zarr.delete("g.zarr", recursive=True)
    assert list(zarr.store.scan()) == []
