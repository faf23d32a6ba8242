"""Links that stay in the root are followed, as on disk: a save replaces the target."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from polystore_core.errors import PathOutsideRootError, StorageError

from .trees import IMAGE, NEW, OURS, PLAIN, make_backend, needs_dir_fd

if TYPE_CHECKING:
    from pathlib import Path

    from polystore_zarr.backend import ZarrBackend

pytestmark = needs_dir_fd

# The path that is used, the link on its way, and its target.
LINKS = {
    "folder": ("l/a.zarr", "l", "f"),
    "folder with its store": ("l/a.tif", "l", "f"),
    "store of a folder": ("l/a.tif", "l/images.zarr", "f/images.zarr"),
    "store": ("l.zarr/h/a", "l.zarr", "g.zarr"),
    "array that is a store": ("l.zarr", "l.zarr", "a.zarr"),
    "group": ("g.zarr/l/a", "g.zarr/l", "g.zarr/h"),
    "array": ("g.zarr/l", "g.zarr/l", "g.zarr/h/a"),
    "array of another store": ("g.zarr/l", "g.zarr/l", "a.zarr"),
    "image": ("l.ome.zarr", "l.ome.zarr", "i.ome.zarr"),
    "well": ("l.ome.zarr/B/03/0", "l.ome.zarr", "p.ome.zarr"),
}


def _relative(root: Path, link: str, target: str) -> str:
    return os.path.relpath(root / target, (root / link).parent)


def _absolute(root: Path, link: str, target: str) -> str:
    return str(root / target)


def _crooked(root: Path, link: str, target: str) -> str:
    return f"./{os.path.dirname(_relative(root, link, 'x')) or '.'}/f/sub/../../{target}"


TEXTS = {"relative": _relative, "absolute": _absolute, "crooked": _crooked}


def _link(root: Path, link: str, target: str, text: str) -> Path:
    made = root / link
    made.parent.mkdir(exist_ok=True)
    made.symlink_to(TEXTS[text](root, link, target))
    return made


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", LINKS)
def test_target_is_read_and_replaced(
    backend: ZarrBackend, root: Path, name: str, text: str
) -> None:
    path, link, target = LINKS[name]
    made = _link(root, link, target, text)
    np.testing.assert_array_equal(backend.load(path), OURS)
    assert backend.is_file(path)
    options = IMAGE if ".ome." in target else PLAIN
    backend.save(NEW, path, **options)
    np.testing.assert_array_equal(backend.load(path), NEW)
    if path.startswith(link):
        real = target + path.removeprefix(link)
        np.testing.assert_array_equal(backend.load(real), NEW)
    assert made.is_symlink()


@pytest.mark.parametrize("name", ["store", "array", "image", "array that is a store"])
def test_link_itself_is_removed(backend: ZarrBackend, root: Path, name: str) -> None:
    path, link, target = LINKS[name]
    made = _link(root, link, target, "relative")
    moved = os.path.join(os.path.dirname(link), "moved.zarr")
    backend.move(link, moved)
    assert not made.is_symlink()
    assert (root / moved).is_symlink()
    backend.delete(moved, recursive=True)
    assert not (root / moved).is_symlink()
    np.testing.assert_array_equal(backend.load(target + path.removeprefix(link)), OURS)


@pytest.mark.parametrize("path", ["g.zarr/h/a/c", "g.zarr/h/a/c/0", "g.zarr/h/a/c/0/0"])
def test_chunks_may_be_links(backend: ZarrBackend, root: Path, path: str) -> None:
    """A user may keep the chunks of a store on another disk of the root."""
    (root / "disk2").mkdir()
    (root / path).rename(root / "disk2/x")
    (root / path).symlink_to(root / "disk2/x")
    np.testing.assert_array_equal(backend.load("g.zarr/h/a"), OURS)
    backend.save(NEW[:16, :16], "g.zarr/h/a", region=np.s_[:16, :16])
    np.testing.assert_array_equal(backend.load("g.zarr/h/a")[:16, :16], NEW[:16, :16])
    np.testing.assert_array_equal(backend.load("g.zarr/h/a")[16:], OURS[16:])
    backend.copy("g.zarr/h/a", "copied.zarr")
    assert not [found for found in (root / "copied.zarr").rglob("*") if found.is_symlink()]


def test_chain_and_circle(backend: ZarrBackend, root: Path) -> None:
    for number in range(20):
        (root / f"l{number + 1}.zarr").symlink_to(f"l{number}.zarr")
    (root / "l0.zarr").symlink_to("a.zarr")
    np.testing.assert_array_equal(backend.load("l20.zarr"), OURS)
    (root / "l0.zarr").unlink()
    (root / "l0.zarr").symlink_to("l20.zarr")
    for call in (backend.load, lambda path: backend.save(NEW, path)):
        with pytest.raises(StorageError) as caught:
            call("l7.zarr")
        assert caught.value.errno == errno.ELOOP
    assert "g.zarr/h/a" in backend.list_files(".", recursive=True)


@pytest.mark.parametrize("text", ["../root/a.zarr", "f/../../root/a.zarr"])
def test_link_through_outside_is_refused(backend: ZarrBackend, root: Path, text: str) -> None:
    """The link leads back into the root, but it passes through a folder outside."""
    (root / "l.zarr").symlink_to(text)
    with pytest.raises(PathOutsideRootError):
        backend.load("l.zarr")
    with pytest.raises(PathOutsideRootError):
        backend.save(NEW, "l.zarr")


def test_root_can_be_moved(backend: ZarrBackend, root: Path, tmp_path: Path) -> None:
    (root / "l.zarr").symlink_to("g.zarr/h")
    moved = make_backend(root.rename(tmp_path / "moved"))
    np.testing.assert_array_equal(moved.load("l.zarr/a"), OURS)


def test_two_names_are_one_store(backend: ZarrBackend, root: Path) -> None:
    """Writers of both names use one lock, and write one list of fields."""
    (root / "l.ome.zarr").symlink_to("p.ome.zarr")
    backend.save(NEW, "l.ome.zarr/C/01/0", **IMAGE)
    backend.save(NEW, "p.ome.zarr/D/02/0", **IMAGE)
    for store in ("l.ome.zarr", "p.ome.zarr"):
        listed = backend.list_files(store, recursive=True)
        assert {f"{store}/C/01/0", f"{store}/D/02/0"} <= set(listed)
