"""A call of a manager reaches the right method of the right backend, with its options."""

import inspect
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import FileManager
from polystore_core.errors import (
    BackendRequiredError,
    BatchError,
    InvalidOptionError,
    NotFoundError,
    PolystoreError,
    UnknownOptionError,
    UnknownPluginError,
    UnsupportedOperationError,
)

from .samples import ARGUMENTS, KEYWORDS, ON_FOLDERS, OPERATIONS, Place, Require


def test_every_method_has_arguments() -> None:
    public = {name for name in dir(FileManager) if not name.startswith("_")}
    assert public == set(ARGUMENTS)


def test_dict_as_registry_is_refused() -> None:
    """polystore 0.6 accepted a dict of backends."""
    backends: Any = {"disk": object()}
    with pytest.raises(InvalidOptionError, match="expected a BackendRegistry, got dict: use"):
        FileManager(backends)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_only_backend_follows_paths(operation: str) -> None:
    """No call passes options by position, so they can be added and reordered."""
    parameters = list(inspect.signature(getattr(FileManager, operation)).parameters.values())
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional.index("backend") == len(positional) - 1 == len(ARGUMENTS[operation]) + 1
    assert not [p.name for p in parameters if p.kind is p.VAR_POSITIONAL]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "name", ["two", Place.TWO, np.str_("two")], ids=["str", "enum", "numpy"]
)
def test_position_is_keyword(memory: FileManager, operation: str, name: str) -> None:
    """Both calls return the same result and change their trees in the same way."""
    method = getattr(memory, operation)
    for tree in ("one", "two"):
        memory.save_batch(
            [5, 6], ["a/z" if operation in ON_FOLDERS else "a", "d/b"], backend=tree
        )
    arguments, options = ARGUMENTS[operation], KEYWORDS.get(operation, {})
    by_keyword = outcome(lambda: method(*arguments, **options, backend="one"))
    by_position = outcome(lambda: method(*arguments, name, **options))
    assert by_position == by_keyword.replace("'one'", "'two'")
    left = [
        outcome(lambda tree=tree: memory.load_batch(memory.list_files(".", tree), tree))  # type: ignore[misc]
        for tree in ("one", "two")
    ]
    assert left[0] == left[1]


def outcome(call: Callable[[], Any]) -> str:
    """Return the text of the result or of the error."""
    try:
        return re.sub(r"modified=[\d.]+", "", repr(call()))
    except PolystoreError as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_backend_is_given_once(memory: FileManager, operation: str) -> None:
    method, options = getattr(memory, operation), KEYWORDS.get(operation, {})
    with pytest.raises(TypeError, match="multiple values for argument 'backend'"):
        method(*ARGUMENTS[operation], "one", **options, backend="one")
    with pytest.raises(TypeError, match="positional arguments but"):
        method(*ARGUMENTS[operation], "one", "one", **options)


@pytest.mark.parametrize("operation", ARGUMENTS)
@pytest.mark.parametrize("given", ["omitted", None])
def test_backend_is_required(fm: FileManager, operation: str, given: Any) -> None:
    method = getattr(fm, operation)
    named = [name for name in inspect.signature(method).parameters if name.endswith("backend")]
    options = {} if given == "omitted" else dict.fromkeys(named, given)
    where = "after the last path, or as backend=" if len(named) == 1 else "as source_backend="
    with pytest.raises(BackendRequiredError, match="needs the name of a backend") as caught:
        method(*ARGUMENTS[operation], **KEYWORDS.get(operation, {}), **options)
    assert str(caught.value).startswith(f"{operation}() needs the name of a backend {where}. ")
    # Other tests also define backends, and the text omits the middle of a long list.
    assert caught.value.known == tuple(fm.registry.names())
    assert f"Available: '{caught.value.known[0]}', " in str(caught.value)


@pytest.mark.parametrize("operation", ARGUMENTS)
@pytest.mark.parametrize(
    "given", ["", 7, Path("b.npy"), {"level": 3}, ["memory"], b"memory", np.zeros(2)], ids=repr
)
def test_other_types_are_refused_as_backend(
    fm: FileManager, operation: str, given: Any
) -> None:
    arguments, options = [*ARGUMENTS[operation], given], KEYWORDS.get(operation, {})
    if operation == "transfer":
        options = {"source_backend": "test-camera", "target_backend": arguments.pop()}
    with pytest.raises(BackendRequiredError, match="expected the name of a backend") as caught:
        getattr(fm, operation)(*arguments, **options)
    assert f", got {given!r}. Available: " in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_target_backend_is_required(fm: FileManager) -> None:
    with pytest.raises(BackendRequiredError, match=r"transfer\(\) needs .* as target_backend="):
        fm.transfer("a", "b", source_backend="test-camera")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="takes 3 positional arguments"):
        fm.transfer("a", "b", "one", "two")  # type: ignore[call-arg]


def test_enum_is_plain_in_errors(memory: FileManager) -> None:
    with pytest.raises(NotFoundError, match="backend 'two': 'x' does not exist"):
        memory.load("x", Place.TWO)
    with pytest.raises(UnknownOptionError, match="of backend 'two' has no"):
        memory.save(1, "x", Place.TWO, if_exist="error")
    with pytest.raises(BatchError, match="backend 'two': load failed"):
        memory.load_batch(["x"], Place.TWO)
    memory.save("text", "x", Place.TWO)
    with pytest.raises(BatchError, match="backend 'two': load failed"):
        memory.load_batch(["x"], Place.TWO, dtype="f4")
    with pytest.raises(UnknownPluginError, match="called 'on'; did you mean 'one'"):
        memory.load("x", Place.MISSPELT)
    memory.transfer("x", "x", source_backend=Place.TWO, target_backend=Place.ONE)
    assert memory.load("x", "one") == "text"


CHECKED = """
from enum import Enum
from pathlib import Path
from polystore_core import FileManager
class Place(str, Enum):
    DISK = "disk"
fm = FileManager()
fm.save(1, "a", backend="disk")
fm.save(1, "a", "disk", if_exists="error")
fm.create("a", Place.DISK, shape=(2,), dtype="u1")
fm.save(1, "a")
fm.transfer("a", "b", source_backend="disk")
fm.copy("a", "b", Path("c"))
fm.delete("a", "disk", True)
fm.transfer("a", "b", "disk", "disk")
"""


@pytest.mark.slow
def test_checkers_require_backend(require: Require, tmp_path: Path) -> None:
    require("mypy")
    (tmp_path / "mypy.ini").write_text("[mypy]\n[mypy-numpy.*]\nfollow_imports = skip\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "-c", CHECKED],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    errors = [
        re.sub(' of "File[A-Za-z]*"', "", line).partition("  [")[0]
        for line in done.stdout.splitlines()
        if "error" in line
    ]
    assert errors == [
        '<string>:11: error: Missing positional argument "backend" in call to "save"',
        '<string>:12: error: Missing named argument "target_backend" for "transfer"',
        '<string>:13: error: Argument 3 to "copy" has incompatible type "Path"; expected "str"',
        '<string>:14: error: Too many positional arguments for "delete"',
        '<string>:15: error: Too many positional arguments for "transfer"',
        "Found 5 errors in 1 file (checked 1 source file)",
    ]


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if "save" not in name])
def test_sink_refuses_other_operations(fm: FileManager, operation: str) -> None:
    with pytest.raises(UnsupportedOperationError, match=": it only writes"):
        getattr(fm, operation)(
            *ARGUMENTS[operation], **KEYWORDS.get(operation, {}), backend="test-screen"
        )


@pytest.mark.parametrize(
    "operation", ["save", "save_batch", "delete", "copy", "ensure_directory"]
)
def test_source_refuses_writing(fm: FileManager, operation: str) -> None:
    with pytest.raises(UnsupportedOperationError, match=": it only reads"):
        getattr(fm, operation)(
            *ARGUMENTS[operation], **KEYWORDS.get(operation, {}), backend="test-camera"
        )


@pytest.mark.parametrize(
    ("operation", "backend", "option", "known"),
    [
        ("save", "test-screen", "color", "colour"),
        ("save_batch", "test-screen", "color", "colour"),
        ("load", "test-camera", "exposed", "exposure"),
        ("load_batch", "test-camera", "exposed", "exposure"),
        ("copy", "test-mine", "if_exist", "if_exists"),
        ("move", "test-mine", "if_exist", "if_exists"),
    ],
)
def test_unknown_option_suggests(
    fm: FileManager, operation: str, backend: str, option: str, known: str
) -> None:
    with pytest.raises(
        UnknownOptionError, match=rf"\(\) of backend '{backend}' has no"
    ) as caught:
        getattr(fm, operation)(*ARGUMENTS[operation], backend=backend, **{option: 1})
    assert caught.value.option == option
    assert f"did you mean {known!r}?" in str(caught.value)


def test_known_options_reach_backend(fm: FileManager) -> None:
    assert fm.load("a", backend="test-camera", exposure=3).max() == 3
    assert [a.max() for a in fm.load_batch(["a", "b"], backend="test-camera", exposure=3)] == [
        3,
        3,
    ]
    fm.save(1, "a", backend="test-screen", colour="red")
    fm.save_batch([1], ["a"], backend="test-screen", colour="red")


def test_open_ended_backend_gets_options(fm: FileManager) -> None:
    fm.save(1, "a", backend="test-mine", level=3)
    fm.save_batch([2], ["b"], backend="test-mine", level=4)
    mine: Any = fm.registry["test-mine"]
    assert mine.got == [(1, "a", {"level": 3}), (2, "b", {"level": 4})]
    assert fm.load("a", backend="test-mine", level=3) == ("a", {"level": 3})
    assert fm.load_batch(["a"], backend="test-mine", level=3) == [("a", {"level": 3})]


def test_manager_shows_backends(fm: FileManager) -> None:
    assert repr(fm) == f"FileManager({fm.registry!r})"
    assert f": {fm.registry.names()[0]}, " in repr(fm)


def test_errors_carry_configured_name(memory: FileManager) -> None:
    with pytest.raises(NotFoundError) as caught:
        memory.load("a", backend="two")
    assert caught.value.backend == "two"
