"""Exchange ROIs with ImageJ itself. Its RoiEncoder and RoiDecoder are the reference."""

from __future__ import annotations

import base64
import dataclasses
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import FileManager
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
from polystore_formats.imagej.roi import decode_roi, encode_roi

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZE = 64
VERTICES = [[2.0, 1.0], [3.0, 9.0], [12.0, 5.0]]
FINE = [[2.5, 1.5], [3, 9.25], [12.125, 5.75]]


def area(made: Any, yx: list[list[float]]) -> Any:
    return made(np.array(yx) - 0.5)


# ── files of ImageJ ───────────────────────────────────────────────────────────────────────

SHAPES: dict[str, Shape] = {
    "rectangle": Rectangle((5, 6.5), (5, 10)),
    "rectangle-outside": Rectangle((-28, -15.5), (5, 10)),
    "rectangle-far": Rectangle((50249.5, 40499.5), (500, 1000)),
    "rectangle-fine": Rectangle((5.875, 7), (5.25, 10.5)),
    "rectangle-rounded": Rectangle((10, 11.5), (15, 20)),
    "oval": Ellipse((5, 6.5), (5, 10)),
    "oval-fine": Ellipse((5.5, 7.25), (5.5, 10.5)),
    "polygon": area(Polygon, VERTICES),
    "polygon-fine": area(Polygon, FINE),
    "polygon-outside": area(Polygon, [[-20, -10], [3, 9], [12, 5]]),
    "polygon-far": area(Polygon, [[2, 40000], [3, 50009], [30000, 45005]]),
    "polygon-spline": area(Polygon, [[10, 10], [12, 30], [40, 28], [33, 9]]),
    "freehand": area(Polygon, VERTICES),
    "traced": area(Polygon, [[2, 1], [2, 9], [12, 9], [12, 1]]),
    "polyline": Polyline(VERTICES),
    "polyline-fine": Polyline(FINE),
    "freeline": Polyline(VERTICES),
    "angle": area(Polyline, VERTICES),
    "angle-fine": area(Polyline, FINE),
    "line": Line([[2, 1], [4, 30]]),
    "line-fine": Line([[20.5, 30.5], [4, 3.25]]),
    "arrow": Line([[2, 1], [4, 30]]),
    "point": Points([[6, 5]]),
    "points-fine": Points([[1, 1], [2, 5.5], [3.5, 9]]),
    "points-counted": Points([[1, 1], [2, 5], [3, 9]]),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "rectangle": {},
    "polygon-fine": {},
    "points-fine": {},
    "composite": {},
    "rectangle-rounded": {"arc_size": 6},
    "freehand": {"kind": "freehand"},
    "freeline": {"kind": "freeline"},
    "angle": {"kind": "angle"},
    "arrow": {
        "kind": "arrow",
        "arrow_style": 1,
        "arrow_head_size": 17,
        "stroke_width": 2.0,
        "options": ("double_headed", "scale_stroke_width"),
    },
    "points-counted": {
        "point_type": 2,
        "point_size": 4,
        "counters": (0, 1, 2),
        "counter_positions": (0, 7, 0),
    },
    "points-labelled": {"options": ("show_labels",)},
    "polygon-spline": {"options": ("spline_fit",), "subpixel": True},
    "text": {
        "kind": "text",
        "text": {
            "text": "hello\nwörld 😀\n",
            "font": "SansSerif",
            "size": 14,
            "style": 1,
            "justification": 1,
            "angle": 12.5,
        },
    },
    "rectangle-on-slice": {"position": 9},
    "rectangle-labelled": {
        "label_color": "#ffff00",
        "label_font_size": 13,
        "options": (
            "overlay_labels",
            "overlay_names",
            "overlay_backgrounds",
            "overlay_bold",
            "scale_labels",
        ),
    },
    "oval-coloured é😀": {
        "stroke_color": "#ff8000",
        "fill_color": "#40010203",
        "stroke_width": 2.5,
        "group": 7,
        "options": ("scale_stroke_width",),
    },
}


def settings_of(roi: ROI) -> dict[str, Any]:
    return {k: v for k, v in roi.properties.get("imagej", {}).items() if k != "raw"}


@pytest.fixture
def from_imagej(imagej_files: Path) -> Callable[[str], ROI]:
    fm = FileManager()
    return lambda name: fm.load(imagej_files / f"{name}.roi", backend="disk")


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_where_imagej_has_them(from_imagej: Callable[[str], ROI], name: str) -> None:
    assert from_imagej(name).shape == SHAPES[name]


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_those_of_imagej(from_imagej: Callable[[str], ROI], name: str) -> None:
    assert settings_of(from_imagej(name)) == SETTINGS[name]


def test_rotated_shapes_are_where_imagej_has_them(from_imagej: Callable[[str], ROI]) -> None:
    for name, made, width in (("rectangle-rotated", Rectangle, 7), ("ellipse", Ellipse, 10)):
        shape = from_imagej(name).shape
        assert isinstance(shape, made)
        assert shape.centre == (27, 19.5)
        assert shape.size == pytest.approx((width, 25))
        assert shape.angle == pytest.approx(np.degrees(np.arctan2(-15, 20)))


def test_names_and_positions_are_kept(from_imagej: Callable[[str], ROI]) -> None:
    roi = from_imagej("oval-coloured é😀")
    assert roi.name == "oval-coloured é😀"
    assert roi.position == Position(c=1, z=2, t=3)
    properties = {key: value for key, value in roi.properties.items() if key != "imagej"}
    assert properties == {"class": "debris", "area": 12.5, "note": "two words, é"}
    assert from_imagej("rectangle").position == Position()


def test_composites_have_their_holes(from_imagej: Callable[[str], ROI]) -> None:
    shape = from_imagej("composite").shape
    assert isinstance(shape, Composite)
    assert len(shape.parts) == 2
    assert shape.area == 20 * 20 - 6 * 6


def test_curves_become_short_lines(from_imagej: Callable[[str], ROI]) -> None:
    shape = from_imagej("composite-curves").shape
    assert isinstance(shape, Composite)
    assert shape.area == pytest.approx(np.pi * 31.5 * 20 / 4, rel=1e-3)
    assert shape.bounds == pytest.approx((3.5, 2.5, 23.5, 34))


def test_images_are_kept(from_imagej: Callable[[str], ROI]) -> None:
    settings = settings_of(from_imagej("image"))
    assert base64.b64decode(settings.pop("image"))[:2] == b"II"
    assert settings == {
        "kind": "image",
        "stroke_color": "#000000",
        "image_opacity": 127,
        "options": ("zero_transparent",),
    }


def test_unchanged_files_are_byte_identical(imagej_files: Path, tmp_path: Path) -> None:
    fm = FileManager()
    paths = sorted(imagej_files.glob("*.roi"))
    assert len(paths) > 30
    for path in paths:
        fm.save(fm.load(path, backend="disk"), tmp_path / path.name, backend="disk")
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_unchanged_sets_are_byte_identical(imagej_files: Path, tmp_path: Path) -> None:
    fm = FileManager()
    found = fm.load(imagej_files / "RoiSet.zip", backend="disk")
    fm.save(found, tmp_path / "again.roi.zip", backend="disk")
    with (
        zipfile.ZipFile(imagej_files / "RoiSet.zip") as before,
        zipfile.ZipFile(tmp_path / "again.roi.zip") as after,
    ):
        assert after.namelist() == before.namelist()
        assert [roi.name + ".roi" for roi in found] == before.namelist()
        for name in before.namelist():
            assert after.read(name) == before.read(name), name


def test_raw_bytes_are_used_only_for_the_same_roi(from_imagej: Callable[[str], ROI]) -> None:
    roi = from_imagej("arrow")
    assert "raw" in roi.properties["imagej"]
    moved = dataclasses.replace(roi, shape=roi.shape.translate(1, 2))
    again = decode_roi(encode_roi(moved))
    assert again.shape == moved.shape
    assert settings_of(again) == settings_of(roi)
    renamed = decode_roi(encode_roi(dataclasses.replace(roi, name="new")))
    assert (renamed.name, renamed.shape) == ("new", roi.shape)


# ── files of ours ─────────────────────────────────────────────────────────────────────────


def random_shapes() -> dict[str, Shape]:
    chance = np.random.default_rng(0)
    found: dict[str, Shape] = {}
    y, x = np.mgrid[:20, :20]
    for i in range(15):
        n = chance.integers(3, 9)
        height, width = chance.integers(1, 30, 2)
        top, left = chance.integers(0, 30, 2)
        centre, turned = (
            (top + (height - 1) / 2, left + (width - 1) / 2),
            chance.uniform(-180, 180),
        )
        at, size = chance.uniform(20, 40, 2), chance.uniform(3, 30, 2)
        found |= {
            f"polygon {i}": Polygon(chance.uniform(0, 60, (n, 2))),
            f"polygon of integers {i}": Polygon(chance.integers(0, 60, (n, 2)) - 0.5),
            f"rectangle of integers {i}": Rectangle(centre, (height, width)),
            f"rotated rectangle {i}": Rectangle(at, size, turned),
            f"oval of integers {i}": Ellipse(centre, (height, width)),
            f"ellipse {i}": Ellipse(at, size, turned),
            f"mask {i}": Mask(chance.random((12, 15)) > 0.4, (3, 5)),
            f"disk {i}": Mask(np.hypot(y - at[0] / 3, x - at[1] / 3) < 2 + i / 3, (3, 5)),
            f"composite {i}": Composite([chance.uniform(0, 60, (k, 2)) for k in (5, 4)]),
            f"composite of integers {i}": Composite(
                [chance.integers(0, 60, (k, 2)) - 0.5 for k in (5, 4)]
            ),
        }
    return found


@pytest.fixture(scope="module")
def describe_in_imagej(
    imagej: Callable[[str, Path], list[dict[str, Any]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[dict[str, ROI]], dict[str, dict[str, Any]]]:
    """Return ImageJ's description of ROIs, by name. Java starts once for all of them."""

    def describe(rois: dict[str, ROI]) -> dict[str, dict[str, Any]]:
        folder = tmp_path_factory.mktemp("rois")
        for name, roi in rois.items():
            (folder / f"{name}.roi").write_bytes(encode_roi(roi))
        found = {line["file"].removesuffix(".roi"): line for line in imagej("rois", folder)}
        shutil.rmtree(folder)
        return found

    return describe


def distance(shape: Shape, y: int, x: int) -> float:
    """Return the distance of a pixel's centre from the outline, with 720 corners for ellipses."""
    if isinstance(shape, Ellipse):
        t = np.radians(np.arange(720) / 2)
        cos, sin = np.cos(np.radians(shape.angle)), np.sin(np.radians(shape.angle))
        dy, dx = shape.size[0] / 2 * np.sin(t), shape.size[1] / 2 * np.cos(t)
        outlines = [np.stack((dy * cos - dx * sin, dy * sin + dx * cos), 1) + shape.centre]
    else:
        parts = shape.parts if isinstance(shape, Composite) else (shape,)
        outlines = [part.coordinates for part in parts]  # type: ignore[attr-defined]
    nearest = np.inf
    for start in outlines:
        step = np.roll(start, -1, axis=0) - start
        to = np.array([y, x]) - start
        along = np.clip((to * step).sum(1) / np.maximum((step * step).sum(1), 1e-12), 0, 1)
        nearest = min(nearest, float(np.hypot(*(to - along[:, None] * step).T).min()))
    return nearest


def test_imagej_has_the_same_pixels(
    describe_in_imagej: Callable[[dict[str, ROI]], dict[str, dict[str, Any]]],
) -> None:
    shapes = random_shapes()
    found = describe_in_imagej({name: ROI(shape, name) for name, shape in shapes.items()})
    assert found.keys() == shapes.keys()
    for name, shape in shapes.items():
        mask = np.array(list(found[name]["mask"])) == "1"
        differ = np.argwhere(mask.reshape(SIZE, SIZE) != shape.to_mask((SIZE, SIZE)))  # type: ignore[attr-defined]
        if "integers" in name and not isinstance(shape, Rectangle | Ellipse):
            # ImageJ has another rule for a centre that lies on the outline.
            assert all(distance(shape, y, x) < 1e-9 for y, x in differ), name
        elif isinstance(shape, Ellipse) and shape.angle:
            # The polygon of ImageJ has 72 corners.
            assert all(distance(shape, y, x) < 0.05 for y, x in differ), name
        else:
            assert not len(differ), name


def test_imagej_saves_the_same_roi(
    describe_in_imagej: Callable[[dict[str, ROI]], dict[str, dict[str, Any]]],
) -> None:
    ours = {
        "class": "debris",
        "n": 3,
        "area": 0.1,
        "ids": (1, 2, None),
        "細": "胞\\%",
        "a b": "c",
    }
    rois = {
        name: ROI(shape, name, Position(c=0, t=6), ours)
        for name, shape in random_shapes().items()
    }
    for name, line in describe_in_imagej(rois).items():
        again = decode_roi(base64.b64decode(line["saved"]))
        # Only the rounding to float32 may differ.
        assert set(again.properties.get("imagej", {})) <= {"raw"}
        properties = {key: again.properties[key] for key in ours}
        assert dataclasses.replace(again, properties=properties) == rois[name], name


def test_moved_shapes_are_read(
    describe_in_imagej: Callable[[dict[str, ROI]], dict[str, dict[str, Any]]],
) -> None:
    """A shape that ImageJ has moved has its new position, not the saved one."""
    roi = ROI(Polygon(np.array(FINE) / 3))
    content = bytearray(encode_roi(roi))
    moved = np.frombuffer(content, ">f4", 6, offset=64 + 3 * 4).copy() + 10
    content[64 + 12 : 64 + 12 + 24] = moved.astype(">f4").tobytes()
    shape = decode_roi(bytes(content)).shape
    assert isinstance(shape, Polygon)
    np.testing.assert_allclose(shape.coordinates, np.array(FINE) / 3 + 10, atol=1e-5)


def test_imagej_reads_settings(
    describe_in_imagej: Callable[[dict[str, ROI]], dict[str, dict[str, Any]]],
) -> None:
    coloured = {"stroke_color": "#ff8000", "fill_color": "#40010203", "stroke_width": 2.5}
    rois = {
        "named": ROI(
            Rectangle((5, 5), (3, 3)), "細胞 😀", Position(1, 2, 3), {"class": "debris"}
        ),
        "coloured": ROI(Ellipse((5, 5), (3, 3)), "c", properties={"imagej": coloured}),
        "grouped": ROI(Line([[1, 2], [3.5, 4]]), "g", properties={"imagej": {"group": 7}}),
        "counted": ROI(Points([[1, 2], [3, 4]]), properties={"imagej": {"counters": [2, 1]}}),
        "slice": ROI(Polyline(VERTICES), properties={"imagej": {"position": 9}}),
        "angle": ROI(area(Polyline, VERTICES), properties={"imagej": {"kind": "angle"}}),
        "arrow": ROI(Line([[1, 2], [3, 4]]), properties={"imagej": {"kind": "arrow"}}),
        "far": ROI(Polygon([[-7e4, 1e5], [3, 4.5], [2e6, -3]])),
    }
    found = describe_in_imagej(rois)
    assert found["named"]["name"] == "細胞 😀"
    assert found["named"]["position"][1:] == [2, 3, 4]
    assert found["named"]["properties"] == "class: debris\n"
    assert found["named"]["bounds"] == [4, 4, 3, 3]
    assert found["coloured"]["stroke"] == "ffff8000"
    assert found["coloured"]["fill"] == "40010203"
    assert found["coloured"]["stroke_width"] == 2.5
    assert found["grouped"]["group"] == 7
    assert found["grouped"]["xy"] == [2, 1, 4, 3.5]
    assert found["counted"]["counters"] == [2, 1]
    assert found["slice"]["position"][0] == 9
    assert found["angle"]["xy"] == [1, 2, 9, 3, 5, 12]
    assert found["arrow"]["kind"] == "Arrow Arrow"
    assert found["far"]["xy"] == [100000.5, -69999.5, 5, 3.5, -2.5, 2000000.5]


def test_lines_and_points_count_from_pixel_centres(
    describe_in_imagej: Callable[[dict[str, ROI]], dict[str, dict[str, Any]]],
) -> None:
    rois = {
        "line": ROI(Line(VERTICES[:2])),
        "polyline": ROI(Polyline(VERTICES)),
        "points": ROI(Points(VERTICES)),
    }
    others = {
        "polygon": ROI(Polygon(VERTICES)),
        "angle": ROI(Polyline(VERTICES), properties={"imagej": {"kind": "angle"}}),
    }
    found = describe_in_imagej(rois | others)
    for name in rois:
        assert found[name]["centred"] is True
        assert found[name]["xy"][:4] == [1, 2, 9, 3]
    for name in others:
        assert found[name]["centred"] is False
        assert found[name]["xy"][:4] == [1.5, 2.5, 9.5, 3.5]
