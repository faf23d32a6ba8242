"""The real ImageJ of the machine, and machines that lack a program."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "IJ_JAR",
    "PACKAGE",
    "hide_folder",
    "install_imagej",
    "needs_imagej",
    "needs_java",
    "open_display",
    "run_python",
]

IJ_JAR = Path(os.environ.get("POLYSTORE_IJ", "/usr/share/java/ij.jar"))
PACKAGE = Path(__file__).resolve().parents[1]

needs_imagej = pytest.mark.skipif(
    not IJ_JAR.is_file(), reason="ImageJ is not installed: apt-get install imagej"
)
needs_java = pytest.mark.skipif(
    shutil.which("java") is None, reason="Java is not installed: apt-get install default-jre"
)


def install_imagej(folder: Path, jar: str = "ij.jar") -> Path:
    """Install ImageJ 1 into a folder with the layout of its zip file, or of Fiji's."""
    (folder / "plugins").mkdir(parents=True)
    (folder / jar).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(IJ_JAR, folder / jar)
    return folder


def run_python(
    *arguments: str | Path, hiding: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run Python on a machine without a screen and without the folder ``hiding``."""
    command = [sys.executable, *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("POLYSTORE_")}
    for name in ("DISPLAY", "JAVA_HOME"):
        environment.pop(name, None)
    kept = {k: v for k, v in os.environ.items() if k == "POLYSTORE_TEST_SESSION"}
    return subprocess.run(
        [*hide_folder(hiding), *command] if hiding else command,
        env={**environment, **kept, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def hide_folder(folder: str) -> list[str]:
    """Return the start of a command that runs in a mount namespace where ``folder`` is empty."""
    script = f'mount -t tmpfs none {folder} && exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    try:
        allowed = subprocess.run([*command, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("system: mount namespaces, which hide a program, are not available")
    return command


@contextmanager
def open_display() -> Iterator[str]:
    """Yield the name of a screen that answers but cannot draw."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1] - 6000}"
