import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_testing import NAME, Bound, LinkTests, StorageTests, check_against_model


def registry_of_memory():
    registry = BackendRegistry()
    registry.add(NAME, "memory", root="top")
    return registry


class TestMemory(StorageTests, LinkTests):
    image_paths = ("a", "a.npy")
    persistent = False

    @pytest.fixture
    def registry(self):
        return registry_of_memory()


def test_equals_plain_dictionary():
    check_against_model(lambda: Bound(FileManager(registry_of_memory())))


@pytest.mark.parametrize("path", ["../plate/a.npy", "../../a.npy", "/data/a.npy", "data/a.npy"])
def test_takes_disk_paths(path):
    """A pipeline keeps in memory, by the very same paths, what it loaded from disk."""
    fm = FileManager(BackendRegistry())
    for seed, other in enumerate(["/data/a.npy", "data/a.npy", "../data/a.npy", path]):
        fm.save(seed, other, backend="memory")
    assert fm.load(path, backend="memory") == 3
    folder = path.rpartition("/")[0]
    assert fm.list_files(folder, backend="memory") == [path]


def test_top_has_nothing_above():
    fm = FileManager(BackendRegistry())
    fm.save(1, "/../a.npy", backend="memory")
    assert fm.load("/a.npy", backend="memory") == 1
    assert fm.list_dir(".", backend="memory") == []
