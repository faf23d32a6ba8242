"""Groups and images of xarray, AnnData, SpatialData and others, and zipped stores.

None of them is read as damaged. AnnData and SpatialData need not be installed. zarr builds their
groups, with the attributes that these programs write.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from polystore_core.errors import (
    PolystoreError,
    UnsupportedDataError,
    UnsupportedFileError,
)

from .theirs import IMAGE, attributes_of, document, make_image

if TYPE_CHECKING:
    from polystore_testing import Bound

pytestmark = [
    pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning"),
    pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part"),
    pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr:UserWarning"),
]


def test_dataset_of_xarray_is_read(store: Bound, zarr_format: Any) -> None:
    xarray = pytest.importorskip("xarray", reason="xarray is not installed")
    data = xarray.Dataset(
        {
            "t": (("time", "x"), np.arange(6.0).reshape(2, 3), {"missing_value": np.nan}),
            "flag": (("x",), np.array([True, False, True])),
            "name": (("x",), np.array(["a", "bc", ""], dtype=object)),
        },
        coords={"time": np.array(["2020-01-01", "2020-01-02"], dtype="M8[ns]")},
        attrs={"mean": np.nan},
    )
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
    """Write a group as AnnData 0.10 does. Its "encoding-type" is the kind of an array or group."""

    def describe(node: Any, kind: str, version: str = "0.2.0", **more: Any) -> Any:
        node.attrs.update({"encoding-type": kind, "encoding-version": version, **more})
        return node

    def array(group: Any, name: str, value: Any, kind: str = "array") -> None:
        dtype = np.dtypes.StringDType() if value.dtype.kind == "U" else value.dtype
        made = group.create_array(name, shape=value.shape, dtype=dtype)
        made[...] = value
        describe(made, kind)

    root = describe(zarr.create_group(path, zarr_format=zarr_format), "anndata", "0.1.0")
    array(root, "X", np.arange(6, dtype="f4").reshape(3, 2))
    obs = describe(
        root.create_group("obs"),
        "dataframe",
        _index="_index",
        **{"column-order": ["kind", "score"]},
    )
    array(obs, "_index", np.array(["a", "b", "c"]), "string-array")
    kind = describe(obs.create_group("kind"), "categorical", ordered=False)
    array(kind, "codes", np.array([0, 1, -1], "i1"))
    array(kind, "categories", np.array(["x", "y"]), "string-array")
    score = describe(obs.create_group("score"), "nullable-integer", "0.1.0")
    array(score, "values", np.array([1, 2, 3]))
    array(score, "mask", np.array([False, True, False]))
    sparse = describe(root.create_group("layers"), "dict", "0.1.0").create_group("raw")
    describe(sparse, "csr_matrix", "0.1.0", shape=[3, 2])
    for name, value in (("data", [1.0]), ("indices", [0]), ("indptr", [0, 1, 1, 1])):
        array(sparse, name, np.array(value))
    array(
        describe(root.create_group("uns"), "dict", "0.1.0"), "note", np.array("hello"), "string"
    )


def test_anndata_is_listed_and_loads(store: Bound, zarr_format: Any) -> None:
    make_anndata("a.zarr", zarr_format)
    found = {
        path.split("a.zarr/")[1]: store.load(path)
        for path in store.list_files("a.zarr", recursive=True)
    }
    assert set(found) == {
        "X",
        "obs/_index",
        "obs/kind/codes",
        "obs/kind/categories",
        "obs/score/values",
        "obs/score/mask",
        "layers/raw/data",
        "layers/raw/indices",
        "layers/raw/indptr",
        "uns/note",
    }
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
    metadata = store.info("i.zarr").metadata
    assert metadata["scale"] is None
    assert metadata["axes"] == ["y", "x"]
    steps = STEPS[name] if isinstance(STEPS[name], list) else [STEPS[name]]
    assert metadata["transformations"] == [{"type": "scale", "scale": [0.5, 0.25]}, *steps]
    store.save((IMAGE > 9).astype("u1"), "i.zarr/labels/n")
    with pytest.raises(UnsupportedDataError, match="pass scale="):
        store.save(IMAGE, "i.zarr")
    np.testing.assert_array_equal(store.load("i.zarr"), IMAGE)
    store.save(IMAGE + 1, "i.zarr", scale=(1, 2))
    assert store.info("i.zarr").metadata["scale"] == [1, 2]


def test_identity_of_spatialdata_keeps_the_scale(store: Bound) -> None:
    make_image(
        "i.zarr",
        2,
        version="0.4-dev-spatialdata",
        coordinateTransformations=[{**BETWEEN, "type": "identity"}],
    )
    metadata = store.info("i.zarr").metadata
    assert (metadata["scale"], metadata["ome_version"]) == ([0.5, 0.25], "0.4-dev-spatialdata")
    assert "transformations" not in metadata


@pytest.mark.parametrize("levels", ["missing", "group", "unknown", "damaged"])
def test_one_level_does_not_hide_the_others(store: Bound, levels: str) -> None:
    store.save(np.zeros((600, 600), "u1"), "i.ome.zarr", levels=2)
    place = Path("i.ome.zarr/1")
    if levels == "missing":
        shutil.rmtree(place)
    else:
        fields = {
            "group": {"zarr_format": 3, "node_type": "group"},
            "damaged": {},
            "unknown": document(data_type="int4"),
        }[levels]
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
def test_later_versions_are_not_damaged(store: Bound, version: str) -> None:
    """An image of a later version is not damaged. Its arrays load, and others can be saved."""
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
    [
        {"multiscales": {"version": "0.1.0", "layout": [{"asset": "0"}]}},  # GeoZarr
        {"multiscales": [{"datasets": [{"path": "0", "crs": "EPSG:3857"}], "type": "reduce"}]},
        {"multiscales": True},
        {"multiscales": []},
        {"plate": "P1", "well": "A1"},
        {"plate": {"barcode": 7}, "well": {"volume": 1}, "labels": {"0": "cat"}},
        {"ome": "text", "omero": 3, "image-label": {}},
        {"bioformats2raw.layout": "x"},
    ],
    ids=str,
)
def test_names_of_other_conventions(
    store: Bound, zarr_format: Any, attributes: dict[str, Any]
) -> None:
    """Attributes that OME-Zarr also uses do not make a group an image or a plate."""
    root = zarr.create_group("g.zarr", zarr_format=zarr_format, attributes=attributes)
    root.create_group("0").create_array("band", shape=(3,), dtype="u1")[:] = 5
    assert store.list_files("g.zarr", recursive=True) == ["g.zarr/0/band"]
    np.testing.assert_array_equal(store.load("g.zarr/0/band"), np.full(3, 5, "u1"))
    assert store.info("g.zarr").kind == "directory"
    store.save(IMAGE, "g.zarr/0/more")
    store.save(IMAGE, "g.zarr/labels/x")
    store.delete("g.zarr/0/more")
    assert attributes.items() <= attributes_of("g.zarr").items()


def test_fields_can_be_added_to_plates_with_odd_entries(store: Bound, zarr_format: Any) -> None:
    plate = {
        "rows": [{"name": "A", "_note": 1}, {}],
        "columns": [{"name": 1}],
        "field_count": "x",
        "wells": [{"path": "A/1", "rowIndex": 0, "columnIndex": 0}, {"mine": math.nan}],
        "acquisitions": "none",
    }
    well = {"images": [{"path": "0"}, {"path": "0", "acquisition": 2}, {"acquisition": 1}]}
    version = {"version": "0.4"} if zarr_format == 2 else {}
    for path, value in (
        ("p.zarr", {"plate": plate | version}),
        ("p.zarr/A", {}),
        ("p.zarr/A/1", {"well": well | version}),
    ):
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
