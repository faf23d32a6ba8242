"""Archives of other programs, damaged archives, and archives that change while they are open."""

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from polystore_core.errors import (
    AlreadyExistsError,
    DamagedDataError,
    NotFoundError,
    StorageError,
    UnsupportedFileError,
)
from polystore_zip.backend import ZipBackend

A = np.arange(5000, dtype="u2").reshape(50, 100)


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def flip(file, where):
    content = bytearray(Path(file).read_bytes())
    content[where] ^= 0xFF
    Path(file).write_bytes(content)


# ── archives of other programs ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_reads_archives_of_others(backend, file, method):
    large = np.arange(5_000_000, dtype="u4")
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("plate/a.npy", npy(A))
        archive.writestr("plate/empty/", "")
        archive.writestr("large.npy", npy(large))
    np.testing.assert_array_equal(backend.load("plate/a.npy"), A)
    np.testing.assert_array_equal(
        backend.load("plate/a.npy", region=np.s_[3:5, ::7]), A[3:5, ::7]
    )
    np.testing.assert_array_equal(backend.load("large.npy"), large)
    np.testing.assert_array_equal(backend.load("large.npy", region=np.s_[-3:]), large[-3:])
    handle = pickle.loads(pickle.dumps(backend.open("large.npy")))
    np.testing.assert_array_equal(handle[4_000_000:4_000_010], large[4_000_000:4_000_010])
    assert backend.list_dir("plate") == ["a.npy"]
    assert backend.info("large.npy").shape == (5_000_000,)


def test_streamed_archive(backend, file, check_others):
    """The sizes follow the content, and the header in front of it does not have them."""

    class Pipe(io.RawIOBase):
        def __init__(self):
            self.content = bytearray()

        def writable(self):
            return True

        def write(self, data):
            self.content += data
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:
        archive.writestr("a.npy", npy(A))
        archive.writestr("b.npy", npy(A + 1))
    Path(file).write_bytes(pipe.content)
    backend.save(A + 2, "c.npy")
    backend.save(A[:1], "d.npy")
    np.testing.assert_array_equal(backend.load("b.npy"), A + 1)
    check_others(["a.npy", "b.npy", "c.npy", "d.npy"])


@pytest.mark.parametrize(
    ("name", "host", "key"),
    [
        (b"plate/a.npy", 3, "plate/a.npy"),
        (b"./plate//a.npy", 3, "plate/a.npy"),
        (b"plate\\a.npy", 0, "plate/a.npy"),
        (b"plate\\a.npy", 3, "plate\\a.npy"),
        ("größe.npy".encode(), 3, "größe.npy"),
        ("größe.npy".encode("cp437"), 0, "größe.npy"),
        ("größe.npy".encode("cp437"), 3, "größe.npy"),
        (b"../../etc/a.npy", 3, None),
        (b"x/../a.npy", 3, None),
        (b"..\\a.npy", 0, None),
        (b"/etc/a.npy", 3, None),
        (b"C:\\a.npy", 0, None),
        (b"__MACOSX/plate/._a.npy", 3, None),
        (b"plate/._a.npy", 3, None),
        (b".DS_Store", 3, None),
        (b".~ps-a.npy", 3, None),
        (b"a\0.npy", 3, None),
        (b"plate/", 3, None),
    ],
)
def test_names_of_others(backend, file, name, host, key):
    with zipfile.ZipFile(file, "w") as archive:
        info = zipfile.ZipInfo("x" * len(name))
        info.create_system = host
        archive.writestr(info, npy(A))
        archive.writestr("other.npy", npy(A))
    content = Path(file).read_bytes().replace(b"x" * len(name), name)
    Path(file).write_bytes(content)
    expected = {"other.npy"} if key is None else {"other.npy", key}
    assert set(backend.list_files(".", recursive=True)) == expected
    for found in expected:
        np.testing.assert_array_equal(backend.load(found), A)
    backend.save(A, "new.npy")
    assert (
        content[: content.index(b"PK\1\2")]
        == Path(file).read_bytes()[: content.index(b"PK\1\2")]
    )


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(backend, file, method):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", npy(A), method)
        archive.writestr("b.npy", npy(A))
    with pytest.raises(UnsupportedFileError, match="packed with method"):
        backend.load("a.npy")
    np.testing.assert_array_equal(backend.load("b.npy"), A)


def test_encrypted_member(backend, file):
    backend.save(A, "a.npy")
    backend.save(A, "b.npy")
    content = bytearray(Path(file).read_bytes())
    entry = zipfile.ZipFile(file).start_dir
    content[entry + 8] |= 1
    Path(file).write_bytes(content)
    with pytest.raises(UnsupportedFileError, match=r"'a\.npy' .*encrypted"):
        backend.load("a.npy")
    np.testing.assert_array_equal(backend.load("b.npy"), A)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_with_one_name(backend, file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", npy(A))
        archive.writestr("a.npy", npy(A + 1))
        archive.writestr("b.npy", npy(A + 2))
    for read in (backend.load, backend.info, backend.open):
        with pytest.raises(DamagedDataError, match=r"'a\.npy' .*two members have this name"):
            read("a.npy")
    assert backend.list_dir(".") == ["a.npy", "b.npy"]
    np.testing.assert_array_equal(backend.load("b.npy"), A + 2)
    backend.save(A, "c.npy")
    with pytest.raises(AlreadyExistsError):
        backend.save(A, "a.npy", if_exists="error")


def test_zip64_end_is_accepted_without_need(backend, file, check_others):
    """Apache Commons Compress writes this with ``Zip64Mode.Always``."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", npy(A))
    content = Path(file).read_bytes()
    at = content.rindex(b"PK\5\6")
    size, offset = struct.unpack_from("<2I", content, at + 12)
    long_end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, offset)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at, 1)
    Path(file).write_bytes(content[:at] + long_end + locator + content[at:])
    np.testing.assert_array_equal(backend.load("a.npy"), A)
    backend.save(A + 1, "b.npy")
    check_others(["a.npy", "b.npy"])


def test_comment_is_kept(backend, file, check_others):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", npy(A))
        archive.comment = b"from the microscope"
    backend.save(A, "b.npy")
    assert zipfile.ZipFile(file).comment == b"from the microscope"
    check_others(["a.npy", "b.npy"])


def test_other_programs_append_to_archive(backend, file, check_others):
    backend.save(A, "a.npy")
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.npy", npy(A + 1))
    np.testing.assert_array_equal(backend.load("b.npy"), A + 1)
    backend.save(A + 2, "c.npy")
    assert backend.list_dir(".") == ["a.npy", "b.npy", "c.npy"]
    check_others(["a.npy", "b.npy", "c.npy"])


# ── damage ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [5_000, 5_000_000])
def test_changed_byte_is_noticed(backend, file, method, size):
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("a.npy", npy(np.arange(size)))
        archive.writestr("b.npy", npy(A))
        middle = archive.getinfo("a.npy").compress_size // 2
    flip(file, middle)
    with pytest.raises(DamagedDataError, match=r"'a\.npy'") as caught:
        backend.load("a.npy")
    assert caught.value.path == "a.npy"
    with pytest.raises(DamagedDataError, match=r"'a\.npy'"):
        # The copy would otherwise get a valid checksum of its own.
        backend.copy("a.npy", "copy.npy")
    assert backend.list_dir(".") == ["a.npy", "b.npy"]
    np.testing.assert_array_equal(backend.load("b.npy"), A)


def test_missing_header_is_reported(backend, file):
    backend.save(A, "a.npy")
    backend.save(A, "b.npy")
    flip(file, 2)
    for read in (backend.load, backend.info):
        with pytest.raises(DamagedDataError, match="not at byte 0"):
            read("a.npy")
    np.testing.assert_array_equal(backend.load("b.npy"), A)


def test_missing_or_foreign_file(backend, file):
    with pytest.raises(NotFoundError, match=r"the archive '.*scan\.zip' does not exist"):
        backend.load("a.npy")
    assert backend.list_dir(".") == []
    assert not backend.exists("a.npy")
    Path(file).write_bytes(b"hello, world" * 10_000)
    for call in (backend.load, backend.exists, backend.list_dir):
        with pytest.raises(
            DamagedDataError, match=r"not a zip archive \(it starts with b'hello"
        ):
            call("a.npy")
    with pytest.raises(DamagedDataError, match=r"scan\.zip"):
        backend.save(A, "a.npy")
    assert Path(file).read_bytes() == b"hello, world" * 10_000


def test_empty_file_is_an_empty_archive(backend, file, check_others):
    Path(file).touch()
    assert backend.list_dir(".") == []
    backend.save(A, "a.npy")
    check_others(["a.npy"])


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
@pytest.mark.timeout(20)
def test_folder_or_pipe_as_archive_raises(backend, file, make):
    make(file)
    for call in (lambda: backend.load("a.npy"), lambda: backend.save(A, "a.npy")):
        with pytest.raises(StorageError):
            call()


@pytest.mark.parametrize("kept", [10, 2_000, 10_300])
def test_truncated_archive_raises(backend, file, kept):
    """A download that ended early leaves this.

    An inner archive does not count as the directory.
    """
    inner = io.BytesIO()
    np.savez(inner, a=A)
    backend.save_batch([A, {"a": A}, A], ["a.npy", "b.npz", "c.npy"])
    with open(file, "r+b") as archive:
        archive.truncate(kept)
    with pytest.raises(DamagedDataError, match="cut short"):
        backend.load("a.npy")
    with pytest.raises(DamagedDataError, match="cut short"):
        backend.save(A, "d.npy")
    assert os.path.getsize(file) == kept


def test_damaged_directory_loses_nothing(backend, file, check_others):
    """The backend uses an earlier directory.

    A save keeps the bytes that only the damaged directory lists.
    """
    backend.save(A, "a.npy")
    # This value is larger than the directory, so the old directory stays in front of it.
    backend.save(A + 1, "b.npy")
    before = Path(file).read_bytes()
    flip(file, before.rindex(b"PK\1\2"))
    damaged = Path(file).read_bytes()
    np.testing.assert_array_equal(backend.load("a.npy"), A)
    with pytest.raises(NotFoundError):
        backend.load("b.npy")
    backend.save(A + 2, "c.npy")
    backend.save(A[:1], "d.npy")
    assert Path(file).read_bytes()[: len(damaged)] == damaged
    check_others(["a.npy", "c.npy", "d.npy"])


def test_directory_with_wrong_numbers(backend, file):
    backend.save(A, "a.npy")
    backend.save(A[:1], "b.npy")
    content = bytearray(Path(file).read_bytes())
    entry = content.index(b"PK\1\2")
    struct.pack_into("<I", content, entry + 42, 0xFFFFFFF0)
    Path(file).write_bytes(content)
    with pytest.raises(DamagedDataError, match="not at byte 4,294,967,280"):
        backend.load("a.npy")
    np.testing.assert_array_equal(backend.load("b.npy"), A[:1])


# ── archives that change ─────────────────────────────────────────────────────────────────


def test_two_backends_add_to_one_archive(backend, file):
    other = ZipBackend(file=file)
    for n in range(20):
        (backend if n % 3 else other).save(A + n, f"{n}.npy")
        np.testing.assert_array_equal(backend.load(f"{n}.npy"), A + n)
        assert len(other.list_dir(".")) == n + 1
        with pytest.raises(AlreadyExistsError):
            backend.save(A, f"{n}.npy", if_exists="error")


def test_archive_is_replaced(backend, file, tmp_path, check_others):
    backend.save(A, "a.npy")
    handle = backend.open("a.npy")
    with zipfile.ZipFile(tmp_path / "new.zip", "w") as archive:
        archive.writestr("b.npy", npy(A + 1))
    os.replace(tmp_path / "new.zip", file)
    assert backend.list_dir(".") == ["b.npy"]
    np.testing.assert_array_equal(backend.load("b.npy"), A + 1)
    with pytest.raises(NotFoundError):
        backend.load("a.npy")
    del handle
    os.remove(file)
    assert backend.list_dir(".") == []
    backend.save(A, "c.npy")
    check_others(["c.npy"])


def test_archive_is_rewritten(backend, file):
    backend.save(A, "a.npy")
    backend.load("a.npy")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("bb.npy", npy(A + 1))
        archive.writestr("a.npy", npy(A + 2))
    np.testing.assert_array_equal(backend.load("a.npy"), A + 2)
    assert backend.list_dir(".") == ["a.npy", "bb.npy"]
