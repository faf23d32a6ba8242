"""What all viewers say to ``polystore doctor``: whether there is a screen, and who runs."""

from __future__ import annotations

import os
import sys

from polystore.checks import Finding

from . import discovery

__all__ = ["has_screen", "running_viewers", "screen"]


def has_screen(*displays: str) -> bool:
    """Whether windows can be opened: on Linux, if one of these variables names a display."""
    return sys.platform in ("win32", "darwin") or any(map(os.environ.get, displays))


def screen(*displays: str, remedy: str) -> Finding:
    """Return whether windows can be opened, and what helps if not."""
    if has_screen(*displays):
        return Finding(what="screen", state="ok")
    return Finding(what="screen", state="missing", found="no DISPLAY", remedy=remedy)


def running_viewers(kind: str) -> Finding:
    """Return which viewers of a kind run here."""
    titles = ", ".join(endpoint.title for endpoint in discovery.find(kind))
    return Finding(what="running", state="ok", found=titles or "none: a save starts one")
