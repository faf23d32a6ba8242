"""Backends that are classes in a notebook."""

import gc
from typing import Any

import pytest

from polystore_core import BackendRegistry, DataSink, FileManager, StorageBackend
from polystore_core.errors import (
    BrokenPluginError,
    InvalidOptionError,
    PluginConflictError,
    UnknownPluginError,
    UnsupportedOperationError,
)

from .samples import CLASS, COUNTED, Define, Install

# ── classes without an installation ──────────────────────────────────────────────────────


def test_class_works_by_name(define: Define) -> None:
    define(CLASS)
    registry = BackendRegistry()
    fm = FileManager(registry)
    fm.save(7, "a/b", backend="my_backend", colour="red")
    instance: Any = registry["my_backend"]
    assert instance.saved == (7, "a/b", {"colour": "red"})
    assert fm.load("a/b", backend="my_backend", depth=3) == ("a/b", {"depth": 3})
    assert instance.name == "my_backend"
    assert "my_backend" in registry
    assert "my_backend" in list(registry)


def test_misspelt_name_suggests(define: Define) -> None:
    define(CLASS)
    with pytest.raises(UnknownPluginError, match="did you mean 'my_backend'"):
        BackendRegistry()["my_backand"]


def test_other_operations_derive_or_refuse(define: Define) -> None:
    define(CLASS)
    backend = BackendRegistry()["my_backend"]
    works = {"save", "load", "save_batch", "load_batch", "copy"}
    assert backend.capabilities.operations == works
    assert FileManager().load_batch(["a"], backend="my_backend") == [("a", {})]
    fm = FileManager()
    for operation, args in {
        "open": ("a",),
        "info": ("a",),
        "exists": ("a",),
        "is_file": ("a",),
        "is_dir": ("a",),
        "is_symlink": ("a",),
        "list_dir": ("a",),
        "list_files": ("a",),
        "list_image_files": ("a",),
        "find_file_recursive": ("a", "b"),
        "collect_dirs_and_files": ("a",),
        "ensure_directory": ("a",),
        "delete": ("a",),
        "delete_all": ("a",),
        "move": ("a", "b"),
        "create_symlink": ("a", "b"),
        "mirror_directory_with_symlinks": ("a", "b"),
    }.items():
        with pytest.raises(UnsupportedOperationError, match="backend 'my_backend' does not"):
            getattr(fm, operation)(*args, backend="my_backend")


@pytest.mark.parametrize(
    ("method", "gained"),
    [
        (
            "def delete(self, path, /, *, recursive=False): ...",
            {"delete", "delete_all", "move"},
        ),
        ("def list_dir(self, path, /): ...", {"list_dir"}),
        (
            "def info(self, path, /): ...\n    def list_dir(self, path, /): ...",
            {
                "info",
                "exists",
                "is_file",
                "is_dir",
                "is_symlink",
                "list_dir",
                "list_files",
                "list_image_files",
                "find_file_recursive",
                "collect_dirs_and_files",
            },
        ),
    ],
)
def test_capabilities_follow_methods(define: Define, method: str, gained: set[str]) -> None:
    plain = define(CLASS)().capabilities.operations
    more = define(f"{CLASS}\n    {method}")().capabilities.operations
    assert more - plain == gained


def test_cell_can_run_again(define: Define) -> None:
    define(CLASS)
    define(CLASS.replace("(file_path, kwargs)", "'second'"))
    assert FileManager().load("a", backend="my_backend") == "second"


def test_two_classes_conflict(define: Define) -> None:
    define(CLASS, "one")
    define(CLASS, "two")
    with pytest.raises(PluginConflictError, match=r"one\.MyBackend and by two\.MyBackend"):
        BackendRegistry()["my_backend"]


def test_subclass_leaves_name(define: Define) -> None:
    base = define(f"{CLASS}\nclass Derived(MyBackend): ...")
    assert type(BackendRegistry()["my_backend"]) is base


def test_sink_alone_works(define: Define) -> None:
    sink = define(
        "from polystore_core import DataSink\n"
        "class MyBackend(DataSink):\n"
        "    _backend_type = 'my_backend'\n"
        "    def save(self, data, path, /): ...\n"
    )
    assert isinstance(BackendRegistry()["my_backend"], sink)
    assert issubclass(sink, DataSink)
    assert not issubclass(sink, StorageBackend)


def test_class_never_shadows_distribution(define: Define, install: Install) -> None:
    install("acme-raw", "my_backend")
    define(CLASS)
    with pytest.raises(PluginConflictError, match="'acme-raw:my_backend'"):
        BackendRegistry()["my_backend"]
    for registry, name in (
        (BackendRegistry(), "acme-raw:my_backend"),
        (BackendRegistry(prefer={"my_backend": "acme-raw"}), "my_backend"),
    ):
        backend: Any = registry[name]
        assert backend.load("a") == "acme_raw"


def test_local_class_can_be_preferred(define: Define, install: Install) -> None:
    """The advice in the message also works for classes of this process."""
    install("acme-raw", "my_backend")
    define(CLASS)
    for registry, name in (
        (BackendRegistry(), "__notebook__.MyBackend:my_backend"),
        (BackendRegistry(prefer={"my_backend": "__notebook__.MyBackend"}), "my_backend"),
    ):
        backend: Any = registry[name]
        assert backend.load("a") == ("a", {})


def test_two_classes_have_full_names(define: Define) -> None:
    define(CLASS, "one")
    define(CLASS.replace("(file_path, kwargs)", "'second'"), "two")
    fm = FileManager()
    assert fm.load("a", backend="one.MyBackend:my_backend") == ("a", {})
    assert fm.load("a", backend="two.MyBackend:my_backend") == "second"


def test_class_never_shadows_known_name(
    define: Define, caplog: pytest.LogCaptureFixture
) -> None:
    """Our backend is used, and a line in the log says so."""
    define(CLASS.replace("my_backend", "disk"))
    assert type(BackendRegistry()["disk"]).__module__ == "polystore_disk.backend"
    (line,) = caplog.messages
    assert "class __notebook__.MyBackend is ignored" in line
    prefer = {"disk": "__notebook__.MyBackend"}
    assert f"BackendRegistry(prefer={prefer})" in line
    backend: Any = BackendRegistry(prefer=prefer)["disk"]
    assert backend.load("a") == ("a", {})


@pytest.mark.parametrize("name", [5, ["raw"], True, b"raw"])
def test_name_of_class_must_be_str(define: Define, name: object) -> None:
    """Only the cell with the mistake fails, and no other name."""
    with pytest.raises(InvalidOptionError, match="_backend_type="):
        define(CLASS.replace('"my_backend"', repr(name)))
    gc.collect()
    assert all(isinstance(known, str) for known in BackendRegistry())


@pytest.mark.parametrize("name", ["a:b", "a,b", "a\n"])
def test_name_of_class_must_be_usable(define: Define, name: str) -> None:
    with pytest.raises(InvalidOptionError, match="another name"):
        define(CLASS.replace('"my_backend"', repr(name)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("    def __init__(self, host): ...", "MyBackend.__init__ needs host"),
        ("    def __init__(self): 1 / 0", "ZeroDivisionError: division by zero"),
        ("    load = StorageBackend.load", "MyBackend does not implement load"),
    ],
)
def test_faulty_class_is_broken(define: Define, change: str, message: str) -> None:
    define(f"{CLASS}\n{change}")
    with pytest.raises(BrokenPluginError) as caught:
        BackendRegistry()["my_backend"]
    text = str(caught.value)
    assert text.startswith("backend 'my_backend' (__notebook__.MyBackend) is broken: ")
    assert message in text


def test_case_is_suggested(define: Define) -> None:
    define(CLASS)
    with pytest.raises(UnknownPluginError, match="did you mean 'my_backend'"):
        FileManager().load("a", backend="My_Backend")
    with pytest.raises(UnknownPluginError, match="did you mean 'disk'"):
        FileManager().load("a", backend="DISK")


# ── cells that run again ─────────────────────────────────────────────────────────────────


def test_new_class_replaces_used_one(define: Define) -> None:
    """The next call uses the new class, and the old instance is closed."""
    old = define(COUNTED)
    fm = FileManager()
    fm.registry.add("mine", "my_backend", root="r")
    fm.save(1, "a", backend="my_backend")
    assert fm.load("a", backend="mine") == "r"
    load = fm.load
    new = define(COUNTED.replace("return self.root", "return 'new'"))
    assert len(old.closed) == 2
    assert [load("a", backend=name) for name in ("my_backend", "mine")] == ["new", "new"]
    assert isinstance(fm.registry["my_backend"], new)
    assert [len(new.made), len(new.closed)] == [2, 0]


def test_new_class_may_have_other_bases(define: Define) -> None:
    """The newest version is used, in any order of subclasses."""
    define(
        "from polystore_core import DataSink\nclass MyBackend(DataSink):\n"
        "    _backend_type = 'my_backend'\n    def save(self, data, path, /): ...\n"
    )
    fm = FileManager()
    fm.save(1, "a", backend="my_backend")
    define(CLASS)
    assert fm.load("a", backend="my_backend") == ("a", {})


def test_other_classes_keep_their_instance(define: Define) -> None:
    define(COUNTED)
    fm = FileManager()
    fm.save(1, "a", backend="my_backend")
    used = fm.registry["my_backend"]
    define(COUNTED.replace('"my_backend"', '"other"'))
    define(COUNTED.replace("MyBackend", "Other").replace('"my_backend"', '"third"'))
    assert fm.registry["my_backend"] is used
    define(COUNTED, "elsewhere")
    with pytest.raises(PluginConflictError):
        BackendRegistry()["my_backend"]


def test_failing_close_raises_in_the_cell(define: Define) -> None:
    define(COUNTED)
    fm = FileManager()
    fm.registry.add("mine", "my_backend", root="r", fails=True)
    fm.load("a", backend="mine")
    with pytest.raises(OSError, match="close"):
        define(COUNTED)
    define(COUNTED.replace("return self.root", "return 'new'"))
    assert fm.load("a", backend="mine") == "new"


def test_factory_makes_two_backends(define: Define) -> None:
    """Classes from one function are different backends if their names differ."""
    cell = "def make(name):\n" + "".join(
        f"    {line}\n" for line in CLASS.replace('"my_backend"', "name").splitlines()
    )
    define(f"{cell}    return MyBackend\nkept = [make('one'), make('two')]")
    fm = FileManager()
    for name in ("one", "two"):
        assert fm.load("a", backend=name) == ("a", {})
