"""A backend on a store of bytes, which is given or belongs to another backend."""

import pickle

import pytest

from polystore_core import (
    BackendRegistry,
    ByteStore,
    DataSink,
    FileBackend,
    FileManager,
    LocalStore,
    StorageBackend,
)
from polystore_core.errors import (
    InvalidOptionError,
    UnknownPluginError,
    UnsupportedOperationError,
)


class Pickles(StorageBackend):
    """Stores each value as a pickle."""

    _backend_type = "test-pickles"

    def __init__(self, *, store: ByteStore | str = "memory") -> None:
        self._store = self.context.store(store)

    def save(self, data, path, /):
        self._store.put(self._store.key(path), pickle.dumps(data))

    def load(self, path, /):
        return pickle.loads(self._store.read(self._store.key(path)))

    def scan(self, directory, /):
        return self._store.entries(self._store.key(directory))

    def delete(self, path, /, *, recursive=False):
        self._store.delete(self._store.key(path))


class Screen(DataSink):
    """Shows values and stores none."""

    _backend_type = "test-viewer"

    def save(self, data, path, /):
        pass


@pytest.fixture
def registry():
    with BackendRegistry() as made:
        yield made


def test_store_of_a_named_backend(registry, tmp_path):
    registry.add("project", "disk", root=tmp_path)
    registry.add("a", "test-pickles", store="project")
    registry.add("b", "test-pickles")
    fm = FileManager(registry)
    for name in ("a", "b"):
        fm.save({"x": 1}, "f/value", backend=name)
        assert fm.load("f/value", backend=name) == {"x": 1}
        assert fm.list_files("f", backend=name) == ["f/value"]
    assert pickle.loads((tmp_path / "f/value").read_bytes()) == {"x": 1}
    assert fm.load("f/value", backend="memory") == pickle.dumps({"x": 1})
    assert registry["project"].store is registry["a"]._store


@pytest.mark.parametrize("given", ["store", "instance"])
def test_store_that_you_made(registry, tmp_path, given):
    store = LocalStore(tmp_path)
    if given == "instance":
        registry.add("mine", FileBackend(store))
    registry.add("a", "test-pickles", store="mine" if given == "instance" else store)
    FileManager(registry).save(1, "value", backend="a")
    assert pickle.loads(store.read("value")) == 1
    store.close()


def test_store_needs_no_registry(tmp_path):
    store = LocalStore(tmp_path)
    assert Pickles(store=store)._store is store
    with pytest.raises(InvalidOptionError, match="has no registry"):
        Pickles(store="memory")


def test_unknown_name_is_reported(registry):
    registry.add("a", "test-pickles", store="memroy")
    with pytest.raises(UnknownPluginError, match="did you mean 'memory'"):
        registry["a"]


def test_backend_without_a_store_is_named(registry):
    registry.add("a", "test-pickles", store="test-viewer")
    with pytest.raises(
        UnsupportedOperationError,
        match="'test-viewer' does not support store=: it has no store",
    ):
        registry["a"]


@pytest.mark.parametrize("given", [None, 7, b"disk"])
def test_other_values_are_refused(registry, given):
    registry.add("a", "test-pickles", store=given)
    with pytest.raises(InvalidOptionError, match="a ByteStore, or the name of another"):
        registry["a"]


def test_own_name_is_refused(registry):
    registry.add("a", "test-pickles", store="a")
    with pytest.raises(InvalidOptionError, match="the name of another backend"):
        registry["a"]


def test_unpickled_copy_has_its_store(registry, tmp_path):
    registry.add("project", "disk", root=tmp_path)
    registry.add("a", "test-pickles", store="project")
    fm = pickle.loads(pickle.dumps(FileManager(registry)))
    fm.save(2, "value", backend="a")
    assert FileManager(registry).load("value", backend="a") == 2


def test_circle_of_stores_is_refused(registry):
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        registry.add(name, "test-pickles", store=other)
    for start, circle in (("a", "a → b → c → a"), ("b", "b → c → a → b")):
        with pytest.raises(InvalidOptionError, match=f"in a circle: {circle}"):
            registry[start]
