"""Two distributions with one name, and ``prefer=``."""

import pickle
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from polystore_core import BackendRegistry, FileManager, FormatRegistry
from polystore_core.errors import (
    InvalidOptionError,
    PluginConflictError,
    PluginDisabledError,
    PluginNotInstalledError,
    PolystoreError,
)
from polystore_core.plugins import discovery

from .samples import FORMAT, GREEDY, Install, load_from

# ── the provider of a name ───────────────────────────────────────────────────────────────


def test_conflict_names_both(install: Install) -> None:
    install("zeta-raw", "raw")
    install("acme-raw", "raw")
    with pytest.raises(PluginConflictError) as caught:
        load_from("raw")
    assert caught.value.distributions == ("acme-raw", "zeta-raw")


@pytest.mark.parametrize(
    ("name", "prefer", "answer"),
    [
        ("acme-raw:raw", {}, "acme_raw"),
        ("zeta-raw:raw", {}, "zeta_raw"),
        ("Zeta.Raw:raw", {}, "zeta_raw"),
        ("raw", {"raw": "zeta-raw"}, "zeta_raw"),
        ("raw", {"raw": "ACME_raw"}, "acme_raw"),
        ("acme-raw:raw", {"raw": "zeta-raw"}, "acme_raw"),
    ],
)
def test_conflict_can_be_resolved(
    install: Install, name: str, prefer: dict[str, str], answer: str
) -> None:
    install("zeta-raw", "raw")
    install("acme-raw", "raw")
    assert load_from(name, prefer=prefer) == answer


def test_disabling_resolves_conflict(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("zeta-raw", "raw")
    install("acme-raw", "raw")
    monkeypatch.setenv("POLYSTORE_DISABLE", "acme-raw")
    assert load_from("raw") == "zeta_raw"


def test_formats_conflict_too(install: Install) -> None:
    for distribution in ("acme-raw", "zeta-raw"):
        install(distribution, "raw", group="polystore.formats", code=FORMAT)
    with pytest.raises(
        PluginConflictError, match="format 'raw' is declared by acme-raw and by"
    ):
        FormatRegistry().of("a.raw")
    assert FormatRegistry(prefer={"raw": "zeta-raw"}).of("a.raw").name == "zeta_raw"


def test_kinds_do_not_conflict(install: Install) -> None:
    install("acme-raw", "raw")
    install("zeta-raw", "raw", group="polystore.formats", code=FORMAT)
    assert load_from("raw") == "acme_raw"
    assert FormatRegistry().of("a.raw").name == "zeta_raw"


@pytest.mark.parametrize("manifest", [GREEDY, "1 / 0", "raise SystemExit"])
def test_first_party_answers_first(install: Install, manifest: str) -> None:
    """An installed plugin of others, working or broken, never gets one of our names."""
    install("acme-disk", "disk", manifest=manifest)
    install("acme-tif", "tif", manifest=manifest, group="polystore.formats", code=FORMAT)
    assert type(BackendRegistry()["disk"]).__module__ == "polystore_disk.backend"
    assert type(FormatRegistry().of("a.tif")).__module__ == "polystore_formats.tiff.format"
    assert not {"acme_disk.plugin", "acme_tif.plugin"} & set(sys.modules)
    states = {f"{s.distribution}:{s.name}": (s.state, s.why) for s in discovery.survey()}
    assert [states["polystore-disk:disk"][0], states["polystore-formats:tif"][0]] == ["ok"] * 2
    for name in ("disk", "tif"):
        state, why = states[f"acme-{name}:{name}"]
        assert state == "ignored"
        assert f"BackendRegistry(prefer={{{name!r}: 'acme-{name}'}})" in why
        assert "acme_disk.plugin" not in sys.modules


def test_stranger_can_be_preferred(install: Install) -> None:
    install("acme-disk", "disk")
    assert load_from("acme-disk:disk") == "acme_disk"
    assert load_from("disk", prefer={"disk": "acme-disk"}) == "acme_disk"
    states = {
        s.distribution: s for s in discovery.survey({"disk": "acme-disk"}) if s.name == "disk"
    }
    assert states["acme-disk"].state == "ok"
    assert states["polystore-disk"].state == "ignored"
    assert "acme-disk is preferred for backend 'disk'" in states["polystore-disk"].why


@pytest.mark.usefixtures("bare")
def test_absent_first_party_is_named(install: Install) -> None:
    install("acme-disk", "disk")
    with pytest.raises(PluginNotInstalledError) as caught:
        load_from("disk")
    text = str(caught.value)
    assert "pip install polystore-disk. acme-disk also declares that name" in text
    assert "BackendRegistry(prefer={'disk': 'acme-disk'})" in text
    assert "disk" not in BackendRegistry()
    assert load_from("disk", prefer={"disk": "acme-disk"}) == "acme_disk"
    (state,) = discovery.survey()
    assert (state.state, state.why) == ("ignored", text)


def test_disabled_first_party_is_safe(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("acme-disk", "disk")
    monkeypatch.setenv("POLYSTORE_DISABLE", "polystore-disk")
    with pytest.raises(PluginDisabledError, match="from polystore-disk"):
        load_from("disk")
    states = {s.distribution: s.state for s in discovery.survey() if s.name == "disk"}
    assert states == {"acme-disk": "ignored", "polystore-disk": "disabled"}


# ── prefer= ──────────────────────────────────────────────────────────────────────────────


def find_advice(error: PolystoreError) -> str:
    """Return the code that the message recommends."""
    found = re.search(r"BackendRegistry\(.*?\}\)", str(error))
    assert found is not None
    return found[0]


def test_advice_resolves_backends(install: Install) -> None:
    install("zeta-raw", "raw")
    install("acme-raw", "raw")
    with pytest.raises(PluginConflictError) as caught:
        load_from("raw")
    registry = eval(find_advice(caught.value), {"BackendRegistry": BackendRegistry})
    assert registry["raw"].load("a") == "acme_raw"


@pytest.fixture
def two_formats(install: Install) -> None:
    for distribution in ("acme-raw", "zeta-raw"):
        install(distribution, "raw", group="polystore.formats", code=FORMAT)


@pytest.mark.usefixtures("two_formats")
def test_advice_resolves_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code in the message works for the backend that raised the conflict."""
    path = tmp_path / "a.raw"
    with pytest.raises(PluginConflictError) as caught:
        FileManager().save(b"1", path, backend="disk")
    registry = eval(find_advice(caught.value), {"BackendRegistry": BackendRegistry})
    fm = FileManager(registry)
    fm.save(b"1", path, backend="disk")
    assert fm.info(path, backend="disk").format == "acme_raw"
    registry.add("here", "disk", root=str(tmp_path))
    assert fm.load("a.raw", backend="here") == b"1"
    again = pickle.loads(pickle.dumps(registry))
    assert FileManager(again).load("a.raw", backend="here") == b"1"

    variable = re.search(r"(POLYSTORE_DISABLE)=(\S+)", str(caught.value))
    assert variable is not None
    monkeypatch.setenv(*variable.groups())
    assert FormatRegistry().of("a.raw").name == "acme_raw"


def test_one_prefer_serves_both_kinds(install: Install) -> None:
    """A preference for the backend does not affect the format of the same name."""
    install("acme-raw", "raw")
    install("zeta-raw", "raw")
    install("fmt-raw", "raw", group="polystore.formats", code=FORMAT)
    assert load_from("raw", prefer={"raw": "zeta-raw"}) == "zeta_raw"
    assert FormatRegistry(prefer={"raw": "zeta-raw"}).of("a.raw").name == "fmt_raw"
    states = [s.state for s in discovery.survey({"raw": "zeta-raw"}) if s.name == "raw"]
    assert states == ["ignored", "ok", "ok"]


def test_unknown_preference_is_reported(install: Install) -> None:
    install("acme-raw", "raw")
    install("acme-fine", "fine")
    prefer = {"raw": "nobody", "disk": "nobody"}
    message = "expected a distribution that declares backend 'raw': acme-raw"
    with pytest.raises(InvalidOptionError, match=message):
        load_from("raw", prefer=prefer)
    with pytest.raises(InvalidOptionError, match="declares backend 'disk'"):
        load_from("disk", prefer=prefer)
    assert load_from("fine", prefer=prefer) == "acme_fine"
    states = {s.name: s for s in discovery.survey(prefer)}
    assert [states["raw"].state, states["disk"].state] == ["ignored"] * 2
    assert message in states["raw"].why
    assert states["fine"].state == "ok"


def test_unknown_format_preference_is_reported(install: Install) -> None:
    install("acme-raw", "raw", group="polystore.formats", code=FORMAT)
    with pytest.raises(InvalidOptionError, match="declares format 'raw': acme-raw"):
        FormatRegistry(prefer={"raw": "nobody"}).of("a.raw")


@pytest.mark.parametrize("prefer", ["raw", ["raw"], {"raw": 1}, {1: "raw"}, {"raw": ""}, 7])
def test_wrong_prefer_refused(prefer: Any) -> None:
    for registry in (BackendRegistry, FormatRegistry):
        with pytest.raises(InvalidOptionError, match="prefer="):
            registry(prefer=prefer)
