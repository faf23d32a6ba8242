"""Calls that read each file of a folder read the planes of an OME-TIFF set where they are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager, stack
from polystore_core.errors import DamagedDataError

from .files import assert_same, image
from .ome_sets import OME, one_plane_each, write_file, write_set

if TYPE_CHECKING:
    from pathlib import Path

fm = FileManager()
STACK = image((2, 3, 4, 9, 8))


@pytest.mark.parametrize("check", ["first", "all"])
def test_stack_by_names(tmp_path: Path, check: str) -> None:
    """The names say where a plane is, so the set is not read once for each file."""
    pytest.importorskip("dask")
    pytest.importorskip("xarray")
    paths = write_set(tmp_path, one_plane_each(STACK[:1, :1]))
    found = stack(paths, backend="disk", names="s_{z}.ome.tif", check=check)  # type: ignore[arg-type]
    assert (found.dims, found.shape) == (("z", "y", "x"), (4, 9, 8))
    np.testing.assert_array_equal(found.to_numpy(), STACK[0, 0])


def test_watch_gives_each_file_before_the_set_is_complete(tmp_path: Path) -> None:
    """An acquisition writes the files of a set one after the other."""
    paths = write_set(tmp_path, one_plane_each(STACK[:1, :1]))
    content = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    with fm.watch(tmp_path, "disk", settle=0, timeout=30) as items:
        for number, (path, data) in enumerate(zip(paths, content, strict=True)):
            path.write_bytes(data)
            item = next(items)
            assert_same(item.load(), STACK[0, 0, number])
            assert item.load(as_="image").data.shape == (9, 8)
        assert_same(item.load(multifile=True), STACK[0, 0])


def test_watch_loads_files_in_another_format(tmp_path: Path) -> None:
    """The option ``format`` chooses the format, which may not read other files at all."""
    path = write_set(tmp_path, one_plane_each(STACK[:1, :1]))[1]
    path.rename(tmp_path / "plane.raw")
    (tmp_path / "s_00.ome.tif").write_text("[1, 2]")
    with fm.watch(tmp_path, "disk", timeout=0, settle=0) as items:
        found = {os.path.basename(item.path): item for item in items}
    assert found["s_00.ome.tif"].load(format="json") == [1, 2]
    assert_same(found["plane.raw"].load(format="ome.tif"), STACK[0, 0, 1])


def test_move_converts_the_planes_of_the_file(tmp_path: Path) -> None:
    """The other files stay, so that each plane is there once, also while the set is moved."""
    paths = write_set(tmp_path, one_plane_each(STACK[:1, :1]))
    for number, path in enumerate(paths):
        target = tmp_path / f"{number}.npy"
        fm.move(path, target, "disk")
        assert not path.exists()
        assert_same(fm.load(target, "disk"), STACK[0, 0, number])


def test_dry_run_looks_at_each_file_alone(tmp_path: Path) -> None:
    """It raises the errors of the transfer, and no others."""
    paths = write_set(tmp_path / "set", one_plane_each(STACK[:1, :1]))
    only = '<BinaryOnly MetadataFile="x.companion.ome" UUID="urn:uuid:x"/>'
    write_file(paths[1], {0: STACK[0, 0, 1]}, OME.format(uuid="", content=only))
    (tmp_path / "set" / "x.companion.ome").write_text("<OME cut")
    with pytest.raises(DamagedDataError):
        fm.load(paths[1], "disk")
    for dry_run in (True, False):
        done = fm.transfer(
            tmp_path / "set",
            tmp_path / "there",
            source_backend="disk",
            target_backend="disk",
            pattern="*.tif",
            dry_run=dry_run,
        )
        assert done == [str(tmp_path / "there" / path.name) for path in paths]


def test_virtual_paths_of_a_set(tmp_path: Path) -> None:
    """A virtual folder is read file by file too, except where an entry selects a plane."""
    workspaces = pytest.importorskip("polystore_workspace")
    paths = write_set(tmp_path, one_plane_each(STACK[:1, :1]))
    entries = {
        f"planes/{n}.npy": workspaces.Reference("disk", path.name)
        for n, path in enumerate(paths)
    }
    entries["planes/4.npy"] = workspaces.Reference("disk", paths[0].name, (3,))
    workspaces.Workspace(entries).save(tmp_path / "ws.json")
    registry = BackendRegistry()
    registry.add("ws", "virtual_workspace", file=tmp_path / "ws.json")
    files = FileManager(registry)
    assert_same(files.load("planes/1.npy", "ws"), STACK[0, 0])
    files.transfer("planes", "planes", source_backend="ws", target_backend="memory")
    for n in range(5):
        assert_same(files.load(f"planes/{n}.npy", "memory"), STACK[0, 0, min(n, 3)])
