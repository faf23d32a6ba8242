"""A napari that the user has already open receives the saves of a pipeline."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, sys, threading
import napari, numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

def announced():
    names = os.listdir(os.environ["POLYSTORE_RUNTIME_DIR"])
    return [n for n in names if not n.startswith(".~ps-") and not n.endswith(".log")]

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


def run(desktop: Path, how: str) -> str:
    """Run the script, and return the log of its viewer."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, timeout=100
    )
    assert "all is well" in done.stdout, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    log = max(desktop.glob("napari-default-*.log"), key=lambda path: path.stat().st_mtime)
    return log.read_text()


def test_open_napari_receives(desktop: Path) -> None:
    assert run(desktop, "window").endswith("polystore: it was closed by its user\n")


def test_closed_dock_stops_receiving(desktop: Path) -> None:
    assert run(desktop, "dock").endswith("polystore: it was closed in its widget\n")
