import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_testing import NAME, Bound, LinkTests, StorageTests, check_against_model


def make_registry():
    registry = BackendRegistry()
    registry.add(NAME, "memory", root="top")
    return registry


class TestMemory(StorageTests, LinkTests):
    image_paths = ("a", "a.npy")
    persistent = False

    @pytest.fixture
    def registry(self):
        return make_registry()


def test_equals_plain_dictionary():
    check_against_model(lambda: Bound(FileManager(make_registry())))


@pytest.mark.parametrize("path", ["../plate/a.npy", "../../a.npy", "/data/a.npy", "data/a.npy"])
def test_paths_of_disk_work(path):
    """A pipeline keeps loaded files in memory under the same paths that they have on disk."""
    fm = FileManager(BackendRegistry())
    for seed, other in enumerate(["/data/a.npy", "data/a.npy", "../data/a.npy", path]):
        fm.save(seed, other, backend="memory")
    assert fm.load(path, backend="memory") == 3
    folder = path.rpartition("/")[0]
    assert fm.list_files(folder, backend="memory") == [path]


def test_path_above_top_is_below_top():
    fm = FileManager(BackendRegistry())
    fm.save(1, "/../a.npy", backend="memory")
    assert fm.load("/a.npy", backend="memory") == 1
    assert fm.list_dir(".", backend="memory") == []
