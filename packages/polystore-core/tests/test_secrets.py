"""A reference to a secret can be pickled. Its value is only looked up where it is used."""

from __future__ import annotations

import copy
import logging
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from polystore_core import BackendRegistry, FileManager, Secret, StorageBackend, secret
from polystore_core.errors import (
    InvalidOptionError,
    MissingDependencyError,
    MissingOptionError,
    SecretNotFoundError,
)

Python = Callable[..., subprocess.CompletedProcess[str]]
Require = Callable[[str], ModuleType]

VALUE = "hunter2-correct-horse"


class Lake(StorageBackend):
    """Like a client of a service, checks its key at each use."""

    _backend_type = "test-lake"

    def __init__(self, *, key: str | Secret, root: str = "") -> None:
        self.key = secret(key)
        if root == "wrong":
            raise InvalidOptionError("key", self.key, "a key of this lake")

    def save(self, data: Any, path: Any, /) -> None:
        logging.getLogger("polystore").warning("saving %s with %s", path, self.key)
        self.load(path)

    def load(self, path: Any, /) -> Any:
        if self.key.reveal() != VALUE:
            raise PermissionError(f"{self!r}: the lake refuses {self.key}")
        raise ConnectionError(f"{self!r}: no lake answers with {self.key}")


@pytest.fixture
def set_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_KEY", VALUE)


def format_error(error: BaseException) -> str:
    """Return everything that a log could contain of an error."""
    lines = traceback.TracebackException.from_exception(error).format()
    return "".join(lines) + repr(error) + repr(pickle.dumps(error))


# ── places of a secret ───────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("set_key")
def test_environment() -> None:
    assert secret("env:LAKE_KEY").reveal() == VALUE


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_file(tmp_path: Path, ending: str) -> None:
    (tmp_path / "key").write_bytes(f" {VALUE}{ending}".encode())
    assert secret(f"file:{tmp_path}/key").reveal() == f" {VALUE}"


def test_secret_is_looked_up_at_each_use(tmp_path: Path) -> None:
    """The next call uses the changed secret."""
    reference = secret(f"file:{tmp_path}/key")
    for value in ("first", "second"):
        (tmp_path / "key").write_text(value)
        assert reference.reveal() == value


@pytest.fixture
def keyring(require: Require) -> Any:
    """Return the library keyring, with passwords in a dictionary."""
    library: Any = require("keyring")

    class DictKeyring(library.backend.KeyringBackend):  # type: ignore[misc]
        priority = 1

        def __init__(self) -> None:
            self.kept: dict[tuple[str, str], str] = {}

        def get_password(self, service: str, user: str) -> str | None:
            if service == "broken":
                raise RuntimeError(f"the password is {VALUE}")
            return self.kept.get((service, user))

        def set_password(self, service: str, user: str, password: str) -> None:
            self.kept[service, user] = password

    before = library.get_keyring()
    library.set_keyring(DictKeyring())
    yield library
    library.set_keyring(before)


@pytest.mark.parametrize("service", ["lake", "https://lake.example"])
def test_keyring(keyring: Any, service: str) -> None:
    reference = secret(f"keyring:{service}/me")
    with pytest.raises(SecretNotFoundError, match=f"Store it: keyring set '{service}' 'me'"):
        reference.reveal()
    keyring.set_password(service, "me", VALUE)
    assert reference.reveal() == VALUE


def test_broken_keyring_is_reported(keyring: Any) -> None:
    with pytest.raises(SecretNotFoundError, match="the keyring raised RuntimeError") as caught:
        secret("keyring:broken/me").reveal()
    assert VALUE not in format_error(caught.value)
    assert caught.value.__context__ is None


def test_keyring_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a look-up needs the library, not the reference."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    reference = secret("keyring:lake/me")
    message = r"secret 'keyring:lake/me' needs keyring.*pip install 'polystore-core\[keyring\]'"
    with pytest.raises(MissingDependencyError, match=message):
        reference.reveal()


# ── references ───────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("set_key")
def test_reference_is_a_value() -> None:
    reference = secret("env:LAKE_KEY")
    assert reference == secret("env:LAKE_KEY") == Secret("env:LAKE_KEY") == secret(reference)
    assert reference != secret("env:OTHER")
    assert len({reference, secret("env:LAKE_KEY")}) == 1
    for again in (pickle.loads(pickle.dumps(reference)), copy.deepcopy(reference)):
        assert (again, again.reveal()) == (reference, VALUE)
    with pytest.raises(AttributeError):
        reference.reference = "env:OTHER"  # type: ignore[misc]
    assert repr(reference) == str(reference) == f"{reference}" == "secret('env:LAKE_KEY')"
    assert VALUE.encode() not in pickle.dumps(reference)


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "env:",
        "file:",
        "keyring:",
        "env:A=B",
        "env:A\n",
        "env:A\0",
        "file:key",
        "file:~/key",
        "keyring:lake",
        "keyring:/me",
        "keyring:lake/",
        VALUE,
        f"vault:{VALUE}",
        f"ENV:{VALUE}",
        f"https://me:{VALUE}@lake",
        7,
        None,
        VALUE.encode(),
        [VALUE],
        Path("/key"),
    ],
)
def test_other_texts_are_refused(reference: Any) -> None:
    """The error shows the valid forms, but not the text, which may be a secret itself."""
    with pytest.raises(InvalidOptionError) as caught:
        secret(reference)
    assert any(form in str(caught.value) for form in ("env:", "file:", "keyring:"))
    assert VALUE not in repr(caught.value) + str(caught.value) + repr(
        pickle.dumps(caught.value)
    )


def test_unset_variable_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAKE_KEY", raising=False)
    message = (
        r"secret 'env:LAKE_KEY' cannot be found: .* is not set\. Set it .*export LAKE_KEY=…"
    )
    with pytest.raises(SecretNotFoundError, match=message):
        secret("env:LAKE_KEY").reveal()
    monkeypatch.setenv("LAKE_KEY", "")
    with pytest.raises(SecretNotFoundError, match="LAKE_KEY is empty"):
        secret("env:LAKE_KEY").reveal()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "the file is empty"),
        (b"\n", "the file is empty"),
        (f"{VALUE}\xff".encode("latin-1"), "not text in UTF-8"),
    ],
)
def test_useless_file_is_reported(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(SecretNotFoundError, match=message) as caught:
        secret(f"file:{tmp_path}/key").reveal()
    assert f"file:{tmp_path}/key" in str(caught.value)
    assert VALUE not in format_error(caught.value)
    assert caught.value.__context__ is None


def test_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SecretNotFoundError, match="cannot be read: Is a directory"):
        secret(f"file:{tmp_path}").reveal()


# ── a backend with a secret ──────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("set_key")
def test_value_never_leaks(caplog: pytest.LogCaptureFixture) -> None:
    """No pickle, repr, log or error of a backend has the value, after a failed use of it."""
    registry = BackendRegistry()
    registry.add("lake", "test-lake", key=secret("env:LAKE_KEY"))
    registry.add("wrong", "test-lake", key=secret("env:LAKE_KEY"), root="wrong")
    registry.add("mine", Lake(key=secret("env:LAKE_KEY")))
    fm = FileManager(registry)
    found = [repr(registry), repr(fm)]
    for name in ("lake", "mine"):
        with pytest.raises(ConnectionError, match=r"secret\('env:LAKE_KEY'\)") as caught:
            fm.save(1, "a", name)
        backend: Any = registry[name]
        found += [
            format_error(caught.value),
            repr(backend),
            repr(vars(backend)),
            repr(backend.context),
        ]
        found += [repr(pickle.dumps(backend)), repr(pickle.dumps(backend.context))]
    with pytest.raises(InvalidOptionError, match=r"key=secret\('env:LAKE_KEY'\)") as refused:
        fm.load("a", "wrong")
    found += [format_error(refused.value), caplog.text]
    assert "secret('env:LAKE_KEY')" in caplog.text
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        found += [repr(pickle.dumps(value, protocol)) for value in (registry, fm)]
    assert not [text for text in found if VALUE in text]


def test_missing_secret_of_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend is made without its secret, and the first use says what is missing."""
    monkeypatch.delenv("LAKE_KEY", raising=False)
    registry = BackendRegistry()
    registry.add("lake", "test-lake", key=secret("env:LAKE_KEY"))
    assert registry["lake"].name == "lake"
    with pytest.raises(SecretNotFoundError, match="'env:LAKE_KEY'"):
        FileManager(registry).load("a", "lake")
    with pytest.raises(MissingOptionError, match="needs key=…"):
        BackendRegistry()["test-lake"]


def test_value_instead_of_reference_is_refused() -> None:
    registry = BackendRegistry()
    registry.add("lake", "test-lake", key=VALUE)
    with pytest.raises(InvalidOptionError, match="not a reference to a secret") as caught:
        FileManager(registry).load("a", "lake")
    assert VALUE not in format_error(caught.value)


@pytest.mark.usefixtures("set_key")
def test_toml_has_the_same_references(tmp_path: Path) -> None:
    file = tmp_path / "polystore.toml"
    file.write_text('[backends.lake]\nbackend = "test-lake"\nkey = "env:LAKE_KEY"\n')
    lake: Any = BackendRegistry.from_file(file)["lake"]
    assert lake.key == secret("env:LAKE_KEY")
    with pytest.raises(ConnectionError, match="no lake answers"):
        lake.load("a")


@pytest.mark.usefixtures("set_key")
def test_secret_is_found_in_the_other_process(python: Python) -> None:
    """The secret comes from the environment of the process that uses it."""
    code = "import pickle, sys; print(pickle.loads(bytes.fromhex(sys.argv[1])).reveal())"
    sent = pickle.dumps(secret("env:LAKE_KEY")).hex()
    assert python(code, sent, LAKE_KEY="theirs").stdout.strip() == "theirs"
