"""Stores of the kit's own tests, for the tests here and for the processes that they start."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.append(str(Path(__file__).parents[3] / "polystore-testing/tests"))

from .places import PLACES, Place

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, which is also the folder of a store without a root."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def place(request: pytest.FixtureRequest, folder: Path) -> Iterator[Place]:
    """A store by its name, with the backend ``"z"`` over it. Parametrize it indirectly."""
    made = Place(PLACES[request.param], folder)
    yield made
    made.registry.close()
