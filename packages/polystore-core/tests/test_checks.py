import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polystore_core.plugins.checks import Finding, findings

Install = Callable[..., None]

MANIFEST = """
from polystore_core import BackendSpec, FormatSpec, hookimpl

@hookimpl
def polystore_backend(name):
    target = "{package}.provided:Provided"
    return BackendSpec(name=name, target=target, api={api}, check="{package}.provided:findings")

@hookimpl
def polystore_format(name):
    target = "{package}.provided:Provided"
    return FormatSpec(name=name, target=target, api={api}, requires={requires})
"""
CLASS = """
from polystore_core import StorageBackend

class Provided(StorageBackend):
    def load(self, path, /): ...
    def save(self, data, path, /): ...
"""
CHECK = f"""{CLASS}
from polystore_core.plugins.checks import Finding

def findings():
    yield Finding(what="camera", state="missing", found="none", remedy="plug one in")
    yield Finding(what="driver", state="ok")
"""


@pytest.fixture(autouse=True)
def only_test_plugins(monkeypatch: pytest.MonkeyPatch, no_policy: None) -> None:
    """Check only the plugins of the test, because others look for programs."""
    monkeypatch.setenv("POLYSTORE_PLUGINS", "raw,fine,bad,old,acme-disk")


def find_for(name: str) -> Iterator[Finding]:
    """Yield the findings for the plugin called ``name``."""
    return (finding for plugin, finding in findings() if plugin.name == name)


def test_plugin_is_checked(install: Install) -> None:
    install("acme-raw", "raw", manifest=MANIFEST, code=CHECK)
    assert list(find_for("raw")) == [
        Finding(what="camera", state="missing", found="none", remedy="plug one in"),
        Finding(what="driver", state="ok"),
    ]


def test_backend_without_check_is_ok(install: Install) -> None:
    install("acme-raw", "raw")
    assert list(find_for("raw")) == [Finding(what="plugin", state="ok", found="acme-raw 2.5")]


FORMAT = """
from polystore_core import Format

class Provided(Format):
    name = "raw"
    def load(self, file, /): ...
    def save(self, value, file, /): ...
"""


def test_formats_have_no_findings(install: Install) -> None:
    install("acme-raw", "raw", manifest=MANIFEST, code=FORMAT, group="polystore.formats")
    assert list(find_for("raw")) == []


@pytest.mark.parametrize(
    ("group", "state"), [("polystore.formats", "note"), ("polystore.backends", "missing")]
)
def test_missing_library_is_reported(install: Install, group: str, state: str) -> None:
    manifest = MANIFEST.replace("check=", "requires={requires}, check=")
    install("acme-raw", "raw", manifest=manifest, group=group, requires=("nowhere",))
    (finding,) = find_for("raw")
    assert (finding.state, finding.found) == (state, "without nowhere")
    assert finding.remedy == "pip install 'acme-raw'"


def test_unusable_plugins_are_reported(install: Install) -> None:
    install("acme-bad", "bad", manifest="1 / 0")
    install("acme-old", "old", api=99)
    install("acme-disk", "disk")
    for name, reason in [
        ("bad", "division by zero"),
        ("old", "API 99"),
    ]:
        assert any(f.state == "missing" and reason in f.found for f in find_for(name)), name


def test_ignored_plugin_is_a_note(install: Install) -> None:
    """A plugin of others that declares one of our names is not imported."""
    install("acme-disk", "disk", manifest="raise SystemExit")
    (finding,) = (f for plugin, f in findings() if plugin.distribution == "acme-disk")
    assert (finding.what, finding.state) == ("plugin", "note")
    assert finding.found.startswith("ignored: ")
    assert "BackendRegistry(prefer={'disk': 'acme-disk'})" in finding.found


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import nowhere", "No module named 'nowhere'"),
        ("raise BaseException('no')", "BaseException: no"),
        ("Provided = type('Provided', (), {})", "is not a subclass of DataSource"),
        ("class Provided: ...", "is not a subclass of DataSource"),
    ],
)
def test_class_is_imported(install: Install, code: str, reason: str) -> None:
    """The findings of the check are reported too."""
    checks = CHECK.replace(CLASS, "")
    manifest = MANIFEST.replace('provided:findings"', 'camera:findings"')
    code = code.replace("{", "{{").replace("}", "}}")
    install("acme-raw", "raw", manifest=manifest, code=code)
    module = Path(sys.path[0], "acme_raw", "camera.py")
    module.write_text(checks)
    camera, driver, plugin = find_for("raw")
    assert (camera.what, driver.what) == ("camera", "driver")
    assert (plugin.what, plugin.state) == ("plugin", "missing")
    assert reason in plugin.found


def test_ctrl_c_is_raised(install: Install) -> None:
    code = f"{CLASS}\ndef findings(): raise KeyboardInterrupt"
    install("acme-raw", "raw", manifest=MANIFEST, code=code)
    with pytest.raises(KeyboardInterrupt):
        list(find_for("raw"))


FINDING = "from polystore_core.plugins.checks import Finding\ndef findings(): return [Finding("


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("1 / 0", "failed: ZeroDivisionError: division by zero"),
        ("import nowhere", "failed: ModuleNotFoundError"),
        ("", "failed: AttributeError"),
        ("def findings(): raise SystemExit(3)", "failed: SystemExit: 3"),
        ("def findings(): return 3", "failed: TypeError"),
        ("def findings(): return ['Java']", "returns 'Java', expected a Finding"),
        ("def findings(): raise BaseException('no')", "failed: BaseException: no"),
        (f"{FINDING}what=1, state='ok')]", "returns Finding(what=1"),
        (f"{FINDING}what='a', state='good')]", "returns Finding(what='a', state='good'"),
        (f"{FINDING}what='a', state='ok', found=None)]", "returns Finding(what='a'"),
    ],
)
def test_faulty_check_is_reported(install: Install, code: str, reason: str) -> None:
    # In these cases the class is missing too.
    fails_early = code in ("1 / 0", "import nowhere")
    install("acme-raw", "raw", manifest=MANIFEST, code=code if fails_early else CLASS + code)
    install("acme-fine", "fine")
    finding, *more = find_for("raw")
    assert len(more) == fails_early
    assert (finding.what, finding.state) == ("check", "missing")
    assert finding.found.startswith(f"acme_raw.provided:findings {reason}")
    assert finding.remedy == "upgrade acme-raw, or report it there"
    assert [other.state for other in find_for("fine")] == ["ok"]


def test_disabled_plugins_are_not_checked(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYSTORE_DISABLE", "raw")
    install("acme-raw", "raw", manifest=MANIFEST, code=CHECK)
    assert list(find_for("raw")) == []
