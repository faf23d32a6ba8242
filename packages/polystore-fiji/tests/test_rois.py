"""ROIs in a real ImageJ: from pipelines and from the user."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import imageio.v3 as imageio
import numpy as np
import pytest

from polystore_core.errors import RejectedError, UnsupportedDataError
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

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import User

    from polystore_core import FileManager
    from polystore_fiji.remote import RemoteFiji
    from polystore_testing.display import Display

pytestmark = [
    pytest.mark.screen,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

SIZE = (120, 160)
TRIANGLE = Polygon([(0.1, 0.2), (9.3, 0.7), (5.5, 12.25)])
SQUARE = [(20.5, 20.5), (20.5, 39.5), (39.5, 39.5), (39.5, 20.5)]
HOLE = [(25.5, 25.5), (25.5, 29.5), (29.5, 29.5), (29.5, 25.5)]
ROIS = [
    ROI(Rectangle((20, 30), (11, 9)), "box", properties={"area": 99, "tags": ["a", None]}),
    ROI(Rectangle((20, 30), (10, 8), 30), "turned box"),
    ROI(Ellipse((40, 20), (11, 19)), "ring", Position(z=1)),
    ROI(Ellipse((40, 20), (11, 19), 20), "turned ring", Position(c=0, z=1, t=2)),
    ROI(TRIANGLE, "cell"),
    ROI(TRIANGLE.translate(30, 3), "Zelle µ 細胞", Position(t=1)),
    ROI(Points([(1.5, 2), (50, 60)]), "spots"),
    ROI(Line([(1, 2), (30.5, 40)]), "axis"),
    ROI(Polyline([(1, 2), (30.5, 40), (60, 3)]), "path"),
    ROI(Mask(np.pad(np.eye(5) == 0, 1), (8, 9)), "mask"),
    ROI(Composite([Polygon(SQUARE), Polygon(HOLE)]), "with a hole"),
    ROI(Rectangle((20, 30), (11, 9))),
]


def sort_by_name(rois: list[ROI]) -> list[ROI]:
    return sorted(rois, key=lambda roi: roi.name)


def show(files: FileManager, path: str = "image.npy", **options: Any) -> None:
    files.save(np.full(SIZE, 50, "u1"), path, backend="screen", **options)


@pytest.mark.parametrize("index", range(len(ROIS)))
def test_roi_returns(headless_files: FileManager, headless: RemoteFiji, index: int) -> None:
    """A ROI of each kind comes back from ImageJ with its name, position and properties."""
    show(headless_files)
    headless_files.save(ROIS[index], "one.roi", backend="screen")
    assert headless.layers()[0]["rois"] == 1
    assert headless.rois() == [ROIS[index]]


def test_sets_are_replaced(headless_files: FileManager, headless: RemoteFiji) -> None:
    """A save replaces the ROIs of its path. The ROIs of other paths stay."""
    show(headless_files)
    headless_files.save(ROIS, "many.roi.zip", backend="screen")
    headless_files.save(ROIS[0], "one.roi", backend="screen")
    assert headless.layers()[0]["rois"] == len(ROIS) + 1
    headless_files.save(ROIS[:3], "many.roi.zip", backend="screen")
    assert sort_by_name(headless.rois()) == sort_by_name([*ROIS[:3], ROIS[0]])
    assert headless.rois(layer="ring") == [ROIS[2]]
    headless_files.save([], "many.roi.zip", backend="screen")
    assert headless.rois() == [ROIS[0]]
    headless_files.save([], "one.roi", backend="screen")
    assert (headless.rois(), headless.layers()[0]["rois"]) == ([], 0)


def test_rois_wait_for_images(headless_files: FileManager, headless: RemoteFiji) -> None:
    """ROIs that arrive before any image lie on the first image that arrives."""
    headless_files.save(ROIS[:2], "early.roi", backend="screen")
    headless_files.save(ROIS[:3], "early.roi", backend="screen")
    assert headless.rois() == []
    show(headless_files)
    assert sort_by_name(headless.rois()) == sort_by_name(ROIS[:3])


def test_rois_lie_on_their_image(headless_files: FileManager, headless: RemoteFiji) -> None:
    """ROIs lie on the image of the same path. If there is none, they lie on the newest image."""
    show(headless_files, "a.npy")
    show(headless_files, "b.npy")
    headless_files.save(ROIS[:2], "a.npy", backend="screen")
    headless_files.save(ROIS[:3], "c.npy", backend="screen")
    assert {layer["name"]: layer["rois"] for layer in headless.layers()} == {"a": 2, "b": 3}
    assert sort_by_name(headless.rois(window="a")) == sort_by_name(ROIS[:2])
    with pytest.raises(RejectedError, match="image 'z' is not open"):
        headless.rois(window="z")


def test_rois_stay_on_growing_images(headless_files: FileManager, headless: RemoteFiji) -> None:
    """ROIs stay while their image grows, gets channels, and starts again."""
    names = {"names": "w{channel}_z{z}.npy"}
    show(headless_files, "w1_z0.npy", **names)
    headless_files.save(ROIS, "r.roi", backend="screen")
    for path in ("w1_z1.npy", "w2_z0.npy", "w3_z5.npy"):
        show(headless_files, path, **names)
        assert sort_by_name(headless.rois()) == sort_by_name(ROIS)
    headless.clear()
    assert headless.rois() == []
    show(headless_files)
    headless_files.save(ROIS, "r.roi", backend="screen")
    headless_files.save(np.zeros((9, 9), "f4"), "image.npy", backend="screen")
    assert sort_by_name(headless.rois()) == sort_by_name(ROIS)
    headless_files.save(ROIS[:1], "r.roi", backend="screen")
    assert headless.rois() == ROIS[:1]


def test_areas_are_labels(headless_files: FileManager, headless: RemoteFiji) -> None:
    """With labels=True areas are painted into a label image. The next save replaces them."""
    show(headless_files)
    headless_files.save(ROIS[:2], "cells.roi", backend="screen", labels=True)
    headless_files.save(ROIS[:1], "cells.roi", backend="screen", labels=True)
    assert headless.layers()[0]["rois"] == 0
    with pytest.raises(UnsupportedDataError, match="a Points has no area"):
        headless_files.save(ROIS[6], "cells.roi", backend="screen", labels=True)
    headless.clear()
    with pytest.raises(RejectedError, match="labels=True for ROIs needs an image"):
        headless_files.save(ROIS[:1], "cells.roi", backend="screen", labels=True, wait="shown")


def test_many_rois_return(headless_files: FileManager, headless: RemoteFiji) -> None:
    """Thousands of outlines are sent and read back."""
    show(headless_files)
    random = np.random.default_rng(0)
    outlines = random.random((2000, 20, 2)) * 5 + random.random((2000, 1, 2)) * 100
    rois = [ROI(Polygon(outline), str(at)) for at, outline in enumerate(outlines)]
    headless_files.save(rois, "many.roi.zip", backend="screen", wait="shown")
    assert headless.rois() == rois


# ── on the screen, with a user ───────────────────────────────────────────────────────────


@pytest.mark.smoke
def test_rois_are_painted(
    files: FileManager, viewer: RemoteFiji, display: Display, pictures: Path
) -> None:
    """ROIs are painted at their position and in their colour."""
    show(files, wait="shown")
    red = {"imagej": {"stroke_color": "#ffff0000"}}
    box = ROI(Rectangle((50, 80), (41, 61)), "box", properties=red)
    files.save([box], "box.roi", backend="screen", wait="shown")
    picture = viewer.screenshot()[..., :3]
    imageio.imwrite(pictures / "fiji-rois.png", picture)
    rows, columns = np.nonzero((picture == (255, 0, 0)).all(axis=-1))
    assert (rows.min(), rows.max()) == pytest.approx((30, 70), abs=1)
    assert (columns.min(), columns.max()) == pytest.approx((50, 110), abs=1)
    assert display.count((255, 0, 0)) > 100


def test_shown_rois_are_painted(files: FileManager, display: Display) -> None:
    """A save that waits returns when its ROIs are on the screen."""
    show(files, wait="shown")
    for red in range(100, 250, 5):
        color = {"imagej": {"stroke_color": f"#ff{red:02x}0000"}}
        box = ROI(Rectangle((50, 80), (41, 61)), "box", properties=color)
        files.save([box], "box.roi", backend="screen", wait="shown")
        assert display.count((red, 0, 0)) > 100


def test_drawn_rois_are_read(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """ROIs in the user's selection, overlay and ROI Manager are read."""
    show(files, wait="shown")
    user.do('makeRectangle(10, 20, 30, 40); Roi.setName("mine");')
    (roi,) = viewer.rois()
    assert (roi.name, roi.shape) == ("mine", Rectangle((39.5, 24.5), (40, 30)))
    user.do('makeOval(10, 20, 30, 40); Roi.setName("round"); Overlay.addSelection;')
    user.do('makePolygon(1, 2, 30, 4, 5, 60); Roi.setName("poly"); roiManager("add");')
    user.do('run("Select None");')
    found = {roi.name: roi.shape for roi in viewer.rois()}
    assert found["round"] == Ellipse((39.5, 24.5), (40, 30))
    assert isinstance(found["poly"], Polygon)
    assert len(found) == 2
    user.do('roiManager("reset"); selectWindow("ROI Manager"); run("Close");')


def test_moved_rois_are_read(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """A ROI that the user moves is read at its new position, with its name and properties."""
    show(files, wait="shown")
    for roi in (ROIS[0], ROIS[4], ROIS[2]):
        files.save([roi], "r.roi", backend="screen", wait="shown")
        user.do(
            "Overlay.activateSelection(0); Roi.move(70, 50); Overlay.removeSelection(0); "
            "Overlay.addSelection; run('Select None');"
        )
        (found,) = viewer.rois()
        assert (found.name, found.properties) == (roi.name, roi.properties)
        assert type(found.shape) is type(roi.shape)
        assert found.shape != roi.shape
        moved = dataclasses.replace(found, shape=roi.shape)
        assert moved == roi
        files.save([], "r.roi", backend="screen")
        user.do('if (Overlay.size > 0) run("Remove Overlay");')


def test_manager_lists_sets(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """An open ROI Manager lists the ROIs of pipelines and of its user. Each is read once."""
    show(files, wait="shown")
    user.do(
        'run("ROI Manager..."); makeRectangle(1, 2, 3, 4); Roi.setName("own"); '
        'roiManager("add"); run("Select None");'
    )
    try:
        for rois in (ROIS[:4], ROIS[:6], ROIS[:2]):
            files.save(rois, "set.roi", backend="screen", wait="shown")
            assert user.do('return "" + roiManager("count");') == str(len(rois) + 1)
            assert user.do("name = RoiManager.getName(0); return name;") == "own"
            names = sorted(roi.name for roi in viewer.rois())
            assert names == sorted([*(roi.name for roi in rois), "own"])
        viewer.clear()
        assert user.do('return "" + roiManager("count");') == "1"
    finally:
        user.do('roiManager("reset"); selectWindow("ROI Manager"); run("Close");')


def test_manager_takes_many(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """An open ROI Manager adds and removes thousands of ROIs without a long pause."""
    show(files, wait="shown")
    user.do('run("ROI Manager...");')
    rois = [ROI(TRIANGLE.translate(at % 90, at % 110), f"cell {at}") for at in range(2000)]
    try:
        viewer.query("pulse")
        files.save(rois, "many.roi", backend="screen", wait="shown")
        assert user.do('return "" + roiManager("count");') == "2000"
        files.save(rois[:5], "many.roi", backend="screen", wait="shown")
        assert user.do('return "" + roiManager("count");') == "5"
        pause, _ = viewer.query("pulse")
        print(f"longest pause of ImageJ: {pause:.2f} s")
    finally:
        user.do('roiManager("reset"); selectWindow("ROI Manager"); run("Close");')


def test_labels_are_painted(
    files: FileManager, viewer: RemoteFiji, display: Display, user: User
) -> None:
    """Areas as labels are an image of their own: 1 for the first area, 2 for the second."""
    show(files, wait="shown")
    cells = [ROI(Ellipse((30, 30), (21, 21)), "a"), ROI(Ellipse((80, 90), (31, 31)), "b")]
    files.save(cells, "cells.roi", backend="screen", labels=True, wait="shown")
    user.do('selectWindow("cells labels");')
    pixels = 'return "" + getPixel(30, 30) + "," + getPixel(90, 80) + "," + getPixel(0, 0);'
    assert user.do(pixels) == "1,2,0"
    files.save(cells[1:], "cells.roi", backend="screen", labels=True, wait="shown")
    assert display.titles().count("cells labels") == 1
    user.do('selectWindow("cells labels");')
    assert user.do(pixels) == "0,1,0"
