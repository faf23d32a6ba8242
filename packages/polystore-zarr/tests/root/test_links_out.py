"""Nothing is read or written through a link out of the root, at a path or above it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from polystore_core.errors import (
    AlreadyExistsError,
    DirectoryNotEmptyError,
    PathOutsideRootError,
)

from .operations import EVERYTHING, NAMES, READS, WRITES, check_refused
from .trees import NEW, OURS, PLAIN, content, divert, needs_dir_fd

if TYPE_CHECKING:
    from pathlib import Path

    from polystore_zarr.backend import ZarrBackend

    from .operations import Operation

pytestmark = needs_dir_fd

# The name that is a link, and a path through it.
ABOVE = {
    "folder around": ("f", "f/a.zarr"),
    "folder around that holds its store": ("f", "f/a.tif"),
    "second folder around": ("f/sub", "f/sub/b.tif"),
    "store of a folder": ("f/images.zarr", "f/a.tif"),
    "store": ("g.zarr", "g.zarr/h/a"),
    "group": ("g.zarr/h", "g.zarr/h/a"),
    "group of Zarr 2": ("old.zarr/h", "old.zarr/h/a"),
    "image with labels": ("i.ome.zarr", "i.ome.zarr/labels/n"),
    "labels": ("i.ome.zarr/labels", "i.ome.zarr/labels/n"),
    "plate": ("p.ome.zarr", "p.ome.zarr/B/03/0"),
    "row": ("p.ome.zarr/B", "p.ome.zarr/B/03/0"),
    "well": ("p.ome.zarr/B/03", "p.ome.zarr/B/03/0"),
}
AT = {
    "array that is a store": "a.zarr",
    "array": "g.zarr/h/a",
    "sharded array": "g.zarr/h/sharded",
    "array of Zarr 2": "old.zarr/h/a",
    "image": "i.ome.zarr",
    "label": "i.ome.zarr/labels/n",
    "field": "p.ome.zarr/B/03/0",
}
# Groups and folders, for the calls that list and make names. The path is the link itself.
FOLDERS = {
    "folder": "f",
    "store": "g.zarr",
    "group": "g.zarr/h",
    "plate": "p.ome.zarr",
    "well": "p.ome.zarr/B/03",
}


@pytest.mark.parametrize("link", ABOVE)
def test_link_above_is_not_followed(
    backend: ZarrBackend, root: Path, outside: Path, link: str
) -> None:
    where, path = ABOVE[link]
    divert(root, outside, where)
    before = content(root)
    check_refused(backend, EVERYTHING, path)
    assert content(root) == before


@pytest.mark.parametrize("link", AT)
def test_link_itself_is_not_followed(
    backend: ZarrBackend, root: Path, outside: Path, link: str
) -> None:
    divert(root, outside, AT[link])
    before = content(root)
    check_refused(backend, READS | WRITES, AT[link])
    assert content(root) == before


@pytest.mark.parametrize("link", AT)
@pytest.mark.parametrize("name", NAMES)
def test_link_itself_is_removed(
    backend: ZarrBackend, root: Path, outside: Path, name: str, link: str
) -> None:
    made = divert(root, outside, AT[link])
    EVERYTHING[name](backend, AT[link])
    assert not made.is_symlink()
    if name == "move_from":
        assert (root / "stolen.zarr").is_symlink()
        with pytest.raises(PathOutsideRootError):
            backend.load("stolen.zarr")
    backend.save(NEW, AT[link], **PLAIN)  # the name is free again


@pytest.mark.parametrize("link", FOLDERS)
def test_folder_is_not_followed(
    backend: ZarrBackend, root: Path, outside: Path, link: str
) -> None:
    divert(root, outside, FOLDERS[link])
    before = content(root)

    def ensure(zarr: ZarrBackend, path: str) -> None:
        zarr.ensure_directory(path)

    target = "stolen.zarr" if ".zarr" in FOLDERS[link] else "stolen"
    folders: dict[str, Operation] = {
        "copy_from": lambda zarr, path: zarr.copy(path, target),
        "ensure_directory": ensure,
    }
    check_refused(backend, READS | folders, FOLDERS[link])
    for below in ("new", "new/deep"):
        check_refused(backend, {"ensure_directory": ensure}, f"{FOLDERS[link]}/{below}")
    assert content(root) == before


@pytest.mark.parametrize("link", FOLDERS)
@pytest.mark.parametrize("how", ["delete", "delete_recursive", "delete_all", "move"])
def test_link_to_folder_is_removed(
    backend: ZarrBackend, root: Path, outside: Path, how: str, link: str
) -> None:
    made = divert(root, outside, FOLDERS[link])
    if how == "move":
        backend.move(FOLDERS[link], "moved.zarr" if ".zarr" in FOLDERS[link] else "moved")
    elif how == "delete_recursive":
        backend.delete(FOLDERS[link], recursive=True)
    else:
        getattr(backend, how)(FOLDERS[link])
    assert not made.is_symlink()


@pytest.mark.parametrize("target", ["{}/new.zarr", "{}/new", "{}/f/new/deep.zarr"])
@pytest.mark.parametrize("path", ["dangling.zarr", "g.zarr/dangling", "f/images.zarr/dangling"])
@pytest.mark.parametrize("is_relative", [False, True])
def test_target_of_a_dangling_link_is_not_made(
    backend: ZarrBackend, root: Path, outside: Path, path: str, target: str, is_relative: bool
) -> None:
    """The link leads to a name outside that is still free."""
    text = target.format(outside)
    (root / path).symlink_to(
        os.path.relpath(text, (root / path).parent) if is_relative else text
    )
    name = "f/dangling" if path.startswith("f/") else path
    check_refused(backend, WRITES, name)


@pytest.mark.parametrize(
    ("hop", "path"),
    [
        ("../../outside/a.zarr", "l/first.zarr"),
        ("second.zarr", "l/first.zarr"),
        ("/", "l/first.zarr{outside}/a.zarr"),
        ("../..", "l/first.zarr/outside/a.zarr"),
        ("../../root", "l/first.zarr/a.zarr"),
    ],
)
def test_chain_of_links_through_outside_is_refused(
    backend: ZarrBackend, root: Path, outside: Path, hop: str, path: str
) -> None:
    """A chain through "/", or through the parent of the root and back, has been outside."""
    (root / "l").mkdir()
    (root / "l/first.zarr").symlink_to(hop)
    (root / "l/second.zarr").symlink_to(outside / "a.zarr")
    before = content(root)
    check_refused(backend, READS | WRITES, path.format(outside=outside))
    assert content(root) == before


# ── listings ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "link", ["f", "f/images.zarr", "a.zarr", "g.zarr", "g.zarr/h", "i.ome.zarr", "p.ome.zarr/B"]
)
def test_listing_stays_inside(
    backend: ZarrBackend, root: Path, outside: Path, link: str
) -> None:
    """The other names are listed, but none of those behind the link."""
    before = set(backend.list_files(".", recursive=True))
    divert(root, outside, link)
    hidden = {path for path in before if path.startswith((f"{link}/", f"{link}."))}
    if link == "f/images.zarr":
        hidden = {"f/a.tif"}
    after = set(backend.list_files(".", recursive=True))
    assert before - hidden - {link} <= after
    assert after <= before - hidden | {link}
    folders, files = backend.collect_dirs_and_files(".")
    assert set(files) == after
    assert link not in folders
    assert not any(path.startswith(f"{link}/") for path in folders)
    parent, _, name = link.rpartition("/")
    assert all(
        not (found.name == name and found.is_dir) for found in backend.scan(parent or ".")
    )


def test_listing_of_links_only(backend: ZarrBackend, root: Path, outside: Path) -> None:
    (root / "l").mkdir()
    for name in ("a.zarr", "g.zarr", "f"):
        (root / "l" / name).symlink_to(outside / name)
    (root / "l/b.zarr").symlink_to("../g.zarr/h/a")
    assert backend.is_file("l/b.zarr")
    listed = backend.list_files("l", recursive=True)
    assert "l/b.zarr" in listed
    assert set(listed) <= {"l/a.zarr", "l/g.zarr", "l/f", "l/b.zarr"}
    assert not [path for path in backend.collect_dirs_and_files("l")[0] if "/" in path[2:]]


# ── trees that hold such links ───────────────────────────────────────────────────────────


INSIDE_STORES = {
    "g.zarr/h": "g.zarr",
    "g.zarr/h/a": "g.zarr",
    "g.zarr/h/a/c": "g.zarr",
    "g.zarr/h/a/c/0/0": "g.zarr/h",
    "i.ome.zarr/labels": "i.ome.zarr",
    "i.ome.zarr/1": "i.ome.zarr",
    "p.ome.zarr/B": "p.ome.zarr",
    "p.ome.zarr/B/03": "p.ome.zarr/B",
    "p.ome.zarr/B/03/0/0": "p.ome.zarr/B",
}
"""Links in a store, and a tree of it that holds them."""

AROUND_STORES = ["f/sub", "f/images.zarr", "f/a.zarr"]


def _target(tree: str) -> str:
    return "p.ome.zarr/D" if tree == "p.ome.zarr/B" else "moved.zarr"


@pytest.mark.parametrize("link", INSIDE_STORES)
def test_tree_is_deleted_with_its_links(
    backend: ZarrBackend, root: Path, outside: Path, link: str
) -> None:
    divert(root, outside, link)
    backend.delete(INSIDE_STORES[link], recursive=True)
    assert not (root / INSIDE_STORES[link]).exists()


@pytest.mark.parametrize("link", INSIDE_STORES)
def test_tree_is_moved_with_its_links(
    backend: ZarrBackend, root: Path, outside: Path, link: str
) -> None:
    divert(root, outside, link)
    tree = INSIDE_STORES[link]
    backend.move(tree, _target(tree))
    moved = root / link.replace(tree, _target(tree), 1)
    assert moved.is_symlink()
    assert not (root / tree).exists()


@pytest.mark.parametrize("link", INSIDE_STORES)
def test_nothing_is_copied_from_outside(
    backend: ZarrBackend, root: Path, outside: Path, link: str
) -> None:
    divert(root, outside, link)
    tree = INSIDE_STORES[link]
    target = _target(tree)
    before = content(root)
    with pytest.raises(PathOutsideRootError):
        backend.copy(tree, target)
    assert content(root) == before
    assert not (root / target).exists()


@pytest.mark.parametrize("link", AROUND_STORES)
def test_link_around_stores_is_a_foreign_file(
    backend: ZarrBackend, root: Path, outside: Path, link: str
) -> None:
    """Such a link is a foreign file, like others next to stores. It stays, and is not copied."""
    divert(root, outside, link)
    backend.copy("f", "copied")
    assert not [found for found in (root / "copied").rglob("*") if found.is_symlink()]
    assert not (root / "copied" / link.removeprefix("f/")).exists()
    before = content(root)
    with pytest.raises(DirectoryNotEmptyError, match=f"{link}' is not part of"):
        backend.delete("f", recursive=True)
    with pytest.raises(AlreadyExistsError, match=f"{link}' is not part of"):
        backend.move("f", "moved")
    assert content(root) == before


def test_folder_never_replaces_a_link(backend: ZarrBackend, root: Path, outside: Path) -> None:
    (root / "link").symlink_to(outside / "f")
    for operation in (backend.copy, backend.move):
        with pytest.raises((AlreadyExistsError, PathOutsideRootError)):
            operation("f", "link")
    assert (root / "link").is_symlink()
    np.testing.assert_array_equal(backend.load("f/a.tif"), OURS)
