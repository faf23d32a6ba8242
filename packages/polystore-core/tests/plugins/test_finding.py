"""A name or a suffix leads to the class that an installed distribution provides."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from polystore_core import (
    BackendRegistry,
    BackendSpec,
    FormatRegistry,
    FormatSpec,
    FrameworkSpec,
    framework_of,
    to_framework,
    to_numpy,
)
from polystore_core.errors import UnknownPluginError, UnsupportedFormatError
from polystore_core.plugins import discovery
from polystore_core.plugins.hooks import Hooks

from .samples import BACKEND, FORMAT, GREEDY, Install, load_from

# ── classes of names ─────────────────────────────────────────────────────────────────────


def test_installed_backend_works(install: Install) -> None:
    install("acme-raw", "raw")
    assert load_from("raw") == "acme_raw"


def test_installed_format_works(install: Install) -> None:
    install("acme-raw", "raw", group="polystore.formats", code=FORMAT)
    assert FormatRegistry().of("folder/image.RAW").name == "acme_raw"


def test_names_import_nothing(install: Install) -> None:
    install("acme-raw", "raw", manifest="raise SystemExit")
    assert "raw" in BackendRegistry().names()
    assert "acme_raw.plugin" not in sys.modules


def test_manifest_imports_no_target(install: Install) -> None:
    install("acme-raw", "raw", code=f"{BACKEND}\nraise SystemExit")
    states = {state.name: state.state for state in discovery.survey()}
    assert states["raw"] == "ok"
    assert "acme_raw.provided" not in sys.modules


def test_one_manifest_many_names(install: Install) -> None:
    install("acme-raw", "raw = acme_raw.plugin\nraw2")
    assert [load_from("raw"), load_from("raw2")] == ["acme_raw", "acme_raw"]


def test_manifest_gets_only_its_names(install: Install) -> None:
    install("acme-one", "one = acme_one.plugin\nuno", manifest=GREEDY)
    install("acme-two", "two", manifest=GREEDY)
    assert [load_from(name) for name in ("one", "two", "uno")] == [
        "acme_one",
        "acme_two",
        "acme_one",
    ]
    assert sys.modules["acme_one.plugin"].heard == ["one", "uno"]
    assert sys.modules["acme_two.plugin"].heard == ["two"]


def test_newly_installed_is_found(install: Install) -> None:
    with pytest.raises(UnknownPluginError):
        load_from("raw")
    install("acme-raw", "raw")
    assert load_from("raw") == "acme_raw"


def test_copies_do_not_conflict(install: Install) -> None:
    install("acme-raw", "raw", site="checkout")
    install("Acme_Raw", "raw", site="installed")
    assert load_from("raw") in ("acme_raw", "Acme_Raw")
    assert [state.state for state in discovery.survey() if state.name == "raw"] == ["ok"]


FRAMEWORK = """
from polystore_core import Framework
class Provided(Framework):
    name = "acme_arrays"
    def to_numpy(self, value, /, *, copy):
        return value.inside
    def from_numpy(self, array, /, *, device, copy, donate):
        return Arrays(array)
class Arrays:
    def __init__(self, inside):
        self.inside = inside
    def __dlpack__(self, **options):
        return self.inside.__dlpack__(**options)
"""


def test_installed_framework_works(install: Install) -> None:
    group = "polystore.frameworks"
    install("acme-arrays", "acme_arrays", group=group, code=FRAMEWORK)
    value = to_framework(np.arange(3), "acme_arrays")
    assert framework_of(value) == "acme_arrays"
    assert to_numpy(value).tolist() == [0, 1, 2]


HOOK_TESTS = {
    "polystore_backend": test_installed_backend_works,
    "polystore_format": test_installed_format_works,
    "polystore_framework": test_installed_framework_works,
}


def test_every_hook_is_tested() -> None:
    assert set(HOOK_TESTS) == {name for name in vars(Hooks) if not name.startswith("_")}


@pytest.mark.parametrize("kind", [BackendSpec, FormatSpec, FrameworkSpec])
def test_specs_are_frozen(kind: type[BackendSpec | FormatSpec | FrameworkSpec]) -> None:
    spec = kind(name="raw", target="acme:Raw", api=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"  # type: ignore[misc]


# ── suffixes ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.raw", "acme_raw"),
        ("a.RAW", "acme_raw"),
        ("v1.2.raw", "acme_raw"),
        ("folder.new/a.raw", "acme_raw"),
        (Path("a.raw"), "acme_raw"),
        ("a.new.raw", "zeta_raw"),
        ("a.b.New.Raw", "zeta_raw"),
    ],
)
def test_longest_suffix_wins(install: Install, path: str | Path, name: str) -> None:
    install("acme-raw", "raw", group="polystore.formats", code=FORMAT)
    install("zeta-raw", "new.raw", group="polystore.formats", code=FORMAT)
    assert FormatRegistry().of(path).name == name


def test_format_is_made_once(install: Install) -> None:
    install("acme-raw", "raw", group="polystore.formats", code=FORMAT)
    registry = FormatRegistry()
    assert registry.of("a.raw") is registry.of("b.RAW")


@pytest.mark.parametrize("path", ["a", "a.", "folder.raw/a", "a.rawest", "", "."])
def test_unknown_suffix_refused(install: Install, path: str) -> None:
    install("acme-raw", "raw", group="polystore.formats", code=FORMAT)
    with pytest.raises(UnsupportedFormatError) as caught:
        FormatRegistry().of(path, backend="disk")
    assert (caught.value.path, caught.value.backend) == (path, "disk")
    assert "raw" in caught.value.known
