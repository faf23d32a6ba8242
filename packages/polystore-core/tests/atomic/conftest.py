"""Paths on two kinds of file systems."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(params=["unnamed", "named"])
def path(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Path:
    """Return a path on a file system with unnamed temporary files, and on one without them.

    NFS and SMB are file systems without unnamed files.
    """
    if request.param == "named":
        system_open, unnamed = os.open, getattr(os, "O_TMPFILE", -1)

        def open_named(path: Any, flags: int, *args: Any, **options: Any) -> int:
            if flags & unnamed == unnamed:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), path)
            return system_open(path, flags, *args, **options)

        monkeypatch.setattr(os, "open", open_named)
    return tmp_path / "a.txt"
