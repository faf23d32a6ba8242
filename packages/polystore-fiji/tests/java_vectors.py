"""Run the vectors of docs/protocol in Java, with ImageJ's planner and looks, without a window."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .echo import java
from .machine import IJ_JAR, PACKAGE

if TYPE_CHECKING:
    from polystore_core import Document

__all__ = ["run_vectors"]

_SOURCES = [Path(__file__).parent / "java" / name for name in ("Wire.java", "Vectors.java")]


def run_vectors(vectors: list[list[Document]], classes: Path) -> list[list[Any]]:
    """Return the outcome of each step of each vector. ``classes`` must be an empty folder."""
    options = ["--release", "8", "-Xlint:all,-options", "-Werror", "-encoding", "UTF-8"]
    places = ["-cp", IJ_JAR, "-sourcepath", PACKAGE / "java", "-d", classes]
    subprocess.run([java("javac"), *options, *places, *_SOURCES], check=True)
    runs = ["-Djava.awt.headless=true", "-cp", f"{classes}:{IJ_JAR}"]
    done = subprocess.run(
        [java("java"), *runs, "polystore.fiji.imagej.Vectors"],
        input=json.dumps(vectors),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
        timeout=120,
    )
    outcomes: list[list[Any]] = json.loads(done.stdout)
    return outcomes
