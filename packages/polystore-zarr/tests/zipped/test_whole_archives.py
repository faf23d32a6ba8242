"""Archives are copied, moved and deleted as one file, packed and unpacked."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import (
    AlreadyExistsError,
    DamagedDataError,
    InvalidOptionError,
    NotFoundError,
    PolystoreError,
)

from .archives import (
    NAMES,
    VALUE,
    members_of,
    read_all_files,
    zip_array,
    zip_group,
)

if TYPE_CHECKING:
    from polystore_testing import Bound

same = np.testing.assert_array_equal


def test_copy_packs_and_unpacks(store: Bound) -> None:
    store.save(VALUE, "i.ome.zarr", levels=2)
    store.save(VALUE.astype("u1"), "i.ome.zarr/labels/n")
    store.copy("i.ome.zarr", "i.ozx")
    same(store.load("i.ozx", level=1), store.load("i.ome.zarr", level=1))
    store.copy("i.ozx", "back.ome.zarr")
    assert read_all_files("back.ome.zarr") == read_all_files("i.ome.zarr")
    assert members_of("i.ozx") == read_all_files("i.ome.zarr")
    store.copy("i.ozx", "again.ozx")
    assert members_of("again.ozx") == members_of("i.ozx")


def test_copy_packs_a_plate(store: Bound) -> None:
    paths = [f"p.ome.zarr/{well}/0" for well in ("A/01", "B/03")]
    store.save_batch([VALUE, VALUE + 1], paths, levels=1)
    store.copy("p.ome.zarr", "p.ozx")
    same(store.load("p.ozx/B/03/0"), VALUE + 1)
    assert members_of("p.ozx") == read_all_files("p.ome.zarr")
    with pytest.raises(AlreadyExistsError):
        store.copy("p.ome.zarr", "p.ozx")


def test_copy_respects_if_exists(store: Bound) -> None:
    store.save(VALUE, "a.zarr")
    store.save(VALUE + 1, "b.zarr.zip")
    store.copy("a.zarr", "b.zarr.zip", if_exists="skip")
    with pytest.raises(AlreadyExistsError):
        store.copy("a.zarr", "b.zarr.zip", if_exists="error")
    same(store.load("b.zarr.zip"), VALUE + 1)
    store.copy("a.zarr", "b.zarr.zip")
    same(store.load("b.zarr.zip"), VALUE)


@pytest.mark.parametrize("make", [zip_array, zip_group])
@pytest.mark.parametrize("name", NAMES)
def test_archive_is_deleted_and_moved(store: Bound, name: str, make: Any) -> None:
    """The archive is one file, and no part of it is unpacked."""
    make(name)
    content = Path(name).read_bytes()
    target = "f/moved.zarr" if name == "y.zarr" else f"f/moved.{name.partition('.')[2].lower()}"
    store.move(name, target)
    assert not os.path.exists(name)
    assert Path(target).read_bytes() == content
    store.delete(target, recursive=make is zip_group)
    assert not os.path.exists(target)
    with pytest.raises(NotFoundError):
        store.load(target)


def test_archive_with_members_needs_recursive(store: Bound) -> None:
    zip_group("g.zarr.zip")
    with pytest.raises(PolystoreError, match="recursive=True"):
        store.delete("g.zarr.zip")
    assert store.exists("g.zarr.zip/h/b")
    store.delete("g.zarr.zip", recursive=True)
    assert os.listdir(".") == []


def test_folder_with_archives_is_copied_and_deleted(store: Bound) -> None:
    """An archive is ours, like a store. So a folder with an archive can be deleted."""
    store.save(VALUE, "f/x.zarr.zip")
    store.save(VALUE, "f/a.tif")
    store.copy("f", "g")
    same(store.load("g/x.zarr.zip"), VALUE)
    store.delete("f", recursive=True)
    assert not os.path.exists("f")


def test_archive_takes_space_once(store: Bound, tmp_path: Path) -> None:
    """The tree that the archive was built from is removed."""
    store.save(VALUE, "x.zarr.zip", compressor="none")
    used = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert used < 2 * VALUE.nbytes
    shutil.rmtree(tmp_path / "nothing", ignore_errors=True)


# ── between folders and archives ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["array", "image", "plate"])
def test_move_packs_and_unpacks(store: Bound, kind: str) -> None:
    folder, archive = ("a.zarr", "a.zarr.zip") if kind == "array" else ("a.ome.zarr", "a.ozx")
    path = "/A/01/0" if kind == "plate" else ""
    store.save(VALUE, folder + path, **({} if kind == "array" else {"levels": 2}))
    before = read_all_files(folder)
    store.move(folder, archive)
    assert not os.path.exists(folder)
    assert members_of(archive) == before
    same(store.load(archive + path), VALUE)
    store.move(archive, folder)
    assert not os.path.exists(archive)
    assert read_all_files(folder) == before


def test_move_does_not_rename_to_a_suffix_that_promises_more(store: Bound) -> None:
    zip_array("x.zarr.zip")
    with pytest.raises(InvalidOptionError, match="ozx"):
        store.move("x.zarr.zip", "x.ozx")
    assert os.listdir(".") == ["x.zarr.zip"]
    store.move("x.zarr.zip", "y.zarr")
    assert os.path.isdir("y.zarr")
    same(store.load("y.zarr"), VALUE)


def test_move_respects_if_exists(store: Bound) -> None:
    zip_array("x.zarr.zip")
    store.save(VALUE + 1, "y.zarr.zip")
    store.move("x.zarr.zip", "y.zarr.zip", if_exists="skip")
    with pytest.raises(AlreadyExistsError):
        store.move("x.zarr.zip", "y.zarr.zip", if_exists="error")
    same(store.load("y.zarr.zip"), VALUE + 1)
    store.move("x.zarr.zip", "x.zarr.zip")
    store.move("x.zarr.zip", "y.zarr.zip")
    assert os.listdir(".") == ["y.zarr.zip"]
    same(store.load("y.zarr.zip"), VALUE)
    zip_group("g.zarr.zip")
    for target in ("y.zarr.zip", "g.zarr.zip/h"):
        with pytest.raises(PolystoreError):
            store.move("g.zarr.zip", target)
    assert sorted(os.listdir(".")) == ["g.zarr.zip", "y.zarr.zip"]


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="system: has no symbolic links")
def test_link_to_an_archive_stays(store: Bound) -> None:
    store.save(VALUE, "f/real.zarr.zip")
    os.symlink("f/real.zarr.zip", "link.zarr.zip")
    same(store.load("link.zarr.zip"), VALUE)
    store.save(VALUE + 1, "link.zarr.zip")
    assert os.path.islink("link.zarr.zip")
    same(store.load("f/real.zarr.zip"), VALUE + 1)
    store.delete("link.zarr.zip")
    assert os.listdir(".") == ["f"]
    same(store.load("f/real.zarr.zip"), VALUE + 1)


def test_damaged_archive_is_not_unpacked(store: Bound) -> None:
    """A chunk has a wrong CRC-32. No copy with other pixels is made, and no partial copy."""
    store.save(VALUE, "x.zarr.zip", compressor="none", checksum=False)
    content = bytearray(Path("x.zarr.zip").read_bytes())
    content[content.index(VALUE.tobytes()[:64]) + 7] ^= 1
    Path("x.zarr.zip").write_bytes(content)
    for call in (
        partial(store.load, "x.zarr.zip"),
        partial(store.copy, "x.zarr.zip", "y.zarr"),
        partial(store.move, "x.zarr.zip", "y.zarr"),
    ):
        with pytest.raises(DamagedDataError, match="CRC"):
            call()
    assert os.listdir(".") == ["x.zarr.zip"]
