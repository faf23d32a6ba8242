import itertools
import os

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import NotFoundError, PathOutsideRootError, StorageError
from polystore_testing import (
    NAME,
    Bound,
    LinkTests,
    SiblingTests,
    StorageTests,
    check_against_model,
)


def registry_of_disk(root):
    root.mkdir()  # A missing root is an error, not an empty store.
    registry = BackendRegistry()
    registry.add(NAME, "disk", root=str(root))
    return registry


class TestDisk(StorageTests, LinkTests):
    image_paths = ("a.tif", "a.ome.tif")

    @pytest.fixture
    def registry(self, tmp_path):
        return registry_of_disk(tmp_path / "root")

    @pytest.fixture
    def damage(self, tmp_path):
        return lambda path: os.truncate(tmp_path / "root" / path, 500)


class TestRootedSiblings(SiblingTests):
    @pytest.fixture
    def registry(self, tmp_path):
        return registry_of_disk(tmp_path / "root")

    @pytest.mark.parametrize("name", ["link.npy", "out/outside.npy"])
    @pytest.mark.parametrize("operation", ["load", "info", "open"])
    def test_link_out_of_root_is_refused(self, store, point, tmp_path, name, operation):
        """Try a link to a file, and a folder that is a link, to the folder around the root."""
        path = point(name)
        np.save(tmp_path / "outside.npy", np.arange(3))
        (tmp_path / "root" / "f" / "link.npy").symlink_to("../../outside.npy")
        (tmp_path / "root" / "f" / "out").symlink_to(tmp_path)
        with pytest.raises(PathOutsideRootError) as caught:
            getattr(store, operation)(path)
        assert (caught.value.backend, caught.value.path) == (NAME, f"f/{name}")

    def test_link_inside_is_followed(self, store, point):
        path = point("link.npy")
        store.create_symlink("outside.npy", "f/link.npy")
        np.testing.assert_array_equal(store.load(path), store.load("outside.npy"))

    @pytest.mark.timeout(60)
    def test_pipe_is_not_a_sibling(self, store, point, tmp_path):
        path = point("pipe.npy")
        os.mkfifo(tmp_path / "root" / "f" / "pipe.npy")
        with pytest.raises(StorageError, match="named pipe") as caught:
            store.load(path)
        assert caught.value.path == "f/pipe.npy"

    def test_handle_names_its_missing_file(self, store, point):
        handle = store.open(point("a.npy"))
        store.delete("f/a.npy")
        with pytest.raises(NotFoundError) as caught:
            handle[...]
        assert (caught.value.backend, caught.value.path) == (NAME, "f/a.npy")


class TestFreeSiblings(SiblingTests):
    """A backend without a root, in the current folder of the process."""

    @pytest.fixture
    def registry(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        registry = BackendRegistry()
        registry.add(NAME, "disk")
        return registry

    def test_absolute_path_has_siblings(self, store, point, tmp_path):
        path = point("g/b.npy")
        found = store.load(tmp_path / path)
        np.testing.assert_array_equal(found, store.load("f/g/b.npy"))


def test_equals_plain_dictionary(tmp_path):
    number = itertools.count()
    check_against_model(
        lambda: Bound(FileManager(registry_of_disk(tmp_path / str(next(number)))))
    )
