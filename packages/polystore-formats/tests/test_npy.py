import io
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays

from polystore_core import Opener
from polystore_core.errors import DamagedDataError, UnsupportedDataError, UnsupportedFileError
from polystore_formats.npy import Npy
from polystore_testing import FormatTests
from polystore_testing.values import ARRAYS, assert_same


class TestNpy(FormatTests):
    format_ = Npy()
    values = [parameter.values[0] for parameter in ARRAYS]
    refused = [
        [1, 2],
        {"a": 1},
        "text",
        None,
        np.array([{}, 1], object),
        np.zeros(2, [("a", "O")]),
        np.zeros(2, "V0"),
        np.ma.masked_array([1, 2], [True, False]),
    ]


def save_with_numpy(array, version=None):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version, allow_pickle=True)
    return file.getvalue()


def load(content):
    return Npy().load(io.BytesIO(content))


def header(text, data=b"\0" * 64, version=b"\1\0"):
    encoded = text.encode("latin1")
    return b"\x93NUMPY" + version + struct.pack("<H", len(encoded)) + encoded + data


@given(arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(min_dims=0, min_side=0)))
def test_numpy_reads_and_writes_alike(array):
    if array.dtype.itemsize == 0:
        with pytest.raises(UnsupportedDataError):
            Npy().save(array, io.BytesIO())
        return
    file = io.BytesIO()
    Npy().save(array, file)
    assert_same(np.load(io.BytesIO(file.getvalue())), array)
    assert_same(load(save_with_numpy(array)), array)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_version_loads(version):
    array = np.arange(6.0).reshape(2, 3)
    assert_same(load(save_with_numpy(array, version)), array)


def test_too_many_fields_are_refused():
    array = np.zeros(2, [(f"a_long_name_for_a_field_{i}", "<f8") for i in range(3000)])
    with pytest.raises(UnsupportedDataError, match="too many fields"):
        Npy().save(array, io.BytesIO())


def test_fortran_order_stays():
    array = np.asfortranarray(np.arange(6).reshape(2, 3))
    file = io.BytesIO()
    Npy().save(array, file)
    assert load(file.getvalue()).flags.f_contiguous


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\1\0\xff\xff" + b" " * 70_000,
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (9,), }\n"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (7,), }\n"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (-8,), }\n"),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (True,), }\n", b"\0" * 8),
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (10**30,), }\n"),
        header("{'descr': '<f8', 'fortran_order': 0, 'shape': (8,), }\n"),
        header("{'descr': '<f8', 'fortran_order': False}\n"),
        header("__import__('os').system('true')\n"),
        header("(" * 5000 + ")" * 5000),
        header("[]\n"),
    ],
    ids=range(13),
)
def test_impossible_headers_are_damage(content):
    with pytest.raises(DamagedDataError):
        load(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda: save_with_numpy(np.array([{}], object)), "holds a pickle"),
        (lambda: pickle.dumps({"masks": 1}), "a pickle"),  # saved with the suffix .npy
        (lambda: save_with_numpy(np.arange(3)) * 2, "several arrays"),  # two calls of np.save
        (lambda: header("{'descr': '<f1', 'fortran_order': False, 'shape': (8,), }\n"), "<f1"),
        (
            lambda: header("{'descr': '|V0', 'fortran_order': False, 'shape': (8,), }\n"),
            "have 0 bytes",
        ),
        (lambda: b"\x93NUMPY\4\0" + save_with_numpy(np.arange(3))[8:], "version is 4.0"),
        (lambda: b"PK\3\4" + bytes(100), "a zip archive"),
        (lambda: b"\x89HDF\r\n\x1a\n" + bytes(100), "an HDF5 file"),
        (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    ],
)
def test_unsupported_files_are_not_damage(content, reason):
    with pytest.raises(UnsupportedFileError, match=reason):
        load(content())


def test_shapes_of_python_2_load():
    content = header(
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2L, 4L), }\n", bytes(8)
    )
    assert load(content).shape == (2, 4)


def test_trailing_bytes_are_damage():
    with pytest.raises(DamagedDataError):
        load(save_with_numpy(np.arange(3)) + b"\0")


class Remote(io.BufferedReader):
    """A file without a descriptor that counts the bytes that are read."""

    def __init__(self, content):
        super().__init__(Counted(io.BytesIO(content)), 64)


class Counted(io.RawIOBase):
    def __init__(self, file):
        self.file, self.count = file, 0
        self.seek, self.tell = file.seek, file.tell

    def readable(self):
        return True

    def seekable(self):
        return True

    def readinto(self, buffer):
        count = self.file.readinto(buffer)
        self.count += count
        return count


REMOTE = [
    np.arange(24.0).reshape(2, 3, 4),
    np.asfortranarray(np.arange(24, dtype=">u2").reshape(2, 3, 4)),
    np.array(7.5),
    np.zeros((0, 3), np.float32),
    np.array(["A01", "B12"]),
]
PARTS = [..., np.s_[..., 1:3], np.s_[-1:], np.s_[1:1], np.s_[::-1], np.s_[..., ::2]]


@pytest.mark.parametrize("array", REMOTE, ids=str)
@pytest.mark.parametrize("region", PARTS, ids=str)
def test_parts_without_descriptor(array, region):
    content = io.BytesIO()
    Npy().save(array, content)
    content = content.getvalue()
    try:
        expected = np.asarray(array[region])
    except IndexError:
        with pytest.raises(IndexError):
            Npy().load(Remote(content), region=region)
        return
    assert_same(Npy().load(Remote(content), region=region), expected)
    handle = Npy().open(Opener(lambda path: Remote(content), "a.npy", "remote"))
    assert_same(np.asarray(handle[region]), expected)


def test_part_reads_only_its_rows():
    content = io.BytesIO()
    Npy().save(np.arange(100_000).reshape(100, 1000), content)
    file = Remote(content.getvalue())
    part = Npy().load(file, region=np.s_[7:9, 5])
    assert part.tolist() == [7005, 8005]
    assert file.raw.count < 17_000, "two rows have 16,000 bytes"


def test_replaced_array_is_noticed():
    contents = []
    for array in (np.zeros(3), np.zeros(4)):
        content = io.BytesIO()
        Npy().save(array, content)
        contents.append(content.getvalue())
    handle = Npy().open(Opener(lambda path: Remote(contents[0]), "a.npy", "remote"))
    assert handle[1] == 0
    contents.reverse()
    with pytest.raises(UnsupportedFileError, match="open it again"):
        handle[1]
    handle.close()
    with pytest.raises(ValueError, match="closed"):
        handle[1]
