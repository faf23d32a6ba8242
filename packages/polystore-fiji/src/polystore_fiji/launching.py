"""Start an ImageJ or Fiji that receives."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from polystore_core.errors import ReceiverError, ReceiverUnavailableError
from polystore_stream import discovery, start_viewer
from polystore_stream.checks import check_screen

from .imagej import find_imagej
from .jars import BACKEND, check_installed, find_own_jar
from .java import find_java

if TYPE_CHECKING:
    from polystore_stream import Endpoint

    from .imagej import ImageJ

__all__ = ["DISPLAY", "KIND", "WITHOUT_SCREEN", "command", "launch"]

KIND = "fiji"
DISPLAY = "DISPLAY"  # Java needs X11, also within Wayland
WITHOUT_SCREEN = "; or open no windows: headless=True, --headless"
# Allow 70 % of the memory of the machine, or of the container: images are in the heap, and by
# default Java would use only a quarter. Java 8 before its update 191 does not know the option, and
# ignores it.
# Use the parallel collector: the default one gives each plane its own region. A stack then grows at
# half the rate, and slower the longer it runs.
_HEAP = ["-XX:+IgnoreUnrecognizedVMOptions", "-XX:MaxRAMPercentage=70.0", "-XX:+UseParallelGC"]
_COMMAND = "Receive from polystore"  # in java/plugins.config


def launch(
    name: str = "default",
    *,
    fiji: str | os.PathLike[str] | None = None,
    ij: str | os.PathLike[str] | None = None,
    headless: bool = False,
    timeout: float = 60.0,
    backend: str = BACKEND,
) -> Endpoint:
    """Start an ImageJ or Fiji called ``name``, or return the one that runs.

    Args:
        name: Name of the viewer.
        fiji: Folder of a Fiji or ImageJ with the receiver among its plugins.
        ij: An ij.jar. See :func:`polystore_fiji.imagej.find_imagej` for the defaults.
        headless: Whether ImageJ runs without windows.
        timeout: Seconds to wait until it is ready.
        backend: Name of the backend, for errors.

    Raises:
        InvalidOptionError: The path is not an ImageJ, or the name is not valid.
        ReceiverUnavailableError: Something is missing, or ImageJ is not ready in time.
        IncompatibleReceiverError: The plugin has another version.
    """
    # Return a running one before anything is checked: it needs neither Java nor a screen here.
    discovery.check_name("name", name)
    running = discovery.find(KIND, name)
    if running:
        return running[0]
    try:
        start = command(find_imagej(fiji=fiji, ij=ij), name, headless=headless)
    except ReceiverError as error:
        error.backend = backend
        raise
    return start_viewer(start, KIND, name, backend=backend, timeout=timeout)


def command(imagej: ImageJ, name: str, *, headless: bool = False) -> list[str]:
    """Return the command that starts ``imagej`` with a receiver called ``name``.

    A single jar, or a headless ImageJ, runs together with our jar. A folder is started as its user
    starts it, with the receiver among its plugins.

    Raises:
        ReceiverUnavailableError: A screen, Java, the receiver or the launcher is missing.
        IncompatibleReceiverError: The plugin has another version.
    """
    if not headless:
        check_screen(BACKEND, "ImageJ", DISPLAY, advice=WITHOUT_SCREEN)
    if imagej.folder is None or headless:
        java = find_java(folder=imagej.folder, windows=not headless)
        classpath = os.pathsep.join(map(str, (imagej.jar, find_own_jar().path)))
        return [
            str(java.command),
            *_HEAP,
            *(["-Djava.awt.headless=true"] if headless else []),
            "-cp",
            classpath,
            "polystore.fiji.Main",
            "--name",
            name,
        ]
    # Check before the start: an old plugin would start, and then refuse every pipeline.
    check_installed(imagej.folder)
    # ImageJ needs brackets around values with spaces. A name never contains brackets.
    macro = f'run("{_COMMAND}", "name=[{name}] started");'
    if imagej.launcher:
        # Without this option, ImageJ2 passes the macro to a Fiji that already runs, and ends.
        return [str(imagej.launcher), "--forbid-single-instance", "-eval", macro]
    if imagej.jar.parent.name == "jars":
        raise ReceiverUnavailableError(
            BACKEND,
            str(imagej.folder),
            "does not have a launcher for this system",
            "download the Fiji for this system, or use only its ImageJ: "
            f'ij="{imagej.jar}", --ij "{imagej.jar}"',
        )
    java = find_java(folder=imagej.folder)
    run = [str(java.command), *_HEAP, "-jar", str(imagej.jar), "-ijpath", str(imagej.folder)]
    # Port 0: with any other port, ImageJ passes the macro to one that already runs, and ends.
    return [*run, "-port0", "-eval", macro]
