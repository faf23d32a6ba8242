"""The backend in its own folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_testing import Bound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["free", "root"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bound]:
    """With and without a root, the same relative paths give the same results."""
    monkeypatch.chdir(tmp_path)
    registry = BackendRegistry()
    registry.add(
        "store", "zarr", **({"root": str(tmp_path)} if request.param == "root" else {})
    )
    with registry:
        yield Bound(FileManager(registry), "store")
