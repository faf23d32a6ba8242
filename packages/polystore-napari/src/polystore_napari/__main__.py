"""Start a napari that shows what pipelines save: ``python -m polystore_napari``."""

from __future__ import annotations

import argparse
import faulthandler
import os
import signal
import sys
import threading

from polystore_core.errors import PolystoreError
from polystore_stream.checks import check_screen
from polystore_stream.logs import name_of_signal

from .backend import BACKEND, KIND, screen_variables

__all__ = ["main"]

_NICE = 5


def main(arguments: list[str] | None = None) -> int:
    """Run napari until it is closed. Return 2 if it cannot start."""
    parser = argparse.ArgumentParser(prog="polystore-napari", description=__doc__)
    parser.add_argument("--name", default="default", help="its name for backends (%(default)s)")
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        help="accept producers of other machines: tcp://0.0.0.0:5555 (always encrypted)",
    )
    options = parser.parse_args(arguments)

    try:
        check_screen(BACKEND, KIND, *screen_variables())
    except PolystoreError as error:  # fail now: otherwise Qt ends the process seconds later
        print(f"error: {error}", file=sys.stderr)
        return 2
    faulthandler.enable()  # a crash in Qt or OpenGL writes its stack into the log
    # Without a graphics card, Mesa would draw on all cores. Leave half of them to the pipeline.
    os.environ.setdefault("LP_NUM_THREADS", str((os.cpu_count() or 2) // 2 - 1))

    import napari
    from qtpy.QtCore import QTimer

    from .viewer import NapariViewer, quit_application

    title = "napari" if options.name == "default" else f"napari: {options.name}"
    window = napari.Viewer(title=title)
    try:
        viewer = NapariViewer(
            window, options.name, listen=options.listen, on_quit=quit_application
        )
    except PolystoreError as error:
        print(f"error: {error}", file=sys.stderr)
        window.close()
        return 2
    if options.listen:
        print(
            f"connection file for producers on other machines: {viewer.receiver.connection_file}"
        )

    def quit_by(number: int, _frame: object) -> None:
        viewer.closed_how = f"by {name_of_signal(number)}"
        quit_application()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, quit_by)
    if hasattr(os, "setpriority"):
        # Lower the priority of this thread only. The receiver's thread must not wait while this
        # one paints.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    # Python handles signals only between its own instructions, and Qt's loop executes none. This
    # timer calls Python five times a second, so that Ctrl-C works.
    alive = QTimer(interval=200)
    alive.timeout.connect(lambda: None)
    alive.start()
    try:
        napari.run()
    finally:
        viewer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
