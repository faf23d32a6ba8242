"""ROI files give back equal ROIs, and wrong files raise an error."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import random
import struct
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from roifile import ROI_TYPE, ImagejRoi

from polystore_core import FileManager, formats
from polystore_core.errors import DamagedDataError, UnsupportedDataError, UnsupportedFileError
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
)
from polystore_formats.imagej.roi import decode_roi, encode_roi
from polystore_testing import FormatTests
from polystore_testing.examples import examples

if TYPE_CHECKING:
    from pathlib import Path

Encode = Callable[..., bytes]

ONE: Any = formats().of("x.roi")
SET: Any = formats().of("x.roi.zip")

TRIANGLE = Polygon([[1.5, 0.5], [2.5, 8.5], [11.5, 4.5]])
RING = np.ones((5, 7), bool)
RING[1:4, 2:5] = False
EXAMPLES = [
    ROI(TRIANGLE, "triangle", Position(c=0, z=4, t=2), {"class": "debris", "n": 3}),
    ROI(TRIANGLE.translate(0.1, 1e5 / 3), "細胞 😀", properties={"细": [1, None, "\\%"]}),
    ROI(Rectangle((3, 12.5), (3, 6))),
    ROI(Rectangle((-7.25, 40000.1), (3.3, 6), 30), properties={"imagej": {"group": 300}}),
    ROI(Ellipse((3, 4), (9, 2))),
    ROI(Ellipse((3, 4), (9, 2), 33.3), properties={"": "", "a b": "x\ny", "polystore": "p"}),
    ROI(
        Line([[1, 2], [3.5, -4]]), properties={"imagej": {"kind": "arrow", "stroke_width": 2.5}}
    ),
    ROI(Polyline([[1, 2], [3, 4], [5, 1e9 + 0.5]])),
    ROI(Polyline([[1, 2], [3, 4], [5, 1]]), properties={"imagej": {"kind": "angle"}}),
    ROI(Points([[1, 2], [3.25, 4]]), properties={"imagej": {"counters": [0, 5]}}),
    ROI(Mask(RING, (4, -5))),
    ROI(Mask(RING[:1], (0, 0))),
    ROI(Composite([TRIANGLE, TRIANGLE.translate(20, 0)])),
]


class TestOne(FormatTests):
    format_ = ONE
    values: ClassVar[list[Any]] = EXAMPLES
    refused: ClassVar[list[Any]] = [EXAMPLES, np.zeros((2, 2)), TRIANGLE, None]


class TestSet(FormatTests):
    format_ = SET
    values: ClassVar[list[Any]] = [EXAMPLES, [], [ROI(TRIANGLE)] * 3]
    refused: ClassVar[list[Any]] = [EXAMPLES[0], [1], tuple(EXAMPLES), np.zeros((2, 2))]


small = st.floats(-1000, 1000, width=32) | st.integers(-1000, 1000).map(float)
coordinate = small | st.floats(-1e12, 1e12) | st.integers(-100_000, 100_000).map(float)
pair = st.tuples(coordinate, coordinate)
size = st.floats(1e-3, 1e6) | st.integers(1, 100_000).map(float)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalar = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
    | st.sampled_from(["true", "3", "1.5", "-0", "a: b", " a", "a ", "#", "\\", "=x", "nan"])
)
key = text.filter("imagej".__ne__) | st.sampled_from(["polystore", "class", "a b", "k:", "#x"])
properties = st.dictionaries(key, scalar | st.lists(scalar, max_size=3), max_size=4)


def paths(made: Any, least: int, most: int = 6) -> st.SearchStrategy[Any]:
    return st.lists(pair, min_size=least, max_size=most).map(made)


boxes = st.tuples(pair, st.tuples(size, size), st.just(0.0) | st.floats(-720, 720))
polygons = paths(Polygon, 3)
masks = st.tuples(
    arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))).filter(np.any),
    st.tuples(st.integers(-7_999_999, 7_999_999), st.integers(-99_999, 99_999)),
)
shapes = (
    polygons
    | paths(Points, 1)
    | paths(Line, 2, 2)
    | paths(Polyline, 2)
    | boxes.map(lambda box: Rectangle(*box))
    | boxes.map(lambda box: Ellipse(*box))
    | masks.map(lambda mask: Mask(*mask))
    | st.lists(polygons, min_size=1, max_size=3).map(Composite)
)
color = st.from_regex("#[0-9a-f]{6}", fullmatch=True).filter("#000000".__ne__)
imagej = st.fixed_dictionaries(
    {"stroke_color": color},
    optional={
        "fill_color": color.map(lambda text: f"#40{text[1:]}"),
        "label_color": color,
        "stroke_width": st.integers(1, 32_767 * 10).map(lambda tenths: tenths / 10),
        "group": st.integers(1, 65535),
        "position": st.integers(1, 1 << 30),
        "label_font_size": st.integers(1, 99),
        "options": st.just(("overlay_labels", "draw_offset")),
    },
)
properties |= st.builds(lambda own, settings: {**own, "imagej": settings}, properties, imagej)
index = st.none() | st.integers(0, (1 << 31) - 2)
rois = st.builds(ROI, shapes, text, st.builds(Position, index, index, index), properties)


def _encode(roi: ROI) -> bytes:
    try:
        return encode_roi(roi)
    except UnsupportedDataError as error:
        # ImageJ cannot store these numbers. No other error is allowed.
        assume("float32" not in error.reason)
        raise


@given(roi=rois)
@settings(max_examples=examples(400))
def test_any_roi_comes_back(roi: ROI) -> None:
    assert decode_roi(_encode(roi)) == roi


@given(found=st.lists(rois, max_size=4))
@settings(max_examples=examples(50))
def test_any_set_comes_back(found: list[ROI]) -> None:
    for roi in found:
        _encode(roi)
    file = io.BytesIO()
    SET.save(found, file)
    assert SET.load(io.BytesIO(file.getvalue())) == found


# ── hostile bytes ─────────────────────────────────────────────────────────────────────────


def _damage(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(changed))
        size = chance.choice((1, 2, 4))
        changed[at : at + size] = chance.choice(
            (b"\xff" * size, b"\x7f" + b"\xff" * (size - 1), chance.randbytes(size))
        )
    return bytes(changed[: chance.choice((None, chance.randrange(len(changed))))])


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_hostile_bytes_are_refused(number: int) -> None:
    content, chance = encode_roi(EXAMPLES[number]), random.Random(number)
    for _ in range(400):
        changed = _damage(content, chance)
        try:
            roi = decode_roi(changed)
        except (DamagedDataError, UnsupportedDataError):
            continue
        assert encode_roi(roi) == changed  # the bytes are kept as they are


def test_small_file_makes_no_large_mask() -> None:
    """Outlines are filled up to a limit. A larger mask is refused when it is saved."""
    pixels = np.zeros((5000, 5000), bool)
    pixels[0], pixels[:, 0] = True, True
    with pytest.raises(UnsupportedDataError, match="or save it as an image"):
        encode_roi(ROI(Mask(pixels)))
    outline = ROI(Polygon(np.array([[0, 0], [0, 9e5], [9e5, 9e5], [9e5, 0]]) - 0.5))
    claim = encode_roi(dataclasses.replace(outline, properties={"x": [1]}))
    flagged = claim.replace(
        'polystore: {"properties": {"x": [1]}}'.encode("utf-16-be"),
        'polystore: {"mask": true,  "t": 456}}'.encode("utf-16-be").replace(
            b"\0}\0}", b"\0 \0}"
        ),
    )
    assert flagged != claim
    assert decode_roi(flagged).shape == outline.shape


# ── content of a file ─────────────────────────────────────────────────────────────────────


def test_simple_properties_are_text() -> None:
    """Simple properties are text, which ImageJ's own list of properties shows."""
    values = {"class": "debris", "n": 3, "area": 0.1, "ok": True, "zero": "", "ids": [1]}
    record = ImagejRoi.frombytes(encode_roi(ROI(TRIANGLE, properties=values)))
    assert record.props == (
        "area: 0.1\nclass: debris\nn: 3\nok: true\n"
        'polystore: {"properties": {"ids": [1]}}\nzero: \n'
    )


def test_whole_coordinates_are_integers() -> None:
    record = ImagejRoi.frombytes(encode_roi(ROI(TRIANGLE, "n", Position(c=0, z=1, t=2))))
    assert record.roitype == ROI_TYPE.POLYGON
    assert record.subpixel_coordinates is None
    assert record.coordinates().tolist() == [[1, 2], [9, 3], [5, 12]]
    assert (record.c_position, record.z_position, record.t_position) == (1, 2, 3)
    assert (record.position, record.name, record.props) == (0, "n", "")
    record = ImagejRoi.frombytes(encode_roi(ROI(Rectangle((3, 12.5), (3, 6)))))
    assert (record.top, record.left, record.bottom, record.right) == (2, 10, 5, 16)
    assert not record.subpixelrect


def test_masks_are_outlines_along_pixels() -> None:
    record = ImagejRoi.frombytes(encode_roi(ROI(Mask(np.ones((2, 3), bool), (5, 7)))))
    assert record.roitype == ROI_TYPE.TRACED
    assert sorted(record.coordinates().tolist()) == [[7, 5], [7, 7], [10, 5], [10, 7]]
    assert ImagejRoi.frombytes(encode_roi(ROI(Mask(RING)))).composite


def test_masks_stay_masks_if_imagej_moves_them() -> None:
    content = bytearray(encode_roi(ROI(Mask(np.ones((2, 3), bool), (5, 7)))))
    content[8:16] = struct.pack(">4h", 6, 17, 8, 20)
    assert decode_roi(bytes(content)).shape == Mask(np.ones((2, 3), bool), (6, 17))


def test_many_points_come_back(encode: Encode) -> None:
    points = np.arange(140_000, dtype=float).reshape(-1, 2)
    roi = ROI(Points(points))
    assert ONE.load(io.BytesIO(encode(ONE, roi))) == roi


@pytest.mark.parametrize(
    ("shape", "settings", "problem"),
    [
        (TRIANGLE, {"kind": "arrow"}, "polygon or freehand or traced"),
        (Mask(RING), {"kind": "traced"}, "composite"),
        (Rectangle((5, 5), (2, 3), 30), {"kind": "text"}, "rotated rectangle"),
        (TRIANGLE, {"stroke_color": "red"}, "#ff8000"),
        (TRIANGLE, {"stroke_width": -1}, "0 to 32767"),
        (TRIANGLE, {"position": 1.5}, "whole number"),
        (TRIANGLE, {"options": ["loud"]}, "overlay_labels"),
        (TRIANGLE, {"subpixel": 1}, "True or False"),
        (TRIANGLE, {"colour": "#ff8000"}, "stroke_color"),
        (Points([[1, 2]]), {"counters": [1, 2]}, "1 whole numbers"),
        (Rectangle((5, 5), (2, 3)), {"kind": "text", "text": {"size": "big"}}, "font"),
        (Rectangle((5, 5), (2, 3)), {"kind": "image"}, "base64"),
        (TRIANGLE, {"arrow_style": 1}, "does not apply to kind 'polygon'"),
        (TRIANGLE, {"text": {}}, "does not apply to kind 'polygon'"),
        (TRIANGLE, "yes", "ImageJ's settings"),
    ],
)
def test_impossible_settings_are_refused(shape: Any, settings: Any, problem: str) -> None:
    with pytest.raises(UnsupportedDataError, match=problem):
        encode_roi(ROI(shape, properties={"imagej": settings}))


def test_shapes_too_small_for_imagej_are_refused() -> None:
    with pytest.raises(UnsupportedDataError, match="float32"):
        encode_roi(ROI(Rectangle((1e11, 1e11), (1, 1), 45)))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", DamagedDataError),
        (b"Iout" + bytes(40), DamagedDataError),
        (b"Iout" + struct.pack(">hB", 228, 6) + bytes(100), UnsupportedDataError),
        (b"Iout" + struct.pack(">hB", 228, 77) + bytes(100), UnsupportedDataError),
        (b"Iout" + struct.pack(">hB", 228, 1) + bytes(100), UnsupportedDataError),
        (b"Iout" + struct.pack(">hB", 228, 0) + bytes(100), UnsupportedDataError),
    ],
    ids=["empty", "short", "none", "unknown", "flat", "no vertices"],
)
def test_other_files_are_refused(content: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode_roi(content)


# ── sets ─────────────────────────────────────────────────────────────────────────────────


def members(data: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.namelist()


def test_names_of_members_differ(encode: Encode) -> None:
    names = ["a", "a", "A", "a-1", "", "", "b/c", "b\\c", "x.roi", "ü" * 200]
    rois = [ROI(TRIANGLE, name) for name in names]
    data = encode(SET, rois)
    found = members(data)
    assert found[:9] == [
        "a.roi",
        "a-1.roi",
        "A-2.roi",
        "a-1-1.roi",
        "0006-0004.roi",
        "0006-0004-1.roi",
        "b_c.roi",
        "b_c-1.roi",
        "x.roi",
    ]
    assert len({name.lower() for name in found}) == len(names)
    assert max(len(name.encode()) for name in found) <= 255
    assert SET.load(io.BytesIO(data)) == rois


def test_sets_are_zip_files_of_rois(tmp_path: Path) -> None:
    fm = FileManager()
    for name in ("cells.roi.zip", "RoiSet.zip", "day.3.ROI.ZIP"):
        fm.save(EXAMPLES, tmp_path / name, backend="disk")
        assert fm.load(tmp_path / name, backend="disk") == EXAMPLES
        assert fm.info(tmp_path / name, backend="disk").metadata == {"rois": len(EXAMPLES)}
    assert {path.name for path in tmp_path.iterdir()} == {
        "cells.roi.zip",
        "RoiSet.zip",
        "day.3.ROI.ZIP",
    }


def pack_set(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, encode_roi(ROI(TRIANGLE)))
    return file.getvalue()


def test_members_name_rois_without_a_name() -> None:
    found = SET.load(io.BytesIO(pack_set("set/", "set/one.roi", "two.ROI", "__MACOSX/._x")))
    assert [roi.name for roi in found] == ["one", "two"]
    assert encode_roi(found[0]) == encode_roi(ROI(TRIANGLE))  # the bytes have not changed
    renamed = dataclasses.replace(found[0], name="new")
    assert decode_roi(encode_roi(renamed)).name == "new"


def test_other_archives_are_refused() -> None:
    with pytest.raises(UnsupportedFileError, match=r"not hold \.roi files.*'read\.me'"):
        SET.load(io.BytesIO(pack_set("read.me")))
    for names in (["zarr.json", "c/0"], ["x/", "x/c/0", "x/.zarray"], [".zgroup"]):
        with pytest.raises(UnsupportedFileError, match=r"zipped Zarr store.*backend='zarr'"):
            SET.load(io.BytesIO(pack_set(*names)))


def test_members_with_equal_names_load() -> None:
    """``roifile.roiwrite`` names members like their ROIs, and ROIs of one class share a name."""
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = pack_set("nucleus.roi", "x.roi", "nucleus.roi")
    assert [roi.name for roi in SET.load(io.BytesIO(data))] == ["nucleus", "x", "nucleus"]
    assert SET.info(io.BytesIO(data))["metadata"] == {"rois": 3}


def test_other_members_are_ignored() -> None:
    names = ("RoiSet/", "RoiSet/.DS_Store", "RoiSet/a.roi", "__MACOSX/RoiSet/._a.roi")
    data = pack_set(*names, "RoiSet/._a.roi", "Results.csv", "b.roi")
    assert [roi.name for roi in SET.load(io.BytesIO(data))] == ["a", "b"]


def test_properties_of_the_published_package_are_read() -> None:
    """polystore 0.6.3 wrote members 0001.roi, ROIs with the name ROI_1, and one member of JSON."""
    metadata = {
        "0001.roi": {"label": 1, "centroid": [2.5, 3.0], "area": math.nan},
        "0002.roi": {"label": 2},
        "0003.roi": None,
    }
    file = io.BytesIO(pack_set("0001.roi", "0002.roi", "0003.roi"))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("__polystore_roi_metadata__.json", json.dumps(metadata))
    found = SET.load(file)
    assert found[0].properties["imagej"]["raw_name"] == "0001"
    found = [
        dataclasses.replace(
            roi, properties={k: v for k, v in roi.properties.items() if k != "imagej"}
        )
        for roi in found
    ]
    assert found[0].properties == {"label": 1, "centroid": (2.5, 3.0), "area": "NaN"}
    assert found[1].properties == {"label": 2}
    assert found[2].properties == {}


def test_bad_member_is_named() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("good.roi", encode_roi(ROI(TRIANGLE)))
        archive.writestr("bad.roi", b"Iout")
    with pytest.raises(DamagedDataError, match=r"bad\.roi"):
        SET.load(file)
    with pytest.raises(UnsupportedDataError, match="ROI 1, 'second'"):
        SET.save(
            [ROI(TRIANGLE), ROI(TRIANGLE, "second", properties={"imagej": 1})], io.BytesIO()
        )
