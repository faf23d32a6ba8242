"""Folders that appear whole."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from ..promises import needs
from .contests import kill_while
from .laws import SHARED, StoreLaws, has, keys, names_in, put, top

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TreeLaws"]


class TreeLaws(StoreLaws):
    """A folder that appears whole, or not at all."""

    @needs("trees")
    def test_tree_appears_whole(self, bytes_store: Any) -> None:
        with bytes_store.tree("p/tree") as hidden:
            for name in ("a", "g/b"):
                put(bytes_store, f"{hidden}/{name}", name.encode())
            assert keys(bytes_store) == []
            assert "tree" not in (names_in(bytes_store, "p") if top(bytes_store) else [])
        assert keys(bytes_store) == ["p/tree/a", "p/tree/g/b"]
        assert bytes_store.read("p/tree/g/b") == b"g/b"
        assert names_in(bytes_store, "p") == ["tree"]

    @needs("trees")
    def test_failed_tree_leaves_nothing(self, bytes_store: Any) -> None:
        put(bytes_store, "p/old", b"old")
        hidden: list[str] = []

        def fail(key: str) -> None:
            hidden.append(key)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            _plant(bytes_store, fail)
        assert not has(bytes_store, f"{hidden[0]}/a")
        assert names_in(bytes_store, "p") == ["old"]

    @needs("trees")
    @pytest.mark.parametrize("present", ["value", "folder", "empty folder"])
    @pytest.mark.parametrize("when", ["before", "meanwhile"])
    def test_tree_replaces_nothing(self, bytes_store: Any, present: str, when: str) -> None:
        if when == "before":
            _occupy(bytes_store, present)

        def occupy_late(_: str) -> None:
            if when == "meanwhile":
                _occupy(bytes_store, present)

        with pytest.raises(FileExistsError):
            _plant(bytes_store, occupy_late)
        assert all(bytes_store.read(key) == b"old" for key in keys(bytes_store))

    @needs("trees")
    @pytest.mark.timeout(300)
    def test_killed_writer_leaves_no_tree(self, bytes_store: Any) -> None:
        if bytes_store.features.trees not in SHARED:
            return  # the values die with their process
        assert kill_while(_fill_for_ever, bytes_store, told=1) == ["filling"]
        assert keys(bytes_store) == []
        with bytes_store.tree("p/tree") as hidden:
            put(bytes_store, f"{hidden}/a", b"value")
        assert keys(bytes_store) == ["p/tree/a"]


def _plant(store: Any, then: Callable[[str], object]) -> None:
    """Put one value into a new tree, and call ``then`` with its hidden key."""
    with store.tree("p/tree") as hidden:
        put(store, f"{hidden}/a", b"new")
        then(hidden)


def _occupy(store: Any, present: str) -> None:
    """Let something be at "p/tree"."""
    if present != "empty folder":
        put(store, "p/tree" if present == "value" else "p/tree/old", b"old")
    elif store.features.folders != "none":
        store.make_folder("p/tree")
    else:
        put(store, "p/tree", b"old")


def _fill_for_ever(store: Any, tell: Callable[[str], None]) -> None:
    with store.tree("p/tree") as hidden:
        put(store, f"{hidden}/a", b"value")
        tell("filling")
        threading.Event().wait()
