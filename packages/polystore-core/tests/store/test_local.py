"""The bytes in the store of a file system, without formats."""

import errno
import os
import pickle
from contextlib import nullcontext
from pathlib import Path

import pytest

from polystore_core import Entry, LocalStore, Stat
from polystore_core.errors import (
    DurabilityUnknownError,
    PathOutsideRootError,
)

from ..interrupts import INTERRUPTED, descriptors, interrupt
from .stores import keys, linux, posix

# ── reading ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [0, 10, 200_000])
@pytest.mark.parametrize(
    "part",
    [(0,), (3,), (0, 4), (2, 2), (4, 2), (-3,), (0, -2), (-4, -1), (5, 10**12), (10**12,)],
)
def test_read_is_a_slice(store, size, part):
    content = os.urandom(size)
    store.put("a", content)
    assert store.read("a", *part) == content[part[0] : part[1] if len(part) == 2 else None]


@pytest.mark.parametrize("whole", [False, True])
def test_open(store, whole):
    for size in (0, 100, 200_000):
        content = os.urandom(size)
        store.put("a", content)
        with store.open("a", whole=whole) as file:
            assert file.read() == content
    with pytest.raises(FileNotFoundError):
        store.open("b", whole=whole)
    store.make_folder("f")
    with pytest.raises(IsADirectoryError):
        store.open("f", whole=whole)


@linux
@pytest.mark.parametrize("whole", [False, True])
def test_open_file_with_size_zero(whole):
    path = "/proc/version"
    with LocalStore().open(path, whole=whole) as file:
        assert file.read() == Path(path).read_bytes() != b""
    assert os.path.getsize(path) == 0


@linux
def test_read_file_with_size_zero():
    content = Path("/proc/version").read_bytes()
    for part in [(0,), (3,), (0, 4), (-3,), (5, 10**12)]:
        assert LocalStore().read("/proc/version", *part) == content[part[0] : (*part, None)[1]]


@posix
@pytest.mark.parametrize("batched", [False, True])
def test_interrupted_read_keeps_no_descriptor(store, batched):
    store.put("f/g/a", b"abc")
    with store.batch() if batched else nullcontext(store) as reader:
        # This opens the root and its folders, which stay open.
        assert reader.read("f/g/a") == b"abc"
        before = descriptors()
        outcomes = [interrupt(step, lambda: reader.read("f/g/a")) for step in range(120)]
        assert {INTERRUPTED, b"abc"} == set(outcomes)
        assert descriptors() == before


@posix
@pytest.mark.parametrize("replaces", [False, True])
def test_interrupted_put_keeps_no_descriptor(store, replaces):
    store.put("f/g/a", b"abc")
    before = descriptors()
    outcomes = []
    for step in range(200):
        key = "f/g/a" if replaces else f"f/g/{step}"
        outcomes.append(interrupt(step, lambda key=key: store.put(key, b"abc")))
    assert set(outcomes) == {INTERRUPTED, None}
    assert descriptors() == before


# ── places ───────────────────────────────────────────────────────────────────────────────


def read_place(place):
    descriptor = os.open(place.name, os.O_RDONLY, dir_fd=place.dir_fd)
    with open(descriptor, "rb") as file:
        return file.read()


@posix
def test_place_is_for_system_calls(store, folder):
    store.put("f/a", b"abc")
    with store.at("f/a") as place:
        assert read_place(place) == b"abc"
        os.unlink(place.name, dir_fd=place.dir_fd)
    assert os.listdir(folder / "f") == []
    for follow in (True, False):
        with store.at(f"g{follow}/h/a", follow=follow, create=True) as place:
            os.mkdir(place.name, dir_fd=place.dir_fd)
        assert (folder / f"g{follow}/h/a").is_dir()
    with pytest.raises(FileNotFoundError), store.at("missing/a") as place:
        read_place(place)


@posix
def test_place_of_a_link(store, folder):
    store.put("f/a", b"abc")
    (folder / "l").symlink_to("f/a")
    with store.at("l") as place:
        assert not os.path.islink(os.path.join(folder / "f", place.name))
        assert read_place(place) == b"abc"
    with store.at("l", follow=False) as place:
        assert os.readlink(place.name, dir_fd=place.dir_fd) == "f/a"


@posix
def test_batch_keeps_directories_of_places(folder):
    store = LocalStore(folder)
    store.put("f/g/a", b"abc")
    with store.batch() as batch:
        found = []
        for key in ("f/g/a", "f/g/b"):
            with batch.at(key) as place:
                found.append(place.dir_fd)
        assert found[0] == found[1]
        assert os.path.samestat(os.fstat(found[0]), os.stat(folder / "f/g"))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(found[0])
    store.close()


def test_stat(store, folder):
    store.put("f/a", b"abc")
    found = store.stat("f/a")
    assert found == Stat("f/a", "file", 3, os.stat(folder / "f/a").st_mtime)
    assert (store.stat("f").kind, store.stat("f").size) == ("directory", None)
    with pytest.raises(FileNotFoundError):
        store.stat("f/b")
    with pytest.raises(NotADirectoryError):
        store.stat("f/a/b")


@posix
def test_stat_follows_links(store, folder):
    store.put("a", b"abc")
    (folder / "l").symlink_to("a")
    (folder / "d").symlink_to("nowhere")
    (folder / "o").symlink_to("o")
    assert (store.stat("l").kind, store.stat("l").size, store.stat("l").target) == (
        "file",
        3,
        "a",
    )
    assert store.stat("d")[:2] == ("d", "symlink")
    assert (store.stat("d").target, store.stat("o").target) == ("nowhere", "o")
    assert store.stat("o").kind == "symlink"


# ── scanning ─────────────────────────────────────────────────────────────────────────────


def test_scan_of_deep_trees(store):
    deep = "/".join(["f"] * 300)
    for key in ("a", "f/b", f"{deep}/c", "ff/d"):
        store.put(key, b"xyz")
    assert keys(store.scan()) == sorted(["a", "f/b", f"{deep}/c", "ff/d"])
    assert keys(store.scan("f")) == sorted(["f/b", f"{deep}/c"])
    assert {stat.size for stat in store.scan()} == {3}
    assert (
        keys(store.scan("a")) == keys(store.scan("missing")) == keys(store.scan("f/b/c")) == []
    )


def test_scan_and_entries_leave_out_other_files(store, folder):
    store.put("f/a", b"")
    store.make_folder("e")
    for name in (".~ps-1", ".DS_Store", "._a"):
        (folder / "f" / name).write_bytes(b"x")
    (folder / "f/.~ps-2").mkdir()
    (folder / "f/.~ps-2/b").write_bytes(b"x")
    assert keys(store.scan()) == ["f/a"]
    assert list(store.entries("f")) == [Entry("a", False, False)]
    assert (
        set(store.entries(""))
        == set(store.entries("."))
        == {
            Entry("e", True, False),
            Entry("f", True, False),
        }
    )
    assert list(store.entries("e")) == []
    with pytest.raises(NotADirectoryError):
        store.entries("f/a")
    with pytest.raises(FileNotFoundError):
        store.entries("missing")


@posix
def test_scan_follows_links_to_files_only(store, folder, tmp_path):
    store.put("f/a", b"abc")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/o").write_bytes(b"outside")
    (folder / "l").symlink_to("f/a")
    (folder / "lf").symlink_to("f")
    (folder / "d").symlink_to("nowhere")
    (folder / "f/up").symlink_to("..")
    (folder / "x").symlink_to("../outside/o")
    (folder / "y").symlink_to("../outside")
    found = {stat.key: (stat.kind, stat.size, stat.target) for stat in store.scan()}
    assert found.pop("x") == (
        ("file", 7, "../outside/o") if store.root is None else ("symlink", None, "../outside/o")
    )
    # A link out of the root is not followed, so its kind stays unknown.
    if store.root is not None:
        assert found.pop("y") == ("symlink", None, "../outside")
    assert found == {
        "f/a": ("file", 3, None),
        "l": ("file", 3, "f/a"),
        "d": ("symlink", None, "nowhere"),
    }


def test_scan_skips_deleted_folders(store):
    for letter in "abcd":
        for number in range(3):
            store.put(f"{letter}/{number}", b"x")
    seen = []
    for stat in store.scan():
        seen.append(stat.key)
        for entry in store.entries(""):
            if entry.name != stat.key[0]:
                store.remove_folder(entry.name, recursive=True)
    assert len(seen) == 3
    assert len({key[0] for key in seen}) == 1


# ── writing ──────────────────────────────────────────────────────────────────────────────


def test_put(store, folder):
    store.put("f/g/a", b"first")
    store.put("f/g/a", memoryview(b"second"))
    with pytest.raises(FileExistsError):
        store.put("f/g/a", b"third", if_exists="error")
    assert store.read("f/g/a") == b"second"
    with pytest.raises(NotADirectoryError):
        store.put("f/g/a/b", b"")
    with pytest.raises(IsADirectoryError):
        store.put("f/g", b"")
    assert [str(path.relative_to(folder)) for path in folder.rglob("*")] == [
        "f",
        "f/g",
        "f/g/a",
    ]


def test_delete(store):
    store.put("a", b"")
    store.delete("a")
    store.delete("a")
    store.delete("f/b")
    store.make_folder("f")
    with pytest.raises((IsADirectoryError, PermissionError)):
        store.delete("f")
    assert list(store.entries("")) == [Entry("f", True, False)]


@pytest.fixture
def flushes(monkeypatch):
    """Record each flush, and still call the function of the system."""
    flushed = []
    fsync = os.fsync

    def count_flush(descriptor):
        flushed.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", count_flush)
    return flushed


@linux
def test_sync_flushes_each_folder_once(store, folder, flushes):
    for key in ("f/a", "f/b", "f/c", "g/a", "a", "g/h/a"):
        store.put(key, b"x")
    flushes.clear()
    assert store.sync(["f/a", "f/b", "g/a", "f/c", "a", "g/h/a", "./f/a"]) == {}
    assert sorted(flushes) == sorted(
        os.stat(folder / name).st_ino for name in ("f", "g", ".", "g/h")
    )
    assert store.sync([]) == {}


@linux
@pytest.mark.parametrize(
    ("durable", "new", "replaced"), [(None, 0, 1), (False, 0, 0), (True, 2, 2)]
)
def test_default_of_the_store_is_used(folder, flushes, durable, new, replaced):
    store = LocalStore(folder, durable=durable)
    for content, expected in ((b"new", new), (b"replaced", replaced)):
        flushes.clear()
        store.put("a", content)
        assert len(flushes) == expected
        flushes.clear()
        with store.writing(f"b{expected}") as file:
            file.write(content)
        assert len(flushes) == new
    sink = store.sink("c")
    assert sink.wants_flush is (durable is True)
    sink.discard()


@posix
def test_sync_reports_failed_flushes(store, folder, tmp_path):
    for key in ("f/a", "g/a", "g/b", "a"):
        store.put(key, b"x")
    (folder / "g").rename(tmp_path / "elsewhere")
    failed = store.sync(["f/a", "g/a", "a", "g/b"])
    assert list(failed) == ["g/a", "g/b"]
    for key, error in failed.items():
        assert isinstance(error, DurabilityUnknownError)
        assert (error.path, error.errno) == (key, errno.ENOENT)
        assert isinstance(error.__cause__, FileNotFoundError)


@posix
def test_sync_does_not_leave_the_root(folder, tmp_path):
    store = LocalStore(folder)
    store.put("g/a", b"x")
    (folder / "g").rename(tmp_path / "elsewhere")
    (folder / "g").symlink_to(tmp_path / "elsewhere")
    (error,) = store.sync(["g/a"]).values()
    assert isinstance(error, DurabilityUnknownError)
    assert isinstance(error.__cause__, PathOutsideRootError)


# ── batches ──────────────────────────────────────────────────────────────────────────────


@linux
def test_batch_keeps_folders_open_and_closes_them(folder, descriptors):
    store = LocalStore(folder)
    store.put("a", b"")
    before = descriptors()
    with store.batch() as inside:
        for index in range(200):
            inside.put(f"f{index % 100}/{index}", b"x")
            assert inside.read(f"f{index % 100}/{index}") == b"x"
        assert before < descriptors() <= before + 70
    assert descriptors() == before
    assert len(keys(store.scan())) == 201


@linux
def test_batch_notices_replaced_folders(folder, tmp_path):
    store = LocalStore(folder)
    with store.batch() as inside:
        inside.put("f/a", b"1")
        inside.put("f/b", b"1")
        (folder / "f").rename(tmp_path / "gone")
        inside.put("f/c", b"2")
        with pytest.raises(FileNotFoundError):
            inside.read("f/a")
        assert inside.read("f/c") == b"2"
    assert sorted(os.listdir(tmp_path / "gone")) == ["a", "b"]


@linux
def test_batch_does_not_leave_the_root(folder, tmp_path):
    store = LocalStore(folder)
    (tmp_path / "outside").mkdir()
    with store.batch() as inside:
        inside.put("f/a", b"1")
        (folder / "f").rename(folder / "g")
        (folder / "f").symlink_to(tmp_path / "outside")
        for call in (lambda: inside.read("f/a"), lambda: inside.put("f/a", b"3")):
            with pytest.raises(PathOutsideRootError) as raised:
                call()
            assert raised.value.path == "f/a"
    assert os.listdir(tmp_path / "outside") == []


@posix
def test_batch_follows_links(folder):
    store = LocalStore(folder)
    store.put("g/a", b"1")
    store.put("f/b", b"")
    (folder / "f/l").symlink_to("../g/a")
    with store.batch() as inside:
        inside.read("f/b")
        assert inside.read("f/l") == b"1"
        inside.put("f/l", b"2")
    assert store.read("g/a") == b"2"
    assert store.read_link("f/l") == "../g/a"


# ── the store ────────────────────────────────────────────────────────────────────────────


def test_pickles(store):
    store.put("a", b"1")
    copy = pickle.loads(pickle.dumps(store))
    assert copy.read("a") == b"1"
    assert (copy.root, copy.durable, repr(copy)) == (store.root, store.durable, repr(store))
    copy.close()


def test_works_after_close_and_with_new_root(folder):
    store = LocalStore(folder)
    store.put("a", b"1")
    store.close()
    assert store.read("a") == b"1"
    store.delete("a")
    folder.rmdir()
    with pytest.raises(FileNotFoundError):
        store.read("a")
    assert keys(store.scan()) == []
    store.put("a", b"2")
    assert store.read("a") == b"2"
    store.close()


@pytest.mark.parametrize("key", ["../a", "/a", "f/../../a", ".."])
def test_keys_stay_in_the_root(folder, key):
    store = LocalStore(folder)
    for call in (
        lambda: store.stat(key),
        lambda: store.read(key),
        lambda: store.put(key, b""),
        lambda: store.delete(key),
        lambda: store.make_folder(key),
        lambda: store.entries(key),
        lambda: store.tree(key).__enter__(),
        lambda: store.at(key).__enter__(),
        lambda: store.rename("a", key) if store.put("a", b"") is None else None,
    ):
        with pytest.raises(PathOutsideRootError):
            call()
    assert os.listdir(folder) == ["a"]


def test_repr(folder):
    assert repr(LocalStore()) == "<LocalStore>"
    assert repr(LocalStore(folder)) == f"<LocalStore {str(folder)!r}>"
