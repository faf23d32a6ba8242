"""Archives that are not Zarr, damaged or hostile raise a clear error, and stay unchanged."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import (
    DamagedDataError,
    DataError,
    NotFoundError,
    StorageError,
    UnsupportedFileError,
)

from .archives import DEFLATED, NAMES, STORED, VALUE, zip_array, zip_folder, zip_members

if TYPE_CHECKING:
    from polystore_testing import Bound

NOT_ZARR: dict[str, list[tuple[str, bytes]]] = {
    "text": [("note.txt", b"hello")],
    "nothing": [],
    "ROIs": [("1.roi", b"Iout")],
    "office": [("[Content_Types].xml", b"<xml/>"), ("word/document.xml", b"<xml/>")],
}


def use_all(store: Bound, name: str) -> list[Any]:
    return [
        lambda: store.load(name),
        lambda: store.open(name),
        lambda: store.info(name),
        lambda: store.load_batch([name]),
        lambda: store.copy(name, "copied.zarr"),
    ]


def check_all_raise(store: Bound, name: str, errors: Any, match: str) -> None:
    before = Path(name).read_bytes()
    calls = use_all(store, name)
    for call in (*calls[:3], calls[4]):
        with pytest.raises(errors, match=match) as caught:
            call()
        assert os.path.basename(caught.value.path) == name
        assert caught.value.backend == "store"
    with pytest.raises(Exception, match=match):
        calls[3]()
    assert store.exists(name)
    assert store.list_dir(".") == [name]
    assert Path(name).read_bytes() == before


@pytest.mark.parametrize("what", NOT_ZARR)
@pytest.mark.parametrize("name", ["x.zarr.zip", "x.ozx", "y.zarr"])
def test_zip_that_is_not_a_zarr(store: Bound, name: str, what: str) -> None:
    """The error names a member, so that you can recognize the archive."""
    zip_members(name, NOT_ZARR[what])
    member = NOT_ZARR[what][0][0] if NOT_ZARR[what] else ""
    match = f"Zarr.*{member[1:5]}" if member else "Zarr"
    check_all_raise(store, name, (DamagedDataError, UnsupportedFileError), match)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", bytes(5000)])
@pytest.mark.parametrize("name", ["x.zarr.zip", "x.ozx"])
def test_file_that_is_not_a_zip(store: Bound, name: str, content: bytes) -> None:
    Path(name).write_bytes(content)
    check_all_raise(store, name, DamagedDataError, "zip")


def test_other_file_called_zarr(store: Bound) -> None:
    """A file in the place of a store is refused, and it stays."""
    Path("y.zarr").write_text("precious")
    with pytest.raises(NotADirectoryError):
        store.load("y.zarr")
    with pytest.raises(NotADirectoryError):
        store.save(VALUE, "y.zarr")
    assert Path("y.zarr").read_text() == "precious"


def test_folder_called_zip(store: Bound) -> None:
    """A store that was unpacked under its old name is an ordinary store."""
    store.save(VALUE, "a.zarr")
    os.rename("a.zarr", "x.zarr.zip")
    np.testing.assert_array_equal(store.load("x.zarr.zip"), VALUE)


@pytest.mark.parametrize("compression", [STORED, DEFLATED])
def test_hierarchy_in_a_folder_of_the_zip(store: Bound, compression: int) -> None:
    """File browsers pack the folder itself. RFC-9 requires its content, and the error says so."""
    store.save(VALUE, "a.zarr")
    zip_folder("a.zarr", "x.zarr.zip", prefix="a.zarr/", compression=compression)
    with pytest.raises(DataError, match=r"a\.zarr.*unpack"):
        store.load("x.zarr.zip")


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.7, 0.95, 0.999])
def test_truncated_archive(store: Bound, keep: float) -> None:
    zip_array("x.zarr.zip")
    content = Path("x.zarr.zip").read_bytes()
    Path("x.zarr.zip").write_bytes(content[: int(len(content) * keep)])
    for call in use_all(store, "x.zarr.zip")[:3]:
        with pytest.raises(DamagedDataError) as caught:
            call()
        assert "x.zarr.zip" in caught.value.path
        assert caught.value.backend == "store"
    assert store.list_dir(".") == ["x.zarr.zip"]


def test_truncated_in_front(store: Bound) -> None:
    """The offsets are wrong, so reading fails. It never returns pixels of another position."""
    zip_array("x.zarr.zip")
    content = Path("x.zarr.zip").read_bytes()
    Path("x.zarr.zip").write_bytes(content[200:])
    with pytest.raises(DamagedDataError):
        store.load("x.zarr.zip")


@pytest.mark.parametrize("compression", [STORED, DEFLATED])
def test_each_flipped_byte(store: Bound, compression: int) -> None:
    """The result is the old value, or one of the documented errors."""
    store.save(VALUE, "a.zarr", chunks=16, shards=False)
    zip_folder("a.zarr", "good.zip", compression=compression)
    content = Path("good.zip").read_bytes()
    rng = np.random.default_rng(1)
    for position in rng.choice(len(content), 150, replace=False):
        broken = bytearray(content)
        broken[position] ^= 1 << int(rng.integers(8))
        Path("x.zarr.zip").write_bytes(broken)
        try:
            found = store.load("x.zarr.zip")
        except (DataError, StorageError):
            continue
        np.testing.assert_array_equal(found, VALUE)


def test_missing_chunk_is_not_fill_value(store: Bound) -> None:
    """Our arrays record that they are complete, so a missing member is damage."""
    store.save(VALUE, "a.zarr", chunks=16, shards=False)
    zip_folder("a.zarr", "x.zarr.zip")
    with zipfile.ZipFile("x.zarr.zip") as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    zip_members("x.zarr.zip", [member for member in members if member[0] != "c/1/1"])
    with pytest.raises(DamagedDataError):
        store.load("x.zarr.zip")


@pytest.mark.parametrize("what", ["encrypted", "lzma", "bzip2"])
def test_other_methods_are_named(store: Bound, what: str) -> None:
    methods = {"lzma": zipfile.ZIP_LZMA, "bzip2": zipfile.ZIP_BZIP2}
    zip_array("x.zarr.zip", compression=methods.get(what, STORED))
    if what == "encrypted":
        content = bytearray(Path("x.zarr.zip").read_bytes())
        for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            start = 0
            while (start := content.find(signature, start)) >= 0:
                content[start + offset] |= 1
                start += 4
        Path("x.zarr.zip").write_bytes(content)
    with pytest.raises((UnsupportedFileError, DamagedDataError), match=r"zip|encrypted|packed"):
        store.load("x.zarr.zip")


def test_member_that_is_zarr_4(store: Bound) -> None:
    zip_members("x.ozx", [("zarr.json", b'{"zarr_format": 4, "node_type": "array"}')])
    with pytest.raises(UnsupportedFileError, match="Zarr format 4"):
        store.load("x.ozx")


def test_archive_in_an_archive(store: Bound) -> None:
    """RFC-9 prohibits this. The inner archive is an ordinary member, and it is not opened."""
    zip_array("inner.ozx")
    group = ("zarr.json", b'{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    zip_members("x.ozx", [group, ("inner.ozx", Path("inner.ozx").read_bytes())])
    os.remove("inner.ozx")
    assert store.list_files("x.ozx", recursive=True) == []
    with pytest.raises((NotFoundError, NotADirectoryError, DataError)):
        store.load("x.ozx/inner.ozx")


# ── hostile archives ─────────────────────────────────────────────────────────────────────

LOADING = """
import resource, sys
import numpy as np
from polystore_zarr.backend import ZarrBackend
backend = ZarrBackend()
backend.list_dir(".")
limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + (256 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    backend.load(sys.argv[1])
except Exception as error:
    print(type(error).__name__)
"""


def _load_in_child(path: str) -> str:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", LOADING, path]
    done = subprocess.run(
        command, check=True, env=environment, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip()


@pytest.mark.faults
@pytest.mark.skipif(sys.platform != "linux", reason="system: needs limits for memory")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("member", ["zarr.json", "c/0/0"])
def test_bomb_is_refused_before_memory_is_taken(store: Bound, member: str) -> None:
    """2 GiB of zeros are deflated to 2 MiB, as a document and as a chunk."""
    zip_array("good.zarr.zip")
    with zipfile.ZipFile("good.zarr.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile("x.zarr.zip", "w", DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            if name != member:
                archive.writestr(name, content)
        with archive.open(member, "w", force_zip64=True) as file:
            for _ in range(2 << 4):
                file.write(bytes(64 << 20))
    assert _load_in_child("x.zarr.zip") in ("DamagedDataError", "UnsupportedFileError")


@pytest.mark.faults
@pytest.mark.skipif(sys.platform != "linux", reason="system: needs limits for memory")
def test_false_size_is_refused(store: Bound) -> None:
    """A member of 1 KiB claims that it has 8 TiB."""
    packed = zlib.compress(b" " * 1000)[2:-4]
    name, size = b"zarr.json", 1 << 43
    extra = struct.pack("<HHQQ", 1, 16, size, len(packed))
    local = struct.pack(
        "<4s5H3L2H", b"PK\x03\x04", 45, 0, 8, 0, 33, 0, 0xFFFFFFFF, 0xFFFFFFFF, len(name), 20
    )
    head = struct.pack(
        "<4s6H3L5H2L",
        *(b"PK\x01\x02", 45, 45, 0, 8, 0, 33, 0, 0xFFFFFFFF, 0xFFFFFFFF),
        *(len(name), len(extra), 0, 0, 0, 0, 0),
    )
    body = local + name + extra + packed
    directory = head + name + extra
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), len(body), 0)
    Path("x.zarr.zip").write_bytes(body + directory + end)
    assert _load_in_child("x.zarr.zip") in ("DamagedDataError", "UnsupportedFileError")


@pytest.mark.parametrize("name", NAMES)
def test_one_bad_archive_hides_no_others(store: Bound, name: str) -> None:
    store.save(VALUE, "good.zarr")
    zip_array("fine.zarr.zip")
    zip_array(name)
    content = Path(name).read_bytes()
    Path(name).write_bytes(content[:300] if name != "y.zarr" else content[:-30])
    listed = store.list_files(".", recursive=True)
    assert {"good.zarr", "fine.zarr.zip"} <= set(listed)
    assert set(listed) <= {"good.zarr", "fine.zarr.zip", name}
