import itertools
import os

import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_testing import NAME, Bound, LinkTests, StorageTests, check_against_model


def registry_of_disk(root, **options):
    root.mkdir()  # a root that is not there is an error, not an empty store
    registry = BackendRegistry()
    registry.add(NAME, "disk", root=str(root), **options)
    return registry


class TestDisk(StorageTests, LinkTests):
    @pytest.fixture
    def registry(self, tmp_path):
        return registry_of_disk(tmp_path / "root")

    @pytest.fixture
    def damage(self, tmp_path):
        return lambda path: os.truncate(tmp_path / "root" / path, 500)


def test_equals_plain_dictionary(tmp_path):
    number = itertools.count()
    check_against_model(
        lambda: Bound(FileManager(registry_of_disk(tmp_path / str(next(number)))))
    )
