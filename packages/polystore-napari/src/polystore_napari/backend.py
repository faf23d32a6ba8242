"""The pipeline's side: imports neither napari nor Qt."""

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
    """Show in napari, in a process of its own.

    ``python`` is the interpreter that has napari, where it is not this one (or the environment
    variable POLYSTORE_NAPARI_PYTHON). Further options are those of ``ViewerSink`` and
    ``StreamSink``.
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

    Raises ``ReceiverUnavailableError`` where there is no screen, or with the end of what it
    printed, if it does not come up.
    """
    discovery.check_name("name", name)
    running = discovery.find(KIND, name)
    if running:
        return running[0]
    program = interpreter(python)
    if program == sys.executable:  # another one may be a script that brings a screen along
        check_screen(backend, f"{KIND} {name!r}", *screen_variables())
    command = [program, "-m", "polystore_napari", "--name", name]
    return start_viewer(command, KIND, name, backend=backend, timeout=timeout)


def interpreter(python: str | None = None) -> str:
    """Return the interpreter that napari runs in: ``python``, POLYSTORE_NAPARI_PYTHON, or this."""
    found = python or os.environ.get(_PYTHON) or sys.executable
    if not found:
        raise InvalidOptionError(
            "python", python, "the path of a Python that has polystore-napari"
        )
    return found


def screen_variables() -> tuple[str, ...]:
    """Return the variables that name a screen for Qt: none where it draws without one.

    QT_QPA_PLATFORM lists the plugins that Qt tries, as in "wayland;xcb" or "eglfs:/dev/fb0".
    """
    # "offscreen" takes OpenGL, without which napari shows no image, from an X11 display.
    variables = {"xcb": "DISPLAY", "offscreen": "DISPLAY", "wayland": "WAYLAND_DISPLAY"}
    given = os.environ.get("QT_QPA_PLATFORM") or "xcb;wayland"
    plugins = [plugin.partition(":")[0].partition("-")[0] for plugin in given.split(";")]
    if not all(plugin in variables for plugin in plugins):
        return ()
    return tuple(dict.fromkeys(variables[plugin] for plugin in plugins))
