"""A real ImageJ on a screen that is looked at, with a user who does something there, too."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import imageio.v3 as imageio
import numpy as np
import pytest

from polystore_core.errors import RejectedError
from polystore_stream import Layout
from polystore_testing.processes import becomes

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

SIZE = (200, 220)
MOST = 40_000
"""Pixels of the screen: nearly all of such an image, at its own size."""


def plane(value: float, dtype: str = "u1") -> Any:
    return np.full(SIZE, value, dtype)


def only(viewer: RemoteFiji) -> dict[str, Any]:
    (layer,) = viewer.layers()
    return layer


def windows(display: Display) -> list[str]:
    """Titles of the images: ImageJ itself and Java have windows, too."""
    others = ("ImageJ", "java-", "sun-")
    return sorted(title for title in display.titles() if not title.startswith(others))


# ── on the screen ────────────────────────────────────────────────────────────────────────


def test_shown_is_painted(files: FileManager, display: Display) -> None:
    """A save that waits until it is shown returns when the pixels are on the screen."""
    for color in ((0x12, 0xAB, 0x34), (0xAB, 0x12, 0x34), (0x34, 0x12, 0xAB)):
        name = "#" + "".join(f"{part:02x}" for part in color)
        files.save(
            plane(7), "shown.npy", backend="screen", wait="shown", colormap=name,
            contrast_limits=(0, 7),
        )  # fmt: skip
        assert display.count(color) > MOST


def test_each_value_is_painted(files: FileManager, display: Display) -> None:
    """Each of several values at one path is on the screen when its save returns."""
    for value in range(100, 110):
        files.save(plane(value), "frames.npy", backend="screen", wait="shown")
        assert display.count((value, value, value)) > MOST


def test_square_is_in_place(
    files: FileManager, viewer: RemoteFiji, display: Display, pictures: Path
) -> None:
    """A bright square is painted where it is in the image, in the colour asked for."""
    image = plane(100)
    image[25:50, 100:175] = 200
    files.save(
        image, "square.npy", backend="screen", wait="shown", colormap="#ff8000",
        contrast_limits=(0, 200),
    )  # fmt: skip
    picture = viewer.screenshot()
    imageio.imwrite(pictures / "fiji-square.png", picture)
    imageio.imwrite(pictures / "fiji-screen.png", display.painted())
    assert picture.shape == (*SIZE, 4)
    assert (picture[25:50, 100:175] == (255, 128, 0, 255)).all()
    assert (picture == (255, 128, 0, 255)).all(axis=-1).sum() == 25 * 75
    assert display.count((255, 128, 0)) == 25 * 75


def test_last_of_many_is_painted(
    files: FileManager, viewer: RemoteFiji, display: Display
) -> None:
    """Of many frames at one path, faster than they are painted, the last one stays."""
    for value in range(50, 250):
        files.save(plane(value), "frames.npy", backend="screen")
    assert viewer.pixels("frames.npy")[0, 0] == 249
    assert becomes(lambda: display.count((249, 249, 249)) > MOST)


def test_stack_shows_newest(
    files: FileManager, viewer: RemoteFiji, display: Display, pictures: Path
) -> None:
    """A series is one window with a slider at the last, and a text that names its file."""
    paths = [f"stack/cells_{index}.npy" for index in range(30)]
    files.save_batch([plane(100 + n) for n in range(30)], paths, backend="screen", wait="shown")
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
    """A stack that grows slice by slice, channels too, stays in one window."""
    for t in range(3):
        for z in range(4):
            for c in range(2):
                files.save(
                    plane(20 * t + z + 100 * c), f"t{t}_z{z}_w{c}.tif", backend="screen",
                    names="t{t}_z{z}_w{channel}.tif", wait="shown",
                )  # fmt: skip
                assert windows(display) == ["t"]
    assert only(viewer)["shape"] == [3, 4, 2, *SIZE]
    assert only(viewer)["position"][:2] == [3, 4]
    # magenta of the first channel, and green of the second: 43 and 143
    assert becomes(lambda: display.count((43, 143, 43)) > MOST)


def test_channels_are_added(files: FileManager, viewer: RemoteFiji, display: Display) -> None:
    """Channels in two colours give their sum on the screen."""
    channels = [{"label": "DAPI", "color": "FF0000"}, {"label": "GFP", "color": "00FF00"}]
    files.save(
        np.stack([plane(255), plane(255)]), "two.npy", backend="screen", axes="cyx",
        channels=channels, wait="shown",
    )  # fmt: skip
    assert only(viewer)["mode"] == "composite"
    assert display.count((255, 255, 0)) > MOST


def test_many_channels_are_shown(files: FileManager, viewer: RemoteFiji) -> None:
    """More channels than ImageJ lays over one another are shown one at a time."""
    files.save(np.zeros((9, 20, 20), "u2"), "nine.npy", backend="screen", axes="cyx")
    assert (only(viewer)["mode"], only(viewer)["shape"]) == ("color", [1, 1, 9, 20, 20])


def test_holes_are_black(files: FileManager, display: Display, user: User) -> None:
    """Planes that have not come are black."""
    for c, z in ((1, 1), (2, 2)):
        files.save(
            plane(255), f"w{c}_z{z}.tif", backend="screen", names="w{channel}_z{z}.tif",
            colormap={1: "FF0000", 2: "00FF00"}[c], wait="shown",
        )  # fmt: skip
    assert display.count((0, 255, 0)) > MOST
    user.does('selectWindow("w"); Stack.setPosition(1, 1, 1);')
    assert becomes(lambda: display.count((255, 0, 0)) > MOST)


@pytest.mark.parametrize("samples", [3, 4])
def test_rgb_is_painted(
    files: FileManager, viewer: RemoteFiji, display: Display, samples: int
) -> None:
    """RGB is painted in its colours, and updated in place."""
    for color in ((10, 200, 90, 255), (200, 90, 10, 255)):
        image = np.full((*SIZE, samples), color[:samples], "u1")
        files.save(image, "rgb.npy", backend="screen", wait="shown")
        assert display.count(color[:3]) > MOST
        assert np.array_equal(viewer.pixels("rgb.npy"), image)


def test_labels_are_painted(files: FileManager, viewer: RemoteFiji, display: Display) -> None:
    """Labels are painted in colours that tell them apart, 0 in black."""
    labels = np.repeat(np.arange(20, dtype="u2"), 10)[:, None].repeat(220, axis=1)
    files.save(labels, "cells.npy", backend="screen", labels=True, wait="shown")
    picture = viewer.screenshot()[..., :3]
    colors = [tuple(picture[10 * n + 5, 100].tolist()) for n in range(20)]
    assert colors[0] == (0, 0, 0)
    assert len({*colors}) == 20
    assert min(max(color) for color in colors[1:]) > 250


def test_layout_opens_windows(
    files: FileManager, viewer: RemoteFiji, display: Display, pictures: Path
) -> None:
    """A layout may ask for a window of each well; they have titles and pixels."""
    for number, well in enumerate(("B03", "B04")):
        files.save(
            plane(100 + number), f"{well}_s1.npy", backend="screen", names="{well}_s{site}.npy",
            layout=Layout(window=("well",)), wait="shown",
        )  # fmt: skip
    assert windows(display) == ["B03 images", "B04 images"]
    assert viewer.pixels("B04_s1.npy", window="B04")[0, 0] == 101
    picture = viewer.screenshot(window="B04 images", canvas_only=False)
    imageio.imwrite(pictures / "fiji-window.png", picture)
    assert viewer.screenshot(window="B03 images")[5, 5].tolist() == [100, 100, 100, 255]


def test_large_images_are_scaled(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """An image larger than the screen is zoomed out, and stays so while it grows."""
    for z in range(3):
        files.save(np.full((2000, 2100), z, "u1"), f"l_{z}.tif", backend="screen",
                   names="l_{z}.tif", wait="shown")  # fmt: skip
        assert 0.2 < float(user.does('return "" + getZoom();')) < 0.5
    assert only(viewer)["shape"] == [1, 3, 1, 2000, 2100]


# ── what the user has set ────────────────────────────────────────────────────────────────


def test_brightness_is_kept(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """Brightness and colours that the user has set stay, when values are replaced and added."""
    for value in (plane(100), plane(100, "u2"), plane(100, "f4")):
        viewer.clear()
        files.save(value, "a_0.npy", backend="screen", names="a_{z}.npy", wait="shown")
        user.does('setMinAndMax(20, 120); run("Red");')
        for z in (0, 1, 2, 1):
            files.save(value * 2, f"a_{z}.npy", backend="screen", names="a_{z}.npy",
                       wait="shown")  # fmt: skip
            assert only(viewer)["channels"] == [{"color": "ff0000", "window": [20, 120]}]


def test_channels_are_kept(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """What the user has set of one channel stays, when slices come and when channels do."""

    def save(c: int, z: int) -> None:
        files.save(plane(100 * c, "u2"), f"w{c}_z{z}.npy", backend="screen",
                   names="w{channel}_z{z}.npy", wait="shown")  # fmt: skip

    save(1, 0)
    save(2, 0)
    user.does('Stack.setChannel(2); setMinAndMax(20, 120); run("Yellow");')
    kept = {"color": "ffff00", "window": [20, 120]}
    for c, z in ((1, 0), (2, 0), (1, 1), (2, 1), (1, 2)):
        save(c, z)
        assert only(viewer)["channels"][1] == kept
    assert only(viewer)["position"][2] == 2
    save(3, 0)
    assert only(viewer)["channels"][1] == kept
    assert only(viewer)["shape"] == [1, 3, 3, *SIZE]


def test_mode_is_kept(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """A user who looks at single channels goes on doing so while the stack grows."""
    for z in range(4):
        files.save(np.stack([plane(z), plane(2 * z)]), f"m_{z}.npy", backend="screen",
                   axes="cyx", names="m_{z}.npy", wait="shown")  # fmt: skip
        if not z:
            user.does('Stack.setDisplayMode("grayscale");')
        assert only(viewer)["mode"] == "grayscale"


def test_zoom_is_kept(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """The zoom stays, also where a window gets its first slider."""
    files.save(plane(0), "z_0.npy", backend="screen", names="z_{z}.npy", wait="shown")
    user.does('run("In [+]");')
    zoom = user.does('return "" + getZoom();')
    assert float(zoom) > 1
    for z in (0, 1, 2):
        files.save(plane(z), f"z_{z}.npy", backend="screen", names="z_{z}.npy", wait="shown")
        assert user.does('return "" + getZoom();') == zoom


def test_window_stays_in_place(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """A window stays where its user has moved it, whatever becomes of its image."""
    where = 'getLocationAndSize(x, y, w, h); return "" + x + " " + y;'
    files.save(plane(0), "w1_z0.npy", backend="screen", names="w{channel}_z{z}.npy",
               wait="shown")  # fmt: skip
    user.does("setLocation(311, 222); wait(200);")  # until the screen has told Java of it
    assert user.does(where) == "311 222"
    for name in ("w1_z1", "w2_z0", "w2_z1"):
        files.save(plane(1), f"{name}.npy", backend="screen", names="w{channel}_z{z}.npy",
                   wait="shown")  # fmt: skip
        assert user.does(where) == "311 222", name
    viewer.clear()
    for shape in ((90, 90), (91, 91)):
        files.save(np.zeros(shape, "u1"), "b.npy", backend="screen", wait="shown")
        if shape == (90, 90):
            user.does("setLocation(311, 222); wait(200);")
    assert user.does(where) == "311 222"


def test_position_is_followed(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """The slider follows what comes, until the user looks at something else; and again."""

    def save(z: int) -> list[int]:
        files.save(plane(z), f"p_{z}.npy", backend="screen", names="p_{z}.npy", wait="shown")
        position: list[int] = only(viewer)["position"]
        return position

    assert [save(z)[1] for z in (0, 10, 20)] == [1, 2, 3]
    user.does("setSlice(2);")
    assert save(30)[1] == 2
    assert save(5)[1] == 3, "a slice came before it: the one that is looked at stays"
    assert save(10)[1] == 3
    assert user.does("return getInfo('slice.label');") == "p_10"
    user.does("setSlice(nSlices);")
    assert save(40)[1] == 5, "whoever left stays where he is"
    assert viewer.pixels("p_5.npy")[0, 0] == 5


def test_calibration_is_kept(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """A pixel size that the user has set stays until another one is said."""
    for scale in (0.5, 0.5, 0.25):
        files.save(plane(1), "c.npy", backend="screen", scale=(scale, scale),
                   units="micrometer", wait="shown")  # fmt: skip
        if scale == 0.25:
            assert only(viewer)["scale"][3:] == [0.25, 0.25]
        user.does('run("Properties...", "unit=mm pixel_width=3 pixel_height=3 voxel_depth=1");')
        files.save(plane(2), "c.npy", backend="screen", wait="shown")
        assert (only(viewer)["scale"][3:], only(viewer)["units"][4]) == ([3, 3], "mm")


def test_selection_is_kept(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """A selection stays while its image is updated and grows."""
    for z in (0, 0, 1, 2):
        files.save(plane(z), f"r_{z}.npy", backend="screen", names="r_{z}.npy", wait="shown")
        if user.does('return "" + selectionType();') == "-1":
            assert z == 0
            user.does("makeRectangle(10, 20, 30, 40);")
    assert user.does('Roi.getBounds(x, y, w, h); return "" + x + " " + y;') == "10 20"


def test_edited_image_is_updated(
    files: FileManager, viewer: RemoteFiji, user: User, display: Display
) -> None:
    """What the user painted into an image is seen, asked for, and replaced by the next save."""
    ramp = np.tile(np.arange(220, dtype="u1"), (200, 1))
    paths = [f"e_{z}.npy" for z in range(2)]
    for path in paths:
        files.save(ramp, path, backend="screen", names="e_{z}.npy", wait="shown")
    user.does('run("Select All"); setColor(77); fill(); run("Select None");')
    assert (viewer.pixels(paths[1]) == 77).all()
    assert (viewer.pixels(paths[0]) == ramp).all()
    user.does('run("Undo");')
    files.save(plane(88), paths[1], backend="screen", wait="shown")
    assert display.count((88, 88, 88)) > MOST
    user.does(
        'run("Gaussian Blur...", "sigma=3 slice"); run("Undo"); setSlice(1); setSlice(2);'
    )
    files.save(plane(99), paths[1], backend="screen", wait="shown")
    assert display.count((99, 99, 99)) > MOST
    assert (viewer.pixels(paths[1]) == 99).all()


def test_mixed_up_picture_is_updated(files: FileManager, user: User, display: Display) -> None:
    """A save is on the screen, also where ImageJ has kept a picture of another slice."""
    paths = [f"mixed/m_{z}.npy" for z in range(2)]
    files.save_batch([plane(20), plane(40)], paths, backend="screen", wait="shown")
    user.does("mix up")
    user.does("updateDisplay();")
    assert becomes(lambda: display.count((20, 20, 20)) > MOST), "ImageJ shows slice 1"
    files.save(plane(60), paths[1], backend="screen", wait="shown")
    assert display.count((60, 60, 60)) > MOST


def test_reversed_stack_is_updated(
    files: FileManager, viewer: RemoteFiji, user: User, display: Display
) -> None:
    """Of a stack that the user has reversed, each slice is still updated where it is named."""
    paths = [f"rev/r_{z}.npy" for z in range(3)]
    files.save_batch([plane(z) for z in range(3)], paths, backend="screen", wait="shown")
    user.does('run("Reverse");')
    files.save(plane(200), paths[2], backend="screen", wait="shown")
    assert (viewer.pixels(paths[2]) == 200).all()
    assert display.count((200, 200, 200)) < MOST
    user.does("setSlice(1);")
    assert becomes(lambda: display.count((200, 200, 200)) > MOST)


@pytest.mark.parametrize(
    "change",
    ['run("32-bit");', 'makeRectangle(5, 5, 20, 20); run("Crop");', 'run("Size...", "width=9");',
     'run("RGB Color");', 'run("Delete Slice");', 'run("Add Slice");'],
)  # fmt: skip
def test_converted_image_is_left(
    files: FileManager, viewer: RemoteFiji, user: User, change: str
) -> None:
    """An image that the user has made something else of is his; saves go on in a new one."""
    paths = [f"conv/c_{z}.npy" for z in range(3)]
    files.save_batch([plane(z) for z in range(3)], paths, backend="screen", wait="shown")
    user.does(change)
    with pytest.raises(RejectedError, match="a user has changed 'c'"):
        viewer.pixels(paths[0])
    files.save(plane(9), paths[1], backend="screen", wait="shown")
    assert (viewer.pixels(paths[1]) == 9).all()
    files.save_batch([plane(z + 5) for z in range(3)], paths, backend="screen", wait="shown")
    assert [viewer.pixels(path)[0, 0] for path in paths] == [5, 6, 7]
    assert len(viewer.layers()) == 1
    user.does(
        'while (nImages > 0) { selectImage(nImages); setOption("Changes", false); close(); }'
    )
    assert becomes(lambda: viewer.layers() == [])


def test_renamed_image_is_updated(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """An image may be called otherwise by its user: it is updated, grows, and keeps the name."""
    for z in range(3):
        files.save(plane(z), f"n_{z}.npy", backend="screen", names="n_{z}.npy", wait="shown")
        if not z:
            user.does('rename("mine");')
    assert (only(viewer)["window"], only(viewer)["shape"][1]) == ("mine", 3)
    assert viewer.screenshot(window="mine")[5, 5, 0] == 2


def test_points_ask_nothing(files: FileManager, viewer: RemoteFiji, user: User) -> None:
    """Points that the user has clicked lead to no question while their image is made anew."""
    for c in range(3):
        files.save(
            plane(c), f"w{c}.npy", backend="screen", names="w{channel}.npy", wait="shown"
        )
        if not c:
            points = ", ".join(map(str, range(10, 190, 5)))
            user.does(f'makeSelection("point", newArray({points}), newArray({points}));')
        assert user.does('Roi.getCoordinates(x, y); return "" + x.length;') == "36"
    viewer.clear()


def test_macros_may_run_meanwhile(
    files: FileManager, viewer: RemoteFiji, user: User, display: Display, tmp_path: Path
) -> None:
    """While a macro keeps windows closed, images are taken; they open when it has ended."""
    begun, go = tmp_path / "begun", tmp_path / "go"
    waits = f'File.saveString("", "{begun}"); while (!File.exists("{go}")) wait(50);'
    with ThreadPoolExecutor(1) as pool:
        macro = pool.submit(user.does, f"setBatchMode(true); {waits} setBatchMode(false);")
        assert becomes(begun.exists)
        files.save(plane(77), "batch.npy", backend="screen")
        assert viewer.pixels("batch.npy")[0, 0] == 77
        assert windows(display) == []
        assert not only(viewer)["visible"]
        go.touch()
        macro.result()
    assert becomes(lambda: display.count((77, 77, 77)) > MOST)
    assert windows(display) == ["batch"]


# ── windows that are closed, and hidden ──────────────────────────────────────────────────


def test_closed_window_is_opened_anew(
    files: FileManager, viewer: RemoteFiji, display: Display
) -> None:
    """A window that its user has closed is opened anew by the next save into it."""
    paths = [f"closed/c_{index}.npy" for index in range(3)]
    files.save_batch([plane(n) for n in range(3)], paths, backend="screen", wait="shown")
    display.press_close("c")
    assert becomes(lambda: windows(display) == [])
    assert viewer.layers() == []
    with pytest.raises(RejectedError, match="is not shown"):
        viewer.pixels(paths[0])
    files.save(plane(50), paths[1], backend="screen", wait="shown")
    assert windows(display) == ["c"]
    assert only(viewer)["shape"] == [1, 1, 1, *SIZE]
    assert display.count((50, 50, 50)) > MOST
    display.press_close("c")
    assert becomes(lambda: viewer.layers() == [])
    files.save(plane(60, "f4"), paths[1], backend="screen", wait="shown")
    assert only(viewer)["dtype"] == "<f4"


def test_closing_amid_saves_hangs_nothing(
    files: FileManager, viewer: RemoteFiji, display: Display
) -> None:
    """A user who closes windows while they are filled neither hangs nor loses the pipeline."""

    def save_for_a_while() -> list[str]:
        deadline, told = time.monotonic() + 3, list[str]()
        while time.monotonic() < deadline:
            for wait in ("received", "shown"):
                try:
                    files.save(plane(len(told)), "busy.npy", backend="screen", wait=wait)
                except ConnectionError as error:
                    told.append(str(error))
        return told

    with ThreadPoolExecutor(1) as pool:
        saving = pool.submit(save_for_a_while)
        while not saving.done():
            if "busy" in display.titles():
                display.press_close("busy")
            time.sleep(0.1)
        assert all("the image was closed" in text for text in saving.result())
    files.save(plane(111), "busy.npy", backend="screen", wait="shown")
    assert display.count((111, 111, 111)) > MOST
    assert len(viewer.layers()) == 1


def test_hidden_window_holds_nobody(
    files: FileManager, viewer: RemoteFiji, display: Display
) -> None:
    """A window that is not on the screen paints nothing: whoever waits for it goes on."""
    files.save(plane(1), "hidden.npy", backend="screen", wait="shown")
    display.hide("hidden")
    for value in (2, 3):
        files.save(plane(value), "hidden.npy", backend="screen", wait="shown")
    assert viewer.pixels("hidden.npy")[0, 0] == 3


def test_modal_dialog_holds_nobody(
    files: FileManager, viewer: RemoteFiji, display: Display, user: User
) -> None:
    """While ImageJ asks its user something, saves go on."""
    files.save(plane(1), "dialog.npy", backend="screen", wait="shown")
    user.does('setOption("Changes", true);')
    display.press_close("dialog")  # it asks whether to save what was changed
    asks = "ImageJ"
    assert becomes(lambda: display.titles().count(asks) == 2 or "Save Changes?" in
                   display.titles()), display.titles()  # fmt: skip
    for value in range(100, 105):
        files.save(plane(value), "other.npy", backend="screen", wait="shown")
    assert viewer.pixels("other.npy")[0, 0] == 104
    for title in {*display.titles()} - {"ImageJ", "dialog", "other"}:
        display.press_close(title)


def test_threads_wait_together(files: FileManager, viewer: RemoteFiji) -> None:
    """Threads that all wait until their frame of one path is shown do all come to an end."""

    def show(thread: int) -> None:
        for step in range(10):
            files.save(plane(10 * thread + step), "threads.npy", backend="screen", wait="shown")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(show, range(4)))
    assert viewer.pixels("threads.npy")[0, 0] % 10 == 9
