"""Each test runs in its own working directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_testing import Bound

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bound:
    monkeypatch.chdir(tmp_path)
    return Bound(FileManager(BackendRegistry()), "zarr")
