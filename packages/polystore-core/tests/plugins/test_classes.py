"""Unusable classes, which are found in their source and at their use."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from polystore_core import BackendRegistry, FormatRegistry
from polystore_core.errors import BrokenPluginError, MissingOptionError
from polystore_core.plugins import discovery

from .samples import Install, load_from

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
    """A listing of plugins finds the fault in the source, and a use finds it in the class."""
    install("acme-raw", "raw", code=code)
    (tmp_path / "site/acme_raw/base.py").write_text(PROVIDED + LOAD)
    (state,) = (s for s in discovery.survey() if s.name == "raw")
    assert "acme_raw.provided" not in sys.modules
    with pytest.raises(BrokenPluginError) as caught:
        load_from("raw")
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
    ("change", "message"),
    [
        ("    name = 5", "(it is 5)"),
        ("    decode_errors = ValueError", "expected a tuple of exception classes"),
        ("    decode_errors = (5,)", "expected a tuple of exception classes"),
        ("    def __init__(self): 1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_bad_format_breaks_at_use(install: Install, change: str, message: str) -> None:
    install("acme-raw", "raw", code=FILE + LOAD + SAVE + change, group="polystore.formats")
    with pytest.raises(BrokenPluginError) as caught:
        FormatRegistry().of("a.raw")
    assert message in str(caught.value)
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
def test_survey_never_guesses(install: Install, code: str) -> None:
    """If the source alone is not clear, only a use of the name finds the fault."""
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
    assert load_from("raw") == 1


NEEDS_HOST = {
    "values": f"{PROVIDED}{LOAD}{SAVE}    def __init__(self, *, host): self.host = host",
    "bytes": "from polystore_core import FileBackend\nclass Provided(FileBackend):\n"
    "    def __init__(self, *, host): self.host = host",
}


@pytest.mark.parametrize("code", NEEDS_HOST.values(), ids=list(NEEDS_HOST))
def test_required_option_is_reported(install: Install, code: str) -> None:
    """A backend with required options works under a name that you add."""
    install("acme-raw", "raw", code=code)
    (state,) = (s for s in discovery.survey() if s.name == "raw")
    with pytest.raises(MissingOptionError, match="from acme-raw needs host=") as caught:
        load_from("raw")
    assert (state.state, state.why) == ("unconfigured", str(caught.value))
    registry = BackendRegistry()
    with pytest.raises(MissingOptionError):
        registry.add("mine", "raw")
    registry.add("mine", "raw", host="h")
    backend: Any = registry["mine"]
    assert backend.host == "h"


def test_raising_init_is_broken(install: Install) -> None:
    code = PROVIDED + LOAD + SAVE + "    def __init__(self, *, a=1):\n        "
    install("acme-raw", "raw", code=f"{code}int('x')")
    install("acme-net", "net", code=f"{code}raise ConnectionRefusedError(111, 'no')")
    with pytest.raises(BrokenPluginError, match="ValueError: invalid literal") as caught:
        load_from("raw")
    assert re.search(r"acme_raw/provided\.py:\d+$", caught.value.place)
    with pytest.raises(ConnectionRefusedError) as refused:  # The plugin is not at fault.
        load_from("net")
    assert refused.value.__notes__ == ["from acme-net:net 2.5"]
    registry = BackendRegistry()
    registry.add("mine", "raw", a=2)
    with pytest.raises(ValueError, match="invalid literal"):  # The option may be wrong.
        registry["mine"]
