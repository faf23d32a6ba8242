"""Promises about symbolic links of backends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from polystore_core.errors import (
    AlreadyExistsError,
    InvalidOptionError,
    NotFoundError,
    PathOutsideRootError,
)

from .conformance import Bound, Conformance
from .promises import needs
from .storage import OUTSIDE
from .values import assert_same, image

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LinkTests"]


class LinkTests(Conformance):
    """Links lead to their targets, can be replaced, and never lead out of the root.

    A backend without links must refuse them.
    """

    @needs("links")
    def test_link_leads_to_value(self, store: Bound) -> None:
        """Loading a link loads the value of its target."""
        store.save(image(1), "f/a.npy")
        store.create_symlink("f/a.npy", "g/link.npy")
        assert store.is_symlink("g/link.npy")
        assert store.is_file("g/link.npy")
        assert_same(store.load("g/link.npy"), image(1))
        assert store.info("g/link.npy").target is not None

    @needs("links")
    def test_saving_through_link(self, store: Bound) -> None:
        """Saving to a link replaces the value of its target, and keeps the link."""
        store.save(image(1), "f/a.npy")
        store.create_symlink("f/a.npy", "link.npy")
        store.save(image(2), "link.npy")
        assert store.is_symlink("link.npy")
        assert_same(store.load("f/a.npy"), image(2))

    @needs("links")
    def test_delete_takes_the_link(self, store: Bound) -> None:
        """Deleting a link to a folder keeps the folder and its values."""
        store.save(image(), "f/a.npy")
        # recursive=True must not go through the link and delete the files behind it.
        store.create_symlink("f", "link")
        store.delete("link", recursive=True)
        assert store.list_files(".", recursive=True) == ["f/a.npy"]

    @needs("links")
    def test_dangling_link_is_nothing(self, store: Bound) -> None:
        """A link whose target was deleted does not exist for readers, and can be deleted."""
        store.save(image(), "a.npy")
        store.create_symlink("a.npy", "link.npy")
        store.delete("a.npy")
        assert store.is_symlink("link.npy")
        assert not store.exists("link.npy")
        assert store.info("link.npy").kind == "symlink"
        with pytest.raises(NotFoundError):
            store.load("link.npy")
        # A delete that first asks `exists` would leave this link for ever.
        store.delete("link.npy")
        assert store.list_dir(".") == []

    @needs("links")
    def test_linked_folder_listed_once(self, store: Bound) -> None:
        """A folder that contains a link to itself is listed once."""
        store.save(image(), "f/a.npy")
        store.create_symlink("f", "f/circle")  # a listing that follows links would never end
        assert store.list_files(".", recursive=True) == ["f/a.npy"]

    @needs("links")
    def test_link_needs_source(self, store: Bound) -> None:
        """A link to a missing value is refused, and not created."""
        with pytest.raises(NotFoundError):
            store.create_symlink("a.npy", "link.npy")
        assert not store.is_symlink("link.npy")

    @needs("links")
    def test_link_keeps_existing(self, store: Bound) -> None:
        """A link replaces an existing value only with ``overwrite=True``."""
        store.save_batch([image(1), image(2)], ["a.npy", "b.npy"])
        with pytest.raises(AlreadyExistsError):
            store.create_symlink("a.npy", "b.npy")
        store.create_symlink("a.npy", "b.npy", overwrite=True)
        assert_same(store.load("b.npy"), image(1))

    @needs("links")
    def test_link_to_itself_refused(self, store: Bound) -> None:
        """A link to itself is refused, and the value stays."""
        store.save(image(), "a.npy")
        # A backend that removes the target before it creates the link would lose the value.
        with pytest.raises(InvalidOptionError):
            store.create_symlink("a.npy", "a.npy", overwrite=True)
        assert_same(store.load("a.npy"), image())

    @needs("links", "folders")
    def test_mirror_links_files(self, store: Bound) -> None:
        """A mirrored folder has a link to each file, in the same subfolders."""
        store.save_batch([image(1), image(2)], ["f/a.npy", "f/g/b.npy"])
        assert store.mirror_directory_with_symlinks("f", "m/n") == 2
        assert store.list_files("m", recursive=True) == ["m/n/a.npy", "m/n/g/b.npy"]
        assert store.is_symlink("m/n/g/b.npy")
        assert_same(store.load("m/n/g/b.npy"), image(2))

    @pytest.mark.parametrize("path", OUTSIDE)
    @needs("links")
    def test_no_link_leaves_root(self, store: Bound, path: str) -> None:
        """A link can neither lead out of the root nor be created outside it."""
        store.save(image(), "inside.npy")
        attempts: list[Callable[[], Any]] = [
            lambda: store.create_symlink(path, "link.npy"),
            lambda: store.create_symlink("inside.npy", path),
            lambda: store.mirror_directory_with_symlinks(path, "mirror"),
        ]
        for attempt in attempts:
            with pytest.raises((PathOutsideRootError, InvalidOptionError)):
                attempt()
        assert store.list_dir(".") == ["inside.npy"]
