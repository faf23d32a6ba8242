import os
from pathlib import Path

import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import DuplicatePathError
from polystore_testing import NAME, Bound, StorageTests, check_against_model
from polystore_testing.values import assert_same, image


def registry_of(root: Path) -> BackendRegistry:
    registry = BackendRegistry()
    registry.add(NAME, "zarr", root=str(root))
    return registry


class TestZarr(StorageTests):
    image_paths = ("a.npy", "a.ome.zarr")
    refused = frozenset({"structured"})  # a field that holds arrays: Zarr has no sub-arrays

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


@pytest.mark.parametrize("twin", ["f/images.zarr/a.tif", "link/a.tif", "f/./a.tif"])
def test_aliases_in_batch(tmp_path: Path, twin: str) -> None:
    """Two names of one array are refused, because the second value would replace the first."""
    store = Bound(FileManager(registry_of(tmp_path)))
    store.save(image(9), "f/a.tif")
    (tmp_path / "link").symlink_to("f")
    with pytest.raises(DuplicatePathError, match=r"\[0\] and \[2\]"):
        store.save_batch([image(1), image(2), image(3)], ["f/a.tif", "new.tif", twin])
    assert_same(store.load("f/a.tif"), image(9))
    assert not store.exists("new.tif")
