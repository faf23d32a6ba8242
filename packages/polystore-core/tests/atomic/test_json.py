"""JSON documents and their updates."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import atomic_update_json, atomic_write_json, file_lock
from polystore_core.errors import DamagedDataError, NotAFileError, UnsupportedDataError
from polystore_core.files import json as json_files

from .folders import STRANGER, Python, Start, list_names


@pytest.mark.parametrize(
    "data", [None, True, 1.5, 2**80, "ä😀\n", [], {}, {"a": [1, {"b": None}]}, [[[]]], 1e-300]
)
def test_json_round_trips(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "a.json"
    atomic_write_json(data, path, durable=False)
    assert json.loads(path.read_text("utf-8")) == data
    assert atomic_update_json(path, lambda document: document, durable=False) == data


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        ({"shape": np.zeros((2, 3)).shape}, {"shape": [2, 3]}),
        ([np.float64(2.5), np.float32(0.5), np.int64(3), np.True_], [2.5, 0.5, 3, True]),
        ({"name": np.str_("a")}, {"name": "a"}),
    ],
    ids=repr,
)
def test_usual_metadata(tmp_path: Path, data: Any, expected: Any) -> None:
    """Usual metadata of images is written as ``json.dump`` writes it."""
    path = tmp_path / "a.json"
    atomic_write_json(data, path, durable=False)
    assert json.loads(path.read_text("utf-8")) == expected
    found = atomic_update_json(path, lambda _: {"new": data}, durable=False)
    assert found == json.loads(path.read_text("utf-8")) == {"new": expected}


class Text(str):
    __slots__ = ()


circular: list[Any] = []
circular.append(circular)
deep: list[Any] = []
for _ in range(100_000):
    deep = [deep]

UNSUPPORTED = [
    float("nan"),
    float("inf"),
    {1: "a"},
    {None: "a"},
    {"a": {True: 1}},
    {1, 2},
    np.arange(3),
    np.datetime64("2026-11-29"),
    b"bytes",
    Path("a"),
    Text("a"),
    {Text("a"): 1},
    "\ud800",
    object(),
    circular,
    deep,
    10**5000,
]


@pytest.mark.parametrize("data", UNSUPPORTED, ids=lambda data: type(data).__name__)
def test_unsupported_value_changes_no_file(tmp_path: Path, data: Any) -> None:
    with pytest.raises(UnsupportedDataError) as caught:
        atomic_write_json(data, tmp_path / "folder" / "a.json")
    assert caught.value.path == str(tmp_path / "folder" / "a.json")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("data", UNSUPPORTED[:6], ids=repr)
def test_refused_update_changes_nothing(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"old": 1}')
    with pytest.raises(UnsupportedDataError):
        atomic_update_json(path, lambda _: data)
    assert path.read_bytes() == b'{"old": 1}'
    assert list_names(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b'{"a": 1',
        b'{"a": Na}',
        b"[-Infinity",
        b"\xff",
        b'"\xc3',
        b"{'a': 1}",
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b'{"a": 1, "a": 2}',
        b"[" * 100_000,
        b"1" * 5000,
        b" " * 2000 + b"{}",
    ],
    ids=lambda damaged: repr(damaged[:12]),
)
def test_damaged_json_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bytes
) -> None:
    if damaged.startswith(b" "):
        monkeypatch.setattr(json_files, "_JSON_BYTES_LIMIT", 2000)
    path = tmp_path / "a.json"
    path.write_bytes(damaged)
    with pytest.raises(DamagedDataError) as caught:
        atomic_update_json(path, lambda _: pytest.fail("the updater got damaged data"))
    assert (caught.value.path, caught.value.format) == (str(path), "json")
    assert path.read_bytes() == damaged


def test_directory_is_not_missing(tmp_path: Path) -> None:
    with pytest.raises(NotAFileError):
        atomic_update_json(tmp_path, lambda _: pytest.fail("the directory counts as missing"))


def test_unreadable_is_not_missing(shared: Path, python: Python) -> None:
    path = shared / "a.json"
    atomic_write_json({"root": True}, path)
    path.chmod(0o600)
    assert f"AccessDeniedError: '{path}': cannot read" in python(STRANGER, path).stderr
    assert json.loads(path.read_text()) == {"root": True}


@pytest.mark.parametrize(("options", "start"), [({}, {}), ({"default": []}, [])])
def test_missing_gives_default(tmp_path: Path, options: dict[str, Any], start: Any) -> None:
    path = tmp_path / "folder" / "a.json"
    assert atomic_update_json(path, lambda old: [old], **options) == [start]
    assert json.loads(path.read_text()) == [start]


def test_error_of_updater_is_raised(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"old": 1}')
    with pytest.raises(KeyError, match="new"):
        atomic_update_json(path, lambda old: old["new"])
    assert path.read_bytes() == b'{"old": 1}'
    with file_lock(path, timeout=0):
        pass


COUNTER = """
import sys
from polystore_core import atomic_update_json
sys.stdin.readline()
for _ in range(50):
    atomic_update_json(sys.argv[1], lambda old: old | {"n": old["n"] + 1}, durable=False)
print("done", flush=True)
"""


def test_no_update_is_lost(start: Start, tmp_path: Path) -> None:
    atomic_write_json({"n": 0}, tmp_path / "a.json")
    processes = [start(COUNTER, tmp_path / "a.json") for _ in range(4)]
    for process in processes:
        process.go_on()
    assert [process.read_line() for process in processes] == ["done"] * 4
    assert json.loads((tmp_path / "a.json").read_text()) == {"n": 200}
