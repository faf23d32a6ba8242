import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polystore import BackendRegistry, BackendSpec, FormatRegistry, FormatSpec, plugins
from polystore.errors import (
    BrokenPluginError,
    IncompatiblePluginError,
    MissingDependencyError,
    PluginConflictError,
    PluginDisabledError,
    PluginNotInstalledError,
    UnknownPluginError,
    UnsupportedFormatError,
)
from polystore.hooks import Hooks

Install = Callable[..., None]

FORMAT = """
from polystore import Format

class Provided(Format):
    name = "{package}"

    def load(self, file, /):
        return file.read()

    def save(self, value, file, /):
        file.write(value)
"""


def asked(name: str, **options: Any) -> Any:
    """What the backend of that name answers: the package that it is from."""
    backend: Any = BackendRegistry(**options)[name]
    return backend.load("a")


# ── from a name to a class ───────────────────────────────────────────────────────────────


def test_installed_backend_works(install: Install) -> None:
    install("acme-raw", "raw")
    assert asked("raw") == "acme_raw"


def test_installed_format_works(install: Install) -> None:
    install("acme-raw", "raw", group="polystore.formats", code=FORMAT)
    assert FormatRegistry().of("folder/image.RAW").name == "acme_raw"


def test_names_import_nothing(install: Install) -> None:
    install("acme-raw", "raw", manifest="raise SystemExit")
    assert "raw" in BackendRegistry().names()
    assert "acme_raw.plugin" not in sys.modules


def test_manifest_imports_no_target(install: Install) -> None:
    install("acme-raw", "raw", code="raise SystemExit")
    states = {state.name: state.state for state in plugins.survey()}
    assert states["raw"] == "ok"
    assert "acme_raw.provided" not in sys.modules


def test_one_manifest_many_names(install: Install) -> None:
    install("acme-raw", "raw = acme_raw.plugin\nraw2")
    assert [asked("raw"), asked("raw2")] == ["acme_raw", "acme_raw"]


GREEDY = """
from polystore import BackendSpec, hookimpl
heard = []

@hookimpl
def polystore_backend(name):
    heard.append(name)
    return BackendSpec(name=name, target="{package}.provided:Provided", api=1)
"""


def test_manifest_hears_own_names(install: Install) -> None:
    install("acme-one", "one = acme_one.plugin\nuno", manifest=GREEDY)
    install("acme-two", "two", manifest=GREEDY)
    assert [asked(name) for name in ("one", "two", "uno")] == [
        "acme_one",
        "acme_two",
        "acme_one",
    ]
    assert sys.modules["acme_one.plugin"].heard == ["one", "uno"]
    assert sys.modules["acme_two.plugin"].heard == ["two"]


def test_newly_installed_is_found(install: Install) -> None:
    with pytest.raises(UnknownPluginError):
        asked("raw")
    install("acme-raw", "raw")
    assert asked("raw") == "acme_raw"


def test_copies_are_no_conflict(install: Install) -> None:
    install("acme-raw", "raw", site="checkout")
    install("Acme_Raw", "raw", site="installed")
    assert asked("raw") in ("acme_raw", "Acme_Raw")
    assert [state.state for state in plugins.survey() if state.name == "raw"] == ["ok"]


HOOK_TESTS = {
    "polystore_backend": test_installed_backend_works,
    "polystore_format": test_installed_format_works,
}


def test_every_hook_is_tested() -> None:
    assert set(HOOK_TESTS) == {name for name in vars(Hooks) if not name.startswith("_")}


@pytest.mark.parametrize("kind", [BackendSpec, FormatSpec])
def test_specs_are_frozen(kind: type[BackendSpec] | type[FormatSpec]) -> None:
    spec = kind(name="raw", target="acme:Raw", api=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"  # type: ignore[misc]


# ── who may provide a name ───────────────────────────────────────────────────────────────


def test_conflict_names_both(install: Install) -> None:
    install("zeta-raw", "raw")
    install("acme-raw", "raw")
    with pytest.raises(PluginConflictError) as caught:
        asked("raw")
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
def test_conflict_can_be_settled(
    install: Install, name: str, prefer: dict[str, str], answer: str
) -> None:
    install("zeta-raw", "raw")
    install("acme-raw", "raw")
    assert asked(name, prefer=prefer) == answer


def test_disabling_settles_conflict(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("zeta-raw", "raw")
    install("acme-raw", "raw")
    monkeypatch.setenv("POLYSTORE_DISABLE", "acme-raw")
    assert asked("raw") == "zeta_raw"


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
    assert asked("raw") == "acme_raw"
    assert FormatRegistry().of("a.raw").name == "zeta_raw"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python as it is where polystore-core is installed and no plugin."""
    records = "polystore_*.dist-info"
    elsewhere = [path for path in sys.path if not list(Path(path).glob(records))]
    monkeypatch.setattr(sys, "path", elsewhere)
    plugins.rescan()


@pytest.mark.parametrize("polystore_disk", ["installed", "missing"])
def test_first_party_name_is_safe(
    install: Install, polystore_disk: str, request: pytest.FixtureRequest
) -> None:
    if polystore_disk == "missing":
        request.getfixturevalue("bare")
    install("acme-disk", "disk")
    with pytest.raises(PluginConflictError) as caught:
        asked("disk")
    assert caught.value.distributions == ("acme-disk", "polystore-disk")
    assert asked("acme-disk:disk") == "acme_disk"
    assert asked("disk", prefer={"disk": "acme-disk"}) == "acme_disk"


def test_disabled_first_party_is_safe(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("acme-disk", "disk")
    monkeypatch.setenv("POLYSTORE_DISABLE", "polystore-disk")
    with pytest.raises(PluginConflictError):
        asked("disk")


# ── four kinds of absence ────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("name", ["disk", "polystore-disk:disk"])
def test_known_name_tells_distribution(name: str) -> None:
    with pytest.raises(PluginNotInstalledError, match="pip install polystore-disk"):
        asked(name)


@pytest.mark.usefixtures("bare")
def test_known_suffix_tells_distribution() -> None:
    with pytest.raises(PluginNotInstalledError, match="pip install polystore-formats"):
        FormatRegistry().of("a.tif")


def test_unknown_name_suggests(install: Install) -> None:
    install("acme-raw", "rawest")
    with pytest.raises(UnknownPluginError, match="did you mean 'rawest'") as caught:
        asked("rawst")
    assert "rawest" in caught.value.known


@pytest.mark.parametrize("name", ["acme-raw:raw2", "zeta-raw:raw", "disc", "a:b:raw"])
def test_unknown_full_name(install: Install, name: str) -> None:
    install("acme-raw", "raw")
    with pytest.raises(UnknownPluginError):
        asked(name)


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
            assert asked(name)
        else:
            with pytest.raises(PluginDisabledError, match=f"{variable}={value!r}"):
                asked(name)


def test_denial_beats_allowance(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("acme-raw", "raw")
    monkeypatch.setenv("POLYSTORE_PLUGINS", "raw")
    monkeypatch.setenv("POLYSTORE_DISABLE", "acme-raw")
    with pytest.raises(PluginDisabledError, match="POLYSTORE_DISABLE"):
        asked("raw")


@pytest.mark.parametrize("api", [0, 99])
def test_wrong_api_shows_numbers(install: Install, api: int) -> None:
    install("acme-raw", "raw", api=api)
    with pytest.raises(IncompatiblePluginError) as caught:
        asked("raw")
    assert f"plugin API {api}; this polystore speaks {plugins.PLUGIN_API}" in str(caught.value)


@pytest.mark.parametrize(
    ("requires", "install_hint", "said"),
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
def test_missing_library_is_told(
    install: Install, requires: tuple[str, ...], install_hint: str, said: str
) -> None:
    manifest = REQUIRING.replace("REQUIRES", repr(requires)).replace("HINT", repr(install_hint))
    install("acme-raw", "raw", manifest=manifest)
    with pytest.raises(MissingDependencyError) as caught:
        asked("raw")
    assert said in str(caught.value)


REQUIRING = """
from polystore import BackendSpec, hookimpl

@hookimpl
def polystore_backend(name):
    target = "{package}.provided:Provided"
    return BackendSpec(name=name, target=target, api=1, requires=REQUIRES, install=HINT)
"""


def test_late_library_is_found(install: Install, tmp_path: Path) -> None:
    install("acme-raw", "raw", requires=("acme_library",))
    with pytest.raises(MissingDependencyError):
        asked("raw")
    (tmp_path / "site" / "acme_library.py").touch()
    plugins.rescan()
    assert asked("raw") == "acme_raw"


# ── faults of strangers ──────────────────────────────────────────────────────────────────


def answering(answer: str) -> str:
    return f"""
from polystore import BackendSpec, FormatSpec, hookimpl

@hookimpl
def polystore_backend(name):
    return {answer}
"""


BROKEN_MANIFESTS = {
    "def (": "SyntaxError: invalid syntax",
    "import nowhere": "ModuleNotFoundError: No module named 'nowhere'",
    "raise KeyError('boom')": "KeyError: 'boom'",
    "raise SystemExit(3)": "SystemExit: 3",
    answering("1 / 0"): "ZeroDivisionError: division by zero",
    answering("BackendSpec(name=name)"): "TypeError",
    "from polystore import hookimpl\n\n@hookimpl\ndef polystore_backend(nmae): ...": (
        "PluginValidationError"
    ),
}
WRONG_ANSWERS = {
    "": "answers None for 'raw', expected a BackendSpec of that name",
    answering("dict(name=name)"): "answers {'name': 'raw'}",
    answering(
        "BackendSpec(name='other', target='', api=1)"
    ): "answers BackendSpec(name='other'",
    answering("FormatSpec(name=name, target='', api=1)"): "answers FormatSpec",
}


@pytest.mark.parametrize("manifest", BROKEN_MANIFESTS)
def test_broken_manifest_is_named(install: Install, manifest: str) -> None:
    install("acme-fine", "fine")
    install("acme-raw", "raw", manifest=manifest)
    for _ in range(2):  # asking again gives the same answer
        with pytest.raises(BrokenPluginError) as caught:
            asked("raw")
        error = caught.value
        assert (error.name, error.distribution, error.version) == ("raw", "acme-raw", "2.5")
        assert error.reason.startswith(BROKEN_MANIFESTS[manifest])
        assert type(error.__cause__).__name__ == error.reason.partition(":")[0]
    assert asked("fine") == "acme_fine"


@pytest.mark.parametrize("manifest", WRONG_ANSWERS)
def test_wrong_answer_is_shown(install: Install, manifest: str) -> None:
    install("acme-raw", "raw", manifest=manifest)
    with pytest.raises(BrokenPluginError) as caught:
        asked("raw")
    assert WRONG_ANSWERS[manifest] in str(caught.value)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("", "AttributeError: module 'acme_raw.provided' has no attribute 'Provided'"),
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("Provided = 1", "acme_raw.provided:Provided is no class"),
        ("class Provided: ...", "Provided is neither a DataSource nor a DataSink"),
    ],
)
def test_broken_target_is_named(install: Install, code: str, reason: str) -> None:
    install("acme-fine", "fine")
    install("acme-raw", "raw", code=code)
    with pytest.raises(BrokenPluginError) as caught:
        asked("raw")
    assert caught.value.reason == reason
    assert asked("fine") == "acme_fine"


@pytest.mark.parametrize("target", ["acme_raw.nowhere:Provided", "nowhere:Provided", ""])
def test_missing_target_is_broken(install: Install, target: str) -> None:
    install(
        "acme-raw",
        "raw",
        manifest=answering(f"BackendSpec(name=name, target={target!r}, api=1)"),
    )
    with pytest.raises(BrokenPluginError):
        asked("raw")
    (state,) = (state for state in plugins.survey() if state.name == "raw")
    assert state.state == "broken"


def test_wrong_format_is_broken(install: Install) -> None:
    install("acme-raw", "raw", group="polystore.formats")
    with pytest.raises(BrokenPluginError, match="Provided is no Format"):
        FormatRegistry().of("a.raw")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("acme_bad-2.5.dist-info/METADATA", None),
        ("acme_bad-2.5.dist-info/METADATA", ""),
        ("acme_bad-2.5.dist-info/entry_points.txt", "[polystore.backends]\nno equals sign\n"),
        ("acme_bad-2.5.dist-info/entry_points.txt", "no section = at.all\n"),
        ("acme_bad-2.5.dist-info/entry_points.txt", "\0\xff"),
    ],
)
def test_damaged_record_harms_nobody(
    install: Install, tmp_path: Path, file: str, text: str | None
) -> None:
    install("acme-fine", "fine")
    install("acme-bad", "bad")
    damaged = tmp_path / "site" / file
    damaged.unlink()
    if text is not None:
        damaged.write_text(text, "latin-1")
    plugins.rescan()
    assert asked("fine") == "acme_fine"


# ── for people ───────────────────────────────────────────────────────────────────────────


def test_survey_tells_states(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    for distribution, name, options in (
        ("acme-fine", "fine", {}),
        ("acme-off", "off", {}),
        ("acme-broken", "broken", {"manifest": "import nowhere"}),
        ("acme-needy", "needy", {"requires": ("nowhere",)}),
        ("acme-old", "old", {"api": 0}),
        ("acme-two", "two", {}),
        ("zeta-two", "two", {}),
        ("acme-both", "both", {}),
        ("zeta-both", "both", {}),
    ):
        install(distribution, name, **options)
    monkeypatch.setenv("POLYSTORE_DISABLE", "off")
    told = {
        f"{s.distribution}:{s.name}": (s.state, s.why)
        for s in plugins.survey({"both": "zeta-both"})
        if s.distribution.startswith(("acme-", "zeta-"))
    }
    assert {name: state for name, (state, _) in told.items()} == {
        "acme-fine:fine": "ok",
        "acme-off:off": "disabled",
        "acme-broken:broken": "broken",
        "acme-needy:needy": "broken",
        "acme-old:old": "broken",
        "acme-two:two": "conflicting",
        "zeta-two:two": "conflicting",
        "acme-both:both": "disabled",
        "zeta-both:both": "ok",
    }
    for name, said in {
        "acme-fine:fine": "",
        "acme-off:off": "POLYSTORE_DISABLE='off'",
        "acme-broken:broken": "No module named 'nowhere'",
        "acme-needy:needy": "pip install 'acme-needy'",
        "acme-old:old": "plugin API 0",
        "acme-two:two": "declared by acme-two and by zeta-two",
        "acme-both:both": "zeta-both is preferred",
    }.items():
        assert said in told[name][1]


def test_survey_describes_plugin(install: Install) -> None:
    install("acme-raw", "raw")
    (state,) = (state for state in plugins.survey() if state.name == "raw")
    assert state == plugins.PluginState(
        kind="backend",
        name="raw",
        distribution="acme-raw",
        version="2.5",
        state="ok",
        summary="fine",
    )


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
def test_longest_suffix_counts(install: Install, path: str | Path, name: str) -> None:
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
