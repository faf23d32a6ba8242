"""A root, a tree of the same names outside, and a backend that is confined to the root."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from .trees import OURS, SECRET, SHAPE, make_backend, plant, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from polystore_zarr.backend import ZarrBackend


@pytest.fixture(scope="session")
def source_trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both trees, which are made once and copied for each test."""
    made = tmp_path_factory.mktemp("planted")
    plant(made / "root", OURS)
    plant(made / "outside", np.full(SHAPE, SECRET, np.uint16))
    return made


@pytest.fixture
def root(tmp_path: Path, source_trees: Path) -> Path:
    return shutil.copytree(source_trees / "root", tmp_path / "root")


@pytest.fixture
def outside(tmp_path: Path, source_trees: Path) -> Iterator[Path]:
    """A tree next to the root. It must not change, and it must not get new names."""
    made = shutil.copytree(source_trees / "outside", tmp_path / "outside")
    before = snapshot(made)
    yield made
    assert snapshot(made) == before


@pytest.fixture
def backend(root: Path) -> Iterator[ZarrBackend]:
    backend = make_backend(root)
    yield backend
    backend.close()
