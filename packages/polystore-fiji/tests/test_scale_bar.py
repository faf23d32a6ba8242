"""The scale bar over the images of a real ImageJ."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_testing.processes import becomes

from .screens import SIZE

if TYPE_CHECKING:
    from conftest import User

    from polystore_core import FileManager
    from polystore_fiji.remote import RemoteFiji

pytestmark = [
    pytest.mark.screen,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

MARGIN = 10
BLACK = np.zeros(SIZE, "u1")
TOGGLE = 'run("Show or hide scale bar");'


def measure_bar(viewer: RemoteFiji) -> int:
    """Return the length of the bar in screen pixels, over a black image."""
    picture = viewer.screenshot()[..., :3]
    row = (picture[-MARGIN - 2] == 255).all(axis=1)
    assert not row[-MARGIN:].any()
    return int(row.sum())


def save(files: FileManager, value: Any = BLACK, **options: Any) -> None:
    options = {"scale": {"y": 0.5, "x": 0.5}, "units": "um"} | options
    files.save(value, "bar.npy", backend="screen", wait="shown", **options)


@pytest.mark.parametrize(
    ("scale", "unit", "length"),
    [
        (0.5, "micrometer", 40),  # 20 µm of 27.5
        (5e-7, "meter", 40),
        (5e-4, "millimeter", 40),
        (0.325, "micrometer", 31),  # 10 µm of 17.9
        (3.7, "nanometer", 54),  # 200 nm of 203.5
        (1.0, "angstrom", 50),
        (1.0, "inch", 50),
        (20.0, "kilometer", 50),
        (1.0, "femtometer", 50),
    ],
)
def test_bar_has_a_round_length(
    files: FileManager, viewer: RemoteFiji, scale: float, unit: str, length: int
) -> None:
    """The length is 1, 2 or 5 times a power of ten, and at most a quarter of the window."""
    save(files, scale=(scale, scale), units=unit)
    assert measure_bar(viewer) == length


def test_bar_needs_a_unit(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """An image without a unit of length has no bar until the user sets a unit."""
    files.save(BLACK, "bar.npy", backend="screen", wait="shown")
    assert measure_bar(viewer) == 0
    user.do('run("Properties...", "unit=um pixel_width=0.5 pixel_height=0.5 voxel_depth=1");')
    assert becomes(lambda: measure_bar(viewer) == 40)


def test_bar_follows_the_zoom(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """The bar has a round length at each zoom."""
    save(files)
    user.do('run("In [+]"); run("In [+]");')
    zoom = float(user.do('return "" + getZoom();'))
    assert zoom == 2
    width = viewer.screenshot().shape[1]
    most = width / zoom * 0.5 / 4
    length = max(one for one in (5, 10, 20, 50) if one <= most)
    assert becomes(lambda: measure_bar(viewer) == round(length * zoom / 0.5))


def test_bar_is_not_in_the_image(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """The bar is neither in the pixels nor in the overlay, so it is not saved or read as a ROI."""
    save(files)
    assert measure_bar(viewer) > 0
    assert viewer.rois() == []
    assert user.do('return "" + Overlay.size;') == "0"
    assert not viewer.pixels("bar.npy").any()


def test_bar_may_be_switched_off(files: FileManager, viewer: RemoteFiji) -> None:
    """The option scale_bar=False of the backend hides the bar."""
    files.registry.add("plain", "fiji_stream", viewer=viewer.endpoint.name, scale_bar=False)
    options: Any = {"scale": (0.5, 0.5), "units": "um", "wait": "shown"}
    files.save(BLACK, "bar.npy", backend="plain", **options)
    assert measure_bar(viewer) == 0
    files.save(BLACK, "bar.npy", backend="screen", **options)
    assert measure_bar(viewer) == 40


def test_bar_stays_hidden(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """If the user hides the bar, it stays hidden when the image changes."""
    save(files)
    user.do(TOGGLE)
    assert measure_bar(viewer) == 0
    for value in (BLACK, BLACK.astype("u2"), np.zeros((3, *SIZE), "u2"), BLACK):
        save(files, value)
        assert measure_bar(viewer) == 0
    user.do(TOGGLE)
    assert measure_bar(viewer) == 40


def test_bar_stays_while_an_image_grows(
    files: FileManager, viewer: RemoteFiji, user: User
) -> None:
    """The bar stays, though ImageJ makes new windows for sliders and new images for channels."""
    for names in ("t0_z0_w0", "t0_z1_w0", "t1_z1_w0", "t1_z1_w1"):
        files.save(
            BLACK,
            f"{names}.npy",
            backend="screen",
            names="t{t}_z{z}_w{channel}.npy",
            scale=(0.5, 0.5),
            units="um",
            wait="shown",
        )
        assert measure_bar(viewer) == 40, names
    user.do(TOGGLE)
    assert measure_bar(viewer) == 0


def test_bar_of_ImageJ_replaces_it(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """If the user adds ImageJ's own scale bar, only that one is shown."""
    save(files)
    user.do('run("Scale Bar...", "width=5 height=3 location=[Upper Left] overlay");')
    assert measure_bar(viewer) == 0
    user.do('run("Remove Overlay");')
    assert measure_bar(viewer) == 40


def test_bar_needs_room(files: FileManager, viewer: RemoteFiji) -> None:
    """A window that is too small for the bar shows only the image."""
    save(files, np.zeros((30, 12), "u1"))
    assert not viewer.screenshot()[..., :3].any()
