"""Files of named arrays. The library of the format is the reference in both directions."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from polystore_core import FileManager, formats
from polystore_core.errors import (
    DamagedDataError,
    InvalidOptionError,
    UnsupportedDataError,
    UnsupportedFileError,
)
from polystore_testing import FormatTests

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Require = Callable[..., Any]
    Encode = Callable[..., bytes]
    Read = Callable[..., Any]

SAFE: Any = formats().of("x.safetensors")
EXTENDED = (
    "bfloat16",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
)
PLAIN = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    "float16",
    "float32",
    "float64",
    "complex64",
)
WEIGHTS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "image": np.arange(6, dtype=np.uint16).reshape(2, 3),
    "größe/🙂": np.array(0.325),
    "empty": np.zeros((0, 3), np.int64),
    "mask": np.array([True, False, True]),
    "": np.array([1 + 2j], np.complex64),
}


class TestConformance(FormatTests):
    format_ = SAFE
    values: ClassVar[list[Any]] = [WEIGHTS, {}]
    refused: ClassVar[list[Any]] = [
        np.zeros(3),
        [np.zeros(3)],
        "text",
        {"a": [1, 2]},
        {"a": None},
        {1: np.zeros(3)},
        {"\ud800": np.zeros(3)},
        {"__metadata__": np.zeros(3)},
        {"fine": np.zeros(3), "objects": np.array([{}])},
        {"masked": np.ma.masked_equal([1, 2], 1)},
        {"wide": np.zeros(3, np.complex128)},
        {"text": np.array(["a"])},
        {"day": np.array(["2026-01-02"], "M8[D]")},
        {"rows": np.zeros(3, [("id", "<i4")])},
    ]


def file_of(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str, shape: list[Any], start: int, stop: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=30).filter(
            lambda name: name != "__metadata__"
        ),
        st.sampled_from([np.dtype(name) for name in PLAIN]).flatmap(
            lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0))
        ),
        max_size=4,
    )
)
def test_arrays_come_back(arrays: dict[str, Any]) -> None:
    file = io.BytesIO()
    SAFE.save(arrays, file)
    found = SAFE.load(file)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
        assert found[name].flags.writeable


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=">u2").reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(24.0).reshape(4, 6)[::-1, ::2],
        np.broadcast_to(np.float32(3), (2, 3)),
    ],
    ids=["big-endian", "fortran", "strided", "broadcast"],
)
def test_every_layout_is_saved(array: Any, encode: Encode, read: Read) -> None:
    found = read(SAFE, encode(SAFE, {"a": array}))["a"]
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype.newbyteorder("<")


# ── the safetensors library ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", PLAIN)
def test_library_reads_our_files(name: str, encode: Encode, require: Require) -> None:
    library = require("safetensors.numpy")
    array = np.array([[0, 1], [1, 0]], name)
    found = library.load(encode(SAFE, {"a": array, **WEIGHTS}, metadata={"format": "np"}))
    assert set(found) == {"a", *WEIGHTS}
    np.testing.assert_array_equal(found["a"], array)
    assert found["a"].dtype == array.dtype


@pytest.mark.parametrize("name", PLAIN)
def test_files_of_the_library_load(name: str, read: Read, require: Require) -> None:
    library = require("safetensors.numpy")
    arrays = {"a": np.array([[0, 1], [1, 0]], name), **WEIGHTS}
    found = read(SAFE, library.save(arrays, {"format": "np"}))
    assert set(found) == set(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(found[key], array)
        assert found[key].dtype == array.dtype


def test_bytes_are_those_of_the_library(encode: Encode, require: Require) -> None:
    """The order of names is the one of the library."""
    library = require("safetensors.numpy")
    arrays = {"wide": np.arange(3.0), "a": np.arange(3, dtype="u2"), "b": np.zeros(2, "u2")}
    assert encode(SAFE, arrays) == library.save(arrays)


def test_library_refuses_the_same_files(encode: Encode, require: Require) -> None:
    """If a byte of the header is changed, both refuse the file or both load the same."""
    safetensors = require("safetensors")
    library = require("safetensors.numpy")
    data = encode(SAFE, {"a": np.arange(4, dtype="u2"), "b": np.arange(3, dtype="u1")})
    loaded = refused = 0
    for position in range(len(data) - 11):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            try:
                expected = library.load(bytes(changed))
            except (safetensors.SafetensorError, KeyError, ValueError):
                with pytest.raises((DamagedDataError, UnsupportedFileError)):
                    SAFE.load(io.BytesIO(changed))
                refused += 1
                continue
            found = SAFE.load(io.BytesIO(changed))
            assert set(found) == set(expected)
            for name, array in expected.items():
                np.testing.assert_array_equal(found[name], array)
            loaded += 1
    assert refused > 500
    assert loaded > 10


# ── types that NumPy lacks ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", EXTENDED)
def test_extended_types_come_back(
    name: str, encode: Encode, read: Read, require: Require
) -> None:
    ml_dtypes = require("ml_dtypes")
    bits = np.arange(256, dtype=np.uint16 if name == "bfloat16" else np.uint8)
    array = (bits * 250 if name == "bfloat16" else bits).view(getattr(ml_dtypes, name))
    data = encode(SAFE, {"a": array.reshape(16, 16)[:, ::2]})
    assert SAFE.info(io.BytesIO(data))["metadata"]["arrays"]["a"] == {
        "shape": (16, 8),
        "dtype": name,
    }
    found = read(SAFE, data)["a"]
    assert found.dtype == array.dtype
    assert found.tobytes() == array.reshape(16, 16)[:, ::2].tobytes()


@pytest.mark.frameworks
@pytest.mark.parametrize("name", EXTENDED)
def test_torch_reads_extended_types(name: str, tmp_path: Path, require: Require) -> None:
    torch, library = require("torch"), require("safetensors.torch")
    tensor = torch.arange(1, 7).to(torch.float32).to(getattr(torch, name)).reshape(2, 3)
    FileManager().save({"a": tensor}, tmp_path / "a.safetensors", "disk")
    found = library.load_file(tmp_path / "a.safetensors")["a"]
    assert found.dtype == tensor.dtype
    assert torch.equal(found.view(torch.uint8), tensor.view(torch.uint8))


@pytest.mark.frameworks
@pytest.mark.parametrize("name", EXTENDED)
def test_extended_types_of_torch_load(name: str, tmp_path: Path, require: Require) -> None:
    torch, library = require("torch"), require("safetensors.torch")
    require("ml_dtypes")
    tensor = torch.arange(1, 7).to(torch.float32).to(getattr(torch, name)).reshape(2, 3)
    library.save_file({"a": tensor}, tmp_path / "a.safetensors", {"format": "pt"})
    fm = FileManager()
    found = fm.load(tmp_path / "a.safetensors", "disk")["a"]
    assert found.dtype.name == name
    again = fm.load(tmp_path / "a.safetensors", "disk", framework="torch")["a"]
    assert again.dtype == tensor.dtype
    assert torch.equal(again.view(torch.uint8), tensor.view(torch.uint8))
    wide = fm.load(tmp_path / "a.safetensors", "disk", dtype="float32")["a"]
    np.testing.assert_array_equal(wide, tensor.to(torch.float32).numpy())


@pytest.mark.frameworks
def test_arrays_of_every_framework_are_saved(
    encode: Encode, read: Read, require: Require
) -> None:
    ml_dtypes, torch = require("ml_dtypes"), require("torch")
    jax, tensorflow = require("jax.numpy"), require("tensorflow")
    values = {
        "ml_dtypes": np.array([1.5, -2], ml_dtypes.bfloat16),
        "torch": torch.tensor([1.5, -2], dtype=torch.bfloat16, requires_grad=True),
        "jax": jax.array([1.5, -2], jax.bfloat16),
        "tensorflow": tensorflow.constant([1.5, -2], tensorflow.bfloat16),
    }
    found = read(SAFE, encode(SAFE, values))
    assert {array.dtype.name for array in found.values()} == {"bfloat16"}
    assert [array.tolist() for array in found.values()] == [[1.5, -2]] * 4


WITHOUT = """
import io, sys
sys.modules["ml_dtypes"] = None
from polystore_core import formats
from polystore_core.errors import MissingDependencyError
format = formats().of("a.safetensors")
file = io.BytesIO(sys.stdin.buffer.read())
print(format.info(file)["metadata"]["arrays"]["half"]["dtype"])
print(format.load(file, arrays=["plain"])["plain"].tolist())
try:
    format.load(file)
except MissingDependencyError as error:
    print(error)
"""


def test_without_ml_dtypes_the_rest_loads(encode: Encode, require: Require) -> None:
    ml_dtypes = require("ml_dtypes")
    half = np.array([1.5], ml_dtypes.bfloat16)
    data = encode(SAFE, {"half": half, "plain": np.arange(2)})
    child = subprocess.run(
        [sys.executable, "-c", WITHOUT], input=data, capture_output=True, timeout=120
    )
    assert child.returncode == 0, child.stderr
    lines = child.stdout.decode().splitlines()
    assert lines[:2] == ["bfloat16", "[0, 1]"]
    assert "pip install 'polystore[ml_dtypes]'" in lines[2]


# ── parts, metadata, memory ──────────────────────────────────────────────────────────────


def test_names_select_arrays(encode: Encode, read: Read) -> None:
    data = encode(SAFE, WEIGHTS)
    assert list(read(SAFE, data, arrays=["mask", "image"])) == ["image", "mask"]
    with pytest.raises(InvalidOptionError, match=r"names of arrays \(conv.weight, image"):
        read(SAFE, data, arrays=["image", "gfp"])


def test_info_reads_the_header_only(encode: Encode) -> None:
    data = encode(SAFE, WEIGHTS, metadata={"format": "np", "größe": "ü"})
    about = SAFE.info(io.BytesIO(data))["metadata"]
    assert about["metadata"] == {"format": "np", "größe": "ü"}
    assert about["arrays"]["image"] == {"shape": (2, 3), "dtype": "<u2"}
    assert list(about["arrays"]) == list(WEIGHTS)


@pytest.mark.parametrize("metadata", ["text", {"a": 1}, {1: "a"}, {"a": "\ud800"}])
def test_metadata_is_text(metadata: Any) -> None:
    file = io.BytesIO()
    with pytest.raises(InvalidOptionError, match="dict of text"):
        SAFE.save(WEIGHTS, file, metadata=metadata)
    assert file.getvalue() == b""


@pytest.mark.parametrize("metadata", [None, 3, ["a"], {"a": {"b": 1}}, {"x": float("nan")}])
def test_wrong_metadata_is_ignored(metadata: Any, read: Read) -> None:
    data = file_of({"__metadata__": metadata, "a": entry("U8", [2], 0, 2)}, b"ab")
    assert read(SAFE, data)["a"].tolist() == [97, 98]
    SAFE.info(io.BytesIO(data))


def test_large_files_are_mapped(tmp_path: Path) -> None:
    """Writing to loaded arrays does not change the file, and a later save does not change them."""
    fm = FileManager()
    path = tmp_path / "a.safetensors"
    large = np.arange(1 << 22, dtype=np.float64)
    fm.save({"large": large, "none": large[:0], "small": np.arange(3)}, path, "disk")
    content = path.read_bytes()
    found = fm.load(path, "disk")
    assert not found["large"].flags.owndata
    np.testing.assert_array_equal(found["large"], large)
    assert found["none"].shape == (0,)
    found["large"][:5] = -1
    found["small"][:] = 7
    assert path.read_bytes() == content
    fm.save({"large": large + 1}, path, "disk")
    assert found["large"][4:7].tolist() == [-1, 5, 6]


# ── wrong files ───────────────────────────────────────────────────────────────────────────

DAMAGED = {
    "empty": b"",
    "zeros": bytes(100),
    "cut in the length": b"\x10\0\0",
    "header beyond the end": file_of({}, length=1 << 40),
    "not JSON": file_of(b"{certainly not}"),
    "not UTF-8": file_of(b'{"\xff":1}'),
    "deep": file_of(b'{"a":' * 100_000),
    "a name twice": file_of(b'{"a":{},"a":{}}'),
    "no offsets": file_of({"a": {"dtype": "U8", "shape": [1]}}, b"a"),
    "text for an entry": file_of({"a": "U8"}),
    "overlap": file_of({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, b"abc"),
    "twice the same": file_of(
        {"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 0, 2)}, b"ab"
    ),
    "gap": file_of({"a": entry("U8", [1], 1, 2)}, b"ab"),
    "data is missing": file_of({"a": entry("U8", [9], 0, 9)}, b"ab"),
    "data is left": file_of({"a": entry("U8", [1], 0, 1)}, b"ab"),
    "another shape": file_of({"a": entry("U8", [3], 0, 2)}, b"ab"),
    "half an element": file_of({"a": entry("U16", [1], 0, 1)}, b"a"),
    "negative": file_of({"a": entry("U8", [-1], 0, -1)}),
    "backwards": file_of({"a": entry("U8", [1], 1, 0)}, b"a"),
    "huge": file_of({"a": entry("U8", [1 << 62, 1 << 62], 0, 2)}, b"ab"),
    "true": file_of({"a": entry("U8", [True], 0, 1)}, b"a"),
    "fractions": file_of({"a": entry("U8", [1.0], 0, 1)}, b"a"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_refused(name: str) -> None:
    for operation in (SAFE.load, SAFE.info):
        with pytest.raises(DamagedDataError):
            operation(io.BytesIO(DAMAGED[name]))


def test_other_types_are_named(read: Read) -> None:
    data = file_of({"a": entry("F4", [2], 0, 1), "b": entry("U8", [1], 1, 2)}, b"ab")
    assert SAFE.info(io.BytesIO(data))["metadata"]["arrays"]["a"]["dtype"] == "F4"
    with pytest.raises(UnsupportedFileError, match=r"'F4' .*arrays=\[names\]"):
        read(SAFE, data)
    assert read(SAFE, data, arrays=["b"])["b"].tolist() == [98]


def test_too_many_axes_are_explained(read: Read) -> None:
    data = file_of({"a": entry("U8", [1] * 100, 0, 1)}, b"a")
    with pytest.raises(UnsupportedFileError, match="100 dimensions"):
        read(SAFE, data)


def test_other_kind_of_file_is_named(read: Read) -> None:
    with pytest.raises(UnsupportedFileError, match="but a zip archive"):
        read(SAFE, b"PK\3\4" + bytes(100))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".tif", ".png"])
def test_formats_without_the_type_refuse_it(suffix: str, require: Require) -> None:
    ml_dtypes = require("ml_dtypes")
    array = np.ones((2, 2), ml_dtypes.bfloat16)
    file = io.BytesIO()
    with pytest.raises(UnsupportedDataError, match=r"bfloat16: save it as .safetensors"):
        formats().of(f"a{suffix}").save({"a": array} if suffix == ".npz" else array, file)
    assert file.getvalue() == b""


@pytest.mark.parametrize("name", ["bfloat16", "float8_e5m2"])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_fields_of_the_type_are_refused(suffix: str, name: str, require: Require) -> None:
    table = np.zeros(3, [("a", getattr(require("ml_dtypes"), name))])
    file = io.BytesIO()
    with pytest.raises(UnsupportedDataError, match=name):
        formats().of(f"a{suffix}").save({"a": table} if suffix == ".npz" else table, file)
    assert file.getvalue() == b""
