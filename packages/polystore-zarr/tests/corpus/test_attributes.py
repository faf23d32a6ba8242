"""NaN and infinity in attributes. Python writes them, but JSON does not allow them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from polystore_core.errors import UnsupportedDataError

from .theirs import IMAGE, NAN, attributes_of, make_image

if TYPE_CHECKING:
    from polystore_testing import Bound

pytestmark = [
    pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning"),
    pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part"),
    pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr:UserWarning"),
]


def test_constants_of_python_are_read(store: Bound, zarr_format: Any) -> None:
    array = zarr.create_array(
        "a.zarr",
        shape=(4,),
        dtype="f4",
        zarr_format=zarr_format,
        attributes=NAN,
        fill_value=np.nan,
    )
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
    """JSON libraries of Python also write them into ``.zarray``, where zarr writes text."""
    Path("a.zarr").mkdir()
    Path("a.zarr/.zarray").write_text(
        json.dumps(
            {
                "zarr_format": 2,
                "shape": [3],
                "chunks": [3],
                "dtype": "<f4",
                "compressor": compressor,
                "fill_value": fill,
                "order": "C",
                "filters": None,
            }
        )
    )
    np.testing.assert_array_equal(store.load("a.zarr"), np.full(3, fill, "f4"))


def test_group_with_constants_can_be_changed(store: Bound, zarr_format: Any) -> None:
    """Groups can be listed and written into, and they keep the attributes of their author."""
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
        lambda: store.create(
            "a.zarr", shape=(3,), dtype="u1", zarr_format=zarr_format, attributes={"a": value}
        ),
        lambda: store.save(
            IMAGE, "a.ome.zarr", zarr_format=zarr_format, attributes={"a": value}
        ),
    ):
        with pytest.raises(UnsupportedDataError, match="attributes"):
            save()
    assert store.list_dir(".") == []
    for fill in (math.nan, math.inf):
        store.save(IMAGE.astype("f4"), "f.zarr", zarr_format=zarr_format, fill_value=fill)
        for name in ("zarr.json", ".zarray", ".zattrs"):
            if Path("f.zarr", name).exists():
                json.loads(Path("f.zarr", name).read_text(), parse_constant=pytest.fail)


def test_bytes_of_documents(store: Bound) -> None:
    """A byte order mark is not part of a document, and half a surrogate is kept."""
    zarr.create_group("g.zarr", attributes={"note": "\ud800"}).create_group("labels")
    place = Path("g.zarr/zarr.json")
    place.write_bytes(b"\xef\xbb\xbf" + place.read_bytes())
    store.save(np.ones(3), "g.zarr/a")
    assert store.list_dir("g.zarr") == ["a", "labels"]
