"""What starts an ImageJ or Fiji that receives, and starting it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from polystore_core.errors import ReceiverError, ReceiverUnavailableError
from polystore_stream import discovery, start_viewer
from polystore_stream.checks import check_screen

from .imagej import find_imagej
from .jars import BACKEND, check_installed, own_jar
from .java import find_java

if TYPE_CHECKING:
    from polystore_stream import Endpoint

    from .imagej import ImageJ

__all__ = ["DISPLAY", "KIND", "WITHOUT_SCREEN", "command", "launch"]

KIND = "fiji"
DISPLAY = "DISPLAY"  # Java needs X11, also within Wayland
WITHOUT_SCREEN = "; or open no windows: headless=True, --headless"
# Of the machine's memory (the container's, if in one): images stay in the heap, and Java would
# take a quarter. Java 8 before its update 191 does not know the option, and goes on without.
# By default Java gives each plane a region of its own: a stack grows at half the rate, and slower
# the longer it runs.
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

    ``fiji`` is a folder of Fiji or ImageJ with the receiver among its plugins, ``ij`` an
    ij.jar: see :func:`polystore_fiji.imagej.find_imagej` for what is taken without them.
    ``headless`` opens no window. Raises ``InvalidOptionError`` for what is no ImageJ or no
    name, ``ReceiverUnavailableError`` where something is missing or it does not come up within
    ``timeout`` seconds, ``IncompatibleReceiverError`` where the plugin is of another version.
    """
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
    """Return what starts ``imagej`` with a receiver called ``name``.

    A jar alone, and whatever is headless, is run with our jar beside it; a folder is started
    as its user does, with the receiver that is among its plugins. Raises
    ``ReceiverUnavailableError`` and ``IncompatibleReceiverError``.
    """
    if not headless:
        check_screen(BACKEND, "ImageJ", DISPLAY, advice=WITHOUT_SCREEN)
    if imagej.folder is None or headless:
        java = find_java(folder=imagej.folder, windows=not headless)
        classpath = os.pathsep.join(map(str, (imagej.jar, own_jar().path)))
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
    check_installed(imagej.folder)
    # In brackets, as ImageJ writes values that may hold blanks; a name holds no brackets.
    macro = f'run("{_COMMAND}", "name=[{name}] started");'
    if imagej.launcher:
        # Otherwise ImageJ2 hands the macro to a Fiji that runs already, and ends.
        return [str(imagej.launcher), "--forbid-single-instance", "-eval", macro]
    if imagej.jar.parent.name == "jars":
        raise ReceiverUnavailableError(
            BACKEND,
            str(imagej.folder),
            "has no launcher for this system",
            "download the Fiji for this system, or use its ImageJ alone: "
            f'ij="{imagej.jar}", --ij "{imagej.jar}"',
        )
    java = find_java(folder=imagej.folder)
    run = [str(java.command), *_HEAP, "-jar", str(imagej.jar), "-ijpath", str(imagej.folder)]
    # Port 0: otherwise ImageJ hands the macro to one that runs already, and ends.
    return [*run, "-port0", "-eval", macro]
