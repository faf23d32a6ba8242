"""ROIs as JSON documents."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystore_core import FileManager
from polystore_core.errors import DamagedDataError, UnsupportedFileError
from polystore_core.rois import (
    ROI,
    Composite,
    Ellipse,
    Mask,
    Polygon,
    Position,
    Rectangle,
    Shape,
)

from .examples import EXAMPLES, POINT, SQUARE, Require, make_nested, make_roi
from .strategies import regions, scalars, text


def test_dict_has_documented_form() -> None:
    assert ROI(Rectangle((1, 2), (3, 4), 5), "a", Position(z=2), {"x": (1,)}).to_dict() == {
        "type": "rectangle",
        "version": 1,
        "centre": [1.0, 2.0],
        "size": [3.0, 4.0],
        "angle": 5.0,
        "name": "a",
        "position": {"c": None, "z": 2, "t": None},
        "properties": {"x": [1]},
    }
    polygon = ROI(Polygon([(0, 0), (0, 1), (1, 1)])).to_dict()
    assert polygon["coordinates"] == [[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    composite = ROI(Composite([[(0, 0), (0, 1), (1, 1)]])).to_dict()
    assert composite["parts"] == [polygon["coordinates"]]
    mask = ROI(Mask([[True, False, True], [True, True, True]], (4, -5))).to_dict()
    assert (mask["origin"], mask["shape"], mask["bits"]) == ([4, -5], [2, 3], "vA==")


def test_rois_survive_disk(require: Require, tmp_path: Path) -> None:
    require("polystore_disk")
    require("polystore_formats")
    saved = [make_roi(shape) for shape in EXAMPLES]
    fm, path = FileManager(), str(tmp_path / "rois.json")
    fm.save([roi.to_dict() for roi in saved], path, backend="disk")
    loaded = fm.load(path, backend="disk")
    assert [ROI.from_dict(content) for content in loaded] == saved


@pytest.mark.parametrize("shape", EXAMPLES, ids=repr)
def test_keys_are_required(shape: Shape) -> None:
    content = make_roi(shape).to_dict()
    for key in content:
        with pytest.raises(DamagedDataError, match=f"'{key}'"):
            ROI.from_dict({name: value for name, value in content.items() if name != key})
        with pytest.raises(DamagedDataError, match=key):
            ROI.from_dict(content | {key: object()})
    position = content["position"] | {"s": 1}
    assert ROI.from_dict(content | {"colour": "red", "position": position}) == make_roi(shape)


def test_later_version_is_not_damaged() -> None:
    """The error of an older polystore says that the file is intact, so it is not deleted."""
    with pytest.raises(UnsupportedFileError, match=r"version 2.*upgrade polystore-core"):
        ROI.from_dict(BOX | {"version": 2})


MASK = ROI(Mask([[True] * 9])).to_dict()
BOX = ROI(Ellipse((0, 0), (1, 1))).to_dict()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected an object with a 'type', got NoneType"),
        ([], "expected an object with a 'type', got list"),
        ({}, "'type' must be one of points, line, polyline, polygon, rectangle"),
        (BOX | {"type": "Ellipse"}, "'type' must be one of"),
        (BOX | {"type": ["ellipse"]}, "'type' must be one of"),
        (BOX | {"type": "shape"}, "'type' must be one of"),
        (BOX | {"version": 0}, "'version' must be 1"),
        (BOX | {"version": True}, "'version' must be 1"),
        (BOX | {"version": 1.0}, "'version' must be 1"),
        (BOX | {"position": [0, 0, 0]}, "'position' must be an object with c, z and t"),
        (BOX | {"position": {"c": 0, "z": 0}}, "the key 't' is missing"),
        (BOX | {"position": {"c": 0, "z": 0, "t": -1}}, "'t' must be an index"),
        (BOX | {"centre": {"y": 0, "x": 0}}, "'centre' must be y and x"),
        (BOX | {"centre": make_nested(100_000)}, "'centre' must be two numbers"),
        (BOX | {"properties": {"a": make_nested(100_000)}}, r"properties.* is (\[|a value)"),
        (BOX | {"properties": make_nested(100_000)}, "'properties' must be a mapping"),
        (BOX | {"name": 1}, "'name' must be a str"),
        (MASK | {"bits": "/4A"}, "bits is not base64"),
        (MASK | {"bits": "ÿ4A="}, "bits is not base64"),
        (MASK | {"bits": 3}, "bits is not base64"),
        (MASK | {"bits": "/4CA"}, "bits has 3 bytes"),
        (MASK | {"bits": ""}, "bits has 0 bytes"),
        (MASK | {"bits": "AAA="}, "pixels has no True element"),
        (
            MASK | {"shape": [10**6, 10**6]},
            "bits has 2 bytes, but 10{12} pixels need 125000000000",
        ),
        (MASK | {"shape": [0, 9]}, "'shape' must be height and width"),
        (MASK | {"shape": [-1, -9]}, "'shape' must be height and width"),
        (MASK | {"origin": [0.5, 0]}, "'origin' must be row and column"),
        (ROI(POINT).to_dict() | {"coordinates": make_nested(100_000)}, "coordinates"),
        (ROI(POINT).to_dict() | {"coordinates": {"0": 1}}, "coordinates has dtype object"),
        (ROI(Composite([SQUARE])).to_dict() | {"parts": {}}, "must be at least one polygon"),
        (ROI(Composite([SQUARE])).to_dict() | {"parts": [SQUARE, 1]}, "has dtype int64"),
    ],
)
def test_damage_is_named(content: Any, message: str) -> None:
    with pytest.raises(DamagedDataError, match=message) as caught:
        ROI.from_dict(content)
    assert caught.value.format == "roi"
    assert len(str(caught.value)) < 500


junk = st.recursive(
    scalars | st.floats() | st.integers(), lambda v: st.lists(v) | st.dictionaries(text, v)
)


@given(regions, st.data())
def test_hostile_dicts_are_damage(roi: ROI, data: st.DataObject) -> None:
    content = roi.to_dict()
    for key in data.draw(st.sets(st.sampled_from(sorted(content)), min_size=1)):
        content[key] = data.draw(junk)
    try:
        found = ROI.from_dict(content)
    except DamagedDataError:
        return
    except UnsupportedFileError:  # The document claims to be from a later polystore.
        assert content["version"] > 1
        return
    assert ROI.from_dict(found.to_dict()) == found
