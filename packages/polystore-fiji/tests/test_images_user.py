"""Settings of the user stay in a real ImageJ when a pipeline saves."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from polystore_core.errors import RejectedError
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


def test_brightness_is_kept(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """Brightness and colours of the user stay when values are replaced and added."""
    for value in (plane(100), plane(100, "u2"), plane(100, "f4")):
        viewer.clear()
        files.save(value, "a_0.npy", backend="screen", names="a_{z}.npy", wait="shown")
        user.do('setMinAndMax(20, 120); run("Red");')
        for z in (0, 1, 2, 1):
            files.save(
                value * 2, f"a_{z}.npy", backend="screen", names="a_{z}.npy", wait="shown"
            )
            assert only(viewer)["channels"] == [{"color": "ff0000", "window": [20, 120]}]


def test_channels_are_kept(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """Settings of one channel stay when slices and channels arrive."""

    def save(c: int, z: int) -> None:
        files.save(
            plane(100 * c, "u2"),
            f"w{c}_z{z}.npy",
            backend="screen",
            names="w{channel}_z{z}.npy",
            wait="shown",
        )

    save(1, 0)
    save(2, 0)
    user.do('Stack.setChannel(2); setMinAndMax(20, 120); run("Yellow");')
    kept = {"color": "ffff00", "window": [20, 120]}
    for c, z in ((1, 0), (2, 0), (1, 1), (2, 1), (1, 2)):
        save(c, z)
        assert only(viewer)["channels"][1] == kept
    assert only(viewer)["position"][2] == 2
    save(3, 0)
    assert only(viewer)["channels"][1] == kept
    assert only(viewer)["shape"] == [1, 3, 3, *SIZE]


def test_mode_is_kept(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """If the user looks at single channels, that mode stays while the stack grows."""
    for z in range(4):
        files.save(
            np.stack([plane(z), plane(2 * z)]),
            f"m_{z}.npy",
            backend="screen",
            axes="cyx",
            names="m_{z}.npy",
            wait="shown",
        )
        if not z:
            user.do('Stack.setDisplayMode("grayscale");')
        assert only(viewer)["mode"] == "grayscale"


def test_user_range_stays(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """Once the user sets the range of a channel, new planes do not change it."""

    def save(z: int, most: int) -> list[list[float]]:
        value = np.zeros((2, *SIZE), "u2")
        value[:, :80] = most
        files.save(
            value,
            f"l_{z}.npy",
            backend="screen",
            names="l_{z}.npy",
            axes="cyx",
            wait="shown",
        )
        return [channel["window"] for channel in only(viewer)["channels"]]

    assert save(0, 100) == [[0, 100], [0, 100]]
    user.do("Stack.setChannel(2); setMinAndMax(20, 60);")
    assert save(1, 200) == [[0, 200], [20, 60]]
    user.do("Stack.setChannel(2); setMinAndMax(0, 100);")
    assert save(0, 300) == [[0, 300], [0, 100]]
    found = files.load("l_1.npy", "screen", as_="image")
    assert [channel.limits for channel in found.metadata.channels] == [None, (0, 100)]


def test_new_channel_keeps_settings(files: FileManager, user: User) -> None:
    """A new channel makes a new image in ImageJ, which keeps the settings of the user."""
    for c in range(2):
        files.save(plane(9, "u2"), f"e{c}.npy", "screen", names="e{channel}.npy", wait="shown")
        if not c:
            user.do('setMinAndMax(3, 7); run("Red");')
    (channel,) = files.load("e0.npy", "screen", as_="image").metadata.channels
    assert (channel.limits, channel.color) == ((3, 7), "FF0000")


def test_restart_keeps_the_selection(files: FileManager, user: User) -> None:
    """If an image starts again, a selection that fits into it stays."""
    where = """
        if (selectionType() < 0) return "";
        getSelectionBounds(x, y, w, h);
        return "" + x + " " + y + " " + w;
    """
    files.save(plane(1), "s.npy", backend="screen", wait="shown")
    user.do("makeOval(10, 20, 30, 40);")
    for value in (plane(1, "u2"), np.ones((41, 61), "u2"), np.ones((3, 60, 40), "f4")):
        files.save(value, "s.npy", backend="screen", wait="shown")
        assert user.do(where) == ("10 20 30" if value.shape != (41, 61) else ""), value.shape
        user.do("makeOval(10, 20, 30, 40);")


def test_zoom_is_kept(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """The zoom stays, also when a window gets its first slider."""
    files.save(plane(0), "z_0.npy", backend="screen", names="z_{z}.npy", wait="shown")
    user.do('run("In [+]");')
    zoom = user.do('return "" + getZoom();')
    assert float(zoom) > 1
    for z in (0, 1, 2):
        files.save(plane(z), f"z_{z}.npy", backend="screen", names="z_{z}.npy", wait="shown")
        assert user.do('return "" + getZoom();') == zoom


def test_window_stays_in_place(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """A window stays where the user moved it when its image changes."""

    def is_there() -> bool:
        found = user.do('getLocationAndSize(x, y, w, h); return "" + x + " " + y;')
        return bool(found == "311 222")

    def move() -> None:
        user.do("setLocation(311, 222); wait(200);")  # the screen has to tell Java of the move
        assert becomes(is_there)

    files.save(
        plane(0), "w1_z0.npy", backend="screen", names="w{channel}_z{z}.npy", wait="shown"
    )
    move()
    for name in ("w1_z1", "w2_z0", "w2_z1"):
        files.save(
            plane(1), f"{name}.npy", backend="screen", names="w{channel}_z{z}.npy", wait="shown"
        )
        assert becomes(is_there), name
    viewer.clear()
    for shape in ((90, 90), (91, 91)):
        files.save(np.zeros(shape, "u1"), "b.npy", backend="screen", wait="shown")
        if shape == (90, 90):
            move()
    assert becomes(is_there)


def test_position_is_followed(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """The slider follows new slices until the user moves it. Then it stays."""

    def save(z: int) -> list[int]:
        files.save(plane(z), f"p_{z}.npy", backend="screen", names="p_{z}.npy", wait="shown")
        position: list[int] = only(viewer)["position"]
        return position

    assert [save(z)[1] for z in (0, 10, 20)] == [1, 2, 3]
    user.do("setSlice(2);")
    assert save(30)[1] == 2
    assert save(5)[1] == 3, "the shown slice stays, one place further"
    assert save(10)[1] == 3
    assert user.do("return getInfo('slice.label');") == "p_10"
    user.do("setSlice(nSlices);")
    assert save(40)[1] == 5, "the slider stays where the user set it"
    assert viewer.pixels("p_5.npy")[0, 0] == 5


def test_calibration_is_kept(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """A pixel size of the user stays until the pipeline sets another one."""
    for scale in (0.5, 0.5, 0.25):
        files.save(
            plane(1),
            "c.npy",
            backend="screen",
            scale=(scale, scale),
            units="micrometer",
            wait="shown",
        )
        if scale == 0.25:
            assert only(viewer)["scale"][3:] == [0.25, 0.25]
        user.do('run("Properties...", "unit=mm pixel_width=3 pixel_height=3 voxel_depth=1");')
        files.save(plane(2), "c.npy", backend="screen", wait="shown")
        assert (only(viewer)["scale"][3:], only(viewer)["units"][4]) == ([3, 3], "mm")


def test_selection_is_kept(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """A selection stays while its image is updated and grows."""
    for z in (0, 0, 1, 2):
        files.save(plane(z), f"r_{z}.npy", backend="screen", names="r_{z}.npy", wait="shown")
        if user.do('return "" + selectionType();') == "-1":
            assert z == 0
            user.do("makeRectangle(10, 20, 30, 40);")
    assert user.do('Roi.getBounds(x, y, w, h); return "" + x + " " + y;') == "10 20"


def test_edited_image_is_updated(
    files: FileManager, viewer: RemoteFiji, user: User, display: Display
) -> None:
    """Pixels that the user paints are shown and read, and the next save replaces them."""
    ramp = np.tile(np.arange(220, dtype="u1"), (200, 1))
    paths = [f"e_{z}.npy" for z in range(2)]
    for path in paths:
        files.save(
            ramp, path, backend="screen", contrast_limits=WHOLE, names="e_{z}.npy", wait="shown"
        )
    user.do('run("Select All"); setColor(77); fill(); run("Select None");')
    assert (viewer.pixels(paths[1]) == 77).all()
    assert (viewer.pixels(paths[0]) == ramp).all()
    user.do('run("Undo");')
    files.save(plane(88), paths[1], backend="screen", contrast_limits=WHOLE, wait="shown")
    assert display.count((88, 88, 88)) > MOST
    user.do('run("Gaussian Blur...", "sigma=3 slice"); run("Undo"); setSlice(1); setSlice(2);')
    files.save(plane(99), paths[1], backend="screen", contrast_limits=WHOLE, wait="shown")
    assert display.count((99, 99, 99)) > MOST
    assert (viewer.pixels(paths[1]) == 99).all()


def test_mixed_up_picture_is_updated(files: FileManager, user: User, display: Display) -> None:
    """A save is shown even if ImageJ has kept the picture of another slice."""
    paths = [f"mixed/m_{z}.npy" for z in range(2)]
    files.save_batch(
        [plane(20), plane(40)], paths, backend="screen", contrast_limits=WHOLE, wait="shown"
    )
    user.do("mix up")
    user.do("updateDisplay();")
    assert becomes(lambda: display.count((20, 20, 20)) > MOST), "ImageJ shows slice 1"
    files.save(plane(60), paths[1], backend="screen", contrast_limits=WHOLE, wait="shown")
    assert display.count((60, 60, 60)) > MOST


def test_reversed_stack_is_updated(
    files: FileManager, viewer: RemoteFiji, user: User, display: Display
) -> None:
    """If the user reverses a stack, each slice is still updated under its name."""
    paths = [f"rev/r_{z}.npy" for z in range(3)]
    files.save_batch(
        [plane(z) for z in range(3)],
        paths,
        backend="screen",
        contrast_limits=WHOLE,
        wait="shown",
    )
    user.do('run("Reverse");')
    files.save(plane(200), paths[2], backend="screen", contrast_limits=WHOLE, wait="shown")
    assert (viewer.pixels(paths[2]) == 200).all()
    assert display.count((200, 200, 200)) < MOST
    user.do("setSlice(1);")
    assert becomes(lambda: display.count((200, 200, 200)) > MOST)


@pytest.mark.parametrize(
    "change",
    [
        'run("32-bit");',
        'makeRectangle(5, 5, 20, 20); run("Crop");',
        'run("Size...", "width=9");',
        'run("RGB Color");',
        'run("Delete Slice");',
        'run("Add Slice");',
    ],
)
def test_converted_image_is_left(
    files: FileManager, viewer: RemoteFiji, user: User, change: str
) -> None:
    """An image that the user converts stays as it is. Saves go to a new image."""
    paths = [f"conv/c_{z}.npy" for z in range(3)]
    files.save_batch([plane(z) for z in range(3)], paths, backend="screen", wait="shown")
    user.do(change)
    with pytest.raises(RejectedError, match="a user has changed 'c'"):
        viewer.pixels(paths[0])
    files.save(plane(9), paths[1], backend="screen", wait="shown")
    assert (viewer.pixels(paths[1]) == 9).all()
    files.save_batch([plane(z + 5) for z in range(3)], paths, backend="screen", wait="shown")
    assert [viewer.pixels(path)[0, 0] for path in paths] == [5, 6, 7]
    assert len(viewer.layers()) == 1
    user.do(
        'while (nImages > 0) { selectImage(nImages); setOption("Changes", false); close(); }'
    )
    assert becomes(lambda: viewer.layers() == [])


def test_renamed_image_is_updated(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """If the user renames an image, it is updated, grows and keeps its name."""
    for z in range(3):
        files.save(
            plane(z),
            f"n_{z}.npy",
            backend="screen",
            contrast_limits=WHOLE,
            names="n_{z}.npy",
            wait="shown",
        )
        if not z:
            user.do('rename("mine");')
    assert (only(viewer)["window"], only(viewer)["shape"][1]) == ("mine", 3)
    assert viewer.screenshot(window="mine")[5, 5, 0] == 2


def test_points_open_no_dialog(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """Points of the user do not open a dialog while their image is made again."""
    for c in range(3):
        files.save(
            plane(c), f"w{c}.npy", backend="screen", names="w{channel}.npy", wait="shown"
        )
        if not c:
            points = ", ".join(map(str, range(10, 190, 5)))
            user.do(f'makeSelection("point", newArray({points}), newArray({points}));')
        assert user.do('Roi.getCoordinates(x, y); return "" + x.length;') == "36"
    viewer.clear()


def test_images_wait_for_macros(
    files: FileManager, viewer: RemoteFiji, user: User, display: Display, tmp_path: Path
) -> None:
    """While a macro keeps windows closed, images are received. They open after it."""
    begun, go = tmp_path / "begun", tmp_path / "go"
    waits = f'File.saveString("", "{begun}"); while (!File.exists("{go}")) wait(50);'
    with ThreadPoolExecutor(1) as pool:
        macro = pool.submit(user.do, f"setBatchMode(true); {waits} setBatchMode(false);")
        assert becomes(begun.exists)
        files.save(plane(77), "batch.npy", backend="screen", contrast_limits=WHOLE)
        assert viewer.pixels("batch.npy")[0, 0] == 77
        assert list_windows(display) == []
        assert not only(viewer)["visible"]
        go.touch()
        macro.result()
    assert becomes(lambda: display.count((77, 77, 77)) > MOST)
    assert list_windows(display) == ["batch"]
