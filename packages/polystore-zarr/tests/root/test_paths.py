"""With a root, the text of a path cannot lead outside."""

from __future__ import annotations

import pickle
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from polystore_core.errors import InvalidOptionError, NotFoundError, PathOutsideRootError

from .operations import EVERYTHING, check_refused
from .trees import NEW, OURS, PLAIN, content, make_backend, needs_dir_fd

if TYPE_CHECKING:
    from pathlib import Path

    from polystore_zarr.backend import ZarrBackend

pytestmark = needs_dir_fd

FORMS = {
    "parent": "../outside/a.zarr",
    "folder store": "../outside/f/a.tif",
    "in a store": "../outside/g.zarr/h/a",
    "later parent": "f/../../outside/a.zarr",
    "dot and parent": "./../outside/a.zarr",
    "through a missing folder": "nothing/../../outside/a.zarr",
    "absolute": "{outside}/a.zarr",
    "absolute inside": "{root}/a.zarr",
    "parent and back": "../root/a.zarr",
}


@pytest.mark.parametrize("form", FORMS)
def test_path_stays_inside(backend: ZarrBackend, root: Path, outside: Path, form: str) -> None:
    before = content(root)
    check_refused(backend, EVERYTHING, FORMS[form].format(outside=outside, root=root))
    assert content(root) == before


@pytest.mark.parametrize("path", ["..", "f/../..", "../", "/"])
def test_parent_is_outside(backend: ZarrBackend, outside: Path, path: str) -> None:
    names = ("list_dir", "list_files", "collect", "is_dir", "exists", "delete_all")
    check_refused(backend, {name: EVERYTHING[name] for name in names}, path)


@pytest.mark.parametrize("path", ["..", "../outside", "f/../../outside/new"])
def test_no_folder_is_made_outside(backend: ZarrBackend, outside: Path, path: str) -> None:
    with pytest.raises(PathOutsideRootError):
        backend.ensure_directory(path)


@pytest.mark.parametrize(
    "path", ["g.zarr/../../outside/a.zarr", "g.zarr/h/../../../outside/f/a.tif"]
)
def test_no_parent_in_a_store(
    backend: ZarrBackend, root: Path, outside: Path, path: str
) -> None:
    """A ".." in a store is followed or refused, and never leads outside."""
    before = content(root)
    check_refused(backend, EVERYTHING, path, InvalidOptionError, PathOutsideRootError)
    assert content(root) == before


@pytest.mark.parametrize("path", ["f/../a.zarr", "./a.zarr", "f/./../f/.././a.zarr", "a.zarr/"])
def test_path_inside_is_accepted(backend: ZarrBackend, path: str) -> None:
    np.testing.assert_array_equal(backend.load(path), OURS)
    backend.save(NEW, path, **PLAIN)
    np.testing.assert_array_equal(backend.load("a.zarr"), NEW)


@pytest.mark.parametrize("path", ["", "a\0.zarr", "\0", "x.zarr/\0/../../a.zarr"])
def test_invalid_path_is_refused(backend: ZarrBackend, outside: Path, path: str) -> None:
    check_refused(backend, EVERYTHING, path, InvalidOptionError)


@pytest.mark.parametrize("part", ["...", "....", "..a", "a..", " ..", ".. ", "%2e%2e", "..\\a"])
@pytest.mark.parametrize("path", ["{}/a.zarr", "{}/a.tif", "n.zarr/{}/a", "{}.zarr"])
def test_names_with_dots_are_names(
    backend: ZarrBackend, outside: Path, part: str, path: str
) -> None:
    path = path.format(part)
    backend.save(NEW, path, **PLAIN)
    np.testing.assert_array_equal(backend.load(path), NEW)
    assert path in backend.list_files(".", recursive=True)


# ── the root itself ──────────────────────────────────────────────────────────────────────


def test_first_save_makes_root(tmp_path: Path) -> None:
    backend = make_backend(tmp_path / "new/root")
    assert not backend.exists("a.zarr")
    with pytest.raises(NotFoundError):
        backend.load("a.zarr")
    assert not (tmp_path / "new").exists()
    backend.save(NEW, "a.zarr")
    assert backend.list_dir(".") == ["a.zarr"]


def test_root_may_be_made_again(backend: ZarrBackend, root: Path) -> None:
    handle = backend.open("a.zarr")
    shutil.rmtree(root)
    assert not backend.exists("a.zarr")
    with pytest.raises(NotFoundError):
        backend.load("a.zarr")
    backend.save(NEW, "a.zarr", **PLAIN)
    np.testing.assert_array_equal(make_backend(root).load("a.zarr"), NEW)
    with pytest.raises(NotFoundError, match="open it again"):
        handle[...]
    shutil.rmtree(root)
    root.mkdir()
    assert backend.list_dir(".") == []


def test_root_that_is_a_link(tmp_path: Path, root: Path) -> None:
    """The user named this link. Only names below it are opened without following links."""
    (tmp_path / "link").symlink_to("root")
    backend = make_backend(tmp_path / "link")
    np.testing.assert_array_equal(backend.load("g.zarr/h/a"), OURS)
    backend.save(NEW, "g.zarr/h/a", **PLAIN)
    np.testing.assert_array_equal(make_backend(root).load("g.zarr/h/a"), NEW)


def test_root_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        make_backend(tmp_path / "file").save(NEW, "a.zarr")
    assert (tmp_path / "file").read_text() == ""


def test_relative_root_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    backend = make_backend("relative")
    handle = backend.create("b.zarr", shape=(4,), dtype="u1", chunks=2)
    monkeypatch.chdir("/")
    backend.save(NEW, "a.zarr")
    handle[...] = 7
    assert (tmp_path / "relative/a.zarr/zarr.json").exists()
    np.testing.assert_array_equal(backend.load("b.zarr"), [7] * 4)


def test_confined_handle_pickles(backend: ZarrBackend, root: Path, outside: Path) -> None:
    """A worker reopens the array under the same root."""
    handle = pickle.loads(pickle.dumps(backend.open("g.zarr/h/a", mode="r+")))
    np.testing.assert_array_equal(handle[...], OURS)
    handle[:16] = NEW[:16]
    np.testing.assert_array_equal(backend.load("g.zarr/h/a")[:16], NEW[:16])
    (root / "g.zarr/h").rename(root / "aside")
    (root / "g.zarr/h").symlink_to(outside / "g.zarr/h")
    again = pickle.loads(pickle.dumps(handle))
    for attempt in (lambda: again[...], lambda: again.__setitem__(..., NEW)):
        with pytest.raises((PathOutsideRootError, NotFoundError)):
            attempt()
