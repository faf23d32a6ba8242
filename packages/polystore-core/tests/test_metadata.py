import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from polystore_core import AtomicMetadataWriter, file_lock
from polystore_core.errors import (
    DamagedDataError,
    InvalidOptionError,
    LockTimeoutError,
    NotAPathError,
    UnsupportedDataError,
)
from polystore_core.files.metadata import merge_documents

Start = Callable[..., Any]


@pytest.fixture
def metadata_path(tmp_path: Path) -> Path:
    return tmp_path / "plate" / "metadata.json"


def test_example_of_paper(metadata_path: Path) -> None:
    writer = AtomicMetadataWriter()
    writer.merge_subdirectory_metadata(
        metadata_path, {"TimePoint_1": {"available_backends": {"zarr": True}}}
    )
    writer.merge_subdirectory_metadata(
        metadata_path, {"TimePoint_1": {"available_backends": {"disk": True}}}
    )
    assert json.loads(metadata_path.read_text()) == {
        "subdirectories": {"TimePoint_1": {"available_backends": {"zarr": True, "disk": True}}}
    }


@pytest.mark.parametrize(
    ("base", "updates", "expected"),
    [
        ({}, {}, {}),
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
        (
            {"a": {"b": {"c": 1, "d": 2}}},
            {"a": {"b": {"c": 3}}},
            {"a": {"b": {"c": 3, "d": 2}}},
        ),
        ({"a": {"x": 1}}, {"a": {}}, {"a": {"x": 1}}),
        ({"a": {"x": 1}}, {"a": None}, {"a": None}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"a": None}, {"a": {"x": {}}}, {"a": {"x": {}}}),
        ({"a": {"x": 1}}, MappingProxyType({"a": {"y": 2}}), {"a": {"x": 1, "y": 2}}),
    ],
)
def test_mappings_merge_deeply(base: Any, updates: Any, expected: Any) -> None:
    before = pickle.dumps(base)
    result = merge_documents(base, updates)
    assert result == expected
    assert type(result) is dict
    assert pickle.dumps(base) == before


OLD = {"a": {"x": {"old": 1}, "y": {"old": 1}}, "b": {"x": {"old": 1}}}


@pytest.mark.parametrize(
    ("updates", "replace", "expected"),
    [
        ({"a": {"x": {"new": 2}}}, [], {**OLD, "a": {**OLD["a"], "x": {"old": 1, "new": 2}}}),
        ({"a": {"x": {"new": 2}}}, ["x"], {**OLD, "a": {**OLD["a"], "x": {"new": 2}}}),
        (
            {"a": {"x": {}, "y": {"n": 2}}},
            {"x"},
            {**OLD, "a": {"x": {}, "y": {"old": 1, "n": 2}}},
        ),
        (
            {"a": {"y": {}}, "b": {"x": {}}},
            ("x", "y"),
            {"a": {"x": {"old": 1}, "y": {}}, "b": {"x": {}}},
        ),
        ({"c": {"x": {"new": 2}}}, ["x"], {**OLD, "c": {"x": {"new": 2}}}),
        ({"b": {"x": {"deep": {"x": 1}}}}, ["x"], {**OLD, "b": {"x": {"deep": {"x": 1}}}}),
        ({"b": {"x": 1}}, ["x"], {**OLD, "b": {"x": 1}}),
    ],
)
def test_named_keys_are_replaced_whole(
    metadata_path: Path, updates: Any, replace: Any, expected: Any
) -> None:
    writer = AtomicMetadataWriter()
    writer.merge_subdirectory_metadata(metadata_path, OLD)
    writer.merge_subdirectory_metadata(metadata_path, updates, replace=replace)
    assert json.loads(metadata_path.read_text()) == {"subdirectories": expected}


@pytest.mark.parametrize("replace", [["z"], ["x", "z"], "x", ["a"], ["new"]])
def test_unknown_replace_refused(metadata_path: Path, replace: Any) -> None:
    with pytest.raises(InvalidOptionError, match="a list of keys in updates: x"):
        AtomicMetadataWriter().merge_subdirectory_metadata(
            metadata_path, {"a": {"x": {"new": 2}}}, replace=replace
        )
    assert not metadata_path.exists()


def test_rest_of_document_is_kept(metadata_path: Path) -> None:
    metadata_path.parent.mkdir()
    metadata_path.write_text('{"plate": 7, "subdirectories": {"a": {"x": 1}}}')
    AtomicMetadataWriter().merge_subdirectory_metadata(metadata_path, {"b": {"y": 2}})
    assert json.loads(metadata_path.read_text()) == {
        "plate": 7,
        "subdirectories": {"a": {"x": 1}, "b": {"y": 2}},
    }


@pytest.mark.parametrize(
    "damaged", [b"", b"{", b"[]", b"null", b'{"subdirectories": []}', b'{"subdirectories": 1}']
)
def test_damaged_file_is_kept(metadata_path: Path, damaged: bytes) -> None:
    metadata_path.parent.mkdir()
    metadata_path.write_bytes(damaged)
    with pytest.raises(DamagedDataError) as caught:
        AtomicMetadataWriter().merge_subdirectory_metadata(metadata_path, {"a": {}})
    assert caught.value.path == str(metadata_path)
    assert metadata_path.read_bytes() == damaged


PUBLISHED = """{
  "subdirectories": {
    ".": {
      "microscope_handler_name": "imagexpress",
      "grid_dimensions": [2, 2],
      "image_files": ["A01_s1_w1.tif"],
      "workspace_mapping": {
        "A01_s1_w1.tif": {
          "backend": "disk",
          "backend_address": "TimePoint_1/A01_s1_w1.TIF",
          "source_axis_indices": [null]
        }
      },
      "available_backends": {"disk": true, "virtual_workspace": true},
      "main": true
    }
  }
}"""


def test_nan_of_document_is_kept(metadata_path: Path) -> None:
    """Python's ``json`` writes NaN, so documents of polystore 0.6 may have it."""
    metadata_path.parent.mkdir()
    metadata_path.write_text('{"pixel_size": NaN, "far": [-Infinity]}')
    writer = AtomicMetadataWriter()
    writer.update_available_backends(metadata_path, {"zarr": True})
    assert '"pixel_size": NaN, "far": [-Infinity]' in metadata_path.read_text()
    with pytest.raises(UnsupportedDataError):
        writer.merge_subdirectory_metadata(metadata_path, {"a": {"x": float("nan")}})


class Place(str, Enum):  # noqa: UP042 -- prints as "Place.ZARR"
    ZARR = "zarr"


def test_published_document_takes_backends(metadata_path: Path) -> None:
    metadata_path.parent.mkdir()
    metadata_path.write_text(PUBLISHED)
    writer = AtomicMetadataWriter()
    writer.update_available_backends(metadata_path, {"zarr": True})
    writer.update_available_backends(metadata_path, {Place.ZARR: True, "disk": False})
    writer.update_available_backends(
        metadata_path, {Place.ZARR: True}, subdirectory=np.str_(".")
    )
    writer.update_available_backends(metadata_path, {"zip": True}, subdirectory="results")
    expected = json.loads(PUBLISHED)
    expected["available_backends"] = {"zarr": True, "disk": False}
    expected["subdirectories"]["."]["available_backends"]["zarr"] = True
    expected["subdirectories"]["results"] = {"available_backends": {"zip": True}}
    assert json.loads(metadata_path.read_text()) == expected


def test_backends_need_no_document(metadata_path: Path) -> None:
    AtomicMetadataWriter().update_available_backends(metadata_path, {"zarr": True})
    assert json.loads(metadata_path.read_text()) == {"available_backends": {"zarr": True}}


FAULTS = [
    ([], "the document: expected an object, got []"),
    ({"available_backends": ["zarr"]}, "available_backends: expected an object, got ['zarr']"),
    (
        {"available_backends": {"zarr": None}},
        "available_backends.zarr: expected true or false, got None",
    ),
    ({"subdirectories": 7}, "subdirectories: expected an object, got 7"),
    (
        {"subdirectories": {"TimePoint_1": 7}},
        "subdirectories.TimePoint_1: expected an object, got 7",
    ),
    (
        {"subdirectories": {"TimePoint_1": {"available_backends": "zarr"}}},
        "subdirectories.TimePoint_1.available_backends: expected an object, got 'zarr'",
    ),
    (
        {"subdirectories": {"TimePoint_1": {"available_backends": {"zarr": 1}}}},
        "subdirectories.TimePoint_1.available_backends.zarr: expected true or false, got 1",
    ),
    (
        {"subdirectories": {".": {"available_backends": {"a b": "yes"}}}},
        'subdirectories["."].available_backends["a b"]: expected true or false, got \'yes\'',
    ),
]


@pytest.mark.parametrize(("document", "message"), FAULTS)
def test_document_with_broken_schema_is_kept(
    metadata_path: Path, document: Any, message: str
) -> None:
    metadata_path.parent.mkdir()
    metadata_path.write_text(json.dumps(document))
    with pytest.raises(DamagedDataError) as caught:
        AtomicMetadataWriter().merge_subdirectory_metadata(
            metadata_path, {"TimePoint_1": {"x": 1}, ".": {"x": 1}}
        )
    assert caught.value.reason == message
    assert json.loads(metadata_path.read_text()) == document


def test_fault_elsewhere_is_ignored(metadata_path: Path) -> None:
    metadata_path.parent.mkdir()
    metadata_path.write_text('{"subdirectories": {"a": 7}}')
    AtomicMetadataWriter().merge_subdirectory_metadata(metadata_path, {"b": {"x": 1}})
    found = json.loads(metadata_path.read_text())
    assert found == {"subdirectories": {"a": 7, "b": {"x": 1}}}


@pytest.mark.parametrize(
    ("updates", "message"),
    [(updates["subdirectories"], message) for updates, message in FAULTS[3:]]
    + [({1: {}}, "subdirectories: expected text as keys, got 1")],
)
def test_broken_update_refused(metadata_path: Path, updates: Any, message: str) -> None:
    with pytest.raises(UnsupportedDataError) as caught:
        AtomicMetadataWriter().merge_subdirectory_metadata(metadata_path, updates)
    assert caught.value.reason == message
    assert caught.value.path == str(metadata_path)
    assert not metadata_path.parent.exists()


@pytest.mark.parametrize(
    ("backends", "message"),
    [
        ("zarr", "subdirectories.a.available_backends: expected an object, got 'zarr'"),
        (
            {"zarr": 1},
            "subdirectories.a.available_backends.zarr: expected true or false, got 1",
        ),
        ({1: True}, "subdirectories.a.available_backends: expected text as keys, got 1"),
    ],
)
def test_broken_backends_refused(metadata_path: Path, backends: Any, message: str) -> None:
    with pytest.raises(UnsupportedDataError) as caught:
        AtomicMetadataWriter().update_available_backends(
            metadata_path, backends, subdirectory="a"
        )
    assert caught.value.reason == message
    assert not metadata_path.parent.exists()


def make_endless() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["x"] = found
    return found


@pytest.mark.parametrize("value", [{1, 2}, make_endless()])
def test_impossible_value_refused(metadata_path: Path, value: Any) -> None:
    with pytest.raises(UnsupportedDataError):
        AtomicMetadataWriter().merge_subdirectory_metadata(metadata_path, {"a": {"x": value}})
    assert not metadata_path.exists()


def test_numpy_values_are_written(metadata_path: Path) -> None:
    image = np.ones((2, 3), np.uint16)
    entry = {
        "shape": image.shape,
        "mean": image.mean(),
        "available_backends": {"zarr": image.any()},
    }
    AtomicMetadataWriter().merge_subdirectory_metadata(metadata_path, {"T1": entry})
    assert json.loads(metadata_path.read_bytes())["subdirectories"] == {
        "T1": {"shape": [2, 3], "mean": 1.0, "available_backends": {"zarr": True}}
    }


def test_swapped_arguments_are_reported(metadata_path: Path) -> None:
    writer: Any = AtomicMetadataWriter()
    with pytest.raises(NotAPathError, match="expected a path"):
        writer.update_available_backends({"zarr": True}, metadata_path)


def test_timeout_is_obeyed(metadata_path: Path) -> None:
    writer = AtomicMetadataWriter(timeout=0.05)
    with file_lock(metadata_path), ThreadPoolExecutor(1) as pool:
        merge = pool.submit(writer.merge_subdirectory_metadata, metadata_path, {})
        with pytest.raises(LockTimeoutError) as caught:
            merge.result()
    assert caught.value.seconds == 0.05


def test_writer_pickles() -> None:
    writer = AtomicMetadataWriter(timeout=3, durable=False)
    assert pickle.loads(pickle.dumps(writer)) == writer


MERGER = """
import sys
from polystore_core import AtomicMetadataWriter
writer = AtomicMetadataWriter()
path, worker = sys.argv[1:]
sys.stdin.readline()
for n in range(10):
    writer.merge_subdirectory_metadata(path, {worker: {str(n): {"done": True}}})
    writer.update_available_backends(path, {f"{worker}-{n}": True})
    writer.update_available_backends(path, {f"{worker}-{n}": False}, subdirectory="all")
print("done", flush=True)
"""


def test_merges_of_all_workers_are_kept(start: Start, metadata_path: Path) -> None:
    workers = [start(MERGER, metadata_path, worker) for worker in range(8)]
    for worker in workers:
        worker.go_on()
    assert {worker.read_line() for worker in workers} == {"done"}
    names = [f"{worker}-{n}" for worker in range(8) for n in range(10)]
    found = json.loads(metadata_path.read_text())
    assert found["available_backends"] == dict.fromkeys(names, True)
    everywhere = found["subdirectories"].pop("all")
    assert everywhere == {"available_backends": dict.fromkeys(names, False)}
    expected = {str(w): {str(n): {"done": True} for n in range(10)} for w in range(8)}
    assert found["subdirectories"] == expected
