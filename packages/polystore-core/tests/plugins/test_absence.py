"""Plugins and libraries that are unknown, missing, disabled or incompatible."""

from importlib import metadata
from pathlib import Path

import pytest

from polystore_core import BackendRegistry, FormatRegistry
from polystore_core.errors import (
    IncompatiblePluginError,
    MissingDependencyError,
    PluginDisabledError,
    PluginNotInstalledError,
    UnknownPluginError,
)
from polystore_core.plugins import discovery, versions

from .samples import Install, load_from


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("name", ["disk", "polystore-disk:disk"])
def test_known_name_names_distribution(name: str) -> None:
    with pytest.raises(PluginNotInstalledError, match="pip install polystore-disk"):
        load_from(name)


@pytest.mark.usefixtures("bare")
def test_known_suffix_names_distribution() -> None:
    with pytest.raises(PluginNotInstalledError, match="pip install polystore-formats"):
        FormatRegistry().of("a.tif")


def test_unknown_name_suggests(install: Install) -> None:
    install("acme-raw", "rawest")
    with pytest.raises(UnknownPluginError, match="did you mean 'rawest'") as caught:
        load_from("rawst")
    assert "rawest" in caught.value.known


@pytest.mark.parametrize("name", ["acme-raw:raw2", "zeta-raw:raw", "disc", "a:b:raw"])
def test_unknown_full_name(install: Install, name: str) -> None:
    install("acme-raw", "raw")
    with pytest.raises(UnknownPluginError):
        load_from(name)


@pytest.mark.parametrize(
    ("variable", "value", "usable"),
    [
        ("POLYSTORE_PLUGINS", "", []),
        ("POLYSTORE_PLUGINS", "raw", ["raw"]),
        ("POLYSTORE_PLUGINS", "acme-raw", ["raw"]),
        ("POLYSTORE_PLUGINS", "acme-raw:raw", ["raw"]),
        ("POLYSTORE_PLUGINS", "zeta-tea:raw", []),
        ("POLYSTORE_PLUGINS", "tea, raw", ["raw", "tea"]),
        ("POLYSTORE_DISABLE", "", ["raw", "tea"]),
        ("POLYSTORE_DISABLE", "raw", ["tea"]),
        ("POLYSTORE_DISABLE", "acme-raw", ["tea"]),
        ("POLYSTORE_DISABLE", "acme-raw:raw, zeta-tea", []),
    ],
)
def test_variables_switch_off(
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    usable: list[str],
) -> None:
    install("acme-raw", "raw")
    install("zeta-tea", "tea")
    monkeypatch.setenv(variable, value)
    assert [name for name in ("raw", "tea") if name in BackendRegistry()] == usable
    for name in ("raw", "tea"):
        if name in usable:
            assert load_from(name)
        else:
            with pytest.raises(PluginDisabledError, match=f"{variable}={value!r}"):
                load_from(name)


def test_denial_beats_allowance(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("acme-raw", "raw")
    monkeypatch.setenv("POLYSTORE_PLUGINS", "raw")
    monkeypatch.setenv("POLYSTORE_DISABLE", "acme-raw")
    with pytest.raises(PluginDisabledError, match="POLYSTORE_DISABLE"):
        load_from("raw")


@pytest.mark.parametrize(("api", "old"), [(0, "acme-raw"), (99, "polystore-core")])
def test_wrong_api_is_reported(install: Install, api: int, old: str) -> None:
    install("acme-raw", "raw", api=api)
    with pytest.raises(IncompatiblePluginError) as caught:
        load_from("raw")
    core = metadata.version("polystore-core")
    assert str(caught.value) == (
        f"backend 'raw' from acme-raw 2.5 needs plugin API {api}, but polystore-core {core} has "
        f"plugin API {discovery.PLUGIN_API}: pip install -U {old}"
    )


@pytest.mark.parametrize("kind", ["backend", "format"])
@pytest.mark.parametrize(
    ("needed", "old"),
    [("==0.0.1", "acme-raw"), ("<0.1,>=0.0.1", "acme-raw"), (">=999,<1000", "polystore-core")],
)
def test_incompatible_core_is_reported(
    install: Install, kind: str, needed: str, old: str
) -> None:
    """The error of the versions comes before the error of a module that this core lacks."""
    lacking = "import polystore_core.of_the_future\n"
    group = f"polystore.{kind}s"
    install("acme-raw", "raw", group=group, manifest=lacking, code=lacking, core=needed)
    install("acme-fine", "fine", core=">=0.1,<999")
    with pytest.raises(IncompatiblePluginError) as caught:
        BackendRegistry()["raw"] if kind == "backend" else FormatRegistry().of("a.raw")
    core = metadata.version("polystore-core")
    assert str(caught.value) == (
        f"{kind} 'raw' from acme-raw 2.5 needs polystore-core{needed}, but polystore-core {core} "
        f"is installed: pip install -U {old}"
    )
    states = {s.name: (s.state, s.why) for s in discovery.survey()}
    assert states["raw"] == ("broken", str(caught.value))
    assert states["fine"] == ("ok", "")
    assert load_from("fine") == "acme_fine"


@pytest.mark.parametrize(
    ("requirement", "needed"),
    [
        ("polystore-core", ""),
        ("polystore-core>=1.0,<2", ">=1.0,<2"),
        ("Polystore_Core (>=1.0, <2)", ">=1.0,<2"),
        ("polystore-core[progress]<2,>=1.0", "<2,>=1.0"),
        ("polystore-core>=1; python_version < '3.12'", ""),
        ("polystore-core-more>=9", ""),
        ("polystore>=9", ""),
    ],
)
def test_requirement_of_core(requirement: str, needed: str) -> None:
    assert versions.find_core_requirement(["numpy>=1.26", requirement]) == needed


@pytest.mark.parametrize(
    ("needed", "version", "side"),
    [
        ("<2,>=1.0", "1.0.0", "fits"),
        ("<2,>=1.0", "1.0.0rc1", "fits"),
        ("<2,>=1.0", "1.10", "fits"),
        ("<2,>=1.9", "1.10", "fits"),
        ("<2,>=1.10", "1.9.9", "too old"),
        ("<2,>=1.0", "2.0", "too new"),
        ("<2,>=1.0", "0.1.0", "too old"),
        ("==0.1.0", "1.0.0", "too new"),
        ("==1.0", "1.0.0", "fits"),
        ("<=1.2", "1.2.1", "too new"),
        (">1.2", "1.2.0", "too old"),
        ("~=1.2", "3", "fits"),
        ("==1.*", "3", "fits"),
        ("!=1.2", "1.2", "fits"),
        (">=2", "", "fits"),
        (">=2", "unknown", "fits"),
        ("nonsense", "1.0", "fits"),
    ],
)
def test_versions_are_compared(needed: str, version: str, side: str) -> None:
    assert versions.compare_core(needed, version) == side


@pytest.mark.parametrize(
    ("requires", "install_hint", "message"),
    [
        (("nowhere",), "", "needs nowhere, which is not installed: pip install 'acme-raw'"),
        (
            ("sys", "nowhere"),
            "acme-raw[x]",
            "needs nowhere, which is not installed: pip install 'acme-raw[x]'",
        ),
        (("nowhere.deeper", "nothing"), "", "needs nowhere.deeper and nothing"),
    ],
)
def test_missing_library_is_reported(
    install: Install, requires: tuple[str, ...], install_hint: str, message: str
) -> None:
    manifest = REQUIRING.replace("REQUIRES", repr(requires)).replace("HINT", repr(install_hint))
    install("acme-raw", "raw", manifest=manifest)
    with pytest.raises(MissingDependencyError) as caught:
        load_from("raw")
    assert message in str(caught.value)


REQUIRING = """
from polystore_core import BackendSpec, hookimpl

@hookimpl
def polystore_backend(name):
    target = "{package}.provided:Provided"
    return BackendSpec(name=name, target=target, api=1, requires=REQUIRES, install=HINT)
"""


def test_late_library_is_found(install: Install, tmp_path: Path) -> None:
    install("acme-raw", "raw", requires=("acme_library",))
    with pytest.raises(MissingDependencyError):
        load_from("raw")
    (tmp_path / "site" / "acme_library.py").touch()
    discovery.rescan()
    assert load_from("raw") == "acme_raw"
