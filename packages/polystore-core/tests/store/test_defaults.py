"""Defaults that ``ByteStore`` adds to a store of five methods."""

import io
import pickle

import pytest

from polystore_core import Entry, Folders, Renames, StoreFeatures
from polystore_core.errors import (
    DurabilityUnknownError,
    PathOutsideRootError,
    UnsupportedOperationError,
)

from .stores import Flat, Full, Overwriting, ReadOnly, Small, Versioned

BIG = bytes(range(256)) * (3 * 4096)  # Three times the buffer.


@pytest.fixture
def flat():
    store = Flat("defaults")
    store.values.clear()
    store.calls.clear()
    return store


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("a", "a"),
        ("a/b.tif", "a/b.tif"),
        ("./a//b/", "a/b"),
        ("a/./b/.", "a/b"),
        (".", ""),
        ("..a/b..", "..a/b.."),
        ("./~/s3:/a", "~/s3:/a"),
    ],
)
def test_key_of_a_path(flat, path, key):
    assert flat.key(path) == key
    assert flat.key(key) == key
    assert flat.identity(flat.key(path)) == flat.identity(key)


@pytest.mark.parametrize("path", ["/a", "../a", "a/../b", "..", "/"])
def test_keys_stay_inside(flat, path):
    with pytest.raises(PathOutsideRootError, match=r"is outside root '<Flat defaults>'"):
        flat.key(path)


def test_entries_are_derived(flat):
    for key in ("a.npy", "f/b.npy", "f/g/c.npy", "f/g/d.npy", "ff/e.npy"):
        flat.put(key, b"")
    assert set(flat.entries("")) == {
        Entry("a.npy", False, False),
        Entry("f", True, False),
        Entry("ff", True, False),
    }
    assert set(flat.entries("f")) == {Entry("b.npy", False, False), Entry("g", True, False)}
    assert len(list(flat.entries("f/g"))) == 2


def test_entries_leave_out_other_files(flat):
    """Object stores keep "f/" as a placeholder, and file browsers leave files of their own."""
    for key in ("f/", "f/._a", "f/.DS_Store", "f/.~ps-1", "f/.~ps-2/a", "f/._g/a"):
        flat.put(key, b"")
    assert set(flat.entries("f")) == {Entry("._g", True, False)}
    for key in ("e/", "l/.DS_Store"):
        flat.put(key, b"")
        assert list(flat.entries(key[0])) == []


def test_entries_of_other_keys(flat):
    flat.put("a", b"")
    assert list(Flat("empty").entries("")) == []
    with pytest.raises(NotADirectoryError):
        flat.entries("a")
    with pytest.raises(FileNotFoundError):
        flat.entries("b")
    flat.put("a/b", b"")  # This store allows values below another value.
    assert set(flat.entries("a")) == {Entry("b", False, False)}


@pytest.mark.parametrize("content", [b"", b"abc", BIG])
def test_open_reads_stored_bytes(flat, content):
    flat.put("a", content)
    for whole in (False, True):
        with flat.open("a", whole=whole) as file:
            assert file.read() == content
            assert file.seek(-1, io.SEEK_END) >= 0 if content else file.tell() == 0


@pytest.fixture
def versioned(flat):
    return Versioned(flat.space)


def test_open_reads_parts_of_large_values(versioned):
    versioned.put("a", BIG)
    versioned.calls.clear()
    with versioned.open("a") as file:
        assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
        assert file.read(2) == BIG[:2]
        assert file.seek(-3, io.SEEK_END) == len(BIG) - 3
        assert file.read() == BIG[-3:]
        assert file.seek(len(BIG) + 10) == len(BIG) + 10
        assert file.read() == b""
        file.seek(5)
        assert file.seek(2, io.SEEK_CUR) == 7
        target = bytearray(2 << 20)
        assert file.readinto(target) == len(target)
        assert target == BIG[7 : 7 + len(target)]
        with pytest.raises(OSError, match=r"Invalid argument"):
            file.seek(-1)
    asked = sum(int(call.split()[3]) - int(call.split()[2]) for call in versioned.calls)
    assert asked < len(BIG) + (2 << 20)
    assert all(call.startswith("read a ") for call in versioned.calls)


def test_small_values_are_read_in_one_call(versioned):
    versioned.put("a", b"x" * 1000)
    versioned.calls.clear()
    with versioned.open("a") as file:
        file.seek(10)
        assert file.read(5) == b"x" * 5
        assert file.read() == b"x" * 985
    assert versioned.calls == ["read a 0 None"]


def test_values_without_a_version_are_read_in_one_call(flat):
    flat.put("a", BIG)
    flat.calls.clear()
    with flat.open("a") as file:
        assert file.read(3) == BIG[:3]
        flat.put("a", b"")
        assert file.read() == BIG[3:]
    assert flat.calls[0] == "read a 0 None"


class Sizeless(Versioned):
    def stat(self, key, /):
        return super().stat(key)._replace(size=None)


def test_value_of_unknown_size_is_read_whole():
    store = Sizeless("sizeless")
    store.put("a", BIG)
    with store.open("a") as file:
        assert file.read() == BIG


@pytest.mark.parametrize("whole", [False, True])
def test_open_of_missing_key(flat, whole):
    with pytest.raises(FileNotFoundError):
        flat.open("a", whole=whole)


def test_parts_of_two_versions_are_not_mixed(versioned):
    versioned.put("a", BIG)
    with versioned.open("a") as file:
        assert file.read(1) == BIG[:1]
        versioned.put("a", BIG[::-1])
        file.seek(2 << 20)
        with pytest.raises(OSError, match=r"it was replaced while it was read"):
            file.read()


# ── sinks ────────────────────────────────────────────────────────────────────────────────


def test_sink_keeps_the_old_value_until_commit(flat):
    flat.put("a", b"old")
    sink = flat.sink("a")
    sink.file.write(b"new value")
    sink.file.seek(0)
    assert sink.file.read(3) == b"new"
    sink.seal()
    assert not sink.wants_flush
    sink.flush()
    assert flat.read("a") == b"old"
    sink.commit()
    sink.discard()
    sink.discard()
    assert flat.read("a") == b"new value"


def test_discarded_sink_leaves_nothing(flat):
    sink = flat.sink("a")
    sink.file.write(b"x")
    sink.discard()
    assert flat.values == {}


def test_sink_may_refuse_to_replace(flat):
    sink = flat.sink("a", if_exists="error")
    sink.seal()
    flat.put("a", b"other")
    with pytest.raises(FileExistsError):
        sink.commit()
    sink.discard()
    assert flat.read("a") == b"other"


def test_sink_knows_the_largest_value():
    store = Small("small")
    sink = store.sink("a")
    sink.file.write(b"x" * 201)
    with pytest.raises(OSError, match=r"it has 201 bytes, but <Small small> holds at most 200"):
        sink.seal()
    sink.discard()
    with store.writing("a") as file:
        file.write(b"x" * 200)
    assert len(store.read("a")) == 200


def test_writing_is_whole_or_nothing(flat):
    with flat.writing("a") as file:
        file.write(b"first")

    def fail():
        with flat.writing("a") as file:
            file.write(b"sec")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert flat.read("a") == b"first"
    with pytest.raises(FileExistsError), flat.writing("a", if_exists="error") as file:
        file.write(b"third")
    assert flat.read("a") == b"first"


class Lossy(Flat):
    features = StoreFeatures(durable=True)
    durable = True

    def sync(self, keys, /):
        return {key: OSError("server gone") for key in keys}


@pytest.mark.parametrize("durable", [None, True])
def test_writing_is_as_durable_as_the_store(durable):
    store = Lossy("lossy")
    with (
        pytest.raises(DurabilityUnknownError, match=r"'a'.*server gone; the new version is in"),
        store.writing("a", durable=durable) as file,
    ):
        file.write(b"x")
    assert store.read("a") == b"x"
    with store.writing("b", durable=False) as file:
        file.write(b"y")


# ── features of a store ──────────────────────────────────────────────────────────────────


def test_features_are_inherited_and_claimed(flat):
    full = Full("abilities")
    assert full.claims(Renames)
    assert full.require(Folders, "move") is full
    assert not flat.claims(Renames)
    with pytest.raises(
        UnsupportedOperationError, match=r"<Flat defaults> has features\.renames = \"none\""
    ):
        flat.require(Renames, "move")
    full.features = StoreFeatures()
    assert not full.claims(Renames)
    with pytest.raises(UnsupportedOperationError, match=r'features\.renames = "none"'):
        full.require(Renames, "move")
    flat.features = Full.features
    assert not flat.claims(Renames)
    with pytest.raises(
        UnsupportedOperationError, match=r"\"thread\", but it does not inherit Renames"
    ):
        flat.require(Renames, "move")


@pytest.mark.parametrize("kind", [Flat, Full, ReadOnly, Small, Overwriting])
def test_stores_pickle(kind):
    store = kind("pickled")
    copy = pickle.loads(pickle.dumps(store))
    assert (copy.space, copy.features) == (store.space, store.features)
    with store.batch() as inside:
        assert inside is store
    assert store.sync(["a"]) == {}
    store.close()
