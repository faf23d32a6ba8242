"""Each test runs in its own working directory, and with each version of Zarr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from polystore_core import FileManager
from polystore_testing import Bound

if TYPE_CHECKING:
    from pathlib import Path

FORMATS = (2, 3)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bound:
    monkeypatch.chdir(tmp_path)
    return Bound(FileManager(), "zarr")


@pytest.fixture(params=FORMATS)
def zarr_format(request: pytest.FixtureRequest) -> Any:
    return request.param
