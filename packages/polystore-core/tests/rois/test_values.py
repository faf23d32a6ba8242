"""ROIs as values, and the arguments that they refuse."""

import copy
import dataclasses
import json
import math
import pickle
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from polystore_core.errors import InvalidOptionError, UnsupportedDataError
from polystore_core.rois import (
    ROI,
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

from .examples import EXAMPLES, POINT, SQUARE, make_nested, make_roi
from .strategies import regions

# ── values ───────────────────────────────────────────────────────────────────────────────


def test_every_shape_has_examples() -> None:
    assert {type(shape) for shape in EXAMPLES} == set(SHAPES.values())


@pytest.mark.parametrize("shape", EXAMPLES, ids=repr)
def test_rois_are_values(shape: Shape) -> None:
    roi, again = make_roi(shape), make_roi(copy.deepcopy(shape))
    assert (roi == again) is True
    assert (shape == again.shape) is True
    assert (shape != again.shape) is False
    assert hash(roi) == hash(again)
    assert len({shape, again.shape, roi, again}) == 2
    assert type(shape).__name__ in repr(roi)


def test_rois_differ_by_content() -> None:
    different = [make_roi(shape) for shape in EXAMPLES]
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


@pytest.mark.parametrize("make_copy", [copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))])
@pytest.mark.parametrize("shape", EXAMPLES, ids=repr)
def test_rois_are_read_only(shape: Shape, make_copy: Callable[[ROI], ROI]) -> None:
    for roi in (make_roi(shape), make_copy(make_roi(shape))):
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


def test_numbers_of_any_type() -> None:
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
    roi = make_roi(EXAMPLES[-1])
    moved = dataclasses.replace(roi, shape=roi.shape.translate(1, 2))
    assert moved.properties == roi.properties
    assert moved != roi
    turned = dataclasses.replace(Rectangle((0, 0), (1, 2)), angle=90)
    assert turned == Rectangle((0, 0), (1, 2), 90)


@given(regions)
def test_rois_round_trip(roi: ROI) -> None:
    content = roi.to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert ROI.from_dict(content) == roi
    assert ROI.from_dict(content).to_dict() == content
    restored = pickle.loads(pickle.dumps(roi))
    assert restored == roi
    assert hash(restored) == hash(roi)


# ── refused arguments ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("make", "message"),
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
        (lambda: ROI(POINT, properties={"a": make_nested(99)}), "32 levels"),
    ],
)
def test_refuses_unsupported_data(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UnsupportedDataError, match=message):
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
        (lambda: Polygon(SQUARE).translate(math.nan, 0), "dy, dx"),
        (lambda: Rectangle((0, 0), (1, 1)).translate("1", 0), "dy, dx"),  # type: ignore[arg-type]
        (lambda: Mask([[True]]).translate(0.5, 0), "dy, dx"),
    ],
)
def test_refuses_impossible_options(make: Callable[[], object], option: str) -> None:
    with pytest.raises(InvalidOptionError, match="is not valid: expected") as caught:
        make()
    assert caught.value.option == option
