import copy
import dataclasses
import json
import math
import pickle
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystore_core import FileManager
from polystore_core.errors import (
    DamagedDataError,
    InvalidOptionError,
    UnsupportedDataError,
    UnsupportedFileError,
)
from polystore_core.rois import (
    LIMIT,
    ROI,
    Area,
    Composite,
    Ellipse,
    Line,
    Mask,
    Points,
    Polygon,
    Polyline,
    Position,
    Rectangle,
    Shape,
)
from polystore_core.rois.shapes import SHAPES

Require = Callable[[str], ModuleType]

SQUARE = [(-0.5, -0.5), (-0.5, 3.5), (3.5, 3.5), (3.5, -0.5)]
HOLE = [(0.5, 0.5), (0.5, 2.5), (2.5, 2.5), (2.5, 0.5)]
ISLAND = [(1.25, 1.25), (1.25, 1.75), (1.75, 1.75), (1.75, 1.25)]
EXAMPLES: list[Shape] = [
    Points([(0, 0)]),
    Points([(0.25, -3), (1e12, 0)]),
    Line([(0, 0), (3, 4)]),
    Polyline([(0, 0), (1, 2), (3, 5)]),
    Polygon(SQUARE),
    Rectangle((3, 12.5), (3, 6)),
    Rectangle((3, 12.5), (3, 6), 30),
    Ellipse((3, 12.5), (3, 6), -45.5),
    Mask(np.eye(3, 11, dtype=bool), (-2, 7)),
    Composite([SQUARE, HOLE, ISLAND]),
]


def example(shape: Shape) -> ROI:
    properties = {"stroke": {"color": "#ff0000", "width": 1.5}, "counters": [1, 2], "n": None}
    return ROI(shape, "kern ä", Position(z=3, t=0), properties)


# ── strategies ───────────────────────────────────────────────────────────────────────────

numbers = st.floats(-LIMIT, LIMIT)
sizes = st.floats(0, LIMIT, exclude_min=True)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
eighths = st.integers(-24, 88).map(lambda n: n / 8)


def pairs(values: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[float, float]]:
    return st.tuples(values, values)


def paths(
    least: int, most: int = 9, values: st.SearchStrategy[float] = numbers
) -> st.SearchStrategy[list[tuple[float, float]]]:
    return st.lists(pairs(values), min_size=least, max_size=most)


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 19))
    bits = draw(st.integers(1, 2 ** (height * width) - 1))
    pixels = np.array([bits >> i & 1 for i in range(height * width)], bool)
    origin = draw(st.tuples(st.integers(-99, 99), st.integers(-99, 99)))
    return Mask(pixels.reshape(height, width), origin)


shapes: st.SearchStrategy[Shape] = st.one_of(
    st.builds(Points, paths(1)),
    st.builds(Line, paths(2, 2)),
    st.builds(Polyline, paths(2)),
    st.builds(Polygon, paths(3)),
    st.builds(Rectangle, pairs(numbers), pairs(sizes), numbers),
    st.builds(Ellipse, pairs(numbers), pairs(sizes), numbers),
    masks(),
    st.builds(Composite, st.lists(paths(3), min_size=1, max_size=4)),
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=8
)
index = st.none() | st.integers(0, 2**31)
regions = st.builds(
    ROI,
    shapes,
    text,
    st.builds(Position, index, index, index),
    st.dictionaries(text, documents, max_size=3),
)


# ── values ───────────────────────────────────────────────────────────────────────────────


def test_every_shape_has_examples() -> None:
    assert {type(shape) for shape in EXAMPLES} == set(SHAPES.values())


@pytest.mark.parametrize("shape", EXAMPLES, ids=repr)
def test_rois_are_values(shape: Shape) -> None:
    roi, again = example(shape), example(copy.deepcopy(shape))
    assert (roi == again) is True
    assert (shape == again.shape) is True
    assert (shape != again.shape) is False
    assert hash(roi) == hash(again)
    assert len({shape, again.shape, roi, again}) == 2
    assert type(shape).__name__ in repr(roi)


def test_rois_differ_by_content() -> None:
    different = [example(shape) for shape in EXAMPLES]
    different += [
        ROI(EXAMPLES[0]),
        ROI(EXAMPLES[0], "a"),
        ROI(EXAMPLES[0], position=Position(c=0)),
        ROI(EXAMPLES[0], properties={"a": 1}),
        ROI(EXAMPLES[0], properties={"a": [1]}),
        ROI(Points(SQUARE)),
        ROI(Polyline(SQUARE)),
        ROI(Composite([SQUARE])),
        ROI(Ellipse((3, 12.5), (3, 6))),
    ]
    for i, one in enumerate(different):
        for j, other in enumerate(different):
            assert (one == other) is (i == j)
            assert (one.shape == 3) is False


def test_zero_has_one_sign() -> None:
    assert Points([(-0.0, 0.0)]) == Points([(0, 0)])
    assert hash(Points([(-0.0, 0.0)])) == hash(Points([(0, 0)]))
    assert str(Rectangle((-0.0, 0), (1, 1), -0.0)) == str(Rectangle((0, 0), (1, 1)))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
@pytest.mark.parametrize("shape", EXAMPLES, ids=repr)
def test_nothing_can_be_written(shape: Shape, copied: Callable[[ROI], ROI]) -> None:
    for roi in (example(shape), copied(example(shape))):
        for value in (roi, roi.shape, roi.position):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(value, dataclasses.fields(value)[0].name, None)
            with pytest.raises((AttributeError, TypeError)):
                value.other = 1  # type: ignore[union-attr]
        for field in dataclasses.fields(roi.shape):
            value = getattr(roi.shape, field.name)
            if isinstance(value, np.ndarray):
                with pytest.raises(ValueError, match="WRITEABLE"):
                    value.setflags(write=True)
        with pytest.raises(TypeError):
            roi.properties["new"] = 1  # type: ignore[index]
        with pytest.raises(TypeError):
            roi.properties["stroke"]["width"] = 1


def test_arguments_are_copied() -> None:
    coordinates = np.zeros((3, 2))
    properties: dict[str, Any] = {"list": [1], "object": {"a": 1}}
    roi = ROI(Polygon(coordinates), properties=properties)
    coordinates[:] = 7
    properties["list"].append(2)
    properties["object"]["b"] = 2
    assert roi == ROI(Polygon(np.zeros((3, 2))), properties={"list": (1,), "object": {"a": 1}})


def test_numbers_of_any_kind() -> None:
    expected = Polygon([(0, 0), (0, 4), (3, 4)])
    for dtype in ("i1", ">i4", "u8", "f2", ">f8", "g"):
        polygon = Polygon(np.array([(0, 0), (0, 4), (3, 4)], dtype))
        assert polygon == expected
        assert polygon.coordinates.dtype == np.dtype("f8")
    odd: list[Any] = [np.float16(1), np.float32(0.5), np.int8(1), Fraction(1, 2)]
    assert Rectangle(odd[:2], odd[2:]) == Rectangle((1, 0.5), (1, 0.5))
    assert type(Position(c=np.uint8(3)).c) is int  # type: ignore[arg-type]
    found = ROI(EXAMPLES[0], properties={"a": np.uint16(3), "b": np.bool_(True)}).properties
    assert [type(value) for value in found.values()] == [int, bool]


def test_replace_keeps_the_rest() -> None:
    roi = example(EXAMPLES[-1])
    moved = dataclasses.replace(roi, shape=roi.shape.translated(1, 2))
    assert moved.properties == roi.properties
    assert moved != roi
    turned = dataclasses.replace(Rectangle((0, 0), (1, 2)), angle=90)
    assert turned == Rectangle((0, 0), (1, 2), 90)


@given(regions)
def test_rois_travel_whole(roi: ROI) -> None:
    content = roi.to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert ROI.from_dict(content) == roi
    assert ROI.from_dict(content).to_dict() == content
    restored = pickle.loads(pickle.dumps(roi))
    assert restored == roi
    assert hash(restored) == hash(roi)


# ── refusals ─────────────────────────────────────────────────────────────────────────────

POINT = Points([(0, 0)])


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Points([]), r"float64 and shape \(0,\)"),
        (lambda: Points(np.zeros((0, 2))), "0 vertices: expected at least 1"),
        (lambda: Line([(0, 0)]), "1 vertices: expected 2"),
        (lambda: Line([(0, 0)] * 3), "3 vertices: expected 2"),
        (lambda: Polyline([(0, 0)]), "1 vertices: expected at least 2"),
        (lambda: Polygon([(0, 0), (1, 1)]), "2 vertices: expected at least 3"),
        (lambda: Points([(0, 0, 0)]), r"shape \(1, 3\)"),
        (lambda: Points(np.zeros((2, 2, 2))), r"shape \(2, 2, 2\)"),
        (lambda: Points([(0, 0), (0, math.nan)]), r"\[1\] is \[0.0, nan\]"),
        (lambda: Points([(0, math.inf)]), r"\[0\] is \[0.0, inf\]"),
        (lambda: Points([(0, 1.1e12)]), "numbers of at most 1e\\+12"),
        (lambda: Points([(0, -(2**63))]), "numbers of at most"),
        (lambda: Points([(0, 10**400)]), "object and shape"),
        (
            lambda: Points(np.ma.zeros((2, 2))),
            "coordinates: a masked array would lose its mask",
        ),
        (lambda: Mask(np.ma.ones((2, 2), bool)), "a masked array would lose its mask"),
        (lambda: Points([(0,), (0, 1)]), "not an array"),
        (lambda: Points([("0", "1")]), "<U1 and shape"),
        (lambda: Points([(True, False)]), "bool and shape"),
        (lambda: Points([(0, 1j)]), "complex128"),
        (lambda: Points(None), "object and shape"),  # type: ignore[arg-type]
        (lambda: Mask([[1, 0]]), "compare first"),
        (lambda: Mask([True]), r"bool and shape \(1,\)"),
        (lambda: Mask([[True], [True, False]]), "not an array"),
        (lambda: Mask([[False]]), "no True element"),
        (lambda: Mask(np.zeros((0, 3), bool)), "no True element"),
        (lambda: Composite([[(0, 0)]]), "1 vertices"),
        (lambda: Composite("ab"), "coordinates"),
        (
            lambda: ROI(POINT, properties={"a": {"b": [0, math.nan]}}),
            r"\['a'\]\['b'\]\[1\] is nan",
        ),
        (
            lambda: ROI(POINT, properties={"a": np.zeros(2)}),
            r"is array\(\[0\., 0\.\]\): expected",
        ),
        (lambda: ROI(POINT, properties={"a": 2**64}), "at most 64 bits"),
        (lambda: ROI(POINT, properties={"a": "\ud800"}), r"is '.ud800': expected"),
        (lambda: ROI(POINT, properties={"\ud800": 1}), r"properties is \{"),
        (lambda: ROI(POINT, properties={1: 1}), r"properties is \{"),  # type: ignore[dict-item]
        (lambda: ROI(POINT, properties={"a": {1}}), r"is \{1}"),
        (lambda: ROI(POINT, properties={"a": b"1"}), "is b'1'"),
        (lambda: ROI(POINT, properties={"a": nested(99)}), "32 levels"),
    ],
)
def test_refuses_unsupported_data(make: Callable[[], object], says: str) -> None:
    with pytest.raises(UnsupportedDataError, match=says):
        make()


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda: Rectangle((0, 0), (0, 1)), "size"),
        (lambda: Rectangle((0, 0), (1, -1)), "size"),
        (lambda: Ellipse((0, 0), (1, math.nan)), "size"),
        (lambda: Ellipse((0, 0), (1, math.inf)), "size"),
        (lambda: Ellipse((0, 0), 1), "size"),  # type: ignore[arg-type]
        (lambda: Ellipse((0, 0, 0), (1, 1)), "centre"),
        (lambda: Ellipse(("0", "0"), (1, 1)), "centre"),  # type: ignore[arg-type]
        (lambda: Ellipse((True, 0), (1, 1)), "centre"),
        (lambda: Ellipse((10**400, 0), (1, 1)), "centre"),
        (lambda: Rectangle((0, 0), (1, 1), math.nan), "angle"),
        (lambda: Rectangle((0, 0), (1, 1), "90"), "angle"),  # type: ignore[arg-type]
        (lambda: Mask([[True]], (0.5, 0)), "origin"),  # type: ignore[arg-type]
        (lambda: Mask([[True]], 3), "origin"),  # type: ignore[arg-type]
        (lambda: Composite([]), "parts"),
        (lambda: Composite(3), "parts"),  # type: ignore[arg-type]
        (lambda: Position(c=-1), "c"),
        (lambda: Position(z=True), "z"),
        (lambda: Position(t=0.0), "t"),  # type: ignore[arg-type]
        (lambda: Position(t="0"), "t"),  # type: ignore[arg-type]
        (lambda: ROI([(0, 0)]), "shape"),  # type: ignore[arg-type]
        (lambda: ROI(POINT, None), "name"),  # type: ignore[arg-type]
        (lambda: ROI(POINT, "\udfff"), "name"),
        (lambda: ROI(POINT, position=(0, 0, 0)), "position"),  # type: ignore[arg-type]
        (lambda: ROI(POINT, properties=[]), "properties"),  # type: ignore[arg-type]
        (lambda: Polygon(SQUARE).to_mask((1, -1)), "shape"),
        (lambda: Polygon(SQUARE).to_mask((1, 1.0)), "shape"),  # type: ignore[arg-type]
        (lambda: Polygon(SQUARE).to_mask((1, 1, 1)), "shape"),  # type: ignore[arg-type]
        (lambda: Polygon(SQUARE).translated(math.nan, 0), "dy, dx"),
        (lambda: Rectangle((0, 0), (1, 1)).translated("1", 0), "dy, dx"),  # type: ignore[arg-type]
        (lambda: Mask([[True]]).translated(0.5, 0), "dy, dx"),
    ],
)
def test_refuses_impossible_options(make: Callable[[], object], option: str) -> None:
    with pytest.raises(InvalidOptionError, match="is not valid: expected") as caught:
        make()
    assert caught.value.option == option


# ── as JSON ──────────────────────────────────────────────────────────────────────────────


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
    saved = [example(shape) for shape in EXAMPLES]
    fm, path = FileManager(), str(tmp_path / "rois.json")
    fm.save([roi.to_dict() for roi in saved], path, backend="disk")
    loaded = fm.load(path, backend="disk")
    assert [ROI.from_dict(content) for content in loaded] == saved


@pytest.mark.parametrize("shape", EXAMPLES, ids=repr)
def test_keys_are_needed(shape: Shape) -> None:
    content = example(shape).to_dict()
    for key in content:
        with pytest.raises(DamagedDataError, match=f"'{key}'"):
            ROI.from_dict({name: value for name, value in content.items() if name != key})
        with pytest.raises(DamagedDataError, match=key):
            ROI.from_dict(content | {key: object()})
    position = content["position"] | {"s": 1}
    assert ROI.from_dict(content | {"colour": "red", "position": position}) == example(shape)


def test_later_version_is_whole() -> None:
    """Nobody deletes a file because an older polystore cannot read it."""
    with pytest.raises(UnsupportedFileError, match=r"version 2.*upgrade polystore-core"):
        ROI.from_dict(BOX | {"version": 2})


MASK = ROI(Mask([[True] * 9])).to_dict()
BOX = ROI(Ellipse((0, 0), (1, 1))).to_dict()


@pytest.mark.parametrize(
    ("content", "says"),
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
        (BOX | {"centre": nested(100_000)}, "'centre' must be two numbers"),
        (BOX | {"properties": {"a": nested(100_000)}}, r"properties.* is (\[|a value)"),
        (BOX | {"properties": nested(100_000)}, "'properties' must be a mapping"),
        (BOX | {"name": 1}, "'name' must be a str"),
        (MASK | {"bits": "/4A"}, "bits is not base64"),
        (MASK | {"bits": "ÿ4A="}, "bits is not base64"),
        (MASK | {"bits": 3}, "bits is not base64"),
        (MASK | {"bits": "/4CA"}, "bits has 3 bytes"),
        (MASK | {"bits": ""}, "bits has 0 bytes"),
        (MASK | {"bits": "AAA="}, "pixels has no True element"),
        (MASK | {"shape": [10**6, 10**6]}, "bits has 2 bytes, but 10{12} pixels need 125000000000"),
        (MASK | {"shape": [0, 9]}, "'shape' must be height and width"),
        (MASK | {"shape": [-1, -9]}, "'shape' must be height and width"),
        (MASK | {"origin": [0.5, 0]}, "'origin' must be row and column"),
        (ROI(POINT).to_dict() | {"coordinates": nested(100_000)}, "coordinates"),
        (ROI(POINT).to_dict() | {"coordinates": {"0": 1}}, "coordinates has dtype object"),
        (ROI(Composite([SQUARE])).to_dict() | {"parts": {}}, "must be at least one polygon"),
        (ROI(Composite([SQUARE])).to_dict() | {"parts": [SQUARE, 1]}, "has dtype int64"),
    ],
)  # fmt: skip
def test_damage_is_named(content: Any, says: str) -> None:
    with pytest.raises(DamagedDataError, match=says) as caught:
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
    except UnsupportedFileError:  # of a later polystore
        assert content["version"] > 1
        return
    assert ROI.from_dict(found.to_dict()) == found


# ── geometry ─────────────────────────────────────────────────────────────────────────────


def reference(outlines: Iterable[Any], height: int, width: int) -> np.ndarray[Any, Any]:
    """The even-odd rule in exact numbers, one pixel after the other."""
    mask = np.zeros((height, width), bool)
    edges = [
        tuple(Fraction(float(v)) for v in (*outline[i - 1], *outline[i]))
        for outline in outlines
        for i in range(len(outline))
    ]
    for y, x in np.ndindex(height, width):
        for y0, x0, y1, x1 in edges:
            if min(y0, y1) <= y < max(y0, y1) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x:
                mask[y, x] ^= True
    return mask


@given(st.lists(paths(3, 7, eighths), min_size=1, max_size=3))
def test_masks_match_exact_reference(outlines: list[list[tuple[float, float]]]) -> None:
    expected = reference(outlines, 9, 7)
    assert np.array_equal(Composite(outlines).to_mask((9, 7)), expected)
    assert np.array_equal(Polygon(outlines[0]).to_mask((9, 7)), reference(outlines[:1], 9, 7))


@given(paths(3, 3, eighths), pairs(st.integers(0, 8).map(lambda n: n / 8)))
def test_neighbours_share_no_pixel(
    triangle: list[tuple[float, float]], weights: tuple[float, float]
) -> None:
    """A triangle that is cut at an inner point falls into three, pixel for pixel."""
    (a, b, c), (u, v) = np.array(triangle), weights
    inner = a + u * (b - a) + (1 - u) * v * (c - a)
    pieces = [Polygon([p, q, inner]).to_mask((12, 12)) for p, q in ((a, b), (b, c), (c, a))]
    assert np.array_equal(np.logical_xor.reduce(pieces), Polygon(triangle).to_mask((12, 12)))
    assert np.sum(pieces, axis=0).max() <= 1


def cells(mask: np.ndarray[Any, Any]) -> list[tuple[int, ...]]:
    return [tuple(index) for index in np.argwhere(mask).tolist()]


@pytest.mark.parametrize("y", [0, 2, 4])
@pytest.mark.parametrize("x", [0, 1, 5])
def test_unit_square_is_pixel(y: int, x: int) -> None:
    """A square of one pixel around a centre, whichever shape draws it, is that pixel."""
    corners = Rectangle((y, x), (1, 1)).corners
    assert corners[0].tolist() == [y - 0.5, x - 0.5]
    squares = [Polygon(corners), Polygon(corners[::-1]), Composite([corners])]
    squares += [Rectangle((y, x), (1, 1), turn) for turn in (0, 90, -180, 270, 3600)]
    squares += [Mask([[True]], (y, x)), Ellipse((y, x), (1, 1))]
    for square in squares:
        assert cells(square.to_mask((5, 6))) == [(y, x)]
        assert square.bounds == (y - 0.5, x - 0.5, y + 0.5, x + 0.5)


def test_edges_own_one_side() -> None:
    """A centre on the upper or left edge is inside, one on the lower or right edge is not."""
    corners = [(1, 1), (1, 3), (3, 3), (3, 1)]
    expected = [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert cells(Polygon(corners).to_mask((5, 5))) == expected
    assert cells(Polygon(corners[::-1]).to_mask((5, 5))) == expected
    for angle in (0, 90, 180, 270):
        assert cells(Rectangle((2, 2), (2, 2), angle).to_mask((5, 5))) == expected
    assert cells(Ellipse((2, 2), (2, 2)).to_mask((5, 5))) == [(2, 2)]


def test_masks_are_cut_off() -> None:
    for shape in (
        Rectangle((4, 4), (9, 9)),
        Polygon(Rectangle((4, 4), (9, 9)).corners),
        Composite([Rectangle((4, 4), (9, 9)).corners]),
        Mask(np.ones((9, 9), bool)),
    ):
        assert shape.to_mask((20, 20)).sum() == 81
        for dy, dx, height, width in [
            (-7, 0, 2, 9),
            (0, 15, 9, 5),
            (12, -6, 8, 3),
            (-9, 3, 0, 0),
        ]:
            mask = shape.translated(dy, dx).to_mask((20, 20))
            top, left = max(dy, 0), max(dx, 0)
            assert mask.sum() == height * width
            assert mask[top : top + height, left : left + width].all()
        for away in (-1e9, 1e9, 20, -9):
            assert not shape.translated(away, 0).to_mask((20, 20)).any()
            assert not shape.translated(0, away).to_mask((20, 20)).any()
        for empty in ((0, 0), (0, 5), (5, 0)):
            assert shape.to_mask(empty).shape == empty


def test_extreme_shapes_are_drawn() -> None:
    far = Polygon([(-LIMIT, -LIMIT), (-LIMIT, LIMIT), (LIMIT, LIMIT), (LIMIT, -LIMIT)])
    assert far.to_mask((3, 4)).all()
    assert far.area == 4 * LIMIT**2
    assert Ellipse((0, 0), (LIMIT, LIMIT), 30).to_mask((3, 4)).all()
    tiny = math.ulp(0.0)
    assert not Rectangle((0, 0), (tiny, tiny)).to_mask((3, 4)).any()
    assert not Ellipse((0, 0), (tiny, tiny), 30).to_mask((3, 4)).any()
    thin = Polygon([(0, -5), (tiny, 7), (tiny, LIMIT), (0, LIMIT)])
    assert thin.to_mask((2, 2)).tolist() == [[True, True], [False, False]]
    assert Composite([thin, SQUARE]).area == pytest.approx(16)
    flat = Polygon([(0, 0), (1, 1), (2, 2)])
    assert (flat.area, Composite([flat]).area) == (0, 0)


@given(
    st.builds(Ellipse, pairs(eighths), pairs(st.integers(1, 99).map(lambda n: n / 8)), eighths)
)
def test_ellipse_follows_its_formula(ellipse: Ellipse) -> None:
    (y, x), (height, width) = ellipse.centre, ellipse.size
    cos, sin = math.cos(math.radians(ellipse.angle)), math.sin(math.radians(ellipse.angle))
    mask = ellipse.to_mask((9, 8))
    for row, column in np.ndindex(9, 8):
        dy, dx = row - y, column - x
        far = math.hypot((dy * cos + dx * sin) / height, (dx * cos - dy * sin) / width) * 2
        if not math.isclose(far, 1, rel_tol=1e-9):
            assert mask[row, column] == (far < 1)


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        (Polygon(SQUARE), 16),
        (Polygon(SQUARE[::-1]), 16),
        (Polygon([(0, 0), (0, 4), (3, 0)]), 6),
        (Polygon([(1e9, 1e9), (1e9, 1e9 + 4), (1e9 + 3, 1e9)]), 6),
        (Rectangle((1, 1), (3, 4), 33), 12),
        (Ellipse((1, 1), (2, 4), 33), 2 * math.pi),
        (Mask(np.eye(5, dtype=bool)), 5),
        (Composite([SQUARE]), 16),
        (Composite([HOLE, SQUARE]), 12),
        (Composite([ISLAND, SQUARE, HOLE[::-1]]), 12.25),
        (Composite([SQUARE, SQUARE]), 0),
        (Composite([SQUARE, Polygon(SQUARE).translated(4, 4)]), 32),
        (Composite([SQUARE, [(1.5, 1.5), (1.5, 3.5), (3.5, 3.5), (3.5, 1.5)]]), 12),
        (Composite([SQUARE, [(1.5, -0.5), (3.5, 1.5), (1.5, 3.5), (-0.5, 1.5)]]), 8),
    ],
)
def test_areas_are_known(shape: Area, area: float) -> None:
    assert shape.area == pytest.approx(area, rel=1e-12)
    moved = shape.translated(100, 100)
    assert moved.area == pytest.approx(area, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_area_of_real_outlines(seed: int) -> None:
    """Outlines along pixel edges, as ImageJ traces them: the area is the number of pixels."""
    pixels = np.random.default_rng(seed).random((8, 9)) < 0.5
    composite = Composite(traced(pixels))
    assert np.array_equal(composite.to_mask((8, 9)), pixels)
    assert composite.area == pixels.sum()


def traced(pixels: np.ndarray[Any, Any]) -> list[list[tuple[float, float]]]:
    """Walk around every region with the pixels on the right hand, corner to corner."""
    padded = np.pad(pixels, 1)
    steps: dict[tuple[float, float], list[tuple[float, float]]] = {}
    for y, x in np.argwhere(padded).tolist():
        for dy, dx in ((-1, 0), (0, 1), (1, 0), (0, -1)):
            if not padded[y + dy, x + dx]:
                middle = np.array((y - 1 + dy / 2, x - 1 + dx / 2))
                along = np.array((dx, -dy)) / 2
                start, end = tuple((middle - along).tolist()), tuple((middle + along).tolist())
                steps.setdefault(start, []).append(end)
    outlines = []
    while steps:
        start = at = next(iter(steps))
        outline, came = [], None
        while at in steps:
            ends = steps[at]
            # Where two pixels touch at a corner, turn right: no outline crosses itself.
            if came is not None and len(ends) > 1:
                right = at[0] + at[1] - came[1], at[1] - at[0] + came[0]
                ends.sort(key=right.__ne__)
            came, at = at, ends.pop(0)
            if not steps[came]:
                del steps[came]
            outline.append(came)
            if at == start:
                break
        outlines.append(outline)
    return outlines


@pytest.mark.parametrize(
    ("shape", "bounds"),
    [
        (Points([(3, 1), (2, 7)]), (2, 1, 3, 7)),
        (Line([(3, 1), (2, 7)]), (2, 1, 3, 7)),
        (Polygon(SQUARE), (-0.5, -0.5, 3.5, 3.5)),
        (Rectangle((3, 12.5), (3, 6)), (1.5, 9.5, 4.5, 15.5)),
        (Rectangle((3, 12.5), (3, 6), 90), (0, 11, 6, 14)),
        (Rectangle((0, 0), (2, 2), 45), (-(2**0.5), -(2**0.5), 2**0.5, 2**0.5)),
        (Ellipse((3, 12.5), (3, 6)), (1.5, 9.5, 4.5, 15.5)),
        (Ellipse((3, 12.5), (3, 6), -90), (0, 11, 6, 14)),
        (Ellipse((0, 0), (2, 2), 45), (-1, -1, 1, 1)),
        (Mask(np.eye(3, 11, dtype=bool), (-2, 7)), (-2.5, 6.5, 0.5, 9.5)),
        (Composite([HOLE, SQUARE]), (-0.5, -0.5, 3.5, 3.5)),
    ],
)
def test_bounds_are_known(shape: Shape, bounds: tuple[float, ...]) -> None:
    assert shape.bounds == pytest.approx(bounds, rel=1e-15)
    y0, x0, y1, x1 = bounds
    moved = shape.translated(-3, 5)
    assert moved.bounds == pytest.approx((y0 - 3, x0 + 5, y1 - 3, x1 + 5), rel=1e-15)
    assert moved.translated(3, -5) == shape


def test_positive_angle_turns_left() -> None:
    """On the screen, where y grows downwards: what points right points up after 90 degrees."""
    (top_left, *_), turned = Rectangle((0, 0), (2, 6)).corners, Rectangle((0, 0), (2, 6), 90)
    assert top_left.tolist() == [-1, -3]
    assert turned.corners.tolist() == [[3, -1], [-3, -1], [-3, 1], [3, 1]]
    tilted = Rectangle((4, 4), (1, 9), 45).to_mask((9, 9))
    assert tilted[1, 7]
    assert not tilted[1, 1]
    assert np.array_equal(tilted, Ellipse((4, 4), (1, 9), 45).to_mask((9, 9)) | tilted)


def test_mask_is_a_set() -> None:
    small = Mask([[True, False], [True, True]], (3, 4))
    padded = np.zeros((9, 9), bool)
    padded[5:7, 6:8] = small.pixels
    assert Mask(padded, (-2, -2)) == small
    assert Mask(small.to_mask((20, 20))) == small
    assert small.translated(-1, 2.0).origin == (2, 6)
    assert cells(small.to_mask((20, 20))) == [(3, 4), (4, 4), (4, 5)]
