"""Which bytes are flushed to the device before readers see them.

By default these are the bytes that replace others. With ``durable=True`` they are all bytes.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_zarr.backend import ZarrBackend

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX")

LAYOUT: dict[str, Any] = {"chunks": 8, "shards": False}


def image(number: int = 1) -> Any:
    return np.full((32, 32), number, np.uint16)


class Flushes:
    """The inode numbers that ``fsync`` was called for."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.files: set[int] = set()
        self.folders: set[int] = set()
        fsync = os.fsync

        def record(descriptor: int) -> None:
            found = os.fstat(descriptor)
            (self.folders if stat.S_ISDIR(found.st_mode) else self.files).add(found.st_ino)
            fsync(descriptor)

        patch.setattr(os, "fsync", record)

    def clear(self) -> None:
        self.files.clear()
        self.folders.clear()


@pytest.fixture
def flushes(monkeypatch: pytest.MonkeyPatch) -> Flushes:
    return Flushes(monkeypatch)


@pytest.fixture
def backend(tmp_path: Path) -> ZarrBackend:
    return ZarrBackend(root=tmp_path)


def inodes(tree: Path) -> set[int]:
    return {path.stat().st_ino for path in tree.rglob("*") if path.is_file()}


def test_new_arrays_are_not_flushed(backend: ZarrBackend, flushes: Flushes) -> None:
    backend.save(image(), "g.zarr/a", **LAYOUT)
    backend.save(image(), "p.ome.zarr", levels=2)
    backend.copy("g.zarr/a", "g.zarr/b")
    backend.move("g.zarr/b", "g.zarr/c")
    backend.create("g.zarr/d", shape=(4, 4), dtype="u1")
    assert not flushes.files
    assert not flushes.folders


@pytest.mark.parametrize("how", ["save", "copy", "move", "image", "create"])
def test_replacing_tree_is_flushed(
    backend: ZarrBackend, flushes: Flushes, tmp_path: Path, how: str
) -> None:
    backend.save(image(1), "g.zarr/a", **LAYOUT)
    backend.save(image(2), "g.zarr/b", **LAYOUT)
    backend.save(image(1), "p.ome.zarr", levels=2)
    path = "p.ome.zarr" if how == "image" else "g.zarr/a"
    flushes.clear()
    if how == "save":
        backend.save(image(2), path, **LAYOUT)
    elif how == "image":
        backend.save(image(2), path, levels=2)
    elif how == "create":
        backend.create(path, shape=(4, 4), dtype="u1", if_exists="replace")
    else:
        getattr(backend, how)("g.zarr/b", path)
    assert flushes.files == inodes(tmp_path / path)
    assert (tmp_path / path).stat().st_ino in flushes.folders
    assert (tmp_path / path).parent.stat().st_ino not in flushes.folders


def test_durable_false_flushes_nothing(flushes: Flushes, tmp_path: Path) -> None:
    backend = ZarrBackend(root=tmp_path, durable=False)
    for number in (1, 2):
        backend.save(image(number), "g.zarr/a", **LAYOUT)
        backend.save(image(number), f"plate.ome.zarr/B/0{number}/0", levels=1)
        backend.save(image(number)[:8, :8], "g.zarr/a", region=np.s_[:8, :8])
        backend.open("g.zarr/a", mode="r+")[:8, :8] = 1
    assert not flushes.files
    assert not flushes.folders


@pytest.mark.parametrize("default", [True, None], ids=["backend", "save"])
def test_durable_true_flushes_everything(
    flushes: Flushes, tmp_path: Path, default: bool | None
) -> None:
    backend = ZarrBackend(root=tmp_path, durable=default)
    option = {} if default else {"durable": True}
    backend.save(image(), "deep/g.zarr/h/a", **LAYOUT, **option)
    assert flushes.files == inodes(tmp_path)
    folders = {path.stat().st_ino for path in tmp_path.rglob("*") if path.is_dir()}
    assert flushes.folders >= folders | {tmp_path.stat().st_ino}


def test_documents_are_flushed(backend: ZarrBackend, flushes: Flushes, tmp_path: Path) -> None:
    """The documents of plates, wells and labels are replaced, even if the member is new."""
    backend.save(image(), "plate.ome.zarr/B/01/0", levels=1)
    flushes.clear()
    backend.save(image(), "plate.ome.zarr/B/02/0", levels=1)
    backend.save(image(), "plate.ome.zarr/B/02/1", levels=1)
    backend.save(image(), "plate.ome.zarr/B/02/1/labels/cells")
    for document in ("zarr.json", "B/02/zarr.json", "B/02/1/labels/zarr.json"):
        inode = (tmp_path / "plate.ome.zarr" / document).stat().st_ino
        assert inode in flushes.files, document


@pytest.mark.parametrize("zarr_format", [3, 2])
def test_regions_flush_chunks(
    backend: ZarrBackend, flushes: Flushes, tmp_path: Path, zarr_format: Any
) -> None:
    backend.save(image(), "g.zarr/a", chunks=8, zarr_format=zarr_format)
    handle = backend.open("g.zarr/a", mode="r+")
    for write in (
        lambda: backend.save(image()[:16, :16], "g.zarr/a", region=np.s_[:16, :16]),
        lambda: handle.__setitem__(np.s_[:16, :16], 3),
    ):
        flushes.clear()
        write()
        assert len(flushes.files) == 4
        assert flushes.files < inodes(tmp_path / "g.zarr/a")
    flushes.clear()
    backend.save(image()[:8, :8], "g.zarr/a", region=np.s_[:8, :8], durable=True)
    assert len(flushes.folders) == 1


def test_failed_flush_keeps_old_array(
    backend: ZarrBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.save(image(1), "g.zarr/a", **LAYOUT)

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output") as caught:
        backend.save(image(2), "g.zarr/a", **LAYOUT)
    assert caught.value.errno == errno.EIO
    assert (backend.load("g.zarr/a") == 1).all()


def test_document_keeps_its_file_mode(backend: ZarrBackend, tmp_path: Path) -> None:
    backend.save(image(), "plate.ome.zarr/B/01/0", levels=1)
    document = tmp_path / "plate.ome.zarr/zarr.json"
    document.chmod(0o660)
    backend.save(image(), "plate.ome.zarr/B/02/0", levels=1)
    assert stat.S_IMODE(document.stat().st_mode) == 0o660
