"""The store of a memory backend, which holds the values that are bytes."""

import gc
import io
import os
import pickle
import signal
import threading
import weakref

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileBackend, FileManager
from polystore_core.errors import UnsupportedDataError
from polystore_memory.backend import MemoryBackend
from polystore_testing import NAME, StorageTests, StoreTests


class TestMemoryStore(StoreTests):
    @pytest.fixture
    def bytes_store(self):
        return MemoryBackend(root="top").store


class TestFilesInMemory(StorageTests):
    """Formats on top of the store: encoded values in memory."""

    persistent = False

    @pytest.fixture
    def registry(self):
        registry = BackendRegistry()
        registry.add(NAME, FileBackend(MemoryBackend(root="top").store))
        return registry


@pytest.fixture
def backend():
    return MemoryBackend()


def test_store_and_backend_share_names(backend):
    store = backend.store
    backend.save(b"saved", "f/a")
    store.put("f/b", b"put")
    assert store.read("f/a") is backend.load("f/a")
    assert backend.load("f/b") == b"put"
    assert backend.list_dir("f") == ["a", "b"]
    backend.move("f", "g")
    assert sorted(stat.key for stat in store.scan()) == ["g/a", "g/b"]
    store.delete("g/a")
    assert not backend.exists("g/a")
    for path in ("/data/a", "../a"):
        store.put(path, b"outside")
        assert backend.load(path) == store.read(path) == b"outside"
        assert [stat.key for stat in store.scan(path.rpartition("/")[0])] == [path]


def test_bytes_are_not_copied(backend):
    content = b"0123456789"
    backend.store.put("a", content)
    assert backend.store.read("a") is content


@pytest.mark.parametrize("value", [np.arange(3), "text", bytearray(b"abc")])
def test_other_values_cannot_be_read(backend, value):
    store = backend.store
    backend.save(value, "a")
    for read in (
        lambda: store.read("a"),
        lambda: store.read("a", 1, 2),
        lambda: store.open("a"),
    ):
        with pytest.raises(UnsupportedDataError, match=f"it is a {type(value).__name__}"):
            read()
    found = store.stat("a")
    assert (found.kind, found.size) == ("file", None)
    assert list(store.scan()) == [found]
    store.rename("a", "b")
    store.put("b", b"bytes")
    assert backend.load("b") == b"bytes"


def test_versions_follow_the_backend(backend):
    store = backend.store
    seen = set()

    def check_new_version():
        version = store.stat("a").version
        assert version not in seen
        assert version == store.stat("a").version
        seen.add(version)

    store.put("a", b"1")
    check_new_version()
    backend.save(b"2", "a")
    check_new_version()
    backend.save(b"3", "./a")
    check_new_version()
    backend.save(b"4", "b")
    backend.move("b", "a")
    check_new_version()
    backend.delete("a")
    backend.save(b"5", "c/a")
    backend.copy("c/a", "a")
    check_new_version()
    backend.create_symlink("c/a", "a", overwrite=True)
    backend.save(b"6", "c/a")
    check_new_version()


def test_links_are_followed(backend):
    store = backend.store
    store.put("f/a", b"abc")
    backend.create_symlink("f/a", "l")
    backend.create_symlink("f", "lf")
    assert store.read("l") == store.read("lf/a") == b"abc"
    assert store.stat("l")[:3] == ("l", "file", 3)
    assert store.stat("l").target == "f/a"
    assert sorted(stat.key for stat in store.scan()) == ["f/a", "l"]
    store.delete("l")
    assert store.read("f/a") == b"abc"
    store.delete("f/a")
    store.remove_folder("f")
    assert store.stat("lf").kind == "symlink"
    with store.tree("lf", if_exists="replace") as hidden:
        store.put(f"{hidden}/a", b"new")
    assert store.stat("lf").target is None
    assert store.read("lf/a") == b"new"


def test_hidden_tree_is_not_seen(backend):
    store = backend.store
    with store.tree("f/t") as hidden:
        store.put(f"{hidden}/g/a", b"abc")
        assert store.read(f"{hidden}/g/a") == b"abc"
        assert backend.list_dir(".") == []
        assert list(store.scan()) == []
    assert backend.load("f/t/g/a") == b"abc"


def test_open_file_is_a_copy(backend):
    backend.store.put("a", b"abc")
    with backend.store.open("a") as file:
        assert isinstance(file, io.BytesIO)
        file.write(b"X")
    assert backend.store.read("a") == b"abc"


def test_pickled_store_is_the_same(backend):
    store = backend.store
    store.put("a", b"abc")
    sent = pickle.dumps(store)
    assert pickle.loads(sent) == pickle.loads(sent) == store
    assert pickle.loads(sent).read("a") == b"abc"


def test_store_has_no_reference_cycle():
    """The values are freed as soon as the last reference to the backend is gone."""
    gc.disable()
    try:
        backend = MemoryBackend()
        backend.store.put("a", b"abc")
        reference = weakref.ref(backend)
        del backend
        assert reference() is None
    finally:
        gc.enable()


def test_backend_of_a_registry_has_a_store():
    registry = BackendRegistry()
    fm = FileManager(registry)
    fm.save(b"abc", "a", backend="memory")
    assert registry["memory"].store.read("a") == b"abc"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="system: forks no processes")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_forked_child_ignores_locks_of_its_parent(backend):
    """A thread that holds the lock of the backend, or of a key, does not exist in the child."""
    store = backend.store
    for number in range(500):
        store.put(f"a/{number}", b"")
    ended = threading.Event()

    def work() -> None:
        with store.lock("k"):
            while not ended.is_set():
                store.scan()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                try:
                    with store.lock("k", timeout=0):
                        store.put("new", b"1")
                    os._exit(7)
                finally:  # No exception may continue in a second pytest.
                    os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    finally:
        ended.set()
        thread.join()
