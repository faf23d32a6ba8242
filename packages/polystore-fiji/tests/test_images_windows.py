"""Windows of a real ImageJ that are closed, hidden or busy."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from polystore_core.errors import RejectedError
from polystore_testing.processes import becomes

from .planes import only
from .screens import MOST, SIZE, WHOLE, list_windows, plane

if TYPE_CHECKING:
    from conftest import User

    from polystore_core import FileManager
    from polystore_fiji.remote import RemoteFiji
    from polystore_testing.display import Display

pytestmark = [
    pytest.mark.screen,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]


def test_closed_window_is_opened_again(
    files: FileManager, viewer: RemoteFiji, display: Display
) -> None:
    """If the user closes a window, the next save opens it again."""
    paths = [f"closed/c_{index}.npy" for index in range(3)]
    files.save_batch(
        [plane(n) for n in range(3)],
        paths,
        backend="screen",
        contrast_limits=WHOLE,
        wait="shown",
    )
    display.press_close("c")
    assert becomes(lambda: list_windows(display) == [])
    assert viewer.layers() == []
    with pytest.raises(RejectedError, match="is not shown"):
        viewer.pixels(paths[0])
    files.save(plane(50), paths[1], backend="screen", contrast_limits=WHOLE, wait="shown")
    assert list_windows(display) == ["c"]
    assert only(viewer)["shape"] == [1, 1, 1, *SIZE]
    assert display.count((50, 50, 50)) > MOST
    display.press_close("c")
    assert becomes(lambda: viewer.layers() == [])
    files.save(plane(60, "f4"), paths[1], backend="screen", contrast_limits=WHOLE, wait="shown")
    assert only(viewer)["dtype"] == "<f4"


def test_closing_while_saving_blocks_nothing(
    files: FileManager, viewer: RemoteFiji, display: Display
) -> None:
    """If the user closes windows while they are filled, the pipeline goes on."""

    def save_for_a_while() -> list[str]:
        deadline, errors = time.monotonic() + 3, list[str]()
        while time.monotonic() < deadline:
            for wait in ("received", "shown"):
                try:
                    files.save(
                        plane(len(errors)),
                        "busy.npy",
                        backend="screen",
                        contrast_limits=WHOLE,
                        wait=wait,
                    )
                except ConnectionError as error:
                    errors.append(str(error))
        return errors

    with ThreadPoolExecutor(1) as pool:
        saving = pool.submit(save_for_a_while)
        while not saving.done():
            if "busy" in display.titles():
                display.press_close("busy")
            time.sleep(0.1)
        assert all("the image was closed" in text for text in saving.result())
    files.save(plane(111), "busy.npy", backend="screen", contrast_limits=WHOLE, wait="shown")
    assert display.count((111, 111, 111)) > MOST
    assert len(viewer.layers()) == 1


def test_hidden_window_blocks_nothing(
    files: FileManager, viewer: RemoteFiji, display: Display
) -> None:
    """A window that is not on the screen is not painted, and saves do not wait for it."""
    files.save(plane(1), "hidden.npy", backend="screen", wait="shown")
    display.hide("hidden")
    for value in (2, 3):
        files.save(plane(value), "hidden.npy", backend="screen", wait="shown")
    assert viewer.pixels("hidden.npy")[0, 0] == 3


def test_modal_dialog_blocks_nothing(
    files: FileManager, viewer: RemoteFiji, display: Display, user: User
) -> None:
    """While ImageJ shows a modal dialog, saves go on."""
    files.save(plane(1), "dialog.npy", backend="screen", wait="shown")
    user.do('setOption("Changes", true);')
    display.press_close("dialog")  # ImageJ asks whether to save the changes
    asks = "ImageJ"
    assert becomes(
        lambda: display.titles().count(asks) == 2 or "Save Changes?" in display.titles()
    ), display.titles()
    for value in range(100, 105):
        files.save(plane(value), "other.npy", backend="screen", wait="shown")
    assert viewer.pixels("other.npy")[0, 0] == 104
    for title in {*display.titles()} - {"ImageJ", "dialog", "other"}:
        display.press_close(title)


def test_threads_wait_together(files: FileManager, viewer: RemoteFiji) -> None:
    """Several threads wait until their frame of one path is shown, and all of them return."""

    def show(thread: int) -> None:
        for step in range(10):
            files.save(plane(10 * thread + step), "threads.npy", backend="screen", wait="shown")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(show, range(4)))
    assert viewer.pixels("threads.npy")[0, 0] % 10 == 9
