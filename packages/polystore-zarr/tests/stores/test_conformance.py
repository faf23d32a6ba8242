"""The kit, for Zarr over each kind of store: each slice runs what the store claims."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from polystore_core import BackendRegistry, LocalStore
from polystore_testing import NAME, Bound, StorageTests, overrides
from polystore_testing.values import assert_same, image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from polystore_core import ByteStore


class ZarrTests(StorageTests):
    """What all of them share: an array without boxes in its fields, and how to damage it."""

    refused = frozenset({"structured"})  # with a box in a field: Zarr has no sub-arrays

    @pytest.fixture
    def registry(self, tmp_path: Path) -> BackendRegistry:
        registry = BackendRegistry()
        self.add(registry, tmp_path)
        return registry

    def add(self, registry: BackendRegistry, folder: Path) -> None:
        raise NotImplementedError

    @pytest.fixture
    def damage(self, registry: BackendRegistry) -> Callable[[str], None] | None:
        def cut(path: str) -> None:
            store: ByteStore = registry[NAME].store
            folder, _, name = path.rpartition("/")
            node = f"{folder}/images.zarr/{name}".lstrip("/")
            chunk = next(
                stat.key for stat in store.scan(node) if not stat.key.endswith("zarr.json")
            )
            store.put(chunk, store.read(chunk)[:-7])

        return cut


@pytest.mark.slow
class TestLocalStore(ZarrTests):
    def add(self, registry: BackendRegistry, folder: Path) -> None:
        registry.add(NAME, "zarr", store=LocalStore(folder))


@pytest.mark.slow
class TestDisk(ZarrTests):
    """By the name of another backend."""

    def add(self, registry: BackendRegistry, folder: Path) -> None:
        registry.add("files", "disk", root=str(folder))
        registry.add(NAME, "zarr", store="files")


class TestMemory(ZarrTests):
    persistent = False

    def add(self, registry: BackendRegistry, folder: Path) -> None:
        registry.add("box", "memory", root="top")
        registry.add(NAME, "zarr", store="box")


class TestZip(ZarrTests):
    def add(self, registry: BackendRegistry, folder: Path) -> None:
        registry.add("archive", "zip", file=str(folder / "scan.zip"))
        registry.add(NAME, "zarr", store="archive")

    @pytest.fixture
    def damage(self, tmp_path: Path) -> Callable[[str], None]:
        def change(path: str) -> None:
            file = tmp_path / "scan.zip"
            content = bytearray(file.read_bytes())
            content[content.index(f"images.zarr/{path}/c/".encode()) + 60] ^= 1
            file.write_bytes(content)

        return change


@pytest.mark.slow
class TestZipStore(TestZip):
    """As an instance, which travels to other processes by pickle."""

    def add(self, registry: BackendRegistry, folder: Path) -> None:
        from polystore_zip.backend import ZipStore

        registry.add(NAME, "zarr", store=ZipStore(folder / "scan.zip"))


class TestObjects(ZarrTests):
    """No folders, no trees, no renames, no locks."""

    def add(self, registry: BackendRegistry, folder: Path) -> None:
        from objectstore import ObjectStore

        registry.add(NAME, "zarr", store=ObjectStore(folder / "bucket"))


class TestFree(ZarrTests):
    """Without a root, in the folder of the process."""

    def add(self, registry: BackendRegistry, folder: Path) -> None:
        registry.add(NAME, "zarr", store=LocalStore())

    @pytest.fixture(autouse=True)
    def folder_of_process(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")

    @overrides("without a root, paths are those of the system")
    @pytest.mark.parametrize("path", ["../a.npy", "folder/../../a.npy", "./../a.npy"])
    def test_nothing_leaves_root(self, store: Bound, path: str) -> None:
        store.save(image(), path)
        assert_same(store.load("../a.npy"), image())
        assert store.list_dir("..") == ["a.npy", "here"]
