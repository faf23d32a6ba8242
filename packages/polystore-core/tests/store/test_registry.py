"""Backends on stores in registries, by instance and by name, in this and other processes."""

import pickle

import numpy as np
import pytest

from polystore_core import BackendRegistry, Context, FileBackend, FileManager, LocalStore
from polystore_core.errors import (
    InvalidOptionError,
    MissingOptionError,
    UnknownOptionError,
    VersionConflictError,
)

from .stores import CreateOnly, Flat, Full, Overwriting, ReadOnly, Small, Versioned


class Mine(FileBackend):
    _backend_type = "mine_on_a_store"

    def __init__(self, *, space, durable=None):
        super().__init__(Flat(space))
        self.store.durable = durable


def test_instance_in_a_registry():
    registry = BackendRegistry()
    registry.add("here", FileBackend(Flat("here")))
    fm = FileManager(registry)
    fm.save(np.arange(3), "f/a.npy", backend="here")
    assert fm.load("f/a.npy", backend="here").tolist() == [0, 1, 2]
    assert fm.list_files("f", backend="here") == ["f/a.npy"]
    assert registry["here"].name == "here"
    assert repr(registry["here"]) == "<FileBackend 'here' on <Flat here>>"
    with pytest.raises(
        InvalidOptionError, match=r"is an instance: give durable=… where you make"
    ):
        registry.add("there", FileBackend(Flat("there")), durable=True)


def test_class_by_name():
    registry = BackendRegistry()
    registry.add("notes", "mine_on_a_store", space="by name")
    backend = registry["notes"]
    assert isinstance(backend, Mine)
    backend.save({"a": 1}, "a.json")
    assert Flat("by name").read("a.json")
    assert repr(backend) == "<Mine 'notes' on <Flat by name>>"
    with pytest.raises(UnknownOptionError, match=r"'spaec'.*did you mean 'space'"):
        registry.add("other", "mine_on_a_store", spaec="x")
    with pytest.raises(MissingOptionError, match=r"space"):
        registry.add("other", "mine_on_a_store")
    copy = pickle.loads(pickle.dumps(registry))
    assert copy["notes"].load("a.json") == {"a": 1}


def test_made_with_a_context():
    context = Context("named")
    backend = FileBackend.with_context(context, store=Flat("context"))
    assert (backend.name, backend.context) == ("named", context)
    with pytest.raises(FileNotFoundError, match=r"^backend 'named': 'a\.json' does not exist"):
        backend.load("a.json")
    mine = Mine.with_context(context, space="context")
    mine.save([1], "a.json")
    assert backend.load("a.json") == [1]


def test_made_without_context():
    backend = FileBackend(Flat("by hand"))
    assert repr(backend) == "<FileBackend on <Flat by hand>>"
    assert repr(Mine(space="by hand")) == "<Mine 'mine_on_a_store' on <Flat by hand>>"
    backend.save([1], "a.json")
    assert backend.load("a.json") == [1]
    with pytest.raises(FileNotFoundError, match=r"'b\.json' does not exist"):
        backend.load("b.json")


@pytest.mark.parametrize("store", [None, "a.zip", Flat, FileBackend(Flat("inside"))])
def test_other_types_are_refused_as_store(store):
    with pytest.raises(
        InvalidOptionError, match=r"store=.* a ByteStore, such as LocalStore\(\)"
    ):
        FileBackend(store)


@pytest.mark.parametrize(
    "kind", [Flat, Full, ReadOnly, CreateOnly, Overwriting, Small, Versioned, LocalStore]
)
def test_pickles(kind, tmp_path):
    store = kind(str(tmp_path)) if kind is LocalStore else kind("pickled backends")
    backend = FileBackend(store)
    copy = pickle.loads(pickle.dumps(backend))
    assert repr(copy) == repr(backend)
    assert copy.capabilities == backend.capabilities
    if "save" in backend.capabilities:
        backend.save(np.zeros(3), f"{kind.__name__}.npy")
        assert len(copy.load(f"{kind.__name__}.npy")) == 3
    backend.close()
    copy.close()


# ── VersionConflictError ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("current", "text"),
    [
        (
            "7",
            (
                "has changed since you read it (its version is 7 now): load it again, "
                "and repeat your change"
            ),
        ),
        (None, "does not exist any more: save it as a new value, or leave it"),
    ],
)
def test_version_conflict(current, text):
    error = VersionConflictError("x", "f/a.json", "save", current=current)
    assert str(error) == f"backend 'x': 'f/a.json' {text}"
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.current) == (VersionConflictError, str(error), current)
    assert (copy.backend, copy.path, copy.operation) == ("x", "f/a.json", "save")
    assert isinstance(error, OSError)


def test_versions_of_a_store():
    store = Full("versions")
    store.put("a", b"1")
    version = store.stat("a").version
    store.put_version("a", b"2", version=version)
    with pytest.raises(
        VersionConflictError, match=r"'a' has changed since you read it"
    ) as raised:
        store.put_version("a", b"3", version=version)
    assert raised.value.current == store.stat("a").version
    store.delete("a")
    with pytest.raises(VersionConflictError, match=r"'a' does not exist any more") as raised:
        store.put_version("a", b"3", version=version)
    assert raised.value.current is None


def test_store_is_refused_as_backend():
    with pytest.raises(InvalidOptionError, match=r"FileBackend\(store\)"):
        BackendRegistry().add("mine", Flat("no backend"))
