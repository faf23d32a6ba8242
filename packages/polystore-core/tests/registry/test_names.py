"""Instances, configured names, and the files that configure them."""

import pickle
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import (
    BackendRequiredError,
    DamagedDataError,
    InvalidOptionError,
    UnknownOptionError,
    UnknownPluginError,
    UnsupportedFormatError,
)

from .samples import CLASS, COUNTED, Define, Install

# ── instances ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [None, "", 7, {}, Path("memory")])
def test_name_is_required(name: Any) -> None:
    registry = BackendRegistry()
    known = registry.names()
    calls: dict[str, Callable[[], Any]] = {
        "registry.__getitem__": lambda: registry[name],
        "registry.add": lambda: registry.add(name, "memory"),
    }
    for operation, call in calls.items():
        with pytest.raises(BackendRequiredError) as caught:
            call()
        wrong = "needs the name" if name is None else "expected the name"
        assert str(caught.value).startswith(f"{operation}() {wrong} of a backend")
        assert name is None or f", got {name!r}. " in str(caught.value)
    assert registry.names() == known


PLACE = """
from enum import Enum

class Place(str, Enum):
    MINE = "mine"
    LIKE = "my_backend"
    STRANGER = "acme"
"""


def test_enum_works_as_name(define: Define) -> None:
    """A member formats as "Place.MINE"."""
    made = define(PLACE + CLASS.replace('"my_backend"', "Place.LIKE"))
    place = made.load.__globals__["Place"]
    registry = BackendRegistry(prefer={place.STRANGER: place.STRANGER})
    registry.add(place.MINE, place.LIKE)
    assert place.MINE in registry
    for name in (place.MINE, place.LIKE):
        assert registry[name] is registry[name.value]
        assert repr(registry[name]) == f"<MyBackend {name.value!r}>"
    assert "Place" not in repr([registry.names(), registry.prefer])
    # Another process may not know the class of the enum.
    assert b"Place" not in pickle.dumps(registry)


def test_membership_agrees_with_names(
    install: Install, define: Define, monkeypatch: pytest.MonkeyPatch
) -> None:
    define(CLASS)
    install("acme-raw", "raw")
    install("zeta-raw", "raw")
    install("acme-mine", "mine")
    install("acme-off", "off")
    install("acme-bad", "b:ad")
    monkeypatch.setenv("POLYSTORE_DISABLE", "off")
    registry = BackendRegistry(prefer={"mine": "zeta-mine"})
    registry.add("plate", "disk")
    registry.add("given", BackendRegistry()["memory"])
    names = registry.names()
    assert {"disk", "given", "my_backend", "plate", "raw"} <= set(names)
    candidates: list[Any] = [
        *names,
        "acme-raw:raw",
        "mine",
        "off",
        "b:ad",
        "",
        "DISK",
        None,
        7,
        [],
    ]
    assert [name for name in candidates if name in registry] == names


def test_errors_list_few_of_many_names() -> None:
    registry = BackendRegistry()
    for number in range(300):
        # These sort before the names of all other tests.
        registry.add(f"0plate{number:03}", "memory")
    with pytest.raises(UnknownPluginError, match=r"did you mean '0plate299'\?") as caught:
        registry["0plats299"]
    for text in (str(caught.value), repr(registry)):
        assert re.search(r"0plate00\d.* and \d\d\d more", text)
        assert len(text) < 500
    assert len(caught.value.known) == len(registry.names())


def test_backend_is_made_once(define: Define) -> None:
    cls = define(COUNTED)
    registry = BackendRegistry()
    assert registry["my_backend"] is registry["my_backend"]
    assert len(cls.made) == 1


def test_class_needs_no_instance(define: Define) -> None:
    """The options of a class can be listed, even if one of them is required."""
    cls = define(COUNTED.replace('root=""', "root"))
    registry = BackendRegistry()
    registry.add("mine", "my_backend", root="plate")
    registry.add("given", cls(root="a"))
    assert {registry.class_of(name) for name in ("my_backend", "mine", "given")} == {cls}
    assert len(cls.made) == 1
    with pytest.raises(UnknownPluginError):
        registry.class_of("nothing")


def test_formats_have_names() -> None:
    registry = BackendRegistry()
    known = registry.formats.names()
    assert known == sorted(known)
    with pytest.raises(UnsupportedFormatError) as caught:
        registry.formats.of("a.nothing")
    assert caught.value.known == tuple(known)


def test_threads_share_instance(define: Define) -> None:
    define(COUNTED)
    registry = BackendRegistry()
    found: set[int] = set()
    threads = [
        threading.Thread(target=lambda: found.add(id(registry["my_backend"]))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1


def test_close_closes_all(define: Define) -> None:
    cls = define(COUNTED)
    with BackendRegistry() as registry:
        registry.add("first", "my_backend")
        registry.add("second", "my_backend", fails=True)
        registry.add("third", "my_backend")
        registry.add("unused", "my_backend")
        used = [registry[name] for name in ("first", "second", "third")]
        with pytest.raises(OSError, match="close"):
            registry.close()
        assert set(map(id, cls.closed)) == set(map(id, used))
    assert len(cls.closed) == 3


def test_closed_backend_is_unused(define: Define) -> None:
    cls = define(COUNTED)
    registry = BackendRegistry()
    fm = FileManager(registry)
    fm.save(1, "a", backend="my_backend")
    registry.close()
    fm.save(1, "a", backend="my_backend")
    assert [len(cls.made), len(cls.closed)] == [2, 1]


# ── configured names ─────────────────────────────────────────────────────────────────────


def test_added_name_has_options(define: Define) -> None:
    define(COUNTED)
    registry = BackendRegistry()
    registry.add("raw", "my_backend", root="/mnt/raw")
    registry.add("more", "my_backend", root="/mnt/more")
    backend: Any = registry["raw"]
    assert (backend.name, backend.load("a")) == ("raw", "/mnt/raw")
    assert FileManager(registry).load("a", backend="more") == "/mnt/more"
    assert "raw" not in BackendRegistry()


def test_taken_name_refused(define: Define, install: Install) -> None:
    define(COUNTED)
    install("acme-raw", "raw")
    registry = BackendRegistry()
    registry.add("mine", "my_backend")
    for taken in ("mine", "raw", "my_backend"):
        with pytest.raises(InvalidOptionError, match=f"name='{taken}'"):
            registry.add(taken, "my_backend")


@pytest.mark.parametrize("code", [COUNTED, CLASS])
def test_wrong_option_refused_early(define: Define, code: str) -> None:
    define(code)
    registry = BackendRegistry()
    with pytest.raises(UnknownOptionError, match="backend 'my_backend' has no option 'rooot'"):
        registry.add("raw", "my_backend", rooot="/mnt/raw")
    assert "raw" not in registry


def test_unknown_backend_refused_early() -> None:
    with pytest.raises(UnknownPluginError):
        BackendRegistry().add("raw", "nobodys")


def test_repr_hides_options(define: Define) -> None:
    define(COUNTED)
    registry = BackendRegistry()
    registry.add("raw", "my_backend", root="secret")
    assert "raw" in repr(registry)
    assert "raw" in repr(FileManager(registry))
    assert "secret" not in repr(FileManager(registry)) + repr(registry["raw"])


# ── files ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], BackendRegistry]:
    def read(text: str) -> BackendRegistry:
        (tmp_path / "polystore.toml").write_text(text)
        return BackendRegistry.from_file(tmp_path / "polystore.toml")

    return read


def test_file_names_backends(
    toml: Callable[[str], BackendRegistry], define: Define, install: Install
) -> None:
    define(COUNTED)
    install("acme-two", "two")
    install("zeta-two", "two")
    registry = toml(
        '[backends.raw]\nbackend = "my_backend"\nroot = "/mnt/raw"\n'
        '[backends.pair]\nbackend = "two"\n'
        '[prefer]\ntwo = "zeta-two"\n'
    )
    assert FileManager(registry).load("a", backend="raw") == "/mnt/raw"
    assert FileManager(registry).load("a", backend="pair") == "zeta_two"


def test_empty_file_is_fine(toml: Callable[[str], BackendRegistry]) -> None:
    assert toml("").names() == BackendRegistry().names()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[backends", DamagedDataError),
        ("[backend.raw]\n", UnknownOptionError),
        ("backends = 1\n", InvalidOptionError),
        ("[backends]\nraw = 1\n", InvalidOptionError),
        ("[prefer]\nraw = 1\n", InvalidOptionError),
        ('[backends.raw]\nroot = "/mnt"\n', InvalidOptionError),
        ("[backends.raw]\nbackend = 1\n", InvalidOptionError),
        ('[backends.raw]\nbackend = "nobodys"\n', UnknownPluginError),
        ('[backends.raw]\nbackend = "my_backend"\nrooot = 1\n', UnknownOptionError),
    ],
)
def test_wrong_file_refused(
    toml: Callable[[str], BackendRegistry], define: Define, text: str, error: type[Exception]
) -> None:
    define(COUNTED)
    with pytest.raises(error):
        toml(text)


def test_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        BackendRegistry.from_file(tmp_path / "nowhere.toml")
