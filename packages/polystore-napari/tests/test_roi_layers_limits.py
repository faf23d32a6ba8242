"""Outlines that napari cannot fill in time, and ROIs that are too many or too large."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import UnsupportedDataError
from polystore_core.rois import ROI, Composite, Mask, Points, Polygon, Polyline, Rectangle
from polystore_napari.rois import MOST_VERTICES

from .windows import BOX, PLANE, SPOTS, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.screen


# bermuda panics over PANIC every other time. No triangulator can fill BEYOND.
PANIC = Polygon([(-3.5, -3.5), (2, 0), (-3.5, 1), (0, 0), (0, 1), (0, 1e6)])
BEYOND = Polygon([(0, 0), (1e6, 2), (-3.5, 1e-30), (0, 1e6), (0, 1e-30)])


@pytest.fixture
def triangulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Any]]:
    from napari.utils import triangulation_backend as napari

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # napari writes its reports there
    Window().model.add_shapes([[(0, 0), (1, 1)]])  # the first layer applies the settings
    before = napari.get_backend()
    yield lambda name: napari.set_backend(napari.TriangulationBackend[name])
    napari.set_backend(before)


def test_crossing_outlines_are_shown(
    window: Window, triangulator: Callable[[str], Any], tmp_path: Path
) -> None:
    triangulator("bermuda")
    for number in range(16):
        window.save([ROI(PANIC, str(number))])
        assert list(window.layers.rois()) == [ROI(PANIC, str(number))]
    assert not list(tmp_path.glob("napari_*_triang_*"))


def test_unfillable_outlines_are_lines(
    window: Window, triangulator: Callable[[str], Any], tmp_path: Path
) -> None:
    """A polygon that napari cannot fill is a line, and others of its layer are filled."""
    triangulator("numba")
    square = ROI(Polygon([(0, 0), (0, 5), (5, 5), (5, 0)]), "square")
    for rois in ([ROI(BEYOND)], [square], [ROI(BEYOND, "two"), square]):
        window.save(rois)
        assert list(window.layers.rois()) == rois
    assert window.only.shape_type == ["path", "polygon"]
    assert not list(tmp_path.glob("napari_*_triang_*"))


def scribble(count: int) -> Polygon:
    return Polygon(np.random.default_rng(count).integers(0, 100, (count, 2)).tolist())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("count", [400, 1000, 5000])
def test_scribbles_are_lines(window: Window, count: int) -> None:
    """An outline with thousands of crossings is not filled, and is read back."""
    hole = Composite([[(0, 0), (0, 9), (9, 0)], scribble(count).coordinates])
    line = ROI(Polyline(scribble(count).coordinates), "line")
    cell = ROI(Polygon([(0, 0), (0, 5), (3, 3), (5, 0)]), "cell")
    rois = [ROI(scribble(count), "scribble"), cell, ROI(hole, "hole"), line]
    for _ in range(2):
        window.save(rois)
        assert list(window.layers.rois()) == rois
    assert window.only.shape_type == ["path", "polygon", "polygon", "path", "path"]
    assert window.only.features["name"].tolist()[-1] == "line"


@pytest.mark.timeout(120)
def test_scribbles_add_up(window: Window) -> None:
    """Many outlines, each quick to fill, are not filled together."""
    rois = [ROI(scribble(300 + number)) for number in range(60)]
    window.save(rois)
    assert list(window.layers.rois()) == rois
    assert set(window.only.shape_type) == {"path"}


def test_contours_are_filled(window: Window) -> None:
    """The contour of a cell stays a polygon with any number of vertices."""
    turns = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    radius = 100 + 10 * np.sin(9 * turns)
    cell = Polygon(np.column_stack((radius * np.sin(turns), radius * np.cos(turns))))
    window.save([ROI(cell)])
    assert window.only.shape_type == ["polygon"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("rois", "options", "reason"),
    [
        pytest.param(
            [ROI(Polyline(np.zeros((MOST_VERTICES, 2))))],
            {},
            "vertices",
            marks=pytest.mark.slow,
        ),
        pytest.param([BOX] * (MOST_VERTICES // 8), {}, "vertices", marks=pytest.mark.slow),
        ([ROI(Mask(np.ones((3, 3), bool)))] * 17, {}, "the masks overlap"),
        ([ROI(Mask(np.ones((3, 3), bool), (10**9, 10**9)))], {}, "pixels"),
        ([ROI(Rectangle((0, 0), (10**5, 10**5)))], {"labels": True}, "pixels"),
        ([ROI(Polygon([(0, 0), (9000, 1)] * 2000))], {"labels": True}, "rows"),
        ([ROI(Polygon([(0, 0), (0, 9), (10**11, 9)]))], {}, "napari shows at most"),
        ([ROI(Points([(0, 0), (0, 10**11)]))], {}, "napari shows at most"),
    ],
    ids=["path", "many", "masks", "far mask", "large", "tall", "far", "far points"],
)
def test_excessive_rois_are_refused(
    window: Window, rois: list[ROI], options: dict[str, Any], reason: str
) -> None:
    """ROIs that would keep napari busy for long are refused, and its layers stay as they are."""
    window.save(PLANE)
    with pytest.raises(UnsupportedDataError, match=reason):
        window.save(rois, "r.roi", **options)
    assert window.names == ["a"]
    window.save([BOX, SPOTS], "r.roi")
    with pytest.raises(UnsupportedDataError, match=reason):
        window.save(rois, "r.roi", **options)
    assert list(window.layers.rois()) == [BOX, SPOTS]
