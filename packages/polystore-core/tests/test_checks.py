from collections.abc import Callable, Iterator

import pytest

from polystore.checks import Finding, findings

Install = Callable[..., None]

MANIFEST = """
from polystore import BackendSpec, FormatSpec, hookimpl

@hookimpl
def polystore_backend(name):
    target = "{package}.provided:Provided"
    return BackendSpec(name=name, target=target, api={api}, check="{package}.provided:findings")

@hookimpl
def polystore_format(name):
    return FormatSpec(name=name, target="{package}.provided:P", api={api}, requires={requires})
"""
CHECK = """
from polystore.checks import Finding

def findings():
    yield Finding(what="camera", state="missing", found="none", remedy="plug one in")
    yield Finding(what="driver", state="ok")
"""


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch, no_policy: None) -> None:
    """Ask no plugin but those of the test: others look for programs."""
    monkeypatch.setenv("POLYSTORE_PLUGINS", "raw,fine,bad,old,acme-disk")


def found(name: str) -> Iterator[Finding]:
    """What was found for the plugin of that name."""
    return (finding for plugin, finding in findings() if plugin.name == name)


def test_plugin_is_asked(install: Install) -> None:
    install("acme-raw", "raw", manifest=MANIFEST, code=CHECK)
    assert list(found("raw")) == [
        Finding(what="camera", state="missing", found="none", remedy="plug one in"),
        Finding(what="driver", state="ok"),
    ]


def test_backend_without_check_is_there(install: Install) -> None:
    install("acme-raw", "raw", code="raise SystemExit")  # and is not imported
    assert list(found("raw")) == [Finding(what="plugin", state="ok", found="acme-raw 2.5")]


def test_formats_are_silent(install: Install) -> None:
    install("acme-raw", "raw", manifest=MANIFEST, group="polystore.formats")
    assert list(found("raw")) == []


@pytest.mark.parametrize(
    ("group", "state"), [("polystore.formats", "note"), ("polystore.backends", "missing")]
)
def test_missing_library_is_told(install: Install, group: str, state: str) -> None:
    manifest = MANIFEST.replace("check=", "requires={requires}, check=")
    install("acme-raw", "raw", manifest=manifest, group=group, requires=("nowhere",))
    (finding,) = found("raw")
    assert (finding.state, finding.found) == (state, "without nowhere")
    assert finding.remedy == "pip install 'acme-raw'"


def test_unusable_plugins_are_told(install: Install) -> None:
    install("acme-bad", "bad", manifest="1 / 0")
    install("acme-old", "old", api=99)
    install("acme-disk", "disk")
    for name, reason in [
        ("bad", "division by zero"),
        ("old", "API 99"),
        ("disk", "acme-disk and"),
    ]:
        assert any(f.state == "missing" and reason in f.found for f in found(name)), name


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("import nowhere", "failed: ModuleNotFoundError"),
        ("", "failed: AttributeError"),
        ("def findings(): raise SystemExit(3)", "failed: SystemExit: 3"),
        ("def findings(): return 3", "failed: TypeError"),
        ("def findings(): return ['Java']", "answers 'Java', expected a Finding"),
    ],
)
def test_faulty_check_is_told(install: Install, code: str, reason: str) -> None:
    install("acme-raw", "raw", manifest=MANIFEST, code=code)
    install("acme-fine", "fine")
    (finding,) = found("raw")
    assert (finding.what, finding.state) == ("check", "missing")
    assert finding.found.startswith(f"acme_raw.provided:findings {reason}")
    assert finding.remedy == "upgrade acme-raw, or report it there"
    assert [other.state for other in found("fine")] == ["ok"]


def test_disabled_ones_are_not_asked(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSTORE_DISABLE", "raw")
    install("acme-raw", "raw", manifest=MANIFEST, code=CHECK)
    assert list(found("raw")) == []
