import dataclasses
import pickle
import re
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from polystore_core import (
    BackendRegistry,
    BackendSpec,
    FileManager,
    FormatRegistry,
    FormatSpec,
)
from polystore_core.errors import (
    BrokenPluginError,
    IncompatiblePluginError,
    InvalidOptionError,
    MissingDependencyError,
    MissingOptionError,
    PluginConflictError,
    PluginDisabledError,
    PluginNotInstalledError,
    PolystoreError,
    UnknownPluginError,
    UnsupportedFormatError,
)
from polystore_core.plugins import discovery, versions
from polystore_core.plugins.hooks import Hooks

Install = Callable[..., None]

FORMAT = """
from polystore_core import Format

class Provided(Format):
    name = "{package}"

    def load(self, file, /):
        return file.read()

    def save(self, value, file, /):
        file.write(value)
"""

BACKEND = """
from polystore_core import StorageBackend

class Provided(StorageBackend):
    def load(self, path, /):
        return "{package}"

    def save(self, data, path, /):
        pass
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
    install("acme-raw", "raw", code=f"{BACKEND}\nraise SystemExit")
    states = {state.name: state.state for state in discovery.survey()}
    assert states["raw"] == "ok"
    assert "acme_raw.provided" not in sys.modules


def test_one_manifest_many_names(install: Install) -> None:
    install("acme-raw", "raw = acme_raw.plugin\nraw2")
    assert [asked("raw"), asked("raw2")] == ["acme_raw", "acme_raw"]


GREEDY = """
from polystore_core import BackendSpec, hookimpl
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
    assert [state.state for state in discovery.survey() if state.name == "raw"] == ["ok"]


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
    discovery.rescan()


@pytest.mark.parametrize("manifest", [GREEDY, "1 / 0", "raise SystemExit"])
def test_first_party_answers_first(install: Install, manifest: str) -> None:
    """An installed stranger, whole or broken, takes no name of ours."""
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
    assert asked("acme-disk:disk") == "acme_disk"
    assert asked("disk", prefer={"disk": "acme-disk"}) == "acme_disk"
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
        asked("disk")
    text = str(caught.value)
    assert "pip install polystore-disk. acme-disk also declares that name" in text
    assert "BackendRegistry(prefer={'disk': 'acme-disk'})" in text
    assert "disk" not in BackendRegistry()
    assert asked("disk", prefer={"disk": "acme-disk"}) == "acme_disk"
    (state,) = discovery.survey()
    assert (state.state, state.why) == ("ignored", text)


def test_disabled_first_party_is_safe(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("acme-disk", "disk")
    monkeypatch.setenv("POLYSTORE_DISABLE", "polystore-disk")
    with pytest.raises(PluginDisabledError, match="from polystore-disk"):
        asked("disk")
    states = {s.distribution: s.state for s in discovery.survey() if s.name == "disk"}
    assert states == {"acme-disk": "ignored", "polystore-disk": "disabled"}


# ── prefer= ──────────────────────────────────────────────────────────────────────────────


def advised(error: PolystoreError) -> str:
    """The code that a message tells people to write."""
    found = re.search(r"BackendRegistry\(.*?\}\)", str(error))
    assert found is not None
    return found[0]


def test_advice_settles_backends(install: Install) -> None:
    install("zeta-raw", "raw")
    install("acme-raw", "raw")
    with pytest.raises(PluginConflictError) as caught:
        asked("raw")
    registry = eval(advised(caught.value), {"BackendRegistry": BackendRegistry})
    assert registry["raw"].load("a") == "acme_raw"


@pytest.fixture
def two_formats(install: Install) -> None:
    for distribution in ("acme-raw", "zeta-raw"):
        install(distribution, "raw", group="polystore.formats", code=FORMAT)


@pytest.mark.usefixtures("two_formats")
def test_advice_settles_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a conflict of formats prints works for the backend that raised it."""
    path = tmp_path / "a.raw"
    with pytest.raises(PluginConflictError) as caught:
        FileManager().save(b"1", path, backend="disk")
    registry = eval(advised(caught.value), {"BackendRegistry": BackendRegistry})
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
    """A preference about the backend leaves the format of the same name alone."""
    install("acme-raw", "raw")
    install("zeta-raw", "raw")
    install("fmt-raw", "raw", group="polystore.formats", code=FORMAT)
    assert asked("raw", prefer={"raw": "zeta-raw"}) == "zeta_raw"
    assert FormatRegistry(prefer={"raw": "zeta-raw"}).of("a.raw").name == "fmt_raw"
    states = [s.state for s in discovery.survey({"raw": "zeta-raw"}) if s.name == "raw"]
    assert states == ["ignored", "ok", "ok"]


def test_unknown_preference_is_told(install: Install) -> None:
    install("acme-raw", "raw")
    install("acme-fine", "fine")
    prefer = {"raw": "nobody", "disk": "nobody"}
    said = "expected a distribution that declares backend 'raw': acme-raw"
    with pytest.raises(InvalidOptionError, match=said):
        asked("raw", prefer=prefer)
    with pytest.raises(InvalidOptionError, match="declares backend 'disk'"):
        asked("disk", prefer=prefer)
    assert asked("fine", prefer=prefer) == "acme_fine"
    states = {s.name: s for s in discovery.survey(prefer)}
    assert [states["raw"].state, states["disk"].state] == ["ignored"] * 2
    assert said in states["raw"].why
    assert states["fine"].state == "ok"


def test_unknown_format_preference_is_told(install: Install) -> None:
    install("acme-raw", "raw", group="polystore.formats", code=FORMAT)
    with pytest.raises(InvalidOptionError, match="declares format 'raw': acme-raw"):
        FormatRegistry(prefer={"raw": "nobody"}).of("a.raw")


@pytest.mark.parametrize("prefer", ["raw", ["raw"], {"raw": 1}, {1: "raw"}, {"raw": ""}, 7])
def test_wrong_prefer_refused(prefer: Any) -> None:
    for registry in (BackendRegistry, FormatRegistry):
        with pytest.raises(InvalidOptionError, match="prefer="):
            registry(prefer=prefer)


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


@pytest.mark.parametrize(("api", "old"), [(0, "acme-raw"), (99, "polystore-core")])
def test_wrong_api_is_told(install: Install, api: int, old: str) -> None:
    install("acme-raw", "raw", api=api)
    with pytest.raises(IncompatiblePluginError) as caught:
        asked("raw")
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
def test_unfit_core_is_told(install: Install, kind: str, needed: str, old: str) -> None:
    """The error of the versions comes first, not one of a module that core lacks."""
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
    assert asked("fine") == "acme_fine"


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
    assert versions.requirement_of_core(["numpy>=1.26", requirement]) == needed


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
from polystore_core import BackendSpec, hookimpl

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
    discovery.rescan()
    assert asked("raw") == "acme_raw"


# ── faults of strangers ──────────────────────────────────────────────────────────────────


def answering(answer: str) -> str:
    return f"""
from polystore_core import BackendSpec, FormatSpec, hookimpl

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
    "from polystore_core import hookimpl\n\n@hookimpl\ndef polystore_backend(nmae): ...": (
        "PluginValidationError"
    ),
}
WRONG_ANSWERS = {
    "": "returns None for 'raw', expected a BackendSpec with that name",
    answering("dict(name=name)"): "returns {'name': 'raw'}",
    answering(
        "BackendSpec(name='other', target='', api=1)"
    ): "returns BackendSpec(name='other'",
    answering("FormatSpec(name=name, target='', api=1)"): "returns FormatSpec",
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
        ("Provided = 1", "acme_raw.provided:Provided is 1, not a class"),
        ("class Provided: ...", "Provided is not a subclass of DataSource or DataSink"),
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
    (state,) = (state for state in discovery.survey() if state.name == "raw")
    assert state.state == "broken"


def test_wrong_format_is_broken(install: Install) -> None:
    install("acme-raw", "raw", group="polystore.formats")
    with pytest.raises(BrokenPluginError, match="Provided is not a subclass of Format"):
        FormatRegistry().of("a.raw")


FIELDS = [
    "api='1'",
    "api=None",
    "api=1.0",
    "api=True",
    "api=[]",
    "target=None",
    "target=5",
    "target=[]",
    "target='acme_raw.provided'",
    "target='acme_raw.provided:'",
    "target='.provided:Provided'",
    "summary=5",
    "summary=None",
    "requires='torch'",
    "requires=None",
    "requires=5",
    "requires=(5,)",
    "requires=('',)",
    "requires={'torch': 1}",
    "install=None",
    "install=b'torch'",
    "check=3",
    "check='acme_raw.provided'",
]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kind", ["backend", "format"])
def test_wrong_field_is_named(install: Install, field: str, kind: str) -> None:
    """A field of the wrong type breaks its own name, and says which file and line."""
    given: dict[str, str] = {"target": "'acme_raw.provided:Provided'", "api": "1"}
    given |= dict([field.split("=", 1)])
    arguments = ", ".join(f"{name}={value}" for name, value in given.items())
    spec = f"{kind.capitalize()}Spec(name=name, {arguments})"
    manifest = answering(spec.replace("{", "{{").replace("}", "}}"))
    manifest = manifest.replace("polystore_backend", f"polystore_{kind}")
    install("acme-fine", "fine")
    install("acme-raw", "raw", manifest=manifest, group=f"polystore.{kind}s", code=FORMAT)
    with pytest.raises(BrokenPluginError) as caught:
        BackendRegistry()["raw"] if kind == "backend" else FormatRegistry().of("a.raw")
    assert f"returns {kind.capitalize()}Spec with {field}: expected" in str(caught.value)
    assert "acme-raw 2.5" in str(caught.value)
    assert caught.value.place.endswith(f"plugin.py:{4}")
    states = {s.name: s for s in discovery.survey()}
    assert (states["raw"].state, states["raw"].why) == ("broken", str(caught.value))
    assert states["fine"].state == "ok"
    assert asked("fine") == "acme_fine"


@pytest.mark.parametrize("api", ["-1", "99", "10 ** 5000"])
def test_strange_api_harms_nobody(install: Install, api: str) -> None:
    spec = f"BackendSpec(name=name, target='acme_raw.provided:Provided', api={api})"
    install("acme-raw", "raw", manifest=answering(spec))
    with pytest.raises(IncompatiblePluginError, match=r"acme-raw 2\.5 needs plugin API"):
        asked("raw")
    assert {s.name: s.state for s in discovery.survey()}["raw"] == "broken"


@pytest.mark.parametrize("name", ["5", "None", "[]", "''", "name.encode()", "Odd()"])
def test_wrong_name_is_told(install: Install, name: str) -> None:
    odd = """
class Odd:
    __hash__ = None
    def __eq__(self, other): raise TypeError("cannot compare")
    def __repr__(self): raise TypeError("cannot show")
"""
    spec = f"BackendSpec(name={name}, target='acme_raw.provided:Provided', api=1)"
    install("acme-raw", "raw", manifest=answering(spec) + odd)
    with pytest.raises(BrokenPluginError, match=r"acme-raw 2\.5"):
        asked("raw")
    assert {s.name: s.state for s in discovery.survey()}["raw"] == "broken"


BASE_EXCEPTIONS = {
    "raise GeneratorExit": "GeneratorExit",
    "class Mine(BaseException): pass\nraise Mine('gone')": "Mine: gone",
    "import pytest; pytest.skip('no', allow_module_level=True)": "Skipped: no",
    "class Mute(Exception):\n    def __str__(self): 1 / 0\nraise Mute": "Mute: ",
}


@pytest.mark.parametrize("code", BASE_EXCEPTIONS)
@pytest.mark.parametrize("file", ["manifest", "code"])
def test_base_exceptions_break_one_name(install: Install, code: str, file: str) -> None:
    install("acme-fine", "fine")
    install("acme-raw", "raw", **{file: code})
    with pytest.raises(BrokenPluginError) as caught:
        asked("raw")
    assert caught.value.reason.startswith(BASE_EXCEPTIONS[code])
    assert {s.name: s.state for s in discovery.survey()}["fine"] == "ok"


@pytest.mark.parametrize("file", ["manifest", "code"])
def test_interrupt_passes(install: Install, file: str) -> None:
    """Ctrl-C during an import is the user's."""
    install("acme-raw", "raw", **{file: "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt):
        asked("raw")


HOOKS = {
    "from polystore_core import hookimpl\n\n@hookimpl\ndef polystore_backend(nmae): ...": "nmae",
    "from polystore_core import hookimpl\n\n@hookimpl\ndef polystore_backend(a, b): ...": "a",
    "def polystore_backend(name): ...": "@hookimpl",
    "from polystore_core import hookimpl\n\n@hookimpl\ndef polystore_bakcend(n): ...": "@hookimpl",
    "polystore_backend = 5": "@hookimpl",
}


@pytest.mark.parametrize("manifest", HOOKS)
def test_wrong_hook_is_told(install: Install, manifest: str) -> None:
    install("acme-raw", "raw", manifest=manifest)
    for _ in range(2):
        with pytest.raises(BrokenPluginError) as caught:
            asked("raw")
        assert HOOKS[manifest] in caught.value.reason
        assert re.search(r"acme_raw/plugin\.py:\d+$", caught.value.place)


@pytest.mark.parametrize(
    ("file", "code", "line"),
    [
        ("manifest", "x = 1\n\n1 / 0", 3),
        ("manifest", "x = 1\ndef (", 2),
        ("manifest", "import json\njson.loads('[')", 2),
        ("code", "x = 1\nimport nowhere", 2),
        ("code", "x = 1\n\n\ny = (", 4),
    ],
)
def test_place_is_the_authors_line(install: Install, file: str, code: str, line: int) -> None:
    install("acme-raw", "raw", **{file: code})
    with pytest.raises(BrokenPluginError) as caught:
        asked("raw")
    name = {"manifest": "plugin", "code": "provided"}[file]
    assert caught.value.place.endswith(f"acme_raw/{name}.py:{line}")
    assert f"({caught.value.place})" in str(caught.value)


# ── entry points ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("backends", ""),
        ("backends", "a:raw"),
        ("backends", "a,raw"),
        ("formats", "RAW"),
        ("formats", ".raw"),
        ("formats", ""),
    ],
)
def test_unusable_name_is_told(install: Install, group: str, name: str) -> None:
    """A name that nobody can ask for is listed as broken, and nowhere else."""
    install("acme-fine", "fine")
    install("acme-raw", name, group=f"polystore.{group}", code=FORMAT)
    states = {s.distribution: s for s in discovery.survey()}
    assert states["acme-raw"].state == "broken"
    assert f"entry point {name!r} = 'acme_raw.plugin': " in states["acme-raw"].why
    assert name not in [*BackendRegistry(), *discovery.names("format")]
    assert asked("fine") == "acme_fine"


@pytest.mark.parametrize("name", ["My Raw", "RAW", "größe", "raw-2.0"])
def test_unusual_name_works(install: Install, name: str) -> None:
    install("acme-raw", name)
    assert asked(name) == "acme_raw"


@pytest.mark.parametrize("value", ["acme_raw.provided:Provided", "acme_raw.plugin [x]", "a b"])
def test_entry_must_be_module(install: Install, value: str) -> None:
    install("acme-raw", f"raw = {value}\nother")
    with pytest.raises(BrokenPluginError, match="must be only the module of the manifest"):
        asked("raw")
    assert asked("other") == "acme_raw"


def test_name_declared_twice_is_told(install: Install) -> None:
    install("acme-raw", "raw = acme_raw.provided\nother = acme_raw.plugin\nraw")
    with pytest.raises(BrokenPluginError, match="2 entry points of this name"):
        asked("raw")
    assert asked("other") == "acme_raw"


def test_same_entry_twice_is_one(install: Install) -> None:
    install("acme-raw", "raw = acme_raw.plugin\nraw")
    assert asked("raw") == "acme_raw"


def test_version_may_be_missing(install: Install, tmp_path: Path) -> None:
    install("acme-raw", "raw")
    record = tmp_path / "site/acme_raw-2.5.dist-info/METADATA"
    record.write_text("Metadata-Version: 2.1\nName: acme-raw\n")
    discovery.rescan()
    assert all(isinstance(s.version, str) for s in discovery.survey())


# ── classes that cannot serve ────────────────────────────────────────────────────────────

LOAD = "    def load(self, path, /): return 1\n"
SAVE = "    def save(self, data, path, /): ...\n"
STORE = (
    "from polystore_core import StorageBackend, DataSink, DataSource\nimport polystore, abc\n"
)
PROVIDED = f"{STORE}class Provided(StorageBackend):\n"
FILE = "from polystore_core import Format\nclass Provided(Format):\n    name = 'raw'\n"
BAD_BACKENDS = {
    "x = 1": "Provided",
    "def Provided(): ...": "function",
    "class Provided: ...": "is not a subclass of DataSource or DataSink",
    FILE + LOAD + SAVE: "is not a subclass of DataSource or DataSink",
    PROVIDED + LOAD: "Provided does not implement save",
    PROVIDED + SAVE: "Provided does not implement load",
    PROVIDED + "    pass": "Provided does not implement load and save",
    f"{STORE}class Provided(DataSink, abc.ABC):\n    ...": "Provided does not implement save",
    f"{STORE}class Provided(polystore.DataSource):\n    ...": "Provided does not implement load",
    f"{STORE}class Base(DataSource):\n    ...\nclass Provided(Base):\n    ...": "implement load",
    PROVIDED
    + LOAD
    + SAVE
    + "    @abc.abstractmethod\n    def more(self): ...": "implement more",
    PROVIDED + LOAD + SAVE + "    def __init__(self, host): ...": "__init__ needs host: give",
    PROVIDED + LOAD + SAVE + "    def __init__(self, a, b=1, /): ...": "__init__ needs a: give",
    "from .base import Provided": "does not implement save",
    "from acme_raw.base import Provided as Base\nclass Provided(Base): ...": "implement save",
}


@pytest.mark.parametrize("code", BAD_BACKENDS)
def test_bad_class_is_found(install: Install, tmp_path: Path, code: str) -> None:
    """Found in the source when plugins are listed, and in the class when it is used."""
    install("acme-raw", "raw", code=code)
    (tmp_path / "site/acme_raw/base.py").write_text(PROVIDED + LOAD)
    (state,) = (s for s in discovery.survey() if s.name == "raw")
    assert "acme_raw.provided" not in sys.modules
    with pytest.raises(BrokenPluginError) as caught:
        asked("raw")
    for text in (state.why, str(caught.value)):
        assert BAD_BACKENDS[code] in text
        assert "acme-raw 2.5" in text
        if code != "x = 1":
            assert re.search(r"acme_raw/(provided|base)\.py:\d+", text)
    assert state.state == "broken"


BAD_FORMATS = {
    "class Provided: ...": "is not a subclass of Format",
    FILE + LOAD: "does not implement save",
    FILE.replace("name = 'raw'", "...") + LOAD + SAVE: "name",
    FILE.replace("name = 'raw'", "name: str") + LOAD + SAVE: "name",
    FILE + LOAD + SAVE + "    def __init__(self, level): ...": "__init__ needs level",
    FILE + LOAD + SAVE + "    def __init__(self, *, level): ...": "__init__ needs level",
}


@pytest.mark.parametrize("code", BAD_FORMATS)
def test_bad_format_is_found(install: Install, code: str) -> None:
    install("acme-raw", "raw", code=code, group="polystore.formats")
    (state,) = (s for s in discovery.survey() if s.name == "raw")
    with pytest.raises(BrokenPluginError) as caught:
        FormatRegistry().of("a.raw")
    assert state.state == "broken"
    for text in (state.why, str(caught.value)):
        assert BAD_FORMATS[code] in text
        assert re.search(r"acme-raw 2\.5.*acme_raw/provided\.py:\d+", text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("    name = 5", "(it is 5)"),
        ("    decode_errors = ValueError", "expected a tuple of exception classes"),
        ("    decode_errors = (5,)", "expected a tuple of exception classes"),
        ("    def __init__(self): 1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_bad_format_breaks_at_use(install: Install, change: str, said: str) -> None:
    install("acme-raw", "raw", code=FILE + LOAD + SAVE + change, group="polystore.formats")
    with pytest.raises(BrokenPluginError) as caught:
        FormatRegistry().of("a.raw")
    assert said in str(caught.value)
    assert "acme_raw/provided.py:" in caught.value.place


UNSURE = {
    "decorated": "import functools\n@functools.cache\ndef Provided(): ...",
    "bound twice": f"try:\n    import nowhere\nexcept ImportError:\n    {'Provided = 1'}\n"
    "class Provided: ...",
    "star": "from json import *",
    "globals": "globals()['Provided'] = 1",
    "module getattr": "def __getattr__(name): ...",
    "metaclass": "class Provided(metaclass=type): ...",
    "class decorator": "import dataclasses\n@dataclasses.dataclass\nclass Provided: ...",
    "base of another package": "from json import JSONDecoder\nclass Provided(JSONDecoder): ...",
    "base that is called": "def base(): ...\nclass Provided(base()): ...",
    "assigned": "Provided = type('Provided', (), {{}})",
}


@pytest.mark.parametrize("code", UNSURE.values(), ids=list(UNSURE))
def test_survey_does_not_guess(install: Install, code: str) -> None:
    """What the source alone does not tell is left to the use of the name."""
    install("acme-raw", "raw", code=code)
    assert {s.name: s.state for s in discovery.survey()}["raw"] == "ok"


GOOD = {
    "inherited": f"from .base import Base\nclass Provided(Base):\n{SAVE}",
    "conditional": f"{STORE}if True:\n    class Provided(DataSource):\n    {LOAD}",
    "defaults": f"{PROVIDED}{LOAD}{SAVE}    def __init__(self, a=1, *b, c=2, **d): ...",
    "assigned method": f"{PROVIDED}{LOAD}    save = print",
    "own new": f"{PROVIDED}{LOAD}{SAVE}    def __new__(cls, *a): return object.__new__(cls)",
}


@pytest.mark.parametrize("code", GOOD.values(), ids=list(GOOD))
def test_sound_class_is_ok(install: Install, tmp_path: Path, code: str) -> None:
    install("acme-raw", "raw", code=code)
    (tmp_path / "site/acme_raw/base.py").write_text(PROVIDED.replace("Provided", "Base") + LOAD)
    assert {s.name: s.state for s in discovery.survey()}["raw"] == "ok"
    assert asked("raw") == 1


def test_required_option_is_told(install: Install) -> None:
    """A backend that needs options works under a name of your own."""
    code = PROVIDED + SAVE + "    def __init__(self, *, host): self.host = host\n"
    install("acme-raw", "raw", code=f"{code}    def load(self, path, /): return self.host")
    (state,) = (s for s in discovery.survey() if s.name == "raw")
    with pytest.raises(MissingOptionError, match="from acme-raw needs host=") as caught:
        asked("raw")
    assert (state.state, state.why) == ("unconfigured", str(caught.value))
    registry = BackendRegistry()
    with pytest.raises(MissingOptionError):
        registry.add("mine", "raw")
    registry.add("mine", "raw", host="h")
    backend: Any = registry["mine"]
    assert backend.load("a") == "h"


def test_init_that_raises_is_broken(install: Install) -> None:
    code = PROVIDED + LOAD + SAVE + "    def __init__(self, *, a=1):\n        "
    install("acme-raw", "raw", code=f"{code}int('x')")
    install("acme-net", "net", code=f"{code}raise ConnectionRefusedError(111, 'no')")
    with pytest.raises(BrokenPluginError, match="ValueError: invalid literal") as caught:
        asked("raw")
    assert re.search(r"acme_raw/provided\.py:\d+$", caught.value.place)
    with pytest.raises(ConnectionRefusedError) as refused:  # not the fault of the plugin
        asked("net")
    assert refused.value.__notes__ == ["from acme-net:net 2.5"]
    registry = BackendRegistry()
    registry.add("mine", "raw", a=2)
    with pytest.raises(ValueError, match="invalid literal"):  # the option may be wrong
        registry["mine"]


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
    discovery.rescan()
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
        for s in discovery.survey({"both": "zeta-both"})
        if s.distribution.startswith(("acme-", "zeta-"))
    }
    assert {name: state for name, (state, _) in told.items()} == {
        "acme-fine:fine": "ok",
        "acme-off:off": "disabled",
        "acme-broken:broken": "broken",
        "acme-needy:needy": "missing",
        "acme-old:old": "broken",
        "acme-two:two": "conflicting",
        "zeta-two:two": "conflicting",
        "acme-both:both": "ignored",
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
    (state,) = (state for state in discovery.survey() if state.name == "raw")
    assert state == discovery.PluginState(
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
