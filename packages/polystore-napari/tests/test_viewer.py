"""A real napari in a process of its own, as its private screen shows it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import imageio.v3 as imageio
import numpy as np
import pytest

from polystore_core.errors import BatchError, RejectedError
from polystore_core.rois import ROI, Points, Rectangle
from polystore_stream import Layout, RemoteViewer
from polystore_testing.processes import becomes

from .pixels import MANY, SIZE, plane

if TYPE_CHECKING:
    from pathlib import Path

    from polystore_core import FileManager
    from polystore_testing.display import Display

pytestmark = [
    pytest.mark.screen,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]


SHADES = {"contrast_limits": (0, 255)}
"""With these limits each pixel value has its own shade of gray, so constant planes differ."""


# ── pixels ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "value",
    [
        np.arange(4096, dtype="u2").reshape(SIZE),
        np.arange(4096, dtype=">i4").reshape(SIZE),
        np.linspace(-1, 1, 4096).reshape(SIZE),
        np.where(np.eye(64) > 0, np.nan, 0.5).astype("f4"),
        np.eye(64) > 0,
        np.arange(3 * 4096, dtype="u2").reshape(3, *SIZE),
    ],
    ids=["uint16", "int32", "float64", "nan", "bool", "volume"],
)
@pytest.mark.smoke
def test_pixels_are_held(files: FileManager, viewer: RemoteViewer, value: Any) -> None:
    """The viewer holds the saved pixels."""
    files.save(value, "held.npy", backend="screen")
    assert np.array_equal(viewer.pixels("held.npy"), value, equal_nan=value.dtype.kind == "f")


@pytest.mark.smoke
def test_shown_is_painted(files: FileManager, display: Display) -> None:
    """A save with wait="shown" returns when the pixels are on the screen."""
    for color in ((0x12, 0xAB, 0x34), (0xAB, 0x12, 0x34), (0x34, 0x12, 0xAB)):
        name = "#" + "".join(f"{part:02x}" for part in color)
        files.save(
            plane(7),
            "shown.npy",
            backend="screen",
            wait="shown",
            colormap=name,
            contrast_limits=(0, 7),
        )
        assert display.count(color) > MANY


def test_square_is_in_place(
    files: FileManager, viewer: RemoteViewer, display: Display, pictures: Path
) -> None:
    """A bright square is painted at its position in the image, in the requested colour."""
    image = plane(100)
    image[8:16, 32:56] = 200
    files.save(
        image,
        "square.npy",
        backend="screen",
        wait="shown",
        colormap="#ff8000",
        contrast_limits=(0, 200),
    )
    picture = viewer.screenshot()
    imageio.imwrite(pictures / "napari-square.png", picture)
    imageio.imwrite(pictures / "napari-screen.png", display.capture())
    whole, square = box(picture, (128, 64, 0)), box(picture, (255, 128, 0))
    found = (square - whole[[0, 1, 0, 1]]) / (whole[2] - whole[0])
    assert np.allclose(found, (8 / 64, 32 / 64, 16 / 64, 56 / 64), atol=0.02)


def box(picture: Any, color: tuple[int, int, int]) -> Any:
    """Return top, left, bottom and right of the pixels that have about this colour."""
    rows, columns = np.nonzero((np.abs(picture[..., :3].astype(int) - color) < 4).all(axis=-1))
    return np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])


def test_last_of_many_is_painted(
    files: FileManager, viewer: RemoteViewer, display: Display
) -> None:
    """Frames at one path arrive faster than they are painted, and the last one stays."""
    for value in range(100, 200):
        files.save(plane(value), "frames.npy", backend="screen", **SHADES)
    assert viewer.pixels("frames.npy")[0, 0] == 199
    files.save(plane(201), "frames.npy", backend="screen", wait="shown", **SHADES)
    assert display.count((201, 201, 201)) > MANY


def test_stack_shows_newest(
    files: FileManager, viewer: RemoteViewer, display: Display, pictures: Path
) -> None:
    """A series is one layer. Its slider is at the last slice, and a text names the slice."""
    values = [plane(100 + index) for index in range(30)]
    paths = [f"stack/cells_{index}.npy" for index in range(30)]
    files.save_batch(values, paths, backend="screen", wait="shown", **SHADES)
    (layer,) = [layer for layer in viewer.layers() if layer["name"] == "cells"]
    assert layer["shape"] == [30, *SIZE]
    assert layer["coordinates"] == [[str(index) for index in range(30)]]
    assert display.count((129, 129, 129)) > MANY
    imageio.imwrite(pictures / "napari-stack.png", viewer.screenshot(canvas_only=False))
    for index in (0, 17, 29):
        assert viewer.pixels(paths[index])[0, 0] == 100 + index


def test_channels_are_added(files: FileManager, viewer: RemoteViewer, display: Display) -> None:
    """Two channels in two colours are shown as their sum."""
    channels = [{"label": "DAPI", "color": "red"}, {"label": "GFP", "color": "green"}]
    files.save(
        np.stack([plane(255), plane(255)]),
        "two.npy",
        backend="screen",
        channels=channels,
        wait="shown",
    )
    assert [layer["name"] for layer in viewer.layers()] == ["two DAPI", "two GFP"]
    assert display.count((255, 255, 0)) > MANY


def test_labels_are_painted(files: FileManager, viewer: RemoteViewer) -> None:
    """A label image is a labels layer."""
    labels = np.zeros(SIZE, "u2")
    labels[:, :32] = 3
    files.save(labels, "cells.npy", backend="screen", labels=True, wait="shown")
    assert viewer.layers()[-1]["type"] == "labels"
    assert np.array_equal(viewer.pixels("cells.npy"), labels)


def test_windows_are_opened(
    files: FileManager, viewer: RemoteViewer, display: Display, pictures: Path
) -> None:
    """A layout can open a window for each well, with its title, layers and pixels."""
    layout = Layout(window=("well",))
    for number, well in enumerate(("B03", "B04")):
        files.save(
            plane(100 + number),
            f"{well}_s1.npy",
            backend="screen",
            names="{well}_s{site}.npy",
            layout=layout,
            wait="shown",
            **SHADES,
        )
    assert becomes(lambda: {"B03", "B04"} <= {*display.titles()})
    windows = {layer["window"] for layer in viewer.layers()}
    assert {"B03", "B04"} <= windows
    assert viewer.pixels("B04_s1.npy", window="B04")[0, 0] == 101
    picture = viewer.screenshot(window="B04")
    imageio.imwrite(pictures / "napari-window.png", picture)
    assert picture[picture.shape[0] // 2, picture.shape[1] // 2].tolist() == [
        101,
        101,
        101,
        255,
    ]
    with pytest.raises(RejectedError, match="the name of an open window: '', 'B03', 'B04'"):
        viewer.screenshot(window="B05")


def test_unknown_names_are_refused(files: FileManager, viewer: RemoteViewer) -> None:
    """The error for an unknown name lists the known names. The answer is never just empty."""
    files.save(np.zeros(SIZE, "u1"), "image.npy", backend="screen")
    with pytest.raises(RejectedError, match="labels layer: none exists"):
        viewer.rois(layer="cells")
    files.save([ROI(Rectangle((9, 9), (5, 5)), "one")], "cells", backend="screen")
    shown = viewer.layers()
    for question, expected in {
        (
            "rois",
            "layer",
            "cell",
        ): "points or labels layer: 'cells' (did you mean 'cells'?)",
        ("rois", "layer", "image"): "shapes, points or labels layer: 'cells'",
        ("rois", "layer", ""): "layer=''",
        (
            "rois",
            "window",
            "well",
        ): "window='well' is not valid: expected the name of an open",
        ("screenshot", "window", "well"): "window='well'",
        ("clear", "window", "well"): "window='well'",
        (
            "pixels",
            "path",
            "images.npy",
        ): "that is shown: 'image.npy' (did you mean 'image.npy'?)",
        ("layers", "window", "well"): "'window'",
        ("rois", "path", "cells"): "'path'",
    }.items():
        name, option, value = question
        with pytest.raises(RejectedError) as caught:
            viewer.query(name, **{option: value})
        assert expected in str(caught.value)
    with pytest.raises(RejectedError, match="window='well'"):
        viewer.pixels("image.npy", window="well")
    assert viewer.layers() == shown
    assert [roi.name for roi in viewer.rois(layer="cells")] == ["one"]


def test_closed_window_refuses_saves(
    files: FileManager, viewer: RemoteViewer, display: Display
) -> None:
    """A save into a window that the user closed raises an error. Other saves go on."""
    options: dict[str, Any] = {
        "names": "{well}_s{site}.npy",
        "layout": Layout(window=("well",)),
    }
    files.save(plane(1), "C03_s1.npy", backend="screen", **options)
    viewer.layers()  # the window exists once this returns
    display.press_close("C03")

    def save_for_a_while() -> None:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            files.save(plane(2), "C03_s1.npy", backend="screen", **options)
            time.sleep(0.05)

    with pytest.raises(RejectedError) as caught:
        save_for_a_while()
    assert "window 'C03' was closed" in str(caught.value)
    assert becomes(lambda: "C03" not in display.titles())
    files.save(plane(3), "C04_s1.npy", backend="screen", **options)
    files.save(plane(4), "main.npy", backend="screen", wait="shown")
    assert viewer.pixels("main.npy")[0, 0] == 4


def test_layers_may_be_removed(files: FileManager, viewer: RemoteViewer) -> None:
    """If the first of several layers is removed, the viewer lives on and draws the others."""
    for value in (1, 2):
        for name in "abc":
            files.save(plane(value), f"{name}.npy", backend="screen", wait="shown")
        rgb = np.full((*SIZE, 3), value, "u1")
        files.save(rgb, "a.npy", backend="screen", wait="shown")
        files.save([ROI(Points([(3, 4)]))], "r.roi", backend="screen", wait="shown")
        assert viewer.layers()[0]["rgb"]
        viewer.clear()
        files.save(plane(value), "after.npy", backend="screen", wait="shown")
        viewer.clear()
    for index in range(12):
        files.save(plane(value), f"{index}.npy", backend="screen")
    viewer.clear()
    assert not [layer for layer in viewer.layers() if not layer["window"]]


USER = """
import napari, numpy as np, os, time
from qtpy.QtWidgets import QApplication
from polystore_napari.viewer import NapariViewer

def paint(times):
    for _ in range(times):
        QApplication.processEvents()
        time.sleep(0.01)

window = napari.Viewer()
viewer = NapariViewer(window, "user")
paint(10)
for number in range(3):
    window.add_image(np.full((4, 5), number, np.uint16))
paint(10)
for layer in list(window.layers):
    window.layers.remove(layer)
    paint(1)
paint(10)
viewer.close()
window.close()
print("survived", flush=True)
# Skip the end of the interpreter, which unloads Qt and Mesa in any order. On a busy machine
# they crashed there once, long after the layers.
os._exit(0)
"""


def test_user_removes_layers(desktop: Path) -> None:
    """A user may remove layers, also the first of several, on a screen without a graphics card."""
    done = subprocess.run(
        [sys.executable, "-c", USER], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "survived\n"), done.stderr


# ── refusals ─────────────────────────────────────────────────────────────────────────────


def test_unknown_colormap_is_refused(files: FileManager, viewer: RemoteViewer) -> None:
    """An unknown colormap is the error of its save."""
    with pytest.raises(RejectedError, match="does not have a colormap 'nonsense'") as caught:
        files.save(plane(1), "color.npy", backend="screen", colormap="nonsense")
    assert caught.value.path == "color.npy"
    files.save(plane(1), "color.npy", backend="screen", colormap="viridis")
    assert viewer.pixels("color.npy")[0, 0] == 1


def test_misfit_is_refused(files: FileManager, viewer: RemoteViewer) -> None:
    """A slice that does not fit is the error of its save, and the stack stays as it is."""
    paths = [f"fit/fit_{index}.npy" for index in range(3)]
    files.save_batch([plane(index) for index in range(3)], paths, backend="screen")
    with pytest.raises(RejectedError) as caught:
        files.save(np.zeros((9, 9)), paths[1], backend="screen")
    assert "layer 'fit' holds 3 of uint8" in str(caught.value)
    assert "save it under another name" in str(caught.value)
    assert viewer.pixels(paths[1])[0, 0] == 1


def test_misfit_ends_series(files: FileManager) -> None:
    """In a series the misfit fails its own value."""
    values = [plane(0), plane(1), np.zeros((9, 9)), plane(3)]
    paths = [f"ends/ends_{index}.npy" for index in range(4)]
    with pytest.raises(BatchError) as caught:
        files.save_batch(values, paths, backend="screen")
    assert isinstance(caught.value.failed[2][1], RejectedError)


def test_flush_raises_late_misfit(files: FileManager) -> None:
    """The next flush raises the error of a save that did not wait."""
    files.save_batch(
        [plane(1), plane(2)], ["late/late_1.npy", "late/late_2.npy"], backend="screen"
    )
    files.save(np.zeros((9, 9)), "late/late_1.npy", backend="screen", wait=None)
    with pytest.raises(RejectedError, match="layer 'late' holds 2"):
        files.registry["screen"].flush()  # type: ignore[union-attr]


def test_unknown_questions_are_refused(viewer: RemoteViewer) -> None:
    """The error for an unknown question lists the known ones."""
    with pytest.raises(RejectedError, match=r"expected one of .*layers, .*screenshot"):
        viewer.query("colour")
    with pytest.raises(RejectedError, match=r"nothing\.npy"):
        viewer.pixels("nothing.npy")
    with pytest.raises(RejectedError):
        viewer.query("pixels", wrong=1)
    assert viewer.layers() is not None


# ── descriptions ─────────────────────────────────────────────────────────────────────────


def test_layers_are_json(viewer: RemoteViewer) -> None:
    """The list of layers is plain JSON data."""
    assert json.loads(json.dumps(viewer.layers())) == viewer.layers()
