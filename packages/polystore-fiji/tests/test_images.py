"""Images in a real ImageJ, as its private screen shows them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import imageio.v3 as imageio
import numpy as np
import pytest

from polystore_stream import Layout
from polystore_testing.processes import becomes

from .planes import only
from .screens import MOST, SIZE, WHOLE, list_windows, plane

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
        assert display.count(color) > MOST


def test_each_value_is_painted(files: FileManager, display: Display) -> None:
    """Each of several values at one path is on the screen when its save returns."""
    for value in range(100, 110):
        files.save(
            plane(value), "frames.npy", backend="screen", contrast_limits=WHOLE, wait="shown"
        )
        assert display.count((value, value, value)) > MOST


def test_square_is_in_place(
    files: FileManager, viewer: RemoteFiji, display: Display, pictures: Path
) -> None:
    """A bright square is painted at its position in the image, in the requested colour."""
    image = plane(100)
    image[25:50, 100:175] = 200
    files.save(
        image,
        "square.npy",
        backend="screen",
        wait="shown",
        colormap="#ff8000",
        contrast_limits=(0, 200),
    )
    picture = viewer.screenshot()
    imageio.imwrite(pictures / "fiji-square.png", picture)
    imageio.imwrite(pictures / "fiji-screen.png", display.capture())
    assert picture.shape == (*SIZE, 4)
    assert (picture[25:50, 100:175] == (255, 128, 0, 255)).all()
    assert (picture == (255, 128, 0, 255)).all(axis=-1).sum() == 25 * 75
    assert display.count((255, 128, 0)) == 25 * 75


def test_last_of_many_is_painted(
    files: FileManager, viewer: RemoteFiji, display: Display
) -> None:
    """Frames at one path arrive faster than they are painted, and the last one stays."""
    for value in range(50, 250):
        files.save(plane(value), "frames.npy", backend="screen", contrast_limits=WHOLE)
    assert viewer.pixels("frames.npy")[0, 0] == 249
    assert becomes(lambda: display.count((249, 249, 249)) > MOST)


def test_stack_shows_newest(
    files: FileManager, viewer: RemoteFiji, display: Display, pictures: Path
) -> None:
    """A series is one window. Its slider is at the last slice, and a text names the file."""
    paths = [f"stack/cells_{index}.npy" for index in range(30)]
    files.save_batch(
        [plane(100 + n) for n in range(30)],
        paths,
        backend="screen",
        contrast_limits=WHOLE,
        wait="shown",
    )
    layer = only(viewer)
    assert (layer["name"], layer["shape"]) == ("cells", [30, 1, 1, *SIZE])
    assert (layer["position"], layer["visible"]) == ([30, 1, 1], True)
    assert display.count((129, 129, 129)) > MOST
    imageio.imwrite(pictures / "fiji-stack.png", viewer.screenshot(canvas_only=False))
    for index in (0, 17, 29):
        assert viewer.pixels(paths[index])[0, 0] == 100 + index


def test_stack_grows_in_its_window(
    files: FileManager, viewer: RemoteFiji, display: Display
) -> None:
    """A stack that grows by slices and channels stays in one window."""
    for t in range(3):
        for z in range(4):
            for c in range(2):
                files.save(
                    plane(20 * t + z + 100 * c),
                    f"t{t}_z{z}_w{c}.tif",
                    backend="screen",
                    contrast_limits=WHOLE,
                    names="t{t}_z{z}_w{channel}.tif",
                    wait="shown",
                )
                assert list_windows(display) == ["t"]
    assert only(viewer)["shape"] == [3, 4, 2, *SIZE]
    assert only(viewer)["position"][:2] == [3, 4]
    # The first channel is magenta with 43, the second is green with 143.
    assert becomes(lambda: display.count((43, 143, 43)) > MOST)


def test_channels_are_added(files: FileManager, viewer: RemoteFiji, display: Display) -> None:
    """Two channels in two colours are shown as their sum."""
    channels = [{"label": "DAPI", "color": "FF0000"}, {"label": "GFP", "color": "00FF00"}]
    files.save(
        np.stack([plane(255), plane(255)]),
        "two.npy",
        backend="screen",
        axes="cyx",
        channels=channels,
        wait="shown",
    )
    assert only(viewer)["mode"] == "composite"
    assert display.count((255, 255, 0)) > MOST


def test_many_channels_are_shown(files: FileManager, viewer: RemoteFiji) -> None:
    """If ImageJ cannot overlay so many channels, they are shown one at a time."""
    files.save(np.zeros((9, 20, 20), "u2"), "nine.npy", backend="screen", axes="cyx")
    assert (only(viewer)["mode"], only(viewer)["shape"]) == ("color", [1, 1, 9, 20, 20])


def test_holes_are_black(files: FileManager, display: Display, user: User) -> None:
    """Missing planes are black."""
    for c, z in ((1, 1), (2, 2)):
        files.save(
            plane(255),
            f"w{c}_z{z}.tif",
            backend="screen",
            names="w{channel}_z{z}.tif",
            colormap={1: "FF0000", 2: "00FF00"}[c],
            wait="shown",
        )
    assert display.count((0, 255, 0)) > MOST
    user.do('selectWindow("w"); Stack.setPosition(1, 1, 1);')
    assert becomes(lambda: display.count((255, 0, 0)) > MOST)


@pytest.mark.parametrize("samples", [3, 4])
def test_rgb_is_painted(
    files: FileManager, viewer: RemoteFiji, display: Display, samples: int
) -> None:
    """RGB is painted in its colours and updated in place."""
    for color in ((10, 200, 90, 255), (200, 90, 10, 255)):
        image = np.full((*SIZE, samples), color[:samples], "u1")
        files.save(image, "rgb.npy", backend="screen", wait="shown")
        assert display.count(color[:3]) > MOST
        assert np.array_equal(viewer.pixels("rgb.npy"), image)


def test_labels_are_painted(files: FileManager, viewer: RemoteFiji, display: Display) -> None:
    """Each label is painted in a colour of its own, and 0 is black."""
    labels = np.repeat(np.arange(20, dtype="u2"), 10)[:, None].repeat(220, axis=1)
    files.save(labels, "cells.npy", backend="screen", labels=True, wait="shown")
    picture = viewer.screenshot()[..., :3]
    colors = [tuple(picture[10 * n + 5, 100].tolist()) for n in range(20)]
    assert colors[0] == (0, 0, 0)
    assert len({*colors}) == 20
    assert min(max(color) for color in colors[1:]) > 250


@pytest.mark.parametrize("most", [255, 256, 1000, 65535, 100_000, 2**24])
def test_labels_are_distinct(
    files: FileManager, viewer: RemoteFiji, user: User, most: int
) -> None:
    """Only id 0 is black, neighbouring ids differ in colour, and ImageJ measures the ids."""
    ids = np.r_[np.arange(300) % (most + 1), np.arange(most - 99, most + 1)]
    labels = np.tile(ids.astype("i4"), (20, 1))
    files.save(labels, "ids.npy", backend="screen", labels=True, wait="shown")
    assert float(user.do('return "" + getZoom();')) == 1
    colors = viewer.screenshot()[5, :, :3].astype(int)
    assert np.array_equal((colors == 0).all(axis=1), ids == 0)
    assert np.abs(np.diff(colors, axis=0)).sum(axis=1)[np.diff(ids) == 1].min() > 200
    assert np.array_equal(viewer.pixels("ids.npy"), labels)
    assert float(user.do('return "" + getPixel(399, 3);')) == most
    user.do("makeRectangle(399, 2, 1, 9); getStatistics(area, mean);")
    assert float(user.do('getStatistics(area, mean); return "" + mean;')) == most
    assert user.do('doWand(300, 5); return "" + selectionType();') != "-1"
    width = user.do('getSelectionBounds(x, y, w, h); return "" + w;')
    assert int(width) == 1, "the wand selects one label"
    user.do('run("Duplicate...", "title=copy"); rename("copy");')
    assert user.do('return "" + getPixel(0, 3);') == str(most - 99)
    user.do('selectWindow("copy"); setOption("Changes", false); close();')


def test_labels_of_slices_are_painted(files: FileManager, viewer: RemoteFiji) -> None:
    """An id has the same colour in each slice and channel of a stack of label images."""
    labels = np.full((2, 2, *SIZE), 700, "u2")
    labels[0, 0], labels[1, 1] = 701, 0
    files.save(labels, "s.npy", backend="screen", axes="czyx", labels=True, wait="shown")
    plain = only(viewer)
    assert (plain["shape"][:3], plain["mode"]) == ([1, 2, 2], "")
    files.save(labels[0, 1], "one.npy", backend="screen", labels=True, wait="shown")
    one, last = viewer.screenshot(window="one labels"), viewer.screenshot(window="s labels")
    assert np.array_equal(one[5, 5], last[5, 5])


def test_layout_opens_windows(
    files: FileManager, viewer: RemoteFiji, display: Display, pictures: Path
) -> None:
    """A layout can open a window for each well, with its title and pixels."""
    for number, well in enumerate(("B03", "B04")):
        files.save(
            plane(100 + number),
            f"{well}_s1.npy",
            backend="screen",
            contrast_limits=WHOLE,
            names="{well}_s{site}.npy",
            layout=Layout(window=("well",)),
            wait="shown",
        )
    assert list_windows(display) == ["B03 images", "B04 images"]
    assert viewer.pixels("B04_s1.npy", window="B04")[0, 0] == 101
    picture = viewer.screenshot(window="B04 images", canvas_only=False)
    imageio.imwrite(pictures / "fiji-window.png", picture)
    assert viewer.screenshot(window="B03 images")[5, 5].tolist() == [100, 100, 100, 255]


def test_large_images_are_scaled(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """An image larger than the screen is zoomed out, and keeps its zoom while it grows."""
    for z in range(3):
        files.save(
            np.full((2000, 2100), z, "u1"),
            f"l_{z}.tif",
            backend="screen",
            names="l_{z}.tif",
            wait="shown",
        )
        assert 0.2 < float(user.do('return "" + getZoom();')) < 0.5
    assert only(viewer)["shape"] == [1, 3, 1, 2000, 2100]
