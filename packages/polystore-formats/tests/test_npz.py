from __future__ import annotations

import io
import os
import zipfile
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from polystore_core import formats
from polystore_core.errors import (
    DamagedDataError,
    InvalidOptionError,
    UnsupportedDataError,
    UnsupportedFileError,
)
from polystore_formats.limits import check_packing
from polystore_testing import FormatTests

if TYPE_CHECKING:
    from collections.abc import Callable

NPZ: Any = formats().of("x.npz")

CHANNELS = {
    "dapi": np.arange(600, dtype=np.uint16).reshape(20, 30),
    "labels/ü": np.asfortranarray(np.ones((3, 4), ">f4")),
    "none": np.zeros((0, 3), bool),
    "scale": np.array(0.325),
    "day": np.array(["2026-01-02", "NaT"], "datetime64[D]"),
    "rows": np.zeros(3, [("id", ">i4"), ("name", "U5")]),
}

dtypes = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?"),
    hnp.complex_number_dtypes(endianness="?"),
    hnp.unicode_string_dtypes(endianness="?", min_len=1, max_len=5),
    hnp.datetime64_dtypes(endianness="?"),
)
names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\\"), min_size=1, max_size=60
)


class TestConformance(FormatTests):
    format_ = NPZ
    values: ClassVar[list[Any]] = [CHANNELS, {}]
    refused: ClassVar[list[Any]] = [
        np.zeros(3),
        [np.zeros(3)],
        {"a": [1, 2]},
        {"a": None},
        {1: np.zeros(3)},
        {"fine": np.zeros(3), "objects": np.array([{}])},
        {"masked": np.ma.masked_equal([1, 2], 1)},
        {"void": np.zeros(3, "V0")},
    ]


@given(
    st.dictionaries(
        names.filter(lambda name: "/" not in name and not {name} & {".", ".."}),
        hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, min_side=0)),
        max_size=4,
    ),
    st.booleans(),
)
def test_arrays_come_back(arrays: dict[str, Any], compressed: bool) -> None:
    file = io.BytesIO()
    if any(f"{name}.npy" in arrays for name in arrays):
        return
    NPZ.save(arrays, file, compressed=compressed)
    found = NPZ.load(file)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("compressed", [False, True])
def test_numpy_reads_our_files(compressed: bool, encode: Callable[..., bytes]) -> None:
    with np.load(io.BytesIO(encode(NPZ, CHANNELS, compressed=compressed))) as found:
        assert list(found) == list(CHANNELS)
        for name, array in CHANNELS.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_files_of_numpy_load(save: Callable[..., None], read: Callable[..., Any]) -> None:
    file = io.BytesIO()
    save(file, np.arange(5), **CHANNELS)
    found = read(NPZ, file.getvalue())
    assert set(found) == {"arr_0", *CHANNELS}
    np.testing.assert_array_equal(found["dapi"], CHANNELS["dapi"])


def test_zeros_compress_and_load(read: Callable[..., Any]) -> None:
    """Zeros compress far more than 200 to 1, and are not an attack."""
    file = io.BytesIO()
    np.savez_compressed(file, mask=np.zeros(1 << 26, np.uint8))
    assert len(file.getvalue()) * 200 < 1 << 26
    assert not read(NPZ, file.getvalue())["mask"].any()


def test_large_members_load(read: Callable[..., Any], encode: Callable[..., bytes]) -> None:
    """A member has several pieces, and the last one is not full."""
    array = np.random.default_rng(0).integers(0, 1 << 16, (3_000_001,)).astype(np.uint16)
    for compressed in (False, True):
        found = read(NPZ, encode(NPZ, {"a": array}, compressed=compressed))["a"]
        np.testing.assert_array_equal(found, array)
        assert found.flags.writeable


def test_compression_makes_it_smaller(encode: Callable[..., bytes]) -> None:
    plain, packed = (len(encode(NPZ, CHANNELS, compressed=c)) for c in (False, True))
    assert packed < plain


def test_names_select_arrays(encode: Callable[..., bytes], read: Callable[..., Any]) -> None:
    data = encode(NPZ, CHANNELS)
    assert list(read(NPZ, data, arrays=["scale", "dapi"])) == ["dapi", "scale"]
    with pytest.raises(InvalidOptionError, match=r"names of arrays \(dapi, labels/ü"):
        read(NPZ, data, arrays=["dapi", "gfp"])


def test_info_reads_headers_only(encode: Callable[..., bytes]) -> None:
    data = bytearray(encode(NPZ, {"large": np.zeros(100_000)} | CHANNELS))
    data[400_000] = 1  # breaks the checksum of the first array
    described = NPZ.info(io.BytesIO(data))["metadata"]["arrays"]
    assert described["dapi"] == {"shape": (20, 30), "dtype": "<u2"}
    assert described["labels/ü"] == {"shape": (3, 4), "dtype": ">f4"}


@pytest.mark.parametrize(
    "name",
    ["", "/a", "a/", "a//b", "..", "../a", "a/../b", ".", "a\\b", "a\0", "\ud800", "ü" * 126],
)
def test_odd_names_are_refused(name: str, refusal: Callable[..., str]) -> None:
    assert "use a short relative path" in refusal(NPZ, {"a": np.zeros(3), name: np.zeros(3)})


def test_ambiguous_names_are_refused(refusal: Callable[..., str]) -> None:
    """NumPy would confuse the second name with the file of the first."""
    assert "is not a valid name of an array" in refusal(
        NPZ, {"a": np.zeros(3), "a.npy": np.ones(3)}
    )


def test_refusal_names_array(refusal: Callable[..., str]) -> None:
    assert "array 'objects'" in refusal(NPZ, {"a": np.zeros(3), "objects": np.array([{}])})
    assert "expected a dict of names and arrays" in refusal(NPZ, np.zeros(3))


def test_too_many_arrays_are_refused(refusal: Callable[..., str]) -> None:
    assert "at most 10000" in refusal(NPZ, {str(i): np.zeros(0) for i in range(10_001)})


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_data_is_found(
    compressed: bool, encode: Callable[..., bytes], survivors: Callable[..., list[Any]]
) -> None:
    """If a damaged file loads, its arrays are equal. CRC-32 covers arrays, but not dates."""
    data = encode(NPZ, CHANNELS, compressed=compressed)
    loaded = survivors(NPZ, data)
    for found in loaded:
        for name in set(found) & set(CHANNELS):
            np.testing.assert_array_equal(found[name], CHANNELS[name])
    assert len(loaded) < 60


def test_every_payload_bit_counts(
    encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    array = np.arange(200, dtype=np.uint8)
    data = encode(NPZ, {"a": array})
    start = data.index(array.tobytes())
    for position in range(start, start + 200):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(DamagedDataError, match="CRC"):
            read(NPZ, bytes(changed))


def _archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


def _npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


ONE = _npy(np.ones(3))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_archive(("a.npy", b"no npy file")), "array 'a'"),
        (_archive(("a.npy", ONE[:-1])), "array 'a'"),
        (_archive(("a.npy", ONE + b"more")), "array 'a'"),
        (_archive(("b.npy", ONE), ("a.npy", ONE))[153:], "not a zip archive"),
        (b"PK\3\4" + _archive(("a.npy", ONE)), "does not match"),
        (b"PK\3\4" + _archive(), "does not match"),
        (b"junk" + _archive(("a.npy", ONE)), "not a zip archive"),
        (b"", "zip"),
        (os.urandom(4096), "zip"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_strange_archives_are_damage(
    data: bytes, reason: str, read: Callable[..., Any]
) -> None:
    with pytest.raises(DamagedDataError, match=reason):
        read(NPZ, data)


PICKLED = _npy(np.array([{}]), allow_pickle=True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (_archive(("a.npy", PICKLED), ("b.npy", ONE)), r"array 'a': .*arrays=\[names\]"),
        (_archive(("a.npy", ONE), method=zipfile.ZIP_BZIP2), "packed with method 12"),
        (_archive(("a.npy", ONE), method=zipfile.ZIP_LZMA), "packed with method 14"),
        (_archive(("a.csv", b"x"), ("b.csv", b"x")), "its first member is 'a.csv'"),
        (_archive(*((f"{i}.npy", b"") for i in range(10_001))), "10001 members"),
        (ONE, "a NumPy array"),
        (b"\x1f\x8b" + bytes(100), "a gzip file"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_unsupported_archives_are_not_damage(
    data: bytes, reason: str, read: Callable[..., Any]
) -> None:
    with pytest.raises(UnsupportedFileError, match=reason):
        read(NPZ, data)


def test_other_members_are_ignored(read: Callable[..., Any]) -> None:
    names = ("a.npy", ".DS_Store", "__MACOSX/._a.npy", "readme.txt", "a/", "a/b.npy")
    data = _archive(*((name, ONE if name in ("a.npy", "a/b.npy") else b"x") for name in names))
    assert list(read(NPZ, data)) == ["a", "a/b"]


def test_names_of_numpy_load(read: Callable[..., Any]) -> None:
    names = ["a\\b", "a.npy", "", "a:b"]
    data = _archive(*((f"{name}.npy", ONE) for name in names))
    assert list(read(NPZ, data)) == names


@pytest.mark.parametrize("name", ["../a", "/etc/a", "a/../../b", "..\\a", "\\a"])
def test_names_that_lead_elsewhere_are_refused(name: str, read: Callable[..., Any]) -> None:
    """A program that unpacks by these names would write outside of the folder."""
    data = _archive((f"{name}.npy", ONE), ("b.npy", ONE))
    with pytest.raises(UnsupportedFileError, match="its name is an absolute path, or has"):
        read(NPZ, data)
    assert list(read(NPZ, data, arrays=["b"])) == ["b"]


def test_other_members_load_without_pickled_ones(read: Callable[..., Any]) -> None:
    data = _archive(("a.npy", PICKLED), ("b.npy", ONE))
    assert read(NPZ, data, arrays=["b"])["b"].tolist() == [1, 1, 1]
    described = NPZ.info(io.BytesIO(data))["metadata"]["arrays"]
    assert "pickle" in described["a"]["unsupported"]
    assert described["b"]["shape"] == (3,)


def test_equal_names_are_refused(read: Callable[..., Any]) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = _archive(("a.npy", ONE), ("a.npy", ONE))
    with pytest.raises(UnsupportedFileError, match="members have the same name"):
        read(NPZ, data)


def test_encrypted_members_are_refused(read: Callable[..., Any]) -> None:
    data = bytearray(_archive(("a.npy", ONE)))
    data[data.rindex(b"PK\1\2") + 8] |= 1
    with pytest.raises(UnsupportedFileError, match="encrypted"):
        read(NPZ, bytes(data))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_sizes_must_be_possible(method: int, read: Callable[..., Any]) -> None:
    """No memory is allocated for data that the member cannot hold."""
    header = ONE[:128].replace(b"(3,), }", b"(268435440,), }").replace(b" " * 9 + b"\n", b"\n")
    data = bytearray(_archive(("a.npy", header.ljust(152)), method=method))
    entry = data.rindex(b"PK\1\2")
    data[entry + 24 : entry + 28] = (128 + 268435440 * 8).to_bytes(4, "little")
    with pytest.raises(DamagedDataError, match="has an impossible name, size"):
        read(NPZ, bytes(data))


def test_tight_archives_are_refused() -> None:
    """Tightly packed members count together. A gigabyte of them needs ``max_bytes``."""
    tight, loose = (1 << 29, 1 << 20), (1 << 40, 1 << 35)
    check_packing([tight, tight, loose], "npz", None)
    with pytest.raises(UnsupportedDataError, match=r"pass max_bytes=\d+ to load it"):
        check_packing([tight, tight, tight], "npz", None)
    with pytest.raises(UnsupportedDataError, match=r"1610612736.*max_bytes=1101122240512"):
        check_packing([tight, tight, tight, loose], "npz", None)
    check_packing([tight, tight, tight], "npz", 3 << 29)
    with pytest.raises(UnsupportedDataError, match="more than max_bytes=1610612735"):
        check_packing([tight, tight, tight], "npz", (3 << 29) - 1)


def test_max_bytes_is_a_limit(encode: Callable[..., bytes], read: Callable[..., Any]) -> None:
    """``max_bytes`` limits the unpacked size of an archive, compressed or not."""
    array = np.zeros(1 << 22, np.uint8)
    for compressed in (True, False):
        data = encode(NPZ, {"a": array}, compressed=compressed)
        for options in ({}, {"max_bytes": 1 << 23}):
            np.testing.assert_array_equal(read(NPZ, data, **options)["a"], array)
        with pytest.raises(UnsupportedDataError, match="unpacks to 4194432 bytes, more than"):
            read(NPZ, data, max_bytes=1 << 20)
    for wrong in (-1, "1 GiB"):
        with pytest.raises(InvalidOptionError, match="a number of bytes"):
            read(NPZ, data, max_bytes=wrong)
