"""``python -m polystore_napari``: a napari that shows what pipelines save."""

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
    except PolystoreError as error:  # at once: napari takes seconds until Qt ends the process
        print(f"error: {error}", file=sys.stderr)
        return 2
    faulthandler.enable()  # a crash in Qt or OpenGL leaves its place in the log
    # Without a graphics card all cores would draw: half of them are the pipeline's.
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
        # Of this thread alone: the receiver's must not wait for what is being painted.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    # Python looks for signals between two of its own instructions: Qt alone executes none.
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
