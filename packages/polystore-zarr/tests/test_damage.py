"""Stores that are damaged, hostile or not what they seem: a typed error, never a wrong array."""

from __future__ import annotations

import copy
import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polystore_core import BackendRegistry
from polystore_core.errors import (
    AccessDeniedError,
    DamagedDataError,
    DataError,
    InvalidOptionError,
    NotADirectoryInPathError,
    NotAFileError,
    NotFoundError,
    PathOutsideRootError,
    PolystoreError,
    StorageError,
    UnsupportedDataError,
    UnsupportedFileError,
)
from polystore_testing.examples import examples
from polystore_zarr.backend import ZarrBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHAPE = (40, 36)
NOBODY = 65534
VALUE = (np.arange(1, 1 + SHAPE[0] * SHAPE[1]).reshape(SHAPE)).astype(np.uint16)
"""No pixel is the fill value."""

needs_root = pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="system: needs root"
)
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX names")

# Each way in which arrays are stored: the first two past zarr, the others through it.
LAYOUTS: dict[str, dict[str, Any]] = {
    "chunks": {"chunks": 16, "shards": False},
    "shards": {"chunks": 8, "shards": (24, 24)},
    "zstd": {"chunks": 16, "shards": False, "compressor": "zstd"},
    "zstd shards": {"chunks": 8, "shards": (24, 24), "compressor": "zstd"},
    "none": {"chunks": 16, "shards": False, "compressor": "none"},
    "older": {"chunks": 16, "zarr_format": 2, "compressor": "zstd"},
}
layouts = pytest.mark.parametrize("layout", LAYOUTS)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


def make_backend(root: object) -> ZarrBackend:
    registry = BackendRegistry()
    registry.add("store", "zarr", root=str(root))
    backend = registry["store"]
    assert isinstance(backend, ZarrBackend)
    return backend


@pytest.fixture
def backend(root: Path) -> ZarrBackend:
    return make_backend(root)


def chunk_files(node: Path) -> list[Path]:
    """The files of an array's pixels."""
    names = ("zarr.json", ".zarray", ".zattrs", ".zgroup")
    return sorted(p for p in node.rglob("*") if p.is_file() and p.name not in names)


def everything(root: Path) -> dict[str, bytes]:
    """All files but those of the locks."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def outcome(load: Callable[[], Any]) -> Any:
    """Return what was loaded, or the error that may stand for it."""
    try:
        return load()
    except (DataError, StorageError) as error:
        return error


# ── chunks and shards ────────────────────────────────────────────────────────────────────


@layouts
@pytest.mark.parametrize("damage", ["missing", "empty", "folder"])
def test_chunk_without_bytes(
    backend: ZarrBackend, root: Path, layout: str, damage: str
) -> None:
    """Each chunk of a saved array that is missing is damage: it is no fill value."""
    backend.save(VALUE, "a.zarr/a", **LAYOUTS[layout])
    reads: list[Callable[[], Any]] = [
        lambda: backend.load("a.zarr/a"),
        lambda: backend.open("a.zarr/a")[...],
        lambda: backend.load("a.zarr/a", region=(slice(1, None, 3), slice(2, None, 5))),
    ]
    for chunk in chunk_files(root / "a.zarr/a"):
        data = chunk.read_bytes()
        chunk.unlink()
        if damage == "empty":
            chunk.touch()
        elif damage == "folder":
            chunk.mkdir()
        for read in reads:
            with pytest.raises(DamagedDataError):
                read()
        if damage == "folder":
            chunk.rmdir()
        chunk.write_bytes(data)
    np.testing.assert_array_equal(backend.load("a.zarr/a"), VALUE)


@layouts
def test_chunk_cut_anywhere(backend: ZarrBackend, root: Path, layout: str) -> None:
    """A chunk or shard that ends early, or goes on, is damage."""
    backend.save(VALUE, "a.zarr/a", **LAYOUTS[layout])
    chunk = chunk_files(root / "a.zarr/a")[0]
    data = chunk.read_bytes()
    for length in sorted({*range(0, len(data), max(len(data) // 60, 1)), len(data) - 1}):
        chunk.write_bytes(data[:length])
        with pytest.raises(DamagedDataError):
            backend.load("a.zarr/a")
    chunk.write_bytes(data)
    np.testing.assert_array_equal(backend.load("a.zarr/a"), VALUE)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "older"])
def test_bits_flip_anywhere(backend: ZarrBackend, root: Path, layout: str) -> None:
    """A bit that flips in a chunk or shard is found by its checksum."""
    backend.save(VALUE, "a.zarr/a", **LAYOUTS[layout])
    chunk = chunk_files(root / "a.zarr/a")[0]
    data = chunk.read_bytes()
    for position in sorted({*range(0, len(data), max(len(data) // 150, 1)), len(data) - 1}):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        chunk.write_bytes(flipped)
        found = outcome(lambda: backend.load("a.zarr/a"))
        if isinstance(found, np.ndarray):  # what lies between the parts of a shard is unused
            np.testing.assert_array_equal(found, VALUE)
            assert "shards" in layout
        else:
            assert isinstance(found, DamagedDataError)


@settings(
    max_examples=examples(60),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    layout=st.sampled_from([*LAYOUTS]),
    garbage=st.binary(max_size=400) | st.sampled_from([b"\xff" * 4096, b"\0" * 4096]),
)
def test_garbage_is_no_chunk(
    backend: ZarrBackend, root: Path, layout: str, garbage: bytes
) -> None:
    """Whatever stands in place of a chunk, it is told, without a large allocation."""
    path = f"{layout}.zarr"
    if not (root / path).exists():
        backend.save(VALUE, path, **LAYOUTS[layout])
    chunk_files(root / path)[0].write_bytes(garbage)
    with pytest.raises(DamagedDataError):
        backend.load(path)


def test_holes_are_fill_values(backend: ZarrBackend, root: Path) -> None:
    """Chunks that nobody wrote are the fill value, of arrays made in parts and of others'."""
    backend.create("a.zarr/made", shape=SHAPE, dtype="u2", chunks=16, fill_value=7)
    theirs = zarr.create_array(
        str(root / "a.zarr/theirs"), shape=SHAPE, dtype="u2", chunks=(16, 16), fill_value=7
    )
    theirs[16:32, 16:32] = 3
    expected = np.full(SHAPE, 7, np.uint16)
    np.testing.assert_array_equal(backend.load("a.zarr/made"), expected)
    expected[16:32, 16:32] = 3
    np.testing.assert_array_equal(backend.load("a.zarr/theirs"), expected)


def test_damaged_level_is_told(backend: ZarrBackend, root: Path) -> None:
    """Damage in one level of a pyramid, or field of a plate, is its own only."""
    backend.save(VALUE, "p.ome.zarr/A/01/0", levels=2)
    backend.save(VALUE, "p.ome.zarr/A/01/1", levels=2)
    chunk_files(root / "p.ome.zarr/A/01/0/1")[0].unlink()
    np.testing.assert_array_equal(backend.load("p.ome.zarr/A/01/0"), VALUE)
    np.testing.assert_array_equal(backend.load("p.ome.zarr/A/01/1"), VALUE)
    with pytest.raises(DamagedDataError):
        backend.load("p.ome.zarr/A/01/0", level=1)
    shutil.rmtree(root / "p.ome.zarr/A/01/0/1")
    with pytest.raises(DamagedDataError, match="level '1' of the pyramid is missing"):
        backend.load("p.ome.zarr/A/01/0", level=-1)
    assert backend.info("p.ome.zarr/A/01/0").metadata["levels"] == [SHAPE, None]
    assert backend.list_dir("p.ome.zarr/A/01") == ["0", "1"]
    backend.save(VALUE, "p.ome.zarr/A/01/0", levels=2)
    assert backend.load("p.ome.zarr/A/01/0", level=1).shape == (20, 18)


# ── documents ────────────────────────────────────────────────────────────────────────────

DOCUMENTS: dict[str, bytes] = {
    "empty": b"",
    "zeros": bytes(4096),
    "half": b'{"zarr_format": 3, "node_type": "arr',
    "list": b"[]",
    "number": b"3",
    "null": b"null",
    "text": b'"zarr"',
    "nothing": b"{}",
    "no array": b'{"zarr_format": 3, "node_type": "array"}',
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
    """A document that cannot be is damage, for whoever reads, and is listed."""
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
    """So it is with the three documents of Zarr 2."""
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
    ("shape",), ("shape", 0), ("data_type",), ("fill_value",), ("chunk_grid",),
    ("chunk_grid", "name"),
    ("chunk_grid", "configuration"), ("chunk_grid", "configuration", "chunk_shape"),
    ("chunk_grid", "configuration", "chunk_shape", 0), ("chunk_key_encoding",),
    ("chunk_key_encoding", "name"), ("codecs",), ("codecs", 0),
    ("codecs", 0, "name"), ("codecs", 0, "configuration"), ("attributes",),
    ("attributes", "polystore"), ("attributes", "polystore", "dtype"), ("dimension_names",),
    ("storage_transformers",),
]  # fmt: skip
OLDER_FIELDS = [
    ("shape",), ("shape", 0), ("fill_value",), ("chunks",), ("chunks", 0), ("dtype",),
    ("compressor",),
    ("compressor", "id"), ("order",), ("filters",), ("dimension_separator",),
    ("zarr_format",),
]  # fmt: skip


def replaced(document: Any, field: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(document)
    inner = changed
    for key in field[:-1]:
        inner = inner[key]
    inner[field[-1]] = value
    return changed


def check_hostile(backend: ZarrBackend, path: str) -> None:
    """Loading gives an error of ours, or the values that the chunks hold."""
    for read in (
        lambda: backend.load(path, region=(slice(1), slice(1))),
        lambda: backend.load(path),
        lambda: backend.info(path),
    ):
        found = outcome(read)
        assert not isinstance(found, StorageError | UnsupportedDataError) or str(found)
        if (
            isinstance(found, np.ndarray)
            and found.shape == SHAPE
            and found.dtype == VALUE.dtype
        ):
            np.testing.assert_array_equal(found, VALUE)
    backend.list_dir("a.zarr")
    backend.exists(path)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Whoever allocates what a document promises fails."""
    if sys.platform == "win32":
        pytest.skip("system: needs limits for memory")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.parametrize("layout", ["chunks", "shards", "zstd"])
@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_field_is_hostile(
    backend: ZarrBackend, root: Path, little_memory: None, layout: str, field: Any
) -> None:
    """A wrong value in any field gives an error, and never a crash or another array."""
    backend.save(VALUE, "a.zarr/a", **LAYOUTS[layout])
    place = root / "a.zarr/a/zarr.json"
    whole = json.loads(place.read_bytes())
    for value in HOSTILE.values():
        place.write_text(json.dumps(replaced(whole, field, value)))
        check_hostile(backend, "a.zarr/a")


@pytest.mark.parametrize("field", OLDER_FIELDS, ids=str)
def test_older_field_is_hostile(
    backend: ZarrBackend, root: Path, little_memory: None, field: Any
) -> None:
    """So it is with the fields of Zarr 2."""
    backend.save(VALUE, "a.zarr/a", **LAYOUTS["older"])
    place = root / "a.zarr/a/.zarray"
    whole = json.loads(place.read_bytes())
    for value in HOSTILE.values():
        place.write_text(json.dumps(replaced(whole, field, value)))
        check_hostile(backend, "a.zarr/a")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5) | st.sampled_from(["regular", "bytes", "blosc", "zstd", "default"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(
    max_examples=examples(120),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    layout=st.sampled_from([name for name in LAYOUTS if name != "older"]),
    changes=st.lists(st.tuples(st.sampled_from(FIELDS), json_values), min_size=1, max_size=2),
)
def test_fields_are_anything(
    backend: ZarrBackend, root: Path, little_memory: None, layout: str, changes: Any
) -> None:
    """Documents that differ anyhow from a valid one give an error or the array."""
    place = root / "a.zarr" / layout / "zarr.json"
    if not place.exists():
        backend.save(VALUE, f"a.zarr/{layout}", **LAYOUTS[layout])
        place.rename(place.with_name("whole"))
    document = json.loads(place.with_name("whole").read_bytes())
    for field, value in changes:
        try:
            document = replaced(document, field, value)
        except (LookupError, TypeError):  # the first change has removed it
            continue
    place.write_text(json.dumps(document))
    check_hostile(backend, f"a.zarr/{layout}")


def test_unknown_codec_is_named(backend: ZarrBackend, root: Path) -> None:
    """What is merely not installed here is no damage, and the error names it."""
    backend.save(VALUE, "a.zarr/a", chunks=16, shards=False)
    place = root / "a.zarr/a/zarr.json"
    document = json.loads(place.read_bytes())
    document["codecs"].append({"name": "quantum", "configuration": {}})
    place.write_text(json.dumps(document))
    with pytest.raises(UnsupportedDataError, match="quantum"):
        backend.load("a.zarr/a")


# ── OME documents ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path",
    ["..", "../../../secret", "/etc", "", ".", "0/../../x", "\0", "a\\b", 3, None, ["0"]],
)
def test_levels_stay_inside(backend: ZarrBackend, root: Path, path: Any) -> None:
    """Nothing outside the image is read for a level that lies elsewhere."""
    backend.save(VALUE, "i.ome.zarr", levels=1)
    place = root / "i.ome.zarr/zarr.json"
    document = json.loads(place.read_bytes())
    document["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = path
    place.write_text(json.dumps(document))
    expected = UnsupportedFileError if isinstance(path, str) else DamagedDataError
    for read in (backend.load, backend.info, backend.open):
        with pytest.raises(expected):
            read("i.ome.zarr")


@pytest.mark.parametrize("target", ["missing", "group", "itself"])
def test_levels_are_arrays(backend: ZarrBackend, root: Path, target: str) -> None:
    """A level that is missing is damage. A group, or the image again, is not an array."""
    backend.save(VALUE, "i.ome.zarr", levels=2)
    shutil.rmtree(root / "i.ome.zarr/1")
    if target == "group":
        (root / "i.ome.zarr/1").mkdir()
        (root / "i.ome.zarr/1/zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    elif target == "itself":
        (root / "i.ome.zarr/1").symlink_to(".")
    with pytest.raises(DamagedDataError if target == "missing" else UnsupportedFileError):
        backend.load("i.ome.zarr", level=1)
    np.testing.assert_array_equal(backend.load("i.ome.zarr"), VALUE)


@pytest.mark.parametrize("value", ["x", 3, [], [3], {}, [{}], None, [{"datasets": 3}]], ids=str)
def test_multiscales_are_garbage(backend: ZarrBackend, root: Path, value: Any) -> None:
    """A description that cannot be is damage, and the image is listed all the same."""
    backend.save(VALUE, "i.ome.zarr", levels=1)
    place = root / "i.ome.zarr/zarr.json"
    document = json.loads(place.read_bytes())
    document["attributes"]["ome"]["multiscales"] = value
    place.write_text(json.dumps(document))
    with pytest.raises(DamagedDataError):
        backend.load("i.ome.zarr")
    assert backend.list_dir(".") == ["i.ome.zarr"]


@pytest.mark.parametrize("which", ["plate.ome.zarr", "plate.ome.zarr/B", "plate.ome.zarr/B/03"])
@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b'{"zarr_format": 3}'], ids=repr)
def test_group_garbage_stays(
    backend: ZarrBackend, root: Path, which: str, garbage: bytes
) -> None:
    """A group that cannot be read is neither replaced nor written into."""
    backend.save(VALUE, "plate.ome.zarr/B/03/0", levels=1)
    (root / which / "zarr.json").write_bytes(garbage)
    before = everything(root)
    with pytest.raises(DamagedDataError) as caught:
        backend.save(VALUE + 1, "plate.ome.zarr/B/03/1", levels=1)
    assert "plate.ome.zarr" in str(caught.value)
    with pytest.raises(DamagedDataError):
        backend.save(VALUE + 1, "plate.ome.zarr/B/03/0", levels=1)
    assert everything(root) == before
    np.testing.assert_array_equal(backend.load("plate.ome.zarr/B/03/0"), VALUE)


@pytest.mark.parametrize("key", ["plate", "well"])
@pytest.mark.parametrize("value", ["x", 3, [], {}, {"wells": 3}, {"images": [3]}], ids=str)
def test_plate_garbage_stays(backend: ZarrBackend, root: Path, key: str, value: Any) -> None:
    """Documents of plates and wells that make no sense are refused and left as they are."""
    backend.save(VALUE, "plate.ome.zarr/B/03/0", levels=1)
    place = root / ("plate.ome.zarr" if key == "plate" else "plate.ome.zarr/B/03") / "zarr.json"
    document = json.loads(place.read_bytes())
    document["attributes"]["ome"][key] = value
    place.write_text(json.dumps(document))
    before = place.read_bytes()
    well = "C/01" if key == "plate" else "B/03"
    with pytest.raises(DamagedDataError):
        backend.save(VALUE + 1, f"plate.ome.zarr/{well}/1", levels=1)
    assert place.read_bytes() == before
    np.testing.assert_array_equal(backend.load("plate.ome.zarr/B/03/0"), VALUE)


# ── what stands there is something else ──────────────────────────────────────────────────


def test_store_is_file(backend: ZarrBackend, root: Path) -> None:
    """A file where a store should be is named by the error, and stays."""
    (root / "a.zarr").write_text("precious")
    (root / "b.ome.zarr").write_text("precious")
    for path in ("a.zarr", "a.zarr/a", "a.zarr/a/b", "b.ome.zarr", "b.ome.zarr/A/01/0"):
        for use in (
            lambda path: backend.save(VALUE, path),
            lambda path: backend.create(path, shape=(3,), dtype="u1", if_exists="replace"),
            backend.load,
            backend.open,
            backend.info,
            backend.ensure_directory,
        ):
            with pytest.raises(NotADirectoryInPathError, match="is a file"):
                use(path)
        assert not backend.exists(path)
    assert everything(root) == {"a.zarr": b"precious", "b.ome.zarr": b"precious"}


def test_formats_do_not_mix(backend: ZarrBackend, root: Path) -> None:
    """Zarr 3 does not go into a group of Zarr 2, nor the other way round."""
    backend.save(VALUE, "two.zarr/g/a", zarr_format=2)
    backend.save(VALUE, "three.zarr/g/a")
    before = everything(root)
    for path, options in (
        ("two.zarr/g/b", {"zarr_format": 3}),
        ("three.zarr/g/b", {"zarr_format": 2}),
    ):
        with pytest.raises(InvalidOptionError, match="is a group of Zarr"):
            backend.save(VALUE, path, **options)
    assert everything(root) == before


def test_path_through_array(backend: ZarrBackend, root: Path) -> None:
    """Nothing stands in an array or an image but its own."""
    backend.save(VALUE, "a.zarr/a", chunks=16)
    backend.save(VALUE, "i.ome.zarr", levels=1)
    before = everything(root)
    for path in ("a.zarr/a/b", "a.zarr/a/c/0", "a.zarr/a/c", "i.ome.zarr/0/x"):
        with pytest.raises((NotADirectoryInPathError, NotAFileError, InvalidOptionError)):
            backend.save(VALUE, path)
        with pytest.raises((NotADirectoryInPathError, NotAFileError, NotFoundError)):
            backend.load(path)
    assert everything(root) == before


@needs_posix
def test_links_within_store(backend: ZarrBackend, root: Path) -> None:
    """Links are followed: saving replaces what the link leads to, and the link stays."""
    backend.save(VALUE, "a.zarr/a", chunks=16)
    (root / "a.zarr/link").symlink_to("a")
    (root / "a.zarr/circle").symlink_to("circle")
    (root / "a.zarr/nowhere").symlink_to("nothing")
    (root / "a.zarr/up").symlink_to(".")
    np.testing.assert_array_equal(backend.load("a.zarr/link"), VALUE)
    backend.save(VALUE + 1, "a.zarr/link")
    np.testing.assert_array_equal(backend.load("a.zarr/link"), VALUE + 1)
    np.testing.assert_array_equal(backend.load("a.zarr/a"), VALUE + 1)
    assert (root / "a.zarr/link").is_symlink()
    with pytest.raises(StorageError):
        backend.load("a.zarr/circle")
    with pytest.raises(NotFoundError):
        backend.load("a.zarr/nowhere")
    assert {"a.zarr/a", "a.zarr/link"} <= set(backend.list_files("a.zarr", recursive=True))
    with pytest.raises(StorageError) as caught:
        backend.copy("a.zarr", "b.zarr")
    assert caught.value.errno == errno.ELOOP
    assert not (root / "b.zarr").exists()


@needs_posix
def test_links_out_of_root(backend: ZarrBackend, root: Path) -> None:
    """With a root, no link of a store leads out of it."""
    outside = make_backend(root.parent)
    outside.save(VALUE, "secret.zarr/a", chunks=16)
    secret = everything(root.parent / "secret.zarr")
    backend.save(VALUE + 1, "a.zarr/a", chunks=16)
    (root / "out.zarr").symlink_to(root.parent / "secret.zarr")
    (root / "a.zarr/out").symlink_to(root.parent / "secret.zarr/a")
    (root / "a.zarr/group").symlink_to(root.parent / "secret.zarr")
    for path in (
        "out.zarr/a",
        "a.zarr/out",
        "a.zarr/group/a",
        "out.zarr/new",
        "../secret.zarr/a",
    ):
        for use in (
            backend.load,
            backend.info,
            backend.open,
            backend.delete,
            lambda path: backend.save(VALUE, path),
            lambda path: backend.copy(path, "c.zarr/a"),
            lambda path: backend.move(path, "c.zarr/a"),
            lambda path: backend.copy("a.zarr/a", path),
        ):
            with pytest.raises(PathOutsideRootError):
                use(path)
    assert everything(root.parent / "secret.zarr") == secret


# ── names ────────────────────────────────────────────────────────────────────────────────

NAMES = {
    "unicode": "Überlauf 日本 🔬",
    "decomposed": "U\u0308",
    "space": " a b ",
    "newline": "a\nb",
    "backslash": "a\\b",
    "quotes": "'\"`$(x)",
    "dots": "...",
    "long": "ä" * 127 + "x",
    "dash": "-rf",
    "percent": "%2e%2e",
}


@needs_posix
@pytest.mark.parametrize("name", NAMES)
def test_names_survive_everything(backend: ZarrBackend, root: Path, name: str) -> None:
    """Whatever a file may be called, an array, a store or a file's array may be as well."""
    name = NAMES[name]
    store = f"{name[:100]}.zarr"
    for path in (f"a.zarr/{name}", f"{store}/{name}/a", f"folder/{name}"):
        backend.save(VALUE, path, chunks=16)
        np.testing.assert_array_equal(backend.load(path), VALUE)
        backend.save(VALUE + 1, path, chunks=16)
        np.testing.assert_array_equal(backend.load(path), VALUE + 1)
        backend.save(VALUE[:3, :3], path, region=(slice(3), slice(3)), unaligned="lock")
        np.testing.assert_array_equal(backend.load(path)[:3, :3], VALUE[:3, :3])
        assert backend.info(path).path == path
    assert backend.list_dir("a.zarr") == backend.list_dir("folder") == [name]
    assert store in backend.list_dir(".")
    backend.delete(f"a.zarr/{name}")
    assert backend.list_dir("a.zarr") == []


def test_impossible_names_refused(backend: ZarrBackend, root: Path) -> None:
    """A name that cannot be is refused, and nothing is written."""
    free = ZarrBackend()
    for path in ("a.zarr/../b", "a.zarr/x/../../b", "a.zarr/a\0b", "a.zarr/.."):
        with pytest.raises(InvalidOptionError):
            free.save(VALUE, f"{root}/{path}")
    for path in ("../b", "a.zarr/../../b", "/b", "a.zarr/a\0b", ""):
        with pytest.raises((InvalidOptionError, PathOutsideRootError)):
            backend.save(VALUE, path)
    for path in (f"a.zarr/{'x' * 256}", f"{'y' * 252}.zarr/a", f"f/{'z' * 256}"):
        with pytest.raises(StorageError) as caught:
            backend.save(VALUE, path)
        assert caught.value.errno == errno.ENAMETOOLONG
    reserved = ("a.zarr/zarr.json", "a.zarr/.zgroup/b", "f/.zattrs")
    for path in reserved:
        with pytest.raises(InvalidOptionError, match="a name that Zarr reserves"):
            backend.save(VALUE, path)
        if path.startswith("a.zarr"):
            with pytest.raises(InvalidOptionError, match="a name that Zarr reserves"):
                backend.ensure_directory(path)
        assert not backend.exists(path)
    with pytest.raises(InvalidOptionError):
        backend.save(VALUE, "a.zarr/.~ps-a")
    files = [p for p in root.rglob("*") if p.is_file() and p.suffix != ".lock"]
    assert {path.name for path in files} <= {"zarr.json"}


# ── no permission ────────────────────────────────────────────────────────────────────────


def do_as_nobody(folder: str) -> dict[str, list[Any]]:
    os.chdir(folder)
    backend = ZarrBackend()
    backend.save(VALUE, "warm.zarr/a")
    backend.load("warm.zarr/a")
    backend.delete("warm.zarr", recursive=True)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    attempts: dict[str, Callable[[], Any]] = {
        "load array": lambda: backend.load("a.zarr/closed"),
        "load chunk": lambda: backend.load("a.zarr/no_chunk"),
        "load chunks": lambda: backend.load("a.zarr/no_chunks"),
        "load zstd": lambda: backend.load("a.zarr/no_chunks_zstd"),
        "load store": lambda: backend.load("closed.zarr/a"),
        "info": lambda: backend.info("a.zarr/closed"),
        "exists": lambda: backend.exists("closed.zarr/a"),
        "list": lambda: backend.list_dir("closed.zarr"),
        "save over": lambda: backend.save(VALUE, "a.zarr/a"),
        "save new": lambda: backend.save(VALUE, "a.zarr/new"),
        "save store": lambda: backend.save(VALUE, "new.zarr/a"),
        "save field": lambda: backend.save(VALUE, "plate.ome.zarr/B/04/0"),
        "create": lambda: backend.create("new.zarr/a", shape=(3,), dtype="u1"),
        "region": lambda: backend.save(VALUE, "a.zarr/a", region=(slice(40), slice(36))),
        "delete": lambda: backend.delete("a.zarr/a"),
        "move": lambda: backend.move("a.zarr/a", "a.zarr/b"),
        "copy": lambda: backend.copy("a.zarr/a", "a.zarr/b"),
        "make": lambda: backend.ensure_directory("a.zarr/g"),
    }
    found: dict[str, list[Any]] = {}
    for name, attempt in attempts.items():
        try:
            attempt()
            found[name] = ["done", 0, ""]
        except PolystoreError as error:
            found[name] = [type(error).__name__, getattr(error, "errno", 0), str(error)]
    found["readable"] = [bool((backend.load("a.zarr/a") == VALUE).all()), 0, ""]
    return found


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder of ours that everybody may read; those of pytest are closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@needs_root
def test_denied_is_told(public: Path) -> None:
    """What another user may not is refused with the reason, and changes nothing."""
    root, backend = public, make_backend(public)
    for name in ("a", "closed", "no_chunk", "no_chunks"):
        backend.save(VALUE, f"a.zarr/{name}", chunks=16, shards=False)
    backend.save(VALUE, "a.zarr/no_chunks_zstd", **LAYOUTS["zstd"])
    backend.save(VALUE, "closed.zarr/a")
    backend.save(VALUE, "plate.ome.zarr/B/03/0", levels=1)
    (root / "closed.zarr").chmod(0o700)
    (root / "a.zarr/closed").chmod(0o700)
    (root / "a.zarr/no_chunk/c/0/0").chmod(0o600)
    (root / "a.zarr/no_chunks/c").chmod(0o700)
    (root / "a.zarr/no_chunks_zstd/c").chmod(0o700)
    before = everything(root)
    ran = subprocess.run(
        [sys.executable, __file__, str(root)], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found.pop("readable")[0] is True
    for name, (kind, number, text) in found.items():
        assert (name, kind, number) == (name, AccessDeniedError.__name__, errno.EACCES), text
        assert "check the owner and the permissions" in text
    assert everything(root) == before


if __name__ == "__main__":
    print(json.dumps(do_as_nobody(sys.argv[1])))
