"""Helpers that look at folders and files, and a process of another user."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Python = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., Any]

posix = pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="system: needs /proc")


def list_names(directory: Path) -> list[str]:
    """Return the names in a directory, except lock files."""
    return sorted(name for name in os.listdir(directory) if not name.endswith(".lock"))


def get_mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


STRANGER = """
import os, sys
from polystore_core import atomic_update_json
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
atomic_update_json(sys.argv[1], lambda old: old | {"stranger": True})
"""
