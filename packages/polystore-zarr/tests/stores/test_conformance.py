"""The kit for Zarr over each kind of store. Each class tests the claims of its store."""

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
    """The common parts: no fields that hold arrays, and a way to damage an array."""

    refused = frozenset({"structured"})  # a field that holds arrays: Zarr has no sub-arrays

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
    """The store is that of another backend, given by its name."""

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
    """The store is an instance, which other processes get by pickle."""

    def add(self, registry: BackendRegistry, folder: Path) -> None:
        from polystore_zip.backend import ZipStore

        registry.add(NAME, "zarr", store=ZipStore(folder / "scan.zip"))


class TestObjects(ZarrTests):
    """The store has no folders, no trees, no renames and no locks."""

    def add(self, registry: BackendRegistry, folder: Path) -> None:
        from objectstore import ObjectStore

        registry.add(NAME, "zarr", store=ObjectStore(folder / "bucket"))


class TestFree(ZarrTests):
    """The store has no root, and paths begin in the working directory."""

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
