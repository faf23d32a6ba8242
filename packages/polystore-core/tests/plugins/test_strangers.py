"""Faults in the manifests and targets of other authors."""

import re

import pytest

from polystore_core import BackendRegistry, FormatRegistry
from polystore_core.errors import BrokenPluginError, IncompatiblePluginError
from polystore_core.plugins import discovery

from .samples import FORMAT, Install, load_from


def make_manifest(answer: str) -> str:
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
    make_manifest("1 / 0"): "ZeroDivisionError: division by zero",
    make_manifest("BackendSpec(name=name)"): "TypeError",
    "from polystore_core import hookimpl\n\n@hookimpl\ndef polystore_backend(nmae): ...": (
        "PluginValidationError"
    ),
}
WRONG_ANSWERS = {
    "": "returns None for 'raw', expected a BackendSpec with that name",
    make_manifest("dict(name=name)"): "returns {'name': 'raw'}",
    make_manifest(
        "BackendSpec(name='other', target='', api=1)"
    ): "returns BackendSpec(name='other'",
    make_manifest("FormatSpec(name=name, target='', api=1)"): "returns FormatSpec",
}


@pytest.mark.parametrize("manifest", BROKEN_MANIFESTS)
def test_broken_manifest_is_named(install: Install, manifest: str) -> None:
    install("acme-fine", "fine")
    install("acme-raw", "raw", manifest=manifest)
    for _ in range(2):  # A second call gives the same answer.
        with pytest.raises(BrokenPluginError) as caught:
            load_from("raw")
        error = caught.value
        assert (error.name, error.distribution, error.version) == ("raw", "acme-raw", "2.5")
        assert error.reason.startswith(BROKEN_MANIFESTS[manifest])
        assert type(error.__cause__).__name__ == error.reason.partition(":")[0]
    assert load_from("fine") == "acme_fine"


@pytest.mark.parametrize("manifest", WRONG_ANSWERS)
def test_wrong_answer_is_shown(install: Install, manifest: str) -> None:
    install("acme-raw", "raw", manifest=manifest)
    with pytest.raises(BrokenPluginError) as caught:
        load_from("raw")
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
        load_from("raw")
    assert caught.value.reason == reason
    assert load_from("fine") == "acme_fine"


@pytest.mark.parametrize("target", ["acme_raw.nowhere:Provided", "nowhere:Provided", ""])
def test_missing_target_is_broken(install: Install, target: str) -> None:
    install(
        "acme-raw",
        "raw",
        manifest=make_manifest(f"BackendSpec(name=name, target={target!r}, api=1)"),
    )
    with pytest.raises(BrokenPluginError):
        load_from("raw")
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
    """A field of the wrong type breaks its own name only, and the error has the file and line."""
    given: dict[str, str] = {"target": "'acme_raw.provided:Provided'", "api": "1"}
    given |= dict([field.split("=", 1)])
    arguments = ", ".join(f"{name}={value}" for name, value in given.items())
    spec = f"{kind.capitalize()}Spec(name=name, {arguments})"
    manifest = make_manifest(spec.replace("{", "{{").replace("}", "}}"))
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
    assert load_from("fine") == "acme_fine"


@pytest.mark.parametrize("api", ["-1", "99", "10 ** 5000"])
def test_strange_api_harms_no_other(install: Install, api: str) -> None:
    spec = f"BackendSpec(name=name, target='acme_raw.provided:Provided', api={api})"
    install("acme-raw", "raw", manifest=make_manifest(spec))
    with pytest.raises(IncompatiblePluginError, match=r"acme-raw 2\.5 needs plugin API"):
        load_from("raw")
    assert {s.name: s.state for s in discovery.survey()}["raw"] == "broken"


@pytest.mark.parametrize("name", ["5", "None", "[]", "''", "name.encode()", "Odd()"])
def test_wrong_name_is_reported(install: Install, name: str) -> None:
    odd = """
class Odd:
    __hash__ = None
    def __eq__(self, other): raise TypeError("cannot compare")
    def __repr__(self): raise TypeError("cannot show")
"""
    spec = f"BackendSpec(name={name}, target='acme_raw.provided:Provided', api=1)"
    install("acme-raw", "raw", manifest=make_manifest(spec) + odd)
    with pytest.raises(BrokenPluginError, match=r"acme-raw 2\.5"):
        load_from("raw")
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
        load_from("raw")
    assert caught.value.reason.startswith(BASE_EXCEPTIONS[code])
    assert {s.name: s.state for s in discovery.survey()}["fine"] == "ok"


@pytest.mark.parametrize("file", ["manifest", "code"])
def test_interrupt_is_raised(install: Install, file: str) -> None:
    """Ctrl-C during an import is passed on to the user."""
    install("acme-raw", "raw", **{file: "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt):
        load_from("raw")


HOOKS = {
    "from polystore_core import hookimpl\n\n@hookimpl\ndef polystore_backend(nmae): ...": "nmae",
    "from polystore_core import hookimpl\n\n@hookimpl\ndef polystore_backend(a, b): ...": "a",
    "def polystore_backend(name): ...": "@hookimpl",
    "from polystore_core import hookimpl\n\n@hookimpl\ndef polystore_bakcend(n): ...": "@hookimpl",
    "polystore_backend = 5": "@hookimpl",
}


@pytest.mark.parametrize("manifest", HOOKS)
def test_wrong_hook_is_reported(install: Install, manifest: str) -> None:
    install("acme-raw", "raw", manifest=manifest)
    for _ in range(2):
        with pytest.raises(BrokenPluginError) as caught:
            load_from("raw")
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
def test_place_is_the_line_of_the_author(
    install: Install, file: str, code: str, line: int
) -> None:
    install("acme-raw", "raw", **{file: code})
    with pytest.raises(BrokenPluginError) as caught:
        load_from("raw")
    name = {"manifest": "plugin", "code": "provided"}[file]
    assert caught.value.place.endswith(f"acme_raw/{name}.py:{line}")
    assert f"({caught.value.place})" in str(caught.value)
