"""Every element type and codec of zarr loads. Those of other programs are unsupported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.core.dtype import VariableLengthBytes, data_type_registry

from polystore_core.errors import DamagedDataError, UnsupportedDataError, UnsupportedFileError

from .theirs import IMAGE, NAN, document, document_2

if TYPE_CHECKING:
    from polystore_testing import Bound

pytestmark = [
    pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning"),
    pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part"),
    pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr:UserWarning"),
]

VALUES: dict[str, Any] = {
    "fixed_length_utf32": np.array(["a", "bc", "日本"]),
    "string": np.array(["a", "bcd", ""], dtype=np.dtypes.StringDType()),
    "raw_bytes": np.array([b"abc", b"def"], dtype="V3"),
    "null_terminated_bytes": np.array([b"a", b"bc"]),
    "variable_length_bytes": np.array([b"a", b"bcd", b""], dtype=object),
    "structured": np.array(
        [(1, (2, 3.0))], dtype=[("a", "i4"), ("b", [("c", "i2"), ("d", "f4")])]
    ),
    "numpy.datetime64": np.array(["2020-01-01", "NaT"], dtype="M8[s]"),
    "numpy.timedelta64": np.array([1, 2], dtype="m8[25s]"),
}


def example(name: str) -> Any:
    name = {"struct": "structured"}.get(name, name)  # since zarr 3.4
    return VALUES[name] if name in VALUES else np.arange(3).astype(name)


@pytest.mark.parametrize("name", sorted(data_type_registry.contents))
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 2)], ids=str)
def test_every_type_of_zarr_loads(
    store: Bound, zarr_format: Any, name: str, shape: tuple[int, ...]
) -> None:
    value = example(name)
    if value.dtype.names and zarr_format == 2:
        value = value["b"]  # zarr before 3.4 reads no nested fields there
    value = np.resize(value, shape or (1,)).reshape(shape)
    dtype: Any = VariableLengthBytes() if name == "variable_length_bytes" else value.dtype
    array = zarr.create_array(
        "a.zarr", shape=shape, dtype=dtype, zarr_format=zarr_format, attributes=NAN
    )
    if shape or name != "variable_length_bytes":  # zarr 3.4 writes no bytes into 0-d arrays
        array[...] = value
    expected = np.asarray(zarr.open_array("a.zarr", mode="r")[...], array.dtype)
    found = store.load("a.zarr")
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    info = store.info("a.zarr")
    assert np.dtype(info.dtype) == np.dtype(expected.dtype) or value.dtype.names
    try:
        store.save(store.open("a.zarr"), "b.zarr")
    except UnsupportedDataError:
        return
    np.testing.assert_array_equal(store.load("b.zarr"), expected)


def test_text_is_saved_as_it_was_loaded(store: Bound, zarr_format: Any) -> None:
    text = VALUES["string"]
    store.save(text, "a.zarr", zarr_format=zarr_format)
    found = store.load("a.zarr")
    assert found.dtype == text.dtype
    np.testing.assert_array_equal(found, text)
    handle = store.open("a.zarr", mode="r+")
    handle[...] = "same"
    assert list(handle[:]) == ["same"] * 3


UNKNOWN = {
    **{
        f"type {name}": document(data_type=name)
        for name in (
            "int4",
            "uint2",
            "r24",
            "complex_bfloat16",
            "float128",
            {"name": "optional", "configuration": {"name": "int32"}},
            {"name": "quantum", "configuration": {}},
        )
    },
    **{
        f"codec {name}": document(codecs=[{"name": "bytes"}, {"name": name}])
        for name in (
            "quantum",
            "zfp",
            "packbits",
            "imagecodecs_jpeg2k",
            "numcodecs.zfpy",
            "numcodecs.pcodec",
        )
    },
    "configuration": document(
        codecs=[
            {"name": "bytes"},
            {"name": "numcodecs.shuffle", "configuration": {"wonder": 1}},
        ]
    ),
    "grid": document(chunk_grid={"name": "rectilinear", "configuration": {"kind": "inline"}}),
    "keys": document(chunk_key_encoding={"name": "fanout"}),
    "fill value": document(
        data_type="float32",
        fill_value="ponder",
        codecs=[{"name": "bytes", "configuration": {"endian": "little"}}],
    ),
    "version": document(zarr_format=4),
    "node": {"zarr_format": 3, "node_type": "table"},
    **{
        f"old type {dtype}": document_2(dtype=dtype)
        for dtype in ("|O", "<f16", "<c32", "bfloat16")
    },
    **{
        f"old filter {name}": document_2(dtype="|O", filters=[{"id": name}])
        for name in ("json2", "pickle", "msgpack2", "quantum")
    },
    "old compressor": document_2(compressor={"id": "quantum"}),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_parts_are_not_damage(store: Bound, name: str) -> None:
    """An unknown type, codec or grid is not damage, and does not hide the values around it."""
    fields = UNKNOWN[name]
    store.save(IMAGE, "g.zarr/ours")
    is_3 = fields["zarr_format"] != 2
    Path("g.zarr/theirs").mkdir()
    Path("g.zarr/theirs", "zarr.json" if is_3 else ".zarray").write_text(json.dumps(fields))
    for read in (store.load, store.open, store.info):
        with pytest.raises(UnsupportedFileError, match=r"g\.zarr/theirs.*is whole"):
            read("g.zarr/theirs")
    assert store.list_dir("g.zarr") == ["ours", "theirs"]
    assert store.is_file("g.zarr/theirs")
    assert store.info("g.zarr/ours").shape == IMAGE.shape
    store.save(IMAGE, "g.zarr/more")
    np.testing.assert_array_equal(store.load("g.zarr/more"), IMAGE)


@pytest.mark.parametrize(
    "missing", ["shape", "data_type", "chunk_grid", "codecs", "fill_value"]
)
def test_missing_part_is_damage(store: Bound, missing: str) -> None:
    Path("a.zarr").mkdir()
    fields = {key: value for key, value in document().items() if key != missing}
    Path("a.zarr/zarr.json").write_text(json.dumps(fields))
    with pytest.raises(DamagedDataError):
        store.load("a.zarr")


CODECS: dict[str, Any] = {
    "shards": lambda _: {"shards": (4, 4), "chunks": (2, 2)},
    "names": lambda _: {"dimension_names": ("y", "x")},
    "gzip": lambda _: {"compressors": zarr.codecs.GzipCodec()},
    "transpose": lambda _: {"filters": zarr.codecs.TransposeCodec(order=(1, 0))},
    "big": lambda _: {"serializer": zarr.codecs.BytesCodec(endian="big")},
    "keys": lambda _: {"chunk_key_encoding": {"name": "v2", "separator": "."}},
    "Delta": lambda of: {"filters": of.Delta(dtype="<u2")},
    "AsType": lambda of: {"filters": of.AsType(encode_dtype="<u4", decode_dtype="<u2")},
    "FixedScaleOffset": lambda of: {
        "filters": of.FixedScaleOffset(offset=0, scale=1, dtype="<u2", astype="<u2")
    },
    **{
        name: lambda of, name=name: {"compressors": getattr(of, name)()}
        for name in (
            "BZ2",
            "LZ4",
            "LZMA",
            "Zlib",
            "Zstd",
            "Shuffle",
            "CRC32",
            "CRC32C",
            "Adler32",
            "Fletcher32",
            "JenkinsLookup3",
        )
    },
}


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_of_zarr_loads(store: Bound, codec: str) -> None:
    array = zarr.create_array(
        "a.zarr",
        shape=IMAGE.shape,
        dtype=IMAGE.dtype,
        attributes=NAN,
        **CODECS[codec](zarr.codecs.numcodecs),
    )
    array[:] = IMAGE
    np.testing.assert_array_equal(store.load("a.zarr"), IMAGE)
    assert store.info("a.zarr").shape == IMAGE.shape
