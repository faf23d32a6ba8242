"""The script of the moving picture runs, and draws in a live napari."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.screen

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "docs/pictures/pipeline.py"


def test_moving_picture_is_made(tmp_path):
    pytest.importorskip("napari", reason="napari is not installed")
    from PIL import Image

    from polystore_testing.display import private_display

    if not shutil.which("xdotool"):
        pytest.skip("xdotool is not installed: apt-get install xdotool")
    left_out = ("QT_QPA_PLATFORM", "WAYLAND_DISPLAY", "XAUTHORITY")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    try:
        with private_display() as display:
            done = subprocess.run(
                [sys.executable, SCRIPT, tmp_path / "pipeline.gif"],
                env={**kept, "DISPLAY": display.name},
                capture_output=True,
                text=True,
                check=False,
            )
    except FileNotFoundError:
        pytest.skip("Xvfb is not installed: apt-get install xvfb libgl1-mesa-dri libglx-mesa0")
    # The script succeeds even if napari has other outlines than drawn.
    assert done.returncode == 0, done.stdout + done.stderr
    with (
        Image.open(tmp_path / "pipeline.gif") as made,
        Image.open(SCRIPT.with_suffix(".gif")) as committed,
    ):
        assert made.n_frames == committed.n_frames
        assert made.size == committed.size
