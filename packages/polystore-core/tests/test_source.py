"""The source of a handle, from which another process opens the same array."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager, LazyArray, StorageBackend

if TYPE_CHECKING:
    from pathlib import Path

_IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)
_OPENS = (
    "import json, sys; from polystore_core import BackendRegistry, FileManager;"
    "s = json.loads(sys.argv[1]); fm = FileManager(BackendRegistry());"
    "print(fm.open(s['path'], s['backend'], **s['options'])[...].tolist())"
)


class MemoryHandle(LazyArray):
    """An array in memory as a handle."""

    shape, dtype = _IMAGE.shape, _IMAGE.dtype

    def __getitem__(self, region: Any) -> Any:
        return _IMAGE[region]


class Shelf(StorageBackend):
    """Loads one image, and opens it as a handle."""

    _backend_type = "shelf_of_sources"

    def save(self, data: Any, path: Any, /) -> None:
        """Store nothing."""

    def load(self, path: Any, /) -> Any:
        return _IMAGE

    def open(self, path: Any, /) -> Any:
        return _IMAGE if path == "bare" else MemoryHandle()


@pytest.fixture
def manager() -> FileManager:
    return FileManager(BackendRegistry())


def test_another_process_opens_source(
    tmp_path: Path, manager: FileManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    manager.save(_IMAGE, "a.npy", "disk")
    manager.registry.add("mine", "disk", root=tmp_path)
    for backend in ("disk", "mine"):
        source = manager.open("a.npy", backend).source
        assert source is not None
        assert (source.backend, source.path) == ("disk", str(tmp_path / "a.npy"))
        command = [sys.executable, "-c", _OPENS, json.dumps(asdict(source))]
        found = subprocess.run(command, capture_output=True, text=True, cwd="/", check=True)
        assert json.loads(found.stdout) == _IMAGE.tolist()


def test_source_has_options_of_open(tmp_path: Path, manager: FileManager) -> None:
    pytest.importorskip("tifffile", reason="tifffile is missing")
    manager.save(_IMAGE, tmp_path / "a.tif", "disk")
    source = manager.open(tmp_path / "a.tif", "disk", series=0).source
    assert source is not None
    assert source.options == {"series": 0}


def test_memory_and_local_classes_have_no_source(manager: FileManager) -> None:
    manager.save(_IMAGE, "a", "memory")
    assert manager.open("a", "memory").source is None
    assert manager.open("a", "shelf_of_sources").source is None


def test_plain_array_is_returned_unchanged(manager: FileManager) -> None:
    assert manager.open("bare", "shelf_of_sources") is _IMAGE


def test_handle_is_its_only_level() -> None:
    handle = MemoryHandle()
    assert handle.levels == (handle,)
    turned = handle.transpose((1, 0))
    assert turned.levels == (turned,)
    assert turned.source is None
