import os
from pathlib import Path

import pytest

from polystore import BackendRegistry, FileManager
from polystore_testing import NAME, Bound, StorageTests, check_against_model


def registry_of(root: Path) -> BackendRegistry:
    registry = BackendRegistry()
    registry.add(NAME, "zarr", root=str(root))
    return registry


class TestZarr(StorageTests):
    refused = frozenset({"structured"})  # with a box in a field: Zarr has no sub-arrays

    @pytest.fixture
    def registry(self, tmp_path: Path) -> BackendRegistry:
        return registry_of(tmp_path)

    @pytest.fixture
    def damage(self, tmp_path: Path):
        def cut(path: str) -> None:
            folder = tmp_path / os.path.dirname(path) / "images.zarr" / os.path.basename(path)
            chunk = next(
                p for p in folder.rglob("*") if p.is_file() and p.parent.name != folder.name
            )
            chunk.write_bytes(chunk.read_bytes()[:-7])

        return cut


def test_equals_plain_dictionary(tmp_path_factory: pytest.TempPathFactory) -> None:
    check_against_model(
        lambda: Bound(FileManager(registry_of(tmp_path_factory.mktemp("model")))),
        max_examples=30,
    )
