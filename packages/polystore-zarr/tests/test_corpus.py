"""Stores of zarr-python, xarray, AnnData, SpatialData and others load, or are unsupported.

They are never damaged. AnnData and SpatialData need not be installed: zarr builds their groups,
with the attributes that they write.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.core.dtype import VariableLengthBytes, data_type_registry

from polystore_core import FileManager
from polystore_core.errors import (
    DamagedDataError,
    InvalidOptionError,
    PolystoreError,
    UnsupportedDataError,
    UnsupportedFileError,
)
from polystore_testing import Bound

pytestmark = [
    pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning"),
    pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part"),
    pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr:UserWarning"),
]

FORMATS = (2, 3)
NAN = {"missing_value": math.nan, "valid_range": [-math.inf, math.inf]}
IMAGE = np.arange(64, dtype="u2").reshape(8, 8)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bound:
    monkeypatch.chdir(tmp_path)
    return Bound(FileManager(), "zarr")


@pytest.fixture(params=FORMATS)
def zarr_format(request: pytest.FixtureRequest) -> Any:
    return request.param


def attributes_of(path: str) -> dict[str, Any]:
    """The attributes as zarr reads them."""
    return dict(zarr.open(path, mode="r").attrs)


# ── NaN and infinity in attributes ───────────────────────────────────────────────────────


def test_constants_of_python_are_read(store: Bound, zarr_format: Any) -> None:
    array = zarr.create_array("a.zarr", shape=(4,), dtype="f4", zarr_format=zarr_format,
                              attributes=NAN, fill_value=np.nan)  # fmt: skip
    array[:2] = 7
    expected = np.array([7, 7, np.nan, np.nan], "f4")
    np.testing.assert_array_equal(store.load("a.zarr"), expected)
    np.testing.assert_array_equal(store.open("a.zarr")[:], expected)
    found = store.info("a.zarr").metadata["attributes"]
    assert math.isnan(found["missing_value"])
    assert found["valid_range"] == [-math.inf, math.inf]
    store.copy("a.zarr", "b.zarr")
    assert math.isnan(attributes_of("b.zarr")["missing_value"])


@pytest.mark.parametrize("fill", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("compressor", [None, {"id": "zlib", "level": 1}])
def test_bare_constants_are_fill_values(store: Bound, fill: float, compressor: Any) -> None:
    """JSON libraries of Python write them into ``.zarray`` too, where zarr has text."""
    Path("a.zarr").mkdir()
    Path("a.zarr/.zarray").write_text(json.dumps({
        "zarr_format": 2, "shape": [3], "chunks": [3], "dtype": "<f4", "compressor": compressor,
        "fill_value": fill, "order": "C", "filters": None,
    }))  # fmt: skip
    np.testing.assert_array_equal(store.load("a.zarr"), np.full(3, fill, "f4"))


def test_group_with_constants_is_worked_in(store: Bound, zarr_format: Any) -> None:
    """Groups are listed and written into, and keep what their author wrote."""
    group = zarr.create_group("g.zarr", zarr_format=zarr_format, attributes=NAN)
    group.create_group("labels", attributes={"labels": ["old"], **NAN})
    group.create_array("a", shape=(4,), dtype="f4")[:] = 2
    zarr.consolidate_metadata("g.zarr")
    store.save(np.ones(3), "g.zarr/b")
    assert store.list_dir("g.zarr") == ["a", "b", "labels"]
    store.move("g.zarr/b", "g.zarr/c")
    store.delete("g.zarr/a")
    assert math.isnan(attributes_of("g.zarr")["missing_value"])
    assert sorted(dict(zarr.open_group("g.zarr", mode="r").members())) == ["c", "labels"]


def make_image(path: str, zarr_format: int, **more: Any) -> None:
    """An OME-Zarr image of one level, with ``more`` in its multiscale image."""
    group = zarr.create_group(path, zarr_format=zarr_format)
    group.create_array("0", shape=IMAGE.shape, dtype=IMAGE.dtype, chunks=(4, 4))[:] = IMAGE
    multiscale = {
        "axes": [{"name": name, "type": "space"} for name in "yx"],
        "datasets": [{"path": "0", "coordinateTransformations": [
            {"type": "scale", "scale": [0.5, 0.25]}]}],
    } | more  # fmt: skip
    window = {"min": math.nan, "max": math.nan, "start": 0, "end": 1}
    channel = {"color": "FFFFFF", "window": window, "mine": math.inf}
    ome = {"multiscales": [multiscale], "omero": {"channels": [channel]}}
    if zarr_format == 2:
        multiscale.setdefault("version", "0.4")
        group.attrs.update(ome)
    else:
        group.attrs["ome"] = {"version": "0.5", **ome}


def test_image_keeps_constants_when_saved_again(store: Bound, zarr_format: Any) -> None:
    make_image("i.zarr", zarr_format, _mean=math.nan)
    np.testing.assert_array_equal(store.load("i.zarr"), IMAGE)
    store.save((IMAGE > 9).astype("u1"), "i.zarr/labels/n")
    store.save(IMAGE + 1, "i.zarr")
    found = attributes_of("i.zarr")
    found = found.get("ome", found)
    assert math.isnan(found["multiscales"][0]["_mean"])
    assert store.info("i.zarr").metadata["labels"] == ["n"]
    np.testing.assert_array_equal(store.load("i.zarr"), IMAGE + 1)


@pytest.mark.parametrize(
    "value", [math.nan, [1, {"a": math.inf}], np.float64(1), (1, 2), {1: 2}]
)
def test_constants_are_never_written(store: Bound, zarr_format: Any, value: Any) -> None:
    for save in (
        lambda: store.save(IMAGE, "a.zarr", zarr_format=zarr_format, attributes={"a": value}),
        lambda: store.create("a.zarr", shape=(3,), dtype="u1", zarr_format=zarr_format,
                             attributes={"a": value}),
        lambda: store.save(IMAGE, "a.ome.zarr", zarr_format=zarr_format, attributes={"a": value}),
    ):  # fmt: skip
        with pytest.raises(UnsupportedDataError, match="attributes"):
            save()
    assert store.list_dir(".") == []
    for fill in (math.nan, math.inf):
        store.save(IMAGE.astype("f4"), "f.zarr", zarr_format=zarr_format, fill_value=fill)
        for name in ("zarr.json", ".zarray", ".zattrs"):
            if Path("f.zarr", name).exists():
                json.loads(Path("f.zarr", name).read_text(), parse_constant=pytest.fail)


def test_bytes_of_documents(store: Bound) -> None:
    """A byte order mark is no part of a document, and half a surrogate is kept."""
    zarr.create_group("g.zarr", attributes={"note": "\ud800"}).create_group("labels")
    place = Path("g.zarr/zarr.json")
    place.write_bytes(b"\xef\xbb\xbf" + place.read_bytes())
    store.save(np.ones(3), "g.zarr/a")
    assert store.list_dir("g.zarr") == ["a", "labels"]


# ── element types and codecs ─────────────────────────────────────────────────────────────

VALUES: dict[str, Any] = {
    "fixed_length_utf32": np.array(["a", "bc", "日本"]),
    "string": np.array(["a", "bcd", ""], dtype=np.dtypes.StringDType()),
    "raw_bytes": np.array([b"abc", b"def"], dtype="V3"),
    "null_terminated_bytes": np.array([b"a", b"bc"]),
    "variable_length_bytes": np.array([b"a", b"bcd", b""], dtype=object),
    "structured": np.array([(1, (2, 3.0))], dtype=[("a", "i4"), ("b", [("c", "i2"), ("d", "f4")])]),
    "numpy.datetime64": np.array(["2020-01-01", "NaT"], dtype="M8[s]"),
    "numpy.timedelta64": np.array([1, 2], dtype="m8[25s]"),
}  # fmt: skip


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
    array = zarr.create_array("a.zarr", shape=shape, dtype=dtype, zarr_format=zarr_format,
                              attributes=NAN)  # fmt: skip
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


def document(**change: Any) -> dict[str, Any]:
    return {
        "zarr_format": 3, "node_type": "array", "shape": [4], "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0, "codecs": [{"name": "bytes"}], "attributes": NAN,
    } | change  # fmt: skip


def document_2(**change: Any) -> dict[str, Any]:
    return {
        "zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "|u1", "compressor": None,
        "fill_value": None, "order": "C", "filters": None,
    } | change  # fmt: skip


UNKNOWN = {
    **{f"type {name}": document(data_type=name) for name in (
        "bfloat16", "float8_e4m3fn", "int4", "uint2", "r24", "complex_bfloat16", "float128",
        {"name": "optional", "configuration": {"name": "int32"}},
        {"name": "quantum", "configuration": {}})},
    **{f"codec {name}": document(codecs=[{"name": "bytes"}, {"name": name}]) for name in (
        "quantum", "zfp", "packbits", "imagecodecs_jpeg2k", "numcodecs.zfpy", "numcodecs.pcodec")},
    "configuration": document(codecs=[{"name": "bytes"}, {
        "name": "numcodecs.shuffle", "configuration": {"wonder": 1}}]),
    "grid": document(chunk_grid={"name": "rectilinear", "configuration": {"kind": "inline"}}),
    "keys": document(chunk_key_encoding={"name": "fanout"}),
    "fill value": document(data_type="float32", fill_value="ponder", codecs=[
        {"name": "bytes", "configuration": {"endian": "little"}}]),
    "version": document(zarr_format=4),
    "node": {"zarr_format": 3, "node_type": "table"},
    **{f"old type {dtype}": document_2(dtype=dtype) for dtype in (
        "|O", "<f16", "<c32", "bfloat16")},
    **{f"old filter {name}": document_2(dtype="|O", filters=[{"id": name}]) for name in (
        "json2", "pickle", "msgpack2", "quantum")},
    "old compressor": document_2(compressor={"id": "quantum"}),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_other_programs_read_it(store: Bound, name: str) -> None:
    """A type, codec or grid that is not known here is not damage, and closes nothing around it."""
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
        for name in ("BZ2", "LZ4", "LZMA", "Zlib", "Zstd", "Shuffle", "CRC32", "CRC32C",
                     "Adler32", "Fletcher32", "JenkinsLookup3")
    },
}  # fmt: skip


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_of_zarr_loads(store: Bound, codec: str) -> None:
    array = zarr.create_array(
        "a.zarr", shape=IMAGE.shape, dtype=IMAGE.dtype, attributes=NAN,
        **CODECS[codec](zarr.codecs.numcodecs),
    )  # fmt: skip
    array[:] = IMAGE
    np.testing.assert_array_equal(store.load("a.zarr"), IMAGE)
    assert store.info("a.zarr").shape == IMAGE.shape


# ── groups of other programs ─────────────────────────────────────────────────────────────


def test_xarray_writes_it(store: Bound, zarr_format: Any) -> None:
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    data = xarray.Dataset(
        {"t": (("time", "x"), np.arange(6.0).reshape(2, 3), {"missing_value": np.nan}),
         "flag": (("x",), np.array([True, False, True])),
         "name": (("x",), np.array(["a", "bc", ""], dtype=object))},
        coords={"time": np.array(["2020-01-01", "2020-01-02"], dtype="M8[ns]")},
        attrs={"mean": np.nan},
    )  # fmt: skip
    data["t"].encoding["_FillValue"] = np.nan
    data.to_zarr("x.zarr", zarr_format=zarr_format)
    assert set(store.list_dir("x.zarr")) == {"t", "flag", "name", "time"}
    np.testing.assert_array_equal(store.load("x.zarr/t"), data["t"].values)
    np.testing.assert_array_equal(store.load("x.zarr/flag").astype(bool), data["flag"].values)
    assert list(store.load("x.zarr/name")) == ["a", "bc", ""]
    store.save(np.ones(3), "x.zarr/ours")
    store.delete("x.zarr/ours")
    assert math.isnan(xarray.open_zarr("x.zarr", consolidated=False).attrs["mean"])


def make_anndata(path: str, zarr_format: int) -> None:
    """As AnnData 0.10 writes it: "encoding-type" says what an array or group is."""

    def told(node: Any, kind: str, version: str = "0.2.0", **more: Any) -> Any:
        node.attrs.update({"encoding-type": kind, "encoding-version": version, **more})
        return node

    def array(group: Any, name: str, value: Any, kind: str = "array") -> None:
        dtype = np.dtypes.StringDType() if value.dtype.kind == "U" else value.dtype
        made = group.create_array(name, shape=value.shape, dtype=dtype)
        made[...] = value
        told(made, kind)

    root = told(zarr.create_group(path, zarr_format=zarr_format), "anndata", "0.1.0")
    array(root, "X", np.arange(6, dtype="f4").reshape(3, 2))
    obs = told(root.create_group("obs"), "dataframe", _index="_index",
               **{"column-order": ["kind", "score"]})  # fmt: skip
    array(obs, "_index", np.array(["a", "b", "c"]), "string-array")
    kind = told(obs.create_group("kind"), "categorical", ordered=False)
    array(kind, "codes", np.array([0, 1, -1], "i1"))
    array(kind, "categories", np.array(["x", "y"]), "string-array")
    score = told(obs.create_group("score"), "nullable-integer", "0.1.0")
    array(score, "values", np.array([1, 2, 3]))
    array(score, "mask", np.array([False, True, False]))
    sparse = told(root.create_group("layers"), "dict", "0.1.0").create_group("raw")
    told(sparse, "csr_matrix", "0.1.0", shape=[3, 2])
    for name, value in (("data", [1.0]), ("indices", [0]), ("indptr", [0, 1, 1, 1])):
        array(sparse, name, np.array(value))
    array(told(root.create_group("uns"), "dict", "0.1.0"), "note", np.array("hello"), "string")


def test_anndata_is_listed_and_loads(store: Bound, zarr_format: Any) -> None:
    make_anndata("a.zarr", zarr_format)
    found = {path.split("a.zarr/")[1]: store.load(path)
             for path in store.list_files("a.zarr", recursive=True)}  # fmt: skip
    assert set(found) == {
        "X", "obs/_index", "obs/kind/codes", "obs/kind/categories", "obs/score/values",
        "obs/score/mask", "layers/raw/data", "layers/raw/indices", "layers/raw/indptr", "uns/note",
    }  # fmt: skip
    assert list(found["obs/_index"]) == ["a", "b", "c"]
    assert found["uns/note"][()] == "hello"
    assert store.info("a.zarr/obs").kind == "directory"
    store.save(np.ones(2), "a.zarr/layers/ours")


AFFINE = {"type": "affine", "affine": [[1.0, 0.1, 0.0], [0.1, 1.0, 0.0]]}
BETWEEN = {"input": {"name": "yx", "axes": []}, "output": {"name": "global", "axes": []}}
STEPS = {
    "affine": [AFFINE],
    "of SpatialData": [{**BETWEEN, "type": "sequence", "transformations": [AFFINE]}],
    "file": [{"type": "scale", "path": "scale"}],
    "nothing known": [{"type": "wonder"}, 3],
    "not a list": "scale",
}


@pytest.mark.parametrize("name", STEPS)
def test_image_with_other_transformation_loads(
    store: Bound, zarr_format: Any, name: str
) -> None:
    make_image("i.zarr", zarr_format, coordinateTransformations=STEPS[name])
    np.testing.assert_array_equal(store.load("i.zarr"), IMAGE)
    said = store.info("i.zarr").metadata
    assert said["scale"] is None
    assert said["axes"] == ["y", "x"]
    steps = STEPS[name] if isinstance(STEPS[name], list) else [STEPS[name]]
    assert said["transformations"] == [{"type": "scale", "scale": [0.5, 0.25]}, *steps]
    store.save((IMAGE > 9).astype("u1"), "i.zarr/labels/n")
    with pytest.raises(UnsupportedDataError, match="pass scale="):
        store.save(IMAGE, "i.zarr")
    np.testing.assert_array_equal(store.load("i.zarr"), IMAGE)
    store.save(IMAGE + 1, "i.zarr", scale=(1, 2))
    assert store.info("i.zarr").metadata["scale"] == [1, 2]


def test_identity_of_spatialdata_keeps_the_scale(store: Bound) -> None:
    make_image("i.zarr", 2, version="0.4-dev-spatialdata",
               coordinateTransformations=[{**BETWEEN, "type": "identity"}])  # fmt: skip
    said = store.info("i.zarr").metadata
    assert (said["scale"], said["ome_version"]) == ([0.5, 0.25], "0.4-dev-spatialdata")
    assert "transformations" not in said


@pytest.mark.parametrize("levels", ["missing", "group", "unknown", "damaged"])
def test_one_level_does_not_hide_the_others(store: Bound, levels: str) -> None:
    store.save(np.zeros((600, 600), "u1"), "i.ome.zarr", levels=2)
    place = Path("i.ome.zarr/1")
    if levels == "missing":
        shutil.rmtree(place)
    else:
        fields = {"group": {"zarr_format": 3, "node_type": "group"}, "damaged": {},
                  "unknown": document(data_type="int4")}[levels]  # fmt: skip
        (place / "zarr.json").write_text(json.dumps(fields))
    assert store.info("i.ome.zarr").metadata["levels"] == [(600, 600), None]
    assert store.load("i.ome.zarr").shape == (600, 600)
    with pytest.raises(PolystoreError):
        store.load("i.ome.zarr", level=1)


def test_unreadable_labels_do_not_hide_the_image(store: Bound, zarr_format: Any) -> None:
    make_image("i.zarr", zarr_format)
    labels = zarr.open_group("i.zarr", mode="a").create_group("labels")
    for value in ({"1": "cat"}, "text", ["n", 3, "../x"]):
        labels.attrs["labels"] = value
        assert store.info("i.zarr").metadata["labels"] == (["n"] if "n" in value else [])
    make_image("i.zarr/labels/n", zarr_format)
    attributes = dict(labels["n"].attrs)
    attributes.get("ome", attributes)["image-label"] = ["odd"]
    if zarr_format == 3:
        attributes["ome"]["version"] = "0.6"
    labels["n"].attrs.update(attributes)
    store.save(IMAGE + 1, "i.zarr")
    assert dict(zarr.open_group("i.zarr/labels/n", mode="r").attrs) is not None
    np.testing.assert_array_equal(store.load("i.zarr"), IMAGE + 1)
    np.testing.assert_array_equal(store.load("i.zarr/labels/n/0"), IMAGE)


@pytest.mark.parametrize("version", ["0.6", "0.6-dev3", "0.6.dev1", "1.0", "0.7"])
def test_later_versions_are_whole(store: Bound, version: str) -> None:
    """An image of tomorrow is not damaged. Its arrays load, and others are saved next to it."""
    make_image("s.zarr/image", 3)
    group = zarr.open_group("s.zarr/image", mode="a")
    group.attrs["ome"] = {**group.attrs["ome"], "version": version}
    for read in (store.load, store.open, store.info):
        with pytest.raises(UnsupportedFileError, match=f"version '{version}'"):
            read("s.zarr/image")
    with pytest.raises(UnsupportedFileError):
        store.save(IMAGE, "s.zarr/image")
    np.testing.assert_array_equal(store.load("s.zarr/image/0"), IMAGE)
    store.save(IMAGE, "s.zarr/other")
    assert store.list_dir("s.zarr") == ["image", "other"]
    plate = {"version": version, "plate": {"rows": [], "columns": [], "wells": []}}
    zarr.create_group("p.zarr", attributes={"ome": plate})
    with pytest.raises(UnsupportedFileError):
        store.save(IMAGE, "p.zarr/A/1/0")
    assert store.list_dir("p.zarr") == []
    store.save(IMAGE, "p.zarr/table", ome=False)
    assert store.list_dir("p.zarr") == ["table"]
    store.delete("p.zarr/table")


@pytest.mark.parametrize(
    "attributes",
    [{"multiscales": {"version": "0.1.0", "layout": [{"asset": "0"}]}},  # GeoZarr
     {"multiscales": [{"datasets": [{"path": "0", "crs": "EPSG:3857"}], "type": "reduce"}]},
     {"multiscales": True}, {"multiscales": []}, {"plate": "P1", "well": "A1"},
     {"plate": {"barcode": 7}, "well": {"volume": 1}, "labels": {"0": "cat"}},
     {"ome": "text", "omero": 3, "image-label": {}}, {"bioformats2raw.layout": "x"}],
    ids=str,
)  # fmt: skip
def test_names_of_other_conventions(
    store: Bound, zarr_format: Any, attributes: dict[str, Any]
) -> None:
    """Attributes that OME-Zarr uses too do not make a group an image, or a plate."""
    root = zarr.create_group("g.zarr", zarr_format=zarr_format, attributes=attributes)
    root.create_group("0").create_array("band", shape=(3,), dtype="u1")[:] = 5
    assert store.list_files("g.zarr", recursive=True) == ["g.zarr/0/band"]
    np.testing.assert_array_equal(store.load("g.zarr/0/band"), np.full(3, 5, "u1"))
    assert store.info("g.zarr").kind == "directory"
    store.save(IMAGE, "g.zarr/0/more")
    store.save(IMAGE, "g.zarr/labels/x")
    store.delete("g.zarr/0/more")
    assert attributes.items() <= attributes_of("g.zarr").items()


def test_plates_with_odd_entries_take_fields(store: Bound, zarr_format: Any) -> None:
    plate = {"rows": [{"name": "A", "_note": 1}, {}], "columns": [{"name": 1}], "field_count": "x",
             "wells": [{"path": "A/1", "rowIndex": 0, "columnIndex": 0}, {"mine": math.nan}],
             "acquisitions": "none"}  # fmt: skip
    well = {"images": [{"path": "0"}, {"path": "0", "acquisition": 2}, {"acquisition": 1}]}
    version = {"version": "0.4"} if zarr_format == 2 else {}
    for path, value in (("p.zarr", {"plate": plate | version}), ("p.zarr/A", {}),
                        ("p.zarr/A/1", {"well": well | version})):  # fmt: skip
        attributes = {"ome": {"version": "0.5", **value}} if zarr_format == 3 else value
        zarr.create_group(path, zarr_format=zarr_format, attributes=attributes)
    make_image("p.zarr/A/1/0", zarr_format)
    np.testing.assert_array_equal(store.load("p.zarr/A/1/0"), IMAGE)
    store.save(IMAGE, "p.zarr/A/1/1")
    store.save(IMAGE, "p.zarr/B/1/0")
    found = attributes_of("p.zarr")
    found = found.get("ome", found)["plate"]
    assert [entry.get("path") for entry in found["wells"]] == ["A/1", "B/1", None]
    assert (found["acquisitions"], found["rows"][0]["_note"]) == ("none", 1)
    fields = attributes_of("p.zarr/A/1")
    images = fields.get("ome", fields)["well"]["images"]
    assert [image.get("path") for image in images] == ["0", "0", "1", None]


# ── zipped stores ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["x.zarr.zip", "x.ozx", "X.OZX", "y.zarr"])
def test_zipped_store_is_named(store: Bound, name: str) -> None:
    with zarr.storage.ZipStore("source.zip", mode="w") as zipped:
        zarr.create_array(zipped, shape=(4,), dtype="u1")[:] = 7
    shutil.copy("source.zip", name)
    before = Path(name).read_bytes()
    for read in (store.load, store.open, store.info, store.list_dir, store.delete):
        for path in (name, f"{name}/a"):
            with pytest.raises(UnsupportedFileError, match=r"zipped Zarr store.*unpack"):
                read(path)
    assert store.exists(name)
    assert Path(name).read_bytes() == before
    with pytest.raises(PolystoreError):
        store.save(IMAGE, name)
    assert Path(name).read_bytes() == before


@pytest.mark.parametrize("name", ["new.zarr.zip", "new.ozx", "new.ozx/a"])
def test_zipped_store_is_not_written(store: Bound, name: str) -> None:
    store.save(IMAGE, "a.zarr")
    for write in (
        lambda: store.save(IMAGE, name),
        lambda: store.create(name, shape=(3,), dtype="u1"),
        lambda: store.ensure_directory(name),
        lambda: store.copy("a.zarr", name),
        lambda: store.move("a.zarr", name),
    ):
        with pytest.raises(InvalidOptionError, match="does not write zipped stores"):
            write()
    assert not store.exists(name)
    assert store.list_dir(".") == ["a.zarr"]
