"""A Python without plugins."""

import sys
from pathlib import Path

import pytest

from polystore_core.plugins import discovery


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make Python look as if only polystore-core is installed, without plugins."""
    records = "polystore_*.dist-info"
    elsewhere = [path for path in sys.path if not list(Path(path).glob(records))]
    monkeypatch.setattr(sys, "path", elsewhere)
    discovery.rescan()
