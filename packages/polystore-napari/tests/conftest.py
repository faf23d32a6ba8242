"""Fixtures: a private screen, and a real napari on it that the tests of a module share."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import polystore_napari
from polystore_testing.display import Display, private_display
from polystore_testing.processes import becomes, pipeline, runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polystore_core import FileManager
    from polystore_stream import RemoteViewer

    from .windows import Window

SHARED = "shared"
SETTINGS = """
application:
  window_size: [640, 420]
  confirm_close_window: false
"""


@pytest.fixture(scope="session")
def display() -> Iterator[Display]:
    try:
        with private_display() as display:
            yield display
    except FileNotFoundError:
        pytest.skip("Xvfb is not installed: apt-get install xvfb libgl1-mesa-dri libglx-mesa0")


@pytest.fixture(scope="module")
def desktop(display: Display) -> Iterator[Path]:
    """Open viewers on the private screen. Yield the folder in which they announce themselves."""
    # Short, because the kernel limits the length of the name of a socket.
    folder = Path(tempfile.mkdtemp(prefix="ps"))
    settings = folder / "napari.yaml"
    settings.write_text(SETTINGS)
    runtime = folder / "polystore"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPLAY", display.name)
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        patch.setenv("POLYSTORE_RUNTIME_DIR", str(runtime))
        patch.setenv("NAPARI_CONFIG", str(settings))
        for name in ("QT_QPA_PLATFORM", "WAYLAND_DISPLAY", "XAUTHORITY"):
            patch.delenv(name, raising=False)
        yield runtime
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def viewer(desktop: Path) -> Iterator[RemoteViewer]:
    """A napari that all tests of a module share."""
    polystore_napari.launch(SHARED)
    with polystore_napari.connect(SHARED) as viewer:
        yield viewer
        viewer.quit()
    assert becomes(lambda: not runs(viewer.endpoint.pid))


@pytest.fixture
def files(viewer: RemoteViewer) -> Iterator[FileManager]:
    """A pipeline whose backend "screen" is the shared napari, without layers."""
    viewer.clear()
    with pipeline("napari_stream", viewer=SHARED, launch=False) as files:
        yield files


@pytest.fixture
def window() -> Window:
    from .windows import Window  # other tests run without napari

    return Window()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The folder that keeps pictures for people to look at."""
    folder = Path(os.environ.get("POLYSTORE_PICTURES", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
