"""Problems that users of other tools have reported.

These are ome-zarr-py#298, bioio-ome-zarr#159, ngff-zarr#221 and vitessce#1818.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["x.zarr.zip", "x.ozx", "y.zarr"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one store of zarr-python under three names."""
    with zarr.storage.ZipStore(tmp_path / "x.zarr.zip", mode="w") as store:
        zarr.create_array(store, shape=(4, 4), dtype="u1")[:] = 7
    for name in NAMES[1:]:
        shutil.copy(tmp_path / "x.zarr.zip", tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_zarr_reads_it(folder: Path, name: str) -> None:
    fm = FileManager(BackendRegistry())
    found = fm.load(folder / name, backend="zarr")
    np.testing.assert_array_equal(found, np.full((4, 4), 7, "u1"))
    assert found.dtype == np.uint8


def test_disk_names_the_right_backend(folder: Path) -> None:
    """Disk used to report a set of ROIs with an odd first member."""
    pytest.importorskip("polystore_formats", reason="polystore-formats is not installed")
    fm = FileManager(BackendRegistry())
    with pytest.raises(DataError, match=r"Zarr.*backend='zarr'"):
        fm.load(folder / "x.zarr.zip", backend="disk")
