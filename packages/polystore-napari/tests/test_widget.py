"""A napari that the user has open already takes in what a pipeline saves."""

import subprocess
import sys

SCRIPT = """
import os, sys, threading
import napari, numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

def announced():
    names = os.listdir(os.environ["POLYSTORE_RUNTIME_DIR"])
    return [name for name in names if not name.startswith(".~ps-")]

viewer = napari.Viewer()
dock, widget = viewer.window.add_plugin_dock_widget("polystore-napari")
assert widget.status.text() == "waiting for images", widget.status.text()

def pipeline():
    from polystore_core import FileManager
    fm = FileManager()
    fm.save(np.eye(64), "eye.npy", backend="napari_stream", wait="shown")
    fm.registry.close()

thread = threading.Thread(target=pipeline)
thread.start()

def look():
    if thread.is_alive():
        QTimer.singleShot(100, look)
        return
    assert [layer.name for layer in viewer.layers] == ["eye"]
    assert widget.status.text() == "1 received", widget.status.text()
    widget.toggle()
    assert (announced(), widget.status.text()) == ([], "not receiving")
    widget.toggle()
    assert len(announced()) == 2
    if sys.argv[1] == "dock":
        viewer.window.remove_dock_widget(dock)
        assert announced() == []
    viewer.close()
    QTimer.singleShot(300, QApplication.quit)

QTimer.singleShot(100, look)
napari.run()
assert announced() == [], announced()
print("all is well")
"""


def run(how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, timeout=100
    )
    assert "all is well" in done.stdout, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr


def test_open_napari_receives(desktop) -> None:
    run("window")


def test_closed_dock_stops_receiving(desktop) -> None:
    run("dock")
