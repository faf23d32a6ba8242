"""Garbage, huge or hostile metadata documents raise an error. They never give a wrong array."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polystore_core.errors import (
    DamagedDataError,
    StorageError,
    UnsupportedDataError,
    UnsupportedFileError,
)
from polystore_testing.examples import examples

from .stores import LAYOUTS, SHAPE, VALUE, try_load

if TYPE_CHECKING:
    from pathlib import Path

    from polystore_zarr.backend import ZarrBackend

DOCUMENTS: dict[str, bytes] = {
    "empty": b"",
    "zeros": bytes(4096),
    "half": b'{"zarr_format": 3, "node_type": "arr',
    "list": b"[]",
    "number": b"3",
    "null": b"null",
    "text": b'"zarr"',
    "nothing": b"{}",
    "array without fields": b'{"zarr_format": 3, "node_type": "array"}',
    "twice": b'{"zarr_format": 3, "node_type": "group", "node_type": "array"}',
    "bytes": b'{"zarr_format": 3, "node_type": "gr\xff\xfeoup"}',
    "deep": b'{"zarr_format": 3, "node_type": "group", "attributes": ' + b'{"a":' * 100_000,
    "deep list": b"[" * 200_000,
    "attributes": b'{"zarr_format": 3, "node_type": "group", "attributes": []}',
    "digits": b'{"zarr_format": 3, "node_type": "group", "attributes": {"a": '
    + b"1" * 9999
    + b"}}",
}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_document_is_garbage(backend: ZarrBackend, root: Path, document: str) -> None:
    """An invalid document is damage for every read, but the array is still listed."""
    backend.save(VALUE, "a.zarr/a", chunks=16)
    (root / "a.zarr/a/zarr.json").write_bytes(DOCUMENTS[document])
    for read in (
        lambda: backend.load("a.zarr/a"),
        lambda: backend.open("a.zarr/a"),
        lambda: backend.info("a.zarr/a"),
    ):
        with pytest.raises(DamagedDataError) as caught:
            read()
        assert "a.zarr/a" in str(caught.value)
        assert len(str(caught.value)) < 1000
    assert backend.list_dir("a.zarr") == ["a"]


def test_document_is_huge(backend: ZarrBackend, root: Path) -> None:
    """A document of gigabytes is not read."""
    backend.save(VALUE, "a.zarr/a", chunks=16)
    with (root / "a.zarr/a/zarr.json").open("r+b") as file:
        file.truncate(8 << 30)
    with pytest.raises(UnsupportedFileError, match="larger than"):
        backend.load("a.zarr/a")


def test_older_documents_are_garbage(backend: ZarrBackend, root: Path) -> None:
    """The same is true of the three documents of Zarr 2."""
    backend.save(VALUE, "a.zarr/a", zarr_format=2)
    (root / "a.zarr/a/.zattrs").write_bytes(b"{}")
    np.testing.assert_array_equal(backend.load("a.zarr/a"), VALUE)
    for name in (".zattrs", ".zarray"):
        whole = (root / "a.zarr/a" / name).read_bytes()
        for garbage in (b"", b"[1]", b"{", b"\xff", b"[" * 100_000):
            (root / "a.zarr/a" / name).write_bytes(garbage)
            with pytest.raises(DamagedDataError):
                backend.load("a.zarr/a")
        (root / "a.zarr/a" / name).write_bytes(whole)
    (root / "a.zarr/.zgroup").write_bytes(b"?")
    with pytest.raises(DamagedDataError):
        backend.list_dir("a.zarr")
    with pytest.raises(DamagedDataError):
        backend.save(VALUE, "a.zarr/b")


HOSTILE: dict[str, Any] = {
    "huge": 10**18,
    "larger": 10**30,
    "negative": -5,
    "zero": 0,
    "text": "x",
    "half": 0.5,
    "true": True,
    "null": None,
    "list": [],
    "object": {},
    "nested": [[[1]]],
    "many": [1] * 100,
}
FIELDS = [
    ("shape",),
    ("shape", 0),
    ("data_type",),
    ("fill_value",),
    ("chunk_grid",),
    ("chunk_grid", "name"),
    ("chunk_grid", "configuration"),
    ("chunk_grid", "configuration", "chunk_shape"),
    ("chunk_grid", "configuration", "chunk_shape", 0),
    ("chunk_key_encoding",),
    ("chunk_key_encoding", "name"),
    ("codecs",),
    ("codecs", 0),
    ("codecs", 0, "name"),
    ("codecs", 0, "configuration"),
    ("attributes",),
    ("attributes", "polystore"),
    ("attributes", "polystore", "dtype"),
    ("dimension_names",),
    ("storage_transformers",),
]
OLDER_FIELDS = [
    ("shape",),
    ("shape", 0),
    ("fill_value",),
    ("chunks",),
    ("chunks", 0),
    ("dtype",),
    ("compressor",),
    ("compressor", "id"),
    ("order",),
    ("filters",),
    ("dimension_separator",),
    ("zarr_format",),
]


def replace_field(document: Any, field: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(document)
    inner = changed
    for key in field[:-1]:
        inner = inner[key]
    inner[field[-1]] = value
    return changed


def check_hostile(backend: ZarrBackend, path: str) -> None:
    """Check that reading raises an error of ours, or returns the values that the chunks hold."""
    for read in (
        lambda: backend.load(path, region=(slice(1), slice(1))),
        lambda: backend.load(path),
        lambda: backend.info(path),
    ):
        found = try_load(read)
        assert not isinstance(found, StorageError | UnsupportedDataError) or str(found)
        if (
            isinstance(found, np.ndarray)
            and found.shape == SHAPE
            and found.dtype == VALUE.dtype
        ):
            np.testing.assert_array_equal(found, VALUE)
    backend.list_dir("a.zarr")
    backend.exists(path)


@pytest.mark.parametrize("layout", ["chunks", "shards", "zstd"])
@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_field_is_hostile(
    backend: ZarrBackend, root: Path, little_memory: None, layout: str, field: Any
) -> None:
    """A wrong value in any field raises an error. It never causes a crash or another array."""
    backend.save(VALUE, "a.zarr/a", **LAYOUTS[layout])
    place = root / "a.zarr/a/zarr.json"
    whole = json.loads(place.read_bytes())
    for value in HOSTILE.values():
        place.write_text(json.dumps(replace_field(whole, field, value)))
        check_hostile(backend, "a.zarr/a")


@pytest.mark.parametrize("field", OLDER_FIELDS, ids=str)
def test_older_field_is_hostile(
    backend: ZarrBackend, root: Path, little_memory: None, field: Any
) -> None:
    """The same is true of the fields of Zarr 2."""
    backend.save(VALUE, "a.zarr/a", **LAYOUTS["older"])
    place = root / "a.zarr/a/.zarray"
    whole = json.loads(place.read_bytes())
    for value in HOSTILE.values():
        place.write_text(json.dumps(replace_field(whole, field, value)))
        check_hostile(backend, "a.zarr/a")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["regular", "bytes", "blosc", "zstd", "default"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(
    max_examples=examples(120),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    layout=st.sampled_from([name for name in LAYOUTS if name != "older"]),
    changes=st.lists(st.tuples(st.sampled_from(FIELDS), json_values), min_size=1, max_size=2),
)
def test_fields_with_any_value(
    backend: ZarrBackend, root: Path, little_memory: None, layout: str, changes: Any
) -> None:
    """A document that differs from a valid one raises an error or gives the array."""
    place = root / "a.zarr" / layout / "zarr.json"
    if not place.exists():
        backend.save(VALUE, f"a.zarr/{layout}", **LAYOUTS[layout])
        place.rename(place.with_name("whole"))
    document = json.loads(place.with_name("whole").read_bytes())
    for field, value in changes:
        try:
            document = replace_field(document, field, value)
        except (LookupError, TypeError):  # the first change has removed it
            continue
    place.write_text(json.dumps(document))
    check_hostile(backend, f"a.zarr/{layout}")


def test_unknown_codec_is_named(backend: ZarrBackend, root: Path) -> None:
    """A codec that is not installed is not damage, and the error names the codec."""
    backend.save(VALUE, "a.zarr/a", chunks=16, shards=False)
    place = root / "a.zarr/a/zarr.json"
    document = json.loads(place.read_bytes())
    document["codecs"].append({"name": "quantum", "configuration": {}})
    place.write_text(json.dumps(document))
    with pytest.raises(UnsupportedDataError, match="quantum"):
        backend.load("a.zarr/a")
