"""The tests of sources, over a workspace whose values are on other backends."""

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_testing import NAME, SourceTests
from polystore_testing.values import image
from polystore_workspace import Reference, Workspace

VALUES = {
    "a.npy": image(1),
    "folder/b.npy": image(2),
    "folder/c10.npy": image(3),
    "folder/c9.npy": image(4),
}


class WorkspaceTests(SourceTests):
    """Subclasses supply ``entries``, which saves ``VALUES`` and returns references to them."""

    @pytest.fixture
    def registry(self, tmp_path):
        registry = BackendRegistry()
        registry.add(NAME, "virtual_workspace", file=tmp_path / "ws.json")
        Workspace(self.entries(FileManager(registry), tmp_path)).save(tmp_path / "ws.json")
        return registry

    @pytest.fixture
    def existing(self):
        return VALUES


class TestOverFiles(WorkspaceTests):
    def entries(self, files, folder):
        found = {}
        for number, (path, value) in enumerate(VALUES.items()):
            files.save(value, folder / f"raw/{number}.npy", "disk")
            found[path] = Reference("disk", f"raw/{number}.npy")
        return found


class TestOverOneStack(WorkspaceTests):
    """The planes of one Zarr array, whose four planes share a chunk."""

    def entries(self, files, folder):
        stack = np.stack(list(VALUES.values()))[:, None]
        files.save(stack, folder / "raw.zarr/stack", "zarr", chunks=stack.shape)
        return {
            path: Reference("zarr", "raw.zarr/stack", (n, 0)) for n, path in enumerate(VALUES)
        }


class TestOverWorkspace(WorkspaceTests):
    """The middle axis of an array in memory, through another workspace."""

    def entries(self, files, folder):
        files.save(np.stack(list(VALUES.values()), axis=1), "deep/stack.npy", "memory")
        inner = {
            f"v/{n}.npy": Reference("memory", "deep/stack.npy", (None, n)) for n in range(4)
        }
        Workspace(inner).save(folder / "inner.json")
        files.registry.add("inner", "virtual_workspace", file=folder / "inner.json")
        return {path: Reference("inner", f"v/{n}.npy") for n, path in enumerate(VALUES)}
