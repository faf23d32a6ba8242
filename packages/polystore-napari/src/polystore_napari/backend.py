"""The backend ``napari_stream``. It imports neither napari nor Qt."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polystore_core.errors import InvalidOptionError
from polystore_stream import ViewerSink, discovery, start_viewer
from polystore_stream.checks import check_screen

if TYPE_CHECKING:
    from polystore_stream import Endpoint

__all__ = ["BACKEND", "KIND", "NapariBackend", "interpreter", "launch", "screen_variables"]

BACKEND = "napari_stream"
KIND = "napari"
_PYTHON = "POLYSTORE_NAPARI_PYTHON"


@dataclass(kw_only=True, eq=False, repr=False)
class NapariBackend(ViewerSink):
    """Show values in napari, in its own process.

    The other options are those of ``ViewerSink`` and ``StreamSink``.

    Args:
        python: Python interpreter that has napari, if this one does not. The environment variable
            POLYSTORE_NAPARI_PYTHON also sets it.
    """

    viewer_kind = KIND
    start_advice = "polystore_napari.launch(), or python -m polystore_napari"

    python: str | None = None

    def start(self) -> Endpoint:
        return launch(self.viewer, python=self.python, backend=self.name)


def launch(
    name: str = "default",
    *,
    python: str | None = None,
    timeout: float = 90.0,
    backend: str = BACKEND,
) -> Endpoint:
    """Start a napari called ``name``, or return the one that runs.

    Raises:
        ReceiverUnavailableError: There is no screen, or napari cannot be started. Then the error
            has the end of its output.
    """
    discovery.check_name("name", name)
    running = discovery.find(KIND, name)
    if running:
        return running[0]
    program = interpreter(python)
    if program == sys.executable:  # another program may be a script that starts a screen first
        check_screen(backend, f"{KIND} {name!r}", *screen_variables())
    command = [program, "-m", "polystore_napari", "--name", name]
    return start_viewer(command, KIND, name, backend=backend, timeout=timeout)


def interpreter(python: str | None = None) -> str:
    """Return the interpreter for napari: ``python``, POLYSTORE_NAPARI_PYTHON, or this one."""
    found = python or os.environ.get(_PYTHON) or sys.executable
    if not found:
        raise InvalidOptionError(
            "python", python, "the path of a Python that has polystore-napari"
        )
    return found


def screen_variables() -> tuple[str, ...]:
    """Return the variables that name a screen for Qt, or () if Qt draws without one.

    QT_QPA_PLATFORM lists the plugins that Qt tries, for example "wayland;xcb" or "eglfs:/dev/fb0".
    """
    # "offscreen" also needs a display: it gets OpenGL from X11, and napari needs OpenGL.
    variables = {"xcb": "DISPLAY", "offscreen": "DISPLAY", "wayland": "WAYLAND_DISPLAY"}
    given = os.environ.get("QT_QPA_PLATFORM") or "xcb;wayland"
    plugins = [plugin.partition(":")[0].partition("-")[0] for plugin in given.split(";")]
    if not all(plugin in variables for plugin in plugins):
        return ()
    return tuple(dict.fromkeys(variables[plugin] for plugin in plugins))
