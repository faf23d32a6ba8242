"""Links in an array, an image or a plate that lead out of the root.

The files of a node are opened in the same way as its path, without following a link that leads
outside.
"""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import PathOutsideRootError

from .operations import READS, WRITES, check_refused
from .trees import (
    IMAGE,
    NEW,
    OURS,
    PLAIN,
    SHAPE,
    check_no_secret,
    content,
    divert,
    needs_dir_fd,
)

if TYPE_CHECKING:
    from pathlib import Path

    from polystore_zarr.backend import ZarrBackend

pytestmark = needs_dir_fd

# The name that is a link, and the array or image that contains it.
PIXELS = {
    "chunks": ("g.zarr/h/a/c", "g.zarr/h/a"),
    "row of chunks": ("g.zarr/h/a/c/0", "g.zarr/h/a"),
    "chunk": ("g.zarr/h/a/c/0/0", "g.zarr/h/a"),
    "chunk of a store": ("a.zarr/c/0/0", "a.zarr"),
    "chunk of a folder": ("f/images.zarr/a.tif/c/0/0", "f/a.tif"),
    "shards": ("g.zarr/h/sharded/c", "g.zarr/h/sharded"),
    "shard": ("g.zarr/h/sharded/c/0/0", "g.zarr/h/sharded"),
    "chunk of Zarr 2": ("old.zarr/h/a/0/0", "old.zarr/h/a"),
    "level": ("i.ome.zarr/0", "i.ome.zarr"),
    "chunks of a level": ("i.ome.zarr/0/c", "i.ome.zarr"),
    "level of a label": ("i.ome.zarr/labels/n/0", "i.ome.zarr/labels/n"),
    "level of a field": ("p.ome.zarr/B/03/0/0", "p.ome.zarr/B/03/0"),
}
DOCUMENTS = {
    "array": ("g.zarr/h/a/zarr.json", "g.zarr/h/a"),
    "array of a store": ("a.zarr/zarr.json", "a.zarr"),
    "array of a folder": ("f/images.zarr/a.tif/zarr.json", "f/a.tif"),
    "array of Zarr 2": ("old.zarr/h/a/.zarray", "old.zarr/h/a"),
    "attributes of Zarr 2": ("old.zarr/h/a/.zattrs", "old.zarr/h/a"),
    "image": ("i.ome.zarr/zarr.json", "i.ome.zarr"),
    "label": ("i.ome.zarr/labels/n/zarr.json", "i.ome.zarr/labels/n"),
    "field": ("p.ome.zarr/B/03/0/zarr.json", "p.ome.zarr/B/03/0"),
}
# Documents of groups above a node. A save of a new member reads them, and may write them.
ABOVE = {
    "store": ("g.zarr/zarr.json", "g.zarr/h/new"),
    "group": ("g.zarr/h/zarr.json", "g.zarr/h/new"),
    "store of a folder": ("f/images.zarr/zarr.json", "f/new.tif"),
    "group of Zarr 2": ("old.zarr/.zgroup", "old.zarr/new"),
    "list of labels": ("i.ome.zarr/labels/zarr.json", "i.ome.zarr/labels/new"),
    "plate": ("p.ome.zarr/zarr.json", "p.ome.zarr/B/04/0"),
    "row": ("p.ome.zarr/B/zarr.json", "p.ome.zarr/B/04/0"),
    "well": ("p.ome.zarr/B/03/zarr.json", "p.ome.zarr/B/03/7"),
}
LOADS = {name: READS[name] for name in READS if name.startswith("load") or name == "open"}
REGIONS = {name: WRITES[name] for name in WRITES if name.startswith(("region", "open"))}


@pytest.mark.parametrize("link", PIXELS)
def test_no_pixel_is_read_from_outside(
    backend: ZarrBackend, root: Path, outside: Path, link: str
) -> None:
    where, path = PIXELS[link]
    divert(root, outside, where)
    before = content(root)
    check_refused(backend, LOADS | {"copy_from": READS["copy_from"]}, path)
    assert not (root / "stolen.zarr").exists()
    assert content(root) == before
    assert backend.exists(path)


@pytest.mark.parametrize("link", [name for name in PIXELS if "level" not in name])
def test_no_pixel_is_written_outside(
    backend: ZarrBackend, root: Path, outside: Path, link: str
) -> None:
    where, path = PIXELS[link]
    made = divert(root, outside, where)
    check_refused(backend, REGIONS, path)
    assert made.is_symlink()


@pytest.mark.parametrize("link", ["chunks", "row of chunks", "shards"])
def test_no_new_chunk_is_made_outside(
    backend: ZarrBackend, root: Path, outside: Path, link: str
) -> None:
    """The link leads to an empty folder outside."""
    (outside.parent / "empty").mkdir()
    where, path = PIXELS[link]
    divert(root, outside.parent, where).unlink()
    (root / where).symlink_to(outside.parent / "empty")
    handle = backend.open(path, mode="r+")
    for attempt in (
        partial(backend.save, NEW, path, region=np.s_[:, :]),
        partial(handle.__setitem__, ..., NEW),
        partial(handle.__setitem__, ..., np.zeros_like(NEW)),  # removes chunks
    ):
        with pytest.raises(PathOutsideRootError):
            attempt()
    assert list((outside.parent / "empty").iterdir()) == []


@pytest.mark.parametrize("link", [*PIXELS, *DOCUMENTS])
@pytest.mark.parametrize("how", ["save", "delete", "move", "delete_all"])
def test_whole_tree_is_replaced_with_its_links(
    backend: ZarrBackend, root: Path, outside: Path, how: str, link: str
) -> None:
    """A new tree replaces the old one, or the name is removed, and no link is followed.

    A save reads the document and the first level, to keep the parts that it does not replace.
    """
    where, path = PIXELS[link] if link in PIXELS else DOCUMENTS[link]
    made = divert(root, outside, where)
    calls: dict[str, Any] = {
        "save": lambda: backend.save(NEW, path, **PLAIN),
        "move": lambda: backend.move(path, "moved.zarr"),
        "delete": lambda: backend.delete(path),
        "delete_all": lambda: backend.delete_all(path),
    }
    if link in DOCUMENTS or (how == "save" and link.startswith("level")):
        with pytest.raises(PathOutsideRootError):
            calls[how]()
        assert made.is_symlink()
        return
    calls[how]()
    assert not made.is_symlink()
    if how == "save":
        np.testing.assert_array_equal(backend.load(path), NEW)
    else:
        assert not backend.exists(path)


@pytest.mark.parametrize("link", DOCUMENTS)
def test_no_document_is_read_from_outside(
    backend: ZarrBackend, root: Path, outside: Path, link: str
) -> None:
    where, path = DOCUMENTS[link]
    divert(root, outside, where)
    before = content(root)
    check_refused(backend, LOADS | REGIONS, path)
    check_refused(backend, {name: READS[name] for name in ("info", "copy_from")}, path)
    assert content(root) == before


@pytest.mark.parametrize("link", ABOVE)
def test_no_group_is_changed_outside(
    backend: ZarrBackend, root: Path, outside: Path, link: str
) -> None:
    where, path = ABOVE[link]
    made = divert(root, outside, where)
    names = ("save", "save_new", "save_batch", "create", "copy_to", "move_to")
    if "new" not in path or link == "list of labels":
        names = ("save", "save_new", "save_batch")
    check_refused(backend, {name: WRITES[name] for name in names}, path)
    assert made.is_symlink()
    assert not backend.exists("nothing.zarr")
    np.testing.assert_array_equal(backend.load("inside.zarr"), OURS)


def test_dangling_link_to_a_document_is_refused(
    backend: ZarrBackend, root: Path, outside: Path
) -> None:
    """``make_group`` would make the file that the link points to."""
    (root / "n.zarr").mkdir()
    (root / "n.zarr/zarr.json").symlink_to(outside / "new.json")
    for call in (
        partial(backend.save, NEW, "n.zarr/a"),
        partial(backend.ensure_directory, "n.zarr/g"),
        partial(backend.ensure_directory, "n.zarr"),
    ):
        with pytest.raises(PathOutsideRootError):
            call()


# ── info and listings ────────────────────────────────────────────────────────────────────


def test_info_shows_nothing_of_outside(
    backend: ZarrBackend, root: Path, outside: Path, tmp_path: Path
) -> None:
    """A missing level has the shape ``None``, and does not affect the others."""
    shapes = backend.info("i.ome.zarr").metadata["levels"]
    divert(root, outside, "i.ome.zarr/1")
    assert backend.info("i.ome.zarr").metadata["levels"] == [shapes[0], None]
    np.testing.assert_array_equal(backend.load("i.ome.zarr"), OURS)
    with pytest.raises(PathOutsideRootError):
        backend.load("i.ome.zarr", level=1)
    shutil.rmtree(tmp_path / "replaced")
    divert(root, outside, "i.ome.zarr/labels")
    assert backend.info("i.ome.zarr").metadata["labels"] == []


def test_info_needs_the_first_level(backend: ZarrBackend, root: Path, outside: Path) -> None:
    divert(root, outside, "i.ome.zarr/0/zarr.json")
    with pytest.raises(PathOutsideRootError):
        backend.info("i.ome.zarr")


@pytest.mark.parametrize("where", ["a.zarr/c", "a.zarr/c/0/0"])
def test_size_does_not_count_files_outside(
    backend: ZarrBackend, root: Path, outside: Path, where: str
) -> None:
    before = backend.info("a.zarr").size
    large = outside.parent / "large"
    large.write_bytes(bytes(1 << 20))
    divert(root, outside, where).unlink()
    (root / where).symlink_to(large if where.endswith("0/0") else outside.parent)
    after = backend.info("a.zarr").size
    assert before is not None
    assert after is not None
    assert after <= before


@pytest.mark.parametrize("link", [*PIXELS, *DOCUMENTS])
def test_unreadable_nodes_are_listed(
    backend: ZarrBackend, root: Path, outside: Path, link: str
) -> None:
    """A node that cannot be read is listed as a file, so that the others are listed too."""
    before = backend.list_files(".", recursive=True)
    where, path = PIXELS[link] if link in PIXELS else DOCUMENTS[link]
    divert(root, outside, where)
    if "level" in link or "label" in link or link == "image":
        before = [name for name in before if not name.startswith(f"{path}/")]
        found = backend.list_files(".", recursive=True)
        assert [name for name in found if not name.startswith(f"{path}/")] == before
    else:
        assert backend.list_files(".", recursive=True) == before


def test_kept_parts_are_not_from_outside(
    backend: ZarrBackend, root: Path, outside: Path
) -> None:
    """A save keeps labels. A link among them stays a link, or the save is refused."""
    made = divert(root, outside, "i.ome.zarr/labels/n")
    try:
        backend.save(NEW, "i.ome.zarr", **IMAGE)
    except PathOutsideRootError:
        np.testing.assert_array_equal(backend.load("i.ome.zarr"), OURS)
    else:
        np.testing.assert_array_equal(backend.load("i.ome.zarr"), NEW)
    assert made.is_symlink()
    with pytest.raises(PathOutsideRootError):
        backend.load("i.ome.zarr/labels/n")


# ── handles ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "link", ["array", "chunks", "shards", "chunk", "chunk of Zarr 2", "level", "image"]
)
def test_link_is_made_after_opening(
    backend: ZarrBackend, root: Path, outside: Path, link: str
) -> None:
    """A link replaces a part of the array after the handle was opened and has read."""
    where, path = PIXELS.get(link) or DOCUMENTS[link]
    handle = backend.open(path)
    np.testing.assert_array_equal(handle[:16], OURS[:16])
    divert(root, outside, where.removesuffix("/zarr.json"))
    try:
        found = handle[...]
    except (PathOutsideRootError, FileNotFoundError):
        return
    check_no_secret(found)
    np.testing.assert_array_equal(found, OURS)


@pytest.mark.parametrize("part", ["", "/c", "/c/0"])
def test_link_is_made_after_opening_for_writing(
    backend: ZarrBackend, root: Path, outside: Path, part: str
) -> None:
    handle = backend.create("n.zarr/w", shape=SHAPE, dtype="u2", chunks=16, shards=False)
    handle[:16, :16] = NEW[:16, :16]
    link = root / f"n.zarr/w{part}"
    link.rename(root.parent / "replaced")
    link.symlink_to(outside / f"g.zarr/h/a{part}")
    with pytest.raises((PathOutsideRootError, FileNotFoundError)):
        handle[...] = NEW
