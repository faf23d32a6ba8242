"""Promises about symbolic links in a store."""

from __future__ import annotations

from typing import Any

import pytest

from polystore_core import Entry

from ..promises import needs
from .laws import StoreLaws, keys, put

__all__ = ["LinkLaws"]


class LinkLaws(StoreLaws):
    """Links lead to values and folders. ``delete`` removes only the link."""

    @needs("links")
    def test_link_is_followed(self, bytes_store: Any) -> None:
        """Reading a link reads the value of its target."""
        put(bytes_store, "p/a", b"value")
        bytes_store.link("p/a", "q/link")
        assert bytes_store.read("q/link") == b"value"
        with bytes_store.open("q/link") as file:
            assert file.read() == b"value"
        found = bytes_store.stat("q/link")
        assert (found.kind, found.size) == ("file", 5)
        assert found.target == bytes_store.read_link("q/link")
        assert found.target is not None
        assert list(bytes_store.entries("q")) == [Entry("link", False, True)]

    @needs("links")
    def test_only_links_have_text(self, bytes_store: Any) -> None:
        """``read_link`` returns ``None`` for values, folders and missing keys."""
        put(bytes_store, "p/a", b"value")
        assert [bytes_store.read_link(key) for key in ("p/a", "p", "missing", "m/n")] == [
            None
        ] * 4

    @needs("links", "delete")
    def test_link_is_deleted_alone(self, bytes_store: Any) -> None:
        """Deleting a link keeps its target."""
        put(bytes_store, "p/a", b"value")
        bytes_store.link("p/a", "link")
        bytes_store.link("p", "folder")
        for key in ("link", "folder"):
            bytes_store.delete(key)
            assert bytes_store.read_link(key) is None
        assert bytes_store.read("p/a") == b"value"
        assert keys(bytes_store) == ["p/a"]

    @needs("links", "delete")
    def test_dangling_link_is_told(self, bytes_store: Any) -> None:
        """A link without its target stays a link, and reading it raises ``FileNotFoundError``."""
        put(bytes_store, "a", b"value")
        bytes_store.link("a", "link")
        bytes_store.delete("a")
        assert bytes_store.stat("link").kind == "symlink"
        assert bytes_store.stat("link").target == bytes_store.read_link("link")
        with pytest.raises(FileNotFoundError):
            bytes_store.read("link")

    @needs("links")
    def test_link_needs_source(self, bytes_store: Any) -> None:
        """A link to a missing key is refused."""
        with pytest.raises(FileNotFoundError):
            bytes_store.link("missing", "link")
        assert bytes_store.read_link("link") is None

    @needs("links")
    def test_link_may_refuse(self, bytes_store: Any) -> None:
        """A link replaces a value or a link only with ``replace=True``."""
        for key in ("a", "b", "c"):
            put(bytes_store, key, key.encode())
        bytes_store.link("a", "link")
        for key in ("b", "link"):
            with pytest.raises(FileExistsError):
                bytes_store.link("c", key)
        assert (bytes_store.read("b"), bytes_store.read("link")) == (b"b", b"a")
        for key in ("b", "link"):
            bytes_store.link("c", key, replace=True)
            assert bytes_store.read(key) == b"c"
        assert bytes_store.read("a") == b"a"

    @needs("links")
    def test_link_is_copied_as_link(self, bytes_store: Any) -> None:
        """Copying a link copies the link, not its target."""
        put(bytes_store, "a", b"value")
        bytes_store.link("a", "link")
        bytes_store.copy_link("link", "other")
        assert bytes_store.read_link("other") == bytes_store.read_link("link") is not None
