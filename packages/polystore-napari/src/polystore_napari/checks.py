"""The findings of ``polystore doctor`` about napari. This module imports neither napari nor Qt."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from polystore_core import Finding
from polystore_stream.checks import screen, viewers

from .backend import KIND, interpreter, screen_variables

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["findings"]

_SECONDS = 30.0  # an interpreter on a network drive starts slowly
_ASK = """
from importlib import metadata
from importlib.util import find_spec
needed = ("napari", "qtpy", "vispy", "polystore_napari")
print(*[name for name in needed if find_spec(name) is None])
print(metadata.version("napari") if find_spec("napari") else "")
"""


def findings() -> Iterator[Finding]:
    """Yield whether a save into ``napari_stream`` would find napari and a screen."""
    yield _napari(interpreter())
    yield screen(*screen_variables())
    yield from viewers(KIND)


def _napari(python: str) -> Finding:
    try:
        done = subprocess.run(
            [python, "-c", _ASK],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
        missing, version = done.stdout.split("\n")[:2]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        remedy = "set POLYSTORE_NAPARI_PYTHON or python= to a Python that has napari"
        return Finding(what="napari", state="missing", found=str(error), remedy=remedy)
    if missing:
        found = f"{python} does not have {', '.join(missing.split())}"
        remedy = f"{python} -m pip install polystore-napari"
        return Finding(what="napari", state="missing", found=found, remedy=remedy)
    return Finding(what="napari", state="ok", found=f"{version}: {python}")
