"""ROIs and pixel sizes in a real napari."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import imageio.v3 as imageio
import numpy as np
import pytest

from polystore_core.errors import RejectedError
from polystore_core.rois import ROI, Ellipse, Mask, Points, Polygon, Position, Rectangle
from polystore_stream import Layout, RemoteViewer

from .pixels import SIZE, plane

if TYPE_CHECKING:
    from pathlib import Path

    from polystore_core import FileManager

pytestmark = [
    pytest.mark.screen,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]


def test_rois_return(files: FileManager, viewer: RemoteViewer, pictures: Path) -> None:
    """ROIs of every kind are read back from the viewer unchanged, over an image with a scale."""
    window: dict[str, Any] = {
        "names": "{well}_{name}.npy",
        "layout": Layout(window=("well",), layer=("name",)),
    }
    files.save(
        np.zeros((3, *SIZE), "u1"),
        "D03_image.npy",
        backend="screen",
        scale=(2, 0.5, 0.5),
        units="um",
        **window,
    )
    rois = [
        ROI(Rectangle((20, 30), (10, 8), 30), "box", properties={"area": 80}),
        ROI(Ellipse((40, 20), (10, 18)), "ring", Position(z=1)),
        ROI(Polygon([(0.1, 0.2), (9.3, 0.7), (5.5, 12.25)]), "cell"),
        ROI(Points([(1.5, 2), (50, 60)]), "spots"),
        ROI(Mask(np.eye(5) > 0, (8, 9)), "mask"),
    ]
    files.save(rois, "D03_rois.npy", backend="screen", wait="shown", **window)
    found = viewer.rois(window="D03")
    assert sorted(found, key=lambda roi: roi.name) == sorted(rois, key=lambda roi: roi.name)
    imageio.imwrite(pictures / "napari-rois.png", viewer.screenshot(window="D03"))
    files.save(rois[:1], "D03_rois.npy", backend="screen", wait="shown", **window)
    files.save(rois, "D03_rois.npy", backend="screen", wait="shown", **window)
    files.save([], "D03_rois.npy", backend="screen", wait="shown", **window)
    assert viewer.rois(window="D03") == []


def test_many_rois_are_shown(files: FileManager, viewer: RemoteViewer) -> None:
    """A thousand outlines are shown."""
    random = np.random.default_rng(0)
    outlines = random.random((1000, 20, 2)) * 5 + random.random((1000, 1, 2)) * 55
    rois = [ROI(Polygon(outline), str(at)) for at, outline in enumerate(outlines)]
    files.save(rois, "many.roi", backend="screen", wait="shown")
    files.save([], "many.roi", backend="screen")


@pytest.mark.timeout(300)
def test_scribble_blocks_nothing(files: FileManager, viewer: RemoteViewer) -> None:
    """An outline with a hundred thousand crossings is shown, and the viewer still answers."""
    random = np.random.default_rng(0)
    roi = ROI(Polygon(random.integers(0, 64, (1000, 2)).tolist()), "scribble")
    files.save(plane(1), "a.npy", backend="screen")
    files.save([roi], "a.roi", backend="screen", wait="shown")
    assert viewer.rois() == [roi]


def test_refused_pixel_size_leaves_nothing(files: FileManager, viewer: RemoteViewer) -> None:
    """A pixel size that does not fit is the error of its save, and later saves work."""
    large = np.zeros((2048, 2048), "u1")
    files.save(large, "metres.npy", backend="screen", scale=(3.25e-7, 3.25e-7), units="m")
    for wait in ("received", "shown"):
        with pytest.raises(RejectedError, match="scale="):
            files.save(large, "pixels.npy", backend="screen", wait=wait)
    for number in (1e10, 1e12):
        far = ROI(Polygon([(0, 0), (0, number), (9, 9)]))
        with pytest.raises(RejectedError, match="napari shows at most"):
            files.save(far, "far.roi", backend="screen", wait="shown")
    assert list_titles(viewer) == ["metres"]
    viewer.clear()
    assert list_titles(viewer) == []
    files.save(large, "pixels.npy", backend="screen", wait="shown")
    assert list_titles(viewer) == ["pixels"]


@pytest.mark.parametrize(("side", "fits"), [(320, True), (330, False), (512, False)])
def test_pixel_sizes_at_the_limit(
    files: FileManager, viewer: RemoteViewer, side: int, fits: bool
) -> None:
    """The check refuses exactly the sizes at which napari's number field fails."""
    value = np.zeros((side, side), "u1")
    files.save(value, "metres.npy", backend="screen", scale=(3.25e-7, 3.25e-7), units="m")
    if fits:
        files.save(value, "pixels.npy", backend="screen", wait="shown")
    else:
        with pytest.raises(RejectedError, match="of the smallest pixels"):
            files.save(value, "pixels.npy", backend="screen", wait="shown")
    assert list_titles(viewer) == ["metres", "pixels"][: 1 + fits]


def list_titles(viewer: RemoteViewer) -> list[str]:
    """Return the names of the first window's layers."""
    return [layer["name"] for layer in viewer.layers() if not layer["window"]]
