"""The name, registry and formats of a backend, which it gets before ``__init__`` runs."""

from __future__ import annotations

import dataclasses
import gc
import pickle
import subprocess
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from polystore_core import (
    BackendRegistry,
    Capabilities,
    Context,
    DataSink,
    FileManager,
    StorageBackend,
    formats,
)
from polystore_core.errors import (
    BackendRequiredError,
    InvalidOptionError,
    NotFoundError,
    PluginConflictError,
    UnsupportedOperationError,
)

Install = Callable[..., None]
Python = Callable[..., subprocess.CompletedProcess[str]]

FORMAT = """
from polystore_core import Format

class Provided(Format):
    name = "{package}"

    def save(self, value, file, /):
        file.write(value)

    def load(self, file, /):
        return file.read()
"""


class Tee(StorageBackend):
    """Saves to two backends, and loads from the first one."""

    _backend_type = "test-tee"

    def __init__(self, *, first: str = "memory", second: str = "disk") -> None:
        self.named_in_init = self.name
        self.first, self.second = first, second

    def _target(self, name: str) -> Any:
        return self.context.registry[name]

    @property
    def capabilities(self) -> Capabilities:
        both = (self._target(name).capabilities.operations for name in self._names)
        return Capabilities(super().capabilities.operations.intersection(*both))

    @property
    def _names(self) -> tuple[str, str]:
        return self.first, self.second

    def save(self, data: Any, path: Any, /, **options: Any) -> None:
        for name in self._names:
            self._target(name).save(data, path, **options)

    def load(self, path: Any, /, **options: Any) -> Any:
        return self._target(self.first).load(path, **options)

    def create_symlink(self, source: Any, link: Any, /, *, overwrite: bool = False) -> None:
        if "create_symlink" not in self.capabilities:
            raise self._cannot("create_symlink")
        for name in self._names:
            self._target(name).create_symlink(source, link, overwrite=overwrite)


class Shelf(StorageBackend):
    """An instance that is pickled with its values."""

    def __init__(self, label: str = "") -> None:
        self.label = label
        self.values: dict[str, Any] = {}
        self.is_closed = False

    def save(self, data: Any, path: Any, /) -> None:
        self.values[str(path)] = data

    def load(self, path: Any, /) -> Any:
        if str(path) not in self.values:
            raise NotFoundError(self.name, str(path), "load")
        return self.values[str(path)]

    def close(self) -> None:
        self.is_closed = True


class Files(StorageBackend):
    """Loads the name of the format that it would use."""

    _backend_type = "test-files"

    def save(self, data: Any, path: Any, /) -> None: ...

    def load(self, path: Any, /) -> Any:
        return (self.context.formats or formats()).of(path, backend=self.name).name


class Locked(Shelf):
    def __reduce__(self) -> Any:
        raise TypeError("a lock is held")


@pytest.fixture
def registry(tmp_path: Path) -> BackendRegistry:
    registry = BackendRegistry()
    registry.add("here", "disk", root=str(tmp_path))
    return registry


# ── the context at construction ──────────────────────────────────────────────────────────


def test_context_exists_in_init(registry: BackendRegistry) -> None:
    registry.add("both", "test-tee", second="here")
    tee: Any = registry["both"]
    assert tee.named_in_init == tee.name == tee.context.name == "both"
    assert tee.context.registry is registry


def test_context_is_frozen(registry: BackendRegistry) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        registry["here"].context.name = "other"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        registry["here"].name = "other"  # type: ignore[misc]


def test_init_needs_no_super(registry: BackendRegistry) -> None:
    """A backend gets its context without any code of its author."""
    registry.add("shelf", Shelf())
    with pytest.raises(NotFoundError, match="backend 'shelf'"):
        FileManager(registry).load("a", "shelf")


def test_class_with_new_is_made(registry: BackendRegistry) -> None:
    class Made(Shelf):
        def __new__(cls, label: str = "") -> Self:
            made = super().__new__(cls)
            made.from_new = label  # type: ignore[attr-defined]
            return made

    made: Any = Made.with_context(Context("x"), label="a")
    assert (made.name, made.label, made.from_new) == ("x", "a", "a")


def test_made_without_registry(tmp_path: Path) -> None:
    shelf = Shelf()
    assert (shelf.name, shelf.context) == ("", Context())
    with pytest.raises(InvalidOptionError, match=r"has no registry.*registry\.add\("):
        _ = shelf.context.registry


def test_registry_is_not_kept_alive() -> None:
    """Values in memory are freed with their registry, without the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        fm = FileManager()
        fm.save(np.zeros(3), "a", "memory")
        backend = weakref.ref(fm.registry["memory"])
        del fm
        assert backend() is None
    finally:
        gc.enable()


def test_deleted_registry_is_reported() -> None:
    tee = BackendRegistry()["test-tee"]
    gc.collect()
    with pytest.raises(InvalidOptionError, match="backend 'test-tee' has no registry"):
        tee.load("a")  # type: ignore[union-attr]


# ── backends on top of other backends ────────────────────────────────────────────────────


def test_tee_reaches_its_registry(registry: BackendRegistry, tmp_path: Path) -> None:
    registry.add("both", "test-tee", second="here")
    fm = FileManager(registry)
    fm.save(np.arange(4), "a.npy", "both")
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2, 3]
    assert fm.load("a.npy", "memory").tolist() == [0, 1, 2, 3]
    assert fm.load("a.npy", "both").tolist() == [0, 1, 2, 3]
    registry.add("nested", "test-tee", first="both", second="memory")
    fm.save(np.arange(2), "b.npy", "nested")
    assert np.load(tmp_path / "b.npy").tolist() == [0, 1]


def test_registry_works_in_other_process(python: Python, tmp_path: Path) -> None:
    """In another process the registry is a new one with the same names and instances."""
    code = f"""
import multiprocessing, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_context
from polystore_core import FileManager

def work(fm):
    fm.save("one", "a.txt", "both")
    tee = fm.registry["both"]
    assert tee.context.registry is fm.registry and tee.context.restored
    shelf = fm.registry["shelf"]
    assert shelf.name == "shelf"
    assert shelf.context.registry is fm.registry and shelf.context.restored
    print(fm.load("a.txt", "both"), fm.load("a", "shelf"), flush=True)

if __name__ == "__main__":
    fm = FileManager()
    fm.registry.add("here", "disk", root={str(tmp_path)!r})
    fm.registry.add("both", "test-tee", second="here")
    fm.registry.add("shelf", test_context.Shelf())
    fm.save(7, "a", "shelf")
    assert not fm.registry["both"].context.restored
    process = multiprocessing.get_context("spawn").Process(target=work, args=(fm,))
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    done = python("import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", script)
    assert (done.returncode, done.stdout.strip()) == (0, "one 7"), done.stderr
    assert (tmp_path / "a.txt").read_text() == "one"


def test_capabilities_belong_to_the_instance(registry: BackendRegistry) -> None:
    registry.add("shelf", Shelf())
    registry.add("linking", "test-tee", second="here")
    registry.add("plain", "test-tee", second="shelf")
    linking, plain = registry["linking"], registry["plain"]
    assert linking.capabilities.operations - plain.capabilities.operations == {"create_symlink"}
    fm = FileManager(registry)
    fm.save("x", "a.txt", "linking")
    fm.create_symlink("a.txt", "b.txt", "linking")
    assert fm.load("b.txt", "here") == "x"
    fm.save("x", "a.txt", "plain")
    with pytest.raises(UnsupportedOperationError, match="'plain' does not support create_sym"):
        fm.create_symlink("a.txt", "b.txt", "plain")


def test_method_of_an_instance_counts() -> None:
    shelf: Any = Shelf()
    assert "move" not in shelf.capabilities
    shelf.delete = lambda path, /, *, recursive=False: shelf.values.pop(str(path))
    assert "move" in shelf.capabilities
    assert "move" not in Shelf().capabilities


# ── one preference for backends and formats ──────────────────────────────────────────────


@pytest.fixture
def two_formats(install: Install) -> None:
    for distribution in ("acme-raw", "zeta-raw"):
        install(distribution, "raw", group="polystore.formats", code=FORMAT)


@pytest.mark.usefixtures("two_formats")
def test_preference_reaches_all_backends(tmp_path: Path) -> None:
    """Backends of plugins, backends of this process, and instances use the preference."""
    from polystore_disk.backend import DiskBackend

    (tmp_path / "a.raw").write_bytes(b"1")
    path = str(tmp_path / "a.raw")
    with pytest.raises(PluginConflictError):
        Files().load(path)
    registry = BackendRegistry(prefer={"raw": "zeta-raw"})
    registry.add("mine", DiskBackend(root=tmp_path))
    registry.add("hand", Files())
    fm = FileManager(registry)
    for again in (fm, pickle.loads(pickle.dumps(fm))):
        assert [again.load(path, name) for name in ("test-files", "hand")] == ["zeta_raw"] * 2
        assert again.info(path, "disk").format == "zeta_raw"
        assert again.info("a.raw", "mine").format == "zeta_raw"
    backend = pickle.loads(pickle.dumps(registry["disk"]))
    assert backend.info(path).format == "zeta_raw"


def test_formats_without_preference_are_shared() -> None:
    assert BackendRegistry().formats is BackendRegistry().formats is formats()
    assert pickle.loads(pickle.dumps(formats())) is formats()


# ── instances ────────────────────────────────────────────────────────────────────────────


def test_instance_gets_the_context(registry: BackendRegistry) -> None:
    shelf = Shelf()
    registry.add("shelf", shelf)
    assert registry["shelf"] is shelf
    assert (shelf.name, shelf.context.registry) == ("shelf", registry)
    assert "shelf" in registry.names()
    assert "'shelf'" in repr(shelf)
    with pytest.raises(InvalidOptionError, match="name='shelf'"):
        registry.add("shelf", Shelf())


def test_shared_instance_keeps_its_context(registry: BackendRegistry) -> None:
    shelf = Shelf()
    registry.add("first", shelf)
    other = BackendRegistry()
    other.add("second", shelf)
    FileManager(registry).save(1, "a", "first")
    assert FileManager(other).load("a", "second") == 1
    assert (shelf.name, shelf.context.registry) == ("first", registry)


def test_instance_is_closed_by_its_maker(registry: BackendRegistry) -> None:
    shelf = Shelf()
    registry.add("shelf", shelf)
    fm = FileManager(registry)
    fm.save(1, "a", "shelf")
    registry.close()
    assert not shelf.is_closed
    assert fm.load("a", "shelf") == 1


def test_sink_is_an_instance_too(registry: BackendRegistry) -> None:
    class Sink(DataSink):
        def save(self, data: Any, path: Any, /) -> None:
            self.last = data

    sink = Sink()
    registry.add("sink", sink)
    FileManager(registry).save(7, "a", "sink")
    assert sink.last == 7


@pytest.mark.parametrize("backend", [Shelf, 7, None, b"disk"])
def test_other_types_are_refused(registry: BackendRegistry, backend: Any) -> None:
    message = "registry.add.* the name of a backend or an instance of one"
    with pytest.raises(BackendRequiredError, match=message):
        registry.add("shelf", backend)
    assert "shelf" not in registry


def test_instance_has_its_options(registry: BackendRegistry) -> None:
    with pytest.raises(InvalidOptionError, match="'shelf' is an instance: give root=…, b=…"):
        registry.add("shelf", Shelf(), root="hidden", b=1)
    assert "shelf" not in registry


def test_unpickled_registry_has_same_instance(registry: BackendRegistry) -> None:
    shelf = Shelf()
    registry.add("shelf", shelf)
    assert pickle.loads(pickle.dumps(FileManager(registry))).registry["shelf"] is shelf


def test_instance_that_cannot_be_pickled_is_named(registry: BackendRegistry) -> None:
    registry.add("shelf", Shelf())
    registry.add("locked", Locked())
    for value in (registry, FileManager(registry)):
        with pytest.raises(
            UnsupportedOperationError, match=r"'locked' .*a lock is held"
        ) as caught:
            pickle.dumps(value)
        assert "registry.add('locked', '…', …)" in str(caught.value)
    assert FileManager(registry).registry["locked"].name == "locked"
